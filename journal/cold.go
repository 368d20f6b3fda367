package journal

import (
	"fmt"
	"io"

	"posd/journal/internal/disk"
	"posd/journal/internal/hook"
)

// coldReader reads a file from the device in windows.
type coldReader struct {
	f      disk.File
	size   int
	align  int
	window int // bytes read at once, where a group does not need more
	bug    hook.Bug
	buf    []byte
	at, n  int
	bad    []badPage // unreadable pages of the window
}

type badPage struct {
	off int
	err error
}

func newColdReader(f disk.File, size, align int, b hook.Bug) *coldReader {
	return &coldReader{f: f, size: size, align: align, window: maxGroup, bug: b, buf: disk.Buffer(min(maxGroup, size))}
}

// group returns the header and bytes of the group at w.off, its CRC unchecked.
func (r *coldReader) group(w where) (group, []byte, error) {
	b, err := r.bytes(w.off, r.align)
	if err != nil {
		return group{}, nil, err
	}
	g, err := decodeGroupHeader(b, w)
	if err == nil {
		b, err = r.bytes(w.off, g.size(r.align))
	}
	for _, p := range r.bad {
		if p.off >= w.off && p.off < w.off+max(len(b), r.align) {
			return g, nil, fmt.Errorf("%w: the page at offset %d cannot be read: %w", errGroup, p.off, p.err)
		}
	}
	return g, b, err
}

// whole is a group that its checksum proves.
func (r *coldReader) whole(w where) (group, []byte, error) {
	g, b, err := r.group(w)
	if err == nil {
		err = g.check(b, w.align)
	}
	return g, b, err
}

// bytes returns n bytes at off, valid until the next call.
func (r *coldReader) bytes(off, n int) ([]byte, error) {
	if off < 0 || n > len(r.buf) || off+n > r.size {
		return nil, fmt.Errorf("%w: %d bytes at offset %d lie outside", errGroup, n, off)
	}
	if off < r.at || off+n > r.at+r.n {
		r.at, r.n = off, min(max(r.window, n), r.size-off)
		r.bad = r.bad[:0]
		if err := r.read(r.buf[:r.n], off); err != nil {
			r.readPages(off)
		}
	}
	return r.buf[off-r.at : off-r.at+n], nil
}

func (r *coldReader) read(p []byte, off int) error {
	read := r.f.ReadCold
	if r.bug == hook.CachedRead {
		read = r.f.ReadAt
	}
	n, err := read(p, int64(off))
	if n == len(p) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// readPages reads page by page; an unreadable page counts as garbled.
func (r *coldReader) readPages(off int) {
	for i := 0; i < r.n; i += minAlign {
		p := r.buf[i : i+minAlign]
		if err := r.read(p, off+i); err != nil {
			r.bad = append(r.bad, badPage{off + i, err})
			for k := range p {
				p[k] = 0xEE
			}
		}
	}
}
