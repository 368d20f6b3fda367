package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posd/packaging/lab/slicebench/rig"
)

// book is an account with three sales that were sent, two of them acknowledged.
func book(t *testing.T) *account {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "acked"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	a := newAccount(f)
	for i := range 3 {
		a.sent[fmt.Sprint("k", i+1)] = rig.Order{Body: "body", Total: int64(100 * (i + 1))}
	}
	for i := range 2 {
		if err := a.answered(fmt.Sprint("k", i+1), `{"event":{},"sale":`+saleText(i+1, 100*(i+1))+`}`); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func saleText(number, total int) string {
	return fmt.Sprintf(`{"number":%d,"total":%d}`, number, total)
}

func recordText(seq int, head string, event string) string {
	return fmt.Sprintf(`{"journal":"j","seq":%d,"head":"%s","event":%s}`+"\n", seq, head, event)
}

func saleRecord(seq, number int) string {
	return recordText(seq, fmt.Sprint("h", seq), fmt.Sprintf(`{"type":"sale.completed","key":"k%d","data":%s}`, number, saleText(number, 100*number)))
}

const (
	birth  = `{"journal":"j","seq":1,"head":"h1"}` + "\n"
	opened = `{"type":"shift.opened","data":{}}`
)

func whole() string {
	return birth + recordText(2, "h2", opened) + saleRecord(3, 1) + saleRecord(4, 2)
}

func kindOf(err error) kind {
	var f *finding
	if errors.As(err, &f) {
		return f.kind
	}
	return 0
}

func TestAccount(t *testing.T) {
	for name, c := range map[string]struct {
		dumps []string
		want  kind
	}{
		"in order":             {[]string{whole(), saleRecord(4, 2) + saleRecord(5, 3)}, 0},
		"acknowledged is gone": {[]string{birth + recordText(2, "h2", opened) + saleRecord(3, 1)}, lost},
		"answered differently": {[]string{strings.Replace(whole(), `{"number":2,`, `{"x":1,"number":2,`, 1)}, lost},
		"seen, then gone":      {[]string{whole() + saleRecord(5, 3), ""}, lost},
		"seen, then another":   {[]string{whole() + saleRecord(5, 3), recordText(5, "other", opened)}, lost},
		"a gap":                {[]string{birth + saleRecord(3, 1)}, lost},
		"a key twice":          {[]string{whole() + strings.Replace(saleRecord(5, 2), `"number":2`, `"number":3`, 1)}, twice},
		"a receipt twice":      {[]string{whole() + strings.Replace(saleRecord(5, 3), `"number":3`, `"number":2`, 1)}, twice},
		"a receipt is missing": {[]string{whole() + strings.Replace(saleRecord(5, 3), `"number":3`, `"number":4`, 1)}, lost},
		"never asked for":      {[]string{whole() + strings.Replace(saleRecord(5, 3), `"k3"`, `"k9"`, 1)}, phantom},
		"another total":        {[]string{whole() + strings.Replace(saleRecord(5, 3), `:300`, `:301`, 1)}, phantom},
		"a new journal":        {[]string{whole(), strings.Replace(saleRecord(4, 2), `"j"`, `"k"`, 1)}, falseAlarm},
		"freed":                {[]string{birth, saleRecord(4, 2)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := book(t)
			var err error
			for _, d := range c.dumps {
				if err == nil {
					err = a.look([]byte(d))
				}
			}
			if err == nil {
				err = a.settle(false)
			}
			if kindOf(err) != c.want || (err == nil) != (c.want == 0) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestLedger(t *testing.T) {
	events := recordText(2, "h2", opened) + saleRecord(3, 1) + saleRecord(4, 2)
	for name, c := range map[string]struct {
		dump, events string
		want         kind
	}{
		"equal":         {whole(), events, 0},
		"a sale lacks":  {whole(), recordText(2, "h2", opened) + saleRecord(3, 1), lost},
		"an event":      {whole(), saleRecord(3, 1) + saleRecord(4, 2), lost},
		"twice":         {whole(), events + saleRecord(4, 2), twice},
		"more":          {whole(), events + saleRecord(5, 3), phantom},
		"another":       {whole(), strings.Replace(events, "h3", "x3", 1), lost},
		"another text":  {whole(), strings.Replace(events, `:100}`, `:101}`, 1), lost},
		"other journal": {whole(), strings.Replace(events, `"j"`, `"k"`, 1), phantom},
		"freed, there":  {birth, events, 0},
		"freed, gone":   {birth, recordText(2, "h2", opened) + saleRecord(4, 2), lost},
	} {
		t.Run(name, func(t *testing.T) {
			a := book(t)
			if err := a.look([]byte(c.dump)); err != nil {
				t.Fatal(err)
			}
			if c.dump == birth { // the rest was freed before anyone looked
				if err := a.look([]byte(recordText(5, "h5", opened))); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.ledger([]byte(c.events), 4); kindOf(err) != c.want || (err == nil) != (c.want == 0) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	a := book(t)
	if err := a.answered("k1", `{"event":{},"sale":`+saleText(1, 100)+`}`); err != nil {
		t.Error(err)
	}
	if err := a.answered("k1", `{"event":{},"sale":`+saleText(9, 100)+`}`); kindOf(err) != twice {
		t.Error("another answer:", err)
	}
}

func TestPlan(t *testing.T) {
	seen := map[aim]int{}
	for seed := range uint64(40) {
		one, two := newHistory(seed, 25, nil), newHistory(seed, 25, nil)
		for n := range 25 {
			a, b := one.round(n), two.round(n)
			a.rng, b.rng = nil, nil
			if a != b {
				t.Fatalf("seed %d, round %d: %+v, %+v", seed, n, a, b)
			}
			seen[a.aim]++
		}
	}
	for a := range aims {
		if seen[a] < 50 {
			t.Errorf("%d of 1000 cuts are %s", seen[a], a)
		}
	}
	o := options{cuts: 60, each: 25, guests: 2, seed: 1}
	sum := 0
	for _, h := range histories(o) {
		sum += h.cuts
	}
	if sum != 60 {
		t.Error(sum, "cuts")
	}
}
