package main

import (
	"strings"
	"testing"
	"time"
)

// Without a limit, servers work for terminals that have given up; with one, they do not.
// Fewer than they can serve in time need none.
func TestStorm(t *testing.T) {
	few := storm{terminals: 500, servers: 1, cores: 1, tls: 1200 * time.Microsecond, account: 1200 * time.Microsecond, seed: 1}
	many := few
	many.terminals = 3000
	limited := many
	limited.rate = 300
	for name, c := range map[string]struct {
		storm
		low, high float64 // of the work in vain
	}{
		"few": {few, 0, 0}, "many": {many, 0.5, 1}, "many, limited": {limited, 0, 0.05},
	} {
		r := c.run()
		if r.Missing != 0 || r.Wasted < c.low || r.Wasted > c.high || r.Connected.Last == 0 || r.Connected.P50 > r.Connected.Last || r.Attempts < 1 {
			t.Errorf("%s: %+v", name, r)
		}
		if again := c.run(); again != r {
			t.Errorf("%s: not the same twice: %+v, %+v", name, r, again)
		}
	}
}

// A larger fleet needs no less of anything, and what was measured shows in the plan.
func TestPlan(t *testing.T) {
	p := fleetPlan{Terminals: 1000, Sales: 400, Events: 6, Busiest: 0.12, Offline: 8 * time.Hour, Settle: 4 * time.Hour, Keep: 24 * time.Hour, Cores: 4, Memory: 1}
	p.measured(&hubRun{Limited: &herdResult{Terminals: 500, PerTerminal: 77_000}})
	if p.Connection != 77 || p.Ledger == 0 {
		t.Errorf("%+v", p)
	}
	small := p.compute()
	p.Terminals *= 30
	large := p.compute()
	if large.Servers <= small.Servers || large.Shards < small.Shards || large.Hubs < small.Hubs || large.Drain < 29*small.Drain || large.LedgerDisk < 29*small.LedgerDisk {
		t.Errorf("%+v\n%+v", small, large)
	}
	var b strings.Builder
	p.Terminals /= 30
	p.print(&b)
	for _, want := range []string{"1000 terminals", "a connected terminal 77 kB", "NATS servers    3 ", "connection_rate_limit 833", "one server away"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
