package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"posd/journal"
	"posd/journal/chain"
	"posd/packaging/lab/freeport"
	"posd/sync/ledger"
	"posd/sync/uplink"
	"posd/sync/wire"
)

// fleetRig is a fleet on a real ledger, with a clock that the test moves.
type fleetRig struct {
	t   testing.TB
	l   ledger.Ledger
	at  time.Time
	f   *fleet
	hub int
}

func newFleetRig(t testing.TB) *fleetRig {
	l, err := ledger.OpenBolt(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &fleetRig{t: t, l: l, at: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)}
	r.restart()
	return r
}

// another is a second hub on the same ledger.
func (r *fleetRig) another() *fleetRig {
	c := *r
	c.restart()
	return &c
}

// restart is a new process: nothing is known but what the ledger has.
func (r *fleetRig) restart() {
	r.hub++
	r.f = newFleet(fmt.Sprintf("hub%d-%p", r.hub, r), r.l, slog.New(slog.DiscardHandler), func() time.Time { return r.at }, fleetTimes{})
	r.f.shards[0], r.f.hearing, r.f.since = true, true, milli(r.at)
	r.f.load(context.Background())
	r.f.scan(context.Background())
	r.f.judgeAll()
}

// alive is a hub's sign of life.
func (r *fleetRig) alive() {
	b, _ := json.Marshal(hubDoc{At: r.at})
	if err := r.l.Update(context.Background(), func(tx ledger.Tx) error { return tx.PutDoc(kindHub, r.f.id, b) }); err != nil {
		r.t.Fatal(err)
	}
}

func (r *fleetRig) pass(d time.Duration) {
	r.at = r.at.Add(d)
	r.f.load(context.Background())
	r.f.scan(context.Background())
	r.f.judgeAll()
	r.f.flush()
}

func (r *fleetRig) beat(change func(*wire.Heartbeat)) {
	b := wire.Heartbeat{Store: "s1", Terminal: "t1", Run: 7, At: r.at, Clock: "synced", Journal: chain.ID{1}, Floor: 100, Settled: 100, DiskFree: 1, DiskTotal: 2}
	if change != nil {
		change(&b)
	}
	r.f.hear(wire.HeartbeatSubject(0, b.Store, b.Terminal), b.Append(nil))
}

func (r *fleetRig) show() FleetTerminal {
	r.t.Helper()
	l := r.f.list("s1", "", "", 10)
	for _, t := range l.Terminals {
		if t.Terminal == "t1" {
			return t
		}
	}
	r.t.Fatal("terminal t1 is not known")
	return FleetTerminal{}
}

func (r *fleetRig) is(state string, codes ...string) {
	r.t.Helper()
	got := r.show()
	var found []string
	for _, x := range got.Reasons {
		if found = append(found, x.Code); x.Text == "" {
			r.t.Errorf("%s has no text", x.Code)
		}
	}
	if got.State != state || !slices.Equal(found, codes) {
		r.t.Fatalf("%s %v, want %s %v", got.State, got.Reasons, state, codes)
	}
}

// server is an event of a NATS server about the terminal t1.
func (r *fleetRig) server(start time.Time) []byte {
	return fmt.Appendf(nil, `{"type":"x","client":{"name_tag":"s1.t1","start":%q},"more":1}`, start.Format(time.RFC3339Nano))
}

