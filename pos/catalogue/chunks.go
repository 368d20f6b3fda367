package catalogue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var (
	// ErrOld means that a newer manifest has been applied here.
	ErrOld = errors.New("a newer catalogue of head office is here already")
	// ErrCurrent means that there is nothing to do.
	ErrCurrent = errors.New("this catalogue is here already")
	// ErrChunk means that what came is not what the manifest names.
	ErrChunk = errors.New("a chunk is not what its name says")
)

// Getter fetches the chunk with that SHA-256, from wherever it is.
type Getter func(ctx context.Context, sum [sha256.Size]byte) ([]byte, error)

// Assemble replaces the catalogue at path by what m says, or changes it if m is a
// delta. Of the options, m decides Delta, Base, Version and Serial.
//
// Chunks are kept in the folder path.chunks as they come, each under its SHA-256: an
// Assemble that was cut off, by whatever, goes on where it was, and of the next
// catalogue only what is new has to be fetched. A chunk is checked when it comes and
// again when it is read; nothing of it reaches the catalogue before all have been, and
// the swap is that of Import. Two of them at once exclude each other by ErrBusy.
//
// Errors: ErrCurrent, ErrOld, ErrBase, before anything is fetched; ErrChunk; those of
// get; those of Import.
func Assemble(ctx context.Context, path string, m *Manifest, get Getter, o ImportOptions) (ImportReport, error) {
	if err := m.check(); err != nil {
		return ImportReport{}, err
	}
	if m.Currency != o.Currency.Code {
		return ImportReport{}, fmt.Errorf("%w: its prices are in %s, the terminal's in %s", ErrManifest, m.Currency, o.Currency.Code)
	}
	if err := m.fits(path); err != nil {
		return ImportReport{}, err
	}
	o.Delta, o.Base, o.Version, o.Serial = m.Delta, m.Base, m.Version, m.Serial
	s := &chunkStore{dir: path + ".chunks", get: get}
	defer s.close()
	if err := s.prepare(m); err != nil {
		return ImportReport{}, fmt.Errorf("keep chunks of the catalogue: %w", err)
	}
	for i := range m.Chunks {
		if err := s.have(ctx, &m.Chunks[i]); err != nil {
			return ImportReport{}, fmt.Errorf("chunk %d of %d: %w", i+1, len(m.Chunks), err)
		}
		if o.Pace != nil {
			o.Pace()
		}
	}
	r := &chunkReader{ctx: ctx, store: s, left: m.Chunks}
	report, err := Import(ctx, r, path, o)
	if r.err != nil {
		err = r.err // the file is not to blame
	}
	return report, err
}

// fits tells whether m comes behind what is there.
func (m *Manifest) fits(path string) error {
	s, err := openSnapshot(path)
	if err != nil && m.Delta {
		return fmt.Errorf("%w: %w", ErrBase, err)
	}
	if err != nil {
		return nil // none, or one that can only be replaced
	}
	defer s.close()
	switch {
	case m.Serial < s.serial:
		return fmt.Errorf("%w: number %d, this one is %d", ErrOld, s.serial, m.Serial)
	case m.Serial == s.serial && m.Version == s.version:
		return fmt.Errorf("%w: version %s", ErrCurrent, s.version)
	case m.Delta && m.Base != "" && m.Base != s.version:
		return fmt.Errorf("%w: it has version %s, the delta is for %s", ErrBase, s.version, m.Base)
	}
	return nil
}

// chunkStore is a folder of chunks. What it holds is never believed: a power cut may
// have torn a file.
type chunkStore struct {
	dir  string
	get  Getter
	buf  []byte
	lock *os.File // the folder itself
}

func (s *chunkStore) name(c *Chunk) string {
	return filepath.Join(s.dir, hex.EncodeToString(c.Sum[:]))
}

// prepare makes the folder, keeps others out of it, and removes what m does not name.
func (s *chunkStore) prepare(m *Manifest) error {
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return err
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	s.lock = d
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return err
	}
	wanted := make(map[string]bool, len(m.Chunks))
	for i := range m.Chunks {
		wanted[filepath.Base(s.name(&m.Chunks[i]))] = true
	}
	names, err := d.Readdirnames(-1)
	for _, name := range names {
		if !wanted[name] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, name)))
		}
	}
	return err
}

