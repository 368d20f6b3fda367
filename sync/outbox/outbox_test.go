package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"posd/journal/chain"
	"posd/sync/ledger"
)

const laneA, laneB = "POS_UP_0", "north/POS_UP_1"

// scenarios are what goes wrong; each is to end with every event in the stream once, in
// the order of its terminal, and with one of the planted bugs it must not.
var scenarios = []struct {
	name string
	run  func(r *rig, b bug) error
	seen []bug // planted bugs that it has to see
}{
	{"nothing goes wrong", peace, nil},
	{"killed again and again", killed, nil},
	{"answers are lost", deafened, nil},
	{"two at once", two, []bug{bugNoFence}},
	{"the stream is full", full, []bug{bugEarlyNote}},
	{"a foreign writer", foreigner, nil},
	{"the stream is rolled back", rolledBack, nil},
	{"the stream is rolled back and has gone on", rolledOn, nil},
	{"the stream is deleted", deleted, nil},
	{"the ledger is restored", restored, []bug{bugNoNames}},
	{"the ledger is made anew", madeAnew, nil},
	{"restored, and then the stream rolled back", restoredAndRolledBack, nil},
	{"a terminal changes lanes", changesLanes, nil},
}

func TestOnce(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			if err := sc.run(newRig(t), noBug); err != nil {
				t.Error(err)
			}
			for _, b := range sc.seen {
				seen := false
				for range 20 { // what two publishers do to each other is chance
					if seen = sc.run(newRig(t), b) != nil; seen {
						break
					}
				}
				if !seen {
					t.Errorf("bug %d passes too: the check proves nothing", b)
				}
			}
		})
	}
}

func peace(r *rig, b bug) error {
	r.enter(laneA, 1, 1, 3000)
	r.enter(laneB, 2, 1, 20)
	r.start(b)
	for i := range uint64(20) {
		r.enter(laneA, 1, 3001+i*10, 3010+i*10)
		r.enter(laneB, 2, 21+i, 21+i)
	}
	return r.settled()
}

// killed: at any message the process is gone, with whatever was in flight.
func killed(r *rig, b bug) error {
	rnd := rand.New(rand.NewPCG(1, 2))
	next := uint64(1)
	for range 25 {
		left := rnd.IntN(400)
		run := r.start(b, func(o *Options) {
			o.onSend = func() error {
				if left--; left < 0 {
					return errPlanted
				}
				return nil
			}
		})
		n := uint64(1 + rnd.IntN(300))
		r.enter(laneA, 1, next, next+n)
		r.enter(laneB, 2, next, next+n)
		next += n + 1
		if err := r.eventually("killed or done", func() bool { return r.noted() || len(run.done) > 0 }); err != nil {
			return err
		}
		r.stop()
	}
	r.start(b)
	return r.settled()
}

// deafened: the server stores, and the publisher does not hear of it.
func deafened(r *rig, b bug) error {
	p := newProxy(r.t, r.srv.Addr().String())
	nc, err := nats.Connect("nats://"+p.l.Addr().String(), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(time.Millisecond))
	if err != nil {
		return err
	}
	run := r.start(b, func(o *Options) { o.Conn, o.ackIn = nc, 300*time.Millisecond })
	next := uint64(1)
	for range 8 {
		r.enter(laneA, 1, next, next+99)
		if err := r.eventually("some are published", func() bool { return r.last() >= next }); err != nil {
			return err
		}
		p.set(true)
		r.enter(laneA, 1, next+100, next+199)
		r.eventually("more are stored", func() bool { return r.last() >= next+150 || run.o.State().LastError != "" })
		p.cut()
		p.set(false)
		next += 200
	}
	return r.settled()
}

// two publish at once, without asking who may.
func two(r *rig, b bug) error {
	share := func(o *Options) { o.shared = true }
	for i := range uint64(10) {
		r.enter(laneA, 1, i*200+1, i*200+200)
		r.enter(laneB, 2, i*200+1, i*200+200)
		r.start(b, share)
		r.enter(laneA, 3, i*200+1, i*200+200)
		r.start(b, share)
		time.Sleep(20 * time.Millisecond)
		if i%3 == 2 {
			r.stop()
		}
	}
	return r.settled()
}

