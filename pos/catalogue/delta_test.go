package catalogue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"posd/pos"
	"posd/pos/itemcode"
)

const wideHeader = "code,description,department,unit,price,tax,age,decimals,next_price,next_from,op\n"

func applyDelta(t *testing.T, path, text string, change ...func(*ImportOptions)) (ImportReport, error) {
	t.Helper()
	o := euro
	o.Delta = true
	for _, c := range change {
		c(&o)
	}
	return Import(context.Background(), strings.NewReader(text), path, o)
}

func TestOptionalColumns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	importText(t, path, wideHeader+"1,Wine,,pc,5.99,A,18,,4.99,2026-12-01,\n2,Cloth,,m,3.00,A,,2,,,\n3,Half a loaf,,pc,1.00,A,,1,,,x\n")
	c := open(t, path)
	wine, _, _ := c.Lookup("1")
	day := func(y, m, d int) itemcode.Date { return itemcode.Date{Year: int16(y), Month: uint8(m), Day: uint8(d)} }
	if wine.Age != 18 || wine.PriceOn(day(2026, 11, 30)) != 599 || wine.PriceOn(day(2026, 12, 1)) != 499 || wine.PriceOn(day(2027, 1, 1)) != 499 {
		t.Errorf("%+v", wine)
	}
	cloth, _, _ := c.Lookup("2")
	loaf, _, _ := c.Lookup("3")
	for _, tc := range []struct {
		it    Item
		q     pos.Qty
		takes bool
	}{{wine, 1000, true}, {wine, 1500, false}, {wine, 0, true}, {cloth, 1250, true}, {cloth, 1255, false}, {loaf, 500, true}, {loaf, 250, false}, {wine, -2000, true}} {
		if tc.it.Takes(tc.q) != tc.takes {
			t.Errorf("%s of %s: %v", tc.q, tc.it.Description, !tc.takes)
		}
	}
	for row, want := range map[string]string{
		"1,a,,pc,1,A,100,,,,\n":             `line 2: age "100" of item 1; give 0 to 99`,
		"1,a,,pc,1,A,x,,,,\n":               `line 2: age "x" of item 1`,
		"1,a,,pc,1,A,,4,,,\n":               `line 2: decimals "4" of item 1; give 0 to 3`,
		"1,a,,pc,1,A,,,2,,\n":               "has one of next_price and next_from",
		"1,a,,pc,1,A,,,2,1.12.2026,\n":      `next_from "1.12.2026" of item 1; write a day such as`,
		"1,a,,pc,1,A,,,2.999,2026-12-1,\n":  "next_from",
		"1,a,,pc,1,A,,,2.999,2026-12-01,\n": `next_price "2.999" of item 1`,
		"1,a,,pc,,A,,,2,2026-12-01,\n":      "has an open price and a next one",
	} {
		if _, err := Import(context.Background(), strings.NewReader(wideHeader+row), path, euro); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", row, err, want)
		}
	}
}

// A GTIN is found by any of its forms, keeps the code that the file gave it, and
// cannot be there twice in two forms.
func TestAnyFormOfAGTIN(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	importText(t, path, header+"4006381333931,Pen,,,1,A\n0036000291452,Cloth,,,2,A\n00000096385074,Gum,,,3,A\n4006381333932,Own number,,,4,A\n")
	c := open(t, path)
	for code, want := range map[string]string{
		"4006381333931": "4006381333931", "04006381333931": "4006381333931", "036000291452": "0036000291452", "0036000291452": "0036000291452",
		"00036000291452": "0036000291452", "96385074": "00000096385074", "000096385074": "00000096385074", "4006381333932": "4006381333932",
		"04006381333932": "", "6381333931": "", "36000291452": "",
	} {
		it, ok, err := c.Lookup(code)
		if err != nil || ok != (want != "") || it.Code != want {
			t.Errorf("%s: %q %v %v, want %q", code, it.Code, ok, err, want)
		}
	}
	_, err := Import(context.Background(), strings.NewReader(header+"036000291452,a,,,1,A\n7,b,,,1,A\n0036000291452,c,,,1,A\n"), path, euro)
	if err == nil || !strings.Contains(err.Error(), "line 4: code 036000291452 is already on line 2") {
		t.Errorf("got %v", err)
	}
}

