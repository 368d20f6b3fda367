package downlink

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"posd/pos/config"
	"posd/pos/event"
	"posd/sync/wire"
)

const (
	askTime  = 10 * time.Second // for the answer to a direct get
	askAgain = 30 * time.Second // after one that failed
	takeTime = 30 * time.Second // for what one order does, whatever the link does meanwhile
	maxTries = 5                // starts with a configuration that did not last
)

// Options of a downlink. All but Key, Check and Log are required.
type Options struct {
	Store, Terminal string
	Shard           int
	Key             ed25519.PublicKey // head office's; nil: every order is refused
	File            *config.Config    // as posd.toml has it
	StatePath       string
	Log             *slog.Logger

	now     func() time.Time
	asked   func() // called by tests after each answer of the bucket
	listens func() // called by tests when commands are listened to
	bug     bug    // planted by tests
}

// Parts are what a configuration comes into force in. They are there later than the
// Downlink, which says with what they are to be opened.
type Parts struct {
	// Check says what is wrong with a configuration that only the running terminal
	// can know; nil: nothing.
	Check func(*config.Config) error
	// Apply puts a configuration into force and journals e in the same moment. It
	// is in force whatever is returned; the error says that e was not journaled.
	Apply func(ctx context.Context, c *config.Config, e *event.ConfigApplied) error
	// Note journals e.
	Note func(ctx context.Context, e Event) error
	// Now is the time, and whether it is known for certain; nil: it is not.
	Now func() (now time.Time, sure bool)
	// Commands are what head office may order, by name.
	Commands map[string]Command
	// Items is where catalogues go; nil: none is taken.
	Items *Items
}

func (p *Parts) now(d *Downlink) (time.Time, bool) {
	if p.Now == nil {
		return d.opt.now(), false
	}
	return p.Now()
}

// Event is an event of package event.
type Event interface {
	AppendEvent(dst []byte, h event.Header) ([]byte, error)
}

// bug plants a mistake, so that tests can prove that they would see it.
type bug uint8

const (
	noBug        bug = iota
	bugNoSerial      // take an order of any number
	bugNoAddress     // take an order for another terminal
	bugApplyOnly     // put into force what was not kept
	bugNoExpiry      // carry a command out however late it comes
)

// Status is what became of head office's configuration.
type Status struct {
	Serial  uint64 // of the newest order that was decided upon; 0: none
	Applied bool
	Reason  string // why it was refused
	Config  string // hash of what is in force
}

// Downlink takes the configuration that head office pushes.
type Downlink struct {
	opt   Options
	log   *slog.Logger
	parts Parts

	mu        sync.Mutex // one order at a time
	st        state
	now       *config.Config // in force
	supply    supply
	waits     error   // why the order that is kept is not in force, through no fault of its own
	strangers float64 // refusals journaled of late, see mayJournal
	strangeAt time.Time
}

// New reads what is kept and finds the configuration to start with: Config. Nothing on
// the disk keeps it from giving one; what it could not use it says in the log.
func New(o Options) *Downlink {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.asked == nil {
		o.asked = func() {}
	}
	if o.listens == nil {
		o.listens = func() {}
	}
	d := &Downlink{opt: o, log: o.Log, now: o.File, supply: supply{kick: make(chan struct{}, 1)}}
	st, err := readState(o.StatePath)
	if errors.Is(err, fs.ErrNotExist) {
		return d
	}
	if err != nil {
		d.log.Error("head office's configuration is lost: posd.toml alone decides until head office is reached", "file", o.StatePath, "error", err)
		return d
	}
	d.st = st
	if st.order == nil {
		return d
	}
	if o.Key == nil {
		d.waits = errNoKey
		d.log.Error("head office's configuration is kept but not in force, posd.toml alone decides", "serial", st.Serial, "reason", d.waits)
		return d
	}
	c, _, err := d.kept()
	if err == nil && st.Tries >= maxTries {
		err = fmt.Errorf("posd was started %d times with it and did not last", st.Tries)
	}
	if err == nil {
		d.now = c
		d.st.Tries++
		d.save() // an unwritable disk: the start is not counted
		return d
	}
	d.drop("given up at a start: " + config.Reason(err, wire.MaxReason/2))
	return d
}

// Enrolled says what an enrolment brought, before the first connection with it. With a
// key, what was kept comes into force at that connection.
func (d *Downlink) Enrolled(shard int, key ed25519.PublicKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opt.Shard, d.opt.Key = shard, key
}

