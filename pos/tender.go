package pos

import (
	"errors"
	"fmt"
)

// What CheckTenders refuses.
var (
	ErrTender    = errors.New("tender not acceptable") // kind, amount or reference of one tender
	ErrUnderpaid = errors.New("tenders are less than the total")
	ErrOverpaid  = errors.New("change can be given from cash only") // non-cash tenders exceed the total
)

// CheckTenders returns the change, so that Σ tenders − change = total. Each
// tender must be above zero; a card needs its slip's reference; change comes
// from cash only. A total of 0 needs no tender.
// Errors: ErrTender, ErrUnderpaid, ErrOverpaid, ErrNegative and ErrOverflow.
func CheckTenders(total Money, tenders []Tender) (change Money, err error) {
	if total < 0 {
		return 0, fmt.Errorf("total %d: %w", total, ErrNegative)
	}
	if total > MaxAmount {
		return 0, fmt.Errorf("total %d: %w", total, ErrOverflow)
	}
	var paid, cash Money
	for i := range tenders {
		t := &tenders[i]
		if err := t.check(); err != nil {
			return 0, fmt.Errorf("tender %d: %w", i+1, err)
		}
		paid += t.Amount // both ≤ MaxAmount before the check below
		if t.Kind == Cash {
			cash += t.Amount
		}
		if paid > MaxAmount {
			return 0, fmt.Errorf("tenders together: %w", ErrOverflow)
		}
	}
	switch change = paid - total; {
	case change < 0:
		return 0, fmt.Errorf("%w: %d paid, %d owed", ErrUnderpaid, paid, total)
	case change > cash:
		return 0, fmt.Errorf("%w: change would be %d, cash is %d", ErrOverpaid, change, cash)
	}
	return change, nil
}

func (t *Tender) check() error {
	switch {
	case t.Kind != Cash && t.Kind != Card:
		return fmt.Errorf("%w: kind %s is neither cash nor card", ErrTender, clip(string(t.Kind)))
	case t.Amount <= 0:
		return fmt.Errorf("%w: amount %d is not above zero", ErrTender, t.Amount)
	case t.Amount > MaxAmount:
		return fmt.Errorf("amount %d: %w", t.Amount, ErrOverflow)
	case t.Kind == Card && t.Reference == "":
		return fmt.Errorf("%w: a card payment needs the reference of its slip", ErrTender)
	case looksLikeCard(t.Reference):
		return fmt.Errorf("%w: the reference looks like a card number, which must never be stored; send the slip's number", ErrTender)
	}
	return nil
}

// looksLikeCard reports whether s is 13 to 19 digits, perhaps in groups, that
// pass the check of ISO/IEC 7812 (Luhn) and begin as payment cards do.
func looksLikeCard(s string) bool {
	n, sum, first := 0, 0, byte(0)
	for i := len(s) - 1; i >= 0; i-- {
		c := s[i]
		if c == ' ' || c == '-' {
			continue
		}
		if c < '0' || c > '9' {
			return false
		}
		d := int(c - '0')
		if n%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		first = c
		n++
	}
	return n >= 13 && n <= 19 && sum%10 == 0 && first >= '2' && first <= '6'
}
