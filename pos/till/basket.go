package till

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"posd/pos"
	"posd/pos/event"
)

const (
	// MostLines of a sale.
	MostLines = 500
	// MostTenders of a sale, reversed and declined ones among them.
	MostTenders = 20
	// mostNumbers of lines are given in a basket: what an event can say.
	mostNumbers = event.MostLine
	// MostBaskets that are open or parked.
	MostBaskets = 100
)

// Rules are what the configuration says about a sale.
type Rules struct {
	Rounding pos.Rounding
	Coin     pos.Money // the smallest one, for rounding of cash; 0 or 1: none
	MostOpen int       // bytes that all baskets may take in an opening state
}

// Step is one call that changes a basket: who asks for it, and what they have seen.
type Step struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Basket   string
	Version  string // that the caller has seen; empty: whichever it is
	Operator string // empty: the basket's
	Approved string
	Reason   string
	Print    bool // the printer will be given the receipt of the sale that this makes
}

// By is who does the step: who was named last goes on with the basket.
func (o *Step) By(s *State) string {
	if b := s.Find(o.Basket); b != nil {
		return o.by(b)
	}
	return o.Operator
}

func (o *Step) by(b *Basket) string {
	if o.Operator != "" {
		return o.Operator
	}
	return b.Operator
}

// Open begins a basket. The journal gives it its name: Basket and Version of the event
// are empty.
func (s *State) Open(o Step, r Rules, name string, prices pos.PriceMode, training bool, now time.Time) (*event.Basket, error) {
	if len(s.Baskets) >= MostBaskets {
		return nil, refuse(CodeFull, fmt.Sprintf("%d baskets are open or parked; complete or void some", len(s.Baskets)))
	}
	if err := s.fits(nil, &Basket{OpenBasket: event.OpenBasket{Name: name, Rounding: r.Rounding.String()}}, r.MostOpen); err != nil {
		return nil, err
	}
	return &event.Basket{
		Type: event.TypeBasketOpened, State: "open", Operator: o.Operator, Approved: o.Approved, Reason: o.Reason,
		Name: name, Prices: prices, Rounding: r.Rounding.String(), Training: training, Opened: time.UnixMilli(now.UnixMilli()).UTC(),
	}, nil
}

// edit is the frame of each step: it looks at the basket, lets change work on a copy,
// takes the sums and says them in e. Nothing of the state changes.
func (s *State) edit(o Step, r Rules, kind string, change func(b *Basket, e *event.Basket) error) (*event.Basket, error) {
	b, err := s.Seen(o)
	if err != nil {
		return nil, err
	}
	c := b.clone()
	e := &event.Basket{Type: kind, Basket: b.Basket, State: "open", Operator: o.by(b), Approved: o.Approved, Reason: o.Reason}
	if err := change(c, e); err != nil {
		return nil, err
	}
	t, err := c.Sums(r)
	if err != nil {
		return nil, Refusal(err, "")
	}
	e.Lines, e.Total, e.Due = len(c.Lines), t.Total, t.Total-c.paid()
	if c.Parked {
		e.State = "parked"
	}
	most := r.MostOpen
	switch kind {
	case event.TypeLineAdded, event.TypeLineChanged, event.TypeBasketChanged:
	case event.TypeTenderPending, event.TypeTenderApproved, event.TypeBasketParked:
		most += most / 8 // what is there can be paid for, or put aside
	default:
		most = 0 // what ends something is never refused for room
	}
	if kind == event.TypeTenderApproved && len(c.Tenders) == len(b.Tenders) {
		most = 0 // it was pending, and room was kept for its end
	}
	if err := s.fits(b, c, most); err != nil {
		return nil, err
	}
	return e, nil
}

// Seen finds the basket, in the version that the caller has seen.
func (s *State) Seen(o Step) (*Basket, error) {
	b := s.Find(o.Basket)
	switch {
	case b == nil:
		return nil, refuse(CodeNoBasket, "there is no basket "+strconv.Quote(o.Basket)+" that is open or parked; it may be a sale by now, or void")
	case o.Version != "" && o.Version != b.Version && !planted("version-ignored"):
		return nil, refuse(CodeVersion, "the basket has changed since version "+o.Version+", it is "+b.Version+" now; read it again")
	}
	return b, nil
}

