package main

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"posd/packaging/lab/figures"
	"posd/packaging/lab/place"
)

// report is all that a run has measured.
type report struct {
	options   options
	place     *bench
	began     time.Time
	loadFrom  string // load average of the machine
	loadTo    string
	rows      []*row
	firstFill sample
	opens     []openTime
	reads     []readTime
	memory    []float64 // KiB, appending, and scrubbing meanwhile
}

type openTime struct {
	records, segments int
	ms                float64
}

type readTime struct {
	procs int
	busy  bool
	p99   float64 // µs
}

// line is one line of a table: a contender in the better of its settings.
type line struct {
	best  *row
	other *row // nil if there is one setting
}

func (rep *report) lines(writers int) (list []line) {
	for _, r := range rep.rows {
		if r.writers != writers {
			continue
		}
		if n := len(list); n > 0 && list[n-1].best.name == r.name {
			l := &list[n-1]
			l.other = r
			if r.rate() > l.best.rate() {
				l.best, l.other = r, l.best
			}
			continue
		}
		list = append(list, line{best: r})
	}
	return list
}

// over is the median over the rounds of what f says of one.
func (r *row) over(f func(sample) float64) float64 {
	values := make([]float64, len(r.rounds))
	for i, s := range r.rounds {
		values[i] = f(s)
	}
	return figures.Median(values)
}

func (r *row) rate() float64 { return r.over(sample.rate) }

// spread is the slowest and the fastest round.
func (r *row) spread() string {
	low, high := math.Inf(1), 0.0
	for _, s := range r.rounds {
		low, high = min(low, s.rate()), max(high, s.rate())
	}
	return fmt.Sprintf("%.0f..%.0f", low, high)
}

// bytes is what the device wrote for one record, over all rounds.
func (r *row) bytes() string {
	bytes, commits := 0.0, 0
	for _, s := range r.rounds {
		if s.Bytes < 0 {
			return "–"
		}
		bytes, commits = bytes+s.Bytes, commits+s.Commits
	}
	return fmt.Sprintf("%.0f", bytes/float64(commits))
}

func (r *row) segments() (n uint64) {
	for _, s := range r.rounds {
		n += s.Segments
	}
	return n
}

var header = []string{"contender", "commits/s", "min..max", "p50 µs", "p99 µs", "CPU µs", "device bytes", "allocations", "GOMAXPROCS", "other setting"}

// cells are the columns of header.
func (l line) cells() []string {
	r, other := l.best, ""
	if l.other != nil {
		other = fmt.Sprintf("%d: %.0f/s", l.other.gomaxprocs, l.other.rate())
	}
	of := func(format string, f func(sample) float64) string { return fmt.Sprintf(format, r.over(f)) }
	return []string{r.name, of("%.0f", sample.rate), r.spread(),
		of("%.0f", func(s sample) float64 { return s.P50 }), of("%.0f", func(s sample) float64 { return s.P99 }),
		of("%.1f", func(s sample) float64 { return s.CPU }), r.bytes(),
		of("%.1f", func(s sample) float64 { return s.Allocs }), fmt.Sprint(r.gomaxprocs), other}
}

func (rep *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s\n%s\n", rep.Machine(), rep.place.About, rep.Load())
	for _, writers := range rep.options.writers {
		fmt.Fprintf(w, "\n%d %s\n", writers, plural(writers, "writer"))
		t := figures.Table{Header: header}
		for _, l := range rep.lines(writers) {
			t.Rows = append(t.Rows, l.cells())
		}
		t.Print(w)
	}
	fmt.Fprintf(w, "\n%s\n\n%s\n", rep.Segments(), strings.Join(rep.Figures(), "\n"))
	for _, ratio := range rep.Ratios() {
		fmt.Fprintf(w, "ratio %s %d %.2f\n", ratio.Name, ratio.Writers, ratio.Value)
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return what
	}
	return what + "s"
}

// Segments says over how many segments the device's bytes were counted.
func (rep *report) Segments() string {
	var parts []string
	for _, r := range rep.rows {
		if r.name == oursName {
			parts = append(parts, fmt.Sprintf("%d with %d %s", r.segments(), r.writers, plural(r.writers, "writer")))
		}
	}
	return "Segments of posd's journal that were filled, freed and recycled while bytes were counted: " + strings.Join(parts, ", ") + "."
}

// Figures are what was measured of our journal alone.
func (rep *report) Figures() (list []string) {
	if rep.firstFill.Bytes >= 0 {
		list = append(list, fmt.Sprintf("first-fill %d commits %.0f bytes/commit", rep.firstFill.Commits, rep.firstFill.Bytes/float64(rep.firstFill.Commits)))
	}
	for _, o := range rep.opens {
		list = append(list, fmt.Sprintf("open %d %.1f ms (%d segments)", o.records, o.ms, o.segments))
	}
	for _, r := range rep.reads {
		state := "idle"
		if r.busy {
			state = "busy"
		}
		if r.procs == 1 {
			state += "-procs1"
		}
		list = append(list, fmt.Sprintf("read-p99 %s %.0f us", state, r.p99))
	}
	for i, what := range []string{"appending", "appending-and-scrubbing"} {
		list = append(list, fmt.Sprintf("memory %s %.0f KiB", what, rep.memory[i]))
	}
	return list
}

// Ratio is our commits/s over a peer's.
type Ratio struct {
	Name    string
	Writers int
	Value   float64
}

func (rep *report) Ratios() (list []Ratio) {
	for _, writers := range rep.options.writers {
		lines := rep.lines(writers)
		for _, l := range lines[1:] {
			list = append(list, Ratio{l.best.name, writers, ratio(lines[0].best, l.best)})
		}
	}
	return list
}

// ratio is the median of the rounds' ratios: what a round suffered, both did.
func ratio(ours, peer *row) float64 {
	values := make([]float64, len(ours.rounds))
	for i := range values {
		values[i] = ours.rounds[i].rate() / peer.rounds[i].rate()
	}
	return figures.Median(values)
}

//go:embed document.md.tmpl
var documentText string

// writeDocument writes docs/bench-journal.md, or a copy for a look.
func (rep *report) writeDocument(path string) error {
	return figures.Document(path, documentText, rep)
}

// Below is what the document's template asks for.

func (rep *report) Machine() string { return place.Machine(rep.began) }

// Load shows whether the machine had something else to do.
func (rep *report) Load() string {
	return fmt.Sprintf("The machine's load average was %s before and %s at the end.", rep.loadFrom, rep.loadTo)
}

func (rep *report) About() string      { return rep.place.About }
func (rep *report) Rounds() int        { return rep.options.rounds }
func (rep *report) Commits() int       { return rep.options.commits }
func (rep *report) Limit() string      { return rep.options.limit.String() }
func (rep *report) Longer() int        { return oursLonger }
func (rep *report) PerGroup() int      { return recordsPerGroup }
func (rep *report) Contenders() []line { return rep.lines(slices.Max(rep.options.writers)) }
func (l line) Name() string            { return l.best.name }
func (l line) How() string             { return l.best.how }

// Tables are one markdown table for each number of writers, ratios included.
func (rep *report) Tables() string {
	var b strings.Builder
	for _, writers := range rep.options.writers {
		t := figures.Table{Header: append(slices.Clone(header), "posd is faster by")}
		lines := rep.lines(writers)
		for _, l := range lines {
			t.Rows = append(t.Rows, append(l.cells(), fmt.Sprintf("%.2f", ratio(lines[0].best, l.best))))
		}
		fmt.Fprintf(&b, "### %d %s\n\n%s\n", writers, plural(writers, "writer"), t.Markdown())
	}
	return b.String()
}
