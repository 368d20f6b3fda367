package pos

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What CheckTenders refuses.
var (
	ErrTender    = errors.New("tender not acceptable") // kind, amount or reference of one tender
	ErrCoins     = fmt.Errorf("%w", ErrTender)         // cash that no coins pay, an ErrTender
	errSpent     = fmt.Errorf("%w: this sale has the voucher of that reference already", ErrTender)
	ErrUnderpaid = errors.New("tenders are less than the total")
	ErrOverpaid  = errors.New("change can be given from cash only") // non-cash tenders exceed the total
	ErrPaidOut   = errors.New("more is paid out than the customer is owed")
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
// Errors: ErrTender, ErrUnderpaid, ErrOverpaid, ErrPaidOut and ErrOverflow.
func CheckTenders(total Money, tenders []Tender, coin Money) (s Settlement, err error) {
	return settle(total, tenders, coin, false)
}

// TakeTenders is CheckTenders for money that changes hands with the sale: cash is paid in
// coins, and only where some is due. What was taken before the coin became another settles
// as it is.
func TakeTenders(total Money, tenders []Tender, coin Money) (s Settlement, err error) {
	return settle(total, tenders, coin, true)
}

func settle(total Money, tenders []Tender, coin Money, now bool) (s Settlement, err error) {
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
	for i := 0; now && i < len(tenders); i++ {
		err := tenders[i].inCoins(total-(paid-cash)+s.Rounding, coin)
		if err == nil {
			err = tenders[i].Beside(tenders[:i])
		}
		if err != nil {
			return s, fmt.Errorf("tender %d: %w", i+1, err)
		}
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
		return s, fmt.Errorf("%w: %d paid out, %d owed", ErrPaidOut, -paid, -total-s.Rounding)
	case now && byCash && total >= 0 && paid-cash >= total: // it would only open the drawer
		return s, fmt.Errorf("%w: nothing is due in cash", ErrTender)
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

// Beside refuses a voucher that is among the others already. Errors: ErrTender.
func (t *Tender) Beside(others []Tender) error {
	for i := range others {
		if t.Kind == Voucher && others[i].Kind == Voucher && others[i].Reference == t.Reference {
			return errSpent
		}
	}
	return nil
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
	if looksLikeCard(ref) || BeginsAsCard(ref) {
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

// BeginsAsCard reports whether s begins with the number of a payment card, perhaps in groups
// or as a reader sends it, whatever follows: of the schemes and lengths of cardDigits, with
// a good check digit.
func BeginsAsCard(s string) bool {
	s = strings.TrimLeft(s, " ;%Bb")
	n, head := 0, 0
	for i := 0; i < len(s) && n < 17; i++ {
		c := s[i]
		if c == ' ' || c == '-' {
			continue
		}
		if c < '0' || c > '9' {
			return false
		}
		if n++; n <= 4 {
			head = 10*head + int(c-'0')
		}
		ends := i+1 == len(s) || s[i+1] < '0' || s[i+1] > '9'
		if n >= 15 && ends && n == cardDigits(head) && looksLikeCard(s[:i+1]) {
			return true
		}
	}
	return false
}

// cardDigits is how many digits cards have whose numbers begin so, 0 for none that is
// known.
func cardDigits(head int) int {
	switch {
	case head/100 == 34 || head/100 == 37:
		return 15
	case head/1000 == 4 || head/1000 == 5 || head >= 2221 && head <= 2720 || head == 6011 || head/100 == 65:
		return 16
	}
	return 0
}

// inCoins refuses cash that no coins pay, whichever way it goes, when so much is due in
// cash.
func (t *Tender) inCoins(due, coin Money) error {
	if t.Kind != Cash || coin <= 1 || t.Amount%coin == 0 || t.Amount == due {
		return nil
	}
	return fmt.Errorf("%w: %d cannot be paid in coins of %d; in cash %d is due", ErrCoins, t.Amount, coin, due)
}

// Fits says whether the tender may be added to a sale of which so much is due by its
// kind. None is below zero unless the total is: what was paid too much is change, or is
// taken back. Cash is paid in coins, both ways, or another kind could not make up the
// rest; what brings cash there that was paid before the coin became another is taken.
// Only cash that is handed over now may be more than is due; none that is paid out.
func (t *Tender) Fits(total, due, coin Money, now bool) error {
	x := *t
	if !now && x.Reference == "" {
		x.Reference = "-" // the payment terminal gives it
	}
	if err := x.check(total, coin); err != nil {
		return err
	}
	if err := x.inCoins(due, coin); err != nil {
		return err
	}
	switch {
	case tooLarge(total - due + t.Amount): // with what was paid: the sale could not be completed
		return fmt.Errorf("tenders together: %w", ErrOverflow)
	case t.Amount == 0 && due != 0:
		return fmt.Errorf("%w: amount 0, due is %d", ErrTender, due)
	case total < 0 && t.Amount < due:
		return fmt.Errorf("%w: %d, owed are %d", ErrPaidOut, -t.Amount, -due)
	case total >= 0 && due < 0:
		return fmt.Errorf("%w: %d more was paid than is owed; reverse a tender", ErrTender, -due)
	case total >= 0 && t.Amount > due && t.Kind != Cash:
		return fmt.Errorf("%w: %d, due is %d", ErrOverpaid, t.Amount, due)
	}
	return nil
}
