package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"posd/packaging/lab/freeport"
	"posd/packaging/lab/slicebench/load"
	"posd/packaging/lab/slicebench/rig"
)

func main() {
	ctx, end := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer end()
	s := &stress{}
	flag.DurationVar(&s.long, "long", 10*time.Minute, "for so long")
	flag.BoolVar(&s.plant, "plant", false, "leak connections, and fail if that is not noticed")
	flag.StringVar(&s.keep, "traces", "", "keep the traces in this `folder`")
	host := flag.String("host", "bin", "`folder` with posd, posctl and poshub")
	flag.Parse()
	s.bin = rig.Programs{Posd: filepath.Join(*host, "posd"), Posctl: filepath.Join(*host, "posctl"), Poshub: filepath.Join(*host, "poshub")}
	if err := s.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "stress:", err)
		os.Exit(1)
	}
}

const (
	fronts     = 8
	salesEach  = 4 // a second and front end
	sampleTime = 2 * time.Second
	traceTime  = 3 // seconds
)

// stress is one run.
type stress struct {
	long  time.Duration
	plant bool
	keep  string
	bin   rig.Programs

	dir, conf, url string
	posd           *rig.Process
	hub            *rig.Hub
	till           *rig.Terminal
	tokens         []string
	unix           *http.Client

	mu      sync.Mutex
	acks    []load.Ack
	slowest time.Duration
	counts  map[string]int // what happened how often
	errs    []error
}

func (s *stress) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// fail notes what must not be.
func (s *stress) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.errs = append(s.errs, err); len(s.errs) > 20 {
		s.errs = s.errs[:20]
	}
}

func (s *stress) run(ctx context.Context) (err error) {
	s.counts = map[string]int{}
	if s.dir, err = os.MkdirTemp("", "stress-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	if err := s.start(ctx); err != nil {
		return errors.Join(err, s.stop())
	}
	samples := s.live(ctx)
	s.summary(samples)
	err = errors.Join(errors.Join(s.errs...), context.Cause(ctx))
	found := growth(samples)
	for _, f := range found {
		fmt.Println("growth:", f)
	}
	switch {
	case s.plant && len(found) == 0:
		err = errors.Join(err, errors.New("connections were leaked and it was not noticed"))
	case !s.plant && len(found) > 0:
		err = errors.Join(err, errors.New(strings.Join(found, "; ")))
	}
	if err == nil {
		err = s.settled(ctx)
	}
	return errors.Join(err, s.stop())
}

func (s *stress) start(ctx context.Context) (err error) {
	if s.hub, err = rig.StartHub(ctx, s.bin.Poshub, filepath.Join(s.dir, "hub")); err != nil {
		return err
	}
	if s.till, err = rig.MakeTerminal(ctx, s.bin, filepath.Join(s.dir, "till"), "t1", "", 0); err != nil {
		return err
	}
	port, err := freeport.Number()
	if err != nil {
		return err
	}
	s.conf, s.url = filepath.Join(s.dir, "posd.toml"), fmt.Sprint("http://127.0.0.1:", port)
	socket := filepath.Join(s.dir, "sock")
	p := rig.Place{Data: s.till.Dir, Listen: fmt.Sprint("127.0.0.1:", port), Socket: socket, Rate: 50, Extra: rig.NoLimits,
		Hub: fmt.Sprint("127.0.0.1:", s.hub.NATS), HubToken: filepath.Join(s.hub.Dir, "data", "nats.token")}
	if err := os.WriteFile(s.conf, []byte(p.Config("t1")), 0o600); err != nil {
		return err
	}
	for i := range fronts {
		token, err := rig.Output(ctx, s.bin.Posctl, "token", "add", fmt.Sprint("front-", i), "--config", s.conf)
		if err != nil {
			return err
		}
		s.tokens = append(s.tokens, strings.TrimSpace(string(token)))
	}
	if s.posd, err = rig.Begin("posd", filepath.Join(s.dir, "posd.log"), nil, s.bin.Posd, "--config", s.conf); err != nil {
		return err
	}
	s.unix = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	return s.posd.Wait(ctx, "readiness", func() error { _, err := rig.Get(ctx, http.DefaultClient, s.url+"/readyz", ""); return err })
}

