package pos

import (
	"fmt"
	"math/bits"
	"sort"
)

// ComputeOptions says how the sums of one sale are taken.
type ComputeOptions struct {
	Prices    PriceMode
	Rounding  Rounding
	Discounts []Discount // off the whole sale, in this order; their amounts are filled in
}

// Totals are the sums of one sale.
type Totals struct {
	Taxes []TaxTotal // one per code and rate, in the order of their first line
	Total Money      // what the customer owes: Σ gross; below zero is owed to the customer
}

// Compute fills in the lines' amounts and what each discount takes off, and
// returns the sale's taxes and total. Discounts of the sale are shared among the
// lines that are sold, by largest remainder. Errors name the line and are
// ErrNegative, ErrOverflow or ErrDiscount; the amounts are then unspecified.
func Compute(lines []Line, o ComputeOptions) (Totals, error) {
	var t Totals
	for i := range lines {
		if err := lines[i].fill(); err != nil {
			return Totals{}, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	for i := range o.Discounts {
		if err := share(lines, &o.Discounts[i], i+1); err != nil {
			return Totals{}, fmt.Errorf("discount %d: %w", i+1, err)
		}
	}
	for i := range lines {
		if err := t.add(&lines[i], o); err != nil {
			return Totals{}, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	if err := t.finish(o); err != nil {
		return Totals{}, err
	}
	return t, nil
}

// fill checks the line's figures and sets its amount, without the sale's discounts.
func (l *Line) fill() error {
	back := l.Return != nil
	switch {
	case l.Qty < 0 && !back:
		return fmt.Errorf("quantity %s: %w", l.Qty, ErrNegative)
	case l.Qty > 0 && back:
		return fmt.Errorf("quantity %s of goods that come back: %w", l.Qty, ErrPositive)
	case l.Qty > MaxQty || l.Qty < -MaxQty:
		return fmt.Errorf("quantity %s: %w", l.Qty, ErrOverflow)
	case l.Rate < 0:
		return fmt.Errorf("tax rate %s: %w", l.Rate, ErrNegative)
	case l.Rate > MaxRate:
		return fmt.Errorf("tax rate %s: %w", l.Rate, ErrOverflow)
	case l.Fixed && back && l.Price > 0:
		return fmt.Errorf("amount %d of goods that come back: %w", l.Price, ErrPositive)
	case l.Price < 0 && !(l.Fixed && back):
		what := "price"
		if l.Fixed {
			what = "amount"
		}
		return fmt.Errorf("%s %d: %w", what, l.Price, ErrNegative)
	case tooLarge(l.Price):
		return fmt.Errorf("price %d: %w", l.Price, ErrOverflow)
	}
	l.Amount = l.Price
	if !l.Fixed {
		amount, ok := mulDiv(int64(l.Price), int64(l.Qty), 1000)
		if !ok || tooLarge(Money(amount)) {
			return fmt.Errorf("quantity %s at %d: %w", l.Qty, l.Price, ErrOverflow)
		}
		l.Amount = Money(amount)
	}
	return l.discount()
}

func tooLarge(m Money) bool { return m > MaxAmount || m < -MaxAmount }

// discount takes the line's own discounts off, and drops shares of the sale's from
// an earlier computation.
func (l *Line) discount() error {
	own := l.Discounts[:0]
	for _, d := range l.Discounts {
		if d.Of != 0 {
			continue
		}
		if l.Return != nil {
			return fmt.Errorf("goods that come back: %w", ErrDiscount)
		}
		if err := d.take(l.Amount); err != nil {
			return err
		}
		l.Amount -= d.Amount
		own = append(own, d)
	}
	if l.Discounts = own; len(own) == 0 {
		l.Discounts = nil
	}
	return nil
}

// take sets what the discount takes off an amount.
func (d *Discount) take(from Money) error {
	if d.Percent < 0 || d.Percent > hundred {
		return fmt.Errorf("%w: %s percent", ErrDiscount, d.Percent)
	}
	if d.Percent > 0 {
		off, _ := mulDiv(int64(from), int64(d.Percent), hundred) // not more than from
		d.Amount = Money(off)
	}
	if d.Amount < 0 || d.Amount > from {
		return fmt.Errorf("%w: %d off %d", ErrDiscount, d.Amount, from)
	}
	return nil
}

const hundred = 1_000_000 // percent, as a Rate

// share takes the sale's discount d, number n, off the lines that are sold, each by
// its part of their sum. What rounding down leaves over goes to the lines with the
// largest remainders, the first ones among equals.
func share(lines []Line, d *Discount, n int) error {
	var base Money
	for i := range lines {
		if lines[i].Return == nil {
			base += lines[i].Amount // at most maxLines of MaxAmount in practice; checked by what follows
			if base > MaxAmount {
				return ErrOverflow
			}
		}
	}
	if err := d.take(base); err != nil {
		return err
	}
	d.Of = 0
	if d.Amount == 0 {
		return nil
	}
	var rests []rest
	left := d.Amount
	for i := range lines {
		l := &lines[i]
		if l.Return != nil || l.Amount == 0 {
			continue
		}
		hi, lo := bits.Mul64(uint64(l.Amount), uint64(d.Amount))
		q, r := bits.Div64(hi, lo, uint64(base)) // d.Amount ≤ base: it fits
		l.Discounts = append(l.Discounts, Discount{Amount: Money(q), Of: n})
		l.Amount -= Money(q)
		left -= Money(q)
		rests = append(rests, rest{i, r})
	}
	sort.Sort(byRest(rests))
	for i := range rests[:left] { // fewer than lines with a remainder
		l := &lines[rests[i].line]
		l.Discounts[len(l.Discounts)-1].Amount++
		l.Amount--
	}
	return nil
}

// rest is what a line's share lacks of a whole unit.
type rest struct {
	line int
	left uint64
}

// byRest has the largest first, and of equals the first line.
type byRest []rest

func (r byRest) Len() int      { return len(r) }
func (r byRest) Swap(i, j int) { r[i], r[j] = r[j], r[i] }
func (r byRest) Less(i, j int) bool {
	return r[i].left > r[j].left || r[i].left == r[j].left && r[i].line < r[j].line
}

// add puts a line into the row of its code and rate. With rounding per document
// the row's base is collected and taxed once, in finish.
func (t *Totals) add(l *Line, o ComputeOptions) error {
	row := t.row(l.Tax, l.Rate)
	given := l.Return != nil && l.Return.Taxed && o.Prices == Exclusive
	if o.Rounding == PerLine {
		net, tax, gross := split(l.Amount, l.Rate, o.Prices)
		if given {
			tax, gross = l.Return.Tax, net+l.Return.Tax
		}
		row.Net, row.Tax, row.Gross = row.Net+net, row.Tax+tax, row.Gross+gross
	} else if given { // no part of the base; finish puts both together
		row.Gross, row.Tax = row.Gross+l.Amount, row.Tax+l.Return.Tax
	} else if o.Prices == Inclusive {
		row.Gross += l.Amount
	} else {
		row.Net += l.Amount
	}
	if tooLarge(row.Net) || tooLarge(row.Gross) {
		return fmt.Errorf("sum of tax code %s: %w", l.Tax, ErrOverflow)
	}
	return nil
}

func (t *Totals) row(code string, rate Rate) *TaxTotal {
	for i := range t.Taxes {
		if row := &t.Taxes[i]; row.Code == code && row.Rate == rate {
			return row
		}
	}
	t.Taxes = append(t.Taxes, TaxTotal{Code: code, Rate: rate})
	return &t.Taxes[len(t.Taxes)-1]
}

func (t *Totals) finish(o ComputeOptions) error {
	for i := range t.Taxes {
		row := &t.Taxes[i]
		if o.Rounding == PerDocument {
			base, back := row.Gross, TaxTotal{}
			if o.Prices == Exclusive {
				base, back = row.Net, *row
			}
			net, tax, gross := split(base, row.Rate, o.Prices)
			row.Net, row.Tax, row.Gross = net+back.Gross, tax+back.Tax, gross+back.Gross+back.Tax
		}
		t.Total += row.Gross
		if tooLarge(t.Total) {
			return fmt.Errorf("total: %w", ErrOverflow)
		}
	}
	return nil
}

// split takes the tax out of an inclusive amount, or adds it to an exclusive
// one. Amounts ≤ MaxAmount and rates ≤ MaxRate cannot overflow here.
func split(amount Money, rate Rate, mode PriceMode) (net, tax, gross Money) {
	const million = 1_000_000
	if mode == Inclusive {
		t, _ := mulDiv(int64(amount), int64(rate), million+uint64(rate))
		return amount - Money(t), Money(t), amount
	}
	t, _ := mulDiv(int64(amount), int64(rate), million)
	return amount, Money(t), amount + Money(t)
}

// mulDiv returns a·b/c rounded half away from zero, exact in 128 bits between;
// ok is false if the result does not fit.
func mulDiv(a, b int64, c uint64) (result int64, ok bool) {
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	if hi >= c {
		return 0, false
	}
	q, r := bits.Div64(hi, lo, c)
	const most = 1<<63 - 1
	if q > most {
		return 0, false
	}
	if r >= c-r {
		q++
	}
	if q > most {
		return 0, false
	}
	if (a < 0) != (b < 0) {
		return -int64(q), true
	}
	return int64(q), true
}

// Part is amount × n / of, rounded half away from zero: what n of so many cost.
// 0 ≤ n ≤ of or n ≤ 1000, or n is a rate up to MaxRate of a million; of > 0, amount within MaxAmount.
func Part(amount Money, n, of Qty) Money {
	m, _ := mulDiv(int64(amount), int64(n), uint64(of))
	return Money(m)
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}
