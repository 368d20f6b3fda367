package register

import (
	"errors"

	"posd/journal"
	"posd/pos/till"
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

// refusal turns what the domain and the journal say into a till.RefusalError; other
// errors stay.
func refusal(err error, field string) error {
	if errors.Is(err, journal.ErrTooLarge) {
		return &till.RefusalError{Code: till.CodeTooLarge, Detail: err.Error() + "; split it into several sales", Field: field, Err: err}
	}
	return till.Refusal(err, field)
}
