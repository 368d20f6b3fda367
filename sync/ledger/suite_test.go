package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"posd/journal/chain"
	"posd/sync/ledger/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestBoltLedger(t *testing.T) {
	testLedger(t, func(t *testing.T) (open func() (Ledger, error)) {
		path := filepath.Join(t.TempDir(), "ledger.db")
		return func() (Ledger, error) { return OpenBolt(path) }
	})
}

func TestPostgresLedger(t *testing.T) {
	testLedger(t, func(t *testing.T) (open func() (Ledger, error)) {
		url := pgtest.Shared(t).Database(t)
		return func() (Ledger, error) { return OpenPostgres(t.Context(), url, PostgresOptions{}) }
	})
}

// testLedger is what each implementation has to pass. begin makes a place for a
// ledger; open opens the ledger there, again and again.
func testLedger(t *testing.T, begin func(*testing.T) (open func() (Ledger, error))) {
	at := time.Date(2026, 11, 21, 9, 30, 0, 123e6, time.UTC)
	a, b := chain.ID{1}, chain.ID{2}
	fill := func(tx Tx) error {
		return errors.Join(
			tx.SetPosition("S", Position{}, Position{at, 7, 2}),
			tx.PutChain(Chain{Journal: b, Store: "s", Terminal: "t2", Last: 3, Head: chain.Head{3}, Updated: at}),
			tx.PutChain(Chain{Journal: a, Store: "s", Terminal: "t1", Want: 9, Held: "x", Updated: at, Copied: 2, Signed: 4,
				PublicKey: []byte("key"), LastCopy: Name{b, 7, chain.Head{8}}, Parent: &chain.Parent{Journal: b.String(), Seq: 7}}),
			tx.PutRecord(b, 1, chain.Head{1}, nil),
			tx.PutRecord(b, 300, chain.Head{3}, []byte("three hundred")),
			tx.PutRecord(b, 2, chain.Head{2}, []byte{}),
			tx.PutRecord(a, 5, chain.Head{5}, []byte("five")),
			tx.PutHole(Hole{b, 4, 299, at}),
			tx.PutCopy(Name{a, 5, chain.Head{4}}, b, 2, []byte("other five")),
			tx.PutCopy(Name{a, 5, chain.Head{6}}, b, 3, []byte("third five")),
			tx.PutCopy(Name{b, 299, chain.Head{9}}, a, 1, []byte{}),
			tx.PutCopy(Name{chain.ID{3}, 1, chain.Head{1}}, a, 2, []byte("no chain")),
		)
	}
	events := func(t *testing.T, l Ledger, c Cursor, n int) (out []string) {
		t.Helper()
		if err := l.View(t.Context(), func(tx Tx) error {
			return tx.Events(c, func(e Event) (bool, error) {
				out = append(out, fmt.Sprintf("%d:%d:%d:%s", e.Journal[0], e.Seq, e.Head[0], e.Payload))
				return len(out) < n, nil
			})
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	check := func(t *testing.T, l Ledger) {
		t.Helper()
		err := l.View(t.Context(), func(tx Tx) error {
			if p, err := tx.Position("S"); err != nil || p.Seq != 7 || !p.Created.Equal(at) {
				t.Errorf("position %+v, %v", p, err)
			}
			if p, err := tx.Position("other"); err != nil || p != (Position{}) {
				t.Errorf("position of a stream never read %+v, %v", p, err)
			}
			c, ok, err := tx.Chain(a)
			if err != nil || !ok || c.Terminal != "t1" || c.Want != 9 || c.Held != "x" || c.Journal != a ||
				c.Copied != 2 || c.Signed != 4 || string(c.PublicKey) != "key" || c.LastCopy != (Name{b, 7, chain.Head{8}}) || c.Parent.Seq != 7 {
				t.Errorf("chain %+v, %v", c, err)
			}
			if _, ok, err := tx.Chain(chain.ID{9}); ok || err != nil {
				t.Errorf("a chain from nowhere, %v", err)
			}
			var order []byte
			if err := tx.Chains(func(c Chain) error { order = append(order, c.Journal[0]); return nil }); err != nil || !bytes.Equal(order, []byte{1, 2}) {
				t.Errorf("chains in order %v, %v", order, err)
			}
			for seq, want := range map[uint64]bool{1: true, 2: true, 300: true, 4: false} {
				if _, ok, err := tx.Head(b, seq); ok != want || err != nil {
					t.Errorf("head of %d: %v, %v", seq, ok, err)
				}
			}
			for name, want := range map[Name]string{
				{a, 5, chain.Head{5}}: "five", {a, 5, chain.Head{4}}: "other five", {a, 5, chain.Head{6}}: "third five",
				{a, 5, chain.Head{7}}: "none", {b, 1, chain.Head{1}}: "none", {b, 299, chain.Head{9}}: "", {b, 2, chain.Head{2}}: "",
			} {
				if got, ok, err := tx.Event(name); ok != (want != "none") || ok && string(got) != want || err != nil {
					t.Errorf("event %v is %q, %v, %v", name, got, ok, err)
				}
			}
			var holes []Hole
			err = tx.Holes(func(h Hole) error { holes = append(holes, h); return nil })
			if err != nil || !slices.Equal(holes, []Hole{{b, 4, 299, at}}) {
				t.Errorf("holes %v, %v", holes, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		all := []string{"1:5:4:other five", "1:5:5:five", "1:5:6:third five", "2:2:2:", "2:299:9:", "2:300:3:three hundred", "3:1:1:no chain"}
		for _, tt := range []struct {
			c    Cursor
			n    int
			want []string
		}{
			{Cursor{}, 99, all},
			{Cursor{}, 2, all[:2]},
			{Cursor{Name{Journal: a, Seq: 5}, false}, 99, all[3:]},
			{Cursor{Name{a, 5, chain.Head{4}}, false}, 99, all[1:]},
			{Cursor{Name{a, 5, chain.Head{5}}, false}, 99, all[2:]},
			{Cursor{Name{a, 5, chain.Head{5, 1}}, true}, 99, all[2:3]},
			{Cursor{Name{a, 5, chain.Head{6}}, false}, 99, all[3:]},
			{Cursor{Name{Journal: a}, true}, 99, all[:3]},
			{Cursor{Name{Journal: b, Seq: 2}, true}, 99, all[4:6]},
			{Cursor{Name{Journal: chain.ID{3}}, true}, 99, all[6:]},
			{Cursor{Name{Journal: b, Seq: ^uint64(0)}, false}, 99, nil},
		} {
			if got := events(t, l, tt.c, tt.n); !slices.Equal(got, tt.want) {
				t.Errorf("events from %+v: %q, want %q", tt.c, got, tt.want)
			}
		}
	}
	t.Run("survives", func(t *testing.T) {
		open := begin(t)
		l, err := open()
		if err != nil {
			t.Fatal(err)
		}
		id := l.ID()
		if err := l.Update(t.Context(), fill); err != nil {
			t.Fatal(err)
		}
		check(t, l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = open(); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if l.ID() != id || id == [16]byte{} {
			t.Errorf("id was %s, is %s", id, l.ID())
		}
		check(t, l)
	})
	t.Run("an error leaves nothing behind", func(t *testing.T) {
		l, err := begin(t)()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		stop := errors.New("stop")
		if err := l.Update(t.Context(), func(tx Tx) error { return errors.Join(fill(tx), stop) }); !errors.Is(err, stop) {
			t.Fatal(err)
		}
		if got := events(t, l, Cursor{}, 9); got != nil {
			t.Errorf("events %q", got)
		}
		l.View(t.Context(), func(tx Tx) error {
			if p, err := tx.Position("S"); err != nil || p.Seq != 0 {
				t.Errorf("position %+v, %v", p, err)
			}
			return nil
		})
	})
	t.Run("quarantine", func(t *testing.T) {
		l, err := begin(t)()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		q := Quarantined{Key: [32]byte{7}, Subject: "s", Stream: "S", Seq: 3, Cause: "fork", Reason: "r", First: 1, Last: 2, At: at, Body: []byte{0, 1}}
		for _, want := range []bool{true, false} {
			if err := l.Update(t.Context(), func(tx Tx) error {
				added, err := tx.PutQuarantine(q)
				if added != want {
					t.Errorf("added %v", added)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.View(t.Context(), func(tx Tx) error {
			if n, err := tx.QuarantineCount(); n != 1 || err != nil {
				t.Errorf("count %d, %v", n, err)
			}
			return tx.Quarantine(func(got Quarantined) error {
				if got.Body != nil || got.Size != 2 || got.Key != q.Key || got.Cause != q.Cause || got.Seq != 3 || got.Last != 2 {
					t.Errorf("got %+v", got)
				}
				return nil
			})
		}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("receipts", func(t *testing.T) {
		l, err := begin(t)()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		receipt := func(terminal, number string, seq uint64) Receipt {
			return Receipt{"s", terminal, number, Name{a, seq, chain.Head{byte(seq)}}}
		}
		if err := l.Update(t.Context(), func(tx Tx) error {
			for i, r := range []struct {
				Receipt
				collides bool
				count    uint64
			}{
				{receipt("t1", "t1-1-1", 1), false, 0},
				{receipt("t1", "t1-1-1", 1), false, 0},
				{receipt("t1", "t1-1-11", 2), false, 0},
				{receipt("t2", "t1-1-1", 3), false, 0},
				{receipt("t1", "t1-1-1", 4), true, 1},
				{receipt("t1", "t1-1-1", 4), true, 1},
				{receipt("t1", "t1-1-1", 5), true, 1},
				{receipt("t1", "t1-1-1", 1), false, 1},
				{receipt("t1", "t1-1-11", 6), true, 2},
			} {
				rows, err := tx.PutReceipts([]Receipt{r.Receipt}, at)
				n, err2 := tx.CollisionCount()
				if collides := len(rows) == 1; collides != r.collides || n != r.count || err != nil || err2 != nil {
					t.Errorf("step %d: %v, %d, %v, %v", i, rows, n, err, err2)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		all := []Receipt{receipt("t1", "t1-1-1", 1), receipt("t1", "t1-1-1", 4), receipt("t1", "t1-1-1", 5), receipt("t1", "t1-1-11", 2), receipt("t1", "t1-1-11", 6)}
		for from := range len(all) + 1 {
			var after Receipt
			if from > 0 {
				after = all[from-1]
			}
			var got []Receipt
			if err := l.View(t.Context(), func(tx Tx) error {
				return tx.Collisions(after, func(r Receipt, noticed time.Time) (bool, error) {
					if !noticed.Equal(at) {
						t.Errorf("noticed at %s", noticed)
					}
					got = append(got, r)
					return len(got) < 4, nil
				})
			}); err != nil || !slices.Equal(got, all[from:min(from+4, len(all))]) {
				t.Errorf("behind %d: %v, %v", from, got, err)
			}
		}
		for _, c := range []struct {
			terminal, number string
			most             int
			want             []uint64
		}{
			{"t1", "t1-1-1", 9, []uint64{1, 4, 5}}, {"t1", "t1-1-1", 2, []uint64{1, 4}}, {"t1", "t1-1-11", 9, []uint64{2, 6}},
			{"t2", "t1-1-1", 9, []uint64{3}}, {"t1", "t1-1-", 9, nil}, {"t1", "t1-1-111", 9, nil},
			{"t3", "t3-1-1", 999, upTo(200)},
		} {
			var got []uint64
			list := func(tx Tx) error {
				if c.terminal == "t3" {
					var many []Receipt
					for _, seq := range c.want {
						many = append(many, receipt("t3", "t3-1-1", seq))
					}
					slices.Reverse(many)
					for i := range many {
						if _, err := tx.PutReceipts(many[i:i+1], at); err != nil {
							return err
						}
					}
				}
				got = nil
				return tx.Receipts("s", c.terminal, c.number, func(n Name) (bool, error) {
					if n.Journal != a || n.Head != (chain.Head{byte(n.Seq)}) {
						t.Errorf("%s: %v", c.number, n)
					}
					got = append(got, n.Seq)
					return len(got) < c.most, nil
				})
			}
			if err := l.Update(t.Context(), list); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("events of %s: %v, %v, want %v", c.number, got, err, c.want)
			}
		}
	})
	testOutbox(t, begin)
	testDocs(t, begin)
	testPositions(t, begin)
	testClaims(t, begin)
	testDecisions(t, begin)
}

func TestOpenBoltRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, bytes.Repeat([]byte("not a database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := OpenBolt(path); err == nil {
		l.Close()
		t.Error("rubbish was opened")
	}
	path = filepath.Join(t.TempDir(), "newer")
	l, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	err = l.Update(t.Context(), func(tx Tx) error { return tx.(boltTx).Bucket(bMeta).Put(kSchema, []byte{0, 0, 0, 99}) })
	if err = errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBolt(path); !errors.Is(err, ErrNewerLedger) {
		t.Errorf("newer: %v", err)
	}
}

func TestBoltIsForOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l2, err := OpenBolt(path); !errors.Is(err, ErrInUse) {
		if err == nil {
			l2.Close()
		}
		t.Errorf("a second open: %v", err)
	}
}

// opened opens a ledger for one test.
func upTo(n uint64) (all []uint64) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

func opened(t *testing.T, open func() (Ledger, error)) Ledger {
	t.Helper()
	l, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func update(t *testing.T, l Ledger, fn func(Tx) error) {
	t.Helper()
	if err := l.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func testOutbox(t *testing.T, begin func(*testing.T) func() (Ledger, error)) {
	t.Run("outbox", func(t *testing.T) {
		l := opened(t, begin(t))
		a, b := chain.ID{1}, chain.ID{2}
		var names []Name
		update(t, l, func(tx Tx) error {
			names = nil
			for seq := uint64(1); seq <= 600; seq++ {
				n := Name{a, seq, chain.Head{byte(seq), 1}}
				if seq%100 == 50 { // no event
					if err := tx.PutRecord(a, seq, n.Head, nil); err != nil {
						return err
					}
					continue
				}
				at := []string{"1970-01-01", "2026-10-31", "2026-11-01"}[seq%3]
				names = append(names, n)
				if err := tx.PutRecord(a, seq, n.Head, fmt.Appendf(nil, `{"time":"%sT00:00:00Z","n":%d}`, at, seq)); err != nil {
					return err
				}
			}
			c := Name{b, 9, chain.Head{7}}
			names = append(names, c)
			return errors.Join(tx.PutCopy(c, a, 601, []byte("copy")), tx.PutOut("x", 11, names),
				tx.PutOut("xy", 1, names[:1]))
		})
		update(t, l, func(tx Tx) error { // in another transaction than the event
			return tx.PutOut("x", 11+uint64(len(names)), names[3:5])
		})
		names = append(names, names[3:5]...)
		list := func(lane string, after uint64, limit int) (got []Name, first uint64) {
			t.Helper()
			if err := l.View(t.Context(), func(tx Tx) error {
				return tx.Out(lane, after, func(n uint64, e Event) (bool, error) {
					if first == 0 {
						first = n
					}
					if n != first+uint64(len(got)) {
						t.Errorf("number %d after %d of %d", n, len(got), first)
					}
					if p, ok, err := tx.Event(e.Name); !ok || err != nil || !bytes.Equal(p, e.Payload) {
						t.Errorf("event %v: %v, %v", e.Name, ok, err)
					}
					if (e.Journal == b) != (e.At == 601 && e.In == a) {
						t.Errorf("event %v: from %v %d", e.Name, e.In, e.At)
					}
					got = append(got, e.Name)
					return len(got) < limit, nil
				})
			}); err != nil {
				t.Fatal(err)
			}
			return got, first
		}
		for _, after := range []uint64{0, 10, 11, 12, 60, 300, 604, 605, 606, 607, 700, ^uint64(0)} {
			want := names[min(uint64(len(names)), max(after, 10)-10):]
			for _, limit := range []int{1, 7, 1000} {
				if got, _ := list("x", after, limit); !slices.Equal(got, want[:min(limit, len(want))]) {
					t.Errorf("behind %d, at most %d: %d events, want %d", after, limit, len(got), len(want))
				}
			}
		}
		if got, _ := list("", 0, 9); got != nil {
			t.Errorf("a lane without outbox: %v", got)
		}
		update(t, l, func(tx Tx) error { return tx.DropOut("x", 140) })
		if got, first := list("x", 0, 1000); first != 141 || !slices.Equal(got, names[130:]) {
			t.Errorf("after the drop: %d from %d", len(got), first)
		}
		update(t, l, func(tx Tx) error { return tx.DropOut("x", 10000) })
		if got, _ := list("x", 0, 9); got != nil {
			t.Errorf("all dropped: %v", got)
		}
		if got, _ := list("xy", 0, 9); len(got) != 1 {
			t.Errorf("the other lane: %v", got)
		}
	})
}

func testDocs(t *testing.T, begin func(*testing.T) func() (Ledger, error)) {
	t.Run("documents", func(t *testing.T) {
		l := opened(t, begin(t))
		big := bytes.Repeat([]byte{0, 0xff, 1}, 1<<20)
		list := func(tx Tx, kind, after string) (out []string) {
			if err := tx.Docs(kind, after, func(key string, v []byte) (bool, error) {
				out = append(out, fmt.Sprintf("%s=%.5q", key, v))
				return len(out) < 3, nil
			}); err != nil {
				t.Error(err)
			}
			return out
		}
		update(t, l, func(tx Tx) error {
			err := errors.Join(tx.PutDoc("k", "b", []byte("1")), tx.PutDoc("k", "B", []byte("2")), tx.PutDoc("k", "a-b", []byte{}),
				tx.PutDoc("k", "a.b", []byte("x")), tx.PutDoc("k", "a.b", []byte("3")), tx.PutDoc("kk", "a", big), tx.PutDoc("k", "gone", nil))
			if v, ok, err2 := tx.Doc("k", "a-b"); !ok || err2 != nil || len(v) != 0 {
				t.Errorf("an empty document: %q, %v, %v", v, ok, err2)
			}
			if _, ok, err2 := tx.Doc("k", "gone"); !ok || err2 != nil {
				t.Errorf("a document without a value: %v, %v", ok, err2)
			}
			if got := list(tx, "k", "B"); !slices.Equal(got, []string{`a-b=""`, `a.b="3"`, `b="1"`}) {
				t.Errorf("before the commit: %q", got)
			}
			err = errors.Join(err, tx.DeleteDoc("k", "gone"), tx.DeleteDoc("k", "never"))
			if _, ok, err2 := tx.Doc("k", "gone"); ok || err2 != nil {
				t.Errorf("deleted: %v, %v", ok, err2)
			}
			return err
		})
		if err := l.Update(t.Context(), func(tx Tx) error { return tx.PutDoc("k", "", nil) }); err == nil {
			t.Error("a key without a letter was taken")
		}
		if err := l.View(t.Context(), func(tx Tx) error {
			if got := list(tx, "k", ""); !slices.Equal(got, []string{`B="2"`, `a-b=""`, `a.b="3"`}) {
				t.Errorf("%q", got)
			}
			if got := list(tx, "k", "a.b"); !slices.Equal(got, []string{`b="1"`}) {
				t.Errorf("behind a.b: %q", got)
			}
			if v, ok, err := tx.Doc("kk", "a"); !ok || err != nil || !bytes.Equal(v, big) {
				t.Errorf("a big document: %d bytes, %v, %v", len(v), ok, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func testPositions(t *testing.T, begin func(*testing.T) func() (Ledger, error)) {
	t.Run("positions", func(t *testing.T) {
		l := opened(t, begin(t))
		one, two := Position{time.Unix(7, 123456789).UTC(), 1, 0}, Position{time.Unix(7, 123456789).UTC(), 2, 5}
		set := func(from, to Position) error {
			return l.Update(t.Context(), func(tx Tx) error { return tx.SetPosition("lane", from, to) })
		}
		for i, step := range []struct {
			from, to Position
			moved    bool
		}{
			{two, one, true}, {Position{}, one, false}, {Position{}, one, true}, {one, two, false}, {one, two, true},
			{Position{two.Created.Add(1), 2, 5}, one, true}, {Position{two.Created, 2, 4}, one, true},
			{Position{two.Created, 1, 5}, one, true}, {two, Position{Out: 5}, false}, {Position{Out: 5}, two, false},
		} {
			if err := set(step.from, step.to); errors.Is(err, ErrMoved) != step.moved || !step.moved && err != nil {
				t.Errorf("step %d: %v", i, err)
			}
		}
		if err := l.View(t.Context(), func(tx Tx) error {
			if p, err := tx.Position("lane"); p != two || err != nil {
				t.Errorf("%+v, %v", p, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func testClaims(t *testing.T, begin func(*testing.T) func() (Ledger, error)) {
	t.Run("claims", func(t *testing.T) {
		l := opened(t, begin(t))
		claim := func(name string, want bool) Claim {
			t.Helper()
			c, ok, err := l.Claim(t.Context(), name)
			if ok != want || err != nil {
				t.Fatalf("claim %s: %v, %v", name, ok, err)
			}
			return c
		}
		a := claim("shard/1", true)
		claim("shard/1", false)
		b := claim("shard/2", true)
		select {
		case <-a.Lost():
			t.Error("lost at once")
		default:
		}
		a.Release()
		<-a.Lost()
		a.Release()
		again := claim("shard/1", true)
		a.Release() // the old one: nothing of the new one
		claim("shard/1", false)
		claim("shard/2", false)
		again.Release()
		b.Release()
	})
}

func testDecisions(t *testing.T, begin func(*testing.T) func() (Ledger, error)) {
	t.Run("decisions", func(t *testing.T) {
		l := opened(t, begin(t))
		key := [32]byte{9}
		d := Decision{"accepted", "ann", "it is the old till", time.Unix(5, 0).UTC()}
		update(t, l, func(tx Tx) error {
			_, err1 := tx.PutQuarantine(Quarantined{Key: key, Subject: "s\x00\xff", Body: []byte("body")})
			_, err2 := tx.PutQuarantine(Quarantined{Key: [32]byte{8}})
			return errors.Join(err1, err2, tx.Decide(key, d))
		})
		if err := l.Update(t.Context(), func(tx Tx) error { return tx.Decide([32]byte{1}, d) }); err == nil {
			t.Error("something was decided about nothing")
		}
		if err := l.View(t.Context(), func(tx Tx) error {
			q, ok, err := tx.Quarantined(key)
			if !ok || err != nil || q.Decision != d || string(q.Body) != "body" || q.Size != 4 {
				t.Errorf("%+v, %v, %v", q, ok, err)
			}
			if _, ok, err := tx.Quarantined([32]byte{1}); ok || err != nil {
				t.Errorf("out of nothing: %v, %v", ok, err)
			}
			if n, err := tx.QuarantineCount(); n != 1 || err != nil {
				t.Errorf("%d open, %v", n, err)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		update(t, l, func(tx Tx) error { return tx.Decide(key, Decision{}) })
		l.View(t.Context(), func(tx Tx) error {
			if n, err := tx.QuarantineCount(); n != 2 || err != nil {
				t.Errorf("%d open again, %v", n, err)
			}
			return nil
		})
	})
}
