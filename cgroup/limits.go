package cgroup

import (
	"fmt"
	"math/bits"
	"strings"
)

// Limit is the least value of one limit over all groups, and who set it.
type Limit struct {
	Value int64  // bytes or tasks
	Path  string // folder of the group; empty: there is no such limit
}

// Quota is the tightest CPU quota over all groups: Micros of CPU time in each
// Period, both in microseconds.
type Quota struct {
	Micros, Period int64
	Burst          int64  // microseconds above Micros that quiet periods let be used at once (v2)
	Path           string // folder of the group; empty: there is no quota
}

// Percent is the quota in percent of one core, rounded; 0 without a quota.
func (q Quota) Percent() int64 {
	if q.Path == "" {
		return 0
	}
	return max(1, (q.Micros*100+q.Period/2)/q.Period)
}

// less compares quotas as fractions, exactly.
func (q Quota) less(other Quota) bool {
	if q.Path == "" || other.Path == "" {
		return q.Path != "" && other.Path == ""
	}
	ahi, alo := bits.Mul64(uint64(q.Micros), uint64(other.Period))
	bhi, blo := bits.Mul64(uint64(other.Micros), uint64(q.Period))
	return ahi < bhi || ahi == bhi && alo < blo
}

// Limits is what the kernel allows this process.
type Limits struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Mode       string // "v2", "v1", "hybrid" or "none"
	Group      string // the process's own group as the kernel names it
	CPU        Quota
	MemoryMax  Limit // beyond it, processes are killed
	MemoryHigh Limit // beyond it, they are slowed down (v2 only)
	Tasks      Limit
	Hidden     string // why groups could not be seen; empty: all were

	// Where Usage reads: the group with the limit if there is one, else the own group.
	cpuDir, memoryDir, highDir, ownDir, procDir string
	v2CPU, v2Memory                             bool
}

// String is one line for the log.
func (l Limits) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cgroup %s", l.Mode)
	if l.Group != "" {
		fmt.Fprintf(&b, " %s", l.Group)
	}
	if l.CPU.Path == "" {
		b.WriteString(": no cpu quota")
	} else {
		fmt.Fprintf(&b, ": cpu %d%% (%s)", l.CPU.Percent(), l.CPU.Path)
	}
	for _, x := range []struct {
		name string
		Limit
	}{{"memory.max", l.MemoryMax}, {"memory.high", l.MemoryHigh}} {
		if x.Path == "" {
			fmt.Fprintf(&b, ", no %s", x.name)
		} else {
			fmt.Fprintf(&b, ", %s %s (%s)", x.name, formatBytes(x.Value), x.Path)
		}
	}
	if l.Tasks.Path != "" {
		fmt.Fprintf(&b, ", tasks %d (%s)", l.Tasks.Value, l.Tasks.Path)
	}
	if l.Hidden != "" {
		fmt.Fprintf(&b, "; %s", l.Hidden)
	}
	return b.String()
}

// Differs says, in words, where the limits are not what the configuration
// expects: cpu in percent of one core, memory in bytes. 0 expects nothing.
func (l Limits) Differs(cpu int, memory int64) []string {
	var out []string
	if got := l.CPU.Percent(); cpu != 0 && got != int64(cpu) {
		found := "no quota"
		if got != 0 {
			found = fmt.Sprintf("%d%% from %s", got, l.CPU.Path)
		}
		out = append(out, fmt.Sprintf("expected a cpu quota of %d%%, found %s: run posd in posd.slice, or correct limits.expect_cpu", cpu, found))
	}
	if memory != 0 && (l.MemoryMax.Path == "" || l.MemoryMax.Value != memory) {
		found := "none"
		if l.MemoryMax.Path != "" {
			found = formatBytes(l.MemoryMax.Value) + " from " + l.MemoryMax.Path
		}
		out = append(out, fmt.Sprintf("expected a memory limit of %s, found %s: run posd in posd.slice, or correct limits.expect_memory", formatBytes(memory), found))
	}
	return out
}

// formatBytes prints whole MiB or KiB where that is exact.
func formatBytes(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
