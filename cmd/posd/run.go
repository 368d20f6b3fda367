package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"posd/cgroup"
	"posd/journal"
	"posd/pos"
	"posd/pos/card"
	"posd/pos/catalogue"
	"posd/pos/config"
	"posd/pos/event"
	"posd/pos/export"
	"posd/pos/httpapi"
	"posd/pos/itemcode"
	"posd/pos/papers"
	"posd/pos/register"
	"posd/pos/till"
	"posd/pos/view"
	"posd/sync/downlink"
	"posd/sync/uplink"
)

const (
	stopTime   = 15 * time.Second // for the whole stop, with a tenth of a core
	answerTime = 3 * time.Second  // of it, for answers under way
)

// errSlowStop: the stop took longer than stopTime. Nothing is lost by it.
var errSlowStop = errors.New("the stop took too long and was cut short")

// terminal is the running daemon: its parts, in the order of their start.
type terminal struct {
	c   *config.Config
	log *slog.Logger
	set *metrics.Set

	limits    httpapi.Limits
	pacer     *cgroup.Pacer
	journal   *journal.Journal
	catalogue *catalogue.Catalogue
	view      *view.View
	register  *register.Register
	card      *card.Desk
	desk      *papers.Desk
	exports   *export.Exporter
	http      *httpapi.Server
	uplink    *uplink.Uplink                // nil: no hub is configured, or the terminal is not enrolled yet
	shown     atomic.Pointer[uplink.Uplink] // the same, for other goroutines than the main one
	downlink  *downlink.Downlink
	heart     *heart // likewise
	verbosity verbosity
	last      *lastLines    // of the log
	budget    atomic.Int64  // of the journal, in bytes
	way       way           // that the uplink was opened with
	newKey    nkeys.KeyPair // was made and is not in use yet, see rotateKey

	stay        bool // no successor can be begun: what head office says of the journal is not acted upon
	enrolls     bool // it has to be let in first
	renews      bool // or may have to be let in again
	letIn       chan struct{}
	notEnrolled atomic.Pointer[string] // why not yet

	ended   chan error // of a part that ended by itself
	running []part     // newest last
}