// kept reads the order that is kept, as strictly as when it came.
func (d *Downlink) kept() (c *config.Config, serial uint64, err error) {
	o, err := d.open(d.st.order, isConfig)
	if err != nil {
		return nil, 0, err
	}
	c, err = d.opt.File.Overlay(name(&o), o.Body)
	return c, o.Serial, err
}

// resume puts into force what had to wait. Callers hold mu.
func (d *Downlink) resume(ctx context.Context) {
	if d.waits == nil || d.opt.Key == nil {
		return
	}
	d.waits = nil
	c, serial, err := d.kept()
	if err == nil && d.parts.Check != nil {
		err = d.parts.Check(c)
	}
	if err != nil {
		d.drop("given up: " + config.Reason(err, wire.MaxReason/2))
		return
	}
	was := d.now.Hash()
	d.now = c
	d.log.Info("head office's configuration is in force again", "serial", serial, "config", c.Hash())
	if err := d.parts.Apply(ctx, c, &event.ConfigApplied{Serial: serial, Config: c.Hash(), Former: was}); err != nil {
		d.log.Warn("that head office's configuration is in force again is not journaled", "error", err)
	} else if serial == d.st.Serial && !d.st.Told {
		d.st.Told = true
		d.save()
	}
}

// drop goes back to posd.toml, before anything is in force.
func (d *Downlink) drop(why string) {
	d.log.Error("head office's configuration is given up, posd.toml alone decides", "serial", d.st.Serial, "reason", why)
	d.now, d.waits = d.opt.File, nil
	d.st.State, d.st.Reason, d.st.Told, d.st.order, d.st.Tries = wire.StateRefused, why, false, nil, 0
	d.save()
}

// Config is what is in force.
func (d *Downlink) Config() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

// Pushed says whether head office has decided anything of what is in force.
func (d *Downlink) Pushed() bool { return d.Config() != d.opt.File }

// Without tries posd.toml alone, for a start that failed: GiveUp or Later follows if that
// helps. All are for between New and Start.
func (d *Downlink) Without() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.opt.File
}

// GiveUp goes back to posd.toml because posd does not start otherwise.
func (d *Downlink) GiveUp(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop("posd did not start with it: " + config.Reason(err, wire.MaxReason/2))
}

// Later keeps head office's configuration for Start, because what kept posd from opening
// with it is no fault of its own. What of it takes a start waits for the next one.
func (d *Downlink) Later(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waits = err
	d.log.Warn("posd has opened without head office's configuration, at the second attempt", "serial", d.st.Serial, "reason", err)
}

// Start names the parts, which have been opened with Config and are running, and
// journals what an earlier start had no time to.
func (d *Downlink) Start(ctx context.Context, p Parts) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.parts = p
	d.resume(ctx)
	d.tell(ctx, d.opt.File.Hash())
	d.tellCommand(ctx)
	d.tellCatalogue(ctx)
}

// Lasted says that posd has been running well for a while with what it started with.
func (d *Downlink) Lasted() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.st.Tries != 0 && d.waits == nil {
		d.st.Tries = 0
		d.save()
	}
}

// Status says what became of the newest order.
func (d *Downlink) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Status{Serial: d.st.Serial, Applied: d.st.State == wire.StateApplied, Reason: d.st.Reason, Config: d.now.Hash()}
	if s.Applied && d.waits != nil {
		s.Applied, s.Reason = false, "kept, but not in force: "+config.Reason(d.waits, wire.MaxReason/2)
	}
	return s
}

func (d *Downlink) save() bool {
	if d.opt.bug == bugApplyOnly {
		return true
	}
	err := writeState(d.opt.StatePath, &d.st)
	if err != nil {
		d.log.Error("what head office decided cannot be kept", "file", d.opt.StatePath, "error", err)
	}
	return err == nil
}

// Connected takes what head office says over one connection, until ctx ends.
func (d *Downlink) Connected(ctx context.Context, nc *nats.Conn) error {
	d.late(ctx)
	return d.hear(ctx, nc, wire.ConfigKey(d.opt.Store, d.opt.Terminal), func(raw []byte) { d.take(ctx, nc, raw) })
}

