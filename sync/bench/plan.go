package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"
)

// fleetPlan computes what a fleet needs of head office, from what was measured and from
// what is said of the fleet. Nothing of it was run at that size.
type fleetPlan struct {
	// The fleet.
	Terminals     int
	Sales         float64 // of a terminal, a day
	Events        float64 // of a sale
	Busiest       float64 // part of a day's sales in its busiest hour
	Offline       time.Duration
	Settle        time.Duration // a backlog of that time should be in the ledger after
	Keep          time.Duration // how long streams keep parcels
	Servers       int           // NATS servers, 0: as few as will do
	Cores, Memory float64       // of each server, the latter in GB
	Rate          int           // handshakes a second that each server begins, 0: as many as half its cores can do

	// Measured.
	Source     string
	Connection float64 // kB that a server keeps for a terminal
	Connect    float64 // ms of its processor time for a terminal to come back
	ServerCPU  float64 // µs of all servers' processor time for an event, three replicas
	HubCPU     float64 // µs of a hub's processor time for an event
	Ledger     float64 // events a second that the ledger takes in
	Stored     float64 // bytes in a stream for a sale that goes alone
	Row        float64 // bytes of the ledger for an event
}

// Heartbeats of a terminal come at this interval; each is one message in and one out.
const heartbeat = 30 * time.Second

// heartbeatCPU is what a heartbeat costs a server, in µs: as much as a small message.
const heartbeatCPU = 10

func defaultPlan() fleetPlan {
	return fleetPlan{Terminals: 100_000, Sales: 400, Events: 6, Busiest: 0.12, Offline: 8 * time.Hour, Settle: 4 * time.Hour, Keep: 400 * 24 * time.Hour, Cores: 8, Memory: 32}
}

func planCommand(_ context.Context, args []string) error {
	f := flag.NewFlagSet("bench plan", flag.ContinueOnError)
	dir := f.String("dir", ".tools/bench.d", "`folder` with the results of \"bench hub\"")
	p := defaultPlan()
	f.IntVar(&p.Terminals, "terminals", p.Terminals, "`number` of terminals")
	f.Float64Var(&p.Sales, "sales", p.Sales, "sales of a terminal, `number` a day")
	f.Float64Var(&p.Events, "events", p.Events, "events of a sale, `number`")
	f.Float64Var(&p.Busiest, "busiest", p.Busiest, "`part` of a day's sales in its busiest hour")
	f.DurationVar(&p.Offline, "offline", p.Offline, "the whole fleet was away for this `time`")
	f.DurationVar(&p.Settle, "settle", p.Settle, "and should be in the ledger after this `time`, sales going on")
	f.DurationVar(&p.Keep, "keep", p.Keep, "streams keep parcels for this `time`")
	f.IntVar(&p.Servers, "servers", 0, "`number` of NATS servers; 0: as few as will do")
	f.Float64Var(&p.Cores, "cores", p.Cores, "`number` of cores of a server")
	f.Float64Var(&p.Memory, "memory", p.Memory, "`GB` of memory of a server")
	f.IntVar(&p.Rate, "rate", 0, "handshakes that a server begins, `number` a second; 0: what half of its cores can do")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || p.Terminals < 1 || p.Sales <= 0 || p.Events <= 0 || p.Busiest <= 0 || p.Busiest > 1 || p.Cores <= 0 || p.Memory <= 0 || p.Settle <= 0 {
		return fmt.Errorf("bench plan: everything must be more than nothing, and there are no other arguments")
	}
	r := &hubRun{}
	for name, to := range map[string]any{"ledger": &r.Ledger, "latency": &r.Latency, "limited": &r.Limited} {
		if err := restore(filepath.Join(*dir, "result-"+name+".json"), to); err != nil {
			return err
		}
	}
	p.measured(r)
	p.print(os.Stdout)
	return nil
}

