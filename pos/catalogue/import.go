package catalogue

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"posd/pos"
)

// The database has two buckets. meta holds schema, version, count and currency.
const schema = "posd catalogue 1"

var (
	bucketMeta  = []byte("meta")
	bucketItems = []byte("items")
	keySchema   = []byte("schema")
	keyVersion  = []byte("version")
	keyCount    = []byte("count")
	keyCurrency = []byte("currency")
)

// batchItems bounds the pages that an import holds in memory before a commit.
const batchItems = 2000

// ErrBusy means that another import is writing the same catalogue.
var ErrBusy = errors.New("another import is running; wait for it to end")

// ImportOptions is what items are checked against.
type ImportOptions struct {
	Taxes    map[string]bool // the tax codes that are configured
	Currency pos.Currency
}

// ImportReport says what an import did.
type ImportReport struct {
	Items   int
	Open    int // of these, with an open price
	Bytes   int64
	Version string
	Ignored []string // columns that have no meaning here
}

// Import reads a CSV file and replaces the catalogue at path by it. The replacement
// is atomic and durable when Import returns nil. Errors: *ImportError about the
// CSV, ErrBusy, or why the new file could not be written. The old catalogue then
// stays, except that an error from the fsync of the folder leaves open which of the
// two a power cut would bring back.
func Import(ctx context.Context, r io.Reader, path string, o ImportOptions) (ImportReport, error) {
	b, err := newBuild(path)
	if err != nil {
		return ImportReport{}, fmt.Errorf("import catalogue: %w", err)
	}
	defer b.discard()
	sum := sha256.New()
	s := newScanner(io.TeeReader(r, sum), o)
	if err := b.load(ctx, s); err != nil {
		return ImportReport{}, err
	}
	report := ImportReport{Items: b.items, Open: b.open, Ignored: s.ignored, Version: version(sum)}
	if err := b.finish(o.Currency, report.Version); err != nil {
		return ImportReport{}, fmt.Errorf("import catalogue: %w", err)
	}
	if report.Bytes, err = b.publish(path); err != nil {
		return ImportReport{}, fmt.Errorf("import catalogue: %w", err)
	}
	return report, nil
}

// version is the beginning of the file's SHA-256 and when it was imported.
func version(sum hash.Hash) string {
	return hex.EncodeToString(sum.Sum(nil)[:8]) + "-" + time.Now().UTC().Format("20060102T150405Z")
}

// build is a database in the making, locked against other imports.
type build struct {
	db    *bolt.DB
	file  *os.File // the same open file as db's
	name  string
	items int
	open  int
}

// newBuild opens an empty path.new and locks it.
func newBuild(path string) (*build, error) {
	b := &build{name: path + ".new"}
	db, err := bolt.Open(b.name, 0o644, &bolt.Options{
		PageSize: 4096, // the file may be read on a kernel with other pages
		NoSync:   true, NoGrowSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
		OpenFile: b.openLocked,
	})
	if err != nil {
		if b.file != nil {
			b.file.Close()
		}
		return nil, err
	}
	b.db = db
	return b, nil
}

// openLocked opens the file, locks it, and only then empties what an import that
// was cut off has left. It looks again whether the name still means this file:
// an import that ended just now has renamed it.
func (b *build) openLocked(name string, flag int, perm os.FileMode) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, flag, perm)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = ErrBusy
			}
			return nil, err
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if now, err := os.Stat(name); err != nil || !os.SameFile(mine, now) {
			f.Close()
			continue
		}
		if err := f.Truncate(0); err != nil {
			f.Close()
			return nil, err
		}
		b.file = f
		return f, nil
	}
}

// discard closes and removes what was not published.
func (b *build) discard() {
	if b.name != "" {
		os.Remove(b.name) // while locked: nobody else's file can be meant
	}
	if b.db != nil {
		b.db.Close()
	}
}

// load stores all items of s, batch by batch.
func (b *build) load(ctx context.Context, s *scanner) error {
	if !s.header() {
		return s.err()
	}
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("import catalogue: %w", err)
		}
		err := b.db.Update(func(tx *bolt.Tx) error {
			items, err := tx.CreateBucketIfNotExists(bucketItems)
			for n := 0; err == nil && n < batchItems && more; n++ {
				more, err = b.loadOne(items, s)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("import catalogue: %w", err)
		}
	}
	if b.items == 0 && len(s.problems) == 0 {
		s.problem(0, "export the items again", "the file has a header and no items")
	}
	return s.err()
}

// loadOne stores one item; more is false after the last.
func (b *build) loadOne(items *bolt.Bucket, s *scanner) (more bool, err error) {
	it, line, good, more := s.next()
	if !good {
		return more, nil
	}
	key := []byte(it.Code)
	if old := items.Get(key); old != nil {
		_, first, err := decodeItem(old)
		if err != nil {
			return false, err
		}
		return s.problem(line, "remove one of the two", "code %s is already on line %d", it.Code, first), nil
	}
	// bbolt keeps the value until the commit: each needs memory of its own.
	if err := items.Put(key, appendItem(nil, &it, uint64(line))); err != nil {
		return false, err
	}
	b.items++
	if it.Open {
		b.open++
	}
	return more, nil
}

// finish writes the meta bucket last, so that a file without it is incomplete, and
// makes the contents durable.
func (b *build) finish(c pos.Currency, version string) error {
	err := b.db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		return errors.Join(
			meta.Put(keySchema, []byte(schema)),
			meta.Put(keyVersion, []byte(version)),
			meta.Put(keyCount, binary.AppendUvarint(nil, uint64(b.items))),
			meta.Put(keyCurrency, []byte(c.Code)))
	})
	if err != nil {
		return err
	}
	return b.file.Sync()
}

// publish gives the file its final name. The lock is held across the rename:
// otherwise the next import could empty the file before it.
func (b *build) publish(path string) (size int64, err error) {
	st, err := b.file.Stat()
	if err != nil {
		return 0, err
	}
	if err := os.Rename(b.name, path); err != nil {
		return 0, err
	}
	b.name = ""
	err = b.db.Close()
	b.db = nil
	return st.Size(), errors.Join(err, syncDir(filepath.Dir(path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
