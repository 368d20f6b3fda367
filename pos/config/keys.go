package config

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"posd/pos"
	"posd/pos/itemcode"
	"posd/pos/receipt"
)

// owner says who may decide a value.
type owner bool

const (
	ownFile       owner = false
	ownHeadOffice owner = true
)

func (o owner) String() string {
	if o == ownHeadOffice {
		return "file, head office may override"
	}
	return "file"
}

// key is one row of the table. A key is required when it has no default; then
// example stands in the reference.
type key struct {
	name    string
	def     string // a TOML literal
	example string // a TOML literal
	owner   owner
	doc     string
	field
}

const mostCoin = 10_000 // of any currency, in minor units

// taxKeys is the one name in the table that stands for many keys.
const taxKeys = "tax.*"

var keys = []key{
	{"terminal.store", "", `"s1"`, ownFile,
		"The store's name, 1 to 32 of A-Z a-z 0-9 _ -. With terminal.id it names this till\neverywhere, and it never changes: a journal of another terminal is refused.",
		&text{"name", func(c *Config) *string { return &c.Terminal.Store }, checkName}},
	{"terminal.id", "", `"t1"`, ownFile,
		"The till's name within the store, same alphabet. Receipt numbers begin with it.",
		&text{"name", func(c *Config) *string { return &c.Terminal.ID }, checkName}},
	{"terminal.operator", `"0"`, "", ownFile,
		"Operator of a sale whose request names none.",
		&text{"name", func(c *Config) *string { return &c.Terminal.Operator }, checkName}},
	{"terminal.currency", "", `"EUR"`, ownFile,
		"ISO 4217 code of the one currency of this till. Prices and amounts are in its minor unit.",
		parsed("currency", `"EUR"`, func(c *Config) *pos.Currency { return &c.Terminal.Currency }, parseCurrency,
			func(c pos.Currency) string { return c.Code })},
	{"terminal.prices", `"inclusive"`, "", ownHeadOffice,
		"Whether prices contain the tax. A request may say otherwise for one sale.",
		choice(func(c *Config) *pos.PriceMode { return &c.Terminal.Prices },
			[]string{"inclusive", "exclusive"}, []pos.PriceMode{pos.Inclusive, pos.Exclusive})},
	{"terminal.rounding", `"document"`, "", ownHeadOffice,
		"Where tax is rounded: once per tax code over the document, or on every line.\nThe law of the country decides.",
		choice(func(c *Config) *pos.Rounding { return &c.Terminal.Rounding },
			[]string{"document", "line"}, []pos.Rounding{pos.PerDocument, pos.PerLine})},
	{"terminal.cash_rounding", "0", "", ownHeadOffice,
		"Smallest coin, in minor units of the currency: 5 rounds what is paid or paid out in cash\nto five cents, halves away from zero. 0: cash is not rounded. At most\none whole unit in currencies with small coins, such as EUR and USD.",
		&number{func(c *Config) *int { return &c.Terminal.CashRounding }, 0, mostCoin}},
	{"terminal.time_zone", "", `"Europe/Berlin"`, ownFile,
		"IANA name of the shop's time zone. It decides the business date.",
		parsed("time zone", `"Europe/Berlin"`, func(c *Config) **time.Location { return &c.Terminal.TimeZone }, parseZone,
			(*time.Location).String)},
	{"terminal.day_start", `"04:00"`, "", ownHeadOffice,
		"When a business day begins. A sale before it belongs to the day before.",
		parsed("time of day", `"04:00"`, func(c *Config) *time.Duration { return &c.Terminal.DayStart },
			func(_ *decoder, s string) (time.Duration, *fault) { return parseClock(s) }, formatClock)},

	{taxKeys, "", `A = "19"`, ownHeadOffice,
		"Tax codes and their rates in percent, as strings with up to four decimals. At least one.\nA code is 1 to 8 of A-Z a-z 0-9 _ -. A change holds for new sales only. A rate that changes\non a known day is a list, A = [\"19\", \"16 from 2027-07-01\", \"19 from 2028-01-01\"]: each\nholds for what is scanned from that business date on.",
		&made{name: "percentage", out: formatTaxes}},

	{"items.patterns", "[]", "", ownHeadOffice,
		"Codes of scales and packers that carry a weight, price or number, at most 32; the first\nthat fits decides. A pattern has a character for each digit of the code: digits stand for\nthemselves, I for the item's number, P for a price, W for a weight or measure, N for pieces,\nV for the verifier digit of a P or W of 4 or 5 digits, C for the check digit, X for any digit.\nA point shows where the decimals of P or W begin (else: those of the currency; three). A unit\nother than kg follows W after a blank. For example [\"02IIIIIVPPPPC\", \"28IIIIIWW.WWWC\",\n\"29IIIIIWWW.WWC l\"]; the country's GS1 organisation says which it uses.",
		&list{func(c *Config) *[]string { return &c.Items.Patterns }, 32, checkPattern}},
	{"items.repeat", `"0s"`, "", ownHeadOffice,
		"Scanners that send a code twice: a line that is added to a basket by the same code within this\ntime, with nothing between, is taken for a repeat and not added. At most 2s; 150ms to 300ms is\nbelow what a hand does. \"0s\": every scan counts.",
		&duration{func(c *Config) *time.Duration { return &c.Items.Repeat }, 0, 2 * time.Second}},

	{"operators.idle", `"15m"`, "", ownHeadOffice,
		"An operator is signed out when nothing was done for so long. Holds where operators sign in\n(posctl operator), as do operators.attempts and [roles].",
		&duration{func(c *Config) *time.Duration { return &c.Operators.Idle }, 10 * time.Second, 7 * day}},
	{"operators.attempts", "5", "", ownHeadOffice,
		"Wrong PINs in a row after which an operator is locked: for half a minute, and twice as long\nafter each further one, at most 15 minutes.",
		&number{func(c *Config) *int { return &c.Operators.Attempts }, 1, 100}},

	{"roles.cashier", `["sale", "training", "price.open", "discount:10", "line.void", "return:2000", "receipt.copy", "shift.open", "shift.hand", "cash.drop", "cash.declare"]`, "", ownHeadOffice,
		"What an operator of this role may do: names of docs/integrate.md, with a limit behind a colon\nwhere there is one: percent (discount:10), or minor units of the currency (cash.out:5000).\n\"*\" is all. What is missing asks for a second operator who may.",
		&role{"cashier"}},
	{"roles.supervisor", `["sale", "training", "item.unknown", "price.open", "price.change", "discount:30", "line.void", "basket.void", "tender.reverse", "card.resolve", "return", "return.blind:10000", "return.other", "sale.void", "receipt.copy", "shift.open", "shift.close", "shift.hand", "shift.report", "cash.in", "cash.out:10000", "cash.drop", "cash.declare", "drawer.open", "operator.unlock"]`, "", ownHeadOffice,
		"The same for supervisors.",
		&role{"supervisor"}},
	{"roles.manager", `["*"]`, "", ownHeadOffice,
		"The same for managers.",
		&role{"manager"}},

	{"receipt.header", "[]", "", ownHeadOffice,
		"First lines of every receipt, at most 8: the shop's name, which is printed large, and address.",
		&list{func(c *Config) *[]string { return &c.Receipt.Header }, 8, checkLine}},
	{"receipt.footer", "[]", "", ownHeadOffice,
		"Last lines of every receipt, at most 16.",
		&list{func(c *Config) *[]string { return &c.Receipt.Footer }, 16, checkLine}},
	{"receipt.tax_number", `""`, "", ownHeadOffice,
		"The shop's tax number, as the law wants it on receipts. Empty: none.",
		&text{"text", func(c *Config) *string { return &c.Receipt.TaxNumber }, checkLine}},
	{"receipt.language", `"en"`, "", ownHeadOffice,
		"Language of a receipt's own words, such as Total.",
		choice(func(c *Config) *string { return &c.Receipt.Language }, receipt.Languages(), receipt.Languages())},
	{"receipt.decimal_comma", "false", "", ownHeadOffice,
		"Write amounts as 1,99 instead of 1.99.",
		&boolean{func(c *Config) *bool { return &c.Receipt.DecimalComma }}},
	{"receipt.barcode", "false", "", ownHeadOffice,
		"Print the receipt's number as a bar code (CODE128) too, for scanners that read no QR codes.",
		&boolean{func(c *Config) *bool { return &c.Receipt.Barcode }}},

	{"receipt.print", `"none"`, "", ownHeadOffice,
		"What the printer is given unasked: none, receipts of sales (unless the front end says\notherwise of one), or all: Z reports and slips of cash put in and taken out too.",
		choice(func(c *Config) *string { return &c.Receipt.Print }, []string{"none", "sales", "all"}, []string{"none", "sales", "all"})},

	{"printer.address", `""`, "", ownFile,
		"The receipt printer: its device, such as \"/dev/usb/lp0\" or \"/dev/ttyS0\" (stty or udev sets\nthe speed), or host:port, mostly port 9100. Empty: none.",
		&text{"address", func(c *Config) *string { return &c.Printer.Address }, checkPrinter}},
	{"printer.profile", `"epson"`, "", ownFile,
		"What it understands beside plain ESC/POS. epson: QR codes, and feeding to its knife; so do\nmost printers of today. generic: neither; QR codes are sent as pictures.",
		choice(func(c *Config) *string { return &c.Printer.Profile }, []string{"epson", "generic"}, []string{"epson", "generic"})},
	{"printer.columns", "42", "", ownFile,
		"Characters in a line: mostly 32 on paper of 58 mm; 42 or 48 on 80 mm.",
		&number{func(c *Config) *int { return &c.Printer.Columns }, 24, 64}},
	{"printer.charset", `"cp858"`, "", ownFile,
		"Its character set. cp437, cp850, cp858 (with the euro), wpc1252: Western Europe;\ncp852: Central Europe; cp866: Cyrillic; utf-8: printers that can. What a set lacks is\nprinted with other letters.",
		choice(func(c *Config) *string { return &c.Printer.Charset }, receipt.Charsets(), receipt.Charsets())},
	{"printer.status", "true", "", ownFile,
		"Whether it answers questions. Without its answers nobody knows that it is out of paper.",
		&boolean{func(c *Config) *bool { return &c.Printer.Status }}},
	{"printer.drawer", "true", "", ownFile,
		"Whether a cash drawer is connected to it.",
		&boolean{func(c *Config) *bool { return &c.Printer.Drawer }}},

	{"card.address", `""`, "", ownFile,
		"The payment terminal, or the adapter that speaks to it, as host:port; docs/payment.md has the\nprotocol. Empty: none, the cashier types the reference of the slip.",
		&text{"address", func(c *Config) *string { return &c.Card.Address }, checkCard}},
	{"card.terminal", `""`, "", ownFile,
		"Name that the payment terminal has to give, so that no till charges at its neighbour's. Empty: any.",
		&text{"name", func(c *Config) *string { return &c.Card.Terminal }, checkStream}},
	{"card.ca_file", `""`, "", ownFile,
		"PEM file of the authority that signed the payment terminal's certificate: speak TLS. Empty:\nwhoever can answer in its place can approve payments; use a network of its own, or an adapter\non this machine.",
		&text{"path", func(c *Config) *string { return &c.Card.CAFile }, checkNoPath}},
	{"card.cert_file", `""`, "", ownFile,
		"PEM file of this till's certificate for the payment terminal. Needs card.key_file and\ncard.ca_file. All three are read again at each connection.",
		&text{"path", func(c *Config) *string { return &c.Card.CertFile }, checkNoPath}},
	{"card.key_file", `""`, "", ownFile,
		"PEM file of that certificate's key. Not readable by others.",
		&text{"path", func(c *Config) *string { return &c.Card.KeyFile }, checkNoPath}},
	{"card.timeout", `"2m"`, "", ownHeadOffice,
		"How long a customer may take at the payment terminal.",
		&duration{func(c *Config) *time.Duration { return &c.Card.Timeout }, time.Second, 10 * time.Minute}},
	{"card.offline_sale", "0", "", ownHeadOffice,
		"Most that may be approved in one sale while the acquirer cannot be reached, in minor units, at\nthe shop's risk. 0: nothing.",
		&number{func(c *Config) *int { return &c.Card.OfflineSale }, 0, 1e9}},
	{"card.offline_terminal", "0", "", ownHeadOffice,
		"Most of it that may be outstanding: approved, and not known to be with the acquirer.",
		&number{func(c *Config) *int { return &c.Card.OfflineTerminal }, 0, 1e9}},
	{"card.offline_day", "0", "", ownHeadOffice,
		"Most of it on one business date.",
		&number{func(c *Config) *int { return &c.Card.OfflineDay }, 0, 1e9}},

	{"http.listen", `"127.0.0.1:8080"`, "", ownFile,
		"Where front ends connect, as host:port. Port 0 picks a free one. Empty: only http.socket.",
		&text{"address", func(c *Config) *string { return &c.HTTP.Listen }, checkListen}},
	{"http.allow_remote", "false", "", ownFile,
		"Allow http.listen on an address that other machines can reach. HTTP is not encrypted:\nwhoever can watch the network reads the front ends' tokens. Put a TLS proxy in front.",
		&boolean{func(c *Config) *bool { return &c.HTTP.AllowRemote }}},
	{"http.socket", `""`, "", ownFile,
		"Path of a unix socket that serves the same interface. Empty: none.",
		&text{"path", func(c *Config) *string { return &c.HTTP.Socket }, checkNoPath}},
	{"http.socket_users", "[]", "", ownFile,
		"Users of this machine whose programs need no token on http.socket, such as [\"kiosk\"]. Events\nname them as front end user:kiosk. The socket's file has to let them in, too.",
		&list{func(c *Config) *[]string { return &c.HTTP.SocketUsers }, 16, checkUser}},
	{"http.origins", "[]", "", ownFile,
		"Origins of browser front ends that are served from elsewhere, such as \"https://till.example\".",
		&list{func(c *Config) *[]string { return &c.HTTP.Origins }, 16, checkOrigin}},
	{"http.static", `""`, "", ownFile,
		"Folder with a browser front end that posd serves at /. Empty: none.",
		&text{"path", func(c *Config) *string { return &c.HTTP.Static }, checkNoPath}},
	{"http.max_body", `"64KiB"`, "", ownFile,
		"Largest request body. It bounds memory: several requests may be in flight.",
		&size{func(c *Config) *int64 { return &c.HTTP.MaxBody }, 4 << 10, 1 << 20}},

	{"http.rate", "0", "", ownFile,
		"Sales a second that are let in from each front end; twice as many at once. Other requests:\nfour times as many.\n0: five for each percent of the CPU quota, and without a quota no limit.",
		&number{func(c *Config) *int { return &c.HTTP.Rate }, 0, 100_000}},

	{"data.dir", `"/var/lib/posd"`, "", ownFile,
		"Folder of the journal and all else that posd keeps. It must exist: posd never creates\nit, so that a disk which is not mounted is not mistaken for a new till.",
		&text{"path", func(c *Config) *string { return &c.Data.Dir }, checkPath}},
	{"data.max_bytes", `"4GiB"`, "", ownHeadOffice,
		"How large the journal may grow. What head office has not got is never dropped: when it\nis full of such sales, posd refuses new ones.",
		&size{func(c *Config) *int64 { return &c.Data.MaxBytes }, 256 << 10, 1 << 40}},
	{"data.retention", `"30d"`, "", ownHeadOffice,
		"How long sales stay on the terminal at least after head office has them. By a clock that\nnothing disciplines nothing goes: then data.max_bytes decides.",
		&duration{func(c *Config) *time.Duration { return &c.Data.Retention }, time.Hour, 3650 * day}},
	{"data.segment", `"4MiB"`, "", ownFile,
		"Size of one journal file, a power of two from 64KiB to 64MiB. Holds for new files.",
		&size{func(c *Config) *int64 { return &c.Data.Segment }, 64 << 10, 64 << 20}},

	{"hub.urls", "[]", "", ownFile,
		"NATS addresses of head office, such as \"tls://hub.example:4222\". Empty: work alone.",
		&list{func(c *Config) *[]string { return &c.Hub.URLs }, 16, checkHubURL}},
	{"hub.fallback_urls", "[]", "", ownFile,
		"NATS addresses of other regions, for when none of hub.urls can be used. The till goes\nback when its own region has answered for a while.",
		&list{func(c *Config) *[]string { return &c.Hub.Fallback }, 16, checkHubURL}},
	{"hub.credentials", `""`, "", ownFile,
		"NATS credentials file (JWT and key). Not readable by others. Read again at each connect.",
		&text{"path", func(c *Config) *string { return &c.Hub.Credentials }, checkNoPath}},
	{"hub.token_file", `""`, "", ownFile,
		"File with a NATS token, instead of hub.credentials. Not readable by others.",
		&text{"path", func(c *Config) *string { return &c.Hub.TokenFile }, checkNoPath}},
	{"hub.ca_file", `""`, "", ownFile,
		"PEM file of the authority that signed the hub's certificate. Empty: the system's.",
		&text{"path", func(c *Config) *string { return &c.Hub.CAFile }, checkNoPath}},
	{"hub.cert_file", `""`, "", ownFile,
		"PEM file of this till's certificate, where the hub asks for one. Needs hub.key_file.\nBoth are read again at each connect.",
		&text{"path", func(c *Config) *string { return &c.Hub.CertFile }, checkNoPath}},
	{"hub.key_file", `""`, "", ownFile,
		"PEM file of that certificate's key. Not readable by others.",
		&text{"path", func(c *Config) *string { return &c.Hub.KeyFile }, checkNoPath}},
	{"hub.shard", "0", "", ownFile,
		"Which of head office's streams this till writes to.",
		&number{func(c *Config) *int { return &c.Hub.Shard }, 0, 4095}},
	{"hub.stream", `""`, "", ownFile,
		"Name of that stream. Empty: POS_UP_<shard>.",
		&text{"name", func(c *Config) *string { return &c.Hub.Stream }, checkStream}},
	{"hub.office_key", `""`, "", ownFile,
		"Head office's public key, 64 hexadecimal digits (poshub prints it). Configuration and\ncommands that it has not signed are refused. Empty: the key that came with the enrolment;\nwithout either every one is refused.",
		&text{"key", func(c *Config) *string { return &c.Hub.OfficeKey }, checkOfficeKey}},

	{"hub.enroll_url", `""`, "", ownFile,
		"Address of head office's HTTP interface, such as \"https://hub.example:8090\". With it a till\nthat has no credentials fetches them, once, with a token (poshub enrol), and what else\nit needs: then hub.urls may be empty, and hub.shard does not count.",
		&text{"address", func(c *Config) *string { return &c.Hub.EnrollURL }, checkEnrollURL}},
	{"hub.enroll_token_file", `""`, "", ownFile,
		"File with that token. Of no use to anybody once it was used.",
		&text{"path", func(c *Config) *string { return &c.Hub.EnrollToken }, checkNoPath}},

	{"limits.memory", `"20MiB"`, "", ownFile,
		"Limit of the Go heap. A slice with less memory lowers it.",
		&size{func(c *Config) *int64 { return &c.Limits.Memory }, 8 << 20, 1 << 40}},
	{"limits.expect_cpu", `"10%"`, "", ownFile,
		"CPU quota that the slice should give, in percent of one core. posd warns when it finds\nanother. \"0%\" expects nothing.",
		parsed("percentage", `"10%"`, func(c *Config) *int { return &c.Limits.ExpectCPU },
			func(_ *decoder, s string) (int, *fault) { return parsePercent(s) },
			func(n int) string { return strconv.Itoa(n) + "%" })},
	{"limits.expect_memory", `"32MiB"`, "", ownFile,
		"Memory limit that the slice should set. posd warns when it finds another. \"0B\" expects nothing.",
		&size{func(c *Config) *int64 { return &c.Limits.ExpectMemory }, 0, 1 << 40}},

	{"log.level", `"info"`, "", ownHeadOffice,
		"Least important messages that are logged.",
		choice(func(c *Config) *slog.Level { return &c.Log.Level }, []string{"debug", "info", "warn", "error"},
			[]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError})},
	{"log.format", `"text"`, "", ownFile,
		"How messages are written to standard error.",
		choice(func(c *Config) *string { return &c.Log.Format }, []string{"text", "json"}, []string{"text", "json"})},
}

