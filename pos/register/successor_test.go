package register

import (
	"path/filepath"
	"testing"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
	"posd/pos/till"
)

// TestSuccessorTakesGaps: whatever is missing of the former journal, the newest
// figures that are left count, and no receipt number can come again.
func TestSuccessorTakesGaps(t *testing.T) {
	m := newTill(t)
	m.start()
	for i := range 40 {
		m.sell(sale(string(rune('a'+i)), 100))
	}
	m.stop()
	var all []chain.Record
	if _, err := journal.Verify(t.Context(), filepath.Join(m.dir, "journal"), journal.VerifyOptions{Each: func(r chain.Record, _ chain.Head) error {
		r.Payload = append([]byte(nil), r.Payload...)
		all = append(all, r)
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	for name, keep := range map[string]func(i int) bool{
		"nothing missing":             func(int) bool { return true },
		"every third missing":         func(i int) bool { return i%3 != 0 || i == len(all)-1 },
		"no opening state, few sales": func(i int) bool { return i > 20 },
		"garbled":                     func(i int) bool { all[5].Payload = []byte("{"); return true },
	} {
		var f Successor
		var last event.SaleCompleted
		for i, r := range all {
			if keep(i) {
				f.Add(r)
				if h, data, err := event.Parse(r.Payload); err == nil && h.Type == event.TypeSaleCompleted {
					last, _ = event.ParseSale(data)
				}
			}
		}
		s, err := till.ParseState(f.Opening()(nil, 1))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Branch != 2 || s.Receipt != 0 || s.Perpetual != last.Perpetual || last.Perpetual < 3800 {
			t.Errorf("%s (last receipt %s): branch %d receipt %d perpetual %d", name, last.Receipt, s.Branch, s.Receipt, s.Perpetual)
		}
	}
}

// A succession in the middle of a basket: the steps that were answered are not done
// again, and what is lost of a shift closes no shop.
func TestSuccessorKeepsBaskets(t *testing.T) {
	m := newTill(t)
	m.start()
	b := m.openBasket("open")
	m.add("l1", b.Basket, article(100, 1000))
	m.sell(sale("s", 5))
	m.stop()
	for name, keep := range map[string]func(h event.Header) bool{
		"whole":                 func(event.Header) bool { return true },
		"without shift's begin": func(h event.Header) bool { return h.Type != event.TypeShiftOpened },
	} {
		var f Successor
		if _, err := journal.Verify(t.Context(), filepath.Join(m.dir, "journal"), journal.VerifyOptions{Each: func(r chain.Record, _ chain.Head) error {
			if h, _, err := event.Parse(r.Payload); err != nil || keep(h) {
				f.Add(r)
			}
			return nil
		}}); err != nil {
			t.Fatal(err)
		}
		s, err := till.ParseState(f.Opening()(nil, 1))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(s.Baskets) != 1 || len(s.Baskets[0].Lines) != 1 || len(s.Baskets[0].Keys) != 0 || s.Branch != 2 {
			t.Errorf("%s: %s", name, s.Append(nil))
		}
	}
}
