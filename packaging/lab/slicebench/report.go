package main

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"posd/packaging/lab/figures"
	"posd/packaging/lab/place"
	"posd/packaging/lab/slicebench/load"
)

// report is all that was measured.
type report struct {
	Runs             []run
	QuietNative      float64 // percent of a core
	Events           uint64
	Kernel           string // of the guest
	LoadFrom, LoadTo string
	Began            time.Time
	Took             time.Duration
	Quick            bool
}

// ratio is a figure and what it should be.
type ratio struct {
	Name          string
	Value, Target float64 // at most
}

func (r ratio) verdict() string {
	if r.Value <= r.Target {
		return "pass"
	}
	return "miss"
}

func (r ratio) String() string {
	return fmt.Sprintf("ratio %s %.4g %.4g %s", r.Name, r.Value, r.Target, r.verdict())
}

// find gives the run of these settings that was not killed, nil if there is none.
func (rep *report) find(name string, q quota, shift int) *run {
	for i := range rep.Runs {
		if r := &rep.Runs[i]; r.Name == name && r.Quota == q && r.Shift == shift && r.Failed == "" {
			return r
		}
	}
	return nil
}

// selling gives the phases of a kind with sales, "idle" or "drain".
func (r *run) selling(kind string) (all []load.Result) {
	for _, p := range r.Results {
		if p.Rate > 0 && strings.HasPrefix(p.Name, kind+"-") {
			all = append(all, p)
		}
	}
	return all
}

// pooled is the time of all calls of a kind together.
func (r *run) pooled(kind string, share float64) float64 {
	var t load.Times
	for _, p := range r.selling(kind) {
		t.All = append(t.All, p.All...)
	}
	slices.Sort(t.All)
	return ms(t.At(share))
}

func (r *run) phase(name string) *load.Result {
	for i := range r.Results {
		if r.Results[i].Name == name {
			return &r.Results[i]
		}
	}
	return nil
}

// ratios judges posd under the quota.
func (rep *report) ratios() (all []ratio) {
	add := func(name string, value, target float64) {
		all = append(all, ratio{Name: name, Value: value, Target: target})
	}
	r := rep.find("posd", limited, boardShift)
	if r == nil {
		return nil
	}
	add("sale-p99-draining/idle", r.pooled("drain", 0.99)/r.pooled("idle", 0.99), 2.5)
	failed, tight, killed := 0, int64(0), int64(0)
	for _, p := range r.Results {
		failed += p.Failed
		tight += p.Delta("memory.events max")
		killed += p.Delta("memory.events oom_kill")
	}
	add("own-memory-draining-MB", float64(r.own())/1e6, 20)
	add("memory-max-events", float64(tight), 0)
	add("oom-kills", float64(killed), 0)
	add("sales-failed", float64(failed), 0)
	if q := r.phase("quiet"); q != nil {
		add("quiet-processor-percent-guest", percentOf(q), 0.1)
	}
	if rep.QuietNative > 0 {
		add("quiet-processor-percent-native", rep.QuietNative, 0.1)
	}
	return all
}

// percentOf is the processor time of a phase in percent of a core.
func percentOf(p *load.Result) float64 { return float64(p.Delta("cpu.stat usage_usec")) / p.Took / 1e4 }

// remarks are ratios without a target.
func (rep *report) remarks() (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	r, free := rep.find("posd", limited, boardShift), rep.find("posd", unlimited, boardShift)
	if r != nil && free != nil {
		say("quota-adds idle-p99 %.2f draining-p99 %.2f", r.pooled("idle", 0.99)/free.pooled("idle", 0.99), r.pooled("drain", 0.99)/free.pooled("drain", 0.99))
	}
	if r != nil {
		if p := r.phase("drain-alone"); p != nil {
			say("posd-drains events-per-second %.0f", float64(p.To-p.From)/p.Took)
		}
		if d := r.drained(rep.Events); d > 0 {
			say("posd-drained events %d seconds %.0f sold-meanwhile %d", rep.Events, d, r.sold("drain"))
		}
	}
	for _, l := range rep.Runs {
		if l.Name == "nats-leaf" && l.Failed != "" {
			say("nats-leaf in %d MiB: %s", l.Memory, l.Failed)
		}
	}
	if l := rep.find("nats-leaf", limited, boardShift); l != nil && r != nil {
		say("nats-leaf least-memory-MiB %d", l.Memory)
		say("nats-leaf/posd idle-p99 %.2f draining-p99 %.2f own-memory-draining %.2f drain-events-per-second %.2f", l.pooled("idle", 0.99)/r.pooled("idle", 0.99),
			l.pooled("drain", 0.99)/r.pooled("drain", 0.99), float64(l.own())/float64(r.own()), l.drainRate()/r.drainRate())
	}
	return all
}

