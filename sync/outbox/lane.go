package outbox

import (
	"fmt"
	"strconv"
	"strings"

	"posd/sync/ledger"
)

// Kinds of documents in the ledger.
const (
	kindNote  = "outbox"       // key "note": how far the publisher has come
	kindLane  = "outbox-lane"  // by lane: it has an outbox
	kindAfter = "outbox-after" // "<lane> <n>": number n waits for a number of another lane
	kindMark  = "outbox-mark"  // old notes, to go back to
	kindKnown = "out-known"    // names that the stream holds although their turn has not come
)

// Put enters events that took effect into a lane's outbox and moves pos.Out on. It
// belongs into the transaction that enters them, before SetPosition.
func Put(tx ledger.Tx, lane string, pos *ledger.Position, names []ledger.Name) error {
	if len(names) == 0 {
		return nil
	}
	if pos.Out == 0 {
		if err := tx.PutDoc(kindLane, lane, []byte("{}")); err != nil {
			return err
		}
	}
	if err := tx.PutOut(lane, pos.Out+1, names); err != nil {
		return err
	}
	pos.Out += uint64(len(names))
	return nil
}

// After says that number n of a lane, and what comes behind it, must not be published
// before number m of another lane: a terminal has gone over from that one to this one.
func After(tx ledger.Tx, lane string, n uint64, other string, m uint64) error {
	if m == 0 || lane == other {
		return nil
	}
	return tx.PutDoc(kindAfter, afterKey(lane, n), []byte(other+" "+strconv.FormatUint(m, 10)))
}

func afterKey(lane string, n uint64) string { return fmt.Sprintf("%s %020d", lane, n) }

// lanes is all of them, in order.
func lanes(tx ledger.Tx) (all []string, err error) {
	err = tx.Docs(kindLane, "", func(lane string, _ []byte) (bool, error) {
		all = append(all, lane)
		return true, nil
	})
	return all, err
}

// barrier is the first number of a lane behind after that has to wait for another lane.
func barrier(tx ledger.Tx, lane string, after uint64) (n uint64, other string, m uint64, err error) {
	err = tx.Docs(kindAfter, afterKey(lane, after), func(key string, value []byte) (bool, error) {
		at, number, _ := strings.Cut(key, " ")
		if at != lane {
			return false, nil
		}
		var what string
		other, what, _ = strings.Cut(string(value), " ")
		var err error
		if n, err = strconv.ParseUint(number, 10, 64); err == nil {
			m, err = strconv.ParseUint(what, 10, 64)
		}
		if err != nil {
			err = fmt.Errorf("outbox: document %q is damaged: %w", key, err)
		}
		return false, err
	})
	return n, other, m, err
}

// OwnersChanged says that a journal was given to another terminal: what is published from
// now on goes out under its new name. It belongs into the transaction that gives it.
func OwnersChanged(tx ledger.Tx) error {
	n, err := ownersAt(tx)
	if err != nil {
		return err
	}
	return tx.PutDoc(kindNote, "owners", strconv.AppendUint(nil, n+1, 10))
}

// ownersAt counts how often that has happened.
func ownersAt(tx ledger.Tx) (n uint64, err error) {
	v, ok, err := tx.Doc(kindNote, "owners")
	if ok && err == nil {
		n, err = strconv.ParseUint(string(v), 10, 64)
	}
	return n, err
}
