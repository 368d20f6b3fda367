package hub

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
	"posd/sync/ledger"
	"posd/sync/wire"
)

// history is a real journal, cut into parcels at will.
type history struct {
	t  testing.TB
	j  *journal.Journal
	id chain.ID
}

type blob string

func (b blob) AppendRecord(dst []byte, _ uint64) ([]byte, error) { return append(dst, b...), nil }

// newHistory has a birth, an opening, and events up to record last.
func newHistory(t testing.TB, store, terminal string, last uint64) *history {
	dir := filepath.Join(t.TempDir(), "journal")
	id, err := journal.Create(dir, journal.CreateOptions{Identity: journal.Identity{Store: store, Terminal: terminal}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(dir, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	h := &history{t, j, id}
	for {
		seq, err := j.Append(event.RecordType, journal.Durable, 64, blob(fmt.Sprintf("{\"v\":1,\n\"data\":\"%s\"}", terminal)))
		if err != nil {
			t.Fatal(err)
		}
		if seq >= last {
			if err := j.Wait(context.Background(), seq); err != nil {
				t.Fatal(err)
			}
			return h
		}
	}
}

// parcel holds records first to last.
func (h *history) parcel(first, last uint64) *wire.Parcel {
	h.t.Helper()
	p := &wire.Parcel{Journal: h.id, First: first, Last: last}
	var err error
	if p.Prev, err = h.j.Head(first - 1); err != nil {
		h.t.Fatal(err)
	}
	if p.Head, err = h.j.Head(last); err != nil {
		h.t.Fatal(err)
	}
	r, err := h.j.Reader(first)
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Close()
	for seq := first; seq <= last; seq++ {
		rec, err := r.Next()
		if err != nil {
			h.t.Fatal(err)
		}
		p.Frames = append(p.Frames, rec.Frame...)
	}
	return p
}

func bytesOf(t testing.TB, p *wire.Parcel) []byte {
	t.Helper()
	var e wire.Encoder
	b, err := e.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestJudge: each row is a sequence of parcels, each with the verdict it must get.
func TestJudge(t *testing.T) {
	h := newHistory(t, "s1", "t1", 20)
	alien := newHistory(t, "s1", "t9", 20)
	at := wire.UpSubject(0, "s1", "t1", h.id)
	type step struct {
		subject string
		body    []byte
		want    verdict
		cause   string
		last    uint64 // of the chain afterwards
		wanted  uint64
	}
	send := func(p *wire.Parcel, v verdict, last uint64) step { return step{at, bytesOf(t, p), v, "", last, 0} }
	aborts := func(subject string, body []byte, cause string, last uint64) step {
		return step{subject, body, aside, cause, last, 0}
	}
	hole := func(first, last uint64) *wire.Parcel {
		p := h.parcel(first, last)
		return &wire.Parcel{Journal: h.id, First: first, Last: last, Hole: true, Head: p.Head}
	}
	// The same numbers under the same id, but another history from record 11 on.
	forked := func(first, last uint64) *wire.Parcel {
		p := h.parcel(first, last)
		p.Frames = bytes.Replace(p.Frames, []byte(`"t1"`), []byte(`"tX"`), -1)
		if first > 11 {
			p.Prev[0] ^= 1
		}
		p.Head, _ = p.Walk(nil)
		return p
	}
	badChain := h.parcel(1, 5)
	badChain.Head[0] ^= 1
	for name, steps := range map[string][]step{
		"in order":                {send(h.parcel(1, 10), entered, 10), send(h.parcel(11, 20), entered, 20)},
		"again":                   {send(h.parcel(1, 10), entered, 10), send(h.parcel(1, 10), known, 10), send(h.parcel(3, 4), known, 10)},
		"cut elsewhere":           {send(h.parcel(1, 10), entered, 10), send(h.parcel(5, 15), entered, 15), send(h.parcel(1, 20), entered, 20)},
		"gap, then healed":        {send(h.parcel(1, 5), entered, 5), {at, bytesOf(t, h.parcel(11, 20)), gap, "", 5, 6}, send(h.parcel(6, 20), entered, 20)},
		"gap at the beginning":    {{at, bytesOf(t, h.parcel(2, 20)), gap, "", 0, 1}, send(h.parcel(1, 20), entered, 20)},
		"hole at the beginning":   {send(hole(1, 7), entered, 7), send(h.parcel(8, 20), entered, 20)},
		"hole twice":              {send(h.parcel(1, 5), entered, 5), send(hole(6, 9), entered, 9), send(hole(6, 9), known, 9), send(h.parcel(10, 11), entered, 11)},
		"hole over what is known": {send(h.parcel(1, 5), entered, 5), send(hole(2, 9), entered, 9), send(hole(1, 5), known, 9)},
		"hole behind a gap":       {{at, bytesOf(t, hole(3, 9)), gap, "", 0, 1}},
		"lost records turn up":    {send(hole(1, 7), entered, 7), aborts(at, bytesOf(t, h.parcel(1, 5)), CauseHole, 7)},
		"fork behind the end":     {send(h.parcel(1, 10), entered, 10), aborts(at, bytesOf(t, forked(12, 20)), "", 10)},
		"fork at the end":         {send(h.parcel(1, 12), entered, 12), aborts(at, bytesOf(t, forked(13, 20)), CauseFork, 12), send(h.parcel(13, 20), entered, 20)},
		"fork over the end":       {send(h.parcel(1, 12), entered, 12), aborts(at, bytesOf(t, forked(11, 20)), CauseFork, 12)},
		"fork before the end":     {send(h.parcel(1, 20), entered, 20), aborts(at, bytesOf(t, forked(11, 15)), CauseFork, 20)},
		"rubbish":                 {aborts(at, []byte("rubbish"), CauseUndecodable, 0), send(h.parcel(1, 20), entered, 20)},
		"rubbish in between":      {send(h.parcel(1, 5), entered, 5), aborts(at, []byte("rubbish"), CauseUndecodable, 5), send(h.parcel(6, 9), entered, 9)},
		"heads that do not fit":   {aborts(at, bytesOf(t, badChain), CauseUndecodable, 0)},
		"no subject of ours":      {aborts("pos.up.0.x", bytesOf(t, h.parcel(1, 5)), CauseUndecodable, 0)},
		"another journal":         {aborts(at, bytesOf(t, alien.parcel(1, 5)), CauseIdentity, 0)},
		"another terminal": {send(h.parcel(1, 5), entered, 5),
			aborts(wire.UpSubject(0, "s1", "t2", h.id), bytesOf(t, h.parcel(6, 9)), CauseIdentity, 5)},
		"born elsewhere":    {aborts(wire.UpSubject(0, "s1", "t1", alien.id), bytesOf(t, alien.parcel(1, 5)), CauseIdentity, 0)},
		"store not allowed": {aborts(wire.UpSubject(0, "s2", "t1", h.id), bytesOf(t, h.parcel(1, 5)), CauseStore, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := ledger.OpenBolt(filepath.Join(t.TempDir(), "ledger.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			g := judge{lane: "S", accepts: func(s string) bool { return s == "s1" }, now: time.Now}
			for i, st := range steps {
				if st.cause == "" && st.want == aside {
					st.want, st.wanted = gap, st.last+1 // another history behind a gap cannot be told from a gap
				}
				m := prepare(st.subject, uint64(i+1), st.body)
				var v verdict
				if err := l.Update(t.Context(), func(tx ledger.Tx) (err error) { _, v, _, err = g.apply(tx, &m); return err }); err != nil {
					t.Fatal(err)
				}
				if v != st.want {
					t.Fatalf("step %d: verdict %d, want %d (%+v)", i, v, st.want, m.refused)
				}
				checkLedger(t, l, m.id, st.last, st.wanted, st.body, st.cause)
			}
		})
	}
}

// checkLedger looks at a chain, and for a quarantined message at its cause.
func checkLedger(t *testing.T, l ledger.Ledger, id chain.ID, last, want uint64, body []byte, cause string) {
	t.Helper()
	err := l.View(context.Background(), func(tx ledger.Tx) error {
		c, _, err := tx.Chain(id)
		if err != nil {
			return err
		}
		if c.Last != last || c.Want != want {
			t.Errorf("chain ends at %d and wants %d, want %d and %d", c.Last, c.Want, last, want)
		}
		n := uint64(0)
		tx.Events(ledger.Cursor{Name: ledger.Name{Journal: id}, Only: true}, func(ledger.Event) (bool, error) { n++; return true, nil })
		if n != c.Events || c.Records+c.Lost != c.Last {
			t.Errorf("%d events, %d counted, %d records, %d lost, last %d", n, c.Events, c.Records, c.Lost, c.Last)
		}
		found := cause == ""
		tx.Quarantine(func(q ledger.Quarantined) error {
			whole, _, err := tx.Quarantined(q.Key)
			found = found || bytes.Equal(whole.Body, body) && q.Cause == cause && q.Reason != ""
			return err
		})
		if !found {
			t.Errorf("not in quarantine for %q", cause)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a running hub with an administrator's client.
type rig struct {
	t    *testing.T
	o    Options
	h    *Hub
	nc   *nats.Conn
	js   jetstream.JetStream
	done chan error
	end  context.CancelFunc
}

func newRig(t *testing.T, b bug) *rig {
	r := &rig{t: t, o: Options{Dir: filepath.Join(t.TempDir(), "hub"), NATSListen: "127.0.0.1:0", Pulse: 30 * time.Millisecond, bug: b}}
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.h, err = Open(r.o); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.end, r.done = cancel, make(chan error, 1)
	go func(h *Hub) { r.done <- h.Run(ctx) }(r.h)
	if r.nc, err = nats.Connect(r.h.srv.ClientURL(), nats.Token(r.h.token)); err != nil {
		r.t.Fatal(err)
	}
	r.js, _ = jetstream.New(r.nc)
	r.eventually("ready", func() bool { return r.h.shards[0].reading.Load() })
}

func (r *rig) stop() {
	if r.h == nil {
		return
	}
	r.nc.Close()
	r.end()
	if r.done != nil {
		<-r.done
	}
	if err := r.h.Close(); err != nil {
		r.t.Error(err)
	}
	r.h = nil
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never happened: %s", what)
		}
	}
}

func (r *rig) publish(subject string, body []byte) uint64 {
	r.t.Helper()
	a, err := r.js.Publish(context.Background(), subject, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return a.Sequence
}

// settle waits until the hub has committed stream sequence seq.
func (r *rig) settle(seq uint64) {
	r.t.Helper()
	r.eventually("read", func() bool { return r.h.shards[0].at.Load() >= seq })
}

func (r *rig) chain(id chain.ID) (c ledger.Chain) {
	r.h.ledger.View(context.Background(), func(tx ledger.Tx) (err error) { c, _, err = tx.Chain(id); return err })
	return c
}

func (r *rig) events(id chain.ID) (n uint64) {
	r.h.ledger.View(context.Background(), func(tx ledger.Tx) error {
		return tx.Events(ledger.Cursor{Name: ledger.Name{Journal: id}, Only: true}, func(ledger.Event) (bool, error) { n++; return true, nil })
	})
	return n
}

// crashed is a hub that dies at its third commit, between the steps of it, and
// is started again. Nobody sends anything a second time.
func crashed(t *testing.T, b bug) error {
	h := newHistory(t, "s1", "t1", 60)
	r := newRig(t, b)
	n := 0
	r.o.crash = func() error {
		if n++; n == 3 {
			return errCrash
		}
		return nil
	}
	r.start()
	subject := wire.UpSubject(0, "s1", "t1", h.id)
	var last uint64
	for first := uint64(1); first < 60; first += 10 {
		last = r.publish(subject, bytesOf(t, h.parcel(first, first+9)))
		r.eventually("a commit or the crash", func() bool { return r.h.shards[0].at.Load() >= last || len(r.done) > 0 })
	}
	r.stop()
	r.o.crash = nil
	r.start()
	r.settle(last)
	c := r.chain(h.id)
	_, head := h.j.Floor()
	if c.Last != 60 || c.Head != head || c.Events != 58 || r.events(h.id) != 58 || c.Records != 60 || r.h.quarantineCount() != 0 {
		return fmt.Errorf("chain %+v, %d events", c, r.events(h.id))
	}
	return nil
}

func TestCrashInTheMiddleOfACommit(t *testing.T) {
	if err := crashed(t, noBug); err != nil {
		t.Error(err)
	}
	if crashed(t, bugPositionFirst) == nil {
		t.Error("a position committed on its own passes too: the check proves nothing")
	}
}

func TestStreamMadeAnew(t *testing.T) {
	if err := fedTwice(t, noBug); err != nil {
		t.Error(err)
	}
	if fedTwice(t, bugNotIdempotent) == nil {
		t.Error("a ledger that is not idempotent passes too: the check proves nothing")
	}
}

// fedTwice feeds the same history twice, through a stream that was deleted
// and made anew in between.
func fedTwice(t *testing.T, b bug) error {
	h := newHistory(t, "s1", "t1", 60)
	r := newRig(t, b)
	r.start()
	subject := wire.UpSubject(0, "s1", "t1", h.id)
	for round := range 2 {
		var last uint64
		for first := uint64(1); first < 60; first += 10 {
			last = r.publish(subject, bytesOf(t, h.parcel(first, first+9)))
		}
		r.settle(last)
		if round == 0 {
			if err := r.js.DeleteStream(context.Background(), r.h.shards[0].stream); err != nil {
				t.Fatal(err)
			}
			r.eventually("a new stream is read", func() bool { return r.h.m.restarts.Get() == 1 && r.h.shards[0].reading.Load() })
		}
	}
	c := r.chain(h.id)
	if n := r.events(h.id); c.Last != 60 || c.Events != 58 || n != 58 || c.Records != 60 {
		return fmt.Errorf("chain %+v, %d events", c, n)
	}
	return nil
}

func (r *rig) get(path, token string) *httptest.ResponseRecorder {
	q := httptest.NewRequest("GET", path, nil)
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	r.h.Handler().ServeHTTP(w, q)
	return w
}

func TestAPI(t *testing.T) {
	r := newRig(t, noBug)
	r.start()
	a, b := newHistory(t, "s1", "t1", 600), newHistory(t, "s2", "t2", 20)
	r.publish(wire.UpSubject(0, "s1", "t1", a.id), bytesOf(t, a.parcel(1, 600)))
	r.publish(wire.UpSubject(0, "s2", "t2", b.id), bytesOf(t, b.parcel(1, 20)))
	r.settle(r.publish("pos.up.0.rubbish", []byte("rubbish")))
	for path, want := range map[string]int{
		"/v1/events":                                                598 + 18, // more than one page
		"/v1/events?store=s1":                                       598,
		"/v1/events?store=s2":                                       18,
		"/v1/events?terminal=t2":                                    18,
		"/v1/events?store=s1&terminal=t2":                           0,
		"/v1/events?limit=7":                                        7,
		"/v1/events?limit=300":                                      300,
		"/v1/events?journal=" + b.id.String():                       18,
		"/v1/events?journal=" + b.id.String() + "&after=15":         5,
		"/v1/events?journal=" + b.id.String() + "&after=15&limit=2": 2,
		"/v1/events?journal=" + b.id.String() + "&after=20":         0,
		"/v1/events?journal=" + b.id.String() + "&store=s1":         0,
		"/v1/events?after=ffffffffffffffffffffffffffffffff:3":       0,
		"/v1/events?journal=" + strings.Repeat("0", 32):             0,
	} {
		w := r.get(path, r.h.api)
		sc := bufio.NewScanner(w.Body)
		n, before := 0, ""
		for ; sc.Scan(); n++ {
			var line struct {
				Store, Terminal, Journal, Head string
				Seq                            uint64
				Event                          map[string]any
			}
			if err := json.Unmarshal(sc.Bytes(), &line); err != nil || line.Event["data"] == nil || len(line.Head) != 64 || line.Store == "" {
				t.Fatalf("%s: %s: %v", path, sc.Bytes(), err)
			}
			if key := fmt.Sprintf("%s:%020d", line.Journal, line.Seq); key <= before {
				t.Fatalf("%s: %s behind %s", path, key, before)
			} else {
				before = key
			}
		}
		if w.Code != 200 || n != want {
			t.Errorf("%s: %d, %d lines, want %d", path, w.Code, n, want)
		}
	}
	for path, want := range map[string]int{
		"/v1/status": 200, "/v1/terminals": 200, "/v1/quarantine": 200, "/metrics": 200, "/nowhere": 404,
		"/v1/events?limit=0": 400, "/v1/events?limit=x": 400, "/v1/events?after=3": 400, "/v1/events?journal=x": 400,
		"/v1/events?afters=3": 400, "/v1/events?after=x:3": 400,
	} {
		w := r.get(path, r.h.api)
		if w.Code != want || want >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		for _, token := range []string{"", "wrong", r.h.api + "x", r.h.token} {
			if w := r.get(path, token); w.Code != 401 && w.Code != 404 {
				t.Errorf("%s with token %q: %d", path, token, w.Code)
			}
		}
	}
	for path, want := range map[string]string{
		"/v1/status": `"quarantined":1`, "/v1/terminals": `"terminal":"t2"`, "/v1/quarantine": `"cause":"undecodable"`,
		"/metrics": `poshub_parcels_total{result="quarantined"} 1`,
	} {
		if body := r.get(path, r.h.api).Body.String(); !strings.Contains(body, want) {
			t.Errorf("%s does not say %s: %s", path, want, body)
		}
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if w := r.get(path, ""); w.Code != 200 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
