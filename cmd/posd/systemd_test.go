package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posd/journal"
	"posd/pos/config"
	"posd/pos/register"
)

// activate starts posd as systemd does with a socket unit.
func (s *site) activate(f *os.File) *running {
	s.t.Helper()
	return s.run(s.activation(f))
}

func (s *site) activation(f *os.File) *exec.Cmd {
	c := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`, os.Args[0], "--config", s.conf)
	c.Env = append(os.Environ(), "POSD_TEST_MAIN=1")
	c.ExtraFiles = []*os.File{f}
	return c
}

// With systemd's socket a sale that comes while posd is being restarted waits, and
// is answered by the next one.
func TestSocketActivation(t *testing.T) {
	s := newSite(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ln.Close() // as in systemd, only the descriptor is left
	s.configure("127.0.0.1:1", "T1")
	r := s.activate(f)
	if code, _ := r.sell("before"); code != 201 {
		t.Fatal(code)
	}
	if code := r.stop(syscall.SIGTERM); code != 0 {
		t.Fatalf("ended with %d: %s", code, r.log)
	}
	if !strings.Contains(r.log.String(), "posd.socket decides where posd listens") {
		t.Errorf("nothing is said about http.listen: %s", r.log)
	}
	req, _ := http.NewRequest("POST", "http://"+r.addr+"/v1/checkout", strings.NewReader(sale))
	req.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Idempotency-Key": {"between"}}
	answered := make(chan int, 1)
	go func() {
		res, err := (&http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Error(err)
			answered <- 0
			return
		}
		defer res.Body.Close()
		io.Copy(io.Discard, res.Body)
		answered <- res.StatusCode
	}()
	time.Sleep(100 * time.Millisecond) // most of the time it is in the backlog by now
	next := s.activate(f)
	if code := <-answered; code != 201 {
		t.Errorf("the sale that came in between: %d", code)
	}
	next.stop(syscall.SIGTERM)
	if got := s.inJournal(); len(got) != 2 {
		t.Errorf("the journal holds %v", got)
	}
}

// A credential of systemd takes the place of the file in the data folder.
func TestCredential(t *testing.T) {
	dir := t.TempDir()
	creds := t.TempDir()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(creds, "terminal.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o400); err != nil {
		t.Fatal(err)
	}
	term := &terminal{c: &config.Config{Data: config.Data{Dir: dir}}, log: slog.New(slog.DiscardHandler)}
	if got := term.signingKey(); got != nil {
		t.Error("a key out of nowhere")
	}
	t.Setenv("CREDENTIALS_DIRECTORY", creds)
	if got := term.signingKey(); !got.Equal(key) {
		t.Error("the credential is not used")
	}
	if got := term.credential("hub.token", "/etc/x"); got != "/etc/x" {
		t.Errorf("a missing credential hides %s", got)
	}
}

// An idle terminal's watchdog has a note written, and a device that takes none is
// not called alive.
func TestProbe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	o := journal.CreateOptions{Identity: journal.Identity{Store: "S", Terminal: "T"}, Opening: register.Opening(register.Start{Branch: 1})}
	if _, err := journal.Create(dir, o); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(dir, journal.Options{ScrubEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	before := j.Stats().LastWrite
	j.Probe()
	for deadline := time.Now().Add(30 * time.Second); !j.Stats().LastWrite.After(before); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a probe writes nothing")
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	var out strings.Builder
	log := newLogger(&out, config.Log{Format: "text"})
	at := time.Now()
	log.Handler().(bounded).b.now = func() time.Time { return at }
	for range 10_000 {
		log.Info("flood")
	}
	if n := strings.Count(out.String(), "flood"); n != logBurst {
		t.Errorf("%d messages got through at once, want %d", n, logBurst)
	}
	out.Reset()
	at = at.Add(time.Second)
	for range 100 {
		log.With("a", 1).WithGroup("g").Info("flood")
	}
	if n := strings.Count(out.String(), "flood"); n != logRate {
		t.Errorf("%d messages a second later, want %d", n, logRate)
	}
	if !strings.Contains(out.String(), "dropped=9500") {
		t.Errorf("nobody says how many are missing: %s", out.String())
	}
}

// In systemd's journal a message has its priority, and each attribute is a field. A
// journal that does not read holds nobody up, and what it missed is counted.
func TestJournald(t *testing.T) {
	at := filepath.Join(t.TempDir(), "socket")
	reader, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	h := bounded{journald{level: slog.LevelInfo, to: &journaldConn{path: at}}, &bucket{now: time.Now}}
	log := slog.New(h)
	next := func() string {
		t.Helper()
		b := make([]byte, 64<<10)
		reader.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := reader.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	log.Debug("not this")
	log.With("part", "uplink").WithGroup("g").Warn("it is so", "why", "no link", "n", 7, "text", "a\nb")
	want := "SYSLOG_IDENTIFIER=posd\nPRIORITY=4\nPOSD_PART=uplink\nPOSD_G_WHY=no link\nPOSD_G_N=7\n" +
		"POSD_G_TEXT\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\n" + `MESSAGE=it is so part=uplink g.why="no link" g.n=7 g.text="a\nb"` + "\n"
	if got := next(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for h.b.missed == 0 { // until its queue is full
		log.Info("nobody reads")
		if h.b.used > logBurst-2 {
			t.Fatal("the queue is never full: this test sees nothing")
		}
	}
	for range 3 { // it gets no further chance for a while
		log.Info("nobody waits")
	}
	if h.b.missed != 4 {
		t.Errorf("%d were missed", h.b.missed)
	}
	h.Handler.(journald).to.again = time.Time{}
	for got := ""; !strings.Contains(got, "dropped=4"); got = next() {
		if strings.Contains(got, "nobody reads") {
			log.Info("again")
		}
	}
}

// What systemd gives must be a socket that front ends can use, and only front ends
// of this machine unless the configuration says otherwise.
func TestOddSockets(t *testing.T) {
	s := newSite(t)
	remote, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	open, err := remote.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		f    *os.File
		says string
	}{
		{"remote", open, "http.allow_remote"},
		{"connected", os.NewFile(uintptr(pair[1]), "pair"), "nobody can connect"},
	} {
		cmd := s.activation(c.f)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != exitConfig || !strings.Contains(string(out), c.says) {
			t.Errorf("%s: ended with %d: %s", c.name, code, out)
		}
		c.f.Close()
	}
}
