package load

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Script is what is played in the guest, and against whom.
type Script struct {
	Slice string // folder of the group that is watched

	URL, Token    string // of posd
	Publish       string // URL of a NATS server instead
	Message       string // file with what is published
	Streams       bool   // make the streams first
	Hub, HubToken string // of head office, "" = there is none
	Terminal      string

	Socket, PosctlToken, ProfileFile string

	Phases []Phase
}

// Phase is one part of it.
type Phase struct {
	Name    string
	Wait    string  // page that has to answer first
	Rate    int     // calls a second
	Seconds float64 // for so long
	Until   uint64  // or until head office has so many events
	Profile string  // page of posd's unix socket that is fetched meanwhile, to ProfileFile
}

// Result is what came of a phase.
type Result struct {
	Name          string
	Rate          int
	Took          float64 // seconds
	Before, After Counters
	Most          Memory // highest seen, each by itself
	From, To      uint64 // what head office had
	Times
}

// Counters are what the kernel tells of a group: "cpu.stat usage_usec" and so on.
type Counters map[string]int64

// Delta is how much one has grown during the phase.
func (r *Result) Delta(name string) int64 { return r.After[name] - r.Before[name] }

var files = []string{"cpu.stat", "memory.stat", "memory.events", "memory.peak", "memory.current", "pids.current",
	"cpu.pressure", "memory.pressure", "io.pressure"}

// Count reads them.
func Count(dir string) (Counters, error) {
	c := Counters{}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := c.parse(file, string(text)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c Counters) parse(file, text string) (err error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 1:
			c[file], err = strconv.ParseInt(f[0], 10, 64)
		case len(f) == 2:
			c[file+" "+f[0]], err = strconv.ParseInt(f[1], 10, 64)
		case len(f) > 2:
			c[file+" "+f[0]], err = strconv.ParseInt(strings.TrimPrefix(f[len(f)-1], "total="), 10, 64)
		}
		if err != nil {
			return fmt.Errorf("%s: %q: %w", file, line, err)
		}
	}
	return nil
}

func (c Counters) String() string {
	var s strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&s, "%s %d\n", name, c[name])
	}
	return s.String()
}

// Memory is what a group holds, in bytes. Own is what it cannot give back: anonymous
// pages and the kernel's for it. File pages can be taken away.
type Memory struct{ Own, Anon, Kernel, File, Current int64 }

// Watch notes the most of each, twice a second, until ctx ends.
func (r *Result) Watch(ctx context.Context, dir string) error {
	for {
		c, err := Count(dir)
		if err != nil {
			return err
		}
		anon, kernel := c["memory.stat anon"], c["memory.stat kernel"]
		m := &r.Most
		m.Own, m.Anon, m.Kernel = max(m.Own, anon+kernel), max(m.Anon, anon), max(m.Kernel, kernel)
		m.File, m.Current = max(m.File, c["memory.stat file"]), max(m.Current, c["memory.current"])
		if !SleepUntil(ctx, time.Now().Add(500*time.Millisecond)) {
			return nil
		}
	}
}