// hear gives the value of a key of the bucket, asked for once and then as it changes,
// to take until ctx ends.
func (d *Downlink) hear(ctx context.Context, nc *nats.Conn, key string, take func(raw []byte)) error {
	sub, err := nc.SubscribeSync(wire.LivePrefix + key)
	if err != nil {
		return fmt.Errorf("listen to head office: %w", err)
	}
	if err := sub.SetPendingLimits(8, 256<<10); err != nil {
		return err
	}
	for asked := false; ; {
		if !asked {
			if asked, err = d.ask(ctx, nc, key, take); err != nil && ctx.Err() == nil {
				d.log.Debug("what head office has decided cannot be asked for", "key", key, "error", err)
			}
			d.opt.asked()
		}
		wait, cancel := ctx, context.CancelFunc(func() {})
		if !asked {
			wait, cancel = context.WithTimeout(ctx, askAgain)
		}
		m, err := sub.NextMsgWithContext(wait)
		cancel()
		switch {
		case err == nil && len(m.Data) == 0: // removed: what is in force stays, until head office says otherwise
		case err == nil:
			take(m.Data)
		case ctx.Err() != nil || errors.Is(err, nats.ErrConnectionClosed):
			return nil
		case errors.Is(err, context.DeadlineExceeded):
		case errors.Is(err, nats.ErrSlowConsumer):
			asked = false // something was dropped: the bucket has the newest
		default:
			return fmt.Errorf("listen to head office: %w", err)
		}
	}
}

// late is resume for a key that came after Start.
func (d *Downlink) late(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeTime)
	defer cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waits != nil {
		d.resume(ctx)
		d.tell(ctx, d.opt.File.Hash())
	}
}

// ask fetches the newest value of a key, and takes it.
func (d *Downlink) ask(ctx context.Context, nc *nats.Conn, key string, take func(raw []byte)) (answered bool, err error) {
	wait, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	m, err := nc.RequestWithContext(wait, "$JS.API.DIRECT.GET."+wire.BucketStream+"."+wire.BucketPrefix+key, nil)
	if err != nil {
		return false, err
	}
	switch status := m.Header.Get("Status"); {
	case status == "404":
		return true, nil
	case status != "":
		return false, fmt.Errorf("%s %s", status, m.Header.Get("Description"))
	case len(m.Data) == 0: // removed, as above
		return true, nil
	}
	take(m.Data)
	return true, nil
}

// take decides about what has come, and answers.
func (d *Downlink) take(ctx context.Context, nc *nats.Conn, raw []byte) {
	// The link may go in the middle; the order is finished then all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeTime)
	defer cancel()
	d.mu.Lock()
	a := d.decide(ctx, raw)
	d.mu.Unlock()
	d.answer(nc, a)
}

func (d *Downlink) answer(nc *nats.Conn, a wire.Answer) {
	a.Store, a.Terminal = d.opt.Store, d.opt.Terminal
	d.mu.Lock()
	shard := d.opt.Shard
	a.Config = d.now.Hash()
	d.mu.Unlock()
	if err := nc.Publish(wire.AnswerSubject(shard, d.opt.Store, d.opt.Terminal, a.Serial), a.Append(nil)); err != nil {
		d.log.Debug("an order is not answered; head office asks again", "error", err)
	}
}

func name(o *wire.Order) string { return fmt.Sprintf("push %d", o.Serial) }

// errNoKey: no order can be verified.
var errNoKey = errors.New("this terminal has no key of head office's: set hub.office_key, or enrol it")

// open verifies an order, before anything else is read, and whether it is for this
// terminal and what was expected. Callers hold mu.
func (d *Downlink) open(raw []byte, expected func(*wire.Order) error) (wire.Order, error) {
	if d.opt.Key == nil {
		return wire.Order{}, errNoKey
	}
	o, err := wire.OpenOrder(raw, d.opt.Key)
	if err == nil && (o.Store != d.opt.Store || o.Terminal != d.opt.Terminal) && d.opt.bug != bugNoAddress {
		err = fmt.Errorf("it is for terminal %s of store %s", o.Terminal, o.Store)
	}
	if err == nil {
		err = expected(&o)
	}
	return o, err
}

func isConfig(o *wire.Order) error {
	if o.Kind != wire.KindConfig {
		return fmt.Errorf("it is no configuration but %q", o.Kind)
	}
	return nil
}

