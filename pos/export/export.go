package export

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posd/journal"
)

// Bounds.
const (
	mostJobs    = 8        // that are known, files of finished ones included
	mostFile    = 64 << 20 // bytes of one
	mostFiles   = 96 << 20 // of all
	keepFree    = 64 << 20 // that stay free on the disk, for sales
	lookAtSpace = 5 * time.Second
	idSize      = 8 // bytes
)

// Formats, and kinds of rows of a table.
const (
	JSONL = "jsonl"
	CSV   = "csv"
)

// RowKinds are the tables that there are.
var RowKinds = []string{"sales", "lines", "tenders", "taxes"}

// Query says what is wanted: a business date, or a shift that is closed.
type Query struct {
	Date   string // YYYY-MM-DD; empty: the shift
	Z      uint64 // number of its report
	Shift  uint64 // its own
	Closed uint64 // record that closed it
	// Setback is the record from which on business dates do not go back: the one that opened
	// the last shift of an earlier date than the one before it, because that one's clock was
	// wrong, or a later one; 0: they never did.
	Setback uint64
	Format  string
	Rows    string // one of RowKinds, of a table
}

// State of a job.
type State string

const (
	Waiting State = "waiting"
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
)

// Job is one export.
type Job struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	ID string
	Query
	State     State
	Until     uint64 // last record that it may hold
	Read      uint64 // records so far
	Written   uint64 // events, or rows of the table
	Bytes     int64
	Truncated bool // the journal does not hold the beginning any more
	Why       string
	Asked     time.Time
	Ended     time.Time

	key  string
	hash [32]byte
}

var (
	// ErrBusy: too many wait already.
	ErrBusy = errors.New("too many exports wait")
	// ErrKeyReused: the key belongs to another request.
	ErrKeyReused = errors.New("idempotency key was used for another request")
	// ErrNoJob: there is none of that name, or not any more.
	ErrNoJob = errors.New("no such export")
	// ErrNotDone: it has no data yet, or none at all.
	ErrNotDone = errors.New("the export is not done")

	errNoSpace = errors.New("there is no space for it: free some on the data partition, or fetch it later")
	errTooBig  = errors.New("it is larger than an export may be; ask for less, or fetch it from head office")
)

// Options of an exporter. Dir and Journal are required.
type Options struct {
	Dir     string // its own folder
	Journal *journal.Journal
	Pace    func(done <-chan struct{}) // holds it back until its turn or done; nil: nothing does
	Log     *slog.Logger

	free                func(dir string) (int64, error) // other ones in tests
	mostFile, mostFiles int64
}

// Exporter makes exports. Its methods may be called by any goroutine.
type Exporter struct {
	o    Options
	work chan string // ids

	mu   sync.Mutex
	jobs []*Job // the oldest first
}

// New returns an exporter that works once Run is called.
func New(o Options) *Exporter {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Pace == nil {
		o.Pace = func(<-chan struct{}) {}
	}
	if o.free == nil {
		o.free = freeBytes
	}
	if o.mostFile == 0 {
		o.mostFile, o.mostFiles = mostFile, mostFiles
	}
	return &Exporter{o: o, work: make(chan string, mostJobs)}
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	return int64(st.Bavail) * st.Bsize, err
}

