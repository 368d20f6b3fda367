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
	TypeLineChanged    = "line.changed" // the whole line as it is now
	TypeLineVoided     = "line.voided"  // the line as it was
	TypeTenderPending  = "tender.pending"
	TypeTenderApproved = "tender.approved"
	TypeTenderDeclined = "tender.declined"
	TypeTenderUnknown  = "tender.unknown"
	TypeTenderReversed = "tender.reversed" // taken back, or put back into the customer's hand
)

// BasketTypes are the types of a Basket event.
var BasketTypes = [...]string{
	TypeBasketOpened, TypeBasketChanged, TypeBasketParked, TypeBasketRecalled, TypeBasketVoided,
	TypeLineAdded, TypeLineChanged, TypeLineVoided,
	TypeTenderPending, TypeTenderApproved, TypeTenderDeclined, TypeTenderUnknown, TypeTenderReversed,
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
	Tender pos.Tender
	Driver string // of the payment terminal that is asked; empty: none is
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
		dst = appendTrue(dst, `,"training":`, e.Training)
		dst = append(appendTime(append(dst, `,"opened":"`...), e.Opened), '"')
	case TypeBasketParked:
		dst = appendSome(dst, `,"name":`, e.Name)
	case TypeBasketChanged:
		dst = appendSome(dst, `,"customer":`, e.Customer)
		dst = appendSome(dst, `,"note":`, e.Note)
		dst = appendNumber(dst, `,"age":`, e.Age)
		dst = appendDiscounts(dst, e.Discounts)
	case TypeLineAdded, TypeLineChanged, TypeLineVoided:
		dst = appendLine(append(dst, `,"line":`...), e.N, &e.Line)
		dst = appendNumber(dst, `,"min_age":`, e.MinAge)
	case TypeTenderPending, TypeTenderApproved, TypeTenderDeclined, TypeTenderUnknown, TypeTenderReversed:
		dst = appendTender(append(dst, `,"tender":`...), &e.Tender)
		dst = appendSome(dst, `,"driver":`, e.Driver)
	}
	return append(dst, '}')
}

// ParseBasket reads the data of an event of a basket, whose type the caller knows.
// Errors: ErrMalformed.
func ParseBasket(kind string, data []byte) (Basket, error) {
	e := Basket{Type: kind}
	r := newReader(data)
	r.object([]string{"basket", "version", "state", "operator", "lines", "total", "due"}, func(name string) bool {
		switch name {
		case "basket":
			e.Basket = r.text()
		case "version":
			e.Version = r.text()
		case "state":
			e.State = r.text()
		case "operator":
			e.Operator = r.text()
		case "approved":
			e.Approved = r.text()
		case "reason":
			e.Reason = r.text()
		case "lines":
			e.Lines = r.count()
		case "total":
			e.Total = r.money()
		case "due":
			e.Due = r.money()
		default:
			return r.basketMember(&e, name)
		}
		return true
	})
	return finish(r, e)
}

func (r *reader) basketMember(e *Basket, name string) bool {
	switch name {
	case "name":
		e.Name = r.text()
	case "prices":
		e.Prices = parsed(r, pos.ParsePriceMode)
	case "training":
		e.Training = r.flag()
	case "opened":
		e.Opened = r.time()
	case "customer":
		e.Customer = r.text()
	case "note":
		e.Note = r.text()
	case "age":
		e.Age = r.count()
	case "discounts":
		e.Discounts = r.discounts()
	case "line":
		l, n := r.numberedLine()
		if n < 0 || n > MostLine {
			r.fail("line number %d", n)
			return true
		}
		e.Line, e.N = l, int(n)
	case "min_age":
		e.MinAge = r.count()
	case "tender":
		e.Tender = r.tender()
	case "driver":
		e.Driver = r.text()
	default:
		return false
	}
	return true
}