func (b *Basket) clone() *Basket {
	c := *b
	c.Lines = slices.Clone(b.Lines)
	for i := range c.Lines {
		c.Lines[i].Discounts = slices.Clone(c.Lines[i].Discounts)
	}
	c.Discounts, c.Tenders = slices.Clone(b.Discounts), slices.Clone(b.Tenders)
	return &c
}

// compute returns the basket as the lines and discounts of a sale, with its sums.
func (b *Basket) compute(r Rules) ([]pos.Line, []pos.Discount, pos.Totals, error) {
	lines, off := make([]pos.Line, len(b.Lines)), slices.Clone(b.Discounts)
	for i := range b.Lines {
		lines[i] = b.Lines[i].Line
		lines[i].Discounts = slices.Clone(lines[i].Discounts)
	}
	t, err := pos.Compute(lines, pos.ComputeOptions{Prices: b.Prices, Rounding: b.RoundedBy(r), Discounts: off})
	return lines, off, t, err
}

// RoundedBy is how the basket's tax is rounded: as when it was opened, or another rule would
// change what was paid for.
func (b *Basket) RoundedBy(r Rules) pos.Rounding {
	if b.Rounding == "" {
		return r.Rounding
	}
	kept, _ := pos.ParseRounding(b.Rounding)
	return kept
}

// Sums are the basket's taxes and total as they are now.
func (b *Basket) Sums(r Rules) (pos.Totals, error) {
	_, _, t, err := b.compute(r)
	return t, err
}

// Paid is Σ approved tenders.
func (b *Basket) paid() (sum pos.Money) {
	for i := range b.Tenders {
		if b.Tenders[i].State == "approved" {
			sum += b.Tenders[i].Amount
		}
	}
	return sum
}

// bytes is what the basket takes in an opening state, with room for all the keys that
// it may remember, for how its open tenders may end, and for the buyer's age.
func (b *Basket) bytes() int {
	if b.size == 0 {
		var room [4 << 10]byte // for most of them, and not from the heap
		c := b.OpenBasket
		c.Age = 999 // it can be said, or what was paid for could not end
		b.size = len(c.AppendData(room[:0])) + mostKeys*keyBytes + basketBytes
		for i := range b.Tenders {
			if t := &b.Tenders[i]; t.Driver != "" && (t.State == "approved" || unsettled(t)) {
				b.size += max(0, tenderBytes-len(t.AppendData(room[:0])))
			}
		}
	}
	return b.size
}

const (
	keyBytes    = 2*(16+8) + 30 // in JSON
	basketBytes = 40 + 100      // of the frame, of id, version and operator that come later
	tenderBytes = 1100          // whatever a payment terminal and who ends it by hand say
	mostReason  = 200           // bytes of a tender's reason, which may be twice as many in JSON
)

// fits refuses what would make the opening state too large. c replaces b, or is new.
func (s *State) fits(b, c *Basket, most int) error {
	if most <= 0 {
		return nil
	}
	c.size = 0
	n := c.bytes()
	if b != nil && n <= b.bytes() {
		return nil
	}
	for _, other := range s.Baskets {
		if other != b {
			n += other.bytes()
		}
	}
	if n > most {
		return refuse(CodeFull, fmt.Sprintf("open and parked baskets would take %d bytes, at most %d; complete or void some, or split this sale", n, most))
	}
	return nil
}

// busy refuses to change what is being paid for.
func (b *Basket) busy() error {
	switch {
	case b.Parked:
		return because(CodeState, CauseParked, "the basket is parked; recall it first")
	case b.unsettled() != nil:
		return b.unsettled()
	case b.counting():
		return because(CodeState, CauseBeingPaid, "the basket is being paid for; reverse its tenders first")
	}
	return nil
}

// counting says that a tender counts, or may count.
func (b *Basket) counting() bool {
	return slices.ContainsFunc(b.Tenders, func(t event.OpenTender) bool {
		return t.State == "approved" || unsettled(&t)
	})
}

