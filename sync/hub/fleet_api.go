package hub

import (
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"posd/sync/ledger"
)

// FleetTerminal is one terminal as /v1/fleet shows it.
type FleetTerminal struct {
	Store    string        `json:"store"`
	Terminal string        `json:"terminal"`
	Shard    int           `json:"shard"`
	State    string        `json:"state"`
	Since    time.Time     `json:"since"` // in this state
	Online   bool          `json:"online"`
	Reasons  []FleetReason `json:"reasons"`
	Seen     time.Time     `json:"seen,omitzero"` // last heartbeat, by the hub's clock
	First    time.Time     `json:"first_seen,omitzero"`
	Backlog  FleetBacklog  `json:"backlog"`
	Ledger   FleetLedger   `json:"ledger"`
	Config   FleetConfig   `json:"config,omitzero"` // what was pushed last
	Says     *FleetSays    `json:"says,omitempty"`  // nil: it was never heard
}

// FleetConfig is what became of the configuration that was pushed last.
type FleetConfig struct {
	Serial uint64 `json:"serial"`
	State  string `json:"state"` // sent, applied, refused
	Reason string `json:"reason,omitempty"`
}

// FleetReason is why somebody has to look after a terminal.
type FleetReason = reason

// FleetBacklog is what has not reached the ledger, as far as is known.
type FleetBacklog struct {
	Records    uint64 `json:"records"`
	Sales      uint64 `json:"sales,omitempty"`
	AgeSeconds uint64 `json:"age_seconds"`
	Value      *int64 `json:"value,omitempty"` // in minor units of Currency; nil: not known
	Currency   string `json:"currency,omitempty"`
}

// FleetLedger is what the ledger has of a terminal.
type FleetLedger struct {
	Journals    int    `json:"journals"`
	Records     uint64 `json:"records"`
	Events      uint64 `json:"events"`
	Last        uint64 `json:"last"` // record of the journal that came last
	Want        uint64 `json:"want,omitempty"`
	Held        string `json:"held,omitempty"`
	Lost        uint64 `json:"lost,omitempty"`
	Quarantined uint64 `json:"quarantined,omitempty"`
}

// FleetSays is what the terminal said last. It is a claim.
type FleetSays struct {
	Release       string    `json:"release"`
	Started       time.Time `json:"started"`
	Clock         string    `json:"clock"`
	ClockOff      float64   `json:"clock_off_seconds"` // ahead of the hub's
	Journal       string    `json:"journal"`
	Oldest        uint64    `json:"oldest"`
	Floor         uint64    `json:"floor"`
	Head          string    `json:"head"`
	Sent          uint64    `json:"sent"`
	Settled       uint64    `json:"settled"`
	JournalBytes  uint64    `json:"journal_bytes"`
	JournalMax    uint64    `json:"journal_max_bytes"`
	DiskFree      uint64    `json:"disk_free_bytes"`
	DiskTotal     uint64    `json:"disk_total_bytes"`
	Memory        uint64    `json:"memory_bytes"`
	MemoryMax     uint64    `json:"memory_max_bytes"`
	CPUPercent    uint64    `json:"cpu_percent"`
	Throttled     uint64    `json:"throttled_percent"`
	CPUWaiting    uint64    `json:"cpu_waiting_percent"`
	MemoryWaiting uint64    `json:"memory_waiting_percent"`
	IOWaiting     uint64    `json:"io_waiting_percent"`
	Shedding      bool      `json:"shedding"`
	OOMKills      uint64    `json:"oom_kills"`
	ConfigSerial  uint64    `json:"config_serial,omitempty"`
	ConfigState   string    `json:"config_state,omitempty"`
	ConfigReason  string    `json:"config_reason,omitempty"`
	Catalogue     string    `json:"catalogue,omitempty"` // version in use
	Items         uint64    `json:"items,omitempty"`     // in it
}

// FleetTotals sums up the terminals that a question is about.
type FleetTotals struct {
	Enrolled       int              `json:"enrolled"`
	Online         int              `json:"online"`
	Offline        int              `json:"offline"`
	Failing        int              `json:"failing"`
	BacklogRecords uint64           `json:"backlog_records"`
	BacklogValue   map[string]int64 `json:"backlog_value"` // by currency, in minor units
	OldestSeconds  uint64           `json:"oldest_seconds"`
}

