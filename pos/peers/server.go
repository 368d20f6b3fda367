package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"posd/packaging/lab/freeport"
	"posd/packaging/lab/place"
	"posd/packaging/lab/slicebench/rig"
)

// itemCount is how many articles the catalogue has, that of a large supermarket.
const itemCount = 100_000

// contender is a till back end in one setting.
type contender struct {
	name, how string
	procs     string // GOMAXPROCS; "": its own
	most      int    // sales in one transaction; 0: posd
	only      int    // lines a sale, if it is not measured with all
}

const oursName = "posd"

var contenders = []contender{
	{name: oursName, how: "as it runs on a terminal: GOMAXPROCS=2 even on one core, 20 MiB for Go's memory"},
	{name: "posd-procs1", how: "the same with GOMAXPROCS=1", procs: "1", only: 5},
	{name: "sqlite", most: 1, procs: "1", how: "zombiezen.com/go/sqlite (no cgo), WAL, synchronous=FULL; a transaction for each sale: sale, lines, tenders, key, outbox; GOMAXPROCS=1"},
	{name: "sqlite-grouped", most: 256, procs: "2", how: "the same, but all sales that wait share one transaction; GOMAXPROCS=2"},
}

// server is a contender that runs.
type server struct {
	contender
	*rig.Process
	port   int
	token  string
	db     string // of a peer
	made   int    // sales that were answered with 201
	cells  map[cell][]sample
	client *http.Client
}

func (s *server) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", s.port, path) }

// startAll starts all contenders on the core. Those that nobody calls sleep.
func (o options) startAll(ctx context.Context, dir string, core int) (all []*server, err error) {
	csv := filepath.Join(dir, "items.csv")
	if err := os.WriteFile(csv, catalogue(), 0o600); err != nil {
		return nil, err
	}
	for _, c := range contenders {
		s := &server{contender: c, cells: map[cell][]sample{}, client: &http.Client{Timeout: time.Minute}}
		if s.port, err = freeport.Number(); err != nil {
			return all, err
		}
		start := s.startPosd
		if c.most > 0 {
			start = s.startPeer
		}
		if err := start(ctx, o.bin, filepath.Join(dir, c.name), csv, core); err != nil {
			return all, fmt.Errorf("start %s: %w", c.name, err)
		}
		all = append(all, s)
		if err := s.Wait(ctx, "readiness", func() error { _, err := rig.Get(ctx, s.client, s.url("/readyz"), ""); return err }); err != nil {
			return all, err
		}
	}
	return all, nil
}

func (s *server) startPosd(ctx context.Context, bin rig.Programs, dir, csv string, core int) error {
	t, err := rig.MakeTerminal(ctx, bin, dir, "t1", "", 0)
	if err != nil {
		return err
	}
	s.token = t.Token
	conf := filepath.Join(dir, "run.toml")
	text := rig.Place{Data: t.Dir, Listen: fmt.Sprint("127.0.0.1:", s.port), Rate: 100_000, Extra: rig.NoLimits}.Config(t.ID)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	if _, err := rig.Output(ctx, bin.Posctl, "catalogue", "import", "--force", csv, "--config", conf); err != nil {
		return err
	}
	return s.begin(filepath.Join(dir, "log"), core, bin.Posd, "--config", conf)
}

func (s *server) startPeer(_ context.Context, _ rig.Programs, dir, csv string, core int) error {
	self, err := os.Executable()
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return err
	}
	s.token, s.db = "a token of the front end", filepath.Join(dir, "till.db")
	return s.begin(filepath.Join(dir, "log"), core, self, peerFlag, "-db", s.db, "-items", csv,
		"-listen", fmt.Sprint("127.0.0.1:", s.port), "-token", s.token, "-most", strconv.Itoa(s.most))
}

func (s *server) begin(log string, core int, args ...string) error {
	var env []string
	if s.procs != "" {
		env = []string{"GOMAXPROCS=" + s.procs}
	}
	return place.Pinned(core, func() (err error) {
		s.Process, err = rig.Begin(s.name, log, env, args...)
		return err
	})
}

// finish asks the contender how many sales it has, and stops it.
func (s *server) finish(ctx context.Context) error {
	has := 0
	if s.db == "" {
		var shift struct{ Totals struct{ Sales int } }
		b, err := rig.Get(ctx, s.client, s.url("/v1/shift"), s.token)
		if err == nil {
			err = json.Unmarshal(b, &shift)
		}
		if err != nil {
			return errors.Join(err, s.Stop())
		}
		has = shift.Totals.Sales
	}
	if err := s.Stop(); err != nil {
		return err
	}
	if s.db != "" {
		var err error
		if has, err = count(s.db); err != nil {
			return err
		}
	}
	return s.same(has)
}

func (s *server) same(has int) error {
	if has != s.made {
		return fmt.Errorf("%s answered %d sales and has %d: what was measured was not selling", s.name, s.made, has)
	}
	return nil
}

// usage is what a process has used since it began.
type usage struct {
	user, sys time.Duration
	allocs    uint64
}

// usage reads the kernel's account of the processor, which is exact for the sum and
// sampled for its two parts, and the Go runtime's of allocations.
func (s *server) usage(ctx context.Context) (u usage, err error) {
	page, err := rig.Get(ctx, s.client, s.url("/metrics"), s.token)
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(page), "\ngo_memstats_mallocs_total ")
	if s.db != "" {
		_, rest, _ = strings.Cut(string(page), "go_memstats_mallocs_total ")
	}
	number, _, _ := strings.Cut(rest, "\n")
	if u.allocs, err = strconv.ParseUint(number, 10, 64); err != nil {
		return u, fmt.Errorf("the allocations of %s: %w", s.name, err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Cmd.Process.Pid))
	if err != nil {
		return u, err
	}
	const utime, stime, tick = 11, 12, 10 * time.Millisecond // counted from behind the name
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
	user, err1 := strconv.Atoi(fields[utime])
	sys, err2 := strconv.Atoi(fields[stime])
	u.user, u.sys = time.Duration(user)*tick, time.Duration(sys)*tick
	return u, errors.Join(err1, err2)
}
