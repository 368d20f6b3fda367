package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"posd/sync/hub"
)

const fleetUsage = `Usage: poshub fleet [flags]
       poshub fleet retire STORE TERMINAL --why TEXT [flags]

Shows the terminals, the worst first: their state, when they were last heard, what
has not reached the ledger yet, and what is the matter. Asks the hub that runs.

Retire puts a terminal that is no more out of the lists, sums and alarms, audited. Its
events stay, and it is shown again if it is ever heard again.

Exit codes: 0, 1 the hub could not be asked, 2 wrong flags; with --check also 3,
something is failing.

Flags:
`

const exitFailing = 3

// fleetQuestion is what "poshub fleet" was asked.
type fleetQuestion struct {
	client
	store, state       string
	watch, json, check bool
	every              time.Duration
}

func fleetCommand(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "retire" {
		return retireCommand(args[1:], stdout, stderr)
	}
	var q fleetQuestion
	f := newFlags("fleet", fleetUsage, stdout, stderr)
	q.addTo(f)
	f.StringVar(&q.store, "store", "", "only the terminals of this `store`")
	f.StringVar(&q.state, "state", "", "only those in this `state`: enrolled, online, offline, failing or retired")
	f.BoolVar(&q.watch, "watch", false, "show it again and again until interrupted")
	f.DurationVar(&q.every, "every", 2*time.Second, "how often, with --watch")
	f.BoolVar(&q.json, "json", false, "one JSON object for each terminal, a line each, in the order of their names")
	f.BoolVar(&q.check, "check", false, "exit with 3 if a terminal is failing")
	if code, ok := f.parse(args); !ok {
		return code
	}
	switch {
	case f.NArg() > 0:
		return f.fail(exitUsage, "unexpected argument %q; see poshub fleet --help", f.Arg(0))
	case q.wrong() != "":
		return f.fail(exitUsage, "%s", q.wrong())
	case q.watch && (q.json || q.check):
		return f.fail(exitUsage, "--watch goes with neither --json nor --check")
	case q.every < 100*time.Millisecond:
		return f.fail(exitUsage, "--every must be 100ms or more")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	for {
		failing, err := q.ask(ctx, stdout)
		switch {
		case q.watch && ctx.Err() != nil:
			return 0
		case err != nil && !q.watch:
			return f.fail(exitFailed, "%v", err)
		case err != nil:
			fmt.Fprintf(stdout, "%s%v\n", clearScreen, err)
		case !q.watch && q.check && failing > 0:
			return f.fail(exitFailing, "failing: %d", failing)
		case !q.watch:
			return 0
		}
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(q.every):
		}
	}
}

// retireCommand takes the names before or between the flags.
func retireCommand(args []string, stdout, stderr io.Writer) int {
	var c client
	var d decider
	f := newFlags("fleet retire", fleetUsage, stdout, stderr)
	c.addTo(f)
	d.addTo(f)
	var names []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		names, args = append(names, args[0]), args[1:]
	}
	if code, ok := f.parse(args); !ok {
		return code
	}
	switch names = append(names, f.Args()...); {
	case len(names) != 2:
		return f.fail(exitUsage, "give a store and a terminal; see poshub fleet --help")
	case c.wrong() != "":
		return f.fail(exitUsage, "%s", c.wrong())
	case d.wrong() != "":
		return f.fail(exitUsage, "%s", d.wrong())
	}
	var t hub.FleetTerminal
	if err := c.post(context.Background(), "/v1/fleet/"+url.PathEscape(names[0])+"/"+url.PathEscape(names[1])+"/retire", d.Decider, &t); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	fmt.Fprintf(stdout, "%s.%s is retired\n", t.Store, t.Terminal)
	if t.Backlog.Records > 0 {
		fmt.Fprintf(stdout, "by its last word %d of its records never came: keep its disk, poshub import takes it\n", t.Backlog.Records)
	}
	return 0
}

const clearScreen = "\x1b[H\x1b[2J"