// FleetReply is the answer of /v1/fleet.
type FleetReply struct {
	Totals    FleetTotals     `json:"totals"` // of all pages
	Terminals []FleetTerminal `json:"terminals"`
	Next      string          `json:"next,omitempty"` // ask again with after=this; "" = that was all
}

// show is what is known of m. Callers hold mu.
func (f *fleet) show(m *member, now int64) FleetTerminal {
	store, terminal := m.names()
	t := FleetTerminal{
		Store: store, Terminal: terminal, Shard: int(m.shard), State: m.state, Since: fromMilli(m.since), Online: m.online,
		Seen: fromMilli(m.seen), First: fromMilli(m.first), Reasons: []FleetReason{},
	}
	if m.isRetired() {
		return t
	}
	f.reasons(m, now, func(code, level, more string) {
		text := reasonTexts[code]
		switch {
		case text == "":
			text = more
		case more != "":
			text += ": " + more
		}
		t.Reasons = append(t.Reasons, FleetReason{code, level, text})
	})
	if o := m.own; o != nil {
		t.Ledger = FleetLedger{len(o.journals), o.records, o.events, o.last, o.want, o.held, o.lost, o.quarantined}
	}
	t.Config = m.config()
	b := m.beat
	if b == nil {
		return t
	}
	t.Backlog = FleetBacklog{Records: m.unsettled(), AgeSeconds: m.backlogAge(now)}
	if b.Backlog.Known && t.Backlog.Records > 0 {
		v := b.Backlog.Value
		t.Backlog.Sales, t.Backlog.Value, t.Backlog.Currency = b.Backlog.Sales, &v, b.Backlog.Currency
	}
	l := &b.Limits
	t.Says = &FleetSays{
		Release: b.Release, Started: b.Started, Clock: b.Clock, ClockOff: m.skew().Round(10 * time.Millisecond).Seconds(),
		Journal: b.Journal.String(), Oldest: b.Oldest, Floor: b.Floor, Head: b.Head.String(), Sent: b.Sent, Settled: b.Settled,
		JournalBytes: b.JournalBytes, JournalMax: b.JournalMax, DiskFree: b.DiskFree, DiskTotal: b.DiskTotal,
		Memory: l.Memory, MemoryMax: l.MemoryMax, CPUPercent: l.CPUPercent, Throttled: l.Throttled, CPUWaiting: l.CPUWaiting,
		MemoryWaiting: l.MemWaiting, IOWaiting: l.IOWaiting, Shedding: l.Shedding, OOMKills: l.OOMKills,
		ConfigSerial: b.Config.Serial, ConfigState: b.Config.State, ConfigReason: b.Config.Reason, Catalogue: b.Catalogue.Version, Items: b.Catalogue.Items,
	}
	return t
}

// sort brings the terminals into the order of their names. Callers hold mu.
func (f *fleet) sort() {
	if !f.sorted {
		slices.SortFunc(f.order, func(a, b *member) int { return strings.Compare(a.key, b.key) })
		f.sorted = true
	}
}

const (
	fleetPage    = 1000
	fleetPageMax = 10_000
)

// list is one page of the terminals of a store, a state, or both; "" is any.
func (f *fleet) list(store, state, after string, limit int) FleetReply {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sort()
	now := milli(f.now())
	r := FleetReply{Terminals: []FleetTerminal{}, Totals: FleetTotals{BacklogValue: map[string]int64{}}}
	from := 0
	if store != "" {
		from = sort.Search(len(f.order), func(i int) bool { return f.order[i].key > store+"." })
	}
	last := ""
	for _, m := range f.order[from:] {
		if store != "" && !strings.HasPrefix(m.key, store+".") {
			break
		}
		if state != "" && m.state != state || state == "" && m.isRetired() {
			continue
		}
		r.Totals.add(m, now)
		if m.key <= after {
			continue
		}
		if len(r.Terminals) == limit {
			r.Next = last
			continue
		}
		if r.Next == "" {
			r.Terminals, last = append(r.Terminals, f.show(m, now)), m.key
		}
	}
	return r
}

