package tradeday

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"posd/pos"
)

// dataDir is where the real data is, or "" with a note in the log.
func dataDir(t *testing.T) string {
	dir := os.Getenv("POSD_DATA")
	if dir == "" {
		dir = "../../../shared/data/groceries"
	}
	if _, err := os.Stat(filepath.Join(dir, "transactions.csv.gz")); err != nil {
		t.Logf("the real data is not here (set POSD_DATA to its folder): only the synthetic part is tested: %v", err)
		return ""
	}
	return dir
}

func folder(t *testing.T, transactions, products string) string {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"transactions.csv.gz": "transaction_timestamp,store_id,basket_id,household_id,product_id,quantity,sales_value,retail_disc\n" + transactions,
		"products.csv.gz":     "product_id,manufacturer_id,department,brand,product_category,product_type,package_size\n" + products,
	} {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(text))
		z.Close()
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const someProducts = "11,1,GROCERY,National,APPLES,APPLE SAUCE,50 OZ\n12,1,MISCELLANEOUS,Private,COUPON/MISC ITEMS,GASOLINE-REG UNLEADED,\n13,1,COSMETICS,National,,,\n"

// Every edge of the real data, small enough to compute by hand.
func TestRealEdges(t *testing.T) {
	dir := folder(t, ""+
		"2017-01-01T12:30:27,319,1013,906,11,2.0,1.5,0.29\n"+
		"2017-01-01T12:30:27,319,1013,906,13,0.0,4.440892e-16,0\n"+
		"2017-01-01T12:30:27,319,1028,906,12,8396.0,18.46,0\n"+
		"2017-01-01T12:30:28,32004,1039,906,99,1.0,250.0,0\n"+
		"2017-01-02T00:00:00,319,4.0128e+10,906,11,0.0,0.0,0\n", someProducts)
	var got []Basket
	for b, err := range Real(dir) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b)
	}
	want := []string{
		"1013 319 2 [{11 APPLE SAUCE, 50 OZ GROCERY pc R 7 2 0 true 150} {13 COSMETICS COSMETICS pc S 19 0 0 true 0}] {[{R 7 140 10 150} {S 19 0 0 0}] 150} [{card 150 slip 1013}]",
		"1028 319 3 [{12 GASOLINE-REG UNLEADED FUEL ml S 19 8396 0 true 1846}] {[{S 19 1551 295 1846}] 1846} [{cash 2000 }]",
		"1039 32004 4 [{ Product 99, not listed UNLISTED pc S 19 1 0 true 25000}] {[{S 19 21008 3992 25000}] 25000} [{cash 40000 }]",
		"40128000000 319 1 [{11 APPLE SAUCE, 50 OZ GROCERY pc R 7 0 0 true 0}] {[{R 7 0 0 0}] 0} []",
	}
	for i, b := range got {
		if text := fmt.Sprint(b.ID, " ", b.Store, " ", b.Operator, " ", plain(&b)); i >= len(want) || text != want[i] {
			t.Errorf("basket %d: %s", i, text)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d baskets, want %d", len(got), len(want))
	}
	if last := got[len(got)-1].Time; !last.Equal(time.Date(2017, 1, 2, 0, 0, 0, 0, time.UTC)) {
		t.Error("time", last)
	}
}

func TestRealRefuses(t *testing.T) {
	for name, c := range map[string]struct{ row, want string }{
		"time":         {"2017-13-01T12:30:27,319,1,906,11,1,1,0", "line 2"},
		"id":           {"2017-01-01T12:30:27,319,x,906,11,1,1,0", "basket id"},
		"amount":       {"2017-01-01T12:30:27,319,1,906,11,1,1.5.0,0", "sales_value"},
		"quantity":     {"2017-01-01T12:30:27,319,1,906,11,NaN,1,0", "quantity"},
		"below zero":   {"2017-01-01T12:30:27,319,1,906,11,1,-1,0", "below zero"},
		"columns":      {"2017-01-01T12:30:27,319,1", "wrong number of fields"},
		"out of order": {"2017-01-02T12:30:27,319,1,906,11,1,1,0\n2017-01-01T12:30:27,319,2,906,11,1,1,0", "sort the file"},
	} {
		failed := 0
		for b, err := range Real(folder(t, c.row+"\n", someProducts)) {
			if err != nil {
				failed++
				if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "transactions.csv.gz") {
					t.Errorf("%s: %v", name, err)
				}
			} else if failed > 0 {
				t.Errorf("%s: basket %s after the error", name, b.ID)
			}
		}
		if failed != 1 {
			t.Errorf("%s: %d errors", name, failed)
		}
	}
	for _, err := range Real(t.TempDir()) {
		if !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
}