// TestPresence: a terminal whose connection has ended is offline before its heartbeats
// are missed, unless it is there again, or that was not its session.
func TestPresence(t *testing.T) {
	r := newFleetRig(t)
	start := r.at.Add(-time.Minute)
	r.beat(nil)
	r.f.went(r.server(start))
	r.pass(9 * time.Second)
	r.is(StateOnline) // the grace of a link that flaps
	r.pass(2 * time.Second)
	r.is(StateOffline)
	r.beat(nil)
	r.is(StateOnline)

	r.f.came(r.server(r.at)) // the new one is there before the old one is known to be dead
	r.f.went(r.server(start))
	r.pass(20 * time.Second)
	r.is(StateOnline)

	probe := r.at // another connection, without a heartbeat, as when it looks whether home is back
	r.f.went(r.server(probe))
	r.pass(20 * time.Second)
	r.is(StateOnline)

	for _, bad := range []string{"", "x", "{}", `{"client":{"name_tag":7}}`, `{"client":{"name_tag":"s1.t9","start":"2026-11-21T09:00:00Z"}}`} {
		r.f.went([]byte(bad))
		r.f.came([]byte(bad))
	}
	r.pass(time.Second)
	r.is(StateOnline)
}

// TestRetired: a terminal that was retired is in no list, sum or alarm, also after a start
// and at another hub; it comes back when it is heard.
func TestRetired(t *testing.T) {
	r := newFleetRig(t)
	r.alive()
	r.beat(func(b *wire.Heartbeat) {
		b.Settled, b.Alarms = 40, []string{wire.AlarmRot}
		b.Backlog = wire.Backlog{Records: 60, Known: true, Value: 7, Currency: "EUR"}
	})
	h := &Hub{fleet: r.f, ledger: r.l, opt: Options{now: func() time.Time { return r.at }}}
	ask := func(name, body string) (int, string) {
		t.Helper()
		q := httptest.NewRequest("POST", "/", strings.NewReader(body))
		q.SetPathValue("store", "s1")
		q.SetPathValue("terminal", name)
		w := httptest.NewRecorder()
		if err := h.retire(w, q); err != nil {
			return 0, err.Error()
		}
		return w.Code, w.Body.String()
	}
	const why = `{"by":"ada","why":"scrapped"}`
	if _, s := ask("t1", why); !strings.Contains(s, "it is online") {
		t.Fatal(s)
	}
	if code, s := ask("t9", why); code != http.StatusNotFound {
		t.Fatal(code, s)
	}
	r.pass(time.Hour)
	if _, s := ask("t1", `{"by":"ada"}`); !strings.Contains(s, `"why" is missing`) {
		t.Fatal(s)
	}
	if n := len(r.f.list("", "", "", 10).Terminals); n != 1 {
		t.Fatalf("%d terminals before it: this test sees nothing", n)
	}
	if code, s := ask("t1", why); code != http.StatusOK || !strings.Contains(s, `"state":"retired"`) {
		t.Fatal(code, s)
	}
	gone := func(r *fleetRig) {
		t.Helper()
		all := r.f.list("", "", "", 10)
		if len(all.Terminals) != 0 || all.Totals.Offline+all.Totals.Failing != 0 || all.Totals.BacklogRecords != 0 {
			t.Fatalf("%+v", all)
		}
		if n := len(r.f.list("", StateRetired, "", 10).Terminals); n != 1 {
			t.Fatalf("%d are retired", n)
		}
		m := string(r.f.writeMetrics(nil))
		for _, line := range []string{"poshub_terminals_known 0\n", `poshub_terminals_alarm{alarm="rot"} 0` + "\n", "poshub_backlog_records 0\n"} {
			if !strings.Contains(m, line) {
				t.Errorf("no %q in the metrics", line)
			}
		}
	}
	gone(r)
	gone(r.another())
	r.restart()
	gone(r)
	found := 0
	if err := r.l.View(t.Context(), func(tx ledger.Tx) error {
		return tx.Docs(kindAudit, "", func(_ string, b []byte) (bool, error) {
			if strings.Contains(string(b), `"what":"fleet retire"`) && strings.Contains(string(b), `"by":"ada"`) {
				found++
			}
			return true, nil
		})
	}); err != nil || found != 1 {
		t.Fatalf("%d times in the audit trail (%v)", found, err)
	}
	r.pass(time.Minute)
	r.beat(nil)
	r.is(StateOnline)
	r.pass(10 * time.Second)
	r.is(StateOnline)
}

