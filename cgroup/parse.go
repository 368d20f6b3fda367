package cgroup

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// unlimited is where v1 puts "no limit": the largest multiple of a page, on
// whatever page size. No machine has that much.
const unlimited = 1 << 62

// membership is one line of /proc/self/cgroup.
type membership struct {
	controllers string // comma-separated; empty for v2
	group       string
}

// parseMembership reads /proc/self/cgroup: "hierarchy:controllers:path" a line.
func parseMembership(text string) ([]membership, error) {
	var out []membership
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		_, rest, ok := strings.Cut(line, ":")
		controllers, group, ok2 := strings.Cut(rest, ":")
		if !ok || !ok2 || !strings.HasPrefix(group, "/") {
			return out, fmt.Errorf("not a cgroup line: %q", line)
		}
		// A group that was removed while the process is in it.
		group = strings.TrimSuffix(group, " (deleted)")
		out = append(out, membership{controllers, group})
	}
	return out, nil
}

func (m membership) has(controller string) bool {
	for c := range strings.SplitSeq(m.controllers, ",") {
		if c == controller {
			return true
		}
	}
	return false
}

// mount is a mounted cgroup hierarchy: the part of it below root shows at point.
type mount struct {
	v2          bool
	root, point string
	options     string // of v1: holds the controllers
}

// parseMounts finds cgroup file systems in /proc/self/mountinfo; lines it does
// not understand are of other file systems.
func parseMounts(text string) []mount {
	var out []mount
	for line := range strings.Lines(text) {
		left, right, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 || (r[0] != "cgroup" && r[0] != "cgroup2") {
			continue
		}
		out = append(out, mount{v2: r[0] == "cgroup2", root: unescape(l[3]), point: unescape(l[4]), options: r[2]})
	}
	return out
}

// unescape undoes the octal escapes of mountinfo (\040 is a space).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// below gives the path of group relative to the mount, and whether the mount
// shows it: a container sees its own part of the tree only.
func (m mount) below(group string) (string, bool) {
	if strings.Contains(group+"/", "/../") {
		return "/", false // outside of the cgroup namespace
	}
	group, root := path.Clean(group), path.Clean(m.root)
	switch {
	case root == "/":
		return group, true
	case group == root:
		return "/", true
	case strings.HasPrefix(group, root+"/"):
		return group[len(root):], true
	}
	return "/", false
}

// parseLimit reads memory.max, pids.max, memory.limit_in_bytes: ok is false for "no limit".
func parseLimit(text string) (value int64, ok bool, err error) {
	s := strings.TrimSpace(text)
	if s == "max" || s == "-1" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("not a limit: %q", clip(s))
	}
	if n >= unlimited {
		return 0, false, nil
	}
	return int64(n), true, nil
}

// parseQuota reads "10000 100000" or "max 100000"; ok is false for "no quota".
func parseQuota(text string) (q Quota, ok bool, err error) {
	f := strings.Fields(text)
	if len(f) == 1 {
		f = append(f, "100000") // the kernel's default period
	}
	bad := fmt.Errorf("not a cpu quota: %q", clip(strings.TrimSpace(text)))
	if len(f) != 2 {
		return q, false, bad
	}
	// A second is the longest period; a quota above 2^40 µs is no quota on any machine.
	period, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil || period <= 0 || period > 1<<40 {
		return q, false, bad
	}
	if f[0] == "max" || f[0] == "-1" {
		return q, false, nil
	}
	micros, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil || micros <= 0 || micros > 1<<40 {
		return q, false, bad
	}
	return Quota{Micros: micros, Period: period}, true, nil
}

// parseCounters calls fn for each "name value" line, as in cpu.stat and memory.events.
func parseCounters(text string, fn func(name string, value int64)) error {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseInt(value, 10, 64)
		if !ok || err != nil || n < 0 {
			if strings.TrimSpace(line) == "" {
				continue
			}
			return fmt.Errorf("not a counter: %q", clip(line))
		}
		fn(name, n)
	}
	return nil
}

// parsePressure reads "some avg10=0.12 avg60=… total=345" and the same for "full".
func parsePressure(text string) (Pressure, error) {
	var p Pressure
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		total, ok := strings.CutPrefix(f[len(f)-1], "total=")
		n, err := strconv.ParseInt(total, 10, 64)
		if !ok || err != nil || n < 0 {
			return p, fmt.Errorf("not a pressure line: %q", clip(line))
		}
		switch f[0] {
		case "some":
			p.SomeMicros = n
		case "full":
			p.FullMicros = n
		}
	}
	return p, nil
}

// clip keeps a message short when a file holds rubbish.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
