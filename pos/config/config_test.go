package config

import (
	"bytes"
	"compress/flate"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posd/pos"
	"posd/pos/operator"
)

var update = flag.Bool("update", false, "write docs/config.md from the table of keys")

// minimal has every required key and nothing else, one a line.
const minimal = `[terminal]
store = "s1"
id = "t1"
currency = "EUR"
time_zone = "UTC"
[tax]
A = "19"
B = "7.25"
`

// write puts text into a file whose folder is a valid data folder.
func write(t *testing.T, text string) (path, dir string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "posd.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, dir
}

func TestDefaults(t *testing.T) {
	path, _ := write(t, minimal)
	c, warnings, err := Load(path, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		if w.Key != "data.dir" { // /var/lib/posd need not exist here
			t.Errorf("unexpected warning: %v", w)
		}
	}
	want := Config{
		Terminal: Terminal{Store: "s1", ID: "t1", Operator: "0", Currency: pos.Currency{Code: "EUR", Exponent: 2},
			Prices: pos.Inclusive, Rounding: pos.PerDocument, TimeZone: time.UTC, DayStart: 4 * time.Hour},
		HTTP:    HTTP{Listen: "127.0.0.1:8080", MaxBody: 64 << 10},
		Data:    Data{Dir: "/var/lib/posd", MaxBytes: 4 << 30, Retention: 30 * day, Segment: 4 << 20},
		Hub:     Hub{Stream: "POS_UP_0"},
		Limits:  Limits{Memory: 20 << 20, ExpectCPU: 10, ExpectMemory: 32 << 20},
		Log:     Log{Level: slog.LevelInfo, Format: "text"},
		Taxes:   []pos.Tax{{Code: "A", Rate: 190000}, {Code: "B", Rate: 72500}},
		Receipt: Receipt{Language: "en", Print: "none"},
		Printer: Printer{Profile: "epson", Columns: 42, Charset: "cp858", Status: true, Drawer: true},
		Card:    Card{Timeout: 2 * time.Minute},
	}
	want.sources = c.sources // TestOverlay has them
	roles := c.Operators.Roles
	want.Operators = operator.Rules{Roles: roles, Idle: 15 * time.Minute, Attempts: 5}
	for role, may := range map[string]bool{"cashier": false, "supervisor": true, "manager": true} {
		if !roles[role].Allow(operator.Sale, 0) || roles[role].Allow(operator.SaleVoid, 0) != may {
			t.Errorf("%s may %v", role, roles[role])
		}
	}
	if got, want := fmt.Sprintf("%+v", *c), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Every refusal names the line, what is wrong, and what to do.
func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name, add string // added after minimal, whose last line is 8
		want      string // substring of the message; "FILE:" is the path
	}{
		{"listen off the machine", "[http]\nlisten = \"0.0.0.0:8080\"", `FILE:10: http.listen: "0.0.0.0:8080" can be reached from other machines`},
		{"listen on all", "[http]\nlisten = \":8080\"", `http.allow_remote = true`},
		{"listen without port", "[http]\nlisten = \"127.0.0.1\"", `FILE:10: http.listen: "127.0.0.1" is not host:port; write an address such as`},
		{"port too large", "[http]\nlisten = \"127.0.0.1:99999\"", `is not host:port`},
		{"no way in", "[http]\nlisten = \"\"", `no front end could connect`},
		{"relative path", "[data]\ndir = \"data\"", `FILE:10: data.dir: "data" is not an absolute path`},
		{"empty path", "[data]\ndir = \"\"", `not an absolute path`},
		{"segment not a power of two", "[data]\nsegment = \"3MiB\"", `3MiB is not a power of two; write 64KiB`},
		{"segment too small", "[data]\nsegment = \"32KiB\"", `32KiB is out of range; give 64KiB to 64MiB`},
		{"segment too large", "[data]\nsegment = 134217728", `134217728 is out of range`},
		{"decimal unit", "[data]\nmax_bytes = \"4GB\"", `"4GB" is not a size; write a whole number with KiB`},
		{"size overflow", "[data]\nmax_bytes = \"99999999999TiB\"", `is not a size`},
		{"journal smaller than its files", "[data]\nmax_bytes = \"8MiB\"", `8MiB is less than four files of 4MiB`},
		{"retention without unit", "[data]\nretention = \"30\"", `"30" is not a duration; write one such as "30d"`},
		{"retention as number", "[data]\nretention = 30", `expected a string, found a whole number; write it as "30d"`},
		{"retention too short", "[data]\nretention = \"5m\"", `5m is out of range; give 1h0m0s to 3650d`},
		{"day start", "[terminal.x]\n[log]\nlevel=\"loud\"", `"loud" is unknown; write "debug" or "info" or "warn" or "error"`},
		{"bool in quotes", "[http]\nallow_remote = \"yes\"", `expected true or false, found a string`},
		{"list of numbers", "[hub]\nurls = [1, 2]", `the list holds a whole number, expected strings`},
		{"hub scheme", "[hub]\nurls = [\"http://h:4222\"]", `scheme "http" is unknown; use tls, nats`},
		{"hub secret in the address", "[hub]\nurls = [\"nats://token@h:4222\"]", `an address must not hold a secret`},
		{"enrolment in the clear", "[hub]\nenroll_url = \"http://hub.example:8090\"", `the token would go over the network in the clear`},
		{"enrolment", "[hub]\nenroll_url = \"hub.example:8090\"", `not an address of HTTP`},
		{"enrolment without an address", "[hub]\nenroll_token_file = \"/t\"", `there is no hub.enroll_url`},
		{"shard", "[hub]\nshard = -1", `-1 is out of range; give 0 to 4095`},
		{"two secrets", "[hub]\ncredentials = \"/a\"\ntoken_file = \"/b\"", `FILE:11: hub.token_file: hub.credentials is set too`},
		{"stream", "[hub]\nstream = \"A.B\"", `"A.B" is not a name`},
		{"origin with path", "[http]\norigins = [\"https://a.example/\"]", `is not an origin; write scheme and host only`},
		{"pattern", "[items]\npatterns = [\"02IIIIIVPPPPC\", \"2IIIIVPPPC\"]", `"2IIIIVPPPC" is not a pattern: character 6: V goes with four or five P, W or N; write one such as "02IIIIIVPPPPC"`},
		{"printer without port", "[printer]\naddress = \"printer.example\"", `"printer.example" is neither a device nor host:port; write one such as "/dev/usb/lp0"`},
		{"narrow paper", "[printer]\ncolumns = 20", `20 is out of range; give 24 to 64`},
		{"charset", "[printer]\ncharset = \"latin1\"", `"latin1" is unknown; write "cp437" or `},
		{"line break", "[receipt]\nheader = [\"a\\nb\"]", `"a\nb" is not a line`},
		{"any origin", "[http]\norigins = [\"*\"]", `is not an origin`},
		{"heap above the slice", "[limits]\nmemory = \"64MiB\"", `leaves nothing of limits.expect_memory`},
		{"duplicate key", "[log]\nlevel = \"info\"\nlevel = \"warn\"", `FILE:11: log.level: is already set on line 10; remove one`},
		{"duplicate table", "[tax]\nC = \"1\"", `FILE:9: tax: the table is already on line 6`},
		{"duplicate tax across forms", "tax.B = \"1\"", `unknown key`},
		{"list of tables", "[[log]]\nlevel = \"info\"", `FILE:9: log: a list of tables is not used here`},
		{"syntax", "[log\nlevel = 1", `FILE:9: not valid TOML`},
		{"syntax at the end", "[log]\nlevel = ", `FILE:10: not valid TOML`},
		{"decimal rate", "C = 7.25", `FILE:9: tax.C: a rate must be a string, so that no decimal is lost; write C = "7.25"`},
		{"rate of words", "C = \"low\"", `FILE:9: tax.C:`},
		{"rate above 100", "C = \"101\"", `tax.C: 101 percent is out of range`},
		{"tax code", "\"C D\" = \"1\"", `FILE:9: tax."C D": "C D" is not a tax code`},
		{"typo in a key", "[data]\nretension = \"30d\"", `FILE:10: data.retension: unknown key; did you mean data.retention?`},
		{"key in the wrong table", "[data]\nlisten = \"x\"", `did you mean http.listen?`},
		{"key in no table", "[x]\n", `FILE:9: x: unknown table`},
		{"typo in a table", "[limit]\n", `limit: unknown table; did you mean [limits]?`},
		{"nothing like it", "[data]\nxyzzyplugh = 1", `remove it, or look it up in docs/config.md`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path, _ := write(t, minimal+tc.add+"\n")
			_, _, err := Load(path, true)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if want := strings.ReplaceAll(tc.want, "FILE", path); !strings.Contains(err.Error(), want) {
				t.Errorf("got:\n%v\nwant: %s", err, want)
			}
			for _, p := range e.Problems {
				if p.What == "" || p.Remedy == "" {
					t.Errorf("no remedy: %v", p)
				}
			}
		})
	}
}

