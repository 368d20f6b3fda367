package till

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

// brim fills a state with baskets that are being paid for, until not one more tender fits.
func brim(f *fold, most int) (all []Step) {
	f.t.Helper()
	f.rules.MostOpen = most
	d := Driver{Name: strings.Repeat("P", 32), Memory: strings.Repeat(`"`, 64), Limits: Limits{1 << 40, 1 << 40, 1 << 40}}
	for len(all) < MostBaskets {
		e, err := f.Open(Step{Operator: "7"}, f.rules, "", pos.Inclusive, false, time.UnixMilli(1))
		if err != nil {
			break
		}
		f.take(e, fmt.Sprint("key ", f.seq))
		o := Step{Basket: e.Basket, Operator: "7"}
		all = append(all, o)
		if e, err = f.AddLine(o, f.rules, article(1<<30), 0); err != nil {
			continue
		}
		f.take(e, fmt.Sprint("key ", f.seq))
		for i := range MostTenders {
			if len(all)%8 == 0 {
				if e, err = f.BeginTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: 1 << 20}, d); err == nil {
					f.take(e, fmt.Sprint("key ", f.seq))
					if i == MostTenders-1 {
						break // it stays pending
					}
					f.approve(o, e.Tender.ID, true)
				}
			} else if e, err = f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: 1}); err == nil {
				f.take(e, fmt.Sprint("key ", f.seq))
			}
		}
	}
	return all
}

// However full the baskets are, all that is being paid for can be taken back, in the
// longest of words: the opening state stays a record, and the till goes on.
func TestOpeningStateStaysARecordWhateverEnds(t *testing.T) {
	f := newFold(t)
	all := brim(f, 96<<10)
	for i := range mostWrong { // as long as operators' names may be
		f.Wrong = append(f.Wrong, Wrong{fmt.Sprintf("%032d", i), 1000})
	}
	for i := range 64 { // of 32 codes each rate has changed once
		f.Shift.Totals.Taxes = append(f.Shift.Totals.Taxes, pos.TaxTotal{Code: fmt.Sprint("A", i), Rate: 190000, Net: 1 << 50, Tax: 1 << 50, Gross: 1 << 50})
	}
	full := len(f.Append(nil))
	if full < 72<<10 {
		t.Fatalf("only %d bytes: that is not full", full)
	}
	long := strings.Repeat(`"`, 256)
	largest, ended, by := 0, 0, 0
	end := func(e *event.Basket, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		f.take(e, "")
		largest, ended = max(largest, len(f.Append(nil))), ended+1
	}
	said := &pos.Tender{Reference: long[:64], Card: &pos.CardData{Brand: long[:32], Auth: long[:32], Last4: "1111", Offline: true}}
	each := func(does func(o Step, x *event.OpenTender)) {
		for _, o := range all {
			o.Reason, o.Operator = long, long[:32]
			for _, x := range slices.Clone(f.Find(o.Basket).Tenders) {
				does(o, &x)
			}
		}
	}
	each(func(o Step, x *event.OpenTender) {
		if x.State == "pending" {
			end(f.EndTender(o, f.rules, x.ID, event.TypeTenderUnknown, said))
			end(f.EndTender(o, f.rules, x.ID, event.TypeTenderApproved, said))
		}
		end(f.Reverse(o, f.rules, x.ID, &pos.Tender{Reference: long[:64]}))
	})
	each(func(o Step, x *event.OpenTender) {
		if x.State == "reversing" {
			end(f.EndTender(o, f.rules, x.ID, event.TypeTenderReversing, &pos.Tender{Amount: pos.MaxAmount, Card: said.Card}))
			end(f.EndTender(o, f.rules, x.ID, event.TypeTenderApproved, said))
		}
	})
	each(func(o Step, x *event.OpenTender) {
		if x.Kept {
			end(f.Resolve(o, f.rules, x.ID, false, &pos.Tender{Reference: long[:64]}))
			by++
		}
	})
	if largest > 128<<10 || ended < 300 || by < 10 {
		t.Errorf("%d bytes at most (full %d), %d ends, %d by hand", largest, full, ended, by)
	}
	for _, o := range all {
		end(f.Void(o, f.rules))
	}
}