func TestRealStopsWhenAsked(t *testing.T) {
	dir := folder(t, "2017-01-01T12:30:27,319,1,906,11,1,1,0\n2017-01-01T12:30:27,319,2,906,11,1,1,0\n2017-01-01T12:30:27,319,3,9,11,1,1,0\n", someProducts)
	n := 0
	for range Real(dir) {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Error(n)
	}
}

func TestNextNote(t *testing.T) {
	for total, want := range map[pos.Money]pos.Money{
		1: 500, 500: 500, 501: 1000, 1001: 2000, 2001: 5000, 5001: 10000, 10001: 20000, 20000: 20000, 20001: 40000, 99999: 100000,
	} {
		if got := nextNote(total); got != want {
			t.Errorf("nextNote(%d) = %d, want %d", total, got, want)
		}
	}
}

func TestParseScaled(t *testing.T) {
	for s, want := range map[string]int64{
		"1.5": 150, "0.0": 0, "100.0": 10000, "4.440892e-16": 0, "5e-3": 1, "4.999e-3": 0, "1.005": 101, "-1.005": -101,
		"1e2": 10000, "1.25E+1": 1250, "00.10": 10, "1e-400": 0,
	} {
		if got, err := parseScaled(s, 2, 1e15); got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", ".", "-", "1.", ".5", "e5", "1e", "1e5000", "0x10", "1/3", "1_000", "Inf", "+1", strings.Repeat("1", 41)} {
		if got, err := parseScaled(s, 2, 1e15); err == nil {
			t.Errorf("%q gave %d", s, got)
		}
	}
	if _, err := parseScaled("1e14", 2, 1e15); !errors.Is(err, pos.ErrOverflow) {
		t.Error(err)
	}
}

// Against exact rationals: at most half a unit off.
func FuzzParseScaled(f *testing.F) {
	for _, s := range []string{"1.5", "4.440892e-16", "-1.005", "1e14", "9e400"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseScaled(s, 2, 1e15)
		if err != nil {
			return
		}
		exact, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("%q was read as %d", s, n)
		}
		off := exact.Sub(exact.Mul(exact, big.NewRat(100, 1)), big.NewRat(n, 1))
		if off.Abs(off).Cmp(big.NewRat(1, 2)) > 0 {
			t.Fatalf("%q was read as %d", s, n)
		}
	})
}

func FuzzReadCSV(f *testing.F) {
	f.Add([]byte("product_id,department\n1,GROCERY\n"), 0)
	f.Add([]byte("department,product_id\n\"A\n\",2\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, _ int) {
		err := readCSV(bytes.NewReader(b), []string{"product_id", "department"}, func(row []string) error {
			if len(row) != 2 {
				t.Fatal(row)
			}
			return nil
		})
		if err == nil && !bytes.Contains(b, []byte("product_id")) {
			t.Fatal("no header, no error")
		}
	})
}

// check holds what the package promises of every basket.
func check(t *testing.T, b Basket, before time.Time) {
	t.Helper()
	lines := slices.Clone(b.Lines)
	totals, err := pos.Compute(lines, Options)
	if err != nil || totals.Total != b.Totals.Total || !reflect.DeepEqual(lines, b.Lines) || len(lines) == 0 {
		t.Fatalf("basket %s: %+v, %v", b.ID, totals, err)
	}
	settled, err := pos.CheckTenders(b.Totals.Total, b.Tenders, 0)
	if err != nil || b.Tenders != nil && b.Tenders[0].Kind == pos.Card && settled.Change != 0 {
		t.Fatalf("basket %s: %+v, %v", b.ID, settled, err)
	}
	if b.Time.Before(before) || b.Operator < "1" || len(b.Operator) > 2 || b.Store == "" {
		t.Fatalf("basket %s: time %v after %v, operator %q", b.ID, b.Time, before, b.Operator)
	}
}

func TestRealData(t *testing.T) {
	dir := dataDir(t)
	if dir == "" {
		return
	}
	seen := map[string]bool{}
	var lines, unlistedLines, zero, huge int
	var total pos.Money
	var before time.Time
	for b, err := range Real(dir) {
		if err != nil {
			t.Fatal(err)
		}
		check(t, b, before)
		if before = b.Time; seen[b.ID] {
			t.Fatalf("basket %s came twice", b.ID)
		}
		seen[b.ID] = true
		total += b.Totals.Total
		for _, l := range b.Lines {
			lines++
			if l.Item == "" {
				unlistedLines++
			}
			if l.Amount == 0 {
				zero++
			}
			if l.Qty >= 10_000_000 {
				huge++
			}
		}
	}
	// Counted in the files by other means (awk); Σ sales_value is 233,935.24.
	if len(seen) != 47243 || lines != 75000 || unlistedLines != 222 || zero != 529 || huge != 383 || total != 233_935_24 {
		t.Errorf("%d baskets, %d lines, %d unlisted, %d of value 0, %d above 10,000, total %d", len(seen), lines, unlistedLines, zero, huge, total)
	}
}

