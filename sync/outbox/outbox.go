package outbox

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/ledger"
)

// Stream is the stream of events, unless Options say otherwise.
const Stream = "POS_EVENTS"

// Options of an outbox. Ledger and Conn are required.
type Options struct {
	Ledger ledger.Ledger
	Conn   *nats.Conn
	Stream string // "" = POS_EVENTS
	// Prepare makes the stream or checks it, whenever publishing begins or goes on
	// after a failure. nil: it has to be there.
	Prepare func(context.Context) error
	Metrics *metrics.Set  // nil: not counted for anybody
	Log     *slog.Logger  // nil: discarded
	Poll    time.Duration // between two looks at the ledger without a Wake, 0 = 250 ms
	Keep    time.Duration // how long it can go back when the stream is rolled back, 0 = 7 days

	now    func() time.Time
	bug    bug
	shared bool         // tests: publish without the claim
	onSend func() error // tests: called before each message
	ackIn  time.Duration
}

// Outbox publishes what the ledger's lanes have to say.
type Outbox struct {
	opt  Options
	log  *slog.Logger
	js   jetstream.JetStream
	wake chan struct{}
	m    *meters

	backlog, owner, flight atomic.Int64
	lastErr                atomic.Value // string
}

// bug plants a mistake, so that tests can prove that they would see it.
type bug uint8

const (
	noBug           bug = iota
	bugNoFence          // messages are stored wherever they land
	bugEarlyNote        // the note moves when a message is sent
	bugBlindReplay      // a replay does not look at what the stream holds
	bugNoNames          // after a doubt, numbers are compared instead of names
	bugReplayGoesOn     // a replay goes on where it was in a stream that is another one
	bugBlindDone        // a replay is done without a look at whether the stream is still there
	bugSentIsOut        // after a doubt, what was sent counts as published
)

// New makes an outbox. Nothing is published before Run.
func New(o Options) (*Outbox, error) {
	if o.Stream == "" {
		o.Stream = Stream
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Poll == 0 {
		o.Poll = 250 * time.Millisecond
	}
	if o.Keep == 0 {
		o.Keep = 7 * 24 * time.Hour
	}
	if o.Prepare == nil {
		o.Prepare = func(context.Context) error { return nil }
	}
	if o.now == nil {
		o.now = func() time.Time { return time.Now().UTC() }
	}
	if o.onSend == nil {
		o.onSend = func() error { return nil }
	}
	if o.bug == noBug {
		o.bug = planted()
	}
	if o.ackIn == 0 {
		o.ackIn = ackWait
	}
	js, err := jetstream.New(o.Conn)
	if err != nil {
		return nil, err
	}
	b := &Outbox{opt: o, log: o.Log, js: js, wake: make(chan struct{}, 1)}
	b.m = newMeters(b, o.Metrics)
	return b, nil
}

// Wake says that the ledger may have something new. It never waits.
func (o *Outbox) Wake() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// State is what people are told of the outbox.
type State struct {
	Stream     string `json:"stream"`
	Publishing bool   `json:"publishing"`           // this process is the publisher
	Backlog    uint64 `json:"backlog"`              // events not published; only where publishing
	InFlight   uint64 `json:"in_flight"`            // sent, not acknowledged
	LastError  string `json:"last_error,omitempty"` // why publishing stopped last
}

// State of this process's outbox.
func (o *Outbox) State() State {
	s := State{Stream: o.opt.Stream, Publishing: o.owner.Load() != 0, Backlog: uint64(o.backlog.Load()), InFlight: uint64(o.flight.Load())}
	s.LastError, _ = o.lastErr.Load().(string)
	return s
}

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 10 * time.Second
	claimEvery = time.Second
)

