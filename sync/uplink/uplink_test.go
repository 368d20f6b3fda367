package uplink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"posd/journal"
)

func TestHappyPath(t *testing.T) {
	s := newHub(t).start()
	tl := newTill(t, "t1")
	tl.sell(500, 200) // a backlog
	tl.link(s.addr, s.tokenFile(), noBug)
	tl.waitSettled()
	for range 20 { // and sales one by one
		tl.sell(1, 100)
	}
	tl.waitSettled()
	must(t, s.inLedger(tl))
	must(t, s.streamOnce(tl.j.ID(), tl.floor()))
	st := tl.u.Status()
	if !st.Connected || st.Sent != tl.floor() || st.Unsent != 0 || st.Unsettled != 0 || st.Fork != "" || st.Ledger == "" {
		t.Errorf("status %+v", st)
	}
	if st.Rewinds != 0 || st.Holes != 0 {
		t.Errorf("records were sent again without need: %+v", st)
	}
	if got := tl.j.Stats().SettledSeq; got != tl.floor() {
		t.Errorf("the journal was told %d, not %d", got, tl.floor())
	}
}

// turns lets one parcel of a backlog go for each value it is sent.
type turns chan struct{}

func (c turns) Tight() bool          { return true }
func (c turns) Spent() time.Duration { return 0 }

func (c turns) Pace(done <-chan struct{}) {
	select {
	case <-c:
	case <-done:
	}
}

// TestPace: a backlog goes parcel by parcel as its pacer lets it, and stops
// where it does not; a sale that is the only one waits for nobody.
func TestPace(t *testing.T) {
	s := newHub(t).start()
	tl := newTill(t, "t1")
	for range 40 {
		tl.sell(40, 400) // as many groups
	}
	held := make(turns)
	tl.pace = held
	tl.link(s.addr, s.tokenFile(), noBug)
	for n := uint64(1); ; n++ {
		eventually(t, "a parcel", func() bool { return tl.u.Status().Parcels == n })
		sent := tl.u.Status().Sent
		if sent == tl.floor() {
			if n < 3 {
				t.Errorf("the backlog went in %d parcels: this test sees nothing", n)
			}
			break
		}
		time.Sleep(20 * time.Millisecond) // time to break the rule
		if got := tl.u.Status().Parcels; got != n {
			t.Fatalf("%d parcels after %d turns", got, n)
		}
		held <- struct{}{}
	}
	tl.sell(1, 100)
	tl.waitSettled()
	must(t, s.inLedger(tl))
}

// TestState: what was settled is known at the next start without a link; any
// damage to the file costs nothing but that.
func TestState(t *testing.T) {
	s := newHub(t).start()
	tl := newTill(t, "t1")
	tl.sell(50, 100)
	tl.link(s.addr, s.tokenFile(), noBug)
	tl.waitSettled()
	tl.unlink()
	path := tl.opt.StatePath
	good, err := os.ReadFile(path)
	must(t, err)
	other := newTill(t, "t2")
	for name, tt := range map[string]struct {
		state []byte
		j     *journal.Journal
		want  uint64
	}{
		"good":            {good, tl.j, tl.floor()},
		"missing":         {nil, tl.j, 0},
		"empty":           {[]byte{}, tl.j, 0},
		"cut":             {good[:len(good)/2], tl.j, 0},
		"duplicate names": {[]byte(`{"v":1,"v":1}`), tl.j, 0},
		"another journal": {good, other.j, 0},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(path)
			if tt.state != nil {
				must(t, os.WriteFile(path, tt.state, 0o600))
			}
			o := tl.opt
			o.Journal = tt.j
			u, err := New(o)
			must(t, err)
			if got := u.Status().Settled; got != tt.want {
				t.Errorf("settled %d, want %d", got, tt.want)
			}
		})
	}
}

