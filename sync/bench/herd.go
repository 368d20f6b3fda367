package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"posd/sync/trust"
)

// herdResult is a part in which many terminals come at once.
type herdResult struct {
	Made
	Store       string
	Terminals   int
	Each        uint64  // events of each
	Shards      int     // of head office
	Processes   int     // that the terminals are in
	Limit       int     // handshakes a second, 0: none
	Outage      float64 // seconds that the server was away before; 0: all dialled at one instant
	Events      uint64
	Connected   spread // when a terminal had its connection, in seconds
	Settled     spread // when the ledger had all of a terminal's events
	Rate        float64
	Server      demand
	Hub         demand
	PerTerminal int64          // bytes that the server keeps for a connected terminal that sends nothing
	ConnectCPU  float64        // of the server, ms a connection
	Failed      float64        // attempts in vain and sessions that broke, of each terminal
	Refused     map[string]int // what terminals said, by kind
	Complaints  map[string]int // what the server's log says, by kind
}

// spread of times.
type spread struct{ P50, P99, Last float64 }

func spreadOf(v []float64) spread {
	return spread{quantile(v, 0.5), quantile(v, 0.99), quantile(v, 1)}
}

const (
	herdShards    = 4
	herdProcesses = 4
	outageTime    = 45 * time.Second // back-offs are half a minute by then
)

// runHerd lets all terminals dial at one instant: no back-off spreads them.
func (r *hubRun) runHerd(ctx context.Context) (err error) {
	r.Herd, err = r.herd(ctx, boltStore, 0, 0)
	return err
}

// runLimited is the same with a server that refuses what it cannot do at once.
func (r *hubRun) runLimited(ctx context.Context) (err error) {
	r.Limited, err = r.herd(ctx, boltStore, r.options.rate, 0)
	return err
}

// runOutage lets them find the server gone, and come back as they do.
func (r *hubRun) runOutage(ctx context.Context) (err error) {
	outage := outageTime
	if r.options.quick {
		outage = 5 * time.Second
	}
	r.Outage, err = r.herd(ctx, postgresStore, r.options.rate, outage)
	return err
}

// herdTerminals are the terminals of a herd, ten in a store.
func herdTerminals(n int) []trust.Device {
	all := make([]trust.Device, n)
	for i := range all {
		all[i] = trust.Device{Store: fmt.Sprint("s", i/10), Terminal: fmt.Sprint("t", i), Shard: i % herdShards}
	}
	return all
}

func (r *hubRun) herd(ctx context.Context, store string, limit int, outage time.Duration) (res *herdResult, err error) {
	o := r.options
	ctx, cancel := context.WithTimeout(ctx, outage+3*giveUp)
	defer cancel()
	poshub := filepath.Join(o.dir, "poshub")
	if err := buildProgram(ctx, poshub, "posd/cmd/poshub"); err != nil {
		return nil, err
	}
	ledger := ""
	if store == postgresStore {
		if ledger, err = r.pg.Create(ctx); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(o.dir, "herd-office")
	off, err := startOffice(ctx, r.server, poshub, dir, fmt.Sprintf("0-%d", herdShards-1), ledger, limit, herdTerminals(o.terminals))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, off.stop(), os.RemoveAll(dir)) }()
	res = &herdResult{Limit: limit, Store: store, Terminals: o.terminals, Each: uint64(o.each), Shards: herdShards, Processes: min(herdProcesses, o.terminals), Outage: outage.Seconds()}
	h := &herd{office: off}
	defer func() { err = errors.Join(err, h.end()) }()
	if err := h.begin(ctx, o, res.Processes); err != nil {
		return nil, err
	}
	bare, err := off.kept(ctx)
	if err != nil {
		return nil, err
	}
	m := begin()
	if err := h.come(ctx, res, outage); err != nil {
		return nil, err
	}
	res.Made = m.made()
	if outage == 0 && o.rest > 0 {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(o.rest):
		}
		full, err := off.kept(ctx)
		if err != nil {
			return nil, err
		}
		res.PerTerminal = (full - bare) / int64(res.Terminals)
	}
	return res, h.check(ctx, res)
}

// herd are processes with terminals.
type herd struct {
	office *office
	parts  []*herdPart
}

