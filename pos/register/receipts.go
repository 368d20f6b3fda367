package register

import (
	"context"
	"errors"

	"posd/pos/event"
	"posd/pos/till"
)

// GiveReceipt journals that the receipt of a sale of this till is given out: the first
// time as receipt.printed, then as receipt.copied with the copy's number. A sale whose
// event says Print counts as given out, unless lost says, within the decision, that it
// surely never reached the paper; what lost has taken for that, back takes again where
// nothing came of it. In training no receipt is a copy. Errors: ErrNoSale, or
// as Do.
func (r *Register) GiveReceipt(ctx context.Context, c Call, o till.Step, sale string, lost func(sale string) bool, back func(sale string)) (Outcome, error) {
	for {
		sold, err := r.sold(ctx, sale, "")
		if err != nil {
			return r.repeated(ctx, c, err)
		}
		out, err := r.Do(ctx, c, func(t *Turn) (Appender, error) {
			if r.given > sold.Until {
				return nil, errStale
			}
			e := &event.Operator{Type: event.TypeReceiptPrinted, Operator: o.Operator, Approved: o.Approved, Reason: o.Reason, Sale: sold.Sale.Sale}
			given := (sold.Sale.Print || sold.Given > 0) && !planted("second-receipt")
			switch {
			case !given || sold.Training:
			case lost(sold.Sale.Sale):
				t.undo = func() { back(sold.Sale.Sale) }
			default:
				e.Type, e.Copy = event.TypeReceiptCopied, sold.Copies+1
			}
			if e.Copy > 1 && planted("copies-forgotten") {
				e.Copy = 1
			}
			return e, nil
		})
		if !errors.Is(err, errStale) {
			return out, err
		}
	}
}

// gave remembers that there is a receipt given out which the index may not know yet.
func (r *Register) gave(e *event.Operator, seq uint64) {
	if e.Type != event.TypeReceiptPrinted && e.Type != event.TypeReceiptCopied {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.given = seq
}