func TestFleetSilence(t *testing.T) {
	r := newFleetRig(t)
	r.beat(nil)
	r.is(StateOnline)
	r.pass(107 * time.Second)
	r.is(StateOnline)
	r.pass(2 * time.Second)
	r.is(StateOffline)
	r.beat(nil)
	r.is(StateOnline)

	// While the hub hears nothing at all, silence is not the terminal's.
	r.f.hearing = false
	r.pass(time.Hour)
	r.is(StateOnline)
	r.f.hearing, r.f.since = true, milli(r.at)
	r.pass(time.Minute)
	r.is(StateOnline)
	r.pass(time.Minute)
	r.is(StateOffline)
}

// TestFleetRestart: a hub that starts shows what the last one knew, and finds out.
func TestFleetRestart(t *testing.T) {
	r := newFleetRig(t)
	r.beat(func(b *wire.Heartbeat) { b.Alarms = []string{wire.AlarmRot, "newer-than-us"}; b.Why = "segment 3" })
	r.pass(time.Second)
	before := r.show()
	r.at = r.at.Add(4 * time.Minute) // the hub was away
	r.restart()
	r.is(StateFailing, "newer-than-us", wire.AlarmRot)
	if now := r.show(); !now.Online || now.Since != before.Since || now.Says.Journal != before.Says.Journal || !now.Seen.Equal(before.Seen) {
		t.Errorf("%+v, was %+v", now, before)
	}
	r.pass(2 * time.Minute)
	if r.show().Online {
		t.Error("silent since the hub is back, and online")
	}
	r.beat(nil)
	r.pass(time.Second)
	r.pass(5 * time.Minute)
	r.is(StateOffline)
	r.restart()
	r.is(StateOffline) // not online for a while only because the hub began anew
}

// TestFleetTwoHubs: of a terminal that has moved to where another hub listens, that
// hub's word counts, here too, as long as the other one lives.
func TestFleetTwoHubs(t *testing.T) {
	a := newFleetRig(t)
	a.alive()
	a.beat(nil)
	a.pass(time.Second)
	b := a.another()
	b.alive()
	b.is(StateOnline)
	for range 10 {
		b.at = b.at.Add(time.Minute)
		a.at = b.at
		a.alive()
		b.alive()
		b.beat(nil)
		b.pass(0)
		a.pass(0)
		b.pass(0)
		a.is(StateOnline)
		b.is(StateOnline)
	}
	b.at = b.at.Add(time.Second)
	b.beat(func(h *wire.Heartbeat) { h.Alarms = []string{wire.AlarmHeld} })
	b.pass(0)
	a.pass(0)
	a.is(StateFailing, wire.AlarmHeld)
	// b dies, and nobody else hears the terminal.
	a.pass(2 * time.Minute)
	a.pass(2 * time.Minute)
	if a.show().Online {
		t.Error("online at the word of a hub that is no more")
	}
}