// full: the stream refuses for a while.
func full(r *rig, b bug) error {
	r.cfg.MaxMsgs = 50
	r.makeStream()
	r.enter(laneA, 1, 1, 200)
	run := r.start(b)
	if err := r.eventually("refused", func() bool { return run.o.m.resyncs.Get() > 1 || r.noted() }); err != nil {
		return err
	}
	r.stop()
	r.cfg.MaxMsgs = -1
	r.makeStream()
	r.start(b)
	return r.settled()
}

func foreigner(r *rig, b bug) error {
	r.start(b)
	for i := range uint64(20) {
		r.enter(laneA, 1, i*50+1, i*50+50)
		for range 3 {
			if _, err := r.js.Publish(context.Background(), "pos.events.s1.rubbish", []byte("rubbish")); err != nil {
				return err
			}
		}
		m := nats.NewMsg("pos.events.s1.forged")
		m.Header.Set(headerOut, laneA+" 7")
		m.Header.Set(headerName, "not a name")
		m.Header.Set(headerLedger, r.led.ID().String())
		if _, err := r.js.PublishMsg(context.Background(), m); err != nil {
			return err
		}
	}
	if err := r.settled(); err != nil {
		return err
	}
	if r.runs[0].o.m.foreign.Get() == 0 {
		return errors.New("nobody noticed")
	}
	return nil
}

// backed runs change with a copy of the stream's files from before, and puts the copy back.
func (r *rig) backed(change func() error) error {
	r.stop()
	r.stopServer()
	kept := filepath.Join(r.t.TempDir(), "kept")
	copyDir(r.t, r.dir, kept)
	r.startServer()
	if err := change(); err != nil {
		return err
	}
	r.stop()
	r.stopServer()
	copyDir(r.t, kept, r.dir)
	r.startServer()
	return nil
}

func rolledBack(r *rig, b bug) error {
	r.enter(laneA, 1, 1, 500)
	r.enter(laneB, 2, 1, 500)
	r.start(b)
	if err := r.settled(); err != nil {
		return err
	}
	if err := r.backed(func() error {
		r.enter(laneA, 1, 501, 900)
		r.start(b)
		r.enter(laneB, 2, 501, 900)
		return r.settled()
	}); err != nil {
		return err
	}
	run := r.start(b)
	if err := r.eventually("noticed", func() bool { return run.o.m.rolled.Get() == 1 }); err != nil {
		return err
	}
	if err := r.eventually("all is there again", func() bool { return r.last() >= 1800 }); err != nil {
		return err
	}
	r.enter(laneA, 1, 901, 950)
	return r.settled()
}

// rolledOn: the stream is as long as before when the publisher looks, by somebody else's messages.
func rolledOn(r *rig, b bug) error {
	r.enter(laneA, 1, 1, 100)
	r.start(b)
	if err := r.settled(); err != nil {
		return err
	}
	if err := r.backed(func() error {
		r.enter(laneA, 1, 101, 150)
		r.start(b)
		return r.settled()
	}); err != nil {
		return err
	}
	for range 60 {
		if _, err := r.js.Publish(context.Background(), "pos.events.s1.rubbish", []byte("rubbish")); err != nil {
			return err
		}
	}
	r.start(b)
	if err := r.eventually("all is there again", func() bool { return r.last() >= 210 }); err != nil {
		return err
	}
	return r.settled()
}

// deleted: what was published stays published, the rest goes into the new stream.
func deleted(r *rig, b bug) error {
	r.enter(laneA, 1, 1, 300)
	run := r.start(b)
	if err := r.settled(); err != nil {
		return err
	}
	if err := r.js.DeleteStream(context.Background(), r.cfg.Name); err != nil {
		return err
	}
	r.makeStream()
	r.due = nil
	r.enter(laneA, 1, 301, 500)
	if err := r.settled(); err != nil {
		return err
	}
	if n := run.o.m.anew.Get(); n != 1 {
		return fmt.Errorf("noticed %d times", n)
	}
	return nil
}

// reborn replaces the ledger by that in another file.
func (r *rig) reborn(path string) error {
	r.stop()
	if err := r.led.Close(); err != nil {
		return err
	}
	r.path = path
	r.open()
	return nil
}

// backup copies the ledger's file.
func (r *rig) backup() (path string, err error) {
	path = filepath.Join(r.t.TempDir(), "ledger.db")
	if err := r.led.Close(); err != nil {
		return "", err
	}
	defer r.open()
	return path, copyLedger(r, path)
}

