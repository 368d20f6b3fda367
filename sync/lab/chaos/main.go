package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.IntVar(&o.cuts, "cuts", 60, "cuts of connections")
	flag.Uint64Var(&o.seed, "seed", 0, "of loads and cuts, 0 = from the clock; what real processes interleave does not repeat")
	flag.BoolVar(&o.mutants, "mutants", true, "plant bugs and see them caught")
	flag.StringVar(&o.scene, "scene", "", "play only this: "+actNames()+", or all")
	flag.StringVar(&o.store, "store", "", "on which a scene is played: bbolt or PostgreSQL (default both)")
	flag.StringVar(&o.only, "only", "", "plant only the bugs whose names contain this; makes no history")
	flag.IntVar(&o.events, "events", 0, "sales of a scene, 0 = as many as it is meant for")
	flag.StringVar(&o.folder, "dir", ".tools/chaos", "work folder; what failed is kept in it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano()) % 1e9
	}
	ok, err := chaos(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}

type options struct {
	cuts    int
	seed    uint64
	mutants bool
	scene   string
	store   string
	only    string
	events  int
	folder  string
}

func chaos(ctx context.Context, o options) (ok bool, err error) {
	fmt.Printf("chaos: seed %d\n", o.seed)
	b, err := prepare(ctx, o.folder)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	b.say("programs built")
	if o.scene != "" {
		err := b.perform(ctx, o)
		return err == nil, err
	}
	v := &verdicts{b: b}
	if o.only != "" {
		o.cuts = 0
	}
	for _, h := range histories(o.seed, o.cuts) {
		if err = v.take(b.play(ctx, h)); err != nil {
			break
		}
		b.say("%v: %d cuts so far, %d leader changes, %d wrong", h, v.tally.all(), v.tally.leaders, v.wrong())
	}
	v.report()
	caught, planted := 0, 0
	if err == nil && o.mutants {
		caught, planted, err = b.plant(ctx, o.seed+1e6, o.only)
	}
	fmt.Printf("chaos: %d cuts, %d leader changes, %d lost, %d twice, %d out of order, %d stuck, %d false alarms, mutants caught %d of %d, %.0f s\n",
		v.tally.all(), v.tally.leaders, v.kinds[lost], v.kinds[twice], v.kinds[disorder], v.kinds[stuck], v.kinds[phantom]+v.kinds[falseAlarm],
		caught, planted, time.Since(b.begin).Seconds())
	return err == nil && v.wrong() == 0 && caught == planted, err
}

// verdicts sums up.
type verdicts struct {
	b     *bench
	tally tally
	kinds [kinds]int
}

// take counts a finding; other errors end the lab.
func (v *verdicts) take(t tally, err error) error {
	v.tally.add(t)
	k := kindOf(err)
	if k == 0 {
		return err
	}
	v.kinds[k]++
	v.b.say("WRONG: %v", err)
	return nil
}

func (v *verdicts) wrong() (n int) {
	for _, k := range v.kinds {
		n += k
	}
	return n
}

func (v *verdicts) report() {
	t := &v.tally
	text := ""
	for i := range blows {
		text += fmt.Sprintf(", %d %s", t.cuts[i], i)
	}
	hub := 0
	for i := range blows {
		hub += t.hubCuts[i]
	}
	v.b.say("terminals' links: %s; %d landings after the cut; %d cuts of hubs' links", text[2:], t.lates, hub)
	v.b.say("killed: %d times a terminal, %d a hub, %d a server, %d times all servers, %d PostgreSQL; %d sales acknowledged, %d asked for again; %d rewinds; %d events published",
		t.tillKills, t.hubKills, t.serverKills, t.blackouts, t.baseKills, t.sales, t.replays, t.rewinds, t.events)
}
