package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	cuts := flag.Int("cuts", 300, "power cuts to judge")
	seed := flag.Uint64("seed", 0, "of loads and cuts, 0 = from the clock; what a real kernel interleaves does not repeat")
	each := flag.Int("each", 25, "cuts of one terminal, then it has a new disk")
	guests := flag.Int("guests", 2, "guests at once")
	planted := flag.Bool("planted", true, "plant bugs and see them caught")
	posd := flag.String("posd", "dist/posd", "the arm64 build under test")
	posctl := flag.String("posctl", "dist/posctl", "the arm64 build of posctl")
	hub := flag.String("poshub", "bin/poshub", "poshub for this machine")
	kernels := flag.String("kernel", ".tools/guest-kernel", "folder in which the guests' kernel is kept")
	dir := flag.String("dir", ".tools/lab-guest", "work folder; what failed is kept in it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano()) % 1e9
	}
	ok, err := run(ctx, options{*cuts, *each, *guests, *seed, *planted, *posd, *posctl, *hub, *kernels, *dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab-guest:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}

type options struct {
	cuts, each, guests                int
	seed                              uint64
	planted                           bool
	posd, posctl, hub, kernel, folder string
}

func run(ctx context.Context, o options) (bool, error) {
	for _, name := range []string{"qemu-system-aarch64", "mke2fs", "e2fsck"} {
		if _, err := exec.LookPath(name); err != nil {
			return false, fmt.Errorf("%w; packaging/tools/need.sh qemu-system-aarch64 mkfs.ext4 installs it", err)
		}
	}
	begin := time.Now()
	fmt.Printf("lab-guest: seed %d\n", o.seed)
	work := filepath.Join(o.folder, "work")
	if err := os.RemoveAll(work); err != nil {
		return false, err
	}
	b, err := prepare(ctx, o.posd, o.posctl, o.hub, o.kernel, work, filepath.Join(o.folder, "failed"))
	if err != nil {
		return false, err
	}
	b.say("kernel %s; builds and images made in %.0f s", b.kernel.Release, time.Since(begin).Seconds())
	t := &tally{want: o.cuts, b: b}
	jobs := histories(o)
	err = parallel(ctx, b, t, o.guests, len(jobs), func(ctx context.Context, l *lane, i int) error {
		return t.take(l.play(ctx, jobs[i]))
	})
	t.report(time.Since(begin))
	caught := 0
	if err == nil && o.planted {
		caught, err = plant(ctx, b, o)
	}
	fmt.Printf("lab-guest: %d cuts, %d lost, %d twice, %d phantom, %d false alarms, %d unmountable, planted %d of %d caught, %.0f s\n",
		t.cuts, t.kinds[lost], t.kinds[twice], t.kinds[phantom], t.kinds[falseAlarm], t.kinds[unmountable],
		caught, planted(o), time.Since(begin).Seconds())
	return err == nil && t.wrong() == 0 && caught == planted(o), err
}

func planted(o options) int {
	if !o.planted {
		return 0
	}
	return len(bugs)
}

// histories shares the cuts out, and the seeds.
func histories(o options) (all []*history) {
	each := min(o.each, max(1, (o.cuts+o.guests-1)/o.guests)) // no guest stands idle
	for left := o.cuts; left > 0; left -= each {
		all = append(all, newHistory(o.seed+uint64(len(all)), min(each, left), nil))
	}
	return all
}

// parallel runs n jobs on some lanes. The first error ends all.
func parallel(ctx context.Context, b *bench, t *tally, lanes, n int, job func(context.Context, *lane, int) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	queue := make(chan int)
	var wg sync.WaitGroup
	for i := range min(lanes, n) {
		l, err := newLane(b, i, t)
		if err != nil {
			fail(err)
			break
		}
		wg.Go(func() {
			for i := range queue {
				if err := job(ctx, l, i); err != nil {
					fail(err)
				}
			}
			if err := l.close(); err != nil {
				fail(err)
			}
		})
	}
	for i := range n {
		select {
		case queue <- i:
		case <-ctx.Done():
		}
	}
	close(queue)
	wg.Wait()
	return context.Cause(ctx)
}

// plantedCuts is after how many cuts a planted bug counts as missed.
const plantedCuts = 60

// plant runs each bug until it is seen.
func plant(ctx context.Context, b *bench, o options) (caught int, err error) {
	var mu sync.Mutex
	err = parallel(ctx, b, &tally{b: b, quiet: true}, o.guests, len(bugs), func(ctx context.Context, l *lane, i int) error {
		begin := time.Now()
		t := &tally{b: b, quiet: true}
		l.tally = t
		for n := uint64(0); t.cuts < plantedCuts; n++ {
			err := l.play(ctx, newHistory(o.seed+uint64(i+1)*1e6+n, 12, &bugs[i]))
			var f *finding
			if errors.As(err, &f) && bugs[i].shows != 0 && f.kind != bugs[i].shows {
				// Head office may notice first, and posd end to begin a new journal: that is
				// no proof that this lab would have. It goes on until it sees it itself.
				b.say("planted %q: showed as %q after %d cuts, it has to show as %q too", bugs[i].name, f.kind, t.cuts, bugs[i].shows)
				continue
			}
			if errors.As(err, &f) {
				first, _, _ := strings.Cut(err.Error(), "\n")
				b.say("planted %q: caught after %d cuts, %.0f s: %.300s", bugs[i].name, t.cuts, time.Since(begin).Seconds(), first)
				mu.Lock()
				caught++
				mu.Unlock()
				return nil
			}
			if err != nil {
				return fmt.Errorf("planted %q: %w", bugs[i].name, err)
			}
		}
		b.say("planted %q: NOT CAUGHT in %d cuts, %.0f s", bugs[i].name, t.cuts, time.Since(begin).Seconds())
		return nil
	})
	return caught, err
}

// tally counts what came out.
type tally struct {
	b     *bench
	want  int
	quiet bool

	mu      sync.Mutex
	cuts    int
	by      [aims]int
	pending int // unflushed bytes at the cuts
	atWork  int // cuts with any
	sales   int
	replays int
	fscks   int
	freed   uint64 // records
	kinds   [kinds]int
}

func (t *tally) cut(a aim, pending int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cuts++
	t.by[a]++
	t.pending += pending
	if pending > 0 {
		t.atWork++
	}
	if t.cuts%10 == 0 && !t.quiet {
		t.b.say("%d of %d cuts, %d wrong", t.cuts, t.want, t.wrong())
	}
}

func (t *tally) sold(sales, replays int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sales += sales
	t.replays += replays
}

func (t *tally) checked() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fscks++
}

func (t *tally) frees(records uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.freed += records
}

// take counts a finding; other errors end the lab.
func (t *tally) take(err error) error {
	var f *finding
	if !errors.As(err, &f) {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kinds[f.kind]++
	t.b.say("WRONG: %v", err)
	return nil
}

func (t *tally) wrong() (n int) {
	for _, k := range t.kinds {
		n += k
	}
	return n
}

func (t *tally) report(took time.Duration) {
	if t.cuts == 0 {
		return
	}
	var by []string
	for a, n := range t.by {
		by = append(by, fmt.Sprintf("%d %s", n, aim(a)))
	}
	t.b.say("%d cuts (%s); %d of them with unflushed writes, %.0f KiB each; %d sales acknowledged, %d asked for again; %d records freed; %d file systems proved by e2fsck; %.1f s a cut",
		t.cuts, strings.Join(by, ", "), t.atWork, float64(t.pending)/1024/float64(max(1, t.atWork)), t.sales, t.replays, t.freed, t.fscks, took.Seconds()/float64(t.cuts))
}
