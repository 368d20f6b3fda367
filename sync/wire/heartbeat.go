package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"posd/journal/chain"
)

// ErrHeartbeat is the error of a heartbeat that cannot be read.
var ErrHeartbeat = errors.New("not a valid heartbeat")

// MaxHeartbeat bounds a heartbeat, in bytes, for ever: a newer release that has more
// to say leaves something else out.
const MaxHeartbeat = 2048

// Alarms of a terminal, by code: what somebody has to look after although sales may go
// on. A hub takes and shows codes that it does not know.
const (
	AlarmForked    = "forked"         // head office knows another history of the journal
	AlarmHeld      = "held"           // the hub sets the terminal's parcels aside
	AlarmDisk      = "disk-low"       // the data partition is almost full
	AlarmFull      = "journal-full"   // no room for another sale
	AlarmRot       = "rot"            // damaged segments of the journal
	AlarmLost      = "records-lost"   // records that head office lacks cannot be read any more
	AlarmFailed    = "storage-failed" // the device refused a sync; posd is ending
	AlarmReadOnly  = "read-only"      // the file system can only be read
	AlarmUnsigned  = "unsigned"       // the journal is not signed
	AlarmClock     = "clock"          // the wall clock is not to be trusted
	AlarmMemory    = "memory"         // memory is short, background work is held back
	AlarmLimits    = "limits"         // the slice is not as configured
	AlarmCatalogue = "catalogue"      // the catalogue cannot be used
	AlarmCard      = "card-unsettled" // nobody knows what became of a card payment, for minutes, or of some that were approved offline, since yesterday
	AlarmConfig    = "config-refused" // what head office wanted to configure was refused
)

const (
	maxAlarms = 16
	maxCode   = 24  // letters of an alarm
	maxText   = 160 // bytes of a text for people
	maxName   = 48  // bytes of a release

	maxVersion = 64 // bytes of a catalogue's
)

// Heartbeat is what a terminal says of itself. It is a claim: nothing is settled,
// freed or entered because of it.
type Heartbeat struct {
	Release         string
	Store, Terminal string
	Run             uint64    // drawn at each start of posd; two at once mean two machines under one name
	Started, At     time.Time // by the terminal's clock
	Clock           string    // "synced", "unsynced" or "behind", as in events

	Journal       chain.ID
	Oldest, Floor uint64     // records held
	Head          chain.Head // head(Floor)
	Sent, Settled uint64
	JournalBytes  uint64
	JournalMax    uint64 // 0: no limit
	DiskFree      uint64 // for posd, of the data partition
	DiskTotal     uint64
	Backlog       Backlog
	Limits        HeartbeatLimits
	Config        ConfigState
	Catalogue     CatalogueState
	Alarms        []string
	Why           string // of the alarms, for people; may be cut short
}

// Backlog is what the ledger does not have yet.
type Backlog struct {
	Records  uint64
	Sales    uint64 // completed ones; 0 also where it is not known
	Age      uint64 // seconds since the oldest record, by the terminal's clock
	Known    bool   // whether Value is
	Value    int64  // of the sales, in minor units of Currency
	Currency string // ISO 4217
}

// HeartbeatLimits is how the terminal's slice is doing.
type HeartbeatLimits struct {
	Memory, MemoryMax       uint64 // bytes; Max 0: no limit
	CPUPercent              uint64 // of one core; 0: no limit
	Throttled               uint64 // percent of all periods, lately
	CPUWaiting, MemWaiting  uint64 // percent of the time, lately
	IOWaiting               uint64
	Shedding                bool
	OOMKills, MemoryMaxHits uint64
}

// ConfigState is what became of what head office configured last.
type ConfigState struct {
	Serial uint64 // 0: head office has configured nothing
	State  string // ConfigApplied, ConfigRefused or ""
	Reason string // of a refusal
}

// CatalogueState is the catalogue that items are looked up in.
type CatalogueState struct {
	Version string // "": there is none
	Items   uint64
}

// States of a configuration.
const (
	ConfigApplied = "applied"
	ConfigRefused = "refused"
)

// HeartbeatPrefix is the common beginning of all heartbeats of a shard, with the last dot.
func HeartbeatPrefix(shard int) string { return "pos.hb." + strconv.Itoa(shard) + "." }

// HeartbeatSubject is where a terminal says that it is alive.
func HeartbeatSubject(shard int, store, terminal string) string {
	return HeartbeatPrefix(shard) + store + "." + terminal
}

