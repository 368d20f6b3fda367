package main

import (
	"testing"
	"time"
)

const flapTest = 2 * time.Second

// A terminal comes back after each cut and what it sells arrives; sessions are resumed
// where the server gives tickets, and nowhere else.
func TestFlap(t *testing.T) {
	r := &flapRun{dir: t.TempDir(), drops: 2, rows: []*flapRow{
		{every: flapTest, tickets: true}, {every: flapTest, rtt: flapTest / 100, mutual: true, tickets: true}, {every: flapTest, mutual: true}}}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, w := range r.rows {
		n := len(w.acked)
		if n == 0 || n+w.missed != r.drops || len(w.connected) != n || len(w.trips) != n || w.full+w.resumed == 0 {
			t.Fatalf("%s: %+v", w.name(), w)
		}
		if w.tickets != (w.resumed > 0) || w.missed == 0 && w.tickets != (w.full == 0) {
			t.Errorf("%s: %d handshakes were full, %d resumed", w.name(), w.full, w.resumed)
		}
		for i := range n {
			if w.pause[i] < 0 || w.connected[i] < w.pause[i] || w.acked[i] < w.connected[i] || w.trips[i] <= beforeWords || w.up[i] <= 0 || w.down[i] <= 0 {
				t.Errorf("%s: %+v", w.name(), w)
			}
		}
	}
}
