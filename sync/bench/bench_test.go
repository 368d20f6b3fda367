package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var herdSize = flag.Int("herd", 50, "terminals in the herd")

// TestMain lets the test binary be its own child, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childFlag {
		if err := runChild(context.Background(), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Every contender gets all that it counts into the stream, with one server; one
// that does not ends the run.
func TestUplinkRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs nats-server")
	}
	ctx := t.Context()
	r := &uplinkRun{options: options{dir: t.TempDir(), events: 4000, rounds: 1}, journals: make(map[string]string), shares: make(map[string][]shares)}
	if err := r.prepare(ctx); err != nil {
		t.Fatal(err)
	}
	for _, s := range shapes {
		var sh shares
		if err := do(ctx, task{Kind: "s2", Journal: r.journals[s.name]}, &sh); err != nil {
			t.Fatal(err)
		}
		r.shares[s.name] = append(r.shares[s.name], sh)
	}
	for _, c := range contenders {
		r.rows = append(r.rows, &row{contender: c, setting: settings[0]})
	}
	if err := r.with(ctx, settings[0]); err != nil {
		t.Fatal(err)
	}
	for _, row := range r.rows {
		if n := len(row.rounds); n != 1 || row.rounds[0].Events == 0 || row.rounds[0].CPU < 0 {
			t.Errorf("%s: %+v", row.contender.name, row.rounds)
		}
	}
	if got := r.find(oursName, "r1").rounds[0]; got.Events < 4000 || got.Wire == 0 || got.Sent < 2 {
		t.Errorf("%+v", got)
	}
}

// A contender that counts what is not there is found out: names that the server
// knows already make no message.
func TestLandedSeesWhatIsMissing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs nats-server")
	}
	ctx, dir := t.Context(), t.TempDir()
	program := filepath.Join(dir, "nats-server")
	if err := buildProgram(ctx, program, natsPackage); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "journal")
	if err := newJournal(path, store, terminal, 0, shapes[2], 1000, 1); err != nil {
		t.Fatal(err)
	}
	c, err := startCluster(ctx, program, filepath.Join(dir, "cluster"), 1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	}()
	r := &uplinkRun{}
	var both sample
	for i := range 2 {
		var s sample
		if err := do(ctx, task{Kind: "async", Journal: path, URLs: c.urls, Dir: dir, Pending: 100, Limit: giveUp}, &s); err != nil {
			t.Fatal(err)
		}
		both.Sent += s.Sent
		err := r.landed(ctx, c, &both)
		if i == 0 && err != nil || i == 1 && (err == nil || !strings.Contains(err.Error(), "acknowledged")) {
			t.Errorf("time %d: %v", i, err)
		}
	}
}

// The payloads are of the size that tables speak of, valid, and not all the same.
func TestMaker(t *testing.T) {
	m := newMaker(1)
	seen := make(map[string]bool)
	for range 1000 {
		b := m.next()
		if len(b) != eventSize || b[0] != '{' || b[len(b)-1] != '}' {
			t.Fatalf("%d bytes: %s", len(b), b)
		}
		seen[string(b)] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different events of 1000", len(seen))
	}
}

// Many real terminals come at once, in two ways; the ledger has all of theirs, or the
// run fails. -args -herd=3000 is what "make bench-hub" does.
func TestHerd(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs nats-server and poshub")
	}
	ctx, dir := t.Context(), t.TempDir()
	r := &hubRun{options: hubOptions{dir: dir, terminals: *herdSize, each: 20, rest: 1}, server: filepath.Join(dir, "nats-server")}
	if err := buildProgram(ctx, r.server, natsPackage); err != nil {
		t.Fatal(err)
	}
	for _, outage := range []time.Duration{0, time.Second} {
		res, err := r.herd(ctx, boltStore, 400, outage)
		if err != nil {
			t.Fatal(err)
		}
		if n := uint64(*herdSize); res.Events < 20*n || res.Connected.Last == 0 || res.Settled.Last < res.Connected.P50 || (outage == 0) != (res.PerTerminal > 0) || res.Hub.Anon == 0 {
			t.Errorf("%+v", res)
		}
	}
}

// A ledger that does not have what the terminals have ends the run.
func TestHerdSeesWhatIsMissing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs nats-server and poshub")
	}
	ctx, dir := t.Context(), t.TempDir()
	server, poshub := filepath.Join(dir, "nats-server"), filepath.Join(dir, "poshub")
	if err := errors.Join(buildProgram(ctx, server, natsPackage), buildProgram(ctx, poshub, "posd/cmd/poshub")); err != nil {
		t.Fatal(err)
	}
	o, err := startOffice(ctx, server, poshub, filepath.Join(dir, "office"), "0", "", 0, herdTerminals(1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := o.stop(); err != nil {
			t.Error(err)
		}
	}()
	h := &herd{office: o}
	if err := h.check(ctx, &herdResult{}); err != nil {
		t.Error(err)
	}
	if err := h.check(ctx, &herdResult{Terminals: 1, Events: 20}); err == nil {
		t.Error("an empty ledger was taken for one with 20 events")
	}
}

func TestCounts(t *testing.T) {
	m := map[string]int{"a": 1, "b": 3}
	for i := range 10 {
		m[fmt.Sprint("x", i)] = 2
	}
	got := counts(m)
	if len(got) != 9 || got[0] != "  3 × b" || got[1] != "  2 × x0" || got[8] != "  and 4 kinds more" {
		t.Errorf("%q", got)
	}
	if a, b := kind("10.0.0.1:4222: terminal t77 is late"), kind("10.0.0.2:4222: terminal t5 is late"); a != b {
		t.Errorf("%q %q", a, b)
	}
}
