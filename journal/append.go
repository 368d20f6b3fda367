package journal

import (
	"fmt"
	"runtime/debug"
	"time"

	"posd/journal/internal/hook"

	"posd/journal/chain"
)

// Class says when a record must be durable.
type Class uint8

const (
	// Durable records are sealed as soon as the device is free.
	Durable Class = iota
	// Soon records are sealed with the next durable one, or within two seconds.
	Soon
	// Finishing records are durable ones that end something which was begun: a
	// tender that was approved, a shift. They may use the reserve, the last spare
	// segment on a disk where no further one can be made.
	Finishing
)

const soonAfter = 2 * time.Second

// Encoder writes a record's payload.
type Encoder interface {
	// AppendRecord appends the payload of record seq to dst, which lies in the
	// mapped segment, and returns the extended slice. It is called again, perhaps
	// with another seq, when the payload was longer than the hint and did not fit.
	AppendRecord(dst []byte, seq uint64) ([]byte, error)
}

// Append adds a record and returns its sequence number. It is not durable yet:
// see Wait. hint is the expected payload in bytes; a longer payload is copied
// once. At the start of a segment the opening state takes a number of its own,
// so use the number that is returned. Errors: ErrNoSpace, ErrReadOnly,
// ErrTooLarge, what the encoder said (nothing happened in these cases),
// ErrFailed, ErrClosed.
func (j *Journal) Append(t chain.Type, c Class, hint int, e Encoder) (seq uint64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			seq, err = 0, j.fail(fault(p))
		}
	}()
	hint = max(0, min(hint, chain.MaxRecord+chain.CopyHeader))
	var spill []byte
	for {
		if err := j.room(hint, c); err != nil {
			return 0, err
		}
		seq := j.next
		n, out, err := j.encode(hint, seq, e, spill)
		if err != nil {
			return 0, err
		}
		if n > chain.MaxRecord && t != chain.TypeCopy {
			return 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, n, chain.MaxRecord)
		}
		if out != nil { // did not fit: make room for all of it
			spill, hint = out, n
			if err := j.room(hint, c); err != nil {
				return 0, err
			}
			if j.next != seq {
				spill = nil // an opening state took the number
			}
			continue
		}
		j.add(t, n, seq, c)
		j.signIfDue()
		return seq, nil
	}
}

// room makes sure that a payload of n bytes fits into the open group, with its
// pages writable. Callers hold mu; it is given up while waiting.
func (j *Journal) room(n int, c Class) error {
	for {
		switch {
		case j.err != nil:
			return j.err
		case j.closed:
			return ErrClosed
		case j.readOnly:
			return ErrReadOnly
		case j.rolling:
			j.changed.Wait()
			continue
		}
		seg := j.segs[len(j.segs)-1]
		need := chain.FrameSize(n)
		if need > int(j.opt.SegmentSize)/4+chain.CopyHeader { // an opening state may take half
			return fmt.Errorf("%w: %d bytes in segments of %d", ErrTooLarge, n, j.opt.SegmentSize)
		}
		end := roundUp(j.fill+need, seg.align)
		switch {
		case j.mustRoll || end > int(seg.size):
			if err := j.reserve(c); err != nil {
				return err
			}
			if err := j.roll(c); err != nil {
				return err
			}
		case seg.end == seg.align && j.nrec == 0:
			// The last run stored page 0 and no more.
			state, err := j.openingState()
			if err != nil {
				return err
			}
			if j.mustRoll = seg.align+groupHeader+chain.FrameSize(len(state)) > int(seg.size)/2; j.mustRoll {
				continue // of another size
			}
			if err := j.writeOpening(state); err != nil {
				return err
			}
		case end-j.off > maxGroup || j.nrec == maxRecs:
			// The group is full and the one before is still being synced.
			j.durable = true
			j.letCommit()
		default:
			return j.populate(seg, end)
		}
	}
}

func (j *Journal) populate(seg *segment, end int) error {
	if end <= j.populated {
		return nil
	}
	// A page fault would hold Go's only processor, a system call does not; and
	// a bad page is EFAULT here but SIGBUS there.
	if err := seg.file.Populate(j.populated, end-j.populated); err != nil {
		return j.fail(fmt.Errorf("make pages %d to %d of %s writable: %w", j.populated, end, segmentName(seg.no), err))
	}
	j.populated = end
	return nil
}

