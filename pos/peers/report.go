package main

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"time"

	"posd/packaging/lab/figures"
	"posd/packaging/lab/place"
)

// report is all that a run has measured.
type report struct {
	options  options
	place    *place.Place
	began    time.Time
	loadFrom string // load average of the machine
	loadTo   string
	servers  []*server
	scans    []scan
}

// over is the median over the rounds of what f says of one.
func (s *server) over(at cell, f func(sample) float64) float64 {
	var values []float64
	for _, one := range s.cells[at] {
		values = append(values, f(one))
	}
	return figures.Median(values)
}

var header = []string{"contender", "callers", "sales/s", "p50 ms", "p99 ms", "user µs", "system µs", "allocations", "device bytes", "posd sells more by"}

// table is that of sales of so many lines.
func (rep *report) table(lines int) figures.Table {
	t := figures.Table{Header: header}
	for _, n := range callers {
		at := cell{lines, n}
		for _, s := range rep.servers {
			if len(s.cells[at]) == 0 {
				continue
			}
			of := func(format string, f func(sample) float64) string { return fmt.Sprintf(format, s.over(at, f)) }
			bytes := "–"
			if b := s.over(at, func(x sample) float64 { return x.bytes }); b >= 0 {
				bytes = fmt.Sprintf("%.0f", b)
			}
			t.Rows = append(t.Rows, []string{s.name, fmt.Sprint(n), of("%.0f", func(x sample) float64 { return x.rate }),
				of("%.2f", func(x sample) float64 { return x.p50 / 1000 }), of("%.2f", func(x sample) float64 { return x.p99 / 1000 }),
				of("%.0f", func(x sample) float64 { return x.user }), of("%.0f", func(x sample) float64 { return x.sys }),
				of("%.0f", func(x sample) float64 { return x.allocs }), bytes, fmt.Sprintf("%.2f", ratio(rep.servers[0], s, at))})
		}
	}
	return t
}

// ratio is the median of the rounds' ratios: what a round suffered, both did.
func ratio(ours, peer *server, at cell) float64 {
	values := make([]float64, len(peer.cells[at]))
	for i := range values {
		values[i] = ours.cells[at][i].rate / peer.cells[at][i].rate
	}
	return figures.Median(values)
}

func (rep *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s\n%s\n", rep.Machine(), rep.place.About, rep.Load())
	for _, n := range lines {
		fmt.Fprintf(w, "\nsales of %s\n", plural(n, "line"))
		rep.table(n).Print(w)
	}
	fmt.Fprintln(w, "\nonly posd")
	rep.scanTable().Print(w)
	fmt.Fprintf(w, "\n%s\n", strings.Join(rep.Ratios(), "\n"))
	for _, t := range rep.Targets() {
		fmt.Fprintln(w, t)
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprint(n, " ", what, "s")
}

var scanHeader = []string{"what", "calls", "p50 ms", "p99 ms", "user µs"}

func (rep *report) scanTable() figures.Table {
	t := figures.Table{Header: scanHeader}
	for _, s := range rep.scans {
		t.Rows = append(t.Rows, []string{s.what, fmt.Sprint(s.n), fmt.Sprintf("%.2f", s.p50/1000), fmt.Sprintf("%.2f", s.p99/1000), fmt.Sprintf("%.0f", s.user)})
	}
	return t
}

// Ratios are for programs: ratio PEER LINES CALLERS VALUE.
func (rep *report) Ratios() (list []string) {
	for _, s := range rep.servers[1:] {
		for _, n := range lines {
			for _, c := range callers {
				if at := (cell{n, c}); len(s.cells[at]) > 0 {
					list = append(list, fmt.Sprintf("ratio %s %d %d %.2f", s.name, n, c, ratio(rep.servers[0], s, at)))
				}
			}
		}
	}
	return list
}

// target is a goal: target NAME VALUE GOAL met|missed.
type target struct {
	name        string
	value, goal float64
	least       bool // the goal is the least that is good
}

func (t target) String() string {
	met := "missed"
	if t.least && t.value >= t.goal || !t.least && t.value <= t.goal {
		met = "met"
	}
	return fmt.Sprintf("target %s %.2f %.2f %s", t.name, t.value, t.goal, met)
}

func (rep *report) Targets() []target {
	ours, at := rep.servers[0], cell{5, 32}
	list := []target{}
	for _, s := range rep.servers[1:] {
		if s.most > 0 {
			list = append(list, target{"sales-5-32-over-" + s.name, ratio(ours, s, at), 3, true})
		}
	}
	for _, n := range []int{1, 32} {
		user := ours.over(cell{5, n}, func(x sample) float64 { return x.user })
		list = append(list, target{fmt.Sprint("user-us-5-", n), user, 100, false})
	}
	for i, n := range []string{"scan-p99-ms", "scan-paced-p99-ms", "scan-beside-8-p99-ms"} {
		list = append(list, target{n, rep.scans[i].p99 / 1000, 5, false})
	}
	return list
}

//go:embed document.md.tmpl
var documentText string

// writeDocument writes docs/bench-checkout.md, or a copy for a look.
func (rep *report) writeDocument(path string) error {
	return figures.Document(path, documentText, rep)
}

// Below is what the document's template asks for.

func (rep *report) Machine() string { return place.Machine(rep.began) }

// Load shows whether the machine had something else to do.
func (rep *report) Load() string {
	return fmt.Sprintf("The machine's load average was %s before and %s at the end.", rep.loadFrom, rep.loadTo)
}

func (rep *report) About() string         { return rep.place.About }
func (rep *report) Rounds() int           { return rep.options.rounds }
func (rep *report) Long() string          { return rep.options.long.String() }
func (rep *report) Items() int            { return itemCount }
func (rep *report) PerBasket() int        { return scansPerBasket }
func (rep *report) Contenders() []*server { return rep.servers }
func (s *server) Name() string            { return s.name }
func (s *server) How() string             { return s.how }

// Tables are those of all numbers of lines.
func (rep *report) Tables() string {
	var b strings.Builder
	for _, n := range lines {
		fmt.Fprintf(&b, "### Sales of %s\n\n%s\n", plural(n, "line"), rep.table(n).Markdown())
	}
	return b.String()
}

func (rep *report) Scans() string { return rep.scanTable().Markdown() }
