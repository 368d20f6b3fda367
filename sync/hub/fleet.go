package hub

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"posd/journal/chain"
	"posd/sync/ledger"
	"posd/sync/wire"
)

// States of a terminal.
const (
	StateEnrolled = "enrolled" // known, never heard
	StateOnline   = "online"
	StateOffline  = "offline" // no heartbeat for three periods
	StateFailing  = "failing" // somebody has to look after it; it may be online or not
)

// Reasons that the hub finds by itself, by code, beside the alarms of package wire.
const (
	reasonBacklog    = "backlog"        // sales have waited for too long
	reasonGap        = "gap"            // records are missing, and asked for
	reasonHole       = "hole"           // records are lost
	reasonQuarantine = "quarantine"     // parcels were set aside and nobody has decided
	reasonTwin       = "twin"           // two machines use one name
	reasonUnsynced   = "clock-unsynced" // nobody sets the wall clock
	reasonThrottled  = "throttled"      // the processor quota is used up
	reasonUnheard    = "no-hub"         // no hub has heard its shard for long
)

// Levels of a reason.
const (
	levelFailing = "failing"
	levelWarning = "warning"
)

// reason is why a terminal needs a person.
type reason struct {
	Code  string `json:"code"`
	Level string `json:"level"`
	Text  string `json:"text"`
}

// reasonTexts says what a code means; a code that is not here is a newer terminal's.
var reasonTexts = map[string]string{
	wire.AlarmForked:    "head office knows another history of its journal: a copied disk or a restored backup",
	wire.AlarmHeld:      "its parcels are set aside until somebody decides",
	wire.AlarmDisk:      "its data partition is almost full",
	wire.AlarmFull:      "its journal is full: new sales are refused",
	wire.AlarmRot:       "its journal has damaged segments: keep the disk",
	wire.AlarmLost:      "records that head office lacks cannot be read any more on its disk: keep it, a salvage may find them",
	wire.AlarmFailed:    "its storage device failed",
	wire.AlarmReadOnly:  "its file system is read-only: nothing can be sold",
	wire.AlarmUnsigned:  "its journal is not signed: the terminal's key is missing",
	wire.AlarmClock:     "its clock is wrong",
	wire.AlarmMemory:    "memory is short, background work is held back",
	wire.AlarmLimits:    "its slice is not as configured",
	wire.AlarmCard:      "nobody knows what became of a card payment, or whether the acquirer has what was approved offline: somebody has to look at its payment terminal",
	wire.AlarmCatalogue: "its catalogue cannot be used",
	wire.AlarmConfig:    "it refused what head office configured",
	reasonBacklog:       "sales have not reached the ledger for too long",
	reasonGap:           "records are missing and have been asked for",
	reasonHole:          "records are lost: no terminal holds them any more",
	reasonQuarantine:    "parcels are in quarantine",
	reasonTwin:          "two machines answer to this name",
	reasonUnsynced:      "nobody sets its clock",
	reasonThrottled:     "it uses up its processor quota",
	reasonUnheard:       "no hub has listened to its shard for long",
}

// warnings are the reasons that can wait; all others make a terminal failing.
var warnings = map[string]bool{
	wire.AlarmMemory: true, wire.AlarmLimits: true, reasonUnsynced: true, reasonThrottled: true, reasonUnheard: true,
}

// fleetTimes are the waits, shorter in tests.
type fleetTimes struct {
	period  time.Duration // between two heartbeats of a terminal, at most
	tick    time.Duration // between looks at all terminals, and writes to the ledger
	rewrite time.Duration // between writes of a terminal in which nothing changed
	refresh time.Duration // between looks at the ledger, at least
	dead    time.Duration // a hub that gave no sign of life for so long is no more
	fresh   time.Duration // how long a loss makes a terminal failing
	gap     time.Duration // how long missing records may be missing
	backlog time.Duration // how old a backlog may be
	skew    time.Duration // how far a terminal's clock may be off
	often   time.Duration // a heartbeat that comes sooner after the last one is not read
}

var defaultFleetTimes = fleetTimes{
	period: 36 * time.Second, tick: 5 * time.Second, rewrite: 5 * time.Minute, refresh: 30 * time.Second, dead: time.Minute,
	fresh: 7 * 24 * time.Hour, gap: 5 * time.Minute, backlog: 15 * time.Minute, skew: 2 * time.Minute, often: 200 * time.Millisecond,
}

const (
	silentPeriods = 3
	maxMembers    = 250_000 // terminals that one hub keeps; beyond, heartbeats of new ones are refused
	maxBatch      = 500     // documents in one transaction
	throttledPart = 50      // percent of all periods
)

