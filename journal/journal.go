package journal

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"posd/journal/chain"
	"posd/journal/internal/disk"
	"posd/journal/internal/hook"
)

// Defaults of Options and CreateOptions.
const (
	DefaultSegmentSize = 4 << 20
	defaultMaxBytes    = 4 << 30
	defaultScrubEvery  = 7 * 24 * time.Hour
)

// Identity is a terminal: a store and a till in it, as configured.
type Identity struct{ Store, Terminal string }

// Opening appends the owner's state as of just before record seq. It stands at
// the start of each segment, so that the owner can begin from the newest one.
// It must not call the journal.
type Opening func(dst []byte, seq uint64) []byte

// Options are what the owner decides at each start.
type Options struct {
	Identity        Identity                   // refused with ErrForeign if the journal is another terminal's; zero: not checked
	SegmentSize     int64                      // bytes of new segments, 0 = 4 MiB
	MaxBytes        int64                      // budget of disk space for all segments, 0 = 4 GiB
	Retention       time.Duration              // settled segments are kept for so long
	Timely          func() bool                // whether the wall clock can be believed: while not, nothing goes for its age alone; nil: always
	Opening         Opening                    // nil: an empty state
	Key             ed25519.PrivateKey         // signs checkpoints; nil: none
	CheckpointEvery int                        // records, 0 = 1,000
	ScrubEvery      time.Duration              // one pass over all segments, 0 = 7 days, negative = never
	Pace            func(done <-chan struct{}) // holds work back that nobody waits for, until its turn or done; nil: nothing does
	Log             *slog.Logger               // nil: discarded

	Lab *hook.Lab // for journal/lab
}

// Journal is the one writer of a journal folder. Its methods are safe for
// concurrent use; Append orders the records.
type Journal struct {
	fs       disk.FS
	lab      *hook.Lab
	lock     *disk.Lock // nil in the lab
	closeFS  func() error
	log      *slog.Logger
	opening  Opening
	opt      Options
	id       chain.ID
	owner    Identity
	inc      uint64
	page     int // page size of this machine
	align    int
	recover  string
	note     noteFile
	kick     chan struct{} // wakes the committer
	kickPrep chan struct{} // wakes the segment maker
	stop     chan struct{}
	failed   chan struct{}
	wg       sync.WaitGroup

	mu       sync.Mutex
	changed  *sync.Cond    // after each sync, spare, failure
	segs     []*segment    // in use, oldest first; the last one is active
	spare    uint32        // number of the spare file that is ready, 0 = none
	spareErr error         // why there is none
	urgent   bool          // someone waits for a spare
	hurry    chan struct{} // ends the pause of whoever makes it, nil: there is none
	rolling  bool
	mustRoll bool // begin a new segment before the next record
	err      error
	closed   bool
	readOnly bool

	// the open group
	off       int // where it begins in the active segment
	fill      int // end of its last frame
	populated int // pages made writable up to here
	nrec      int
	first     uint64 // its first record
	durable   bool   // somebody waits, or a record wants it
	since     time.Time
	head      chain.Head // after the last record appended
	sealed    chain.Head // after the last group sealed
	next      uint64
	hash      hash.Hash

	// the floor
	syncing     bool
	floorSeq    uint64
	floorHead   chain.Head
	lastOpen    uint64 // newest opening state
	settled     uint64
	waiters     []*waiter
	noted       uint64 // floorSeq of the last note
	wantNote    bool
	notedOldest uint32 // segment that the last note calls the oldest
	lastSync    time.Time
	floorEnd    int // of the durable groups in the active segment
	stats       Stats

	key      ed25519.PrivateKey
	signed   uint64 // last record that a checkpoint of this run covers
	surveyed bool   // all pages 0 were read
	scrub    scrubState
	damage   []*CorruptError
}

// CreateOptions describe a new journal.
type CreateOptions struct {
	Identity    Identity
	MachineID   string            // of the board, to notice a cloned disk; may be empty
	PublicKey   ed25519.PublicKey // of the terminal's signing key; may be empty
	SegmentSize int64             // bytes, 0 = 4 MiB
	Opening     Opening

	Parent *chain.Parent // the journal that this one continues, if any
	Copies Copies        // records of it, under their own names; may be nil

	Lab *hook.Lab // for journal/lab
}

