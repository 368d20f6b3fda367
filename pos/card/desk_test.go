package card_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posd/journal"
	"posd/pos"
	"posd/pos/card"
	"posd/pos/card/simulator"
	"posd/pos/event"
	"posd/pos/register"
	"posd/pos/till"
	"posd/pos/view"
)

var euro = pos.Currency{Code: "EUR", Exponent: 2}

// shop is a register with its journal, a desk, and a simulated payment terminal.
type shop struct {
	t       *testing.T
	dir     string
	limits  till.Limits
	driver  func(card.Driver) card.Driver // nil: as it is
	name    string                        // that the payment terminal has to have
	address string
	sim     *simulator.Simulator
	reg     *register.Register
	desk    *card.Desk
	close   func()
	calls   int
	unplug  context.CancelFunc
	now     time.Time
}

func newShop(t *testing.T, l till.Limits) *shop {
	t.Helper()
	s := &shop{t: t, dir: t.TempDir(), limits: l, now: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)}
	if _, err := journal.Create(filepath.Join(s.dir, "journal"), journal.CreateOptions{
		Identity: journal.Identity{Store: "S1", Terminal: "T1"}, SegmentSize: 64 << 10, Opening: register.Opening(register.Start{Branch: 1}),
	}); err != nil {
		t.Fatal(err)
	}
	s.plug("127.0.0.1:0")
	s.open()
	t.Cleanup(func() { s.close(); s.unplug() })
	return s
}

