package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"posd/journal"
	"posd/journal/chain"
)

const pageBytes = 4096

// rot changes bytes of a segment under the open journal, as a device does. The same
// again heals it.
func (tl *till) rot(segment, page, n int) {
	tl.t.Helper()
	f, err := os.OpenFile(filepath.Join(tl.journalDir(), fmt.Sprintf("%010d.seg", segment)), os.O_RDWR, 0)
	must(tl.t, err)
	defer f.Close()
	b := make([]byte, n)
	_, err = f.ReadAt(b, int64(page)*pageBytes)
	must(tl.t, err)
	for i := range b {
		b[i] ^= 0x55
	}
	_, err = f.WriteAt(b, int64(page)*pageBytes)
	must(tl.t, err)
}

// truncate takes the end of a segment away and gives back what brings it again: until
// then reading there fails, as with a page that the device cannot give.
func (tl *till) truncate(segment, page int) (restore func()) {
	tl.t.Helper()
	path := filepath.Join(tl.journalDir(), fmt.Sprintf("%010d.seg", segment))
	b, err := os.ReadFile(path)
	must(tl.t, err)
	must(tl.t, os.Truncate(path, int64(page)*pageBytes))
	return func() {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must(tl.t, err)
		defer f.Close()
		_, err = f.WriteAt(b, 0)
		must(tl.t, err)
	}
}

// sellPages sells in groups of a page each: segments 1 to 3 and a part of 4 are full.
func (tl *till) sellPages() {
	for range 110 {
		tl.sell(1, 3000)
	}
}

// inLedgerBut is inLedger where some records were declared lost: all others are there,
// once and in order, and the chain goes on to the journal's own end.
func (s *hubServer) inLedgerBut(tl *till, lost []span) error {
	missing := func(seq uint64) bool {
		return slices.ContainsFunc(lost, func(l span) bool { return l.first <= seq && seq <= l.last })
	}
	var got, want []row
	for _, r := range s.events() {
		if r.Journal == tl.j.ID().String() {
			got = append(got, r)
		}
	}
	for _, r := range tl.sold {
		if !missing(r.Seq) {
			want = append(want, r)
		}
	}
	if !slices.EqualFunc(got, want, func(a, b row) bool { return a.Seq == b.Seq && bytes.Equal(a.Event, b.Event) }) {
		return fmt.Errorf("%d events in the ledger, %d sold that are not lost, or not the same", len(got), len(want))
	}
	n := uint64(0)
	for _, l := range lost {
		n += l.last + 1 - l.first
	}
	floor, head := tl.j.Floor()
	if c := s.chain(tl.j.ID()); c.Last != floor || c.Head != head.String() || c.Lost != n || c.Records+n != floor {
		return fmt.Errorf("the ledger's chain ends at %d %s with %d lost, the journal at %d %s with %d", c.Last, c.Head, c.Lost, floor, head, n)
	}
	if s.quarantined() > 0 {
		return errors.New("something is in quarantine")
	}
	return nil
}

// TestRot: rotten bytes among records that head office lacks. What can be proved gets
// there, what cannot is declared lost, and nothing stands still; without the way around
// it does.
func TestRot(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(tl *till)
		lost   int // rows of records
		bug    bug
		stands bool
	}{
		{name: "a page", damage: func(tl *till) { tl.rot(2, 5, pageBytes) }, lost: 1},
		{name: "one bit's worth in three places", damage: func(tl *till) { tl.rot(1, 9, 200); tl.rot(2, 5, 200); tl.rot(2, 9, 200) }, lost: 3},
		{name: "pages in a row over the end of a segment", damage: func(tl *till) { tl.rot(2, 30, 2*pageBytes); tl.rot(3, 1, 2*pageBytes) }, lost: 2},
		{name: "page 0: nothing is lost", damage: func(tl *till) { tl.rot(2, 0, pageBytes) }},
		{name: "the segment being written", damage: func(tl *till) { tl.rot(4, 3, 200) }, lost: 1},
		{name: "planted: no way around", damage: func(tl *till) { tl.rot(2, 5, pageBytes) }, bug: bugNoHole, stands: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newHub(t).start()
			tl := newKeeper(t, "t1", time.Hour)
			tl.sellPages()
			row.damage(tl)
			var told []span
			tl.more = func(o *Options) {
				o.Lost = func(_ context.Context, m *journal.MissingError) error {
					told = append(told, span{m.First, m.Last})
					tl.sell(1, 10) // as the real one journals an event
					return nil
				}
			}
			tl.link(s.addr, s.tokenFile(), row.bug)
			if row.stands {
				eventually(t, "attempts in vain", func() bool { return tl.u.Status().Resyncs >= 5 })
				if st := tl.u.Status(); st.Settled == tl.floor() {
					t.Fatal("the planted bug was not noticed")
				}
				return
			}
			tl.waitSettled()
			tl.sell(5, 3000)
			tl.waitSettled()
			st := tl.u.Status()
			if len(told) != row.lost || st.Holes != uint64(row.lost) || st.Rot != "" || st.Rewinds != 0 {
				t.Errorf("declared %v; %+v", told, st)
			}
			must(t, s.inLedgerBut(tl, told))
			must(t, tl.again(s, told))
		})
	}
}

