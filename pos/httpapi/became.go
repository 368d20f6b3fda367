package httpapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
	"posd/pos/till"
)

// becameMost is how many records are read to find out what became of a basket: from its
// beginning on, and again of the last ones. Nothing is kept for it: the id of a basket
// names the record that began it.
const becameMost = 1024

// Causes of till.CodeNoBasket.
const (
	causeCompleted = "completed"
	causeVoided    = "voided"
)

// became adds to a problem that there is no such basket what became of it, as far as the
// journal tells it soon: whoever has lost the answer to its last step must not begin anew
// what is sold.
func (s *Server) became(ctx context.Context, bad *problem, id string) *problem {
	if bad.kind.slug != till.CodeNoBasket || len(id) < 10 || !lowerHex(id[:8]) {
		return bad
	}
	began, err := strconv.ParseUint(id[9:], 10, 64)
	if err != nil {
		return bad
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime/2)
	defer cancel()
	e := ending{j: s.o.Journal, mark: []byte(`"basket":"` + id + `"`), into: bad}
	if event.SaleID(e.j.ID(), began) != id { // of a former journal
		began = 0
	}
	if errors.Is(e.find(ctx, began), context.DeadlineExceeded) { // of damage the journal has told
		return refuse("index-behind", "the basket has just ended, which is not durable yet; try again").retry(1)
	}
	return bad
}

// ending is the search for the event that has ended a basket.
type ending struct {
	j    *journal.Journal
	mark []byte // that the basket's events have, as they are written
	last uint64 // record that may have ended it, durable or not; 0: nobody waits for one
	into *problem
}

// find looks at the records behind the one that began the basket, 0 if that is not known,
// and at the last ones.
func (e *ending) find(ctx context.Context, began uint64) error {
	st := e.j.Stats()
	from := max(st.Oldest, st.FloorSeq-min(st.FloorSeq, becameMost)+1)
	if began >= st.Oldest {
		is := false
		err := e.j.Read(began, func(rec chain.Record) error {
			is = bytes.Contains(rec.Payload, e.mark)
			return nil
		})
		if !is { // nobody has ever had such a basket
			return err
		}
		if began < from {
			err = e.read(ctx, began, becameMost)
		}
		from, e.last = max(from, began), st.NextSeq-1
		if err != nil {
			return err
		}
	}
	return e.read(ctx, from, 2*becameMost)
}

// read looks at so many records, until one has ended the basket.
func (e *ending) read(ctx context.Context, from uint64, most int) error {
	r, err := e.j.Reader(from)
	if err != nil {
		return err
	}
	defer r.Close()
	r.DropBehind()
	for ; most > 0 && err == nil && e.into.cause == ""; most-- {
		var rec chain.Record
		rec, err = r.Next()
		switch {
		case err == nil:
			err = r.Guard(func() error { e.look(rec.Payload); return nil })
		case errors.Is(err, io.EOF) && e.last == 0:
			return nil
		case errors.Is(err, io.EOF): // it is about to become durable
			err, e.last = e.j.WaitBeyond(ctx, e.last-1), 0
		}
	}
	return err
}

// look goes by how events are written, and takes nothing apart: a quote within a text stands
// behind a backslash.
func (e *ending) look(payload []byte) {
	if !bytes.Contains(payload, e.mark) {
		return
	}
	p := e.into
	_, sold, ok := bytes.Cut(payload, []byte(`"data":{"sale":"`))
	switch {
	case ok:
		id, _, _ := bytes.Cut(sold, []byte{'"'})
		p.cause, p.sale = causeCompleted, string(id)
		p.detail = "the basket was completed: it is sale " + p.sale
	case bytes.Contains(payload, []byte(`"type":"basket.voided"`)):
		p.cause, p.detail = causeVoided, "the basket was voided"
	}
}
