package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"posd/packaging/lab/place"
	"posd/packaging/lab/slicebench/rig"
)

const (
	name = "bench-checkout"
	// peerFlag makes this program the SQLite peer; no user types it.
	peerFlag = "-peer"
)

// options of the command line.
type options struct {
	rounds   int
	long     time.Duration // of one cell of a round
	scans    int
	bin      rig.Programs
	dir      string
	work     string
	size     int
	markdown string
}

func main() {
	err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 && args[0] == peerFlag {
		return runPeer(args[1:])
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := o.place(ctx)
	if err != nil {
		return err
	}
	rep, err := o.measure(ctx, p)
	// Before anything is printed: whoever reads that may have gone, and a broken pipe ends us.
	err = errors.Join(err, p.Remove())
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	rep.print(os.Stdout)
	if o.markdown != "" {
		return rep.writeDocument(o.markdown)
	}
	return nil
}

func parse(args []string) (o options, err error) {
	bin, quick := "", false
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.IntVar(&o.rounds, "rounds", 3, "rounds; each contender does everything once in each")
	fs.DurationVar(&o.long, "long", 1200*time.Millisecond, "time of each number of lines and callers in a round")
	fs.IntVar(&o.scans, "scans", 3000, "scans that are timed one after the other")
	fs.StringVar(&bin, "bin", "bin", "folder of posd and posctl")
	fs.StringVar(&o.dir, "dir", "", "use this folder as it is, not a loop device (which needs root)")
	fs.StringVar(&o.work, "work", "/var/tmp", "folder for the image of the loop device")
	fs.IntVar(&o.size, "size", 2048, "size of that image in MiB")
	fs.StringVar(&o.markdown, "md", "", "write the document to this file")
	fs.BoolVar(&quick, "quick", false, "one short round, for a first look")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if quick {
		o.rounds, o.long, o.scans = 1, 400*time.Millisecond, 500
	}
	o.bin = rig.Programs{Posd: filepath.Join(bin, "posd"), Posctl: filepath.Join(bin, "posctl")}
	return o, nil
}

func (o options) place(ctx context.Context) (*place.Place, error) {
	switch {
	case o.dir != "":
		return place.Shared(o.dir, name)
	case os.Geteuid() != 0:
		fmt.Fprintf(os.Stderr, "%s: not root, so no loop device: files go to %s\n", name, o.work)
		return place.Shared(o.work, name)
	}
	return place.Own(ctx, o.work, name, o.size)
}