// A file of schema 1, as releases before wrote it, is used until the next import.
func TestSchemaOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	db, err := bolt.Open(path, 0o644, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		items, _ := tx.CreateBucket([]byte("items"))
		meta, err := tx.CreateBucket([]byte("meta"))
		return errors.Join(err,
			items.Put([]byte("4011"), []byte("\x01\x00\x02\x8e\x03\x07Bananas\x05fruit\x02kg\x01A")),
			items.Put([]byte("0036000291452"), []byte("\x01\x01\x03\x00\x05Cloth\x00\x02pc\x01B")),
			meta.Put([]byte("schema"), []byte("posd catalogue 1")), meta.Put([]byte("version"), []byte("0123-x")),
			meta.Put([]byte("count"), binary.AppendUvarint(nil, 2)), meta.Put([]byte("currency"), []byte("EUR")))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	c := open(t, path)
	for code, want := range map[string]Item{
		"4011":         {Code: "4011", Description: "Bananas", Department: "fruit", Unit: "kg", Tax: "A", Price: 199, Decimals: 3},
		"036000291452": {Code: "0036000291452", Description: "Cloth", Unit: "pc", Tax: "B", Open: true, Decimals: 3},
		"4012":         {},
	} {
		if got, ok, err := c.Lookup(code); err != nil || got != want || ok != (want.Code != "") {
			t.Errorf("%s: %+v %v %v", code, got, ok, err)
		}
	}
	if _, _, err := c.Find("bananas", 10); !errors.Is(err, ErrNoWords) {
		t.Errorf("find: %v", err)
	}
	if _, err := applyDelta(t, path, header+"1,a,,,1,A\n"); !errors.Is(err, ErrBase) {
		t.Errorf("delta: %v", err)
	}
	if c.Len() != 2 || c.Version() != "0123-x" || c.Err() != nil {
		t.Errorf("%d %s %v", c.Len(), c.Version(), c.Err())
	}
}

func TestFind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	importText(t, path, header+`1,"Müller Milch, 3,5 % Fett",,,1,A
2,MÜLLERMILCH Schoko,,,1,A
3,Crème brûlée,,,1,A
4,"Straßenkreide, 6 Stück",,,1,A
5,Milchreis Zimt,,,1,A
6,Φέτα ΤΥΡΊ,,,1,A
7,сырок Ёлка,,,1,A
8,Nước mắm 500ml,,,1,A
9,Kóla kola kolada,,,1,A
4006381333931,Stift mit einem sehrsehrsehrsehrsehrlangenwort,,,1,A
`)
	c := open(t, path)
	for _, tc := range []struct {
		name string
		most int
		want string
		more bool
	}{
		{"milch", 10, "1 5", false},
		{"MILCH FETT", 10, "1", false},
		{"fett milch müll", 10, "1", false},
		{"muller", 10, "1 2", false},
		{"creme brulee", 10, "3", false},
		{"CRE\u0300ME", 10, "3", false},
		{"strasse", 10, "4", false},
		{"stuck 6", 10, "4", false}, // one letter counts for nothing
		{"φετα", 10, "6", false},
		{"τυρι", 10, "6", false},
		{"елка", 10, "7", false},
		{"nuoc 500", 10, "8", false},
		{"kol", 10, "9", false},
		{"sehrsehrsehrsehrsehrlangenwortendet", 10, "4006381333931", false},
		{"mi", 1, "1", true},
		{"mi", 3, "1 4006381333931 5", false},
		{"milch brot", 10, "", false},
		{"xyz", 10, "", false},
		{"a", 10, "", false},
		{"", 10, "", false},
		{"%_\x00\xff", 10, "", false},
		{"milch", 0, "", false},
	} {
		items, more, err := c.Find(tc.name, tc.most)
		var codes []string
		for _, it := range items {
			codes = append(codes, it.Code)
		}
		slices.Sort(codes)
		if got := strings.Join(codes, " "); err != nil || got != tc.want || more != tc.more {
			t.Errorf("%q: %q %v %v, want %q %v", tc.name, got, more, err, tc.want, tc.more)
		}
	}
}

// However many there are, an answer has a bound, and says that there is more; a rare
// word among common ones is found nevertheless.
func TestFindIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	var b strings.Builder
	b.WriteString(header)
	for i := range 8000 {
		fmt.Fprintf(&b, "%d,Item of the range number%d,,,1,A\n", i, i)
	}
	importText(t, path, b.String())
	c := open(t, path)
	if items, more, err := c.Find("item", 1000); len(items) != MaxFound || !more || err != nil {
		t.Errorf("%d %v %v", len(items), more, err)
	}
	if items, more, err := c.Find("range item number7777", 10); len(items) != 1 || more || err != nil {
		t.Errorf("%v %v %v", items, more, err)
	}
	if items, more, err := c.Find("item nothing", 10); len(items) != 0 || more || err != nil {
		t.Errorf("%v %v %v", items, more, err)
	}
}

