package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestKill kills posd at random moments under load and starts it again. The
// binary is built with the tag posdlab, whose segments are mapped privately:
// SIGKILL takes every store that was not synced with it, as a power cut would.
// POSD_KILLS sets how often (200).
func TestKill(t *testing.T) {
	kills := 200
	if s := os.Getenv("POSD_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal("POSD_KILLS:", err)
		}
	}
	bin := buildLab(t)
	t.Run("no bug", func(t *testing.T) {
		k := newKillRun(t, bin, "")
		if err := k.play(kills); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d kills, %d sales acknowledged, %d repeated calls answered alike", k.kills, len(k.acked), k.replays)
		if k.replays == 0 || len(k.acked) < kills {
			t.Fatal("too little happened to prove anything")
		}
	})
	for _, bug := range []string{"early-ack", "dropped-key"} {
		t.Run("planted "+bug, func(t *testing.T) {
			k := newKillRun(t, bin, bug)
			err := k.play(kills)
			if err == nil {
				t.Fatalf("not caught in %d kills", k.kills)
			}
			t.Logf("caught after %d kills: %v", k.kills, err)
		})
	}
}

// buildLab builds posd and posctl for this test.
func buildLab(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"build", "-tags", "posdlab", "-o", filepath.Join(dir, "posd"), "posd/cmd/posd"},
		{"build", "-o", filepath.Join(dir, "posctl"), "posd/cmd/posctl"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

type killRun struct {
	t       *testing.T
	bin     string
	bug     string
	dir     string
	config  string
	url     string
	token   string
	kills   int
	replays int
	log     bytes.Buffer

	mu    sync.Mutex
	acked map[string]string // key → answer
	wrong error
	next  int
}

func newKillRun(t *testing.T, bin, bug string) *killRun {
	t.Helper()
	k := &killRun{t: t, bin: bin, bug: bug, dir: t.TempDir(), acked: map[string]string{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	k.url, k.config = "http://"+addr, filepath.Join(k.dir, "posd.toml")
	text := fmt.Sprintf("[terminal]\nstore = \"s1\"\nid = \"t1\"\ncurrency = \"EUR\"\ntime_zone = \"UTC\"\n[tax]\nA = \"19\"\n[http]\nlisten = %q\n[data]\ndir = %q\nsegment = \"64KiB\"\n",
		addr, filepath.Join(k.dir, "data"))
	if err := os.WriteFile(k.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	k.ctl("init")
	k.token = strings.TrimSpace(k.ctl("token", "add", "till"))
	return k
}

func (k *killRun) ctl(args ...string) string {
	k.t.Helper()
	cmd := exec.Command(filepath.Join(k.bin, "posctl"), append(args, "-config", k.config)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		k.t.Fatalf("posctl %v: %v\n%s", args, err, errs.String())
	}
	return string(out)
}

// play runs posd, sells, and kills it, n times; then it compares.
func (k *killRun) play(n int) error {
	for range n {
		if err := k.life(); err != nil {
			return err
		}
		k.kills++
		if k.bug != "" && k.kills%10 == 0 { // a planted bug need not be let run to the end
			if err := k.compare(); err != nil {
				return err
			}
		}
	}
	return k.compare()
}

func (k *killRun) life() error {
	cmd := exec.Command(filepath.Join(k.bin, "posd"), "--config", k.config)
	cmd.Env = append(os.Environ(), "POSD_PLANTED_BUG="+k.bug)
	k.log.Reset()
	cmd.Stderr = &k.log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithCancel(k.t.Context())
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() { k.sell(ctx, w) })
	}
	err := k.awaitReady(ended)
	if err == nil {
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
	}
	_ = cmd.Process.Signal(syscall.SIGKILL)
	cancel()
	wg.Wait()
	if err != nil {
		return err
	}
	<-ended
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wrong
}

func (k *killRun) awaitReady(ended chan error) error {
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("posd ended at its start: %w\n%s", err, k.log.String())
		default:
		}
		if resp, err := http.Get(k.url + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return errors.New("posd was not ready in 30 s")
}

// sell makes sales until ctx ends; now and then it repeats an earlier call.
func (k *killRun) sell(ctx context.Context, worker int) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		key, seen := k.pick(worker)
		body, ok := k.post(ctx, client, key)
		if !ok {
			time.Sleep(time.Millisecond)
			continue
		}
		k.mu.Lock()
		if was, known := k.acked[key]; known && was != body && k.wrong == nil {
			k.wrong = fmt.Errorf("key %s was answered in two ways:\n%s\n%s", key, was, body)
		}
		k.acked[key] = body
		if seen {
			k.replays++
		}
		k.mu.Unlock()
	}
}

// pick gives each worker keys of its own; an unanswered one comes again.
func (k *killRun) pick(worker int) (key string, seen bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if rand.IntN(5) == 0 && k.next > 0 {
		key = fmt.Sprintf("sale-%d", rand.IntN(k.next))
	} else if key = fmt.Sprintf("sale-%d", k.next-1-worker); k.next <= worker || k.acked[key] != "" {
		key = fmt.Sprintf("sale-%d", k.next)
		k.next++
	}
	_, seen = k.acked[key]
	return key, seen
}

func (k *killRun) post(ctx context.Context, c *http.Client, key string) (string, bool) {
	n := 1 + len(key)*7
	body := fmt.Sprintf(`{"lines":[{"description":"bread","tax":"A","price":%d,"quantity":2}],"tenders":[{"kind":"cash","amount":%d}]}`, n, 2*n)
	req, err := http.NewRequestWithContext(ctx, "POST", k.url+"/v1/checkout", strings.NewReader(body))
	if err != nil {
		return "", false
	}
	req.Header.Set("Authorization", "Bearer "+k.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := c.Do(req)
	if err != nil {
		return "", false
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", false
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated:
		return string(b), true
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "", false
	}
	k.mu.Lock()
	if k.wrong == nil {
		k.wrong = fmt.Errorf("key %s: %s: %s", key, resp.Status, b)
	}
	k.mu.Unlock()
	return "", false
}

// compare holds the acknowledged answers against the journal.
func (k *killRun) compare() error {
	cmd := exec.Command(filepath.Join(k.bin, "posctl"), "dump", "-config", k.config)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("posctl dump: %w", err)
	}
	type line struct {
		Seq   uint64 `json:"seq"`
		Event struct {
			Type string          `json:"type"`
			Key  string          `json:"key"`
			Data json.RawMessage `json:"data"`
		} `json:"event"`
	}
	inJournal := map[string]line{}
	var seq, receipts uint64
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var l line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return err
		}
		if seq++; l.Seq != seq {
			return fmt.Errorf("record %d where %d belongs", l.Seq, seq)
		}
		if l.Event.Type != "sale.completed" {
			continue
		}
		var sale struct{ Number uint64 }
		if err := json.Unmarshal(l.Event.Data, &sale); err != nil {
			return err
		}
		if receipts++; sale.Number != receipts {
			return fmt.Errorf("receipt %d where %d belongs", sale.Number, receipts)
		}
		if _, twice := inJournal[l.Event.Key]; twice {
			return fmt.Errorf("key %s made two sales", l.Event.Key)
		}
		inJournal[l.Event.Key] = l
	}
	for key, answer := range k.acked {
		l, ok := inJournal[key]
		if !ok {
			return fmt.Errorf("acknowledged sale of key %s is lost", key)
		}
		if !strings.Contains(answer, string(l.Event.Data)) {
			return fmt.Errorf("key %s: the answer differs from the journal:\n%s\n%s", key, answer, l.Event.Data)
		}
	}
	return sc.Err()
}
