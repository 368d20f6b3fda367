package hub

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"posd/journal/chain"
	"posd/pos/event"
	"posd/sync/ledger"
	"posd/sync/ledger/pgtest"
	"posd/sync/outbox"
	"posd/sync/uplink"
	"posd/sync/wire"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// onEachStore runs a test with a ledger in a file and with one in PostgreSQL.
func onEachStore(t *testing.T, run func(t *testing.T, url string)) {
	t.Run("bbolt", func(t *testing.T) { run(t, "") })
	t.Run("postgresql", func(t *testing.T) { run(t, pgtest.Shared(t).Database(t)) })
}

// ship lets a till's real uplink run, as terminal t of store s1.
func (r *rig) ship(k *till, terminal string) (stop func()) {
	r.t.Helper()
	u, err := uplink.New(uplink.Options{Journal: k.j, URLs: []string{r.h.srv.ClientURL()}, Store: "s1", Terminal: terminal,
		TokenFile: filepath.Join(r.o.Dir, "nats.token"), StatePath: filepath.Join(r.t.TempDir(), "uplink.state")})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); u.Run(ctx) }()
	stop = func() { cancel(); <-done }
	r.t.Cleanup(stop)
	return stop
}

// names are a till's own events, in order.
func (k *till) names() (all []ledger.Name) {
	for seq := uint64(1); seq <= k.last(); seq++ {
		if rec, h := k.record(seq); rec.Type == event.RecordType {
			all = append(all, ledger.Name{Journal: k.id, Seq: seq, Head: h})
		}
	}
	return all
}

// published are the names in the stream of events, with the subject of each.
func (r *rig) published() (names, subjects []string) {
	r.t.Helper()
	ctx := context.Background()
	s, err := r.js.Stream(ctx, outbox.Stream)
	if err != nil {
		return nil, nil
	}
	cons, err := r.js.OrderedConsumer(ctx, outbox.Stream, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		r.t.Fatal(err)
	}
	for range s.CachedInfo().State.Msgs {
		m, err := cons.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		names, subjects = append(names, m.Headers().Get("Pos-Name")), append(subjects, m.Subject())
	}
	return names, subjects
}

// patience with something that has to happen. A control only has to fail.
func (r *rig) patience() time.Duration {
	if r.o.bug != noBug {
		return 2 * time.Second
	}
	return time.Minute
}

// all checks that ledger and stream of events hold exactly those events, each once, and
// that each run of names stands in the stream in order.
func (r *rig) all(want map[ledger.Name]string, runs ...[]ledger.Name) error {
	var err error
	for end := time.Now().Add(r.patience()); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = proves(r.h.ledger, want); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	r.eventually("all is published", func() bool {
		s, err := r.js.Stream(context.Background(), outbox.Stream)
		return err == nil && s.CachedInfo().State.LastSeq >= uint64(len(want))
	})
	names, _ := r.published()
	at := make(map[string]int)
	for i, n := range names {
		if _, twice := at[n]; twice {
			return fmt.Errorf("%s is published twice", n)
		}
		at[n] = i
	}
	if len(names) != len(want) {
		return fmt.Errorf("%d events are published, want %d", len(names), len(want))
	}
	for _, run := range runs {
		before := -1
		for _, n := range run {
			i, ok := at[outbox.Name(n)]
			if !ok || i <= before {
				return fmt.Errorf("event %d of %s is published at %d, behind %d", n.Seq, n.Journal, i, before)
			}
			before = i
		}
	}
	return nil
}

func (r *rig) call(method, path, body string, v any) int {
	r.t.Helper()
	q := httptest.NewRequest(method, path, strings.NewReader(body))
	q.Header.Set("Authorization", "Bearer "+r.h.api)
	w := httptest.NewRecorder()
	r.h.Handler().ServeHTTP(w, q)
	if v != nil && w.Code == 200 {
		if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
			r.t.Fatalf("%s: %v", w.Body, err)
		}
	}
	if s, ok := v.(*string); ok && w.Code != 200 {
		*s = w.Body.String()
	}
	return w.Code
}

