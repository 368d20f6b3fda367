package cgroup

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// defaultMemory is the limit of the Go heap in the slice that posd is made for.
	defaultMemory = 20 << 20
	// leastMemory keeps the collector from running without pause in a slice that is
	// too small; the kernel then says so by killing, which Usage shows.
	leastMemory = 4 << 20
	// procs is 2 even on one core. A goroutine in msync keeps its P until the
	// runtime's monitor takes it back, which has been seen to last 20 ms when the
	// monitor had gone idle: with one P, all of posd stands still that long at every
	// sale. With a second P the next goroutine runs at once (0.8 ms at p99). More
	// would only let the collector use up a period's quota faster.
	procs = 2
)

// Applied is what Apply did.
type Applied struct {
	GOMAXPROCS  int
	MemoryLimit int64    // bytes; math.MaxInt64 is no limit
	Reasons     []string // one sentence for each knob
}

// Apply sets GOMAXPROCS and Go's memory limit, the latter to goMemory bytes (0: 20
// MiB) or to the share of it that a smaller slice allows. A knob that the user has
// set through its environment variable is left alone.
func Apply(l Limits, goMemory int64) Applied {
	return apply(l, goMemory, os.Getenv)
}

func apply(l Limits, goMemory int64, getenv func(string) string) Applied {
	var a Applied
	if env := getenv("GOMAXPROCS"); env != "" {
		a.GOMAXPROCS = runtime.GOMAXPROCS(0)
		a.say("GOMAXPROCS is %d because the environment says %s", a.GOMAXPROCS, env)
	} else {
		runtime.GOMAXPROCS(procs)
		a.GOMAXPROCS = procs
		a.say("GOMAXPROCS is %d so that a sale does not wait for another's msync (%s)", procs, l.cpuText())
	}
	if env := getenv("GOMEMLIMIT"); env != "" {
		a.MemoryLimit = debug.SetMemoryLimit(-1)
		a.say("the Go memory limit is %s because GOMEMLIMIT in the environment says %s", limitText(a.MemoryLimit), env)
		return a
	}
	limit, reason := memoryFor(l, goMemory)
	debug.SetMemoryLimit(limit)
	a.MemoryLimit = limit
	a.say("the Go memory limit is %s: %s", limitText(limit), reason)
	return a
}

func (a *Applied) say(format string, args ...any) {
	a.Reasons = append(a.Reasons, fmt.Sprintf(format, args...))
}

func (l Limits) cpuText() string {
	if l.CPU.Path == "" {
		return fmt.Sprintf("no cpu quota, %d cpus", runtime.NumCPU())
	}
	return fmt.Sprintf("cpu quota %d%% from %s, %d cpus", l.CPU.Percent(), l.CPU.Path, runtime.NumCPU())
}

// memoryFor leaves the rest of the slice to stacks, mapped journal pages, the
// program's own text and the kernel: 20 of 32 MiB max, 20 of 28 MiB high.
func memoryFor(l Limits, goMemory int64) (int64, string) {
	if goMemory <= 0 {
		goMemory = defaultMemory
	}
	limit, reason := goMemory, "as configured"
	lower := func(by Limit, num, den int64, name string) {
		if by.Path == "" {
			return
		}
		if share := by.Value/den*num + by.Value%den*num/den; share < limit {
			limit = share
			reason = fmt.Sprintf("%d/%d of %s %s from %s", num, den, name, formatBytes(by.Value), by.Path)
		}
	}
	lower(l.MemoryMax, 5, 8, "memory.max")
	lower(l.MemoryHigh, 5, 7, "memory.high")
	if limit < leastMemory {
		limit = leastMemory
		reason += ", but not less than " + formatBytes(leastMemory) + ": the slice is too small for posd"
	}
	return limit, reason
}

func limitText(n int64) string {
	if n == math.MaxInt64 {
		return "off"
	}
	return formatBytes(n)
}
