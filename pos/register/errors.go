package register

import (
	"errors"

	"posd/journal"
	"posd/pos"
)

var (
	// ErrKeyReused: the idempotency key belongs to a sale with another body.
	ErrKeyReused = errors.New("idempotency key was used for another request")
	// ErrBusy: too many sales wait for the loop. Nothing happened; try again soon.
	ErrBusy = errors.New("too many sales at once")
	// ErrIndex: the index cannot tell yet whether the key made a sale before the
	// last start. Nothing happened; try again soon.
	ErrIndex = errors.New("the index of sales is not up to date")
	// ErrUnreadable: the key has made a sale, which cannot be read any more.
	ErrUnreadable = errors.New("the sale was made earlier and cannot be read")
	// ErrSettings: head office has changed the settings that the sale was priced with.
	// Nothing happened; begin anew with those in force.
	ErrSettings = errors.New("the settings have changed")
	// ErrStopping: the register is not running, or not any more. Nothing happened.
	ErrStopping = errors.New("posd is stopping")
	// ErrCurrency: the journal counts in another currency than the configuration.
	ErrCurrency = errors.New("journal counts in another currency")
)

// Codes of refusals. They are stable: the HTTP problem types are made of them.
const (
	CodeNegative  = "negative-amount"
	CodeOverflow  = "number-too-large"
	CodeTender    = "tender-invalid"
	CodeUnderpaid = "underpaid"
	CodeOverpaid  = "change-without-cash"
	CodeTooLarge  = "sale-too-large"
)

// RefusalError says why a sale cannot be taken as it stands. Nothing happened.
type RefusalError struct {
	Code   string // one of the codes above
	Detail string // what is wrong, and what to do
	Field  string // JSON pointer into the request, or empty
	Err    error
}

func (e *RefusalError) Error() string { return e.Detail }

func (e *RefusalError) Unwrap() error { return e.Err }

var refusals = []struct {
	is     error
	code   string
	remedy string
}{
	{pos.ErrOverflow, CodeOverflow, "; split the sale or correct the figure"},
	{pos.ErrNegative, CodeNegative, "; prices, amounts and quantities are zero or more"},
	{pos.ErrTender, CodeTender, ""},
	{pos.ErrUnderpaid, CodeUnderpaid, "; add a tender for the rest"},
	{pos.ErrOverpaid, CodeOverpaid, "; lower the card's amount to what is owed"},
	{journal.ErrTooLarge, CodeTooLarge, "; split it into several sales"},
}

// refusal turns what the domain says into a RefusalError; other errors stay.
func refusal(err error, field string) error {
	for i := range refusals {
		if row := &refusals[i]; errors.Is(err, row.is) {
			return &RefusalError{Code: row.code, Detail: err.Error() + row.remedy, Field: field, Err: err}
		}
	}
	return err
}