func TestFleetReasons(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*wire.Heartbeat)
		state  string
		codes  []string
	}{
		"nothing":         {nil, StateOnline, nil},
		"clock ahead":     {func(b *wire.Heartbeat) { b.At = b.At.Add(time.Hour) }, StateFailing, []string{wire.AlarmClock}},
		"clock of 1970":   {func(b *wire.Heartbeat) { b.At = time.Unix(0, 0); b.Clock = "behind" }, StateFailing, []string{wire.AlarmClock}},
		"clock a bit off": {func(b *wire.Heartbeat) { b.At = b.At.Add(time.Minute) }, StateOnline, nil},
		"clock not set":   {func(b *wire.Heartbeat) { b.Clock = "unsynced" }, StateOnline, []string{reasonUnsynced}},
		"throttled":       {func(b *wire.Heartbeat) { b.Limits.Throttled = 60 }, StateOnline, []string{reasonThrottled}},
		"a backlog":       {func(b *wire.Heartbeat) { b.Settled = 90; b.Backlog = wire.Backlog{Records: 10, Age: 100} }, StateOnline, nil},
		"an old backlog":  {func(b *wire.Heartbeat) { b.Settled = 90; b.Backlog = wire.Backlog{Records: 10, Age: 1000} }, StateFailing, []string{reasonBacklog}},
		"refused": {func(b *wire.Heartbeat) {
			b.Config = wire.ConfigState{Serial: 1, State: wire.ConfigRefused, Reason: "no"}
		}, StateFailing, []string{wire.AlarmConfig}},
		"applied":          {func(b *wire.Heartbeat) { b.Config = wire.ConfigState{Serial: 1, State: wire.ConfigApplied} }, StateOnline, nil},
		"a warning":        {func(b *wire.Heartbeat) { b.Alarms = []string{wire.AlarmMemory} }, StateOnline, []string{wire.AlarmMemory}},
		"an unknown alarm": {func(b *wire.Heartbeat) { b.Alarms = []string{"smoke"}; b.Why = "it burns" }, StateFailing, []string{"smoke"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFleetRig(t)
			r.beat(c.change)
			r.is(c.state, c.codes...)
		})
	}
}

// TestFleetBacklogGrowsOld: the backlog of a terminal that is silent ages, unless the
// ledger has got the records meanwhile.
func TestFleetBacklogGrowsOld(t *testing.T) {
	r := newFleetRig(t)
	r.beat(func(b *wire.Heartbeat) {
		b.Settled, b.Backlog = 90, wire.Backlog{Records: 10, Sales: 3, Age: 60, Known: true, Value: 4711, Currency: "EUR"}
	})
	r.is(StateOnline)
	if b := r.show().Backlog; b.Records != 10 || b.Sales != 3 || b.AgeSeconds != 60 || *b.Value != 4711 {
		t.Errorf("%+v", b)
	}
	if got := r.f.list("", "", "", 1).Totals; got.BacklogValue["EUR"] != 4711 || got.BacklogRecords != 10 || got.OldestSeconds != 60 {
		t.Errorf("%+v", got)
	}
	r.pass(20 * time.Minute)
	r.is(StateFailing, reasonBacklog)
	put := func(last uint64) {
		t.Helper()
		if err := r.l.Update(context.Background(), func(tx ledger.Tx) error {
			return tx.PutChain(ledger.Chain{Journal: chain.ID{1}, Store: "s1", Terminal: "t1", Last: last, Updated: r.at})
		}); err != nil {
			t.Fatal(err)
		}
	}
	put(99) // one record is missing still: the control
	r.pass(time.Second)
	r.is(StateFailing, reasonBacklog)
	put(100)
	r.pass(time.Second)
	r.is(StateOffline)
}

