package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posd/packaging/lab/guest"
	"posd/packaging/lab/slicebench/load"
	"posd/packaging/lab/slicebench/rig"
)

// plan is how long everything takes, in the guest's time.
type plan struct {
	quiet                       float64    // seconds without a sale
	idle, drain, drainUnlimited [3]float64 // seconds at each rate
	rest                        float64    // for the rest of the backlog, at most
	events                      uint64
	native                      time.Duration // of the quiet time on this machine
}

var rates = []int{1, 5, 10}

// run is one contender under one quota.
type run struct {
	Name    string // "posd"
	Quota   quota
	Shift   int // an instruction takes 1<<Shift ns
	Memory  int // MiB of the slice
	Results []load.Result
	Failed  string // why it cannot live in that slice, "" if it can
	Took    time.Duration
}

// bench has what all runs need.
type bench struct {
	bin            rig.Programs
	device         string // folder of the device's rig.Programs
	store          string // folder that is kept from run to run
	work           string // folder for this run
	kernel         guest.Linux
	fresh, backlog *rig.Terminal
	disk, leafDisk string
	plan           plan
	profiles       string // folder for processor profiles, "" = none
	say            func(format string, args ...any)
}

// boardShift makes a core of 500 million instructions a second, about what a Cortex-A53
// reaches in such programs; slowShift one of a quarter of that.
const (
	boardShift = 1
	slowShift  = 3
)

// prepare makes programs, journals and the disk.
func (b *bench) prepare(ctx context.Context) (err error) {
	if b.kernel, err = guest.Kernel(ctx, filepath.Join(filepath.Dir(b.store), "guest-kernel")); err != nil {
		return err
	}
	b.say("a backlog of %d events is made, or found", b.plan.events)
	if b.fresh, err = rig.MakeTerminal(ctx, b.bin, filepath.Join(b.store, "fresh"), "t1", "", 0); err != nil {
		return err
	}
	if b.backlog, err = rig.MakeTerminal(ctx, b.bin, filepath.Join(b.store, fmt.Sprint("backlog-", b.plan.events)), "t2", "", b.plan.events); err != nil {
		return err
	}
	for name, pkg := range map[string]string{"neighbour": "./packaging/lab/slicebench/neighbour", "poshub": "./cmd/poshub"} {
		if err := crossBuild(ctx, filepath.Join(b.work, name), pkg); err != nil {
			return err
		}
	}
	tree := filepath.Join(b.work, "tree")
	if err := stage(tree, map[string]string{
		"bin/posd": filepath.Join(b.device, "posd"), "bin/posctl": filepath.Join(b.device, "posctl"),
		"fresh": b.fresh.Dir, "backlog": b.backlog.Dir,
	}); err != nil {
		return err
	}
	b.disk = filepath.Join(b.work, "disk")
	return errors.Join(image(ctx, b.disk, tree, int(b.plan.events/1000*5+200)), os.RemoveAll(tree))
}