// fault turns the panic of an access to a page that the storage cannot give
// into an error, and lets every other panic go on.
func fault(p any) error {
	if _, ok := p.(interface{ Addr() uintptr }); !ok {
		panic(p)
	}
	return fmt.Errorf("the storage cannot give a mapped page: %v", p)
}

// encode lets e write into the map, or copies spill there. out is not nil if
// the payload did not fit.
func (j *Journal) encode(hint int, seq uint64, e Encoder, spill []byte) (n int, out []byte, err error) {
	seg := j.segs[len(j.segs)-1]
	at := j.fill + chain.FrameHeader
	limit := min(j.populated, j.off+maxGroup) &^ 7
	dst := seg.data[at:at:limit]
	if spill != nil {
		return copy(dst[:hint], spill), nil, nil
	}
	b, err := e.AppendRecord(dst, seq)
	if err != nil {
		return 0, nil, err
	}
	if len(b) == 0 || (len(b) <= cap(dst) && &b[0] == &seg.data[at]) {
		return len(b), nil, nil
	}
	return len(b), b, nil
}

// add makes the encoded payload a record of the open group. Callers hold mu.
func (j *Journal) add(t chain.Type, n int, seq uint64, c Class) {
	seg := j.segs[len(j.segs)-1]
	size := chain.FrameSize(n)
	frame := seg.data[j.fill : j.fill+size]
	chain.PutFrame(frame, n, t, 0, seq)
	j.hash.Reset()
	j.hash.Write(j.head[:])
	j.hash.Write(frame)
	j.hash.Sum(j.head[:0])
	if j.nrec == 0 {
		j.first, j.since = seq, time.Now()
	}
	j.fill += size
	j.nrec++
	j.next++
	j.stats.Records++
	if c != Soon {
		j.durable = true
	}
	if t == chain.TypeCheckpoint {
		j.signed = seq
		j.stats.Checkpoints++
	}
	if j.lab.Bug == hook.EarlySeal {
		j.sealOpen()
	}
	poke(j.kick)
}

// reserve keeps the last spare for what must be finished: a sale is refused
// before it begins, not in the middle. Callers hold mu.
func (j *Journal) reserve(c Class) error {
	if c == Finishing || j.spare == 0 || j.freeableLocked(0, time.Now(), false) {
		return nil // no spare: the segment maker says why
	}
	var err error
	if used := j.usedLocked(); used+2*j.opt.SegmentSize > j.opt.MaxBytes {
		err = overBudget(used, j.opt.MaxBytes)
	} else if free, e := j.fs.Free(); e == nil && free < j.least() {
		err = fmt.Errorf("the spare segment is kept to finish what is open: %w", j.noRoom(free))
	}
	if err != nil && j.freeableLocked(0, time.Now(), true) {
		return nil // it becomes the next spare
	}
	return err
}

func overBudget(used, most int64) error {
	return fmt.Errorf("%w: segments take %d bytes, the budget is %d; records that head office has not settled are never deleted: restore the link or raise data.max_bytes",
		ErrNoSpace, used, most)
}

// roll goes on to the next segment, for a record of class c. Callers hold mu and no
// other Append runs.
func (j *Journal) roll(c Class) error {
	j.rolling = true
	defer func() { j.rolling = false; j.changed.Broadcast() }()
	// Page 0 may be stored only after the last sync of this segment returned.
	if j.lab.Bug != hook.EarlyPage0 {
		if err := j.drain(); err != nil {
			return err
		}
	}
	if err := j.awaitSpare(); err != nil {
		return err
	}
	if err := j.reserve(c); err != nil { // the spare was only just made, and is the last
		return err
	}
	state, err := j.openingState()
	if err != nil {
		return err
	}
	next, err := j.beginSegment()
	if err != nil {
		return err
	}
	if j.lab.Bug == hook.EarlyPage0 {
		if err := j.drain(); err != nil {
			return err
		}
	}
	j.segs[len(j.segs)-1].drop()
	j.segs = append(j.segs, next)
	j.spare, j.mustRoll, j.wantNote = 0, false, true
	poke(j.kickPrep)
	j.off, j.fill, j.populated = next.align, next.align+groupHeader, next.align
	j.floorEnd = next.align // nothing of it is durable yet
	return j.writeOpening(state)
}

