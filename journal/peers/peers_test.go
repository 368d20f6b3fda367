package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"posd/packaging/lab/place"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be its own child, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childFlag {
		if err := runChild(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Each contender keeps what it acknowledged: on the device when commit returns,
// and in the store when it is opened again.
func TestContendersAreDurable(t *testing.T) {
	const commits, writers = 50, 4
	for _, c := range contenders() {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := c.open(dir, writers)
			if err != nil {
				t.Fatal(err)
			}
			// Together, and alone: nobody may wait for company that does not come.
			for _, n := range []int{writers, 1} {
				latencies, err := drive(s, n, commits/2, time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				if len(latencies) != commits/2 {
					t.Fatalf("%d commits, want %d", len(latencies), commits/2)
				}
			}
			checkClean(t, dir, c.data)
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			n, err := c.count(dir)
			if err != nil {
				t.Fatal(err)
			}
			if n != commits {
				t.Fatalf("%d records after it was opened again, want %d", n, commits)
			}
		})
	}
}

// Warming brings our journal to where segments are recycled, and must not break
// anybody.
func TestWarm(t *testing.T) {
	for _, c := range contenders() {
		if c.warm == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s, err := c.open(t.TempDir(), 2)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			if err := c.warm(s); err != nil {
				t.Fatal(err)
			}
			if o, ok := s.(*ours); ok && o.rolled() == 0 {
				t.Fatal("no segment was recycled")
			}
			if _, err := drive(s, 2, 10, time.Minute); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// checkClean fails if the kernel still has to write a page of the files whose
// paths match data.
func checkClean(t *testing.T, dir, data string) {
	t.Helper()
	if name := place.FileSystem(dir); name == "tmpfs" {
		t.Logf("%s writes nothing: not checked what is on the device", name)
		return
	}
	files := 0
	match := regexp.MustCompile(data)
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || (!match.MatchString(path) && !match.MatchString(d.Name())) {
			return err
		}
		files++
		n := dirtyPages(t, path)
		// The next segment is made in the background and is dirty until that is done; what
		// nobody syncs stays dirty for seconds.
		for i := 0; i < 20 && n > 0; i++ {
			time.Sleep(50 * time.Millisecond)
			n = dirtyPages(t, path)
		}
		if n > 0 {
			t.Errorf("%s has %d pages that are not on the device", d.Name(), n)
		}
		return nil
	})
	if files == 0 {
		t.Errorf("no file matches %s", data)
	}
}

func dirtyPages(t *testing.T, path string) uint64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Cachestat_t
	err = unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &st, 0)
	if errors.Is(err, unix.ENOSYS) {
		t.Log("Linux before 6.5: not checked what is on the device")
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return st.Dirty + st.Writeback
}

// The check above sees what was not synced.
func TestDirtyPagesAreSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if place.FileSystem(filepath.Dir(path)) == "tmpfs" {
		t.Skip("tmpfs writes nothing")
	}
	if err := os.WriteFile(path, make([]byte, pageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if dirtyPages(t, path) == 0 {
		t.Fatal("a page that was just written counts as clean")
	}
}

func TestWholeRun(t *testing.T) {
	p, err := place.Shared(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Remove()
	core, err := place.LastCore()
	if err != nil {
		t.Fatal(err)
	}
	o := options{rounds: 1, commits: 20, limit: time.Minute, writers: []int{1, 2}, only: regexp.MustCompile("^(floor|bbolt-batch)"), opens: []int{100}, reads: 20}
	rep, err := o.measure(t.Context(), &bench{p, core})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	rep.print(&out)
	for _, want := range []string{`(?m)^1 writer$`, `(?m)^ratio floor 1 \d+\.\d\d$`, `(?m)^ratio floor-batched 2 \d+\.\d\d$`, `(?m)^ratio bbolt-batch 2 \d+\.\d\d$`,
		`(?m)^open 100 \d+\.\d ms`, `(?m)^read-p99 busy-procs1 \d+ us$`, `(?m)^memory appending-and-scrubbing -?\d+ KiB$`} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("%s is missing in\n%s", want, out.String())
		}
	}
	path := filepath.Join(t.TempDir(), "new", "document.md")
	if err := rep.writeDocument(path); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, []byte("<no value>")) {
		t.Fatalf("%v\n%s", err, b)
	}
}