// What was paid for can end: the age is made sure of when nothing more fits.
func TestAgeHasItsRoom(t *testing.T) {
	f := newFold(t)
	f.rules.MostOpen = 16 << 10
	o := f.open()
	f.must(f.AddLine(o, f.rules, article(1000), 18))
	for {
		e, err := f.AddLine(o, f.rules, article(1000), 0)
		if err != nil {
			refused(t, err, CodeFull)
			break
		}
		f.take(e, "")
	}
	for note := "n"; ; note += "n" { // to the last byte
		e, err := f.ChangeBasket(o, f.rules, About{Note: &note})
		if err != nil {
			refused(t, err, CodeFull)
			break
		}
		f.take(e, "")
	}
	f.must(f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: f.Find(o.Basket).Total}))
	_, err := f.Complete(o, f.rules)
	refused(t, err, CodeAge)
	for _, age := range []int{9, 18, 120} {
		f.must(f.ChangeBasket(o, f.rules, About{Age: &age}))
	}
	if _, err := f.Complete(o, f.rules); err != nil {
		t.Error(err)
	}
}

// A journal of a former release may hold what this one would not write. It is read as
// this one would have written it, and the baskets can be voided.
func TestOpeningStateOfReversedTendersIsCutToSize(t *testing.T) {
	f := newFold(t)
	for range 20 {
		o := f.open()
		f.must(f.AddLine(o, f.rules, article(1000), 0))
		for range MostTenders {
			f.must(f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: 1}))
		}
	}
	for _, b := range f.Baskets {
		for i := range b.Tenders {
			b.Tenders[i].State, b.Tenders[i].Reason = "reversed", strings.Repeat(`"`, 256)
		}
	}
	old := f.Append(nil)
	s, err := ParseState(old)
	if err != nil || len(old) < 192<<10 || len(s.Append(nil)) > 64<<10 {
		t.Fatalf("%d bytes, then %d, %v", len(old), len(s.Append(nil)), err)
	}
	f.State = s
	for len(f.Baskets) > 0 {
		f.must(f.Void(Step{Basket: f.Baskets[0].Basket}, f.rules))
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
	f.must(f.BeginTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: 400}, Driver{Name: "pinpad"}))
	_, err := f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: 600})
	refused(t, err, CodeState) // nobody knows yet what became of the card
	_, err = f.Complete(o, f.rules)
	refused(t, err, CodeState)
	_, err = f.Void(o, f.rules)
	refused(t, err, CodeState)
	f.must(f.EndTender(o, f.rules, "1", event.TypeTenderUnknown, nil))
	f.must(f.EndTender(o, f.rules, "1", event.TypeTenderApproved, &pos.Tender{Reference: "0815", Card: &pos.CardData{Brand: "visa"}}))
	_, err = f.EndTender(o, f.rules, "1", event.TypeTenderReversed, nil)
	refused(t, err, CodeState) // that is the payment terminal's to say
	f.must(f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: 2000}))
	_, err = f.AddTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: -1400, Reference: "back"})
	refused(t, err, CodeTender) // change is no tender
	_, err = f.AddLine(o, f.rules, article(1), 0)
	refused(t, err, CodeState)
	f.must(f.Reverse(o, f.rules, "1", nil))
	_, err = f.EndTender(o, f.rules, "1", event.TypeTenderReversed, &pos.Tender{Reference: "4111111111111111"})
	refused(t, err, CodeTender) // a card number is never stored
	_, err = f.Complete(o, f.rules)
	refused(t, err, CodeState) // it may have been taken back
	r := f.must(f.EndTender(o, f.rules, "1", event.TypeTenderReversed, &pos.Tender{Reference: "0816"}))
	if r.Tender.Reference != "0816" || r.Tender.Card == nil || r.Due != 1000-2000 {
		t.Errorf("%+v", r)
	}
	e, err := f.Complete(o, f.rules)
	if err != nil || e.Change != 1000 || len(e.Tenders) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
}

