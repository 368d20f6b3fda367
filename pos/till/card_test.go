package till

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"posd/pos"
	"posd/pos/event"
)

// What may follow upon each state of a tender: the picture in the package's comment.
func TestTenderTransitions(t *testing.T) {
	kinds := []string{event.TypeTenderPending, event.TypeTenderApproved, event.TypeTenderDeclined, event.TypeTenderUnknown, event.TypeTenderReversing, event.TypeTenderReversed}
	may := map[string]string{
		"pending asked":   "approved declined unknown reversing",
		"unknown asked":   "approved declined unknown reversing",
		"approved asked":  "reversing",
		"approved kept":   "reversing reversed",
		"approved":        "reversed",
		"reversing asked": "approved reversed",
		"declined asked":  "",
		"reversed asked":  "",
		"reversed":        "",
	}
	for from, to := range may {
		state, driver, _ := strings.Cut(from, " ")
		for _, kind := range kinds {
			want := slices.Contains(strings.Fields(to), kind[len("tender."):])
			x := &event.OpenTender{State: state, Driver: driver, Kept: driver == "kept"}
			if got := follows(x, kind); got != want {
				t.Errorf("%s, then %s: %v, want %v", from, kind, got, want)
			}
		}
	}
}

func (f *fold) approve(o Step, id string, offline bool) {
	f.t.Helper()
	f.must(f.EndTender(o, f.rules, id, event.TypeTenderApproved, &pos.Tender{Reference: "s", Card: &pos.CardData{Offline: offline}}))
}

// The sums of what was approved offline are those of the events, whatever becomes of it.
func TestExposure(t *testing.T) {
	f := newFold(t)
	f.Date = "2026-11-21"
	d := Driver{Name: "P", Memory: "m", Limits: Limits{Sale: 500, Terminal: 1000, Day: 2000}}
	expect := func(what string, outstanding, day pos.Money) {
		t.Helper()
		again, err := ParseState(f.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		o, d := f.Exposure()
		o2, d2 := again.Exposure()
		if o != outstanding || d != day || o2 != o || d2 != d {
			t.Errorf("%s: %d and %d, after a restart %d and %d, want %d and %d", what, o, d, o2, d2, outstanding, day)
		}
	}
	begin := func(amount pos.Money, most pos.Money) Step {
		t.Helper()
		o := f.open()
		f.must(f.AddLine(o, f.rules, article(max(amount, -amount)), 0))
		if e := f.must(f.BeginTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: amount}, d)); e.Offline != most {
			t.Errorf("%d may be approved offline, want %d", e.Offline, most)
		}
		return o
	}
	expect("nothing", 0, 0)
	begin(501, 0)
	expect("more than a sale's limit", 0, 0)
	o := begin(400, 400)
	expect("it may be approved offline", 400, 400)
	f.approve(o, "1", false)
	expect("it was approved online", 0, 0)
	f.must(f.Reverse(o, f.rules, "1", nil))
	expect("while it is taken back it counts as it did before anybody knew", 400, 400)
	f.must(f.EndTender(o, f.rules, "1", event.TypeTenderReversed, nil))
	expect("taken back", 0, 0)
	o = begin(400, 400)
	f.approve(o, "1", true)
	expect("approved offline", 400, 400)
	f.must(f.Reverse(o, f.rules, "1", nil))
	expect("while it is taken back", 400, 400)
	f.must(f.EndTender(o, f.rules, "1", event.TypeTenderApproved, nil))
	expect("refused to take back", 400, 400)
	f.must(f.Reverse(o, f.rules, "1", nil))
	f.must(f.EndTender(o, f.rules, "1", event.TypeTenderReversed, nil))
	expect("taken back before it was forwarded", 0, 0)
	kept := begin(300, 300)
	f.approve(kept, "1", true)
	unknown := begin(500, 500)
	f.must(f.EndTender(unknown, f.rules, "1", event.TypeTenderUnknown, nil))
	expect("one of which nobody knows", 800, 800)
	begin(201, 0)
	expect("beyond the terminal's limit", 800, 800)
	begin(200, 200)
	expect("up to it", 1000, 1000)
	f.must(f.Resolve(Step{Basket: unknown.Basket, Reason: "r"}, f.rules, "1", false, &pos.Tender{}))
	expect("ended by hand", 500, 500)

	forwarded := func(memory string, total, amount pos.Money) {
		t.Helper()
		e := f.Forwarded("P", memory, total)
		if e == nil || e.Amount != amount {
			t.Fatalf("%+v, want %d", e, amount)
		}
		f.take(e, "")
		if f.Forwarded("P", memory, total) != nil {
			t.Error("told twice")
		}
	}
	forwarded("m", 9000, 0) // what was before is not of this till
	expect("the first greeting", 500, 500)
	forwarded("m", 9300, 100) // 200 of it may be the one that is being asked for
	expect("some of it is with the acquirer", 400, 500)
	forwarded("m2", 50, 0)
	expect("another payment terminal", 400, 500)
	forwarded("m2", 1050, 200) // it also forwards what others had it approve
	expect("more than is outstanding", 200, 500)
	f.Date = "2026-11-22"
	expect("the next day", 200, 200) // what is unknown may be approved today
}

