package httpapi

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
)

const (
	eventsPath    = "/v1/events"
	mostStreams   = 8
	mostTypes     = 32
	streamBatch   = 16 << 10         // bytes that are written at a time, or one event
	streamTurn    = time.Millisecond // of reading, before others have theirs
	streamFull    = 5                // seconds to wait for one
	fromTheOldest = "start"
)

// streamTimes are shorter in tests.
type streamTimes struct {
	write time.Duration // a client that takes nothing for so long is cut
	beat  time.Duration // something is sent at least so often
}

var usualTimes = streamTimes{10 * time.Second, 15 * time.Second}

// stream is one client of GET /v1/events. Between two writes it holds nothing of the
// journal, so that a slow client keeps no segment from being freed.
type stream struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	out   *http.ResponseController
	types []string // empty: all; "sale.*" is all of those
	next  uint64   // record
	buf   []byte
	beat  time.Time // when the next one is due
}

// events answers GET /v1/events: what has become durable, as it does.
func (s *Server) events(w http.ResponseWriter, r *http.Request) int {
	st := &stream{s: s, w: w, r: r, out: http.NewResponseController(w)}
	if bad := st.asked(); bad != nil {
		return s.refused(w, bad)
	}
	if s.load().Shedding {
		return s.refused(w, refuse("busy", "memory is short, no stream is begun now").retry(streamFull))
	}
	h := w.Header()
	if r.Method == http.MethodHead {
		h.Set("Content-Type", "text/event-stream")
		return http.StatusOK
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return s.refused(w, refuse("too-many-streams", "there are "+strconv.Itoa(mostStreams)+" streams of events, and no more; close one").retry(streamFull))
	}
	// The server's time for reading a request would end this one.
	if err := st.out.SetReadDeadline(time.Time{}); err != nil {
		return s.refused(w, refuse("internal", err.Error()))
	}
	ctx, end := context.WithCancel(r.Context())
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-s.stopping:
			end()
		case <-ctx.Done():
		}
	})
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy in front is to keep nothing back
	w.WriteHeader(http.StatusOK)
	st.run(ctx)
	end()
	watch.Wait()
	return http.StatusOK
}

// asked reads what is wanted, and from where on.
func (st *stream) asked() *problem {
	q, ok := queryOf(st.r, "after", "types")
	after := st.r.Header.Get("Last-Event-ID")
	if after == "" { // else it is a client that came back: what it has seen counts
		after = q.Get("after")
	}
	if q.Has("types") {
		st.types = strings.Split(q.Get("types"), ",")
	}
	for _, t := range st.types {
		ok = ok && t != "" && len(t) <= maxCode
	}
	if !ok || len(st.types) > mostTypes {
		return refuse("query-invalid", "name types, with commas between them, at most "+strconv.Itoa(mostTypes)+", and the event after which to begin: "+eventsPath+"?types=sale.completed,cash.*&after=start")
	}
	return st.position(after)
}

// position finds the first record.
func (st *stream) position(after string) *problem {
	j := st.s.o.Journal
	floor, _ := j.Floor()
	gone := func(why string) *problem {
		return refuse("events-gone", why+"; read anew what you show, then begin without Last-Event-ID")
	}
	switch after {
	case "":
		st.next = floor + 1
		return nil
	case fromTheOldest:
		st.next = j.Oldest()
		return nil
	}
	id, tail, _ := strings.Cut(after, "-")
	seq, err := strconv.ParseUint(tail, 10, 64)
	switch {
	case err != nil || len(id) != 2*len(chain.ID{}) || !lowerHex(id):
		return refuse("query-invalid", strconv.Quote(string(clip([]byte(after))))+" is not the id of an event; send back what the stream gave as id")
	case id != j.ID().String():
		return gone("the terminal has another journal than that of this event")
	case seq > floor:
		return gone("this journal ends at event " + strconv.FormatUint(floor, 10))
	case seq+1 < j.Oldest():
		return gone("the oldest event that is held is " + strconv.FormatUint(j.Oldest(), 10))
	}
	if st.next = seq + 1; planted("event-skipped") && seq < floor {
		st.next++
	}
	return nil
}

