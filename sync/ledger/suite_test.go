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
)

func TestBoltLedger(t *testing.T) {
	testLedger(t, func(t *testing.T) (open func() (Ledger, error)) {
		path := filepath.Join(t.TempDir(), "ledger.db")
		return func() (Ledger, error) { return OpenBolt(path) }
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
	})
	t.Run("one at a time", func(t *testing.T) {
		open := begin(t)
		l, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if l2, err := open(); !errors.Is(err, ErrInUse) {
			if err == nil {
				l2.Close()
			}
			t.Errorf("a second open: %v", err)
		}
	})
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
