package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// sample is what posd holds at a moment.
type sample struct{ goroutines, descriptors, anon int } // anon in KiB

// look reads one.
func (s *stress) look() (m sample, err error) {
	page, err := s.socket("/debug/pprof/goroutine?debug=1")
	if err != nil {
		return m, err
	}
	line, _, _ := strings.Cut(string(page), "\n")
	if _, err := fmt.Sscanf(line, "goroutine profile: total %d", &m.goroutines); err != nil {
		return m, fmt.Errorf("%q: %w", line, err)
	}
	proc := "/proc/" + strconv.Itoa(s.posd.Cmd.Process.Pid)
	files, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return m, err
	}
	m.descriptors = len(files)
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		return m, err
	}
	for sc := bufio.NewScanner(bytes.NewReader(status)); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), "RssAnon:"); ok {
			_, err = fmt.Sscan(rest, &m.anon)
			return m, err
		}
	}
	return m, errors.New("/proc/PID/status has no RssAnon")
}

// bounds of growth between the first and the last third after the warm-up.
var bounds = []struct {
	name  string
	of    func(sample) int
	extra func(before int) int
}{
	{"goroutines", func(s sample) int { return s.goroutines }, func(int) int { return 12 }},
	{"descriptors", func(s sample) int { return s.descriptors }, func(int) int { return 12 }},
	{"anonymous memory, KiB", func(s sample) int { return s.anon }, func(before int) int { return before/4 + 1024 }},
}

// growth says what has grown beyond its bound. The medians are compared: a burst is
// no leak. The first fifth is warm-up.
func growth(all []sample) (found []string) {
	all = all[len(all)/5:]
	third := len(all) / 3
	if third < 3 {
		return []string{"too few samples to say that nothing grows"}
	}
	for _, b := range bounds {
		before, after := middle(all[:third], b.of), middle(all[len(all)-third:], b.of)
		if after > before+b.extra(before) {
			found = append(found, fmt.Sprintf("%s grew from %d to %d", b.name, before, after))
		}
	}
	return found
}

func middle(all []sample, of func(sample) int) int {
	v := make([]int, len(all))
	for i, s := range all {
		v[i] = of(s)
	}
	slices.Sort(v)
	return v[len(v)/2]
}
