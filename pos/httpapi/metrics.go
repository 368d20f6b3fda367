package httpapi

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"posd/journal"
)

// meters are the server's metrics, made once: a sale looks nothing up by name.
type meters struct {
	set      *metrics.Set
	sales    *metrics.Counter
	replays  *metrics.Counter
	refusals map[*kind]*metrics.Counter
	times    [routeCount]*metrics.PrometheusHistogram
	codes    [routeCount][6]*metrics.Counter // by hundreds of the status
}

// buckets of request times, in seconds: from a read in memory to a device that hangs.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}

func newMeters(set *metrics.Set, s *Server) *meters {
	m := &meters{
		set: set, sales: set.NewCounter("posd_sales_total"), replays: set.NewCounter("posd_replays_total"),
		refusals: make(map[*kind]*metrics.Counter, len(kinds)),
	}
	for i := range kinds {
		m.refusals[&kinds[i]] = set.NewCounter(`posd_refusals_total{reason="` + kinds[i].slug + `"}`)
	}
	for at, name := range routeNames {
		m.times[at] = set.NewPrometheusHistogramExt(`posd_http_request_seconds{route="`+name+`"}`, buckets)
		for c := 2; c < 6; c++ {
			m.codes[at][c] = set.NewCounter(`posd_http_requests_total{route="` + name + `",code="` + strconv.Itoa(c) + `xx"}`)
		}
	}
	s.gauges(set)
	return m
}

func (m *meters) refused(k *kind) {
	if c := m.refusals[k]; c != nil {
		c.Inc()
	}
}

func (m *meters) answered(at route, status int, took time.Duration) {
	m.times[at].Update(took.Seconds())
	if c := status / 100; c < 6 && m.codes[at][c] != nil {
		m.codes[at][c].Inc()
	}
}

// gauges reads the journal, the index and the uplink at each scrape.
func (s *Server) gauges(set *metrics.Set) {
	j := s.o.Journal
	for name, read := range map[string]func(journal.Stats) float64{
		"posd_journal_records_total":      func(t journal.Stats) float64 { return float64(t.Records) },
		"posd_journal_groups_total":       func(t journal.Stats) float64 { return float64(t.Groups) },
		"posd_journal_syncs_total":        func(t journal.Stats) float64 { return float64(t.Syncs) },
		"posd_journal_sync_bytes_total":   func(t journal.Stats) float64 { return float64(t.Bytes) },
		"posd_journal_sync_seconds_total": func(t journal.Stats) float64 { return float64(t.SyncNanos) / 1e9 },
		"posd_journal_segments":           func(t journal.Stats) float64 { return float64(t.Segments) },
		"posd_journal_bytes":              func(t journal.Stats) float64 { return float64(t.SegmentBytes) },
		"posd_journal_freed_total":        func(t journal.Stats) float64 { return float64(t.Freed) },
		"posd_journal_torn_tails":         func(t journal.Stats) float64 { return float64(t.TornTails) },
		"posd_journal_oldest_seq":         func(t journal.Stats) float64 { return float64(t.Oldest) },
		"posd_journal_floor_seq":          func(t journal.Stats) float64 { return float64(t.FloorSeq) },
		"posd_journal_settled_seq":        func(t journal.Stats) float64 { return float64(t.SettledSeq) },
	} {
		set.NewGauge(name, func() float64 { return read(j.Stats()) })
	}
	set.NewGauge("posd_view_applied_seq", func() float64 { return float64(s.o.View.Applied()) })
	set.NewGauge("posd_register_waiting", func() float64 { return float64(s.o.Register.Status().Waiting) })
	set.NewGauge("posd_catalogue_items", func() float64 { return float64(s.o.Catalogue.Len()) })
}

func (s *Server) metrics(w http.ResponseWriter) int {
	var b bytes.Buffer
	s.meters.set.WritePrometheus(&b)
	metrics.WriteProcessMetrics(&b)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(b.Bytes())
	return http.StatusOK
}