func TestVoidOfASaleThatAPaymentTerminalTook(t *testing.T) {
	sale := &event.SaleCompleted{Sale: "x-1", Receipt: "t1-1-1", Lines: []pos.Line{article(1000)}, Tenders: []pos.Tender{{Kind: pos.Card, Amount: 1000, Reference: "7", Card: &pos.CardData{}}}}
	if _, err := pos.Compute(sale.Lines, pos.ComputeOptions{}); err != nil {
		t.Fatal(err)
	}
	sale.Total = 1000
	_, err := VoidSale(sale, nil, nil, Rules{}, Step{})
	refused(t, err, CodeTender) // nobody has asked it to pay back
	e, err := VoidSale(sale, nil, []pos.Tender{{Kind: pos.Cash, Amount: -1000}}, Rules{}, Step{})
	if err != nil || e.Total != -1000 {
		t.Errorf("%+v, %v", e, err)
	}
}

// However many tenders are reversed, and whatever is said about it, the state stays
// within one record: else no segment could begin any more.
func TestOpeningStaysSmallWhenEverythingIsReversed(t *testing.T) {
	for name, begin := range map[string]func(f *fold, o Step) error{
		"cash": func(f *fold, o Step) error {
			e, err := f.AddTender(o, f.rules, pos.Tender{Kind: pos.Cash, Amount: 1})
			if err == nil {
				f.take(e, "")
			}
			return err
		},
		"card": func(f *fold, o Step) error {
			e, err := f.BeginTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: 1}, Driver{Name: "P", Memory: "m"})
			if err == nil {
				f.take(e, "")
				f.approve(o, e.Tender.ID, false)
			}
			return err
		},
	} {
		f := newFold(t)
		f.rules.MostOpen = 96 << 10
		for range MostBaskets {
			e, err := f.Open(Step{Operator: "7"}, f.rules, "", pos.Inclusive, false, time.UnixMilli(0))
			if err != nil {
				break
			}
			f.take(e, "")
			o := Step{Basket: e.Basket, Operator: "7"}
			line, err := f.AddLine(o, f.rules, article(1000), 0)
			if err != nil {
				break
			}
			f.take(line, "")
			for begin(f, o) == nil {
			}
		}
		reversed := 0
		for _, b := range f.Baskets {
			o := Step{Basket: b.Basket, Operator: "7", Reason: strings.Repeat(`"`, 256)}
			for i := range b.Tenders {
				id := b.Tenders[i].ID
				f.must(f.Reverse(o, f.rules, id, &pos.Tender{Reference: strings.Repeat(`"`, 64)}))
				if b.Tenders[i].State == "reversing" {
					f.must(f.EndTender(Step{Basket: o.Basket, Reason: strings.Repeat(`"`, 200)}, f.rules, id, event.TypeTenderReversed, nil))
				}
				reversed++
			}
		}
		if n := len(f.Append(nil)); n > 126<<10 || reversed < 60 {
			t.Errorf("%s: %d bytes after %d reversals in %d baskets", name, n, reversed, len(f.Baskets))
		}
	}
}

