package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"posd/sync/hub"
	"posd/sync/ledger/pgtest"
)

// ledgerKinds are the two stores.
var ledgerKinds = []string{"bbolt", "postgresql"}

// hubCommand lets a hub take in a stream that is there already, into each ledger.
func hubCommand(ctx context.Context, args []string) (err error) {
	o, err := parse("hub", args)
	if err != nil {
		return err
	}
	program := filepath.Join(o.dir, "nats-server")
	if err := buildProgram(ctx, program, natsPackage); err != nil {
		return err
	}
	path, err := makeJournal(o.dir, shapes[1], o.events)
	if err != nil {
		return err
	}
	c, err := startCluster(ctx, program, filepath.Join(o.dir, "cluster"), 1, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	dir, err := os.MkdirTemp(o.dir, "hub")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var shipped sample
	if err := do(ctx, task{Kind: "uplink", Journal: path, URLs: c.urls, Dir: dir}, &shipped); err != nil {
		return err
	}
	pg, err := pgtest.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pg.Close()) }()
	m, samples := begin(), make(map[string][]sample)
	for round := range o.rounds {
		for _, kind := range ledgerKinds {
			t := task{Kind: "hub", URLs: c.urls, Dir: filepath.Join(dir, fmt.Sprintf("%s-%d", kind, round)), Pending: int(shipped.Sent)}
			if kind == "postgresql" {
				if t.Ledger, err = pg.Create(ctx); err != nil {
					return err
				}
			}
			var s sample
			if err := do(ctx, t, &s); err != nil {
				return err
			}
			if s.Events != shipped.Events {
				return fmt.Errorf("%s: the ledger has %d records of %d", kind, s.Events, shipped.Events)
			}
			samples[kind] = append(samples[kind], s)
		}
	}
	m.end()
	fmt.Printf("%s\n%s\n\n", &m, m.Load())
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ledger\trecords/s\tmin..max\thub CPU µs\town MB\t")
	for _, kind := range ledgerKinds {
		r := row{rounds: samples[kind]}
		fmt.Fprintf(w, "%s\t%.0f\t%s\t%.2f\t%.1f\t\n", kind, r.over(sample.rate), r.spread(), r.over(sample.cpuEach), r.over(peak)/1e6)
	}
	return w.Flush()
}

// runHub takes the stream in with the real hub, until its position is at the end.
func runHub(ctx context.Context, t task) (_ any, err error) {
	h, err := hub.Open(hub.Options{Dir: t.Dir, LedgerURL: t.Ledger, NATSURL: strings.Join(t.URLs, ",")})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	done := make(chan error, 1)
	defer func() { cancel(); err = errors.Join(err, <-done, h.Close()) }()
	token, err := os.ReadFile(filepath.Join(t.Dir, "api.token"))
	if err != nil {
		done <- nil
		return nil, err
	}
	w := start()
	go func() { done <- h.Run(ctx) }()
	var st struct {
		Position, Records uint64
		LastError         string `json:"last_error"`
	}
	for st.Position < uint64(t.Pending) {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the hub is at message %d of %d: %s", st.Position, t.Pending, st.LastError)
		case <-time.After(20 * time.Millisecond):
		}
		r := httptest.NewRequest(http.MethodGet, "/v1/status", nil)
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		answer := httptest.NewRecorder()
		h.Handler().ServeHTTP(answer, r)
		if err := json.Unmarshal(answer.Body.Bytes(), &st); err != nil {
			return nil, fmt.Errorf("status: %w: %s", err, answer.Body)
		}
	}
	s := sample{Events: st.Records}
	w.stop(&s)
	me, err := selfUsage()
	s.Peak = me.anon
	return s, err
}