// lateLanding: a parcel is on its way when the link breaks. The terminal
// reconnects and sends it again; then the first copy arrives after all.
func lateLanding(t *testing.T, b bug) error {
	s := newHub(t).start()
	p := newProxy(t, s.addr)
	tl := newTill(t, "t1")
	tl.link(p.addr(), s.tokenFile(), b)
	tl.waitSettled()
	kept := p.delay()
	tl.sell(1, 50)
	eventually(t, "a parcel is kept back", func() bool { return len(kept()) == 1 })
	late := kept()[0]
	late.down.Close() // the terminal's side only
	tl.waitSettled()
	must(t, late.deliver())
	eventually(t, "the server has decided about the late parcel", late.answered)
	tl.sell(1, 50) // goes out behind what landed late
	tl.waitSettled()
	return errors.Join(s.inLedger(tl), s.streamOnce(tl.j.ID(), tl.floor()))
}

func TestLateLanding(t *testing.T) {
	must(t, lateLanding(t, noBug))
	if lateLanding(t, bugNoFence) == nil {
		t.Error("without a fence the check sees no difference: it proves nothing")
	}
}

func cuts(t *testing.T, short int) int {
	if n, err := strconv.Atoi(os.Getenv("UPLINK_CUTS")); err == nil {
		return n
	}
	return short
}

// TestCuts cuts the link at random moments while the till sells. Set
// UPLINK_CUTS for more of them.
func TestCuts(t *testing.T) {
	s := newHub(t).start()
	p := newProxy(t, s.addr)
	tl := newTill(t, "t1")
	tl.link(p.addr(), s.tokenFile(), noBug)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range cuts(t, 60) {
		tl.sell(1+r.IntN(30), 20+r.IntN(500))
		time.Sleep(time.Duration(r.IntN(12)) * time.Millisecond)
		switch r.IntN(3) {
		case 0:
			p.cut()
		case 1: // the acknowledgement is lost, the parcel is not
			p.each(func(c *pipe) { c.down.Close() })
		case 2: // the parcel comes late
			kept := p.delay()
			tl.sell(1, 50)
			time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
			full := kept()
			p.each(func(c *pipe) { c.down.Close() })
			for _, c := range full {
				time.AfterFunc(time.Duration(r.IntN(50))*time.Millisecond, func() { c.deliver() })
			}
		}
	}
	tl.waitSettled()
	time.Sleep(60 * time.Millisecond) // the last late ones
	must(t, s.inLedger(tl))
	must(t, s.streamOnce(tl.j.ID(), tl.floor()))
	if st := tl.u.Status(); st.Rewinds != 0 || st.Holes != 0 {
		t.Errorf("the server lost nothing, but records were sent again: %+v", st)
	}
}

// TestHubRestarts stops and starts hub and server while the till sells.
func TestHubRestarts(t *testing.T) {
	s := newHub(t).start()
	tl := newTill(t, "t1")
	tl.link(s.addr, s.tokenFile(), noBug)
	for range 6 {
		tl.sell(40, 200)
		s.close()
		tl.sell(40, 200)
		s.start()
	}
	tl.waitSettled()
	must(t, s.inLedger(tl))
	must(t, s.streamOnce(tl.j.ID(), tl.floor()))
}

// TestServerForgets: the stream loses what it acknowledged. The records must
// reach the ledger all the same.
func TestServerForgets(t *testing.T) {
	ctx := context.Background()
	purge := func(s *hubServer) {
		_, js := s.client()
		st, err := js.Stream(ctx, "POS_UP_0")
		must(s.t, err)
		must(s.t, st.Purge(ctx))
	}
	recreate := func(s *hubServer) {
		_, js := s.client()
		must(s.t, js.DeleteStream(ctx, "POS_UP_0"))
	}
	bucket := func(s *hubServer) {
		_, js := s.client()
		must(s.t, js.DeleteStream(ctx, "KV_pos_cfg"))
	}
	for _, tt := range []struct {
		name   string
		harm   func(s *hubServer)
		unread bool // the hub has not read what is lost
	}{
		{"purged after it was read", purge, false},
		{"purged before it was read", purge, true},
		{"recreated after it was read", recreate, false},
		{"recreated before it was read", recreate, true},
		{"notices deleted", bucket, true},
	} {
		for _, more := range []int{0, 30} { // also when the till has nothing more to say
			t.Run(fmt.Sprintf("%s, then %d sales", tt.name, more), func(t *testing.T) {
				s := newHub(t).start()
				tl := newTill(t, "t1")
				tl.sell(100, 200)
				tl.link(s.addr, s.tokenFile(), noBug)
				tl.waitSettled()
				if tt.unread {
					s.stop()
					tl.sell(100, 200)
					eventually(t, "sent", func() bool { return tl.u.Status().Sent == tl.floor() })
				}
				tt.harm(s)
				if tt.unread {
					s.run()
				}
				tl.sell(more, 100+more)
				tl.waitSettled()
				must(t, s.inLedger(tl))
			})
		}
	}
}

