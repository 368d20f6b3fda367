package returns

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"posd/sync/ledger"
)

// Errors of Settle.
var (
	ErrNoReturn = errors.New("nothing has come back of that receipt")
	ErrFine     = errors.New("there is nothing to see to")
)

func parseAccountKey(k string) (store, number string, err error) {
	store, number, _ = strings.Cut(k, "/")
	number, err = url.PathUnescape(number)
	return store, number, err
}

func blindKey(at time.Time, name string) string {
	return at.UTC().Format("2006-01-02T15:04:05.000000000Z") + " " + name
}

func putBlind(tx ledger.Tx, r Return) error {
	v, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return tx.PutDoc(kindBlind, blindKey(r.At, nameKey(r.Event)), v)
}

// Counts are how many there are, at most 10,000 of each.
type Counts struct {
	Over, Unknown uint64 // that nobody has seen to
	Waiting       uint64
	Noted         uint64 // events that were not looked at
}

// Count counts.
func Count(tx ledger.Tx) (c Counts, err error) {
	seen := uint64(0)
	err = tx.Docs(kindOpen, "", func(_ string, v []byte) (bool, error) {
		if string(v) == Over {
			c.Over++
		} else {
			c.Unknown++
		}
		seen++
		return seen < maxCount, nil
	})
	if err != nil {
		return c, err
	}
	seen = 0
	if err := tx.Docs(kindWait, "", func(_ string, v []byte) (bool, error) {
		if seen++; strings.HasSuffix(string(v), " "+Waiting) {
			c.Waiting++
		}
		return seen < maxCount, nil
	}); err != nil {
		return c, err
	}
	return c, tx.Docs(kindQueue, "", func(string, []byte) (bool, error) { c.Noted++; return c.Noted < maxCount, nil })
}

// List calls fn with the receipts of which something came back, behind a key, ordered by
// store and number, until fn says stop. open: only those that somebody should see to.
func List(tx ledger.Tx, open bool, after string, fn func(key string, r *Receipt) (more bool, err error)) error {
	if !open {
		return tx.Docs(kindReceipt, after, func(k string, v []byte) (bool, error) {
			var r Receipt
			if err := json.Unmarshal(v, &r); err != nil {
				return false, fmt.Errorf("document %q: %w", k, err)
			}
			return fn(k, &r)
		})
	}
	return tx.Docs(kindOpen, after, func(k string, _ []byte) (bool, error) {
		store, number, err := parseAccountKey(k)
		if err != nil {
			return false, err
		}
		a, err := load(tx, store, number)
		if err != nil {
			return false, err
		}
		return fn(k, &a.Receipt)
	})
}

// Blinds calls fn with the sales that gave goods back without a receipt, the oldest first.
func Blinds(tx ledger.Tx, after string, fn func(key string, r []byte) (more bool, err error)) error {
	return tx.Docs(kindBlind, after, fn)
}

// Settle notes that somebody has seen to a receipt; one more return opens it again. If
// somebody had already, it says who.
func Settle(tx ledger.Tx, store, number string, s Settled) (r Receipt, before bool, err error) {
	a, err := load(tx, store, number)
	switch {
	case err != nil:
		return r, false, err
	case a.Count == 0:
		return r, false, ErrNoReturn
	case a.Settled != nil:
		return a.Receipt, true, nil
	case a.State == Waiting:
		return r, false, fmt.Errorf("%w yet: %s", ErrFine, a.Why)
	case a.State != Over && a.State != Unknown:
		return r, false, fmt.Errorf("%w: no more came back than was sold", ErrFine)
	}
	a.Settled = &s
	return a.Receipt, false, a.save(tx, a.State, s.At)
}
