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
	"time"

	"posd/sync/hub"
)

// The stores of a ledger.
const (
	boltStore     = "bbolt"
	postgresStore = "postgresql"
)

// taker brings events from a stream into a database.
type taker struct {
	name  string
	about string
	store string
	ours  bool
	each  int // of a peer: events in a transaction
}

var takers = []taker{
	{"hub-bbolt", "poshub's ingest, ledger in a file", boltStore, true, 0},
	{"hub-postgresql", "poshub's ingest, ledger in PostgreSQL", postgresStore, true, 0},
	{"bbolt-each", "a consumer of one message an event: one bbolt transaction an event, then its acknowledgement", boltStore, false, 1},
	{"bbolt-256", "the same with 256 events in a transaction", boltStore, false, 256},
	{"insert-each", "a consumer of one message an event: one INSERT … ON CONFLICT DO NOTHING an event by pgx, without COPY, each its own transaction, then its acknowledgement", postgresStore, false, 1},
	{"insert-256", "the same with 256 INSERTs in a transaction, sent together (pgx.Batch)", postgresStore, false, 256},
}

// ledgerResult is the part "ledger".
type ledgerResult struct {
	Made
	PostgreSQL string
	Rounds     map[string][]sample // by taker
	Disk       map[string]float64  // bytes an event, in the database's files
}

// Made says where and when a part was measured.
type Made struct{ Machine, Load string }

func (m *machine) made() Made { m.end(); return Made{m.String(), m.Load()} }

// peerLimit ends a peer that would take minutes.
const peerLimit = 2 * time.Second

// runLedgers lets everybody take in a stream that is there already.
func (r *hubRun) runLedgers(ctx context.Context) (err error) {
	o := r.options
	path, err := makeJournal(o.dir, shapes[1], o.events, 1)
	if err != nil {
		return err
	}
	c, err := startCluster(ctx, r.server, filepath.Join(o.dir, "cluster"), 1, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	dir, err := os.MkdirTemp(o.dir, "hub")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var shipped, each sample
	if err := do(ctx, task{Kind: "uplink", Journal: path, URLs: c.urls, Dir: dir}, &shipped); err != nil {
		return err
	}
	if err := do(ctx, task{Kind: "each", Journal: path, URLs: c.urls, Dir: dir, Pending: 1000}, &each); err != nil {
		return err
	}
	m := begin()
	res := &ledgerResult{Rounds: make(map[string][]sample), Disk: make(map[string]float64)}
	for round := range o.rounds {
		for _, k := range takers {
			s, err := r.take(ctx, k, c, filepath.Join(dir, fmt.Sprintf("%s-%d", k.name, round)), shipped, res)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			res.Rounds[k.name] = append(res.Rounds[k.name], s)
		}
	}
	res.Made = m.made()
	r.Ledger = res
	return nil
}

func (r *hubRun) take(ctx context.Context, k taker, c *cluster, dir string, shipped sample, res *ledgerResult) (s sample, err error) {
	t := task{Kind: "hub", URLs: c.urls, Dir: dir, Pending: int(shipped.Sent)}
	if !k.ours {
		t.Kind, t.Pending, t.Limit = "consume", k.each, peerLimit
	}
	if k.store == postgresStore {
		if t.Ledger, err = r.pg.Create(ctx); err != nil {
			return s, err
		}
		if res.PostgreSQL, err = versionOf(ctx, t.Ledger); err != nil {
			return s, err
		}
	}
	if err := do(ctx, t, &s); err != nil {
		return s, err
	}
	if k.ours && s.Events != shipped.Events {
		return s, fmt.Errorf("the ledger has %d records of %d", s.Events, shipped.Events)
	}
	if s.Events == 0 {
		return s, errors.New("nothing was stored")
	}
	size := uint64(0)
	if k.store == postgresStore {
		size, err = diskOf(ctx, t.Ledger)
	} else if k.ours {
		size, err = fileSize(filepath.Join(dir, "ledger.db"))
	} else {
		size, err = fileSize(dir + ".db")
	}
	res.Disk[k.name] = float64(size) / float64(s.Events)
	return s, errors.Join(err, os.RemoveAll(dir))
}

func fileSize(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return uint64(info.Size()), nil
}

// hubStatus is what the hub says of itself.
type hubStatus struct {
	Position, Records, Events, Lost, Quarantined uint64
	Terminals, Waiting, Held                     int
	LastError                                    string `json:"last_error"`
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
	var st hubStatus
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
