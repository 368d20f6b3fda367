package catalogue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file that has lost its end or its prices is told from one that has not, before it
// takes the place of the catalogue that is there.
func TestChangeTellsALostEndAndLostPrices(t *testing.T) {
	const header = "code,description,department,unit,price,tax,next_price,next_from\n"
	shop := func(from, to int, price string) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, "%d,Item %d,,pc,%s,A,,\n", i, i, price)
		}
		return b.String()
	}
	for _, tc := range []struct{ name, was, is, doubt string }{
		{"the first", "", shop(0, 3, "1.29"), ""},
		{"the same", shop(0, 2000, "1.29"), shop(0, 2000, "1.29"), ""},
		{"other prices", shop(0, 2000, "1.29"), shop(0, 2000, "1.39"), ""},
		{"a third less", shop(0, 300, "1.29"), shop(100, 300, "1.29"), ""},
		{"more than a third less", shop(0, 300, "1.29"), shop(101, 300, "1.29"), "101 of the 300 items that are there are not in it"},
		{"a lost end", shop(0, 2000, "1.29"), shop(0, 20, "1.29"), "1980 of the 2000 items"},
		{"another shop's", shop(0, 2000, "1.29"), shop(2000, 5000, "1.29"), "2000 of the 2000 items"},
		{"few", shop(0, 10, "1.29"), shop(10, 11, "1.29"), ""},
		{"one free", shop(0, 20, "1.29"), shop(0, 19, "1.29") + shop(19, 20, "0"), "1 items would cost nothing that did not before: 19 ("},
		{"a new one free", shop(0, 20, "1.29"), shop(0, 20, "1.29") + shop(20, 21, "0.00"), "cost nothing that did not before: 20 ("},
		{"all free", shop(10, 30, "1.29"), shop(10, 30, "0"), "20 items would cost nothing that did not before: 10, 11, 12, 13, 14, 15, 16, 17, 18, 19 and 10 more ("},
		{"free from a day on", shop(0, 2, "1.29"), "0,Item 0,,pc,1.29,A,0,2027-01-01\n", "would cost nothing that did not before: 0 ("},
		{"free as before", shop(0, 2, "1.29") + shop(2, 4, "0"), shop(0, 2, "1.39") + strings.ReplaceAll(shop(2, 4, "0"), "Item", "Bag"), ""},
		{"free at first", "", shop(0, 2, "0"), "2 items would cost nothing"},
		{"open", shop(0, 20, "1.29"), shop(0, 20, ""), ""},
		{"both", shop(0, 90, "1.29"), shop(0, 2, "0"), "88 of the 90 items that are there are not in it; 2 items would cost nothing"},
	} {
		path := filepath.Join(t.TempDir(), "catalogue.db")
		if tc.was != "" {
			importText(t, path, header+tc.was)
		}
		before, _ := os.ReadFile(path)
		doubtful := errors.New("doubtful")
		asked, doubt := 0, ""
		_, err := Import(context.Background(), strings.NewReader(header+tc.is), path, ImportOptions{Currency: cents, Sure: func(c *Change) error {
			asked++
			if doubt = c.Doubt(false); doubt != "" {
				return doubtful
			}
			return nil
		}})
		if asked != 1 || errors.Is(err, doubtful) != (tc.doubt != "") || !strings.Contains(doubt, tc.doubt) || (doubt == "") != (tc.doubt == "") {
			t.Errorf("%s: asked %d times, %q, %v", tc.name, asked, doubt, err)
		}
		if after, _ := os.ReadFile(path); tc.doubt != "" && string(before) != string(after) {
			t.Errorf("%s: the catalogue was replaced", tc.name)
		}
	}
}

// A catalogue that is damaged, or in another currency, is replaced as if there were none.
func TestChangeOfWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	path, fresh := filepath.Join(dir, "catalogue.db"), filepath.Join(dir, "fresh.db")
	importText(t, fresh, anyShopHeader+"1,a,,pc,1.29,A\n2,b,,pc,0,A\n")
	for _, text := range []string{"", "nonsense", strings.Repeat("x", 1<<16)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := Compare(path, fresh, cents); err != nil || c.Before != 0 || c.Gone != 0 || c.Free != 1 {
			t.Errorf("%.10q: %+v %v", text, c, err)
		}
	}
	if c, err := Compare(filepath.Join(dir, "none"), fresh, cents); err != nil || c.Free != 1 {
		t.Errorf("%+v %v", c, err)
	}
}

const anyShopHeader = "code,description,department,unit,price,tax\n"
