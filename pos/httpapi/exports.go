package httpapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"posd/journal/chain"
	"posd/pos/event"
	"posd/pos/export"
	"posd/pos/operator"
	"posd/pos/till"
)

const (
	exportsPath = "/v1/exports"
	dataEnd     = "/data"
	exportRetry = 2        // seconds
	downloads   = 2        // at a time
	downloadBuf = 32 << 10 // of each
)

// exportOf is the export that a path names, with or without its data.
func exportOf(path string) string {
	id, ok := strings.CutPrefix(path, exportsPath+"/")
	if id = strings.TrimSuffix(id, dataEnd); !ok || strings.Contains(id, "/") {
		return ""
	}
	return id
}

// exports answers /v1/exports and what is below it.
func (s *Server) exports(w http.ResponseWriter, r *http.Request, front string) int {
	if s.o.Exports == nil {
		return s.refused(w, refuse("not-found", "this terminal makes no exports"))
	}
	id := exportOf(r.URL.Path)
	if id == "" && r.Method == http.MethodPost {
		return s.beginExport(w, r, front)
	}
	if id == "" {
		if bad := s.may(r, front, operator.Export); bad != nil {
			return s.refused(w, bad)
		}
		return s.listExports(w)
	}
	// Nobody knows an export's name but who has asked for it, or may see the list.
	if _, bad := s.caller(r, front, "", false); bad != nil {
		return s.refused(w, bad)
	}
	if strings.HasSuffix(r.URL.Path, dataEnd) {
		return s.exportData(w, r, id)
	}
	j, err := s.o.Exports.Job(id)
	if err != nil {
		return s.refused(w, noExport())
	}
	return writeJSON(w, http.StatusOK, append(s.appendExport(nil, &j), '\n'))
}

func noExport() *problem {
	return refuse("export-not-found", "there is no export of that name, or not any more; ask for it anew")
}

// beginExport answers POST /v1/exports.
func (s *Server) beginExport(w http.ResponseWriter, r *http.Request, front string) int {
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	x := s.exchange()
	defer s.done(x)
	key, release, bad := s.received(ctx, w, r, x, true)
	if bad != nil {
		return s.refused(w, bad)
	}
	defer release()
	var q export.Query
	if bad = x.dec.decodeExport(x.body.Bytes(), &q); bad == nil && q.Date == "" {
		bad = s.closing(ctx, &q)
	}
	hash := sha256.Sum256(x.body.Bytes())
	if bad == nil {
		bad = s.mayCall(r, front, callOf(key, hash), operator.Export)
		if bad != nil && bad.permission != "" && s.o.Exports.Asked(key, hash) {
			bad = nil // what took effect is answered, whoever asks
		}
	}
	if bad != nil {
		return s.refused(w, bad)
	}
	s.o.Register.Look(func(t *till.State) { q.Setback = t.Setback })
	j, replayed, err := s.o.Exports.Start(key, hash, q)
	switch {
	case errors.Is(err, export.ErrBusy):
		return s.refused(w, refuse("busy", "too many exports wait; nothing happened, try again with the same key").retry(exportRetry))
	case errors.Is(err, export.ErrKeyReused):
		return s.refused(w, refuse("idempotency-key-reused", "this Idempotency-Key belongs to another export; use a new key, or the same bytes for a repeated request"))
	case err != nil:
		return s.refused(w, s.problemOf(err))
	}
	w.Header().Set("Location", exportsPath+"/"+j.ID)
	status := http.StatusAccepted
	if replayed {
		status = s.replayed(w)
	}
	return writeJSON(w, status, append(s.appendExport(nil, &j), '\n'))
}

func (d *decoder) decodeExport(body []byte, q *export.Query) *problem {
	bad := d.document(body, func(name []byte) bool {
		switch string(name) {
		case "date":
			q.Date = d.text(maxShort)
		case "z":
			q.Z = uint64(d.count(1 << 40))
		case "format":
			q.Format = d.text(maxShort)
		case "rows":
			q.Rows = d.text(maxShort)
		default:
			return false
		}
		return true
	})
	if bad != nil {
		return bad
	}
	_, err := time.Parse(time.DateOnly, q.Date)
	switch {
	case (q.Date == "") == (q.Z == 0):
		return refuse("value-invalid", "name either a business date or the z of a shift's report")
	case q.Date != "" && err != nil:
		return refuse("value-invalid", "a date is written 2026-11-21").at("/date")
	case q.Format == "":
		q.Format = export.JSONL
	case q.Format != export.JSONL && q.Format != export.CSV:
		return refuse("value-invalid", "format is jsonl or csv").at("/format")
	}
	switch {
	case q.Format == export.JSONL && q.Rows != "":
		return refuse("value-invalid", "rows are of a table: send format csv").at("/rows")
	case q.Format == export.CSV && q.Rows == "":
		q.Rows = export.RowKinds[0]
	case q.Format == export.CSV && !slices.Contains(export.RowKinds, q.Rows):
		return refuse("value-invalid", "rows are "+strings.Join(export.RowKinds, ", ")).at("/rows")
	}
	return nil
}

