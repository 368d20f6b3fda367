package till

import (
	"bytes"
	"testing"

	"posd/pos"
)

// A tender that begins in another journal than its basket says which one; those before it
// keep their names, and so do tenders of baskets that began there. It replays as it is.
func TestTenderOfAnHeir(t *testing.T) {
	f := newFold(t)
	o := f.open()
	f.must(f.AddLine(o, f.rules, article(1000), 0))
	for _, c := range []struct{ journal, id string }{{"", "1"}, {o.Basket[:8], "2"}, {"61a5c45e", "3-61a5c45e"}, {"0b3f77aa", "4-0b3f77aa"}, {o.Basket[:8], "5"}} {
		e := f.must(f.BeginTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: 1000}, Driver{Name: "P", Memory: "m", Journal: c.journal}))
		if e.Tender.ID != c.id || Heirs(f.Find(o.Basket).Tender(c.id)) != (len(c.id) > 1) {
			t.Errorf("in %q: tender %s, not %s", c.journal, e.Tender.ID, c.id)
		}
		f.must(f.EndTender(o, f.rules, c.id, "tender.declined", nil))
	}
	if e := f.must(f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: 1000})); e.Tender.ID != "6" {
		t.Errorf("cash: tender %s", e.Tender.ID)
	}
	b := f.Append(nil)
	s, err := ParseState(b)
	if err != nil || !bytes.Equal(s.Append(nil), b) {
		t.Errorf("%v: %s, was %s", err, s.Append(nil), b)
	}
}
