package hub

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"posd/sync/ledger"
	"posd/sync/outbox"
	"posd/sync/returns"
	"posd/sync/trust"
)

// Options of a hub. Dir is required.
type Options struct {
	Dir        string // data folder, made if missing
	LedgerURL  string // of a PostgreSQL database; "" = DIR/ledger.db
	NATSListen string // address of the NATS server inside, used if NATSURL is empty
	Auth       string // of the server inside: AuthJWT or AuthToken, "" = AuthToken
	NATSURL    string // an existing NATS server with JetStream
	NATSCreds  string // credentials file for NATSURL, may be empty
	NATSCA     string // PEM file of the authority of its certificates, "" = the system's
	NATSCert   string // PEM file of the certificate to show there, may be empty
	NATSKey    string // and of its key
	TLSCert    string // PEM file of the certificate of the HTTP interface and the server inside; "" = no TLS
	TLSKey     string // and of its key
	TLSCA      string // PEM file of the authority that certificates of clients must be of; "" = none are asked for

	// What terminals that enrol are told: where NATS is, if not where this hub connects
	// or listens, and a PEM file of the authority to trust there, if they have no other.
	TerminalURLs []string
	TerminalCA   string

	NoEvents bool          // leave publishing events to the hubs of another region
	Region   string        // set where several regions, each with its own streams, feed one ledger
	Shards   []int         // the shards to take in; none = 0
	Stream   string        // the one shard's stream, if not POS_UP_<shard>
	Replicas int           // of stream and bucket, 0 = 1
	Stores   []string      // the stores to accept; none = all
	MaxAge   time.Duration // how long the stream keeps parcels, 0 = 400 days
	MaxBytes int64         // how much the stream keeps before it refuses more, 0 = no limit
	// QuarantineBytes is how much may wait for a decision, 0 = 1 GiB. More is left in the stream.
	QuarantineBytes int64
	Pulse           time.Duration // between signs of life, 0 = 5 s
	Log             *slog.Logger  // nil: discarded

	now   func() time.Time
	fleet fleetTimes
	// returns: how long a receipt that is not here is waited for, if not as usual; it is
	// looked for with each pulse then.
	returns *returns.Times
	bug     bug           // planted by tests
	crash   func() error  // called by tests between commit and watermark
	share   ledger.Ledger // tests' stand-in for a database that several hubs use
}

// Hub takes in the parcels of some shards, alone or together with other processes on
// the same ledger.
type Hub struct {
	opt    Options
	log    *slog.Logger
	id     string // of this process, among those on the ledger
	ledger ledger.Ledger
	shards []*shard
	srv    *server.Server // nil with NATSURL
	token  string         // of the server inside, with AuthToken
	keys   *trust.Keys    // of its operator, with AuthJWT
	tls    *tls.Config    // nil: none

	accountLocks accountLocks
	bodies       bodyTimes

	officeMu   sync.Mutex
	officeKey  ed25519.PrivateKey // once it was needed
	enrolLimit *rate.Limiter
	api        string // bearer token of the HTTP interface
	nc         *nats.Conn
	js         jetstream.JetStream
	inbox      string
	m          *meters
	fleet      *fleet
	outbox     *outbox.Outbox
	orders     *orderer

	allowed sync.Map // stores that a person has let in: name → true
}