// plug has a payment terminal at an address, with what it remembers.
func (s *shop) plug(address string) {
	s.t.Helper()
	sim, err := simulator.New(simulator.Options{Ledger: filepath.Join(s.dir, "acquirer"), Late: 3 * time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := sim.Serve(ctx, ln); err != nil {
			s.t.Error(err)
		}
	}()
	s.sim, s.address = sim, ln.Addr().String()
	s.unplug = func() { cancel(); <-done; sim.Close() }
}

// open is a start of the till.
func (s *shop) open() {
	s.t.Helper()
	var opener register.Opener
	j, err := journal.Open(filepath.Join(s.dir, "journal"), journal.Options{
		Identity: journal.Identity{Store: "S1", Terminal: "T1"}, SegmentSize: 64 << 10, Opening: opener.Opening,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	v, err := view.Open(filepath.Join(s.dir, "view.db"), j, view.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.reg, err = register.Open(j, v, register.Options{
		Store: "S1", Terminal: "T1", Operator: "0", Currency: euro, TimeZone: time.UTC, Opener: &opener,
		Settings: register.Settings{Offline: s.limits, CardTimeout: 3 * time.Second},
		Now:      func() time.Time { return s.now },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	driver := card.Driver(card.TCP{Address: s.address})
	if s.driver != nil {
		driver = s.driver(driver)
	}
	s.desk = card.New(card.Options{Register: s.reg, Driver: driver, Terminal: s.name, Currency: euro})
	var stops []func()
	for _, run := range []func(context.Context) error{v.Run, s.reg.Run, s.desk.Run} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); run(ctx) }()
		stops = append(stops, func() { cancel(); <-done })
	}
	s.close = func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
		if err := errors.Join(v.Close(), j.Close()); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *shop) mode(mode string, times int) {
	s.t.Helper()
	if err := s.sim.SetMode(mode, times); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) call() register.Call {
	s.calls++
	key := fmt.Sprint("k-", s.calls)
	return register.Call{Key: key, Hash: sha256.Sum256([]byte(key))}
}

func (s *shop) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	s.t.Cleanup(cancel)
	return ctx
}

func (s *shop) do(d func(*register.Turn) (*event.Basket, error)) (event.Basket, error) {
	out, err := s.reg.Do(s.ctx(), s.call(), func(t *register.Turn) (register.Appender, error) { return register.Made(d(t)) })
	if err != nil {
		return event.Basket{}, err
	}
	return s.read(out), nil
}

func (s *shop) read(out register.Outcome) event.Basket {
	s.t.Helper()
	h, data, err := event.Parse(out.Event)
	if err != nil {
		s.t.Fatal(err)
	}
	e, err := event.ParseBasket(h.Type, data)
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// basket is one with an article of a price.
func (s *shop) basket(price pos.Money) till.Step {
	s.t.Helper()
	o := till.Step{Operator: "7"}
	e, err := s.do(func(t *register.Turn) (*event.Basket, error) {
		return t.State.Open(o, t.Rules, "", pos.Inclusive, false, t.Now)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	o.Basket = e.Basket
	l := pos.Line{Item: "1", Description: "article", Unit: "pc", Tax: "A", Rate: 190000, Qty: 1000, Price: max(price, -price)}
	if price < 0 {
		l.Qty, l.Return = -1000, &pos.Return{Reason: "sour"}
	}
	if _, err := s.do(func(t *register.Turn) (*event.Basket, error) { return t.State.AddLine(o, t.Rules, l, 0) }); err != nil {
		s.t.Fatal(err)
	}
	return o
}

// pay begins a payment and waits for its end.
func (s *shop) pay(o till.Step, amount pos.Money) event.Basket {
	s.t.Helper()
	out, err := s.desk.Begin(s.ctx(), s.call(), o, amount)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.read(s.desk.Await(s.ctx(), out))
}

func (s *shop) reverse(o till.Step, tender string) event.Basket {
	s.t.Helper()
	out, err := s.reg.Do(s.ctx(), s.call(), func(t *register.Turn) (register.Appender, error) {
		return register.Made(t.State.Reverse(o, t.Rules, tender, nil))
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.desk.Wake()
	return s.read(s.desk.Await(s.ctx(), out))
}

// until waits for what will come, else the test's own time ends.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for by := time.Now().Add(30 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(by) {
			t.Fatal("this does not come:", what)
		}
	}
}

func (s *shop) balance(o till.Step, tender string) int64 {
	s.t.Helper()
	entries, err := simulator.ReadLedger(filepath.Join(s.dir, "acquirer"))
	if err != nil {
		s.t.Fatal(err)
	}
	sum, times := simulator.Balance(entries)
	ref := o.Basket + "-" + tender
	if times[ref] > 1 {
		s.t.Errorf("%s was charged %d times", ref, times[ref])
	}
	return sum[ref]
}

// Whatever a payment terminal does with a payment, what posd says of it is what the
// acquirer did.
func TestPayment(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{})
	for mode, want := range map[string]string{
		"approve": event.TypeTenderApproved, "slow": event.TypeTenderApproved, "decline": event.TypeTenderDeclined,
		"act-hang": event.TypeTenderApproved, "late": event.TypeTenderApproved, "act-drop": event.TypeTenderApproved,
		"garbage": event.TypeTenderApproved, "other": event.TypeTenderApproved,
		"hang": event.TypeTenderDeclined, "drop": event.TypeTenderDeclined, "offline": event.TypeTenderDeclined,
		"offline-all": event.TypeTenderReversed, "other-amount": event.TypeTenderReversed,
	} {
		for _, price := range []pos.Money{1000, -1000} {
			if price < 0 && mode == "offline" {
				continue // which refuses to be offline, not to refund
			}
			o := s.basket(price)
			s.mode(mode, 1)
			e := s.pay(o, price)
			got := s.balance(o, "1")
			if price < 0 && mode == "offline-all" && e.Type == event.TypeTenderReversed && got == 0 {
				continue
			}
			wanted := int64(0)
			if want == event.TypeTenderApproved {
				wanted = int64(price)
			}
			if e.Type != want || got != wanted {
				t.Errorf("%s, %d: %s (%s), the acquirer has %d", mode, price, e.Type, e.Reason, got)
			}
			if want == event.TypeTenderReversed && e.Reason == "" {
				t.Errorf("%s, %d: nobody hears why it was taken back", mode, price)
			}
			if e.Operator != "7" || e.Tender.Kind != pos.Card || e.Driver != "SIM-1" {
				t.Errorf("%+v", e)
			}
		}
	}
}

func TestReversal(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{})
	for mode, want := range map[string]string{
		"approve": event.TypeTenderReversed, "hang": event.TypeTenderReversed, "drop": event.TypeTenderReversed, "act-drop": event.TypeTenderReversed,
		"garbage": event.TypeTenderReversed, "keep": event.TypeTenderApproved,
	} {
		o := s.basket(1000)
		s.pay(o, 1000)
		s.mode(mode, 1)
		e := s.reverse(o, "1")
		wanted := int64(0)
		if want == event.TypeTenderApproved {
			wanted = 1000
		}
		if got := s.balance(o, "1"); e.Type != want || got != wanted {
			t.Errorf("%s: %s (%s), the acquirer has %d", mode, e.Type, e.Reason, got)
		}
	}
}

// A customer who changes their mind at the payment terminal is let go at once.
func TestReversalWhileTheCustomerIsAtIt(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{})
	o := s.basket(1000)
	s.mode("hang", 1)
	if _, err := s.desk.Begin(s.ctx(), s.call(), o, 1000); err != nil {
		t.Fatal(err)
	}
	until(t, "the request", func() bool { return s.sim.Seen() == 1 })
	if _, err := s.desk.Begin(s.ctx(), s.call(), s.basket(500), 500); !errors.Is(err, card.ErrBusy) {
		t.Errorf("another basket: %v", err)
	}
	if st := s.desk.Status(); st.Basket != o.Basket || len(st.Open) != 1 || st.Open[0].State != "pending" {
		t.Errorf("%+v", st)
	}
	if e := s.reverse(o, "1"); e.Type != event.TypeTenderReversed || s.balance(o, "1") != 0 {
		t.Errorf("%+v", e)
	}
	until(t, "the payment terminal is free", func() bool { return s.desk.Status().Basket == "" })
	if e := s.pay(o, 1000); e.Type != event.TypeTenderApproved || e.Tender.ID != "2" {
		t.Errorf("%+v", e)
	}
}

// A payment terminal that has forgotten what it did is not believed that it did nothing.
func TestForgetfulPaymentTerminal(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{})
	for _, mode := range []string{"forget", "drop-forget"} {
		o := s.basket(1000)
		s.mode(mode, 1)
		out, err := s.desk.Begin(s.ctx(), s.call(), o, 1000)
		if err != nil {
			t.Fatal(err)
		}
		until(t, mode+": it is shown that a person has to look", func() bool {
			st := s.desk.Status()
			return len(st.Open) == 1 && st.Open[0].Stuck && len(st.Long()) == 1 && strings.Contains(st.Open[0].Last, "by hand")
		})
		asked := s.desk.Status().Open[0].Attempts
		s.desk.Wake() // it is not asked more often for that
		if n := s.desk.Status().Open[0].Attempts; n > asked+1 {
			t.Errorf("asked %d times, then %d", asked, n)
		}
		if _, err := s.do(func(t *register.Turn) (*event.Basket, error) {
			return t.State.Resolve(o, t.Rules, "1", mode == "forget", &pos.Tender{})
		}); err == nil {
			t.Error("ended by hand without a reason")
		}
		o.Reason = "the acquirer's report"
		paid := s.balance(o, "1") != 0
		e, err := s.do(func(t *register.Turn) (*event.Basket, error) {
			return t.State.Resolve(o, t.Rules, "1", paid, &pos.Tender{Reference: "R-7"})
		})
		if err != nil || paid != (e.Type == event.TypeTenderApproved) || paid != (mode == "forget") || e.Reason != o.Reason {
			t.Errorf("%s: %+v, %v", mode, e, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		if e := s.read(s.desk.Await(ctx, out)); e.Type != event.TypeTenderPending {
			t.Errorf("%+v", e)
		}
		cancel()
		until(t, "nothing is shown any more", func() bool { return len(s.desk.Status().Open) == 0 })
	}
}

// The same call asks the payment terminal once, also after a restart.
func TestPaymentIsAskedForOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{})
	o := s.basket(1000)
	c := s.call()
	first, err := s.desk.Begin(s.ctx(), c, o, 1000)
	if err != nil {
		t.Fatal(err)
	}
	s.desk.Await(s.ctx(), first)
	for i := range 2 {
		again, err := s.desk.Begin(s.ctx(), c, o, 1000)
		if err != nil || !again.Replayed || string(again.Event) != string(first.Event) {
			t.Errorf("%d: %+v, %v", i, again, err)
		}
		s.close()
		s.open()
	}
	if n := s.sim.Seen(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	s.unplug()
	if again, err := s.desk.Begin(s.ctx(), c, o, 1000); err != nil || !again.Replayed {
		t.Errorf("while it cannot be reached: %+v, %v", again, err)
	}
}

// A stop does not wait for a customer; the next start finds out what they did.
func TestStopWhileTheCustomerIsAtIt(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{})
	for mode, want := range map[string]string{"act-hang": "approved", "hang": "declined"} {
		o := s.basket(1000)
		seen := s.sim.Seen()
		s.mode(mode, 1)
		out, err := s.desk.Begin(s.ctx(), s.call(), o, 1000)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the request", func() bool { return s.sim.Seen() == seen+1 })
		s.close()
		if e := s.read(s.desk.Await(s.ctx(), out)); e.Type != event.TypeTenderPending {
			t.Errorf("%+v", e)
		}
		s.open()
		state := ""
		until(t, mode+" is "+want, func() bool {
			s.reg.Look(func(x *till.State) { state = x.Find(o.Basket).Tenders[0].State })
			return state == want
		})
	}
}

