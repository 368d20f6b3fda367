package journal

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"

	"golang.org/x/sys/unix"

	"posd/journal/internal/disk"
)

// modelFS is a file system with a volatile cache in front of a durable medium,
// cut off at a chosen operation. What was not synced by then lands per
// 512-byte sector as old, new or garbled, and per directory entry or not.
type modelFS struct {
	rng     *rand.Rand
	dir     map[string]*modelFile // as a process sees it
	durable map[string]*modelFile
	pending []dirOp
	ops     int
	cutAt   int    // 0 = never
	killAt  int    // 0 = never
	refuse  int    // so many removals and renamings fail
	during  func() // called while a mapped range is being synced
	failAt  int    // the SyncRange with this number fails, its pages are dropped
	syncs   int
	next    *modelFS // what the next boot finds, once the power went
}

type dirOp struct {
	from, to string // create: from ""; remove: to ""
	file     *modelFile
}

type modelFile struct {
	fs  *modelFS
	mem []byte       // page cache
	dur []byte       // medium
	bad map[int]bool // sectors that a failed sync dropped: clean in the cache, never written
}

// errPower is what every operation says after the cut.
var errPower = errors.New("the power is gone")

const sector = 512

func newModelFS(rng *rand.Rand) *modelFS {
	return &modelFS{rng: rng, dir: map[string]*modelFile{}, durable: map[string]*modelFile{}}
}

// op is called before each effect that could be cut.
func (m *modelFS) op() error {
	if m.next != nil {
		return errPower
	}
	m.ops++
	if m.ops == m.cutAt {
		m.next = m.afterCut()
		return errPower
	}
	if m.ops == m.killAt {
		m.next = m // only the process ends
		return errPower
	}
	return nil
}

// afterCut is what the next boot finds.
func (m *modelFS) afterCut() *modelFS {
	n := newModelFS(m.rng)
	m.rng.Shuffle(len(m.pending), func(i, k int) { m.pending[i], m.pending[k] = m.pending[k], m.pending[i] })
	for _, op := range m.pending {
		if m.rng.IntN(2) == 0 {
			m.apply(m.durable, op)
		}
	}
	for name, f := range m.durable {
		g := &modelFile{fs: n, dur: slices.Clone(f.dur)}
		for off := 0; off < len(g.dur); off += sector {
			new, old := f.mem[off:min(off+sector, len(f.mem))], g.dur[off:min(off+sector, len(g.dur))]
			if slices.Equal(new, old) {
				continue
			}
			switch p := m.rng.IntN(20); {
			case p < 9:
				copy(old, new)
			case p == 9:
				for i := range old {
					old[i] = byte(m.rng.Uint32())
				}
			}
		}
		g.mem = slices.Clone(g.dur)
		n.dir[name], n.durable[name] = g, g
	}
	return n
}

// afterKill is what the next process finds when only this one died.
func (m *modelFS) afterKill() *modelFS {
	m.next, m.cutAt, m.killAt, m.during, m.failAt, m.syncs, m.ops = nil, 0, 0, nil, 0, 0, 0
	return m
}

func (m *modelFS) apply(dir map[string]*modelFile, op dirOp) {
	switch {
	case op.from == "":
		dir[op.to] = op.file
	case op.to == "":
		if dir[op.from] == op.file {
			delete(dir, op.from)
		}
	case dir[op.from] == op.file:
		delete(dir, op.from)
		dir[op.to] = op.file
	}
}

func (m *modelFS) Names() ([]string, error) {
	var names []string
	for n := range m.dir {
		names = append(names, n)
	}
	return names, nil
}

func (m *modelFS) change(op dirOp) error {
	if err := m.op(); err != nil {
		return err
	}
	m.apply(m.dir, op)
	m.pending = append(m.pending, op)
	return nil
}

func (m *modelFS) Create(name string, size int64, _ func()) error {
	if m.dir[name] != nil {
		return fs.ErrExist
	}
	part := m.rng.Int64N(size)
	f := &modelFile{fs: m, mem: make([]byte, part), dur: make([]byte, part)}
	if err := m.change(dirOp{to: name, file: f}); err != nil {
		return err
	}
	if err := m.op(); err != nil {
		return err
	}
	f.mem, f.dur = make([]byte, size), make([]byte, size)
	return nil
}

func (m *modelFS) Open(name string) (disk.File, error) {
	if f := m.dir[name]; f != nil {
		return f, nil
	}
	return nil, fs.ErrNotExist
}

func (m *modelFS) Rename(from, to string) error {
	if m.refuse > 0 {
		m.refuse--
		return unix.EPERM
	}
	return m.change(dirOp{from: from, to: to, file: m.dir[from]})
}

func (m *modelFS) Remove(name string) error {
	f := m.dir[name]
	if f == nil {
		return fs.ErrNotExist
	}
	if m.refuse > 0 {
		m.refuse--
		return unix.EPERM
	}
	return m.change(dirOp{from: name, file: f})
}

func (m *modelFS) SyncDir() error {
	if err := m.op(); err != nil {
		return err
	}
	for _, op := range m.pending {
		m.apply(m.durable, op)
	}
	m.pending = nil
	return nil
}

func (m *modelFS) Free() (uint64, error) { return 1 << 40, nil }

func (f *modelFile) Size() (int64, error)     { return int64(len(f.mem)), nil }
func (f *modelFile) Map(bool) ([]byte, error) { return f.mem, nil }
func (f *modelFile) DropCache()               {}
func (f *modelFile) Close() error             { return nil }
func (f *modelFile) Datasync() error          { return f.sync(0, len(f.mem)) }

// Populate dirties the pages, as MADV_POPULATE_WRITE does.
func (f *modelFile) Populate(off, n int) error {
	for s := off; s < off+n; s += sector {
		delete(f.bad, s)
	}
	return nil
}

func (f *modelFile) SyncRange(off, n int) error {
	if d := f.fs.during; d != nil {
		f.fs.during = nil
		d()
		f.fs.during = d
	}
	f.fs.syncs++
	if f.fs.syncs == f.fs.failAt {
		if err := f.fs.op(); err != nil {
			return err
		}
		if f.bad == nil {
			f.bad = map[int]bool{}
		}
		for s := off; s < off+n; s += sector { // the kernel calls the pages clean
			f.bad[s] = true
		}
		return unix.EIO
	}
	return f.sync(off, n)
}

func (f *modelFile) sync(off, n int) error {
	if err := f.fs.op(); err != nil {
		return err
	}
	for s := off; s < off+n; s += sector {
		end := min(s+sector, off+n, len(f.mem))
		if f.bad[s] {
			continue
		}
		copy(f.dur[s:end], f.mem[s:end])
	}
	return nil
}

func (f *modelFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.op(); err != nil {
		return 0, err
	}
	return copy(f.mem[off:], p), nil
}

func readFrom(b, p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *modelFile) ReadAt(p []byte, off int64) (int, error)   { return readFrom(f.mem, p, off) }
func (f *modelFile) ReadCold(p []byte, off int64) (int, error) { return readFrom(f.dur, p, off) }
