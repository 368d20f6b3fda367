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
	cut      *metrics.Counter
	refusals map[*kind]*metrics.Counter
	times    [routeCount]*histogram
	codes    [routeCount][6]*metrics.Counter // by hundreds of the status
}

// buckets of request times: from a read in memory to a device that hangs.
var buckets = []time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 10 * time.Second,
}

// histogram is one as Prometheus knows it; the library's own has other buckets.
type histogram struct {
	le    []*metrics.Counter // cumulative, as buckets, then +Inf
	sum   *metrics.FloatCounter
	count *metrics.Counter
}

func newHistogram(set *metrics.Set, name, label string) *histogram {
	h := &histogram{sum: set.NewFloatCounter(name + "_sum{" + label + "}"), count: set.NewCounter(name + "_count{" + label + "}")}
	for _, b := range buckets {
		le := strconv.FormatFloat(b.Seconds(), 'g', -1, 64)
		h.le = append(h.le, set.NewCounter(name+"_bucket{"+label+`,le="`+le+`"}`))
	}
	h.le = append(h.le, set.NewCounter(name+"_bucket{"+label+`,le="+Inf"}`))
	return h
}

func (h *histogram) update(took time.Duration) {
	for i, b := range buckets {
		if took <= b {
			h.le[i].Inc()
		}
	}
	h.le[len(buckets)].Inc()
	h.count.Inc()
	h.sum.Add(took.Seconds())
}

func newMeters(set *metrics.Set, s *Server) *meters {
	m := &meters{
		set: set, sales: set.NewCounter("posd_sales_total"), replays: set.NewCounter("posd_replays_total"),
		cut:      set.NewCounter("posd_http_connections_cut_total"),
		refusals: make(map[*kind]*metrics.Counter, len(kinds)),
	}
	for i := range kinds {
		m.refusals[&kinds[i]] = set.NewCounter(`posd_refusals_total{reason="` + kinds[i].slug + `"}`)
	}
	for at, name := range routeNames {
		m.times[at] = newHistogram(set, "posd_http_request_seconds", `route="`+name+`"`)
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
	m.times[at].update(took)
	if c := status / 100; c < 6 && m.codes[at][c] != nil {
		m.codes[at][c].Inc()
	}
}

// gauges reads the journal, the index and the uplink at each scrape.
func (s *Server) gauges(set *metrics.Set) {
	j := s.o.Journal
	for name, read := range map[string]func(journal.Stats) float64{
		"posd_journal_records_total":                func(t journal.Stats) float64 { return float64(t.Records) },
		"posd_journal_groups_total":                 func(t journal.Stats) float64 { return float64(t.Groups) },
		"posd_journal_syncs_total":                  func(t journal.Stats) float64 { return float64(t.Syncs) },
		"posd_journal_sync_bytes_total":             func(t journal.Stats) float64 { return float64(t.Bytes) },
		"posd_journal_sync_seconds_total":           func(t journal.Stats) float64 { return float64(t.SyncNanos) / 1e9 },
		"posd_journal_segments":                     func(t journal.Stats) float64 { return float64(t.Segments) },
		"posd_journal_bytes":                        func(t journal.Stats) float64 { return float64(t.SegmentBytes) },
		"posd_journal_freed_total":                  func(t journal.Stats) float64 { return float64(t.Freed) },
		"posd_journal_recycled_total":               func(t journal.Stats) float64 { return float64(t.Recycled) },
		"posd_journal_torn_tails":                   func(t journal.Stats) float64 { return float64(t.TornTails) },
		"posd_journal_oldest_seq":                   func(t journal.Stats) float64 { return float64(t.Oldest) },
		"posd_journal_floor_seq":                    func(t journal.Stats) float64 { return float64(t.FloorSeq) },
		"posd_journal_settled_seq":                  func(t journal.Stats) float64 { return float64(t.SettledSeq) },
		"posd_journal_scrubbed_bytes_total":         func(t journal.Stats) float64 { return float64(t.Scrubbed) },
		"posd_journal_scrub_passes_total":           func(t journal.Stats) float64 { return float64(t.ScrubPasses) },
		"posd_journal_last_scrub_timestamp_seconds": func(t journal.Stats) float64 { return unixSeconds(t.LastScrub) },
		"posd_journal_damaged_segments":             func(t journal.Stats) float64 { return float64(t.Damaged) },
		"posd_journal_checkpoints_total":            func(t journal.Stats) float64 { return float64(t.Checkpoints) },
		"posd_journal_signing":                      func(t journal.Stats) float64 { return oneIf(t.Signing) },
		"posd_journal_read_only":                    func(journal.Stats) float64 { return oneIf(j.ReadOnly()) },
	} {
		set.NewGauge(name, func() float64 { return read(j.Stats()) })
	}
	set.NewGauge("posd_view_applied_seq", func() float64 { return float64(s.o.View.Applied()) })
	set.NewGauge("posd_register_waiting", func() float64 { return float64(s.o.Register.Status().Waiting) })
	s.paperGauges(set)
	set.NewGauge("posd_catalogue_items", func() float64 { return float64(s.o.Catalogue.Len()) })
}

// unixSeconds is 0 for no time.
func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func (s *Server) metrics(w http.ResponseWriter) int {
	var b bytes.Buffer
	s.meters.set.WritePrometheus(&b)
	metrics.WriteProcessMetrics(&b)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(b.Bytes())
	return http.StatusOK
}