func (j *Journal) openingState() ([]byte, error) {
	state := j.opening(nil, j.next)
	if len(state) > chain.MaxRecord || j.align+groupHeader+chain.FrameSize(len(state)) > int(j.opt.SegmentSize)/2 {
		return nil, fmt.Errorf("%w: opening state of %d bytes", ErrTooLarge, len(state))
	}
	return state, nil
}

// writeOpening makes the owner's state the first record of the active segment.
func (j *Journal) writeOpening(state []byte) error {
	seg := j.segs[len(j.segs)-1]
	if err := j.populate(seg, roundUp(j.fill+chain.FrameSize(len(state)), seg.align)); err != nil {
		return err
	}
	j.lastOpen = j.next
	copy(seg.data[j.fill+chain.FrameHeader:], state)
	j.add(chain.TypeOpening, len(state), j.next, Soon)
	return nil
}

// drain waits until all that was appended is durable.
func (j *Journal) drain() error {
	for j.err == nil && (j.syncing || j.nrec > 0) {
		j.durable = j.nrec > 0
		j.letCommit()
	}
	return j.err
}

// awaitSpare waits for the segment maker, which is ahead except after a burst.
func (j *Journal) awaitSpare() error {
	j.urgent, j.spareErr = true, nil
	j.hurryUp()
	defer func() { j.urgent = false }()
	for j.spare == 0 && j.spareErr == nil && j.err == nil && !j.closed {
		if j.lab.Manual {
			j.mu.Unlock()
			err := j.prepare()
			j.mu.Lock()
			j.spareErr = err
			continue
		}
		poke(j.kickPrep)
		j.changed.Wait()
	}
	switch {
	case j.err != nil:
		return j.err
	case j.closed:
		return ErrClosed
	case j.spare == 0:
		return j.spareErr
	}
	return nil
}

// beginSegment stores page 0 of the spare and makes it durable.
func (j *Journal) beginSegment() (*segment, error) {
	old := j.segs[len(j.segs)-1]
	s := &segment{segmentHead: segmentHead{
		align: j.align, id: j.id, incarnation: j.inc, no: j.spare, size: uint32(j.opt.SegmentSize),
		firstSeq: j.next, prevEnd: uint32(old.end), prevHead: j.head, owner: j.owner,
		created: time.Now().UnixMilli(), key: old.key, machine: old.machine,
	}, known: true, end: j.align, refs: 1}
	if j.lab.Bug == hook.EarlyPage0 && j.nrec > 0 {
		s.prevEnd = uint32(roundUp(j.fill, old.align)) // where the open group will end
	}
	written := s.segmentHead
	if j.lab.Bug == hook.Unaligned {
		s.align, s.end = unalignedBy, unalignedBy
	}
	if err := s.open(j.fs, true); err != nil {
		return nil, j.fail(fmt.Errorf("open segment %d: %w", s.no, err))
	}
	err := s.file.Populate(0, s.align)
	if err == nil {
		clear(s.data[:s.align])
		written.encode(s.data[:page0Used])
		j.mu.Unlock()
		err = s.file.SyncRange(0, s.align)
		j.mu.Lock()
	}
	if err != nil {
		s.drop()
		return nil, j.fail(fmt.Errorf("sync page 0 of segment %d: %w", s.no, err))
	}
	return s, nil
}

// fail latches err. Callers hold mu.
func (j *Journal) fail(err error) error {
	if j.err == nil {
		j.err = fmt.Errorf("%w: %w; what was not confirmed must be taken as lost, restart to recover", ErrFailed, err)
		close(j.failed)
		j.log.Error("journal: storage failed, nothing is acknowledged any more", "error", err)
		for _, w := range j.waiters {
			w.ch <- j.err
		}
		j.waiters = nil
		j.changed.Broadcast()
		if j.lock != nil {
			j.lock.Set("failed")
		}
	}
	return j.err
}
