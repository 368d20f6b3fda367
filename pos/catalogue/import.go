package catalogue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"posd/pos"
)

// Errors of an import that callers branch on.
var (
	// ErrBusy means that another import is writing the same catalogue.
	ErrBusy = errors.New("another import is running; wait for it to end")
	// ErrBase means that a delta does not belong to the catalogue that is there.
	ErrBase = errors.New("the delta does not fit the catalogue that is there")
)

// ImportOptions is what items are checked against, and how they come in.
type ImportOptions struct {
	Taxes    map[string]bool        // the tax codes that are configured; nil: any is taken
	TaxesNow func() map[string]bool // Assemble asks it for Taxes when all has come: they may change meanwhile
	Currency pos.Currency
	Delta    bool                // the file changes the catalogue that is there, instead of replacing it
	Base     string              // with Delta: how the version begins that it belongs to; empty: any
	Version  string              // of the result; empty: from the content
	Serial   uint64              // of head office's manifest; 0: that of the catalogue before stays
	Sure     func(*Change) error // asked before the result takes its place, of which an error keeps it; nil: nobody is
	Pace     func()              // called after about a millisecond of work each; nil: an import on its own
}

// ImportReport says what an import did.
type ImportReport struct {
	Items   int // in the catalogue now
	Open    int // of the file's, with an open price
	Set     int // items that the file named
	Deleted int // items that it took away
	Bytes   int64
	Version string
	Taxes   map[string]int // items in the catalogue by tax code; nil: not known, see Catalogue.Taxes
	Ignored []string       // columns that have no meaning here
}

// Import reads a CSV file and replaces the catalogue at path by it, or with
// ImportOptions.Delta by what it makes of that one. The replacement is atomic and
// durable when Import returns nil. Errors: *ImportError about the CSV, ErrBusy, ErrBase,
// ErrCorrupt of the catalogue that is there, or why the new file could not be written.
// The old catalogue then stays, except that an error from the fsync of the folder
// leaves open which of the two a power cut would bring back.
func Import(ctx context.Context, r io.Reader, path string, o ImportOptions) (ImportReport, error) {
	report, err := importFile(ctx, r, path, o)
	var bad *ImportError
	if err != nil && !errors.As(err, &bad) {
		err = fmt.Errorf("import catalogue: %w", err)
	}
	if err != nil {
		return ImportReport{}, err
	}
	return report, nil
}

func importFile(ctx context.Context, r io.Reader, path string, o ImportOptions) (report ImportReport, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of the mapped file
	b, err := newBuild(path, &o)
	if err != nil {
		return report, err
	}
	defer b.discard()
	defer b.guard(&err)
	sum := sha256.New()
	if o.Delta {
		if err := b.continues(&o); err != nil {
			return report, err
		}
		sum.Write([]byte(b.was.version))
	}
	s := newScanner(io.TeeReader(r, sum), o)
	if err := b.load(ctx, s); err != nil {
		return report, err
	}
	if o.Version == "" {
		o.Version = version(sum)
	}
	if err := b.finish(&o); err != nil {
		return report, err
	}
	if o.Sure != nil {
		if err := b.sure(path, &o); err != nil {
			return report, err
		}
	}
	report = ImportReport{Items: b.count, Open: b.open, Set: b.set, Deleted: b.deleted, Ignored: s.ignored, Version: o.Version, Taxes: b.taxes}
	report.Bytes, err = b.publish(path)
	return report, err
}

// version is the beginning of the content's SHA-256 and when it was imported.
func version(sum hash.Hash) string {
	return hex.EncodeToString(sum.Sum(nil)[:8]) + "-" + time.Now().UTC().Format("20060102T150405Z")
}

