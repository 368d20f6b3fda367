package catalogue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"posd/pos"
)

const header = "code,description,department,unit,price,tax\n"

var euro = ImportOptions{Taxes: map[string]bool{"A": true, "B": true}, Currency: pos.Currency{Code: "EUR", Exponent: 2}}

func importText(t *testing.T, path, text string) ImportReport {
	t.Helper()
	r, err := Import(context.Background(), strings.NewReader(text), path, euro)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// open opens a catalogue that looks at its file at every lookup.
func open(t *testing.T, path string) *Catalogue {
	t.Helper()
	c := Open(path)
	c.every = 0
	c.next.Store(0)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestImportAndLookup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalogue.db")
	text := "\ufeffTax,code,Description,department,unit,price,supplier\r\n" +
		"A,4011,Bananas,fruit,kg,1.99,X\r\n" +
		"B, 9 ,\"Coffee, \"\"black\"\"\",,pc,,X\r\n"
	r := importText(t, path, text)
	if r.Items != 2 || r.Open != 1 || r.Bytes == 0 || fmt.Sprint(r.Ignored) != "[supplier]" ||
		!regexp.MustCompile(`^[0-9a-f]{16}-\d{8}T\d{6}Z$`).MatchString(r.Version) {
		t.Errorf("report %+v", r)
	}
	c := open(t, path)
	for code, want := range map[string]Item{
		"4011": {Code: "4011", Description: "Bananas", Department: "fruit", Unit: "kg", Tax: "A", Price: 199, Decimals: 3},
		"9":    {Code: "9", Description: `Coffee, "black"`, Unit: "pc", Tax: "B", Open: true},
	} {
		if got, ok, err := c.Lookup(code); err != nil || !ok || got != want {
			t.Errorf("%s: got %+v %v %v", code, got, ok, err)
		}
	}
	for _, code := range []string{"", "401", "40111", strings.Repeat("9", 1000), "\x00"} {
		if got, ok, err := c.Lookup(code); err != nil || ok || got != (Item{}) {
			t.Errorf("%q: got %+v %v %v", clip(code), got, ok, err)
		}
	}
	if c.Len() != 2 || c.Version() != r.Version || c.Currency() != "EUR" || c.Err() != nil {
		t.Errorf("%d items, version %s, currency %s, %v", c.Len(), c.Version(), c.Currency(), c.Err())
	}
	if again := importText(t, path, text); again.Version[:16] != r.Version[:16] {
		t.Errorf("the same file has versions %s and %s", r.Version, again.Version)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Lookup("4011"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Each fault names its line and a remedy, and leaves the old catalogue in place.
func TestImportRefuses(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"empty file", "", "the file is empty; export the items again; the first line must be code,description"},
		{"header only", header, "the file has a header and no items"},
		{"missing column", "code,description,department,unit,price\n1,a,b,c,1\n", "line 1: column tax is missing; the first line must name"},
		{"semicolons", "code;description;department;unit;price;tax\n", "separate the fields with commas"},
		{"column twice", "code,code,description,department,unit,price,tax\n", "line 1: column code is there twice"},
		{"utf-16", "\xff\xfec\x00o\x00", "line 1: the file is UTF-16; save it as UTF-8"},
		{"duplicate", header + "1,a,,,1,A\n2,b,,,1,A\n\"1\",c,,,1,A\n", "line 4: code 1 is already on line 2; remove one of the two"},
		{"duplicate after quoted line feeds", header + "\n\n1,a,,,1,A\n1,b,,,1,A\n", "line 5: code 1 is already on line 4"},
		{"unknown tax", header + "1,a,,,1,C\n", `line 2: tax code "C" of item 1 is unknown; use one of the configured codes`},
		{"too many decimals", header + "1,a,,,1.999,A\n", `line 2: price "1.999" of item 1: `},
		{"decimal comma", header + "1,a,,,\"1,99\",A\n", `line 2: price "1,99" of item 1; write a decimal point`},
		{"negative", header + "1,a,,,-1,A\n", `line 2: price "-1" of item 1`},
		{"price of words", header + "1,a,,,free,A\n", "or leave it empty for an open price"},
		{"price too large", header + "1,a,,,99999999999999999999,A\n", `line 2: price "99999999999999999999"`},
		{"bad utf-8", header + "1,K\xe4se,,,1,A\n", `line 2: description is not valid UTF-8: "K\xe4se"; save the file as UTF-8`},
		{"control character", header + "1,\"a\nb\",,,1,A\n", "line 2: description holds a control character"},
		{"too long", header + "1," + strings.Repeat("x", 201) + ",,,1,A\n", "line 2: description has 201 bytes, at most 200 fit"},
		{"unit too long", header + "1,a,,kilograms,1,A\n", "line 2: unit has 9 bytes, at most 8 fit"},
		{"no code", header + ",a,,,1,A\n", "line 2: the code is empty"},
		{"no description", header + "1,,,,1,A\n", "line 2: the description of 1 is empty"},
		{"too few fields", header + "1,a,1,A\n2,b,,,x,A\n", "line 2: wrong number of fields; give 6 fields, and quote those that hold a comma\nline 3: price"},
		{"stray quote", header + "1,a\"b,,,1,A\n", `line 2: bare " in non-quoted-field; put quotes around the whole field`},
		{"quote not closed", header + "1,\"" + strings.Repeat("a,b\n", 100_000), "line 2: a record that begins here or just below is longer than 16384 bytes; look for a quote"},
		{"two faults", header + "1,a,,,1,C\n2,b,,,1,D\n", "line 3: tax code \"D\""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "catalogue.db")
			old := importText(t, path, header+"7,old,,,7,A\n")
			_, err := Import(context.Background(), strings.NewReader(tc.text), path, euro)
			var e *ImportError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			c := open(t, path)
			if it, ok, err := c.Lookup("7"); !ok || err != nil || it.Price != 700 || c.Version() != old.Version {
				t.Errorf("the old catalogue is gone: %+v %v %v", it, ok, err)
			}
			if left, err := filepath.Glob(path + ".*"); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

func TestImportStopsAfterManyFaults(t *testing.T) {
	_, err := Import(context.Background(), strings.NewReader(header+strings.Repeat("1,a,,,x,A\n", 1000)), filepath.Join(t.TempDir(), "c.db"), euro)
	var e *ImportError
	if !errors.As(err, &e) || len(e.Problems) != maxProblems || !e.More || !strings.HasSuffix(err.Error(), "was not read") {
		t.Errorf("got %v", err)
	}
}

func TestImportReadError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	broken := io.MultiReader(strings.NewReader(header+"1,a,,,1,A\n"), &brokenReader{})
	if _, err := Import(context.Background(), broken, path, euro); err == nil || !strings.Contains(err.Error(), "stick was pulled") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Import(ctx, strings.NewReader(header+"1,a,,,1,A\n"), path, euro); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("stick was pulled") }

// Two imports at once: one waits for nobody, and what it would write is not touched.
func TestImportLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	reader, writer := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := Import(context.Background(), reader, path, euro)
		done <- err
	}()
	if _, err := io.WriteString(writer, header); err != nil { // the first import is now under way
		t.Fatal(err)
	}
	if _, err := Import(context.Background(), strings.NewReader(header+"2,b,,,1,A\n"), path, euro); !errors.Is(err, ErrBusy) {
		t.Errorf("second import: %v", err)
	}
	if _, err := io.WriteString(writer, "1,a,,,1,A\n"); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if it, ok, err := open(t, path).Lookup("1"); !ok || err != nil || it.Price != 100 {
		t.Errorf("%+v %v %v", it, ok, err)
	}
}

// What a cut-off import left is no obstacle and not part of the next.
func TestImportAfterCrash(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.db")
	importText(t, filepath.Join(dir, "other"), header+"8,leftover,,,1,A\n")
	if err := os.Rename(filepath.Join(dir, "other"), path+".new"); err != nil {
		t.Fatal(err)
	}
	importText(t, path, header+"1,a,,,1,A\n")
	c := open(t, path)
	if _, ok, err := c.Lookup("8"); ok || err != nil || c.Len() != 1 {
		t.Errorf("leftover is in the catalogue: %v %v", ok, err)
	}
}

func TestMissingThenImported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	c := open(t, path)
	if _, ok, err := c.Lookup("1"); ok || err != nil || c.Len() != 0 || c.Version() != "" || c.Err() != nil {
		t.Fatalf("empty catalogue: %v %v", ok, err)
	}
	importText(t, path, header+"1,a,,,1,A\n")
	if _, ok, err := c.Lookup("1"); !ok || err != nil || c.Len() != 1 {
		t.Errorf("the import was not noticed: %v %v", ok, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := c.Lookup("1"); !ok || err != nil {
		t.Errorf("a removed file took its items along: %v %v", ok, err)
	}
	if err := c.Err(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "stays in use") {
		t.Errorf("Err: %v", err)
	}
}

// A till that sells in one currency takes no prices in another, whether they are there when
// it starts or come later.
func TestAnotherCurrency(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	importText(t, path, header+"1,a,,,1.29,A\n")
	yen := euro
	yen.Currency = pos.Currency{Code: "JPY"}
	c := OpenIn(path, "JPY")
	c.every = 0
	c.next.Store(0)
	defer c.Close()
	if it, ok, err := c.Lookup("1"); ok || err != nil || c.Len() != 0 || !errors.Is(c.Err(), ErrCurrency) {
		t.Fatalf("%+v %v %v, %v", it, ok, err, c.Err())
	}
	if _, err := Import(context.Background(), strings.NewReader(header+"1,a,,,129,A\n"), path, yen); err != nil {
		t.Fatal(err)
	}
	if it, ok, err := c.Lookup("1"); !ok || err != nil || it.Price != 129 || c.Err() != nil {
		t.Fatalf("%+v %v %v, %v", it, ok, err, c.Err())
	}
	importText(t, path, header+"1,a,,,1.30,A\n")
	if it, ok, err := c.Lookup("1"); !ok || err != nil || it.Price != 129 || !errors.Is(c.Err(), ErrCurrency) {
		t.Fatalf("%+v %v %v, %v", it, ok, err, c.Err())
	}
}

// The file is looked at once a second, not at every lookup.
func TestChecksAreRare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	importText(t, path, header+"1,a,,,1,A\n")
	c := open(t, path)
	c.every = time.Hour
	c.next.Store(int64(time.Hour))
	importText(t, path, header+"1,a,,,2,A\n")
	if it, _, _ := c.Lookup("1"); it.Price != 100 {
		t.Errorf("price %d: the file was looked at too early", it.Price)
	}
	c.start = c.start.Add(-2 * time.Hour)
	if it, _, _ := c.Lookup("1"); it.Price != 200 {
		t.Errorf("price %d: the file was not looked at", it.Price)
	}
}

func TestBrokenFileKeepsTheOld(t *testing.T) {
	good, err := os.ReadFile(func() string {
		p := filepath.Join(t.TempDir(), "c.db")
		importText(t, p, header+"1,a,,,1,A\n")
		return p
	}())
	if err != nil {
		t.Fatal(err)
	}
	otherDB := filepath.Join(t.TempDir(), "other.db")
	db, err := bolt.Open(otherDB, 0o644, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("x")); return err }); err != nil {
		t.Fatal(err)
	}
	db.Close()
	incomplete, err := os.ReadFile(otherDB)
	if err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string][]byte{
		"empty":          {},
		"rubbish":        bytes.Repeat([]byte("rubbish "), 4096),
		"short":          good[:5000],
		"meta garbled":   append(bytes.Repeat([]byte{0xff}, 8192), good[8192:]...),
		"pages garbled":  append(bytes.Clone(good[:8192]), bytes.Repeat([]byte{0xff}, len(good)-8192)...),
		"another schema": bytes.ReplaceAll(good, []byte(schema), []byte("posd catalogue 9")),
		"not ours":       incomplete,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.db")
			importText(t, path, header+"1,old,,,7,A\n")
			c := open(t, path)
			if err := os.WriteFile(path+".x", broken, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".x", path); err != nil {
				t.Fatal(err)
			}
			if it, ok, err := c.Lookup("1"); !ok || err != nil || it.Price != 700 {
				t.Errorf("%+v %v %v", it, ok, err)
			}
			if err := c.Err(); err == nil || !strings.Contains(err.Error(), "stays in use") {
				t.Errorf("Err: %v", err)
			}
			broke := Open(path)
			if _, ok, err := broke.Lookup("1"); ok || err != nil || broke.Len() != 0 || broke.Err() == nil {
				t.Errorf("opened broken: %v %v, %d items, %v", ok, err, broke.Len(), broke.Err())
			}
			broke.Close()
			importText(t, path, header+"1,new,,,8,A\n")
			if it, _, err := c.Lookup("1"); err != nil || it.Price != 800 || c.Err() != nil {
				t.Errorf("after the repair: %+v %v %v", it, err, c.Err())
			}
		})
	}
}