// A sale whose rest in cash was rounded away can be taken back as it was paid, whatever
// the coin is by then.
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
		for _, coin := range []pos.Money{5, 0, 10} {
			r.Coin = coin
			e, err := VoidSale(sale, nil, nil, r, Step{})
			if err != nil || e.CashRounding != -sale.CashRounding || e.Total != -sale.Total {
				t.Errorf("%v, coin %d: %+v, %v", tenders, coin, e, err)
			}
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

// Cash is paid in coins: what they cannot pay is not asked for, and a basket that can be
// completed takes no more money.
func TestTendersInCoins(t *testing.T) {
	f := newFold(t)
	f.rules.Coin = 5
	sell := func(price pos.Money) Step {
		o := f.open()
		l := article(price)
		if price < 0 {
			l = pos.Line{Description: "back", Unit: "pc", Tax: "A", Qty: -1000, Fixed: true, Price: price, Return: &pos.Return{Reason: "sour"}}
		}
		f.must(f.AddLine(o, f.rules, l, 0))
		return o
	}
	pay := func(o Step, kind pos.TenderKind, amount pos.Money) error {
		e, err := f.AddTender(o, f.rules, pos.Tender{Kind: kind, Amount: amount, Reference: "slip"})
		if err == nil {
			f.must(e, nil)
		}
		return err
	}
	done := func(o Step, change, rounding pos.Money) {
		t.Helper()
		if e, err := f.Complete(o, f.rules); err != nil || e.Change != change || e.CashRounding != rounding {
			t.Errorf("%+v, %v; want change %d, rounding %d", e, err, change, rounding)
		}
	}
	up := sell(333) // 3.35 in cash
	refused(t, pay(up, pos.Cash, 333), CodeTender)
	refused(t, pay(up, pos.Cash, 334), CodeTender) // or a cent would be due to the customer, by card
	if err := pay(up, pos.Cash, 335); err != nil {
		t.Error(err)
	}
	done(up, 0, 2)
	over := sell(333)
	if err := pay(over, pos.Cash, 1000); err != nil {
		t.Error(err)
	}
	done(over, 665, 2)
	down := sell(332)
	if err := pay(down, pos.Cash, 330); err != nil {
		t.Fatal(err)
	}
	refused(t, pay(down, pos.Cash, 2), CodeTender)
	done(down, 0, -2)
	out := sell(-922)
	refused(t, pay(out, pos.Cash, -1), CodeTender) // or a card could not pay the rest
	refused(t, pay(out, pos.Cash, -1000), CodeOverpaid)
	refused(t, pay(out, pos.Cash, 920), CodeTender)
	if err := pay(out, pos.Card, -921); err != nil {
		t.Fatal(err)
	}
	if err := pay(out, pos.Cash, 0); err != nil { // 0.01 that no coin pays
		t.Error(err)
	}
	done(out, 0, 1)
	little := sell(2)
	refused(t, pay(sell(900), pos.Cash, 0), CodeTender)
	if err := pay(little, pos.Cash, 0); err != nil {
		t.Error(err)
	}
	done(little, 0, -2)
	free := sell(0)
	refused(t, pay(free, pos.Cash, 10), CodeTender)
	done(free, 0, 0)
}

// Whatever was paid or taken back, and whether cash was paid in coins or before there was
// a smallest one: the rest can be paid in cash, and by card too unless all is paid.
func TestTheRestCanAlwaysBePaid(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	long := 0
	for range 100_000 {
		total, coin := pos.Money(rng.IntN(400)-200), pos.Money([]int{0, 5, 10}[rng.IntN(3)])
		b := &Basket{}
		if total > 0 && rng.IntN(10) == 0 { // of the former release
			b.Tenders = append(b.Tenders, event.OpenTender{Tender: pos.Tender{Kind: pos.Cash, Amount: 1 + pos.Money(rng.IntN(int(total)+3))}, State: "approved"})
		}
		odd := len(b.Tenders) > 0 && coin > 1
		for range 6 {
			if _, err := pos.CheckTenders(total, b.approved(), coin); err == nil {
				break
			}
			for _, kind := range []pos.TenderKind{pos.Cash, pos.Card} {
				x, err := rest(b, kind, total, coin)
				if err == nil {
					_, err = pos.CheckTenders(total, append(b.approved(), x), coin)
				}
				if err != nil && !(odd && kind == pos.Card) {
					t.Fatalf("%d cannot be paid by %s in coins of %d after %+v: %v", total, kind, coin, b.approved(), err)
				}
			}
			long++
			if n := len(b.Tenders); n > 0 && rng.IntN(5) == 0 {
				b.Tenders[rng.IntN(n)].State = "reversed"
				continue
			}
			x := pos.Tender{Kind: pos.TenderKinds[rng.IntN(2)], Amount: pos.Money(rng.IntN(260) - 130), Reference: "slip"}
			due, err := b.dueBy(x.Kind, total, coin)
			if err == nil && x.Fits(total, due, coin, true) == nil {
				b.Tenders = append(b.Tenders, event.OpenTender{Tender: x, State: "approved"})
			}
		}
	}
	if long < 100_000 {
		t.Errorf("only %d baskets were looked at", long)
	}
}

// rest pays what is due by one kind.
func rest(b *Basket, kind pos.TenderKind, total, coin pos.Money) (pos.Tender, error) {
	due, err := b.dueBy(kind, total, coin)
	x := pos.Tender{Kind: kind, Amount: due, Reference: "slip"}
	if err == nil {
		err = x.Fits(total, due, coin, true)
	}
	return x, err
}

// Head office changes how taxes are rounded while a basket is paid for, and less is owed
// than was paid: nobody pays a cent back by card, the payment is taken back.
func TestNoRefundOnASale(t *testing.T) {
	f := newFold(t)
	f.rules.Rounding = pos.PerLine
	e, err := f.Open(Step{Operator: "7"}, f.rules, "", pos.Exclusive, false, time.UnixMilli(1))
	o := Step{Basket: f.must(e, err).Basket, Operator: "7"}
	f.must(f.AddLine(o, f.rules, article(3), 0))
	f.must(f.AddLine(o, f.rules, article(3), 0))
	paid := f.Find(o.Basket).Total
	f.must(f.AddTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: paid, Reference: "s"}))
	f.rules.Rounding = pos.PerDocument
	f.Find(o.Basket).Rounding = "" // as of a former release, which did not keep it
	_, err = f.Complete(o, f.rules)
	refused(t, err, CodeOverpaid)
	for _, amount := range []pos.Money{-1, 1} {
		for _, kind := range pos.TenderKinds {
			_, err = f.AddTender(o, f.rules, pos.Tender{Kind: kind, Amount: amount, Reference: "s"})
			refused(t, err, CodeTender)
		}
		_, err = f.BeginTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: amount}, Driver{Name: "P", Memory: "m"})
		refused(t, err, CodeTender)
	}
	f.must(f.Reverse(o, f.rules, "1", nil))
	f.must(f.AddTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: paid - 1, Reference: "s"}))
	if _, err := f.Complete(o, f.rules); err != nil {
		t.Error(err)
	}
}