func checkName(s string) *fault {
	if !validName(s, 32) {
		return &fault{fmt.Sprintf("%q is not a name", s), "use 1 to 32 of A-Z a-z 0-9 _ -"}
	}
	return nil
}

func checkStream(s string) *fault {
	if s == "" {
		return nil
	}
	return checkName(s)
}

func checkOfficeKey(s string) *fault {
	if b, err := hex.DecodeString(s); err != nil || len(b) != ed25519.PublicKeySize && s != "" {
		return &fault{"not a public key", "write its 64 hexadecimal digits (poshub keys show)"}
	}
	return nil
}

func parseCurrency(_ *decoder, s string) (pos.Currency, *fault) {
	c, err := pos.CurrencyOf(s)
	if err != nil {
		return c, &fault{err.Error(), `write an ISO 4217 code such as "EUR"`}
	}
	return c, nil
}

func parseZone(d *decoder, s string) (*time.Location, *fault) {
	// time.LoadLocation gives UTC for "" and the machine's zone for "Local";
	// either would let a reinstalled till change its business dates in silence.
	if s == "" || s == "Local" {
		return nil, &fault{fmt.Sprintf("%q names no time zone", s), `write an IANA name such as "Europe/Berlin", or "UTC"`}
	}
	loc, err := d.zone(s)
	if err == nil {
		return loc, nil
	}
	if _, probe := d.zone("Europe/Berlin"); probe != nil {
		return nil, &fault{fmt.Sprintf("%q cannot be looked up: this machine has no time zone data", s),
			"install it (apt-get install tzdata, or point ZONEINFO to a zoneinfo.zip)"}
	}
	return nil, &fault{fmt.Sprintf("%q is not a known time zone", s), `write an IANA name such as "Europe/Berlin"`}
}

