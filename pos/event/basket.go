package event

import (
	"fmt"
	"slices"
	"time"

	"posd/pos"
)

// Types of what happens to a basket before it is a sale. All of them carry how the
// basket stands after them; what they change is beside it.
const (
	TypeBasketOpened   = "basket.opened"
	TypeBasketChanged  = "basket.changed" // customer, note, age, discounts: all of them as they are now
	TypeBasketParked   = "basket.parked"
	TypeBasketRecalled = "basket.recalled"
	TypeBasketVoided   = "basket.voided"
	TypeLineAdded      = "line.added"
	TypeLineChanged    = "line.changed"  // the whole line as it is now
	TypeLineVoided     = "line.voided"   // the line as it was
	TypeLineRepeated   = "line.repeated" // a scan that was taken for a scanner's repeat: nothing changes; the line that it repeats
	TypeTenderPending  = "tender.pending"
	TypeTenderApproved = "tender.approved"
	TypeTenderDeclined = "tender.declined"
	TypeTenderUnknown  = "tender.unknown"
	TypeTenderReversed = "tender.reversed" // taken back, or put back into the customer's hand

	TypeTenderReversing = "tender.reversing" // the payment terminal is about to be asked to take it back
)

// BasketTypes are the types of a Basket event.
var BasketTypes = [...]string{
	TypeBasketOpened, TypeBasketChanged, TypeBasketParked, TypeBasketRecalled, TypeBasketVoided,
	TypeLineAdded, TypeLineChanged, TypeLineVoided, TypeLineRepeated,
	TypeTenderPending, TypeTenderApproved, TypeTenderDeclined, TypeTenderUnknown, TypeTenderReversed, TypeTenderReversing,
}

// Basket is one step of a sale that is made step by step.
type Basket struct {
	Type string // one of BasketTypes

	Basket   string // its id: SaleID(journal id, seq of its basket.opened)
	Version  string // of the basket after this event: <incarnation>-<seq>
	State    string // after it: open, parked or void
	Operator string // who did it
	Approved string // the second operator who allowed it, if one had to
	Reason   string
	Lines    int       // that count
	Total    pos.Money // of them, tax included
	Due      pos.Money // Total − approved tenders

	// basket.opened
	Name     string // for people who look for a parked one; also of basket.parked
	Prices   pos.PriceMode
	Rounding string // as OpenBasket's
	Training bool
	Opened   time.Time

	// basket.changed
	Customer  string
	Note      string
	Age       int // years that the operator has made sure of
	Discounts []pos.Discount

	// line.*
	N      int // number of the line in its basket, from 1, never given twice
	Line   pos.Line
	MinAge int // years that its buyer must have; 0: any

	// tender.*
	Tender  pos.Tender
	Driver  string    // of the payment terminal that is asked; empty: none is
	Memory  string    // names what that terminal remembers; with another one it has forgotten
	Offline pos.Money // the most that it may approve without its acquirer
	Charged pos.Money // what it says that it has charged or paid back, if that is another amount; else 0
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *Basket) AppendEvent(dst []byte, h Header) ([]byte, error) {
	if err := e.check(); err != nil {
		return dst, fmt.Errorf("%s: %w", e.Type, err)
	}
	dst = appendHeader(dst, e.Type, h)
	return append(e.AppendData(dst), '}'), nil
}

func (e *Basket) check() error {
	if !slices.Contains(BasketTypes[:], e.Type) {
		return fmt.Errorf("%w: type %s", ErrValue, e.Type)
	}
	if e.Prices > pos.Exclusive || e.N < 0 || e.N > MostLine || e.Lines < 0 || e.Age < 0 || e.MinAge < 0 {
		return fmt.Errorf("%w: price mode %d, line %d of %d, ages %d and %d", ErrValue, e.Prices, e.N, e.Lines, e.Age, e.MinAge)
	}
	if err := checkDiscounts(e.Discounts); err != nil {
		return err
	}
	return checkLine(&e.Line, e.N)
}

// AppendData appends the event's data as one JSON object; ParseBasket reads it.
func (e *Basket) AppendData(dst []byte) []byte {
	dst = appendText(dst, `{"basket":`, e.Basket)
	dst = appendText(dst, `,"version":`, e.Version)
	dst = appendText(dst, `,"state":`, e.State)
	dst = appendText(dst, `,"operator":`, e.Operator)
	dst = appendSome(dst, `,"approved":`, e.Approved)
	dst = appendSome(dst, `,"reason":`, e.Reason)
	dst = appendInt(dst, `,"lines":`, e.Lines)
	dst = appendInt(dst, `,"total":`, e.Total)
	dst = appendInt(dst, `,"due":`, e.Due)
	switch e.Type {
	case TypeBasketOpened:
		dst = appendSome(dst, `,"name":`, e.Name)
		dst = appendText(dst, `,"prices":`, e.Prices.String())
		dst = appendSome(dst, `,"rounding":`, e.Rounding)
		dst = appendTrue(dst, `,"training":`, e.Training)
		dst = append(appendTime(append(dst, `,"opened":"`...), e.Opened), '"')
	case TypeBasketParked:
		dst = appendSome(dst, `,"name":`, e.Name)
	case TypeBasketChanged:
		dst = appendSome(dst, `,"customer":`, e.Customer)
		dst = appendSome(dst, `,"note":`, e.Note)
		dst = appendNumber(dst, `,"age":`, e.Age)
		dst = appendDiscounts(dst, e.Discounts)
	case TypeLineAdded, TypeLineChanged, TypeLineVoided, TypeLineRepeated:
		dst = appendLine(append(dst, `,"line":`...), e.N, &e.Line)
		dst = appendNumber(dst, `,"min_age":`, e.MinAge)
	case TypeTenderPending, TypeTenderApproved, TypeTenderDeclined, TypeTenderUnknown, TypeTenderReversed, TypeTenderReversing:
		dst = appendTender(append(dst, `,"tender":`...), &e.Tender)
		dst = appendSome(dst, `,"driver":`, e.Driver)
		dst = appendSome(dst, `,"memory":`, e.Memory)
		dst = appendNumber(dst, `,"offline_most":`, e.Offline)
		dst = appendNumber(dst, `,"charged":`, e.Charged)
	}
	return append(dst, '}')
}

// ParseBasket reads the data of an event of a basket, whose type the caller knows.
// Errors: ErrMalformed.
func ParseBasket(kind string, data []byte) (Basket, error) {
	e := Basket{Type: kind}
	r := newReader(data)
	r.object(members{
		{"basket", &e.Basket, must},
		{"version", &e.Version, must},
		{"state", &e.State, must},
		{"operator", &e.Operator, must},
		{"approved", &e.Approved, may},
		{"reason", &e.Reason, may},
		{"lines", &e.Lines, must},
		{"total", &e.Total, must},
		{"due", &e.Due, must},
		{"name", &e.Name, may},
		{"prices", &e.Prices, may},
		{"rounding", &e.Rounding, may},
		{"training", &e.Training, may},
		{"opened", &e.Opened, may},
		{"customer", &e.Customer, may},
		{"note", &e.Note, may},
		{"age", &e.Age, may},
		{"discounts", &e.Discounts, may},
		{"line", func() { e.Line, e.N = r.lineFrom(0) }, may},
		{"min_age", &e.MinAge, may},
		{"tender", &e.Tender, may},
		{"driver", &e.Driver, may},
		{"memory", &e.Memory, may},
		{"offline_most", &e.Offline, may},
		{"charged", &e.Charged, may},
	})
	return finish(r, e)
}
