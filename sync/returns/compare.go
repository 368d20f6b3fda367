package returns

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"posd/pos"
)

// plus adds, and stops at the ends of what fits.
func plus(a, b int64) int64 {
	switch c := a + b; {
	case a > 0 && b > 0 && c < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && c >= 0:
		return math.MinInt64
	default:
		return c
	}
}

// gross is the amount with the tax beside it, a part of a minor unit rounded up or down.
func (s *sum) gross(up bool) int64 {
	if s.Net <= 0 || s.Amount <= 0 {
		return int64(s.Amount)
	}
	const million = 1_000_000
	hi, lo := bits.Mul64(uint64(s.Amount), uint64(million+s.Net))
	if hi >= million {
		return math.MaxInt64
	}
	q, rest := bits.Div64(hi, lo, million)
	if up && rest > 0 {
		q++
	}
	return int64(min(q, math.MaxInt64))
}

// place is what is compared: a line, an item, or the whole receipt.
type place struct {
	sale     string
	line     int
	item     string
	currency string
}

// row is both sides of a place.
type row struct {
	place
	description string
	exponent    int
	sold, back  int64 // quantities
	paid, given int64 // gross
	named       bool  // something of it was sold
}

// places are those that a sum counts in.
func (s *sum) places() (all []place) {
	all = append(all, place{currency: s.Currency})
	if s.Item != "" {
		all = append(all, place{item: s.Item, currency: s.Currency})
	}
	if s.Sale != "" && s.Line > 0 {
		all = append(all, place{sale: s.Sale, line: s.Line, currency: s.Currency})
	}
	return all
}

// rowsOf are the places of which something came back, with what was sold there.
func rowsOf(sold, back []sum) []*row {
	at := make(map[place]*row)
	var rows []*row
	for i := range back {
		s := &back[i]
		for _, p := range s.places() {
			r := at[p]
			if r == nil {
				r = &row{place: p, exponent: s.Exponent}
				if p != (place{currency: s.Currency}) {
					r.description = s.Description
				}
				at[p], rows = r, append(rows, r)
			}
			r.back, r.given = plus(r.back, int64(s.Qty)), plus(r.given, s.gross(false))
		}
	}
	for i := range sold {
		s := &sold[i]
		for _, p := range s.places() {
			if r := at[p]; r != nil {
				r.sold, r.paid, r.named = plus(r.sold, int64(s.Qty)), plus(r.paid, s.gross(true)), true
			}
		}
	}
	return rows
}

// over says why a row is too much, or "".
func (r *row) over(open bool) string {
	name := "the whole receipt"
	switch {
	case r.line > 0:
		name = fmt.Sprintf("line %d", r.line)
	case r.item != "":
		name = r.item
	}
	if r.description != "" {
		name += " " + r.description
	}
	c := pos.Currency{Code: r.currency, Exponent: r.exponent}
	switch {
	case r.item != "" && !r.named && open:
		return "" // it may be one of the lines without a code
	case (r.item != "" || r.line > 0) && !r.named:
		return name + " is not on it"
	case (r.item != "" || r.line > 0) && r.back > r.sold:
		return fmt.Sprintf("%s: %s came back, %s were sold", name, pos.Qty(r.back), pos.Qty(r.sold))
	case r.given > r.paid:
		return fmt.Sprintf("%s: %s %s were given back, %s paid", name, pos.Money(r.given).Format(c), r.currency, pos.Money(r.paid).Format(c))
	}
	return ""
}

// compare sets the state from what was sold on the receipt.
func (a *account) compare(sold []sum) {
	open := slices.ContainsFunc(sold, func(s sum) bool { return s.Item == "" })
	a.State, a.Why = Fine, ""
	a.show(rowsOf(sold, a.Sums), func(r *row) string { return r.over(open) })
	if len(a.Compared) > 0 && a.Compared[0].Over {
		a.State = Over
	}
}

// show keeps rows for the reader, those that are too much first. Of lines only those.
func (a *account) show(rows []*row, over func(*row) string) {
	a.Compared = []Compared{}
	for _, r := range rows {
		why := over(r)
		if why == "" && r.line > 0 {
			continue
		}
		c := Compared{Sale: r.sale, Line: r.line, Item: r.item, Description: r.description, Currency: r.currency,
			Paid: pos.Money(r.paid), Given: pos.Money(r.given), Over: why != ""}
		if r.line > 0 || r.item != "" {
			c.Sold, c.Back = pos.Qty(r.sold).String(), pos.Qty(r.back).String()
		}
		a.Compared = append(a.Compared, c)
	}
	slices.SortStableFunc(a.Compared, func(x, y Compared) int {
		return cmp.Or(boolFirst(x.Over, y.Over), boolFirst(x.Line > 0, y.Line > 0), boolFirst(x.Item != "", y.Item != ""),
			cmp.Compare(x.Line, y.Line), cmp.Compare(x.Item, y.Item))
	})
	for _, r := range rows {
		if c := a.Compared; len(c) > 0 && c[0].Over && (place{c[0].Sale, c[0].Line, c[0].Item, c[0].Currency}) == r.place {
			a.Why = over(r)
		}
	}
	a.Compared = a.Compared[:min(len(a.Compared), maxCompared)]
}

func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
