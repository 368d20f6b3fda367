package view

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"posd/journal/chain"
)

// errDamaged marks a file that bbolt cannot be trusted with any more.
var errDamaged = errors.New("index file is damaged")

const (
	lockWait = time.Second
	// mapSize is more than the file needs: a commit that grew the mapping would
	// wait for readers. It costs address space, not memory.
	mapSize = 64 << 20
)

// file is one open bbolt file. Its methods turn bbolt's panics and faults of the
// mapping into errDamaged.
type file struct {
	db  *bolt.DB
	raw *os.File
}

// openFile opens or creates the file.
func openFile(path string) (*file, error) {
	f := &file{}
	// On a read-only mount what was indexed can still be looked up.
	readOnly := errors.Is(unix.Access(path, unix.W_OK), unix.EROFS)
	err := contained(func() (err error) {
		f.db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout: lockWait, ReadOnly: readOnly,
			// The list of free pages stays in the file although it costs a page a
			// commit: without it, bbolt scans the file at the start in a goroutine of
			// its own, whose panic on a damaged page nobody can recover.
			NoFreelistSync:  false,
			InitialMmapSize: mapSize,
			NoStatistics:    true,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				raw, err := os.OpenFile(name, flag, mode)
				f.raw = raw
				return raw, err
			},
		})
		return err
	})
	if err != nil {
		f.abandon()
		return nil, err
	}
	return f, nil
}

// contained runs fn so that neither a panic of bbolt nor a fault of its mapping
// ends the process: the file is derived, the sale is not.
func contained(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return fn()
}

func (f *file) read(fn func(*bolt.Tx) error) error {
	return contained(func() error { return f.db.View(fn) })
}

func (f *file) write(fn func(*bolt.Tx) error) error {
	return contained(func() error { return f.db.Update(fn) })
}

func (f *file) close() error { return contained(f.db.Close) }

// abandon gives up a damaged file: its locks inside bbolt may be held for ever,
// so it is not closed, only its descriptor. The mapping stays until the process
// ends.
func (f *file) abandon() {
	if f.raw != nil {
		f.raw.Close()
	}
}

// mark is how far a file has followed which journal.
type mark struct {
	schema  uint16
	journal chain.ID
	applied uint64
	head    chain.Head
}

// readMark returns false for a file without one, as after its creation.
func (f *file) readMark() (m mark, ok bool, err error) {
	err = f.read(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketMeta)
		for _, name := range [][]byte{bucketSale, bucketReceipt, bucketKey, bucketSeq, bucketBack} {
			if tx.Bucket(name) == nil {
				return nil
			}
		}
		if b == nil || len(b.Get(metaSchema)) != 2 {
			return nil
		}
		m.schema = binary.BigEndian.Uint16(b.Get(metaSchema))
		m.applied, ok = seqOf(b.Get(metaApplied))
		ok = ok && copy(m.journal[:], b.Get(metaJournal)) == len(m.journal) &&
			copy(m.head[:], b.Get(metaHead)) == len(m.head)
		return nil
	})
	return m, ok, err
}

func (m mark) store(tx *bolt.Tx) error {
	b, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return err
	}
	return errors.Join(
		b.Put(metaSchema, binary.BigEndian.AppendUint16(nil, m.schema)),
		b.Put(metaJournal, m.journal[:]),
		b.Put(metaApplied, appendSeq(nil, m.applied)),
		b.Put(metaHead, m.head[:]))
}

// commit adds the entries, drops at most freeMost entries of records before
// oldest, and moves the mark.
func (f *file) commit(m mark, entries []entry, oldest uint64, freeMost int) error {
	return f.write(func(tx *bolt.Tx) error {
		var b buckets
		if err := b.open(tx); err != nil {
			return err
		}
		if err := b.put(entries); err != nil {
			return err
		}
		if err := b.free(oldest, freeMost); err != nil {
			return err
		}
		return m.store(tx)
	})
}

type buckets struct {
	sale, receipt, key, seq, back *bolt.Bucket
	buf                           []byte
}