// ParseHeartbeatSubject is the inverse of HeartbeatSubject.
func ParseHeartbeatSubject(s string) (shard int, store, terminal string, err error) {
	t := strings.Split(s, ".")
	if len(t) != 5 || t[0] != "pos" || t[1] != "hb" || !isToken(t[3]) || !isToken(t[4]) {
		return 0, "", "", fmt.Errorf("%w: subject %q is not pos.hb.<shard>.<store>.<terminal>", ErrHeartbeat, s)
	}
	if shard, err = strconv.Atoi(t[2]); err != nil || shard < 0 || strconv.Itoa(shard) != t[2] {
		return 0, "", "", fmt.Errorf("%w: shard %q in subject %q is not a number", ErrHeartbeat, t[2], s)
	}
	return shard, t[3], t[4], nil
}

// Append writes the heartbeat as JSON, in at most MaxHeartbeat bytes: texts for people
// are cut first, and left out if nothing else helps.
func (h *Heartbeat) Append(dst []byte) []byte {
	from := len(dst)
	if dst = h.append(dst, maxText); len(dst)-from > MaxHeartbeat {
		dst = h.append(dst[:from], 0)
	}
	return dst
}

func (h *Heartbeat) append(dst []byte, text int) []byte {
	o := members{b: append(dst, `{"v":1`...)}
	o.text("release", h.Release, maxName)
	o.text("store", h.Store, maxName)
	o.text("terminal", h.Terminal, maxName)
	o.uint("run", h.Run)
	o.time("started", h.Started)
	o.time("at", h.At)
	o.text("clock", h.Clock, maxName)
	o.open("journal")
	o.hex("id", h.Journal[:])
	o.uint("oldest", h.Oldest)
	o.uint("floor", h.Floor)
	o.hex("head", h.Head[:])
	o.uint("sent", h.Sent)
	o.uint("settled", h.Settled)
	o.uint("bytes", h.JournalBytes)
	o.uint("max", h.JournalMax)
	o.close()
	o.open("backlog")
	o.uint("records", h.Backlog.Records)
	o.uint("sales", h.Backlog.Sales)
	o.uint("age", h.Backlog.Age)
	if h.Backlog.Known {
		o.name("value")
		o.b = strconv.AppendInt(o.b, h.Backlog.Value, 10)
		o.text("currency", h.Backlog.Currency, 3)
	}
	o.close()
	o.open("disk")
	o.uint("free", h.DiskFree)
	o.uint("total", h.DiskTotal)
	o.close()
	l := &h.Limits
	o.open("limits")
	o.uint("memory", l.Memory)
	o.uint("memory_max", l.MemoryMax)
	o.uint("cpu", l.CPUPercent)
	o.uint("throttled", l.Throttled)
	o.uint("cpu_waiting", l.CPUWaiting)
	o.uint("memory_waiting", l.MemWaiting)
	o.uint("io_waiting", l.IOWaiting)
	if l.Shedding {
		o.name("shedding")
		o.b = append(o.b, "true"...)
	}
	o.uint("oom_kills", l.OOMKills)
	o.uint("max_hits", l.MemoryMaxHits)
	o.close()
	if h.Config != (ConfigState{}) {
		o.open("config")
		o.uint("serial", h.Config.Serial)
		o.text("state", h.Config.State, maxCode)
		o.text("reason", h.Config.Reason, text)
		o.close()
	}
	if h.Catalogue != (CatalogueState{}) {
		o.open("catalogue")
		o.text("version", h.Catalogue.Version, maxVersion)
		o.uint("items", h.Catalogue.Items)
		o.close()
	}
	o.alarms(h.Alarms)
	o.text("why", h.Why, text)
	return append(o.b, '}')
}

// members appends members to a JSON object that has begun. What is empty is left out.
type members struct {
	b     []byte
	fresh bool // nothing stands in the inner object yet
}

func (o *members) name(name string) {
	if !o.fresh {
		o.b = append(o.b, ',')
	}
	o.fresh = false
	o.b = append(append(append(o.b, '"'), name...), '"', ':')
}

func (o *members) open(name string) {
	o.name(name)
	o.b, o.fresh = append(o.b, '{'), true
}

func (o *members) close() { o.b, o.fresh = append(o.b, '}'), false }

func (o *members) uint(name string, v uint64) {
	if v != 0 {
		o.name(name)
		o.b = strconv.AppendUint(o.b, v, 10)
	}
}

func (o *members) hex(name string, v []byte) {
	o.name(name)
	o.b = append(hex.AppendEncode(append(o.b, '"'), v), '"')
}

func (o *members) time(name string, t time.Time) {
	o.name(name)
	o.b = append(t.UTC().AppendFormat(append(o.b, '"'), "2006-01-02T15:04:05.000Z"), '"')
}