// fleet is what is known of each terminal: what it says in heartbeats, what the
// ledger says of its journals, and what another hub on the same ledger has heard.
type fleet struct {
	id      string // of this hub
	ledger  ledger.Ledger
	log     *slog.Logger
	now     func() time.Time
	t       fleetTimes
	accepts func(store string) bool
	mine    func(shard int) bool // whether this hub works on the shard, and so writes its terminals down

	mu       sync.Mutex
	members  map[string]*member // by "<store>.<terminal>"
	order    []*member          // by name, once sorted is true
	sorted   bool
	words    map[string]string // each text once
	shards   map[int]bool      // that are listened to
	living   map[string]bool   // hubs on the ledger
	hearing  bool              // the connection stands
	since    int64             // hearing without a break since then
	loaded   bool              // what the ledger knows was read
	warned   time.Time
	restarts uint64 // of the connection

	taken, malformed, foreign, unwelcome, often, full, unsaved atomic.Uint64
}

// member is one terminal. Times are Unix milliseconds by the hub's clock, 0: never.
type member struct {
	key     string // "<store>.<terminal>"
	shard   int32
	first   int64 // heard of
	seen    int64 // last heartbeat
	linked  int64 // start of the newest connection that a server told of
	retired int64 // when somebody put it out of service
	gone    int64 // when the last one ended; a heartbeat makes it 0
	since   int64 // in the present state
	saved   int64
	twin    int64 // when two runs were last heard in turn
	former  uint64
	state   string
	hub     string // that wrote the document, if that is another one, and knows better
	dirty   bool
	online  bool // as last judged
	heard   bool // by this hub, since it listens
	beat    *wire.Heartbeat
	own     *own
	codes   string // of the reasons, as last judged
	order   struct {
		serial uint64 // of the configuration pushed last, 0: none
		state  string
	}
}

func (m *member) names() (store, terminal string) {
	store, terminal, _ = strings.Cut(m.key, ".")
	return store, terminal
}

// own is what the hub's ledger knows of a terminal.
type own struct {
	journals    []chain.ID // at most maxJournals
	current     chain.ID   // into which records came last
	last        uint64     // of it
	lastSince   int64      // when that was first known
	updated     int64
	records     uint64
	events      uint64
	lost        uint64
	want        uint64
	wantSince   int64
	held        string
	hole        int64 // when the last one was entered
	quarantined uint64
}

const maxJournals = 64

func newFleet(id string, l ledger.Ledger, log *slog.Logger, now func() time.Time, t fleetTimes) *fleet {
	if t == (fleetTimes{}) {
		t = defaultFleetTimes
	}
	return &fleet{id: id, ledger: l, log: log, now: now, t: t, accepts: func(string) bool { return true }, mine: func(int) bool { return true },
		members: make(map[string]*member), words: make(map[string]string), shards: make(map[int]bool)}
}

func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// run keeps the fleet until ctx ends. Whatever fails is tried again.
func (f *fleet) run(ctx context.Context, nc *nats.Conn, shards []int) error {
	for _, n := range shards {
		sub, err := nc.Subscribe(wire.HeartbeatPrefix(n)+">", func(m *nats.Msg) { f.hear(m.Subject, m.Data) })
		if err != nil {
			return fmt.Errorf("listen to heartbeats of shard %d: %w", n, err)
		}
		defer sub.Unsubscribe()
		if err := sub.SetPendingLimits(64<<10, 64<<20); err != nil {
			return err
		}
		f.mu.Lock()
		f.shards[n] = true
		f.mu.Unlock()
	}
	tick := time.NewTicker(f.t.tick)
	defer tick.Stop()
	var next time.Time
	for {
		f.listen(nc)
		if now := time.Now(); now.After(next) {
			f.load(ctx)
			f.scan(ctx)
			// However large the ledger, this takes a small part of the time.
			next = time.Now().Add(max(f.t.refresh, 20*time.Since(now)))
		}
		f.judgeAll()
		f.save(ctx)
		select {
		case <-ctx.Done():
			f.flush()
			return nil
		case <-tick.C:
		}
	}
}

// listen notes whether heartbeats can reach this hub: while they cannot, silence says
// nothing about a terminal.
func (f *fleet) listen(nc *nats.Conn) {
	up, restarts := nc.IsConnected(), nc.Stats().Reconnects
	f.mu.Lock()
	defer f.mu.Unlock()
	if up && (!f.hearing || restarts != f.restarts) {
		f.since = milli(f.now())
	}
	f.hearing, f.restarts = up, restarts
}

