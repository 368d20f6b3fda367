package catalogue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"posd/pos"
)

var cents = pos.Currency{Code: "EUR", Exponent: 2}

// anyShop is a CSV file of random items with everything that an item may have, in a
// random order of lines.
func anyShop(rng *rand.Rand, items int) string {
	rows := make([]string, 0, items)
	for i := range items {
		if rng.IntN(8) == 0 {
			continue
		}
		code := fmt.Sprint("k", i)
		if i%3 == 0 {
			code = gtinOf(i)
			if rng.IntN(2) == 0 {
				code = "0" + code
			}
		}
		price, next := fmt.Sprintf("%d.%02d", rng.IntN(50), rng.IntN(100)), ","
		if rng.IntN(9) == 0 {
			price = ""
		} else if rng.IntN(5) == 0 {
			next = "3.50,2027-01-0" + fmt.Sprint(1+rng.IntN(9))
		}
		rows = append(rows, fmt.Sprintf("%s,\"Word%d, \"\"%d\"\" ü\",%s,%s,%s,%s,%s,%s,%s,\n", code, rng.IntN(9), i, []string{"", "Food"}[rng.IntN(2)],
			[]string{"pc", "kg", ""}[rng.IntN(3)], price, []string{"A", "B", "B"}[rng.IntN(3)], []string{"", "", "18"}[rng.IntN(3)], []string{"", "1"}[rng.IntN(2)], next))
	}
	rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return wideHeader + strings.Join(rows, "")
}

// A delta that Diff has written makes of the one catalogue exactly the other, and an
// export gives the same bytes whatever way its items came.
func TestDiffAndExport(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	export := func(name string) string {
		t.Helper()
		var b bytes.Buffer
		if err := Export(at(name), &b, cents); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	diff := func(base, name string) (text string, set, deleted int) {
		t.Helper()
		var b bytes.Buffer
		set, deleted, err := Diff(at(base), at(name), &b, cents)
		if err != nil {
			t.Fatal(err)
		}
		return b.String(), set, deleted
	}
	for round := range 30 {
		importText(t, at("a"), anyShop(rng, 1+rng.IntN(120)))
		whole := importText(t, at("b"), anyShop(rng, 1+rng.IntN(120)))
		importText(t, at("again"), export("b"))
		if export("again") != export("b") {
			t.Fatalf("round %d: an export that was imported is exported otherwise", round)
		}
		if _, set, deleted := diff("b", "again"); set+deleted != 0 {
			t.Fatalf("round %d: an export lacks something", round)
		}
		text, set, deleted := diff("a", "b")
		rep, err := applyDelta(t, at("a"), text)
		if err != nil || rep.Set != set || rep.Deleted != deleted || rep.Items != whole.Items || !maps.Equal(rep.Taxes, whole.Taxes) {
			t.Fatalf("round %d: %+v, %v; %d set, %d deleted, %+v", round, rep, err, set, deleted, whole)
		}
		if export("a") != export("b") {
			t.Fatalf("round %d: the delta does not make the other catalogue", round)
		}
	}
	// The control: a line that the delta lacks is seen.
	importText(t, at("a"), wideHeader+"1,a,,pc,1,A,,,,,\n2,b,,pc,1,A,,,,,\n3,c,,pc,1,A,,,,,\n")
	importText(t, at("b"), wideHeader+"2,b,,pc,1.01,A,,,,,\n3,c,,pc,1,A,,,,,\n")
	text, set, deleted := diff("a", "b")
	if lines := strings.Split(text, "\n"); set != 1 || deleted != 1 || len(lines) != 4 {
		t.Fatalf("%d, %d: %s", set, deleted, text)
	} else if _, err := applyDelta(t, at("a"), lines[0]+"\n"+lines[2]+"\n"); err != nil || export("a") == export("b") {
		t.Errorf("%v: a missing line is not seen", err)
	}
	if _, _, err := Diff(at("a"), at("b"), new(bytes.Buffer), pos.Currency{Code: "USD", Exponent: 2}); !errors.Is(err, ErrBase) {
		t.Error(err)
	}
}

// How many items have which tax code is known after any import, and not of a file in
// which nobody has counted.
func TestTaxesAreCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	c := open(t, path)
	if len(c.Taxes()) != 0 {
		t.Error(c.Taxes())
	}
	says := func(want string) {
		t.Helper()
		c.next.Store(0)
		if got := fmt.Sprint(c.Taxes()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	importText(t, path, wideHeader+"1,a,,pc,1,A,,,,,\n2,b,,pc,1,B,,,,,\n3,c,,pc,1,A,,,,,\n")
	says("map[A:2 B:1]")
	if _, err := applyDelta(t, path, wideHeader+"2,b,,pc,1,A,,,,,\n3,,,,,,,,,,delete\n4,d,,pc,,A,,,,,\n9,,,,,,,,,,delete\n"); err != nil {
		t.Fatal(err)
	}
	says("map[A:3]")
	o := euro
	o.Taxes = nil
	if rep, err := Import(context.Background(), strings.NewReader(wideHeader+"1,a,,pc,1,X,,,,,\n"), path, o); err != nil || rep.Taxes["X"] != 1 {
		t.Errorf("any code: %+v, %v", rep, err)
	}
	if _, err := Import(context.Background(), strings.NewReader(wideHeader+"1,a,,pc,1,,,,,,\n"), path, o); err == nil {
		t.Error("no code at all was taken")
	}
	// A release before this one changes the file and does not count.
	older := func() {
		t.Helper()
		db, err := bolt.Open(path, 0o644, nil)
		if err == nil {
			err = errors.Join(db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyVersion, []byte("other")) }), db.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	older()
	if c := open(t, path); c.Taxes() != nil || c.Version() != "other" {
		t.Errorf("%v of %s", c.Taxes(), c.Version())
	}
	if rep, err := applyDelta(t, path, wideHeader+"2,b,,pc,1,A,,,,,\n"); err != nil || rep.Taxes != nil {
		t.Errorf("%+v, %v", rep, err)
	}
}