type herdPart struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// begin starts the processes; each opens its terminals' journals and waits.
func (h *herd) begin(ctx context.Context, o hubOptions, processes int) error {
	for i := range processes {
		from, to := i*o.terminals/processes, (i+1)*o.terminals/processes
		t := task{Kind: "herd", Dir: h.office.dir, Journal: filepath.Join(o.dir, fmt.Sprintf("herd-%d", o.each)), URLs: []string{h.office.url}, CA: h.office.ca,
			From: from, To: to, Pending: o.each}
		text, err := json.Marshal(t)
		if err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		p := &herdPart{cmd: exec.CommandContext(ctx, self, childFlag, string(text))}
		p.cmd.Stderr = os.Stderr
		in, err1 := p.cmd.StdinPipe()
		out, err2 := p.cmd.StdoutPipe()
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		p.in, p.out = in, bufio.NewReader(out)
		if err := p.cmd.Start(); err != nil {
			return err
		}
		h.parts = append(h.parts, p)
	}
	_, err := h.ask("ready")
	return err
}

// ask has all processes do something, and adds up what they say when they have.
func (h *herd) ask(what string) (sum herdReport, err error) {
	for _, p := range h.parts {
		if _, err := fmt.Fprintln(p.in, what); err != nil {
			return sum, err
		}
	}
	for _, p := range h.parts {
		line, err := p.out.ReadBytes('\n')
		if err != nil {
			return sum, fmt.Errorf("a process with terminals: %w", err)
		}
		var one herdReport
		if err := json.Unmarshal(line, &one); err != nil {
			return sum, err
		}
		sum.add(&one)
	}
	return sum, nil
}

// end lets the processes finish, and waits for them.
func (h *herd) end() (err error) {
	for _, p := range h.parts {
		p.in.Close()
		if err2 := p.cmd.Wait(); err2 != nil {
			err = errors.Join(err, fmt.Errorf("a process with terminals: %w", err2))
		}
	}
	return err
}

// without lets the terminals run for so long without a server, and starts that again.
func (h *herd) without(ctx context.Context, outage time.Duration) error {
	if err := h.office.server.Kill(); err != nil {
		return err
	}
	if _, err := h.ask("go"); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(outage):
	}
	return h.office.up(ctx)
}

