package pos

import (
	"errors"
	"fmt"
	"slices"
)

// What CheckTenders refuses.
var (
	ErrTender    = errors.New("tender not acceptable") // kind, amount or reference of one tender
	ErrUnderpaid = errors.New("tenders are less than the total")
	ErrOverpaid  = errors.New("change can be given from cash only") // non-cash tenders exceed the total
)

// Settlement is how tenders meet a total: Σ tenders − Change = total + Rounding.
type Settlement struct {
	Change   Money // given back in cash
	Rounding Money // of what is paid in cash, to the nearest coin
}

// CheckTenders settles a total. Each tender must be above zero, for a total below
// zero below; all but cash need a reference; change comes from cash only. A total of
// 0 needs no tender. Coin is the smallest one, in minor units: what is left to pay in
// cash, or to be paid out, is rounded to it, halves away from zero; 0 or 1 rounds
// nothing.
// Errors: ErrTender, ErrUnderpaid, ErrOverpaid and ErrOverflow.
func CheckTenders(total Money, tenders []Tender, coin Money) (s Settlement, err error) {
	if tooLarge(total) {
		return s, fmt.Errorf("total %d: %w", total, ErrOverflow)
	}
	var paid, cash Money
	byCash := false
	for i := range tenders {
		t := &tenders[i]
		if err := t.check(total, coin); err != nil {
			return s, fmt.Errorf("tender %d: %w", i+1, err)
		}
		paid += t.Amount // both within MaxAmount before the check below
		if t.Kind == Cash {
			cash, byCash = cash+t.Amount, true
		}
		if tooLarge(paid) {
			return s, fmt.Errorf("tenders together: %w", ErrOverflow)
		}
	}
	if byCash {
		s.Rounding = RoundCash(total-(paid-cash), coin)
	}
	s.Change = paid - total - s.Rounding
	switch {
	case total >= 0 && s.Change < 0:
		return s, fmt.Errorf("%w: %d paid, %d owed", ErrUnderpaid, paid, total+s.Rounding)
	case total >= 0 && s.Change > cash:
		return s, fmt.Errorf("%w: change would be %d, cash is %d", ErrOverpaid, s.Change, cash)
	case total < 0 && s.Change > 0:
		return s, fmt.Errorf("%w: %d paid out, %d owed to the customer", ErrUnderpaid, -paid, -total-s.Rounding)
	case total < 0 && s.Change < 0:
		return s, fmt.Errorf("%w: %d paid out, %d owed to the customer", ErrOverpaid, -paid, -total-s.Rounding)
	}
	return s, nil
}

// RoundCash is what has to be added to an amount that is due in cash to make it a
// multiple of coin: to the nearest, halves away from zero.
func RoundCash(due, coin Money) Money {
	if coin <= 1 {
		return 0
	}
	n, _ := mulDiv(int64(due), 1, uint64(coin))
	return Money(n)*coin - due
}

func (t *Tender) check(total, coin Money) error {
	switch {
	case !slices.Contains(TenderKinds[:], t.Kind):
		return fmt.Errorf("%w: kind %s is none of cash, card, voucher and account", ErrTender, clip(string(t.Kind)))
	case tooLarge(t.Amount):
		return fmt.Errorf("amount %d: %w", t.Amount, ErrOverflow)
	case t.Amount == 0 && t.Kind == Cash && coin > 1: // less than half a coin is owed
	case total >= 0 && t.Amount <= 0:
		return fmt.Errorf("%w: amount %d is not above zero", ErrTender, t.Amount)
	case total < 0 && t.Amount >= 0:
		return fmt.Errorf("%w: amount %d is not below zero, but money is owed to the customer", ErrTender, t.Amount)
	case t.Kind != Cash && t.Reference == "":
		return fmt.Errorf("%w: %s", ErrTender, needs[t.Kind])
	}
	return CheckReference(t.Reference)
}

// CheckReference refuses what looks like the number of a payment card. Errors: ErrTender.
func CheckReference(ref string) error {
	if looksLikeCard(ref) {
		return fmt.Errorf("%w: the reference looks like a card number, which must never be stored; send the slip's number", ErrTender)
	}
	return nil
}

var needs = map[TenderKind]string{
	Card:    "a card payment needs the reference of its slip",
	Voucher: "a voucher needs its number as reference",
	Account: "a sale on account needs the customer as reference",
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

// Fits says whether the tender may be added when so much is due. Only cash that is
// handed over now may be more than that.
func (t *Tender) Fits(due, coin Money, now bool) error {
	x := *t
	if !now && x.Reference == "" {
		x.Reference = "-" // the payment terminal gives it
	}
	if err := x.check(due, coin); err != nil {
		return err
	}
	if over := t.Amount > due && due >= 0 || t.Amount < due && due < 0; over && t.Kind != Cash {
		return fmt.Errorf("%w: %d, due is %d", ErrOverpaid, t.Amount, due)
	}
	return nil
}