// TestLedgerRestored: the ledger is put back from an older copy, with and
// without the stream still there; or it is lost altogether.
func TestLedgerRestored(t *testing.T) {
	for _, tt := range []struct {
		name          string
		backup, purge bool
	}{
		{"older copy", true, false},
		{"older copy, stream lost", true, true},
		{"no copy", false, false},
		{"no copy, stream lost", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newHub(t).start()
			tl := newTill(t, "t1")
			tl.sell(100, 200)
			tl.link(s.addr, s.tokenFile(), noBug)
			tl.waitSettled()
			s.close()
			db := filepath.Join(s.dir, "ledger.db")
			old, err := os.ReadFile(db)
			must(t, err)
			s.start()
			tl.sell(100, 200)
			tl.waitSettled()
			s.close()
			must(t, os.Remove(db))
			if tt.backup {
				must(t, os.WriteFile(db, old, 0o600))
			}
			s.open()
			if tt.purge {
				_, js := s.client()
				must(t, js.DeleteStream(context.Background(), "POS_UP_0"))
			}
			s.run()
			eventually(t, "the ledger is whole again", func() bool { return s.chain(tl.j.ID()).Last == tl.floor() })
			must(t, s.inLedger(tl))
			if got := tl.u.Status().Settled; got != tl.floor() {
				t.Errorf("settled went back to %d", got)
			}
		})
	}
}

// restoredTill: a backup of the till's disk is put back after the till had sold
// on. Either the fork is noticed, or all that the restored till sold arrives.
func restoredTill(t *testing.T, b bug) error {
	t.Helper()
	s := newHub(t).start()
	tl := newTill(t, "t1")
	tl.sell(20, 100)
	tl.link(s.addr, s.tokenFile(), noBug)
	tl.waitSettled()
	tl.unlink()
	must(t, tl.j.Close())
	backup := filepath.Join(t.TempDir(), "journal")
	must(t, os.CopyFS(backup, os.DirFS(tl.journalDir())))
	tl.open()
	s.stop() // from here on, the stream knows more than the ledger
	tl.link(s.addr, s.tokenFile(), noBug)
	tl.sell(30, 100)
	eventually(t, "sent", func() bool { return tl.u.Status().Sent == tl.floor() })
	tl.close()
	must(t, os.RemoveAll(tl.journalDir()))
	must(t, os.CopyFS(tl.journalDir(), os.DirFS(backup)))
	tl.open()
	tl.n, tl.sold = 5000, tl.sold[:20]
	settled := tl.floor()
	tl.link(s.addr, s.tokenFile(), b)
	tl.sell(40, 90)
	eventually(t, "the uplink has decided", func() bool {
		st := tl.u.Status()
		return st.Fork != "" || st.Sent == tl.floor()
	})
	s.run()
	_, js := s.client()
	eventually(t, "the hub has read the stream", func() bool { return s.position() == lastSeq(t, js) })
	st := tl.u.Status()
	switch {
	case st.Fork == "":
		return s.inLedger(tl)
	case st.Settled > settled || tl.j.Stats().SettledSeq > settled:
		return errors.New("a forked journal was settled")
	case s.quarantined() > 0:
		return errors.New("a forked journal was shipped")
	}
	sent := st.Parcels
	tl.sell(5, 50)
	time.Sleep(50 * time.Millisecond)
	if tl.u.Status().Parcels != sent {
		return errors.New("a forked journal goes on shipping")
	}
	return nil
}