func TestSynthetic(t *testing.T) {
	items := catalogue(t, func(b *bytes.Buffer) error { return WriteSyntheticItems(b) })
	n := 0
	var before time.Time
	kinds := map[string]int{}
	for b, err := range Synthetic(1, 3000) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		check(t, b, before)
		before = b.Time
		if b.ID != fmt.Sprint(n) {
			t.Fatalf("basket %d is named %s", n, b.ID)
		}
		for _, l := range b.Lines {
			switch row := items[l.Item]; {
			case l.Item == "":
				kinds["no item"]++
			case row == nil:
				t.Fatalf("item %s is not in the catalogue", l.Item)
			case row[1] != l.Description || row[2] != l.Department || row[3] != l.Unit || row[5] != l.Tax:
				t.Fatalf("catalogue %v, line %+v", row, l)
			case l.Fixed:
				kinds["fixed"]++
			case row[4] != l.Price.Format(Currency):
				t.Fatalf("catalogue %v, line %+v", row, l)
			case l.Qty%1000 != 0:
				kinds["fraction"]++
			default:
				kinds["pieces"]++
			}
		}
	}
	if n != 3000 || kinds["no item"] == 0 || kinds["fixed"] == 0 || kinds["fraction"] == 0 || kinds["pieces"] < 3000 {
		t.Errorf("%d baskets, %v", n, kinds)
	}
}

// plain writes what a generated basket can hold, and nothing that it cannot.
func plain(b *Basket) string {
	type line struct {
		item, description, department, unit, tax string
		rate                                     string
		qty                                      string
		price                                    pos.Money
		fixed                                    bool
		amount                                   pos.Money
	}
	type tender struct {
		kind      pos.TenderKind
		amount    pos.Money
		reference string
	}
	var lines []line
	for _, l := range b.Lines {
		price := l.Price
		if l.Fixed {
			price = 0
		}
		lines = append(lines, line{l.Item, l.Description, l.Department, l.Unit, l.Tax, l.Rate.String(), l.Qty.String(), price, l.Fixed, l.Amount})
	}
	var tenders []tender
	for _, t := range b.Tenders {
		tenders = append(tenders, tender{t.Kind, t.Amount, t.Reference})
	}
	return fmt.Sprint(lines, " ", b.Totals, " ", tenders)
}

// The same seed is the same day, on every machine and release of Go.
func TestSyntheticIsFixed(t *testing.T) {
	day := func(seed uint64) string {
		h := sha256.New()
		for b, err := range Synthetic(seed, 500) {
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(h, b.ID, b.Time.Unix(), b.Operator, plain(&b))
		}
		return hex.EncodeToString(h.Sum(nil)[:8])
	}
	if got := day(1); got != wantDay {
		t.Errorf("the day of seed 1 is %s, was %s", got, wantDay)
	}
	if day(1) == day(2) {
		t.Error("the seed does not matter")
	}
}

const wantDay = "7ee5cc876a0f632f"

func catalogue(t *testing.T, write func(*bytes.Buffer) error) map[string][]string {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || strings.Join(rows[0], ",") != "code,description,department,unit,price,tax" {
		t.Fatal(rows, err)
	}
	items := map[string][]string{}
	for _, row := range rows[1:] {
		if items[row[0]] != nil || row[0] == "" {
			t.Fatalf("item %s is there twice", row[0])
		}
		items[row[0]] = row
	}
	return items
}

func TestWriteItems(t *testing.T) {
	dir := folder(t, "", someProducts)
	items := catalogue(t, func(b *bytes.Buffer) error { return WriteItems(b, dir) })
	if got := fmt.Sprint(items); got != "map[11:[11 APPLE SAUCE, 50 OZ GROCERY pc  R] 12:[12 GASOLINE-REG UNLEADED FUEL ml  S] 13:[13 COSMETICS COSMETICS pc  S]]" {
		t.Error(got)
	}
	if dir := dataDir(t); dir != "" {
		if items := catalogue(t, func(b *bytes.Buffer) error { return WriteItems(b, dir) }); len(items) != 92331 {
			t.Errorf("%d items", len(items))
		}
	}
}

func TestDistributionsAreChecked(t *testing.T) {
	good, err := distributions()
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Distributions){
		"no hours":       func(d *Distributions) { d.Hours = nil },
		"no departments": func(d *Distributions) { d.Departments = nil },
		"no prices":      func(d *Distributions) { d.Departments[0].Prices = nil },
		"no quantities":  func(d *Distributions) { d.Departments[0].Quantities = nil },
	} {
		d := good
		d.Departments = slices.Clone(good.Departments)
		if spoil(&d); d.check() == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}
