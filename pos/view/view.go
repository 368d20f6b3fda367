package view

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"posd/journal"
	"posd/journal/chain"
)

// ErrRebuilding means that there is no file to ask: it was found damaged and is
// being replaced, or the view is closed. Ask again later.
var ErrRebuilding = errors.New("index is being rebuilt")

// Options of a view. The zero value has the defaults.
type Options struct {
	Log          *slog.Logger
	CommitEvents int           // commit after so many events, default 512
	CommitAfter  time.Duration // or when the oldest uncommitted one is so old, default 10 min: a commit writes some 15 pages

	// Pace holds catching up back, until its turn or done, while no lookup waits for
	// it; nil: it rests three times as long as it works.
	Pace func(done <-chan struct{})

	retry time.Duration // after a commit that failed; shorter in tests
	calm  time.Duration // before the file is looked through for the first time; likewise
}

// View is the index. Its methods may be called from any goroutine.
type View struct {
	path string
	j    *journal.Journal
	o    Options

	work     sync.Mutex // held by whoever applies and commits: Run, then Close
	late     []entry    // applied, not yet committed; guarded by work
	due      time.Time  // when late must be committed; zero if it is empty
	refused  bool       // the last commit failed
	left     uint64     // the record before which the file is still to be looked through; 0: none, see scrub
	scrubbed time.Time  // when all of it was
	calm     time.Time  // not before

	damaged atomic.Pointer[error] // set by a reader that met damage; Run then replaces the file

	mu      sync.RWMutex // guards what follows
	file    *file        // nil while there is none
	stir    func()       // ends Run's present wait
	hurry   func()       // ends the present turn of others
	waiting int          // calls of WaitApplied
	applied mark
	wake    chan struct{} // closed when applied moves; nil if nobody waits
	sales   map[string]uint64
	papers  map[string]uint64
	keys    map[keyID]uint64
	backs   []backLine
}

// Open opens the index at path, or replaces it by an empty one that Run fills
// from the oldest record that j holds. It reads no records itself. An error
// means that no file can be had at all (permissions, another process, no space).
func Open(path string, j *journal.Journal, o Options) (*View, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CommitEvents <= 0 {
		o.CommitEvents = 512
	}
	if o.CommitAfter <= 0 {
		o.CommitAfter = 10 * time.Minute
	}
	if o.Pace == nil {
		o.Pace = rest
	}
	if o.retry <= 0 {
		o.retry = 5 * time.Second
	}
	if o.calm <= 0 {
		o.calm = scrubAfter
	}
	v := &View{path: path, j: j, o: o, calm: time.Now().Add(o.calm)}
	f, err := openFile(path)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("index %s is open in another process: stop it first", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open index: %w", err)
	case err != nil:
		return v, v.without(v.replace(err, true))
	}
	m, why, err := v.judge(f)
	if err != nil {
		f.abandon()
		return v, v.without(v.replace(err, true))
	}
	if why != nil {
		if err := f.close(); err != nil {
			f.abandon()
		}
		return v, v.without(v.replace(why, false))
	}
	v.install(f, m)
	return v, nil
}

// without lets a terminal start that cannot have an index because nothing can be
// written: it is there to ship, not to sell.
func (v *View) without(err error) error {
	if err != nil && v.j.ReadOnly() {
		v.o.Log.Warn("there is no index: the file system is read-only", "error", err)
		return nil
	}
	return err
}

// judge says how far f has followed v.j, or why it cannot go on.
func (v *View) judge(f *file) (m mark, why, err error) {
	m, ok, err := f.readMark()
	if err != nil {
		return m, nil, err
	}
	floor, _ := v.j.Floor()
	switch {
	case !ok:
		return m, errors.New("it is new"), nil
	case m.schema != schema && m.schema != schemaWithoutPapers: // see adopt
		return m, fmt.Errorf("it has schema %d, this release uses %d", m.schema, schema), nil
	case m.journal != v.j.ID():
		return m, fmt.Errorf("it belongs to journal %s", m.journal), nil
	case m.applied > floor:
		return m, fmt.Errorf("it is at record %d, the journal ends at %d", m.applied, floor), nil
	}
	head, err := v.headAt(m.applied)
	if err != nil {
		return m, fmt.Errorf("the journal cannot confirm record %d: %w", m.applied, err), nil
	}
	if head != m.head {
		return m, fmt.Errorf("the journal holds another record %d", m.applied), nil
	}
	return m, nil, nil
}

func (v *View) headAt(seq uint64) (chain.Head, error) {
	if seq == 0 {
		return v.j.ID().Head0(), nil
	}
	return v.j.Head(seq)
}