// An amount that a label says, or somebody, is for the quantity beside it; a price that
// takes its place is one per unit.
func TestAmountOfTheWholeHasItsQuantity(t *testing.T) {
	f := newFold(t)
	o := f.open()
	label := article(2875)
	label.Unit, label.Qty, label.Fixed = "kg", 2229, true
	f.must(f.AddLine(o, f.rules, label, 0))
	for _, qty := range []pos.Qty{0, 1, 2228, 3000} {
		price := pos.Money(1000)
		_, err := f.ChangeLine(o, f.rules, 1, Change{Qty: &qty})
		refused(t, err, CodeLabel)
		_, err = f.ChangeLine(o, f.rules, 1, Change{Qty: &qty, Price: &price})
		refused(t, err, CodeLabel)
	}
	same, half := label.Qty, []pos.Discount{{Percent: 500_000}}
	if e := f.must(f.ChangeLine(o, f.rules, 1, Change{Qty: &same, Discounts: &half})); e.Line.Amount != 1437 || !e.Line.Fixed {
		t.Errorf("%+v", e.Line)
	}
	none, price := []pos.Discount{}, pos.Money(1000)
	e := f.must(f.ChangeLine(o, f.rules, 1, Change{Price: &price, Discounts: &none}))
	if l := e.Line; l.Amount != 2229 || l.Fixed || l.Price != 1000 || !l.Changed || l.List != 1290 || l.Qty != same {
		t.Errorf("%+v", l)
	}
	nothing := article(500) // says no quantity: its price is that of the whole
	nothing.Qty, nothing.Fixed = 0, true
	f.must(f.AddLine(o, f.rules, nothing, 0))
	price = 400
	if e := f.must(f.ChangeLine(o, f.rules, 2, Change{Price: &price})); e.Line.Amount != 400 || !e.Line.Fixed || e.Line.List != 500 {
		t.Errorf("%+v", e.Line)
	}
	grain := article(pos.MaxAmount / 2)
	grain.Qty, grain.Fixed = 1, true
	f.must(f.AddLine(o, f.rules, grain, 0))
	if e := f.must(f.ChangeLine(o, f.rules, 3, Change{Price: &price})); e.Line.Amount != 0 || e.Line.List != pos.MaxAmount {
		t.Errorf("%+v", e.Line)
	}
}