// AddLine puts an article into the basket. minAge is what its buyer must have reached.
func (s *State) AddLine(o Step, r Rules, l pos.Line, minAge int) (*event.Basket, error) {
	return s.edit(o, r, event.TypeLineAdded, func(b *Basket, e *event.Basket) error {
		switch {
		case b.busy() != nil:
			return b.busy()
		case len(b.Lines) >= MostLines:
			return refuse(CodeTooMany, fmt.Sprintf("a sale has at most %d lines; complete this one and begin another", MostLines))
		}
		if b.Last >= mostNumbers {
			return refuse(CodeTooMany, "the basket has had too many lines that were voided again; complete it and begin another")
		}
		e.N, e.MinAge = b.Last+1, minAge
		return b.put(e, event.OpenLine{N: e.N, Line: l, MinAge: minAge})
	})
}

// put sets a line in a clone and tells it in e, with its amount.
func (b *Basket) put(e *event.Basket, l event.OpenLine) error {
	if e.Approved != "" {
		l.Approved = e.Approved
	}
	one := []pos.Line{l.Line}
	if _, err := pos.Compute(one, pos.ComputeOptions{Prices: b.Prices}); err != nil {
		return Refusal(err, "")
	}
	l.Line = one[0]
	b.set(l)
	e.Line = l.Line
	e.Line.Discounts = slices.Clone(l.Discounts)
	return nil
}

// Change is what a line gets. nil leaves it as it is.
type Change struct {
	Qty       *pos.Qty
	Price     *pos.Money
	Discounts *[]pos.Discount // all that the line has
	Note      *string
}

// ChangeLine changes line n. Goods that come back keep their price and discounts.
func (s *State) ChangeLine(o Step, r Rules, n int, c Change) (*event.Basket, error) {
	return s.edit(o, r, event.TypeLineChanged, func(b *Basket, e *event.Basket) error {
		if err := b.busy(); err != nil {
			return err
		}
		l := b.Line(n)
		if l == nil {
			return noLine(n)
		}
		x := *l
		if x.Return != nil && (c.Qty != nil || c.Price != nil || c.Discounts != nil) {
			return because(CodeReturn, CauseLineReturn, "what comes back is what was sold; void the line and add it again")
		}
		if c.Qty != nil && *c.Qty != x.Qty {
			switch {
			case x.Fixed: // or more goods would cost the same
				return &RefusalError{Code: CodeLabel, Detail: "line " + strconv.Itoa(n) + " has an amount for the whole of it, of its label or by hand; add what is more as a line of its own, or void the line and add it again", Field: "/quantity"}
			case *c.Qty == 0:
				return &RefusalError{Code: CodeQuantity, Detail: "the quantity is 0; void the line instead", Field: "/quantity"}
			}
			x.Qty = *c.Qty
		}
		if c.Price != nil {
			reprice(&x.Line, *c.Price)
		}
		if c.Discounts != nil {
			x.Discounts = slices.Clone(*c.Discounts)
		}
		if c.Note != nil {
			x.Note = *c.Note
		}
		if c.Price != nil || c.Discounts != nil && len(x.Discounts)+len(l.Discounts) > 0 || x.Qty > l.Qty {
			x.Approved = "" // who allowed what it was has not allowed this
		}
		e.N, e.MinAge = n, x.MinAge
		return b.put(e, x)
	})
}

// reprice gives a line another price, per unit as in a checkout: also one that had an
// amount for the whole of it, unless it says no quantity.
func reprice(l *pos.Line, price pos.Money) {
	list := listPrice(l)
	if l.Fixed && l.Qty != 0 {
		list = min(pos.Part(list, 1000, l.Qty), pos.MaxAmount)
		l.Fixed = false
	}
	if l.List, l.Changed = list, true; list == price {
		l.List, l.Changed = 0, false
	}
	l.Price = price
}

func listPrice(l *pos.Line) pos.Money {
	if l.Changed {
		return l.List
	}
	return l.Price
}

// Line returns the one with that number, nil if there is none.
func (b *Basket) Line(n int) *event.OpenLine {
	for i := range b.Lines {
		if b.Lines[i].N == n {
			return &b.Lines[i]
		}
	}
	return nil
}

func noLine(n int) error {
	return refuse(CodeNoLine, "the basket has no line "+strconv.Itoa(n)+"; it may have been voided")
}

