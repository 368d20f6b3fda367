package lab

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"

	"golang.org/x/sys/unix"

	"posd/journal/internal/disk"
)

const (
	sector = 512
	page   = 4096
)

// errPower is what every operation says after the cut.
var errPower = errors.New("the power is gone")

// modelFS is a file system with a volatile cache in front of a medium. The power
// goes, or the process is killed, at a chosen operation.
type modelFS struct {
	rng     *rand.Rand
	dir     folder  // as a process sees it
	durable folder  // as the medium has it
	pending []dirOp // between the two, in order

	ops    int
	cutAt  int    // the power goes at this operation; 0 = never
	killAt int    // the process ends at this operation; 0 = never
	killIn bool   // it ends at the next sync of the folder
	failAt int    // this sync fails; 0 = never
	syncs  int    // so far
	refuse int    // so many removals and renamings fail
	full   int    // so many files cannot be made
	during func() // called while a mapped range is being synced

	power   *cut // not nil: the power is gone
	killed  bool
	changes int // operations that changed something, syncs aside
}

// folder is a list, not a map: its order must be the same in each run.
type folder []dirEntry

type dirEntry struct {
	name string
	file *modelFile
}

type dirOp struct {
	from, to string // create: from ""; remove: to ""
	file     *modelFile
}

func newModelFS(rng *rand.Rand) *modelFS { return &modelFS{rng: rng} }

func (d folder) index(name string) int {
	return slices.IndexFunc(d, func(e dirEntry) bool { return e.name == name })
}

func (d folder) find(name string) *modelFile {
	if i := d.index(name); i >= 0 {
		return d[i].file
	}
	return nil
}

func (d folder) drop(name string) folder {
	if i := d.index(name); i >= 0 {
		return slices.Delete(d, i, i+1)
	}
	return d
}

// apply does op if it still fits what is there.
func (d folder) apply(op dirOp) folder {
	if op.from != "" {
		if d.find(op.from) != op.file {
			return d
		}
		d = d.drop(op.from)
	}
	if op.to != "" {
		d = append(d.drop(op.to), dirEntry{op.to, op.file})
	}
	return d
}

// op is called before each effect that could be cut.
func (m *modelFS) op() error {
	if m.power != nil || m.killed {
		return errPower
	}
	m.ops++
	switch m.ops {
	case m.cutAt:
		m.powerOff()
		return errPower
	case m.killAt:
		m.killed = true
		return errPower
	}
	return nil
}

// restart is what the next process finds when only this one ended.
func (m *modelFS) restart() {
	m.killed, m.killIn, m.during = false, false, nil
	m.ops, m.cutAt, m.killAt, m.failAt, m.syncs, m.refuse, m.full = 0, 0, 0, 0, 0, 0, 0
}

// failed says whether the sync that was to fail has done so.
func (m *modelFS) failed() bool { return m.failAt != 0 && m.syncs >= m.failAt }

// writeBack lets some of what nobody has synced yet reach the medium, as a kernel
// does when it likes to.
func (m *modelFS) writeBack() {
	for _, e := range m.dir {
		some := e.file.dirty(everything)
		if some.empty() {
			continue
		}
		for i := range some {
			some[i] &= m.rng.Uint64() & m.rng.Uint64()
		}
		e.file.land(some)
	}
}

func (m *modelFS) Names() ([]string, error) {
	names := make([]string, len(m.dir))
	for i, e := range m.dir {
		names[i] = e.name
	}
	return names, nil
}

func (m *modelFS) change(op dirOp) error {
	if err := m.op(); err != nil {
		return err
	}
	m.changes++
	m.dir = m.dir.apply(op)
	m.pending = append(m.pending, op)
	return nil
}

// Create makes a file in two steps, so that a cut can leave a short one.
func (m *modelFS) Create(name string, size int64, _ func()) error {
	if m.dir.find(name) != nil {
		return fs.ErrExist
	}
	if m.full > 0 {
		m.full--
		return unix.ENOSPC
	}
	f := &modelFile{fs: m, dur: make([]byte, m.rng.Int64N(size))}
	if err := m.change(dirOp{to: name, file: f}); err != nil {
		return err
	}
	if err := m.op(); err != nil {
		return err
	}
	f.dur = make([]byte, size)
	return nil
}

func (m *modelFS) Open(name string) (disk.File, error) {
	if f := m.dir.find(name); f != nil {
		return f, nil
	}
	return nil, fs.ErrNotExist
}

func (m *modelFS) Rename(from, to string) error {
	if m.refuse > 0 {
		m.refuse--
		return unix.EPERM
	}
	return m.change(dirOp{from: from, to: to, file: m.dir.find(from)})
}

func (m *modelFS) Remove(name string) error {
	f := m.dir.find(name)
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
	if m.killIn && len(m.pending) > 0 {
		m.killAt = m.ops + 1
	}
	if err := m.op(); err != nil {
		return err
	}
	if m.syncs++; m.syncs == m.failAt {
		return unix.EIO // the names may be there after a cut, or not
	}
	for _, op := range m.pending {
		m.durable = m.durable.apply(op)
	}
	m.pending = nil
	return nil
}

func (m *modelFS) Free() (uint64, error) { return 1 << 40, nil }