// Deltas at random, beside a model: after each one every item, every word and the
// count are those of the model, with and without a pace, small and large.
func TestDeltasAgreeWithAModel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	rnd := rand.New(rand.NewPCG(6, 2))
	vocabulary := []string{"apple", "bread", "cream", "dough", "eggs", "flour", "gravy", "honey"}
	model := map[string]string{} // code to description
	name := func() string {
		return vocabulary[rnd.IntN(8)] + " " + vocabulary[rnd.IntN(8)] + fmt.Sprint(" n", rnd.IntN(50))
	}
	code := func() string {
		n := fmt.Sprintf("%011d", rnd.IntN(6000))
		if n[10]%2 == 0 {
			return n
		}
		return n + string(rune('0'+(10-sumOf(n))%10))
	}
	var b strings.Builder
	b.WriteString(header)
	for range 3000 {
		if c := code(); model[c] == "" {
			model[c] = name()
			fmt.Fprintf(&b, "%s,%s,,,1,A\n", c, model[c])
		}
	}
	importText(t, path, b.String())
	c := open(t, path)
	for round, size := range []int{1, 10, 3, 400, 0, 2500, 50} {
		b.Reset()
		b.WriteString(wideHeader)
		touched, set, gone := map[string]bool{}, 0, 0
		for range size {
			k := code()
			if touched[k] {
				continue
			}
			touched[k] = true
			if rnd.IntN(3) == 0 {
				fmt.Fprintf(&b, "%s,,,,,,,,,,delete\n", k)
				if model[k] != "" {
					gone++
				}
				delete(model, k)
			} else {
				set++
				if model[k] == "" || rnd.IntN(2) == 0 {
					model[k] = name()
				}
				fmt.Fprintf(&b, "%s,%s,,,%d,A,,,,,\n", k, model[k], round)
			}
		}
		turns := 0
		r, err := applyDelta(t, path, b.String(), func(o *ImportOptions) {
			if round%2 == 1 {
				o.Pace = func() { turns++ }
			}
		})
		if err != nil || r.Items != len(model) || r.Set != set || r.Deleted != gone || c.Version() != r.Version || round%2 == 1 && turns == 0 {
			t.Fatalf("round %d: %+v %v, want %d items, %d set, %d gone; %d turns", round, r, err, len(model), set, gone, turns)
		}
		agree(t, c, model, vocabulary)
	}
}

// sumOf is the weighted sum of a GTIN-12 without check digit.
func sumOf(digits string) (sum int) {
	for i := range digits {
		sum += int(digits[i]-'0') * (3 - 2*(i%2))
	}
	return sum % 10
}