func formatClock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute)
}

// maxTaxes bounds the table; receipts and shift totals hold one entry per code.
const maxTaxes = 32

// setTax adds one entry of the [tax] table.
func setTax(c *Config, code string, v value) *fault {
	if !validName(code, 8) {
		return &fault{fmt.Sprintf("%q is not a tax code", code), "use 1 to 8 of A-Z a-z 0-9 _ -"}
	}
	if len(c.Taxes) >= maxTaxes {
		return &fault{"too many tax codes", fmt.Sprintf("give at most %d", maxTaxes)}
	}
	s := v.text
	if v.kind == unstableFloat || v.kind == unstableInteger {
		return &fault{"a rate must be a string, so that no decimal is lost", fmt.Sprintf("write %s = %q", code, s)}
	}
	if v.kind != unstableString && v.kind != unstableArray {
		return wrongKind(v, "a string or a list", `"19", or ["19", "16 from 2027-07-01"]`)
	}
	if v.kind == unstableString {
		v.list = []string{s}
	}
	tax, bad := parseTax(v.list)
	if bad != nil {
		return bad
	}
	tax.Code = code
	c.Taxes = append(c.Taxes, tax)
	for i := len(c.Taxes) - 1; i > 0 && c.Taxes[i].Code < c.Taxes[i-1].Code; i-- {
		c.Taxes[i], c.Taxes[i-1] = c.Taxes[i-1], c.Taxes[i]
	}
	return nil
}

