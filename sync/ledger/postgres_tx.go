package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"posd/journal/chain"
)

// pgTx is a transaction. What is written waits in memory until it ends, until too much
// waits, or until a listing must see it. What stays right between two hubs: chains,
// positions and documents are locked when they are read in an Update, and all that is
// entered of a journal is entered under the lock of its chain.
type pgTx struct {
	ctx   context.Context
	l     *pgLedger
	conn  *pgx.Conn
	write bool
	err   error // the first failure of the database

	chains  map[[16]byte]*pgChain
	events  *rowBuffer
	heads   *rowBuffer
	copies  *rowBuffer
	waits   map[recordID][]waiting
	months  map[pgMonth]bool // of waiting events
	holes   []Hole
	out     []outRun
	docs    map[docID]*[]byte // nil: deleted
	pending bool              // something waits
}

// pgChain is a chain as far as this transaction knows it.
type pgChain struct {
	head   chain.Head
	body   []byte // JSON; nil: there is none
	chain  Chain  // what is to be written
	stored bool   // there was a row
	read   bool   // and it is locked
	dirty  bool
}

type docID struct{ kind, key string }

// outRun is a row of the outbox.
type outRun struct {
	lane        string
	first, last uint64
	journal     chain.ID
	seq         uint64
	head        []byte // nil: originals from seq on
	from, to    instant
}

func (t *pgTx) fail(err error) error {
	if err == nil {
		return nil
	}
	var f *failure
	if !errors.As(err, &f) {
		err = &failure{err}
	}
	if t.err == nil {
		t.err = err
	}
	return err
}

// number is a uint64 as the database has it.
func number(what string, v uint64) (int64, error) {
	if v > math.MaxInt64 {
		return 0, fmt.Errorf("ledger: %s %d is larger than PostgreSQL can hold", what, v)
	}
	return int64(v), nil
}

func (t *pgTx) writing() error {
	if !t.write {
		return errors.New("ledger: a View cannot write")
	}
	t.pending = true
	return nil
}

// lock is the clause that keeps a row that was read in an Update.
func (t *pgTx) lock() string {
	if t.write {
		return " for update"
	}
	return ""
}

func nanos(at time.Time) *int64 {
	if at.IsZero() {
		return nil
	}
	n := at.UnixNano()
	return &n
}

func (t *pgTx) Position(lane string) (p Position, err error) {
	var created *int64
	var seq, out int64
	err = t.conn.QueryRow(t.ctx, "select created_ns, seq, out from pos.positions where lane = $1"+t.lock(), lane).Scan(&created, &seq, &out)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, nil
	}
	if err != nil {
		return p, t.fail(err)
	}
	p = Position{Seq: uint64(seq), Out: uint64(out)}
	if created != nil {
		p.Created = time.Unix(0, *created).UTC()
	}
	return p, nil
}

