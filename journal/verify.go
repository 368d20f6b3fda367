package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"posd/journal/chain"
	"posd/journal/internal/disk"
)

// VerifyOptions say what Verify does on the way.
type VerifyOptions struct {
	// From skips older records; segments wholly before it are not read, so
	// nothing is proved about them. 0 = everything.
	From uint64
	// Each is called with every record in order and the head after it; its
	// error ends the walk. The record is valid within the call only.
	Each func(chain.Record, chain.Head) error
	// Progress is called now and then with bytes.
	Progress func(done, total int64)
}

// Report is what Verify found.
type Report struct {
	Journal     chain.ID
	Identity    Identity
	Segments    int
	First, Last uint64     // records held; First > 1 when older ones were freed
	Head        chain.Head // after Last
	Incarnation uint64
	Live        bool   // a process owned the journal meanwhile
	Tail        string // what was ignored after the last record, or ""
}

// Verify proves numbering, checksums and hash chain over all segments in dir,
// a live journal or a copy. It only reads, with pread. Errors: ErrNoJournal,
// ErrNewer, *CorruptError.
func Verify(ctx context.Context, dir string, o VerifyOptions) (Report, error) {
	v := &verifier{ctx: ctx, fs: disk.ReadOnly{Path: dir}, o: o, live: disk.Locked(dir)}
	err := v.run()
	for try := 0; err != nil && try < 5 && ctx.Err() == nil && !v.eachFailed && !errors.Is(err, ErrNoJournal); try++ {
		// The owner may have written or freed something between two reads, and
		// may have begun to run after we did.
		if v.live = v.live || disk.Locked(dir); !v.live {
			break
		}
		time.Sleep(50 * time.Millisecond)
		err = v.run()
	}
	if _, gone := os.Stat(dir); errors.Is(gone, fs.ErrNotExist) {
		err = fmt.Errorf("%w in %s: %w", ErrNoJournal, dir, gone)
	}
	v.rep.Live = v.live
	return v.rep, err
}

type verifier struct {
	ctx        context.Context
	fs         disk.FS
	o          VerifyOptions
	live       bool
	rep        Report
	eachFailed bool
	done       uint64 // records delivered
}

func (v *verifier) run() error {
	j := &Journal{fs: v.fs, opt: Options{fs: v.fs}, log: slog.New(slog.DiscardHandler)}
	pages, err := v.readNotes() // before the records: a live note only moves on
	if err != nil {
		return err
	}
	s, err := j.survey()
	if err != nil {
		return err
	}
	n := pages.of(j.id)
	if err := j.checkOldest(n); err != nil {
		return err
	}
	v.rep.Journal, v.rep.Identity, v.rep.Incarnation = j.id, j.owner, s.maxInc
	v.rep.Segments, v.rep.First = len(j.segs), j.segs[0].firstSeq
	if v.done != 0 && v.done+1 < v.rep.First {
		return fmt.Errorf("%w: records %d to %d were freed meanwhile; start again", ErrFreed, v.done+1, v.rep.First-1)
	}
	total := int64(len(j.segs)) * int64(j.segs[0].size)
	for i, seg := range j.segs {
		if i+1 < len(j.segs) && j.segs[i+1].firstSeq <= v.o.From {
			continue
		}
		if err := v.segment(j, i, seg, n); err != nil {
			return err
		}
		if v.o.Progress != nil {
			v.o.Progress(int64(i+1)*int64(seg.size), total)
		}
	}
	return nil
}

func (v *verifier) readNotes() (notePages, error) {
	f, err := v.fs.Open(noteName)
	if errors.Is(err, fs.ErrNotExist) {
		return notePages{}, nil // a copy may lack it
	}
	if err != nil {
		return notePages{}, err
	}
	defer f.Close()
	return readNotes(f)
}

func (v *verifier) segment(j *Journal, i int, seg *segment, n note) error {
	if err := v.ctx.Err(); err != nil {
		return err
	}
	t, err := j.scan(seg, n, v.each)
	if err != nil {
		return err
	}
	v.rep.Last, v.rep.Head = t.seq, t.head
	v.rep.Incarnation = max(v.rep.Incarnation, t.inc)
	if i == len(j.segs)-1 {
		if t.why != nil && !t.zero && !v.live {
			v.rep.Tail = fmt.Sprintf("bytes after offset %d of %s belong to no record (%v)", t.end, segmentName(seg.no), t.why)
		}
		return j.judge(t, n)
	}
	next := j.segs[i+1]
	if t.end == int(next.prevEnd) && t.seq+1 == next.firstSeq && t.head == next.prevHead {
		return nil
	}
	if t.why == nil {
		t.why = fmt.Errorf("it ends at offset %d with record %d", t.end, t.seq)
	}
	return &CorruptError{File: segmentName(seg.no), Segment: seg.no, Offset: int64(t.end), First: t.seq + 1,
		Last: next.firstSeq - 1, Err: t.why,
		Witness: fmt.Sprintf("segment %d says that it ended at offset %d with record %d", next.no, next.prevEnd, next.firstSeq-1)}
}

// each passes a record on, once even when a walk had to begin again.
func (v *verifier) each(r chain.Record, h chain.Head) error {
	if r.Seq <= v.done || r.Seq < v.o.From || v.o.Each == nil {
		return nil
	}
	if err := v.o.Each(r, h); err != nil {
		v.eachFailed = true
		return err
	}
	v.done = r.Seq
	return v.ctx.Err()
}

// Identify returns the id of the journal in dir without verifying it.
func Identify(dir string) (chain.ID, error) {
	j := &Journal{fs: disk.ReadOnly{Path: dir}, log: slog.New(slog.DiscardHandler)}
	if _, err := j.survey(); err != nil {
		return chain.ID{}, err
	}
	return j.id, nil
}