func crossBuild(ctx context.Context, out, pkg string) error {
	_, err := rig.Output(ctx, "env", "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64", "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, pkg)
	return err
}

func (r *run) label() string {
	return fmt.Sprintf("%s in %d MiB, quota %s, %d ns", r.Name, r.Memory, r.Quota, 1<<r.Shift)
}

// posd measures posd under a quota.
func (b *bench) posd(ctx context.Context, q quota, shift int) (r run, err error) {
	r = run{Name: "posd", Quota: q, Memory: 32, Shift: shift}
	begun := time.Now()
	defer func() { r.Took = time.Since(begun) }()
	x, err := boot(ctx, b.kernel, b.work, b.disk, shift, guest.File{Name: "bin/poshub", Mode: 0o755, Path: filepath.Join(b.work, "poshub")})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, x.m.Kill()) }()
	b.say("%s: the guest is up", r.label())
	if _, err := x.a.Start(ctx, office("poshub", "/bin/poshub", "serve", "--auth", "token", "--data", "/tmp/hub",
		"--listen", fmt.Sprint("127.0.0.1:", hubPort), "--nats", fmt.Sprint("127.0.0.1:", hubNATS))); err != nil {
		return r, err
	}
	token, err := x.run(ctx, tool, "tokens", "/tmp/hub")
	if err != nil {
		return r, err
	}
	s := load.Script{Slice: sliceDir, URL: fmt.Sprint("http://127.0.0.1:", webPort), Hub: fmt.Sprint("http://127.0.0.1:", hubPort), HubToken: strings.TrimSpace(string(token))}
	for _, side := range []struct {
		t      *rig.Terminal
		data   string
		phases []load.Phase
	}{
		{b.fresh, "/data/fresh", b.idlePhases()},
		{b.backlog, "/data/backlog", b.drainPhases(&r)},
	} {
		p := rig.Place{Data: side.data, Listen: fmt.Sprint("127.0.0.1:", webPort), Socket: "/run/posd.sock",
			Hub: fmt.Sprint("127.0.0.1:", hubNATS), HubToken: "/tmp/hub/nats.token"}
		if q == unlimited {
			p.Extra = "\n[limits]\nexpect_cpu = \"0%\"\n"
		}
		if err := x.a.WriteFile(ctx, "/run/posd.toml", []byte(p.Config(side.t.ID)), 0o600); err != nil {
			return r, err
		}
		if _, err := x.a.Start(ctx, guest.Program{Name: "posd", Args: inSlice(q, r.Memory, "/data/bin/posd", "--config", "/run/posd.toml")}); err != nil {
			return r, err
		}
		s.Socket, s.PosctlToken, s.ProfileFile = "/run/posd.sock", side.t.Posctl, "/run/profile"
		s.Token, s.Terminal, s.Phases = side.t.Token, side.t.ID, side.phases
		s.Phases[0].Wait = s.URL + "/readyz"
		if b.profiles != "" {
			s.Phases = profiled(s.Phases)
		}
		if err := x.play(ctx, s, func(res load.Result) {
			r.Results = append(r.Results, res)
			b.say("%s: %s", r.label(), brief(&res))
		}); err != nil {
			return r, errors.Join(err, x.logs(ctx, "posd", "poshub"))
		}
		if b.profiles != "" {
			text, err := x.a.ReadFile(ctx, s.ProfileFile)
			if err == nil {
				err = os.WriteFile(filepath.Join(b.profiles, fmt.Sprintf("%s-%s-%dns.pprof", filepath.Base(side.data), q.word(), 1<<shift)), text, 0o644)
			}
			if err != nil {
				return r, err
			}
		}
		if err := x.stop(ctx, "posd"); err != nil {
			return r, err
		}
	}
	return r, nil
}

// brief is one line about a phase.
func brief(r *load.Result) string {
	s := fmt.Sprintf("%-12s %5.1f s, %6.3f %% of a core, %d of %d periods throttled; own memory %.1f MB, high %d, max %d, oom %d", r.Name, r.Took,
		percentOf(r), r.Delta("cpu.stat nr_throttled"), r.Delta("cpu.stat nr_periods"),
		float64(r.Most.Own)/1e6, r.Delta("memory.events high"), r.Delta("memory.events max"), r.Delta("memory.events oom_kill"))
	if n := len(r.All); n > 0 || r.Failed > 0 {
		s += fmt.Sprintf("; %d calls, p50 %.2f p99 %.2f max %.2f ms", n, ms(r.At(0.5)), ms(r.At(0.99)), ms(r.At(1)))
	}
	if r.Failed > 0 {
		s += fmt.Sprintf(", %d FAILED: %s", r.Failed, r.First)
	}
	if r.To > r.From {
		s += fmt.Sprintf("; %.0f events/s to head office", float64(r.To-r.From)/r.Took)
	}
	return s
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (b *bench) idlePhases() []load.Phase {
	all := []load.Phase{
		{Name: "warm-up", Rate: 2, Seconds: 10},
		{Name: "settling", Seconds: 30},
		{Name: "quiet", Seconds: b.plan.quiet},
	}
	return append(all, selling("idle", b.plan.idle)...)
}

// drainPhases ends with the rest of the backlog where that does not take for ever.
func (b *bench) drainPhases(r *run) []load.Phase {
	seconds := b.plan.drain
	if r.Quota == unlimited {
		seconds = b.plan.drainUnlimited
	}
	all := append([]load.Phase{{Name: "start", Seconds: 2}}, selling("drain", seconds)...)
	rest := load.Phase{Name: "drain-alone", Until: b.plan.events, Seconds: 10}
	if r.Quota == limited && r.Shift == boardShift {
		rest.Seconds = b.plan.rest
	}
	return append(all, rest)
}

// profiled plays the first phase only, and then one with more sales than a till makes,
// to have samples.
func profiled(phases []load.Phase) []load.Phase {
	return []load.Phase{phases[0], {Name: "profile", Rate: 40, Seconds: 32, Profile: "/debug/pprof/profile?seconds=30"}}
}

func selling(kind string, seconds [3]float64) (all []load.Phase) {
	for i, rate := range rates {
		all = append(all, load.Phase{Name: fmt.Sprint(kind, "-", rate), Rate: rate, Seconds: seconds[i]})
	}
	return all
}