// hear takes a heartbeat.
func (f *fleet) hear(subject string, body []byte) {
	shard, store, terminal, err := wire.ParseHeartbeatSubject(subject)
	if err != nil {
		f.refuse(&f.malformed, subject, err)
		return
	}
	now := milli(f.now())
	key := store + "." + terminal
	f.mu.Lock()
	if m := f.members[key]; m != nil && m.heard && now-m.seen < f.t.often.Milliseconds() && now >= m.seen {
		f.mu.Unlock()
		f.often.Add(1)
		return
	}
	f.mu.Unlock()
	b, err := wire.ParseHeartbeat(body)
	if err != nil {
		f.refuse(&f.malformed, subject, err)
		return
	}
	if b.Store != store || b.Terminal != terminal {
		f.refuse(&f.foreign, subject, fmt.Errorf("it is about terminal %s of store %s", b.Terminal, b.Store))
		return
	}
	if !f.accepts(store) {
		f.refuse(&f.unwelcome, subject, fmt.Errorf("this hub does not accept store %s", store))
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.member(key)
	if m == nil {
		f.full.Add(1)
		return
	}
	f.taken.Add(1)
	f.take(m, shard, &b, now)
}

// take notes a heartbeat of m. Callers hold mu.
func (f *fleet) take(m *member, shard int, b *wire.Heartbeat, now int64) {
	if m.first == 0 {
		m.first = now
	}
	if old := m.beat; old != nil && m.heard && old.Run != b.Run {
		// A restart brings a run that was never heard; two machines come in turn.
		if m.former == b.Run {
			m.twin = now
		}
		m.former = old.Run
	}
	news := m.beat == nil || m.beat.Journal != b.Journal || m.beat.Release != b.Release || m.beat.Config != b.Config || m.hub != "" || int(m.shard) != shard
	m.shard, m.seen, m.heard, m.hub, m.gone = int32(shard), now, true, "", 0
	m.beat = f.intern(m, b)
	m.dirty = m.dirty || news
	f.judge(m, now)
}

// intern makes a heartbeat small: texts that many terminals share are kept once.
// Callers hold mu.
func (f *fleet) intern(m *member, b *wire.Heartbeat) *wire.Heartbeat {
	c := *b
	c.Store, c.Terminal = m.names()
	for _, s := range []*string{&c.Release, &c.Clock, &c.Backlog.Currency, &c.Config.State, &c.Catalogue.Version} {
		*s = f.word(*s)
	}
	c.Config.Reason, c.Why = strings.Clone(c.Config.Reason), strings.Clone(c.Why)
	if c.Alarms = nil; len(b.Alarms) > 0 {
		for _, code := range b.Alarms {
			c.Alarms = append(c.Alarms, f.word(code))
		}
		slices.Sort(c.Alarms)
	}
	return &c
}

// maxWords bounds what terminals that make words up can fill.
const maxWords = 4096

func (f *fleet) word(s string) string {
	w, ok := f.words[s]
	if !ok {
		w = strings.Clone(s)
		if len(f.words) < maxWords {
			f.words[w] = w
		}
	}
	return w
}

// member is the terminal of that name, made if it is new; nil if there is no room.
// Callers hold mu.
func (f *fleet) member(key string) *member {
	m := f.members[key]
	if m == nil && len(f.members) < maxMembers {
		m = &member{key: strings.Clone(key), state: StateEnrolled, since: milli(f.now())}
		f.members[m.key] = m
		f.order, f.sorted = append(f.order, m), false
	}
	return m
}

func (f *fleet) refuse(n *atomic.Uint64, subject string, err error) {
	n.Add(1)
	f.mu.Lock()
	quiet := time.Since(f.warned) < 10*time.Second
	if !quiet {
		f.warned = time.Now()
	}
	f.mu.Unlock()
	if !quiet {
		f.log.Warn("a heartbeat was refused", "subject", wire.Short(subject, 128), "error", err)
	}
}

func (f *fleet) judgeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := milli(f.now())
	for _, m := range f.order {
		f.judge(m, now)
	}
}

// judge brings the state of m up to date. Callers hold mu.
func (f *fleet) judge(m *member, now int64) {
	if m.isRetired() {
		if m.state != StateRetired {
			m.state, m.since, m.codes, m.online, m.dirty = StateRetired, m.retired, "", false, true
		}
		return
	}
	if m.hub != "" {
		return // another hub's word, until it is silent for long
	}
	m.online = f.isOnline(m, now)
	codes, state := "", StateOffline
	switch {
	case m.online:
		state = StateOnline
	case m.lastSeen() == 0:
		state = StateEnrolled
	}
	f.reasons(m, now, func(code, level, _ string) {
		codes += code + " "
		if level == levelFailing {
			state = StateFailing
		}
	})
	if codes != m.codes || state != m.state {
		if state != m.state {
			m.since = now
		}
		m.codes, m.state, m.dirty = codes, state, true
	}
}

