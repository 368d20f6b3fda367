package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"posd/journal"
	"posd/pos"
	"posd/pos/config"
)

// statusDoc is what is read of GET /v1/status. A part that an older release does not
// tell is nil.
type statusDoc struct {
	Release  string
	Terminal struct{ Store, ID string }
	Health   struct {
		Status  string
		Reasons []string
	}
	Journal struct {
		ID          string
		Incarnation uint64
		Floor       uint64
		Head        string
		Oldest      uint64
		Segments    int
		Bytes       int64
		SpareReady  bool `json:"spare_ready"`
		Recovered   string
		Indexed     uint64
		ReadOnly    bool `json:"read_only"`
		Signing     bool
		Scrub       struct{ Last string }
		Damaged     []struct{ File, Text string }
	}
	Clock struct{ Now, Trust string }
	Shift struct {
		Number       uint64
		Open         bool
		BusinessDate string `json:"business_date"`
		Currency     string
		Totals       struct {
			Sales uint64
			Gross int64
		}
	}
	Receipts  struct{ Branch, Last uint64 }
	Operators struct {
		Required        bool
		Known, Sessions int
		Locked          []string
	}
	Uplink struct {
		Configured, Connected    bool
		Server                   string
		Sent, Settled, Unsettled uint64
		Lost                     uint64
		Rot, Held, Fork          string
		LastError                string `json:"last_error"`
	}
	Card struct {
		Configured, Reachable bool
		Terminal, Failure     string
		Unsettled             []struct{}
	}
	Printer struct {
		Configured     bool
		Condition, Why string
		PaperLow       bool `json:"paper_low"`
		Waiting        int
	}
	Catalogue struct {
		Items          int
		Version, Error string
	}
	Limits struct {
		GoMemory    int64    `json:"go_memory_bytes"`
		SliceMemory int64    `json:"slice_memory_bytes"`
		CPUPercent  int64    `json:"cpu_percent"`
		Burst       *int64   `json:"cpu_burst_microseconds"`
		MemoryHigh  *int64   `json:"memory_high_bytes"`
		Tasks       *int64   `json:"tasks"`
		Group       *string  `json:"group"`
		Hidden      *string  `json:"hidden"`
		Differs     []string `json:"differs"`
	}
	Pressure  *pressureDoc
	Admission *struct{ Refused, Waiting int64 }
}

type pressureDoc struct {
	Throttled   float64 `json:"throttled_percent"`
	CPUWaiting  float64 `json:"cpu_waiting_percent"`
	MemoryHigh  int64   `json:"memory_high"`
	MemoryMax   int64   `json:"memory_max"`
	OOMKills    int64   `json:"oom_kills"`
	MemoryBytes int64   `json:"memory_bytes"`
	Background  float64 `json:"background_percent"`
	Shedding    bool
	Reasons     []string
}

// status asks the running posd, or looks at the files when none runs.
func (t *tool) status(args []string) error {
	fs := t.flags("status")
	raw := fs.Bool("json", false, "print the document of GET /v1/status as it is")
	watch := fs.Bool("watch", false, "show it again and again, until Ctrl-C")
	every := fs.Duration("every", time.Second, "how often, with -watch")
	if _, err := t.parse(fs, args); err != nil {
		return err
	}
	if *every < 100*time.Millisecond {
		return fmt.Errorf("%w: -every %v: at least 100ms", errUsage, *every)
	}
	c, err := t.load()
	if err != nil {
		return err
	}
	if *watch {
		return t.watch(c, *raw, *every)
	}
	ask, err := t.caller(c)
	if err != nil {
		return err
	}
	body, err := ask.get(t.ctx, "/v1/status")
	if err != nil {
		return t.statusOfFiles(c, err, *raw)
	}
	if *raw {
		_, err = t.out.Write(body)
		return err
	}
	return t.summary(t.out, ask, body)
}

// statusOfFiles is what can be said of a terminal whose posd does not answer.
func (t *tool) statusOfFiles(c *config.Config, cause error, raw bool) error {
	rep, err := journal.Verify(t.ctx, filepath.Join(c.Data.Dir, "journal"), journal.VerifyOptions{From: ^uint64(0)})
	if err != nil {
		return err
	}
	if rep.Live {
		return fmt.Errorf("posd is running but does not answer: %w", cause)
	}
	if raw { // a program must not take another document for the one it asked for
		return fmt.Errorf("posd is not running: %w", cause)
	}
	fmt.Fprintf(t.out, "posd is not running (%v)\nterminal     %s of store %s\njournal      %s, %d segments, records %d to %d\n",
		cause, rep.Identity.Terminal, rep.Identity.Store, rep.Journal, rep.Segments, rep.First, rep.Last)
	return nil
}

