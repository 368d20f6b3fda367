package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// needGuest gives a kernel, or leaves the test out where guests cannot run.
func needGuest(t *testing.T) (context.Context, Linux) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a guest")
	}
	for _, name := range []string{"qemu-system-aarch64", "apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("POSD_REQUIRE_ROOT_LABS") == "1" {
				t.Fatal(err)
			}
			t.Skip("nothing was tested:", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	k, err := Kernel(ctx, "../../../.tools/guest-kernel")
	if err != nil {
		t.Fatal(err)
	}
	return ctx, k
}

func boot(t *testing.T, ctx context.Context, k Linux, c Config, o Options, files ...File) (*Machine, *bytes.Buffer) {
	t.Helper()
	initrd := filepath.Join(t.TempDir(), "initrd")
	if err := Initrd(ctx, k, initrd, c, files...); err != nil {
		t.Fatal(err)
	}
	var console bytes.Buffer
	o.Kernel, o.Initrd, o.Console = k.Image, initrd, &console
	m, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Kill() })
	return m, &console
}

// self is this test's own program for the guest: it serves a page, or holds memory.
func self(t *testing.T, ctx context.Context) File {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "self")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "./testdata/self.go")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return File{Name: "bin/self", Mode: 0o755, Path: bin}
}

// TestGuest boots one guest and tries all that a lab asks of it.
func TestGuest(t *testing.T) {
	ctx, k := needGuest(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, bytes.Repeat([]byte("sector.\n"), 1<<17), 0o600); err != nil {
		t.Fatal(err)
	}
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	m, console := boot(t, ctx, k, Config{
		Network:     true,
		Controllers: []string{"cpu", "memory", "pids"},
		Programs: []Program{
			{Name: "web", Args: []string{"self", "serve"}, Console: true, Restart: true},
			{Name: "limited", Args: []string{"self", "serve", ":81"}, Cgroup: "posd.slice/x", Limits: map[string]string{
				"cpu.max": "10000 100000", "cpu.max.burst": "10000", "memory.max": "33554432", "memory.high": "29360128", "pids.max": "64"}},
		},
	}, Options{Forward: []int{80, 81}, Drives: []Drive{{File: disk, Serial: "first"}, {File: os.DevNull, Serial: "second", ReadOnly: true}}}, self(t, ctx))
	if _, err := m.Wait(ctx, `^guest: ready`); err != nil {
		t.Fatal(err)
	}
	a, err := m.Agent(ctx)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, console)
		}
	}
	page := func(port int) string {
		t.Helper()
		for {
			r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", m.Port(port)))
			if err == nil {
				b, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err == nil {
					return string(b)
				}
			}
			if ctx.Err() != nil {
				t.Fatal("no page:", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if got := page(80); got != "0::/\n" {
		t.Errorf("the program without limits runs in %q", got)
	}
	if got := page(81); got != "0::/posd.slice/x\n" {
		t.Errorf("the limited program runs in %q", got)
	}
	for file, want := range map[string]string{"cpu.max": "10000 100000\n", "cpu.max.burst": "10000\n", "memory.max": "33554432\n", "pids.max": "64\n"} {
		b, err := a.ReadFile(ctx, "/sys/fs/cgroup/posd.slice/x/"+file)
		check(file, err)
		if string(b) != want {
			t.Errorf("%s is %q", file, b)
		}
	}
	b, err := a.ReadFile(ctx, "/proc/pressure/cpu")
	check("pressure", err)
	if !strings.HasPrefix(string(b), "some ") {
		t.Errorf("pressure: %q", b)
	}

	e, err := a.Run(ctx, Program{Args: []string{"self", "cat", "/dev/vda"}, Dir: "/tmp", Stdin: []byte("in")})
	check("run", err)
	disks := fmt.Sprint(e.Code, " ", string(e.Stdout[:min(16, len(e.Stdout))]))
	if disks != "0 sector.\nsector.\n" {
		t.Errorf("the first drive's content: %s %s", disks, e.Stderr)
	}
	serial, err := a.ReadFile(ctx, "/sys/block/vda/serial")
	check("serial", err)
	if string(serial) != "first" {
		t.Errorf("the first drive is %q", serial)
	}
	e, err = a.Run(ctx, Program{Args: []string{"self", "fail"}})
	check("run", err)
	if e.Code != 3 || string(e.Stderr) != "no\n" {
		t.Errorf("a failing program: %+v %s", e, e.Stderr)
	}
	if _, err := a.Run(ctx, Program{Args: []string{"missing"}}); err == nil {
		t.Error("a missing program ran")
	}

	big := bytes.Repeat([]byte("0123456789abcdef"), 40000)
	check("write", a.WriteFile(ctx, "/tmp/big", big, 0o600))
	back, err := a.ReadFile(ctx, "/tmp/big")
	check("read", err)
	if !bytes.Equal(back, big) {
		t.Errorf("a file of %d bytes came back as %d", len(big), len(back))
	}

	check("install", a.Install(ctx, "/tmp/big", "/run/copy"))
	sum, err := a.Sum(ctx, "/run/copy")
	check("sum", err)
	if want := sha256.Sum256(big); !bytes.Equal(sum, want[:]) {
		t.Error("what was installed is not what was there")
	}

	check("kill", a.Stop(ctx, "web", syscall.SIGKILL))
	_, err = m.Wait(ctx, `web ended`) // the first start's line is before it, read or not
	check("console", err)
	_, err = m.Wait(ctx, `^web\| serving`)
	check("restart", err)
	pid, err := a.Start(ctx, Program{Name: "third", Args: []string{"self", "serve", ":82"}})
	check("start", err)
	status, err := a.ReadFile(ctx, fmt.Sprintf("/proc/%d/comm", pid))
	check("process id", err)
	if string(status) != "self\n" {
		t.Errorf("process %d is %q", pid, status)
	}
	check("stop", a.Stop(ctx, "web", syscall.SIGTERM))
	e, err = a.Await(ctx, "web")
	check("await", err)
	if e.Signal != int(syscall.SIGTERM) || e.Starts != 2 {
		t.Errorf("the stopped program: %+v", e)
	}
	if got := page(81); got != "0::/posd.slice/x\n" { // a signal is for one program
		t.Errorf("beside the stopped program: %q", got)
	}
	e, err = a.Run(ctx, Program{Args: []string{"self", "dial", fmt.Sprintf("10.0.2.2:%d", host.Addr().(*net.TCPAddr).Port)}})
	check("dial", err)
	if e.Code != 0 {
		t.Errorf("the guest does not reach the host: %s", e.Stderr)
	}
	log, err := a.Log(ctx, "web")
	check("log", err)
	if strings.Count(log, "serving") != 2 {
		t.Errorf("log: %q", log)
	}
	check("power off", a.PowerOff(ctx))
	if m.Err() != nil {
		t.Error(m.Err())
	}
}

// TestNotReady: what a guest cannot do is said, not waited for.
func TestNotReady(t *testing.T) {
	ctx, k := needGuest(t)
	m, _ := boot(t, ctx, k, Config{Mounts: []Mount{{Source: "none", Target: "/x", Type: "nosuchfs"}}}, Options{})
	if _, err := m.Agent(ctx); err == nil || !strings.Contains(err.Error(), "nosuchfs") && !strings.Contains(err.Error(), "/x") {
		t.Fatal("a mount that cannot be:", err)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Wait(ctx, "never said"); err == nil || !strings.Contains(err.Error(), "ended before") {
		t.Error("a dead guest:", err)
	}
	if m.Err() == nil {
		t.Error("a killed guest ended in order")
	}
}

// TestKernelPanic: a guest that dies by itself is seen.
func TestKernelPanic(t *testing.T) {
	ctx, k := needGuest(t)
	initrd := filepath.Join(t.TempDir(), "initrd")
	f, err := os.Create(initrd)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteInitrd(f, []File{{Name: "init", Mode: 0o755, Data: []byte("no program")}}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	m, err := Start(ctx, Options{Kernel: k.Image, Initrd: initrd})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Kill()
	if line, err := m.Wait(ctx, "Kernel panic"); err != nil {
		t.Fatal(line, err)
	}
	if _, err := m.Agent(ctx); err == nil {
		t.Error("a guest without init is ready")
	}
}

func TestInitrd(t *testing.T) {
	files := []File{{Name: "/b/c", Data: []byte("x")}, {Name: "a", Mode: TypeLink | 0o777, Data: []byte("b/c")}}
	var one, two bytes.Buffer
	if err := WriteInitrd(&one, files); err != nil {
		t.Fatal(err)
	}
	files[0], files[1] = files[1], files[0]
	if err := WriteInitrd(&two, files); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("the order of the files shows")
	}
	if err := WriteInitrd(io.Discard, []File{{Name: "a", Path: "missing"}}); err == nil {
		t.Error("a missing file went in")
	}
}

func TestMirror(t *testing.T) {
	t.Setenv(mirrorVar, "")
	for name, c := range map[string]struct{ file, text, want string }{
		"one line": {"sources.list", "deb-src http://m.test/debian bookworm main\ndeb http://m.test/debian-security bookworm-security main\ndeb [signed-by=/k.gpg] http://m.test/debian bookworm contrib main # x\n",
			"deb [arch=arm64 signed-by=/k.gpg] http://m.test/debian bookworm main\n"},
		"stanzas": {"sources.list.d/debian.sources", "Types: deb\n# comment\nURIs: https://other.test/x\nSuites: y\nComponents: main\n\nTypes: deb deb-src\nURIs: http://m.test/debian\nSuites: trixie trixie-updates\nComponents: main\nSigned-By: /k.gpg\n",
			"deb [arch=arm64 signed-by=/k.gpg] http://m.test/debian trixie main\n"},
		"disabled": {"sources.list.d/debian.sources", "Types: deb\nEnabled: no\nURIs: http://m.test/debian\nSuites: trixie\nComponents: main\n", ""},
		"none":     {"sources.list.d/x.list", "deb http://m.test/ubuntu noble main\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			etc := t.TempDir()
			if err := os.MkdirAll(filepath.Join(etc, "sources.list.d"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(etc, c.file), []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			m, err := findMirror(etc)
			if (err != nil) != (c.want == "") || err == nil && m.line() != c.want {
				t.Errorf("%q, %v", m.line(), err)
			}
		})
	}
}