func TestRestoredTill(t *testing.T) {
	must(t, restoredTill(t, noBug))
	if restoredTill(t, bugTrustLast) == nil {
		t.Error("an uplink that trusts the last message passes too: the check proves nothing")
	}
}

// forgottenBeforeRead: the stream acknowledges and then loses what no hub has
// read. Whoever frees on the acknowledgement has nothing left to send.
func forgottenBeforeRead(t *testing.T, b bug) error {
	s := newHub(t).start()
	tl := newTill(t, "t1")
	tl.link(s.addr, s.tokenFile(), b)
	tl.waitSettled()
	s.stop()
	for range 20 { // several segments
		tl.sell(200, 400)
	}
	eventually(t, "sent", func() bool { return tl.u.Status().Sent == tl.floor() })
	if b == bugFreeOnSent {
		eventually(t, "segments are freed", func() bool { return tl.j.Oldest() > 1 })
	}
	_, js := s.client()
	must(t, js.DeleteStream(context.Background(), "POS_UP_0"))
	s.run()
	tl.sell(1, 10)
	eventually(t, "the ledger has all that is left", func() bool { return s.chain(tl.j.ID()).Last == tl.floor() })
	return s.inLedger(tl)
}

func TestNothingIsFreedBeforeItIsSettled(t *testing.T) {
	must(t, forgottenBeforeRead(t, noBug))
	if forgottenBeforeRead(t, bugFreeOnSent) == nil {
		t.Error("an uplink that frees on the acknowledgement passes too: the check proves nothing")
	}
}

// TestHole: a new ledger asks for records that were settled with the old one
// and freed since. They are declared lost, and all that is held arrives.
func TestHole(t *testing.T) {
	s := newHub(t).start()
	tl := newTill(t, "t1")
	tl.link(s.addr, s.tokenFile(), noBug)
	for range 20 {
		tl.sell(200, 400)
	}
	tl.waitSettled()
	eventually(t, "segments are freed", func() bool { return tl.j.Oldest() > 1000 })
	s.close()
	must(t, os.RemoveAll(filepath.Join(s.dir, "ledger.db")))
	must(t, os.RemoveAll(filepath.Join(s.dir, "nats")))
	s.start()
	oldest := tl.j.Oldest()
	tl.sell(1, 10)
	eventually(t, "the new ledger has all that is left", func() bool { return s.chain(tl.j.ID()).Last == tl.floor() })
	c := s.chain(tl.j.ID())
	if c.Lost < oldest-1 || c.Lost > tl.j.Oldest()-1 || c.Records+c.Lost != c.Last {
		t.Errorf("lost %d, entered %d, of %d; oldest held was %d, is %d", c.Lost, c.Records, c.Last, oldest, tl.j.Oldest())
	}
	if tl.u.Status().Holes == 0 {
		t.Error("the status shows no hole")
	}
}

// TestStoreRefused: a hub that must not take this store says so, and the
// terminal stops; when the hub takes it, all arrives.
func TestStoreRefused(t *testing.T) {
	s := newHub(t)
	s.opt.Stores = []string{"s2"}
	s.start()
	tl := newTill(t, "t1")
	tl.sell(50, 100)
	tl.link(s.addr, s.tokenFile(), noBug)
	eventually(t, "the till is told", func() bool { return tl.u.Status().Held != "" })
	if n := s.quarantined(); n != 1 {
		t.Errorf("%d parcels in quarantine, want the one that was sent", n)
	}
	if len(s.events()) != 0 {
		t.Error("events of a refused store were entered")
	}
	s.close()
	s.opt.Stores = []string{"s2", "s1"}
	s.start()
	tl.sell(1, 1)
	tl.waitSettled()
	if got := s.chain(tl.j.ID()); got.Records != tl.floor() || got.Held != "" {
		t.Errorf("chain %+v", got)
	}
}

