package main

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"strings"

	"posd/packaging/lab/figures"
)

// over is the median over the rounds of what f says of one.
func (r *row) over(f func(sample) float64) float64 {
	values := make([]float64, len(r.rounds))
	for i, s := range r.rounds {
		values[i] = f(s)
	}
	return figures.Median(values)
}

func (r *row) spread() string {
	low, high := math.Inf(1), 0.0
	for _, s := range r.rounds {
		low, high = min(low, s.rate()), max(high, s.rate())
	}
	return fmt.Sprintf("%.0f..%.0f", low, high)
}

// compress and read are the medians of what these parts of our work cost alone, µs an event.
func (r *uplinkRun) compress(shape string) float64 {
	return r.share(shape, func(s shares) float64 { return s.Compress })
}

func (r *uplinkRun) read(shape string) float64 {
	return r.share(shape, func(s shares) float64 { return s.Read })
}

func (r *uplinkRun) share(shape string, f func(shares) float64) float64 {
	var v []float64
	for _, s := range r.shares[shape] {
		v = append(v, f(s)/float64(s.Events)*1e6)
	}
	return figures.Median(v)
}

// beyond is our processor time without compression.
func (r *uplinkRun) beyond(row *row) float64 {
	return row.over(sample.cpuEach) - r.compress(row.shape)
}

func (r *uplinkRun) find(name, setting string) *row {
	for _, row := range r.rows {
		if row.contender.name == name && row.setting.name == setting {
			return row
		}
	}
	return nil
}

// fasterBy is the median of the rounds' ratios: what a round suffered, both did.
func fasterBy(ours, peer *row) float64 {
	values := make([]float64, len(ours.rounds))
	for i := range values {
		values[i] = ours.rounds[i].rate() / peer.rounds[i].rate()
	}
	return figures.Median(values)
}

var uplinkHeader = []string{"contender", "events/s", "min..max", "client CPU µs", "beyond s2 µs", "server CPU µs", "wire bytes", "own MB", "posd is faster by"}

// table is that of one setting of the servers.
func (r *uplinkRun) table(s setting) figures.Table {
	t := figures.Table{Header: uplinkHeader}
	for _, row := range r.rows {
		if row.setting.name == s.name {
			t.Rows = append(t.Rows, r.cells(row))
		}
	}
	return t
}

func (r *uplinkRun) cells(row *row) []string {
	of := func(format string, f func(sample) float64) string { return fmt.Sprintf(format, row.over(f)) }
	beyond, faster := "", ""
	if ours := r.find(oursName, row.setting.name); ours != nil {
		faster = fmt.Sprintf("%.2f", fasterBy(ours, row))
	}
	if row.ours {
		beyond = fmt.Sprintf("%.2f", r.beyond(row))
	}
	return []string{row.contender.name, of("%.0f", sample.rate), row.spread(), of("%.2f", sample.cpuEach), beyond,
		fmt.Sprintf("%.2f", figures.Median(row.server)), of("%.0f", func(s sample) float64 { return float64(s.Wire) / float64(s.Events) }),
		of("%.1f", func(s sample) float64 { return float64(s.Peak) / 1e6 }), faster}
}

// Ratios are for machines: ours over each peer, and what was to be reached. There
// are none if a contender was left out.
func (r *uplinkRun) Ratios() (lines []string) {
	if len(r.options.only) > 0 {
		return nil
	}
	for _, s := range settings {
		ours := r.find(oursName, s.name)
		for _, c := range contenders {
			if !c.ours {
				lines = append(lines, fmt.Sprintf("ratio uplink.%s.vs_%s=%.2f", s.name, c.name, fasterBy(ours, r.find(c.name, s.name))))
			}
		}
	}
	l, o := r.find(leafName, "r1"), r.find(oursName, "r1")
	lines = append(lines, fmt.Sprintf("ratio uplink.r1.cpu_leaf_to_posd=%.2f", l.over(sample.cpuEach)/o.over(sample.cpuEach)),
		fmt.Sprintf("ratio uplink.r1.own_memory_leaf_to_posd=%.2f", l.over(peak)/o.over(peak)))
	atLeast := func(name string, value, target float64) {
		lines = append(lines, fmt.Sprintf("target uplink.%s=%.0f at least %.0f %s", name, value, target, verdict(value >= target)))
	}
	atLeast("r1.events_per_second", r.find(oursName, "r1").over(sample.rate), 1_000_000)
	atLeast("r3.events_per_second", r.find(oursName, "r3").over(sample.rate), 250_000)
	beyond := r.beyond(o)
	return append(lines, fmt.Sprintf("target uplink.r1.cpu_beyond_compression=%.2f at most 0.50 %s", beyond, verdict(beyond <= 0.5)))
}

func peak(s sample) float64 { return float64(s.Peak) }

func verdict(ok bool) string {
	if ok {
		return "pass"
	}
	return "miss"
}

func (r *uplinkRun) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s\n", &r.machine, r.Load())
	for _, s := range settings {
		fmt.Fprintf(w, "\n%s\n", s.name)
		r.table(s).Print(w)
	}
	fmt.Fprintf(w, "\n%s\n\n%s\n", strings.Join(r.Parts(), "\n"), strings.Join(r.Ratios(), "\n"))
}

// Below is what the document's template asks for.

func (r *uplinkRun) Machine() string         { return r.machine.String() }
func (r *uplinkRun) Rounds() int             { return r.options.rounds }
func (r *uplinkRun) Events() int             { return r.options.events }
func (r *uplinkRun) ServerMB() string        { return fmt.Sprintf("%.1f", float64(r.size)/1e6) }
func (r *uplinkRun) LeafEvents() uint64      { return r.leaf.events }
func (r *uplinkRun) Contenders() []contender { return contenders }
func (r *uplinkRun) Shapes() []shape         { return shapes }
func (c contender) Name() string             { return c.name }
func (c contender) About() string            { return c.about }
func (s shape) Name() string                 { return s.name }
func (s shape) About() string                { return s.about }

// Parts are what the two large parts of our work cost alone.
func (r *uplinkRun) Parts() (lines []string) {
	for _, s := range shapes {
		lines = append(lines, fmt.Sprintf("alone %s read %.2f us s2 %.2f us", s.name, r.read(s.name), r.compress(s.name)))
	}
	return lines
}

// Tables are one markdown table for each setting of the servers.
func (r *uplinkRun) Tables() string {
	var b strings.Builder
	for _, s := range settings {
		fmt.Fprintf(&b, "### %s\n\n%s.\n\n%s\n", s.name, s.about, r.table(s).Markdown())
	}
	return b.String()
}

//go:embed uplink.md.tmpl
var uplinkText string

func (r *uplinkRun) writeDocument(path string) error { return figures.Document(path, uplinkText, r) }
