package register

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/till"
)

func callOf(key string) Call {
	return Call{Key: key, Hash: sha256.Sum256([]byte(key)), Front: "till-1"}
}

// do has the loop decide, and parses the event.
func (m *rig) do(key string, d Decision) (event.Header, []byte, error) {
	out, err := m.r.Do(waiting(m.t), callOf(key), d)
	if err != nil {
		return event.Header{}, nil, err
	}
	h, data, err := event.Parse(out.Event)
	if err != nil {
		m.t.Fatal(err)
	}
	return h, data, nil
}

func (m *rig) step(key string, d func(t *Turn) (*event.Basket, error)) (event.Basket, error) {
	h, data, err := m.do(key, func(t *Turn) (Appender, error) { return Made(d(t)) })
	if err != nil {
		return event.Basket{}, err
	}
	e, err := event.ParseBasket(h.Type, data)
	if err != nil {
		m.t.Fatal(err)
	}
	return e, nil
}

func (m *rig) mustStep(key string, d func(t *Turn) (*event.Basket, error)) event.Basket {
	m.t.Helper()
	e, err := m.step(key, d)
	if err != nil {
		m.t.Fatal(err)
	}
	return e
}

func (m *rig) openBasket(key string) event.Basket {
	m.t.Helper()
	return m.mustStep(key, func(t *Turn) (*event.Basket, error) {
		return t.State.Open(till.Step{Operator: "7"}, t.Rules, "", pos.Inclusive, false, t.Now)
	})
}

func article(price pos.Money, qty pos.Qty) pos.Line {
	return pos.Line{Item: "1", Description: "article", Unit: "pc", Tax: "A", Rate: 190000, Qty: qty, Price: price}
}

func (m *rig) add(key, basket string, l pos.Line) event.Basket {
	m.t.Helper()
	return m.mustStep(key, func(t *Turn) (*event.Basket, error) {
		return t.State.AddLine(till.Step{Basket: basket, Operator: "7"}, t.Rules, l, 0)
	})
}

func (m *rig) pay(key, basket string, amount pos.Money) event.Basket {
	m.t.Helper()
	return m.mustStep(key, func(t *Turn) (*event.Basket, error) {
		return t.State.AddTender(till.Step{Basket: basket, Operator: "7"}, t.Rules, pos.Tender{Kind: pos.Cash, Amount: amount})
	})
}

// payBack takes a tender as a front end's call does.
func (m *rig) payBack(key, basket string, amount pos.Money) error {
	_, err := m.r.Pay(waiting(m.t), callOf(key), basket, func(t *Turn) (Appender, error) {
		return Made(t.State.AddTender(till.Step{Basket: basket, Operator: "7"}, t.Rules, pos.Tender{Kind: pos.Cash, Amount: amount}))
	})
	return err
}

func (m *rig) complete(key, basket string) (event.SaleCompleted, error) {
	out, err := m.r.Complete(waiting(m.t), callOf(key), till.Step{Basket: basket, Operator: "7"})
	if err != nil {
		return event.SaleCompleted{}, err
	}
	_, data, err := event.Parse(out.Event)
	if err != nil {
		m.t.Fatal(err)
	}
	e, err := event.ParseSale(data)
	if err != nil {
		m.t.Fatal(err)
	}
	return e, nil
}

func codeOf(err error) string {
	var r *till.RefusalError
	if errors.As(err, &r) {
		return r.Code
	}
	return fmt.Sprint(err)
}