func TestBreakerAndOtherPaymentTerminal(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{})
	o := s.basket(1000)
	s.unplug()
	until(t, "the breaker opens", func() bool {
		_, err := s.desk.Begin(s.ctx(), s.call(), o, 1000)
		if !errors.Is(err, card.ErrDown) {
			t.Fatal(err)
		}
		return s.desk.Status().Breaker == "open"
	})
	if st := s.desk.Status(); st.Reachable || st.Failure == "" || len(st.Open) != 0 {
		t.Errorf("%+v", st)
	}
	s.plug(s.address) // it is found again without anybody asking
	until(t, "the breaker closes", func() bool { return s.desk.Status().Breaker == "closed" })
	if e := s.pay(o, 400); e.Type != event.TypeTenderApproved {
		t.Errorf("%+v", e)
	}
	s.mode("deaf", -1)
	if _, err := s.desk.Begin(s.ctx(), s.call(), o, 600); !errors.Is(err, card.ErrDown) || !strings.Contains(err.Error(), "no greeting") {
		t.Errorf("a payment terminal that says nothing: %v", err)
	}
	s.mode("approve", -1)
	s.close()
	s.name = "P400-17"
	s.open()
	if _, err := s.desk.Begin(s.ctx(), s.call(), o, 600); !errors.Is(err, card.ErrDown) || !strings.Contains(err.Error(), "SIM-1") {
		t.Errorf("the neighbour's payment terminal: %v", err)
	}
}