// A file that is cut in place, as cp over it does, faults on access. That is an
// error of the lookup, not the end of posd, and the next import heals it.
func TestCutInPlace(t *testing.T) {
	for _, size := range []int64{0, 4096, 8192} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.db")
			var b strings.Builder
			b.WriteString(header)
			for i := range 5000 {
				fmt.Fprintf(&b, "%d,item,,,1,A\n", i)
			}
			importText(t, path, b.String())
			c := open(t, path)
			c.every = time.Hour
			c.next.Store(int64(time.Hour))
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, _, err := c.Lookup("77"); !errors.Is(err, ErrCorrupt) {
					t.Errorf("got %v", err)
				}
			}
			importText(t, path, b.String())
			c.every = 0
			c.next.Store(0)
			if _, ok, err := c.Lookup("77"); !ok || err != nil {
				t.Errorf("after the next import: %v %v", ok, err)
			}
		})
	}
}

// Replacing the file again and again while goroutines look up: each lookup sees
// one version as a whole, and old versions are closed.
func TestSwapWhileLookingUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	text := func(version int) string {
		var b strings.Builder
		b.WriteString(header)
		for i := range 200 {
			fmt.Fprintf(&b, "%d,v%d,d%d,,%d,A\n", i, version, version, version)
		}
		return b.String()
	}
	importText(t, path, text(1))
	c := open(t, path)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			last := pos.Money(0)
			for i := g; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				it, ok, err := c.Lookup(fmt.Sprint(i % 200))
				want := fmt.Sprint(it.Price / 100)
				if err != nil || !ok || it.Description != "v"+want || it.Department != "d"+want {
					t.Errorf("mixed or missing: %+v %v %v", it, ok, err)
					return
				}
				if it.Price < last {
					t.Errorf("went back from %d to %d", last, it.Price)
					return
				}
				last = it.Price
			}
		})
	}
	const versions = 30
	for v := 2; v <= versions; v++ {
		importText(t, path, text(v))
		if _, ok, err := c.Lookup("0"); err != nil || !ok {
			t.Errorf("version %d: %v %v", v, ok, err)
		}
	}
	close(stop)
	wg.Wait()
	if it, _, err := c.Lookup("0"); err != nil || it.Price != versions*100 || c.Err() != nil {
		t.Errorf("at the end: %+v %v %v", it, err, c.Err())
	}
	if n := mapped(t, path); n != 1 {
		t.Errorf("%d versions are still mapped, want 1", n)
	}
}

