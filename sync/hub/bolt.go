package hub

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"posd/journal/chain"
	"posd/sync/wire"
)

// Buckets of the file. Numbers are big-endian in keys, for the order, and in values.
//
//	meta        "schema" → u32 · "ledger" → 16 B · "position/<stream>" → JSON · "quarantined", "collisions" → u64
//	            "indexed" → key of the last event in receipts, while a ledger of schema 1 is being brought up
//	chains      journal id → head 32 B ‖ JSON
//	events      journal id ‖ seq u64 → head 32 B ‖ payload
//	heads       journal id ‖ seq u64 → head 32 B         records that are no events, or are among the copies
//	copies      name: journal id ‖ seq u64 ‖ head 32 B → journal id of the copy ‖ seq u64 there ‖ payload
//	receipts    store 0 terminal 0 number 0 → name of the first event that had it
//	collisions  the same ‖ name → unix milliseconds u64  all events of a number that several have
//	holes       journal id ‖ first u64 → last u64 ‖ unix milliseconds u64
//	quarantine  key 32 B → length of JSON u32 ‖ JSON ‖ body
var (
	bMeta       = []byte("meta")
	bChains     = []byte("chains")
	bEvents     = []byte("events")
	bHeads      = []byte("heads")
	bHoles      = []byte("holes")
	bQuarantine = []byte("quarantine")
	bCopies     = []byte("copies")
	bReceipts   = []byte("receipts")
	bCollisions = []byte("collisions")

	kSchema      = []byte("schema")
	kLedger      = []byte("ledger")
	kQuarantined = []byte("quarantined")
	kCollisions  = []byte("collisions")
	kIndexed     = []byte("indexed")
)

const (
	boltSchema  = 2
	lockTimeout = 2 * time.Second
	headSize    = len(chain.Head{})
	idSize      = len(chain.ID{})
	nameSize    = idSize + 8 + headSize
	indexBatch  = 10000 // events in one transaction of an upgrade
)

type boltLedger struct {
	db *bolt.DB
	id wire.LedgerID
}

// OpenBolt opens the ledger in the file path, or makes a new one with an id of
// its own. Errors: ErrInUse, ErrNewerLedger, ErrForeignStore, or what bbolt says.
func OpenBolt(path string) (Ledger, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("open ledger %s: %w: stop it first, or give this one another --data", path, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
	l := &boltLedger{db: db}
	if err := db.Update(l.prepare); err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger %s: %w", path, err), db.Close())
	}
	for more := true; more; {
		if err := db.Update(func(tx *bolt.Tx) (err error) { more, err = boltTx{tx}.index(); return err }); err != nil {
			return nil, errors.Join(fmt.Errorf("bring ledger %s up to schema %d: %w", path, boltSchema, err), db.Close())
		}
	}
	return l, nil
}

// prepare makes the buckets of a new file and checks those of an old one.
func (l *boltLedger) prepare(tx *bolt.Tx) error {
	meta := tx.Bucket(bMeta)
	if meta == nil {
		if k, _ := tx.Cursor().First(); k != nil {
			return fmt.Errorf("%w: it holds %q", ErrForeignStore, k)
		}
		for _, b := range [][]byte{bMeta, bChains, bEvents, bHeads, bHoles, bQuarantine, bCopies, bReceipts, bCollisions} {
			if _, err := tx.CreateBucket(b); err != nil {
				return err
			}
		}
		meta = tx.Bucket(bMeta)
		rand.Read(l.id[:])
		return errors.Join(
			meta.Put(kSchema, binary.BigEndian.AppendUint32(nil, boltSchema)),
			meta.Put(kLedger, l.id[:]))
	}
	s := meta.Get(kSchema)
	if len(s) != 4 || len(meta.Get(kLedger)) != len(l.id) {
		return fmt.Errorf("%w: no schema or ledger id", ErrForeignStore)
	}
	copy(l.id[:], meta.Get(kLedger))
	switch v := binary.BigEndian.Uint32(s); {
	case v > boltSchema:
		return fmt.Errorf("%w: schema %d, this release knows %d", ErrNewerLedger, v, boltSchema)
	case v == 1: // knows no copies and no receipt numbers; an older release must not go on with it
		for _, b := range [][]byte{bCopies, bReceipts, bCollisions} {
			if _, err := tx.CreateBucket(b); err != nil {
				return err
			}
		}
		return errors.Join(
			meta.Put(kSchema, binary.BigEndian.AppendUint32(nil, boltSchema)),
			meta.Put(kIndexed, []byte{}))
	}
	return nil
}