// open are the messages that wait for a decision.
func (r *rig) open() (all []QuarantineEntry) {
	r.t.Helper()
	if code := r.call("GET", "/v1/quarantine?open=true", "", &all); code != 200 {
		r.t.Fatal(code)
	}
	return all
}

// refusedFor waits until something is in quarantine for cause.
func (r *rig) refusedFor(cause string) (e QuarantineEntry) {
	r.t.Helper()
	r.eventually("in quarantine for "+cause, func() bool {
		for _, e = range r.open() {
			if e.Cause == cause {
				return true
			}
		}
		return false
	})
	return e
}

func (r *rig) decide(key, how string) (d Decided) {
	r.t.Helper()
	if code := r.call("POST", "/v1/quarantine/"+key[:12]+"/"+how, `{"by":"ada","why":"looked at the till"}`, &d); code != 200 {
		r.t.Fatalf("%s %s: %d", how, key, code)
	}
	return d
}

// acceptTwice decides, sees that asking again gives the same answer, and that it was
// written down once.
func (r *rig) acceptTwice(e QuarantineEntry) Decided {
	r.t.Helper()
	var show QuarantineDetail
	if code := r.call("GET", "/v1/quarantine/"+e.Key, "", &show); code != 200 || show.Accept == "" {
		r.t.Errorf("show: %d %+v", code, show)
	}
	d := r.decide(e.Key, "accept")
	if again := r.decide(e.Key, "accept"); again != d {
		r.t.Errorf("accepted again: %+v, was %+v", again, d)
	}
	if want := fmt.Sprintf("%s; %d events take effect", d.Effect, d.Events); show.Accept != want {
		r.t.Errorf("show says %q, it did %q", show.Accept, want)
	}
	w := r.get("/v1/audit", r.h.api)
	if n := strings.Count(w.Body.String(), d.Key); n != 1 || !strings.Contains(w.Body.String(), `"by":"ada","why":"looked at the till","what":"quarantine accepted"`) {
		r.t.Errorf("%d times in the audit trail: %s", n, w.Body)
	}
	if code := r.call("POST", "/v1/quarantine/"+e.Key+"/reject", `{"by":"a","why":"b"}`, nil); code != 409 {
		r.t.Errorf("rejected after it was accepted: %d", code)
	}
	return d
}

// quarantineCase is a till that gets into quarantine, and what a person can do about it.
type quarantineCase struct {
	cause string
	make  func(t *testing.T, r *rig) *till // as terminal t1, what has to be refused is in it
	as    string                           // the terminal that it ships as
}

var quarantineCases = []quarantineCase{
	{CauseStore, func(t *testing.T, r *rig) *till {
		r.o.Stores = []string{"s9"}
		return newTill(t, "t1", keyA, nil)
	}, "t1"},
	{CauseSignature, func(t *testing.T, r *rig) *till {
		k := newTill(t, "t1", keyA, nil)
		k.sell(1, 100, 3)
		seq, head := k.j.Floor()
		k.add(chain.TypeCheckpoint, string(chain.AppendCheckpoint(nil, k.id, chain.Checkpoint{Seq: seq, Head: head, At: time.Now()}, keyB)))
		return k
	}, "t1"},
	{CauseCopy, func(t *testing.T, r *rig) *till {
		k := newTill(t, "t1", keyA, nil)
		k.sell(1, 100, 3)
		k.add(chain.TypeCopy, "rubbish")
		return k
	}, "t1"},
	{CauseIdentity, func(t *testing.T, r *rig) *till { return newTill(t, "t2", nil, nil) }, "t1"},
}

// TestAcceptHeld: a till that is held ships on when a person has accepted what held it,
// and everything is in the ledger once, in order. The control leaves out what lets it go on.
func TestAcceptHeld(t *testing.T) {
	for _, c := range quarantineCases {
		t.Run(c.cause, func(t *testing.T) {
			onEachStore(t, func(t *testing.T, url string) {
				if err := c.play(t, url, noBug); err != nil {
					t.Error(err)
				}
			})
			t.Run("control", func(t *testing.T) {
				if c.play(t, "", bugNoWaiver) == nil {
					t.Error("passes with the decision left without effect too: the check proves nothing")
				}
			})
		})
	}
}

