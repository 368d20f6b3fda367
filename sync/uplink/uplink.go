package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/nats-io/nats.go"

	"posd/journal"
	"posd/journal/chain"
	"posd/sync/wire"
)

// Options of an uplink. Journal, URLs, Store, Terminal and StatePath are required.
type Options struct {
	Journal     *journal.Journal
	URLs        []string // of the NATS servers of our own region, for example tls://hub.example:4222
	Fallback    []string // of other regions, for when none of ours can be used
	Store       string
	Terminal    string
	Shard       int
	Stream      string           // "" = POS_UP_<shard>
	Credentials string           // NATS credentials file, or "": read at each connect
	TokenFile   string           // file with a token, or "": read at each connect
	CAFile      string           // PEM file of the authority to trust, "" = the system's: read at each connect
	CertFile    string           // PEM file of our certificate, or "": read at each connect
	KeyFile     string           // PEM file of its key
	StatePath   string           // file of the uplink's own state; StatePath.net is beside it
	Now         func() time.Time // not earlier than is known for certain; nil: the clock
	Pacer       Pacer            // holds a backlog back for the sales' sake; nil: nothing does
	Metrics     *metrics.Set     // nil: none
	Log         *slog.Logger     // nil: discarded

	// Lost journals that records are declared lost, before head office is told; nil: it
	// is not journaled. An error is logged and stops nothing.
	Lost func(ctx context.Context, m *journal.MissingError) error
	// Heartbeat gives the body of a heartbeat; nil: none is sent. It is called from
	// a goroutine of its own, at each connect, at intervals, and after Beat.
	Heartbeat func() []byte
	// OnConnect is called with each new connection, each function in a goroutine of
	// its own, to subscribe and ask. ctx ends with the connection; a function must
	// return then, for the next connection waits for it. An error is logged and
	// never stops shipping.
	OnConnect []func(ctx context.Context, nc *nats.Conn) error

	t   times
	bug bug
}

// Pacer holds background work back.
type Pacer interface {
	// Pace is called between two parcels of a backlog and returns when the next may
	// be made, or when done is closed.
	Pace(done <-chan struct{})
	// Tight says that a parcel should take no more than a few ms of processor time:
	// under a CPU quota sales would wait for the rest.
	Tight() bool
	// Spent is the processor time that the process has used.
	Spent() time.Duration
}

// noPacer is for a machine that is ours alone.
type noPacer struct{}

func (noPacer) Pace(<-chan struct{}) {}
func (noPacer) Tight() bool          { return false }
func (noPacer) Spent() time.Duration { return 0 }

// times are the waits, shorter in tests.
type times struct {
	connect   time.Duration // for an attempt to connect
	budget    time.Duration // for our own region in a round, if there is another
	request   time.Duration // for an answer to a small request
	ack       time.Duration // the least limit for a parcel's acknowledgement
	quiet     time.Duration // nothing heard for so long: the server is asked
	probe     time.Duration // and must answer within
	refused   time.Duration // parcels refused for so long: another server is tried
	home      time.Duration // between probes of our own region, ± 20 %
	backoff   time.Duration // longest pause between attempts
	firstWait time.Duration // longest pause before the second attempt
	stuck     time.Duration // settled may stand still so long before anything is done
	save      time.Duration // between writes of the state
	pulse     time.Duration // a hub not heard of for so long is not alive
	beat      time.Duration // between heartbeats, ± 20 %
	beatMin   time.Duration // the least

	marks      time.Duration // between writes of the state for the sake of marks
	look       time.Duration // between looks at records that cannot be read, at least
	rotten     time.Duration // other bytes for so long: they are declared lost
	unreadable time.Duration // a page that cannot be read for so long: likewise
}

