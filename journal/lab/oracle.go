package lab

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"posd/journal"
	"posd/journal/chain"
)

// Kind is what a judgement came to.
type Kind uint8

const (
	OK         Kind = iota
	Lost            // an acknowledged record is gone
	Phantom         // a record is there that nobody wrote, or that had been gone at an earlier start
	FalseAlarm      // a start or a proof fails, though nothing but an ordinary cut happened
	Undetected      // changed bytes of an acknowledged record are not reported
)

func (k Kind) String() string {
	return [...]string{"ok", "lost", "phantom", "false alarm", "undetected flip"}[k]
}

// Verdict is one judgement.
type Verdict struct {
	Kind Kind
	Why  error // nil if OK
}

func (v Verdict) String() string {
	if v.Kind == OK {
		return v.Kind.String()
	}
	return v.Kind.String() + ": " + v.Why.Error()
}

func verdict(k Kind, format string, args ...any) Verdict {
	return Verdict{k, fmt.Errorf(format, args...)}
}

// Sum tells one payload from another. It is the same in every process.
type Sum uint64

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SumOf is the Sum of a payload: two checksums that processors have in hardware,
// because a lab computes millions of them.
func SumOf(payload []byte) Sum {
	return Sum(crc32.Checksum(payload, castagnoli))<<32 | Sum(crc32.ChecksumIEEE(payload))
}

// Oracle knows what the owner of a journal told it and what it answered, over
// all lives of the journal, and judges what a start or a proof finds. The zero
// Oracle belongs to a journal that was just created. It is for one goroutine;
// judging does not change it.
type Oracle struct {
	// Opening is the one that the journal was created and opened with; nil: the
	// content of opening states is not looked at.
	Opening journal.Opening

	wrote   map[uint64]Sum
	acked   uint64
	noted   uint64
	settled uint64
}

// created is the number of records that journal.Create leaves durable and noted.
const created = 2

// Appended says that an owner's record was given number seq. It must be told
// before the record can be durable, so from within the Encoder if the journal
// has goroutines (and with an exact hint, or the Encoder is called again).
func (o *Oracle) Appended(seq uint64, s Sum) {
	if o.wrote == nil {
		o.wrote = map[uint64]Sum{}
	}
	o.wrote[seq] = s
}

// Acknowledged says that all records up to seq were called durable: by Wait, by
// Floor, by a Reader.
func (o *Oracle) Acknowledged(seq uint64) { o.acked = max(o.acked, seq) }

// Noted says that a floor note for seq was written and synced: an orderly stop,
// or a second without a commit.
func (o *Oracle) Noted(seq uint64) { o.noted = max(o.noted, seq) }

// Settled says that the owner settled all records up to seq: they may be freed.
func (o *Oracle) Settled(seq uint64) { o.settled = max(o.settled, seq) }

// Acked is the last record that must be there.
func (o *Oracle) Acked() uint64 { return max(o.acked, created) }

// Restarted says that the journal was opened for good and ends at floor. What
// it showed then counts as acknowledged, a start leaves a floor note, and what
// is gone now must never come back.
func (o *Oracle) Restarted(floor uint64) {
	for seq := range o.wrote {
		if seq > floor {
			delete(o.wrote, seq)
		}
	}
	o.acked, o.noted = floor, floor
}

// Start judges the results of journal.Open where nothing was damaged. It reads
// all that the journal holds.
func (o *Oracle) Start(j *journal.Journal, err error) Verdict {
	if err != nil {
		return Verdict{FalseAlarm, err}
	}
	w := walk{o: o, first: j.Oldest(), next: j.Oldest()}
	r, err := j.Reader(w.first)
	if err != nil {
		return Verdict{FalseAlarm, err}
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Verdict{FalseAlarm, err}
		}
		if v := w.record(rec); v.Kind != OK {
			return v
		}
	}
	floor, _ := j.Floor()
	if v := w.end(floor); v.Kind != OK {
		return v
	}
	if w.opening != j.LastOpening() {
		return verdict(Lost, "the newest opening state is record %d, the journal says %d", w.opening, j.LastOpening())
	}
	return Verdict{}
}

