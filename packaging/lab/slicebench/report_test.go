package main

import (
	"strings"
	"testing"

	"posd/packaging/lab/slicebench/load"
)

// TestRatios: what misses its target is said to.
func TestRatios(t *testing.T) {
	made := func(drain int64, own, tight int64) *report {
		phase := func(name string, rate int, took int64) load.Result {
			return load.Result{Name: name, Rate: rate, Took: 10, Before: load.Counters{}, After: load.Counters{"memory.events max": tight, "cpu.stat usage_usec": 5000},
				Most: load.Memory{Own: own}, Times: load.Times{All: []int64{1000, took}}}
		}
		return &report{Events: 10, Runs: []run{{Name: "posd", Quota: limited, Memory: 32, Shift: boardShift,
			Results: []load.Result{phase("quiet", 0, 0), phase("idle-1", 1, 2000), phase("drain-1", 1, drain)}}}}
	}
	verdicts := func(rep *report) (s string) {
		for _, r := range rep.ratios() {
			s += r.Name + " " + r.verdict() + "\n"
		}
		return s
	}
	if s := verdicts(made(5000, 20e6, 0)); strings.Contains(s, "miss") || strings.Count(s, "\n") != 6 {
		t.Error(s)
	}
	s := verdicts(made(5001, 20e6+1, 1))
	for _, want := range []string{"sale-p99-draining/idle miss", "own-memory-draining-MB miss", "memory-max-events miss", "oom-kills pass"} {
		if !strings.Contains(s, want) {
			t.Errorf("%q is missing:\n%s", want, s)
		}
	}
	var out strings.Builder
	made(1, 1, 0).print(&out)
	if !strings.Contains(out.String(), "ratio quiet-processor-percent-guest 0.05 0.1 pass\n") {
		t.Error(out.String())
	}
}
