package catalogue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"posd/durable"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// The database has three buckets. meta holds schema, version, count, currency, serial and,
// since releases that count them, how many items have which tax code;
// items the items by their keys; words which items have a word (see postings).
const (
	schema    = "posd catalogue 2"
	schemaOne = "posd catalogue 1" // without words, items by their codes as in the CSV file
)

var (
	bucketMeta  = []byte("meta")
	bucketItems = []byte("items")
	bucketWords = []byte("words")
	keySchema   = []byte("schema")
	keyVersion  = []byte("version")
	keyCount    = []byte("count")
	keyCurrency = []byte("currency")
	keySerial   = []byte("serial")
	keyTaxes    = []byte("taxes")
)

const (
	// What is changed before a commit bounds the pages that are held in memory: of a
	// delta each entry may lie on a page of its own, of a whole file all lie on a few.
	batchWhole = 4000
	batchPaced = 400
	batchDelta = 200
	turnItems  = 40  // read or stored in about a millisecond
	fill       = 0.9 // of a page, when everything comes in its order
)

// build is a database in the making, locked against other imports.
type build struct {
	path  string
	delta bool
	pace  func() // nil: nobody waits
	batch int
	db    *bolt.DB
	file  *os.File // the same open file as db's
	name  string
	was   snapshotInfo // what is at path; empty: nothing that can be read

	broken bool

	tx           *bolt.Tx
	items, words *bolt.Bucket
	changed      int // since the last commit

	count, open, set, deleted int
	taxes                     map[string]int // items by tax code; nil: not known of the base
	old, new                  words
	record                    []byte
	index                     postings
}

// newBuild opens path.new, empty or as a copy of path, and locks it.
func newBuild(path string, o *ImportOptions) (*build, error) {
	b := &build{path: path, name: path + ".new", delta: o.Delta, pace: o.Pace, batch: batchWhole, taxes: map[string]int{}}
	b.index.fresh = !o.Delta
	switch {
	case o.Delta:
		b.batch = batchDelta
	case o.Pace != nil:
		b.batch = batchPaced
	}
	err := b.openDB()
	if err != nil {
		if b.file != nil {
			os.Remove(b.name)
			b.file.Close()
		}
		return nil, err
	}
	if s, err := openSnapshot(path); err == nil { // an old manifest stays old
		b.was = s.snapshotInfo
		s.close()
	}
	return b, nil
}

func (b *build) openDB() (err error) {
	defer guard(&err)
	b.db, err = bolt.Open(b.name, 0o644, &bolt.Options{
		PageSize: 4096, // the file may be read on a kernel with other pages
		NoSync:   true, NoGrowSync: true, FreelistType: bolt.FreelistMapType,
		// Without a list of free pages in the file bbolt would look for them in a goroutine
		// of its own, whose panic at a garbled page nobody could catch.
		NoFreelistSync: false,
		OpenFile:       b.openLocked,
	})
	return err
}

