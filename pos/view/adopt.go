package view

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"posd/journal"
	"posd/journal/chain"
)

// errPapers: more receipts were given out than memory is taken for.
var errPapers = errors.New("the release before, which does not count receipts given out, went on with it after this one")

// adopt takes over the index of the release before. That has passed over the events of
// papers, which are there if this release ran before it: they are added, or the next copy
// of a receipt would be an original again.
func (v *View) adopt(ctx context.Context) error {
	if v.countsPapers() || v.j.ReadOnly() {
		return nil
	}
	papers, err := v.seekPapers(ctx)
	var rot *journal.CorruptError
	switch {
	case errors.As(err, &rot): // a new index would stand still there
		v.o.Log.Error("the index cannot tell of all receipts whether they were given out", "error", err)
	case err != nil:
		return fmt.Errorf("index: look for receipts given out: %w", err)
	}
	m := v.applied
	m.schema = schema
	// With none, a full disk may wait: the next start looks again.
	if err := v.file.commit(m, papers, v.j.Oldest(), freeMost); err != nil && (len(papers) > 0 || errors.Is(err, errDamaged)) {
		return fmt.Errorf("commit index: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.applied.schema = schema
	return nil
}

func (v *View) countsPapers() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.applied.schema == schema
}

// seekPapers returns the events of papers among what the index has read.
func (v *View) seekPapers(ctx context.Context) (found []entry, err error) {
	until := v.Applied()
	r, err := v.j.Reader(v.j.Oldest())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	r.DropBehind()
	began := time.Now()
	for ctx.Err() == nil {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) || err == nil && rec.Seq > until {
			return found, nil
		}
		if err == nil {
			err = r.Guard(func() error {
				if e, ok := paperOf(rec); ok {
					found = append(found, e)
				}
				return nil
			})
		}
		switch {
		case err != nil:
			return found, err
		case len(found) > v.most():
			return nil, errPapers
		}
		if time.Since(began) > burst {
			v.giveWay(ctx)
			began = time.Now()
		}
	}
	return nil, ctx.Err()
}

// ofPapers begins the type of each of their events, as it is written.
var ofPapers = []byte(`"type":"receipt.`)

// paperOf takes apart only what may be of a paper: all that the journal holds is looked
// through. What cannot be read the index has passed over, and said so.
func paperOf(rec chain.Record) (e entry, ok bool) {
	if bytes.Contains(rec.Payload, ofPapers) {
		e, ok, _ = extract(rec)
	}
	return e, ok && len(e.back) > 0 && e.sale == ""
}
