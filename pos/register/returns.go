package register

import (
	"context"
	"errors"

	"posd/pos"
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
				return nil, ErrStale
			}
			return Made(t.State.AddReturn(o, t.Rules, &sold.Sale, g.Line, g.Qty, sold.Back[g.Line]))
		})
		if !errors.Is(err, ErrStale) {
			return out, err
		}
	}
}

// Complete makes a basket a sale. What it gives back must still be to be given back.
func (r *Register) Complete(ctx context.Context, c Call, o till.Step) (Outcome, error) {
	for {
		var names []string
		r.Look(func(s *till.State) {
			if b := s.Find(o.Basket); b != nil {
				names = b.Returns()
			}
		})
		sold := make(map[string]*Sold, len(names))
		for _, id := range names {
			s, err := r.Sold(ctx, id, "")
			if err != nil {
				return r.repeated(ctx, c, err)
			}
			sold[id] = &s
		}
		out, err := r.Do(ctx, c, func(t *Turn) (Appender, error) { return complete(t, o, sold) })
		if !errors.Is(err, ErrStale) {
			return out, err
		}
	}
}

func complete(t *Turn, o till.Step, sold map[string]*Sold) (Appender, error) {
	e, err := t.State.Complete(o, t.Rules)
	if err != nil {
		return nil, err
	}
	b := t.State.Find(o.Basket)
	for _, id := range b.Returns() {
		s := sold[id]
		if s == nil || !s.Current(t) {
			return nil, ErrStale
		}
		if err := b.StillReturnable(&s.Sale, s.Back); err != nil {
			return nil, err
		}
	}
	return e, nil
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
				return nil, ErrStale
			}
			return Made(till.VoidSale(&sold.Sale, sold.Back, tenders, t.Rules, o))
		})
		if !errors.Is(err, ErrStale) {
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