// Verify runs journal.Verify over a journal that nobody has open and where
// nothing was damaged, and judges what it finds.
func (o *Oracle) Verify(ctx context.Context, dir string, opt journal.VerifyOptions) Verdict {
	w := walk{o: o}
	var bad Verdict
	opt.From = 0
	opt.Each = func(rec chain.Record, _ chain.Head) error {
		if w.first == 0 {
			w.first, w.next = rec.Seq, rec.Seq
		}
		if bad = w.record(rec); bad.Kind != OK {
			return bad.Why
		}
		return nil
	}
	rep, err := journal.Verify(ctx, dir, opt)
	switch {
	case bad.Kind != OK:
		return bad
	case err != nil:
		return Verdict{FalseAlarm, err}
	}
	return w.end(rep.Last)
}

// walk looks at the records of a journal in order.
type walk struct {
	o           *Oracle
	first, next uint64
	opening     uint64 // the newest opening state
}

func (w *walk) record(rec chain.Record) Verdict {
	if rec.Seq != w.next {
		return verdict(Lost, "record %d where %d belongs", rec.Seq, w.next)
	}
	w.next++
	sum, written := w.o.wrote[rec.Seq]
	switch {
	case rec.Type == chain.TypeBirth && rec.Seq == 1:
	case rec.Type == chain.TypeOpening && !written:
		w.opening = rec.Seq
		if o := w.o.Opening; o != nil && string(o(nil, rec.Seq)) != string(rec.Payload) {
			return verdict(Phantom, "record %d is an opening state with another content: %q", rec.Seq, rec.Payload)
		}
	case rec.Type == chain.TypeCheckpoint && !written:
		if c, err := chain.ParseCheckpoint(rec.Payload); err != nil || c.Seq != rec.Seq-1 {
			return verdict(Phantom, "record %d is a checkpoint of record %d (%v)", rec.Seq, c.Seq, err)
		}
	case !written:
		return verdict(Phantom, "record %d of type %d was not written, or was gone before", rec.Seq, rec.Type)
	case rec.Type < chain.TypeOwner:
		return verdict(Phantom, "record %d has type %d, an owner's record was written there", rec.Seq, rec.Type)
	case SumOf(rec.Payload) != sum:
		return verdict(Phantom, "record %d is not the one that was written there", rec.Seq)
	}
	return Verdict{}
}

func (w *walk) end(floor uint64) Verdict {
	switch {
	case floor < w.o.Acked():
		return verdict(Lost, "%d records are there, %d were acknowledged", floor, w.o.Acked())
	case w.next != floor+1:
		return verdict(Lost, "reading ends after record %d, the journal says that it holds %d", w.next-1, floor)
	case w.first > w.o.settled+1:
		return verdict(Lost, "the oldest record is %d, but only those up to %d were settled", w.first, w.o.settled)
	}
	return Verdict{}
}

// Damage says where bytes of a segment were changed on the medium.
type Damage struct {
	File        string
	Offset      int64
	First, Last uint64 // records of the group that was hit; of page 0: 0
}

func (d Damage) String() string {
	if d.First == 0 {
		return fmt.Sprintf("page 0 of %s, offset %d", d.File, d.Offset)
	}
	return fmt.Sprintf("records %d to %d in %s, offset %d", d.First, d.Last, d.File, d.Offset)
}

// reported says whether err reports damage.
func reported(err error) bool {
	var c *journal.CorruptError
	return errors.As(err, &c) || errors.Is(err, journal.ErrNewer) || errors.Is(err, journal.ErrForeign)
}

// Damaged judges the error of journal.Open where bytes of the newest segment
// that holds acknowledged records were changed, or of journal.Verify where
// those of any segment were. floor is where the journal ends if there was no
// error.
//
// One case is excused, because no local format can tell it from a torn tail:
// the last acknowledged group, if no floor note saw it.
func (o *Oracle) Damaged(d Damage, err error, floor uint64) Verdict {
	switch {
	case reported(err):
		return Verdict{}
	case err != nil:
		return verdict(Undetected, "%v: the error is another one: %w", d, err)
	case d.First == 0 || d.Last < o.Acked() || d.Last <= o.noted || d.Last <= created:
		return verdict(Undetected, "%v: no error, %d records are there, %d were acknowledged, %d noted", d, floor, o.Acked(), o.noted)
	case floor < d.First-1:
		return verdict(Lost, "%v: %d records are there, the damage ends before record %d", d, floor, d.First)
	}
	return Verdict{}
}
