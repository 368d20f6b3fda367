package journal

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"posd/journal/chain"
	"posd/journal/internal/disk"
	"posd/journal/internal/hook"
)

// VerifyOptions say what Verify does on the way.
type VerifyOptions struct {
	// From skips older records; segments wholly before it are not read, so
	// nothing is proved about them. 0 = everything.
	From uint64
	// Key is the terminal's public key, from somewhere else than the journal: only
	// then do signatures prove more than that the journal agrees with itself. nil:
	// the key that the journal names.
	Key ed25519.PublicKey
	// Each is called with every record in order and the head after it; its
	// error ends the walk. The record is valid within the call only.
	Each func(chain.Record, chain.Head) error
	// Progress is called now and then with bytes.
	Progress func(done, total int64)

	Lab *hook.Lab // for journal/lab
}

// Report is what Verify found.
type Report struct {
	Journal     chain.ID
	Identity    Identity
	Segments    int
	Bytes       int64      // that they take
	First, Last uint64     // records held; First > 1 when older ones were freed
	Head        chain.Head // after Last
	Incarnation uint64
	Key         ed25519.PublicKey // that the journal names; nil: none
	Opening     uint64            // the newest opening state
	Checkpoints int               // whose signatures are right
	Signed      uint64            // last record that one of them covers
	Live        bool              // a process owned the journal meanwhile
	Tail        string            // what was ignored after the last record, or ""
}

