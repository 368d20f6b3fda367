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
)

// RefusalError says why something cannot be done as it stands. Nothing happened.
type RefusalError struct {
	Code   string // one of the codes above
	Detail string // what is wrong, and what to do
	Field  string // JSON pointer into the request, or empty
	Err    error
}

func (e *RefusalError) Error() string { return e.Detail }

func (e *RefusalError) Unwrap() error { return e.Err }

func refuse(code, detail string) error { return &RefusalError{Code: code, Detail: detail} }

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
}

// Refusal turns what the domain says into a RefusalError; other errors stay.
func Refusal(err error, field string) error {
	for i := range refusals {
		if row := &refusals[i]; errors.Is(err, row.is) {
			return &RefusalError{Code: row.code, Detail: err.Error() + row.remedy, Field: field, Err: err}
		}
	}
	return err
}