// What a person says of a payment lets no more be approved offline than the limits do.
func TestExposureByHand(t *testing.T) {
	f := newFold(t)
	d := Driver{Name: "P", Memory: "m", Limits: Limits{Sale: 1000, Terminal: 1000, Day: 5000}}
	begin := func() Step {
		o := f.open()
		o.Reason = "the acquirer's report"
		f.must(f.AddLine(o, f.rules, article(400), 0))
		f.must(f.BeginTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: 400}, d))
		return o
	}
	forward := func(total pos.Money) { f.take(f.Forwarded("P", "m", total), "") }
	expect := func(what string, want pos.Money) {
		t.Helper()
		if got, _ := f.Exposure(); got != want {
			t.Errorf("%s: %d outstanding, want %d", what, got, want)
		}
	}
	forward(0)
	a := begin()
	f.approve(a, "1", true)
	forward(400)
	b := begin()
	f.approve(b, "1", true)
	f.must(f.Reverse(a, f.rules, "1", nil))
	f.must(f.Resolve(a, f.rules, "1", false, &pos.Tender{}))
	expect("one that was forwarded before is reversed by hand", 400)
	c := begin()
	f.must(f.EndTender(c, f.rules, "1", event.TypeTenderUnknown, nil))
	expect("one that is unknown", 800)
	f.must(f.Resolve(c, f.rules, "1", true, &pos.Tender{Reference: "slip 1"}))
	expect("and was paid, nobody knows how", 800)
	forward(800)
	expect("one of the two is forwarded", 400)
}

// Goods of one receipt stand in one basket at a time: each could be paid for before either
// is a sale.
func TestReturnsOfTwoOpenBaskets(t *testing.T) {
	f := newFold(t)
	sale := &event.SaleCompleted{Sale: "x-1", Receipt: "t1-1-1", Lines: []pos.Line{article(1000)}}
	if _, err := pos.Compute(sale.Lines, pos.ComputeOptions{}); err != nil {
		t.Fatal(err)
	}
	one, two := f.open(), f.open()
	f.must(f.AddReturn(one, f.rules, sale, 1, 1000, Back{}))
	_, err := f.AddReturn(two, f.rules, sale, 1, 1000, Back{})
	refused(t, err, CodeReturn)
	if f.ReturnedIn("x-1") != one.Basket || f.ReturnedIn("x-2") != "" {
		t.Error(f.ReturnedIn("x-1"), f.ReturnedIn("x-2"))
	}
	f.must(f.VoidLine(one, f.rules, 1))
	f.must(f.AddReturn(two, f.rules, sale, 1, 1000, Back{}))
}

