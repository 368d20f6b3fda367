package httpapi

import (
	"bytes"
	"context"
	_ "embed"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/flate" // NATS has it in the program; what unpacks in compress/flate would be 18 kB

	"posd/journal"
	"posd/pos/event"
	"posd/pos/operator"
)

// openAPI is openapi.json, packed to a tenth: what a front end's author reads once need not
// lie in the program as it is.
//
//go:embed openapi.json.flate
var openAPI []byte

func schema(w http.ResponseWriter) int {
	plain, err := io.ReadAll(flate.NewReader(bytes.NewReader(openAPI)))
	if err != nil {
		return refuse("internal", "the document cannot be unpacked: "+err.Error()).write(w)
	}
	return writeJSON(w, http.StatusOK, plain)
}

// readyWait is how long the command loop may take to answer.
const readyWait = time.Second

func (s *Server) live(w http.ResponseWriter) int {
	if err := s.o.Journal.Err(); err != nil {
		return s.refused(w, refuse("journal-failed", "the storage device failed, posd is ending: "+err.Error()))
	}
	return writeJSON(w, http.StatusOK, []byte("{\"status\":\"ok\"}\n"))
}

// ready is 200 when a sale can be taken.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) int {
	reasons := s.reasons(r.Context())
	if len(reasons) == 0 {
		return writeJSON(w, http.StatusOK, []byte("{\"status\":\"ok\"}\n"))
	}
	p := refuse("not-ready", reasons[0])
	for _, more := range reasons[1:] {
		p.detail += "; " + more
	}
	return s.refused(w, p.retry(stoppingRetry))
}

// readOnly is why nothing can be sold, and what to do.
const readOnly = "the journal's file system is mounted read-only: mount it writable (a check of the file system may be due), then start posd again"

// reasons says why no sale can be taken.
func (s *Server) reasons(ctx context.Context) (why []string) {
	if err := s.o.Journal.Err(); err != nil {
		why = append(why, "the storage device failed: "+err.Error())
	}
	if s.o.Journal.ReadOnly() {
		why = append(why, readOnly)
	}
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	if err := s.o.Register.Alive(ctx); err != nil {
		why = append(why, "the command loop does not answer: "+err.Error())
	}
	if s.noSpace.Load() && s.o.Journal.Full() {
		why = append(why, "no space left for sales: free space on the data partition, or connect the terminal to head office")
	}
	if s.tokens.count() == 0 && len(s.users) == 0 {
		why = append(why, "no front end has a token: posctl token add NAME")
	}
	if err := s.desk.Book().Closed(); err != nil {
		why = append(why, "no operator can sign in: "+err.Error())
	}
	return why
}

// object appends members to one JSON object.
type object struct {
	b     []byte
	first bool
}

func (o *object) open(name string) {
	if name != "" {
		o.name(name)
	}
	o.b, o.first = append(o.b, '{'), true
}

func (o *object) close() { o.b, o.first = append(o.b, '}'), false }

func (o *object) name(name string) {
	if !o.first && len(o.b) > 0 {
		o.b = append(o.b, ',')
	}
	o.first = false
	o.b = append(event.AppendString(o.b, name), ':')
}

func (o *object) text(name, v string) {
	o.name(name)
	o.b = event.AppendString(o.b, v)
}

func (o *object) uint(name string, v uint64) {
	o.name(name)
	o.b = strconv.AppendUint(o.b, v, 10)
}

func (o *object) int(name string, v int64) {
	o.name(name)
	o.b = strconv.AppendInt(o.b, v, 10)
}

func (o *object) bool(name string, v bool) {
	o.name(name)
	o.b = strconv.AppendBool(o.b, v)
}

func (o *object) texts(name string, v []string) {
	o.name(name)
	o.b = append(o.b, '[')
	for i, t := range v {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = event.AppendString(o.b, t)
	}
	o.b = append(o.b, ']')
}

// status leaves out what only an X report may tell, where operators sign in.
func (s *Server) status(w http.ResponseWriter, r *http.Request, front string) int {
	totals := front == posctlFront || s.may(r, front, operator.ShiftReport) == nil
	return writeJSON(w, http.StatusOK, s.statusJSON(totals))
}

// StatusJSON is what GET /v1/status answers to who may see all of it.
func (s *Server) StatusJSON() []byte { return s.statusJSON(true) }