// TestNoHub: a till without a hub waits quietly, and catches up when there is one.
func TestNoHub(t *testing.T) {
	s := newHub(t).start()
	s.close()
	tl := newTill(t, "t1")
	tl.link(s.addr, s.tokenFile(), noBug)
	for range 30 {
		tl.sell(20, 200)
		time.Sleep(5 * time.Millisecond)
	}
	st := tl.u.Status()
	if st.Connected || st.Sent != 0 || st.Unsent != tl.floor() || st.LastError == "" {
		t.Errorf("status %+v", st)
	}
	if cap(tl.u.raw) != 0 {
		t.Errorf("%d bytes are held for nothing", cap(tl.u.raw))
	}
	s.start()
	tl.waitSettled()
	must(t, s.inLedger(tl))
}

// TestManyTills: several terminals at once, one of them slow to come.
func TestManyTills(t *testing.T) {
	s := newHub(t).start()
	var tills []*till
	for i := range 8 {
		tl := newTill(t, fmt.Sprintf("t%d", i))
		tl.sell(200+i*10, 150)
		tills = append(tills, tl.link(s.addr, s.tokenFile(), noBug))
	}
	for _, tl := range tills {
		tl.sell(20, 80)
	}
	for _, tl := range tills {
		tl.waitSettled()
		must(t, s.inLedger(tl))
	}
}

// TestFenceAfterForeignWrite: a message that is not ours stands on our subject.
func TestFenceAfterForeignWrite(t *testing.T) {
	s := newHub(t).start()
	tl := newTill(t, "t1")
	tl.sell(10, 50)
	tl.link(s.addr, s.tokenFile(), noBug)
	tl.waitSettled()
	_, js := s.client()
	// Somebody writes rubbish on our subject: it goes to quarantine, and we go on behind it.
	_, err := js.Publish(context.Background(), tl.u.subject, []byte("rubbish"), jetstream.WithExpectLastSequencePerSubject(lastSeq(t, js)))
	must(t, err)
	tl.sell(10, 50)
	tl.waitSettled()
	eventually(t, "the rubbish is set aside", func() bool { return s.quarantined() == 1 })
	if c := s.chain(tl.j.ID()); c.Records != tl.floor() || c.Last != tl.floor() {
		t.Errorf("chain %+v", c)
	}
	if tl.u.Status().Fork != "" {
		t.Error("rubbish was taken for a fork")
	}
}

func lastSeq(t *testing.T, js jetstream.JetStream) uint64 {
	st, err := js.Stream(context.Background(), "POS_UP_0")
	must(t, err)
	return st.CachedInfo().State.LastSeq
}

// TestThinLink: the terminal's last parcel never makes it back over the link.
// After two attempts the uplink goes on without it.
func TestThinLink(t *testing.T) {
	s := newHub(t).start()
	p := newProxy(t, s.addr)
	tl := newTill(t, "t1")
	tl.t0 = quick
	tl.t0.request = 100 * time.Millisecond
	tl.sell(20, 100)
	tl.link(p.addr(), s.tokenFile(), noBug)
	tl.waitSettled()
	p.mu.Lock()
	p.thin = true
	p.mu.Unlock()
	p.cut()
	tl.sell(20, 100)
	tl.waitSettled()
	must(t, s.inLedger(tl))
	must(t, s.streamOnce(tl.j.ID(), tl.floor()))
}

// BenchmarkDrain ships a backlog of 300-byte records: journal, stream, ledger.
func BenchmarkDrain(b *testing.B) {
	s := newHub(b).start()
	tl := newTill(b, "t1")
	const batch = 20000
	for b.Loop() {
		b.StopTimer()
		tl.unlink()
		for range batch / 1000 {
			tl.sell(1000, 230)
		}
		b.StartTimer()
		tl.link(s.addr, s.tokenFile(), noBug)
		tl.waitSettled()
	}
	b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "records/s")
}
