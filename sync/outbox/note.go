package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"posd/sync/ledger"
)

// note is how far the publisher has come. It moves only to what the stream is known
// to hold.
type note struct {
	Epoch   uint64            `json:"epoch"`          // one higher for each publisher that took over
	Created time.Time         `json:"created"`        // of the stream; another one is another stream
	Seq     uint64            `json:"seq"`            // last message of the stream that is in here
	Name    string            `json:"name,omitempty"` // of that message, if it is an event of ours
	Lanes   map[string]uint64 `json:"lanes"`          // last number of each lane that the stream holds
	Marks   uint64            `json:"marks"`          // marks ever made
}

// mark is a note of old, kept to find out what a stream that was rolled back holds.
type mark struct {
	Created time.Time         `json:"created"`
	Seq     uint64            `json:"seq"`
	Lanes   map[string]uint64 `json:"lanes"`
	At      time.Time         `json:"at"`
}

// found says where a name was met in the stream before its turn.
type found struct {
	Created time.Time `json:"created"`
	Seq     uint64    `json:"seq"`
	Passed  time.Time `json:"passed,omitzero"` // when its turn had come
}

const (
	noteEvery = time.Second // at most this much is published without a note
	markEvery = time.Minute
	markAfter = 10000 // messages
	cleanRows = 1000  // documents looked at in one transaction of cleaning
)

// errTaken: another publisher has taken over.
var errTaken = errors.New("another publisher has taken over")

func readNote(tx ledger.Tx) (n note, err error) {
	v, ok, err := tx.Doc(kindNote, "note")
	if err == nil && ok {
		err = json.Unmarshal(v, &n)
	}
	if err != nil {
		return n, fmt.Errorf("outbox: the note is damaged: %w", err)
	}
	if n.Lanes == nil {
		n.Lanes = make(map[string]uint64)
	}
	return n, nil
}

func putJSON(tx ledger.Tx, kind, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.PutDoc(kind, key, b)
}

// take begins an epoch: whoever published before finds out at his next transaction.
func (s *session) take(ctx context.Context) error {
	return s.o.opt.Ledger.Update(ctx, func(tx ledger.Tx) (err error) {
		if s.note, err = readNote(tx); err != nil {
			return err
		}
		s.note.Epoch++
		return putJSON(tx, kindNote, "note", s.note)
	})
}

// mine refuses to go on for a publisher that somebody has taken over from.
func (s *session) mine(tx ledger.Tx) error {
	n, err := readNote(tx)
	if err == nil && n.Epoch != s.note.Epoch {
		err = errTaken
	}
	return err
}

func (s *session) view(ctx context.Context, fn func(ledger.Tx) error) error {
	return s.o.opt.Ledger.View(ctx, func(tx ledger.Tx) error {
		if err := s.mine(tx); err != nil {
			return err
		}
		return fn(tx)
	})
}

func (s *session) update(ctx context.Context, fn func(ledger.Tx) error) error {
	return s.o.opt.Ledger.Update(ctx, func(tx ledger.Tx) error {
		if err := s.mine(tx); err != nil {
			return err
		}
		return fn(tx)
	})
}

// store writes the note, what was passed over since the last one, and now and then a mark.
func (s *session) store(ctx context.Context) error {
	now := s.o.opt.now()
	due := s.note.Marks == 0 || !s.markCreated.Equal(s.note.Created) || now.Sub(s.markAt) >= markEvery && s.note.Seq > s.markSeq ||
		s.note.Seq >= s.markSeq+markAfter
	n := s.note
	n.Lanes = maps.Clone(n.Lanes)
	if due {
		n.Marks++
	}
	err := s.update(ctx, func(tx ledger.Tx) error {
		for _, name := range s.passed {
			if err := pass(tx, name, now); err != nil {
				return err
			}
		}
		if due {
			if err := putJSON(tx, kindMark, markKey(n.Marks), mark{n.Created, n.Seq, n.Lanes, now}); err != nil {
				return err
			}
		}
		if s.lost {
			if err := restart(tx, s.o.opt.bug); err != nil {
				return err
			}
		}
		if s.replayed != nil {
			if err := putJSON(tx, kindReplay, "order", s.replayed); err != nil {
				return err
			}
		}
		return putJSON(tx, kindNote, "note", n)
	})
	if err != nil {
		return err
	}
	s.note.Marks, s.passed, s.dirty, s.lost = n.Marks, s.passed[:0], false, false
	if due {
		s.markAt, s.markSeq, s.markCreated = now, n.Seq, n.Created
	}
	return nil
}

func markKey(n uint64) string { return fmt.Sprintf("%016d", n) }

// pass notes that the turn of a known name has come and gone.
func pass(tx ledger.Tx, name string, at time.Time) error {
	v, ok, err := tx.Doc(kindKnown, name)
	if err != nil || !ok {
		return err
	}
	var f found
	if err := json.Unmarshal(v, &f); err != nil {
		return fmt.Errorf("outbox: document %q is damaged: %w", name, err)
	}
	f.Passed = at
	return putJSON(tx, kindKnown, name, f)
}

