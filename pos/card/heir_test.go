package card_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/card"
	"posd/pos/event"
	"posd/pos/register"
	"posd/pos/till"
)

// backup copies the journal of a till that stands still.
func (s *shop) backup() (dir string) {
	s.t.Helper()
	s.close()
	dir = filepath.Join(s.t.TempDir(), "journal")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(s.dir, "journal"))); err != nil {
		s.t.Fatal(err)
	}
	s.open()
	return dir
}

// restore puts a backup in the journal's place, and has another journal continue it.
func (s *shop) restore(from string) {
	s.t.Helper()
	s.close()
	dir := filepath.Join(s.dir, "journal")
	for _, old := range []string{dir, filepath.Join(s.dir, "view.db")} {
		if err := os.RemoveAll(old); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		s.t.Fatal(err)
	}
	var state register.Successor
	end, err := journal.Verify(s.t.Context(), dir, journal.VerifyOptions{Each: func(r chain.Record, _ chain.Head) error {
		state.Add(r)
		return nil
	}})
	if err == nil {
		_, _, err = journal.Succeed(dir, journal.CreateOptions{
			Identity: end.Identity, SegmentSize: 64 << 10, Opening: state.Opening(),
			Parent: &chain.Parent{Journal: end.Journal.String(), Seq: end.Last, Head: end.Head.String(), Reason: "restore"},
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.open()
}

func (s *shop) reprice(o till.Step, price pos.Money) {
	s.t.Helper()
	l := pos.Line{Item: "2", Description: "television", Unit: "pc", Tax: "A", Rate: 190000, Qty: 1000, Price: price}
	if _, err := s.do(func(t *register.Turn) (*event.Basket, error) { return t.State.AddLine(o, t.Rules, l, 0) }); err != nil {
		s.t.Fatal(err)
	}
}

// What the next customers pay for in a basket that came back with a backup is asked for
// under a name that no payment had: nobody is paid for by, or given back, what a customer
// paid who has gone. Two tills that have the same basket do not share a payment either.
func TestPaymentInAnHeir(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{})
	o := s.basket(1000)
	backup := s.backup()
	if e := s.pay(o, 1000); e.Type != event.TypeTenderApproved || e.Tender.ID != "1" {
		t.Fatalf("%+v", e)
	}
	paid := map[string]pos.Money{"1": 1000}
	for _, more := range []pos.Money{0, 400, 0} { // of another amount, and of the same one
		s.restore(backup)
		if more > 0 {
			s.reprice(o, more)
		}
		e := s.pay(o, 1000+more)
		if id := e.Tender.ID; e.Type != event.TypeTenderApproved || paid[id] != 0 || !strings.HasPrefix(id, "1-") {
			t.Fatalf("%+v", e)
		}
		paid[e.Tender.ID] = 1000 + more
		own := s.basket(500) // that began here
		if e := s.pay(own, 500); e.Tender.ID != "1" || s.balance(own, "1") != 500 {
			t.Errorf("%+v", e)
		}
	}
	for id, want := range paid {
		if got := s.balance(o, id); got != int64(want) {
			t.Errorf("tender %s: the acquirer has %d, not %d", id, got, want)
		}
	}
	last := ""
	s.reg.Look(func(x *till.State) { last = x.Find(o.Basket).Tenders[0].ID })
	if e := s.reverse(o, last); e.Type != event.TypeTenderReversed || s.balance(o, last) != 0 {
		t.Errorf("%+v", e)
	}
	if e := s.pay(o, 1000); e.Tender.ID != "2"+last[1:] || s.balance(o, e.Tender.ID) != 1000 {
		t.Errorf("%+v", e)
	}
}

// What was asked for before the backup is asked about under the name that it had.
func TestUnknownPaymentInAnHeir(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{})
	o := s.basket(1000)
	s.mode("act-hang", 1)
	if _, err := s.desk.Begin(s.ctx(), s.call(), o, 1000); err != nil {
		t.Fatal(err)
	}
	until(t, "the request", func() bool { return s.sim.Seen() == 1 })
	s.restore(s.backup())
	var got event.OpenTender
	until(t, "it is asked about", func() bool {
		s.reg.Look(func(x *till.State) { got = x.Find(o.Basket).Tenders[0] })
		return got.State == "approved"
	})
	if got.ID != "1" || s.balance(o, "1") != 1000 {
		t.Errorf("%+v", got)
	}
}

// A payment terminal that approves another amount for such a basket may have looked up
// what another customer paid: nothing is taken back before a person has looked.
func TestOtherAmountInAnHeir(t *testing.T) {
	t.Parallel()
	s := newShop(t, till.Limits{})
	o := s.basket(1000)
	s.restore(s.backup())
	s.mode("other-amount", 1)
	if _, err := s.desk.Begin(s.ctx(), s.call(), o, 1000); err != nil {
		t.Fatal(err)
	}
	var open []card.Open
	until(t, "a person has to look", func() bool {
		open = s.desk.Status().Open
		return len(open) == 1 && open[0].Stuck
	})
	if x := open[0]; x.State != "unknown" || !strings.Contains(x.Last, "another amount") || s.balance(o, x.Tender) == 0 {
		t.Errorf("%+v, the acquirer has %d", x, s.balance(o, x.Tender))
	}
	if e := s.reverse(o, open[0].Tender); e.Type != event.TypeTenderReversed || s.balance(o, e.Tender.ID) != 0 {
		t.Errorf("%+v", e)
	}
}