func TestMissingKeys(t *testing.T) {
	path, _ := write(t, "")
	_, _, err := Load(path, true)
	for _, want := range []string{"terminal.store: is missing; write store = \"s1\" under [terminal]", "terminal.id", "terminal.currency",
		"terminal.time_zone", "tax: no tax code is defined"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}

// A quoted key that looks like a path is one key; it must not stand in for the path.
func TestQuotedKeyIsNotAPath(t *testing.T) {
	path, _ := write(t, "\"terminal.store\" = \"s1\"\n"+strings.Replace(minimal, "store = \"s1\"\n", "", 1))
	if _, _, err := Load(path, false); err == nil || !strings.Contains(err.Error(), "terminal.store: is missing") {
		t.Fatalf("got %v", err)
	}
}

func TestAllProblemsInOneRun(t *testing.T) {
	path, _ := write(t, "[terminal]\nstore = \"a b\"\nid = 7\ncurrency = \"XXY\"\ntime_zone = \"Nowhere/At_All\"\nday_start = \"25:00\"\n[tax]\nA = 19\n[log]\nlevle = \"info\"\n")
	_, _, err := Load(path, true)
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	var lines []int
	for _, p := range e.Problems {
		lines = append(lines, p.Line)
	}
	if got := fmt.Sprint(lines); got != "[2 3 4 5 6 8 10]" {
		t.Errorf("problems on lines %s:\n%v", got, err)
	}
}

// A release that was rolled back starts with a file that has keys it does not
// know; but it does not start with values it cannot trust.
func TestLenient(t *testing.T) {
	path, dir := write(t, minimal+"[data]\ndir = \"DIR\"\nfuture = 1\n[future]\nx = {y = 1}\n")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte("DIR"), []byte(dir), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := Load(path, false)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, fmt.Sprintf("%d %s", w.Line, w.Key))
	}
	if s := strings.Join(got, ", "); s != "11 data.future, 12 future, 13 future.x" {
		t.Errorf("warnings: %s", s)
	}
	if _, _, err := Load(path, true); err == nil {
		t.Error("strict accepted unknown keys")
	}
}

