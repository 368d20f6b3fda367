package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"posd/sync/ledger/pgtest"
)

// hubOptions of the command line.
type hubOptions struct {
	dir       string
	markdown  string
	parts     []string
	rounds    int
	events    int           // of the ledgers' journal; a backlog has as many twice
	terminals int           // of the herd
	each      int           // events of each of them
	rate      int           // of handshakes that its server lets in, where it is limited
	rest      time.Duration // until the server's memory is looked at
	quick     bool
}

// parts of "bench hub". What is not run is taken from the last run's results.
var hubParts = []string{"ledger", "latency", "herd", "limited", "outage"}

func parseHub(args []string) (o hubOptions, err error) {
	f := flag.NewFlagSet("bench hub", flag.ContinueOnError)
	f.StringVar(&o.dir, "dir", ".tools/bench.d", "`folder` for journals, servers' files and results; journals are kept for the next run")
	f.StringVar(&o.markdown, "md", "", "write the document to this `file`")
	parts := f.String("parts", strings.Join(hubParts, ","), "run these `parts`; of the others the last results are shown")
	f.IntVar(&o.rounds, "rounds", 3, "`number` of rounds of the ledgers")
	f.IntVar(&o.events, "events", 400_000, "`number` of events in a journal")
	f.IntVar(&o.terminals, "terminals", 3000, "`number` of terminals in the herd")
	f.IntVar(&o.each, "each", 1000, "`number` of events of each terminal in the herd")
	f.IntVar(&o.rate, "rate", 200, "TLS handshakes that the server lets in in the parts limited and outage, `number` a second")
	f.BoolVar(&o.quick, "quick", false, "one round of everything, short, with 50 terminals, for a first look")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.quick {
		o.rounds, o.events, o.terminals, o.each = 1, 50_000, 50, 200
	}
	o.rest = 12 * time.Second // its caches of messages last 10 s
	o.parts = strings.Split(*parts, ",")
	for _, p := range o.parts {
		if !slices.Contains(hubParts, p) {
			return o, fmt.Errorf("bench hub: there is no part %q; there are %s", p, strings.Join(hubParts, ", "))
		}
	}
	if f.NArg() > 0 || o.rounds < 1 || o.events < 1000 || o.terminals < 1 || o.each < 1 {
		return o, errors.New("bench hub: at least 1 round, 1,000 events, 1 terminal with 1 event, and no other arguments")
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return o, err
	}
	return o, os.MkdirAll(o.dir, 0o750)
}

// hubRun is a run of "bench hub".
type hubRun struct {
	options hubOptions
	server  string // nats-server
	pg      *pgtest.Server

	Ledger  *ledgerResult
	Latency *latencyResult
	Herd    *herdResult
	Limited *herdResult
	Outage  *herdResult
}

func hubCommand(ctx context.Context, args []string) (err error) {
	o, err := parseHub(args)
	if err != nil {
		return err
	}
	r := &hubRun{options: o, server: filepath.Join(o.dir, "nats-server")}
	if err := buildProgram(ctx, r.server, natsPackage); err != nil {
		return err
	}
	if r.pg, err = pgtest.New(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.pg.Close()) }()
	for _, p := range []struct {
		name string
		to   any
		run  func(context.Context) error
	}{
		{"ledger", &r.Ledger, r.runLedgers},
		{"latency", &r.Latency, r.runLatency},
		{"herd", &r.Herd, r.runHerd},
		{"limited", &r.Limited, r.runLimited},
		{"outage", &r.Outage, r.runOutage},
	} {
		file := filepath.Join(o.dir, "result-"+p.name+".json")
		if !slices.Contains(o.parts, p.name) {
			if err := restore(file, p.to); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", p.name)
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := save(file, p.to); err != nil {
			return err
		}
	}
	r.print(os.Stdout)
	if o.markdown != "" {
		return r.writeDocument(o.markdown)
	}
	return nil
}

// save keeps a part's result for a later run's document, restore takes it; one that was
// never made is left out.
func save(file string, result any) error {
	b, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

func restore(file string, result any) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, result)
	}
	if err != nil {
		return fmt.Errorf("result of an earlier run: %w; remove it", err)
	}
	return nil
}

func (r *hubRun) print(w io.Writer) {
	for _, p := range []interface{ text() string }{r.Ledger, r.Latency, r.Herd, r.Limited, r.Outage} {
		fmt.Fprint(w, p.text())
	}
	fmt.Fprintln(w, strings.Join(r.Ratios(), "\n"))
}