func formatTaxes(c *Config) string {
	var b strings.Builder
	for _, t := range c.Taxes {
		fmt.Fprintf(&b, "%s:%d ", t.Code, t.Rate)
		for _, l := range t.Later {
			fmt.Fprintf(&b, "%s:%d ", l.From, l.Rate)
		}
	}
	return b.String()
}

func checkPattern(s string) *fault {
	if err := itemcode.CheckPattern(s); err != nil {
		return &fault{fmt.Sprintf("%q is not a pattern: %v", s, err), `write one such as "02IIIIIVPPPPC"`}
	}
	return nil
}

// checkLine is for a line on paper: any text without control characters.
func checkLine(s string) *fault {
	if !plainText(s, 200) {
		return &fault{fmt.Sprintf("%q is not a line", s), "give at most 200 bytes without control characters"}
	}
	return nil
}

func checkPrinter(s string) *fault {
	if s == "" || strings.HasPrefix(s, "/") && plainText(s, 4096) {
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || host == "" || !plainText(s, 255) {
		return &fault{fmt.Sprintf("%q is neither a device nor host:port", s), `write one such as "/dev/usb/lp0" or "192.168.1.50:9100"`}
	}
	return nil
}

func checkUser(s string) *fault {
	if s == "" || len(s) > 32 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != "" {
		return &fault{fmt.Sprintf("%q is not a user", s), `write a name of /etc/passwd such as "kiosk", or a user's number`}
	}
	return nil
}

func checkCard(s string) *fault {
	if strings.HasPrefix(s, "/") || checkPrinter(s) != nil {
		return &fault{fmt.Sprintf("%q is not host:port", s), `write an address such as "192.168.1.60:7788"`}
	}
	return nil
}

func checkListen(s string) *fault {
	if s == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || !plainText(s, 255) {
		return &fault{fmt.Sprintf("%q is not host:port", s), `write an address such as "127.0.0.1:8080" or "[::1]:8080"`}
	}
	return nil
}

// isLoopback tells whether only this machine can reach a listen address.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost"
}