func (c *quarantineCase) play(t *testing.T, url string, b bug) error {
	r := newRig(t, b)
	r.o.LedgerURL = url
	k := c.make(t, r)
	k.sell(1, 100, 5)
	r.start()
	r.ship(k, c.as)
	e := r.refusedFor(c.cause)
	k.sell(1, 100, 5)
	if err := proves(r.h.ledger, nil); err != nil {
		t.Errorf("entered before anybody decided: %v", err)
	}
	if b == noBug {
		r.acceptTwice(e)
	} else {
		r.decide(e.Key, "accept")
	}
	k.sell(1, 100, 5)
	end := time.Now().Add(r.patience())
	for ; b == noBug && r.chain(k.id).Last < k.last() && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	if c := r.chain(k.id); c.Last < k.last() || c.Held != "" || c.Want != 0 {
		return fmt.Errorf("chain %+v, the till ends at %d", c, k.last())
	}
	if err := r.all(k.events(make(map[ledger.Name]string)), k.names()); err != nil {
		return err
	}
	for _, e := range r.open() { // sent before the till heard that it is held
		r.decide(e.Key, "accept")
	}
	// It stays so over a restart.
	r.stop()
	r.start()
	r.ship(k, c.as)
	k.sell(1, 100, 2)
	r.eventually("it goes on after a restart", func() bool { return r.chain(k.id).Last == k.last() })
	if n := len(r.open()); n != 0 {
		return fmt.Errorf("%d messages wait for a decision", n)
	}
	return r.all(k.events(make(map[ledger.Name]string)), k.names())
}

// TestAcceptMove: a till that was given another place goes on there.
func TestAcceptMove(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		r := newRig(t, noBug)
		r.o.LedgerURL = url
		r.start()
		k := newTill(t, "t1", keyA, nil)
		k.sell(1, 100, 5)
		stop := r.ship(k, "t1")
		r.eventually("entered", func() bool { return r.chain(k.id).Last == k.last() })
		if err := r.all(k.events(map[ledger.Name]string{}), k.names()); err != nil {
			t.Fatal(err)
		}
		stop()
		k.sell(1, 100, 5)
		r.ship(k, "t7")
		r.acceptTwice(r.refusedFor(CauseIdentity))
		k.sell(1, 100, 5)
		r.eventually("entered", func() bool { return r.chain(k.id).Last == k.last() })
		if c := r.chain(k.id); c.Terminal != "t7" {
			t.Errorf("chain %+v", c)
		}
		if err := r.all(k.events(map[ledger.Name]string{}), k.names()); err != nil {
			t.Error(err)
		}
		if !strings.Contains(r.get("/v1/audit", r.h.api).Body.String(), `"was":"s1/t1"`) {
			t.Error("the audit trail does not say where it was")
		}
	})
}

// other is a twin of a till that is in the ledger: its parcels come on the same subject.
func other(t *testing.T, r *rig) (k, twin *till) {
	k = newTill(t, "t1", keyA, nil)
	k.sell(1, 100, 8)
	twin = k.clone()
	k.sell(1, 1000, 6)
	twin.sell(2, 7, 9)
	r.settle(r.publish(wire.UpSubject(0, "s1", "t1", k.id), bytesOf(t, k.parcel(1, k.last()))))
	for first := uint64(7); first <= twin.last(); first += 7 {
		r.settle(r.publish(wire.UpSubject(0, "s1", "t1", k.id), bytesOf(t, twin.parcel(first, min(first+6, twin.last())))))
	}
	return k, twin
}

