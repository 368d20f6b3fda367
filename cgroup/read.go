package cgroup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/cgroups/v3"
)

// maxRead bounds every file that is read here.
const maxRead = 64 << 10

const mountPoint = "/sys/fs/cgroup"

// Read finds the limits of this process. root is where /proc and /sys are: "/" but
// for tests. A file that is missing sets no limit. A file that cannot be understood
// gives an error beside everything else that was found: the caller reports it and goes on.
func Read(root string) (Limits, error) {
	return read(root, modeOf(root))
}

// modeOf asks the kernel about the real root, and the files about any other.
func modeOf(root string) cgroups.CGMode {
	if filepath.Clean(root) == "/" {
		return cgroups.Mode()
	}
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(root, mountPoint, name))
		return err == nil
	}
	switch {
	case exists("cgroup.controllers"):
		return cgroups.Unified
	case exists("unified/cgroup.controllers"):
		return cgroups.Hybrid
	case exists("."):
		return cgroups.Legacy
	}
	return cgroups.Unavailable
}

// reader collects limits and what went wrong on the way.
type reader struct {
	root   string
	limits Limits
	mounts []mount
	errs   []error
}

func read(root string, mode cgroups.CGMode) (Limits, error) {
	r := &reader{root: root}
	r.limits.procDir = filepath.Join(root, "/proc/pressure")
	switch mode {
	case cgroups.Unified:
		r.limits.Mode = "v2"
	case cgroups.Hybrid:
		r.limits.Mode = "hybrid"
	case cgroups.Legacy:
		r.limits.Mode = "v1"
	default:
		r.limits.Mode = "none"
		return r.limits, nil
	}
	text, ok := r.file("/proc/self/cgroup")
	if !ok {
		r.limits.Hidden = "/proc/self/cgroup is missing: is /proc mounted?"
		return r.limits, errors.Join(r.errs...)
	}
	groups, err := parseMembership(text)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("/proc/self/cgroup: %w", err))
	}
	text, _ = r.file("/proc/self/mountinfo")
	r.mounts = parseMounts(text)
	for _, g := range groups {
		switch {
		case g.controllers == "" && mode != cgroups.Legacy:
			r.unified(g, mode)
		case mode != cgroups.Unified:
			r.legacy(g)
		}
	}
	return r.limits, errors.Join(r.errs...)
}

// file reads a small file below the root; ok is false when it is missing.
func (r *reader) file(name string) (text string, ok bool) {
	text, err := readSmall(filepath.Join(r.root, name))
	if err != nil {
		// A controller that is not enabled has no files; a group may vanish.
		if !errors.Is(err, fs.ErrNotExist) {
			r.errs = append(r.errs, err)
		}
		return "", false
	}
	return text, true
}

func readSmall(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRead))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return string(b), nil
}

// dirs lists the folders of group from the leaf up to the mount point, without
// root, and notes when the group cannot be seen.
func (r *reader) dirs(m mount, group string) []string {
	rel, visible := m.below(group)
	if !visible {
		r.hide(fmt.Sprintf("group %s is outside of the part that is mounted at %s: limits above are not visible", group, m.point))
	} else if path.Clean(m.root) != "/" {
		r.hide(fmt.Sprintf("only the part below %s is mounted at %s: limits above are not visible", m.root, m.point))
	}
	if _, err := os.Stat(filepath.Join(r.root, m.point, rel)); err != nil {
		r.hide(fmt.Sprintf("group %s is not visible at %s", group, m.point))
	}
	var out []string
	for ; rel != "/"; rel = path.Dir(rel) {
		out = append(out, path.Join(m.point, rel))
	}
	return append(out, m.point)
}

func (r *reader) hide(why string) {
	if !strings.Contains(r.limits.Hidden, why) {
		r.limits.Hidden = strings.TrimPrefix(r.limits.Hidden+"; "+why, "; ")
	}
}