// measured takes figures from results, where there are any; else those that were
// measured once, on two cores.
func (p *fleetPlan) measured(r *hubRun) {
	p.Source = "figures of an earlier run (two cores of an Intel Xeon, 2026-11-21)"
	p.Connection, p.Connect, p.ServerCPU, p.HubCPU, p.Ledger, p.Row = 100, 2.4, 2.3, 11, 57_000, 770
	p.Stored = 900
	if l := r.Ledger; l != nil {
		ours := row{rounds: l.Rounds["hub-"+postgresStore]}
		p.HubCPU, p.Ledger, p.Row = ours.over(sample.cpuEach), ours.over(sample.rate), l.Disk["hub-"+postgresStore]
		p.Source = l.Machine + ". " + l.Load
	}
	if l := r.Latency; l != nil && len(l.Rows) > 0 && l.Rows[0].Stored > 0 {
		p.Stored = l.Rows[0].Stored
	}
	if h := r.Limited; h != nil && h.Terminals >= 500 { // there no work is in vain
		p.Connection = float64(h.PerTerminal) / 1000
		if h.ConnectCPU > 0 {
			p.Connect = h.ConnectCPU
		}
	}
}

// need is what comes out.
type need struct {
	Servers, Shards, Hubs      int
	Why                        string // so many servers
	Rate                       int
	Peak, Heartbeats           float64 // events and heartbeats a second
	Backlog, Drain             float64 // events; a second, beside the sales of an ordinary hour
	Databases                  float64 // of the measured kind, that the drain would take
	ServerCores, HubCores      float64 // in all, at the drain
	StreamDisk, LedgerDisk     float64 // GB a day: each server; the ledger
	ServerMemory               float64 // GB of each, for connections
	Storm, Unlimited, WithLoss stormResult
}

// shardRate is how many events a second one shard should have to take at most. The hub
// takes in a shard with one goroutine and one transaction at a time.
func (p *fleetPlan) shardRate() float64 { return p.Ledger / 2 }

func (p *fleetPlan) compute() (n need) {
	perDay := float64(p.Terminals) * p.Sales * p.Events
	n.Peak = perDay * p.Busiest / 3600
	n.Heartbeats = float64(p.Terminals) / heartbeat.Seconds()
	n.Backlog = perDay * p.Busiest * p.Offline.Hours() // the worst hours of a day
	n.Backlog = min(n.Backlog, perDay*math.Ceil(p.Offline.Hours()/24))
	n.Drain = n.Backlog/p.Settle.Seconds() + n.Peak
	n.Databases = n.Drain / p.Ledger
	n.Shards = max(4, int(math.Ceil(n.Drain/p.shardRate())))
	n.HubCores = n.Drain * p.HubCPU / 1e6
	n.Hubs = max(2, int(math.Ceil(n.HubCores/(p.Cores/2)))) // half of each, so that one may go
	n.ServerCores = n.Drain*p.ServerCPU/1e6 + n.Heartbeats*heartbeatCPU/1e6
	n.Servers, n.Why = 3, "three replicas"
	for {
		rest := float64(n.Servers - 1) // one may be away
		memory := float64(p.Terminals) * p.Connection / 1e6 / rest
		switch {
		case p.Servers > 0:
			n.Servers, n.Why = p.Servers, "as asked for"
		case memory > p.Memory/2:
			n.Servers, n.Why = n.Servers+2, "connections take half of the memory while one is away"
			continue
		case n.ServerCores/rest > p.Cores/2:
			n.Servers, n.Why = n.Servers+2, "a drain takes half of the cores while one is away"
			continue
		}
		break
	}
	n.ServerMemory = float64(p.Terminals) * p.Connection / 1e6 / float64(n.Servers)
	copies := math.Min(3, float64(n.Servers))
	n.StreamDisk = perDay / p.Events * p.Stored * copies / float64(n.Servers) / 1e9
	n.LedgerDisk = perDay * p.Row / 1e9
	if n.Rate = p.Rate; n.Rate == 0 {
		n.Rate = max(1, int(p.Cores/2/p.Connect*1000))
	}
	half := time.Duration(p.Connect * float64(time.Millisecond) / 2)
	s := storm{terminals: p.Terminals, servers: n.Servers, cores: p.Cores, tls: half, account: half, seed: 1}
	n.Unlimited = s.run()
	s.rate = n.Rate
	n.Storm = s.run()
	s.servers--
	if s.servers > 0 {
		n.WithLoss = s.run()
	}
	return n
}