func forkAccepted(t *testing.T, url string, b bug) error {
	r := newRig(t, b)
	r.o.LedgerURL = url
	r.start()
	k, twin := other(t, r)
	var forks []QuarantineEntry
	for _, e := range r.open() {
		if e.Cause == CauseFork {
			forks = append(forks, e)
		}
	}
	slices.SortFunc(forks, func(a, b QuarantineEntry) int { return cmp.Compare(a.First, b.First) })
	want := k.events(map[ledger.Name]string{})
	if err := r.all(want, k.names()); err != nil {
		t.Fatalf("before the decision: %v", err)
	}
	if len(forks) == 0 {
		t.Fatal("no fork in quarantine")
	}
	for i, e := range forks {
		if b == noBug && i == 0 {
			if d := r.decide(e.Key, "reject"); d.Events != 0 {
				t.Errorf("rejected: %+v", d)
			}
			if err := r.all(want, k.names()); err != nil {
				t.Errorf("a rejected fork: %v", err)
			}
		}
		r.decide(e.Key, "accept") // the rejected one too: somebody has changed his mind
		r.decide(e.Key, "accept")
	}
	k.sell(1, 1000, 4)
	r.settle(r.publish(wire.UpSubject(0, "s1", "t1", k.id), bytesOf(t, k.parcel(17, k.last()))))
	want = k.events(map[ledger.Name]string{})
	maps.Copy(want, twin.events(map[ledger.Name]string{}))
	if c := r.chain(k.id); c.Last != k.last() || c.Held != "" {
		return fmt.Errorf("chain %+v", c)
	}
	return r.all(want, k.names(), twin.names())
}

// TestAcceptFork: another history comes into the ledger beside the first one, each event
// once; the first one goes on.
func TestAcceptFork(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		if err := forkAccepted(t, url, noBug); err != nil {
			t.Error(err)
		}
	})
	t.Run("control", func(t *testing.T) {
		if forkAccepted(t, "", bugBlindAccept) == nil {
			t.Error("passes without a look at what is known too: the check proves nothing")
		}
	})
}

// TestRejectFork: what was rejected stays out, also when it comes again.
func TestRejectFork(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		r := newRig(t, noBug)
		r.o.LedgerURL = url
		r.start()
		k, twin := other(t, r)
		forks := r.open()
		for _, e := range forks {
			one := r.decide(e.Key, "reject")
			if two := r.decide(e.Key, "reject"); one != two || one.Verdict != verdictRejected {
				t.Errorf("%+v, then %+v", one, two)
			}
		}
		for first := uint64(7); first <= twin.last(); first += 7 {
			r.settle(r.publish(wire.UpSubject(0, "s1", "t1", k.id), bytesOf(t, twin.parcel(first, min(first+6, twin.last())))))
		}
		if n := len(r.open()); n != 0 || len(forks) == 0 {
			t.Errorf("%d forks, %d wait again", len(forks), n)
		}
		if err := r.all(k.events(map[ledger.Name]string{}), k.names()); err != nil {
			t.Error(err)
		}
		if n := r.h.quarantineBytes(); n != 0 {
			t.Errorf("%d bytes wait", n)
		}
	})
}

// TestAcceptHole: what had been declared lost takes effect when it turns up and a person
// says so.
func TestAcceptHole(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		r := newRig(t, noBug)
		r.o.LedgerURL = url
		r.start()
		k := newTill(t, "t1", keyA, nil)
		k.sell(1, 100, 20)
		at := wire.UpSubject(0, "s1", "t1", k.id)
		p := k.parcel(6, 12)
		r.publish(at, bytesOf(t, k.parcel(1, 5)))
		r.publish(at, bytesOf(t, &wire.Parcel{Journal: k.id, First: 6, Last: 12, Hole: true, Head: p.Head}))
		r.publish(at, bytesOf(t, k.parcel(13, k.last())))
		r.settle(r.publish(at, bytesOf(t, p)))
		d := r.acceptTwice(r.refusedFor(CauseHole))
		if d.Events != 7 {
			t.Errorf("%+v", d)
		}
		all := k.names()
		if err := r.all(k.events(map[ledger.Name]string{}), all[:3], all[10:], all[3:10]); err != nil {
			t.Error(err)
		}
	})
}