func agree(t *testing.T, c *Catalogue, model map[string]string, vocabulary []string) {
	t.Helper()
	for n := range 6000 {
		s := fmt.Sprintf("%011d", n)
		for _, k := range []string{s, s + string(rune('0'+(10-sumOf(s))%10))} {
			it, ok, err := c.Lookup(k)
			if err != nil || ok != (model[k] != "") || it.Description != model[k] {
				t.Fatalf("%s: %+v %v %v, want %q", k, it, ok, err, model[k])
			}
		}
	}
	s, _ := c.acquire()
	defer c.release(s)
	found := map[string]int{}
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketWords).ForEach(func(k, block []byte) error {
			word, first, _ := strings.Cut(string(k), "\x00")
			last := ""
			for len(block) > 0 {
				key, rest, ok := nextKey(block)
				if !ok || string(key) <= last || last == "" && string(key) != first {
					return fmt.Errorf("block %q is out of order at %q", k, key)
				}
				found[word]++
				if it, ok, err := s.read(key); err != nil || !ok || !strings.Contains(it.Description, word) {
					return fmt.Errorf("word %q of %q: %+v %v", word, key, it, err)
				}
				last, block = string(key), rest
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for _, text := range model {
		var w words
		w.split(text)
		for i := range w.n {
			want[string(w.at(i))]++
		}
	}
	if !maps.Equal(found, want) {
		t.Fatalf("words %v, want %v", found, want)
	}
}

func TestDeltaRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	if _, err := applyDelta(t, path, header+"1,a,,,1,A\n"); !errors.Is(err, ErrBase) || !strings.Contains(err.Error(), "import a whole one first") {
		t.Errorf("without a catalogue: %v", err)
	}
	first := importText(t, path, header+"1,a,,,1,A\n2,b,,,1,A\n")
	for name, tc := range map[string]struct {
		text   string
		change func(*ImportOptions)
		want   string
	}{
		"another base":     {header + "1,a,,,2,A\n", func(o *ImportOptions) { o.Base = "feed" }, "the delta is for feed"},
		"another currency": {header + "1,a,,,2,A\n", func(o *ImportOptions) { o.Currency = pos.Currency{Code: "USD", Exponent: 2} }, "prices are in EUR, those of the delta in USD"},
		"twice":            {header + "1,a,,,2,A\n1,b,,,3,A\n", func(*ImportOptions) {}, "line 3: code 1 is already on line 2"},
		"op":               {wideHeader + "1,a,,,2,A,,,,,drop\n", func(*ImportOptions) {}, `op "drop" of item 1; write set or delete`},
		"a bad line":       {header + "1,a,,,2,A\n2,b,,,x,A\n", func(*ImportOptions) {}, "line 3: price"},
	} {
		if _, err := applyDelta(t, path, tc.text, tc.change); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %s", name, err, tc.want)
		}
	}
	c := open(t, path)
	if it, _, err := c.Lookup("1"); err != nil || it.Price != 100 || c.Version() != first.Version || c.Len() != 2 {
		t.Errorf("a refused delta changed something: %+v %v", it, err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	r, err := applyDelta(t, path, header+"1,a,,,2,A\n", func(o *ImportOptions) { o.Base = first.Version[:16] })
	if err != nil || r.Items != 2 || r.Version[:16] == first.Version[:16] {
		t.Errorf("%+v %v", r, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o := euro
	o.Delta = true
	if _, err := Import(ctx, strings.NewReader(header+"1,a,,,3,A\n"), path, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A delta of a catalogue whose pages are garbled is refused, and nothing hangs.
func TestDeltaOfACorruptCatalogue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	var b strings.Builder
	b.WriteString(header)
	for i := range 2000 {
		fmt.Fprintf(&b, "%d,item word%d,,,1,A\n", i, i)
	}
	importText(t, path, b.String())
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for at := 8192; at < len(good); at += 4096 {
		bad := slices.Clone(good)
		for i := at; i < at+4096; i++ {
			bad[i] = 0xff
		}
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := applyDelta(t, path, header+"77,other,,,1,A\n1999,third,,,1,A\n")
		switch {
		case err == nil && r.Items != 2000:
			t.Errorf("page %d: %+v", at/4096, r)
		case err != nil && !errors.Is(err, ErrCorrupt):
			t.Errorf("page %d: %v", at/4096, err)
		case err != nil:
			refused++
		}
	}
	if refused < 5 {
		t.Errorf("%d garbled pages were noticed", refused)
	}
}

// What is kept of a catalogue has a bound, for known codes and for unknown ones.
func TestCachesAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	var b strings.Builder
	b.WriteString(header)
	for i := range 5000 {
		fmt.Fprintf(&b, "%d,%s,,,1,A\n", i, strings.Repeat("x", i%200+1))
	}
	importText(t, path, b.String())
	c := open(t, path)
	for range 3 {
		for i := range 10_000 {
			it, ok, err := c.Lookup(fmt.Sprint(i))
			if err != nil || ok != (i < 5000) || ok && len(it.Description) != i%200+1 {
				t.Fatalf("%d: %+v %v %v", i, it, ok, err)
			}
		}
	}
	s, _ := c.acquire()
	defer c.release(s)
	for name, k := range map[string]*cache{"known": &s.known, "unknown": &s.unknown} {
		size, n := 0, 0
		for e := k.ring.next; e != &k.ring; e = e.next {
			size += e.bytes()
			n++
			if k.by[e.key] != e {
				t.Fatalf("%s: %q is lost", name, e.key)
			}
		}
		if size != k.size || size > k.most || size < k.most/2 || n != len(k.by) {
			t.Errorf("%s: %d entries, %d of %d bytes, counted %d", name, n, size, k.most, k.size)
		}
	}
	if _, ok := s.known.by["4999"]; !ok {
		t.Error("what was asked for last is gone")
	}
}