// Verify proves numbering, checksums and hash chain over all segments in dir,
// a live journal or a copy. It only reads, with pread. Errors: ErrNoJournal,
// ErrNewer, *CorruptError.
func Verify(ctx context.Context, dir string, o VerifyOptions) (Report, error) {
	v := &verifier{ctx: ctx, fs: disk.ReadOnly{Path: dir}, o: o, live: disk.Locked(dir)}
	if o.Lab != nil && o.Lab.FS != nil {
		v.fs = o.Lab.FS
		err := v.run()
		return v.rep, err
	}
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

// looker is a journal that is only looked at.
func looker(fs disk.FS, lab *hook.Lab) *Journal {
	l := hook.Lab{FS: fs}
	if lab != nil {
		l.Bug, l.Page = lab.Bug, lab.Page
	}
	return &Journal{fs: fs, lab: &l, page: pageSize(&l), log: slog.New(slog.DiscardHandler)}
}

type verifier struct {
	ctx        context.Context
	fs         disk.FS
	o          VerifyOptions
	live       bool
	rep        Report
	eachFailed bool
	head       chain.Head // after the last record walked
	signature  error
	done       uint64 // records delivered
}

func (v *verifier) run() error {
	j := looker(v.fs, v.o.Lab)
	pages, err := notesIn(v.fs) // before the records: a live note only moves on
	if err != nil {
		return err
	}
	if err := j.survey(); err != nil {
		return err
	}
	first, err := j.knowFrom(v.o.From)
	if err != nil {
		return err
	}
	n := pages.of(j.id)
	if err := j.checkOldest(n); err != nil {
		return err
	}
	v.rep.Journal, v.rep.Identity, v.rep.Incarnation = j.id, j.owner, j.segs[len(j.segs)-1].incarnation
	v.rep.Segments, v.rep.First = len(j.segs), j.oldestLocked()
	for _, seg := range j.segs {
		v.rep.Bytes += v.sizeOf(seg)
	}
	if v.done != 0 && v.done+1 < v.rep.First {
		return fmt.Errorf("%w: records %d to %d were freed meanwhile; start again", ErrFreed, v.done+1, v.rep.First-1)
	}
	total := int64(len(j.segs)) * int64(j.segs[0].size)
	for i, seg := range j.segs {
		if i < first {
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

// sizeOf asks the file system for the size of a segment whose page 0 was not read.
func (v *verifier) sizeOf(seg *segment) int64 {
	if seg.known {
		return int64(seg.size)
	}
	f, err := v.fs.Open(segmentName(seg.no))
	if err != nil {
		return 0 // who reads it says so
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return 0
	}
	return n
}

func (v *verifier) segment(j *Journal, i int, seg *segment, n note) error {
	if err := v.ctx.Err(); err != nil {
		return err
	}
	if err := v.checkKey(seg); err != nil {
		return err
	}
	v.head, v.signature = seg.prevHead, nil
	t, err := j.scan(seg, n, v.each)
	if v.signature != nil && !errors.Is(v.signature, ErrNewer) {
		return &CorruptError{File: segmentName(seg.no), Segment: seg.no, First: seg.firstSeq,
			Witness: "the terminal's public key", Err: v.signature}
	}
	if err != nil {
		return err
	}
	v.rep.Last, v.rep.Head = t.seq, t.head
	if t.seq >= seg.firstSeq {
		v.rep.Opening = max(2, seg.firstSeq) // record 1 is the birth
	}
	v.rep.Incarnation = max(v.rep.Incarnation, t.inc)
	if i == len(j.segs)-1 {
		if t.why != nil && !t.zero && !v.live {
			v.rep.Tail = fmt.Sprintf("bytes after offset %d of %s belong to no record (%v)", t.end, segmentName(seg.no), t.why)
		}
		return j.judge(t, n)
	}
	next := j.segs[i+1]
	wrong := t.continues(next)
	if wrong == nil {
		return nil
	}
	if t.why == nil {
		t.why = wrong
	}
	return &CorruptError{File: segmentName(seg.no), Segment: seg.no, Offset: int64(t.end), First: t.seq + 1,
		Last: next.firstSeq - 1, Err: t.why,
		Witness: fmt.Sprintf("segment %d says that it ended at offset %d with record %d", next.no, next.prevEnd, next.firstSeq-1)}
}

// checkKey compares the key that a segment names with the others'.
func (v *verifier) checkKey(seg *segment) error {
	e := &CorruptError{File: segmentName(seg.no), Segment: seg.no, First: seg.firstSeq}
	named := ed25519.PublicKey(seg.key[:])
	switch {
	case v.o.Key != nil && !named.Equal(v.o.Key):
		e.Witness, e.Err = "the public key that was given", fmt.Errorf("%w: page 0 names %x, given was %x", chain.ErrKey, named, v.o.Key)
		return e
	case v.rep.Key != nil && !named.Equal(v.rep.Key):
		e.Witness, e.Err = "the segments before", fmt.Errorf("%w: page 0 names %x, theirs name %x", chain.ErrKey, named, v.rep.Key)
		return e
	case seg.key != [32]byte{}:
		v.rep.Key = named
	}
	return nil
}

// sign checks a checkpoint and the birth record against the key.
func (v *verifier) sign(id chain.ID, r chain.Record) error {
	switch r.Type {
	case chain.TypeBirth:
		b, err := chain.ParseBirth(r.Payload)
		if err == nil && v.rep.Key != nil && !v.rep.Key.Equal(ed25519.PublicKey(b.PublicKey)) {
			err = fmt.Errorf("%w: the birth record names %x, page 0 names %x", chain.ErrKey, b.PublicKey, v.rep.Key)
		}
		return err
	case chain.TypeCheckpoint:
		if err := chain.VerifyCheckpoint(r.Payload, id, r.Seq-1, v.head, v.rep.Key); err != nil {
			return err
		}
		if r.Seq > v.rep.Signed+1 {
			v.rep.Checkpoints++
			v.rep.Signed = r.Seq - 1
		}
	}
	return nil
}

// each passes a record on, once even when a walk had to begin again.
func (v *verifier) each(r chain.Record, h chain.Head) error {
	if err := v.sign(v.rep.Journal, r); err != nil {
		v.signature = err
		return err
	}
	v.head = h
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
	j := looker(disk.ReadOnly{Path: dir}, nil)
	if err := j.survey(); err != nil {
		return chain.ID{}, err
	}
	return j.id, nil
}
