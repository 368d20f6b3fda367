package config

// doc says what a key is for. It stands apart from the table, so that only what prints the
// reference anew has it, and no program: they print what was packed.
func doc(key string) string {
	switch key {
	case "terminal.store":
		return "The store's name, 1 to 32 of A-Z a-z 0-9 _ -. With terminal.id it names this till\neverywhere, and it never changes: a journal of another terminal is refused."
	case "terminal.id":
		return "The till's name within the store, same alphabet. Receipt numbers begin with it."
	case "terminal.operator":
		return "Operator of a sale whose request names none."
	case "terminal.currency":
		return "ISO 4217 code of the one currency of this till. Prices and amounts are in its minor unit."
	case "terminal.prices":
		return "Whether prices contain the tax. A request may say otherwise for one sale."
	case "terminal.rounding":
		return "Where tax is rounded: once per tax code over the document, or on every line.\nThe law of the country decides."
	case "terminal.cash_rounding":
		return "Smallest coin, in minor units of the currency: 5 rounds what is paid or paid out in cash\nto five cents, halves away from zero. 0: cash is not rounded. At most\none whole unit in currencies with small coins, such as EUR and USD."
	case "terminal.time_zone":
		return "IANA name of the shop's time zone. It decides the business date."
	case "terminal.day_start":
		return "When a business day begins. A sale before it belongs to the day before."
	case taxKeys:
		return "Tax codes and their rates in percent, as strings with up to four decimals. At least one.\nA code is 1 to 8 of A-Z a-z 0-9 _ -. A change holds for new sales only. A rate that changes\non a known day is a list, A = [\"19\", \"16 from 2027-07-01\", \"19 from 2028-01-01\"]: each\nholds for what is scanned from that business date on."
	case "items.patterns":
		return "Codes of scales and packers that carry a weight, price or number, at most 32; the first\nthat fits decides. A pattern has a character for each digit of the code: digits stand for\nthemselves, I for the item's number, P for a price, W for a weight or measure, N for pieces,\nV for the verifier digit of a P or W of 4 or 5 digits, C for the check digit, X for any digit.\nA point shows where the decimals of P or W begin (else: those of the currency; three). A unit\nother than kg follows W after a blank. For example [\"02IIIIIVPPPPC\", \"28IIIIIWW.WWWC\",\n\"29IIIIIWWW.WWC l\"]; the country's GS1 organisation says which it uses."
	case "items.repeat":
		return "Scanners that send a code twice: a line that is added to a basket by the same code within this\ntime, with nothing between, is taken for a repeat and not added. At most 2s; 150ms to 300ms is\nbelow what a hand does. \"0s\": every scan counts."
	case "operators.idle":
		return "An operator is signed out when nothing was done for so long. Holds where operators sign in\n(posctl operator), as do operators.attempts and [roles]."
	case "operators.attempts":
		return "Wrong PINs in a row after which an operator is locked: for half a minute, and twice as long\nafter each further one, at most 15 minutes."
	case "roles.cashier":
		return "What an operator of this role may do: names of docs/integrate.md, with a limit behind a colon\nwhere there is one: percent (discount:10), or minor units of the currency (cash.out:5000).\n\"*\" is all. What is missing asks for a second operator who may."
	case "roles.supervisor":
		return "The same for supervisors."
	case "roles.manager":
		return "The same for managers."
	case "receipt.header":
		return "First lines of every receipt, at most 8: the shop's name, which is printed large, and address."
	case "receipt.footer":
		return "Last lines of every receipt, at most 16."
	case "receipt.tax_number":
		return "The shop's tax number, as the law wants it on receipts. Empty: none."
	case "receipt.language":
		return "Language of a receipt's own words, such as Total."
	case "receipt.decimal_comma":
		return "Write amounts as 1,99 instead of 1.99."
	case "receipt.barcode":
		return "Print the receipt's number as a bar code (CODE128) too, for scanners that read no QR codes."
	case "receipt.print":
		return "What the printer is given unasked: none, receipts of sales (unless the front end says\notherwise of one), or all: Z reports and slips of cash put in and taken out too."
	case "printer.address":
		return "The receipt printer: its device, such as \"/dev/usb/lp0\" or \"/dev/ttyS0\" (stty or udev sets\nthe speed), or host:port, mostly port 9100. Empty: none."
	case "printer.profile":
		return "What it understands beside plain ESC/POS. epson: QR codes, and feeding to its knife; so do\nmost printers of today. generic: neither; QR codes are sent as pictures."
	case "printer.columns":
		return "Characters in a line: mostly 32 on paper of 58 mm; 42 or 48 on 80 mm."
	case "printer.charset":
		return "Its character set. cp437, cp850, cp858 (with the euro), wpc1252: Western Europe;\ncp852: Central Europe; cp866: Cyrillic; utf-8: printers that can. What a set lacks is\nprinted with other letters."
	case "printer.status":
		return "Whether it answers questions. Without its answers nobody knows that it is out of paper."
	case "printer.drawer":
		return "Whether a cash drawer is connected to it."
	case "card.address":
		return "The payment terminal, or the adapter that speaks to it, as host:port; docs/payment.md has the\nprotocol. Empty: none, the cashier types the reference of the slip."
	case "card.terminal":
		return "Name that the payment terminal has to give, so that no till charges at its neighbour's. Empty: any."
	case "card.ca_file":
		return "PEM file of the authority that signed the payment terminal's certificate: speak TLS. Empty:\nwhoever can answer in its place can approve payments; use a network of its own, or an adapter\non this machine."
	case "card.cert_file":
		return "PEM file of this till's certificate for the payment terminal. Needs card.key_file and\ncard.ca_file. All three are read again at each connection."
	case "card.key_file":
		return "PEM file of that certificate's key. Not readable by others."
	case "card.timeout":
		return "How long a customer may take at the payment terminal."
	case "card.offline_sale":
		return "Most that may be approved in one sale while the acquirer cannot be reached, in minor units, at\nthe shop's risk. 0: nothing."
	case "card.offline_terminal":
		return "Most of it that may be outstanding: approved, and not known to be with the acquirer."
	case "card.offline_day":
		return "Most of it on one business date."
	case "http.listen":
		return "Where front ends connect, as host:port. Port 0 picks a free one. Empty: only http.socket."
	case "http.allow_remote":
		return "Allow http.listen on an address that other machines can reach. HTTP is not encrypted:\nwhoever can watch the network reads the front ends' tokens. Put a TLS proxy in front."
	case "http.socket":
		return "Path of a unix socket that serves the same interface. Empty: none."
	case "http.socket_users":
		return "Users of this machine whose programs need no token on http.socket, such as [\"kiosk\"]. Events\nname them as front end user:kiosk. The socket's file has to let them in, too."
	case "http.origins":
		return "Origins of browser front ends that are served from elsewhere, such as \"https://till.example\"."
	case "http.static":
		return "Folder with a browser front end that posd serves at /. Empty: none."
	case "http.max_body":
		return "Largest request body. It bounds memory: several requests may be in flight."
	case "http.rate":
		return "Sales a second that are let in from each front end; twice as many at once. Other requests:\nfour times as many.\n0: five for each percent of the CPU quota, and without a quota no limit."
	case "data.dir":
		return "Folder of the journal and all else that posd keeps. It must exist: posd never creates\nit, so that a disk which is not mounted is not mistaken for a new till."
	case "data.max_bytes":
		return "How large the journal may grow. What head office has not got is never dropped: when it\nis full of such sales, posd refuses new ones."
	case "data.retention":
		return "How long sales stay on the terminal at least after head office has them. By a clock that\nnothing disciplines nothing goes: then data.max_bytes decides."
	case "data.segment":
		return "Size of one journal file, a power of two from 64KiB to 64MiB. Holds for new files."
	case "hub.urls":
		return "NATS addresses of head office, such as \"tls://hub.example:4222\". Empty: work alone."
	case "hub.fallback_urls":
		return "NATS addresses of other regions, for when none of hub.urls can be used. The till goes\nback when its own region has answered for a while."
	case "hub.credentials":
		return "NATS credentials file (JWT and key). Not readable by others. Read again at each connect."
	case "hub.token_file":
		return "File with a NATS token, instead of hub.credentials. Not readable by others."
	case "hub.ca_file":
		return "PEM file of the authority that signed the hub's certificate. Empty: the system's."
	case "hub.cert_file":
		return "PEM file of this till's certificate, where the hub asks for one. Needs hub.key_file.\nBoth are read again at each connect."
	case "hub.key_file":
		return "PEM file of that certificate's key. Not readable by others."
	case "hub.shard":
		return "Which of head office's streams this till writes to."
	case "hub.stream":
		return "Name of that stream. Empty: POS_UP_<shard>."
	case "hub.office_key":
		return "Head office's public key, 64 hexadecimal digits (poshub prints it). Configuration and\ncommands that it has not signed are refused. Empty: the key that came with the enrolment;\nwithout either every one is refused."
	case "hub.enroll_url":
		return "Address of head office's HTTP interface, such as \"https://hub.example:8090\". With it a till\nthat has no credentials fetches them, once, with a token (poshub enrol), and what else\nit needs: then hub.urls may be empty, and hub.shard does not count."
	case "hub.enroll_token_file":
		return "File with that token. Of no use to anybody once it was used."
	case "limits.memory":
		return "Limit of the Go heap. A slice with less memory lowers it."
	case "limits.expect_cpu":
		return "CPU quota that the slice should give, in percent of one core. posd warns when it finds\nanother. \"0%\" expects nothing."
	case "limits.expect_memory":
		return "Memory limit that the slice should set. posd warns when it finds another. \"0B\" expects nothing."
	case "log.level":
		return "Least important messages that are logged."
	case "log.format":
		return "How messages are written to standard error."
	}
	return ""
}
