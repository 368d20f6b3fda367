package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestSlice sells in the slice and puts bad neighbours beside posd, one after the other
// in one guest. POSD_SLICE=all plays all of them, anything else those that matter most.
func TestSlice(t *testing.T) {
	l := needLab(t)
	all := os.Getenv("POSD_SLICE") == "all"
	scene := func(name string, short bool, f func(*lab)) {
		if !short && !all {
			return
		}
		t.Run(name, func(t *testing.T) {
			of := *l
			of.t = t
			f(&of)
			of.settle()
			l.acks, l.n = of.acks, of.n
		})
	}
	scene("limits", true, limits)
	scene("memory hog", true, memoryHog)
	scene("posd is killed", true, posdKilled)
	scene("full partition", true, fullPartition)
	scene("hostile requests", false, hostileRequests)
	scene("log flood", false, logFlood)
	scene("processor hog in the slice", false, func(l *lab) {
		l.sell(10, trouble{inside: true, args: []string{tool, "spin", "5"}})
	})
	scene("processor hog outside", false, func(l *lab) {
		l.sell(10, trouble{args: []string{tool, "spin", "5"}})
	})
	scene("planted loss", true, func(l *lab) { l.plantLoss() })
}

// limits: what the kernel has in force is what was asked for, posd knows it, and
// twenty sales fit into it.
func limits(l *lab) {
	want := map[string]string{"cpu.max": "10000 100000", "cpu.max.burst": "10000",
		"memory.max": "33554432", "memory.swap.max": "0", "pids.max": "64"}
	l.sell(10)
	for file, limit := range want {
		b, err := l.a.ReadFile(l.ctx, sliceDir+"/"+file)
		if file == "memory.swap.max" && err != nil {
			continue // a kernel without swap has no such file
		}
		l.must(err)
		if got := strings.TrimSpace(string(b)); got != limit {
			l.t.Errorf("%s is %s, not %s", file, got, limit)
		}
	}
	var status struct {
		Limits struct {
			CPUPercent int64 `json:"cpu_percent"`
			Burst      int64 `json:"cpu_burst_microseconds"`
			High       int64 `json:"memory_high_bytes"`
			Tasks      int64
			Group      string
		}
	}
	text := l.in("get", fmt.Sprintf("http://127.0.0.1:%d/v1/status", webPort), l.till.Token)
	l.must(json.Unmarshal([]byte(text), &status))
	s := status.Limits
	if s.Burst != 10000 || s.High != 29360128 || s.Tasks != 64 || s.Group != "/posd.slice/posd.scope" {
		l.t.Errorf("posd says of its limits: %s", text)
	}
	c := l.counters()
	if own := c["memory.stat anon"] + c["memory.stat kernel"]; own > 20e6 || c["memory.events max"] > 0 || c["memory.events oom"] > 0 {
		l.t.Errorf("after 20 sales:\n%s", c)
	}
	if c["cpu.stat nr_periods"] == 0 {
		l.t.Error("the kernel counts no periods: there is no quota")
	}
}

// memoryHog: a process in the slice takes more than there is. The kernel must take
// that one, and posd must not even be restarted.
func memoryHog(l *lab) {
	before, starts := l.counters(), l.starts()
	sold, e := l.sell(15, trouble{inside: true, args: []string{tool, "hog", "64"}})
	d := l.counters()["memory.events oom_kill"] - before["memory.events oom_kill"]
	if e[0].Signal != 9 || d != 1 {
		l.t.Errorf("the hog ended with %+v, %d processes were killed: the slice did not limit it", e[0], d)
	}
	if n := l.starts(); n != starts {
		l.t.Errorf("posd was started %d times more", n-starts)
	}
	// Above the slice's own memory.high the kernel makes posd wait too, for as long as
	// the hog takes to reach memory.max: minutes, longer than a front end waits.
	if sold.Broken > 0 && !l.highOnSlice() {
		l.t.Errorf("%d sales got no answer", sold.Broken)
	}
}

func (l *lab) highOnSlice() bool {
	b, err := l.a.ReadFile(l.ctx, sliceDir+"/memory.high")
	l.must(err)
	return strings.TrimSpace(string(b)) != "max"
}

// posdKilled: the hog is one that the kernel spares, so posd is what it takes. It comes
// back by itself and takes up where it was.
func posdKilled(l *lab) {
	before, starts := l.counters(), l.starts()
	sold, e := l.sell(15, trouble{inside: true, args: []string{tool, "hog", "26"}, score: "-1000"})
	killed, n := l.counters()["memory.events oom_kill"]-before["memory.events oom_kill"], l.starts()
	if killed == 0 || n == starts || e[0].Code != 0 {
		l.t.Errorf("%d processes were killed, posd was started %d times more, the hog ended with %+v: this was no test", killed, n-starts, e[0])
	}
	l.t.Logf("posd was killed %d times and is back; %d attempts without an answer", killed, sold.Broken)
}

// fullPartition: sales that do not fit are refused as such, and taken when there is room.
func fullPartition(l *lab) {
	sold, _ := l.sell(40, trouble{args: []string{tool, "fill", "/data/rubbish", "15"}})
	if n := sold.Refused["no-space"]; n == 0 && len(sold.Refused) == 0 {
		l.t.Errorf("no sale was refused for want of space: %v", sold.Refused)
	}
	if sold.Broken > 0 {
		l.t.Errorf("%d sales got no answer", sold.Broken)
	}
}

// hostileRequests make posd log and work for nothing.
func hostileRequests(l *lab) {
	l.sell(10, trouble{args: []string{tool, "abuse", "-token", l.till.Token, "-long", "5s"}})
	text, err := l.a.Log(l.ctx, "posd")
	l.must(err)
	if n := strings.Count(text, "\n"); n > 2000 {
		l.t.Errorf("posd wrote %d lines", n)
	}
}

// logFlood writes to the partition that the journal lies on.
func logFlood(l *lab) {
	l.sell(10, trouble{args: []string{tool, "chatter", "/data/messages", "5"}})
}