// VoidLine takes line n out.
func (s *State) VoidLine(o Step, r Rules, n int) (*event.Basket, error) {
	return s.edit(o, r, event.TypeLineVoided, func(b *Basket, e *event.Basket) error {
		if err := b.busy(); err != nil {
			return err
		}
		l := b.Line(n)
		if l == nil {
			return noLine(n)
		}
		e.N, e.Line, e.MinAge = n, l.Line, l.MinAge
		b.Lines = slices.DeleteFunc(b.Lines, func(l event.OpenLine) bool { return l.N == n })
		return nil
	})
}

// Repeated says that a scan only repeats the one that has added line n. It is an event of
// its own because whoever asks again with its key must hear the same.
func (s *State) Repeated(o Step, r Rules, n int) (*event.Basket, error) {
	return s.edit(o, r, event.TypeLineRepeated, func(b *Basket, e *event.Basket) error {
		l := b.Line(n)
		if l == nil {
			return noLine(n)
		}
		e.N, e.Line, e.MinAge = n, l.Line, l.MinAge
		return nil
	})
}

// About is what a basket has beside its lines. nil leaves it as it is.
type About struct {
	Customer, Note *string
	Age            *int
	Discounts      *[]pos.Discount
}

// ChangeBasket changes that. The age may be said while the basket is being paid for.
func (s *State) ChangeBasket(o Step, r Rules, a About) (*event.Basket, error) {
	return s.edit(o, r, event.TypeBasketChanged, func(b *Basket, e *event.Basket) error {
		if err := b.busy(); err != nil && (b.Parked || a.Discounts != nil) {
			return err
		}
		if a.Customer != nil {
			b.Customer = *a.Customer
		}
		if a.Note != nil {
			b.Note = *a.Note
		}
		if a.Age != nil {
			b.Age = *a.Age
		}
		if a.Discounts != nil {
			b.Discounts = slices.Clone(*a.Discounts)
		}
		_, off, _, err := b.compute(r)
		if err != nil {
			return Refusal(err, "/discounts")
		}
		e.Customer, e.Note, e.Age, e.Discounts = b.Customer, b.Note, b.Age, off
		return nil
	})
}

// Park puts the basket aside under a name; empty keeps the one it has.
func (s *State) Park(o Step, r Rules, name string) (*event.Basket, error) {
	return s.edit(o, r, event.TypeBasketParked, func(b *Basket, e *event.Basket) error {
		if err := b.busy(); err != nil {
			return err
		}
		if e.Name = name; name == "" {
			e.Name = b.Name
		}
		b.Parked = true
		return nil
	})
}

// Recall takes a parked basket up again, whoever parked it.
func (s *State) Recall(o Step, r Rules) (*event.Basket, error) {
	return s.edit(o, r, event.TypeBasketRecalled, func(b *Basket, e *event.Basket) error {
		if !b.Parked {
			return because(CodeState, CauseNotParked, "the basket is not parked")
		}
		b.Parked = false
		return nil
	})
}

// Void ends the basket without a sale.
func (s *State) Void(o Step, r Rules) (*event.Basket, error) {
	e, err := s.edit(o, r, event.TypeBasketVoided, func(b *Basket, e *event.Basket) error {
		switch {
		case !b.counting(), planted("void-with-money"):
			return nil
		case b.unsettled() != nil:
			return b.unsettled()
		}
		return because(CodeState, CauseBeingPaid, "money was taken for the basket; reverse its tenders first")
	})
	if err == nil {
		e.State = "void"
	}
	return e, err
}

// AddTender takes a payment that needs no payment terminal: it is approved at once.
func (s *State) AddTender(o Step, r Rules, t pos.Tender) (*event.Basket, error) {
	return s.tender(o, r, event.TypeTenderApproved, t, Driver{})
}

// BeginTender says that d is about to be asked for t.
func (s *State) BeginTender(o Step, r Rules, t pos.Tender, d Driver) (*event.Basket, error) {
	return s.tender(o, r, event.TypeTenderPending, t, d)
}

