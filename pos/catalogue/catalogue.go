package catalogue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"posd/pos/itemcode"
)

// checkEvery is how often a lookup looks whether the file was replaced.
const checkEvery = time.Second

// lockWait is how long opening waits for an import that is about to let go of the
// file it has just published.
const lockWait = 50 * time.Millisecond

// Catalogue answers lookups from the file at one path, whichever version of it is
// there. It is safe for concurrent use.
type Catalogue struct {
	path     string
	currency string // that prices have to be in; empty: any
	every    time.Duration
	next     atomic.Int64 // when to look at the file again, on the clock of start
	start    time.Time

	opening sync.Mutex // one at a time opens the file: a slow one must not bring an older version back

	mu     sync.Mutex
	now    *snapshot   // nil: there is no catalogue
	err    error       // why the file at path is not the one in use
	bad    fs.FileInfo // the file that err is about: it is not tried again
	closed bool
}

// ErrSchema means that another release has written the file.
var ErrSchema = errors.New("the catalogue's file has another form")

// ErrCurrency means that the prices are not in the currency that is sold in.
var ErrCurrency = errors.New("the catalogue's prices are in another currency")

// ErrClosed means that the catalogue was closed.
var ErrClosed = errors.New("catalogue is closed")

// Open opens the catalogue at path. A missing file is an empty catalogue, which
// becomes a full one when an import makes the file. So is a file that cannot be
// used, since a shop can sell without item codes: Err says what is wrong with it.
func Open(path string) *Catalogue { return OpenIn(path, "") }

// OpenIn is Open for who sells in one currency: a file with prices in another one cannot be
// used.
func OpenIn(path, currency string) *Catalogue {
	c := &Catalogue{path: path, currency: currency, every: checkEvery, start: time.Now()}
	s, err := c.open()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.err = fmt.Errorf("no item codes until a catalogue is imported (posctl catalogue import): %w", err)
		c.bad, _ = os.Stat(path)
	}
	c.now = s
	c.next.Store(int64(c.every))
	return c
}

func (c *Catalogue) open() (*snapshot, error) {
	s, err := openSnapshot(c.path)
	if err == nil && c.currency != "" && s.currency != c.currency {
		err = fmt.Errorf("%w: %s, the terminal sells in %s", ErrCurrency, clip(s.currency), c.currency)
		s.close()
		return nil, err
	}
	return s, err
}

// Lookup finds an item by its code, a GTIN in any of its forms. Errors: ErrCorrupt for this item or page,
// ErrClosed; the catalogue stays usable for other items.
func (c *Catalogue) Lookup(code string) (Item, bool, error) {
	c.refresh()
	s, err := c.acquire()
	if s == nil || err != nil {
		return Item{}, false, err
	}
	defer c.release(s)
	return s.lookup(code)
}

// Version is the first 16 hex digits of the CSV file's SHA-256 and the time of its
// import; empty without a catalogue.
func (c *Catalogue) Version() string { return c.info().version }

// Currency is the ISO 4217 code that the prices are in; empty without a catalogue.
func (c *Catalogue) Currency() string { return c.info().currency }

// Len is the number of items.
func (c *Catalogue) Len() int { return c.info().count }

// Serial is the number of the manifest from head office that was applied last; 0: none.
func (c *Catalogue) Serial() uint64 { return c.info().serial }

// Taxes is how many items have which tax code; nil: not known, of a file that an older
// release has imported. It must not be changed.
func (c *Catalogue) Taxes() map[string]int { return c.info().taxes }

// Err says why the file at the path is not the one in use; nil if it is.
func (c *Catalogue) Err() error {
	c.refresh()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the use of the file once running lookups have returned.
func (c *Catalogue) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.replace(nil)
}

func (c *Catalogue) info() snapshotInfo {
	c.refresh()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		return snapshotInfo{}
	}
	return c.now.snapshotInfo
}

// refresh opens the file again if it is another one than before, at most once in
// every period. One caller does it; others go on with what there is.
func (c *Catalogue) refresh() {
	now := int64(time.Since(c.start))
	if now < c.next.Load() || !c.opening.TryLock() {
		return
	}
	defer c.opening.Unlock()
	c.next.Store(now + int64(c.every))
	st, err := os.Stat(c.path)
	c.mu.Lock()
	old, bad := c.now, c.bad
	c.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist) && old == nil:
		return
	case err == nil && old != nil && sameFile(old.stat, st):
		c.settle(nil, nil, nil)
		return
	case err == nil && bad != nil && sameFile(bad, st):
		return
	}
	s, err := c.open()
	if errors.Is(err, berrors.ErrTimeout) {
		return // an import is about to close it; next time
	}
	if err != nil && old != nil {
		err = fmt.Errorf("the former catalogue %s stays in use: %w", old.version, err)
	}
	c.settle(s, err, st)
}

// settle puts s in use, if any, and notes err about the file st.
func (c *Catalogue) settle(s *snapshot, err error, st fs.FileInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.bad = err, nil
	switch {
	case err != nil:
		c.bad = st
	case s == nil:
	case c.closed:
		s.close()
	default:
		c.replace(s)
	}
}

// replace needs c.mu.
func (c *Catalogue) replace(s *snapshot) error {
	old := c.now
	c.now = s
	if old == nil {
		return nil
	}
	old.retired = true
	if old.users == 0 {
		return old.close()
	}
	return nil
}

func (c *Catalogue) acquire() (*snapshot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if c.now != nil {
		c.now.users++
	}
	return c.now, nil
}

func (c *Catalogue) release(s *snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.users--
	if s.retired && s.users == 0 {
		s.close() // read-only: nothing can be lost
	}
}