// summary prints a status document for people.
func (t *tool) summary(w io.Writer, ask caller, body []byte) error {
	var s statusDoc
	if err := json.Unmarshal(body, &s); err != nil {
		return fmt.Errorf("posd's status cannot be read: %w; -json shows it as it is", err)
	}
	p := &printer{w: w}
	p.line("posd", "%s, terminal %s of store %s", s.Release, s.Terminal.ID, s.Terminal.Store)
	if _, err := ask.get(t.ctx, "/readyz"); err == nil {
		p.line("sales", "can be taken")
	} else {
		p.line("sales", "CANNOT be taken: %s", detailOf(err))
	}
	p.line("health", "%s", s.Health.Status)
	for _, r := range s.Health.Reasons {
		p.line("", "%s", r)
	}
	s.sales(p)
	if o := &s.Operators; o.Required {
		p.line("operators", "%d, sessions: %d", o.Known, o.Sessions)
		if len(o.Locked) > 0 {
			p.line("", "locked: %s (posctl operator unlock)", strings.Join(o.Locked, ", "))
		}
	}
	s.journal(p)
	s.headOffice(p)
	s.limits(p)
	return p.err
}

// printer prints lines of a name and a text, and keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(name, format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
}

// detailOf takes the words out of a problem document.
func detailOf(err error) string {
	var answer *answerError
	if errors.As(err, &answer) {
		var problem struct{ Detail string }
		if json.Unmarshal([]byte(answer.body), &problem) == nil && problem.Detail != "" {
			return problem.Detail
		}
	}
	return err.Error()
}

func (s *statusDoc) sales(p *printer) {
	shift := "none yet"
	if x := &s.Shift; x.Number > 0 {
		open := map[bool]string{true: "open", false: "closed"}[x.Open]
		shift = fmt.Sprintf("%d %s, business date %s: %d sales, %s", x.Number, open, x.BusinessDate, x.Totals.Sales, money(x.Totals.Gross, x.Currency))
	}
	p.line("shift", "%s", shift)
	p.line("receipts", "%d under branch %d", s.Receipts.Last, s.Receipts.Branch)
	items := fmt.Sprintf("%d items, version %s", s.Catalogue.Items, s.Catalogue.Version)
	if s.Catalogue.Items == 0 && s.Catalogue.Version == "" {
		items = "none: the front end names description, price and tax"
	}
	if s.Catalogue.Error != "" {
		items = s.Catalogue.Error
	}
	p.line("catalogue", "%s", items)
	if s.Card.Configured || len(s.Card.Unsettled) > 0 {
		p.line("card", "%s", s.card())
	}
	if s.Printer.Configured {
		p.line("printer", "%s", s.printer())
	}
	p.line("clock", "%s, %s", s.Clock.Now, s.Clock.Trust)
}

// printer is how the receipt printer is.
func (s *statusDoc) printer() string {
	r := &s.Printer
	text := strings.ReplaceAll(r.Condition, "_", " ")
	if r.Why != "" {
		text += ": " + r.Why
	}
	if r.PaperLow {
		text += "; its paper is running low"
	}
	if r.Waiting > 0 {
		text += fmt.Sprintf("; papers that wait: %d", r.Waiting)
	}
	return text
}

// card is how the payment terminal is.
func (s *statusDoc) card() string {
	c := &s.Card
	text := "no payment terminal is configured"
	switch {
	case c.Configured && c.Reachable:
		text = "payment terminal " + c.Terminal + " answers"
	case c.Configured:
		text = "the payment terminal does not answer: " + c.Failure
	}
	if n := len(c.Unsettled); n > 0 {
		text += fmt.Sprintf("; payments of which it is not known what became of them: %d", n)
	}
	return text
}

func money(minor int64, code string) string {
	c, err := pos.CurrencyOf(code)
	if err != nil {
		return fmt.Sprintf("%d %s", minor, code)
	}
	sign, digits := "", fmt.Sprintf("%0*d", int(c.Exponent)+1, minor)
	if minor < 0 {
		sign, digits = "-", fmt.Sprintf("%0*d", int(c.Exponent)+1, -minor)
	}
	if n := len(digits) - int(c.Exponent); c.Exponent > 0 {
		digits = digits[:n] + "." + digits[n:]
	}
	return sign + digits + " " + code
}

func (s *statusDoc) journal(p *printer) {
	j := &s.Journal
	signed := "signed"
	if !j.Signing {
		signed = "NOT signed"
	}
	p.line("journal", "records %d to %d in %d segments, %s, %s, start %d", j.Oldest, j.Floor, j.Segments, bytesText(j.Bytes), signed, j.Incarnation)
	if behind := j.Floor - min(j.Floor, j.Indexed); behind > 0 {
		p.line("", "the index is %d records behind", behind)
	}
	if j.ReadOnly {
		p.line("", "READ-ONLY: nothing can be sold")
	}
	if j.Recovered != "" {
		p.line("", "at the start: %s", j.Recovered)
	}
	for _, d := range j.Damaged {
		p.line("", "DAMAGED: %s", d.Text)
	}
}

