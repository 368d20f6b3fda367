package pos

import (
	"fmt"
	"math/bits"
)

// ComputeOptions says how the sums of one sale are taken.
type ComputeOptions struct {
	Prices   PriceMode
	Rounding Rounding
}

// Totals are the sums of one sale.
type Totals struct {
	Taxes []TaxTotal // one per code and rate, in the order of their first line
	Total Money      // what the customer owes: Σ gross
}

// Compute fills in lines[i].Amount where the amount is not Fixed, and returns
// the sale's taxes and total. Errors name the line and are ErrNegative or
// ErrOverflow; the amounts of the lines are then unspecified.
func Compute(lines []Line, o ComputeOptions) (Totals, error) {
	var t Totals
	for i := range lines {
		l := &lines[i]
		if err := l.fill(); err != nil {
			return Totals{}, fmt.Errorf("line %d: %w", i+1, err)
		}
		if err := t.add(l, o); err != nil {
			return Totals{}, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	if err := t.finish(o); err != nil {
		return Totals{}, err
	}
	return t, nil
}

// fill checks the line's figures and sets its amount.
func (l *Line) fill() error {
	switch {
	case l.Qty < 0:
		return fmt.Errorf("quantity %s: %w", l.Qty, ErrNegative)
	case l.Qty > MaxQty:
		return fmt.Errorf("quantity %s: %w", l.Qty, ErrOverflow)
	case l.Rate < 0:
		return fmt.Errorf("tax rate %s: %w", l.Rate, ErrNegative)
	case l.Rate > MaxRate:
		return fmt.Errorf("tax rate %s: %w", l.Rate, ErrOverflow)
	}
	if !l.Fixed {
		if l.Price < 0 {
			return fmt.Errorf("price %d: %w", l.Price, ErrNegative)
		}
		if l.Price > MaxAmount {
			return fmt.Errorf("price %d: %w", l.Price, ErrOverflow)
		}
		amount, ok := mulDiv(int64(l.Price), int64(l.Qty), 1000)
		if !ok || Money(amount) > MaxAmount {
			return fmt.Errorf("quantity %s at %d: %w", l.Qty, l.Price, ErrOverflow)
		}
		l.Amount = Money(amount)
	}
	if l.Amount < 0 {
		return fmt.Errorf("amount %d: %w", l.Amount, ErrNegative)
	}
	if l.Amount > MaxAmount {
		return fmt.Errorf("amount %d: %w", l.Amount, ErrOverflow)
	}
	return nil
}

// add puts a line into the row of its code and rate. With rounding per document
// the row's base is collected and taxed once, in finish.
func (t *Totals) add(l *Line, o ComputeOptions) error {
	row := t.row(l.Tax, l.Rate)
	if o.Rounding == PerLine {
		net, tax, gross := split(l.Amount, l.Rate, o.Prices)
		row.Net, row.Tax, row.Gross = row.Net+net, row.Tax+tax, row.Gross+gross
	} else if o.Prices == Inclusive {
		row.Gross += l.Amount
	} else {
		row.Net += l.Amount
	}
	if row.Net > MaxAmount || row.Gross > MaxAmount {
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
			base := row.Gross
			if o.Prices == Exclusive {
				base = row.Net
			}
			row.Net, row.Tax, row.Gross = split(base, row.Rate, o.Prices)
		}
		t.Total += row.Gross
		if t.Total > MaxAmount {
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

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}
