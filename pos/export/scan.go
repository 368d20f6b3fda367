package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"posd/journal/chain"
	"posd/pos/event"
)

// turnTime is how long an export works before others have their turn.
const turnTime = time.Millisecond

// record is an event with its place, under its own name. Its slices are valid during the
// call.
type record struct {
	journal chain.ID
	seq     uint64
	head    chain.Head // if the scan counts heads
	kind    string
	payload []byte
}

// scan reads records [next, end) in turns.
type scan struct {
	x         *Exporter
	next, end uint64
	heads     bool // of each record, which is a hash of its bytes
	known     bool // head is that of the record before next
	head      chain.Head
}

// turn reads for a moment and then waits for the next turn. more: there is more.
func (s *scan) turn(ctx context.Context, each func(*record) error) (more bool, err error) {
	if s.next >= s.end {
		return false, nil
	}
	if err := s.read(each); err != nil {
		return false, err
	}
	s.x.o.Pace(ctx.Done())
	if err := ctx.Err(); err != nil {
		return false, errors.New("posd was stopped")
	}
	return s.next < s.end, nil
}

func (s *scan) read(each func(*record) error) error {
	j := s.x.o.Journal
	rd, err := j.Reader(s.next)
	if err != nil {
		return fmt.Errorf("record %d: %w", s.next, err)
	}
	defer rd.Close()
	if s.heads && !s.known {
		if s.head, err = j.Head(s.next - 1); err != nil {
			return err
		}
		s.known = true
	}
	for began := time.Now(); s.next < s.end && time.Since(began) < turnTime; {
		rec, err := rd.Next()
		if errors.Is(err, io.EOF) {
			s.next = s.end
			return nil
		}
		var theirs error
		if err == nil {
			s.next = rec.Seq + 1
			err = rd.Guard(func() error {
				if s.heads {
					s.head = s.head.Next(rec.Frame)
				}
				return eventOf(j.ID(), rec, s.head, func(r *record) error { theirs = each(r); return nil })
			})
		}
		switch {
		case errors.Is(theirs, errEnough):
			return nil
		case theirs != nil:
			return theirs
		case err != nil:
			return fmt.Errorf("record %d: %w", s.next-1, err)
		}
	}
	return nil
}

// errEnough ends a turn.
var errEnough = errors.New("enough")

// eventOf hands an event to each; other records are none of an export's.
func eventOf(own chain.ID, rec chain.Record, head chain.Head, each func(*record) error) error {
	named, err := chain.Named(own, rec)
	if err != nil || named.Record.Type != event.RecordType {
		return err
	}
	if rec.Type != chain.TypeCopy {
		named.Head = head
	}
	return each(&record{named.Journal, named.Record.Seq, named.Head, event.KindOf(named.Record.Payload), named.Record.Payload})
}

// when is the business date and the shift of an event that tells them.
type when struct {
	date  string
	shift uint64
	ended bool // that shift
}

func whenOf(r *record) (w when, ok bool, err error) {
	switch r.kind {
	case event.TypeSaleCompleted, event.TypeTraining, event.TypeShiftOpened, event.TypeShiftClosed:
	default:
		return w, false, nil
	}
	_, data, err := event.Parse(r.payload)
	if err != nil {
		return w, false, err
	}
	switch r.kind {
	case event.TypeShiftOpened:
		e, bad := event.ParseShiftOpened(data)
		w, err = when{e.BusinessDate, e.Shift, false}, bad
	case event.TypeShiftClosed:
		e, bad := event.ParseShiftClosed(data)
		w, err = when{e.BusinessDate, e.Shift, true}, bad
	default:
		e, bad := event.ParseSale(data)
		w, err = when{e.BusinessDate, e.Shift, false}, bad
	}
	return w, err == nil, err
}

// span is records [first, end).
type span struct{ first, end uint64 }

// bounds are the records of a job. What lies between two days, or shifts, belongs to the
// later one. Shifts never go back, and dates not from Setback on, so that they can be
// searched. What is before it is looked through: dates may go back there more than once.
func (x *Exporter) bounds(ctx context.Context, j *Job) (spans []span, err error) {
	oldest, end := x.o.Journal.Oldest(), j.Until+1
	if j.Date == "" {
		first, err := x.search(ctx, oldest, end, func(w when) bool { return w.shift < j.Shift })
		j.Truncated = first == oldest && oldest > 1
		return append(spans, span{first, end}), err
	}
	next, goesOn, earlier := oldest, false, false
	s := scan{x: x, next: oldest, end: min(j.Setback, end)}
	for more := true; more; {
		more, err = s.turn(ctx, func(r *record) error {
			w, found, err := whenOf(r)
			if !found {
				return err
			}
			goesOn = w.date == j.Date
			switch n := len(spans); {
			case !goesOn:
				earlier = earlier || w.date < j.Date
			case n > 0 && spans[n-1].end == next:
				spans[n-1].end = s.next
			default:
				spans = append(spans, span{next, s.next})
			}
			goesOn = goesOn && !w.ended
			next = s.next
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	day, err := x.day(ctx, j.Date, next, end, goesOn)
	earlier = earlier || day.first > next
	spans = append(spans, day)
	// A day of which an earlier one is held has not begun before. The other way round a
	// clock that was ahead may stand between the day's parts.
	j.Truncated = oldest > 1 && (!earlier || spans[0].first == oldest && spans[0].end > oldest)
	return spans, err
}

// day are the records of a business date in [lo, hi), where dates do not go back. What is
// behind the last sale of a shift that has not ended is of that shift's day; goesOn says
// that such a one of that day is open at lo.
func (x *Exporter) day(ctx context.Context, date string, lo, hi uint64, goesOn bool) (s span, err error) {
	s.first, err = x.search(ctx, lo, hi, func(w when) bool { return w.date < date })
	if err != nil {
		return s, err
	}
	later := false
	goesOn = goesOn && s.first == lo
	s.end, err = x.search(ctx, s.first, hi, func(w when) bool {
		if w.date > date {
			later = true // the search cannot miss it
			return false
		}
		goesOn = !w.ended // the last of them is seen last
		return true
	})
	if goesOn && !later {
		s.end = hi
	}
	return s, err
}

// search returns the record behind the last one in [lo, hi) of which is holds, lo if it
// holds of none. Where it holds, it holds of all before.
func (x *Exporter) search(ctx context.Context, lo, hi uint64, is func(when) bool) (uint64, error) {
	for lo < hi {
		mid := lo + (hi-lo)/2
		at, w, found, err := x.tells(ctx, mid, hi)
		switch {
		case err != nil:
			return 0, err
		case found && is(w):
			lo = at + 1
		default:
			hi = mid
		}
	}
	return lo, nil
}

// tells finds the first record of [from, end) that says when it was.
func (x *Exporter) tells(ctx context.Context, from, end uint64) (at uint64, w when, found bool, err error) {
	s := scan{x: x, next: from, end: end}
	for more := true; more && !found; {
		more, err = s.turn(ctx, func(r *record) error {
			var err error
			if w, found, err = whenOf(r); found {
				at, err = s.next-1, errEnough
			}
			return err
		})
		if err != nil {
			return 0, w, false, err
		}
	}
	return at, w, found, nil
}
