package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posd/packaging/lab/place"
)

// machine says on what, and when, a run was made.
type machine struct {
	began            time.Time
	loadFrom, loadTo string
	took             time.Duration
}

func begin() machine { return machine{began: time.Now(), loadFrom: place.Load()} }

func (m *machine) end() { m.took, m.loadTo = time.Since(m.began), place.Load() }

func (m *machine) String() string { return place.Machine(m.began) }

// Load shows whether the machine had something else to do.
func (m *machine) Load() string {
	return fmt.Sprintf("The machine's load average was %s before and %s at the end; it took %.0f s.", m.loadFrom, m.loadTo, m.took.Seconds())
}

// used is the processor time that this process has used.
func used() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// usage of another process.
type usage struct {
	cpu  time.Duration
	anon int64 // bytes of its own memory now
	peak int64 // most resident bytes, mapped files included
}

func usageOf(pid int) (u usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The name may hold blanks; the numbers follow its closing bracket.
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const userTime, systemTime, perSecond = 11, 12, 100
	if len(f) <= systemTime {
		return u, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	for _, text := range []string{f[userTime], f[systemTime]} {
		ticks, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ticks) * time.Second / perSecond
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		var kib int64
		fmt.Sscan(value, &kib)
		switch name {
		case "RssAnon":
			u.anon = kib << 10
		case "VmHWM":
			u.peak = kib << 10
		}
	}
	return u, nil
}

func selfUsage() (usage, error) { return usageOf(os.Getpid()) }
