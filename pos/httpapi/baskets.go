package httpapi

import (
	"net/http"
	"strconv"

	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/till"
	"posd/pos/view"
)

const (
	basketsPath = "/v1/baskets"
	reportPath  = "/v1/reports/"
)

// baskets answers GET /v1/baskets, all that are open or parked, and one of them with
// its sums.
func (s *Server) baskets(w http.ResponseWriter, r *http.Request) int {
	x := s.exchange()
	defer s.done(x)
	if r.URL.Path == basketsPath {
		s.o.Register.Look(func(t *till.State) { x.out = appendBaskets(x.out, t) })
		return writeJSON(w, http.StatusOK, x.out)
	}
	id, version := r.URL.Path[len(basketsPath)+1:], ""
	var sums pos.Totals
	var err error
	rules := s.o.Register.Rules()
	s.o.Register.Look(func(t *till.State) {
		var b *till.Basket
		if b, err = t.Seen(till.Step{Basket: id}); err == nil {
			version = b.Version
			x.out = b.AppendData(append(x.out, `{"basket":`...))
			sums, err = b.Sums(rules)
		}
	})
	if err != nil {
		return s.refused(w, s.became(r.Context(), s.problemOf(till.Refusal(err, "")), id))
	}
	t := event.ShiftTotals{Taxes: sums.Taxes}
	x.out = append(t.AppendTaxes(x.out), "}\n"...)
	w.Header().Set("ETag", `"`+version+`"`)
	return writeJSON(w, http.StatusOK, x.out)
}

// appendBaskets lists them without their lines.
func appendBaskets(dst []byte, t *till.State) []byte {
	dst = append(dst, `{"baskets":[`...)
	for i, b := range t.Baskets {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = event.AppendString(append(dst, `{"basket":`...), b.Basket)
		dst = event.AppendString(append(dst, `,"version":`...), b.Version)
		dst = strconv.AppendBool(append(dst, `,"parked":`...), b.Parked)
		dst = appendSome(dst, "name", b.Name)
		if b.Training {
			dst = append(dst, `,"training":true`...)
		}
		dst = append(b.Opened.UTC().AppendFormat(append(dst, `,"opened":"`...), "2006-01-02T15:04:05.000Z"), '"')
		dst = event.AppendString(append(dst, `,"operator":`...), b.Operator)
		dst = strconv.AppendInt(append(dst, `,"lines":`...), int64(len(b.Lines)), 10)
		dst = strconv.AppendInt(append(dst, `,"total":`...), int64(b.Total), 10)
		dst = strconv.AppendInt(append(dst, `,"due":`...), int64(b.Due), 10)
		dst = append(dst, '}')
	}
	return append(dst, "]}\n"...)
}

// shift answers GET /v1/shift: the X report.
func (s *Server) shift(w http.ResponseWriter) int {
	x := s.exchange()
	defer s.done(x)
	s.o.Register.Look(func(t *till.State) {
		sh := &t.Shift
		x.out = strconv.AppendUint(append(x.out, `{"shift":`...), sh.Number, 10)
		x.out = strconv.AppendBool(append(x.out, `,"open":`...), sh.Open)
		x.out = strconv.AppendBool(append(x.out, `,"implicit":`...), sh.Implicit)
		x.out = appendSome(x.out, "operator", sh.Operator)
		x.out = appendSome(x.out, "business_date", t.Date)
		x.out = strconv.AppendUint(append(x.out, `,"last_z":`...), t.Z, 10)
		x.out = strconv.AppendInt(append(x.out, `,"drawer":`...), int64(sh.Totals.Drawer()), 10)
		if sh.Counted {
			x.out = strconv.AppendInt(append(x.out, `,"declared":`...), int64(sh.Declared), 10)
		}
		x.out = t.Closing().Totals.AppendData(append(x.out, `,"totals":`...))
		x.out = append(x.out, "}\n"...)
	})
	return writeJSON(w, http.StatusOK, x.out)
}

// report answers GET /v1/reports/{z}: a Z report as it stands in the journal.
func (s *Server) report(w http.ResponseWriter, r *http.Request) int {
	n := number(r.URL.Path[len(reportPath):])
	if n < 1 {
		return s.refused(w, refuse("query-invalid", "name a report by its number: /v1/reports/42"))
	}
	return s.lookup(w, r, s.reportOf(uint64(n)),
		refuse("report-not-found", "the journal of this terminal holds no such report; older ones are at head office"), s.appendEvent)
}

// reportOf finds the record of a Z report.
func (s *Server) reportOf(z uint64) finder {
	return func() (uint64, bool, error) { return s.o.View.ByReceipt(view.ReportName(z)) }
}

// appendEvent appends the answer for an event that is no sale.
func (s *Server) appendEvent(x *exchange, seq uint64) error {
	return s.o.Journal.Read(seq, func(rec chain.Record) error {
		c, err := chain.Named(s.o.Journal.ID(), rec)
		if err != nil {
			return err
		}
		h, data, err := event.Parse(c.Record.Payload)
		x.out = append(appendMade(x.out, c.Journal, c.Record.Seq, h.Type, data), "}\n"...)
		return err
	})
}
