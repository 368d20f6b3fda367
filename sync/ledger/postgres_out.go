package ledger

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"posd/journal/chain"
)

// PutOut makes runs of names: a parcel's events are one row.
func (t *pgTx) PutOut(lane string, first uint64, names []Name) error {
	if err := t.writing(); err != nil {
		return err
	}
	if _, err := number("number", first+uint64(len(names))); err != nil {
		return err
	}
	for i, n := range names {
		if _, err := number("record", n.Seq); err != nil {
			return err
		}
		r := outRun{lane: lane, first: first + uint64(i), last: first + uint64(i), journal: n.Journal, seq: n.Seq, from: noInstant, to: math.MaxInt64}
		if w, ok := t.original(n); ok {
			r.from, r.to = w.at, w.at
		} else {
			r.head = slices.Clone(n.Head[:])
		}
		if k := len(t.out) - 1; k >= 0 && t.out[k].followedBy(&r) {
			l := &t.out[k]
			l.last, l.from, l.to = r.last, min(l.from, r.from), max(l.to, r.to)
			continue
		}
		t.out = append(t.out, r)
	}
	return nil
}

// original is the waiting original of that name.
func (t *pgTx) original(n Name) (w waiting, ok bool) {
	for _, w := range t.waits[recordID{n.Journal, n.Seq}] {
		if !w.copied && w.payload != nil && w.head == n.Head {
			return w, true
		}
	}
	return w, false
}

func (r *outRun) followedBy(n *outRun) bool {
	return r.head == nil && n.head == nil && r.lane == n.lane && r.last+1 == n.first && r.journal == n.journal && r.seq+(n.first-r.first) == n.seq
}

func (t *pgTx) flushOut() error {
	if len(t.out) == 0 {
		return nil
	}
	n := len(t.out)
	lanes, heads, ids := make([]string, n), make([][]byte, n), make([][16]byte, n)
	firsts, lasts, seqs := make([]int64, n), make([]int64, n), make([]int64, n)
	from, to := make([]int64, n), make([]int64, n)
	for i := range t.out {
		r := &t.out[i]
		lanes[i], heads[i], ids[i] = r.lane, r.head, r.journal
		firsts[i], lasts[i], seqs[i] = int64(r.first), int64(r.last), int64(r.seq)
		from[i], to[i] = int64(r.from), int64(r.to)
	}
	t.out = nil
	_, err := t.conn.Exec(t.ctx, `insert into pos.out (lane, first, last, journal, seq, head, from_at, to_at)
		select l, f, t, j, s, h, `+instantSQL("a")+`, `+instantSQL("b")+`
		from unnest($1::text[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bigint[], $6::bytea[], $7::bigint[], $8::bigint[]) as u(l, f, t, j, s, h, a, b)`,
		lanes, firsts, lasts, ids, seqs, heads, from, to)
	return err
}

// instantSQL is a column of instants as a time.
func instantSQL(column string) string {
	return fmt.Sprintf(`case %[1]s when %d then '-infinity' when %d then 'infinity'
		else timestamptz '2000-01-01 00:00:00+00' + %[1]s * interval '1 microsecond' end`, column, int64(math.MinInt64), int64(math.MaxInt64))
}

const outPage = 32 // runs, of some hundred events each

func (t *pgTx) Out(lane string, after uint64, fn func(uint64, Event) (bool, error)) error {
	if err := t.flush(); err != nil || after > math.MaxInt64 {
		return err
	}
	type row struct {
		outRun
		min, max timeRange
	}
	return pages(t, outPage, func(last *row) (pgx.Rows, error) {
		if last != nil {
			after = last.last
		}
		return t.conn.Query(t.ctx, `select first, last, journal, seq, head, from_at::text, to_at::text from pos.out
			where lane = $1 and last > $2 order by last limit `+fmt.Sprint(outPage), lane, int64(after))
	}, func(rows pgx.Rows) (r row, err error) {
		var first, last, seq int64
		err = rows.Scan(&first, &last, (*[16]byte)(&r.journal), &seq, &r.head, &r.min, &r.max)
		r.first, r.last, r.seq = uint64(first), uint64(last), uint64(seq)
		return r, err
	}, func(r row) (bool, error) {
		return t.outEvents(&r.outRun, r.min, r.max, after, fn)
	})
}

// timeRange is one end of a run's times, as text: it may be infinite.
type timeRange = string

// outEvents calls fn with the events of a run behind number after.
func (t *pgTx) outEvents(r *outRun, from, to timeRange, after uint64, fn func(uint64, Event) (bool, error)) (bool, error) {
	if r.head != nil {
		e, ok, err := t.event(Name{r.journal, r.seq, chain.Head(r.head)})
		if err == nil && !ok {
			err = fmt.Errorf("ledger: the outbox names event %d of journal %s, which is not there", r.seq, r.journal)
		}
		if err != nil {
			return false, err
		}
		return fn(r.first, e)
	}
	for next := max(r.first, after+1); next <= r.last; {
		until := min(r.last, next+255)
		seq := r.seq + (next - r.first)
		rows, err := t.conn.Query(t.ctx, `select seq, head, payload from pos.events
			where journal = $1 and seq between $2 and $3 and at between $4::text::timestamptz and $5::text::timestamptz order by seq`,
			[16]byte(r.journal), int64(seq), int64(seq+(until-next)), from, to)
		if err != nil {
			return false, t.fail(err)
		}
		events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Event, err error) {
			var seq int64
			var head []byte
			err = row.Scan(&seq, &head, &e.Payload)
			copy(e.Head[:], head)
			e.Journal, e.Seq = r.journal, uint64(seq)
			return e, err
		})
		if err != nil {
			return false, t.fail(err)
		}
		for i := range events {
			if events[i].Seq != seq+uint64(i) {
				break
			}
			if more, err := fn(next, events[i]); err != nil || !more {
				return false, err
			}
			next++
		}
		if next <= until {
			return false, fmt.Errorf("ledger: the outbox names event %d of journal %s, which is not there", r.seq+(next-r.first), r.journal)
		}
	}
	return true, nil
}

func (t *pgTx) DropOut(lane string, upTo uint64) error {
	if err := errors.Join(t.writing(), t.flush()); err != nil {
		return err
	}
	n := int64(min(upTo, math.MaxInt64))
	if _, err := t.conn.Exec(t.ctx, "delete from pos.out where lane = $1 and last <= $2", lane, n); err != nil {
		return t.fail(err)
	}
	_, err := t.conn.Exec(t.ctx, "update pos.out set seq = seq + ($2 + 1 - first), first = $2 + 1 where lane = $1 and first <= $2 and last > $2", lane, n)
	return t.fail(err)
}