// Open takes the data folder, starts the NATS server inside if there is to be
// one, and connects. Nothing is taken in before Run. The error is ledger.ErrInUse when
// another hub has the folder.
func Open(o Options) (*Hub, error) {
	o.defaults()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	l, err := openLedger(&o)
	if err != nil {
		return nil, err
	}
	h := &Hub{opt: o, log: o.Log, id: rand.Text(), ledger: l, bodies: bodyTimes{strangerTime, callerTime}, orders: newOrderer(), enrolLimit: rate.NewLimiter(enrolRate, enrolBurst)}
	for _, n := range o.Shards {
		h.shards = append(h.shards, newShard(h, n))
	}
	h.fleet = newFleet(h.id, l, o.Log, o.now, o.fleet)
	h.fleet.accepts = h.accepts
	h.fleet.mine = func(n int) bool { s := h.shard(n); return s != nil && s.reading.Load() }
	h.m = newMeters(h)
	if err := h.connect(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func openLedger(o *Options) (ledger.Ledger, error) {
	if o.share != nil {
		return o.share, nil
	}
	if o.LedgerURL != "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return ledger.OpenPostgres(ctx, o.LedgerURL, ledger.PostgresOptions{})
	}
	return ledger.OpenBolt(filepath.Join(o.Dir, "ledger.db"))
}

func (o *Options) defaults() {
	if len(o.Shards) == 0 {
		o.Shards = []int{0}
	}
	if o.MaxAge == 0 {
		o.MaxAge = 400 * 24 * time.Hour
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = -1
	}
	if o.QuarantineBytes == 0 {
		o.QuarantineBytes = 1 << 30
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
	o.lab()
	if o.crash == nil {
		o.crash = func() error { return nil }
	}
}

func (h *Hub) connect() (err error) {
	if h.api, err = secret(filepath.Join(h.opt.Dir, "api.token")); err != nil {
		return err
	}
	switch h.opt.Auth {
	case "", AuthToken:
		if h.opt.NATSURL == "" {
			h.token, err = secret(filepath.Join(h.opt.Dir, "nats.token"))
		}
	case AuthJWT:
		h.keys, err = trust.Open(filepath.Join(h.opt.Dir, "keys"))
	default:
		err = fmt.Errorf("auth %q: must be %s or %s", h.opt.Auth, AuthJWT, AuthToken)
	}
	if err != nil {
		return err
	}
	if h.tls, err = serverTLS(&h.opt); err != nil {
		return err
	}
	if _, err := h.terminalCA(); err != nil {
		return err
	}
	if h.opt.NATSURL == "" {
		if h.srv, err = h.startServer(); err != nil {
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
	if _, err = h.nc.Subscribe(h.inbox+".*.*", h.told); err != nil {
		return err
	}
	h.outbox, err = outbox.New(outbox.Options{Ledger: h.ledger, Conn: h.nc, Prepare: h.prepareEvents, Metrics: h.m.set, Log: h.log})
	return err
}

// Run takes in until ctx ends, and returns nil then. Failures of the network, a
// stream or the ledger are logged, shown in the status and tried again: nothing is
// told to a terminal before a commit. An error is a part that ended unasked.
func (h *Hub) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for name, run := range map[string]func(context.Context) error{
		"shards":   h.keepShards,
		"outbox":   h.publishEvents,
		"orders":   h.keepOrders,
		"returns":  h.keepReturns,
		"servers":  h.watchPresence,
		"accounts": h.keepAccounts,
		"fleet":    func(ctx context.Context) error { return h.fleet.run(ctx, h.nc, h.opt.Shards) },
	} {
		wg.Go(func() {
			if err := run(ctx); ctx.Err() == nil {
				cancel(fmt.Errorf("%s ended: %w", name, errors.Join(err, errEnded)))
			}
		})
	}
	<-ctx.Done()
	wg.Wait()
	if err := context.Cause(ctx); errors.Is(err, errEnded) {
		return err
	}
	return nil
}

// errEnded: a part ended that nobody had told to.
var errEnded = errors.New("this was not asked for")

// errCrash is returned by a test's crash hook: the hub stops as if killed.
var errCrash = errors.New("planted crash")

// accepts reports whether parcels of a store are to be entered.
func (h *Hub) accepts(store string) bool {
	if len(h.opt.Stores) == 0 {
		return true
	}
	_, ok := h.allowed.Load(store)
	return ok || slices.Contains(h.opt.Stores, store)
}

// shard is the one of that number, nil if it is not among this hub's.
func (h *Hub) shard(n int) *shard {
	for _, s := range h.shards {
		if s.n == n {
			return s
		}
	}
	return nil
}

// NATSURL is where terminals connect, without credentials.
func (h *Hub) NATSURL() string {
	if h.srv == nil {
		return Redact(h.opt.NATSURL)
	}
	return Redact(h.srv.ClientURL())
}

// userinfo is what stands before the @ of a URL.
var userinfo = regexp.MustCompile(`([a-zA-Z]+://)?[^\s",]+@`)

// Redact takes what may be a secret out of URLs, alone, in a list or in an error's text.
func Redact(text string) string { return userinfo.ReplaceAllString(text, "$1") }

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
	copied, repeated, signed, unverified, skipped             *metrics.Counter
	enrolled, notEnrolled                                     *metrics.Counter
	returned, blind, unreadable                               *metrics.Counter
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

		enrolled:    s.NewCounter(`poshub_enrolments_total{result="enrolled"}`),
		notEnrolled: s.NewCounter(`poshub_enrolments_total{result="refused"}`),

		copied:     s.NewCounter(`poshub_copied_events_total{result="entered"}`),
		repeated:   s.NewCounter(`poshub_copied_events_total{result="known"}`),
		signed:     s.NewCounter(`poshub_checkpoints_total{result="verified"}`),
		unverified: s.NewCounter(`poshub_checkpoints_total{result="unverified"}`),
		skipped:    s.NewCounter(`poshub_quarantine_skipped_total`),

		returned:   s.NewCounter(`poshub_returns_total{receipt="given"}`),
		blind:      s.NewCounter(`poshub_returns_total{receipt="none"}`),
		unreadable: s.NewCounter(`poshub_returns_total{receipt="unreadable"}`),
	}
	s.RegisterMetricsWriter(func(w io.Writer) { w.Write(h.fleet.writeMetrics(nil)) })
	s.RegisterMetricsWriter(h.writeReturns)
	s.NewGauge(`poshub_quarantined_messages`, func() float64 { return float64(h.quarantineCount()) })
	s.NewGauge(`poshub_quarantine_bytes`, func() float64 { return float64(h.quarantineBytes()) })
	s.NewGauge(`poshub_receipt_collisions`, func() float64 { return float64(h.collisionCount()) })
	for _, x := range h.shards {
		s.NewGauge(fmt.Sprintf(`poshub_stream_position{shard="%d"}`, x.n), func() float64 { return float64(x.at.Load()) })
		s.NewGauge(fmt.Sprintf(`poshub_ingesting{shard="%d"}`, x.n), func() float64 {
			if x.reading.Load() {
				return 1
			}
			return 0
		})
	}
	return m
}

func (h *Hub) quarantineCount() uint64 {
	return h.counted(func(tx ledger.Tx) (uint64, error) { return tx.QuarantineCount() })
}

func (h *Hub) collisionCount() uint64 {
	return h.counted(func(tx ledger.Tx) (uint64, error) { return openCollisions(tx) })
}

// counted asks the ledger for a figure of the metrics, for a short while.
func (h *Hub) counted(ask func(ledger.Tx) (uint64, error)) (n uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	h.ledger.View(ctx, func(tx ledger.Tx) (err error) { n, err = ask(tx); return err })
	return n
}
