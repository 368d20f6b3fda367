package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"posd/packaging/lab/freeport"
	"posd/packaging/lab/slicebench/rig"
)

// till is one terminal, a posd process with its data, its link to the servers, and
// the front end that sells through it.
type till struct {
	*process
	b      *bench
	id     string
	shard  int
	parts  string // size of its segments
	dir    string // of its data and configuration
	web    string
	token  string
	link   *link
	book   *book
	client *http.Client

	restarts bool // it may end by itself, and is started again, as systemd would
}

func (t *till) conf() string { return filepath.Join(t.dir, "posd.toml") }
func (t *till) data() string { return filepath.Join(t.dir, "data") }

// newTill sets a terminal up. Its segments are small, so that there are many.
func (b *bench) newTill(ctx context.Context, dir, id, build string, shard int, servers *cluster, seed uint64, env ...string) (*till, error) {
	t := &till{b: b, id: id, shard: shard, parts: "64KiB", dir: filepath.Join(dir, id), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: time.Minute}}
	t.process = &process{name: "posd " + id, log: t.dir + ".log", path: b.path(build), args: []string{"--config", t.conf()}, env: env}
	if err := os.MkdirAll(t.data(), 0o750); err != nil {
		return nil, err
	}
	var err error
	if t.link, err = newLink(id, parcelLine, seed, servers.addrs...); err != nil {
		return nil, err
	}
	if t.web, err = freeport.Address(); err != nil {
		return nil, err
	}
	file, err := os.Create(t.dir + ".acked")
	if err != nil {
		return nil, err
	}
	t.book = newBook(id, file)
	if err := t.configure(); err != nil {
		return nil, err
	}
	if _, err := run(ctx, b.path("posctl"), "init", "-config", t.conf()); err != nil {
		return nil, err
	}
	out, err := run(ctx, b.path("posctl"), "token", "add", "till", "-config", t.conf())
	t.token = strings.TrimSpace(string(out))
	return t, err
}

func (t *till) configure() error {
	secret := filepath.Join(t.dir, "hub.token")
	text := fmt.Sprintf(`[terminal]
store = "s1"
id = %q
currency = "EUR"
time_zone = "UTC"
[tax]
A = "19"
[http]
listen = %q
rate = 100000
[data]
dir = %q
segment = %q
max_bytes = "16GiB"
[hub]
urls = ["nats://%s"]
token_file = %q
shard = %d
[limits]
expect_cpu = "0%%"
expect_memory = "0B"
`, t.id, t.web, t.data(), t.parts, strings.Join(t.link.addrs, `", "nats://`), secret, t.shard)
	return errors.Join(os.WriteFile(secret, []byte(token), 0o600), os.WriteFile(t.conf(), []byte(text), 0o600))
}

// ready starts posd if it does not run, and waits until it sells.
func (t *till) ready(ctx context.Context) error {
	return await(ctx, t.name, func() error {
		if err := t.tend(); err != nil {
			return err
		}
		_, err := t.get(ctx, "/readyz")
		return err
	})
}

// tend starts posd if it was killed. One that ended by itself is a finding.
func (t *till) tend() error {
	up, st := t.running()
	switch {
	case up:
		return nil
	case st != nil && st.ExitCode() > 0 && !t.restarts:
		return found(falseAlarm, "%s ended by itself: %s%s", t.name, st, t.tail())
	}
	return t.start()
}

func (t *till) get(ctx context.Context, path string) ([]byte, error) {
	return rig.Get(ctx, t.client, "http://"+t.web+path, t.token)
}

// tillStatus is what of /v1/status matters here.
type tillStatus struct {
	Journal struct {
		ID     string `json:"id"`
		Floor  uint64 `json:"floor"`
		Head   string `json:"head"`
		Oldest uint64 `json:"oldest"`
	} `json:"journal"`
	Uplink struct {
		Connected bool   `json:"connected"`
		Ledger    string `json:"ledger"`
		Sent      uint64 `json:"sent"`
		Settled   uint64 `json:"settled"`
		Held      string `json:"held"`
		Fork      string `json:"fork"`
		LastError string `json:"last_error"`
	} `json:"uplink"`
}