// A sale step by step, with a restart after each step: nothing is forgotten, a repeated
// call is answered as the first one was, and an old version changes nothing.
func TestBasketOverRestarts(t *testing.T) {
	m := newTill(t)
	m.start()
	restart := func() { m.stop(); m.start() }
	b := m.openBasket("open")
	restart()
	first := m.add("l1", b.Basket, article(250, 2000))
	restart()
	second := m.add("l2", b.Basket, article(199, 1000))
	if again := m.add("l1", b.Basket, article(250, 2000)); again.Version != first.Version || again.N != 1 {
		t.Errorf("repeated: %+v", again)
	}
	if _, err := m.r.Do(waiting(t), Call{Key: "l1", Hash: [32]byte{1}}, func(*Turn) (Appender, error) { return nil, nil }); !errors.Is(err, ErrKeyReused) {
		t.Errorf("another body: %v", err)
	}
	_, err := m.step("l3", func(t *Turn) (*event.Basket, error) {
		return t.State.AddLine(till.Step{Basket: b.Basket, Version: first.Version, Operator: "8"}, t.Rules, article(1, 1000), 0)
	})
	if codeOf(err) != till.CodeVersion {
		t.Errorf("two windows: %v", err)
	}
	if second.Total != 699 || second.Lines != 2 {
		t.Errorf("%+v", second)
	}
	restart()
	parked := m.mustStep("park", func(t *Turn) (*event.Basket, error) {
		return t.State.Park(till.Step{Basket: b.Basket, Operator: "7"}, t.Rules, "table 4")
	})
	restart()
	if _, err := m.step("l4", func(t *Turn) (*event.Basket, error) {
		return t.State.AddLine(till.Step{Basket: b.Basket}, t.Rules, article(1, 1000), 0)
	}); codeOf(err) != till.CodeState || parked.State != "parked" {
		t.Errorf("a parked basket: %v", err)
	}
	m.mustStep("recall", func(t *Turn) (*event.Basket, error) {
		return t.State.Recall(till.Step{Basket: b.Basket, Operator: "8"}, t.Rules)
	})
	m.mustStep("off", func(t *Turn) (*event.Basket, error) {
		return t.State.ChangeBasket(till.Step{Basket: b.Basket, Operator: "8"}, t.Rules, till.About{Discounts: &[]pos.Discount{{Percent: 100000, Reason: "friend"}}})
	})
	restart()
	if paid := m.pay("pay", b.Basket, 1000); paid.Due != 629-1000 {
		t.Errorf("%+v", paid)
	}
	restart()
	e, err := m.complete("done", b.Basket)
	if err != nil || e.Total != 629 || e.Change != 371 || e.Basket != b.Basket || len(e.Discounts) != 1 || e.Discounts[0].Amount != 70 || e.Number != 1 {
		t.Fatalf("%+v, %v", e, err)
	}
	restart()
	again, err := m.complete("done", b.Basket)
	if err != nil || again.Sale != e.Sale {
		t.Errorf("repeated: %+v, %v", again, err)
	}
	if _, err := m.complete("done twice", b.Basket); codeOf(err) != till.CodeNoBasket {
		t.Errorf("sold twice: %v", err)
	}
}

// What was sold can come back once, in parts and to the cent, over restarts, in one
// basket and in two.
func TestReturnsNeverExceedSold(t *testing.T) {
	m := newTill(t)
	m.start()
	b := m.openBasket("open")
	m.add("l", b.Basket, article(100, 3000))
	m.mustStep("off", func(t *Turn) (*event.Basket, error) {
		return t.State.ChangeBasket(till.Step{Basket: b.Basket}, t.Rules, till.About{Discounts: &[]pos.Discount{{Amount: 1, Reason: "torn"}}})
	})
	m.pay("pay", b.Basket, 299)
	sale, err := m.complete("done", b.Basket)
	if err != nil {
		t.Fatal(err)
	}
	back := func(key, basket string, qty pos.Qty) error {
		_, err := m.r.AddReturn(waiting(t), callOf(key), till.Step{Basket: basket, Operator: "7", Reason: "broken"}, Goods{Receipt: sale.Receipt, Line: 1, Qty: qty})
		return err
	}
	pay := func(key, basket string, amount pos.Money) pos.Money {
		m.pay(key+"-pay", basket, amount)
		e, err := m.complete(key, basket)
		if err != nil {
			t.Fatal(err)
		}
		return e.Total
	}
	one, two := m.openBasket("r1"), m.openBasket("r2")
	if err := back("a", one.Basket, 1000); err != nil {
		t.Fatal(err)
	}
	if err := back("b", two.Basket, 2000); err != nil {
		t.Fatal(err)
	}
	if err := back("c", two.Basket, 2000); codeOf(err) != till.CodeReturn {
		t.Errorf("twice in one basket: %v", err)
	}
	three := m.openBasket("r3")
	if err := back("d", three.Basket, 1000); codeOf(err) != till.CodeReturn {
		t.Errorf("what two open baskets give back already: %v", err)
	}
	if _, err := m.r.VoidSale(waiting(t), callOf("v0"), till.Step{Operator: "7"}, sale.Sale, nil); codeOf(err) != till.CodeState {
		t.Errorf("voided while baskets give it back: %v", err)
	}
	l, err := till.ReturnLine(&sale, 1, 1000, till.Back{}, "broken") // as a former release did
	if err != nil {
		t.Fatal(err)
	}
	m.add("d2", three.Basket, l)
	for _, basket := range []string{one.Basket, three.Basket} {
		if err := m.payBack("no-"+basket, basket, -100); codeOf(err) != till.CodeReturn {
			t.Errorf("money is given for goods that stand in two baskets: %v", err)
		}
	}
	m.stop()
	m.start()
	sum := pay("p1", one.Basket, -100)
	m.stop()
	m.start()
	sum += pay("p2", two.Basket, -199)
	if sum != -299 {
		t.Errorf("the parts make %d", sum)
	}
	if err := m.payBack("p3-no", three.Basket, -100); codeOf(err) != till.CodeReturn {
		t.Errorf("money is given for goods that have come back: %v", err)
	}
	m.pay("p3-pay", three.Basket, -100) // a former release's
	if _, err := m.complete("p3", three.Basket); codeOf(err) != till.CodeReturn {
		t.Errorf("in another basket: %v", err)
	}
	m.stop()
	m.start()
	if err := back("e", m.openBasket("r4").Basket, 1000); codeOf(err) != till.CodeReturn {
		t.Errorf("after all has come back: %v", err)
	}
	if _, err := m.r.VoidSale(waiting(t), callOf("v"), till.Step{Operator: "7"}, sale.Sale, nil); codeOf(err) != till.CodeAlreadyOut {
		t.Errorf("voided after it came back: %v", err)
	}
	if st := m.r.Status(); st.Perpetual != 0 || st.Totals.Refunded != 299 || st.Totals.Cash != 0 {
		t.Errorf("%+v", st)
	}
}