// SetPosition asks the database at once: it is the row's lock that makes of two hubs one
// that comes second.
func (t *pgTx) SetPosition(lane string, from, to Position) error {
	if err := t.writing(); err != nil {
		return err
	}
	tag, err := t.conn.Exec(t.ctx, `update pos.positions set created_ns = $5, seq = $6, out = $7, moved = now()
		where lane = $1 and created_ns is not distinct from $2 and seq = $3 and out = $4`,
		lane, nanos(from.Created), int64(from.Seq), int64(from.Out), nanos(to.Created), int64(to.Seq), int64(to.Out))
	if err == nil && tag.RowsAffected() == 0 && from.Seq == 0 && from.Out == 0 && from.Created.IsZero() {
		tag, err = t.conn.Exec(t.ctx, `insert into pos.positions (lane, created_ns, seq, out) values ($1, $2, $3, $4) on conflict do nothing`,
			lane, nanos(to.Created), int64(to.Seq), int64(to.Out))
	}
	if err != nil {
		return t.fail(err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%w: %s is not at %d", ErrMoved, lane, from.Seq)
	}
	return nil
}

// Expect fetches chains, and locks them in the order of their ids, so that two hubs
// wait for each other in one direction only.
func (t *pgTx) Expect(ids []chain.ID) error {
	var ask [][16]byte
	for _, id := range ids {
		if c := t.chains[id]; c == nil || !c.read {
			ask = append(ask, id)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	slices.SortFunc(ask, func(a, b [16]byte) int { return slices.Compare(a[:], b[:]) })
	ask = slices.Compact(ask)
	rows, err := t.conn.Query(t.ctx, "select journal, head, body::text from pos.chains where journal = any($1) order by journal"+t.lock(), ask)
	if err != nil {
		return t.fail(err)
	}
	for _, id := range ask {
		if t.chains[id] == nil {
			t.chains[id] = new(pgChain)
		}
		t.chains[id].read = true
	}
	var id [16]byte
	var head, body []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &head, &body}, func() error {
		c := t.chains[id]
		if c.stored = true; !c.dirty {
			c.head, c.body = chain.Head(head), slices.Clone(body)
		}
		return nil
	})
	return t.fail(err)
}

func (t *pgTx) Chain(id chain.ID) (Chain, bool, error) {
	if err := t.Expect([]chain.ID{id}); err != nil {
		return Chain{}, false, err
	}
	c := t.chains[id]
	if c.body == nil {
		return Chain{}, false, nil
	}
	out, err := chainOf(id, c.head, c.body)
	return out, err == nil, err
}

func chainOf(id chain.ID, head chain.Head, body []byte) (c Chain, err error) {
	if err := json.Unmarshal(body, &c); err != nil {
		return c, fmt.Errorf("ledger: chain %s: %w", id, err)
	}
	c.Journal, c.Head = id, head
	return c, nil
}

func (t *pgTx) PutChain(c Chain) error {
	if err := t.writing(); err != nil {
		return err
	}
	if _, err := number("record", c.Last); err != nil {
		return err
	}
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	p := t.chains[c.Journal]
	if p == nil {
		p = new(pgChain)
		t.chains[c.Journal] = p
	}
	p.head, p.body, p.chain, p.dirty = c.Head, body, c, true
	return nil
}

// flushChains writes those that are new, and then those that are not. A new one that
// another hub has made meanwhile ends the transaction: it was decided upon nothing.
func (t *pgTx) flushChains() error {
	for _, isNew := range []bool{true, false} {
		var dirty []*pgChain
		for _, c := range t.chains {
			if c.dirty && (c.read && !c.stored) == isNew {
				dirty = append(dirty, c)
			}
		}
		if len(dirty) == 0 {
			continue
		}
		slices.SortFunc(dirty, func(a, b *pgChain) int { return slices.Compare(a.chain.Journal[:], b.chain.Journal[:]) })
		n := len(dirty)
		ids, stores, terminals := make([][16]byte, n), make([]string, n), make([]string, n)
		lasts, heads, bodies := make([]int64, n), make([][]byte, n), make([]string, n)
		for i, c := range dirty {
			ids[i], stores[i], terminals[i] = c.chain.Journal, c.chain.Store, c.chain.Terminal
			lasts[i], heads[i], bodies[i] = int64(c.chain.Last), c.head[:], string(c.body)
		}
		conflict := "nothing"
		if !isNew {
			conflict = `(journal) do update set store = excluded.store, terminal = excluded.terminal,
				last = excluded.last, head = excluded.head, body = excluded.body`
		}
		if isNew {
			conflict = "do " + conflict
		}
		tag, err := t.conn.Exec(t.ctx, `insert into pos.chains (journal, store, terminal, last, head, body)
			select j, s, t, l, h, b::json from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::text[]) as u(j, s, t, l, h, b)
			on conflict `+conflict, ids, stores, terminals, lasts, heads, bodies)
		if err != nil {
			return err
		}
		if isNew && tag.RowsAffected() != int64(n) {
			return errRace
		}
		for _, c := range dirty {
			c.dirty, c.stored, c.read = false, true, true
		}
	}
	return nil
}

// Chains lists in pages, since fn may ask for more.
func (t *pgTx) Chains(fn func(Chain) error) error {
	if err := t.flush(); err != nil {
		return err
	}
	type row struct {
		id         [16]byte
		head, body []byte
	}
	return pages(t, 1000, func(last *row) (pgx.Rows, error) {
		if last == nil {
			return t.conn.Query(t.ctx, "select journal, head, body::text from pos.chains order by journal limit 1000")
		}
		return t.conn.Query(t.ctx, "select journal, head, body::text from pos.chains where journal > $1 order by journal limit 1000", last.id)
	}, func(rows pgx.Rows) (r row, err error) {
		return r, rows.Scan(&r.id, &r.head, &r.body)
	}, func(r row) (bool, error) {
		c, err := chainOf(r.id, chain.Head(r.head), r.body)
		if err != nil {
			return false, err
		}
		return true, fn(c)
	})
}

// pages calls fn with each row of page after page. A page is read whole before fn is
// called, which may ask the same connection for something else.
func pages[T any](t *pgTx, size int, query func(last *T) (pgx.Rows, error), scan func(pgx.Rows) (T, error), fn func(T) (bool, error)) error {
	var last *T
	for {
		rows, err := query(last)
		if err != nil {
			return t.fail(err)
		}
		page, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (T, error) { return scan(r.(pgx.Rows)) })
		if err != nil {
			return t.fail(err)
		}
		for _, r := range page {
			if more, err := fn(r); err != nil || !more {
				return err
			}
		}
		if len(page) < size {
			return nil
		}
		last = &page[len(page)-1]
	}
}

