package till

import (
	"errors"

	"posd/pos"
)

// Codes of refusals. They are stable: the HTTP problem types are made of them.
const (
	CodeNegative   = "negative-amount"
	CodeOverflow   = "number-too-large"
	CodeTender     = "tender-invalid"
	CodeUnderpaid  = "underpaid"
	CodeOverpaid   = "change-without-cash"
	CodeTooLarge   = "sale-too-large"
	CodeDiscount   = "discount-invalid"
	CodeNoBasket   = "basket-not-found"
	CodeVersion    = "version-conflict"
	CodeState      = "basket-state"
	CodeFull       = "baskets-full"
	CodeNoLine     = "line-not-found"
	CodeTooMany    = "too-many-lines"
	CodeNoLines    = "no-lines"
	CodeNoTender   = "tender-not-found"
	CodeAge        = "age-check-required"
	CodeReturn     = "return-invalid"
	CodeShift      = "shift-state"
	CodeDrawer     = "drawer-short"
	CodeValue      = "value-invalid"
	CodeAlreadyOut = "already-voided"
	CodeQuantity   = "quantity-invalid"
	CodeLabel      = "label-quantity"
)

// Causes tell refusals of one code apart where the caller has to do different things. They
// are stable too. "tender-" with the state of a tender is one of CodeState.
const (
	CauseParked       = "parked"         // CodeState
	CauseNotParked    = "not-parked"     // CodeState
	CauseBeingPaid    = "being-paid"     // CodeState, CodeShift
	CauseInBasket     = "in-basket"      // CodeState
	CauseShiftOpen    = "shift-open"     // CodeShift
	CauseShiftClosed  = "shift-closed"   // CodeShift
	CauseSameOperator = "same-operator"  // CodeShift
	CauseTakesBack    = "takes-back"     // CodeAlreadyOut, CodeReturn
	CauseCameBack     = "came-back"      // CodeAlreadyOut, CodeReturn
	CauseTooMuch      = "too-much"       // CodeReturn
	CauseLineReturn   = "line-is-return" // CodeReturn
	CauseOtherPrices  = "other-prices"   // CodeReturn
	CauseNothingDue   = "nothing-due"    // CodeTender
	CauseCoins        = "coins"          // CodeTender
	CauseCardPaid     = "card-paid"      // CodeTender
	CauseTooMany      = "too-many"       // CodeTender
)

// RefusalError says why something cannot be done as it stands. Nothing happened.
type RefusalError struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Code   string // one of the codes above
	Cause  string // one of the causes above, or empty
	Detail string // what is wrong, and what to do
	Field  string // JSON pointer into the request, or empty
	Basket string // that is in the way, where it is not the one asked for; or empty
	Tender string // likewise, of the basket asked for
	Err    error
}

func (e *RefusalError) Error() string { return e.Detail }

func (e *RefusalError) Unwrap() error { return e.Err }

func refuse(code, detail string) error { return because(code, "", detail) }

func because(code, cause, detail string) error {
	return &RefusalError{Code: code, Cause: cause, Detail: detail}
}

var refusals = []struct {
	is     error
	code   string
	remedy string
}{
	{pos.ErrOverflow, CodeOverflow, "; split the sale or correct the figure"},
	{pos.ErrNegative, CodeNegative, "; prices, amounts and quantities are zero or more"},
	{pos.ErrPositive, CodeReturn, "; what comes back has a quantity below zero"},
	{pos.ErrDiscount, CodeDiscount, "; a discount is at most what it is taken off, and none is taken off goods that come back"},
	{pos.ErrTender, CodeTender, ""},
	{pos.ErrUnderpaid, CodeUnderpaid, "; add a tender for the rest"},
	{pos.ErrOverpaid, CodeOverpaid, "; lower what is not cash to what is owed"},
	{pos.ErrPaidOut, CodeOverpaid, "; lower the tender"},
}

// Refusal turns what the domain says into a RefusalError; other errors stay.
func Refusal(err error, field string) error {
	if was := (*RefusalError)(nil); errors.As(err, &was) {
		return err // it is one already, with its remedy
	}
	for i := range refusals {
		if row := &refusals[i]; errors.Is(err, row.is) {
			bad := &RefusalError{Code: row.code, Detail: err.Error() + row.remedy, Field: field, Err: err}
			if errors.Is(err, pos.ErrCoins) {
				bad.Cause = CauseCoins
			}
			return bad
		}
	}
	return err
}
