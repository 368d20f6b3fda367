package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"posd/journal"
	"posd/pos/config"
	"posd/pos/event"
	"posd/pos/operator"
	"posd/pos/papers"
	"posd/pos/printer"
	"posd/pos/receipt"
	"posd/pos/register"
)

const (
	printerPath  = "/v1/printer"
	paperEnd     = "/paper"
	shiftPath    = "/v1/shift/"
	leastColumns = 24
	mostColumns  = 64
	printRetry   = 5 // seconds
)

// Forms of a paper.
const (
	asPrinter = "printer" // posd's own prints it
	asText    = "text"
	asHTML    = "html"
	asESCPOS  = "escpos"
)

var mediaTypes = map[string]string{
	asText: "text/plain; charset=utf-8", asHTML: "text/html; charset=utf-8", asESCPOS: "application/octet-stream",
}

// withoutPrinter is a desk that only makes papers.
func withoutPrinter(o *Options) (*papers.Desk, error) {
	return papers.New(papers.Options{
		Journal: o.Journal, Register: o.Register, Terminal: o.Terminal, Log: o.Log,
		Printer: config.Printer{Profile: "epson", Columns: 42, Charset: "cp858"},
	})
}

// prints says whether the printer is given the receipt of a sale that is being made.
func (s *Server) prints(said, yes bool) bool {
	if !s.o.Papers.HasPrinter() {
		return false
	}
	if said {
		return yes
	}
	return s.o.Register.Settings().Papers.Sales
}

// form is how a paper is wanted.
type form struct {
	as      string
	columns int
	blind   bool
}

func (f *form) check() *problem {
	if f.columns != 0 && (f.columns < leastColumns || f.columns > mostColumns) {
		return refuse("value-invalid", "a paper has "+strconv.Itoa(leastColumns)+" to "+strconv.Itoa(mostColumns)+" columns, mostly 32, 42 or 48").at("/columns")
	}
	if f.as != asPrinter && mediaTypes[f.as] == "" {
		return refuse("value-invalid", "a paper comes as text, html or escpos, or is sent to the printer").at("/as")
	}
	return nil
}

// formOf reads the query of a GET.
func formOf(r *http.Request) (f form, bad *problem) {
	q, ok := queryOf(r, "as", "columns", "blind")
	f = form{as: asText, blind: q.Get("blind") == "true"}
	if q.Has("as") {
		f.as = q.Get("as")
	}
	if q.Has("columns") {
		f.columns = number(q.Get("columns"))
		ok = ok && f.columns != 0
	}
	if q.Has("blind") { // who counts the drawer must not be shown it by a typing error
		ok = ok && (f.blind || q.Get("blind") == "false") && strings.HasPrefix(r.URL.Path, shiftPath)
	}
	if !ok || f.as == asPrinter || f.check() != nil {
		return f, refuse("query-invalid", "a paper is shown with as=text, html or escpos, columns from "+strconv.Itoa(leastColumns)+" to "+strconv.Itoa(mostColumns)+", and an X report with blind=true; to have it printed, use POST")
	}
	return f, nil
}