// aliveAfterAll has a till whose records 8 to 12 are declared lost by an import of its
// disk, up to record 16. Then it ships all it has, in parcels of n records; 0: a better copy
// of its disk is imported in one.
func aliveAfterAll(t *testing.T, url string, n uint64, b bug) error {
	r := newRig(t, b)
	r.o.LedgerURL = url
	r.start()
	k := newTill(t, "t1", keyA, nil)
	k.sell(1, 100, 23)
	p, last := k.parcel(8, 12), k.last()
	q := importQuery(k)
	q.Set("declare_lost", "true")
	if code := r.call("POST", "/v1/import?"+q.Encode(), string(ImportBody([][]byte{bytesOf(t, k.parcel(1, 7)),
		bytesOf(t, &wire.Parcel{Journal: k.id, First: 8, Last: 12, Hole: true, Head: p.Head}), bytesOf(t, k.parcel(13, 16))})), nil); code != 200 {
		t.Fatal(code)
	}
	at := wire.UpSubject(0, "s1", "t1", k.id)
	ship := func(n uint64) {
		for first := uint64(1); first <= last; first += n {
			r.settle(r.publish(at, bytesOf(t, k.parcel(first, min(first+n-1, last)))))
		}
	}
	if n > 0 {
		ship(n)
	} else if out := r.bring(k, 1, last); out.Results[0].Verdict != ImportEntered || b == noBug && (out.Results[0].Cause != CauseHole || out.Results[0].Key == "") {
		return fmt.Errorf("import: %+v", out)
	}
	if c := r.chain(k.id); c.Last != last || c.Lost != 5 || c.Held != "" || c.Want != 0 {
		return fmt.Errorf("chain %+v", c)
	}
	all, lost, want := k.names(), []ledger.Name(nil), k.events(map[ledger.Name]string{})
	late := maps.Clone(want)
	for _, name := range all {
		if name.Seq >= 8 && name.Seq <= 12 {
			lost = append(lost, name)
			delete(late, name)
		}
	}
	if err := r.all(late); err != nil {
		return fmt.Errorf("before anybody decided: %w", err)
	}
	got, holes := 0, r.open()
	slices.SortFunc(holes, func(a, b QuarantineEntry) int { return cmp.Compare(a.First, b.First) })
	for _, e := range holes {
		if e.Cause != CauseHole {
			return fmt.Errorf("in quarantine: %+v", e)
		}
		got += r.acceptTwice(e).Events
	}
	if got != len(lost) {
		return fmt.Errorf("%d events take effect, want %d", got, len(lost))
	}
	for again := uint64(3); again < 30; again += 4 { // cut in other ways it is known
		ship(again)
	}
	if open := r.open(); len(open) > 0 {
		return fmt.Errorf("asked about again: %+v", open)
	}
	return r.all(want, lost)
}

// TestAliveAfterAll: a till that was given up, and turns up, brings what had been declared
// lost, however its parcels lie over the hole and over the ledger's end.
func TestAliveAfterAll(t *testing.T) {
	cuts := []uint64{
		3,  // the hole's middle in a parcel of its own
		15, // all of the hole inside what is known
		25, // and in one parcel with what is new
		0,  // which is imported
	}
	for i, n := range cuts {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			onEachStore(t, func(t *testing.T, url string) {
				if err := aliveAfterAll(t, url, n, noBug); err != nil {
					t.Error(err)
				}
			})
		})
		if i == 0 {
			continue
		}
		t.Run(fmt.Sprint("control ", n), func(t *testing.T) {
			if aliveAfterAll(t, "", n, bugBlindHoles) == nil {
				t.Error("passes: the check proves nothing")
			}
		})
	}
}