func (t *pgTx) buffer(b **rowBuffer) *rowBuffer {
	if *b == nil {
		if *b, _ = t.l.buffers.Get().(*rowBuffer); *b == nil {
			*b = new(rowBuffer)
		}
	}
	return *b
}

func (t *pgTx) free() {
	for _, b := range []*rowBuffer{t.events, t.heads, t.copies} {
		if b != nil {
			b.reset()
			t.l.buffers.Put(b)
		}
	}
}

func (t *pgTx) PutRecord(id chain.ID, seq uint64, h chain.Head, event []byte) error {
	if err := t.writing(); err != nil {
		return err
	}
	n, err := number("record", seq)
	if err != nil {
		return err
	}
	if event == nil {
		b := t.buffer(&t.heads)
		b.begin(3)
		b.bytes(id[:])
		b.int(n)
		b.bytes(h[:])
		return t.wait(recordID{id, seq}, waiting{head: h})
	}
	at := instantOf(event)
	b := t.buffer(&t.events)
	b.begin(5)
	b.bytes(id[:])
	b.int(n)
	b.int(int64(at))
	b.bytes(h[:])
	b.bytes(event)
	t.noteMonth(at)
	return t.wait(recordID{id, seq}, waiting{head: h, payload: event, at: at})
}

func (t *pgTx) noteMonth(at instant) {
	if t.months == nil {
		t.months = make(map[pgMonth]bool)
	}
	t.months[at.month()] = true
}

func (t *pgTx) wait(id recordID, w waiting) error {
	if t.waits == nil {
		t.waits = make(map[recordID][]waiting)
	}
	t.waits[id] = append(t.waits[id], w)
	for _, b := range []*rowBuffer{t.events, t.copies} {
		if b != nil && len(b.b) > rowsLimit {
			return t.flush()
		}
	}
	return nil
}

func (t *pgTx) PutCopy(n Name, in chain.ID, at uint64, event []byte) error {
	if err := t.writing(); err != nil {
		return err
	}
	seq, err1 := number("record", n.Seq)
	inSeq, err2 := number("record", at)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if event == nil {
		event = []byte{}
	}
	when := instantOf(event)
	b := t.buffer(&t.copies)
	b.begin(7)
	b.bytes(n.Journal[:])
	b.int(seq)
	b.bytes(n.Head[:])
	b.int(int64(when))
	b.bytes(in[:])
	b.int(inSeq)
	b.bytes(event)
	return t.wait(recordID{n.Journal, n.Seq}, waiting{head: n.Head, payload: event, at: when, copied: true, in: in, inSeq: at})
}

func (t *pgTx) Head(id chain.ID, seq uint64) (h chain.Head, ok bool, err error) {
	for _, w := range t.waits[recordID{id, seq}] {
		if !w.copied {
			return w.head, true, nil
		}
	}
	if seq > math.MaxInt64 {
		return h, false, nil
	}
	var b []byte
	err = t.conn.QueryRow(t.ctx, `select head from pos.events where journal = $1 and seq = $2
		union all select head from pos.heads where journal = $1 and seq = $2`, [16]byte(id), int64(seq)).Scan(&b)
	if errors.Is(err, pgx.ErrNoRows) {
		return h, false, nil
	}
	if err != nil {
		return h, false, t.fail(err)
	}
	return chain.Head(b), true, nil
}