// What is taken back gives the limit of the day back on which it was approved, not that
// of another day; of a payment whose day is not known, none.
func TestReversalOfAnotherDaysOfflineApproval(t *testing.T) {
	f := newFold(t)
	f.Date = "2026-11-21"
	d := Driver{Name: "P", Memory: "m", Limits: Limits{Sale: 1000, Terminal: 5000, Day: 500}}
	begin := func(amount, most pos.Money) Step {
		t.Helper()
		o := f.open()
		f.must(f.AddLine(o, f.rules, article(amount), 0))
		if e := f.must(f.BeginTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: amount}, d)); e.Offline != most {
			t.Errorf("%d of %d may be approved offline, want %d", e.Offline, amount, most)
		}
		return o
	}
	reverse := func(what string, o Step, outstanding, day pos.Money) {
		t.Helper()
		f.must(f.Reverse(o, f.rules, "1", nil))
		f.must(f.EndTender(o, f.rules, "1", event.TypeTenderReversed, nil))
		if gotOut, gotDay := f.Exposure(); gotOut != outstanding || gotDay != day {
			t.Errorf("%s: %d and %d of the day, want %d and %d", what, gotOut, gotDay, outstanding, day)
		}
	}
	restart := func(change func(string) string) {
		t.Helper()
		again, err := ParseState([]byte(change(string(f.Append(nil)))))
		if err != nil {
			t.Fatal(err)
		}
		f.State = again
	}
	a := begin(300, 300)
	f.approve(a, "1", true)
	late := begin(200, 200) // asked for before midnight, approved after it
	f.Date = "2026-11-22"
	f.approve(late, "1", true)
	b := begin(300, 300)
	f.approve(b, "1", true)
	restart(func(s string) string { return s })
	reverse("yesterday's", a, 500, 500)
	begin(1, 0)
	reverse("today's, though it was begun yesterday", late, 300, 300)
	c := begin(200, 200)
	f.approve(c, "1", true)
	f.must(f.Reverse(c, f.rules, "1", nil))
	f.must(f.EndTender(c, f.rules, "1", event.TypeTenderApproved, nil))
	reverse("today's, of which a reversal was refused first", c, 300, 300)
	restart(func(s string) string { // a former release's
		old := strings.ReplaceAll(s, `,"offline_date":"2026-11-22"`, "")
		if old == s {
			t.Fatal("the tender's date is not kept")
		}
		return old
	})
	reverse("nobody knows whose", b, 0, 300)
}

// Whatever became of a payment of which the answer was lost, and whenever the payment
// terminal tells that something was forwarded: what is outstanding is never less than what
// it still has, and as much as that once all is known.
func TestForwardedWhileAPaymentIsUnknown(t *testing.T) {
	const others, mine = 600, 400
	for name, c := range map[string]struct {
		total pos.Money // forwarded meanwhile
		kind  string    // what became of the unknown one
		still bool      // offline, in the answer to status
		want  pos.Money // outstanding then
	}{
		"it was forwarded":                         {mine, event.TypeTenderApproved, false, others},
		"both were":                                {mine + others, event.TypeTenderApproved, false, 0},
		"nothing was, it was approved online":      {0, event.TypeTenderApproved, false, others},
		"nothing was, it was approved offline":     {0, event.TypeTenderApproved, true, others + mine},
		"the other was, it was approved offline":   {others, event.TypeTenderApproved, true, mine},
		"the other was, it was declined":           {others, event.TypeTenderDeclined, false, 0},
		"the other was, it is not known about it":  {others, event.TypeTenderApproved, false, mine}, // the careful side
		"it was forwarded, and then taken back":    {mine, event.TypeTenderReversed, false, others},
		"it was taken back before it was":          {0, event.TypeTenderReversed, true, others},
		"the other was, it was taken back offline": {others, event.TypeTenderReversed, true, 0},
	} {
		f := newFold(t)
		d := Driver{Name: "P", Memory: "m", Limits: Limits{Sale: 1000, Terminal: 1000, Day: 5000}}
		begin := func(amount pos.Money) Step {
			o := f.open()
			f.must(f.AddLine(o, f.rules, article(amount), 0))
			f.must(f.BeginTender(o, f.rules, pos.Tender{Kind: pos.Card, Amount: amount}, d))
			return o
		}
		greets := func() {
			if e := f.Forwarded("P", "m", 5000+c.total); e != nil {
				f.take(e, "")
			}
		}
		f.take(f.Forwarded("P", "m", 5000), "")
		f.approve(begin(others), "1", true)
		o := begin(mine)
		f.must(f.EndTender(o, f.rules, "1", event.TypeTenderUnknown, nil))
		least := others + mine - c.total
		greets()
		if got, _ := f.Exposure(); got < least {
			t.Errorf("%s: %d outstanding while it is unknown, %d may be with the payment terminal", name, got, least)
		}
		if c.kind == event.TypeTenderReversed {
			f.must(f.Reverse(o, f.rules, "1", nil))
		}
		greets()
		if got, _ := f.Exposure(); got < least {
			t.Errorf("%s: %d outstanding before the end is known, %d may be with the payment terminal", name, got, least)
		}
		// As Desk.forwarded and Desk.settle do it.
		if x := f.Find(o.Basket).Tender("1"); !c.still && c.kind != event.TypeTenderDeclined {
			if e := f.Share("P", "m", 5000+c.total, x); e != nil {
				f.take(e, "")
			}
		}
		f.must(f.EndTender(o, f.rules, "1", c.kind, &pos.Tender{Reference: "s", Card: &pos.CardData{Offline: c.still}}))
		greets()
		if got, _ := f.Exposure(); got != c.want {
			t.Errorf("%s: %d outstanding, want %d", name, got, c.want)
		}
	}
}

