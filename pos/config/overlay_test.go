package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func fileConfig(t testing.TB, more string) *Config {
	t.Helper()
	d := decode("posd.toml", []byte(minimal+more), time.LoadLocation)
	if len(d.problems)+len(d.warnings) > 0 {
		t.Fatal(d.problems, d.warnings)
	}
	return d.config
}

func TestOverlay(t *testing.T) {
	file := fileConfig(t, "[data]\nretention = \"10d\"\nsegment = \"1MiB\"\n")
	before := file.Hash()
	over, err := file.Overlay("push", []byte("# by hand\n[tax]\nB = \"9\"\nN = \"0\"\n[terminal]\nprices = \"exclusive\"\nrounding = \"line\"\nday_start = \"00:30\"\n"+
		"[data]\nmax_bytes = \"1GiB\"\n[log]\nlevel = \"debug\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	// The same, written into the file.
	want := decode("posd.toml", []byte(`[terminal]
store = "s1"
id = "t1"
currency = "EUR"
time_zone = "UTC"
prices = "exclusive"
rounding = "line"
day_start = "00:30"
[tax]
N = "0"
B = "9"
[data]
retention = "10d"
segment = "1MiB"
max_bytes = "1GiB"
[log]
level = "debug"
`), time.LoadLocation)
	if len(want.problems) > 0 || over.Hash() != want.config.Hash() {
		t.Errorf("%v\n%+v\n%+v", want.problems, over, want.config)
	}
	if file.Hash() != before || file.Source("log.level") != FromDefault {
		t.Error("the file's configuration was changed")
	}
	for key, who := range map[string]Source{
		"terminal.store": FromFile, "terminal.prices": FromHeadOffice, "tax.B": FromHeadOffice, "data.retention": FromFile,
		"data.max_bytes": FromHeadOffice, "log.level": FromHeadOffice, "log.format": FromDefault, "http.listen": FromDefault,
	} {
		if got := over.Source(key); got != who {
			t.Errorf("%s is decided by %s, want %s", key, got, who)
		}
	}
	if got := file.Source("tax.A"); got != FromFile {
		t.Errorf("the file's taxes are decided by %s", got)
	}
	// Nothing pushed gives all back.
	none, err := file.Overlay("push", []byte("# nothing\n"))
	if err != nil || none.Hash() != before {
		t.Errorf("an empty document: %v", err)
	}
}

// Each mistake is listed, with its key and line, and the configuration stays.
func TestOverlayRefuses(t *testing.T) {
	file := fileConfig(t, "[data]\nsegment = \"4MiB\"\n")
	before := file.Hash()
	for _, c := range []struct{ text, line, key, says string }{
		{"[terminal]\nstore = \"s2\"", ":2:", "terminal.store", "only the terminal's own posd.toml"},
		{"[hub]\noffice_key = \"\"", ":2:", "hub.office_key", "only the terminal's own posd.toml"},
		{"[terminal]\nprice = \"exclusive\"", ":2:", "terminal.price", "unknown key"},
		{"[prices]", ":1:", "prices", "unknown table"},
		{"[terminal]\n\nprices = \"gross\"", ":3:", "terminal.prices", `"gross" is unknown`},
		{"[terminal]\n\ncash_rounding = 101", ":3:", "terminal.cash_rounding", "no smallest coin of EUR is so large"},
		{"[terminal]\ncash_rounding = 10001", ":2:", "terminal.cash_rounding", "out of range"},
		{"[tax]\n", ":1:", "tax", "no tax code"},
		{"tax = {}", ":1:", "tax", "no tax code"},
		{"[tax]\nA = 19", ":2:", "tax.A", "must be a string"},
		{"[tax]\nA = \"119\"", ":2:", "tax.A", "out of range"},
		{"[data]\nmax_bytes = \"8MiB\"", ":2:", "data.max_bytes", "less than four files"},
		{"[data]\nretention = \"1m\"", ":2:", "data.retention", "out of range"},
		{"[log]\nlevel = \"loud\"", ":2:", "log.level", "unknown"},
		{"[log]\nlevel = \"info\"\nlevel = \"warn\"", ":3:", "log.level", "already set"},
		{"log.level = ", ":1:", "", "not valid TOML"},
		{strings.Repeat("#", maxFile+1), ":", "", "larger than"},
	} {
		over, err := file.Overlay("push", []byte(c.text))
		var e *Error
		if !errors.As(err, &e) || over != nil || len(e.Problems) != 1 || e.Problems[0].Key != c.key || !strings.HasPrefix(err.Error(), "push"+c.line) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.40q: %v", c.text, err)
		}
	}
	_, err := file.Overlay("push", []byte("[terminal]\nid = \"x\"\nprices = 1\n[log]\nlevel = \"loud\"\nx = 1\n[tax]\nA = 1\n"))
	if e := new(Error); !errors.As(err, &e) || len(e.Problems) != 5 {
		t.Errorf("not every mistake is listed: %v", err)
	}
	if file.Hash() != before {
		t.Error("the file's configuration was changed")
	}
}

// Exactly the keys that say so may be overridden.
func TestOverlayOfEveryKey(t *testing.T) {
	file := fileConfig(t, "")
	var may []string
	for i := range keys {
		k := &keys[i]
		table, last, _ := strings.Cut(k.name, ".")
		value := k.def
		if value == "" {
			value = k.example
		}
		text := "[" + table + "]\n" + last + " = " + value + "\n"
		if k.name == taxKeys {
			text = "[tax]\n" + k.example + "\n"
		}
		over, err := file.Overlay("push", []byte(text))
		if err == nil {
			may = append(may, k.name)
			if over.Source(k.name) != FromHeadOffice {
				t.Errorf("%s is decided by %s", k.name, over.Source(k.name))
			}
		}
	}
	if want := []string{"terminal.prices", "terminal.rounding", "terminal.cash_rounding", "terminal.day_start", "tax.*", "items.patterns", "items.repeat",
		"operators.idle", "operators.attempts", "roles.cashier", "roles.supervisor", "roles.manager",
		"receipt.header", "receipt.footer", "receipt.tax_number", "receipt.language", "receipt.decimal_comma", "receipt.barcode", "receipt.print", "card.timeout", "card.offline_sale", "card.offline_terminal", "card.offline_day", "data.max_bytes", "data.retention", "log.level"}; !slices.Equal(may, want) {
		t.Errorf("head office may override %v, want %v", may, want)
	}
}

func TestOverrides(t *testing.T) {
	got, err := Overrides("f", []byte("[tax]\nB = \"7.25\"\nA = \"19\"\n[data]\nmax_bytes = 4294967296\n"))
	want := []Override{{"tax.A", `"19"`}, {"tax.B", `"7.25"`}, {"data.max_bytes", `"4GiB"`}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Overrides("f", []byte("[hub]\nshard = 1")); err == nil {
		t.Error("a key of the file is let through")
	}
	if got, err := Overrides("f", nil); err != nil || len(got) > 0 {
		t.Errorf("nothing: %v, %v", got, err)
	}
}

// What is printed is a configuration with the same effect, and says who decided.
func TestWriteEffective(t *testing.T) {
	file := fileConfig(t, "[hub]\nshard = 3\nurls = [\"tls://a.example:4222\", \"tls://b.example\"]\n[http]\norigins = [\"https://t.example\"]\n")
	over, err := file.Overlay("push", []byte("[tax]\nA = \"7.25\"\n[terminal]\nday_start = \"00:30\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := over.WriteEffective(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "again.toml")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	again, _, err := Load(path, false)
	if err != nil || again.Hash() != over.Hash() {
		t.Errorf("%v\n%s", err, b.String())
	}
	for _, line := range []string{"store = \"s1\"  # posd.toml\n", "day_start = \"00:30\"  # head office\n", "A = \"7.25\"  # head office\n", "level = \"info\"  # default\n", "shard = 3  # posd.toml\n"} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("%q is not in\n%s", line, b.String())
		}
	}
	if n := strings.Count(b.String(), " = "); n != len(keys) {
		t.Errorf("%d keys are told, there are %d", n, len(keys))
	}
}

func TestReason(t *testing.T) {
	_, err := fileConfig(t, "").Overlay("push", []byte("[log]\nlevel = \"loud\"\nx = 1\n"))
	got := Reason(fmt.Errorf("wrapped: %w", err), 1000)
	if !strings.HasPrefix(got, "push:2: log.level") || !strings.Contains(got, " | push:3: log.x") || strings.Contains(got, "\n") {
		t.Error(got)
	}
	if got := Reason(err, 20); len(got) != 20 || !strings.HasSuffix(got, "...") {
		t.Error(got)
	}
}

// FuzzOverlay: whatever comes over the network either changes nothing, or only what
// head office may decide, and the result is a configuration that posd can live with.
func FuzzOverlay(f *testing.F) {
	file := fileConfig(f, "[data]\nsegment = \"1MiB\"\n")
	f.Add([]byte(""))
	f.Add([]byte("[tax]\nA = \"7\"\n[terminal]\nprices = \"exclusive\"\n"))
	f.Add([]byte("tax = {A = \"19\"}\ndata.max_bytes = \"4MiB\"\nlog = {level = \"warn\", format = \"json\"}"))
	f.Add([]byte(minimal))
	before := file.Hash()
	f.Fuzz(func(t *testing.T, text []byte) {
		over, err := file.Overlay("push", text)
		if file.Hash() != before {
			t.Fatal("the file's configuration was changed")
		}
		if err != nil {
			if e := new(Error); !errors.As(err, &e) || len(e.Problems) == 0 || len(Reason(err, 500)) > 500 {
				t.Fatalf("%v", err)
			}
			return
		}
		for i := range keys {
			k := &keys[i]
			if k.get(over) != k.get(file) && k.owner != ownHeadOffice {
				t.Fatalf("%s was %s and is %s", k.name, k.get(file), k.get(over))
			}
		}
		if len(over.Taxes) == 0 || over.Data.MaxBytes < 4*over.Data.Segment || over.Data.Retention < time.Hour {
			t.Fatalf("accepted: %+v", over)
		}
	})
}

// The smallest coin of each currency is taken: 5 HUF and 100 IDR, which ISO 4217 gives two
// decimals, as 100 KRW, which has none. One whole euro is, two are not.
func TestSmallestCoins(t *testing.T) {
	for _, c := range []struct {
		currency string
		coin     int
		good     bool
	}{
		{"EUR", 5, true}, {"EUR", 100, true}, {"EUR", 200, false}, {"EUR", 10_000, false}, {"CHF", 5, true}, {"SEK", 100, true}, {"SEK", 500, false},
		{"HUF", 500, true}, {"IDR", 10_000, true}, {"KRW", 100, true}, {"KRW", 1000, true}, {"JPY", 10, true}, {"COP", 5000, true},
		{"KWD", 5, true}, {"KWD", 1000, true}, {"KWD", 1001, false}, {"UYW", 10_000, true},
	} {
		text := strings.Replace(minimal, `"EUR"`, strconv.Quote(c.currency), 1)
		d := decode("posd.toml", []byte(text), time.LoadLocation)
		over, err := d.config.Overlay("push", []byte("[terminal]\ncash_rounding = "+strconv.Itoa(c.coin)))
		if (err == nil) != c.good || len(d.problems) > 0 || over != nil && over.Terminal.CashRounding != c.coin {
			t.Errorf("%s %d: %v", c.currency, c.coin, err)
		}
	}
	if _, err := Overrides("push", []byte("[terminal]\ncash_rounding = 10000")); err != nil { // of which currency is not known there
		t.Error(err)
	}
}