func (t *pgTx) Event(n Name) ([]byte, bool, error) {
	e, ok, err := t.event(n)
	return e.Payload, ok, err
}

func (t *pgTx) event(n Name) (e Event, ok bool, err error) {
	for _, w := range t.waits[recordID{n.Journal, n.Seq}] {
		if w.payload != nil && w.head == n.Head {
			return Event{Name: n, Payload: w.payload, In: w.in, At: w.inSeq}, true, nil
		}
	}
	if n.Seq > math.MaxInt64 {
		return e, false, nil
	}
	var in *[16]byte
	var at *int64
	e.Name = n
	err = t.conn.QueryRow(t.ctx, `select payload, in_journal, in_seq from pos.copies where journal = $1 and seq = $2 and head = $3
		union all select payload, null, null from pos.events where journal = $1 and seq = $2 and head = $3`,
		[16]byte(n.Journal), int64(n.Seq), n.Head[:]).Scan(&e.Payload, &in, &at)
	if errors.Is(err, pgx.ErrNoRows) {
		return Event{}, false, nil
	}
	if err != nil {
		return Event{}, false, t.fail(err)
	}
	if in != nil && at != nil {
		e.In, e.At = *in, uint64(*at)
	}
	return e, true, nil
}

// flush writes what waits. Chains come first: they tell whether another hub was faster.
func (t *pgTx) flush() error {
	if !t.pending || t.err != nil {
		return t.err
	}
	t.pending = false
	months := make([]pgMonth, 0, len(t.months))
	for m := range t.months {
		months = append(months, m)
	}
	for _, step := range []func() error{
		t.flushChains,
		func() error { return t.l.ensureMonths(t.ctx, months) },
		func() error { return t.sendRows(t.events, "events") },
		func() error { return t.sendRows(t.heads, "heads") },
		func() error { return t.sendRows(t.copies, "copies") },
		t.flushHoles, t.flushOut, t.flushDocs,
	} {
		if err := step(); err != nil {
			return t.fail(err)
		}
	}
	clear(t.months)
	return nil
}

func (t *pgTx) sendRows(b *rowBuffer, table string) error {
	if b == nil {
		return nil
	}
	return b.send(t.ctx, t.conn, table)
}

// receiptColumns are the rows as arrays, one a column.
func receiptColumns(rows []Receipt) []any {
	n := len(rows)
	stores, terminals, numbers := make([]string, n), make([]string, n), make([]string, n)
	ids, seqs, heads := make([][16]byte, n), make([]int64, n), make([][]byte, n)
	for i := range rows {
		r := &rows[i]
		stores[i], terminals[i], numbers[i] = r.Store, r.Terminal, r.Number
		ids[i], seqs[i], heads[i] = r.Event.Journal, int64(r.Event.Seq), r.Event.Head[:]
	}
	return []any{stores, terminals, numbers, ids, seqs, heads}
}

const unnestReceipts = `unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::bytea[])`