// Who approved a price stays, until somebody approves something else of the line, or
// changes it without.
func TestWhoApprovedStays(t *testing.T) {
	f := newFold(t)
	o := f.open()
	f.must(f.AddLine(o, f.rules, article(1000), 0))
	ben, carla := o, o
	ben.Approved, carla.Approved = "ben", "carla"
	price, note, few, one, many, none := pos.Money(500), "gift", pos.Qty(500), pos.Qty(1000), pos.Qty(2000), []pos.Discount{}
	off := []pos.Discount{{Percent: 100_000}}
	for _, c := range []struct {
		Change
		want string
	}{{Change{Note: &note}, "ben"}, {Change{Qty: &few}, "ben"}, {Change{Discounts: &none}, "ben"},
		{Change{Qty: &many}, ""}, {Change{Price: &price}, ""}, {Change{Discounts: &off}, ""}} {
		f.must(f.ChangeLine(ben, f.rules, 1, Change{Qty: &one, Price: &price}))
		e := f.must(f.ChangeLine(o, f.rules, 1, c.Change))
		if got := f.Find(o.Basket).Lines[0].Approved; got != c.want || e.Approved != "" {
			t.Errorf("%+v: %q, the step %q", c, got, e.Approved)
		}
	}
	f.must(f.ChangeLine(carla, f.rules, 1, Change{Discounts: &off}))
	f.must(f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: f.Find(o.Basket).Total}))
	if e, err := f.Complete(o, f.rules); err != nil || e.Lines[0].Approved != "carla" || e.Approved != "" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestNoLineOfNothing(t *testing.T) {
	f := newFold(t)
	o := f.open()
	f.must(f.AddLine(o, f.rules, article(250), 0))
	zero := pos.Qty(0)
	_, err := f.ChangeLine(o, f.rules, 1, Change{Qty: &zero})
	refused(t, err, CodeQuantity)
}

// A refusal is told once, with its place.
func TestRefusalOnce(t *testing.T) {
	once := Refusal(fmt.Errorf("3 %w", pos.ErrUnderpaid), "/tenders")
	if twice := Refusal(once, ""); twice != once {
		t.Errorf("%v", twice)
	}
}

// A small part of what is left costs nothing where the parts before it were rounded up.
func TestSmallPartComesBack(t *testing.T) {
	sale := event.SaleCompleted{Sale: "3f9a0c1e-1", Receipt: "T1-1-1", Lines: []pos.Line{{Unit: "kg", Tax: "A", Qty: 3000, Price: 1, Fixed: true, Amount: 1}}}
	l, err := ReturnLine(&sale, 1, 1, Back{Qty: 1000, Amount: 1}, "sour") // the part before those 1000 was voided again
	if err != nil || l.Amount != 0 || l.Qty != -1 {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := pos.Compute([]pos.Line{l}, pos.ComputeOptions{}); err != nil {
		t.Error(err)
	}
}

// A basket's tax is rounded as when it was opened, over a restart too: what was paid for can
// be completed, whatever head office pushes meanwhile. In a journal of a former release the
// rule in force counts.
func TestBasketKeepsItsRounding(t *testing.T) {
	for _, opened := range []pos.Rounding{pos.PerDocument, pos.PerLine} {
		for _, former := range []bool{false, true} {
			f := newFold(t)
			f.rules.Rounding = opened
			e, err := f.Open(Step{Operator: "7"}, f.rules, "", pos.Exclusive, false, time.UnixMilli(1))
			if err != nil {
				t.Fatal(err)
			}
			if former {
				e.Rounding = ""
			}
			o := Step{Basket: f.must(e, nil).Basket, Operator: "7"}
			for range 4 {
				f.must(f.AddLine(o, f.rules, article(2), 0)) // 19 % of 0.02 are 0.0038
			}
			due := map[pos.Rounding]pos.Money{pos.PerDocument: 10, pos.PerLine: 8}
			f.must(f.AddTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: due[opened], Reference: "slip"}))
			s, err := ParseState(f.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			f.State = s
			now := pos.PerDocument + pos.PerLine - opened
			f.rules.Rounding = now
			sale, err := f.Complete(o, f.rules)
			if former {
				if err == nil {
					t.Errorf("%+v", sale)
				}
				continue
			}
			if err != nil || sale.Rounding != opened || sale.Total != due[opened] {
				t.Errorf("opened with %s, completed with %s: %+v, %v", opened, now, sale, err)
			}
		}
	}
}

// Cash that was taken before the smallest coin became another settles as it was taken.
func TestCashOfBeforeTheCoin(t *testing.T) {
	f := newFold(t)
	o := f.open()
	f.must(f.AddLine(o, f.rules, article(333), 0))
	f.must(f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: 337}))
	f.rules.Coin = 5
	if e, err := f.Complete(o, f.rules); err != nil || e.Change != 2 || e.CashRounding != 2 {
		t.Errorf("%+v, %v", e, err)
	}
}