// Create makes a journal at dir, which must not exist or be empty, with its
// birth record and first opening state, durable when Create returns.
func Create(dir string, o CreateOptions) (chain.ID, error) {
	if o.Lab != nil && o.Lab.FS != nil {
		return create(o.Lab.FS, o)
	}
	if err := vacant(dir); err != nil {
		return chain.ID{}, err
	}
	tmp := dir + creatingSuffix
	if err := os.RemoveAll(tmp); err != nil {
		return chain.ID{}, err
	}
	if err := os.MkdirAll(tmp, 0o750); err != nil {
		return chain.ID{}, err
	}
	d, err := disk.OpenDir(tmp)
	if err != nil {
		return chain.ID{}, err
	}
	defer d.Close()
	id, err := create(d, o)
	if err != nil {
		return chain.ID{}, errors.Join(fmt.Errorf("create journal in %s: %w", dir, noSpace(err)), os.RemoveAll(tmp))
	}
	if o.Copies != nil {
		if err := copyInto(tmp, o); err != nil {
			return chain.ID{}, errors.Join(fmt.Errorf("copy records into a new journal: %w", noSpace(err)), os.RemoveAll(tmp))
		}
	}
	os.Remove(filepath.Join(dir, "lock"))
	// One rename makes it exist: a cut before leaves no journal, not half of one.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return chain.ID{}, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return chain.ID{}, err
	}
	return id, syncParent(dir)
}

// creatingSuffix names the folder of a journal that is not complete yet.
const creatingSuffix = ".creating"

func syncParent(dir string) error {
	p, err := os.Open(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Sync()
}

func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	for _, e := range entries {
		if segmentNo(e.Name()) != 0 {
			return fmt.Errorf("%w in %s: a terminal keeps its journal for ever; nothing was changed", ErrExists, dir)
		}
	}
	if len(entries) > 0 && entries[0].Name() != "lock" {
		return fmt.Errorf("%s holds other files (%s …): choose an empty folder for the journal", dir, entries[0].Name())
	}
	return nil
}

// Open takes the journal at dir for writing and recovers its end. On a file
// system that is mounted read-only it opens for reading, and Append says
// ErrReadOnly. Errors:
// ErrNoJournal, ErrLocked, ErrForeign, ErrNewer, *CorruptError, or what the
// file system says.
func Open(dir string, o Options) (*Journal, error) {
	if o.Lab != nil && o.Lab.FS != nil {
		return openLab(o)
	}
	if err := vacant(dir); !errors.Is(err, ErrExists) {
		if err == nil {
			err = errors.New("the folder is missing or empty")
		}
		return nil, fmt.Errorf("%w in %s (%w): is the data partition mounted? A new terminal is set up with posctl init", ErrNoJournal, dir, err)
	}
	d, err := disk.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	// Create may have been killed before its rename was durable.
	if err := syncParent(dir); err != nil && !d.ReadOnly() {
		d.Close()
		return nil, err
	}
	lock, err := disk.AcquireLock(dir)
	if err != nil {
		d.Close()
		return nil, err
	}
	lab := hook.Lab{FS: d, Boot: disk.BootID(), Before: lock.Before()}
	if disk.Planted() == "early-ack" {
		lab.Bug = hook.EarlyAck
	}
	if o.Lab != nil {
		lab.Bug, lab.Page = o.Lab.Bug, o.Lab.Page
	}
	lab.ReadOnly = d.ReadOnly()
	j, err := open(o, &lab)
	if err != nil {
		lock.Release()
		d.Close()
		return nil, fmt.Errorf("open journal in %s: %w", dir, err)
	}
	lock.Set("open")
	j.lock, j.closeFS = lock, d.Close
	j.start()
	return j, nil
}

func pageSize(lab *hook.Lab) int {
	if lab != nil && lab.Page != 0 {
		return lab.Page
	}
	return os.Getpagesize()
}

// open recovers the journal but starts nothing.
func open(o Options, lab *hook.Lab) (*Journal, error) {
	if o.SegmentSize == 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	page := pageSize(lab)
	if err := checkSegmentSize(o.SegmentSize, max(minAlign, page)); err != nil {
		return nil, err
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = defaultCheckpointEvery
	}
	if o.ScrubEvery == 0 {
		o.ScrubEvery = defaultScrubEvery
	}
	if o.Pace == nil {
		o.Pace = func(<-chan struct{}) {}
	}
	if o.Opening == nil {
		o.Opening = func(dst []byte, _ uint64) []byte { return dst }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	j := &Journal{
		fs: lab.FS, lab: lab, readOnly: lab.ReadOnly, page: page, log: o.Log, opening: o.Opening, opt: o,
		kick: make(chan struct{}, 1), kickPrep: make(chan struct{}, 1),
		stop: make(chan struct{}), failed: make(chan struct{}), hash: sha256.New(),
	}
	j.changed = sync.NewCond(&j.mu)
	j.stats.LastWrite = time.Now()
	if err := j.recoverAll(); err != nil {
		return nil, err
	}
	j.useKey(o.Key)
	return j, nil
}

func (j *Journal) start() {
	if j.opt.ScrubEvery > 0 {
		j.wg.Go(j.scrubLoop)
	}
	if j.readOnly {
		j.wg.Go(j.learnRest)
		return
	}
	j.wg.Go(j.commitLoop)
	j.wg.Go(j.prepareLoop)
}

// ID of the journal.
func (j *Journal) ID() chain.ID { return j.id }

// Identity of the terminal, from the birth of the journal's segments.
func (j *Journal) Identity() Identity { return j.owner }

// Incarnation counts the opens of this journal that wrote something.
func (j *Journal) Incarnation() uint64 { return j.inc }

// Recovered says what the last start had to do about an interrupted end, or "".
func (j *Journal) Recovered() string { return j.recover }

// Floor is the end of what is durable: the last sequence number and its head.
func (j *Journal) Floor() (uint64, chain.Head) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.floorSeq, j.floorHead
}