// text writes at most most bytes of s, which an escape may double.
func (o *members) text(name, s string, most int) {
	if s = Short(s, most); s != "" {
		o.name(name)
		o.b, _ = jsontext.AppendQuote(o.b, s) // the error only reports replaced UTF-8
	}
}

func (o *members) alarms(codes []string) {
	if len(codes) == 0 {
		return
	}
	o.name("alarms")
	o.b = append(o.b, '[')
	n := 0
	for _, c := range codes {
		if !isCode(c) || n == maxAlarms {
			continue
		}
		if n++; n > 1 {
			o.b = append(o.b, ',')
		}
		o.b = append(append(append(o.b, '"'), c...), '"')
	}
	o.b = append(o.b, ']')
}

// Short is s as one line of valid UTF-8 in at most most bytes, without what a terminal
// would take for a command.
func Short(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	s = strings.ToValidUTF8(s, "")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

// isCode reports whether s can be the code of an alarm.
func isCode(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= maxCode
}

// ParseHeartbeat is the inverse of Append. Unknown members and alarms are no error, for
// the sake of newer terminals; duplicate names, invalid UTF-8, numbers that cannot be and
// anything longer than MaxHeartbeat are refused. Texts come back as one line each.
func ParseHeartbeat(b []byte) (Heartbeat, error) {
	var h Heartbeat
	if err := h.parse(b); err != nil {
		return Heartbeat{}, fmt.Errorf("%w: %w", ErrHeartbeat, err)
	}
	return h, nil
}

func (h *Heartbeat) parse(b []byte) error {
	if len(b) > MaxHeartbeat {
		return fmt.Errorf("%d bytes, at most %d", len(b), MaxHeartbeat)
	}
	var v uint64
	d := jsontext.NewDecoder(bytes.NewReader(b))
	err := object(reads{
		"v":        one(uintField(&v)),
		"release":  one(lineField(&h.Release, maxName)),
		"store":    one(tokenField(&h.Store)),
		"terminal": one(tokenField(&h.Terminal)),
		"run":      one(uintField(&h.Run)),
		"started":  one(timeField(&h.Started)),
		"at":       one(timeField(&h.At)),
		"clock":    one(lineField(&h.Clock, maxName)),
		"journal": object(reads{
			"id":      one(hexField(h.Journal[:])),
			"oldest":  one(uintField(&h.Oldest)),
			"floor":   one(uintField(&h.Floor)),
			"head":    one(hexField(h.Head[:])),
			"sent":    one(uintField(&h.Sent)),
			"settled": one(uintField(&h.Settled)),
			"bytes":   one(uintField(&h.JournalBytes)),
			"max":     one(uintField(&h.JournalMax)),
		}, "id", "head"),
		"backlog": h.Backlog.reads(),
		"disk":    object(reads{"free": one(uintField(&h.DiskFree)), "total": one(uintField(&h.DiskTotal))}),
		"limits":  h.Limits.reads(),
		"config": object(reads{
			"serial": one(uintField(&h.Config.Serial)),
			"state":  one(lineField(&h.Config.State, maxCode)),
			"reason": one(lineField(&h.Config.Reason, maxText)),
		}),
		"catalogue": object(reads{
			"version": one(lineField(&h.Catalogue.Version, maxVersion)),
			"items":   one(uintField(&h.Catalogue.Items)),
		}),
		"alarms": alarmsField(&h.Alarms),
		"why":    one(lineField(&h.Why, maxText)),
	}, "v", "store", "terminal", "at", "journal")(d)
	if err != nil {
		return err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return errors.New("something follows the object")
	}
	if v != 1 {
		return fmt.Errorf("version %d, known is 1", v)
	}
	return h.sane()
}

func (b *Backlog) reads() func(*jsontext.Decoder) error {
	return object(reads{
		"records": one(uintField(&b.Records)),
		"sales":   one(uintField(&b.Sales)),
		"age":     one(uintField(&b.Age)),
		"value": one(func(t jsontext.Token) (err error) {
			if t.Kind() != '0' {
				return errors.New("not a number")
			}
			b.Known = true
			b.Value, err = strconv.ParseInt(t.String(), 10, 64)
			return err
		}),
		"currency": one(func(t jsontext.Token) error {
			s := t.String()
			if t.Kind() != '"' || len(s) != 3 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
				return errors.New("not the code of a currency")
			}
			b.Currency = s
			return nil
		}),
	})
}