func (t *FleetTotals) add(m *member, now int64) {
	switch m.state {
	case StateEnrolled:
		t.Enrolled++
	case StateOnline:
		t.Online++
	case StateFailing:
		t.Failing++
	case StateRetired:
		return
	default:
		t.Offline++
	}
	n := m.unsettled()
	if n == 0 {
		return
	}
	t.BacklogRecords = addCapped(t.BacklogRecords, n)
	t.OldestSeconds = max(t.OldestSeconds, m.backlogAge(now))
	if b := &m.beat.Backlog; b.Known {
		code := b.Currency
		if _, ok := t.BacklogValue[code]; !ok && len(t.BacklogValue) >= maxCurrencies {
			return
		}
		t.BacklogValue[code] = addSigned(t.BacklogValue[code], b.Value)
	}
}

// maxCurrencies bounds what terminals that make currencies up can fill.
const maxCurrencies = 32

// addCapped and addSigned stay at the end of the numbers: what a terminal says is a
// claim, and no single one may turn a sum over.
func addCapped(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

func addSigned(a, b int64) int64 {
	const most, least = 1<<63 - 1, -1 << 63
	switch {
	case b > 0 && a > most-b:
		return most
	case b < 0 && a < least-b:
		return least
	}
	return a + b
}

// fleetList answers GET /v1/fleet.
func (h *Hub) fleetList(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	for name := range q {
		switch name {
		case "store", "state", "after", "limit":
		default:
			return &badRequest{fmt.Sprintf("unknown parameter %q: there are store, state, after and limit", name)}
		}
	}
	limit := fleetPage
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > fleetPageMax {
			return &badRequest{fmt.Sprintf("limit must be 1 to %d", fleetPageMax)}
		}
		limit = n
	}
	switch q.Get("state") {
	case "", StateEnrolled, StateOnline, StateOffline, StateFailing, StateRetired:
	default:
		return &badRequest{"state must be enrolled, online, offline, failing or retired"}
	}
	return reply(w, h.fleet.list(q.Get("store"), q.Get("state"), q.Get("after"), limit))
}

// fleetJournal is one journal of a terminal.
type fleetJournal struct {
	Journal string `json:"journal"`
	ledger.Chain
	Head string `json:"head"`
}