func (s *State) tender(o Step, r Rules, kind string, t pos.Tender, d Driver) (*event.Basket, error) {
	return s.edit(o, r, kind, func(b *Basket, e *event.Basket) error {
		switch {
		case b.Parked:
			return b.busy()
		case len(b.Lines) == 0:
			return refuse(CodeNoLines, "the basket has no line; add one before it is paid for")
		case len(b.Tenders) >= MostTenders:
			return because(CodeTender, CauseTooMany, fmt.Sprintf("a sale has at most %d tenders; void it and begin again", MostTenders))
		case b.unsettled() != nil:
			return b.unsettled()
		}
		sums, err := b.fitsRecord(r)
		if err != nil {
			return err
		}
		due, err := b.dueBy(t.Kind, sums.Total, r.Coin)
		if err != nil {
			return err
		}
		err = t.Fits(sums.Total, due, r.Coin, kind == event.TypeTenderApproved)
		if err == nil {
			err = t.Beside(b.approved())
		}
		if err != nil {
			return Refusal(err, tenderField(&t, sums.Total, due, err))
		}
		t.ID = strconv.Itoa(len(b.Tenders) + 1)
		if !strings.HasPrefix(b.Basket, d.Journal) {
			t.ID += "-" + d.Journal // the former journal may have gone on with this basket: see Heirs
		}
		e.Tender, e.Driver, e.Memory, e.Offline = t, d.Name, d.Memory, s.offlineMost(b, t.Amount, d.Limits)
		b.setTender(openTender(nil, e))
		return nil
	})
}

// Heirs says that the tender began in another journal than its basket. A payment terminal
// may know any other tender of that basket from elsewhere: a backup was restored since, or
// the disk was copied.
func Heirs(t *event.OpenTender) bool { return strings.Contains(t.ID, "-") }

// dueBy is what is left to pay by a kind of tender: in cash, what coins can pay. It
// refuses where the basket could be completed as it is.
func (b *Basket) dueBy(kind pos.TenderKind, total, coin pos.Money) (pos.Money, error) {
	have := b.approved()
	if _, err := pos.CheckTenders(total, have, coin); err == nil {
		return 0, because(CodeTender, CauseNothingDue, "nothing is due any more; complete the basket")
	}
	due, inCash := total, total
	for i := range have {
		if due -= have[i].Amount; have[i].Kind != pos.Cash {
			inCash -= have[i].Amount
		}
	}
	if kind == pos.Cash {
		due += pos.RoundCash(inCash, coin)
	}
	return due, nil
}

// approved are the tenders that count.
func (b *Basket) approved() (list []pos.Tender) {
	for i := range b.Tenders {
		if b.Tenders[i].State == "approved" {
			list = append(list, b.Tenders[i].Tender)
		}
	}
	return list
}

// fitsRecord returns the sums, and refuses to take money for what would not fit into
// one record of the journal.
func (b *Basket) fitsRecord(r Rules) (pos.Totals, error) {
	lines, off, t, err := b.compute(r)
	if err != nil {
		return t, Refusal(err, "")
	}
	e := event.SaleCompleted{Lines: lines, Discounts: off, Taxes: t.Taxes, Note: b.Note, Customer: b.Customer}
	if n := len(e.AppendData(nil)); n > mostSale {
		return t, refuse(CodeTooLarge, fmt.Sprintf("the sale would take %d bytes, at most %d; split it into several sales", n, mostSale))
	}
	return t, nil
}

// mostSale leaves room for tenders in a record of 128 KiB.
const mostSale = 110 << 10

// unsettled refuses to go on while the outcome of a tender is not known.
func (b *Basket) unsettled() error {
	for i := range b.Tenders {
		switch t := &b.Tenders[i]; {
		case !unsettled(t):
		case t.State == "reversing":
			return isState(t, ": wait until the payment terminal has taken it back")
		default:
			return isState(t, ": wait until the payment terminal says what became of it, or reverse it")
		}
	}
	return nil
}

// isState refuses what a tender's state does not allow.
func isState(t *event.OpenTender, so string) error {
	return &RefusalError{Code: CodeState, Cause: "tender-" + t.State, Tender: t.ID, Detail: "tender " + t.ID + " is " + t.State + so}
}

