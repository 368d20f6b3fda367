package till

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"posd/pos"
	"posd/pos/event"
)

// fold is a state with what happens to it, through the bytes of the journal.
type fold struct {
	t *testing.T
	State
	rules Rules
	seq   uint64
}

func newFold(t *testing.T) *fold {
	return &fold{t: t, State: State{Branch: 1}, rules: Rules{MostOpen: 96 << 10}}
}

type appender interface {
	AppendEvent([]byte, event.Header) ([]byte, error)
}

// take journals and folds an event, as the register does.
func (f *fold) take(e appender, key string) {
	f.t.Helper()
	f.seq++
	if b, ok := e.(*event.Basket); ok {
		if b.Type == event.TypeBasketOpened {
			b.Basket = fmt.Sprint("3f9a0c1e-", f.seq)
		}
		b.Version = fmt.Sprint("1-", f.seq)
	}
	h := event.Header{Time: time.UnixMilli(1795253400123), Key: key, Hash: strings.Repeat("ab", 32)}
	b, err := e.AppendEvent(nil, h)
	if err != nil {
		f.t.Fatal(err)
	}
	got, data, err := event.Parse(b)
	if err != nil {
		f.t.Fatal(err)
	}
	r := Record{Seq: f.seq}
	if key != "" {
		copy(r.KeyID[:], key)
	}
	if known, err := f.Fold(&got, r, data); err != nil || !known {
		f.t.Fatalf("%s: %v, %v", b, known, err)
	}
}

func (f *fold) must(e *event.Basket, err error) *event.Basket {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	f.take(e, fmt.Sprint("key ", f.seq))
	return e
}

func (f *fold) open() Step {
	f.t.Helper()
	return Step{Basket: f.must(f.Open(Step{Operator: "7"}, f.rules, "a table", pos.Inclusive, false, time.UnixMilli(1))).Basket, Operator: "7"}
}

func article(price pos.Money) pos.Line {
	return pos.Line{Item: "1", Description: "article", Unit: "pc", Tax: "A", Rate: 190000, Qty: 1000, Price: price}
}

func refused(t *testing.T, err error, code string) {
	t.Helper()
	var r *RefusalError
	if !errors.As(err, &r) || r.Code != code {
		t.Errorf("%v, want %s", err, code)
	}
}

// However many baskets are opened, and whatever is done with them, an opening state is
// a record, and what lies in a basket can be paid for.
func TestOpeningStateStaysARecord(t *testing.T) {
	f := newFold(t)
	var all []Step
	for {
		e, err := f.Open(Step{}, f.rules, strings.Repeat("n", 60), pos.Inclusive, false, time.UnixMilli(1))
		if err != nil {
			refused(t, err, CodeFull)
			break
		}
		f.take(e, fmt.Sprint("open ", len(all)))
		all = append(all, Step{Basket: e.Basket, Operator: "7"})
		if l, err := f.AddLine(all[len(all)-1], f.rules, article(100), 0); err == nil {
			f.take(l, fmt.Sprint("line ", len(all)))
		}
	}
	for i, o := range all {
		for j := range 2 * mostKeys { // changes nothing, and its key is remembered
			if e, err := f.ChangeBasket(o, f.rules, About{}); err == nil {
				f.take(e, fmt.Sprint(i, " noop ", j))
			}
		}
		if b := f.Find(o.Basket); len(b.Lines) > 0 {
			f.must(f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: 100}))
		}
	}
	if n := len(f.Append(nil)); n > 126<<10 || len(all) < 40 {
		t.Errorf("%d bytes, %d baskets", n, len(all))
	}
	e, err := f.Complete(all[0], f.rules)
	if err != nil || e.Total != 100 {
		t.Errorf("%+v, %v", e, err)
	}
}

// A number of a line that no event can say is not given.
func TestLineNumbersEnd(t *testing.T) {
	f := newFold(t)
	o := f.open()
	f.Find(o.Basket).Last = event.MostLine - 1
	f.must(f.AddLine(o, f.rules, article(1), 0))
	_, err := f.AddLine(o, f.rules, article(1), 0)
	refused(t, err, CodeTooMany)
	if _, err := ParseState(f.Append(nil)); err != nil {
		t.Error(err)
	}
}