// index notes the receipt numbers of some more events of a ledger that was begun
// without, and reports whether there are more.
func (t boltTx) index() (more bool, err error) {
	meta := t.Bucket(bMeta)
	at := meta.Get(kIndexed)
	if at == nil {
		return false, nil
	}
	cur, n := t.Bucket(bEvents).Cursor(), 0
	var c Chain
	k, v := cur.Seek(at)
	for ; k != nil && n < indexBatch; k, v = cur.Next() {
		e, err := decodeEvent(k, v)
		if err != nil {
			return false, err
		}
		if c.Journal != e.Journal || n == 0 {
			if c, _, err = t.Chain(e.Journal); err != nil {
				return false, err
			}
		}
		if number := receiptOf(e.Payload); number != "" {
			if _, err := t.PutReceipt(Receipt{c.Store, c.Terminal, number, e.Name}, c.Updated); err != nil {
				return false, err
			}
		}
		n++
	}
	if k == nil {
		return false, meta.Delete(kIndexed)
	}
	return true, meta.Put(kIndexed, bytes.Clone(k))
}

func (l *boltLedger) ID() wire.LedgerID { return l.id }
func (l *boltLedger) Close() error      { return l.db.Close() }

func (l *boltLedger) Update(fn func(Tx) error) error {
	return l.db.Update(func(tx *bolt.Tx) error { return fn(boltTx{tx}) })
}

func (l *boltLedger) View(fn func(Tx) error) error {
	return l.db.View(func(tx *bolt.Tx) error { return fn(boltTx{tx}) })
}

type boltTx struct{ *bolt.Tx }

func positionKey(stream string) []byte { return []byte("position/" + stream) }

func (t boltTx) Position(stream string) (p Position, err error) {
	if v := t.Bucket(bMeta).Get(positionKey(stream)); v != nil {
		err = json.Unmarshal(v, &p)
	}
	return p, err
}

func (t boltTx) SetPosition(stream string, p Position) error {
	v, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return t.Bucket(bMeta).Put(positionKey(stream), v)
}

func (t boltTx) Chain(id chain.ID) (Chain, bool, error) {
	v := t.Bucket(bChains).Get(id[:])
	if v == nil {
		return Chain{}, false, nil
	}
	c, err := decodeChain(id[:], v)
	return c, err == nil, err
}

func decodeChain(k, v []byte) (c Chain, err error) {
	if len(k) != idSize || len(v) < headSize {
		return c, fmt.Errorf("ledger: chain %x is damaged", k)
	}
	if err := json.Unmarshal(v[headSize:], &c); err != nil {
		return c, fmt.Errorf("ledger: chain %x: %w", k, err)
	}
	copy(c.Journal[:], k)
	copy(c.Head[:], v)
	return c, nil
}

func (t boltTx) PutChain(c Chain) error {
	v, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return t.Bucket(bChains).Put(c.Journal[:], append(c.Head[:], v...))
}

func (t boltTx) Chains(fn func(Chain) error) error {
	return t.Bucket(bChains).ForEach(func(k, v []byte) error {
		c, err := decodeChain(k, v)
		if err != nil {
			return err
		}
		return fn(c)
	})
}

func recordKey(id chain.ID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, idSize+8), id[:]...), seq)
}

func (t boltTx) Head(id chain.ID, seq uint64) (h chain.Head, ok bool, err error) {
	k := recordKey(id, seq)
	v := t.Bucket(bEvents).Get(k)
	if v == nil {
		v = t.Bucket(bHeads).Get(k)
	}
	if v == nil {
		return h, false, nil
	}
	if len(v) < headSize {
		return h, false, fmt.Errorf("ledger: record %x is damaged", k)
	}
	copy(h[:], v)
	return h, true, nil
}

func (t boltTx) PutRecord(id chain.ID, seq uint64, h chain.Head, event []byte) error {
	if event == nil {
		return t.Bucket(bHeads).Put(recordKey(id, seq), h[:])
	}
	v := make([]byte, 0, headSize+len(event))
	return t.Bucket(bEvents).Put(recordKey(id, seq), append(append(v, h[:]...), event...))
}

