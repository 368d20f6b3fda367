package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"posd/journal"
	"posd/pos/register"
)

// TestMain lets the test binary be posd itself.
func TestMain(m *testing.M) {
	if os.Getenv("POSD_TEST_NAIVE") != "" {
		naive()
	}
	if os.Getenv("POSD_TEST_MAIN") != "" {
		main()
	}
	var err error
	if programs, err = os.MkdirTemp("", "posd-programs-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(programs)
	os.Exit(code)
}

const (
	token = "secret"
	sale  = `{"lines":[{"description":"x","tax":"A","price":100}],"tenders":[{"kind":"cash","amount":100}]}`
)

// site is a terminal's folder with its configuration.
type site struct {
	t    *testing.T
	dir  string
	conf string
}

func newSite(t *testing.T) *site { return newSiteIn(t, t.TempDir()) }

func newSiteIn(t *testing.T, dir string) *site {
	s := &site{t: t, dir: dir}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	s.configure("127.0.0.1:0", "T1")
	if _, err := journal.Create(filepath.Join(s.dir, "journal"), journal.CreateOptions{
		Identity: journal.Identity{Store: "S1", Terminal: "T1"}, SegmentSize: 1 << 20, Opening: register.Opening(register.Start{Branch: 1}),
	}); err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("till %x 2026-01-01T00:00:00Z\n", sha256.Sum256([]byte(token)))
	if err := os.WriteFile(filepath.Join(s.dir, "tokens"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) configure(listen, terminal string) {
	s.t.Helper()
	s.conf = filepath.Join(s.dir, "posd.toml")
	text := fmt.Sprintf(`[terminal]
store = "S1"
id = %q
currency = "EUR"
time_zone = "UTC"
[tax]
A = "19"
[http]
listen = %q
[data]
dir = %q
segment = "1MiB"
`, terminal, listen, s.dir)
	if err := os.WriteFile(s.conf, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func command(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), "POSD_TEST_MAIN=1")
	return c
}

// ends runs posd, which is to end by itself, and returns its code and its words.
func (s *site) ends(args ...string) (code int, out string) {
	s.t.Helper()
	b, err := command(args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(b)
}

// daemonized is a posd that runs.
type running struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string
	log  *bytes.Buffer
	read chan struct{}
}

var readyLine = regexp.MustCompile(`msg=ready address=(\S+)`)

func (s *site) start(env ...string) *running {
	s.t.Helper()
	c := command("--config", s.conf, "--no-daemon")
	c.Env = append(c.Env, env...)
	return s.run(c)
}

func (s *site) run(c *exec.Cmd) *running {
	s.t.Helper()
	r := &running{t: s.t, cmd: c, log: &bytes.Buffer{}, read: make(chan struct{})}
	pipe, err := r.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		defer close(r.read)
		for sc := bufio.NewScanner(pipe); sc.Scan(); {
			r.log.WriteString(sc.Text() + "\n")
			if m := readyLine.FindStringSubmatch(sc.Text()); m != nil {
				ready <- m[1]
			}
		}
	}()
	s.t.Cleanup(func() { r.cmd.Process.Kill(); <-r.read; r.cmd.Wait() })
	select {
	case r.addr = <-ready:
	case <-r.read:
		s.t.Fatalf("posd ended: %s", r.log)
	}
	return r
}

// stop sends a signal and returns the exit code.
func (r *running) stop(sig os.Signal) int {
	r.t.Helper()
	r.cmd.Process.Signal(sig)
	<-r.read
	r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

func (r *running) sell(key string) (int, []byte) {
	r.t.Helper()
	req, _ := http.NewRequest("POST", "http://"+r.addr+"/v1/checkout", strings.NewReader(sale))
	req.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Idempotency-Key": {key}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, b
}

func TestRunStopAndKill(t *testing.T) {
	s := newSite(t)
	r := s.start()
	code, first := r.sell("k1")
	if code != 201 {
		t.Fatalf("%d %s", code, first)
	}
	if code := r.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("exit %d: %s", code, r.log)
	}
	r = s.start()
	if code, again := r.sell("k1"); code != 200 || !bytes.Equal(first, again) {
		t.Errorf("after a stop: %d %s", code, again)
	}
	_, second := r.sell("k2")
	r.stop(syscall.SIGKILL)
	r = s.start()
	if code, again := r.sell("k2"); code != 200 || !bytes.Equal(second, again) {
		t.Errorf("after a kill: %d %s", code, again)
	}
	if code := r.stop(syscall.SIGINT); code != exitOK {
		t.Errorf("exit %d: %s", code, r.log)
	}
}

func TestStartErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name   string
		change func(s *site)
		code   int
		says   string
	}{
		{"no journal", func(s *site) { os.RemoveAll(filepath.Join(s.dir, "journal")) }, exitNoJournal, "is the data partition mounted? A new terminal is set up with posctl init"},
		{"no data folder", func(s *site) {
			s.configure("127.0.0.1:0", "T1")
			b, _ := os.ReadFile(s.conf)
			os.WriteFile(s.conf, bytes.ReplaceAll(b, []byte(s.dir), []byte(s.dir+"/missing")), 0o600)
		}, exitNoJournal, "is the data partition mounted"},
		{"other terminal", func(s *site) { s.configure("127.0.0.1:0", "T2") }, exitConfig, `says store "S1" terminal "T2"; correct terminal.store and terminal.id`},
		{"port taken", func(s *site) { s.configure(taken.Addr().String(), "T1") }, exitTemporary, "change http.listen"},
		{"no configuration", func(s *site) { os.Remove(s.conf) }, exitConfig, "--config FILE"},
		{"bad configuration", func(s *site) { os.WriteFile(s.conf, []byte("[terminal]\nstore = 7\n"), 0o600) }, exitConfig, "posd.toml:2"},
		{"corrupt journal", func(s *site) {
			r := s.start()
			for i := range 5 {
				r.sell(fmt.Sprint(i))
			}
			r.stop(syscall.SIGTERM)
			damage(s)
		}, exitCorrupt, "posctl salvage on the copy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			c.change(s)
			code, out := s.ends("--config", s.conf)
			if code != c.code || !strings.Contains(out, c.says) || strings.Contains(out, "goroutine") {
				t.Errorf("exit %d, want %d: %s", code, c.code, out)
			}
			last := out[strings.LastIndex(strings.TrimRight(out, "\n"), "\n")+1:]
			if !strings.HasPrefix(last, "posd: ") {
				t.Errorf("the last line does not say why: %q", last)
			}
		})
	}
}