// openLocked opens the file and only then empties what an import that was cut off has left.
func (b *build) openLocked(name string, flag int, perm os.FileMode) (*os.File, error) {
	f, err := lockNew(name, flag, perm)
	if err != nil {
		return nil, err
	}
	b.file = f
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	if b.delta {
		if err := b.copyBase(f); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// lockNew opens a file and locks it. It looks again whether the name still means this
// file: an import that ended just now has renamed it.
func lockNew(name string, flag int, perm os.FileMode) (*os.File, error) {
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
		if now, err := os.Stat(name); err == nil && os.SameFile(mine, now) {
			return f, nil
		}
		f.Close()
	}
}

// copyBase copies the catalogue that is there. It is looked at while nobody else can
// replace it: every import holds the lock of path.new.
func (b *build) copyBase(to *os.File) error {
	from, err := openBase(b.path)
	if err != nil {
		return err
	}
	defer from.Close()
	for {
		n, err := io.CopyN(to, from, 256<<10)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if b.pace != nil && n > 0 { // dirty pages are the memory of the slice, too
			if err := unix.Fdatasync(int(to.Fd())); err != nil {
				return err
			}
			b.pace()
		}
	}
	_, err = to.Seek(0, io.SeekStart)
	return err
}

// guard is guard, and notes that bbolt panicked while it may have held its locks.
func (b *build) guard(err *error) {
	if p := recover(); p != nil {
		b.broken = true
		*err = fmt.Errorf("%w: %v", ErrCorrupt, p)
	}
}

// discard closes and removes what was not published.
func (b *build) discard() {
	if b.name != "" {
		os.Remove(b.name) // while locked: nobody else's file can be meant
	}
	if b.broken { // closing it could wait for ever; the file lets its lock go
		b.file.Close()
		return
	}
	if b.tx != nil {
		b.tx.Rollback()
	}
	if b.db != nil {
		b.db.Close()
	}
}

// turn lets others have the processor now and then, and sees when it is to end.
func (b *build) turn(ctx context.Context, n int) error {
	if n%turnItems != 0 {
		return nil
	}
	if b.pace != nil {
		b.pace()
	}
	return ctx.Err()
}

// begin makes sure that there is a transaction.
func (b *build) begin() (err error) {
	if b.tx != nil {
		return nil
	}
	if b.tx, err = b.db.Begin(true); err != nil {
		return err
	}
	if b.items, err = b.tx.CreateBucketIfNotExists(bucketItems); err != nil {
		return err
	}
	if b.words, err = b.tx.CreateBucketIfNotExists(bucketWords); err != nil {
		return err
	}
	if !b.delta {
		b.items.FillPercent, b.words.FillPercent = fill, fill
	}
	return nil
}

// commit ends the transaction, if there is one.
func (b *build) commit() error {
	if b.tx == nil {
		return nil
	}
	tx := b.tx
	b.tx, b.changed = nil, 0
	if err := tx.Commit(); err != nil {
		return err
	}
	if b.pace != nil {
		if err := unix.Fdatasync(int(b.file.Fd())); err != nil {
			return err
		}
		b.pace()
	}
	return nil
}

func (b *build) wrote() error {
	if b.changed++; b.changed < b.batch {
		return nil
	}
	return b.commit()
}

// put stores one item, or takes it away if value is empty, and notes what changes
// among the words.
func (b *build) put(key, value []byte, index *sorter) (err error) {
	if err := b.begin(); err != nil {
		return err
	}
	was := []byte(nil)
	if b.delta {
		was = b.items.Get(key)
	}
	b.old.n, b.new.n = 0, 0
	if was != nil {
		it, err := decodeItem(was, key)
		if err != nil {
			return err
		}
		b.old.split(it.Description)
		b.count--
		b.countTax(it.Tax, -1)
	}
	if len(value) == 0 {
		if was == nil {
			return nil // gone already: a delta may come twice
		}
		b.deleted++
		err = b.items.Delete(key)
	} else {
		it, bad := decodeItem(value, key)
		if bad != nil {
			return bad
		}
		b.new.split(it.Description)
		b.count++
		b.countTax(it.Tax, 1)
		b.set++
		if it.Open {
			b.open++
		}
		err = b.items.Put(bytes.Clone(key), bytes.Clone(value)) // bbolt keeps both until the commit
	}
	return errors.Join(err, b.differ(key, index), b.wrote())
}

func (b *build) countTax(code string, n int) {
	if b.taxes == nil {
		return
	}
	if b.taxes[code] += n; b.taxes[code] == 0 {
		delete(b.taxes, code)
	}
}

// A record of a changed word is the key in the bucket, and behind it what to do.
const (
	wordAdd    = '+'
	wordRemove = '-'
)

// differ notes the words that come and go.
func (b *build) differ(key []byte, index *sorter) error {
	note := func(in, other *words, what byte) error {
		for i := range in.n {
			if word := in.at(i); !other.has(word) {
				b.record = append(append(append(append(b.record[:0], word...), 0), key...), what)
				if err := index.add(b.record); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return errors.Join(note(&b.old, &b.new, wordRemove), note(&b.new, &b.old, wordAdd))
}

// putWord does what a record of a changed word says.
func (b *build) putWord(r []byte) error {
	if err := b.begin(); err != nil {
		return err
	}
	at := bytes.IndexByte(r, 0) + 1
	wrote, err := b.index.change(b.words, r[:at], r[at:len(r)-1], r[len(r)-1] == wordRemove)
	if err == nil && wrote {
		err = b.wrote()
	}
	return err
}

// lastWord writes what putWord has kept.
func (b *build) lastWord() error {
	if err := b.begin(); err != nil {
		return err
	}
	if _, err := b.index.flush(b.words); err != nil {
		return err
	}
	return b.commit()
}

// finish writes the meta bucket last, so that a file without it is incomplete, and
// makes the contents durable.
func (b *build) finish(o *ImportOptions) error {
	if err := b.begin(); err != nil {
		return err
	}
	meta, err := b.tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return err
	}
	err = errors.Join(
		meta.Put(keySchema, []byte(schema)),
		meta.Put(keyVersion, []byte(o.Version)),
		meta.Put(keyCount, binary.AppendUvarint(nil, uint64(b.count))),
		meta.Put(keyCurrency, []byte(o.Currency.Code)),
		meta.Put(keySerial, binary.AppendUvarint(nil, max(o.Serial, b.was.serial))),
		putTaxes(meta, o.Version, b.taxes))
	if err == nil {
		err = b.commit()
	}
	if err != nil {
		return err
	}
	return errors.Join(b.trim(), b.file.Sync())
}

// putTaxes writes the version, and "<code> <items>" for each code in their order, a line
// each. Without the version nobody could tell that a release before this one, which does
// not count, has changed the file since.
func putTaxes(meta *bolt.Bucket, version string, taxes map[string]int) error {
	if taxes == nil {
		return meta.Delete(keyTaxes)
	}
	b := append([]byte(version), '\n')
	for _, code := range slices.Sorted(maps.Keys(taxes)) {
		b = append(strconv.AppendInt(append(append(b, code...), ' '), int64(taxes[code]), 10), '\n')
	}
	return meta.Put(keyTaxes, b)
}

func readTaxes(meta *bolt.Bucket, version string) map[string]int {
	of, lines, ok := strings.Cut(string(meta.Get(keyTaxes)), "\n")
	if !ok || of != version {
		return nil
	}
	taxes := map[string]int{}
	for line := range strings.Lines(lines) {
		code, n, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		taxes[code], _ = strconv.Atoi(n)
	}
	return taxes
}

// trim cuts off what bbolt has taken ahead.
func (b *build) trim() error {
	return b.db.View(func(tx *bolt.Tx) error { return b.file.Truncate(tx.Size()) })
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
	return st.Size(), errors.Join(err, durable.SyncDir(filepath.Dir(path)))
}