func (l *HeartbeatLimits) reads() func(*jsontext.Decoder) error {
	return object(reads{
		"memory":         one(uintField(&l.Memory)),
		"memory_max":     one(uintField(&l.MemoryMax)),
		"cpu":            one(uintField(&l.CPUPercent)),
		"throttled":      one(percentField(&l.Throttled)),
		"cpu_waiting":    one(percentField(&l.CPUWaiting)),
		"memory_waiting": one(percentField(&l.MemWaiting)),
		"io_waiting":     one(percentField(&l.IOWaiting)),
		"shedding": one(func(t jsontext.Token) error {
			if k := t.Kind(); k != 't' && k != 'f' {
				return errors.New("not true or false")
			}
			l.Shedding = t.Bool()
			return nil
		}),
		"oom_kills": one(uintField(&l.OOMKills)),
		"max_hits":  one(uintField(&l.MemoryMaxHits)),
	})
}

// sane refuses what no terminal can mean.
func (h *Heartbeat) sane() error {
	switch {
	case h.DiskFree > h.DiskTotal:
		return errors.New("more of the disk is free than there is")
	case h.Backlog.Known != (h.Backlog.Currency != ""):
		return errors.New("a value without its currency, or a currency alone")
	case h.Config.State != "" && h.Config.State != ConfigApplied && h.Config.State != ConfigRefused:
		return fmt.Errorf("state %q of the configuration", h.Config.State)
	}
	return nil
}

// reads says how each member of an object is read.
type reads map[string]func(*jsontext.Decoder) error

// object reads an object. The decoder refuses duplicate names, also in what is skipped.
func object(r reads, required ...string) func(*jsontext.Decoder) error {
	return func(d *jsontext.Decoder) error {
		tok, err := d.ReadToken()
		if err != nil {
			return err
		}
		if tok.Kind() != '{' {
			return errors.New("not a JSON object")
		}
		left := slices.Clone(required)
		for d.PeekKind() != '}' {
			tok, err := d.ReadToken()
			if err != nil {
				return err
			}
			n := tok.String()
			read, known := r[n]
			if !known {
				read = func(d *jsontext.Decoder) error { return d.SkipValue() }
			}
			if err := read(d); err != nil {
				return fmt.Errorf("%q: %w", Short(n, maxName), err)
			}
			left = slices.DeleteFunc(left, func(s string) bool { return s == n })
		}
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		if len(left) > 0 {
			return fmt.Errorf("%q is missing", left[0])
		}
		return nil
	}
}

// one reads a value of one token.
func one(f func(jsontext.Token) error) func(*jsontext.Decoder) error {
	return func(d *jsontext.Decoder) error {
		tok, err := d.ReadToken()
		if err != nil {
			return err
		}
		return f(tok)
	}
}

func alarmsField(dst *[]string) func(*jsontext.Decoder) error {
	return func(d *jsontext.Decoder) error {
		tok, err := d.ReadToken()
		if err != nil {
			return err
		}
		if tok.Kind() != '[' {
			return errors.New("not an array")
		}
		for d.PeekKind() != ']' {
			tok, err := d.ReadToken()
			if err != nil {
				return err
			}
			c := tok.String()
			if tok.Kind() != '"' || !isCode(c) || len(*dst) == maxAlarms {
				return fmt.Errorf("not at most %d codes of a-z, 0-9 and -", maxAlarms)
			}
			if !slices.Contains(*dst, c) {
				*dst = append(*dst, c)
			}
		}
		_, err = d.ReadToken()
		return err
	}
}

func lineField(dst *string, most int) func(jsontext.Token) error {
	return func(t jsontext.Token) error {
		if t.Kind() != '"' {
			return errors.New("not a string")
		}
		*dst = Short(t.String(), most)
		return nil
	}
}

func tokenField(dst *string) func(jsontext.Token) error {
	return func(t jsontext.Token) error {
		if *dst = t.String(); t.Kind() != '"' || !isToken(*dst) {
			return errors.New("not a name of 1 to 32 of A-Z a-z 0-9 _ -")
		}
		return nil
	}
}

func timeField(dst *time.Time) func(jsontext.Token) error {
	return func(t jsontext.Token) error {
		at, err := time.Parse(time.RFC3339Nano, t.String())
		if t.Kind() != '"' || err != nil || at.Year() < 1 {
			return errors.New("not a time like 2026-11-21T09:30:00.123Z")
		}
		*dst = at.UTC()
		return nil
	}
}

func percentField(dst *uint64) func(jsontext.Token) error {
	read := uintField(dst)
	return func(t jsontext.Token) error {
		if err := read(t); err != nil {
			return err
		}
		if *dst > 100 {
			return errors.New("more than 100 percent")
		}
		return nil
	}
}