// Approvals without the acquirer end at each of the limits, also across restarts; what
// was forwarded counts no more.
func TestOfflineLimits(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{Sale: 700, Terminal: 1500, Day: 2200})
	s.mode("offline", -1)
	expect := func(what string, price pos.Money, want bool) till.Step {
		t.Helper()
		o := s.basket(price)
		e := s.pay(o, price)
		if got := e.Type == event.TypeTenderApproved && e.Tender.Card.Offline; got != want || !got && e.Type != event.TypeTenderDeclined {
			t.Errorf("%s: %s (%s)", what, e.Type, e.Reason)
		}
		return o
	}
	outstanding := func(want pos.Money) {
		t.Helper()
		until(t, fmt.Sprint(want, " outstanding"), func() bool { return s.desk.Status().Outstanding == want })
	}
	expect("more than a sale's", 701, false)
	expect("a sale's", 700, true)
	split := s.basket(900)
	if e := s.pay(split, 400); e.Type != event.TypeTenderApproved {
		t.Errorf("%+v", e)
	}
	if e := s.pay(split, 400); e.Type != event.TypeTenderDeclined {
		t.Errorf("two tenders of one sale: %+v", e)
	}
	s.close()
	s.open()
	outstanding(1100)
	expect("more than the terminal's", 401, false)
	third := expect("the terminal's", 400, true)
	if e := s.reverse(third, "1"); e.Type != event.TypeTenderReversed {
		t.Errorf("%+v", e)
	}
	outstanding(1100)
	if err := s.sim.Forward(); err != nil {
		t.Fatal(err)
	}
	expect("online is refused by this acquirer, but the greeting tells what was forwarded", 5000, false)
	outstanding(0)
	expect("room again", 700, true)
	expect("more than the day's", 401, false)
	s.now = s.now.Add(24 * time.Hour)
	expect("the next day", 700, true)
	outstanding(1400)

	// A payment terminal that is replaced takes its memory with it.
	if err := s.sim.Forget(); err != nil {
		t.Fatal(err)
	}
	expect("outstanding for ever", 101, false)
	o := till.Step{Operator: "9"}
	for _, amount := range []pos.Money{1401, 0, -1} {
		if _, err := s.reg.Do(s.ctx(), s.call(), func(t *register.Turn) (register.Appender, error) {
			o.Reason = "r"
			return register.Made(t.State.WriteOff(o, amount))
		}); err == nil {
			t.Error("written off:", amount)
		}
	}
	if _, err := s.reg.Do(s.ctx(), s.call(), func(t *register.Turn) (register.Appender, error) {
		return register.Made(t.State.WriteOff(till.Step{Operator: "9", Reason: "old payment terminal returned"}, 1400))
	}); err != nil {
		t.Error(err)
	}
	outstanding(0)
	expect("and again", 101, true)
}

