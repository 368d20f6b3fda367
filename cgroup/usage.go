package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Pressure is how long tasks have waited for a resource, in microseconds since
// the group began: some of them, or all of them at once.
type Pressure struct{ SomeMicros, FullMicros int64 }

// Usage is what the kernel did about the limits, as counters since the group
// began. What a kernel or a mode does not count is 0.
type Usage struct {
	Periods         int64 // in which the group ran
	Throttled       int64 // of these, in which it was stopped for the rest
	ThrottledMicros int64

	MemoryCurrent int64 // bytes, not a counter
	MemoryHigh    int64 // times it was slowed down at memory.high
	MemoryMax     int64 // times it hit memory.max (v1: memory.failcnt)
	OOMKills      int64 // processes killed

	CPUPressure, MemoryPressure, IOPressure Pressure // of the own group; of the machine where groups have none
}

// Usage reads the counters of the groups that set the limits. Files that are
// missing are left out; the error is about files that cannot be understood.
func (l Limits) Usage() (Usage, error) {
	var u Usage
	var errs []error
	text := func(dir, name string) string {
		if dir == "" {
			return ""
		}
		s, err := readSmall(filepath.Join(dir, name))
		// EOPNOTSUPP: pressure files exist but psi is switched off.
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errors.ErrUnsupported) {
			errs = append(errs, err)
		}
		return s
	}
	counters := func(dir, name string, fn func(string, int64)) {
		if err := parseCounters(text(dir, name), fn); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Join(dir, name), err))
		}
	}
	number := func(dir, name string) int64 {
		s := text(dir, name)
		if s == "" {
			return 0
		}
		n, _, err := parseLimit(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Join(dir, name), err))
		}
		return n
	}

	counters(l.cpuDir, "cpu.stat", u.cpuStat)
	if l.v2Memory {
		counters(l.memoryDir, "memory.events", u.memoryEvents)
		if l.highDir != l.memoryDir {
			var at Usage
			counters(l.highDir, "memory.events", at.memoryEvents)
			u.MemoryHigh = at.MemoryHigh
		}
		u.MemoryCurrent = number(l.memoryDir, "memory.current")
	} else {
		counters(l.memoryDir, "memory.oom_control", u.memoryEvents)
		u.MemoryCurrent = number(l.memoryDir, "memory.usage_in_bytes")
		u.MemoryMax = number(l.memoryDir, "memory.failcnt")
	}
	for _, p := range []struct {
		name string
		to   *Pressure
	}{{"cpu", &u.CPUPressure}, {"memory", &u.MemoryPressure}, {"io", &u.IOPressure}} {
		s, name := text(l.ownDir, p.name+".pressure"), p.name+".pressure"
		if s == "" {
			s, name = text(l.procDir, p.name), "/proc/pressure/"+p.name
		}
		var err error
		if *p.to, err = parsePressure(s); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return u, errors.Join(errs...)
}

func (u *Usage) cpuStat(name string, n int64) {
	switch name {
	case "nr_periods":
		u.Periods = n
	case "nr_throttled":
		u.Throttled = n
	case "throttled_usec": // v2
		u.ThrottledMicros = n
	case "throttled_time": // v1, in nanoseconds
		u.ThrottledMicros = n / 1000
	}
}

func (u *Usage) memoryEvents(name string, n int64) {
	switch name {
	case "high":
		u.MemoryHigh = n
	case "max":
		u.MemoryMax = n
	case "oom_kill":
		u.OOMKills = n
	}
}
