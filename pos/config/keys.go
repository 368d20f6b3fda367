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
	field
}

const mostCoin = 10_000 // of any currency, in minor units

// taxKeys is the one name in the table that stands for many keys.
const taxKeys = "tax.*"

var keys = []key{
	{"terminal.store", "", `"s1"`, ownFile,
		&text{"name", func(c *Config) *string { return &c.Terminal.Store }, checkName}},
	{"terminal.id", "", `"t1"`, ownFile,
		&text{"name", func(c *Config) *string { return &c.Terminal.ID }, checkName}},
	{"terminal.operator", `"0"`, "", ownFile,
		&text{"name", func(c *Config) *string { return &c.Terminal.Operator }, checkName}},
	{"terminal.currency", "", `"EUR"`, ownFile,
		parsed("currency", `"EUR"`, func(c *Config) *pos.Currency { return &c.Terminal.Currency }, parseCurrency,
			func(c pos.Currency) string { return c.Code })},
	{"terminal.prices", `"inclusive"`, "", ownHeadOffice,
		choice(func(c *Config) *pos.PriceMode { return &c.Terminal.Prices },
			[]string{"inclusive", "exclusive"}, []pos.PriceMode{pos.Inclusive, pos.Exclusive})},
	{"terminal.rounding", `"document"`, "", ownHeadOffice,
		choice(func(c *Config) *pos.Rounding { return &c.Terminal.Rounding },
			[]string{"document", "line"}, []pos.Rounding{pos.PerDocument, pos.PerLine})},
	{"terminal.cash_rounding", "0", "", ownHeadOffice,
		&number{func(c *Config) *int { return &c.Terminal.CashRounding }, 0, mostCoin}},
	{"terminal.time_zone", "", `"Europe/Berlin"`, ownFile,
		parsed("time zone", `"Europe/Berlin"`, func(c *Config) **time.Location { return &c.Terminal.TimeZone }, parseZone,
			(*time.Location).String)},
	{"terminal.day_start", `"04:00"`, "", ownHeadOffice,
		parsed("time of day", `"04:00"`, func(c *Config) *time.Duration { return &c.Terminal.DayStart },
			func(_ *decoder, s string) (time.Duration, *fault) { return parseClock(s) }, formatClock)},

	{taxKeys, "", `A = "19"`, ownHeadOffice,
		&made{name: "percentage", out: formatTaxes}},

	{"items.patterns", "[]", "", ownHeadOffice,
		&list{func(c *Config) *[]string { return &c.Items.Patterns }, 32, checkPattern}},
	{"items.repeat", `"0s"`, "", ownHeadOffice,
		&duration{func(c *Config) *time.Duration { return &c.Items.Repeat }, 0, 2 * time.Second}},

	{"operators.idle", `"15m"`, "", ownHeadOffice,
		&duration{func(c *Config) *time.Duration { return &c.Operators.Idle }, 10 * time.Second, 7 * day}},
	{"operators.attempts", "5", "", ownHeadOffice,
		&number{func(c *Config) *int { return &c.Operators.Attempts }, 1, 100}},

	{"roles.cashier", `["sale", "training", "price.open", "discount:10", "line.void", "return:2000", "receipt.copy", "shift.open", "shift.hand", "cash.drop", "cash.declare"]`, "", ownHeadOffice,
		&role{"cashier"}},
	{"roles.supervisor", `["sale", "training", "item.unknown", "price.open", "price.change", "discount:30", "line.void", "basket.void", "tender.reverse", "card.resolve", "return", "return.blind:10000", "return.other", "sale.void", "receipt.copy", "shift.open", "shift.close", "shift.hand", "shift.report", "cash.in", "cash.out:10000", "cash.drop", "cash.declare", "drawer.open", "operator.unlock"]`, "", ownHeadOffice,
		&role{"supervisor"}},
	{"roles.manager", `["*"]`, "", ownHeadOffice,
		&role{"manager"}},

	{"receipt.header", "[]", "", ownHeadOffice,
		&list{func(c *Config) *[]string { return &c.Receipt.Header }, 8, checkLine}},
	{"receipt.footer", "[]", "", ownHeadOffice,
		&list{func(c *Config) *[]string { return &c.Receipt.Footer }, 16, checkLine}},
	{"receipt.tax_number", `""`, "", ownHeadOffice,
		&text{"text", func(c *Config) *string { return &c.Receipt.TaxNumber }, checkLine}},
	{"receipt.language", `"en"`, "", ownHeadOffice,
		choice(func(c *Config) *string { return &c.Receipt.Language }, receipt.Languages(), receipt.Languages())},
	{"receipt.decimal_comma", "false", "", ownHeadOffice,
		&boolean{func(c *Config) *bool { return &c.Receipt.DecimalComma }}},
	{"receipt.barcode", "false", "", ownHeadOffice,
		&boolean{func(c *Config) *bool { return &c.Receipt.Barcode }}},

	{"receipt.print", `"none"`, "", ownHeadOffice,
		choice(func(c *Config) *string { return &c.Receipt.Print }, []string{"none", "sales", "all"}, []string{"none", "sales", "all"})},

	{"printer.address", `""`, "", ownFile,
		&text{"address", func(c *Config) *string { return &c.Printer.Address }, checkPrinter}},
	{"printer.profile", `"epson"`, "", ownFile,
		choice(func(c *Config) *string { return &c.Printer.Profile }, []string{"epson", "generic"}, []string{"epson", "generic"})},
	{"printer.columns", "42", "", ownFile,
		&number{func(c *Config) *int { return &c.Printer.Columns }, 24, 64}},
	{"printer.charset", `"cp858"`, "", ownFile,
		choice(func(c *Config) *string { return &c.Printer.Charset }, receipt.Charsets(), receipt.Charsets())},
	{"printer.status", "true", "", ownFile,
		&boolean{func(c *Config) *bool { return &c.Printer.Status }}},
	{"printer.drawer", "true", "", ownFile,
		&boolean{func(c *Config) *bool { return &c.Printer.Drawer }}},

	{"card.address", `""`, "", ownFile,
		&text{"address", func(c *Config) *string { return &c.Card.Address }, checkCard}},
	{"card.terminal", `""`, "", ownFile,
		&text{"name", func(c *Config) *string { return &c.Card.Terminal }, checkStream}},
	{"card.ca_file", `""`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.Card.CAFile }, checkNoPath}},
	{"card.cert_file", `""`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.Card.CertFile }, checkNoPath}},
	{"card.key_file", `""`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.Card.KeyFile }, checkNoPath}},
	{"card.timeout", `"2m"`, "", ownHeadOffice,
		&duration{func(c *Config) *time.Duration { return &c.Card.Timeout }, time.Second, 10 * time.Minute}},
	{"card.offline_sale", "0", "", ownHeadOffice,
		&number{func(c *Config) *int { return &c.Card.OfflineSale }, 0, 1e9}},
	{"card.offline_terminal", "0", "", ownHeadOffice,
		&number{func(c *Config) *int { return &c.Card.OfflineTerminal }, 0, 1e9}},
	{"card.offline_day", "0", "", ownHeadOffice,
		&number{func(c *Config) *int { return &c.Card.OfflineDay }, 0, 1e9}},

	{"http.listen", `"127.0.0.1:8080"`, "", ownFile,
		&text{"address", func(c *Config) *string { return &c.HTTP.Listen }, checkListen}},
	{"http.allow_remote", "false", "", ownFile,
		&boolean{func(c *Config) *bool { return &c.HTTP.AllowRemote }}},
	{"http.socket", `""`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.HTTP.Socket }, checkNoPath}},
	{"http.socket_users", "[]", "", ownFile,
		&list{func(c *Config) *[]string { return &c.HTTP.SocketUsers }, 16, checkUser}},
	{"http.origins", "[]", "", ownFile,
		&list{func(c *Config) *[]string { return &c.HTTP.Origins }, 16, checkOrigin}},
	{"http.static", `""`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.HTTP.Static }, checkNoPath}},
	{"http.max_body", `"64KiB"`, "", ownFile,
		&size{func(c *Config) *int64 { return &c.HTTP.MaxBody }, 4 << 10, 1 << 20}},

	{"http.rate", "0", "", ownFile,
		&number{func(c *Config) *int { return &c.HTTP.Rate }, 0, 100_000}},

	{"data.dir", `"/var/lib/posd"`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.Data.Dir }, checkPath}},
	{"data.max_bytes", `"4GiB"`, "", ownHeadOffice,
		&size{func(c *Config) *int64 { return &c.Data.MaxBytes }, 256 << 10, 1 << 40}},
	{"data.retention", `"30d"`, "", ownHeadOffice,
		&duration{func(c *Config) *time.Duration { return &c.Data.Retention }, time.Hour, 3650 * day}},
	{"data.segment", `"4MiB"`, "", ownFile,
		&size{func(c *Config) *int64 { return &c.Data.Segment }, 64 << 10, 64 << 20}},

	{"hub.urls", "[]", "", ownFile,
		&list{func(c *Config) *[]string { return &c.Hub.URLs }, 16, checkHubURL}},
	{"hub.fallback_urls", "[]", "", ownFile,
		&list{func(c *Config) *[]string { return &c.Hub.Fallback }, 16, checkHubURL}},
	{"hub.credentials", `""`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.Hub.Credentials }, checkNoPath}},
	{"hub.token_file", `""`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.Hub.TokenFile }, checkNoPath}},
	{"hub.ca_file", `""`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.Hub.CAFile }, checkNoPath}},
	{"hub.cert_file", `""`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.Hub.CertFile }, checkNoPath}},
	{"hub.key_file", `""`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.Hub.KeyFile }, checkNoPath}},
	{"hub.shard", "0", "", ownFile,
		&number{func(c *Config) *int { return &c.Hub.Shard }, 0, 4095}},
	{"hub.stream", `""`, "", ownFile,
		&text{"name", func(c *Config) *string { return &c.Hub.Stream }, checkStream}},
	{"hub.office_key", `""`, "", ownFile,
		&text{"key", func(c *Config) *string { return &c.Hub.OfficeKey }, checkOfficeKey}},

	{"hub.enroll_url", `""`, "", ownFile,
		&text{"address", func(c *Config) *string { return &c.Hub.EnrollURL }, checkEnrollURL}},
	{"hub.enroll_token_file", `""`, "", ownFile,
		&text{"path", func(c *Config) *string { return &c.Hub.EnrollToken }, checkNoPath}},

	{"limits.memory", `"20MiB"`, "", ownFile,
		&size{func(c *Config) *int64 { return &c.Limits.Memory }, 8 << 20, 1 << 40}},
	{"limits.expect_cpu", `"10%"`, "", ownFile,
		parsed("percentage", `"10%"`, func(c *Config) *int { return &c.Limits.ExpectCPU },
			func(_ *decoder, s string) (int, *fault) { return parsePercent(s) },
			func(n int) string { return strconv.Itoa(n) + "%" })},
	{"limits.expect_memory", `"32MiB"`, "", ownFile,
		&size{func(c *Config) *int64 { return &c.Limits.ExpectMemory }, 0, 1 << 40}},

	{"log.level", `"info"`, "", ownHeadOffice,
		choice(func(c *Config) *slog.Level { return &c.Log.Level }, []string{"debug", "info", "warn", "error"},
			[]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError})},
	{"log.format", `"text"`, "", ownFile,
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
