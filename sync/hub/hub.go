package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/journal/chain"
)

// Options of a hub. Dir is required.
type Options struct {
	Dir        string        // data folder, made if missing
	NATSListen string        // address of the NATS server inside, used if NATSURL is empty
	NATSURL    string        // an existing NATS server with JetStream
	NATSCreds  string        // credentials file for NATSURL, may be empty
	Shard      int           // the shard to take in
	Stream     string        // "" = POS_UP_<shard>
	Replicas   int           // of stream and bucket, 0 = 1
	Stores     []string      // the stores to accept; none = all
	MaxAge     time.Duration // how long the stream keeps parcels, 0 = 400 days
	MaxBytes   int64         // how much the stream keeps before it refuses more, 0 = no limit
	Pulse      time.Duration // between signs of life, 0 = 5 s
	Log        *slog.Logger  // nil: discarded

	now   func() time.Time
	bug   bug          // planted by tests
	crash func() error // called by tests between commit and watermark
}

// Hub takes in the parcels of one shard.
type Hub struct {
	opt     Options
	log     *slog.Logger
	ledger  Ledger
	srv     *server.Server // nil with NATSURL
	token   string         // of the server inside
	api     string         // bearer token of the HTTP interface
	nc      *nats.Conn
	js      jetstream.JetStream
	inbox   string
	at      atomic.Uint64 // stream sequence committed
	reading atomic.Bool
	lastErr atomic.Value // string: why ingest stopped last
	m       *meters

	mu      sync.Mutex
	untold  map[chain.ID]bool // watermarks that the server has not acknowledged
	wanting map[chain.ID]bool // journals with a gap
}

// Open takes the data folder, starts the NATS server inside if there is to be
// one, and connects. Nothing is taken in before Run. The error is ErrInUse when
// another hub has the folder.
func Open(o Options) (*Hub, error) {
	o.defaults()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	l, err := OpenBolt(filepath.Join(o.Dir, "ledger.db"))
	if err != nil {
		return nil, err
	}
	h := &Hub{opt: o, log: o.Log, ledger: l, untold: make(map[chain.ID]bool), wanting: make(map[chain.ID]bool)}
	h.m = newMeters(h)
	if err := h.connect(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (o *Options) defaults() {
	if o.Stream == "" {
		o.Stream = fmt.Sprintf("POS_UP_%d", o.Shard)
	}
	if o.MaxAge == 0 {
		o.MaxAge = 400 * 24 * time.Hour
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = -1
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Pulse == 0 {
		o.Pulse = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.now == nil {
		o.now = func() time.Time { return time.Now().UTC() }
	}
	if o.crash == nil {
		o.crash = func() error { return nil }
	}
}

func (h *Hub) connect() (err error) {
	if h.api, err = secret(filepath.Join(h.opt.Dir, "api.token")); err != nil {
		return err
	}
	if h.opt.NATSURL == "" {
		if h.token, err = secret(filepath.Join(h.opt.Dir, "nats.token")); err != nil {
			return err
		}
		if h.srv, err = startServer(filepath.Join(h.opt.Dir, "nats"), h.opt.NATSListen, h.token, h.log); err != nil {
			return err
		}
	}
	if h.nc, err = h.dial(); err != nil {
		return err
	}
	if h.js, err = jetstream.New(h.nc); err != nil {
		return err
	}
	h.inbox = h.nc.NewInbox()
	_, err = h.nc.Subscribe(h.inbox+".*", h.told)
	return err
}

// Run takes in until ctx ends, and returns nil then. Failures of the network
// or the stream are logged, shown in the status and tried again; a failure of
// the ledger too, since nothing is told to a terminal before a commit.
func (h *Hub) Run(ctx context.Context) error {
	pause := h.opt.Pulse / 10
	for {
		began := time.Now()
		err := h.ingest(ctx)
		if ctx.Err() != nil {
			return nil
		}
		h.lastErr.Store(err.Error())
		h.log.Error("ingest interrupted", "error", err)
		if errors.Is(err, errCrash) {
			return err
		}
		if errors.Is(err, errStreamChanged) || time.Since(began) > time.Minute {
			pause = h.opt.Pulse / 10
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, 30*time.Second)
	}
}

// errCrash is returned by a test's crash hook: the hub stops as if killed.
var errCrash = errors.New("planted crash")

// accepts reports whether parcels of a store are to be entered.
func (h *Hub) accepts(store string) bool {
	if len(h.opt.Stores) == 0 {
		return true
	}
	for _, s := range h.opt.Stores {
		if s == store {
			return true
		}
	}
	return false
}

// NATSURL is where terminals connect, without credentials.
func (h *Hub) NATSURL() string {
	if h.srv == nil {
		return h.opt.NATSURL
	}
	return strings.Replace(h.srv.ClientURL(), h.token+"@", "", 1)
}

// WriteMetrics writes the hub's metrics in the Prometheus text format.
func (h *Hub) WriteMetrics(w io.Writer) { h.m.set.WritePrometheus(w) }

// Close ends the connection, the server inside and the ledger. Run must have
// returned before.
func (h *Hub) Close() error {
	if h.nc != nil {
		h.nc.Close()
	}
	if h.srv != nil {
		h.srv.Shutdown()
		h.srv.WaitForShutdown()
	}
	return h.ledger.Close()
}

// meters are the hub's metrics.
type meters struct {
	set                                                       *metrics.Set
	entered, known, gaps, aside, holes, bytes, restarts, auth *metrics.Counter
	copied, repeated, signed, unverified                      *metrics.Counter
}

func newMeters(h *Hub) *meters {
	s := metrics.NewSet()
	m := &meters{
		set:      s,
		entered:  s.NewCounter(`poshub_parcels_total{result="entered"}`),
		known:    s.NewCounter(`poshub_parcels_total{result="known"}`),
		gaps:     s.NewCounter(`poshub_parcels_total{result="gap"}`),
		aside:    s.NewCounter(`poshub_parcels_total{result="quarantined"}`),
		holes:    s.NewCounter(`poshub_holes_total`),
		bytes:    s.NewCounter(`poshub_parcel_bytes_total`),
		restarts: s.NewCounter(`poshub_stream_restarts_total`),
		auth:     s.NewCounter(`poshub_http_unauthorized_total`),

		copied:     s.NewCounter(`poshub_copied_events_total{result="entered"}`),
		repeated:   s.NewCounter(`poshub_copied_events_total{result="known"}`),
		signed:     s.NewCounter(`poshub_checkpoints_total{result="verified"}`),
		unverified: s.NewCounter(`poshub_checkpoints_total{result="unverified"}`),
	}
	s.NewGauge(`poshub_quarantined_messages`, func() float64 { return float64(h.quarantineCount()) })
	s.NewGauge(`poshub_receipt_collisions`, func() float64 { return float64(h.collisionCount()) })
	s.NewGauge(`poshub_stream_position`, func() float64 { return float64(h.at.Load()) })
	s.NewGauge(`poshub_ingesting`, func() float64 {
		if h.reading.Load() {
			return 1
		}
		return 0
	})
	return m
}

func (h *Hub) quarantineCount() (n uint64) {
	h.ledger.View(func(tx Tx) (err error) { n, err = tx.QuarantineCount(); return err })
	return n
}

func (h *Hub) collisionCount() (n uint64) {
	h.ledger.View(func(tx Tx) (err error) { n, err = tx.CollisionCount(); return err })
	return n
}