// ask shows the fleet once. failing counts the terminals that are.
func (q *fleetQuestion) ask(ctx context.Context, stdout io.Writer) (failing int, err error) {
	var all []hub.FleetTerminal
	var totals hub.FleetTotals
	out := json.NewEncoder(stdout)
	for after := ""; ; {
		r, err := q.page(ctx, after)
		if err != nil {
			return 0, err
		}
		if totals = r.Totals; q.json {
			for i := range r.Terminals {
				if err := out.Encode(&r.Terminals[i]); err != nil {
					return 0, err
				}
			}
		} else {
			all = append(all, r.Terminals...)
		}
		if after = r.Next; after == "" {
			break
		}
	}
	if q.json {
		return totals.Failing, nil
	}
	var b bytes.Buffer
	if q.watch {
		b.WriteString(clearScreen)
	}
	writeFleet(&b, all, &totals, time.Now())
	_, err = stdout.Write(b.Bytes())
	return totals.Failing, err
}

func (q *fleetQuestion) page(ctx context.Context, after string) (r hub.FleetReply, err error) {
	v := url.Values{}
	for name, s := range map[string]string{"store": q.store, "state": q.state, "after": after} {
		if s != "" {
			v.Set(name, s)
		}
	}
	err = q.get(ctx, "/v1/fleet", v, &r)
	return r, err
}

// rank puts the worst first.
var rank = map[string]int{hub.StateFailing: 0, hub.StateOffline: 1, hub.StateEnrolled: 2, hub.StateOnline: 3}

// writeFleet writes a table of the terminals, the worst first, and totals.
func writeFleet(w io.Writer, all []hub.FleetTerminal, totals *hub.FleetTotals, now time.Time) {
	slices.SortStableFunc(all, func(a, b hub.FleetTerminal) int {
		return cmp.Or(cmp.Compare(rank[a.State], rank[b.State]), cmp.Compare(b.Backlog.AgeSeconds, a.Backlog.AgeSeconds), cmp.Compare(len(b.Reasons), len(a.Reasons)))
	})
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STORE\tTERMINAL\tSTATE\tSEEN\tBACKLOG\tOLDEST\tVALUE\tEVENTS\tDISK FREE\tRELEASE\tCONFIG\tREASONS")
	for i := range all {
		m := &all[i]
		state := m.State
		if state == hub.StateFailing && !m.Online {
			state += ", offline"
		}
		release, disk := "-", "-"
		if m.Says != nil {
			release, disk = cmp.Or(m.Says.Release, "-"), size(m.Says.DiskFree)
		}
		var why []string
		for _, r := range m.Reasons {
			why = append(why, r.Code)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", m.Store, m.Terminal, state, ago(m.Seen, now), m.Backlog.Records,
			age(m.Backlog.AgeSeconds), value(m.Backlog.Value, m.Backlog.Currency), m.Ledger.Events, disk, release, cmp.Or(m.Config.State, "-"), cmp.Or(strings.Join(why, ","), "-"))
	}
	t.Flush()
	var values []string
	for code, v := range totals.BacklogValue {
		values = append(values, strconv.FormatInt(v, 10)+" "+code)
	}
	slices.Sort(values)
	fmt.Fprintf(w, "\n%d failing, %d offline, %d enrolled, %d online; backlog %d records, the oldest %s, worth %s (minor units)\n",
		totals.Failing, totals.Offline, totals.Enrolled, totals.Online, totals.BacklogRecords, age(totals.OldestSeconds), cmp.Or(strings.Join(values, ", "), "nothing"))
}

func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return age(uint64(max(time.Second, now.Sub(t)) / time.Second))
}

// age is short and coarse: 17s, 4m, 3h, 12d.
func age(s uint64) string {
	switch {
	case s == 0:
		return "-"
	case s < 120:
		return strconv.FormatUint(s, 10) + "s"
	case s < 2*3600:
		return strconv.FormatUint(s/60, 10) + "m"
	case s < 48*3600:
		return strconv.FormatUint(s/3600, 10) + "h"
	}
	return strconv.FormatUint(s/86400, 10) + "d"
}

func value(v *int64, currency string) string {
	if v == nil {
		return "-"
	}
	return strconv.FormatInt(*v, 10) + " " + currency
}

func size(n uint64) string {
	if n >= 10<<30 {
		return strconv.FormatUint(n>>30, 10) + "G"
	}
	return strconv.FormatUint(n>>20, 10) + "M"
}
