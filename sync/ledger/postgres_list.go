package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"posd/journal/chain"
)

func compareNames(a, b *Name) int {
	return cmp.Or(bytes.Compare(a.Journal[:], b.Journal[:]), cmp.Compare(a.Seq, b.Seq), bytes.Compare(a.Head[:], b.Head[:]))
}

// pgRun reads originals, or copies, page by page in the order of their names.
type pgRun struct {
	t      *pgTx
	sql    string
	limit  int
	args   []any // journal, seq and, of copies, head: where the next page begins
	scan   func(pgx.CollectableRow) (Event, error)
	page   []Event
	at     int
	ended  bool
	copies bool
}

// next is the event that the run stands at, nil behind the last.
func (r *pgRun) next() (*Event, error) {
	if r.at == len(r.page) {
		if r.ended {
			return nil, nil
		}
		rows, err := r.t.conn.Query(r.t.ctx, r.sql+fmt.Sprintf(" limit %d", r.limit), r.args...)
		if err != nil {
			return nil, r.t.fail(err)
		}
		if r.page, err = pgx.CollectRows(rows, r.scan); err != nil {
			return nil, r.t.fail(err)
		}
		r.at, r.ended = 0, len(r.page) < r.limit
		if len(r.page) == 0 {
			return nil, nil
		}
		last := &r.page[len(r.page)-1]
		r.args[0], r.args[1] = [16]byte(last.Journal), int64(last.Seq)
		if r.copies {
			r.args[2] = slices.Clone(last.Head[:])
		}
		r.limit = 256
	}
	return &r.page[r.at], nil
}

// Events merges originals and copies.
func (t *pgTx) Events(c Cursor, fn func(Event) (bool, error)) error {
	if err := t.flush(); err != nil || c.Head == (chain.Head{}) && c.Seq == ^uint64(0) {
		return err
	}
	seq := int64(min(c.Seq, math.MaxInt64))
	head, before := c.Head[:], seq-1 // with a head, the original of that number may come behind it
	if c.Head == (chain.Head{}) || c.Seq > math.MaxInt64 {
		head, before = bytes.Repeat([]byte{0xff}, len(c.Head)+1), seq
	}
	where, where3 := "(journal, seq) > ($1, $2)", "(journal, seq, head) > ($1, $2, $3)"
	if c.Only {
		where, where3 = "journal = $1 and seq > $2", "journal = $1 and (seq, head) > ($2, $3)"
	}
	originals := &pgRun{t: t, limit: 64, args: []any{[16]byte(c.Journal), before}, scan: scanOriginal,
		sql: "select journal, seq, head, payload from pos.events where " + where + " order by journal, seq"}
	copies := &pgRun{t: t, limit: 64, copies: true, args: []any{[16]byte(c.Journal), seq, head}, scan: scanCopy,
		sql: "select journal, seq, head, payload, in_journal, in_seq from pos.copies where " + where3 + " order by journal, seq, head"}
	for {
		a, err := originals.next()
		if err != nil {
			return err
		}
		b, err := copies.next()
		if err != nil {
			return err
		}
		r, e := originals, a
		if a == nil || b != nil && compareNames(&b.Name, &a.Name) < 0 {
			r, e = copies, b
		}
		if e == nil {
			return nil
		}
		r.at++
		if c.Head != (chain.Head{}) && compareNames(&e.Name, &c.Name) <= 0 {
			continue
		}
		if more, err := fn(*e); err != nil || !more {
			return err
		}
	}
}

func scanOriginal(row pgx.CollectableRow) (e Event, err error) {
	var seq int64
	var head []byte
	err = row.Scan((*[16]byte)(&e.Journal), &seq, &head, &e.Payload)
	copy(e.Head[:], head)
	e.Seq = uint64(seq)
	return e, err
}

func scanCopy(row pgx.CollectableRow) (e Event, err error) {
	var seq, at int64
	var head []byte
	err = row.Scan((*[16]byte)(&e.Journal), &seq, &head, &e.Payload, (*[16]byte)(&e.In), &at)
	copy(e.Head[:], head)
	e.Seq, e.At = uint64(seq), uint64(at)
	return e, err
}

// Doc locks the name in an Update, also if nothing is there: two hubs that look and then
// put come one after the other.
func (t *pgTx) Doc(kind, key string) (value []byte, ok bool, err error) {
	if v, waits := t.docs[docID{kind, key}]; waits {
		if v == nil {
			return nil, false, nil
		}
		return *v, true, nil
	}
	if t.write {
		if _, err := t.conn.Exec(t.ctx, "select pg_advisory_xact_lock($1)", lockKey("doc", kind+"\x00"+key)); err != nil {
			return nil, false, t.fail(err)
		}
	}
	err = t.conn.QueryRow(t.ctx, "select value from pos.docs where kind = $1 and key = $2", kind, key).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	return value, err == nil, t.fail(err)
}

func (t *pgTx) PutDoc(kind, key string, value []byte) error {
	if kind == "" || key == "" || strings.Contains(kind+key, "\x00") {
		return fmt.Errorf("ledger: kind %q and key %q of a document must not be empty", kind, key)
	}
	if value == nil {
		value = []byte{}
	}
	return t.putDoc(kind, key, &value)
}

func (t *pgTx) DeleteDoc(kind, key string) error { return t.putDoc(kind, key, nil) }

func (t *pgTx) putDoc(kind, key string, value *[]byte) error {
	if err := t.writing(); err != nil {
		return err
	}
	if t.docs == nil {
		t.docs = make(map[docID]*[]byte)
	}
	t.docs[docID{kind, key}] = value
	return nil
}

// flushDocs writes in the order of the keys.
func (t *pgTx) flushDocs() error {
	if len(t.docs) == 0 {
		return nil
	}
	ids := make([]docID, 0, len(t.docs))
	for id := range t.docs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b docID) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.key, b.key))
	})
	var kinds, keys, goneKinds, goneKeys []string
	var values [][]byte
	for _, id := range ids {
		if v := t.docs[id]; v != nil {
			kinds, keys, values = append(kinds, id.kind), append(keys, id.key), append(values, *v)
		} else {
			goneKinds, goneKeys = append(goneKinds, id.kind), append(goneKeys, id.key)
		}
	}
	t.docs = nil
	if len(keys) > 0 {
		if _, err := t.conn.Exec(t.ctx, `insert into pos.docs (kind, key, value) select * from unnest($1::text[], $2::text[], $3::bytea[])
			on conflict (kind, key) do update set value = excluded.value`, kinds, keys, values); err != nil {
			return err
		}
	}
	if len(goneKeys) > 0 {
		_, err := t.conn.Exec(t.ctx, `delete from pos.docs where (kind, key) in (select * from unnest($1::text[], $2::text[]))`, goneKinds, goneKeys)
		return err
	}
	return nil
}

func (t *pgTx) Docs(kind, after string, fn func(string, []byte) (bool, error)) error {
	if err := t.flush(); err != nil {
		return err
	}
	type row struct {
		key   string
		value []byte
	}
	return pages(t, 256, func(last *row) (pgx.Rows, error) {
		if last != nil {
			after = last.key
		}
		return t.conn.Query(t.ctx, "select key, value from pos.docs where kind = $1 and key > $2 order by key limit 256", kind, after)
	}, func(rows pgx.Rows) (r row, err error) {
		return r, rows.Scan(&r.key, &r.value)
	}, func(r row) (bool, error) { return fn(r.key, r.value) })
}