func (s *Server) statusJSON(totals bool) []byte {
	var o object
	t := &s.o.Terminal
	o.open("")
	o.text("release", s.o.Release)
	o.open("terminal")
	o.text("store", t.Store)
	o.text("id", t.ID)
	o.close()
	s.healthStatus(&o)
	s.journalStatus(&o)
	s.registerStatus(&o, totals)
	s.operatorStatus(&o)
	s.uplinkStatus(&o)
	s.cardStatus(&o)
	c := s.o.Catalogue
	o.open("catalogue")
	o.int("items", int64(c.Len()))
	o.text("version", c.Version())
	if err := c.Err(); err != nil {
		o.text("error", err.Error())
	}
	if s.o.Supply != nil {
		s.o.Supply().append(&o)
	}
	o.close()
	o.name("printer")
	o.b = append(s.appendPrinter(o.b), '}')
	l := &s.o.Limits
	o.open("limits")
	o.int("go_memory_bytes", l.GoMemory)
	o.int("slice_memory_bytes", l.SliceMemory)
	o.int("memory_high_bytes", l.MemoryHigh)
	o.int("cpu_percent", l.CPUPercent)
	o.int("cpu_burst_microseconds", l.CPUBurst)
	o.int("tasks", l.Tasks)
	o.text("group", l.Group)
	o.text("hidden", l.Hidden)
	o.int("gomaxprocs", int64(l.Procs))
	o.texts("differs", l.Differs)
	o.close()
	s.pressureStatus(&o)
	o.close()
	return append(o.b, '\n')
}

// load is what was last found, nothing where nobody watches.
func (s *Server) load() Load {
	if s.o.Load == nil {
		return Load{}
	}
	return s.o.Load()
}

// pressureStatus tells how tight the slice is.
func (s *Server) pressureStatus(o *object) {
	l := s.load()
	o.open("pressure")
	o.int("throttled_percent", int64(l.Throttled))
	o.int("cpu_waiting_percent", int64(l.CPUWaiting))
	o.int("memory_waiting_percent", int64(l.MemoryWaiting))
	o.int("io_waiting_percent", int64(l.IOWaiting))
	o.int("background_percent", int64(l.Background))
	o.int("memory_bytes", l.Memory)
	o.int("memory_high", l.MemoryHigh)
	o.int("memory_max", l.MemoryMax)
	o.int("oom_kills", l.OOMKills)
	o.bool("shedding", l.Shedding)
	o.texts("reasons", l.Reasons)
	o.close()
	o.open("admission")
	o.uint("refused", s.meters.refusals[kindOf("too-many-requests")].Get())
	o.int("waiting", int64(s.o.Register.Status().Waiting))
	o.close()
}

// healthStatus says what somebody has to look after, though sales may go on.
func (s *Server) healthStatus(o *object) {
	why := s.degraded()
	o.open("health")
	o.text("status", map[bool]string{false: "ok", true: "degraded"}[len(why) > 0])
	o.texts("reasons", why)
	o.close()
}

// Supply is what became of the newest catalogue of head office's, and of the one in use.
type Supply struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Version string // head office's; empty: none ever came
	State   string // fetching, applied or refused
	Reason  string // of a refusal; of one that is fetched: what is in the way
	Got, Of int    // chunks that have come, of all, while it is fetched
	Amiss   string // why items, or all of them, cannot be sold; empty: all can
}

func (u Supply) append(o *object) {
	if u.Version == "" {
		return
	}
	o.open("head_office")
	o.text("version", u.Version)
	o.text("state", u.State)
	o.text("reason", u.Reason)
	o.int("fetched", int64(u.Got))
	o.int("chunks", int64(u.Of))
	o.close()
}