// own is the most memory of its own while draining.
func (r *run) own() (most int64) {
	for _, p := range r.Results {
		if strings.HasPrefix(p.Name, "drain") {
			most = max(most, p.Most.Own)
		}
	}
	return most
}

func (r *run) sold(kind string) (n int) {
	for _, p := range r.selling(kind) {
		n += len(p.All)
	}
	return n
}

// drainRate is events a second over the phases in which there was a backlog.
func (r *run) drainRate() float64 {
	events, took := 0.0, 0.0
	for _, p := range r.Results {
		if strings.HasPrefix(p.Name, "drain") {
			events, took = events+float64(p.To-p.From), took+p.Took
		}
	}
	return events / took
}

// drained is how long it took until head office had the whole backlog, 0 if it did not.
func (r *run) drained(events uint64) (seconds float64) {
	for _, p := range r.Results {
		if p.Name == "start" || strings.HasPrefix(p.Name, "drain") {
			seconds += p.Took
			if p.To >= events {
				return seconds
			}
		}
	}
	return 0
}

var header = []string{"what", "slice MiB", "quota", "ns/instr", "phase", "calls", "failed", "p50 ms", "p99 ms", "max ms", "core %",
	"periods", "throttled", "throttled ms", "own MB", "file MB", "peak MB", "high", "max", "killed", "events/s"}

func (rep *report) rows() (all [][]string) {
	for _, r := range rep.Runs {
		for i := range r.Results {
			p := &r.Results[i]
			if p.Name == "warm-up" || p.Name == "settling" || p.Name == "start" {
				continue
			}
			row := []string{r.Name, fmt.Sprint(r.Memory), r.Quota.String(), fmt.Sprint(1 << r.Shift), p.Name, "", "", "", "", ""}
			if p.Rate > 0 {
				row = []string{r.Name, fmt.Sprint(r.Memory), r.Quota.String(), fmt.Sprint(1 << r.Shift), p.Name, fmt.Sprint(len(p.All)), fmt.Sprint(p.Failed),
					fmt.Sprintf("%.2f", ms(p.At(0.5))), fmt.Sprintf("%.2f", ms(p.At(0.99))), fmt.Sprintf("%.2f", ms(p.At(1)))}
			}
			mb := func(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }
			row = append(row, fmt.Sprintf("%.3f", percentOf(p)), fmt.Sprint(p.Delta("cpu.stat nr_periods")), fmt.Sprint(p.Delta("cpu.stat nr_throttled")),
				fmt.Sprintf("%.0f", float64(p.Delta("cpu.stat throttled_usec"))/1000), mb(p.Most.Own), mb(p.Most.File), mb(p.After["memory.peak"]),
				fmt.Sprint(p.Delta("memory.events high")), fmt.Sprint(p.Delta("memory.events max")), fmt.Sprint(p.Delta("memory.events oom_kill")),
				fmt.Sprintf("%.0f", float64(p.To-p.From)/p.Took))
			all = append(all, row)
		}
	}
	return all
}

func (rep *report) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rep.rows()...) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	fmt.Fprintln(out)
	fmt.Fprintln(out, rep.machine()+", "+rep.load())
	for _, line := range rep.remarks() {
		fmt.Fprintln(out, line)
	}
	for _, r := range rep.ratios() {
		fmt.Fprintln(out, r)
	}
}

func (rep *report) load() string {
	return fmt.Sprintf("load average %s before and %s at the end, took %.0f s", rep.LoadFrom, rep.LoadTo, rep.Took.Seconds())
}

func (rep *report) machine() string {
	return place.Machine(rep.Began) + "; guest Linux " + rep.Kernel
}

//go:embed document.md.tmpl
var document string

func (rep *report) writeDocument(file string) error {
	var table, ratios, remarks strings.Builder
	fmt.Fprintf(&table, "| %s |\n|---|---:|---|---:|---|%s\n", strings.Join(header, " | "), strings.Repeat("---:|", len(header)-5))
	for _, row := range rep.rows() {
		fmt.Fprintf(&table, "| %s |\n", strings.Join(row, " | "))
	}
	for _, r := range rep.ratios() {
		fmt.Fprintln(&ratios, r)
	}
	for _, line := range rep.remarks() {
		fmt.Fprintln(&remarks, line)
	}
	return figures.Document(file, document, map[string]any{"Machine": rep.machine(), "Load": rep.load(), "Table": table.String(), "Ratios": ratios.String(),
		"Remarks": remarks.String(), "Events": rep.Events, "Quick": rep.Quick})
}