func restored(r *rig, b bug) error {
	r.enter(laneA, 1, 1, 200)
	r.enter(laneA, 3, 1, 100)
	r.start(b)
	if err := r.settled(); err != nil {
		return err
	}
	r.stop()
	kept, err := r.backup()
	if err != nil {
		return err
	}
	r.start(b)
	for i := uint64(1); i <= 10; i++ { // taken in turns
		r.enter(laneA, 1, 191+i*10, 200+i*10)
		r.enter(laneA, 3, 91+i*10, 100+i*10)
	}
	if err := r.settled(); err != nil {
		return err
	}
	if err := r.reborn(kept); err != nil {
		return err
	}
	// What the ledger lacks comes again, in another order, and more.
	r.enter(laneA, 3, 101, 150)
	r.start(b)
	r.enter(laneA, 1, 201, 320)
	r.enter(laneA, 3, 151, 250)
	r.enter(laneB, 2, 1, 30)
	return r.settled()
}

func madeAnew(r *rig, b bug) error {
	r.enter(laneA, 1, 1, 200)
	r.enter(laneA, 3, 1, 100)
	r.start(b)
	if err := r.settled(); err != nil {
		return err
	}
	if err := r.reborn(filepath.Join(r.t.TempDir(), "ledger.db")); err != nil {
		return err
	}
	r.start(b)
	r.enter(laneB, 3, 50, 150)
	r.enter(laneA, 1, 1, 250)
	return r.settled()
}

func restoredAndRolledBack(r *rig, b bug) error {
	r.enter(laneA, 1, 1, 200)
	r.start(b)
	if err := r.settled(); err != nil {
		return err
	}
	r.stop()
	kept, err := r.backup()
	if err != nil {
		return err
	}
	if err := r.backed(func() error {
		r.start(b)
		r.enter(laneA, 1, 201, 300)
		if err := r.settled(); err != nil {
			return err
		}
		if err := r.reborn(kept); err != nil {
			return err
		}
		// Known, and partly passed over.
		r.start(b)
		r.enter(laneA, 1, 201, 250)
		return r.settled()
	}); err != nil {
		return err
	}
	r.start(b)
	r.enter(laneA, 1, 251, 310)
	if err := r.eventually("all is there again", func() bool { return r.last() >= 310 }); err != nil {
		return err
	}
	return r.settled()
}

// changesLanes: what a terminal sold through one lane stands before what it sold later
// through another one, however long the first one's backlog is.
func changesLanes(r *rig, b bug) error {
	r.enter(laneA, 2, 1, 6000)
	r.enter(laneA, 1, 1, 100)
	if err := r.led.Update(context.Background(), func(tx ledger.Tx) error {
		pos, err := tx.Position(laneA)
		return errors.Join(err, After(tx, laneB, 1, laneA, pos.Out))
	}); err != nil {
		return err
	}
	r.enter(laneB, 1, 101, 200)
	r.start(b)
	return r.settled()
}

// TestBarrierIsNeeded is the control of changesLanes.
func TestBarrierIsNeeded(t *testing.T) {
	r := newRig(t)
	r.enter(laneA, 2, 1, 6000)
	r.enter(laneA, 1, 1, 100)
	r.enter(laneB, 1, 101, 200)
	r.start(noBug)
	if r.settled() == nil {
		t.Error("in order without the barrier too: the check proves nothing")
	}
}