func (t *pgTx) PutReceipts(rows []Receipt, at time.Time) (colliding []Receipt, err error) {
	if err := t.writing(); err != nil || len(rows) == 0 {
		return nil, err
	}
	sorted := slices.Clone(rows) // two hubs lock in one order
	for i := range sorted {
		if _, err := number("record", sorted[i].Event.Seq); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(sorted, func(a, b Receipt) int {
		return cmp.Or(strings.Compare(a.Store, b.Store), strings.Compare(a.Terminal, b.Terminal), strings.Compare(a.Number, b.Number))
	})
	columns := receiptColumns(sorted)
	tag, err := t.conn.Exec(t.ctx, `insert into pos.receipts (store, terminal, number, journal, seq, head)
		select * from `+unnestReceipts+` on conflict do nothing`, columns...)
	if err != nil {
		return nil, t.fail(err)
	}
	if tag.RowsAffected() == int64(len(rows)) {
		return nil, nil
	}
	known, err := t.conn.Query(t.ctx, `select u.i, r.journal, r.seq, r.head
		from `+unnestReceipts+` with ordinality as u(store, terminal, number, journal, seq, head, i)
		join pos.receipts r using (store, terminal, number)
		where r.journal <> u.journal or r.seq <> u.seq or r.head <> u.head order by u.i`, columns...)
	if err != nil {
		return nil, t.fail(err)
	}
	var i, seq int64
	var id [16]byte
	var head []byte
	var all []Receipt
	hit := make(map[Receipt]bool)
	if _, err := pgx.ForEachRow(known, []any{&i, &id, &seq, &head}, func() error {
		mine := sorted[i-1]
		first := mine
		first.Event = Name{id, uint64(seq), chain.Head(head)}
		hit[mine] = true
		all = append(all, mine, first)
		return nil
	}); err != nil {
		return nil, t.fail(err)
	}
	if len(all) == 0 {
		return nil, nil
	}
	if _, err := t.conn.Exec(t.ctx, `insert into pos.collisions (store, terminal, number, journal, seq, head, noticed)
		select u.*, $7::timestamptz from `+unnestReceipts+` as u on conflict do nothing`,
		append(receiptColumns(all), time.UnixMilli(at.UnixMilli()))...); err != nil {
		return nil, t.fail(err)
	}
	for _, r := range rows {
		if hit[r] {
			colliding = append(colliding, r)
		}
	}
	return colliding, nil
}

func (t *pgTx) Receipts(store, terminal, number string, fn func(Name) (bool, error)) error {
	return pages(t, 64, func(last *Name) (pgx.Rows, error) {
		from := Name{}
		if last != nil {
			from = *last
		}
		return t.conn.Query(t.ctx, `select journal, seq, head from (
			select journal, seq, head from pos.receipts where store = $1 and terminal = $2 and number = $3
			union select journal, seq, head from pos.collisions where store = $1 and terminal = $2 and number = $3) x
			where (journal, seq, head) > ($4, $5, $6) order by journal, seq, head limit 64`,
			store, terminal, number, [16]byte(from.Journal), int64(from.Seq), from.Head[:])
	}, func(rows pgx.Rows) (n Name, err error) {
		var seq int64
		var head []byte
		err = rows.Scan((*[16]byte)(&n.Journal), &seq, &head)
		copy(n.Head[:], head)
		n.Seq = uint64(seq)
		return n, err
	}, fn)
}

func (t *pgTx) Collisions(after Receipt, fn func(Receipt, time.Time) (bool, error)) error {
	type row struct {
		r       Receipt
		noticed time.Time
	}
	return pages(t, 256, func(last *row) (pgx.Rows, error) {
		from := after
		if last != nil {
			from = last.r
		}
		return t.conn.Query(t.ctx, `select store, terminal, number, journal, seq, head, noticed from pos.collisions
			where (store, terminal, number, journal, seq, head) > ($1, $2, $3, $4, $5, $6)
			order by store, terminal, number, journal, seq, head limit 256`,
			from.Store, from.Terminal, from.Number, [16]byte(from.Event.Journal), int64(min(from.Event.Seq, math.MaxInt64)), from.Event.Head[:])
	}, func(rows pgx.Rows) (r row, err error) {
		var seq int64
		var head []byte
		err = rows.Scan(&r.r.Store, &r.r.Terminal, &r.r.Number, (*[16]byte)(&r.r.Event.Journal), &seq, &head, &r.noticed)
		copy(r.r.Event.Head[:], head)
		r.r.Event.Seq, r.noticed = uint64(seq), r.noticed.UTC()
		return r, err
	}, func(r row) (bool, error) { return fn(r.r, r.noticed) })
}

func (t *pgTx) count(sql string) (uint64, error) {
	var n int64
	err := t.conn.QueryRow(t.ctx, sql).Scan(&n)
	return uint64(n), t.fail(err)
}

func (t *pgTx) CollisionCount() (uint64, error) {
	return t.count("select count(*) from (select distinct store, terminal, number from pos.collisions) x")
}

func (t *pgTx) PutHole(h Hole) error {
	if err := t.writing(); err != nil {
		return err
	}
	if _, err := number("record", max(h.First, h.Last)); err != nil {
		return err
	}
	t.holes = append(t.holes, h)
	return nil
}

func (t *pgTx) flushHoles() error {
	for _, h := range t.holes {
		if _, err := t.conn.Exec(t.ctx, `insert into pos.holes (journal, first, last, at) values ($1, $2, $3, $4)
			on conflict (journal, first) do update set last = excluded.last, at = excluded.at`,
			[16]byte(h.Journal), int64(h.First), int64(h.Last), time.UnixMilli(h.At.UnixMilli())); err != nil {
			return err
		}
	}
	t.holes = nil
	return nil
}

func (t *pgTx) Holes(fn func(Hole) error) error {
	if err := t.flush(); err != nil {
		return err
	}
	return pages(t, 1000, func(last *Hole) (pgx.Rows, error) {
		from, first := chain.ID{}, int64(-1)
		if last != nil {
			from, first = last.Journal, int64(last.First)
		}
		return t.conn.Query(t.ctx, `select journal, first, last, at from pos.holes where (journal, first) > ($1, $2)
			order by journal, first limit 1000`, [16]byte(from), first)
	}, func(rows pgx.Rows) (h Hole, err error) {
		var first, last int64
		err = rows.Scan((*[16]byte)(&h.Journal), &first, &last, &h.At)
		h.First, h.Last, h.At = uint64(first), uint64(last), h.At.UTC()
		return h, err
	}, func(h Hole) (bool, error) { return true, fn(h) })
}

func (t *pgTx) PutQuarantine(q Quarantined) (bool, error) {
	if err := t.writing(); err != nil {
		return false, err
	}
	q.Size = len(q.Body)
	about, err := json.Marshal(q)
	if err != nil {
		return false, err
	}
	if q.Body == nil {
		q.Body = []byte{}
	}
	tag, err := t.conn.Exec(t.ctx, `insert into pos.quarantine (key, open, about, body) values ($1, $2, $3::text::json, $4) on conflict do nothing`,
		q.Key[:], q.Decision.Verdict == "", string(about), q.Body)
	return tag.RowsAffected() == 1, t.fail(err)
}

func quarantinedOf(key, about, body []byte) (q Quarantined, err error) {
	if err := json.Unmarshal(about, &q); err != nil {
		return q, fmt.Errorf("ledger: quarantined message %x: %w", key, err)
	}
	copy(q.Key[:], key)
	q.Body = body
	return q, nil
}

func (t *pgTx) Quarantined(key [32]byte) (Quarantined, bool, error) {
	var about, body []byte
	err := t.conn.QueryRow(t.ctx, "select about::text, body from pos.quarantine where key = $1"+t.lock(), key[:]).Scan(&about, &body)
	if errors.Is(err, pgx.ErrNoRows) {
		return Quarantined{}, false, nil
	}
	if err != nil {
		return Quarantined{}, false, t.fail(err)
	}
	q, err := quarantinedOf(key[:], about, body)
	return q, err == nil, err
}

func (t *pgTx) Decide(key [32]byte, d Decision) error {
	if err := t.writing(); err != nil {
		return err
	}
	q, ok, err := t.Quarantined(key)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("ledger: no quarantined message %x", key)
	}
	q.Decision = d
	about, err := json.Marshal(q)
	if err != nil {
		return err
	}
	_, err = t.conn.Exec(t.ctx, "update pos.quarantine set open = $2, about = $3::text::json where key = $1", key[:], d.Verdict == "", string(about))
	return t.fail(err)
}

func (t *pgTx) Quarantine(fn func(Quarantined) error) error {
	return pages(t, 256, func(last *Quarantined) (pgx.Rows, error) {
		if last == nil {
			return t.conn.Query(t.ctx, "select key, about::text from pos.quarantine order by key limit 256")
		}
		return t.conn.Query(t.ctx, "select key, about::text from pos.quarantine where key > $1 order by key limit 256", last.Key[:])
	}, func(rows pgx.Rows) (Quarantined, error) {
		var key, about []byte
		if err := rows.Scan(&key, &about); err != nil {
			return Quarantined{}, err
		}
		return quarantinedOf(key, about, nil)
	}, func(q Quarantined) (bool, error) { return true, fn(q) })
}

func (t *pgTx) QuarantineCount() (uint64, error) {
	return t.count("select count(*) from pos.quarantine where open")
}