func tooOld(serial, last uint64) string {
	return fmt.Sprintf("number %d is not above %d, which was the last: an old order is not taken again", serial, last)
}

func utc(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

func (d *Downlink) decide(ctx context.Context, raw []byte) wire.Answer {
	sum := wire.Digest(raw)
	digest := hex.EncodeToString(sum[:])
	o, err := d.open(raw, isConfig)
	if err != nil {
		return d.strangeConfig(ctx, digest, 0, config.Reason(err, wire.MaxReason/2))
	}
	a := wire.Answer{Serial: o.Serial, Kind: o.Kind}
	switch {
	case d.opt.bug == bugNoSerial:
	case o.Serial == d.st.Serial && digest == d.st.Digest: // at each connect
		d.tell(ctx, d.now.Hash())
		a.State, a.Reason = d.st.State, d.st.Reason
		return a
	case o.Serial <= d.st.Serial:
		return d.strangeConfig(ctx, digest, o.Serial, tooOld(o.Serial, d.st.Serial))
	}
	former := d.st
	c, err := d.opt.File.Overlay(name(&o), o.Body)
	if err == nil && d.parts.Check != nil {
		err = d.parts.Check(c)
	}
	d.st = state{Serial: o.Serial, Digest: digest, State: wire.StateApplied, Stranger: former.Stranger, Command: former.Command, Catalogue: former.Catalogue, order: raw}
	if err != nil {
		d.st.State, d.st.Reason = wire.StateRefused, config.Reason(err, wire.MaxReason/2)
		d.st.order, d.st.Tries = former.order, former.Tries
	}
	if !d.save() {
		d.st = former // it is asked for again at the next connect
		a.State, a.Reason = wire.StateRefused, "it cannot be kept: the disk takes no writes; it will be tried again"
		return a
	}
	was := d.now.Hash()
	if err == nil {
		d.now = c
	}
	d.tell(ctx, was)
	a.State, a.Reason = d.st.State, d.st.Reason
	return a
}

// tell journals what became of the newest order, if that was not done yet, and puts
// into force what is to be.
func (d *Downlink) tell(ctx context.Context, was string) {
	if d.st.Serial == 0 || d.st.Told || d.waits != nil || d.parts.Apply == nil {
		return
	}
	var err error
	if d.st.State == wire.StateApplied {
		d.log.Info("head office's configuration is in force", "serial", d.st.Serial, "config", d.now.Hash())
		err = d.parts.Apply(ctx, d.now, &event.ConfigApplied{Serial: d.st.Serial, Config: d.now.Hash(), Former: was})
	} else {
		d.log.Warn("head office's configuration is refused", "serial", d.st.Serial, "reason", d.st.Reason)
		err = d.parts.Note(ctx, &event.ConfigRefused{Serial: d.st.Serial, Config: d.now.Hash(), Reason: d.st.Reason})
	}
	if err != nil {
		d.log.Warn("what became of head office's configuration is not journaled yet", "error", err)
		return
	}
	d.st.Told = true
	d.save()
}

// strangeConfig refuses what is not head office's, or old.
func (d *Downlink) strangeConfig(ctx context.Context, digest string, serial uint64, why string) wire.Answer {
	d.strange(ctx, digest, why, &event.ConfigRefused{Serial: serial, Config: d.now.Hash(), Reason: why})
	return wire.Answer{Serial: serial, Kind: wire.KindConfig, State: wire.StateRefused, Reason: why}
}

// strange journals a refusal that changes nothing else, the same bytes once.
func (d *Downlink) strange(ctx context.Context, digest, why string, e Event) {
	if d.st.Stranger == digest || d.parts.Note == nil || !d.mayJournal() {
		return
	}
	d.log.Warn("an order is refused", "reason", why)
	if err := d.parts.Note(ctx, e); err != nil {
		d.log.Warn("the refusal is not journaled", "error", err)
		return
	}
	d.st.Stranger = digest
	d.save()
}

// mayJournal lets six refusals of strangers into the journal at once and one more in
// ten minutes: who can write to the bucket must not fill the disk.
func (d *Downlink) mayJournal() bool {
	const burst, each = 6, 10 * time.Minute
	now := d.opt.now()
	d.strangers = max(0, d.strangers-float64(now.Sub(d.strangeAt))/float64(each))
	d.strangeAt = now
	if d.strangers+1 > burst {
		return false
	}
	d.strangers++
	return true
}