var defaultTimes = times{
	connect: 5 * time.Second, budget: 10 * time.Second, request: 5 * time.Second,
	// Above the pauses of a healthy server: a disk that syncs, a change of leader.
	ack: 4 * time.Second, quiet: 8 * time.Second, probe: 5 * time.Second,
	refused: 8 * time.Second, home: 30 * time.Second, backoff: time.Minute, firstWait: 250 * time.Millisecond,
	stuck: 30 * time.Second, save: 10 * time.Second, pulse: 30 * time.Second,
	beat: 30 * time.Second, beatMin: 2 * time.Second,
	marks: 10 * time.Minute, look: 5 * time.Second, rotten: time.Minute, unreadable: 15 * time.Minute,
}

const (
	// turnTime is the processor time for a parcel under a quota: half of what a period
	// of the usual slice gives, so that a sale beside it finds the other half.
	turnTime    = 5 * time.Millisecond
	minTarget   = 16 << 10 // bytes of records in a parcel; a smaller one costs no less
	firstTarget = 64 << 10
	maxTarget   = 256 << 10
	maxStuck    = 10 * time.Minute
)

// bug plants a mistake, so that tests can prove that they would see it.
type bug uint8

const (
	noBug         bug = iota
	bugNoFence        // parcels without the expected last sequence
	bugTrustLast      // believe the stream's last message without comparing heads
	bugFreeOnSent     // settle on the acknowledgement
	bugFirstFence     // only the first parcel behind a found place is fenced
	bugMsgID          // the server's duplicate window instead of the fence
	bugFixedLimit     // the same wait for every acknowledgement
	bugNoHole         // damage ends the session, as if it were a fault of the link
	bugLongIsGood     // a long session was a good one, whatever it ended with
	bugStay           // a server that is about to stop is not left
	bugHastyHole      // records are declared lost at the first look that fails
)

// Uplink ships one journal. Run is its one goroutine; Status may be called from any.
type Uplink struct {
	opt     Options
	j       *journal.Journal
	log     *slog.Logger
	subject string
	m       *meters
	fork    chan struct{}
	names   *names
	tickets tls.ClientSessionCache
	leaving chan error  // why the session is to end between two parcels
	busy    atomic.Bool // a parcel is on its way

	once     sync.Once
	compared chan struct{}
	mail     mailbox
	floor    chan struct{} // the journal has grown
	beat     chan struct{} // a heartbeat is due early
	hurry    chan struct{} // no pause is wanted

	// Owned by Run.
	nc         *nats.Conn
	pool       *pool
	server     *server // of the present or the last session
	breaker    breaker
	refusals   time.Time // since when parcels are refused in this session; zero: they are not
	refusal    error     // the last one
	synced     bool      // in this session the place was found
	shippedAny bool      // in this session a parcel was acknowledged
	wentHome   time.Time
	returns    int           // home answered so often in a row before we go back
	reader     groups        // nil, or about to read record next+held groups
	rot        rot           // at record next, or nowhere
	ahead      journal.Group // read, but did not fit into the last parcel; First 0: none
	ready      *load         // made while the one before it was in flight
	raw        []byte
	enc, spare wire.Encoder
	target     int
	next       uint64     // record to ship next
	prev       chain.Head // head(next-1), if prevOK
	prevOK     bool
	fence      uint64 // stream sequence of our subject's last message
	fenced     bool   // a parcel went out since the place was found; for bugFirstFence
	blind      bool   // the last message could not be fetched: believe what 10071 names
	getFails   int
	rewound    bool   // nothing acknowledged since the last rewind
	rewindAt   uint64 // stream sequence of the first parcel after it
	fruitless  int    // rewinds without progress since
	probed     bool   // one parcel is out while probing
	confirmed  uint64 // seq of the newest watermark of the present ledger
	lastMove   time.Time
	stuckWait  time.Duration
	pulse      wire.Pulse
	pulseTime  time.Time
	state      wire.Watermark // newest watermark believed; State.Seq is settled
	dirty      bool
	saved      time.Time
	connecting int // attempts without success

	mu  sync.Mutex
	st  Status
	own own
}