// rollBack goes back to the newest mark that a stream which ends at last still
// reaches, and forgets what was only in the part that is gone.
func (s *session) rollBack(ctx context.Context, created time.Time, last uint64) error {
	var base, oldest mark
	err := s.update(ctx, func(tx ledger.Tx) error {
		base, oldest = mark{}, mark{}
		var gone []string
		err := tx.Docs(kindMark, "", func(key string, v []byte) (bool, error) {
			var m mark
			if err := json.Unmarshal(v, &m); err != nil {
				return false, fmt.Errorf("outbox: mark %s is damaged: %w", key, err)
			}
			switch {
			case !m.Created.Equal(created):
			case m.Seq > last:
				gone = append(gone, key)
				if oldest.Lanes == nil {
					oldest = m
				}
			default:
				base = m
			}
			return true, nil
		})
		if err == nil && base.Lanes != nil {
			err = deleteDocs(tx, kindMark, gone)
		}
		if err == nil {
			err = forget(tx, created, last)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.passed = s.passed[:0]
	s.note.Created, s.note.Name, s.markSeq = created, "", 0
	switch {
	case base.Lanes != nil:
		s.note.Seq, s.note.Lanes = base.Seq, maps.Clone(base.Lanes)
	case oldest.Lanes != nil:
		s.note.Seq, s.note.Lanes = last, maps.Clone(oldest.Lanes)
		s.o.m.unreachable.Inc()
		s.o.log.Error("the stream of events was rolled back further than the outbox remembers: what it lacks from before is not published again",
			"stream", s.o.opt.Stream, "ends_at", last, "remembered_from", oldest.Seq)
	default:
		s.note.Seq = last
	}
	return nil
}

// forget drops the known names that only the lost part of the stream held.
func forget(tx ledger.Tx, created time.Time, last uint64) error {
	var gone []string
	err := tx.Docs(kindKnown, "", func(name string, v []byte) (bool, error) {
		var f found
		if err := json.Unmarshal(v, &f); err != nil {
			return false, fmt.Errorf("outbox: document %q is damaged: %w", name, err)
		}
		if f.Created.Equal(created) && f.Seq > last {
			gone = append(gone, name)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return deleteDocs(tx, kindKnown, gone)
}

func deleteDocs(tx ledger.Tx, kind string, keys []string) error {
	for _, k := range keys {
		if err := tx.DeleteDoc(kind, k); err != nil {
			return err
		}
	}
	return nil
}

// clean forgets marks older than Keep, and with them the outbox up to the oldest mark
// that stays, and known names whose turn is as long ago.
func (s *session) clean(ctx context.Context) error {
	before := s.o.opt.now().Add(-s.o.opt.Keep)
	return s.update(ctx, func(tx ledger.Tx) error {
		var gone []string
		var first mark // that stays
		err := tx.Docs(kindMark, "", func(key string, v []byte) (bool, error) {
			first = mark{}
			if err := json.Unmarshal(v, &first); err != nil {
				return false, fmt.Errorf("outbox: mark %s is damaged: %w", key, err)
			}
			if !first.At.Before(before) || len(gone) == cleanRows {
				return false, nil
			}
			gone = append(gone, key)
			return true, nil
		})
		if err != nil {
			return err
		}
		if len(gone) > 0 && gone[len(gone)-1] == markKey(s.note.Marks) { // one has to stay
			gone = gone[:len(gone)-1]
		}
		if len(gone) > 0 {
			if err := deleteDocs(tx, kindMark, gone); err != nil {
				return err
			}
			for lane, n := range first.Lanes {
				if err := drop(tx, lane, min(n, s.note.Lanes[lane])); err != nil {
					return err
				}
			}
		}
		return dropKnown(tx, before)
	})
}

// drop forgets a lane's outbox up to n, and what waited there.
func drop(tx ledger.Tx, lane string, n uint64) error {
	var gone []string
	err := tx.Docs(kindAfter, lane+" ", func(key string, _ []byte) (bool, error) {
		if key > afterKey(lane, n) {
			return false, nil
		}
		gone = append(gone, key)
		return true, nil
	})
	if err == nil {
		err = deleteDocs(tx, kindAfter, gone)
	}
	if err == nil && n > 0 {
		err = tx.DropOut(lane, n)
	}
	return err
}

func dropKnown(tx ledger.Tx, before time.Time) error {
	var gone []string
	err := tx.Docs(kindKnown, "", func(name string, v []byte) (bool, error) {
		var f found
		if json.Unmarshal(v, &f) == nil && !f.Passed.IsZero() && f.Passed.Before(before) {
			gone = append(gone, name)
		}
		return len(gone) < cleanRows, nil
	})
	if err != nil {
		return err
	}
	return deleteDocs(tx, kindKnown, gone)
}
