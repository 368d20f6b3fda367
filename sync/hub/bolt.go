package hub

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"posd/journal/chain"
	"posd/sync/wire"
)

// Buckets of the file. Numbers are big-endian in keys, for the order, and in values.
//
//	meta        "schema" → u32 · "ledger" → 16 B · "position/<stream>" → JSON · "quarantined" → u64
//	chains      journal id → head 32 B ‖ JSON
//	events      journal id ‖ seq u64 → head 32 B ‖ payload
//	heads       journal id ‖ seq u64 → head 32 B         records that are no events
//	holes       journal id ‖ first u64 → last u64 ‖ unix milliseconds u64
//	quarantine  key 32 B → length of JSON u32 ‖ JSON ‖ body
var (
	bMeta       = []byte("meta")
	bChains     = []byte("chains")
	bEvents     = []byte("events")
	bHeads      = []byte("heads")
	bHoles      = []byte("holes")
	bQuarantine = []byte("quarantine")

	kSchema      = []byte("schema")
	kLedger      = []byte("ledger")
	kQuarantined = []byte("quarantined")
)

const (
	boltSchema  = 1
	lockTimeout = 2 * time.Second
	headSize    = len(chain.Head{})
	idSize      = len(chain.ID{})
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
	return l, nil
}

// prepare makes the buckets of a new file and checks those of an old one.
func (l *boltLedger) prepare(tx *bolt.Tx) error {
	meta := tx.Bucket(bMeta)
	if meta == nil {
		if k, _ := tx.Cursor().First(); k != nil {
			return fmt.Errorf("%w: it holds %q", ErrForeignStore, k)
		}
		for _, b := range [][]byte{bMeta, bChains, bEvents, bHeads, bHoles, bQuarantine} {
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
	if v := binary.BigEndian.Uint32(s); v > boltSchema {
		return fmt.Errorf("%w: schema %d, this release knows %d", ErrNewerLedger, v, boltSchema)
	}
	copy(l.id[:], meta.Get(kLedger))
	return nil
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

func (t boltTx) Events(c Cursor, fn func(Event) (bool, error)) error {
	if c.Seq == ^uint64(0) {
		return nil
	}
	cur := t.Bucket(bEvents).Cursor()
	for k, v := cur.Seek(recordKey(c.Journal, c.Seq+1)); k != nil; k, v = cur.Next() {
		if len(k) != idSize+8 || len(v) < headSize {
			return fmt.Errorf("ledger: event %x is damaged", k)
		}
		if c.Only && !bytes.Equal(k[:idSize], c.Journal[:]) {
			return nil
		}
		e := Event{Seq: binary.BigEndian.Uint64(k[idSize:]), Payload: v[headSize:]}
		copy(e.Journal[:], k)
		copy(e.Head[:], v)
		if more, err := fn(e); err != nil || !more {
			return err
		}
	}
	return nil
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

func (t boltTx) QuarantineCount() (uint64, error) {
	v := t.Bucket(bMeta).Get(kQuarantined)
	if v == nil {
		return 0, nil
	}
	if len(v) != 8 {
		return 0, errors.New("ledger: count of the quarantine is damaged")
	}
	return binary.BigEndian.Uint64(v), nil
}

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
