package hub

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"posd/journal/chain"
	"posd/sync/ledger"
	"posd/sync/ledger/pgtest"
	"posd/sync/wire"
)

// kept is a ledger that outlives the hubs on it.
type kept struct {
	ledger.Ledger
	moved atomic.Uint64 // commits refused since another hub had gone on
}

func (k *kept) Close() error { return nil }

func (k *kept) Update(ctx context.Context, fn func(ledger.Tx) error) error {
	err := k.Ledger.Update(ctx, fn)
	if errors.Is(err, ledger.ErrMoved) {
		k.moved.Add(1)
	}
	return err
}

// team is some hubs on one ledger and one NATS server.
type team struct {
	*rig
	l    *kept
	url  string // of the database, "" = they share the file in this process
	hubs []*Hub
	ends []func()
}

func newTeam(t *testing.T, b bug, url string, shards ...int) *team {
	l, err := ledger.OpenBolt(filepath.Join(t.TempDir(), "shared.db"))
	if url != "" {
		l, err = ledger.OpenPostgres(t.Context(), url, ledger.PostgresOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	m := &team{rig: newRig(t, b), l: &kept{Ledger: l}, url: url}
	t.Cleanup(func() {
		for _, end := range m.ends {
			end()
		}
		m.rig.stop()
		l.Close()
	})
	m.o.Shards = []int{99} // this one has the server, and nothing to do
	m.rig.start()
	for range 2 {
		m.join(shards)
	}
	return m
}

func (m *team) join(shards []int) {
	m.t.Helper()
	o := Options{Dir: m.t.TempDir(), NATSURL: strings.Replace(m.h.srv.ClientURL(), "nats://", "nats://"+m.h.token+"@", 1),
		Shards: shards, Pulse: 30 * time.Millisecond, bug: m.o.bug, LedgerURL: m.url}
	if m.url == "" {
		o.share = m.l
	}
	h, err := Open(o)
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	ended := false
	m.hubs = append(m.hubs, h)
	m.ends = append(m.ends, func() {
		if !ended {
			ended = true
			cancel()
			if err := errors.Join(<-done, h.Close()); err != nil {
				m.t.Error(err)
			}
		}
	})
}

func (m *team) reading(h *Hub) (n int) {
	for _, s := range h.shards {
		if s.reading.Load() {
			n++
		}
	}
	return n
}

// entered are how often each event took effect, by the outboxes.
func (m *team) entered(shards ...int) (all map[string]int) {
	all = make(map[string]int)
	if err := m.l.View(m.t.Context(), func(tx ledger.Tx) error {
		for _, n := range shards {
			next := uint64(1)
			if err := tx.Out(fmt.Sprint("POS_UP_", n), 0, func(at uint64, e ledger.Event) (bool, error) {
				if at != next {
					m.t.Errorf("outbox of shard %d: number %d where %d belongs", n, at, next)
				}
				next++
				all[fmt.Sprint(e.Journal, e.Seq)]++
				return true, nil
			}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		m.t.Fatal(err)
	}
	return all
}

// feed publishes records of a journal, a parcel each.
func (m *team) feed(k *history, shard int, first, last uint64) {
	m.t.Helper()
	for seq := first; seq <= last; seq++ {
		m.publish(wire.UpSubject(shard, "s1", fmt.Sprint("t", shard), k.id), bytesOf(m.t, k.parcel(seq, seq)))
	}
}

func (m *team) settled(id chain.ID, last uint64) func() bool {
	return func() bool {
		var c ledger.Chain
		m.l.View(m.t.Context(), func(tx ledger.Tx) (err error) { c, _, err = tx.Chain(id); return err })
		return c.Last == last
	}
}

// TestHubsShareShards: two hubs have half of the shards each, the one that stays takes
// all, and each event takes effect once.
func TestHubsShareShards(t *testing.T) {
	t.Run("bbolt", func(t *testing.T) { hubsShareShards(t, "") })
	t.Run("postgresql", func(t *testing.T) { hubsShareShards(t, pgtest.Start(t).Database(t)) })
}

func hubsShareShards(t *testing.T, url string) {
	shards := []int{0, 1, 2, 3}
	m := newTeam(t, noBug, url, shards...)
	m.eventually("half each", func() bool { return m.reading(m.hubs[0]) == 2 && m.reading(m.hubs[1]) == 2 })
	var all []*history
	for _, n := range shards {
		k := newHistory(t, "s1", fmt.Sprint("t", n), 9)
		all = append(all, k)
		m.feed(k, n, 1, 5)
	}
	for _, k := range all {
		m.eventually("five are entered", m.settled(k.id, 5))
	}
	m.ends[0]()
	m.eventually("the other one takes all", func() bool { return m.reading(m.hubs[1]) == 4 })
	for n, k := range all {
		m.feed(k, n, 6, 9)
		m.eventually("all are entered", m.settled(k.id, 9))
	}
	for name, n := range m.entered(shards...) {
		if n != 1 {
			t.Errorf("%s took effect %d times", name, n)
		}
	}
}

// TestTwoOwners: two hubs that both believe that a shard is theirs do no harm. The
// planted bug is the missing claim; that the position in the ledger was needed shows
// in the commits that it refused.
func TestTwoOwners(t *testing.T) {
	m := newTeam(t, bugNoClaim, "", 0)
	m.eventually("both read", func() bool { return m.reading(m.hubs[0]) == 1 && m.reading(m.hubs[1]) == 1 })
	last := uint64(0)
	k := newHistory(t, "s1", "t0", 400)
	for last < 400 && m.l.moved.Load() == 0 || last < 50 {
		last++
		m.feed(k, 0, last, last)
	}
	m.eventually("all are entered", m.settled(k.id, last))
	if m.l.moved.Load() == 0 {
		t.Error("the two never met: this proves nothing")
	}
	for name, n := range m.entered(0) {
		if n != 1 {
			t.Errorf("%s took effect %d times", name, n)
		}
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"nats://a:1":                      "nats://a:1",
		"nats://secret@a:1,tls://u:p@b:2": "nats://a:1,tls://b:2",
		"secret@a:1":                      "a:1",
		"nats://u:p@ss@a:1":               "nats://a:1",
		`parse "nats://secret@a:x": invalid port ":x"`: `parse "nats://a:x": invalid port ":x"`,
		"": "",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