// continues checks that the copy is a catalogue which the delta belongs to.
func (b *build) continues(o *ImportOptions) error {
	err := b.db.View(b.was.readMeta)
	switch {
	case err != nil:
		return err
	case b.was.schema != schema:
		return fmt.Errorf("%w: it was imported by an older release; import a whole one first", ErrBase)
	case b.was.currency != o.Currency.Code:
		return fmt.Errorf("%w: its prices are in %s, those of the delta in %s; import a whole one", ErrBase, b.was.currency, o.Currency.Code)
	case !strings.HasPrefix(b.was.version, o.Base):
		return fmt.Errorf("%w: it has version %s, the delta is for %s; import a whole one, or the deltas between", ErrBase, b.was.version, o.Base)
	}
	b.count, b.taxes = b.was.count, maps.Clone(b.was.taxes)
	return nil
}

// load reads all items of s, sorts them by their keys, and stores them in that order:
// the file becomes small and is written once from its beginning to its end.
func (b *build) load(ctx context.Context, s *scanner) error {
	if !s.header() {
		return s.err()
	}
	items := newSorter(b.path+".sort", b.pace)
	defer items.close()
	var record []byte
	for n := 0; ; n++ {
		it, line, good, more := s.next()
		if good {
			record = appendRecord(record[:0], &it, line, s.gone)
			if err := items.add(record); err != nil {
				return err
			}
		}
		if !more {
			break
		}
		if err := b.turn(ctx, n); err != nil {
			return err
		}
	}
	if len(items.at) == 0 && len(items.runs) == 0 && len(s.problems) == 0 && !b.delta {
		s.problem(0, "export the items again", "the file has a header and no items")
	}
	if len(s.problems) > 0 {
		return b.twice(items, s)
	}
	return b.store(ctx, items, s)
}

// A record is what one line says, sorted by key and line:
//
//	key · 0 · line u32, big endian · the item as stored; empty: it is taken away
func appendRecord(dst []byte, it *Item, line int, gone bool) []byte {
	dst = appendKey(dst, it.Code)
	n := len(dst)
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(line))
	if gone {
		return dst
	}
	var key [maxCode]byte
	return appendItem(dst, it, key[:copy(key[:], dst[:n])])
}

func splitRecord(r []byte) (key []byte, line int, value []byte) {
	n := keyGTINLen
	if r[0] != keyGTIN {
		n = bytes.IndexByte(r, 0)
	}
	return r[:n], int(binary.BigEndian.Uint32(r[n+1:])), r[n+5:]
}

// twice adds to the problems of s the items that are there twice.
func (b *build) twice(items *sorter, s *scanner) error {
	var d duplicates
	err := items.each(func(r []byte) error {
		key, line, _ := splitRecord(r)
		if first := d.seen(key, line); first > 0 && !s.duplicate(key, line, first) {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return s.err()
}

var errEnough = errors.New("enough")

func (s *scanner) duplicate(key []byte, line, first int) bool {
	return s.problem(line, "remove one of the two", "code %s is already on line %d", codeOf(key), first)
}

// duplicates finds equal keys among sorted ones.
type duplicates struct {
	key  []byte
	line int
}

// seen is the line where the key was first, or 0.
func (d *duplicates) seen(key []byte, line int) int {
	if d.key != nil && bytes.Equal(d.key, key) {
		return d.line
	}
	d.key, d.line = append(d.key[:0], key...), line
	return 0
}

// store puts sorted items into the database, and then their words.
func (b *build) store(ctx context.Context, items *sorter, s *scanner) error {
	index := newSorter(b.path+".sort", b.pace)
	defer index.close()
	var d duplicates
	n := 0
	err := items.each(func(r []byte) error {
		key, line, value := splitRecord(r)
		if first := d.seen(key, line); first > 0 {
			if !s.duplicate(key, line, first) {
				return errEnough
			}
			return nil
		}
		if len(s.problems) > 0 {
			return nil
		}
		n++
		return errors.Join(b.put(key, value, index), b.turn(ctx, n))
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if len(s.problems) > 0 {
		return s.err()
	}
	if err := b.commit(); err != nil {
		return err
	}
	err = index.each(func(r []byte) error {
		n++
		return errors.Join(b.putWord(r), b.turn(ctx, n))
	})
	if err != nil {
		return err
	}
	return b.lastWord()
}

// openBase opens the catalogue that a delta changes.
func openBase(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: there is none; import a whole one first", ErrBase)
	}
	return f, err
}