func (s *statusDoc) headOffice(p *printer) {
	u := &s.Uplink
	if !u.Configured {
		p.line("head office", "none is configured: the terminal works alone")
		return
	}
	link := "connected to " + u.Server
	if !u.Connected {
		link = "no link"
	}
	p.line("head office", "%s; it has %d of %d records, %d to go", link, u.Settled, s.Journal.Floor, u.Unsettled)
	if u.Lost > 0 {
		p.line("", "LOST: %d records were declared lost, since they cannot be read: keep the disk, posctl salvage may find them", u.Lost)
	}
	for _, x := range []struct{ name, text string }{{"rot", u.Rot}, {"held", u.Held}, {"fork", u.Fork}, {"last error", u.LastError}} {
		if x.text != "" {
			p.line("", "%s: %s", x.name, x.text)
		}
	}
}

func (s *statusDoc) limits(p *printer) {
	l := &s.Limits
	text := "no cpu quota"
	if l.CPUPercent > 0 {
		text = fmt.Sprintf("%d %% of one core", l.CPUPercent)
		if l.Burst != nil && *l.Burst > 0 {
			text += fmt.Sprintf(" (burst %d µs)", *l.Burst)
		}
	}
	if l.SliceMemory > 0 {
		text += ", " + bytesText(l.SliceMemory)
		if l.MemoryHigh != nil && *l.MemoryHigh > 0 {
			text += fmt.Sprintf(" (slowed down from %s)", bytesText(*l.MemoryHigh))
		}
	} else {
		text += ", no memory limit"
	}
	if l.Tasks != nil && *l.Tasks > 0 {
		text += fmt.Sprintf(", %d tasks", *l.Tasks)
	}
	if l.Group != nil && *l.Group != "" {
		text += " in " + *l.Group
	}
	p.line("limits", "%s", text)
	for _, d := range l.Differs {
		p.line("", "%s", d)
	}
	if l.Hidden != nil && *l.Hidden != "" {
		p.line("", "%s", *l.Hidden)
	}
	if x := s.Pressure; x != nil {
		p.line("pressure", "stopped in %.0f %% of the periods, waits for the processor %.0f %% of the time, %s of memory, background work at %.0f %%",
			x.Throttled, x.CPUWaiting, bytesText(x.MemoryBytes), x.Background)
		if x.OOMKills > 0 {
			p.line("", "KILLED %d times at the memory limit", x.OOMKills)
		}
		if x.Shedding {
			p.line("", "SHEDDING: %s", strings.Join(x.Reasons, "; "))
		}
	}
	if a := s.Admission; a != nil {
		p.line("admission", "%d wait, %d came too fast and were refused (429) since the start", a.Waiting, a.Refused)
	}
}

// bytesText rounds to what a person compares.
func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/(1<<30)), ".0") + " GiB"
	case n >= 1<<20:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/(1<<20)), ".0") + " MiB"
	case n >= 1<<10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/(1<<10)), ".0") + " KiB"
	}
	return fmt.Sprintf("%d B", n)
}

// watch shows the status until it is told to end. A posd that is gone, or starts
// again, does not end it.
func (t *tool) watch(c *config.Config, raw bool, every time.Duration) error {
	var since time.Time // of the first look without an answer
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		var b bytes.Buffer
		err := t.look(c, raw, &b)
		if t.ctx.Err() != nil {
			return nil
		}
		if err == nil {
			since = time.Time{}
		} else {
			if since.IsZero() {
				since = time.Now()
			}
			fmt.Fprintf(&b, "no answer since %s (%s): %v\n", since.Format("15:04:05"), time.Since(since).Round(time.Second), err)
			if raw { // a program reads documents only
				fmt.Fprint(t.err, "posctl: ", b.String())
				b.Reset()
			}
		}
		if err := t.show(b.Bytes(), raw); err != nil {
			return err
		}
		select {
		case <-t.ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look writes one view of the status to w, or nothing.
func (t *tool) look(c *config.Config, raw bool, w *bytes.Buffer) error {
	ask := lookCaller(c)
	ctx, cancel := context.WithTimeout(t.ctx, askTime)
	defer cancel()
	body, err := ask.get(ctx, "/v1/status")
	if err != nil {
		return err
	}
	if raw {
		w.Write(body)
		return nil
	}
	return t.summary(w, ask, body)
}

// show replaces the screen of a terminal; elsewhere one view follows the other.
func (t *tool) show(view []byte, raw bool) error {
	head := ""
	switch {
	case isTerminal(t.out):
		head = "\x1b[H\x1b[2J" + time.Now().Format("15:04:05") + "\n"
	case !raw:
		head = "\n" + time.Now().Format(time.RFC3339) + "\n"
	}
	_, err := t.out.Write(append([]byte(head), view...))
	return err
}
