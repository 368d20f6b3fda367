package hub

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
	"posd/sync/ledger"
	"posd/sync/ledger/pgtest"
	"posd/sync/wire"
)

// TestSettle: a receipt number that somebody has seen to is no alarm any more, until one
// more sale has it.
func TestSettle(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		r := newRig(t, noBug)
		r.o.LedgerURL = url
		r.start()
		k := newTill(t, "t1", keyA, nil)
		sell := func(number string) {
			k.add(event.RecordType, sale(number, int(k.last())))
			r.settle(r.publish(wire.UpSubject(0, "s1", "t1", k.id), bytesOf(t, k.parcel(1, k.last()))))
		}
		settle := func(number string) (s Settled, code int) {
			code = r.call("POST", "/v1/collisions/settle", `{"store":"s1","terminal":"t1","receipt":"`+number+`","by":"ada","why":"both are right"}`, &s)
			return s, code
		}
		for _, n := range []string{"t1-1-1", "t1-1-1", "t1-1-2", "t1-1-2", "t1-1-3"} {
			sell(n)
		}
		lines := func(path string) int { return strings.Count(r.get(path, r.h.api).Body.String(), "\n") }
		check := func(open, rows, all int) {
			t.Helper()
			if n := r.h.collisionCount(); n != uint64(open) || lines("/v1/collisions?open=true") != rows || lines("/v1/collisions") != all {
				t.Errorf("%d numbers are open with %d sales, want %d with %d; %d in all, want %d", n, lines("/v1/collisions?open=true"), open, rows, lines("/v1/collisions"), all)
			}
		}
		check(2, 4, 4)
		one, code := settle("t1-1-1")
		if two, _ := settle("t1-1-1"); code != 200 || one != two || one.By != "ada" {
			t.Errorf("%d %+v, then %+v", code, one, two)
		}
		check(1, 2, 4)
		for number, want := range map[string]int{"t1-1-3": 404, "t1-1-9": 404, "": 404} {
			if _, code := settle(number); code != want {
				t.Errorf("%q: %d", number, code)
			}
		}
		if n := lines("/v1/audit"); n != 1 {
			t.Errorf("%d entries in the audit trail", n)
		}
		sell("t1-1-1")
		check(2, 5, 5)
		if err := r.all(k.events(map[ledger.Name]string{}), k.names()); err != nil {
			t.Error(err)
		}
	})
}

// TestReportsCollide: a till and its twin, or a till and its backup, give a Z report's
// number twice; neither a copy of a report nor another till's is a second one.
func TestReportsCollide(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		r := newRig(t, noBug)
		r.o.LedgerURL = url
		r.start()
		ship := func(terminal string, k *till) {
			r.settle(r.publish(wire.UpSubject(0, "s1", terminal, k.id), bytesOf(t, k.parcel(1, k.last()))))
		}
		collide := func(want int) {
			t.Helper()
			body := r.get("/v1/collisions", r.h.api).Body.String()
			if n := r.h.collisionCount(); n != uint64(want) || strings.Count(body, "\n") != 2*want || strings.Count(body, `"receipt":"t1-Z2"`) != 2*want {
				t.Errorf("%d numbers collide, want %d:\n%s", n, want, body)
			}
		}
		z := func(n uint64) string {
			e := event.ShiftClosed{Shift: n, BusinessDate: "2026-11-21", Currency: pos.Currency{Code: "EUR", Exponent: 2}, Z: n}
			b, err := e.AppendEvent(nil, event.Header{Time: time.UnixMilli(1_795_000_000_000)})
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		k, other := newTill(t, "t1", keyA, nil), newTill(t, "t2", keyB, nil)
		k.add(event.RecordType, z(1))
		backup := k.last()
		k.add(event.RecordType, z(2))
		other.add(event.RecordType, z(2))
		ship("t1", k)
		ship("t2", other)
		_, head := k.record(backup)
		restored := newTill(t, "t1", keyA, &chain.Parent{Journal: k.id.String(), Seq: backup, Head: head.String(), Reason: "restore"})
		restored.copy(k, 1, backup)
		ship("t1", restored)
		collide(0)
		restored.add(event.RecordType, z(2))
		ship("t1", restored)
		collide(1)
		if code := r.call("POST", "/v1/collisions/settle", `{"store":"s1","terminal":"t1","receipt":"t1-Z2","by":"ada","why":"restored"}`, new(Settled)); code != 200 || r.h.collisionCount() != 0 {
			t.Errorf("settled: %d, %d open", code, r.h.collisionCount())
		}
	})
}

// pausing is a ledger whose first reader of collisions, in an Update, stops behind them.
type pausing struct {
	ledger.Ledger
	once     sync.Once
	read, on chan struct{}
}

type pausingTx struct {
	ledger.Tx
	l *pausing
}

func (l *pausing) Update(ctx context.Context, fn func(ledger.Tx) error) error {
	return l.Ledger.Update(ctx, func(tx ledger.Tx) error { return fn(pausingTx{tx, l}) })
}

func (t pausingTx) Collisions(after ledger.Receipt, fn func(ledger.Receipt, time.Time) (bool, error)) error {
	err := t.Tx.Collisions(after, fn)
	t.l.once.Do(func() { close(t.l.read); <-t.l.on })
	return err
}

// settledMeanwhile has one more sale with a number come in while another hub has looked at
// the sales and is about to settle the number.
func settledMeanwhile(t *testing.T, b bug) error {
	r := newRig(t, b)
	r.o.LedgerURL = pgtest.Shared(t).Database(t)
	r.start()
	k := newTill(t, "t1", keyA, nil)
	sell := func() uint64 {
		k.add(event.RecordType, sale("t1-1-1", int(k.last())))
		return r.publish(wire.UpSubject(0, "s1", "t1", k.id), bytesOf(t, k.parcel(1, k.last())))
	}
	sell()
	r.settle(sell())
	l := &pausing{Ledger: r.h.ledger, read: make(chan struct{}), on: make(chan struct{})}
	other := &Hub{ledger: l, opt: r.h.opt}
	done := make(chan error, 1)
	go func() {
		_, err := other.settle(t.Context(), settleRequest{Store: "s1", Terminal: "t1", Receipt: "t1-1-1", Decider: Decider{By: "ada", Why: "both are right"}})
		done <- err
	}()
	<-l.read
	third := sell()
	db, err := pgx.Connect(t.Context(), r.o.LedgerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	r.eventually("it is in, or waits for the number", func() bool {
		waits := 0
		if err := db.QueryRow(t.Context(), `select count(*) from pg_locks where locktype = 'advisory' and not granted
			and database = (select oid from pg_database where datname = current_database())`).Scan(&waits); err != nil {
			t.Error(err)
		}
		return waits > 0 || r.chain(k.id).Last == k.last()
	})
	close(l.on)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.settle(third)
	if n := r.h.collisionCount(); n != 1 {
		return fmt.Errorf("%d numbers are open: nobody has seen to the third sale", n)
	}
	return r.all(k.events(map[ledger.Name]string{}), k.names())
}

// TestSettleMeanwhile: what somebody has not seen is not settled.
func TestSettleMeanwhile(t *testing.T) {
	if err := settledMeanwhile(t, noBug); err != nil {
		t.Error(err)
	}
	t.Run("control", func(t *testing.T) {
		if settledMeanwhile(t, bugNoNumberLock) == nil {
			t.Error("passes: the check proves nothing")
		}
	})
}