// damage flips a byte in the first page behind the header of the first segment.
func damage(s *site) {
	names, err := filepath.Glob(filepath.Join(s.dir, "journal", "*.seg"))
	if err != nil || len(names) == 0 {
		s.t.Fatal(names, err)
	}
	f, err := os.OpenFile(names[0], os.O_RDWR, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 4096+200); err != nil {
		s.t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, 4096+200); err != nil {
		s.t.Fatal(err)
	}
}

func TestSecondProcess(t *testing.T) {
	s := newSite(t)
	r := s.start()
	code, out := s.ends("--config", s.conf)
	if code != exitTemporary || !strings.Contains(out, "stop the other posd first") {
		t.Errorf("exit %d: %s", code, out)
	}
	if code, b := r.sell("k"); code != 201 {
		t.Errorf("the first one: %d %s", code, b)
	}
}

func TestCommandLine(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--version"}, exitOK, "posd "},
		{[]string{"--help"}, exitOK, "76  the journal is damaged"},
		{[]string{"--reference"}, exitOK, "[terminal]"},
		{[]string{"--check", "--config", s.conf}, exitOK, "ok"},
		{[]string{"--chek"}, exitUsage, "chek"},
		{[]string{"serve"}, exitUsage, `"serve"`},
	} {
		if code, out := s.ends(c.args...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%v: exit %d: %s", c.args, code, out)
		}
	}
}

// TestNotify plays systemd: ready, watchdog, stopping.
func TestNotify(t *testing.T) {
	s := newSite(t)
	at := filepath.Join(s.dir, "n")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	r := s.start("NOTIFY_SOCKET="+at, "WATCHDOG_USEC=300000")
	got := map[string]int{}
	read := func(until string) {
		systemd.SetReadDeadline(time.Now().Add(30 * time.Second))
		for b := make([]byte, 256); ; {
			n, err := systemd.Read(b)
			if err != nil {
				t.Fatalf("waiting for %s: %v", until, err)
			}
			if got[string(b[:n])]++; string(b[:n]) == until && (until != "WATCHDOG=1" || got[until] > 2) {
				return
			}
		}
	}
	read("READY=1")
	read("WATCHDOG=1")
	r.cmd.Process.Signal(syscall.SIGHUP)
	r.cmd.Process.Signal(syscall.SIGTERM)
	read("STOPPING=1")
	<-r.read
	if !strings.Contains(r.log.String(), "read again") || !strings.Contains(r.log.String(), "because=terminated") {
		t.Errorf("log: %s", r.log)
	}
}

func TestExitCodes(t *testing.T) {
	for err, want := range map[error]int{
		nil: exitOK, journal.ErrFailed: exitSync, journal.ErrNewer: exitConfig, journal.ErrNoSpace: exitTemporary,
		fs.ErrPermission: exitPermission, errSlowStop: exitTemporary, errAnotherWay: exitTemporary, context.Canceled: exitInternal,
		register.ErrCurrency: exitConfig, &journal.CorruptError{}: exitCorrupt,
	} {
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
	var b strings.Builder
	writeExitCodes(&b)
	for _, c := range exitCodes {
		if c.meaning == "" || strings.Count(b.String(), fmt.Sprintf("  %2d  ", c.code)) != 1 {
			t.Errorf("code %d", c.code)
		}
	}
}

// listen is the configured address.
func (s *site) listen() string {
	b, err := os.ReadFile(s.conf)
	if err != nil {
		s.t.Fatal(err)
	}
	return regexp.MustCompile(`listen = "(.*)"`).FindStringSubmatch(string(b))[1]
}