// part is one goroutine: cancel ends it, done is closed when it has ended.
type part struct {
	name   string
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// run is posd from a good configuration to the end.
func run(c *config.Config, log *logger) (err error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	t, err := openTerminal(c, log)
	if err != nil {
		return err
	}
	if err := t.begin(); err != nil {
		return errors.Join(err, t.stop("start failed"))
	}
	notify(log.Logger, daemon.SdNotifyReady)
	reason, cause := t.wait(signals)
	if cause == nil {
		t.downlink.Lasted()
	}
	notify(log.Logger, daemon.SdNotifyStopping)
	log.Info("stopping", "because", reason)
	return t.stopWithin(reason, cause)
}

// openTerminal opens all with head office's values over the file's. Where that fails
// and the file's alone do not, head office's are given up: a push closes no shop. Where
// the failure was one that passes, they are put into force as if they had just come.
func openTerminal(c *config.Config, log *logger) (*terminal, error) {
	d := openDownlink(c, log.Logger)
	open := func() (*terminal, error) {
		t := &terminal{c: d.Config(), log: log.Logger, last: log.last, verbosity: verbosity{level: log.level}, downlink: d, set: metrics.NewSet(), ended: make(chan error, 8), letIn: make(chan struct{}, 1)}
		t.verbosity.configure(t.c.Log.Level)
		t.budget.Store(t.c.Data.MaxBytes)
		t.applyLimits()
		if err := t.open(); err != nil {
			return nil, errors.Join(err, t.close())
		}
		return t, nil
	}
	t, err := open()
	if err == nil || !d.Pushed() {
		return t, err
	}
	d.Without()
	t, again := open()
	if again != nil {
		return nil, err // it was not head office's fault
	}
	if passing(err) {
		d.Later(err)
	} else {
		d.GiveUp(err)
	}
	return t, nil
}

// passing says that an error of open is gone when whoever holds what posd needs has ended.
func passing(err error) bool {
	return errors.Is(err, journal.ErrLocked) || errors.Is(err, syscall.EADDRINUSE)
}

// applyLimits makes Go fit the slice, and says so.
func (t *terminal) applyLimits() {
	l, err := cgroup.Read("/")
	if err != nil {
		t.log.Warn("some limits cannot be read", "error", err)
	}
	a := cgroup.Apply(l, t.c.Limits.Memory)
	differs := l.Differs(t.c.Limits.ExpectCPU, t.c.Limits.ExpectMemory)
	for _, d := range differs {
		t.log.Warn("limits are not as configured", "what", d)
	}
	t.log.Info("limits", "found", l.String(), "set", a.Reasons)
	t.limits = httpapi.Limits{
		SliceMemory: l.MemoryMax.Value, MemoryHigh: l.MemoryHigh.Value, CPUPercent: l.CPU.Percent(), CPUBurst: l.CPU.Burst,
		Tasks: l.Tasks.Value, Procs: a.GOMAXPROCS, Group: l.Group, Hidden: l.Hidden, Differs: differs,
	}
	if a.MemoryLimit != math.MaxInt64 {
		t.limits.GoMemory = a.MemoryLimit
	}
	t.pacer = cgroup.NewPacer(l, t.log)
	t.set.RegisterMetricsWriter(t.writeUsage)
}

// writeUsage writes what the kernel did about the limits, as last sampled.
func (t *terminal) writeUsage(w io.Writer) {
	s := t.pacer.State()
	u := s.Usage
	shedding := int64(0)
	if s.Shedding {
		shedding = 1
	}
	for _, m := range []struct {
		name  string
		value int64
	}{
		{"posd_cpu_periods_total", u.Periods},
		{"posd_cpu_throttled_periods_total", u.Throttled},
		{"posd_cpu_throttled_microseconds_total", u.ThrottledMicros},
		{"posd_memory_bytes", u.MemoryCurrent},
		{"posd_memory_high_total", u.MemoryHigh},
		{"posd_memory_max_total", u.MemoryMax},
		{"posd_memory_oom_kills_total", u.OOMKills},
		{`posd_pressure_microseconds_total{resource="cpu"}`, u.CPUPressure.SomeMicros},
		{`posd_pressure_microseconds_total{resource="memory"}`, u.MemoryPressure.SomeMicros},
		{`posd_pressure_microseconds_total{resource="io"}`, u.IOPressure.SomeMicros},
		{"posd_background_share_percent", int64(s.Share)},
		{"posd_background_waited_microseconds_total", t.pacer.Waited().Microseconds()},
		{"posd_memory_shedding", shedding},
	} {
		metrics.WriteGaugeUint64(w, m.name, uint64(max(0, m.value)))
	}
}

// load is what the status page tells of it.
func (t *terminal) load() httpapi.Load {
	s := t.pacer.State()
	l := httpapi.Load{
		Throttled: s.Throttled, CPUWaiting: s.CPUWaiting, MemoryWaiting: s.MemoryWaiting, IOWaiting: s.IOWaiting,
		Background: s.Share, Memory: s.Usage.MemoryCurrent, MemoryHigh: s.Usage.MemoryHigh, MemoryMax: s.Usage.MemoryMax,
		OOMKills: s.Usage.OOMKills, Shedding: s.Shedding,
	}
	if s.Why != "" {
		l.Reasons = []string{s.Why}
	}
	return l
}

// open opens everything that lies on the disk, and binds the addresses.
func (t *terminal) open() (err error) {
	c, dir := t.c, t.c.Data.Dir
	if err := t.succeed(); err != nil {
		return err
	}
	var opener register.Opener
	if t.journal, err = journal.Open(filepath.Join(dir, "journal"), journal.Options{
		Identity:    journal.Identity{Store: c.Terminal.Store, Terminal: c.Terminal.ID},
		SegmentSize: c.Data.Segment, MaxBytes: c.Data.MaxBytes, Retention: c.Data.Retention, Timely: register.Disciplined(),
		Opening: opener.Opening, Key: t.signingKey(), Pace: t.pacer.Pace, Log: t.log,
	}); err != nil {
		return err
	}
	if st := t.journal.Stats(); st.Keyed && !st.Signing {
		t.log.Error("the journal is not signed: put the terminal's key back", "file", filepath.Join(dir, config.KeyFile))
	}
	floor, _ := t.journal.Floor()
	t.log.Info("journal is open", "id", t.journal.ID().String(), "records", floor, "oldest", t.journal.Oldest(), "recovered", t.journal.Recovered())
	vo := view.Options{Log: t.log}
	if t.pacer.Tight() {
		vo.Pace = t.pacer.Pace
	}
	if t.view, err = view.Open(filepath.Join(dir, "view.db"), t.journal, vo); err != nil {
		return err
	}
	if t.register, err = register.Open(t.journal, t.view, register.Options{
		Store: c.Terminal.Store, Terminal: c.Terminal.ID, Operator: c.Terminal.Operator,
		Currency: c.Terminal.Currency, Settings: settingsOf(c), TimeZone: c.Terminal.TimeZone,
		Release: releaseName(), Opener: &opener, Segment: c.Data.Segment, Log: t.log,
	}); err != nil {
		return err
	}
	if err := t.openDesk(); err != nil {
		return err
	}
	t.exports = export.New(export.Options{Dir: filepath.Join(dir, config.ExportsFolder), Journal: t.journal, Pace: t.pacer.Pace, Log: t.log})
	t.openCatalogue(filepath.Join(dir, itemsFile))
	t.openCard()
	if err := t.openUplink(); err != nil {
		return err
	}
	o := httpapi.Options{
		Terminal: c.Terminal, HTTP: c.HTTP, Journal: t.journal, View: t.view, Register: t.register,
		Catalogue: t.catalogue, Card: t.card, Papers: t.desk, Exports: t.exports, Tokens: filepath.Join(dir, "tokens"), Operators: dir, Limits: t.limits, Selling: t.pacer.Selling, Load: t.load, Pace: t.pacer.Pace,
		Supply:  t.supplied,
		Release: releaseName(), Metrics: t.set, Log: t.log,
	}
	if o.Listeners, err = t.givenListeners(); err != nil {
		return err
	}
	if t.uplink != nil || t.enrolls {
		o.Uplink = t.uplinkStatus
	}
	if t.http, err = httpapi.New(o); err != nil {
		return err
	}
	return t.http.Listen()
}

func (t *terminal) openCatalogue(path string) {
	t.catalogue = catalogue.OpenIn(path, t.c.Terminal.Currency.Code)
	if err := t.catalogue.Err(); err != nil {
		t.log.Error("the catalogue cannot be used, sales with item codes are refused", "error", err)
	}
	if missing := t.untaxed(t.c); missing != "" {
		t.log.Error("some items cannot be sold", "reason", missing)
	}
}

// openCard prepares the way to the payment terminal, if there is one.
func (t *terminal) openCard() {
	o := card.Options{Register: t.register, Terminal: t.c.Card.Terminal, Currency: t.c.Terminal.Currency, Metrics: t.set, Log: t.log}
	if c := &t.c.Card; c.Address != "" {
		o.Driver = card.TCP{
			Address: c.Address, Name: c.Terminal, CAFile: c.CAFile, CertFile: t.credential("card.crt", c.CertFile), KeyFile: t.credential("card.key", c.KeyFile),
			Now: func() time.Time { return t.register.Status().Past },
		}
	}
	t.card = card.New(o)
}

func (t *terminal) openUplink() (err error) {
	h, w := &t.c.Hub, t.findWay()
	t.renews = w.renew
	if t.enrolls = w.enroll; t.enrolls {
		return nil
	}
	if len(w.urls) == 0 {
		t.log.Info("no hub is configured: the terminal works alone")
		return nil
	}
	t.heart = newHeart(t)
	t.heart.config = t.pushed
	t.way = w
	t.uplink, err = uplink.New(uplink.Options{
		Journal: t.journal, URLs: w.urls, Store: t.c.Terminal.Store, Terminal: t.c.Terminal.ID,
		Shard: w.shard, Stream: w.stream, Fallback: h.Fallback, CAFile: w.ca,
		CertFile: t.credential("hub.crt", h.CertFile), KeyFile: t.credential("hub.key", h.KeyFile),
		Credentials: w.creds, TokenFile: w.token,
		StatePath: filepath.Join(t.c.Data.Dir, "uplink.state"), Pacer: t.pacer, Metrics: t.set, Log: t.log,
		Now:       func() time.Time { return t.register.Status().Past },
		Heartbeat: t.heart.beat, Lost: t.lost,
		OnConnect: []func(context.Context, *nats.Conn) error{t.downlink.Connected, t.downlink.Commands, t.downlink.Catalogue},
	})
	t.shown.Store(t.uplink)
	return err
}

// lost journals that records are declared lost; the register signs it.
func (t *terminal) lost(ctx context.Context, m *journal.MissingError) error {
	return t.note(ctx, &event.RecordsLost{First: m.First, Last: m.Last, Head: m.Head.String(),
		File: m.Damage.File, Offset: uint64(max(0, m.Damage.Offset)), Reason: fmt.Sprint(m.Damage.Err)}, nil)
}

// errAnotherWay: an uplink keeps the way that it was opened with.
var errAnotherWay = errors.New("head office has let this terminal in to another shard or address; the next start goes there")

// enrolled opens the uplink of a terminal that was let in while it ran. One that is open
// looks after its credentials itself; where it has to go elsewhere posd ends. That start
// finds the way that is on the disk: there is no second one for the same reason.
func (t *terminal) enrolled() error {
	if t.uplink != nil {
		w := t.findWay()
		if w.creds != "" && (w.shard != t.way.shard || w.ca != t.way.ca || !slices.Equal(w.urls, t.way.urls)) {
			return errAnotherWay
		}
		return nil
	}
	if err := t.openUplink(); err != nil || t.uplink == nil {
		t.log.Error("nothing is shipped, the next start tries again", "error", err)
		return nil
	}
	t.ship()
	return nil
}

func (t *terminal) ship() {
	t.goDo("uplink", t.uplink.Run)
	t.goDo("heart", t.heart.watch)
}

func (t *terminal) uplinkStatus() httpapi.UplinkStatus {
	u := t.shown.Load()
	if u == nil {
		why := "enrolment: not asked yet"
		if text := t.notEnrolled.Load(); text != nil {
			why = "enrolment: " + *text
		}
		floor, _ := t.journal.Floor()
		return httpapi.UplinkStatus{Unsettled: floor, LastError: why}
	}
	s := u.Status()
	return httpapi.UplinkStatus{
		Connected: s.Connected, Server: s.Server, Ledger: s.Ledger, Sent: s.Sent, Settled: s.Settled,
		Unsettled: s.Unsettled, UnsentAge: s.UnsentAge, UnsettledAge: s.UnsettledAge, Lost: s.Lost, Rot: s.Rot, Held: s.Held, Fork: s.Fork, LastError: s.LastError,
	}
}

// begin starts the goroutines.
func (t *terminal) begin() error {
	t.goDo("pacer", t.pacer.Run)
	t.goDo("index", t.view.Run)
	t.goDo("register", t.register.Run)
	t.goDo("card", t.card.Run)
	t.goDo("papers", t.desk.Run)
	t.goDo("exports", t.exports.Run)
	following, done := context.WithTimeout(context.Background(), answerTime)
	t.follow(following)
	done()
	if t.uplink != nil {
		t.ship()
	}
	if t.enrolls || t.renews {
		t.goDo("enrolment", t.enroll)
	}
	t.compareEnd()
	t.goDo("http", func(context.Context) error { return t.http.Serve() })
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if err := t.register.Alive(ctx); err != nil {
		return fmt.Errorf("the command loop does not answer: %w", err)
	}
	if period, err := daemon.SdWatchdogEnabled(false); err == nil && period > 0 {
		t.goDo("watchdog", func(ctx context.Context) error { t.watchdog(ctx, period); return nil })
	}
	t.log.Info("ready", "address", t.http.Addr().String(), "release", releaseName())
	return nil
}

func (t *terminal) goDo(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	p := part{name: name, cancel: cancel, done: make(chan struct{})}
	t.running = append(t.running, p)
	go func() {
		defer close(p.done)
		err := run(ctx)
		if ctx.Err() == nil {
			t.ended <- fmt.Errorf("%s ended: %w", name, errors.Join(err, errEnded))
		}
	}()
}

// errEnded: a part ended that nobody had told to.
var errEnded = errors.New("this was not asked for")

// wait returns why posd ends; cause is nil if somebody asked for it.
func (t *terminal) wait(signals <-chan os.Signal) (reason string, cause error) {
	for {
		select {
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return sig.String(), nil
			}
			t.http.ReloadTokens()
			t.log.Info("tokens and catalogue were read again", "items", t.catalogue.Len(), "catalogue", t.catalogue.Version())
		case err := <-t.ended:
			if failed := t.journal.Err(); failed != nil {
				return "storage failed", failed
			}
			return "a part ended", err
		case <-t.letIn:
			if err := t.enrolled(); err != nil {
				return "enrolled anew", err
			}
		case <-t.forked():
			if err := t.wantSuccessor(t.uplink.Status().Fork); err != nil {
				return "a new journal is needed", err
			}
		case <-t.journal.Failed():
			return "storage failed", t.journal.Err()
		}
	}
}