// replace puts an empty file in the place of the present one, which is kept
// beside it if it may be evidence of a fault.
func (v *View) replace(why error, keep bool) error {
	aside := v.path + ".damaged"
	var err error
	if keep {
		err = os.Rename(v.path, aside)
		v.o.Log.Error("index is damaged and is rebuilt from the journal", "path", v.path, "kept as", aside, "error", why)
	} else {
		err = os.Remove(v.path)
		v.o.Log.Info("index is rebuilt from the journal", "path", v.path, "because", why)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put index aside: %w", err)
	}
	f, err := openFile(v.path)
	if err != nil {
		return fmt.Errorf("create index: %w", err)
	}
	m := v.origin()
	if err := f.commit(m, nil, 0, 0); err != nil {
		f.abandon()
		return fmt.Errorf("create index %s: %w", v.path, err)
	}
	v.install(f, m)
	return nil
}

// origin is the mark of an index that has seen nothing: just before the oldest
// record. The head there is gone with its record unless the journal is whole; a
// file that never got further is replaced again at the next start.
func (v *View) origin() mark {
	m := mark{schema: schema, journal: v.j.ID(), applied: v.j.Oldest() - 1}
	if m.applied == 0 {
		m.head = m.journal.Head0()
	}
	return m
}

// install makes f the current file, without what memory held of the one before.
func (v *View) install(f *file, m mark) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.file, v.applied = f, m
	v.damaged.Store(nil)
	v.left = math.MaxUint64
	v.late, v.due, v.refused = nil, time.Time{}, false
	v.sales, v.papers, v.keys, v.backs = map[string]uint64{}, map[string]uint64{}, map[keyID]uint64{}, nil
}

// Applied is the last record that lookups know of.
func (v *View) Applied() uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.applied.applied
}

// WaitApplied returns when lookups know of seq, or with ctx's error.
func (v *View) WaitApplied(ctx context.Context, seq uint64) error {
	v.mu.Lock()
	v.waiting++
	if v.hurry != nil {
		v.hurry()
	}
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		v.waiting--
		v.mu.Unlock()
	}()
	for {
		v.mu.Lock()
		if v.applied.applied >= seq {
			v.mu.Unlock()
			return nil
		}
		if v.wake == nil {
			v.wake = make(chan struct{})
		}
		wake := v.wake
		v.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return fmt.Errorf("index has not reached record %d: %w", seq, ctx.Err())
		}
	}
}

// BySale returns the record of a sale id. ok is false if the journal holds none.
func (v *View) BySale(id string) (seq uint64, ok bool, err error) {
	if seq, ok = v.own(id); ok {
		return seq, true, nil
	}
	return v.byName(bucketSale, id, func() (uint64, bool) { s, ok := v.sales[id]; return s, ok })
}

// ByReceipt returns the newest record with that receipt.
func (v *View) ByReceipt(receipt string) (seq uint64, ok bool, err error) {
	return v.byName(bucketReceipt, receipt, func() (uint64, bool) { s, ok := v.papers[receipt]; return s, ok })
}

func (v *View) byName(bucket []byte, name string, overlay func() (uint64, bool)) (seq uint64, ok bool, err error) {
	if name == "" || len(name) > maxName {
		return 0, false, nil
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	if seq, ok = overlay(); !ok {
		err = v.lookup(func(tx *bolt.Tx) {
			if b := tx.Bucket(bucket); b != nil {
				seq, ok = leadsTo(b, []byte(name))
			}
		})
	}
	return seq, ok && seq >= v.j.Oldest(), err
}

// ByKey returns the record that an idempotency key made; that has the hash of the body too.
// Not found is an answer only if the index has reached record upTo; before, it is
// ErrRebuilding.
func (v *View) ByKey(key string, upTo uint64) (seq uint64, ok bool, err error) {
	id := idOf(key)
	v.mu.RLock()
	defer v.mu.RUnlock()
	if seq, ok = v.keys[id]; !ok {
		err = v.lookup(func(tx *bolt.Tx) {
			if b := tx.Bucket(bucketKey); b != nil {
				seq, ok = leadsTo(b, id[:])
			}
		})
	}
	if !ok && err == nil && v.applied.applied < upTo {
		err = fmt.Errorf("%w: it has reached record %d of %d", ErrRebuilding, v.applied.applied, upTo)
	}
	return seq, ok && seq >= v.j.Oldest(), err
}

// lookup reads the file with v.mu held for reading. A damaged file is reported
// to Run, which replaces it.
func (v *View) lookup(fn func(*bolt.Tx)) error {
	if v.file == nil {
		return ErrRebuilding
	}
	err := v.file.read(func(tx *bolt.Tx) error { fn(tx); return nil })
	if errors.Is(err, errDamaged) {
		v.damaged.Store(&err)
		if v.stir != nil {
			v.stir()
		}
		return fmt.Errorf("%w: %w", ErrRebuilding, err)
	}
	return err
}