func TestVoidSale(t *testing.T) {
	m := newTill(t)
	m.opt.Settings.Coin = 5
	m.start()
	c := sale("k", 333)
	c.Lines = append(c.Lines, article(101, 1500))
	c.Tenders = []pos.Tender{{Kind: pos.Card, Amount: 300, Reference: "s1"}, {Kind: pos.Cash, Amount: 1000}}
	a := m.sell(c)
	_, was := m.saleOf(a.Seq)
	out, err := m.r.VoidSale(waiting(t), callOf("v"), till.Step{Operator: "3", Reason: "wrong customer"}, a.Sale, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, e := m.saleOf(out.Seq)
	if e.Total != -was.Total || e.CashRounding != -was.CashRounding || e.VoidOf != was.Sale || e.Number != was.Number+1 || e.Change != 0 {
		t.Errorf("%+v\nof %+v", e, was)
	}
	if st := m.r.Status(); st.Totals.Cash != 0 || st.Totals.Card != 0 || st.Totals.PostVoids != 1 || st.Totals.Gross != 0 || st.Totals.CashRounding != 0 {
		t.Errorf("%+v", st.Totals)
	}
	again, err := m.r.VoidSale(waiting(t), callOf("v"), till.Step{Operator: "3", Reason: "wrong customer"}, a.Sale, nil)
	if err != nil || again.Seq != out.Seq || !again.Replayed {
		t.Errorf("repeated: %+v, %v", again, err)
	}
	for key, id := range map[string]string{"v2": a.Sale, "v3": e.Sale} {
		if _, err := m.r.VoidSale(waiting(t), callOf(key), till.Step{}, id, nil); codeOf(err) != till.CodeAlreadyOut {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := m.r.VoidSale(waiting(t), callOf("v4"), till.Step{}, "nothing", nil); !errors.Is(err, ErrNoSale) {
		t.Error(err)
	}
}

// The drawer holds what was put in, and the Z report says so.
func TestShiftAndDrawer(t *testing.T) {
	m := newTill(t)
	m.start()
	shift := func(key string, d func(t *Turn) (Appender, error)) (event.ShiftClosed, error) {
		h, data, err := m.do(key, d)
		if err != nil || h.Type != event.TypeShiftClosed {
			return event.ShiftClosed{}, err
		}
		e, err := event.ParseShiftClosed(data)
		return e, err
	}
	cash := func(key, kind string, amount pos.Money, counts ...event.Count) error {
		_, err := shift(key, func(t *Turn) (Appender, error) {
			return Made(t.State.MoveCash(event.Cash{Type: kind, Operator: "7", Amount: amount, Counts: counts}, false))
		})
		return err
	}
	open := func(key string) error {
		_, err := shift(key, func(t *Turn) (Appender, error) {
			return Made(t.State.OpenShift("7", t.Date, t.Currency, 10000))
		})
		return err
	}
	if err := cash("x", event.TypeCashIn, 1); codeOf(err) != till.CodeShift {
		t.Errorf("no shift: %v", err)
	}
	if err := errors.Join(open("o"), cash("in", event.TypeCashIn, 500), cash("out", event.TypeCashOut, 200), cash("drop", event.TypeCashDropped, 300), cash("ns", event.TypeDrawerOpened, 0)); err != nil {
		t.Fatal(err)
	}
	if err := open("o2"); codeOf(err) != till.CodeShift {
		t.Errorf("opened twice: %v", err)
	}
	if err := cash("much", event.TypeCashDropped, 10001); codeOf(err) != till.CodeDrawer {
		t.Errorf("more than there is: %v", err)
	}
	m.sell(sale("s", 450))
	if err := cash("count", event.TypeCashDeclared, 10400, event.Count{Value: 5000, Pieces: 2}, event.Count{Value: 200, Pieces: 2}); err != nil {
		t.Fatal(err)
	}
	m.stop()
	m.start()
	z, err := shift("z", func(t *Turn) (Appender, error) { return Made(t.State.CloseShift("7", "")) })
	if err != nil || z.Z != 1 || z.Expected != 10450 || z.Declared != 10400 || !z.Counted || z.Totals.DrawerOpened != 1 || z.Totals.Sales != 1 {
		t.Fatalf("%+v, %v", z, err)
	}
	if again, err := shift("z", nil); err != nil || again.Z != 1 {
		t.Errorf("repeated: %+v, %v", again, err)
	}
	if err := open("o3"); err != nil {
		t.Error(err)
	}
	if z, err = shift("z2", func(t *Turn) (Appender, error) { return Made(t.State.CloseShift("7", "")) }); err != nil || z.Z != 2 || z.Counted {
		t.Errorf("%+v, %v", z, err)
	}
}

// All baskets together fit into an opening state, whatever is put into them.
func TestBasketsAreBounded(t *testing.T) {
	m := newTill(t)
	m.opt.Segment = 64 << 10
	m.start()
	var refused error
	n := 0
	for i := 0; refused == nil && i < 100; i++ {
		b := m.openBasket(fmt.Sprint("b", i))
		for j := 0; refused == nil && j < 20; j++ {
			l := article(1, 1000)
			l.Description = strings.Repeat(`"`, 200)
			_, refused = m.step(fmt.Sprint("l", i, "-", j), func(t *Turn) (*event.Basket, error) {
				return t.State.AddLine(till.Step{Basket: b.Basket}, t.Rules, l, 0)
			})
			n++
		}
	}
	if codeOf(refused) != till.CodeFull || n < 20 {
		t.Fatalf("after %d lines: %v", n, refused)
	}
	m.r.Look(func(s *till.State) {
		if size := len(s.Append(nil)); size > 20<<10 {
			t.Errorf("the opening state has %d bytes", size)
		}
	})
	for i := range 300 { // the journal goes on over several segments
		m.sell(sale(fmt.Sprint("s", i), 1))
	}
}

// randomStep does something to a basket, whatever it is.
func (m *rig) randomStep(rng *rand.Rand, i int) {
	var ids []string
	m.r.Look(func(s *till.State) {
		for _, b := range s.Baskets {
			ids = append(ids, b.Basket)
		}
	})
	key := fmt.Sprint("step-", i)
	if len(ids) == 0 || len(ids) < 4 && rng.IntN(6) == 0 {
		m.mustStep(key, func(t *Turn) (*event.Basket, error) {
			return t.State.Open(till.Step{Operator: "7"}, t.Rules, "b", pos.PriceMode(rng.IntN(2)), rng.IntN(4) == 0, t.Now)
		})
		return
	}
	o := till.Step{Basket: ids[rng.IntN(len(ids))], Operator: "8", Reason: "r"}
	n, kind := 1+rng.IntN(4), rng.IntN(14)
	if kind == 13 {
		m.r.Complete(waiting(m.t), callOf(key), o)
		return
	}
	m.step(key, func(t *Turn) (*event.Basket, error) {
		switch kind {
		case 0:
			return t.State.Park(o, t.Rules, "p")
		case 1, 2:
			return t.State.Recall(o, t.Rules)
		case 3:
			return t.State.VoidLine(o, t.Rules, n)
		case 4:
			qty, price := pos.Qty(rng.IntN(5000)), pos.Money(rng.IntN(500))
			return t.State.ChangeLine(o, t.Rules, n, till.Change{Qty: &qty, Price: &price, Discounts: &[]pos.Discount{{Percent: pos.Rate(rng.IntN(500000))}}})
		case 5:
			age, customer := rng.IntN(20), "C"
			return t.State.ChangeBasket(o, t.Rules, till.About{Age: &age, Customer: &customer, Discounts: &[]pos.Discount{{Amount: pos.Money(rng.IntN(50)), Reason: "x"}}})
		case 6:
			return t.State.Void(o, t.Rules)
		case 7:
			return t.State.AddTender(o, t.Rules, pos.Tender{Kind: pos.Cash, Amount: pos.Money(1 + rng.IntN(3000))})
		case 8:
			return t.State.BeginTender(o, t.Rules, pos.Tender{Kind: pos.Card, Amount: pos.Money(1 + rng.IntN(300))}, till.Driver{Name: "pinpad", Memory: "m", Limits: till.Limits{Sale: 200, Terminal: 400, Day: 600}})
		case 9, 10:
			kinds := []string{event.TypeTenderApproved, event.TypeTenderDeclined, event.TypeTenderUnknown, event.TypeTenderReversed, event.TypeTenderReversing}
			return t.State.EndTender(o, t.Rules, fmt.Sprint(n), kinds[rng.IntN(5)], &pos.Tender{Reference: "slip", Card: &pos.CardData{Offline: rng.IntN(2) == 0}})
		default:
			return t.State.AddLine(o, t.Rules, article(pos.Money(rng.IntN(500)), pos.Qty(1+rng.IntN(3000))), 0)
		}
	})
	m.now = m.now.Add(time.Second)
}

// A basket that was voided is not there any more, the answer to who voided it is.
func TestVoidIsAnsweredAgain(t *testing.T) {
	m := newTill(t)
	m.start()
	b := m.openBasket("open")
	void := func() (event.Basket, error) {
		return m.step("void", func(t *Turn) (*event.Basket, error) {
			return t.State.Void(till.Step{Basket: b.Basket, Operator: "7"}, t.Rules)
		})
	}
	if _, err := void(); err != nil {
		t.Fatal(err)
	}
	m.stop()
	if err := os.Remove(filepath.Join(m.dir, "view.db")); err != nil { // a kill takes what it had not committed
		t.Fatal(err)
	}
	m.start()
	if e, err := void(); err != nil || e.State != "void" {
		t.Errorf("repeated after a restart: %+v, %v", e, err)
	}
}

// The time within which a scan is a repeat is counted from the one that has added the line,
// by the clock that nobody can set.
func TestScannerRepeatsInTime(t *testing.T) {
	m := newTill(t)
	m.opt.Repeat = 200 * time.Millisecond
	m.start()
	o := till.Step{Basket: stepBasket(t, m), Operator: "7"}
	scan := func(stall time.Duration) string {
		t.Helper()
		came := m.up
		out, err := m.r.Do(context.Background(), Call{}, func(t *Turn) (Appender, error) {
			m.up += stall // it had to wait for its turn
			if n, again := t.Scanned(o.Basket, "4711", came); again {
				return Made(t.State.Repeated(o, t.Rules, n))
			}
			return Made(t.State.AddLine(o, t.Rules, pos.Line{Description: "x", Unit: "pc", Tax: "A", Qty: 1000, Price: 100}, 0))
		})
		if err != nil {
			t.Fatal(err)
		}
		h, _, err := event.Parse(out.Event)
		if err != nil {
			t.Fatal(err)
		}
		return h.Type
	}
	for i, step := range []struct {
		after time.Duration
		want  string
	}{{0, "line.added"}, {0, "line.repeated"}, {150 * time.Millisecond, "line.repeated"}, {50 * time.Millisecond, "line.added"}, {199 * time.Millisecond, "line.repeated"}, {time.Hour, "line.added"}} {
		m.up += step.after
		m.now = m.now.Add(-time.Minute) // whatever the wall clock does
		if got := scan(0); got != step.want {
			t.Errorf("scan %d: %s, want %s", i+1, got, step.want)
		}
	}
	// Of two scans on two connections the second may be read first.
	m.up += time.Hour
	for i, step := range []struct {
		before time.Duration
		want   string
	}{{0, "line.added"}, {200 * time.Millisecond, "line.added"}, {199 * time.Millisecond, "line.repeated"}} {
		m.up -= step.before
		if got := scan(0); got != step.want {
			t.Errorf("scan %d of those read late: %s, want %s", i+1, got, step.want)
		}
	}
	// What posd itself takes long over brings two scans no closer.
	m.up += time.Hour
	first := scan(150 * time.Millisecond)
	m.up += 60 * time.Millisecond
	if second := scan(0); first != "line.added" || second != "line.added" {
		t.Errorf("210 ms apart, the first one waits: %s, %s", first, second)
	}
}

// A basket may give something back of as many large sales as it has lines: they are not
// all in memory before money is moved for it. The control reads them as a call did before.
func TestReturnsHoldOneSaleAtATime(t *testing.T) {
	m := newTill(t)
	m.start()
	const sales, lines = 40, 80
	big := sale("", 5)
	for range lines - 1 {
		big.Lines = append(big.Lines, big.Lines[0])
	}
	big.Tenders[0].Amount = lines * 5
	basket := m.openBasket("open").Basket
	var ids []string
	for i := range sales {
		big.Key, big.Hash = fmt.Sprint("sale ", i), [32]byte{byte(i)}
		ids = append(ids, m.sell(big).Sale)
		if _, err := m.r.AddReturn(waiting(t), callOf(fmt.Sprint("back ", i)), till.Step{Basket: basket, Reason: "r"}, Goods{Sale: ids[i], Line: 1 + i, Qty: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	held := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.GC() // what a pool kept over the first
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	measure := func(call func(d Decision) error) (more uint64) {
		t.Helper()
		before := held()
		none := errors.New("it was only measured")
		err := call(func(*Turn) (Appender, error) { more = held(); return nil, none })
		if !errors.Is(err, none) {
			t.Fatal(err)
		}
		return max(more, before) - before
	}
	const bound = 128 << 10
	if more := measure(func(d Decision) error {
		_, err := m.r.Pay(waiting(t), callOf("pay"), basket, d)
		return err
	}); more > bound {
		t.Errorf("a tender holds %d bytes for %d sales of %d lines", more, sales, lines)
	}
	if more := measure(func(d Decision) error {
		all := map[string]*Sold{}
		for _, id := range ids {
			sold, err := m.r.Sold(waiting(t), id, "")
			if err != nil {
				return err
			}
			all[id] = &sold
		}
		_, err := m.r.Do(waiting(t), callOf("control"), d)
		runtime.KeepAlive(all)
		return err
	}); more < 4*bound {
		t.Errorf("all sales at once hold only %d bytes: the measure sees nothing", more)
	}
	if err := m.payBack("money", basket, -sales*5); err != nil {
		t.Error(err)
	}
	if e, err := m.complete("done", basket); err != nil || e.Total != -sales*5 {
		t.Errorf("%d, %v", e.Total, err)
	}
}

func stepBasket(t *testing.T, m *rig) string {
	t.Helper()
	out, err := m.r.Do(context.Background(), Call{}, func(t *Turn) (Appender, error) {
		return Made(t.State.Open(till.Step{Operator: "7"}, t.Rules, "", pos.Inclusive, false, t.Now))
	})
	if err != nil {
		t.Fatal(err)
	}
	return event.SaleID(out.Journal, out.Seq)
}

// What was lost on its way to the paper stays so where giving it out comes to nothing.
func TestReceiptStaysLost(t *testing.T) {
	m := newTill(t)
	m.start()
	c := sale("print", 1190)
	c.Print = true
	a := m.sell(c)
	marks := 1
	give := func(allow func(*Turn, Appender) error) (string, error) {
		t.Helper()
		out, err := m.r.GiveReceipt(context.Background(), Call{Allow: allow}, till.Step{Operator: "7"}, a.Sale,
			func(string) bool { marks--; return marks >= 0 }, func(string) { marks++ })
		if err != nil {
			return "", err
		}
		h, _, err := event.Parse(out.Event)
		return h.Type, err
	}
	full := errors.New("the disk is full")
	if _, err := give(func(_ *Turn, e Appender) error {
		if e == nil {
			return nil
		}
		return full
	}); !errors.Is(err, full) || marks != 1 {
		t.Fatalf("%v, %d marks", err, marks)
	}
	for _, want := range []string{event.TypeReceiptPrinted, event.TypeReceiptCopied} {
		if got, err := give(nil); got != want || err != nil {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}