// TestFleetLedger: what the hub itself knows of a terminal is joined.
func TestFleetLedger(t *testing.T) {
	r := newFleetRig(t)
	r.beat(nil)
	c := ledger.Chain{Journal: chain.ID{1}, Store: "s1", Terminal: "t1", Last: 50, Records: 40, Events: 30, Updated: r.at}
	put := func(more func(tx ledger.Tx) error) {
		t.Helper()
		if err := r.l.Update(context.Background(), func(tx ledger.Tx) error {
			if err := tx.PutChain(c); err != nil || more == nil {
				return err
			}
			return more(tx)
		}); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Second)
		r.beat(nil)
	}
	put(nil)
	r.is(StateOnline)
	if got := r.show().Ledger; got != (FleetLedger{Journals: 1, Records: 40, Events: 30, Last: 50}) {
		t.Errorf("%+v", got)
	}
	c.Want = 51
	put(nil)
	r.is(StateOnline) // it has just been asked
	r.pass(6 * time.Minute)
	r.beat(nil)
	r.is(StateFailing, reasonGap)
	c.Want, c.Held = 0, "copy: it cannot be"
	put(nil)
	r.is(StateFailing, wire.AlarmHeld)
	c.Held, c.Lost = "", 10
	put(func(tx ledger.Tx) error {
		return tx.PutHole(ledger.Hole{Journal: c.Journal, First: 41, Last: 50, At: r.at})
	})
	r.is(StateFailing, reasonHole)
	r.pass(8 * 24 * time.Hour)
	r.beat(nil)
	r.is(StateOnline)
	key := [32]byte{1}
	put(func(tx ledger.Tx) error {
		_, err := tx.PutQuarantine(ledger.Quarantined{Key: key, Subject: wire.UpSubject(0, "s1", "t1", c.Journal), Cause: CauseFork, Reason: "x", At: r.at})
		return err
	})
	r.is(StateFailing, reasonQuarantine)
	put(func(tx ledger.Tx) error {
		return tx.Decide(key, ledger.Decision{Verdict: "rejected", By: "me", At: r.at})
	})
	r.is(StateOnline)
	c.Last = 200 // the terminal's disk was set back: it ends at 100
	put(nil)
	r.at = r.at.Add(time.Second)
	r.beat(nil)
	r.is(StateFailing, wire.AlarmForked)
	r.pass(time.Minute)
	r.is(StateFailing, wire.AlarmForked)
}

