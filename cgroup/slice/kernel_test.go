package slice

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Tests against a real kernel. They make groups, so they run only where they are
// asked for: as root, on a machine with cgroup v2 and without systemd, such as a
// guest, with POSD_CGROUP_TEST=1. The test binary needs nothing beside itself:
//
//	CGO_ENABLED=0 GOARCH=arm64 go test -c -o slice.test ./cgroup/slice
//	POSD_CGROUP_TEST=1 ./slice.test -test.v -test.run Kernel

// TestMain lets the test binary be a process that is to be limited. It waits for a
// word on its standard input, so that it is in the slice before it begins.
func TestMain(m *testing.M) {
	do := map[string]func(){"spin": spin, "eat": eat, "fork": fork}[os.Getenv("POSD_CGROUP_CHILD")]
	if do == nil {
		os.Exit(m.Run())
	}
	if _, err := os.Stdin.Read(make([]byte, 1)); err == nil {
		do()
	}
	os.Exit(0)
}

// spin uses all the time of a core that it gets.
func spin() {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
	}
}

// eat touches 64 MiB.
func eat() {
	var keep [][]byte
	for range 64 {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		keep = append(keep, b)
	}
	fmt.Println("ate", len(keep))
}

// fork starts 100 processes, or as many as it may.
func fork() {
	for range 100 {
		c := exec.Command("/proc/self/exe")
		c.Env = []string{"POSD_CGROUP_CHILD=spin"}
		in, err := c.StdinPipe()
		if err != nil || c.Start() != nil {
			break
		}
		defer func() { in.Close(); c.Wait() }()
	}
}

// kernelSlice is a slice on the real tree, or a reason why there can be none.
func kernelSlice(t *testing.T) Slice {
	t.Helper()
	if os.Getenv("POSD_CGROUP_TEST") != "1" {
		t.Skip("it changes groups of this machine's kernel: only with POSD_CGROUP_TEST=1, in a guest")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root makes groups")
	}
	s, err := At("posdtest.slice")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Unified(); err != nil {
		t.Skip(err)
	}
	if s.Systemd() {
		t.Skip("systemd owns the groups of this machine")
	}
	t.Cleanup(func() {
		// A group stays busy until the kernel has seen the end of its processes.
		err := s.Remove()
		for try := 0; err != nil && !errors.Is(err, os.ErrNotExist) && try < 200; try++ {
			time.Sleep(20 * time.Millisecond)
			err = s.Remove()
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error("the slice cannot be removed:", err)
		}
	})
	return s
}

func TestKernelHasLimitsInForce(t *testing.T) {
	s := kernelSlice(t)
	rows, err := s.Apply(Default())
	for _, r := range rows {
		t.Logf("%-16s wanted %-14s found %-14s %s %s", r.File, r.Want, r.Found, r.State, r.Why)
	}
	if err != nil {
		t.Fatal(err)
	}
	// The control: what somebody else writes is seen.
	if err := s.write("memory.max", "max"); err != nil {
		t.Fatal(err)
	}
	if rows, err := s.Compare(Default()); err != nil || !errors.Is(differs(rows), ErrDiffers) {
		t.Errorf("a limit that was taken away is not missed: %v %v", rows, err)
	}
	// A larger and a smaller quota with their bursts, in either order.
	for _, micros := range []int64{50_000, 5_000, 10_000} {
		l := Default()
		l.CPU, l.Burst = micros, micros
		if _, err := s.Apply(l); err != nil {
			t.Errorf("quota %d: %v", micros, err)
		}
	}
	if _, err := s.Apply(Limits{CPU: -1, Period: 100_000, MemoryHigh: -1, MemoryMax: -1, SwapMax: -1, Tasks: -1}); err != nil {
		t.Errorf("no limits: %v", err)
	}
	deep := Slice{s.Tree, s.Name + "/a.slice/b.slice"}
	if _, err := deep.Apply(Default()); err != nil {
		t.Errorf("two levels down: %v", err)
	}
	for _, at := range []string{"/a.slice/b.slice", "/a.slice"} {
		if err := os.Remove(mountPoint + s.Path() + at); err != nil {
			t.Error(err)
		}
	}
}

// A group with processes of its own hands no controllers down, so posd lives in a child.
func TestKernelNoInternalProcess(t *testing.T) {
	s := kernelSlice(t)
	if _, err := s.Apply(Default()); err != nil {
		t.Fatal(err)
	}
	c, in, _ := begin(t, "spin")
	if err := s.write("cgroup.procs", fmt.Sprint(c.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	if _, err := (Slice{s.Tree, s.Name + "/a.slice"}).Apply(Default()); err == nil {
		t.Error("controllers were handed down beside processes")
	} else {
		t.Log(err)
	}
	os.Remove(mountPoint + s.Path() + "/a.slice")
	if err := s.Enter(c.Process.Pid, Scope); err != nil {
		t.Error("from the slice into its scope:", err)
	}
	in.Close()
	c.Wait()
}

// begin starts the test binary, which waits for a word on its standard input.
func begin(t *testing.T, what string) (c *exec.Cmd, in io.WriteCloser, said *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	said = new(bytes.Buffer)
	c = exec.Command(exe)
	c.Env = []string{"POSD_CGROUP_CHILD=" + what, "GOTRACEBACK=none"}
	c.Stdout = said
	if in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return c, in, said
}

// inSlice runs the test binary in the slice to its end.
func inSlice(t *testing.T, s Slice, what string) (out string, state *os.ProcessState) {
	t.Helper()
	c, in, said := begin(t, what)
	if err := s.Enter(c.Process.Pid, Scope); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "!"); err != nil {
		t.Error(err)
	}
	c.Wait() // how it ended is in its state
	return said.String(), c.ProcessState
}

func (s Slice) counter(t *testing.T, name string) int64 {
	t.Helper()
	g, err := s.group(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	return g.Usage[name]
}

// What is in force does something. The same processes without limits are the control.
func TestKernelLimitsWork(t *testing.T) {
	s := kernelSlice(t)
	want := Default()
	if _, err := s.Apply(want); err != nil {
		t.Fatal(err)
	}
	inSlice(t, s, "spin")
	if n := s.counter(t, "cpu.stat nr_throttled"); n == 0 {
		t.Error("a process that spins was never stopped")
	}
	// Alone, so that the others do not make it slow.
	want.CPU, want.Burst, want.MemoryHigh = -1, 0, -1
	if _, err := s.Apply(want); err != nil {
		t.Fatal(err)
	}
	if out, state := inSlice(t, s, "eat"); state.Success() || s.counter(t, "memory.events oom_kill") == 0 {
		t.Errorf("64 MiB fit into 32: %q, %v", out, state)
	}
	// However it takes it: Go ends when it gets no thread.
	inSlice(t, s, "fork")
	if text, _, err := s.text(s.dir() + "/pids.events"); err != nil || text == "max 0" {
		t.Errorf("100 processes fit into 64 tasks: %q, %v", text, err)
	}

	if _, err := s.Apply(Limits{CPU: -1, Period: 100_000, MemoryHigh: -1, MemoryMax: -1, SwapMax: -1, Tasks: -1}); err != nil {
		t.Fatal(err)
	}
	before := s.counter(t, "cpu.stat nr_throttled")
	inSlice(t, s, "spin")
	if n := s.counter(t, "cpu.stat nr_throttled"); n != before {
		t.Errorf("without a quota a process was stopped %d times", n-before)
	}
	if out, state := inSlice(t, s, "eat"); !state.Success() || out != "ate 64\n" {
		t.Errorf("without a limit: %q, %v", out, state)
	}
}
