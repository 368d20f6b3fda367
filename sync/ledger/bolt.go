package ledger

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
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
//	out         lane 0 number u64 → name                   the outbox
//	docs        kind 0 key → value
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
	bOut        = []byte("out")
	bDocs       = []byte("docs")

	kSchema      = []byte("schema")
	kLedger      = []byte("ledger")
	kQuarantined = []byte("quarantined")
	kCollisions  = []byte("collisions")
	kIndexed     = []byte("indexed")
)

const (
	boltSchema  = 3
	lockTimeout = 2 * time.Second
	headSize    = len(chain.Head{})
	idSize      = len(chain.ID{})
	nameSize    = idSize + 8 + headSize
	indexBatch  = 10000 // events in one transaction of an upgrade
)

type boltLedger struct {
	db *bolt.DB
	id wire.LedgerID

	mu     sync.Mutex
	claims map[string]*boltClaim
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
	l := &boltLedger{db: db, claims: make(map[string]*boltClaim)}
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
		for _, b := range [][]byte{bMeta, bChains, bEvents, bHeads, bHoles, bQuarantine, bCopies, bReceipts, bCollisions, bOut, bDocs} {
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
	case v < boltSchema: // an older release must not go on with it
		add := [][]byte{bOut, bDocs}
		if v == 1 { // knows no copies and no receipt numbers
			add = append(add, bCopies, bReceipts, bCollisions)
			if err := meta.Put(kIndexed, []byte{}); err != nil {
				return err
			}
		}
		for _, b := range add {
			if _, err := tx.CreateBucket(b); err != nil {
				return err
			}
		}
		return meta.Put(kSchema, binary.BigEndian.AppendUint32(nil, boltSchema))
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
		if number := ReceiptOf(e.Payload); number != "" {
			if _, err := t.putReceipt(Receipt{c.Store, c.Terminal, number, e.Name}, c.Updated); err != nil {
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
func (l *boltLedger) Kind() string      { return "bbolt" }
func (l *boltLedger) Close() error      { return l.db.Close() }

func (l *boltLedger) Update(ctx context.Context, fn func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.db.Update(func(tx *bolt.Tx) error { return fn(boltTx{tx}) })
}

func (l *boltLedger) View(ctx context.Context, fn func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.db.View(func(tx *bolt.Tx) error { return fn(boltTx{tx}) })
}

// boltClaim is held within this process: the file's lock keeps others out.
type boltClaim struct {
	l    *boltLedger
	name string
	lost chan struct{}
}

func (l *boltLedger) Claim(_ context.Context, name string) (Claim, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.claims[name] != nil {
		return nil, false, nil
	}
	c := &boltClaim{l: l, name: name, lost: make(chan struct{})}
	l.claims[name] = c
	return c, true, nil
}

func (c *boltClaim) Lost() <-chan struct{} { return c.lost }

func (c *boltClaim) Release() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if c.l.claims[c.name] == c {
		delete(c.l.claims, c.name)
		close(c.lost)
	}
}

type boltTx struct{ *bolt.Tx }

func positionKey(lane string) []byte { return []byte("position/" + lane) }

func (t boltTx) Position(lane string) (p Position, err error) {
	if v := t.Bucket(bMeta).Get(positionKey(lane)); v != nil {
		err = json.Unmarshal(v, &p)
	}
	return p, err
}

func (t boltTx) SetPosition(lane string, from, to Position) error {
	at, err := t.Position(lane)
	if err != nil {
		return err
	}
	if at.Seq != from.Seq || at.Out != from.Out || !at.Created.Equal(from.Created) {
		return fmt.Errorf("%w: %s is at %d, not %d", ErrMoved, lane, at.Seq, from.Seq)
	}
	v, err := json.Marshal(to)
	if err != nil {
		return err
	}
	return t.Bucket(bMeta).Put(positionKey(lane), v)
}

func (t boltTx) Expect([]chain.ID) error { return nil }

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
	e, ok, err := t.event(n)
	return e.Payload, ok, err
}

func (t boltTx) event(n Name) (e Event, ok bool, err error) {
	k := n.key()
	if v := t.Bucket(bCopies).Get(k); v != nil {
		e, err = decodeCopy(k, v)
		return e, err == nil, err
	}
	k = k[:idSize+8]
	v := t.Bucket(bEvents).Get(k)
	if v == nil {
		return e, false, nil
	}
	e, err = decodeEvent(k, v)
	return e, err == nil && e.Head == n.Head, err
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

func (t boltTx) PutReceipts(rows []Receipt, at time.Time) (colliding []Receipt, err error) {
	for _, r := range rows {
		collides, err := t.putReceipt(r, at)
		if err != nil {
			return nil, err
		}
		if collides {
			colliding = append(colliding, r)
		}
	}
	return colliding, nil
}

func (t boltTx) putReceipt(r Receipt, at time.Time) (bool, error) {
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

func (t boltTx) Receipts(store, terminal, number string, fn func(Name) (bool, error)) error {
	k := receiptKey(&Receipt{Store: store, Terminal: terminal, Number: number})
	first := t.Bucket(bReceipts).Get(k)
	switch {
	case first == nil:
		return nil
	case len(first) != nameSize:
		return fmt.Errorf("ledger: receipt %q is damaged", k)
	}
	cur, several := t.Bucket(bCollisions).Cursor(), false
	for c, _ := cur.Seek(k); bytes.HasPrefix(c, k); c, _ = cur.Next() {
		if len(c) != len(k)+nameSize {
			return fmt.Errorf("ledger: collision %x is damaged", c)
		}
		several = true
		if more, err := fn(decodeName(c[len(k):])); err != nil || !more {
			return err
		}
	}
	if several {
		return nil
	}
	_, err := fn(decodeName(first))
	return err
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
	if t.Bucket(bQuarantine).Get(q.Key[:]) != nil {
		return false, nil
	}
	return true, errors.Join(t.putQuarantined(q), t.addQuarantined(1))
}

func (t boltTx) putQuarantined(q Quarantined) error {
	q.Size = len(q.Body)
	j, err := json.Marshal(q)
	if err != nil {
		return err
	}
	v := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(j)+len(q.Body)), uint32(len(j)))
	return t.Bucket(bQuarantine).Put(q.Key[:], append(append(v, j...), q.Body...))
}

func (t boltTx) addQuarantined(d int) error {
	n, err := t.QuarantineCount()
	if err != nil {
		return err
	}
	return t.Bucket(bMeta).Put(kQuarantined, binary.BigEndian.AppendUint64(nil, uint64(max(0, int64(n)+int64(d)))))
}

func (t boltTx) QuarantineCount() (uint64, error) { return t.count(kQuarantined) }

func (t boltTx) Quarantined(key [32]byte) (Quarantined, bool, error) {
	v := t.Bucket(bQuarantine).Get(key[:])
	if v == nil {
		return Quarantined{}, false, nil
	}
	q, err := decodeQuarantined(key[:], v)
	return q, err == nil, err
}

func (t boltTx) Decide(key [32]byte, d Decision) error {
	q, ok, err := t.Quarantined(key)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("ledger: no quarantined message %x", key)
	}
	was := q.Decision.Verdict
	q.Decision, q.Body = d, bytes.Clone(q.Body)
	if err := t.putQuarantined(q); err != nil {
		return err
	}
	switch {
	case was == "" && d.Verdict != "":
		return t.addQuarantined(-1)
	case was != "" && d.Verdict == "":
		return t.addQuarantined(1)
	}
	return nil
}

func (t boltTx) Quarantine(fn func(Quarantined) error) error {
	return t.Bucket(bQuarantine).ForEach(func(k, v []byte) error {
		q, err := decodeQuarantined(k, v)
		if err != nil {
			return err
		}
		q.Body = nil
		return fn(q)
	})
}

func decodeQuarantined(k, v []byte) (q Quarantined, err error) {
	if len(k) != len(q.Key) || len(v) < 4 || int64(len(v)-4) < int64(binary.BigEndian.Uint32(v)) {
		return q, fmt.Errorf("ledger: quarantined message %x is damaged", k)
	}
	n := 4 + int(binary.BigEndian.Uint32(v))
	if err := json.Unmarshal(v[4:n], &q); err != nil {
		return q, fmt.Errorf("ledger: quarantined message %x: %w", k, err)
	}
	copy(q.Key[:], k)
	q.Body, q.Size = v[n:], len(v)-n
	return q, nil
}

func outKey(lane string, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(lane), 0), n)
}