func (s *Server) degraded() (why []string) {
	if s.o.Supply != nil {
		switch u := s.o.Supply(); {
		case u.State == "refused":
			why = append(why, "head office's catalogue "+u.Version+" was refused: "+u.Reason)
		case u.Amiss != "":
			why = append(why, u.Amiss)
		}
	}
	if r := s.o.Register.Status(); r.Overdue {
		why = append(why, "shift "+strconv.FormatUint(r.Shift, 10)+" is still open with the business date "+r.BusinessDate+": sales go on with the prices and tax rates of that day; close it")
	}
	j := s.o.Journal
	st := j.Stats()
	if st.Damaged > 0 {
		why = append(why, "damaged segments of the journal: "+strconv.Itoa(st.Damaged)+", named in journal.damaged; keep the disk until head office has their records (posctl salvage)")
	}
	if s.o.Uplink != nil {
		if u := s.o.Uplink(); u.Lost > 0 {
			why = append(why, strconv.FormatUint(u.Lost, 10)+" records that head office lacks were declared lost, since they cannot be read; keep the disk, posctl salvage may find them")
		} else if u.Rot != "" {
			why = append(why, u.Rot)
		}
	}
	if j.ReadOnly() {
		why = append(why, readOnly)
	}
	if _, err := s.desk.Book().All(); err != nil {
		why = append(why, "operators: "+err.Error())
	}
	if st.Keyed && !st.Signing {
		why = append(why, "the journal is not signed: the terminal's key is missing, or is not the one that the journal was made with; put terminal.key back from its backup and start posd again")
	}
	if l := s.load(); l.Shedding {
		why = append(why, "memory is short ("+strings.Join(l.Reasons, ", ")+"): background work is held back; see what else runs in the slice, or give it more")
	}
	return s.cardDegraded(why)
}

func (s *Server) journalStatus(o *object) {
	j := s.o.Journal
	floor, head := j.Floor()
	st := j.Stats()
	o.open("journal")
	o.text("id", j.ID().String())
	o.uint("incarnation", j.Incarnation())
	o.uint("floor", floor)
	o.text("head", head.String())
	o.uint("oldest", j.Oldest())
	o.int("segments", int64(st.Segments))
	o.int("bytes", st.SegmentBytes)
	o.bool("spare_ready", st.SpareReady)
	o.text("recovered", j.Recovered())
	o.uint("indexed", s.o.View.Applied())
	o.bool("read_only", j.ReadOnly())
	o.bool("signing", st.Signing)
	o.uint("checkpoints", st.Checkpoints)
	scrubStatus(o, st)
	damageStatus(o, j.Damage())
	o.close()
}

// scrubStatus tells how far what is held has been read again since the start.
func scrubStatus(o *object, st journal.Stats) {
	o.open("scrub")
	o.uint("bytes", st.Scrubbed)
	o.uint("passes", st.ScrubPasses)
	if !st.LastScrub.IsZero() {
		o.text("last", st.LastScrub.UTC().Format("2006-01-02T15:04:05Z"))
	}
	o.close()
}

func damageStatus(o *object, damage []*journal.CorruptError) {
	o.name("damaged")
	o.b = append(o.b, '[')
	for i, d := range damage {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.open("")
		o.text("file", d.File)
		o.int("offset", d.Offset)
		o.uint("first", d.First)
		o.uint("last", d.Last)
		o.text("text", d.Error())
		o.close()
	}
	o.b = append(o.b, ']')
}

func (s *Server) registerStatus(o *object, totals bool) {
	st := s.o.Register.Status()
	o.open("clock")
	o.text("now", st.Now.UTC().Format("2006-01-02T15:04:05.000Z"))
	o.text("trust", string(st.Clock))
	o.text("time_zone", s.o.Terminal.TimeZone.String())
	o.close()
	o.open("shift")
	o.uint("number", st.Shift)
	o.bool("open", st.Open)
	o.bool("implicit", st.Implicit)
	o.text("business_date", st.BusinessDate)
	o.text("currency", st.Currency.Code)
	if totals {
		o.name("totals")
		o.b = st.Totals.AppendData(o.b)
	}
	o.close()
	o.open("receipts")
	o.uint("branch", st.Branch)
	o.uint("last", st.Receipt)
	o.int("perpetual", int64(st.Perpetual))
	o.close()
}

func (s *Server) uplinkStatus(o *object) {
	o.open("uplink")
	o.bool("configured", s.o.Uplink != nil)
	if s.o.Uplink != nil {
		u := s.o.Uplink()
		o.bool("connected", u.Connected)
		o.text("server", u.Server)
		o.text("ledger", u.Ledger)
		o.uint("sent", u.Sent)
		o.uint("settled", u.Settled)
		o.uint("unsettled", u.Unsettled)
		o.uint("unsent_seconds", uint64(u.UnsentAge/time.Second))
		o.uint("unsettled_seconds", uint64(u.UnsettledAge/time.Second))
		o.uint("lost", u.Lost)
		o.text("rot", u.Rot)
		o.text("held", u.Held)
		o.text("fork", u.Fork)
		o.text("last_error", u.LastError)
	}
	o.close()
}