// unified reads the v2 files of one group and all above it.
func (r *reader) unified(g membership, mode cgroups.CGMode) {
	l := &r.limits
	if l.Group == "" || g.group != "/" {
		l.Group = g.group
	}
	m := mount{v2: true, root: "/", point: mountPoint}
	if mode == cgroups.Hybrid {
		m.point = path.Join(mountPoint, "unified")
	}
	for _, x := range r.mounts {
		if x.v2 {
			m = x
			break
		}
	}
	for i, dir := range r.dirs(m, g.group) {
		if i == 0 {
			l.ownDir = filepath.Join(r.root, dir)
		}
		if text, ok := r.file(path.Join(dir, "cpu.max")); ok {
			l.v2CPU = true
			r.quota(dir, path.Join(dir, "cpu.max"), text)
			r.burst(dir)
		}
		if r.limit(&l.MemoryMax, dir, "memory.max") {
			l.v2Memory = true
		}
		r.limit(&l.MemoryHigh, dir, "memory.high")
		r.limit(&l.Tasks, dir, "pids.max")
	}
	if mode == cgroups.Unified {
		l.v2CPU, l.v2Memory = true, true
	}
	if l.v2CPU {
		l.cpuDir = r.statDir(l.CPU.Path)
	}
	if l.v2Memory {
		// memory.events of a group does not count what a limit above it did.
		l.memoryDir, l.highDir = r.statDir(l.MemoryMax.Path), r.statDir(l.MemoryHigh.Path)
		if l.MemoryMax.Path == "" {
			l.memoryDir = l.highDir
		}
	}
}

// statDir is the group whose counters tell about a limit; the own group without one.
func (r *reader) statDir(limitPath string) string {
	if limitPath == "" {
		return r.limits.ownDir
	}
	return filepath.Join(r.root, limitPath)
}

// legacy reads the files of one v1 hierarchy.
func (r *reader) legacy(g membership) {
	l := &r.limits
	for _, controller := range []string{"cpu", "memory", "pids"} {
		if !g.has(controller) {
			continue
		}
		m := mount{root: "/", point: path.Join(mountPoint, controller)}
		for _, x := range r.mounts {
			if !x.v2 && (membership{controllers: x.options}).has(controller) {
				m = x
				break
			}
		}
		dirs := r.dirs(m, g.group)
		switch controller {
		case "cpu":
			for _, dir := range dirs {
				r.legacyQuota(dir)
			}
			l.cpuDir = filepath.Join(r.root, dirs[0])
			if l.CPU.Path != "" {
				l.cpuDir = filepath.Join(r.root, l.CPU.Path)
			}
		case "memory":
			if l.Group == "" || l.Group == "/" {
				l.Group = g.group
			}
			for _, dir := range dirs {
				r.limit(&l.MemoryMax, dir, "memory.limit_in_bytes")
			}
			l.memoryDir = filepath.Join(r.root, dirs[0])
			if l.MemoryMax.Path != "" {
				l.memoryDir = filepath.Join(r.root, l.MemoryMax.Path)
			}
		case "pids":
			for _, dir := range dirs {
				r.limit(&l.Tasks, dir, "pids.max")
			}
		}
	}
}

func (r *reader) legacyQuota(dir string) {
	name := path.Join(dir, "cpu.cfs_quota_us")
	quota, ok := r.file(name)
	if !ok {
		return
	}
	period, ok := r.file(path.Join(dir, "cpu.cfs_period_us"))
	if !ok {
		period = "100000"
	}
	r.quota(dir, name, strings.TrimSpace(quota)+" "+strings.TrimSpace(period))
}

func (r *reader) quota(dir, name, text string) {
	q, ok, err := parseQuota(text)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", name, err))
	}
	q.Path = dir
	if ok && q.less(r.limits.CPU) {
		r.limits.CPU = q
	}
}

// burst belongs to the tightest quota, if dir has set that.
func (r *reader) burst(dir string) {
	text, ok := r.file(path.Join(dir, "cpu.max.burst"))
	if !ok || r.limits.CPU.Path != dir {
		return
	}
	n, _, err := parseLimit(text)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s/cpu.max.burst: %w", dir, err))
	}
	r.limits.CPU.Burst = n
}

// limit lowers *to if the file in dir says so, and reports whether there is one.
func (r *reader) limit(to *Limit, dir, file string) bool {
	name := path.Join(dir, file)
	text, ok := r.file(name)
	if !ok {
		return false
	}
	n, limited, err := parseLimit(text)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", name, err))
	}
	if limited && (to.Path == "" || n < to.Value) {
		*to = Limit{Value: n, Path: dir}
	}
	return true
}
