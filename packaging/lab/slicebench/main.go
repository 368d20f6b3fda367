package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"posd/packaging/lab/place"
	"posd/packaging/lab/slicebench/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := benchSlice(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench-slice:", err)
		os.Exit(1)
	}
}

var (
	full = plan{quiet: 60, idle: [3]float64{120, 40, 30}, drain: [3]float64{90, 30, 20}, drainUnlimited: [3]float64{10, 6, 5}, rest: 900,
		events: 100_000, native: 3 * time.Minute}
	short = plan{quiet: 60, idle: [3]float64{30, 10, 10}, drain: [3]float64{20, 10, 10}, drainUnlimited: [3]float64{3, 2, 2}, rest: 5,
		events: 20_000, native: time.Minute}
)

func benchSlice(ctx context.Context) (err error) {
	b := &bench{plan: full}
	rep := &report{Began: time.Now(), LoadFrom: place.Load()}
	flag.BoolVar(&rep.Quick, "quick", false, "a short run with a small backlog, for a first look")
	flag.StringVar(&b.device, "device", "dist", "`folder` with posd and posctl for arm64")
	host := flag.String("host", "bin", "`folder` with posd, posctl and poshub for this machine")
	store := flag.String("store", ".tools/slicebench", "`folder` for what is kept from run to run")
	markdown := flag.String("md", "", "write the document to this `file`")
	only := flag.String("only", "", "what to measure, by default all, and with -quick posd, leaf and native: posd and nats-leaf in the slice, posd without quota, on a slow core, natively")
	flag.StringVar(&b.profiles, "profiles", "", "only take processor profiles of posd, with 40 sales a second, into this `folder`")
	flag.Parse()
	what := strings.Fields(*only)
	if len(what) == 0 {
		what = []string{"posd", "leaf", "free", "slow", "native"}
	}
	if rep.Quick {
		b.plan = short
		if *only == "" {
			what = []string{"posd", "leaf", "native"}
		}
	}
	b.say = func(f string, a ...any) {
		fmt.Printf("%6.1f s  "+f+"\n", append([]any{time.Since(rep.Began).Seconds()}, a...)...)
	}
	b.bin = rig.Programs{Posd: filepath.Join(*host, "posd"), Posctl: filepath.Join(*host, "posctl"), Poshub: filepath.Join(*host, "poshub")}
	if b.store, err = filepath.Abs(*store); err != nil {
		return err
	}
	if err := os.MkdirAll(b.store, 0o755); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("", "slicebench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.work)) }()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	rep.Kernel, rep.Events = b.kernel.Release, b.plan.events
	if err := b.measure(ctx, rep, what); err != nil {
		return err
	}
	rep.LoadTo, rep.Took = place.Load(), time.Since(rep.Began)
	rep.print(os.Stdout)
	if *markdown != "" {
		return rep.writeDocument(*markdown)
	}
	return nil
}

func (b *bench) measure(ctx context.Context, rep *report, what []string) (err error) {
	one := func(r run, err error) error {
		rep.Runs = append(rep.Runs, r)
		return err
	}
	var native chan error
	for _, w := range what {
		switch w {
		case "native":
			native = make(chan error, 1)
			go func() {
				var err error
				rep.QuietNative, err = b.quietNative(ctx, b.plan.native)
				native <- err
			}()
		}
	}
	if native != nil {
		// Beside the guests: they share the caches, not the processor time that is counted.
		defer func() { err = errors.Join(err, <-native) }()
	}
	for _, w := range what {
		switch w {
		case "posd":
			err = one(b.posd(ctx, limited, boardShift))
		case "free":
			err = one(b.posd(ctx, unlimited, boardShift))
		case "slow":
			err = one(b.posd(ctx, limited, slowShift))
		case "leaf":
			if err = b.prepareLeaf(ctx); err != nil {
				return err
			}
			var runs []run
			runs, err = b.leaf(ctx, limited, boardShift, leafSizes)
			rep.Runs = append(rep.Runs, runs...)
		case "native":
		default:
			err = fmt.Errorf("-only %s: there are posd, leaf, free, slow and native", w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
