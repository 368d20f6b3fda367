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
	Rounding        string // of the tax, as a pos.Rounding says it; empty, of a former release: the one in force
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
	_ [0]func() // not compared: see docs/maintain.md on the size

	pos.Tender
	State   string // pending, approved, declined, unknown, reversing or reversed
	Driver  string
	Memory  string    // as in Basket
	Offline pos.Money // likewise
	Charged pos.Money // likewise
	// OfflineDate is the business date whose limit it counts for, approved offline.
	OfflineDate string
	// ForwardedBefore is what its payment terminal had forwarded, as far as was known,
	// when it was asked for this, if that may be approved offline.
	ForwardedBefore pos.Money
	Reason          string
	Kept            bool // approved still, or again: the payment terminal did not take it back
}

// AppendData appends the basket as one JSON object; ParseOpenBasket reads it.
func (e *OpenBasket) AppendData(dst []byte) []byte {
	dst = appendText(dst, `{"basket":`, e.Basket)
	dst = appendText(dst, `,"version":`, e.Version)
	dst = appendTrue(dst, `,"parked":`, e.Parked)
	dst = appendSome(dst, `,"name":`, e.Name)
	dst = appendText(dst, `,"operator":`, e.Operator)
	dst = appendText(dst, `,"prices":`, e.Prices.String())
	dst = appendSome(dst, `,"rounding":`, e.Rounding)
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
		dst = e.Tenders[i].AppendData(dst)
	}
	dst = appendInt(dst, `],"total":`, e.Total)
	dst = appendInt(dst, `,"due":`, e.Due)
	dst = appendInt(dst, `,"last":`, e.Last)
	return append(dst, '}')
}

// AppendData appends the tender as one JSON object.
func (t *OpenTender) AppendData(dst []byte) []byte {
	dst = appendTender(append(dst, `{"tender":`...), &t.Tender)
	dst = appendText(dst, `,"state":`, t.State)
	dst = appendSome(dst, `,"driver":`, t.Driver)
	dst = appendSome(dst, `,"memory":`, t.Memory)
	dst = appendNumber(dst, `,"offline_most":`, t.Offline)
	dst = appendNumber(dst, `,"charged":`, t.Charged)
	dst = appendSome(dst, `,"offline_date":`, t.OfflineDate)
	dst = appendNumber(dst, `,"forwarded_before":`, t.ForwardedBefore)
	dst = appendSome(dst, `,"reason":`, t.Reason)
	return append(appendTrue(dst, `,"kept":`, t.Kept), '}')
}

// ParseOpenBasket reads what OpenBasket.AppendData writes. Errors: ErrMalformed.
func ParseOpenBasket(data []byte) (OpenBasket, error) {
	var e OpenBasket
	r := newReader(data)
	r.object(members{
		{"basket", &e.Basket, must},
		{"version", &e.Version, must},
		{"parked", &e.Parked, may},
		{"name", &e.Name, may},
		{"operator", &e.Operator, must},
		{"prices", &e.Prices, must},
		{"rounding", &e.Rounding, may},
		{"training", &e.Training, may},
		{"opened", &e.Opened, must},
		{"customer", &e.Customer, may},
		{"note", &e.Note, may},
		{"age", &e.Age, may},
		{"lines", func() { r.array(func() { e.Lines = append(e.Lines, r.openLine()) }) }, must},
		{"discounts", &e.Discounts, may},
		{"tenders", func() { r.array(func() { e.Tenders = append(e.Tenders, r.openTender()) }) }, must},
		{"total", &e.Total, must},
		{"due", &e.Due, must},
		{"last", &e.Last, must},
	})
	return finish(r, e)
}

func (r *reader) openLine() (l OpenLine) {
	r.object(members{
		{"line", func() { l.Line, l.N = r.lineFrom(1) }, must},
		{"min_age", &l.MinAge, may},
	})
	return l
}

func (r *reader) openTender() (t OpenTender) {
	r.object(members{
		{"tender", &t.Tender, must},
		{"state", &t.State, must},
		{"driver", &t.Driver, may},
		{"memory", &t.Memory, may},
		{"offline_most", &t.Offline, may},
		{"charged", &t.Charged, may},
		{"offline_date", &t.OfflineDate, may},
		{"forwarded_before", &t.ForwardedBefore, may},
		{"reason", &t.Reason, may},
		{"kept", &t.Kept, may},
	})
	return t
}