func (t boltTx) PutOut(lane string, first uint64, names []Name) error {
	b := t.Bucket(bOut)
	for i := range names {
		if err := b.Put(outKey(lane, first+uint64(i)), names[i].key()); err != nil {
			return err
		}
	}
	return nil
}

func (t boltTx) Out(lane string, after uint64, fn func(uint64, Event) (bool, error)) error {
	if after == ^uint64(0) {
		return nil
	}
	prefix := append([]byte(lane), 0)
	cur := t.Bucket(bOut).Cursor()
	for k, v := cur.Seek(outKey(lane, after+1)); bytes.HasPrefix(k, prefix); k, v = cur.Next() {
		if len(k) != len(prefix)+8 || len(v) != nameSize {
			return fmt.Errorf("ledger: outbox entry %x is damaged", k)
		}
		e, ok, err := t.event(decodeName(v))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("ledger: the outbox names event %x, which is not there", v)
		}
		if more, err := fn(binary.BigEndian.Uint64(k[len(prefix):]), e); err != nil || !more {
			return err
		}
	}
	return nil
}

func (t boltTx) DropOut(lane string, upTo uint64) error {
	prefix := append([]byte(lane), 0)
	cur := t.Bucket(bOut).Cursor()
	for k, _ := cur.Seek(prefix); len(k) == len(prefix)+8 && bytes.HasPrefix(k, prefix) && binary.BigEndian.Uint64(k[len(prefix):]) <= upTo; k, _ = cur.Seek(prefix) {
		if err := cur.Delete(); err != nil {
			return err
		}
	}
	return nil
}

func docKey(kind, key string) []byte { return []byte(kind + "\x00" + key) }

func (t boltTx) Doc(kind, key string) ([]byte, bool, error) {
	v := t.Bucket(bDocs).Get(docKey(kind, key))
	return v, v != nil, nil
}

func (t boltTx) PutDoc(kind, key string, value []byte) error {
	if kind == "" || key == "" || strings.Contains(kind+key, "\x00") {
		return fmt.Errorf("ledger: kind %q and key %q of a document must not be empty", kind, key)
	}
	// bbolt gives a nil value back as if there were none.
	return t.Bucket(bDocs).Put(docKey(kind, key), append([]byte{}, value...))
}

func (t boltTx) DeleteDoc(kind, key string) error {
	return t.Bucket(bDocs).Delete(docKey(kind, key))
}

func (t boltTx) Docs(kind, after string, fn func(string, []byte) (bool, error)) error {
	prefix, from := docKey(kind, ""), docKey(kind, after)
	cur := t.Bucket(bDocs).Cursor()
	for k, v := cur.Seek(from); bytes.HasPrefix(k, prefix); k, v = cur.Next() {
		if after != "" && bytes.Equal(k, from) {
			continue
		}
		if more, err := fn(string(k[len(prefix):]), v); err != nil || !more {
			return err
		}
	}
	return nil
}
