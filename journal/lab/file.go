package lab

import (
	"io"
	"slices"

	"golang.org/x/sys/unix"
)

// modelFile is one file with its page cache.
type modelFile struct {
	fs     *modelFS
	dur    []byte // the medium
	mem    []byte // the page cache; nil while it is the same as the medium
	shared bool   // dur belongs to other states too: it is copied before a store

	dropped    sectors // a failed sync called them clean: in the cache, never written
	unreadable sectors // on the medium, until they are written again
	absent     sectors // unreadable, and not in the page cache either
}

// cache is what a process reads.
func (f *modelFile) cache() []byte {
	if f.mem != nil {
		return f.mem
	}
	return f.dur
}

// own makes dur this state's alone.
func (f *modelFile) own() {
	if f.shared {
		f.dur, f.shared = slices.Clone(f.dur), false
	}
}

// land brings sectors of the page cache to the medium.
func (f *modelFile) land(s sectors) {
	if s.empty() || f.mem == nil {
		return
	}
	f.own()
	s.each(len(f.dur), func(_, from, to int) { copy(f.dur[from:to], f.mem[from:to]) })
	f.unreadable = f.unreadable.without(s)
}

// dirty are those of s that the kernel would write: where the page cache differs
// from the medium, or the medium cannot be read. A store to the map is seen here,
// without being told.
func (f *modelFile) dirty(s sectors) (d sectors) {
	if f.mem == nil {
		return d
	}
	s = s.without(f.dropped).without(f.absent)
	s.each(len(f.dur), func(i, from, to int) {
		if string(f.mem[from:to]) != string(f.dur[from:to]) {
			d.add(i)
		}
	})
	return d.or(s.and(f.unreadable))
}

// store is told of sectors that are about to be stored to.
func (f *modelFile) store(s sectors) {
	if f.mem == nil {
		f.mem = slices.Clone(f.dur)
	}
	f.dropped = f.dropped.without(s)
}

func (f *modelFile) Size() (int64, error) { return int64(len(f.dur)), nil }
func (f *modelFile) Close() error         { return nil }

// DropCache is advice: pages that are called clean go, or stay.
func (f *modelFile) DropCache() {
	if f.dropped.empty() || f.fs.rng.IntN(2) == 0 {
		return
	}
	f.dropped.each(len(f.dur), func(_, from, to int) { copy(f.mem[from:to], f.dur[from:to]) })
	f.absent = f.absent.or(f.unreadable.and(f.dropped))
	f.dropped = sectors{}
}

func (f *modelFile) Map(write bool) ([]byte, error) {
	if write && f.mem == nil {
		f.mem = slices.Clone(f.dur)
	}
	return f.cache(), nil
}

// Populate stores zeros. A whole page need not be in the cache for that; a part
// of one is read first, which fails where the medium does.
func (f *modelFile) Populate(off, n int) error {
	s := span(off/page*page, (off%page+n+page-1)/page*page)
	if (off%page != 0 || n%page != 0) && !s.and(f.absent).empty() {
		return unix.EFAULT
	}
	f.fs.changes++
	f.store(s)
	f.absent = f.absent.without(s)
	clear(f.mem[off : off+n])
	return nil
}

// Fetch and Near are advice: this medium is as near as it gets.
func (f *modelFile) Fetch(int, int)  {}
func (f *modelFile) Near(int, int)   {}
func (f *modelFile) Behind(int, int) {}

func (f *modelFile) SyncRange(off, n int) error {
	if d := f.fs.during; d != nil {
		f.fs.during = nil
		d()
		f.fs.during = d
	}
	return f.sync(span(off, n))
}

func (f *modelFile) Datasync() error { return f.sync(span(0, len(f.dur))) }

func (f *modelFile) sync(s sectors) error {
	if err := f.fs.op(); err != nil {
		return err
	}
	s = f.dirty(s)
	if f.fs.syncs++; f.fs.syncs != f.fs.failAt {
		f.land(s)
		return nil
	}
	f.own()
	fl := flying{file: f, set: s, mem: f.mem}
	fl.settle(f, f.fs.rng) // an error says nothing of what was written
	f.dropped = f.dropped.or(s)
	return unix.EIO
}

func (f *modelFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.op(); err != nil {
		return 0, err
	}
	f.fs.changes++
	s := span(int(off), len(p))
	f.store(s)
	f.absent = f.absent.without(s)
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

func (f *modelFile) read(b, p []byte, off int64, bad sectors) (int, error) {
	if !bad.empty() && !bad.and(span(int(off), len(p))).empty() {
		return 0, unix.EIO
	}
	return readFrom(b, p, off)
}

func (f *modelFile) ReadAt(p []byte, off int64) (int, error) {
	return f.read(f.cache(), p, off, f.absent)
}

// Cold: the model always reads the medium.
func (f *modelFile) Cold() error { return nil }

func (f *modelFile) ReadCold(p []byte, off int64) (int, error) {
	return f.read(f.dur, p, off, f.unreadable)
}