// TestLostIsJournaled: a journal that does not take a declaration at once takes it later,
// once, and before head office hears of it; one that never does keeps nothing up.
func TestLostIsJournaled(t *testing.T) {
	for _, row := range []struct{ fails, calls, told int }{{0, 1, 1}, {2, 3, 1}, {1000, maxTells, 0}} {
		s := newHub(t).start()
		tl := newKeeper(t, "t1", time.Hour)
		tl.sellPages()
		tl.rot(2, 5, pageBytes)
		var calls, told int
		var holes uint64
		tl.more = func(o *Options) {
			o.Lost = func(context.Context, *journal.MissingError) error {
				if calls++; calls <= row.fails {
					return errors.New("too many sales at once")
				}
				told, holes = told+1, tl.u.Status().Holes
				return nil
			}
		}
		tl.link(s.addr, s.tokenFile(), noBug)
		tl.waitSettled()
		if st := tl.u.Status(); calls != row.calls || told != row.told || holes != 0 || st.Holes != 1 || st.Lost == 0 || st.Rot != "" {
			t.Errorf("%d failures: %d calls, told %d times, after %d holes; %+v", row.fails, calls, told, holes, st)
		}
	}
}

// again starts the uplink anew with its state, and without it: it goes on, declares
// nothing a second time, and knows what was lost.
func (tl *till) again(s *hubServer, lost []span) error {
	tl.unlink()
	n := uint64(0)
	for _, l := range lost {
		n += l.last + 1 - l.first
	}
	for _, forget := range []bool{false, true} {
		if forget {
			must(tl.t, os.Remove(tl.opt.StatePath))
		}
		tl.link(s.addr, s.tokenFile(), noBug)
		tl.sell(2, 3000)
		tl.waitSettled()
		st := tl.u.Status()
		if st.Holes != 0 || !forget && st.Lost != n {
			return fmt.Errorf("after a start (state forgotten: %v): %+v", forget, st)
		}
		tl.unlink()
	}
	return s.inLedgerBut(tl, lost)
}

// TestRotPasses: a fault that passes costs nothing, however many looks it lasted; who
// gives up at the first one loses records that are there.
func TestRotPasses(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(tl *till) (heal func())
		bug    bug
	}{
		{"other bytes", func(tl *till) func() { tl.rot(2, 5, pageBytes); return func() { tl.rot(2, 5, pageBytes) } }, noBug},
		{"pages that cannot be read", func(tl *till) func() { return tl.truncate(2, 5) }, noBug},
		{"planted: gives up at once", func(tl *till) func() { tl.rot(2, 5, pageBytes); return func() { tl.rot(2, 5, pageBytes) } }, bugHastyHole},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newHub(t).start()
			tl := newKeeper(t, "t1", time.Hour)
			tl.sellPages()
			heal := row.damage(tl)
			tl.t0 = quick
			tl.t0.rotten, tl.t0.unreadable = 10*giveUp, 10*giveUp
			tl.link(s.addr, s.tokenFile(), row.bug)
			if row.bug != noBug {
				tl.waitSettled()
				heal()
				if s.inLedger(tl) == nil {
					t.Fatal("the planted bug was not noticed")
				}
				return
			}
			looks := 0
			for last := ""; looks < 2*minLooks; { // the text counts them
				eventually(t, "one more look", func() bool { return tl.u.Status().Rot != last })
				last = tl.u.Status().Rot
				looks++
			}
			st := tl.u.Status()
			if st.Holes != 0 || st.Settled == tl.floor() || !st.Connected {
				t.Fatalf("before its time: %+v", st)
			}
			if st.Sent < 30 {
				t.Fatalf("what stands before the damage was not sent: %+v", st)
			}
			heal()
			tl.waitSettled()
			must(t, s.inLedger(tl))
			if st := tl.u.Status(); st.Holes != 0 || st.Lost != 0 || st.Rot != "" {
				t.Fatalf("%+v", st)
			}
		})
	}
}

