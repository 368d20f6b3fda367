package card

import "github.com/VictoriaMetrics/metrics"

// meter shows the desk's counters.
func (d *Desk) meter(set *metrics.Set) {
	gauge := func(name string, of func(*Status) float64) {
		set.NewGauge(name, func() float64 {
			s := d.Status()
			return of(&s)
		})
	}
	gauge("posd_card_unsettled", func(s *Status) float64 { return float64(len(s.Open)) })
	gauge("posd_card_unsettled_long", func(s *Status) float64 { return float64(len(s.Long())) })
	gauge("posd_card_offline_outstanding", func(s *Status) float64 { return float64(s.Outstanding) })
	gauge("posd_card_offline_day", func(s *Status) float64 { return float64(s.Day) })
	gauge("posd_card_reachable", func(s *Status) float64 { return oneIf(s.Reachable) })
	gauge("posd_card_breaker_open", func(s *Status) float64 { return oneIf(s.Breaker == "open") })
	for _, c := range []struct {
		name string
		n    *uint64
	}{
		{"posd_card_asked_total", &d.count.asked},
		{`posd_card_outcomes_total{outcome="approved"}`, &d.count.approved},
		{`posd_card_outcomes_total{outcome="declined"}`, &d.count.declined},
		{`posd_card_outcomes_total{outcome="unknown"}`, &d.count.unknown},
		{`posd_card_outcomes_total{outcome="reversed"}`, &d.count.reversed},
		{"posd_card_offline_total", &d.count.offline},
		{"posd_card_failures_total", &d.count.failures},
	} {
		set.NewGauge(c.name, func() float64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			return float64(*c.n)
		})
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