// snapshotInfo is what the meta bucket says.
type snapshotInfo struct {
	schema   string
	version  string
	currency string
	count    int
	serial   uint64 // of head office's manifest; 0: none came
	taxes    map[string]int
}

// snapshot is one version of the file, open.
type snapshot struct {
	snapshotInfo
	db   *bolt.DB
	stat fs.FileInfo

	known, unknown cache // of this version only

	// users and retired belong to Catalogue.mu.
	users   int
	retired bool

	// free holds readers between lookups: one may not be used by two goroutines at
	// once, and a new one for each lookup would cost ten allocations.
	mu     sync.Mutex
	free   []reader
	broken bool // bbolt panicked while it held its locks
}

type reader struct {
	tx    *bolt.Tx
	items *bolt.Bucket
}

// sameFile tells whether a name still means what it did.
func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// openSnapshot opens the file and reads its meta bucket.
func openSnapshot(path string) (*snapshot, error) {
	s := &snapshot{known: cache{most: cacheBytes}, unknown: cache{most: unknownBytes}}
	err := s.open(path)
	if err == nil {
		if err = s.readMetaGuarded(); err != nil {
			s.db.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open catalogue %s: %w", path, err)
	}
	return s, nil
}

func (s *snapshot) open(path string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	// Note what is opened, not what the name means a moment earlier or later.
	open := func(name string, flag int, perm os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, perm)
		if err != nil {
			return nil, err
		}
		s.stat, err = f.Stat()
		if err == nil && s.stat.Size() == 0 { // bbolt would take it for a new database
			err = fmt.Errorf("%w: the file is empty", ErrCorrupt)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
	s.db, err = bolt.Open(path, 0, &bolt.Options{ReadOnly: true, Timeout: lockWait, OpenFile: open, NoStatistics: true})
	if errors.Is(err, berrors.ErrInvalid) || errors.Is(err, berrors.ErrChecksum) || errors.Is(err, berrors.ErrVersionMismatch) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

func (s *snapshot) readMetaGuarded() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	return s.db.View(s.readMeta)
}

func (s *snapshotInfo) readMeta(tx *bolt.Tx) error {
	meta, items := tx.Bucket(bucketMeta), tx.Bucket(bucketItems)
	if meta == nil || items == nil {
		return fmt.Errorf("%w: not a complete catalogue", ErrCorrupt)
	}
	if s.schema = string(meta.Get(keySchema)); s.schema != schema && s.schema != schemaOne {
		return fmt.Errorf("%w: it is %q, this release reads %q; import the catalogue again with this release's posctl", ErrSchema, clip(s.schema), schema)
	}
	n, used := binary.Uvarint(meta.Get(keyCount))
	if used <= 0 || n > 1<<31 {
		return fmt.Errorf("%w: bad item count", ErrCorrupt)
	}
	s.count = int(n)
	s.version = string(meta.Get(keyVersion))
	s.currency = string(meta.Get(keyCurrency))
	s.serial, _ = binary.Uvarint(meta.Get(keySerial))
	s.taxes = readTaxes(meta, s.version)
	return nil
}

// guard turns a panic into ErrCorrupt: bbolt panics on a page that is not what its
// parent says, and a file that was shortened in place faults on access. Neither
// may take down a till.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", ErrCorrupt, p)
	}
}

// lookup asks the caches before the file.
func (s *snapshot) lookup(code string) (it Item, ok bool, err error) {
	if len(code) == 0 || len(code) > maxCode {
		return it, false, nil
	}
	var room [maxCode]byte
	key := appendKey(room[:0], code)
	if s.schema == schemaOne {
		key = append(key[:0], code...)
	}
	if it, ok = s.known.get(key); ok {
		return it, true, nil
	}
	if _, missing := s.unknown.get(key); missing {
		return it, false, nil
	}
	if it, ok, err = s.read(key); err != nil {
		return it, false, err
	}
	if ok {
		s.known.put(key, &it)
	} else {
		s.unknown.put(key, &it)
	}
	return it, ok, nil
}

// read looks an item up in the file.
func (s *snapshot) read(key []byte) (it Item, ok bool, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	r, err := s.begin()
	if err != nil {
		return it, false, err
	}
	defer s.end(r)
	value := r.items.Get(key)
	if value == nil && s.schema == schemaOne {
		key, value = readForms(r.items, key)
	}
	if value == nil {
		return it, false, nil
	}
	it, err = decodeItem(value, key)
	return it, err == nil, err
}

// readForms tries the forms of a GTIN in a file that has them as they were imported.
func readForms(items *bolt.Bucket, key []byte) (form, value []byte) {
	g, ok := itemcode.Normal(string(key))
	if !ok {
		return nil, nil
	}
	for _, digits := range [...]int{13, 14, 12, 8} {
		if digits >= g.Digits() {
			form = g.Append(form[:0], digits)
			if value = items.Get(form); value != nil {
				return form, value
			}
		}
	}
	return nil, nil
}

func (s *snapshot) begin() (r reader, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return r, ErrCorrupt
	}
	if n := len(s.free); n > 0 {
		r = s.free[n-1]
		s.free = s.free[:n-1]
		return r, nil
	}
	// A panic in here leaves bbolt's locks taken: whoever begins or closes after it
	// would wait for ever.
	s.broken = true
	if r.tx, err = s.db.Begin(false); err == nil {
		r.items = r.tx.Bucket(bucketItems)
	}
	s.broken = false
	return r, err
}

func (s *snapshot) end(r reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, r)
}

// close needs to be the last user. A broken one is left open: see begin.
func (s *snapshot) close() error {
	if s.broken {
		return nil
	}
	for _, r := range s.free {
		r.tx.Rollback()
	}
	s.free = nil
	return s.db.Close()
}