// TestUnreadableTakesLonger: a page that cannot be read is waited for longer than one
// with other bytes in it.
func TestUnreadableTakesLonger(t *testing.T) {
	s := newHub(t).start()
	tl := newKeeper(t, "t1", time.Hour)
	tl.sellPages()
	restore := tl.truncate(2, 20)
	tl.t0 = quick
	tl.t0.rotten, tl.t0.unreadable = 0, 10*giveUp
	tl.link(s.addr, s.tokenFile(), noBug)
	for last, looks := "", 0; looks < 2*minLooks; looks++ {
		eventually(t, "one more look", func() bool { return tl.u.Status().Rot != last })
		last = tl.u.Status().Rot
	}
	if st := tl.u.Status(); st.Holes != 0 {
		t.Fatalf("%+v", st)
	}
	tl.unlink()
	tl.t0.unreadable = 0 // now it has lasted long enough
	tl.link(s.addr, s.tokenFile(), noBug)
	tl.waitSettled()
	if st := tl.u.Status(); st.Holes != 1 || st.Lost == 0 {
		t.Fatalf("%+v", st)
	}
	restore() // for the end of the journal, which has a map of it
}

// TestLostFound: records that were declared lost are found by a salvage after all, and
// come to the ledger under their own names.
func TestLostFound(t *testing.T) {
	s := newHub(t).start()
	tl := newKeeper(t, "t1", time.Hour)
	tl.sellPages()
	tl.rot(2, 5, pageBytes)
	tl.link(s.addr, s.tokenFile(), noBug)
	tl.waitSettled()
	old, oldDir, sold := tl.j.ID(), tl.journalDir(), tl.sold
	floor, head := tl.j.Floor()
	tl.rot(2, 5, pageBytes) // the device gives them again
	tl.unlink()
	must(t, tl.j.Close())
	tl.j = nil

	before := len(s.events())
	heir := &till{t: t, dir: t.TempDir(), name: "t1"}
	_, err := journal.Create(heir.journalDir(), journal.CreateOptions{
		Identity: journal.Identity{Store: "s1", Terminal: "t1"}, SegmentSize: 128 << 10,
		Parent: &chain.Parent{Journal: old.String(), Seq: floor, Head: head.String(), Reason: "salvage"},
		Copies: func(add func(chain.ID, chain.Record, chain.Head) error) error {
			_, err := journal.Salvage(context.Background(), oldDir, journal.SalvageOptions{Each: add})
			return err
		}})
	must(t, err)
	t.Cleanup(heir.close)
	heir.open().link(s.addr, s.tokenFile(), noBug)
	heir.waitSettled()
	var got []row
	for _, r := range s.events() {
		if r.Journal == old.String() {
			got = append(got, r)
		}
	}
	if before >= len(sold) || len(got) != len(sold) || s.quarantined() != 0 {
		t.Fatalf("%d events before, %d after the salvage, %d sold, %d in quarantine", before, len(got), len(sold), s.quarantined())
	}
	for i := range sold {
		if got[i].Seq != sold[i].Seq || !bytes.Equal(got[i].Event, sold[i].Event) {
			t.Fatalf("event %d is not the one that was sold", i)
		}
	}
}
