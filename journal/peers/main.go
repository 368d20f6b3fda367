// Command peers times one durable commit of 300 bytes in posd's journal and in
// other stores that a Go program could use, all in one run, on one file system
// and on one core.
//
// The numbers of one machine say little about another; the ratios say more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"posd/packaging/lab/place"
)

// options of the command line.
type options struct {
	rounds, commits int
	limit           time.Duration
	writers         []int
	only            *regexp.Regexp
	dir, work       string
	size            int
	markdown        string
	profiles        string
	opens           []int // records in the journals whose start is timed
	reads           int   // reads that are timed
}

func main() {
	var err error
	if len(os.Args) == 3 && os.Args[1] == childFlag {
		err = runChild(os.Args[2])
	} else {
		err = runParent()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-journal:", err)
		os.Exit(1)
	}
}

func parse() (o options, err error) {
	writers, only, quick := "", "", false
	flag.IntVar(&o.rounds, "rounds", 5, "rounds; every contender runs once in each")
	flag.IntVar(&o.commits, "commits", 4500, "commits of each writer in a round")
	flag.DurationVar(&o.limit, "limit", 500*time.Millisecond, "longest time of a peer in a round; ours has eight times as long, to fill whole segments")
	flag.StringVar(&writers, "writers", "1,8,32", "numbers of concurrent writers")
	flag.StringVar(&only, "only", "", "regular expression: run these contenders and posd")
	flag.StringVar(&o.dir, "dir", "", "use this folder as it is, not a loop device (which needs root)")
	flag.StringVar(&o.work, "work", "/var/tmp", "folder for the image of the loop device")
	flag.IntVar(&o.size, "size", 1024, "size of that image in MiB")
	flag.StringVar(&o.markdown, "md", "", "write the document to this file")
	flag.StringVar(&o.profiles, "profiles", "", "write a CPU profile of each child into this folder")
	flag.BoolVar(&quick, "quick", false, "two short rounds, for a first look")
	flag.Parse()
	o.opens, o.reads = []int{10_000, 1_000_000}, 3000
	if quick {
		o.rounds, o.commits, o.limit, o.reads = 2, 1000, 100*time.Millisecond, 1000
	}
	for text := range strings.SplitSeq(writers, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return o, fmt.Errorf("-writers %s: %q is not a number above 0", writers, text)
		}
		o.writers = append(o.writers, n)
	}
	o.only, err = regexp.Compile(only)
	return o, err
}

func runParent() (err error) {
	o, err := parse()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := o.place(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Remove()) }()
	core, err := place.LastCore()
	if err != nil {
		return err
	}
	rep, err := o.measure(ctx, &bench{p, core})
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return err
	}
	rep.print(os.Stdout)
	if o.markdown != "" {
		return rep.writeDocument(o.markdown)
	}
	return nil
}

// name is that of the program, and of the folders that it makes.
const name = "bench-journal"

// bench is where all contenders keep their files, and the core that they run on.
type bench struct {
	*place.Place
	core int
}

func (o options) place(ctx context.Context) (*place.Place, error) {
	switch {
	case o.dir != "":
		return place.Shared(o.dir, name)
	case os.Geteuid() != 0:
		fmt.Fprintf(os.Stderr, "bench-journal: not root, so no loop device: files go to %s\n", o.work)
		return place.Shared(o.work, name)
	}
	return place.Own(ctx, o.work, name, o.size)
}
