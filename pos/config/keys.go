package config

import (
	"cmp"
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
type owner string

const (
	ownFile       owner = "file"
	ownHeadOffice owner = "file, head office may override"
)

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

// taxKeys is the one name in the table that stands for many keys.
const taxKeys = "tax.*"

var keys = []key{
	{"terminal.store", "", `"s1"`, ownFile,
		"The store's name, 1 to 32 of A-Z a-z 0-9 _ -. With terminal.id it names this till\neverywhere, and it never changes: a journal of another terminal is refused.",
		text("name", func(c *Config) *string { return &c.Terminal.Store }, checkName)},
	{"terminal.id", "", `"t1"`, ownFile,
		"The till's name within the store, same alphabet. Receipt numbers begin with it.",
		text("name", func(c *Config) *string { return &c.Terminal.ID }, checkName)},
	{"terminal.operator", `"0"`, "", ownFile,
		"Operator of a sale whose request names none.",
		text("name", func(c *Config) *string { return &c.Terminal.Operator }, checkName)},
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
		"Smallest coin, in minor units of the currency: 5 rounds what is paid or paid out in cash\nto five cents, halves away from zero. 0: cash is not rounded.",
		number(func(c *Config) *int { return &c.Terminal.CashRounding }, 0, 10_000)},
	{"terminal.time_zone", "", `"Europe/Berlin"`, ownFile,
		"IANA name of the shop's time zone. It decides the business date.",
		parsed("time zone", `"Europe/Berlin"`, func(c *Config) **time.Location { return &c.Terminal.TimeZone }, parseZone,
			(*time.Location).String)},
	{"terminal.day_start", `"04:00"`, "", ownHeadOffice,
		"When a business day begins. A sale before it belongs to the day before.",
		parsed("time of day", `"04:00"`, func(c *Config) *time.Duration { return &c.Terminal.DayStart },
			func(_ *decoder, s string) (time.Duration, *fault) { return parseClock(s) }, formatClock)},

	{taxKeys, "", `A = "19"`, ownHeadOffice,
		"Tax codes and their rates in percent, as strings with up to four decimals. At least one.\nA code is 1 to 8 of A-Z a-z 0-9 _ -. A change holds for new sales only.",
		field{typ: "percentage", set: nil, get: formatTaxes}},

	{"items.patterns", "[]", "", ownHeadOffice,
		"Codes of scales and packers that carry a weight, price or number, at most 32; the first\nthat fits decides. A pattern has a character for each digit of the code: digits stand for\nthemselves, I for the item's number, P for a price, W for a weight or measure, N for pieces,\nV for the verifier digit of a P or W of 4 or 5 digits, C for the check digit, X for any digit.\nA point shows where the decimals of P or W begin (else: those of the currency; three). A unit\nother than kg follows W after a blank. For example [\"02IIIIIVPPPPC\", \"28IIIIIWW.WWWC\",\n\"29IIIIIWWW.WWC l\"]; the country's GS1 organisation says which it uses.",
		list(func(c *Config) *[]string { return &c.Items.Patterns }, 32, checkPattern)},

	{"receipt.header", "[]", "", ownHeadOffice,
		"First lines of every receipt, at most 8: the shop's name, which is printed large, and address.",
		list(func(c *Config) *[]string { return &c.Receipt.Header }, 8, checkLine)},
	{"receipt.footer", "[]", "", ownHeadOffice,
		"Last lines of every receipt, at most 16.",
		list(func(c *Config) *[]string { return &c.Receipt.Footer }, 16, checkLine)},
	{"receipt.tax_number", `""`, "", ownHeadOffice,
		"The shop's tax number, as the law wants it on receipts. Empty: none.",
		text("text", func(c *Config) *string { return &c.Receipt.TaxNumber }, checkLine)},
	{"receipt.language", `"en"`, "", ownHeadOffice,
		"Language of a receipt's own words, such as Total.",
		choice(func(c *Config) *string { return &c.Receipt.Language }, receipt.Languages(), receipt.Languages())},
	{"receipt.decimal_comma", "false", "", ownHeadOffice,
		"Write amounts as 1,99 instead of 1.99.",
		boolean(func(c *Config) *bool { return &c.Receipt.DecimalComma })},
	{"receipt.barcode", "false", "", ownHeadOffice,
		"Print the receipt's number as a bar code (CODE128) too, for scanners that read no QR codes.",
		boolean(func(c *Config) *bool { return &c.Receipt.Barcode })},

	{"printer.address", `""`, "", ownFile,
		"The receipt printer: its device, such as \"/dev/usb/lp0\" or \"/dev/ttyS0\" (stty or udev sets\nthe speed), or host:port, mostly port 9100. Empty: none.",
		text("address", func(c *Config) *string { return &c.Printer.Address }, checkPrinter)},
	{"printer.profile", `"epson"`, "", ownFile,
		"What it understands beside plain ESC/POS. epson: QR codes, and feeding to its knife; so do\nmost printers of today. generic: neither; QR codes are sent as pictures.",
		choice(func(c *Config) *string { return &c.Printer.Profile }, []string{"epson", "generic"}, []string{"epson", "generic"})},
	{"printer.columns", "42", "", ownFile,
		"Characters in a line: mostly 32 on paper of 58 mm; 42 or 48 on 80 mm.",
		number(func(c *Config) *int { return &c.Printer.Columns }, 24, 64)},
	{"printer.charset", `"cp858"`, "", ownFile,
		"Its character set. cp437, cp850, cp858 (with the euro), wpc1252: Western Europe;\ncp852: Central Europe; cp866: Cyrillic; utf-8: printers that can. What a set lacks is\nprinted with other letters.",
		choice(func(c *Config) *string { return &c.Printer.Charset }, receipt.Charsets(), receipt.Charsets())},
	{"printer.status", "true", "", ownFile,
		"Whether it answers questions. Without its answers nobody knows that it is out of paper.",
		boolean(func(c *Config) *bool { return &c.Printer.Status })},
	{"printer.drawer", "true", "", ownFile,
		"Whether a cash drawer is connected to it.",
		boolean(func(c *Config) *bool { return &c.Printer.Drawer })},

	{"http.listen", `"127.0.0.1:8080"`, "", ownFile,
		"Where front ends connect, as host:port. Port 0 picks a free one. Empty: only http.socket.",
		text("address", func(c *Config) *string { return &c.HTTP.Listen }, checkListen)},
	{"http.allow_remote", "false", "", ownFile,
		"Allow http.listen on an address that other machines can reach. HTTP is not encrypted:\nwhoever can watch the network reads the front ends' tokens. Put a TLS proxy in front.",
		boolean(func(c *Config) *bool { return &c.HTTP.AllowRemote })},
	{"http.socket", `""`, "", ownFile,
		"Path of a unix socket that serves the same interface. Empty: none.",
		file(func(c *Config) *string { return &c.HTTP.Socket }, true)},
	{"http.origins", "[]", "", ownFile,
		"Origins of browser front ends that are served from elsewhere, such as \"https://till.example\".",
		list(func(c *Config) *[]string { return &c.HTTP.Origins }, 16, checkOrigin)},
	{"http.static", `""`, "", ownFile,
		"Folder with a browser front end that posd serves at /. Empty: none.",
		file(func(c *Config) *string { return &c.HTTP.Static }, true)},
	{"http.max_body", `"64KiB"`, "", ownFile,
		"Largest request body. It bounds memory: several requests may be in flight.",
		size(func(c *Config) *int64 { return &c.HTTP.MaxBody }, 4<<10, 1<<20)},

	{"http.rate", "0", "", ownFile,
		"Sales a second that are let in from each front end; twice as many at once. Other requests:\nfour times as many.\n0: five for each percent of the CPU quota, and without a quota no limit.",
		number(func(c *Config) *int { return &c.HTTP.Rate }, 0, 100_000)},

	{"data.dir", `"/var/lib/posd"`, "", ownFile,
		"Folder of the journal and all else that posd keeps. It must exist: posd never creates\nit, so that a disk which is not mounted is not mistaken for a new till.",
		file(func(c *Config) *string { return &c.Data.Dir }, false)},
	{"data.max_bytes", `"4GiB"`, "", ownHeadOffice,
		"How large the journal may grow. What head office has not got is never dropped: when it\nis full of such sales, posd refuses new ones.",
		size(func(c *Config) *int64 { return &c.Data.MaxBytes }, 256<<10, 1<<40)},
	{"data.retention", `"30d"`, "", ownHeadOffice,
		"How long sales stay on the terminal after head office has them.",
		duration(func(c *Config) *time.Duration { return &c.Data.Retention }, time.Hour, 3650*day)},
	{"data.segment", `"4MiB"`, "", ownFile,
		"Size of one journal file, a power of two from 64KiB to 64MiB. Holds for new files.",
		size(func(c *Config) *int64 { return &c.Data.Segment }, 64<<10, 64<<20)},

	{"hub.urls", "[]", "", ownFile,
		"NATS addresses of head office, such as \"tls://hub.example:4222\". Empty: work alone.",
		list(func(c *Config) *[]string { return &c.Hub.URLs }, 16, checkHubURL)},
	{"hub.fallback_urls", "[]", "", ownFile,
		"NATS addresses of other regions, for when none of hub.urls can be used. The till goes\nback when its own region has answered for a while.",
		list(func(c *Config) *[]string { return &c.Hub.Fallback }, 16, checkHubURL)},
	{"hub.credentials", `""`, "", ownFile,
		"NATS credentials file (JWT and key). Not readable by others. Read again at each connect.",
		file(func(c *Config) *string { return &c.Hub.Credentials }, true)},
	{"hub.token_file", `""`, "", ownFile,
		"File with a NATS token, instead of hub.credentials. Not readable by others.",
		file(func(c *Config) *string { return &c.Hub.TokenFile }, true)},
	{"hub.ca_file", `""`, "", ownFile,
		"PEM file of the authority that signed the hub's certificate. Empty: the system's.",
		file(func(c *Config) *string { return &c.Hub.CAFile }, true)},
	{"hub.cert_file", `""`, "", ownFile,
		"PEM file of this till's certificate, where the hub asks for one. Needs hub.key_file.\nBoth are read again at each connect.",
		file(func(c *Config) *string { return &c.Hub.CertFile }, true)},
	{"hub.key_file", `""`, "", ownFile,
		"PEM file of that certificate's key. Not readable by others.",
		file(func(c *Config) *string { return &c.Hub.KeyFile }, true)},
	{"hub.shard", "0", "", ownFile,
		"Which of head office's streams this till writes to.",
		number(func(c *Config) *int { return &c.Hub.Shard }, 0, 4095)},
	{"hub.stream", `""`, "", ownFile,
		"Name of that stream. Empty: POS_UP_<shard>.",
		text("name", func(c *Config) *string { return &c.Hub.Stream }, checkStream)},
	{"hub.office_key", `""`, "", ownFile,
		"Head office's public key, 64 hexadecimal digits (poshub prints it). Configuration and\ncommands that it has not signed are refused. Empty: the key that came with the enrolment;\nwithout either every one is refused.",
		text("key", func(c *Config) *string { return &c.Hub.OfficeKey }, checkOfficeKey)},

	{"hub.enroll_url", `""`, "", ownFile,
		"Address of head office's HTTP interface, such as \"https://hub.example:8090\". With it a till\nthat has no credentials fetches them, once, with a token (poshub enrol), and what else\nit needs: then hub.urls may be empty, and hub.shard does not count.",
		text("address", func(c *Config) *string { return &c.Hub.EnrollURL }, checkEnrollURL)},
	{"hub.enroll_token_file", `""`, "", ownFile,
		"File with that token. Of no use to anybody once it was used.",
		file(func(c *Config) *string { return &c.Hub.EnrollToken }, true)},

	{"limits.memory", `"20MiB"`, "", ownFile,
		"Limit of the Go heap. A slice with less memory lowers it.",
		size(func(c *Config) *int64 { return &c.Limits.Memory }, 8<<20, 1<<40)},
	{"limits.expect_cpu", `"10%"`, "", ownFile,
		"CPU quota that the slice should give, in percent of one core. posd warns when it finds\nanother. \"0%\" expects nothing.",
		parsed("percentage", `"10%"`, func(c *Config) *int { return &c.Limits.ExpectCPU },
			func(_ *decoder, s string) (int, *fault) { return parsePercent(s) },
			func(n int) string { return strconv.Itoa(n) + "%" })},
	{"limits.expect_memory", `"32MiB"`, "", ownFile,
		"Memory limit that the slice should set. posd warns when it finds another. \"0B\" expects nothing.",
		size(func(c *Config) *int64 { return &c.Limits.ExpectMemory }, 0, 1<<40)},

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
	if v.kind != unstableString {
		return wrongKind(v, "a string", `"19"`)
	}
	rate, err := pos.ParseRate(strings.TrimSuffix(s, "%"))
	if err != nil {
		return &fault{err.Error(), `write percent, such as "19" or "7.25"`}
	}
	if rate < 0 || rate > 1_000_000 {
		return &fault{s + " percent is out of range", `give "0" to "100"`}
	}
	i, _ := slices.BinarySearchFunc(c.Taxes, code, func(t pos.Tax, code string) int { return cmp.Compare(t.Code, code) })
	c.Taxes = slices.Insert(c.Taxes, i, pos.Tax{Code: code, Rate: rate})
	return nil
}

func formatTaxes(c *Config) string {
	var b strings.Builder
	for _, t := range c.Taxes {
		fmt.Fprintf(&b, "%s:%d ", t.Code, t.Rate)
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