// Oldest is the first sequence number that can be read. Where the oldest segment
// is damaged, records before it are still held: Reader tells ErrFreed from damage.
func (j *Journal) Oldest() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.oldestLocked()
}

// LastOpening is the sequence number of the newest opening state.
func (j *Journal) LastOpening() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lastOpen
}

// Full says that no further segment can be had: what is not Finishing will be
// refused when this one is full.
func (j *Journal) Full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.spare == 0 && j.spareErr != nil || j.reserve(Durable) != nil
}

// ReadOnly says whether the file system lets the journal only be read.
func (j *Journal) ReadOnly() bool { return j.readOnly }

// Probe has a floor note written, to find out whether the device still takes
// writes: one page, for a terminal that has been idle for long. It does not wait:
// Stats.LastWrite and Failed tell how it went.
func (j *Journal) Probe() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.readOnly && !j.closed && j.err == nil {
		j.wantNote = true
		poke(j.kick)
	}
}

// Failed is closed when a sync has failed: the process must end.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Err is the latched failure, nil while all is well.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Settle says that head office has committed all records up to seq: their
// segments may be freed when the other conditions hold too. It never goes back.
func (j *Journal) Settle(seq uint64) {
	j.mu.Lock()
	if seq > j.floorSeq {
		seq = j.floorSeq
	}
	j.settled = max(j.settled, seq)
	j.mu.Unlock()
	poke(j.kickPrep)
}

// Stats are counters since Open, and sizes now.
type Stats struct {
	Records, Groups, Syncs uint64
	Bytes                  uint64    // synced to the device by commits
	SyncNanos              uint64    // spent in these syncs
	LastWrite              time.Time // that the device took: of a group or of a floor note
	Segments               int       // in use
	SegmentBytes           int64     // in use and spare
	SpareReady             bool
	Freed                  uint64    // segments given back
	Recycled               uint64    // of these, used again as a spare
	TornTails              uint64    // found at this start: 0 or 1
	Scrubbed               uint64    // bytes read again by the scrub
	ScrubPasses            uint64    // complete ones
	LastScrub              time.Time // end of the last complete pass; zero: none in this run
	Damaged                int       // segments with damage found since Open
	Checkpoints            uint64
	Keyed                  bool // the journal names a public key
	Signing                bool // there is a key, and it is the journal's
	Oldest, FloorSeq       uint64
	NextSeq, SettledSeq    uint64
}

// Stats returns a snapshot.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	s.Segments = len(j.segs)
	for _, seg := range j.segs {
		s.SegmentBytes += int64(seg.size)
	}
	if s.SpareReady = j.spare != 0; s.SpareReady {
		s.SegmentBytes += j.opt.SegmentSize
	}
	s.Oldest, s.FloorSeq, s.NextSeq, s.SettledSeq = j.oldestLocked(), j.floorSeq, j.next, j.settled
	s.Damaged, s.Signing = len(j.damage), j.key != nil
	s.Keyed = j.segs[len(j.segs)-1].key != [32]byte{}
	return s
}

// Close makes what was appended durable, leaves the note of an orderly stop
// and gives the journal back. A Reader that is still open keeps its segment.
func (j *Journal) Close() error {
	if err := j.Checkpoint(); err != nil && !errors.Is(err, ErrClosed) {
		j.log.Warn("journal: the end is not signed", "error", err)
	}
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.hurryUp()
	j.changed.Broadcast()
	for j.rolling { // it would go on storing into what the next owner writes
		j.changed.Wait()
	}
	j.mu.Unlock()
	close(j.stop)
	j.wg.Wait()

	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.err
	if err == nil && !j.readOnly {
		if err = j.writeNoteLocked(true); err != nil {
			err = j.fail(err)
		}
	}
	if j.lock != nil && err == nil {
		j.lock.Set("closed")
	}
	for _, w := range j.waiters {
		w.ch <- ErrClosed
	}
	j.waiters = nil
	j.segs[len(j.segs)-1].drop() // others belong to readers
	err = errors.Join(err, j.note.f.Close())
	if j.closeFS != nil {
		err = errors.Join(err, j.closeFS())
	}
	if j.lock != nil {
		err = errors.Join(err, j.lock.Release())
	}
	return err
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