// come is the herd itself.
func (h *herd) come(ctx context.Context, res *herdResult, outage time.Duration) error {
	before := "go"
	if outage > 0 {
		if err := h.without(ctx, outage); err != nil {
			return err
		}
		before = "forget"
	}
	empty, err := usageOf(h.office.server.Cmd.Process.Pid)
	if err != nil {
		return err
	}
	server, err := watch(h.office.server.Cmd.Process.Pid)
	if err != nil {
		return err
	}
	hub, err := watch(h.office.hub.Cmd.Process.Pid)
	if err != nil {
		return err
	}
	began := time.Now()
	r, err := h.ask(before)
	var allConnected usage
	for ; err == nil && r.Done < res.Terminals; r, err = h.ask("report") {
		if r.Connected == res.Terminals && allConnected.anon == 0 {
			if allConnected, err = usageOf(h.office.server.Cmd.Process.Pid); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d terminals are connected, %d are done: %w: %v", r.Connected, res.Terminals, r.Done, context.Cause(ctx), r.Said)
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err != nil {
		return err
	}
	res.Events, res.Refused = r.Events, r.Said
	since := func(at []int64) []float64 {
		v := make([]float64, len(at))
		for i := range at {
			v[i] = time.Unix(0, at[i]).Sub(began).Seconds()
		}
		return v
	}
	res.Connected, res.Settled = spreadOf(since(r.ConnectedAt)), spreadOf(since(r.DoneAt))
	res.Rate, res.Failed = float64(r.Events)/res.Settled.Last, float64(r.Failed)/float64(res.Terminals)
	var err1, err2 error
	res.Server, err1 = server()
	res.Hub, err2 = hub()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	n := float64(res.Terminals)
	if allConnected.anon > 0 {
		res.ConnectCPU = (allConnected.cpu - empty.cpu).Seconds() / n * 1000
	}
	res.Complaints, err = complaints(filepath.Join(h.office.dir, "nats.log"))
	return err
}

// check holds the ledger against what the terminals have.
func (h *herd) check(ctx context.Context, res *herdResult) error {
	st, err := h.office.status(ctx)
	if err != nil {
		return err
	}
	if st.Records != res.Events || st.Lost != 0 || st.Quarantined != 0 || st.Terminals != res.Terminals {
		return fmt.Errorf("the ledger has %d records of %d terminals, %d lost, %d set aside; the terminals have %d", st.Records, st.Terminals, st.Lost, st.Quarantined, res.Events)
	}
	return nil
}

// complaints counts the warnings and errors of a nats-server's log, without the parts
// that differ.
func complaints(path string) (map[string]int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	kinds := make(map[string]int)
	for s := bufio.NewScanner(f); s.Scan(); {
		_, text, ok := strings.Cut(s.Text(), "[ERR] ")
		if !ok {
			if _, text, ok = strings.Cut(s.Text(), "[WRN] "); !ok {
				continue
			}
		}
		if i := strings.LastIndex(text, " - "); i >= 0 { // who it is about
			text = text[i+3:]
		}
		if text = kind(text); strings.HasPrefix(text, "Rejected") {
			continue // the terminals say it too
		}
		if kinds[text]++; len(kinds) > 20 {
			delete(kinds, text)
			kinds["others"]++
		}
	}
	return kinds, nil
}

func (r *herdResult) text() string {
	if r == nil {
		return ""
	}
	return r.Machine + "\n" + r.Load + "\n\n" + strings.Join(r.Lines(), "\n") + "\n\n"
}

// Lines say what came out, one figure each.
func (r *herdResult) Lines() []string {
	how := "all dialled at one instant"
	if r.Outage > 0 {
		how = fmt.Sprintf("after %.0f s without a server, with the uplink's own back-off", r.Outage)
	}
	if r.Limit > 0 {
		how += fmt.Sprintf("; the server lets %d a second into a handshake", r.Limit)
	}
	lines := []string{
		fmt.Sprintf("%d terminals in %d processes, %d events each, ledger in %s, %d shards: %s", r.Terminals, r.Processes, r.Each, r.Store, r.Shards, how),
		fmt.Sprintf("connected: half after %.1f s, 99 %% after %.1f s, the last after %.1f s; %.2f attempts in vain or broken sessions a terminal", r.Connected.P50, r.Connected.P99, r.Connected.Last, r.Failed),
		fmt.Sprintf("settled: half after %.1f s, 99 %% after %.1f s, the last after %.1f s; %d records, %.0f a second", r.Settled.P50, r.Settled.P99, r.Settled.Last, r.Events, r.Rate),
		fmt.Sprintf("nats-server: %.1f MB of its own at most, %.1f s of processor time", mb(r.Server.Anon), r.Server.CPU),
		fmt.Sprintf("poshub: %.1f MB of its own at most, %.1f s of processor time", mb(r.Hub.Anon), r.Hub.CPU),
	}
	if r.ConnectCPU > 0 {
		lines = append(lines, fmt.Sprintf("nats-server until all were connected: %.2f ms of processor time a terminal", r.ConnectCPU))
	}
	if r.PerTerminal > 0 {
		lines = append(lines, fmt.Sprintf("nats-server afterwards: %.1f kB of heap and stacks for each connected terminal", float64(r.PerTerminal)/1e3))
	}
	lines = append(lines, "what terminals were refused: "+nothing(r.Refused))
	lines = append(lines, counts(r.Refused)...)
	lines = append(lines, "what the server complained of: "+nothing(r.Complaints))
	return append(lines, counts(r.Complaints)...)
}

func mb(n int64) float64 { return float64(n) / 1e6 }

func nothing(m map[string]int) string {
	if len(m) == 0 {
		return "nothing"
	}
	return ""
}

// counts are the most frequent ones.
func counts(m map[string]int) (lines []string) {
	texts := slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(m[b]-m[a], strings.Compare(a, b)) })
	for i, text := range texts {
		if i == 8 {
			return append(lines, fmt.Sprintf("  and %d kinds more", len(texts)-i))
		}
		lines = append(lines, fmt.Sprintf("  %d × %s", m[text], text))
	}
	return lines
}