func TestPermissions(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	path, dir := write(t, "")
	text := minimal + fmt.Sprintf("[data]\ndir = %q\n[hub]\ntoken_file = %q\n", dir, secret)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	tokens := filepath.Join(dir, "tokens")
	if err := os.WriteFile(tokens, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(path, true); err != nil {
		t.Fatalf("the control must pass: %v", err)
	}
	for _, tc := range []struct {
		path string
		mode os.FileMode
		want string
	}{
		{path, 0o646, "chmod o-w " + path},
		{secret, 0o604, ":12: hub.token_file: " + secret + " holds a secret"},
		{tokens, 0o644, tokens + " holds a secret"},
		{dir, 0o777, "chmod o-w " + dir},
	} {
		st, err := os.Stat(tc.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(tc.path, tc.mode); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Load(path, true); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %o: got %v", tc.path, tc.mode, err)
		}
		if _, warnings, err := Load(path, false); err != nil || len(warnings) != 1 {
			t.Errorf("%s %o: at boot: %v %v", tc.path, tc.mode, warnings, err)
		}
		if err := os.Chmod(tc.path, st.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDataDirMustExist(t *testing.T) {
	path, dir := write(t, minimal+"[data]\ndir = \"/nonexistent/posd\"\n")
	if _, _, err := Load(path, true); err == nil || !strings.Contains(err.Error(), "mount the data partition") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tokens")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load made a file: %v", err)
	}
}

func TestUnreadableFile(t *testing.T) {
	_, _, err := Load(filepath.Join(t.TempDir(), "none.toml"), true)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--config FILE") {
		t.Errorf("got %v", err)
	}
	path, _ := write(t, strings.Repeat("#\n", maxFile))
	if _, _, err := Load(path, true); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

func TestZoneRemedies(t *testing.T) {
	bare := func(name string) (*time.Location, error) { // a machine without zone data
		if name == "UTC" {
			return time.UTC, nil
		}
		return nil, errors.New("unknown time zone " + name)
	}
	berlin := strings.Replace(minimal, "UTC", "Europe/Berlin", 1)
	if d := decode("f", []byte(berlin), bare); len(d.problems) != 1 || !strings.Contains(d.problems[0].String(), "apt-get install tzdata") {
		t.Errorf("got %v", d.problems)
	}
	if d := decode("f", []byte(minimal), bare); len(d.problems) != 0 {
		t.Errorf("UTC needs no data: %v", d.problems)
	}
	for _, name := range []string{"Europe/Brelin", "", "Local", "../etc/passwd"} {
		d := decode("f", []byte(strings.Replace(minimal, "UTC", name, 1)), time.LoadLocation)
		if len(d.problems) != 1 || d.problems[0].Line != 5 || !strings.Contains(d.problems[0].Remedy, "IANA name") {
			t.Errorf("%q: got %v", name, d.problems)
		}
	}
}

func TestFormsOfTOML(t *testing.T) {
	load := func(text string) *Config {
		t.Helper()
		d := decode("f", []byte(text), time.LoadLocation)
		if len(d.problems)+len(d.warnings) != 0 {
			t.Fatalf("%v %v", d.problems, d.warnings)
		}
		return d.config
	}
	tables := load(minimal + "[data]\nretention = \"720h\"\nsegment = 1048576 # plain bytes\n")
	dotted := load("data = {segment = \"1MiB\", retention = \"30d\"}\ntax = {B = '7.25', A = \"19%\"}\n" +
		"terminal.id='t1'\nterminal.store='s1'\nterminal.currency='EUR'\nterminal.time_zone='UTC'\n")
	if tables.Hash() != dotted.Hash() {
		t.Error("the same configuration in other words has another hash")
	}
}

// Every key takes part in the hash, which is how head office sees a change.
func TestHashSeesEveryKey(t *testing.T) {
	changed := map[string]string{
		"terminal.store": `"s2"`, "terminal.id": `"t2"`, "terminal.operator": `"7"`, "terminal.currency": `"JPY"`, "terminal.prices": `"exclusive"`,
		"terminal.rounding": `"line"`, "terminal.cash_rounding": "5", "terminal.time_zone": `"Europe/Berlin"`, "terminal.day_start": `"00:30"`, "tax.*": `"1"`,
		"items.patterns": `["02IIIIIVPPPPC"]`, "items.repeat": `"200ms"`, "receipt.header": `["Shop"]`, "receipt.footer": `["Bye"]`, "receipt.tax_number": `"DE1"`, "receipt.language": `"de"`,
		"receipt.decimal_comma": "true", "receipt.barcode": "true", "receipt.print": `"all"`, "printer.address": `"/dev/usb/lp0"`, "printer.profile": `"generic"`, "printer.columns": "48",
		"printer.charset": `"utf-8"`, "printer.status": "false", "printer.drawer": "false", "http.listen": `"[::1]:1"`, "http.allow_remote": "true", "http.socket": `"/run/posd.sock"`, "http.origins": `["https://a.example"]`, "http.socket_users": `["kiosk"]`,
		"operators.idle": `"1m"`, "operators.attempts": "3", "roles.cashier": `["sale"]`, "roles.supervisor": `["sale", "discount:7.5"]`, "roles.manager": `["sale", "cash.out:5000"]`,
		"http.static": `"/srv"`, "http.max_body": `"32KiB"`, "http.rate": "7", "data.dir": `"/data"`, "data.max_bytes": `"1GiB"`, "data.retention": `"1d12h"`,
		"data.segment": `"64KiB"`, "hub.urls": `["tls://h:4222"]`, "hub.credentials": `"/c"`, "hub.token_file": `"/t"`, "hub.ca_file": `"/ca"`,
		"hub.fallback_urls": `["tls://other:4222"]`, "hub.cert_file": "\"/crt\"\nkey_file = \"/key\"", "hub.key_file": "\"/key\"\ncert_file = \"/crt\"",
		"hub.shard": "3", "hub.stream": `"X"`, "hub.office_key": `"` + strings.Repeat("ab", 32) + `"`, "hub.enroll_url": `"https://h:8090"`,
		"hub.enroll_token_file": "\"/e\"\nenroll_url = \"https://h\"", "limits.memory": `"16MiB"`, "limits.expect_cpu": `"20%"`, "limits.expect_memory": `"64MiB"`,
		"log.level": `"debug"`, "log.format": `"json"`,
		"card.address": `"10.0.0.9:7788"`, "card.terminal": `"P400-17"`, "card.timeout": `"90s"`,
		"card.ca_file": `"/ca"`, "card.cert_file": "\"/crt\"\nkey_file = \"/key\"\nca_file = \"/ca\"", "card.key_file": "\"/key\"\ncert_file = \"/crt\"\nca_file = \"/ca\"",
		"card.offline_sale": "5000", "card.offline_terminal": "20000", "card.offline_day": "50000",
	}
	base := decode("f", []byte(minimal), time.LoadLocation).config.Hash()
	for i := range keys {
		name := keys[i].name
		table, last, _ := strings.Cut(name, ".")
		text := minimal
		switch {
		case changed[name] == "":
			t.Errorf("%s: not in this test", name)
			continue
		case name == taxKeys:
			text += "C = " + changed[name] + "\n"
		case keys[i].def == "":
			head, tail, _ := strings.Cut(minimal, last+" = ")
			_, tail, _ = strings.Cut(tail, "\n")
			text = head + last + " = " + changed[name] + "\n" + tail
		case table == "terminal":
			text = strings.Replace(minimal, "[tax]", last+" = "+changed[name]+"\n[tax]", 1)
		default:
			text += "[" + table + "]\n" + last + " = " + changed[name] + "\n"
		}
		d := decode("f", []byte(text), time.LoadLocation)
		if len(d.problems)+len(d.warnings) != 0 {
			t.Errorf("%s: %v %v", name, d.problems, d.warnings)
		}
		if d.config.Hash() == base {
			t.Errorf("%s = %s does not change the hash", name, changed[name])
		}
	}
	if new(Config).Hash() == base {
		t.Error("an empty Config has the hash of a full one")
	}
}

func TestReference(t *testing.T) {
	var b bytes.Buffer
	if err := writeReference(&b); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if doc(k.name) == "" {
			t.Errorf("docs.go says nothing of %s", k.name)
		}
	}
	if *update {
		var f bytes.Buffer
		z, err := flate.NewWriter(&f, flate.BestCompression)
		if err == nil {
			_, err = z.Write(b.Bytes())
		}
		if err = errors.Join(err, z.Close()); err == nil {
			packed = f.Bytes()
			err = os.WriteFile("reference.flate", packed, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var printed bytes.Buffer
	if err := WriteReference(&printed); err != nil || printed.String() != b.String() {
		t.Errorf("reference.flate is not what the table of keys says; run: go test ./pos/config -update: %v", err)
	}
	d := decode("reference", b.Bytes(), time.LoadLocation)
	if len(d.problems)+len(d.warnings) != 0 {
		t.Errorf("the reference is not a valid file: %v %v", d.problems, d.warnings)
	}
	// With every default written out it must be the same configuration.
	lines := strings.Split(b.String(), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "#") && !strings.HasPrefix(l, "# ") && l != "#" {
			lines[i] = l[1:]
		}
	}
	full := decode("reference", []byte(strings.Join(lines, "\n")), time.LoadLocation)
	if len(full.problems)+len(full.warnings) != 0 || full.config.Hash() != d.config.Hash() {
		t.Errorf("the printed defaults are not the defaults: %v %v", full.problems, full.warnings)
	}

	const path = "../../docs/config.md"
	want := "# posd.toml\n\nposd and posctl read one file, by default `/etc/posd/posd.toml`. Check it with `posd --check --config FILE` before it\n" +
		"is put in place: the check refuses unknown keys, bad values and unsafe permissions, and lists them all with their\n" +
		"lines. At boot an unknown key is only a warning, so that a release that was rolled back starts with the newer file.\n\n" +
		"This page is printed by `go test ./pos/config -update` from `pos/config/keys.go` and `docs.go`.\n\n" +
		"```toml\n" + b.String() + "```\n"
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the table of keys says; run: go test ./pos/config -update", path)
	}
}

func TestValues(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "512B": 512, "4KiB": 4096, "4 MiB": 4 << 20, "1TiB": 1 << 40} {
		if n, bad := parseSize(in); bad != nil || n != want {
			t.Errorf("size %q: %d %v", in, n, bad)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "1e3", "1.5MiB", "9223372036854775808", "8388608TiB", "٣"} {
		if n, bad := parseSize(in); bad == nil {
			t.Errorf("size %q was accepted as %d", in, n)
		}
	}
	for in, want := range map[string]time.Duration{"30d": 30 * day, "1d12h": 36 * time.Hour, "90s": 90 * time.Second, "0d": 0} {
		if d, bad := parseDuration(in); bad != nil || d != want {
			t.Errorf("duration %q: %v %v", in, d, bad)
		}
	}
	for _, in := range []string{"", "d", "-1h", "1d-1h", "1.5d", "106752d", "106751d24h", "1d1d", "5"} {
		if d, bad := parseDuration(in); bad == nil {
			t.Errorf("duration %q was accepted as %v", in, d)
		}
	}
	for _, in := range []string{"", "4:00", "24:00", "04:60", "04-00", "+4:00", "04:00:00"} {
		if d, bad := parseClock(in); bad == nil {
			t.Errorf("time of day %q was accepted as %v", in, d)
		}
	}
	for _, in := range []string{"", "%", "10", "-1%", "1.5%", "100001%"} {
		if n, bad := parsePercent(in); bad == nil {
			t.Errorf("percentage %q was accepted as %d", in, n)
		}
	}
}
