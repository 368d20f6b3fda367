package card_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"posd/pos"
	"posd/pos/card"
	"posd/pos/event"
	"posd/pos/register"
	"posd/pos/till"
)

// adapter is a payment terminal that greets and answers what a test says.
type adapter struct {
	mu       sync.Mutex
	greeting card.Greeting
	asked    []string
	answer   func(terminal string, r *card.Request) (card.Answer, error)
}

func (a *adapter) Open(context.Context) (card.Link, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &adapterLink{a, a.greeting}, nil
}

func (a *adapter) greet(g card.Greeting) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.greeting = g
}

type adapterLink struct {
	*adapter
	greeting card.Greeting
}

func (l *adapterLink) Greeting() card.Greeting { return l.greeting }
func (l *adapterLink) Close()                  {}
func (l *adapterLink) Ask(_ context.Context, r *card.Request, _ func(string)) (card.Answer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, l.greeting.Terminal+" "+r.Ask)
	a, err := l.answer(l.greeting.Terminal, r)
	a.Reference = r.Reference
	return a, err
}

// adapted is a shop with such a payment terminal.
func adapted(t *testing.T, l till.Limits, a *adapter) *shop {
	t.Helper()
	s := newShop(t, l)
	s.close()
	s.driver = func(card.Driver) card.Driver { return a }
	s.open()
	return s
}

// stuck waits until the desk shows one payment that a person has to look at.
func (s *shop) stuck() card.Open {
	s.t.Helper()
	until(s.t, "a person has to look", func() bool { st := s.desk.Status(); return len(st.Open) == 1 && st.Open[0].Stuck })
	return s.desk.Status().Open[0]
}

// One that was put in the place of another counts its memories from the start, as that did:
// it knows nothing of what the other has charged.
func TestAnotherPaymentTerminalIsNotBelieved(t *testing.T) {
	t.Parallel()
	a := &adapter{greeting: card.Greeting{Terminal: "P1", Memory: "1"}}
	a.answer = func(terminal string, r *card.Request) (card.Answer, error) {
		if terminal == "P1" && r.Ask == card.AskAuthorise {
			a.greeting.Terminal = "P2" // it has charged, and breaks
			return card.Answer{}, errors.New("the line broke")
		}
		return card.Answer{State: card.Absent}, nil
	}
	s := adapted(t, till.Limits{}, a)
	o := s.basket(59900)
	if _, err := s.desk.Begin(s.ctx(), s.call(), o, 59900); err != nil {
		t.Fatal(err)
	}
	if x := s.stuck(); x.State != "unknown" || !strings.Contains(x.Last, "by hand") {
		t.Errorf("%+v", x)
	}
	a.greet(card.Greeting{Terminal: "P1", Memory: "1"}) // it is repaired
	s.desk.Wake()
	s.reverse(o, "1")
	until(t, "the one that was asked is believed", func() bool { return len(s.desk.Status().Open) == 0 })
}

// What another payment terminal has forwarded, of other tills' say, is not taken off what
// this one's predecessor owes.
func TestForwardedByAnotherPaymentTerminal(t *testing.T) {
	t.Parallel()
	a := &adapter{greeting: card.Greeting{Terminal: "P1", Memory: "1"}}
	a.answer = func(_ string, r *card.Request) (card.Answer, error) {
		return card.Answer{State: card.Approved, Amount: r.Amount, Offline: r.OfflineMost > 0}, nil
	}
	s := adapted(t, till.Limits{Sale: 500, Terminal: 1000, Day: 1000}, a)
	if e := s.pay(s.basket(500), 500); e.Type != event.TypeTenderApproved {
		t.Fatalf("%+v", e)
	}
	owes := func(want pos.Money) {
		t.Helper()
		s.pay(s.basket(100), 100) // each greets
		if got := s.desk.Status().Outstanding; got != want {
			t.Errorf("%d outstanding, want %d", got, want)
		}
	}
	a.greet(card.Greeting{Terminal: "P2", Memory: "1", Forwarded: 500})
	owes(600)
	a.greet(card.Greeting{Terminal: "P2", Memory: "1", Forwarded: 550})
	owes(650)
	s.close()
	s.open()
	a.greet(card.Greeting{Terminal: "P2", Memory: "1", Forwarded: 650})
	owes(650)
}

