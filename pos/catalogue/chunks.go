package catalogue

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"posd/durable"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

var (
	// ErrOld means that a newer manifest has been applied here.
	ErrOld = errors.New("a newer catalogue of head office is here already")
	// ErrCurrent means that there is nothing to do.
	ErrCurrent = errors.New("this catalogue is here already")
	// ErrTaxes means that it has items with tax codes that are not configured here.
	ErrTaxes = errors.New("the catalogue has tax codes that this terminal does not know")
	// ErrChunk means that what came is not what the manifest names.
	ErrChunk = errors.New("a chunk is not what its name says")
)

// Getter fetches the chunk with that SHA-256, from wherever it is.
type Getter func(ctx context.Context, sum [sha256.Size]byte) ([]byte, error)

// Assemble replaces the catalogue at path by the one that m names. Of the options,
// Currency, Taxes, TaxesNow and Pace count.
//
// Chunks are kept in the folder path.chunks as they come, each under its SHA-256: an
// Assemble that was cut off, by whatever, goes on where it was, and of the next
// catalogue only what is new has to be fetched. A chunk is checked when it comes and
// again when the file is put together; the file is looked at before it takes the place of
// the former one, which happens as with Import. Two at once, of either, exclude each other
// by ErrBusy.
//
// Errors: ErrCurrent, ErrOld, ErrManifest, before anything is fetched; ErrChunk; those of
// get; ErrTaxes, ErrCorrupt; why a file could not be written.
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
	if o.Pace == nil {
		o.Pace = func() {}
	}
	s := &chunkStore{dir: path + ".chunks", get: get}
	defer s.close()
	if err := s.prepare(m); err != nil {
		return ImportReport{}, fmt.Errorf("keep chunks of the catalogue: %w", err)
	}
	for i := range m.Chunks {
		if err := s.have(ctx, &m.Chunks[i]); err != nil {
			return ImportReport{}, fmt.Errorf("chunk %d of %d: %w", i+1, len(m.Chunks), err)
		}
		o.Pace()
	}
	file := filepath.Join(s.dir, "file")
	if err := s.join(ctx, file, m, &o); err != nil {
		return ImportReport{}, fmt.Errorf("put the catalogue together: %w", err)
	}
	if o.TaxesNow != nil {
		o.Taxes = o.TaxesNow()
	}
	report, err := m.accept(file, &o)
	if err == nil {
		err = install(file, path)
	}
	if err != nil {
		return ImportReport{}, err
	}
	return report, nil
}

// fits tells whether m comes behind what is there.
func (m *Manifest) fits(path string) error {
	s, err := openSnapshot(path)
	if err != nil {
		return nil // none, or one that can only be replaced
	}
	defer s.close()
	switch {
	case m.Serial < s.serial:
		return fmt.Errorf("%w: number %d, this one is %d", ErrOld, s.serial, m.Serial)
	case m.Serial == s.serial && m.Version == s.version:
		return fmt.Errorf("%w: version %s", ErrCurrent, s.version)
	}
	return nil
}

// syncEvery bounds what of a file is dirty, and so in the memory of the slice.
const syncEvery = 1 << 20

// join writes the file that the chunks make.
func (s *chunkStore) join(ctx context.Context, name string, m *Manifest, o *ImportOptions) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	dirty := 0
	for i := range m.Chunks {
		c := &m.Chunks[i]
		ok, err := s.read(c)
		if err == nil && !ok { // it has rotted since it came
			if err = s.have(ctx, c); err == nil {
				ok, err = s.read(c)
			}
		}
		if err == nil && !ok {
			err = fmt.Errorf("%w: the device does not keep it", ErrChunk)
		}
		if err == nil {
			_, err = f.Write(s.buf)
		}
		if dirty += c.Size; err == nil && dirty >= syncEvery {
			dirty, err = 0, unix.Fdatasync(int(f.Fd()))
		}
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		o.Pace()
	}
	return f.Sync()
}

// accept looks at what came before it is used.
func (m *Manifest) accept(file string, o *ImportOptions) (r ImportReport, err error) {
	s, err := openSnapshot(file)
	if err != nil {
		return r, err
	}
	defer s.close()
	if s.version != m.Version || s.serial != m.Serial || s.currency != m.Currency || s.schema != schema {
		return r, fmt.Errorf("%w: it says version %s, number %d, prices in %s", ErrManifest, clip(s.version), s.serial, s.currency)
	}
	if err := s.whole(); err != nil {
		return r, err
	}
	if o.Taxes != nil {
		for _, code := range slices.Sorted(maps.Keys(s.taxes)) {
			if !o.Taxes[code] {
				return r, fmt.Errorf("%w: %d items have the code %s; configure it first", ErrTaxes, s.taxes[code], code)
			}
		}
	}
	return ImportReport{Items: s.count, Bytes: s.stat.Size(), Version: s.version, Taxes: s.taxes}, nil
}

// whole refuses a file that lacks its end.
func (s *snapshot) whole() error {
	return s.db.View(func(tx *bolt.Tx) error {
		if tx.Size() > s.stat.Size() {
			return fmt.Errorf("%w: the file has %d bytes of %d", ErrCorrupt, s.stat.Size(), tx.Size())
		}
		return nil
	})
}

// install gives the file its place, while no import is under way that is based on the
// former one.
func install(file, path string) error {
	lock, err := lockNew(path+".new", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("replace the catalogue: %w", err)
	}
	defer lock.Close()
	defer os.Remove(path + ".new")
	if err := os.Rename(file, path); err != nil {
		return fmt.Errorf("replace the catalogue: %w", err)
	}
	return durable.SyncDir(filepath.Dir(path))
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

// Chunks end where their content says, so that a changed page of the file changes one or
// two of them, and bytes that have moved change none: behind a byte at which some bits of
// a rolling sum over the last bytes are zero.
const (
	leastChunk = 4 << 10
	chunkMask  = 1<<14 - 1 // 16 KiB on the average, and leastChunk
)

// Split cuts a file into chunks, for head office. chunk gets each one's content,
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