func (p *fleetPlan) print(w io.Writer) {
	n := p.compute()
	say := func(format string, a ...any) { fmt.Fprintf(w, format+"\n", a...) }
	say("%d terminals, %.0f sales a day each, %.0f events a sale, %.0f %% of a day in its busiest hour", p.Terminals, p.Sales, p.Events, p.Busiest*100)
	say("computed, not run at that size, from: %s", p.Source)
	say("  a connected terminal %.0f kB, coming back %.2f ms of a server's processor time (TLS 1.3, an account each)", p.Connection, p.Connect)
	say("  an event %.2f µs of three servers' processor time, %.1f µs of a hub's; one PostgreSQL %.0f events a second, %.0f bytes each", p.ServerCPU, p.HubCPU, p.Ledger, p.Row)
	say("  a sale that goes alone %.0f bytes in a stream; assumed: a heartbeat %d µs of a server's", p.Stored, heartbeatCPU)
	say("")
	say("ordinary days   %.0f events and %.0f heartbeats a second in the busiest hour", n.Peak, n.Heartbeats)
	say("after %-9s %.0f million events; %.0f a second to have them in after %s, sales going on", p.Offline, n.Backlog/1e6, n.Drain, p.Settle)
	say("NATS servers    %d with %.0f cores and %.0f GB (%s): %.1f GB each for connections, %.1f cores in all at the drain", n.Servers, p.Cores, p.Memory, n.Why, n.ServerMemory, n.ServerCores)
	say("shards          %d, so that none has to take more than half of what the ledger does", n.Shards)
	say("hubs            %d with %.0f cores: %.1f cores in all at the drain, twice that for one that goes", n.Hubs, p.Cores, n.HubCores)
	say("ledger          %.1f times the PostgreSQL that was measured%s", n.Databases, map[bool]string{true: ": one is not enough, so more cores and a faster disk, a longer -settle, or a ledger for each region", false: ""}[n.Databases > 1])
	say("disk            %.1f GB a day in the streams of each server, %.0f GB kept for %.0f days; %.1f GB a day in the ledger", n.StreamDisk, n.StreamDisk*p.Keep.Hours()/24, p.Keep.Hours()/24, n.LedgerDisk)
	say("")
	say("all at once     the whole fleet loses its servers and comes back in the same moment; back-off and time-outs as in the uplink")
	tell := func(name string, r stormResult) {
		missing := ""
		if r.Missing > 0 {
			missing = fmt.Sprintf("; %d of a server's terminals not in after %s", r.Missing, stormEnd)
		}
		say("  %-34s half in after %.0f s, 99 %% after %.0f s, the last after %.0f s; %.1f attempts, %.1f of them refused at once; %.0f %% of the work for nothing%s",
			name, r.Connected.P50, r.Connected.P99, r.Connected.Last, r.Attempts, r.Refused, r.Wasted*100, missing)
	}
	tell("no limit of handshakes", n.Unlimited)
	tell(fmt.Sprintf("connection_rate_limit %d", n.Rate), n.Storm)
	if n.Servers > 1 {
		tell("the same, one server away", n.WithLoss)
	}
	say("  not in it: a nats-server that takes up a terminal's account for the first time since its start looks at all that it has taken up")
	say("  before (2.15: a quarter of its time while 3,000 came), so the second half of a large fleet costs more than the first")
}