// Which amount was charged instead is what a person needs who is to put it right: it stands
// in the journal, the basket, the status and the reason, also after a restart, whoever asked
// first for the payment to be taken back.
func TestAnotherAmountIsKept(t *testing.T) {
	t.Parallel()
	for _, cashier := range []bool{false, true} {
		a := &adapter{greeting: card.Greeting{Terminal: "P1", Memory: "1"}}
		a.answer = func(_ string, r *card.Request) (card.Answer, error) {
			switch {
			case r.Ask == card.AskAuthorise && cashier:
				return card.Answer{}, errors.New("the line broke")
			case r.Ask == card.AskStatus:
				return card.Answer{State: card.Pending}, nil
			}
			return card.Answer{State: card.Approved, Amount: 777777, Number: "7", Reason: "too late"}, nil
		}
		s := adapted(t, till.Limits{}, a)
		o := s.basket(500)
		if _, err := s.desk.Begin(s.ctx(), s.call(), o, 500); err != nil {
			t.Fatal(err)
		}
		tender := func() (x event.OpenTender) {
			s.reg.Look(func(st *till.State) { x = *st.Find(o.Basket).Tender("1") })
			return x
		}
		if cashier {
			until(t, "it is unknown", func() bool { return tender().State == "unknown" })
			if _, err := s.do(func(t *register.Turn) (*event.Basket, error) { return t.State.Reverse(o, t.Rules, "1", nil) }); err != nil {
				t.Fatal(err)
			}
			s.desk.Wake()
		}
		if x := s.stuck(); !strings.Contains(x.Last, "7777.77 instead of 5.00") || x.State != "reversing" {
			t.Errorf("%+v", x)
		}
		s.close()
		s.open()
		if x := tender(); x.Charged != 777777 || !strings.Contains(x.Reason, "7777.77 instead of 5.00") {
			t.Errorf("%+v", x)
		}
		version := func() (v string) {
			s.reg.Look(func(st *till.State) { v = st.Find(o.Basket).Version })
			return v
		}
		was := version()
		s.stuck()
		if version() != was {
			t.Error("it is journaled again whenever it is asked about")
		}
		o.Reason = "the acquirer's report"
		resolve := func(amount pos.Money) error {
			_, err := s.do(func(t *register.Turn) (*event.Basket, error) {
				return t.State.Resolve(o, t.Rules, "1", true, &pos.Tender{Reference: "7", Amount: amount})
			})
			return err
		}
		for _, amount := range []pos.Money{0, 777777, -500} {
			if resolve(amount) == nil {
				t.Errorf("ended as paid with %d", amount)
			}
		}
		if err := resolve(500); err != nil {
			t.Error(err)
		}
	}
}

// One that answers with its last payment, whatever it is asked about, has made that one
// only: it pays for no second basket, complete or open the first may be, and is not asked
// to take anything back.
func TestOneChargePaysOneBasket(t *testing.T) {
	t.Parallel()
	last := card.Answer{State: card.Approved, Amount: 500, Number: "000123", Auth: "A1B2C3", Last4: "1111"}
	a := &adapter{greeting: card.Greeting{Terminal: "P1", Memory: "1"}}
	a.answer = func(string, *card.Request) (card.Answer, error) { return last, nil }
	s := adapted(t, till.Limits{}, a)
	paid := s.basket(500)
	again := func(amount pos.Money) {
		t.Helper()
		o := s.basket(amount)
		if _, err := s.desk.Begin(s.ctx(), s.call(), o, amount); err != nil {
			t.Fatal(err)
		}
		x := s.stuck()
		if x.State != "unknown" || !strings.Contains(x.Last, "000123") || !strings.Contains(x.Last, "A1B2C3") || !strings.Contains(x.Last, paid.Basket+"-1") {
			t.Errorf("%+v", x)
		}
		o.Reason = "the acquirer's report"
		if _, err := s.do(func(t *register.Turn) (*event.Basket, error) {
			return t.State.Resolve(o, t.Rules, "1", false, &pos.Tender{})
		}); err != nil {
			t.Fatal(err)
		}
		until(t, "it is settled", func() bool { return len(s.desk.Status().Open) == 0 })
	}
	if e := s.pay(paid, 500); e.Type != event.TypeTenderApproved {
		t.Fatalf("%+v", e)
	}
	again(500)
	again(300) // another amount than was asked for, and another customer's
	s.close()
	s.open()
	again(500) // from the open basket
	if _, err := s.reg.Complete(s.ctx(), s.call(), paid); err != nil {
		t.Fatal(err)
	}
	again(500)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, asked := range a.asked {
		if asked == "P1 "+card.AskReverse {
			t.Error("it was asked to take back what another customer paid")
		}
	}
}

// Payments that share something are still each their own: no payment terminal that numbers
// well is doubted, though its numbers begin anew.
func TestApprovalsThatAreAlike(t *testing.T) {
	t.Parallel()
	var next card.Answer
	a := &adapter{greeting: card.Greeting{Terminal: "P1", Memory: "1"}}
	a.answer = func(string, *card.Request) (card.Answer, error) { return next, nil }
	s := adapted(t, till.Limits{}, a)
	for _, x := range []struct {
		terminal, number, auth string
		amount, answered       pos.Money
	}{
		{"P1", "000001", "A1", 500, 500},
		{"P1", "000001", "A2", 500, 500}, // the numbers began anew
		{"P1", "000002", "A1", 500, 500},
		{"P1", "000001", "A1", 600, 600},
		{"P1", "000001", "A1", -500, 500}, // paid back with the charge's own
		{"P2", "000001", "A1", 500, 500},
		{"P1", "", "A1", 500, 500},
		{"P1", "", "A1", 500, 500},
		{"P1", "000003", "", 500, 500},
		{"P1", "000003", "", 500, 500},
	} {
		a.mu.Lock()
		a.greeting.Terminal = x.terminal
		next = card.Answer{State: card.Approved, Amount: x.answered, Number: x.number, Auth: x.auth}
		a.mu.Unlock()
		if e := s.pay(s.basket(x.amount), x.amount); e.Type != event.TypeTenderApproved {
			t.Errorf("%+v: %+v", x, e)
		}
	}
}