// lastSeen is the last sign of life: a heartbeat, or of a terminal that has none to
// give, records.
func (m *member) lastSeen() int64 {
	if m.seen == 0 && m.own != nil {
		return m.own.updated
	}
	return m.seen
}

func (f *fleet) isOnline(m *member, now int64) bool {
	seen := m.lastSeen()
	if seen == 0 {
		return false
	}
	if !f.hearing || !f.shards[int(m.shard)] {
		return m.online // nobody can say
	}
	if !m.heard && m.seen != 0 && !m.online {
		return false
	}
	if m.gone != 0 && now-m.gone >= offlineGrace.Milliseconds() {
		return false
	}
	if m.online && f.since > seen {
		seen = f.since // what was missed while nobody listened is no silence
	}
	return now-seen < silentPeriods*f.t.period.Milliseconds()
}

// unsettled is how many records of m the ledger lacks, as far as is known.
func (m *member) unsettled() uint64 {
	b := m.beat
	if b == nil {
		return 0
	}
	have := b.Settled
	if m.own != nil && m.own.current == b.Journal {
		have = max(have, m.own.last)
	}
	return b.Floor - min(have, b.Floor)
}

// backlogAge is how long the oldest of these has waited, in seconds.
func (m *member) backlogAge(now int64) uint64 {
	if m.unsettled() == 0 || m.beat.Backlog.Records == 0 {
		return 0
	}
	age := m.beat.Backlog.Age
	if !m.online && now > m.seen {
		age += uint64(now-m.seen) / 1000
	}
	return min(age, 1<<40)
}

// reasons tells what is the matter with m. Callers hold mu.
func (f *fleet) reasons(m *member, now int64, tell func(code, level, text string)) {
	said := [24]string{}
	n := 0
	say := func(code, more string) {
		if slices.Contains(said[:n], code) {
			return
		}
		if n < len(said) {
			said[n] = code
			n++
		}
		level := levelFailing
		if warnings[code] {
			level = levelWarning
		}
		tell(code, level, more)
	}
	if o := m.own; o != nil {
		f.ownReasons(m, o, now, say)
	}
	b := m.beat
	if b == nil {
		return
	}
	for _, code := range b.Alarms {
		say(code, b.Why)
	}
	if b.Config.State == wire.ConfigRefused {
		say(wire.AlarmConfig, b.Config.Reason)
	}
	if skew := m.skew(); skew > f.t.skew || skew < -f.t.skew {
		say(wire.AlarmClock, "it is off by "+skew.Round(time.Second).String())
	} else if b.Clock == "behind" {
		say(wire.AlarmClock, "it shows an earlier time than it did before")
	} else if b.Clock == "unsynced" {
		say(reasonUnsynced, "")
	}
	if age := m.backlogAge(now); age > uint64(f.t.backlog/time.Second) {
		say(reasonBacklog, "the oldest record has waited for "+(time.Duration(age)*time.Second).String())
	}
	if m.twin != 0 && now-m.twin < 2*silentPeriods*f.t.period.Milliseconds() {
		say(reasonTwin, "")
	}
	if b.Limits.Throttled >= throttledPart {
		say(reasonThrottled, fmt.Sprintf("%d %% of all periods", b.Limits.Throttled))
	}
}

// ownReasons are those that the ledger gives.
func (f *fleet) ownReasons(m *member, o *own, now int64, say func(code, more string)) {
	if o.held != "" {
		say(wire.AlarmHeld, o.held)
	}
	if b := m.beat; b != nil && m.seen > o.lastSince && b.Journal == o.current && b.Floor < o.last {
		say(wire.AlarmForked, fmt.Sprintf("the ledger has record %d of its journal, which ends at %d there", o.last, b.Floor))
	}
	if o.want != 0 && now-o.wantSince > f.t.gap.Milliseconds() {
		say(reasonGap, fmt.Sprintf("from record %d on", o.want))
	}
	if o.hole != 0 && now-o.hole < f.t.fresh.Milliseconds() {
		say(reasonHole, fmt.Sprintf("%d records in all", o.lost))
	}
	if o.quarantined != 0 {
		say(reasonQuarantine, fmt.Sprintf("%d of them", o.quarantined))
	}
}

// skew is how far the terminal's clock was ahead when it was last heard.
func (m *member) skew() time.Duration {
	if m.beat == nil || m.seen == 0 {
		return 0
	}
	return m.beat.At.Sub(fromMilli(m.seen))
}