// Run publishes whenever this process is the one to do it, until ctx ends. Failures are
// logged, shown in State and tried again.
func (o *Outbox) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		claim, ok, err := o.claim(ctx)
		if err != nil {
			o.failed("the ledger was not asked who publishes", err)
		}
		if ok {
			o.owner.Store(1)
			err = o.own(ctx, claim.Lost())
			o.owner.Store(0)
			o.backlog.Store(0)
			claim.Release()
			if err != nil && ctx.Err() == nil {
				o.failed("publishing was given up", err)
			}
			if errors.Is(err, errPlanted) {
				return err
			}
		}
		wait(ctx, claimEvery)
	}
	return nil
}

// errPlanted is returned by a test's hook: the publisher stops as if killed.
var errPlanted = errors.New("planted kill")

type freeClaim struct{}

func (freeClaim) Lost() <-chan struct{} { return nil }
func (freeClaim) Release()              {}

func (o *Outbox) claim(ctx context.Context) (ledger.Claim, bool, error) {
	if o.opt.shared {
		return freeClaim{}, true, nil
	}
	return o.opt.Ledger.Claim(ctx, "outbox")
}

func (o *Outbox) failed(what string, err error) {
	o.lastErr.Store(err.Error())
	o.log.Warn("outbox: "+what, "error", err)
}

// own publishes until ctx ends, the claim is lost or somebody else has taken over.
func (o *Outbox) own(ctx context.Context, lost <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	go func() { // ended by cancel, waited for below
		defer close(over)
		select {
		case <-lost:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-over }()
	s, err := newSession(o)
	if err != nil {
		return err
	}
	defer s.close()
	pause := firstPause
	for {
		err := s.publish(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, errTaken) || errors.Is(err, errPlanted) {
			return err
		}
		o.m.resyncs.Inc()
		o.failed("comparing with the stream before going on", err)
		if s.moved {
			pause = firstPause
		}
		s.moved = false
		wait(ctx, pause)
		pause = min(2*pause, maxPause)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// meters are the outbox's metrics.
type meters struct {
	published, bytes, resyncs, skipped, foreign, referred, rolled, unreachable, anew *metrics.Counter
}

func newMeters(o *Outbox, s *metrics.Set) *meters {
	m := &meters{
		published:   s.NewCounter(`poshub_outbox_published_total`),
		bytes:       s.NewCounter(`poshub_outbox_bytes_total`),
		resyncs:     s.NewCounter(`poshub_outbox_resyncs_total`),
		skipped:     s.NewCounter(`poshub_outbox_skipped_total`), // the stream had them already
		foreign:     s.NewCounter(`poshub_outbox_foreign_messages_total`),
		referred:    s.NewCounter(`poshub_outbox_by_reference_total`),
		rolled:      s.NewCounter(`poshub_outbox_stream_rolled_back_total`),
		unreachable: s.NewCounter(`poshub_outbox_stream_unreachable_total`),
		anew:        s.NewCounter(`poshub_outbox_stream_anew_total`),
	}
	s.NewGauge(`poshub_outbox_backlog_events`, func() float64 { return float64(o.backlog.Load()) })
	s.NewGauge(`poshub_outbox_in_flight`, func() float64 { return float64(o.flight.Load()) })
	s.NewGauge(`poshub_outbox_publishing`, func() float64 { return float64(o.owner.Load()) })
	return m
}

// StreamConfig is the stream of events as poshub makes it.
func StreamConfig(name string, replicas int, maxAge time.Duration, maxBytes int64) jetstream.StreamConfig {
	if name == "" {
		name = Stream
	}
	return jetstream.StreamConfig{
		Name: name, Description: "events as CloudEvents, made by poshub", Subjects: []string{Prefix + ">"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		MaxMsgs: -1, MaxBytes: maxBytes, MaxAge: maxAge, MaxMsgsPerSubject: -1, MaxConsumers: -1, MaxMsgSize: -1,
		Replicas: replicas, AllowDirect: true, DenyDelete: true, DenyPurge: true,
		AllowAtomicPublish: true,
	}
}
