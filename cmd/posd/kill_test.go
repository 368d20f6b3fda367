package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

	"posd/packaging/lab/freeport"
)

// TestKill kills posd at random moments under load and starts it again. SIGKILL takes
// every store that was not synced with it (builds). POSD_KILLS sets how often (200).
func TestKill(t *testing.T) {
	kills := 200
	if s := os.Getenv("POSD_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal("POSD_KILLS:", err)
		}
	}
	for _, bug := range []string{"", "early-ack", "dropped-key"} {
		t.Run("planted "+bug, func(t *testing.T) {
			k := newKillRun(t, bug)
			hunt(t, bug, kills, k.life, k.compare)
			t.Logf("%d sales acknowledged, %d repeated calls answered alike", len(k.acked), k.replays)
			if bug == "" && (k.replays == 0 || len(k.acked) < kills) {
				t.Fatal("too little happened to prove anything")
			}
		})
	}
}

// hunt has posd live and be killed so many times and then compares what is left. A planted
// bug is looked for after each life, and has to be found.
func hunt(t *testing.T, bug string, lives int, life, compare func() error) {
	t.Helper()
	var err error
	n := 0
	for ; n < lives && err == nil; n++ {
		if err = life(); err == nil && (bug != "" || n == lives-1) {
			err = compare()
		}
	}
	t.Logf("killed %d times: %v", n, err)
	switch {
	case bug == "" && err != nil:
		t.Fatal(err)
	case bug != "" && err == nil:
		t.Fatal("not caught")
	}
}

type killRun struct {
	t       *testing.T
	bug     string
	dir     string
	config  string
	url     string
	token   string
	replays int
	log     bytes.Buffer
	posd    *exec.Cmd // nil if none runs
	ended   chan error

	mu    sync.Mutex
	acked map[string]string // key → answer
	wrong error
	next  int
}

func newKillRun(t *testing.T, bug string) *killRun {
	t.Helper()
	k := &killRun{t: t, bug: bug, dir: t.TempDir(), acked: map[string]string{}}
	addr := freeport.For(t)
	k.url, k.config = "http://"+addr, filepath.Join(k.dir, "posd.toml")
	text := fmt.Sprintf("[terminal]\nstore = \"s1\"\nid = \"t1\"\ncurrency = \"EUR\"\ntime_zone = \"UTC\"\n[tax]\nA = \"19\"\n[http]\nlisten = %q\n[data]\ndir = %q\nsegment = \"64KiB\"\n",
		addr, filepath.Join(k.dir, "data"))
	if err := os.WriteFile(k.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(k.dir, "data"), 0o750); err != nil {
		t.Fatal(err)
	}
	k.ctl("init")
	k.token = strings.TrimSpace(k.ctl("token", "add", "till"))
	return k
}

func (k *killRun) ctl(args ...string) string {
	k.t.Helper()
	cmd := exec.Command(program(k.t, "posctl"), append(args, "-config", k.config)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		k.t.Fatalf("posctl %v: %v\n%s", args, err, errs.String())
	}
	return string(out)
}

// life sells, also while posd starts.
func (k *killRun) life() error {
	ctx, cancel := context.WithCancel(k.t.Context())
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() { k.sell(ctx, w) })
	}
	err := k.live(func() { time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond) })
	cancel()
	wg.Wait()
	return errors.Join(err, k.wrong)
}

// live starts posd, does work when it is ready, and kills it.
func (k *killRun) live(work func()) error {
	k.log.Reset()
	err := k.start()
	if err == nil {
		work()
	}
	k.kill()
	return err
}

// start returns when posd is ready.
func (k *killRun) start(env ...string) error {
	cmd := exec.Command(program(k.t, "posd"), "--config", k.config)
	cmd.Env = append(append(os.Environ(), "POSD_PLANTED_BUG="+k.bug), env...)
	cmd.Stderr = &k.log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	k.posd, k.ended = cmd, ended
	return k.awaitReady()
}

func (k *killRun) kill() {
	if k.posd != nil {
		k.posd.Process.Signal(syscall.SIGKILL)
		<-k.ended
		k.posd = nil
	}
}

func (k *killRun) awaitReady() error {
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		select {
		case err := <-k.ended:
			k.ended <- err
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
	err := k.dumped(func(text []byte) error {
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return err
		}
		if seq++; l.Seq != seq {
			return fmt.Errorf("record %d where %d belongs", l.Seq, seq)
		}
		if l.Event.Type != "sale.completed" {
			return nil
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
		return nil
	})
	if err != nil {
		return err
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
	return nil
}

// dumped hands on each line of posctl dump.
func (k *killRun) dumped(each func(line []byte) error) error {
	out, err := exec.Command(program(k.t, "posctl"), "dump", "-config", k.config).Output()
	if err != nil {
		return fmt.Errorf("posctl dump: %w", err)
	}
	for line := range bytes.Lines(out) {
		if err := each(line); err != nil {
			return err
		}
	}
	return nil
}
