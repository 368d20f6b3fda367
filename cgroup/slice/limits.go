package slice

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Names that posd's units use too.
const (
	Name  = "posd.slice"
	Scope = "posd.scope"
)

// Limits of a slice. Times are microseconds, sizes bytes; below 0 is no limit.
type Limits struct {
	CPU, Period int64 // cpu.max: so much processor time in each period
	Burst       int64 // cpu.max.burst: unused time that may be added to one period; where the kernel knows it
	MemoryHigh  int64 // beyond it, processes are slowed down
	MemoryMax   int64 // beyond it, one is killed
	SwapMax     int64
	Tasks       int64
}

// Default is what posd is made for: 10 % of one core, 32 MiB.
func Default() Limits {
	return Limits{CPU: 10_000, Period: 100_000, Burst: 10_000,
		MemoryHigh: 28 << 20, MemoryMax: 32 << 20, SwapMax: 0, Tasks: 64}
}

// Check refuses what the kernel would refuse, or what would end in a slice that
// kills posd at once.
func (l Limits) Check() error {
	switch {
	case l.Period < 1_000 || l.Period > 1_000_000:
		return fmt.Errorf("a cpu period of %d µs: the kernel takes 1000 to 1000000", l.Period)
	case l.CPU >= 0 && l.CPU < 1_000:
		return fmt.Errorf("a cpu quota of %d µs in %d µs: the kernel takes 1000 at least", l.CPU, l.Period)
	case l.CPU >= 0 && l.Burst > l.CPU:
		return fmt.Errorf("a cpu burst of %d µs: at most the quota, %d", l.Burst, l.CPU)
	case l.CPU < 0 && l.Burst > 0:
		return fmt.Errorf("a cpu burst without a quota means nothing")
	case l.MemoryMax >= 0 && l.MemoryMax < 16<<20:
		return fmt.Errorf("a memory limit of %d bytes: posd does not start below 16 MiB", l.MemoryMax)
	case l.MemoryMax >= 0 && l.MemoryHigh > l.MemoryMax:
		return fmt.Errorf("memory.high %d is above memory.max %d", l.MemoryHigh, l.MemoryMax)
	case l.Tasks >= 0 && l.Tasks < 16:
		return fmt.Errorf("%d tasks: Go needs 16 at least", l.Tasks)
	}
	return nil
}

// limit is one file of a slice and the text that is wanted in it.
type limit struct {
	file, controller string
	want             string
	bytes            bool // the kernel rounds down to whole pages
	optional         bool // newer kernels only, or only with swap
	why              string
}

// list is in the order in which limits are shown.
func (l Limits) list() []limit {
	return []limit{
		{file: "cpu.max", controller: "cpu", want: number(l.CPU) + " " + number(l.Period)},
		{file: "cpu.max.burst", controller: "cpu", want: number(max(0, l.Burst)), optional: true, why: "a kernel before 5.14: posd cannot use up in one period what it saved in another"},
		{file: "memory.high", controller: "memory", want: number(l.MemoryHigh), bytes: true},
		{file: "memory.max", controller: "memory", want: number(l.MemoryMax), bytes: true},
		{file: "memory.swap.max", controller: "memory", want: number(l.SwapMax), bytes: true, optional: true, why: "a kernel without swap: nothing can be swapped out"},
		{file: "pids.max", controller: "pids", want: number(l.Tasks)},
	}
}

func number(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// same says whether the kernel's text means what was wanted. It rounds bytes down
// to whole pages.
func (l limit) same(found string) bool {
	if found == l.want {
		return true
	}
	if !l.bytes {
		return false
	}
	want, err1 := strconv.ParseInt(l.want, 10, 64)
	got, err2 := strconv.ParseInt(found, 10, 64)
	page := int64(os.Getpagesize())
	return err1 == nil && err2 == nil && got == want/page*page
}

// ParseCPU reads "10%" of one core as a quota in the default period.
func ParseCPU(s string) (int64, error) {
	if s == "max" {
		return -1, nil
	}
	digits, ok := strings.CutSuffix(s, "%")
	percent, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(percent >= 1 && percent <= 100_000) {
		return 0, fmt.Errorf(`%q is no share of a core: write percent, such as "10%%", or "max"`, s)
	}
	return int64(percent*1000 + 0.5), nil
}

// ParseSize reads "32M", "32MiB", bytes, or "max".
func ParseSize(s string) (int64, error) {
	if s == "max" {
		return -1, nil
	}
	digits := strings.TrimRight(s, "KMGiB")
	unit := map[string]int64{"": 1, "B": 1, "K": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30, "GiB": 1 << 30}[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || unit == 0 || n < 0 || n > (1<<50)/unit {
		return 0, fmt.Errorf(`%q is no size: write one such as "32M" (of 1024 × 1024 bytes), or "max"`, s)
	}
	return n * unit, nil
}