// TestDecideRefused: what cannot be decided so is said, and changes nothing.
func TestDecideRefused(t *testing.T) {
	r := newRig(t, noBug)
	r.start()
	k := newTill(t, "t1", keyA, nil)
	k.sell(1, 100, 8)
	alien := newTill(t, "t9", keyA, nil)
	r.publish(wire.UpSubject(0, "s1", "t1", k.id), []byte("rubbish"))
	r.settle(r.publish(wire.UpSubject(0, "s1", "t1", k.id), bytesOf(t, alien.parcel(1, 2))))
	rubbish, mixed := r.refusedFor(CauseUndecodable), r.refusedFor(CauseIdentity)
	good := `{"by":"ada","why":"x"}`
	for _, c := range []struct {
		key, how, body string
		code           int
		says           string
	}{
		{rubbish.Key, "accept", good, 422, "Reject it"},
		{mixed.Key, "accept", good, 422, "on the subject of journal"},
		{rubbish.Key, "accept", `{"by":"ada"}`, 400, "why"},
		{rubbish.Key, "accept", `{"why":"x"}`, 400, "by"},
		{rubbish.Key, "accept", `{"by":"ada","why":"x","y":1}`, 400, "unknown field"},
		{rubbish.Key, "accept", `x`, 400, "JSON"},
		{rubbish.Key[:5], "accept", good, 400, "at least 6"},
		{"zz" + rubbish.Key[2:], "reject", good, 400, "not the key"},
		{strings.Repeat("0", 64), "reject", good, 404, "no quarantined message"},
		{rubbish.Key + "00", "reject", good, 400, "not the key"},
	} {
		var says string
		if code := r.call("POST", "/v1/quarantine/"+c.key+"/"+c.how, c.body, &says); code != c.code || !strings.Contains(says, c.says) {
			t.Errorf("%+v: %d %s", c, code, says)
		}
	}
	if n := len(r.open()); n != 2 {
		t.Errorf("%d are open", n)
	}
	if b := r.get("/v1/quarantine/"+rubbish.Key+"/body", r.h.api).Body.Bytes(); !bytes.Equal(b, []byte("rubbish")) {
		t.Errorf("body %q", b)
	}
	var show QuarantineDetail
	if r.call("GET", "/v1/quarantine/"+mixed.Key, "", &show); show.Parcel == nil || show.Parcel.Last != 2 || !strings.Contains(show.Accept, "cannot be accepted") {
		t.Errorf("%+v", show)
	}
	if b := r.get("/v1/audit", r.h.api).Body.String(); b != "" {
		t.Errorf("audit trail: %s", b)
	}
}

// fullQuarantine lets more come than the quarantine takes. What was left in the stream
// gets its turn when somebody has decided.
func fullQuarantine(t *testing.T, url string, b bug) error {
	r := newRig(t, b)
	r.o.LedgerURL, r.o.QuarantineBytes = url, 4000
	r.start()
	rubbish := func(i int) []byte { return []byte(fmt.Sprint(i, strings.Repeat("x", 990))) }
	k := newTill(t, "t1", keyA, nil)
	k.sell(1, 100, 8)
	for i := range 7 {
		r.publish(wire.UpSubject(0, "s1", "t1", k.id), rubbish(i))
	}
	r.settle(r.publish(wire.UpSubject(0, "s1", "t1", k.id), bytesOf(t, k.parcel(1, k.last()))))
	if n := r.h.quarantineBytes(); n > 4000 {
		return fmt.Errorf("%d bytes are in quarantine", n)
	}
	if err := r.all(k.events(map[ledger.Name]string{}), k.names()); err != nil {
		return err
	}
	seen := map[string]bool{}
	for end := time.Now().Add(r.patience()); len(seen) < 7 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, e := range r.open() {
			seen[e.Key] = true
			r.decide(e.Key, "reject")
		}
	}
	if len(seen) != 7 {
		return fmt.Errorf("%d of 7 came to a decision", len(seen))
	}
	r.eventually("all is read", func() bool { return r.h.shards[0].reading.Load() && r.h.shards[0].at.Load() == 8 })
	return errors.Join(r.h.ledger.View(t.Context(), func(tx ledger.Tx) error {
		if s, err := readSkipped(tx, "POS_UP_0"); s.Count != 0 || err != nil {
			return fmt.Errorf("left: %+v, %w", s, err)
		}
		return nil
	}), r.all(k.events(map[ledger.Name]string{}), k.names()))
}

func TestQuarantineIsFull(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		if err := fullQuarantine(t, url, noBug); err != nil {
			t.Error(err)
		}
	})
	for _, b := range []bug{bugNoLimit, bugNoReread} {
		t.Run(fmt.Sprint("control ", b), func(t *testing.T) {
			if fullQuarantine(t, "", b) == nil {
				t.Error("passes: the check proves nothing")
			}
		})
	}
}