// EndTender says what became of tender id: kind is one of approved, declined, unknown,
// reversing and reversed. What was learned of a payment is taken from t; the amount of one that is
// to be taken back is what the payment terminal charged instead.
func (s *State) EndTender(o Step, r Rules, id, kind string, t *pos.Tender) (*event.Basket, error) {
	return s.edit(o, r, kind, func(b *Basket, e *event.Basket) error {
		old := b.Tender(id)
		if old == nil {
			return noTender(id)
		}
		named := kind == event.TypeTenderReversing && t != nil && t.Amount != 0 // another amount was
		if !follows(old, kind) && !(named && old.State == "reversing" && old.Charged == 0) {
			return isState(old, "")
		}
		e.Tender, e.Driver, e.Memory, e.Offline = old.Tender, old.Driver, old.Memory, old.Offline
		if e.Charged = old.Charged; named {
			e.Charged = t.Amount
		}
		if t != nil && t.Reference != "" {
			if err := pos.CheckReference(t.Reference); err != nil {
				return Refusal(err, "/reference")
			}
			e.Tender.Reference = t.Reference
		}
		if t != nil && t.Card != nil {
			e.Tender.Card = t.Card
		}
		*old = openTender(old, e)
		return nil
	})
}

// openTender is the tender as it stands after an event. was is the one before, or nil.
func openTender(was *event.OpenTender, e *event.Basket) event.OpenTender {
	t := event.OpenTender{Tender: e.Tender, State: e.Type[len("tender."):], Driver: e.Driver, Memory: e.Memory, Offline: e.Offline, Charged: e.Charged, Reason: e.Reason}
	if was != nil {
		t.ForwardedBefore = was.ForwardedBefore
		t.Kept = t.State == "approved" && was.State == "reversing"
		if t.State == "reversed" {
			t.Tender = was.Tender
		}
	}
	bound(&t)
	return t
}

// bound leaves out of a tender what only its event has to tell: all that its end may add
// to an opening state must have found room when it began.
func bound(t *event.OpenTender) {
	if t.State == "reversed" {
		t.Reason, t.ForwardedBefore, t.Charged = "", 0, 0
	}
	if len(t.Reason) > mostReason {
		t.Reason = strings.ToValidUTF8(t.Reason[:mostReason], "")
	}
}

// tenderField is the value of a tender for which it was refused when so much was due.
func tenderField(t *pos.Tender, total, due pos.Money, err error) string {
	switch {
	case !errors.Is(err, pos.ErrTender):
	case !slices.Contains(pos.TenderKinds[:], t.Kind):
		return "/kind"
	case t.Amount == 0 || (t.Amount > 0) != (total >= 0) || (t.Amount > 0) != (due >= 0):
	case t.Kind != pos.Cash || pos.CheckReference(t.Reference) != nil:
		return "/reference" // amounts of what is not cash are right then
	}
	return "/amount"
}

func noTender(id string) error {
	return refuse(CodeNoTender, "the basket has no tender "+strconv.Quote(id))
}

// Complete makes the sale of a basket that is paid for: without the names, numbers and
// running totals that the journal and the shift give it.
func (s *State) Complete(o Step, r Rules) (*event.SaleCompleted, error) {
	b, err := s.Seen(o)
	switch {
	case err != nil:
		return nil, err
	case b.Parked:
		return nil, b.busy()
	case len(b.Lines) == 0:
		return nil, refuse(CodeNoLines, "the basket has no line; void it")
	case b.unsettled() != nil:
		return nil, b.unsettled()
	}
	for i := range b.Lines {
		if l := &b.Lines[i]; l.MinAge > b.Age && l.Return == nil {
			return nil, refuse(CodeAge, fmt.Sprintf("line %d may be sold to buyers of %d years or more only; make sure and set age", l.N, l.MinAge))
		}
	}
	lines, off, t, err := b.compute(r)
	if err != nil {
		return nil, Refusal(err, "")
	}
	e := &event.SaleCompleted{
		Operator: o.by(b), Approved: o.Approved, Prices: b.Prices, Rounding: b.RoundedBy(r), Lines: lines, Discounts: off, Taxes: t.Taxes, Total: t.Total,
		Training: b.Training, Basket: b.Basket, Opened: b.Opened, Customer: b.Customer, Note: b.Note, Age: b.Age, Print: o.Print,
	}
	e.Tenders = b.approved()
	settled, err := pos.CheckTenders(e.Total, e.Tenders, r.Coin)
	if err != nil {
		return nil, Refusal(err, "/tenders")
	}
	e.Change, e.CashRounding = settled.Change, settled.Rounding
	return e, nil
}