// mapped counts the mappings of path, replaced versions included.
func mapped(t *testing.T, path string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), path)
}

// A large import must not hold the file in memory, and lookups hardly allocate.
func TestLargeImport(t *testing.T) {
	const n = 100_000
	path := filepath.Join(t.TempDir(), "c.db")
	reader, writer := io.Pipe()
	go func() {
		io.WriteString(writer, header)
		for i := range n { // a multiplicative order: no locality
			fmt.Fprintf(writer, "%013d,Item number %d of the range,dept%d,pc,%d.%02d,A\n", uint64(i)*2654435761%n, i, i%40, i/100, i%100)
		}
		writer.Close()
	}()
	r, err := Import(context.Background(), reader, path, euro)
	if err != nil || r.Items != n {
		t.Fatalf("%+v %v", r, err)
	}
	t.Logf("%d items in %d bytes", r.Items, r.Bytes)
	c := Open(path)
	defer c.Close()
	for i := range n {
		code := fmt.Sprintf("%013d", i)
		if _, ok, err := c.Lookup(code); !ok || err != nil {
			t.Fatalf("%s: %v %v", code, ok, err)
		}
	}
	if got := testing.AllocsPerRun(1000, func() { c.Lookup("0000000004711") }); got > 5 {
		t.Errorf("%v allocations for a lookup", got)
	}
}