// closing finds the shift of a Z report.
func (s *Server) closing(ctx context.Context, q *export.Query) *problem {
	seq, bad := s.locate(ctx, s.reportOf(q.Z),
		refuse("report-not-found", "the journal of this terminal holds no such report; older ones are at head office").at("/z"))
	if bad != nil {
		return bad
	}
	err := s.o.Journal.Read(seq, func(rec chain.Record) error {
		named, err := chain.Named(s.o.Journal.ID(), rec)
		if err != nil {
			return err
		}
		_, data, err := event.Parse(named.Record.Payload)
		if err != nil {
			return err
		}
		e, err := event.ParseShiftClosed(data)
		q.Shift, q.Closed = e.Shift, seq
		return err
	})
	if err != nil {
		s.o.Log.Error("a report cannot be read", "seq", seq, "error", err)
		return refuse("internal", "the report cannot be read, see posd's log")
	}
	return nil
}

func (s *Server) appendExport(dst []byte, j *export.Job) []byte {
	o := object{b: dst}
	o.open("")
	o.text("export", j.ID)
	o.text("state", string(j.State))
	if j.Date != "" {
		o.text("date", j.Date)
	} else {
		o.uint("z", j.Z)
	}
	o.text("format", j.Format)
	if j.Rows != "" {
		o.text("rows", j.Rows)
	}
	o.uint("until", j.Until)
	o.uint("events", j.Read)
	o.uint("written", j.Written)
	o.int("bytes", j.Bytes)
	if j.Truncated {
		o.bool("truncated", true)
	}
	if j.Why != "" {
		o.text("why", j.Why)
	}
	o.text("asked", j.Asked.UTC().Format(time.RFC3339))
	if !j.Ended.IsZero() {
		o.text("ended", j.Ended.UTC().Format(time.RFC3339))
	}
	if j.State == export.Done {
		o.text("data", exportsPath+"/"+j.ID+dataEnd)
	}
	o.close()
	return o.b
}

func (s *Server) listExports(w http.ResponseWriter) int {
	x := s.exchange()
	defer s.done(x)
	x.out = append(x.out, `{"exports":[`...)
	for i, j := range s.o.Exports.Jobs() {
		if i > 0 {
			x.out = append(x.out, ',')
		}
		x.out = append(x.out, s.appendExport(nil, &j)...)
	}
	x.out = append(x.out, "]}\n"...)
	return writeJSON(w, http.StatusOK, x.out)
}

// exportData answers GET /v1/exports/{id}/data. The file is read in small pieces; the
// client may take a while, as long as it takes something.
func (s *Server) exportData(w http.ResponseWriter, r *http.Request, id string) int {
	f, j, err := s.o.Exports.Open(id)
	switch {
	case errors.Is(err, export.ErrNoJob):
		return s.refused(w, noExport())
	case errors.Is(err, export.ErrNotDone) && j.State == export.Failed:
		return s.refused(w, refuse("export-not-done", "it has failed: "+j.Why))
	case errors.Is(err, export.ErrNotDone):
		return s.refused(w, refuse("export-not-done", "it is being made").retry(exportRetry))
	case err != nil:
		s.o.Log.Error("an export cannot be read", "export", id, "error", err)
		return s.refused(w, noExport())
	}
	defer f.Close()
	h := w.Header()
	if h.Set("Content-Type", "application/jsonl"); j.Format == export.CSV {
		h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	}
	name := s.o.Terminal.Store + "-" + s.o.Terminal.ID + "-" + j.Date
	if j.Date == "" {
		name += "z" + strconv.FormatUint(j.Z, 10)
	}
	if j.Rows != "" {
		name += "-" + j.Rows
	}
	h.Set("Content-Disposition", `attachment; filename="`+name+"."+j.Format+`"`)
	h.Set("Content-Length", strconv.FormatInt(j.Bytes, 10))
	if r.Method == http.MethodHead {
		return http.StatusOK
	}
	select {
	case s.downloads <- struct{}{}:
		defer func() { <-s.downloads }()
	default:
		for _, name := range []string{"Content-Length", "Content-Disposition"} {
			h.Del(name)
		}
		return s.refused(w, refuse("busy", "others are being fetched; try again").retry(exportRetry))
	}
	s.send(w, r, f)
	return http.StatusOK
}

// send copies a file to a client, as slowly as that takes it, but not without end.
func (s *Server) send(w http.ResponseWriter, r *http.Request, f io.Reader) {
	out := http.NewResponseController(w)
	buf := make([]byte, downloadBuf)
	for r.Context().Err() == nil {
		n, err := f.Read(buf)
		if n > 0 {
			if out.SetWriteDeadline(time.Now().Add(s.times.write)) != nil {
				return
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			if c := connOf(r); c != nil {
				c.touch()
			}
		}
		if err != nil { // the end; a client counts the bytes
			return
		}
		select {
		case <-s.stopping:
			return
		default:
		}
	}
}
