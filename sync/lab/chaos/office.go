package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posd/packaging/lab/freeport"
)

// office is one hub process, with its own link to the servers.
type office struct {
	*process
	dir    string
	web    string
	link   *link // nil: the NATS server is inside
	client *http.Client
}

// newOffice prepares a hub with a data folder of its own.
func (b *bench) newOffice(dir, name, build string, servers *cluster, ledger string, shards int, seed uint64, env ...string) (*office, error) {
	web, err := freeport.Address()
	if err != nil {
		return nil, err
	}
	o := &office{dir: filepath.Join(dir, name), web: web, client: &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Minute}}
	if o.link, err = newLink(name, eventLine, seed, servers.addrs...); err != nil {
		return nil, err
	}
	args := []string{"serve", "--auth", "token", "--data", o.dir, "--listen", web, "--nats-url", "nats://" + token + "@" + strings.Join(o.link.addrs, ",nats://"+token+"@"),
		"--replicas", fmt.Sprint(servers.replicas()), "--shards", fmt.Sprintf("0-%d", shards-1)}
	if ledger != "" {
		args = append(args, "--ledger", ledger)
	}
	o.process = &process{name: "poshub " + name, log: o.dir + ".log", path: b.path(build), args: append(args, b.hubFlags...), env: env}
	return o, nil
}

// ready starts the hub if it does not run, and waits until it takes in. A hub that
// finds no server ends, and is started again, as systemd would.
func (o *office) ready(ctx context.Context) error {
	return await(ctx, o.name, func() error {
		if err := o.tend(); err != nil {
			return err
		}
		_, err := o.get(ctx, "/readyz")
		return err
	})
}

// tend starts the hub if it has ended, and judges how it did.
func (o *office) tend() error {
	up, st := o.running()
	switch {
	case up:
		return nil
	case st != nil && st.ExitCode() >= 0 && !o.lacked():
		return found(falseAlarm, "%s ended by itself: %s%s", o.name, st, o.tail())
	}
	return o.start()
}

// lacked says that the hub ended because what it needs at its start was away.
func (o *office) lacked() bool {
	log := o.tail()
	return strings.Contains(log, "connect to NATS") || strings.Contains(log, "PostgreSQL")
}

func (o *office) get(ctx context.Context, path string) ([]byte, error) {
	body, err := o.open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func (o *office) open(ctx context.Context, path string) (io.ReadCloser, error) {
	secret, err := os.ReadFile(filepath.Join(o.dir, "api.token"))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.web+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	res, err := o.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		res.Body.Close()
		return nil, fmt.Errorf("%s: %s: %s", path, res.Status, b)
	}
	return res.Body, nil
}

// officeStatus is what of /v1/status matters here.
type officeStatus struct {
	Position    uint64 `json:"position"`
	Records     uint64 `json:"records"`
	Events      uint64 `json:"events"`
	Lost        uint64 `json:"lost"`
	Held        int    `json:"held"`
	Waiting     int    `json:"waiting"`
	Quarantined uint64 `json:"quarantined"`
	Copied      uint64 `json:"copied"`
	Collisions  uint64 `json:"collisions"`
}

// chainEnd is what of /v1/terminals matters here.
type chainEnd struct {
	Journal string `json:"journal"`
	Last    uint64 `json:"last"`
	Head    string `json:"head"`
	Records uint64 `json:"records"`
	Events  uint64 `json:"events"`
	Lost    uint64 `json:"lost"`
	Held    string `json:"held"`
	Want    uint64 `json:"want"`
}

func (o *office) status(ctx context.Context) (s officeStatus, err error) {
	b, err := o.get(ctx, "/v1/status")
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

func (o *office) chains(ctx context.Context) (map[string]chainEnd, error) {
	b, err := o.get(ctx, "/v1/terminals")
	if err != nil {
		return nil, err
	}
	var all []chainEnd
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("/v1/terminals: %w", err)
	}
	m := map[string]chainEnd{}
	for _, c := range all {
		m[c.Journal] = c
	}
	return m, nil
}

// events calls fn with each event of the ledger.
func (o *office) events(ctx context.Context, fn func(line) error) error {
	body, err := o.open(ctx, "/v1/events")
	if err != nil {
		return err
	}
	defer body.Close()
	return lines(body, fn)
}

// line is one record as posctl dump and poshub tell it.
type line struct {
	Store, Terminal string          // of poshub
	Journal         string          `json:"journal"`
	Seq             uint64          `json:"seq"`
	Type            string          `json:"type"` // of posctl
	Head            string          `json:"head"`
	Event           json.RawMessage `json:"event"`
	Copy            *struct {       // of poshub: the record that it came in
		Journal string `json:"journal"`
		Seq     uint64 `json:"seq"`
	} `json:"copy"`
	Of *struct {
		Journal string `json:"journal"`
		Seq     uint64 `json:"seq"`
		Type    string `json:"type"`
		Head    string `json:"head"`
	} `json:"of"`
}

func lines(r io.Reader, fn func(line) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 4<<20)
	for sc.Scan() {
		var l line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return fmt.Errorf("line %.200s: %w", sc.Bytes(), err)
		}
		if err := fn(l); err != nil {
			return err
		}
	}
	return sc.Err()
}