// TestFleetEnrolled: a terminal that was let in and never heard is shown as that.
func TestFleetEnrolled(t *testing.T) {
	r := newFleetRig(t)
	b, err := json.Marshal(device{Store: "s1", Terminal: "t1", Shard: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.l.Update(context.Background(), func(tx ledger.Tx) error { return tx.PutDoc(docDevice, "s1.t1", b) }); err != nil {
		t.Fatal(err)
	}
	r.pass(time.Second)
	r.is(StateEnrolled)
	if got := r.show(); got.Shard != 3 || got.Online || !got.Seen.IsZero() {
		t.Errorf("%+v", got)
	}
	r.pass(time.Hour)
	r.is(StateEnrolled)
	r.beat(nil)
	r.is(StateOnline)
	r.pass(time.Hour)
	r.is(StateOffline)
}

// TestFleetTwin: two machines that answer to one name are noticed, a restart is not one.
func TestFleetTwin(t *testing.T) {
	r := newFleetRig(t)
	for _, run := range []uint64{1, 1, 2, 2, 3} { // restarts
		r.beat(func(b *wire.Heartbeat) { b.Run = run })
		r.pass(10 * time.Second)
		r.is(StateOnline)
	}
	for _, run := range []uint64{4, 3, 4} {
		r.beat(func(b *wire.Heartbeat) { b.Run = run })
		r.pass(10 * time.Second)
	}
	r.is(StateFailing, reasonTwin)
}

// TestFleetHostile: what does not fit its subject, or cannot be read, changes nothing
// and is counted; sums cannot be turned over.
func TestFleetHostile(t *testing.T) {
	r := newFleetRig(t)
	b := wire.Heartbeat{Store: "s1", Terminal: "t1", At: r.at, Journal: chain.ID{1}}
	good := b.Append(nil)
	r.f.hear("pos.hb.0.s1.t2", good)
	r.f.hear("pos.hb.0.s2.t1", good)
	r.f.hear("pos.hb.0.s1.t1", good[:len(good)-1])
	r.f.hear("pos.hb.0.s1.t1", []byte(strings.Repeat("[", 5000)))
	r.f.hear("pos.hb.0.s1.t1.x", good)
	r.f.accepts = func(s string) bool { return s == "s2" }
	r.f.hear("pos.hb.0.s1.t1", good)
	if n := len(r.f.members); n != 0 || r.f.foreign.Load() != 2 || r.f.malformed.Load() != 3 || r.f.unwelcome.Load() != 1 || r.f.taken.Load() != 0 {
		t.Fatalf("%d members, %d foreign, %d malformed, %d unwelcome", n, r.f.foreign.Load(), r.f.malformed.Load(), r.f.unwelcome.Load())
	}
	r.f.accepts = func(string) bool { return true }
	for range 1000 {
		r.f.hear("pos.hb.0.s1.t1", good)
	}
	if r.f.taken.Load() != 1 || r.f.often.Load() != 999 {
		t.Errorf("%d taken of a flood, %d dropped", r.f.taken.Load(), r.f.often.Load())
	}
	for i := range 100 {
		code := string([]byte{'A' + byte(i/26), 'A' + byte(i%26), 'X'})
		b := wire.Heartbeat{Store: "s2", Terminal: fmt.Sprint("t", i), At: r.at, Journal: chain.ID{1}, Floor: ^uint64(0),
			Backlog: wire.Backlog{Records: ^uint64(0), Sales: ^uint64(0), Age: ^uint64(0), Known: true, Value: 1<<63 - 1, Currency: code}}
		r.f.hear(wire.HeartbeatSubject(0, b.Store, b.Terminal), b.Append(nil))
	}
	got := r.f.list("", "", "", 1).Totals
	if len(got.BacklogValue) > maxCurrencies || got.BacklogRecords != ^uint64(0) {
		t.Errorf("%+v", got)
	}
	if m := string(r.f.writeMetrics(nil)); strings.Contains(m, "NaN") || strings.Count(m, "poshub_backlog_value{") > maxCurrencies {
		t.Error(m)
	}
}

// TestFleetPages: all pages together are the fleet, in order, each terminal once.
func TestFleetPages(t *testing.T) {
	r := newFleetRig(t)
	for i := range 25 {
		r.beat(func(b *wire.Heartbeat) {
			b.Store, b.Terminal = fmt.Sprintf("s%d", i%2), fmt.Sprintf("t%02d", i)
			if i%5 == 0 {
				b.Alarms = []string{wire.AlarmRot}
			}
		})
	}
	for _, c := range []struct {
		store, state string
		limit, want  int
	}{{"", "", 4, 25}, {"", "", 5, 25}, {"", "", 100, 25}, {"s1", "", 5, 12}, {"s1", StateFailing, 2, 2}, {"", StateOffline, 2, 0}, {"s", "", 2, 0}} {
		var all []string
		after := ""
		for {
			l := r.f.list(c.store, c.state, after, c.limit)
			if n := l.Totals.Online + l.Totals.Failing; n != c.want {
				t.Errorf("%+v: totals of %d", c, n)
			}
			for _, x := range l.Terminals {
				all = append(all, x.Store+"."+x.Terminal)
			}
			if after = l.Next; after == "" {
				break
			}
		}
		if !slices.IsSorted(all) || len(slices.Compact(all)) != c.want {
			t.Errorf("%+v: %v", c, all)
		}
	}
}

// TestFleetOfRealParts: a real uplink and a real hub. The terminal goes away, comes back,
// and the hub is started anew.
func TestFleetOfRealParts(t *testing.T) {
	o := Options{Dir: filepath.Join(t.TempDir(), "hub"), NATSListen: freeport.For(t), Pulse: 50 * time.Millisecond, fleet: defaultFleetTimes,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	o.fleet.period, o.fleet.tick, o.fleet.refresh = 1500*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	var h *Hub
	start := func() (stop func()) {
		var err error
		if h, err = Open(o); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func(h *Hub) { done <- h.Run(ctx) }(h)
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	stop := start()
	ask := func(path string, v any) int {
		t.Helper()
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+h.api)
		h.Handler().ServeHTTP(w, r)
		if v != nil {
			if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
				t.Fatalf("%s: %s: %v", path, w.Body, err)
			}
		}
		return w.Code
	}
	await := func(state string) FleetTerminal {
		t.Helper()
		for end := time.Now().Add(90 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			var l FleetReply
			ask("/v1/fleet?store=s1", &l)
			if len(l.Terminals) == 1 && l.Terminals[0].State == state {
				return l.Terminals[0]
			}
			if time.Now().After(end) {
				t.Fatalf("never %s: %+v", state, l)
			}
		}
	}
	past := newHistory(t, "s1", "t1", 20)
	terminal := func() (stop func()) {
		j := past.j
		var u *uplink.Uplink
		u, err := uplink.New(uplink.Options{Journal: j, URLs: []string{"nats://" + o.NATSListen}, Store: "s1", Terminal: "t1",
			TokenFile: filepath.Join(o.Dir, "nats.token"), StatePath: filepath.Join(t.TempDir(), "uplink.state"), Log: o.Log,
			Heartbeat: func() []byte { return beatOf(j, u.Status()) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{}, 2)
		go func() { u.Run(ctx); done <- struct{}{} }()
		go func() {
			for ctx.Err() == nil {
				u.Beat()
				time.Sleep(100 * time.Millisecond)
			}
			done <- struct{}{}
		}()
		return func() { cancel(); <-done; <-done }
	}
	off := terminal()
	await(StateOnline)
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var one struct {
			FleetTerminal
			Journals []struct{ Last uint64 }
		}
		if code := ask("/v1/fleet/s1/t1", &one); code == 200 && len(one.Journals) == 1 && one.Journals[0].Last == 20 && one.Ledger.Last == 20 && one.Says.Floor == 20 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the ledger's view is not joined: %+v", one)
		}
	}
	off()
	before := await(StateOffline)
	off = terminal()
	await(StateOnline)
	off()
	stop()
	stop = start() // the hub, while the terminal is away
	if now := await(StateOffline); now.Seen.Before(before.Seen) {
		t.Errorf("seen %s, before %s", now.Seen, before.Seen)
	}
	off = terminal()
	await(StateOnline)

	// Somebody with the right to publish says that another terminal is in trouble.
	nc, err := nats.Connect("nats://"+o.NATSListen, nats.Token(h.token))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	bad := wire.Heartbeat{Store: "s1", Terminal: "t1", At: time.Now(), Journal: chain.ID{9}, Alarms: []string{wire.AlarmRot}}
	nc.Publish("pos.hb.0.s1.t9", bad.Append(nil))
	nc.Flush()
	for h.fleet.foreign.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	await(StateOnline)
	if ask("/v1/fleet/s1/t9", nil) != 404 || ask("/v1/fleet?state=bad", nil) != 400 || ask("/v1/fleet?limit=0", nil) != 400 || ask("/v1/fleet?x=1", nil) != 400 {
		t.Error("a question that makes no sense was answered")
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/metrics/terminals", nil)
	r.Header.Set("Authorization", "Bearer "+h.api)
	h.Handler().ServeHTTP(w, r)
	if !strings.Contains(w.Body.String(), `poshub_terminal_state{store="s1",terminal="t1",state="online"} 1`) {
		t.Error(w.Body)
	}
	off()
	stop()
}

func beatOf(j *journal.Journal, s uplink.Status) []byte {
	floor, head := j.Floor()
	b := wire.Heartbeat{Store: "s1", Terminal: "t1", Run: 1, At: time.Now(), Clock: "synced", Journal: j.ID(), Oldest: j.Oldest(), Floor: floor, Head: head,
		Sent: s.Sent, Settled: s.Settled, Backlog: wire.Backlog{Records: s.Unsettled}}
	return b.Append(nil)
}

// BenchmarkFleet: memory of 100,000 terminals, and the work on all of them.
func BenchmarkFleet(b *testing.B) {
	const terminals = 100_000
	r := newFleetRig(b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range terminals {
		r.beat(func(h *wire.Heartbeat) {
			h.Store, h.Terminal, h.Release = fmt.Sprint("store", i/10), fmt.Sprint("t", i), "1.4.0"
		})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ResetTimer()
	for b.Loop() {
		r.f.judgeAll()
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/terminals, "B/terminal")
	runtime.KeepAlive(r)
}
