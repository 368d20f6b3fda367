package event

import (
	"time"

	"posd/pos"
)

// OpenBasket is a basket as it stands: what its events so far have made of it. It is
// part of a journal's opening state and what a front end reads; it is no event.
type OpenBasket struct {
	Basket, Version string
	Parked          bool
	Name, Operator  string
	Prices          pos.PriceMode
	Training        bool
	Opened          time.Time
	Customer, Note  string
	Age             int
	Lines           []OpenLine
	Discounts       []pos.Discount // off the whole; their shares are not in the lines
	Tenders         []OpenTender
	Total, Due      pos.Money
	Last            int // highest line number given
}

// MostLine is the highest number of a line in a basket.
const MostLine = maxElements

// OpenLine is a line of a basket that counts.
type OpenLine struct {
	N int
	pos.Line
	MinAge int
}

// OpenTender is a payment of a basket that is not a sale yet.
type OpenTender struct {
	pos.Tender
	State  string // pending, approved, declined, unknown or reversed
	Driver string
	Reason string
}

// AppendData appends the basket as one JSON object; ParseOpenBasket reads it.
func (e *OpenBasket) AppendData(dst []byte) []byte {
	dst = appendText(dst, `{"basket":`, e.Basket)
	dst = appendText(dst, `,"version":`, e.Version)
	dst = appendTrue(dst, `,"parked":`, e.Parked)
	dst = appendSome(dst, `,"name":`, e.Name)
	dst = appendText(dst, `,"operator":`, e.Operator)
	dst = appendText(dst, `,"prices":`, e.Prices.String())
	dst = appendTrue(dst, `,"training":`, e.Training)
	dst = append(appendTime(append(dst, `,"opened":"`...), e.Opened), '"')
	dst = appendSome(dst, `,"customer":`, e.Customer)
	dst = appendSome(dst, `,"note":`, e.Note)
	dst = appendNumber(dst, `,"age":`, e.Age)
	dst = append(dst, `,"lines":[`...)
	for i := range e.Lines {
		if i > 0 {
			dst = append(dst, ',')
		}
		l := &e.Lines[i]
		dst = appendLine(append(dst, `{"line":`...), l.N, &l.Line)
		dst = appendNumber(dst, `,"min_age":`, l.MinAge)
		dst = append(dst, '}')
	}
	dst = appendDiscounts(append(dst, ']'), e.Discounts)
	dst = append(dst, `,"tenders":[`...)
	for i := range e.Tenders {
		if i > 0 {
			dst = append(dst, ',')
		}
		t := &e.Tenders[i]
		dst = appendTender(append(dst, `{"tender":`...), &t.Tender)
		dst = appendText(dst, `,"state":`, t.State)
		dst = appendSome(dst, `,"driver":`, t.Driver)
		dst = appendSome(dst, `,"reason":`, t.Reason)
		dst = append(dst, '}')
	}
	dst = appendInt(dst, `],"total":`, e.Total)
	dst = appendInt(dst, `,"due":`, e.Due)
	dst = appendInt(dst, `,"last":`, e.Last)
	return append(dst, '}')
}

// ParseOpenBasket reads what OpenBasket.AppendData writes. Errors: ErrMalformed.
func ParseOpenBasket(data []byte) (OpenBasket, error) {
	var e OpenBasket
	r := newReader(data)
	r.object([]string{"basket", "version", "operator", "prices", "opened", "lines", "tenders", "total", "due", "last"}, func(name string) bool {
		switch name {
		case "basket":
			e.Basket = r.text()
		case "version":
			e.Version = r.text()
		case "parked":
			e.Parked = r.flag()
		case "name":
			e.Name = r.text()
		case "operator":
			e.Operator = r.text()
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
		case "lines":
			r.array(func() { e.Lines = append(e.Lines, r.openLine()) })
		case "discounts":
			e.Discounts = r.discounts()
		case "tenders":
			r.array(func() { e.Tenders = append(e.Tenders, r.openTender()) })
		case "total":
			e.Total = r.money()
		case "due":
			e.Due = r.money()
		case "last":
			e.Last = r.count()
		default:
			return false
		}
		return true
	})
	return finish(r, e)
}

func (r *reader) openLine() (l OpenLine) {
	r.object([]string{"line"}, func(name string) bool {
		switch name {
		case "line":
			line, n := r.numberedLine()
			if n < 1 || n > MostLine {
				r.fail("line number %d", n)
			}
			l.Line, l.N = line, int(n)
		case "min_age":
			l.MinAge = r.count()
		default:
			return false
		}
		return true
	})
	return l
}

func (r *reader) openTender() (t OpenTender) {
	r.object([]string{"tender", "state"}, func(name string) bool {
		switch name {
		case "tender":
			t.Tender = r.tender()
		case "state":
			t.State = r.text()
		case "driver":
			t.Driver = r.text()
		case "reason":
			t.Reason = r.text()
		default:
			return false
		}
		return true
	})
	return t
}