// fleetOne answers GET /v1/fleet/{store}/{terminal}, with all its journals as the ledger
// has them now.
func (h *Hub) fleetOne(w http.ResponseWriter, r *http.Request) error {
	f := h.fleet
	f.mu.Lock()
	m := f.members[r.PathValue("store")+"."+r.PathValue("terminal")]
	if m == nil {
		f.mu.Unlock()
		problem(w, http.StatusNotFound, "no terminal of that name is known")
		return nil
	}
	one := struct {
		FleetTerminal
		Journals []fleetJournal `json:"journals"`
	}{f.show(m, milli(f.now())), []fleetJournal{}}
	var o own
	if m.own != nil {
		o = *m.own
	}
	f.mu.Unlock()
	err := f.view(r.Context(), func(tx ledger.Tx) error {
		one.Journals = one.Journals[:0]
		for _, id := range o.journals {
			c, ok, err := tx.Chain(id)
			if err != nil {
				return err
			}
			if ok {
				one.Journals = append(one.Journals, fleetJournal{c.Journal.String(), c, c.Head.String()})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return reply(w, one)
}

// fleetAlarms are the codes of which the metrics count the terminals. Codes of newer
// terminals are counted together.
var fleetAlarms = func() (codes []string) {
	for code := range reasonTexts {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	return codes
}()

// ages are the quantiles of the backlog's age that the metrics have.
var ages = []float64{0.5, 0.9, 0.99, 1}

// writeMetrics writes sums over all terminals: no label names one.
func (f *fleet) writeMetrics(b []byte) []byte {
	f.mu.Lock()
	now := milli(f.now())
	total := FleetTotals{BacklogValue: map[string]int64{}}
	online, sales := 0, uint64(0)
	alarms := make(map[string]int)
	var waits []uint64
	all := len(f.order)
	for _, m := range f.order {
		if m.isRetired() {
			all--
			continue
		}
		total.add(m, now)
		if m.online {
			online++
		}
		if m.unsettled() > 0 {
			waits = append(waits, m.backlogAge(now))
			sales = addCapped(sales, m.beat.Backlog.Sales)
		}
		for code := range strings.FieldsSeq(m.codes) {
			if reasonTexts[code] == "" {
				code = "other"
			}
			alarms[code]++
		}
	}
	hearing := f.hearing
	f.mu.Unlock()
	line := func(name, labels string, v float64) {
		if b = append(b, name...); labels != "" {
			b = append(append(append(b, '{'), labels...), '}')
		}
		b = append(strconv.AppendFloat(append(b, ' '), v, 'f', -1, 64), '\n')
	}
	for state, n := range map[string]int{StateEnrolled: total.Enrolled, StateOnline: total.Online, StateOffline: total.Offline, StateFailing: total.Failing} {
		line("poshub_terminals", `state="`+state+`"`, float64(n))
	}
	line("poshub_terminals_online", "", float64(online))
	line("poshub_terminals_known", "", float64(all))
	for _, code := range append(fleetAlarms, "other") {
		line("poshub_terminals_alarm", `alarm="`+code+`"`, float64(alarms[code]))
	}
	slices.Sort(waits)
	for _, q := range ages {
		v := uint64(0)
		// Terminals without a backlog count as 0 seconds.
		if i := int(q*float64(all)+0.5) - 1 - (all - len(waits)); i >= 0 && i < len(waits) {
			v = waits[i]
		}
		line("poshub_backlog_age_seconds", fmt.Sprintf(`quantile="%g"`, q), float64(v))
	}
	line("poshub_backlog_records", "", float64(total.BacklogRecords))
	line("poshub_backlog_sales", "", float64(sales))
	for code, v := range total.BacklogValue {
		line("poshub_backlog_value", `currency="`+code+`"`, float64(v))
	}
	for result, n := range map[string]uint64{"taken": f.taken.Load(), "malformed": f.malformed.Load(), "foreign": f.foreign.Load(),
		"unwelcome": f.unwelcome.Load(), "often": f.often.Load(), "full": f.full.Load()} {
		line("poshub_heartbeats_total", `result="`+result+`"`, float64(n))
	}
	line("poshub_heartbeats_hearing", "", map[bool]float64{true: 1}[hearing])
	line("poshub_fleet_unsaved_total", "", float64(f.unsaved.Load()))
	return b
}

// fleetMetrics answers GET /metrics/terminals: a few series for each terminal, for
// those who want them and have counted their terminals first.
func (h *Hub) fleetMetrics(w http.ResponseWriter, r *http.Request) error {
	after, store := "", r.URL.Query().Get("store")
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	var b []byte
	for {
		page := h.fleet.list(store, "", after, fleetPage)
		b = b[:0]
		for i := range page.Terminals {
			b = appendTerminal(b, &page.Terminals[i])
		}
		if _, err := w.Write(b); err != nil || page.Next == "" {
			return nil
		}
		after = page.Next
	}
}

func appendTerminal(b []byte, t *FleetTerminal) []byte {
	name := `store="` + t.Store + `",terminal="` + t.Terminal + `"` // tokens of [A-Za-z0-9_-]: nothing to escape
	line := func(metric, more string, v float64) {
		b = append(append(append(append(append(b, metric...), '{'), name...), more...), "} "...)
		b = append(strconv.AppendFloat(b, v, 'f', -1, 64), '\n')
	}
	for _, s := range []string{StateEnrolled, StateOnline, StateOffline, StateFailing} {
		line("poshub_terminal_state", `,state="`+s+`"`, map[bool]float64{true: 1}[s == t.State])
	}
	for _, r := range t.Reasons {
		line("poshub_terminal_alarm", `,alarm="`+r.Code+`"`, 1)
	}
	line("poshub_terminal_seen_timestamp_seconds", "", float64(milli(t.Seen))/1000)
	line("poshub_terminal_backlog_records", "", float64(t.Backlog.Records))
	line("poshub_terminal_backlog_age_seconds", "", float64(t.Backlog.AgeSeconds))
	if t.Backlog.Value != nil {
		line("poshub_terminal_backlog_value", `,currency="`+t.Backlog.Currency+`"`, float64(*t.Backlog.Value))
	}
	if s := t.Says; s != nil {
		line("poshub_terminal_clock_off_seconds", "", s.ClockOff)
		line("poshub_terminal_disk_free_bytes", "", float64(s.DiskFree))
		line("poshub_terminal_journal_bytes", "", float64(s.JournalBytes))
		line("poshub_terminal_throttled_percent", "", float64(s.Throttled))
	}
	return b
}
