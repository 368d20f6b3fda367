package register

import (
	"context"
	"errors"
	"math"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/till"
)

// Goods are what comes back: so much of a line of a sale, which is named by its id or
// by its receipt.
type Goods struct {
	Sale, Receipt string
	Line          int
	Qty           pos.Qty // as a positive number
}

// AddReturn puts goods of a sale of this till into a basket. Errors: ErrNoSale, or as Do.
func (r *Register) AddReturn(ctx context.Context, c Call, o till.Step, g Goods) (Outcome, error) {
	for {
		sold, err := r.Sold(ctx, g.Sale, g.Receipt)
		if err != nil {
			return r.repeated(ctx, c, err)
		}
		out, err := r.Do(ctx, c, func(t *Turn) (Appender, error) {
			if !sold.Current(t) {
				return nil, errStale
			}
			return Made(t.State.AddReturn(o, t.Rules, &sold.Sale, g.Line, g.Qty, sold.Back[g.Line]))
		})
		if !errors.Is(err, errStale) {
			return out, err
		}
	}
}

// Complete makes a basket a sale. What it gives back must still be to be given back.
func (r *Register) Complete(ctx context.Context, c Call, o till.Step) (Outcome, error) {
	return r.returning(ctx, c, o.Basket, false, func(t *Turn) (Appender, error) {
		return Made(t.State.Complete(o, t.Rules))
	})
}

// Pay is Do for a tender of a basket: no money is moved for goods that cannot come back
// any more, or that another basket gives back too. Errors: ErrNoSale, or as Do.
func (r *Register) Pay(ctx context.Context, c Call, basket string, d Decision) (Outcome, error) {
	return r.returning(ctx, c, basket, true, d)
}

func (r *Register) returning(ctx context.Context, c Call, basket string, paying bool, d Decision) (Outcome, error) {
	for {
		left, until, err := r.left(ctx, basket)
		if err != nil {
			return r.repeated(ctx, c, err)
		}
		out, err := r.Do(ctx, c, func(t *Turn) (Appender, error) {
			e, err := d(t)
			if err == nil {
				err = stillReturnable(t, basket, left, until, paying)
			}
			if step, ok := e.(*event.Basket); ok && err == nil && paying && step.Tender.Amount < 0 {
				t.Other = t.State.Beyond(&step.Tender, basket, t.Rules.Coin, left)
			}
			if err != nil {
				return nil, err
			}
			return e, nil
		})
		if !errors.Is(err, errStale) {
			return out, err
		}
	}
}

// left is what can still come back of the lines that a basket gives something back of, and
// what their sales took in ([till.By]), as of record until. One sale is held at a time: there may be as many as lines.
func (r *Register) left(ctx context.Context, basket string) (left map[till.Of]till.Back, until uint64, err error) {
	lines := map[string][]int{}
	r.Look(func(s *till.State) {
		if b := s.Find(basket); b != nil {
			for i := range b.Lines {
				if of := b.Lines[i].Return; of != nil && of.Sale != "" {
					lines[of.Sale] = append(lines[of.Sale], of.Line)
				}
			}
		}
	})
	left, until = make(map[till.Of]till.Back, len(lines)), math.MaxUint64
	for id, of := range lines {
		sold, err := r.Sold(ctx, id, "")
		if err != nil {
			return nil, 0, err
		}
		until = min(until, sold.Until)
		for _, n := range of {
			left[till.Of{Sale: id, Line: n}] = till.Left(&sold.Sale, n, sold.Back[n])
		}
		for _, kind := range pos.TenderKinds {
			left[till.By(id, kind)] = till.Back{Amount: till.TookIn(&sold.Sale, kind, sold.Back)}
		}
	}
	return left, until, nil
}

func stillReturnable(t *Turn, basket string, left map[till.Of]till.Back, until uint64, paying bool) error {
	b := t.State.Find(basket)
	if b == nil {
		return nil
	}
	known, err := t.State.StillReturnable(b, left, paying)
	if !known || len(left) > 0 && !current(t, until) {
		return errStale
	}
	return err
}

// VoidSale takes back a whole sale of this till. Errors: ErrNoSale, or as Do.
func (r *Register) VoidSale(ctx context.Context, c Call, o till.Step, sale string, tenders []pos.Tender) (Outcome, error) {
	for {
		sold, err := r.Sold(ctx, sale, "")
		if err != nil {
			return r.repeated(ctx, c, err)
		}
		out, err := r.Do(ctx, c, func(t *Turn) (Appender, error) {
			if !sold.Current(t) {
				return nil, errStale
			}
			e, err := till.VoidSale(&sold.Sale, sold.Back, tenders, t.Rules, o)
			if b := t.State.ReturnedIn(sold.Sale.Sale); err == nil && b != "" {
				err = &till.RefusalError{Code: till.CodeState, Cause: till.CauseInBasket, Basket: b, Detail: "basket " + b + " gives goods of this sale back; complete or void it first"}
			}
			for _, kind := range pos.TenderKinds {
				if err == nil {
					t.Other += max(0, -till.TookIn(e, kind, nil)-till.TookIn(&sold.Sale, kind, nil))
				}
			}
			return Made(e, err)
		})
		if !errors.Is(err, errStale) {
			return out, err
		}
	}
}

// repeated answers a call that was answered before, although the sale that it names is
// gone by now; else why.
func (r *Register) repeated(ctx context.Context, c Call, why error) (Outcome, error) {
	return r.Do(ctx, c, func(*Turn) (Appender, error) { return nil, why })
}

// Made keeps a nil event of a type from becoming an Appender that is not nil.
func Made[T any, P interface {
	*T
	Appender
}](e P, err error) (Appender, error) {
	if err != nil {
		return nil, err
	}
	return e, nil
}