func (n *Name) key() []byte { return append(recordKey(n.Journal, n.Seq), n.Head[:]...) }

func decodeName(b []byte) (n Name) {
	copy(n.Journal[:], b)
	n.Seq = binary.BigEndian.Uint64(b[idSize:])
	copy(n.Head[:], b[idSize+8:])
	return n
}

func (t boltTx) PutCopy(n Name, in chain.ID, at uint64, event []byte) error {
	v := binary.BigEndian.AppendUint64(append(make([]byte, 0, idSize+8+len(event)), in[:]...), at)
	return t.Bucket(bCopies).Put(n.key(), append(v, event...))
}

func (t boltTx) Event(n Name) ([]byte, bool, error) {
	k := n.key()
	if v := t.Bucket(bCopies).Get(k); v != nil {
		e, err := decodeCopy(k, v)
		return e.Payload, err == nil, err
	}
	k = k[:idSize+8]
	v := t.Bucket(bEvents).Get(k)
	if v == nil {
		return nil, false, nil
	}
	e, err := decodeEvent(k, v)
	return e.Payload, err == nil && e.Head == n.Head, err
}

func decodeEvent(k, v []byte) (e Event, err error) {
	if len(k) != idSize+8 || len(v) < headSize {
		return e, fmt.Errorf("ledger: event %x is damaged", k)
	}
	copy(e.Journal[:], k)
	e.Seq = binary.BigEndian.Uint64(k[idSize:])
	copy(e.Head[:], v)
	e.Payload = v[headSize:]
	return e, nil
}

func decodeCopy(k, v []byte) (e Event, err error) {
	if len(k) != nameSize || len(v) < idSize+8 {
		return e, fmt.Errorf("ledger: copied event %x is damaged", k)
	}
	e.Name = decodeName(k)
	copy(e.In[:], v)
	e.At = binary.BigEndian.Uint64(v[idSize:])
	e.Payload = v[idSize+8:]
	return e, nil
}

// run walks one bucket of events.
type run struct {
	cur    *bolt.Cursor
	k, v   []byte
	decode func(k, v []byte) (Event, error)
}

func (r *run) seek(k []byte) { r.k, r.v = r.cur.Seek(k) }
func (r *run) next()         { r.k, r.v = r.cur.Next() }

// behind reports whether the next copy comes before the next original.
func (r *run) behind(copies *run) bool {
	if r.k == nil || copies.k == nil {
		return r.k == nil
	}
	n := min(len(copies.k), idSize+8)
	if d := bytes.Compare(copies.k[:n], r.k); d != 0 {
		return d < 0
	}
	return bytes.Compare(copies.k[n:], r.v[:min(len(r.v), headSize)]) < 0
}

// Events merges originals and copies.
func (t boltTx) Events(c Cursor, fn func(Event) (bool, error)) error {
	from := c.key()
	if c.Head == (chain.Head{}) {
		if c.Seq == ^uint64(0) {
			return nil
		}
		from = recordKey(c.Journal, c.Seq+1)
	}
	originals := run{cur: t.Bucket(bEvents).Cursor(), decode: decodeEvent}
	copies := run{cur: t.Bucket(bCopies).Cursor(), decode: decodeCopy}
	originals.seek(from[:idSize+8])
	copies.seek(from)
	for originals.k != nil || copies.k != nil {
		r := &originals
		if originals.behind(&copies) {
			r = &copies
		}
		e, err := r.decode(r.k, r.v)
		if err != nil {
			return err
		}
		if c.Only && e.Journal != c.Journal {
			return nil
		}
		if c.Head == (chain.Head{}) || bytes.Compare(e.key(), from) > 0 {
			if more, err := fn(e); err != nil || !more {
				return err
			}
		}
		r.next()
	}
	return nil
}

func receiptKey(r *Receipt) []byte {
	return []byte(r.Store + "\x00" + r.Terminal + "\x00" + r.Number + "\x00")
}

