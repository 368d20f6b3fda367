package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const help = `bench measures the way of an event from a terminal's journal to head office.

Usage:

  bench uplink [flags]    journal to stream, beside other ways to do it
  bench hub [flags]       head office: ledgers, sale to watermark, a herd of terminals
  bench flap [flags]      coming back on links that are cut again and again
  bench plan [flags]      what a fleet needs, computed from what was measured

"bench uplink --help" lists flags, and so on.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == childFlag:
		err = runChild(ctx, os.Args[2])
	case len(os.Args) > 1 && os.Args[1] == "hub":
		err = hubCommand(ctx, os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "flap":
		err = flapCommand(ctx, os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "plan":
		err = planCommand(ctx, os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "uplink":
		err = uplinkCommand(ctx, os.Args[2:])
	default:
		fmt.Fprint(os.Stderr, help)
		os.Exit(2)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options of the command line.
type options struct {
	dir      string // for journals, servers and their stores
	markdown string
	profiles string
	only     []string // contenders
	rounds   int
	events   int
	quick    bool
}

func parse(name string, args []string) (o options, err error) {
	f := flag.NewFlagSet("bench "+name, flag.ContinueOnError)
	f.StringVar(&o.dir, "dir", ".tools/bench.d", "`folder` for journals and the servers' files; journals are kept for the next run")
	f.StringVar(&o.markdown, "md", "", "write the document to this `file`")
	f.StringVar(&o.profiles, "profiles", "", "write CPU profiles of our uplink into this `folder`")
	only := f.String("only", "", "run no other contenders than this `list` of names, separated by commas, such as posd,posd-single; without a document")
	f.IntVar(&o.rounds, "rounds", 3, "`number` of rounds; every contender runs once in each")
	f.IntVar(&o.events, "events", 400_000, "`number` of events in a journal")
	f.BoolVar(&o.quick, "quick", false, "two short rounds, for a first look")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	if o.quick {
		o.rounds, o.events = 2, 50_000
	}
	if f.NArg() > 0 || o.rounds < 1 || o.events < 1000 {
		return o, fmt.Errorf("bench %s: at least 1 round and 1,000 events, and no other arguments", name)
	}
	return o, os.MkdirAll(o.dir, 0o750)
}
