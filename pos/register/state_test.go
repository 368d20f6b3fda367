package register

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"posd/pos"
	"posd/pos/till"
)

// equal compares what the fold says, not how its slices came about.
func equal(a, b till.State) bool {
	return bytes.Equal(a.Append(nil), b.Append(nil))
}

// TestRestart: after any commands, the state in memory, the fold from the newest
// opening state, and the fold from the first record are one.
func TestRestart(t *testing.T) {
	rolled := 0
	rapid.Check(t, func(rt *rapid.T) {
		m := newTill(t)
		m.start()
		steps := rapid.IntRange(1, 250).Draw(rt, "steps")
		seed := rapid.Uint64().Draw(rt, "seed")
		rng := rand.New(rand.NewPCG(seed, 1))
		for i := range steps {
			switch n := rng.IntN(100); {
			case n < 2:
				m.reopen(rt)
			case n < 5:
				m.now = m.now.Add(time.Duration(rng.Int64N(1e6)-5e5) * time.Second)
			case n < 8:
				m.sync = !m.sync
			case n < 60:
				m.randomStep(rng, i)
			default:
				m.pass(time.Duration(rng.IntN(2000)) * time.Second)
				m.sell(randomSale(rng, i))
			}
		}
		m.reopen(rt)
		if m.j.LastOpening() > 2 {
			rolled++
		}
		m.stop()
	})
	if rolled == 0 {
		t.Error("no run was long enough to begin from a later opening state")
	}
}

func randomSale(rng *rand.Rand, i int) Checkout {
	c := sale(fmt.Sprint("key-", i), pos.Money(rng.IntN(1000)))
	if rng.IntN(3) == 0 {
		c.Key = ""
	}
	c.Operator = []string{"", "7", `"quoted\"`}[rng.IntN(3)]
	c.Lines = append(c.Lines, pos.Line{
		Description: strings.Repeat("ü", 1+rng.IntN(100)), Unit: "kg", Tax: "B", Rate: pos.Rate(rng.IntN(3)) * 10000,
		Qty: pos.Qty(1 + rng.IntN(5000)), Price: pos.Money(rng.IntN(500)),
	})
	if rng.IntN(2) == 0 {
		c.Tenders[0] = pos.Tender{Kind: pos.Card, Amount: 1, Reference: "slip"}
	}
	c.Tenders = append(c.Tenders, pos.Tender{Kind: pos.Cash, Amount: 10000})
	return c
}

// reopen stops, and compares the three states.
func (m *rig) reopen(rt *rapid.T) {
	m.stop()
	before := m.r.state
	m.start()
	// The start has journaled an event, perhaps behind a new opening state.
	if err := m.j.Wait(waiting(m.t), m.j.Stats().NextSeq-1); err != nil {
		rt.Fatal(err)
	}
	fresh, err := foldFrom(m.j, max(m.j.LastOpening(), 1), slog.New(slog.DiscardHandler), func(usedKey) {})
	if err != nil {
		rt.Fatal(err)
	}
	all, err := foldAll(m)
	if err != nil {
		rt.Fatal(err)
	}
	fresh.Wall, all.Wall, before.Wall = 0, 0, 0 // the start has looked at the clock since
	if !equal(fresh, all) {
		rt.Fatalf("from the newest opening state: %s\nfrom the first record: %s", fresh.Append(nil), all.Append(nil))
	}
	if !equal(before, fresh) {
		rt.Fatalf("before the stop: %s\nafter it: %s", before.Append(nil), fresh.Append(nil))
	}
}

// foldAll begins at the first record and lets later opening states pass.
func foldAll(m *rig) (till.State, error) {
	return foldFrom(m.j, 1, slog.New(slog.DiscardHandler), func(usedKey) {})
}

// TestWallSurvives is what TestRestart leaves out.
func TestWallSurvives(t *testing.T) {
	m := newTill(t)
	m.start()
	m.pass(1234567 * time.Millisecond)
	m.sell(sale("k", 1))
	want := m.now.UnixMilli()
	m.stop()
	m.now = m.now.Add(-time.Hour)
	if err := m.open(); err != nil {
		t.Fatal(err)
	}
	defer func() { m.v.Close(); m.j.Close() }()
	if m.r.state.Wall != want {
		t.Errorf("%d, want %d", m.r.state.Wall, want)
	}
}

func TestPendingIsBounded(t *testing.T) {
	var p pending
	for i := range 3 * mostPending {
		kept := p.add(usedKey{idOf(fmt.Sprint(i)), uint64(i + 1)}, 0)
		if kept != (i < mostPending) {
			t.Fatalf("key %d: kept %v", i, kept)
		}
	}
	if len(p.seqs) != mostPending || cap(p.queue) > 4*mostPending {
		t.Errorf("%d keys, room for %d", len(p.seqs), cap(p.queue))
	}
	p.add(usedKey{idOf("new"), 1 << 40}, 1<<30) // the index has caught up
	if len(p.seqs) != leastKnown+1 || p.after() != 3*mostPending-leastKnown {
		t.Errorf("%d keys behind %d", len(p.seqs), p.after())
	}
	// As long as there are few, none is forgotten, so that what the index was asked stays true.
	for i := len(p.seqs); i < mostKnown; i++ {
		p.add(usedKey{idOf(fmt.Sprint("more ", i)), 1<<40 + uint64(i)}, 1<<50)
	}
	if len(p.seqs) != mostKnown || p.after() != 3*mostPending-leastKnown {
		t.Errorf("%d keys behind %d", len(p.seqs), p.after())
	}
}

// TestKeyMadeMeanwhile: what Replay has said of a key holds for what lay in the journal
// then, and for nothing later.
func TestKeyMadeMeanwhile(t *testing.T) {
	m := newTill(t)
	m.start()
	for i := range 3 {
		m.sell(sale(fmt.Sprint("before ", i), 100))
	}
	c := sale("k", 500)
	_, known, asked, err := m.r.Replay(waiting(t), c.Key, c.Hash)
	if known || err != nil {
		t.Fatal(known, err)
	}
	first := m.sell(sale("k", 500)) // another request with the key is faster
	for i := range 3 * mostKnown {  // and memory forgets it
		m.sell(sale(fmt.Sprint("after ", i), 100))
	}
	floor, _ := m.j.Floor()
	if err := m.v.WaitApplied(waiting(t), floor); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * mostKnown {
		m.sell(sale(fmt.Sprint("later ", i), 100))
	}
	if _, ok := m.r.pending.find(idOf("k")); ok {
		t.Fatal("memory still knows the key: this shows nothing")
	}
	c.Asked = asked
	if a, err := m.r.Checkout(waiting(t), c); err != nil || !a.Replayed || a.Seq != first.Seq {
		t.Errorf("%+v, %v: sold twice", a, err)
	}
}