func (b *buckets) open(tx *bolt.Tx) (err error) {
	for name, to := range map[string]**bolt.Bucket{
		string(bucketSale): &b.sale, string(bucketReceipt): &b.receipt,
		string(bucketKey): &b.key, string(bucketSeq): &b.seq, string(bucketBack): &b.back,
	} {
		if *to, err = tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	b.seq.FillPercent = 1 // its keys only grow
	return nil
}

// put stores entries, bucket by bucket and keys in their order, so that what lies on one
// page is put there in one go. bbolt keeps the value slices until the commit: nobody
// changes them.
func (b *buckets) put(entries []entry) error {
	for i := range entries {
		e := &entries[i]
		seq := appendSeq(nil, e.seq)
		err := b.seq.Put(seq, e.appendSeqValue(nil))
		if err == nil && e.sale != "" {
			err = b.sale.Put([]byte(e.sale), seq)
		}
		if err == nil && e.receipt != "" {
			err = b.receipt.Put([]byte(e.receipt), seq)
		}
		if err == nil {
			err = b.putBack(e)
		}
		if err != nil {
			return err
		}
	}
	return b.putKeys(entries)
}

func (b *buckets) putKeys(entries []entry) error {
	keyed := make([]*entry, 0, len(entries))
	for i := range entries {
		if e := &entries[i]; e.keyed {
			keyed = append(keyed, e)
		}
	}
	sort.Sort(byKey(keyed)) // an instance of slices.SortStableFunc takes 3 kB
	for _, e := range keyed {
		if err := b.key.Put(e.key[:], e.appendKeyValue(nil)); err != nil {
			return err
		}
	}
	return nil
}

// byKey has of equal keys the last record last: it is the one that stays.
type byKey []*entry

func (k byKey) Len() int      { return len(k) }
func (k byKey) Swap(i, j int) { k[i], k[j] = k[j], k[i] }
func (k byKey) Less(i, j int) bool {
	c := bytes.Compare(k[i].key[:], k[j].key[:])
	return c < 0 || c == 0 && k[i].seq < k[j].seq
}

func (b *buckets) putBack(e *entry) error {
	for _, l := range e.back {
		if l.of.line == 0 && b.sale.Get([]byte(l.of.sale)) == nil {
			continue // the sale is gone: nothing would ever drop this
		}
		k := l.of.bytes()
		if err := b.back.Put(k, backBytes(parseBack(b.back.Get(k)).Plus(l.Back))); err != nil {
			return err
		}
	}
	return nil
}

// dropBack drops what is known of returns of a sale that the journal no longer holds.
func (b *buckets) dropBack(sale []byte) error {
	if len(sale) == 0 {
		return nil
	}
	prefix := append(append([]byte(nil), sale...), 0)
	c := b.back.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(k) == len(prefix)+4; k, _ = c.Seek(prefix) {
		if err := b.back.Delete(append([]byte(nil), k...)); err != nil {
			return err
		}
	}
	return nil
}

// free drops the entries of records that the journal no longer holds.
func (b *buckets) free(oldest uint64, most int) error {
	c := b.seq.Cursor()
	for k, v := c.First(); k != nil && most > 0; k, v = c.First() {
		seq, ok := seqOf(k)
		if ok && seq >= oldest {
			return nil
		}
		if n, ok := parseSeqValue(v); ok {
			err := errors.Join(
				deleteOf(b.sale, n[0], seq), deleteOf(b.receipt, n[1], seq), deleteOf(b.key, n[2], seq), b.dropBack(n[0]))
			if err != nil {
				return err
			}
		}
		if err := b.seq.Delete(append(b.buf[:0], k...)); err != nil {
			return err
		}
		most--
	}
	return nil
}

// deleteOf deletes name only if it still points to seq: after a clone two
// records may carry one receipt, and the newer one stays to be found.
func deleteOf(b *bolt.Bucket, name []byte, seq uint64) error {
	at, ok := leadsTo(b, name)
	if len(name) == 0 || !ok || at != seq {
		return nil
	}
	return b.Delete(append([]byte(nil), name...))
}