func checkOrigin(s string) *fault {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Scheme+"://"+u.Host != s {
		return &fault{fmt.Sprintf("%q is not an origin", s), `write scheme and host only, such as "https://till.example"`}
	}
	return nil
}

func checkEnrollURL(s string) *fault {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https":
		return &fault{"not an address of HTTP", `write one such as "https://hub.example:8090"`}
	case u.User != nil:
		return &fault{"an address must not hold a secret", "put the token into the file of hub.enroll_token_file"}
	case u.Scheme == "http" && !isLoopback(net.JoinHostPort(u.Hostname(), "0")):
		// Who reads the token on the way can use it first.
		return &fault{"the token would go over the network in the clear", `use "https://", head office's poshub serve --tls-cert`}
	}
	return nil
}

func checkHubURL(s string) *fault {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || (u.Path != "" && u.Scheme != "ws" && u.Scheme != "wss"):
		return &fault{"not a NATS address", `write one such as "tls://hub.example:4222"`}
	case u.User != nil:
		// The file is readable by all; and the address is printed in messages.
		return &fault{"an address must not hold a secret", "put it into a file and name that in hub.token_file or hub.credentials"}
	case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
		return &fault{fmt.Sprintf("scheme %q is unknown", u.Scheme), "use tls, nats, wss or ws"}
	}
	return nil
}
