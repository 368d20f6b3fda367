package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"posd/packaging/lab/place"
)

// row is one contender with one GOMAXPROCS and so many writers.
type row struct {
	contender
	gomaxprocs int
	writers    int
	rounds     []sample
}

// oursLonger is how much longer than a peer ours may run in a round.
const oursLonger = 8

func (o options) rows() (list []*row) {
	for _, writers := range o.writers {
		for _, c := range chosen(o.only) {
			if writers < c.atLeast {
				continue
			}
			for _, procs := range c.procs {
				list = append(list, &row{contender: c, gomaxprocs: procs, writers: writers})
			}
		}
	}
	return list
}

func (o options) measure(ctx context.Context, p *bench) (*report, error) {
	rep := &report{options: o, place: p, began: time.Now(), loadFrom: place.Load(), rows: o.rows()}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "bench-journal: round %d of %d\n", round+1, o.rounds)
		for _, r := range rep.rows { // so that what changes with time meets everybody
			if err := r.measure(ctx, o, p); err != nil {
				return nil, err
			}
		}
	}
	err := rep.measureOurs(ctx)
	rep.loadTo = place.Load()
	return rep, err
}

func (r *row) measure(ctx context.Context, o options, p *bench) error {
	t := task{Kind: "commits", Contender: r.name, Procs: r.gomaxprocs, Env: r.env, Writers: r.writers, Commits: o.commits * r.writers, Limit: o.limit}
	if r.name == oursName {
		t.Limit *= oursLonger
	}
	if o.profiles != "" {
		t.Profile = filepath.Join(o.profiles, fmt.Sprintf("%s-p%d-w%d.pprof", r.name, r.gomaxprocs, r.writers))
	}
	var s sample
	if err := p.do(ctx, t, &s); err != nil {
		return err
	}
	r.rounds = append(r.rounds, s)
	return nil
}

// measureOurs measures what only our journal is asked for.
func (rep *report) measureOurs(ctx context.Context) (err error) {
	p := rep.place
	fmt.Fprintln(os.Stderr, "bench-journal: first fill, start, reads, memory")
	first := task{Kind: "first fill", Contender: oursName, Procs: 2, Env: []string{goMemory}}
	if err := p.do(ctx, first, &rep.firstFill); err != nil {
		return err
	}
	for _, n := range rep.options.opens {
		start := openTime{records: n}
		if start.ms, start.segments, err = p.openTime(ctx, n); err != nil {
			return err
		}
		rep.opens = append(rep.opens, start)
	}
	for _, procs := range []int{2, 1} {
		for _, busy := range []bool{false, true} {
			r := readTime{procs: procs, busy: busy}
			if r.p99, err = p.readP99(ctx, procs, rep.options.reads, busy); err != nil {
				return err
			}
			rep.reads = append(rep.reads, r)
		}
	}
	for _, scrub := range []bool{false, true} {
		memory := task{Kind: "memory", Contender: oursName, Procs: 2, Env: []string{goMemory}, Commits: 5000, Busy: scrub}
		var kib float64
		if err := p.do(ctx, memory, &kib); err != nil {
			return err
		}
		rep.memory = append(rep.memory, kib)
	}
	return nil
}