// run writes until the client is gone, or too slow, or posd ends.
func (st *stream) run(ctx context.Context) {
	st.buf = append(st.buf, "retry: 2000\n: posd\n"...)
	st.mark()
	if !st.flush() {
		return
	}
	for ctx.Err() == nil {
		if _, bad := st.s.authorize(st.w, st.r); bad != nil { // the token was taken back
			return
		}
		more, err := st.read()
		if err != nil {
			st.last(err)
			return
		}
		if len(st.buf) > 0 && !st.flush() {
			return
		}
		switch {
		case more && st.s.o.Pace != nil:
			st.s.o.Pace(ctx.Done())
		case !more && !st.wait(ctx):
			return
		}
	}
}

// read takes what is durable, as much as is written at a time.
func (st *stream) read() (more bool, err error) {
	rd, err := st.s.o.Journal.Reader(st.next)
	if err != nil {
		return false, err
	}
	defer rd.Close()
	for began := time.Now(); len(st.buf) < streamBatch && time.Since(began) < streamTurn; {
		rec, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err == nil {
			err = rd.Guard(func() error { return st.append(rec) })
		}
		if err != nil {
			return false, err
		}
		st.next = rec.Seq + 1
	}
	return true, nil
}

// append appends a record that is an event of a wanted type. A copy of a former journal's
// record is that event.
func (st *stream) append(rec chain.Record) error {
	named, err := chain.Named(chain.ID{}, rec)
	if err != nil || named.Record.Type != event.RecordType {
		return err
	}
	payload := named.Record.Payload
	kind := event.KindOf(payload)
	if !st.wants(kind) || bytes.ContainsAny(payload, "\r\n") { // which no release writes
		return nil
	}
	st.buf = st.appendID(append(st.buf, "id: "...), rec.Seq)
	st.buf = append(append(st.buf, "\nevent: "...), kind...)
	st.buf = append(append(st.buf, "\ndata: "...), payload...)
	st.buf = append(st.buf, "\n\n"...)
	return nil
}

// wants says whether the client asked for a type. One that could break the stream's lines
// is no type.
func (st *stream) wants(kind string) bool {
	if kind == "" || strings.ContainsAny(kind, "\r\n") {
		return false
	}
	for _, t := range st.types {
		if family, ok := strings.CutSuffix(t, "*"); ok && strings.HasPrefix(kind, family) || t == kind {
			return true
		}
	}
	return len(st.types) == 0
}

func (st *stream) appendID(dst []byte, seq uint64) []byte {
	id := st.s.o.Journal.ID()
	return strconv.AppendUint(append(hex.AppendEncode(dst, id[:]), '-'), seq, 10)
}

// mark tells the client how far it has got, though nothing of it was wanted.
func (st *stream) mark() {
	st.buf = append(st.appendID(append(st.buf, "id: "...), st.next-1), "\n\n"...)
}

// flush writes what is there, or finds the client too slow.
func (st *stream) flush() bool {
	err := st.out.SetWriteDeadline(time.Now().Add(st.s.times.write))
	if err == nil {
		_, err = st.w.Write(st.buf)
	}
	if err == nil {
		err = st.out.Flush()
	}
	st.buf, st.beat = st.buf[:0], time.Now().Add(st.s.times.beat)
	if cap(st.buf) > keepBuffer {
		st.buf = nil
	}
	if c := connOf(st.r); c != nil {
		c.touch()
	}
	if err != nil {
		st.s.o.Log.Info("a stream of events was cut", "error", err)
	}
	return err == nil
}

// wait returns when there is something to write, false if the stream has to end.
func (st *stream) wait(ctx context.Context) bool {
	timed, cancel := context.WithDeadline(ctx, st.beat)
	defer cancel()
	err := st.s.o.Journal.WaitBeyond(timed, st.next-1)
	switch {
	case err == nil:
		return true
	case ctx.Err() != nil || timed.Err() == nil:
		return false
	}
	st.mark()
	return st.flush()
}

// last says why the stream ends, where that is not the client's doing.
func (st *stream) last(err error) {
	switch {
	case errors.Is(err, journal.ErrClosed), errors.Is(err, journal.ErrFailed):
		return
	case errors.Is(err, journal.ErrFreed):
		err = errors.New("the client was too slow: what comes next is not held any more")
	}
	st.s.o.Log.Warn("a stream of events ends", "next", st.next, "error", err)
}
