package main

import (
	_ "embed"
	"fmt"
	"strings"

	"posd/packaging/lab/figures"
)

func (r *ledgerResult) text() string {
	if r == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s; PostgreSQL %s\n%s\n\n", r.Machine, r.PostgreSQL, r.Load)
	r.table().Print(&b)
	b.WriteByte('\n')
	return b.String()
}

var ledgerHeader = []string{"contender", "events/s", "min..max", "client CPU µs", "own MB", "bytes on disk", "poshub is faster by"}

func (r *ledgerResult) table() figures.Table {
	t := figures.Table{Header: ledgerHeader}
	for _, k := range takers {
		t.Rows = append(t.Rows, r.cells(k))
	}
	return t
}

func (r *ledgerResult) cells(k taker) []string {
	row := row{rounds: r.Rounds[k.name]}
	return []string{k.name, fmt.Sprintf("%.0f", row.over(sample.rate)), row.spread(), fmt.Sprintf("%.2f", row.over(sample.cpuEach)),
		fmt.Sprintf("%.1f", row.over(peak)/1e6), fmt.Sprintf("%.0f", r.Disk[k.name]), fmt.Sprintf("%.2f", r.faster(k))}
}

// faster is how much more poshub takes in with the same store.
func (r *ledgerResult) faster(k taker) float64 {
	ours := row{rounds: r.Rounds["hub-"+k.store]}
	return fasterBy(&ours, &row{rounds: r.Rounds[k.name]})
}

// Ratios are for machines.
func (r *hubRun) Ratios() (lines []string) {
	if l := r.Ledger; l != nil {
		for _, k := range takers {
			if !k.ours {
				lines = append(lines, fmt.Sprintf("ratio hub.%s.vs_%s=%.2f", k.store, k.name, l.faster(k)))
			}
		}
		ours := row{rounds: l.Rounds["hub-"+postgresStore]}
		rate := ours.over(sample.rate)
		lines = append(lines, fmt.Sprintf("target hub.postgresql.events_per_second=%.0f at least 50000 %s", rate, verdict(rate >= 50_000)))
	}
	if l := r.Latency; l != nil {
		for _, row := range l.Rows {
			if row.Scene == sceneIdle {
				lines = append(lines, fmt.Sprintf("target hub.%s.sale_to_watermark_p99_ms=%.1f at most 1000 %s", row.Store, row.P99, verdict(row.P99 <= 1000)))
			}
		}
	}
	return lines
}

// Below is what the document's template asks for.

func (r *hubRun) Takers() []taker   { return takers }
func (k taker) Name() string        { return k.name }
func (k taker) About() string       { return k.about }
func (r *hubRun) PeerSeconds() int  { return int(peerLimit.Seconds()) }
func (r *hubRun) SaleEvery() string { return saleEvery.String() }

// LedgerTable, and LatencyTable below, are markdown.
func (r *hubRun) LedgerTable() string { return r.Ledger.table().Markdown() }

func (r *hubRun) LedgerRounds() int { return len(r.Ledger.Rounds[takers[0].name]) }

func (r *hubRun) LedgerEvents() uint64 { return r.Ledger.Rounds[takers[0].name][0].Events }

func (r *hubRun) LatencyTable() string { return r.Latency.table().Markdown() }

// Herds are the parts with many terminals that were run.
func (r *hubRun) Herds() (all []*herdResult) {
	for _, h := range []*herdResult{r.Herd, r.Limited, r.Outage} {
		if h != nil {
			all = append(all, h)
		}
	}
	return all
}

// Plan is what 100,000 terminals need, with this run's figures.
func (r *hubRun) Plan() string {
	p := defaultPlan()
	p.measured(r)
	var b strings.Builder
	p.print(&b)
	return b.String()
}

//go:embed hub.md.tmpl
var hubText string

func (r *hubRun) writeDocument(path string) error { return figures.Document(path, hubText, r) }
