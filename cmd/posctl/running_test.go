package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// posdProgram is the real daemon, built once.
var posdProgram = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(programs, "posd")
	out, err := exec.Command("go", "build", "-o", bin, "posd/cmd/posd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

// site is a terminal whose posd runs, on a port and on a socket.
type site struct {
	t          *testing.T
	data, conf string
	token      string
	cmd        *exec.Cmd
	ended      chan struct{}
}

var listening = regexp.MustCompile(`msg=ready address=(\S+)`)

func newSite(t *testing.T, sales int, more string) *site {
	t.Helper()
	s := &site{t: t}
	s.data, s.conf = terminalFolder(t, sales)
	writeConfig(t, s.conf, s.data, fmt.Sprintf("socket = %q\n%s", filepath.Join(filepath.Dir(s.conf), "sock"), more))
	text := strings.Replace(readFile(t, s.conf), "127.0.0.1:1\"", "127.0.0.1:0\"", 1)
	writeFile(t, s.conf, text)
	_, token, errs := posctl(t, "token", "add", "front", "-config", s.conf)
	if s.token = strings.TrimSpace(token); s.token == "" {
		t.Fatal(errs)
	}
	return s
}

func (s *site) start() {
	s.t.Helper()
	bin, err := posdProgram()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd, s.ended = exec.Command(bin, "--config", s.conf), make(chan struct{})
	s.cmd.Env = append(os.Environ(), "GOMEMLIMIT=64MiB")
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	var log bytes.Buffer
	ready := make(chan bool, 1)
	go func() {
		defer close(s.ended)
		for sc := bufio.NewScanner(pipe); sc.Scan(); {
			log.WriteString(sc.Text() + "\n")
			if listening.MatchString(sc.Text()) {
				ready <- true
			}
		}
	}()
	s.t.Cleanup(s.stop)
	select {
	case <-ready:
	case <-s.ended:
		s.t.Fatalf("posd ended:\n%s", log.String())
	case <-time.After(time.Minute):
		s.t.Fatal("posd is not ready after a minute")
	}
}

func (s *site) stop() {
	if s.cmd != nil {
		s.cmd.Process.Signal(syscall.SIGTERM)
		<-s.ended
		s.cmd.Wait()
		s.cmd = nil
	}
}

// sell makes a sale through the socket, with a key of its own.
func (s *site) sell(body string, key string) {
	s.t.Helper()
	c := http.Client{Transport: &http.Transport{DialContext: dialUnix(filepath.Join(filepath.Dir(s.conf), "sock")), DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(s.t.Context(), "POST", "http://localhost/v1/checkout", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := c.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusCreated {
		s.t.Fatalf("%s: %s", resp.Status, b)
	}
}

func TestStatusOfARunningPosd(t *testing.T) {
	s := newSite(t, 2, "[hub]\nurls = [\"nats://127.0.0.1:1\"]\n")
	s.start()
	code, out, errs := posctl(t, "status", "-config", s.conf)
	if code != 0 {
		t.Fatal(code, errs)
	}
	for _, want := range []string{"terminal t1 of store s1\n", "\nsales        can be taken\n", "\nhealth       ok\n",
		"business date 20", ": 2 sales, 5.98 EUR\n", "\njournal      records 1 to ", "signed, start", "\nhead office  no link; it has 0 of ", "\nlimits "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	code, out, _ = posctl(t, "status", "-json", "-config", s.conf)
	var doc map[string]any
	if err := json.Unmarshal([]byte(out), &doc); code != 0 || err != nil || doc["journal"] == nil {
		t.Errorf("%d %v: %s", code, err, out)
	}
	if code, _, errs := posctl(t, "status", "-every", "1ms", "-config", s.conf); code != exitUsage {
		t.Error(code, errs)
	}
	// The control: without posd there is no document, and that is said.
	s.stop()
	if code, out, errs := posctl(t, "status", "-json", "-config", s.conf); code != exitFailed || out != "" || !strings.Contains(errs, "posd is not running") {
		t.Errorf("%d %q %q", code, out, errs)
	}
	if code, out, _ := posctl(t, "status", "-config", s.conf); code != 0 || !strings.Contains(out, "posd is not running") {
		t.Errorf("%d %q", code, out)
	}
}

// watched collects what is written, for a reader beside the writer.
type watched struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	select {
	case w.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

// take waits for a text and forgets all before its end.
func (w *watched) take(t *testing.T, want string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		w.mu.Lock()
		s := w.text.String()
		_, rest, found := strings.Cut(s, want)
		if found {
			w.text.Reset()
			w.text.WriteString(rest)
		}
		w.mu.Unlock()
		if found {
			return
		}
		select {
		case <-w.more:
		case <-limit:
			t.Fatalf("%q does not come: %q", want, s)
		}
	}
}

// The view goes on while posd is gone, and when it is back. Off a terminal nothing
// clears the screen.
func TestWatchSurvivesARestart(t *testing.T) {
	s := newSite(t, 1, "")
	s.start()
	w := &watched{more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		ended <- run(ctx, []string{"status", "--watch", "-every", "100ms", "-config", s.conf}, w, &errs)
	}()
	w.take(t, "sales        can be taken")
	s.stop()
	w.take(t, "no answer since ")
	s.start()
	w.take(t, "sales        can be taken")
	w.take(t, "sales        can be taken")
	cancel()
	if code := <-ended; code != 0 {
		t.Error(code, errs.String())
	}
	if strings.Contains(w.text.String(), "\x1b") {
		t.Error("escape sequences for something that is no terminal")
	}
}

func TestWatchClearsATerminal(t *testing.T) {
	_, conf := terminalFolder(t, 0)
	tty, screen := terminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"status", "-watch", "-every", "100ms", "-config", conf}, tty, new(bytes.Buffer))
	}()
	var b []byte
	for buf := make([]byte, 4096); bytes.Count(b, []byte("\x1b[H\x1b[2J")) < 2 || !bytes.Contains(b, []byte("no answer since")); {
		n, err := screen.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, buf[:n]...)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Error(code)
	}
}

func TestMoney(t *testing.T) {
	for _, c := range []struct {
		minor int64
		code  string
		want  string
	}{{598, "EUR", "5.98 EUR"}, {5, "EUR", "0.05 EUR"}, {-5, "EUR", "-0.05 EUR"}, {-1234, "EUR", "-12.34 EUR"}, {7, "JPY", "7 JPY"}, {1, "XX", "1 XX"}} {
		if got := money(c.minor, c.code); got != c.want {
			t.Errorf("%d %s: %q, want %q", c.minor, c.code, got, c.want)
		}
	}
}