// TestByReference: what is larger than a message may be goes without data, in its place.
func TestByReference(t *testing.T) {
	r := newRig(t)
	r.enter(laneA, 1, 1, 5)
	r.enterWith(laneA, 1, 6, 6, func(id chain.ID, seq uint64) []byte { return payload(id, seq, 100<<10) })
	r.enterWith(laneA, 1, 7, 7, func(chain.ID, uint64) []byte { return []byte("\x00 no JSON") })
	r.enterWith(laneA, 1, 8, 8, func(chain.ID, uint64) []byte { return []byte(`{"no":"event"}`) })
	r.enterWith(laneA, 1, 9, 9, func(chain.ID, uint64) []byte {
		return []byte(`{"v":1,"type":"a > b.*","time":"2026-11-21T09:30:00.123Z","data":{}}`)
	})
	r.enter(laneA, 1, 10, 12)
	run := r.start(noBug)
	if err := r.settled(); err != nil {
		t.Fatal(err)
	}
	all := r.read()
	id := chain.ID{1}
	for i, want := range []cloud{
		4: {Type: "pos.sale.completed", Data: payload(id, 5, 0), subject: "pos.events.s1.sale.completed"},
		5: {Type: "pos.sale.completed", DataRef: "/v1/events?journal=" + id.String() + "&after=5&limit=1", subject: "pos.events.s1.sale.completed"},
		6: {Type: "pos.malformed", Base64: []byte("\x00 no JSON"), subject: "pos.events.s1.malformed"},
		7: {Type: "pos.malformed", Data: []byte(`{"no":"event"}`), subject: "pos.events.s1.malformed"},
		8: {Type: "pos.other", Data: []byte(`{"v":1,"type":"a > b.*","time":"2026-11-21T09:30:00.123Z","data":{}}`), subject: "pos.events.s1.other"},
	} {
		got := all[i]
		if want.Type == "" {
			continue
		}
		if got.Type != want.Type || got.DataRef != want.DataRef || string(got.Data) != string(want.Data) || string(got.Base64) != string(want.Base64) ||
			got.subject != want.subject || got.SpecVersion != "1.0" || got.Source != "/pos/s1/t1" || got.Seq != fmt.Sprint(i+1) || got.Journal != id.String() {
			t.Errorf("message %d is %+v", i+1, got)
		}
	}
	if n := run.o.m.referred.Get(); n != 1 {
		t.Errorf("%d by reference", n)
	}
}

// TestOneOwner: of two outboxes with one ledger, one publishes; when it ends, the other does.
func TestOneOwner(t *testing.T) {
	r := newRig(t)
	r.enter(laneA, 1, 1, 10)
	one := r.start(noBug)
	if err := r.eventually("one publishes", func() bool { return one.o.State().Publishing }); err != nil {
		t.Fatal(err)
	}
	other := r.start(noBug)
	if err := r.settled(); err != nil {
		t.Fatal(err)
	}
	if other.o.State().Publishing {
		t.Error("both publish")
	}
	one.end()
	r.enter(laneA, 1, 11, 20)
	if err := r.settled(); err != nil {
		t.Error(err)
	}
}

// TestClean: what is older than Keep is forgotten, and publishing goes on.
func TestClean(t *testing.T) {
	r := newRig(t)
	var ahead time.Duration
	set := func(o *Options) {
		o.now = func() time.Time { return time.Now().UTC().Add(ahead) }
		o.Keep = time.Hour
	}
	count := func(what string) (n int) {
		r.led.View(context.Background(), func(tx ledger.Tx) error {
			if what == "out" {
				return tx.Out(laneA, 0, func(uint64, ledger.Event) (bool, error) { n++; return true, nil })
			}
			return tx.Docs(what, "", func(string, []byte) (bool, error) { n++; return true, nil })
		})
		return n
	}
	for i := range uint64(5) {
		ahead = time.Duration(i) * 40 * time.Minute
		r.enter(laneA, 1, i*10+1, i*10+10)
		run := r.start(noBug, set)
		if err := r.settled(); err != nil {
			t.Fatal(err)
		}
		s := &session{o: run.o}
		r.stop()
		if err := r.led.View(context.Background(), func(tx ledger.Tx) (err error) { s.note, err = readNote(tx); return err }); err != nil {
			t.Fatal(err)
		}
		if err := s.clean(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if rows, marks := count("out"), count(kindMark); rows >= 40 || rows < 10 || marks > 6 || marks == 0 {
		t.Errorf("%d rows and %d marks are left", rows, marks)
	}
	if err := r.once(); err != nil {
		t.Error(err)
	}
}

func FuzzName(f *testing.F) {
	f.Add(strings.Repeat("0", 32) + ":7:" + strings.Repeat("a", 64))
	f.Add("a:b:c")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseName(s)
		if err == nil && Name(n) != s {
			t.Errorf("%q became %q", s, Name(n))
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add([]byte(`{"v":1,"type":"sale.completed","time":"2026-11-21T09:30:00.123Z","trace":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","data":{}}`))
	f.Add([]byte("{}"))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := ledger.Event{Name: ledger.Name{Journal: chain.ID{1}, Seq: 1}, Payload: b}
		for _, ref := range []bool{false, true} {
			if err := wellFormed(encode(nil, "s1", "t1", &e, ref), b, ref); err != nil {
				t.Errorf("%q: %v", b, err)
			}
		}
	})
}
