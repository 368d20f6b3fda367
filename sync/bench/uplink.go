package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// setting is how the servers run.
type setting struct {
	name     string // in ratio lines
	about    string
	replicas int
	syncEach bool
}

var settings = []setting{
	{"r1", "one nats-server, one replica, `sync_interval` as by default (two minutes)", 1, false},
	{"r1-synced", "the same with `sync_interval: always`", 1, true},
	{"r3", "three nats-servers, three replicas, `sync_interval` as by default", 3, false},
	{"r3-synced", "the same with `sync_interval: always`", 3, true},
}

// contender is one way to bring events from a journal to a stream.
type contender struct {
	name  string
	about string
	ours  bool
	shape string
	task  task
}

// oursName is what all ratios are taken against.
const oursName = "posd"

var contenders = []contender{
	{oursName, "posd's uplink, from a journal of mixed groups", true, "mixed", task{Kind: "uplink"}},
	{"posd-procs1", "the same with GOMAXPROCS=1", true, "mixed", task{Kind: "uplink", Procs: 1}},
	{"posd-single", "the same from a journal in which each event is a group", true, "single", task{Kind: "uplink"}},
	{"posd-cold", "the same, and the kernel has to read all of it from the disk, as of a backlog of days", true, "single", task{Kind: "uplink", Cold: true}},
	{"posd-full", "the same from a journal of groups of 100 events", true, "full", task{Kind: "uplink"}},
	{"sync", "from the same journal, each event one message with its name as Msg-Id, published when the one before it is acknowledged", false, "mixed", task{Kind: "publish", Limit: time.Second}},
	{"async", "the same with up to 1,000 messages without an acknowledgement", false, "mixed", task{Kind: "async", Pending: 1000, Limit: time.Second}},
	{"async-procs1", "the same with GOMAXPROCS=1", false, "mixed", task{Kind: "async", Procs: 1, Pending: 1000, Limit: time.Second}},
	{leafName, "a nats-server on the till, which holds the events in a stream of its own (`sync_interval: always`); head office's servers source it", false, "", task{}},
}

const leafName = "leaf"

// row is a contender with one setting of the servers.
type row struct {
	contender
	setting
	rounds []sample
	server []float64 // processor time of all servers in a round, µs an event
}

// uplinkRun is a run of "bench uplink".
type uplinkRun struct {
	machine
	options  options
	journals map[string]string // by shape
	leaf     *leaf
	server   string // nats-server
	size     int64  // of it
	rows     []*row
	shares   map[string][]shares // by shape, one a round
}

func uplinkCommand(ctx context.Context, args []string) error {
	o, err := parse("uplink", args)
	if err != nil {
		return err
	}
	r := &uplinkRun{options: o, journals: make(map[string]string), shares: make(map[string][]shares)}
	for _, s := range settings {
		for _, c := range contenders {
			if len(o.only) > 0 && !slices.Contains(o.only, c.name) && !slices.Contains(o.only, c.name+"/"+s.name) {
				continue
			}
			r.rows = append(r.rows, &row{contender: c, setting: s})
		}
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	r.machine = begin()
	for i := range o.rounds {
		fmt.Fprintf(os.Stderr, "bench: round %d of %d\n", i+1, o.rounds)
		if err := r.round(ctx); err != nil {
			return err
		}
	}
	r.end()
	r.print(os.Stdout)
	if o.markdown != "" && len(o.only) == 0 {
		return r.writeDocument(o.markdown)
	}
	return nil
}

// prepare builds the server, makes the journals, and fills the leaf.
func (r *uplinkRun) prepare(ctx context.Context) (err error) {
	r.server = filepath.Join(r.options.dir, "nats-server")
	if err := buildProgram(ctx, r.server, natsPackage); err != nil {
		return err
	}
	info, err := os.Stat(r.server)
	if err != nil {
		return err
	}
	r.size = info.Size()
	for _, s := range shapes {
		if len(r.rows) > 0 && !slices.ContainsFunc(r.rows, func(row *row) bool {
			return row.shape == s.name || row.contender.name == leafName && s.name == "single"
		}) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: a journal of shape %s\n", s.name)
		n := r.options.events
		if s.name == "single" {
			n /= 4 // a page each
		}
		if r.journals[s.name], err = makeJournal(r.options.dir, s, n, 1); err != nil {
			return err
		}
	}
	if len(r.options.only) > 0 && !slices.ContainsFunc(r.options.only, func(s string) bool { return strings.HasPrefix(s, leafName) }) {
		return nil
	}
	fmt.Fprintln(os.Stderr, "bench: the leaf")
	r.leaf, err = newLeaf(ctx, r.server, filepath.Join(r.options.dir, "leaf"), r.journals["single"])
	return err
}

// round lets everybody run once, with each setting of the servers.
func (r *uplinkRun) round(ctx context.Context) error {
	for _, s := range shapes {
		if r.journals[s.name] == "" {
			continue
		}
		var sh shares
		if err := do(ctx, task{Kind: "s2", Journal: r.journals[s.name]}, &sh); err != nil {
			return err
		}
		r.shares[s.name] = append(r.shares[s.name], sh)
	}
	for _, s := range settings {
		if err := r.with(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (r *uplinkRun) with(ctx context.Context, s setting) (err error) {
	if !slices.ContainsFunc(r.rows, func(row *row) bool { return row.setting.name == s.name }) {
		return nil
	}
	c, err := startCluster(ctx, r.server, filepath.Join(r.options.dir, "cluster"), s.replicas, s.syncEach)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	nc, js, err := c.client(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	for _, row := range r.rows {
		if row.setting.name != s.name {
			continue
		}
		if err := r.run(ctx, row, c, js); err != nil {
			return fmt.Errorf("%s: %w", row.contender.name, err)
		}
	}
	return nil
}

func (r *uplinkRun) run(ctx context.Context, row *row, c *cluster, js jetstream.JetStream) (err error) {
	before, err := c.usage()
	if err != nil {
		return err
	}
	var s sample
	if row.contender.name == leafName {
		s, err = r.leaf.drain(ctx, c, js)
	} else {
		s, err = r.child(ctx, row, c)
	}
	if err != nil {
		return err
	}
	after, err := c.usage()
	if err != nil {
		return err
	}
	row.rounds = append(row.rounds, s)
	row.server = append(row.server, (after.cpu-before.cpu).Seconds()/float64(s.Events)*1e6)
	return c.empty(ctx, js, "POS_UP_0")
}

func (r *uplinkRun) child(ctx context.Context, row *row, c *cluster) (s sample, err error) {
	t := row.task
	t.Journal, t.URLs = r.journals[row.shape], c.urls
	if t.Dir, err = os.MkdirTemp(r.options.dir, "state"); err != nil {
		return s, err
	}
	defer os.RemoveAll(t.Dir)
	if r.options.profiles != "" && row.ours {
		t.Profile = filepath.Join(r.options.profiles, row.contender.name+"-"+row.setting.name+".pprof")
	}
	if err := do(ctx, t, &s); err != nil {
		return s, err
	}
	return s, r.landed(ctx, c, &s)
}

// landed proves that the stream has what the contender says it sent: a benchmark of
// something that fails is worth nothing.
func (r *uplinkRun) landed(ctx context.Context, c *cluster, s *sample) error {
	nc, js, err := c.client(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	stream, err := js.Stream(ctx, "POS_UP_0")
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	if info.State.Msgs != s.Sent {
		return fmt.Errorf("the stream has %d messages, %d were acknowledged", info.State.Msgs, s.Sent)
	}
	return nil
}