// No money is taken for what would not fit into a record as a sale.
func TestSaleMustFitBeforeItIsPaid(t *testing.T) {
	f := newFold(t)
	f.rules.MostOpen = 1 << 30
	o := f.open()
	for range 400 {
		l := article(1000)
		l.Note = strings.Repeat("n", 250)
		f.must(f.AddLine(o, f.rules, l, 0))
	}
	_, err := f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: 1})
	refused(t, err, CodeTooLarge)
}

func TestTendersOfABasket(t *testing.T) {
	f := newFold(t)
	o := f.open()
	f.must(f.AddLine(o, f.rules, article(1000), 0))
	f.must(f.BeginTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: 400}, "pinpad"))
	_, err := f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: 600})
	refused(t, err, CodeState) // nobody knows yet what became of the card
	_, err = f.Complete(o, f.rules)
	refused(t, err, CodeState)
	_, err = f.Void(o, f.rules)
	refused(t, err, CodeState)
	f.must(f.EndTender(o, f.rules, "1", event.TypeTenderUnknown, nil))
	f.must(f.EndTender(o, f.rules, "1", event.TypeTenderApproved, &pos.Tender{Reference: "0815", Card: &pos.CardData{Brand: "visa"}}))
	_, err = f.EndTender(o, f.rules, "1", event.TypeTenderReversed, &pos.Tender{Reference: "4111111111111111"})
	refused(t, err, CodeTender) // a card number is never stored
	f.must(f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: 2000}))
	_, err = f.AddTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: -1400, Reference: "back"})
	refused(t, err, CodeTender) // change is no tender
	_, err = f.AddLine(o, f.rules, article(1), 0)
	refused(t, err, CodeState)
	r := f.must(f.EndTender(o, f.rules, "1", event.TypeTenderReversed, &pos.Tender{Reference: "0816"}))
	if r.Tender.Reference != "0816" || r.Tender.Card == nil || r.Due != 1000-2000 {
		t.Errorf("%+v", r)
	}
	e, err := f.Complete(o, f.rules)
	if err != nil || e.Change != 1000 || len(e.Tenders) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
}

// A sale whose rest in cash was rounded away can be taken back as it was paid.
func TestVoidOfRoundedCash(t *testing.T) {
	for _, tenders := range [][]pos.Tender{
		{{Kind: pos.Card, Amount: 1000, Reference: "s"}, {Kind: pos.Cash}},
		{{Kind: pos.Cash, Amount: 2000}},
	} {
		r := Rules{Coin: 5}
		sale := &event.SaleCompleted{Sale: "x-1", Lines: []pos.Line{article(1002)}, Tenders: tenders}
		sums, err := pos.Compute(sale.Lines, pos.ComputeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := pos.CheckTenders(sums.Total, tenders, r.Coin)
		if err != nil {
			t.Fatal(err)
		}
		sale.Total, sale.Change, sale.CashRounding = sums.Total, s.Change, s.Rounding
		e, err := VoidSale(sale, nil, nil, r, Step{})
		if err != nil || e.CashRounding != -sale.CashRounding || e.Total != -sale.Total {
			t.Errorf("%v: %+v, %v", tenders, e, err)
		}
	}
}

// What is voided between two shifts stands in the report of the second.
func TestVoidsBetweenShifts(t *testing.T) {
	f := newFold(t)
	f.take(&event.ShiftOpened{Shift: 1, Operator: "7", Currency: euro}, "")
	z, err := f.CloseShift("7", "")
	if err != nil {
		t.Fatal(err)
	}
	f.take(z, "")
	o := f.open()
	f.must(f.AddLine(o, f.rules, article(500), 0))
	f.must(f.AddLine(o, f.rules, article(300), 0))
	f.must(f.VoidLine(o, f.rules, 1))
	f.must(f.Void(o, f.rules))
	f.take(&event.ShiftOpened{Shift: 2, Operator: "7", Currency: euro}, "")
	if z, err = f.CloseShift("7", ""); err != nil || z.Totals.LinesVoided != 1 || z.Totals.LinesVoidedSum != 500 || z.Totals.BasketsVoided != 1 || z.Totals.BasketsVoidedSum != 300 || z.Z != 2 {
		t.Errorf("%+v, %v", z, err)
	}
}