// stopWithin stops in order, or ends without if that takes too long.
func (t *terminal) stopWithin(reason string, cause error) error {
	done := make(chan error, 1)
	go func() { done <- t.stop(reason) }()
	limit := time.NewTimer(stopTime)
	defer limit.Stop()
	select {
	case err := <-done:
		if cause != nil {
			return cause
		}
		if err == nil {
			t.log.Info("stopped")
		}
		return err
	case <-limit.C:
		if cause != nil {
			return cause
		}
		return errSlowStop
	}
}

// stop ends the parts, newest first, then closes the files.
func (t *terminal) stop(reason string) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	err := t.http.Shutdown(ctx)
	if err != nil {
		t.log.Warn("not every answer could be given", "error", err)
	}
	for i := len(t.running) - 1; i >= 0; i-- {
		p := t.running[i]
		p.cancel(errors.New(reason))
		<-p.done
	}
	return t.close()
}

// close closes what is open, newest first.
func (t *terminal) close() (err error) {
	if t.http != nil && len(t.running) == 0 {
		err = t.http.Shutdown(context.Background())
	}
	if t.catalogue != nil {
		err = errors.Join(err, t.catalogue.Close())
	}
	if t.view != nil {
		if e := t.view.Close(); e != nil {
			t.log.Warn("the index was not written to its end, the next start catches up", "error", e)
		}
	}
	if t.journal != nil {
		err = errors.Join(err, t.journal.Close())
	}
	return err
}

// settingsOf are the values of c that may change while sales go on.
func settingsOf(c *config.Config) register.Settings {
	codes, _ := itemcode.NewRules(c.Items.Patterns, c.Terminal.Currency) // config has checked them
	return register.Settings{
		Prices: c.Terminal.Prices, Rounding: c.Terminal.Rounding, Coin: pos.Money(c.Terminal.CashRounding), DayStart: c.Terminal.DayStart, Taxes: c.Taxes, Codes: codes, Repeat: c.Items.Repeat, Config: c.Hash(),
		Operators: c.Operators, Papers: papersOf(c), CardTimeout: c.Card.Timeout,
		Offline: till.Limits{Sale: pos.Money(c.Card.OfflineSale), Terminal: pos.Money(c.Card.OfflineTerminal), Day: pos.Money(c.Card.OfflineDay)},
	}
}