// Run makes exports until ctx ends. It begins with an empty folder.
func (x *Exporter) Run(ctx context.Context) error {
	x.clean()
	tick := time.NewTicker(lookAtSpace)
	defer tick.Stop()
	for {
		select {
		case id := <-x.work:
			x.do(ctx, id)
		case <-tick.C:
			if x.o.Journal.Full() {
				x.dropAll()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// clean removes what a former process left.
func (x *Exporter) clean() {
	entries, err := os.ReadDir(x.o.Dir)
	for _, e := range entries {
		if _, bad := hex.DecodeString(e.Name()); bad == nil && len(e.Name()) == 2*idSize { // others' files stay
			err = errors.Join(err, os.Remove(filepath.Join(x.o.Dir, e.Name())))
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.o.Log.Warn("old exports are left", "error", err)
	}
}

// Start takes a job, or finds the one that the key has made.
func (x *Exporter) Start(key string, hash [32]byte, q Query) (j Job, replayed bool, err error) {
	floor, _ := x.o.Journal.Floor()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, k := range x.jobs {
		switch {
		case k.key != key:
		case k.hash != hash:
			return j, false, ErrKeyReused
		default:
			return *k, true, nil
		}
	}
	if len(x.jobs) == mostJobs && !x.evict() {
		return j, false, ErrBusy
	}
	var id [idSize]byte
	rand.Read(id[:])
	k := &Job{ID: hex.EncodeToString(id[:]), Query: q, State: Waiting, Until: floor, Asked: time.Now(), key: key, hash: hash}
	if q.Date == "" {
		k.Until = q.Closed
	}
	x.jobs = append(x.jobs, k)
	x.work <- k.ID // there is room for all that are known
	return *k, false, nil
}

// Asked says that a call with the key has asked for just this before.
func (x *Exporter) Asked(key string, hash [32]byte) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.ContainsFunc(x.jobs, func(j *Job) bool { return j.key == key && j.hash == hash })
}

// evict forgets the oldest job that has ended. Callers hold mu.
func (x *Exporter) evict() bool {
	i := slices.IndexFunc(x.jobs, func(j *Job) bool { return j.State == Done || j.State == Failed })
	if i < 0 {
		return false
	}
	x.remove(x.jobs[i].ID)
	x.jobs = slices.Delete(x.jobs, i, i+1)
	return true
}

// remove gives the space back at once: who is fetching the file, as slowly as may be, finds
// its end.
func (x *Exporter) remove(id string) {
	err := os.Truncate(x.path(id), 0)
	if e := os.Remove(x.path(id)); e != nil {
		err = e
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.o.Log.Warn("an export is left", "export", id, "error", err)
	}
}

// dropAll gives back what exports take: sales need it.
func (x *Exporter) dropAll() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, j := range x.jobs {
		if j.State == Done {
			x.remove(j.ID)
			j.State, j.Why, j.Bytes = Failed, errNoSpace.Error(), 0
		}
	}
}

func (x *Exporter) path(id string) string { return filepath.Join(x.o.Dir, id) }

// Job finds a job.
func (x *Exporter) Job(id string) (Job, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if j := x.find(id); j != nil {
		return *j, nil
	}
	return Job{}, ErrNoJob
}

func (x *Exporter) find(id string) *Job {
	for _, j := range x.jobs {
		if j.ID == id {
			return j
		}
	}
	return nil
}

// Jobs are all that are known, the newest first.
func (x *Exporter) Jobs() []Job {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make([]Job, 0, len(x.jobs))
	for _, j := range slices.Backward(x.jobs) {
		list = append(list, *j)
	}
	return list
}

// Open opens the data of a job. Errors: ErrNoJob, ErrNotDone.
func (x *Exporter) Open(id string) (*os.File, Job, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	j := x.find(id)
	switch {
	case j == nil:
		return nil, Job{}, ErrNoJob
	case j.State != Done:
		return nil, *j, ErrNotDone
	}
	f, err := os.Open(x.path(id))
	return f, *j, err
}

// change changes a job that is being made.
func (x *Exporter) change(id string, f func(*Job)) (j Job) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if k := x.find(id); k != nil {
		f(k)
		j = *k
	}
	return j
}

// do makes one export.
func (x *Exporter) do(ctx context.Context, id string) {
	j := x.change(id, func(j *Job) { j.State = Running })
	err := x.make(ctx, &j)
	if err != nil {
		x.remove(id)
		x.o.Log.Warn("an export failed", "export", id, "error", err)
	}
	x.change(id, func(k *Job) {
		k.State, k.Ended, k.Read, k.Written, k.Bytes, k.Truncated = Done, time.Now(), j.Read, j.Written, j.Bytes, j.Truncated
		if err != nil {
			k.State, k.Why, k.Bytes = Failed, err.Error(), 0
		}
	})
}

func (x *Exporter) make(ctx context.Context, j *Job) error {
	if err := os.MkdirAll(x.o.Dir, 0o700); err != nil {
		return err
	}
	w, err := x.create(j.ID)
	if err != nil {
		return err
	}
	spans, err := x.bounds(ctx, j)
	if err == nil {
		err = x.copy(ctx, j, w, spans)
	}
	j.Bytes = w.size
	return errors.Join(err, w.close())
}

// copy writes the records of spans.
func (x *Exporter) copy(ctx context.Context, j *Job, w *file, spans []span) error {
	e := encoder{j: j, buf: make([]byte, 0, pieceSize+pieceSize/4)}
	e.begin()
	for _, one := range spans {
		if err := x.copySpan(ctx, j, &e, w, one); err != nil {
			return err
		}
	}
	return e.flush(w)
}

func (x *Exporter) copySpan(ctx context.Context, j *Job, e *encoder, w *file, one span) error {
	s := scan{x: x, next: one.first, end: one.end, heads: j.Format == JSONL}
	for {
		more, err := s.turn(ctx, func(r *record) error {
			e.event(r)
			if len(e.buf) < pieceSize {
				return nil
			}
			return e.flush(w)
		})
		if err != nil {
			return err
		}
		x.change(j.ID, func(k *Job) { k.Read, k.Written, k.Bytes = j.Read, j.Written, w.size })
		if !more {
			return nil
		}
		if x.o.Journal.Full() {
			return errNoSpace
		}
	}
}

// taken is what the files of all jobs take.
func (x *Exporter) taken() (sum int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, j := range x.jobs {
		sum += j.Bytes
	}
	return sum
}

// room says whether one more piece may be written.
func (x *Exporter) room(own int64) error {
	if own > x.o.mostFile {
		return errTooBig
	}
	for x.taken()+pieceSize > x.o.mostFiles {
		x.mu.Lock()
		gone := x.evict()
		x.mu.Unlock()
		if !gone {
			return errTooBig
		}
	}
	free, err := x.o.free(x.o.Dir)
	if err != nil {
		return fmt.Errorf("space of %s: %w", x.o.Dir, err)
	}
	if free < keepFree+pieceSize {
		return errNoSpace
	}
	return nil
}