// What may have been approved offline counts until it is known.
func TestOfflineOfAnUnknownPayment(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{Sale: 1000, Terminal: 1000, Day: 1000})
	o := s.basket(1000)
	s.mode("forget", 1)
	if _, err := s.desk.Begin(s.ctx(), s.call(), o, 600); err != nil {
		t.Fatal(err)
	}
	until(t, "it is unknown", func() bool { st := s.desk.Status(); return len(st.Open) == 1 && st.Open[0].Stuck })
	if st := s.desk.Status(); st.Outstanding != 600 || st.Day != 600 {
		t.Errorf("%+v", st)
	}
	s.mode("offline", -1)
	if e := s.pay(s.basket(500), 500); e.Type != event.TypeTenderDeclined || e.Offline != 0 {
		t.Errorf("%+v", e)
	}
	if e := s.pay(s.basket(400), 400); e.Type != event.TypeTenderApproved || !e.Tender.Card.Offline {
		t.Errorf("%+v", e)
	}
}

// A payment that was approved offline and taken back is outstanding no more, whichever of
// the answers to its reversal was lost, also by a restart.
func TestLostReversalOfAnOfflineApproval(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{Sale: 500, Terminal: 500, Day: 5000})
	for _, mode := range []string{"approve", "drop", "act-drop", "garbage", "other"} {
		s.mode("offline", 1)
		o := s.basket(500)
		if e := s.pay(o, 500); e.Type != event.TypeTenderApproved || !e.Tender.Card.Offline {
			t.Fatalf("%s: %+v", mode, e)
		}
		s.mode(mode, 1)
		if e := s.reverse(o, "1"); e.Type != event.TypeTenderReversed || s.balance(o, "1") != 0 {
			t.Errorf("%s: %+v", mode, e)
		}
		if st := s.desk.Status(); st.Outstanding != 0 || st.Day != 0 {
			t.Errorf("%s: %d outstanding, %d of the day", mode, st.Outstanding, st.Day)
		}
		s.close()
		s.open()
	}
}

// tap is the way to the simulated payment terminal, with a hand on what comes back: the
// answers of a payment terminal that does not keep to the protocol, or a line that breaks.
type tap struct {
	card.Driver
	hand func(*card.Request, *card.Answer) error
}

type tapped struct {
	card.Link
	hand func(*card.Request, *card.Answer) error
}

func (x tap) Open(ctx context.Context) (card.Link, error) {
	l, err := x.Driver.Open(ctx)
	if err != nil {
		return nil, err
	}
	return tapped{l, x.hand}, nil
}

func (x tapped) Ask(ctx context.Context, r *card.Request, shown func(string)) (card.Answer, error) {
	a, err := x.Link.Ask(ctx, r, shown)
	if err == nil {
		err = x.hand(r, &a)
	}
	return a, err
}

// tap has the till started again with a hand on its line.
func (s *shop) tap(hand func(*card.Request, *card.Answer) error) {
	s.t.Helper()
	s.close()
	s.driver = func(d card.Driver) card.Driver { return tap{d, hand} }
	s.open()
}