// Status is a snapshot of an uplink.
type Status struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Connected    bool
	Server       string        // connected to
	Away         bool          // in another region than ours
	Breaker      string        // closed: parcels go through; open: none is sent; half open: one as a probe
	AckP95       time.Duration // what acknowledgements take, 95th percentile
	UnsentAge    time.Duration // of the oldest durable record that is not sent, 0: all are
	UnsettledAge time.Duration // of the oldest one that is not settled
	Failovers    uint64        // sessions in another region than ours
	Ledger       string        // id of the hub's ledger, "" if never heard of
	Sent         uint64        // last record that the stream has acknowledged
	Settled      uint64        // last record that the ledger has committed
	Unsent       uint64        // durable records not yet acknowledged
	Unsettled    uint64        // durable records not yet committed
	Parcels      uint64        // acknowledged since the start
	Raw          uint64        // their bytes before compression
	Wire         uint64        // their bytes as sent
	Resyncs      uint64        // times the place in the stream was asked for
	Rewinds      uint64        // times records were sent again
	Holes        uint64        // declarations of records no longer held, or lost
	Lost         uint64        // records declared lost because they cannot be read, also before this start
	Rot          string        // records that cannot be read hold up what is behind them, "" if none do
	Held         string        // why the hub sets this terminal's parcels aside, "" if it does not
	Fork         string        // why nothing is shipped any more, "" if all is well
	LastError    string
}