func (t *till) status(ctx context.Context) (s tillStatus, err error) {
	b, err := t.get(ctx, "/v1/status")
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

// metric reads one of posd's counters.
func (t *till) metric(ctx context.Context, name string) (n uint64, err error) {
	b, err := t.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for row := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(row, name+" "); ok {
			_, err = fmt.Sscan(rest, &n)
			return n, err
		}
	}
	return 0, fmt.Errorf("posd has no metric %s", name)
}

func (t *till) post(ctx context.Context, key, body string) (string, error) {
	answer, err := rig.Sell(ctx, t.client, "http://"+t.web, t.token, key, body)
	if err != nil && !errors.Is(err, rig.ErrUnanswered) {
		err = found(falseAlarm, "posd refused the sale of key %s: %v", key, err)
	}
	return answer, err
}

// one makes one sale, or asks for one again.
func (t *till) one(ctx context.Context, rng *rand.Rand) error {
	key, o := t.book.pick(rng)
	answer, err := t.post(ctx, key, o.Body)
	if err != nil {
		t.book.unanswered(key)
		return err
	}
	return t.book.answered(key, answer)
}

// sell makes sales until ctx ends, in rushes and lulls. What posd does not answer is
// asked for again; the error is a finding.
func (t *till) sell(ctx context.Context, seed uint64) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var wg sync.WaitGroup
	for w := range uint64(2) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, w))
			for ctx.Err() == nil {
				pause := time.Duration(rng.IntN(8)) * time.Millisecond
				switch rng.IntN(200) {
				case 0: // nobody comes
					pause = time.Duration(rng.IntN(1500)) * time.Millisecond
				}
				err := t.one(ctx, rng)
				if errors.Is(err, rig.ErrUnanswered) {
					pause = time.Duration(5+rng.IntN(20)) * time.Millisecond
				} else if err != nil {
					fail(err)
				}
				sleep(ctx, pause)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); kindOf(err) != 0 {
		return err
	}
	return nil
}

// sellMore makes n sales that are all answered.
func (t *till) sellMore(ctx context.Context, n int, rng *rand.Rand) error {
	for range n {
		if err := await(ctx, "a sale at "+t.name, func() error {
			if err := t.tend(); err != nil {
				return err
			}
			return t.one(ctx, rng)
		}); err != nil {
			return err
		}
	}
	return nil
}

// drained waits until head office has all that the terminal holds.
func (t *till) drained(ctx context.Context) error {
	return await(ctx, "the settling of what "+t.name+" sold", func() error {
		if err := t.tend(); err != nil {
			return err
		}
		s, err := t.status(ctx)
		if err == nil && s.Uplink.Settled != s.Journal.Floor {
			err = fmt.Errorf("settled is %d, sent %d, the end %d (%s %s)", s.Uplink.Settled, s.Uplink.Sent, s.Journal.Floor, s.Uplink.Held, s.Uplink.LastError)
		}
		return err
	})
}

// dump reads the journal up to a limit, and those that it has replaced, with posctl.
func (t *till) dump(ctx context.Context, to *truth, limit place) error {
	folders, err := filepath.Glob(filepath.Join(t.data(), "journal*"))
	if err != nil {
		return err
	}
	for _, dir := range folders {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			continue
		}
		out, err := run(ctx, t.b.path("posctl"), "dump", "-journal", dir)
		if err != nil {
			return found(falseAlarm, "%v", err)
		}
		if to.limit = (place{}); filepath.Base(dir) == "journal" {
			to.limit = limit
		}
		if err := lines(strings.NewReader(string(out)), to.add); err != nil {
			return err
		}
	}
	return nil
}

func (t *till) close() {
	t.kill()
	t.link.close()
	t.client.CloseIdleConnections()
	t.book.file.Close()
}
