package place

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine says what everything ran on, and when.
func Machine(when time.Time) string {
	var u unix.Utsname
	unix.Uname(&u)
	cores := "cores"
	if runtime.NumCPU() == 1 {
		cores = "core"
	}
	return fmt.Sprintf("%s, %d %s; Linux %s; %s; %s", cpuModel(), runtime.NumCPU(), cores,
		unix.ByteSliceToString(u.Release[:]), runtime.Version(), when.UTC().Format(time.DateOnly))
}

// Load is the machine's load average of the last minute.
func Load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(b), " ")
	return load
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// LastCore is the highest core that this process may use: interrupts and other
// programs tend to be on the first.
func LastCore() (int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, err
	}
	for core := 1023; core >= 0; core-- {
		if set.IsSet(core) {
			return core, nil
		}
	}
	return 0, errors.New("no core is allowed")
}

// Pinned runs start on a thread that is bound to the core: the process that it starts
// inherits that.
func Pinned(core int, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, pinned unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	pinned.Set(core)
	if err := unix.SchedSetaffinity(0, &pinned); err != nil {
		return err
	}
	defer unix.SchedSetaffinity(0, &before)
	return start()
}

// Leave moves this process off the core, where there is another one.
func Leave(core int) error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return err
	}
	if set.Clear(core); set.Count() == 0 {
		return nil
	}
	for range 2 { // again for threads that another one has made meanwhile
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range tasks {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(id, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}