func (t boltTx) PutReceipt(r Receipt, at time.Time) (bool, error) {
	b, k, name := t.Bucket(bReceipts), receiptKey(&r), r.Event.key()
	first := b.Get(k)
	if first == nil {
		return false, b.Put(k, name)
	}
	if len(first) != nameSize {
		return false, fmt.Errorf("ledger: receipt %q is damaged", k)
	}
	if bytes.Equal(first, name) {
		return false, nil
	}
	b = t.Bucket(bCollisions)
	ms := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
	mine, other := append(bytes.Clone(k), name...), append(k, first...)
	if b.Get(mine) != nil {
		return true, nil
	}
	if b.Get(other) == nil {
		n, err := t.CollisionCount()
		if err != nil {
			return false, err
		}
		if err := errors.Join(b.Put(other, ms), t.Bucket(bMeta).Put(kCollisions, binary.BigEndian.AppendUint64(nil, n+1))); err != nil {
			return false, err
		}
	}
	return true, b.Put(mine, ms)
}

func (t boltTx) Collisions(after Receipt, fn func(Receipt, time.Time) (bool, error)) error {
	from := append(receiptKey(&after), after.Event.key()...)
	cur := t.Bucket(bCollisions).Cursor()
	for k, v := cur.Seek(from); k != nil; k, v = cur.Next() {
		if bytes.Equal(k, from) {
			continue
		}
		at := len(k) - nameSize
		if at < 0 || len(v) != 8 {
			return fmt.Errorf("ledger: collision %x is damaged", k)
		}
		parts := strings.Split(string(k[:at]), "\x00")
		if len(parts) != 4 {
			return fmt.Errorf("ledger: collision %x is damaged", k)
		}
		r := Receipt{parts[0], parts[1], parts[2], decodeName(k[at:])}
		if more, err := fn(r, time.UnixMilli(int64(binary.BigEndian.Uint64(v))).UTC()); err != nil || !more {
			return err
		}
	}
	return nil
}

func (t boltTx) CollisionCount() (uint64, error) { return t.count(kCollisions) }

// count reads a number that is kept beside a bucket.
func (t boltTx) count(key []byte) (uint64, error) {
	v := t.Bucket(bMeta).Get(key)
	if v == nil {
		return 0, nil
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("ledger: the count %q is damaged", key)
	}
	return binary.BigEndian.Uint64(v), nil
}

func (t boltTx) PutHole(h Hole) error {
	v := binary.BigEndian.AppendUint64(nil, h.Last)
	v = binary.BigEndian.AppendUint64(v, uint64(h.At.UnixMilli()))
	return t.Bucket(bHoles).Put(recordKey(h.Journal, h.First), v)
}

func (t boltTx) Holes(fn func(Hole) error) error {
	return t.Bucket(bHoles).ForEach(func(k, v []byte) error {
		if len(k) != idSize+8 || len(v) != 16 {
			return fmt.Errorf("ledger: hole %x is damaged", k)
		}
		h := Hole{First: binary.BigEndian.Uint64(k[idSize:]), Last: binary.BigEndian.Uint64(v),
			At: time.UnixMilli(int64(binary.BigEndian.Uint64(v[8:]))).UTC()}
		copy(h.Journal[:], k)
		return fn(h)
	})
}

func (t boltTx) PutQuarantine(q Quarantined) (bool, error) {
	b := t.Bucket(bQuarantine)
	if b.Get(q.Key[:]) != nil {
		return false, nil
	}
	j, err := json.Marshal(q)
	if err != nil {
		return false, err
	}
	v := binary.BigEndian.AppendUint32(nil, uint32(len(j)))
	if err := b.Put(q.Key[:], append(append(v, j...), q.Body...)); err != nil {
		return false, err
	}
	n, err := t.QuarantineCount()
	if err != nil {
		return false, err
	}
	return true, t.Bucket(bMeta).Put(kQuarantined, binary.BigEndian.AppendUint64(nil, n+1))
}

func (t boltTx) QuarantineCount() (uint64, error) { return t.count(kQuarantined) }

func (t boltTx) Quarantine(fn func(Quarantined) error) error {
	return t.Bucket(bQuarantine).ForEach(func(k, v []byte) error {
		var q Quarantined
		if len(k) != len(q.Key) || len(v) < 4 || int64(len(v)-4) < int64(binary.BigEndian.Uint32(v)) {
			return fmt.Errorf("ledger: quarantined message %x is damaged", k)
		}
		n := 4 + int(binary.BigEndian.Uint32(v))
		if err := json.Unmarshal(v[4:n], &q); err != nil {
			return fmt.Errorf("ledger: quarantined message %x: %w", k, err)
		}
		copy(q.Key[:], k)
		q.Body = v[n:]
		return fn(q)
	})
}
