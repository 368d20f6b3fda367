package simulator

import (
	"path/filepath"
	"testing"

	"posd/pos"
	"posd/pos/card"
)

func newSimulator(t *testing.T) *Simulator {
	t.Helper()
	s, err := New(Options{Ledger: filepath.Join(t.TempDir(), "ledger")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// asks has it do one request in a mode, as if it had come on a line.
func (s *Simulator) asks(t *testing.T, ask, reference string, amount pos.Money, mode string) card.Answer {
	t.Helper()
	a, err := s.act(&card.Request{Ask: ask, Reference: reference, Amount: amount, OfflineMost: amount}, mode)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Each payment that was approved offline goes to the acquirer once, and none is left.
func TestForwardEachOnce(t *testing.T) {
	s := newSimulator(t)
	want := map[string]int64{}
	for i, ref := range []string{"a", "b", "c", "d"} {
		amount := pos.Money(100 * (i + 1))
		s.asks(t, card.AskAuthorise, ref, amount, "offline")
		want[ref] = int64(amount)
	}
	s.asks(t, card.AskReverse, "b", 200, "approve") // it is not with the payment terminal any more
	delete(want, "b")
	for range 2 {
		if err := s.Forward(); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := ReadLedger(s.o.Ledger)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, e := range entries {
		if e.What == Forward {
			got[e.Reference] += e.Amount
		}
	}
	for _, ref := range []string{"a", "b", "c", "d"} {
		if got[ref] != want[ref] {
			t.Errorf("%d of %s is forwarded, want %d", got[ref], ref, want[ref])
		}
	}
	if s.total != 800 || len(s.stored) != 0 {
		t.Errorf("it tells %d forwarded, and still has %v", s.total, s.stored)
	}
}

// Whoever asks again whether a payment is taken back, because the first answer was lost,
// gets the first answer: also whether the acquirer ever had it.
func TestRepeatedReversalSaysWhatTheFirstSaid(t *testing.T) {
	s := newSimulator(t)
	for _, ref := range []string{"sent", "kept", "online"} {
		mode := "offline"
		if ref == "online" {
			mode = "approve"
		}
		s.asks(t, card.AskAuthorise, ref, 500, mode)
		if ref == "sent" {
			if err := s.Forward(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for ref, offline := range map[string]bool{"kept": true, "sent": false, "online": false} {
		for i, ask := range []string{card.AskReverse, card.AskReverse, card.AskStatus} {
			if a := s.asks(t, ask, ref, 500, "approve"); a.State != card.Reversed || a.Offline != offline {
				t.Errorf("%s, answer %d: %+v, want offline %v", ref, i, a, offline)
			}
		}
	}
}
