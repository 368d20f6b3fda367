package main

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"sync"

	"posd/journal/lab/tear"
)

// disk is a disk with a volatile write cache. What is written is read back at once,
// and survives a power cut for certain only when a flush after it has been answered.
type disk struct {
	mu      sync.Mutex
	kept    []byte       // what had been flushed
	now     []byte       // what is read
	pending []tear.Write // not yet flushed, in order
	first   int          // number of pending[0]
	lying   bool         // the planted bug: flushes and FUA are answered, and that is all

	// watch sees each request before it takes effect; it may have the power cut.
	watch func(e event) (cut bool)
	dark  chan struct{} // closed when the power is gone: nothing is done or answered any more
}

// event is what a watch sees.
type event struct {
	flush bool
	begin bool // page 0 of a segment of the journal is written
}

func newDisk(image []byte, lying bool) *disk {
	return &disk{kept: image, now: bytes.Clone(image), lying: lying, dark: make(chan struct{})}
}

// off cuts the power. Whatever comes later does not reach the disk.
func (d *disk) off() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut()
}

func (d *disk) cut() {
	if !d.isDark() {
		close(d.dark)
	}
}

func (d *disk) isDark() bool {
	select {
	case <-d.dark:
		return true
	default:
		return false
	}
}

// aim sets the watch.
func (d *disk) aim(watch func(event) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watch = watch
}

// begin asks whether a request may go on.
func (d *disk) begin(e event) bool {
	if d.isDark() {
		return false
	}
	if d.watch != nil && d.watch(e) {
		d.cut()
		return false
	}
	return true
}

func (d *disk) read(p []byte, off int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isDark() {
		return false
	}
	copy(p, d.now[off:])
	return true
}

// write takes p over. A write that cuts the power is in flight: it may land.
func (d *disk) write(p []byte, off int64, fua bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isDark() {
		return false
	}
	goesOn := d.begin(event{begin: hasBlock(p, "POSDSEG1")})
	copy(d.now[off:], p)
	if goesOn && fua && !d.lying {
		copy(d.kept[off:], p)
		d.supersede(off, int64(len(p)))
		return true
	}
	d.pending = append(d.pending, tear.Write{Off: off, Data: p})
	return goesOn
}

// supersede forgets what is pending in a range: something newer is durable there.
// What is cut off at the front stays in place, so that the numbers hold.
func (d *disk) supersede(off, n int64) {
	for i, w := range d.pending {
		end := w.Off + int64(len(w.Data))
		switch {
		case end <= off || w.Off >= off+n:
		case w.Off < off && end > off+n: // both ends stay: the middle is what lands there anyway
			w.Data = bytes.Clone(w.Data)
			copy(w.Data[off-w.Off:], d.now[off:off+n])
		case w.Off < off:
			w.Data = w.Data[:off-w.Off]
		case end > off+n:
			w.Off, w.Data = off+n, w.Data[off+n-w.Off:]
		default:
			w.Data = nil
		}
		d.pending[i] = w
	}
}

// flushes begins a flush: all writes that were answered before it are in it. Its
// number goes to flushed.
func (d *disk) flushes() (upTo int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first + len(d.pending), d.begin(event{flush: true})
}

// flushed ends one; after that they are durable, unless the power went meanwhile.
func (d *disk) flushed(upTo int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isDark() {
		return false
	}
	n := max(0, upTo-d.first)
	if d.lying || n == 0 {
		return true
	}
	for _, w := range d.pending[:n] {
		copy(d.kept[w.Off:], w.Data)
	}
	d.pending = slices.Clone(d.pending[n:])
	d.first += n
	return true
}

// left gives what a cut now leaves of the disk, and how many bytes were not flushed.
func (d *disk) left(rng *rand.Rand) (image []byte, pending int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut()
	image = slices.Clone(d.kept)
	writes := slices.DeleteFunc(slices.Clone(d.pending), func(w tear.Write) bool { return len(w.Data) == 0 })
	tear.Land(image, writes, tear.ReadEarly(d.kept), rng)
	for _, w := range writes {
		pending += len(w.Data)
	}
	return image, pending
}

func hasBlock(data []byte, prefix string) bool {
	for len(data) >= len(prefix) {
		if string(data[:len(prefix)]) == prefix {
			return true
		}
		data = data[min(4096, len(data)):]
	}
	return false
}