func (s *chunkStore) close() {
	if s.lock != nil {
		s.lock.Close()
	}
}

// have sees to it that a chunk is in the folder, whole.
func (s *chunkStore) have(ctx context.Context, c *Chunk) error {
	ok, err := s.read(c)
	if ok || err != nil {
		return err
	}
	b, err := s.get(ctx, c.Sum)
	if err != nil {
		return err
	}
	if len(b) != c.Size || sha256.Sum256(b) != c.Sum {
		return fmt.Errorf("%w: %d bytes came, %d are expected", ErrChunk, len(b), c.Size)
	}
	// Not synced: a torn file is noticed by its sum.
	tmp := s.name(c) + ".new"
	if err := os.WriteFile(tmp, b, 0o640); err != nil {
		os.Remove(tmp)
		return err
	}
	return os.Rename(tmp, s.name(c))
}

// read reads a chunk of the folder into s.buf; ok tells whether it is there and right.
func (s *chunkStore) read(c *Chunk) (ok bool, err error) {
	f, err := os.Open(s.name(c))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if cap(s.buf) <= MaxChunk {
		s.buf = make([]byte, MaxChunk+1)
	}
	n, err := io.ReadFull(f, s.buf[:c.Size+1])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, nil // rotten: it is fetched again
	}
	s.buf = s.buf[:n]
	return n == c.Size && sha256.Sum256(s.buf) == c.Sum, nil
}

// chunkReader is the CSV file. A chunk that has rotted since it came is fetched again.
type chunkReader struct {
	ctx   context.Context
	store *chunkStore
	left  []Chunk
	rest  bytes.Reader
	err   error
}

func (r *chunkReader) Read(p []byte) (int, error) {
	for r.rest.Len() == 0 {
		if len(r.left) == 0 {
			return 0, io.EOF
		}
		c := &r.left[0]
		ok, err := r.store.read(c)
		if err == nil && !ok {
			if err = r.store.have(r.ctx, c); err == nil {
				ok, err = r.store.read(c)
			}
		}
		if err == nil && !ok {
			err = fmt.Errorf("%w: the device does not keep it", ErrChunk)
		}
		if err != nil {
			r.err = err
			return 0, err
		}
		r.rest.Reset(r.store.buf)
		r.left = r.left[1:]
	}
	return r.rest.Read(p)
}

// Chunks end where their content says, so that a changed line changes one or two of
// them and not all behind it: behind a byte at which the low bits of a rolling sum
// over the last bytes are zero.
const (
	leastChunk = 16 << 10
	chunkMask  = 1<<15 - 1 // 32 KiB on the average, and leastChunk
)

// Split cuts a CSV file into chunks, for head office. chunk gets each one's content,
// which is its own until the next.
func Split(r io.Reader, chunk func(c Chunk, content []byte) error) ([]Chunk, error) {
	gear := gears()
	var all []Chunk
	buf := make([]byte, 0, 2*MaxChunk)
	total := int64(0)
	for end := false; !end || len(buf) > 0; {
		for !end && len(buf) < MaxChunk {
			n, err := r.Read(buf[len(buf):cap(buf)])
			if buf = buf[:len(buf)+n]; err == io.EOF {
				end = true
			} else if err != nil {
				return nil, err
			}
		}
		if len(buf) == 0 {
			break
		}
		n := cut(buf, &gear)
		c := Chunk{Sum: sha256.Sum256(buf[:n]), Size: n}
		if total += int64(n); total > maxContent {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrManifest, maxContent)
		}
		if err := chunk(c, buf[:n]); err != nil {
			return nil, err
		}
		all = append(all, c)
		buf = buf[:copy(buf, buf[n:])]
	}
	return all, nil
}

// cut is where the first chunk of b ends.
func cut(b []byte, gear *[256]uint64) int {
	most := min(len(b), MaxChunk)
	sum := uint64(0)
	for i := min(leastChunk, most) - min(64, most); i < most; i++ {
		if sum = sum<<1 + gear[b[i]]; i >= leastChunk && sum>>48&chunkMask == 0 {
			return i + 1
		}
	}
	return most
}

// gears are numbers without a pattern, the same everywhere (splitmix64).
func gears() (g [256]uint64) {
	x := uint64(0)
	for i := range g {
		x += 0x9e3779b97f4a7c15
		z := x
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		g[i] = z ^ z>>31
	}
	return g
}
