package lab

import "sort"

// The model's own arithmetic: plain int64, for figures that are small enough.

// half is num/den rounded half away from zero.
func half(num, den int64) int64 {
	if num < 0 {
		return -half(-num, den)
	}
	return (2*num + den) / (2 * den)
}

// off is a discount: percent in parts per million of what is left, or an amount.
type off struct{ percent, amount int64 }

type line struct {
	n          int
	qty, price int64 // thousandths; of the whole line where fixed
	fixed      bool
	list       int64
	changed    bool
	offs       []off
	tax        string
	back       *backOf
	note       string
	item       string // of the catalogue
	amount     int64  // without the sale's discounts
}

// backOf says what a line gives back: line n of a sale, or goods without a sale.
type backOf struct {
	sale *sale
	n    int
	tax  int64 // of an exclusive sale, above zero
}

// given is the tax that an exclusive line has of its sale.
func (l *line) given() (tax int64, ok bool) {
	if l.back == nil || l.back.sale == nil {
		return 0, false
	}
	return -l.back.tax, true
}

type taxRow struct {
	Code            string
	Rate            string
	Net, Tax, Gross int64
}

type sums struct {
	amounts []int64 // of the lines, the sale's discounts off
	offs    []int64 // what each discount of the sale took off
	lineOff int64   // what the lines' own discounts took off
	taxes   []taxRow
	total   int64
}

// own takes a line's own discounts off; false if they are more than there is.
func (l *line) own() (amount, taken int64, ok bool) {
	amount = l.price
	if !l.fixed {
		amount = half(l.price*l.qty, 1000)
	}
	for _, d := range l.offs {
		take := d.amount
		if d.percent > 0 {
			take = half(amount*d.percent, 1_000_000)
		}
		if take > amount || l.back != nil {
			return 0, 0, false
		}
		amount, taken = amount-take, taken+take
	}
	return amount, taken, true
}

// sumsOf are a sale's; false if a discount is more than it is taken off.
func (m *shop) sumsOf(lines []line, offs []off, exclusive bool) (s sums, ok bool) {
	for i := range lines {
		amount, taken, ok := lines[i].own()
		if !ok {
			return s, false
		}
		s.amounts = append(s.amounts, amount)
		s.lineOff += taken
	}
	for _, d := range offs {
		take, ok := share(lines, s.amounts, d)
		if !ok {
			return s, false
		}
		s.offs = append(s.offs, take)
	}
	m.rows(&s, lines, exclusive)
	return s, true
}

// share takes d off the lines that are sold: each its part rounded down, and the cents
// that are left over to the largest remainders.
func share(lines []line, amounts []int64, d off) (take int64, ok bool) {
	var base int64
	for i := range lines {
		if lines[i].back == nil {
			base += amounts[i]
		}
	}
	if take = d.amount; d.percent > 0 {
		take = half(base*d.percent, 1_000_000)
	}
	if take > base {
		return 0, false
	}
	if take == 0 {
		return 0, true
	}
	var order []int
	rest, left := make([]int64, len(lines)), take
	for i := range lines {
		if lines[i].back == nil && amounts[i] > 0 {
			part := amounts[i] * take / base
			rest[i] = amounts[i]*take - part*base
			amounts[i] -= part
			left -= part
			order = append(order, i)
		}
	}
	sort.SliceStable(order, func(a, b int) bool { return rest[order[a]] > rest[order[b]] })
	for _, i := range order[:left] {
		amounts[i]--
	}
	return take, true
}

// rows fills in the taxes, in the order of their first line.
func (m *shop) rows(s *sums, lines []line, exclusive bool) {
	base := map[string]int64{}
	at := map[string]int{}
	for i, l := range lines {
		if _, known := at[l.tax]; !known {
			at[l.tax] = len(s.taxes)
			s.taxes = append(s.taxes, taxRow{Code: l.tax, Rate: rates[l.tax].text})
		}
		row := &s.taxes[at[l.tax]]
		if tax, ok := l.given(); ok && exclusive {
			row.Net, row.Tax, row.Gross = row.Net+s.amounts[i], row.Tax+tax, row.Gross+s.amounts[i]+tax
			continue
		}
		if m.perLine {
			row.add(s.amounts[i], rates[l.tax].ppm, exclusive)
		}
		base[l.tax] += s.amounts[i]
	}
	for i := range s.taxes {
		row := &s.taxes[i]
		if !m.perLine {
			row.add(base[row.Code], rates[row.Code].ppm, exclusive)
		}
		s.total += row.Gross
	}
}

func (r *taxRow) add(amount, rate int64, exclusive bool) {
	if exclusive {
		tax := half(amount*rate, 1_000_000)
		r.Net, r.Tax, r.Gross = r.Net+amount, r.Tax+tax, r.Gross+amount+tax
		return
	}
	tax := half(amount*rate, 1_000_000+rate)
	r.Net, r.Tax, r.Gross = r.Net+amount-tax, r.Tax+tax, r.Gross+amount
}

var rates = map[string]struct {
	ppm  int64
	text string
}{"A": {190000, "19"}, "B": {70000, "7"}, "E": {0, "0"}, "S": {190000, "19"}, "R": {70000, "7"}}

type tender struct {
	id, kind, state, ref string
	amount               int64
}

// settle pays a total. Code is why it is not paid.
func settle(total int64, tenders []tender, coin int64) (change, rounding int64, code string) {
	var paid, cash int64
	byCash := false
	for _, t := range tenders {
		switch {
		case t.amount == 0 && t.kind == "cash" && coin > 1:
		case total >= 0 && t.amount <= 0, total < 0 && t.amount >= 0:
			return 0, 0, "tender-invalid"
		}
		paid += t.amount
		if t.kind == "cash" {
			cash, byCash = cash+t.amount, true
		}
	}
	if byCash {
		rounding = toCoin(total-(paid-cash), coin)
	}
	change = paid - total - rounding
	switch {
	case total >= 0 && change < 0, total < 0 && change > 0:
		return 0, 0, "underpaid"
	case total >= 0 && change > cash, total < 0 && change < 0:
		return 0, 0, "change-without-cash"
	}
	return change, rounding, ""
}

// toCoin is what has to be added to make an amount one of whole coins.
func toCoin(amount, coin int64) int64 {
	if coin <= 1 {
		return 0
	}
	return half(amount, coin)*coin - amount
}