// paper answers GET …/paper. A receipt is shown as what it is then: none.
func (s *Server) paper(w http.ResponseWriter, r *http.Request, front string) int {
	f, bad := formOf(r)
	if bad == nil && (strings.HasPrefix(r.URL.Path, reportPath) || strings.HasPrefix(r.URL.Path, shiftPath)) {
		bad = s.may(r, front, operator.ShiftReport)
	}
	if bad != nil {
		return s.refused(w, bad)
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	release, bad := s.admit(ctx)
	if bad != nil {
		return s.refused(w, bad)
	}
	defer release()
	doc, bad := s.shown(ctx, r, &f)
	if bad != nil {
		return s.refused(w, bad)
	}
	b, bad := s.render(doc, f.as, f.columns)
	if bad != nil {
		return s.refused(w, bad)
	}
	h := w.Header()
	h.Set("Content-Type", mediaTypes[f.as])
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.WriteHeader(http.StatusOK)
	w.Write(b)
	return http.StatusOK
}

func (s *Server) shown(ctx context.Context, r *http.Request, f *form) (*receipt.Document, *problem) {
	_, names := match(r.URL.Path)
	switch {
	case strings.HasPrefix(r.URL.Path, salePath):
		return s.document(ctx, s.saleNamed(names[0]), papers.Of{Kind: papers.Receipt, Preview: true})
	case strings.HasPrefix(r.URL.Path, reportPath):
		return s.document(ctx, s.reportNamed(names[0]), papers.Of{Kind: papers.Report})
	case strings.HasPrefix(r.URL.Path, shiftPath):
		return s.shiftPaper(f.blind)
	}
	return s.document(ctx, s.slipNamed(names[0]), papers.Of{Kind: papers.Slip})
}

// finder finds the record of a paper.
type finder func() (uint64, bool, error)

func (s *Server) saleNamed(id string) finder {
	return func() (uint64, bool, error) { return s.o.View.BySale(id) }
}

func (s *Server) reportNamed(z string) finder {
	n := number(z)
	if n < 1 {
		return func() (uint64, bool, error) { return 0, false, nil }
	}
	return s.reportOf(uint64(n))
}

// slipNamed finds an event of this journal by its name, formed like a sale's.
func (s *Server) slipNamed(id string) finder {
	_, tail, _ := strings.Cut(id, "-")
	seq, err := strconv.ParseUint(tail, 10, 64)
	return func() (uint64, bool, error) {
		floor, _ := s.o.Journal.Floor()
		return seq, err == nil && seq >= s.o.Journal.Oldest() && seq <= floor && id == event.SaleID(s.o.Journal.ID(), seq), nil
	}
}

var errNoPaper = refuse("paper-not-found", "the journal of this terminal holds nothing of that name of which there is a paper; older ones are at head office")

func (s *Server) document(ctx context.Context, find finder, of papers.Of) (*receipt.Document, *problem) {
	seq, bad := s.locate(ctx, find, errNoPaper)
	if bad != nil {
		return nil, bad
	}
	return s.documentAt(seq, of)
}

func (s *Server) documentAt(seq uint64, of papers.Of) (*receipt.Document, *problem) {
	doc, err := s.o.Papers.Document(seq, of)
	switch {
	case errors.Is(err, papers.ErrNoPaper), errors.Is(err, journal.ErrFreed), errors.Is(err, journal.ErrBeyond):
		return nil, errNoPaper
	case err != nil:
		s.o.Log.Error("a paper cannot be made", "seq", seq, "error", err)
		return nil, refuse("internal", "the paper cannot be made, see posd's log")
	}
	return doc, nil
}

func (s *Server) shiftPaper(blind bool) (*receipt.Document, *problem) {
	doc := s.o.Papers.X(blind)
	if doc == nil {
		return nil, refuse("paper-not-found", "no shift is open; what was closed has a Z report, GET "+reportPath+"{z}"+paperEnd)
	}
	return doc, nil
}

func (s *Server) render(doc *receipt.Document, as string, columns int) ([]byte, *problem) {
	p, err := s.o.Papers.Profile(columns)
	if err != nil {
		return nil, refuse("value-invalid", err.Error())
	}
	switch as {
	case asHTML:
		return doc.HTML(), nil
	case asESCPOS:
		return doc.ESCPOS(p), nil
	}
	return doc.Text(p.Columns()), nil
}

// giveReceipt gives a receipt out: the first time as it is, then as a copy, journaled
// before anything comes.
func (s *Server) giveReceipt(ctx context.Context, p *step) (register.Outcome, error) {
	f := form{as: p.body.as, columns: p.body.columns}
	if f.as == "" {
		f.as = asPrinter
	}
	sale := p.of.Basket
	p.of.Basket = ""
	refused := f.check()
	switch {
	case refused != nil:
	case f.as == asPrinter:
		refused = s.printerRefuses(true)
	default: // a long receipt takes memory, as a page most
		refused, p.keeps = p.enter(ctx, s.admit), true
	}
	p.paper = func(x *exchange, out register.Outcome) *problem { return s.appendReceipt(ctx, x, out, p, &f) }
	if refused != nil && ctx.Err() != nil { // nobody was asked yet
		return register.Outcome{}, refused
	}
	if refused != nil { // but a repeated call is answered
		return s.do(ctx, p, func(*register.Turn) (register.Appender, error) { return nil, refused })
	}
	return s.o.Register.GiveReceipt(ctx, p.call, p.of, sale, s.o.Papers.Lost, s.o.Papers.Lose)
}

// appendReceipt has a receipt printed that was just journaled, or appends it. For a
// repeated call nothing is printed again.
func (s *Server) appendReceipt(ctx context.Context, x *exchange, out register.Outcome, p *step, f *form) *problem {
	kind, data, bad := s.made(out)
	if bad != nil {
		return bad
	}
	e, err := event.ParseOperator(kind, data)
	if err != nil {
		return refuse("internal", "the event cannot be read, see posd's log")
	}
	of := papers.Of{Kind: papers.Receipt, Copy: e.Copy}
	seq, missing := s.locate(ctx, s.saleNamed(e.Sale), errNoPaper)
	if missing != nil {
		return missing
	}
	if f.as == asPrinter {
		name := e.Sale
		if e.Copy > 0 {
			name = papers.CopyName(e.Sale, e.Copy)
		}
		if !out.Replayed {
			err = s.o.Papers.Print(name, func() (*receipt.Document, error) { return s.o.Papers.Document(seq, of) })
		}
		s.appendOutcome(x, p, name, err)
		return nil
	}
	doc, missing := s.documentAt(seq, of)
	if missing != nil {
		return missing
	}
	b, missing := s.render(doc, f.as, f.columns)
	if missing != nil {
		return missing
	}
	x.out = event.AppendString(append(x.out, `,"paper":{"as":`...), f.as)
	if f.as == asESCPOS {
		x.out = append(base64.StdEncoding.AppendEncode(append(x.out, `,"base64":"`...), b), '"')
	} else {
		x.out = event.AppendString(append(x.out, `,"text":`...), string(b))
	}
	x.out = append(x.out, '}')
	return nil
}

// printerRefuses says why nothing can be printed now, and how else the paper is had.
func (s *Server) printerRefuses(receipt bool) *problem {
	switch err := s.o.Papers.Refuses(); {
	case errors.Is(err, papers.ErrNoPrinter) && !receipt: // of which GET shows more than a preview
		return refuse("no-printer", "printer.address names none; GET gives the paper, with as=text, html or escpos")
	case errors.Is(err, papers.ErrNoPrinter):
		return refuse("no-printer", "printer.address names none; ask for the paper as text, html or escpos").at("/as")
	case err != nil:
		p := refuse("printer-unavailable", err.Error()+"; nothing happened, look at it and ask again")
		if st, _ := s.o.Papers.Status(); !st.Next.IsZero() {
			return p.tried(st.Next)
		}
		return p.retry(printRetry)
	}
	return nil
}

// appendOutcome tells how far a paper is.
func (s *Server) appendOutcome(x *exchange, p *step, name string, err error) {
	if p.until != nil {
		s.o.Papers.Await(p.until, name)
	}
	o, known := s.o.Papers.Outcome(name)
	switch {
	case err != nil:
		o = printer.Outcome{Name: name, State: printer.NotPrinted, Why: err.Error()}
	case !known: // after a restart, or long ago
		o = printer.Outcome{Name: name, State: printer.Unknown, Why: "posd was started since, or has printed many others"}
	}
	x.out = append(x.out, `,"paper":`...)
	x.out = appendPaper(x.out, &o)
}

func appendPaper(dst []byte, o *printer.Outcome) []byte {
	dst = event.AppendString(append(dst, `{"as":"printer","name":`...), o.Name)
	dst = event.AppendString(append(dst, `,"state":`...), string(o.State))
	dst = appendSome(dst, "why", o.Why)
	if !o.At.IsZero() {
		dst = append(o.At.UTC().AppendFormat(append(dst, `,"at":"`...), time.RFC3339), '"')
	}
	return append(dst, '}')
}

// printed remembers calls that had something printed without an event: a repeated one
// prints nothing. They are forgotten at the end of posd, and after many others.
type printed struct {
	mu    sync.Mutex
	calls []printedCall // the newest last
}

type printedCall struct {
	key  string
	hash [32]byte
	name string
}

const mostPrinted = 64

// find returns what a call with this key had printed.
func (p *printed) find(c *register.Call) (name string, err error) {
	i := slices.IndexFunc(p.calls, func(k printedCall) bool { return k.key == c.Key })
	switch {
	case i < 0:
		return "", nil
	case p.calls[i].hash != c.Hash:
		return "", register.ErrKeyReused
	}
	return p.calls[i].name, nil
}

// printOnce has a paper printed that is no receipt.
func (s *Server) printOnce(p *step, name string, make func() (*receipt.Document, *problem)) (register.Outcome, error) {
	s.printed.mu.Lock()
	defer s.printed.mu.Unlock()
	before, err := s.printed.find(&p.call)
	if err != nil {
		return register.Outcome{}, err
	}
	p.paper = func(x *exchange, _ register.Outcome) *problem { s.appendOutcome(x, p, name, err); return nil }
	if before != "" { // its approval may be spent: like any repeated call, it is not asked for again
		name = before
		return register.Outcome{Replayed: true}, nil
	}
	if bad := p.may(); bad != nil {
		return register.Outcome{}, bad
	}
	if bad := s.printerRefuses(false); bad != nil {
		return register.Outcome{}, bad
	}
	doc, bad := make()
	if bad != nil {
		return register.Outcome{}, bad
	}
	if err = s.o.Papers.Print(name, func() (*receipt.Document, error) { return doc, nil }); err == nil {
		if len(s.printed.calls) == mostPrinted {
			s.printed.calls = slices.Delete(s.printed.calls, 0, 1)
		}
		s.printed.calls = append(s.printed.calls, printedCall{p.call.Key, p.call.Hash, name})
	}
	return register.Outcome{}, nil
}

func (s *Server) printReport(ctx context.Context, p *step) (register.Outcome, error) {
	return s.printOnce(p, papers.ReportName(uint64(number(p.names[0]))), func() (*receipt.Document, *problem) {
		return s.document(ctx, s.reportNamed(p.names[0]), papers.Of{Kind: papers.Report})
	})
}

func (s *Server) printShift(_ context.Context, p *step) (register.Outcome, error) {
	return s.printOnce(p, "report/x/"+p.call.Key, func() (*receipt.Document, *problem) { return s.shiftPaper(p.body.blind) })
}

func (s *Server) printSlip(ctx context.Context, p *step) (register.Outcome, error) {
	return s.printOnce(p, papers.SlipName(p.names[0]), func() (*receipt.Document, *problem) {
		return s.document(ctx, s.slipNamed(p.names[0]), papers.Of{Kind: papers.Slip})
	})
}

// answerPaper answers a call that had something printed, or given out.
func (s *Server) answerPaper(w http.ResponseWriter, r *http.Request, x *exchange, out register.Outcome, p *step) int {
	until, cancel := s.waiting(w, r)
	defer cancel()
	p.until = until
	status := http.StatusCreated
	if out.Event == nil {
		status = http.StatusAccepted
		x.out = append(x.out, '{')
	} else {
		kind, data, bad := s.made(out)
		if bad != nil {
			return s.refused(w, bad)
		}
		x.out = appendMade(x.out, out.Journal, out.Seq, kind, data)
	}
	n := len(x.out)
	if bad := p.paper(x, out); bad != nil {
		return s.refused(w, bad)
	}
	if out.Event == nil && len(x.out) > n { // it is the first member
		x.out = append(x.out[:n], x.out[n+1:]...)
	}
	x.out = append(x.out, "}\n"...)
	if out.Replayed {
		status = s.replayed(w)
	}
	return writeJSON(w, status, x.out)
}

// printer answers GET /v1/printer: how it is, and what became of its last papers, or of
// the one that is named.
func (s *Server) printer(w http.ResponseWriter, r *http.Request) int {
	q, ok := queryOf(r, "paper")
	name := q.Get("paper")
	if !ok || name == "" && len(q) > 0 {
		return s.refused(w, refuse("query-invalid", "name one paper, as a call named it: "+printerPath+"?paper=9f3a61c2-42, or none"))
	}
	x := s.exchange()
	defer s.done(x)
	if name != "" {
		o, ok := s.o.Papers.Outcome(name)
		if !ok {
			return s.refused(w, refuse("paper-not-found", "the printer has had no paper of that name, or not since posd was started, or many others since"))
		}
		x.out = append(appendPaper(append(x.out, `{"paper":`...), &o), "}\n"...)
		return writeJSON(w, http.StatusOK, x.out)
	}
	x.out = append(s.appendPrinter(x.out), `,"papers":[`...)
	for i, o := range s.o.Papers.Recent() {
		if i > 0 {
			x.out = append(x.out, ',')
		}
		x.out = appendPaper(x.out, &o)
	}
	x.out = append(x.out, "]}\n"...)
	return writeJSON(w, http.StatusOK, x.out)
}

// appendPrinter begins an object with the printer's condition.
func (s *Server) appendPrinter(dst []byte) []byte {
	st, ok := s.o.Papers.Status()
	dst = strconv.AppendBool(append(dst, `{"configured":`...), ok)
	if !ok {
		return dst
	}
	dst = event.AppendString(append(dst, `,"condition":`...), string(st.Condition))
	dst = appendSome(dst, "why", st.Why)
	dst = append(st.Since.UTC().AppendFormat(append(dst, `,"since":"`...), time.RFC3339), '"')
	dst = strconv.AppendBool(append(dst, `,"paper_low":`...), st.PaperLow)
	dst = strconv.AppendInt(append(dst, `,"waiting":`...), int64(st.Waiting), 10)
	if !st.Next.IsZero() {
		dst = strconv.AppendInt(append(dst, `,"next_try_seconds":`...), int64(seconds(st.Next)), 10)
	}
	return dst
}

// paperGauges tell of the printer, where there is one, and of those who listen.
func (s *Server) paperGauges(set *metrics.Set) {
	set.NewGauge("posd_event_streams", func() float64 { return float64(len(s.streams)) })
	if !s.o.Papers.HasPrinter() {
		return
	}
	set.NewGauge("posd_printer_ready", func() float64 {
		st, _ := s.o.Papers.Status()
		return oneIf(st.Condition == printer.Ready)
	})
	for _, state := range []printer.State{printer.Printed, printer.Sent, printer.NotPrinted, printer.Unknown} {
		set.NewGauge(`posd_papers_total{state="`+string(state)+`"}`, func() float64 { return float64(s.o.Papers.Ended(state)) })
	}
}