// socket fetches a page over the unix socket.
func (s *stress) socket(page string) ([]byte, error) {
	return rig.Get(context.Background(), s.unix, "http://localhost"+page, s.till.Posctl)
}

// live runs everything beside each other and watches.
func (s *stress) live(ctx context.Context) (samples []sample) {
	ctx, end := context.WithTimeout(ctx, s.long)
	defer end()
	go func() { // posd's own end ends it
		select {
		case <-s.posd.Done:
			s.fail(fmt.Errorf("posd ended: %w", s.posd.Err))
			end()
		case <-ctx.Done():
		}
	}()
	var g sync.WaitGroup
	for i := range fronts {
		g.Go(func() { s.sell(ctx, i) })
	}
	g.Go(func() { s.upAndDown(ctx) })
	g.Go(func() { s.importAgain(ctx) })
	g.Go(func() { s.poll(ctx) })
	g.Go(func() { s.abuse(ctx) })
	for range 4 {
		g.Go(func() { s.dawdle(ctx) })
	}
	g.Go(func() { s.trace(ctx) })
	if s.plant {
		g.Go(func() { s.leak(ctx) })
	}
	for load.SleepUntil(ctx, time.Now().Add(sampleTime)) {
		m, err := s.look()
		if err != nil && ctx.Err() == nil && !busy(err) {
			s.fail(err)
		}
		if err == nil {
			samples = append(samples, m)
		}
	}
	g.Wait()
	return samples
}

// busy: a trace is being taken, so nothing else is profiled.
func busy(err error) bool { return strings.Contains(err.Error(), "urn:posd:problem:busy") }

func (s *stress) stop() (err error) {
	if s.posd != nil {
		err = s.posd.Stop()
	}
	if s.hub != nil {
		err = errors.Join(err, s.hub.Stop())
	}
	return err
}

func (s *stress) summary(samples []sample) {
	fmt.Printf("%d sales acknowledged, the slowest attempt %v\n", len(s.acks), s.slowest.Round(time.Millisecond))
	for _, what := range []string{"hub stopped", "hub killed", "catalogue imported", "status and metrics", "bad requests refused", "slow clients", "attempts repeated"} {
		fmt.Printf("  %-22s %d\n", what, s.counts[what])
	}
	if n := len(samples); n > 0 {
		for _, b := range bounds {
			from, most := b.of(samples[n/5]), 0
			for _, m := range samples {
				most = max(most, b.of(m))
			}
			fmt.Printf("  %-22s %d after the warm-up, %d at the end, %d at most\n", b.name, from, b.of(samples[n-1]), most)
		}
	}
}

// settled demands that every acknowledged sale is in the journal and at head office, once.
func (s *stress) settled(ctx context.Context) error {
	ctx, end := context.WithTimeout(ctx, 3*time.Minute)
	defer end()
	var last uint64
	for _, a := range s.acks {
		last = max(last, a.Seq)
	}
	err := s.hub.Wait(ctx, "the last sale", func() error {
		b, err := rig.Get(ctx, http.DefaultClient, s.hub.URL+"/v1/terminals", s.hub.Token)
		if err == nil && !hasRecord(b, last) {
			err = fmt.Errorf("head office lacks record %d", last)
		}
		return err
	})
	if err != nil {
		return err
	}
	journal, err := exec.CommandContext(ctx, s.bin.Posctl, "dump", "--config", s.conf).Output()
	if err != nil {
		return err
	}
	ledger, err := rig.Get(ctx, http.DefaultClient, s.hub.URL+"/v1/events?store=s1&terminal=t1", s.hub.Token)
	if err != nil {
		return err
	}
	errs := append(load.Compare(s.acks, journal, "the journal"), load.Compare(s.acks, ledger, "head office's ledger")...)
	if len(errs) > 20 {
		errs = errs[:20]
	}
	return errors.Join(errs...)
}
