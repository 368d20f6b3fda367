package slice

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	mountPoint  = "/sys/fs/cgroup"
	systemdMark = "/run/systemd/system" // as sd_booted(3) tells
	maxRead     = 64 << 10
)

// Tree is where the groups are: the root folder of the machine, "/" but for tests.
type Tree struct{ Root string }

func (t Tree) file(name string) string { return filepath.Join(t.Root, name) }

// text reads a small file; ok is false when it is missing.
func (t Tree) text(name string) (text string, ok bool, err error) {
	f, err := os.Open(t.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRead))
	return strings.TrimSpace(string(b)), err == nil, err
}

// Systemd says whether systemd is the init system.
func (t Tree) Systemd() bool {
	st, err := os.Lstat(t.file(systemdMark))
	return err == nil && st.IsDir()
}

// Unified is nil if the machine has one cgroup v2 tree with the controllers in it.
func (t Tree) Unified() error {
	if filepath.Clean(t.Root) == "/" {
		var st unix.Statfs_t
		if err := unix.Statfs(mountPoint, &st); err == nil && st.Type != unix.CGROUP2_SUPER_MAGIC {
			return t.otherMode()
		}
	}
	if _, err := os.Stat(t.file(mountPoint + "/cgroup.controllers")); err == nil {
		return nil
	}
	return t.otherMode()
}

func (t Tree) otherMode() error {
	exists := func(name string) bool { _, err := os.Stat(t.file(mountPoint + name)); return err == nil }
	const boot = "boot with systemd.unified_cgroup_hierarchy=1 on a systemd machine, else with cgroup_no_v1=all on the kernel's command line and mount -t cgroup2 none /sys/fs/cgroup"
	switch {
	case exists("/unified/cgroup.controllers"):
		return fmt.Errorf("%w: it is hybrid, the limits are in cgroup v1: %s", ErrMode, boot)
	case exists("/memory"), exists("/cpu"), exists("/pids"), exists("/systemd"):
		return fmt.Errorf("%w: the machine runs cgroup v1: %s", ErrMode, boot)
	}
	if fsTypes, ok, _ := t.text("/proc/filesystems"); ok && !strings.Contains(fsTypes, "cgroup2") {
		return fmt.Errorf("%w: the kernel was built without it (CONFIG_CGROUPS, CONFIG_MEMCG, CONFIG_CGROUP_SCHED, CONFIG_CFS_BANDWIDTH, CONFIG_CGROUP_PIDS)", ErrMode)
	}
	return fmt.Errorf("%w: nothing is mounted there: mount -t cgroup2 none /sys/fs/cgroup", ErrMode)
}

// GroupOf is the group of a process, as a path below the mount point: "/posd.slice/posd.scope".
func (t Tree) GroupOf(pid int) (string, error) {
	who := strconv.Itoa(pid)
	if pid == 0 {
		who = "self"
	}
	text, ok, err := t.text("/proc/" + who + "/cgroup")
	if err == nil && !ok {
		err = fmt.Errorf("there is no process %s", who)
	}
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok && strings.HasPrefix(group, "/") {
			return strings.TrimSuffix(group, " (deleted)"), nil
		}
	}
	return "", fmt.Errorf("%w: process %s is in no group of one", ErrMode, who)
}

// Group is one group on the way up: what its files say. A file that is missing (the
// controller is not handed down, or the kernel is older) is not in the maps.
type Group struct {
	Path   string            `json:"path"`   // below the mount point; "/" is the top
	Limits map[string]string `json:"limits"` // file: text
	Usage  map[string]int64  `json:"usage"`  // counters and sizes, by the kernel's names
}

var (
	limitFiles = []string{"cpu.max", "cpu.max.burst", "memory.high", "memory.max", "memory.swap.max", "pids.max"}
	usageFiles = []string{"memory.current", "memory.peak", "pids.current"}
	usageStats = map[string][]string{
		"cpu.stat":      {"usage_usec", "nr_periods", "nr_throttled", "throttled_usec", "nr_bursts", "burst_usec"},
		"memory.events": {"high", "max", "oom_kill"},
	}
)

// Up reads a group and all above it, the group first. hidden says why groups above
// could not be seen, or is empty.
func (t Tree) Up(group string) (groups []Group, hidden string, err error) {
	if err := t.Unified(); err != nil {
		return nil, "", err
	}
	if strings.Contains(group+"/", "/../") {
		return nil, "", fmt.Errorf("%w: %s lies outside of the part of the tree that can be seen here", ErrNoSlice, group)
	}
	group = path.Clean("/" + group)
	if st, err := os.Stat(t.file(mountPoint + group)); err != nil || !st.IsDir() {
		return nil, "", fmt.Errorf("%w: %s%s", ErrNoSlice, mountPoint, group)
	}
	for at := group; ; at = path.Dir(at) {
		g, err := t.group(at)
		if err != nil {
			return nil, "", err
		}
		groups = append(groups, g)
		if at == "/" {
			break
		}
	}
	return groups, t.hidden(), nil
}

// hidden: the top that is seen here has limits only where it is not the machine's.
func (t Tree) hidden() string {
	if _, err := os.Stat(t.file(mountPoint + "/cgroup.type")); err == nil {
		return "the top that is seen here is not the machine's, as in a container: limits above it are hidden"
	}
	return ""
}

func (t Tree) group(at string) (Group, error) {
	g := Group{Path: at, Limits: map[string]string{}, Usage: map[string]int64{}}
	for _, name := range limitFiles {
		text, ok, err := t.text(path.Join(mountPoint, at, name))
		if err != nil {
			return g, err
		}
		if ok {
			g.Limits[name] = text
		}
	}
	for _, name := range usageFiles {
		if text, ok, _ := t.text(path.Join(mountPoint, at, name)); ok {
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				g.Usage[name] = n
			}
		}
	}
	for name, wanted := range usageStats {
		text, _, _ := t.text(path.Join(mountPoint, at, name))
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && slices.Contains(wanted, key) {
				g.Usage[name+" "+key] = n
			}
		}
	}
	return g, nil
}

// Effective is the least of each limit over a way up, and which group sets it.
type Effective struct {
	File  string `json:"file"`
	Value string `json:"value"` // "max": there is none
	Path  string `json:"path,omitempty"`
}

// Least finds what is in force. cpu.max.burst is that of the group with the quota.
func Least(groups []Group) []Effective {
	var out []Effective
	burst := Effective{File: "cpu.max.burst", Value: "0"}
	for _, name := range limitFiles {
		if name == "cpu.max.burst" {
			continue
		}
		e, least := Effective{File: name, Value: "max"}, 0.0
		for _, g := range groups {
			value, ok := size(g.Limits[name])
			if !ok || e.Path != "" && value >= least {
				continue
			}
			least, e.Value, e.Path = value, g.Limits[name], g.Path
			if name == "cpu.max" {
				burst.Value, burst.Path = g.Limits["cpu.max.burst"], g.Path
			}
		}
		out = append(out, e)
		if name == "cpu.max" && burst.Value != "" {
			out = append(out, burst)
		}
	}
	return out
}

// size makes texts comparable: a quota is a share of a core.
func size(text string) (float64, bool) {
	f := strings.Fields(text)
	if len(f) == 0 || f[0] == "max" {
		return 0, false
	}
	n, err := strconv.ParseFloat(f[0], 64)
	if err != nil {
		return 0, false
	}
	if len(f) == 2 {
		if period, err := strconv.ParseFloat(f[1], 64); err == nil && period > 0 {
			return n / period, true
		}
	}
	return n, true
}