// New prepares an uplink from its state file. A missing or unreadable file
// costs nothing but the knowledge of what is settled, which the hub will tell
// again; so it is a warning. The error is about Options only.
func New(o Options) (*Uplink, error) {
	if o.Journal == nil || len(o.URLs) == 0 || o.StatePath == "" || o.Shard < 0 {
		return nil, errors.New("uplink: journal, hub URLs, shard and state file must be given")
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("uplink: a certificate and its key are given together or not at all")
	}
	subject := wire.UpSubject(o.Shard, o.Store, o.Terminal, o.Journal.ID())
	if _, _, _, _, err := wire.ParseUpSubject(subject); err != nil {
		return nil, fmt.Errorf("uplink: store %q and terminal %q must be 1 to 32 of A-Z a-z 0-9 _ -: %w", o.Store, o.Terminal, err)
	}
	if o.Stream == "" {
		o.Stream = fmt.Sprintf("POS_UP_%d", o.Shard)
	}
	if o.Pacer == nil {
		o.Pacer = noPacer{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.t == (times{}) {
		o.t = defaultTimes
	}
	if o.bug == noBug {
		o.bug = planted()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	servers, err := newPool(o.URLs, o.Fallback, o.t.budget)
	if err != nil {
		return nil, err
	}
	u := &Uplink{
		names: openNames(o.StatePath+".net", o.Log), tickets: tls.NewLRUClientSessionCache(16), leaving: make(chan error, 1), pool: servers, returns: minReturns,
		breaker: breaker{now: time.Now, jitter: fullJitter, first: o.t.firstWait, most: o.t.backoff, least: o.t.ack, unknown: 2 * o.t.ack, bug: o.bug},
		opt:     o, j: o.Journal, log: o.Log, subject: subject, target: firstTarget,
		fork: make(chan struct{}), compared: make(chan struct{}), mail: mailbox{ready: make(chan struct{}, 1)}, floor: make(chan struct{}, 1),
		beat: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
		stuckWait: o.t.stuck, lastMove: time.Now(), saved: time.Now(),
	}
	u.m = newMeters(o.Metrics, u)
	u.load()
	return u, nil
}

// Run ships until ctx ends; it returns nil then, after writing the state. No
// failure of network, server or state file ends it.
func (u *Uplink) Run(ctx context.Context) error {
	done := make(chan struct{})
	wctx, stop := context.WithCancel(ctx)
	go func() { defer close(done); u.watchFloor(wctx) }()
	defer func() { stop(); <-done }()
	defer func() {
		u.dirty = u.dirty || u.own.fresh
		u.save()
	}()
	u.pool.begin(time.Now(), nil, nil)
	for ctx.Err() == nil {
		s, limit := u.pool.next(time.Now(), u.opt.t.connect)
		if s == nil {
			u.roundOver(ctx)
			continue
		}
		began := time.Now()
		err := u.session(ctx, s, limit)
		u.rest(err)
		if errors.Is(err, errFork) {
			u.stayForked(ctx)
			break
		}
		u.moveOn(ctx, s, err, time.Since(began))
	}
	return nil
}

// roundOver: no server could be used. After the back-off all get another turn.
func (u *Uplink) roundOver(ctx context.Context) {
	if err := u.pool.failed(); err != nil {
		u.note(func(s *Status) { s.LastError = err.Error() })
	}
	u.saveDue()
	sleep(ctx, u.pause())
	u.pool.begin(time.Now(), u.pool.good, nil)
}

// moveOn decides which server comes after the end of a session.
func (u *Uplink) moveOn(ctx context.Context, s *server, err error, lasted time.Duration) {
	s.err, s.silent = err, silent(err)
	u.breaker.another()
	// A server that answers questions and takes no parcel is not good, however long
	// that took: else home would get a new turn for ever, and no other region one.
	failed := (errors.Is(err, errLate) || errors.Is(err, errRefused)) && u.opt.bug != bugLongIsGood
	good := u.shippedAny || u.synced && !failed && (lasted > u.opt.t.budget || leaves(err))
	if good && u.synced {
		u.pool.proved(s)
	}
	switch {
	case errors.Is(err, errLameDuck):
		u.pool.begin(time.Now(), nil, s)
		return
	case errors.Is(err, errRotated):
		u.pool.begin(time.Now(), s, nil)
		return
	case errors.Is(err, errHome):
		u.wentHome = time.Now()
		u.pool.begin(time.Now(), nil, nil)
		return
	case good && (s.silent || errors.Is(err, errRefused)): // it was good, and is not any more
		u.pool.begin(time.Now(), nil, s)
	case good: // the link was cut: where we were is the first choice
		u.pool.begin(time.Now(), s, nil)
	}
	if u.shippedAny {
		u.connecting = 0
	}
	// A thousand terminals of one server must not come back in the same moment.
	sleep(ctx, fullJitter(u.opt.t.firstWait))
}

func leaves(err error) bool {
	return errors.Is(err, errLameDuck) || errors.Is(err, errRotated) || errors.Is(err, errHome)
}

func fullJitter(d time.Duration) time.Duration { return rand.N(d + 1) }

// leave asks for the end of the session, between two parcels.
func (u *Uplink) leave(why error) {
	select {
	case u.leaving <- why:
	default:
	}
}

// rest gives back what a session held.
func (u *Uplink) rest(err error) {
	u.closeReader()
	u.release()
	u.mail.clear()
	if errors.Is(err, context.Canceled) {
		err = nil // we were told to stop
	}
	u.note(func(s *Status) {
		s.Connected, s.Server = false, ""
		if err != nil {
			s.LastError = err.Error()
		}
	})
	if err != nil && u.connecting == 0 { // the first of a row: an offline day must not fill the log
		u.log.Warn("uplink: interrupted, will be tried again", "error", err)
	} else {
		u.log.Debug("uplink: session ended", "error", err)
	}
}

// Compared is closed when the end of the journal was first compared with what
// head office has, and fits.
func (u *Uplink) Compared() <-chan struct{} { return u.compared }

// Forked is closed when head office knows another history of this journal: the
// owner has to begin a new one. Status says why.
func (u *Uplink) Forked() <-chan struct{} { return u.fork }

// stayForked repeats the alarm until ctx ends.
func (u *Uplink) stayForked(ctx context.Context) {
	close(u.fork)
	for ctx.Err() == nil {
		u.log.Error("uplink: this journal has another history than head office knows: a copied disk or a restored backup; "+
			"selling goes on, nothing is shipped", "reason", u.Status().Fork, "journal", u.j.ID())
		sleep(ctx, time.Hour)
	}
}

// pause is a back-off with full jitter: quick at first, then up to a minute, so
// that a thousand terminals do not come back in the same second.
func (u *Uplink) pause() time.Duration {
	limit := u.opt.t.firstWait << min(u.connecting, 20)
	u.connecting++
	return rand.N(min(limit, u.opt.t.backoff) + 1)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// watchFloor turns the journal's growth into a signal.
func (u *Uplink) watchFloor(ctx context.Context) {
	for {
		seq, _ := u.j.Floor()
		u.mu.Lock()
		if seq > u.st.Settled {
			u.own.grew(seq, time.Now())
		}
		u.mu.Unlock()
		signal(u.floor)
		if u.j.WaitBeyond(ctx, seq) != nil {
			return // ctx ended, or the journal did: what is durable can still be shipped
		}
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Status returns a snapshot.
func (u *Uplink) Status() Status {
	floor, _ := u.j.Floor()
	oldest := u.j.Oldest()
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.st
	s.UnsentAge, s.UnsettledAge = u.own.age(s.Sent, floor), u.own.age(s.Settled, floor)
	s.Lost = u.own.lostFrom(oldest)
	s.Unsent, s.Unsettled = floor-min(s.Sent, floor), floor-min(s.Settled, floor)
	return s
}

// note changes the status.
func (u *Uplink) note(f func(*Status)) {
	u.mu.Lock()
	f(&u.st)
	u.mu.Unlock()
}

func (u *Uplink) settled() uint64 { return u.state.Seq }

type meters struct {
	parcels, raw, wire, resyncs, rewinds, holes, connects *metrics.Counter
	linkRead, linkWrote, opens, failovers, resumed        *metrics.Counter
}

func newMeters(s *metrics.Set, u *Uplink) *meters {
	if s == nil {
		s = metrics.NewSet()
	}
	gauge := func(name string, f func(Status) float64) {
		s.NewGauge(name, func() float64 { return f(u.Status()) })
	}
	yes := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge("posd_uplink_connected", func(s Status) float64 { return yes(s.Connected) })
	gauge("posd_uplink_forked", func(s Status) float64 { return yes(s.Fork != "") })
	gauge("posd_uplink_held", func(s Status) float64 { return yes(s.Held != "") })
	gauge("posd_uplink_lost_records", func(s Status) float64 { return float64(s.Lost) })
	gauge("posd_uplink_rot", func(s Status) float64 { return yes(s.Rot != "") })
	gauge("posd_uplink_away", func(s Status) float64 { return yes(s.Away) })
	gauge("posd_uplink_unsent_seconds", func(s Status) float64 { return s.UnsentAge.Seconds() })
	gauge("posd_uplink_unsettled_seconds", func(s Status) float64 { return s.UnsettledAge.Seconds() })
	gauge("posd_uplink_breaker_open", func(s Status) float64 { return yes(s.Breaker != "" && s.Breaker != closed.String()) })
	gauge("posd_uplink_ack_p95_seconds", func(s Status) float64 { return s.AckP95.Seconds() })
	gauge("posd_uplink_sent_seq", func(s Status) float64 { return float64(s.Sent) })
	gauge("posd_uplink_settled_seq", func(s Status) float64 { return float64(s.Settled) })
	gauge("posd_uplink_unsent_records", func(s Status) float64 { return float64(s.Unsent) })
	gauge("posd_uplink_unsettled_records", func(s Status) float64 { return float64(s.Unsettled) })
	return &meters{
		parcels:  s.NewCounter("posd_uplink_parcels_total"),
		raw:      s.NewCounter("posd_uplink_raw_bytes_total"),
		wire:     s.NewCounter("posd_uplink_wire_bytes_total"),
		resyncs:  s.NewCounter("posd_uplink_resyncs_total"),
		rewinds:  s.NewCounter("posd_uplink_rewinds_total"),
		holes:    s.NewCounter("posd_uplink_holes_total"),
		connects: s.NewCounter("posd_uplink_connects_total"),
		linkRead: s.NewCounter("posd_uplink_link_read_bytes_total"), linkWrote: s.NewCounter("posd_uplink_link_written_bytes_total"),
		opens: s.NewCounter("posd_uplink_breaker_opens_total"), failovers: s.NewCounter("posd_uplink_failovers_total"),
		resumed: s.NewCounter("posd_uplink_tls_resumed_total"),
	}
}