// A payment is forwarded before posd knows that it was made: what others have outstanding
// is not less for that, and once all is known it is what the payment terminal has.
func TestForwardedBeforeItsAnswerIsKnown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		forward func(s *shop, other, mine string) error // when the answer is lost
		want    pos.Money
	}{
		"mine":  {func(s *shop, _, mine string) error { return s.sim.Forward(mine) }, 600},
		"other": {func(s *shop, other, _ string) error { return s.sim.Forward(other) }, 400},
		"both":  {func(s *shop, _, _ string) error { return s.sim.Forward() }, 0},
		"none":  {func(*shop, string, string) error { return nil }, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, till.Limits{Sale: 1000, Terminal: 1000, Day: 5000})
			s.mode("offline", -1)
			other := s.basket(600)
			if e := s.pay(other, 600); !e.Tender.Card.Offline {
				t.Fatalf("%+v", e)
			}
			mine := s.basket(400)
			s.tap(func(r *card.Request, a *card.Answer) error {
				if r.Ask != card.AskAuthorise {
					return nil
				}
				if err := c.forward(s, other.Basket+"-1", mine.Basket+"-1"); err != nil {
					t.Error(err)
				}
				return errors.New("the line broke")
			})
			if e := s.pay(mine, 400); e.Type != event.TypeTenderApproved || e.Tender.Card.Offline != (name == "other" || name == "none") {
				t.Errorf("%+v", e)
			}
			least := s.desk.Status().Outstanding
			s.pay(s.basket(-1), -1) // which greets
			if now := s.desk.Status().Outstanding; least < c.want || now != c.want {
				t.Errorf("%d outstanding when it was known, %d after the next greeting, want %d", least, now, c.want)
			}
		})
	}
}

// A payment terminal that says only once whether what it took back was forwarded: what
// it has forwarded at all tells too, and where that cannot tell, it stays outstanding.
func TestReversalThatIsNotToldTwice(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{Sale: 1000, Terminal: 1000, Day: 9000})
	s.tap(func(r *card.Request, a *card.Answer) error {
		if r.Ask == card.AskReverse {
			a.Offline = false
		}
		return nil
	})
	approved := func(amount pos.Money) till.Step {
		s.mode("offline", 1)
		o := s.basket(amount)
		if e := s.pay(o, amount); e.Type != event.TypeTenderApproved || !e.Tender.Card.Offline {
			t.Fatalf("%+v", e)
		}
		return o
	}
	reverse := func(what string, o till.Step, outstanding pos.Money) {
		t.Helper()
		if e := s.reverse(o, "1"); e.Type != event.TypeTenderReversed || s.balance(o, "1") != 0 {
			t.Errorf("%s: %+v", what, e)
		}
		s.pay(s.basket(-1), -1) // which greets
		if got := s.desk.Status().Outstanding; got != outstanding {
			t.Errorf("%s: %d outstanding, want %d", what, got, outstanding)
		}
	}
	forward := func(references ...string) {
		t.Helper()
		if err := s.sim.Forward(references...); err != nil {
			t.Fatal(err)
		}
	}
	reverse("nothing was forwarded", approved(500), 0)
	sent, kept := approved(500), approved(400)
	forward(sent.Basket + "-1")
	reverse("it was forwarded", sent, 400)
	s.close()
	s.open()
	reverse("as much was forwarded since, of another", kept, 400)
	last := approved(500)
	s.close()
	s.open()
	reverse("as much was forwarded, before it was asked for", last, 400)
	if st := s.desk.Status(); st.Old() != "" {
		t.Errorf("on the same day: %s", st.Old())
	}
	s.now = s.now.Add(24 * time.Hour)
	s.pay(s.basket(-1), -1)
	if st := s.desk.Status(); !strings.Contains(st.Old(), "until 2026-11-21") {
		t.Errorf("on the next day it is not shown that 400 stay outstanding: %q", st.Old())
	}
	if _, err := s.reg.Do(s.ctx(), s.call(), func(t *register.Turn) (register.Appender, error) {
		return register.Made(t.State.WriteOff(till.Step{Operator: "9", Reason: "the acquirer's report"}, 400))
	}); err != nil {
		t.Error(err)
	}
	if st := s.desk.Status(); st.Old() != "" {
		t.Errorf("after it was written off: %s", st.Old())
	}
}