// stored is a payment as its payment terminal has it.
type stored struct {
	step                         Step
	amount                       pos.Money
	offline, forwarded, reversed bool
}

// Whatever is approved, lost, forwarded, asked about and taken back, in whatever order:
// what counts as outstanding is never less than what the payment terminal holds.
func TestOutstandingIsNeverTooLow(t *testing.T) {
	low, high := 0, 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 8))
		f := newFold(t)
		d := Driver{Name: "P", Memory: "m", Limits: Limits{Sale: 1000, Terminal: 5000, Day: 1 << 40}}
		total, all := pos.Money(rng.IntN(2)*700), []*stored(nil)
		greets := func() {
			if e := f.Forwarded("P", "m", total); e != nil {
				f.take(e, "")
			}
		}
		tender := func(p *stored) *event.OpenTender { return f.Find(p.step.Basket).Tender("1") }
		// told is what Desk.work makes of an answer.
		told := func(p *stored) {
			x, still := tender(p), p.offline && !p.forwarded
			if !unsettled(x) {
				return
			}
			if p.reversed && rng.IntN(2) == 0 { // asked again, it does not say
				still = NeverForwarded(x, "P", "m", total)
			}
			if !still && InDoubt(x) {
				if e := f.Share("P", "m", total, x); e != nil {
					f.take(e, "")
				}
			}
			kind := event.TypeTenderApproved
			if p.reversed {
				kind = event.TypeTenderReversed
			}
			f.must(f.EndTender(p.step, f.rules, "1", kind, &pos.Tender{Reference: "s", Card: &pos.CardData{Offline: still}}))
		}
		for range 60 {
			if n := len(all); n > 0 && rng.IntN(3) > 0 {
				p := all[rng.IntN(n)]
				switch rng.IntN(4) {
				case 0:
					if p.offline && !p.forwarded && !p.reversed {
						p.forwarded, total = true, total+p.amount
					}
				case 1:
					greets()
				case 2:
					told(p)
				default:
					if x := tender(p); x.State == "approved" || x.State == "unknown" {
						f.must(f.Reverse(p.step, f.rules, "1", nil))
						p.reversed = true // its first answer may be lost
					}
				}
			} else if n < 12 {
				greets()
				p := &stored{step: f.open(), amount: pos.Money(100 * (1 + rng.IntN(5)))}
				f.must(f.AddLine(p.step, f.rules, article(p.amount), 0))
				e := f.must(f.BeginTender(p.step, f.rules, pos.Tender{Kind: pos.Card, Amount: p.amount}, d))
				p.offline = e.Offline > 0 && rng.IntN(3) > 0
				all = append(all, p)
				if rng.IntN(2) == 0 {
					f.must(f.EndTender(p.step, f.rules, "1", event.TypeTenderUnknown, nil))
				} else {
					f.approve(p.step, "1", p.offline)
				}
			}
			held := pos.Money(0)
			for _, p := range all {
				if p.offline && !p.forwarded && !p.reversed {
					held += p.amount
				}
			}
			if got, _ := f.Exposure(); got < held {
				t.Fatalf("seed %d: %d is outstanding, the payment terminal holds %d", seed, got, held)
			} else if got > held {
				high++
			} else {
				low++
			}
		}
	}
	if low < 1000 || high < 1000 {
		t.Errorf("%d times as much as it holds, %d times more: too little happened", low, high)
	}
}
