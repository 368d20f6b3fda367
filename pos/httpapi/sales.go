package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/card"
	"posd/pos/event"
	"posd/pos/register"
	"posd/pos/till"
)

// exchange holds what one checkout needs; it is used again by others.
type exchange struct {
	body  bytes.Buffer
	dec   decoder
	req   request
	line  []pos.Line
	out   []byte
	made  []byte // the sale's event
	large bool   // it holds a place of those that take much memory
}

func (s *Server) exchange() *exchange {
	x := s.pool.Get().(*exchange)
	x.body.Reset()
	x.line = x.line[:0]
	x.out = x.out[:0]
	return x
}

// done gives x back, unless it has grown for a rare large sale.
func (s *Server) done(x *exchange) {
	if x.body.Cap() > keepBuffer || cap(x.out) > keepBuffer || cap(x.made) > keepBuffer || cap(x.line) > 64 {
		return
	}
	x.req.reset()
	clear(x.line)
	s.pool.Put(x)
}

// checkout makes a sale. A repeated request is answered before anything else is
// looked at: the item may be gone from the catalogue by now, the sale is not.
func (s *Server) checkout(w http.ResponseWriter, r *http.Request, front string) int {
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	x := s.exchange()
	defer s.done(x)
	key, release, bad := s.received(ctx, w, r, x, true)
	if bad != nil {
		return s.refused(w, bad)
	}
	defer release()
	if bad := s.admission.sale(front); bad != nil { // a body that never ends takes no place
		return s.refused(w, bad)
	}
	defer selling(r)()
	hash := sha256.Sum256(x.body.Bytes())
	c, bad := s.caller(r, front, callOf(key, hash), true)
	if bad != nil {
		return s.refused(w, bad)
	}
	a, known, asked, err := s.o.Register.Replay(ctx, key, hash)
	if err == nil && !known {
		a, bad, err = s.sell(ctx, x, register.Checkout{Key: key, Hash: hash, Front: front, Trace: traceOf(r), Asked: asked, Buf: x.made}, &c)
		if bad != nil {
			return s.refused(w, bad)
		}
	}
	if err != nil {
		bad = s.problemOf(err)
		c.release(bad)
		return s.refused(w, bad)
	}
	if x.out, err = s.appendAnswer(x, a); err != nil {
		s.o.Log.Error("a sale that was made cannot be read", "seq", a.Seq, "error", err)
		return s.refused(w, refuse("outcome-unknown", "the sale "+a.Sale+" is durable but could not be read for the answer; send the same request with the same key").retry(1))
	}
	return s.answerSale(w, x.out, a)
}

// received reads what each call that changes something has: its key and, in x, its body,
// which may be missing where it need not be there.
func (s *Server) received(ctx context.Context, w http.ResponseWriter, r *http.Request, x *exchange, needed bool) (key string, release func(), bad *problem) {
	if key, bad = keyOf(r); bad != nil {
		return "", nil, bad
	}
	if needed || r.ContentLength != 0 {
		if bad = contentOf(r, s.o.HTTP.MaxBody); bad != nil {
			return "", nil, bad
		}
	}
	release, bad = s.readBody(ctx, w, r, x)
	return key, release, bad
}

// sell decodes and resolves the request and hands it to the register.
func (s *Server) sell(ctx context.Context, x *exchange, c register.Checkout, by *caller) (a register.Answer, bad *problem, err error) {
	if bad = x.dec.decode(x.body.Bytes(), &x.req); bad != nil {
		return a, bad, nil
	}
	for again := true; again; again = errors.Is(err, register.ErrSettings) { // head office has just changed them, or a day has begun
		set := s.terms()
		c.Settings, c.Date = set.Settings, set.date
		if x.line, c.Prices, bad = s.resolve(x.line[:0], &x.req, &set); bad != nil {
			return a, bad, nil
		}
		c.Operator, c.Lines, c.Tenders = x.req.operator, x.line, x.req.tenders
		if by.on {
			c.Operator, c.Allow = by.name, by.allowSale(&x.req, set.Prices)
		}
		c.Discounts, c.Customer, c.Note, c.Age = x.req.discounts, x.req.customer, x.req.note, x.req.age
		c.Print = s.prints(x.req.printed, x.req.print)
		a, err = s.o.Register.Checkout(ctx, c)
	}
	s.noSpace.Store(errors.Is(err, journal.ErrNoSpace))
	return a, nil, err
}

func (s *Server) answerSale(w http.ResponseWriter, body []byte, a register.Answer) int {
	h := w.Header()
	status := http.StatusCreated
	h.Set("Location", salePath+a.Sale)
	if a.Replayed {
		status = s.replayed(w)
	} else {
		s.meters.sales.Inc()
	}
	return writeJSON(w, status, body)
}

// replayed says that an earlier call with the key has done what is answered.
func (s *Server) replayed(w http.ResponseWriter) (status int) {
	w.Header().Set("Idempotency-Replayed", "true")
	s.meters.replays.Inc()
	return http.StatusOK
}

func writeJSON(w http.ResponseWriter, status int, body []byte) int {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) // an error means that the client has gone; it will ask again
	return status
}

// keyOf returns the idempotency key.
func keyOf(r *http.Request) (string, *problem) {
	v := r.Header["Idempotency-Key"]
	if len(v) == 0 || len(v) == 1 && v[0] == "" {
		return "", refuse("idempotency-key-missing", "send an Idempotency-Key header: a new random value for each sale, the same one when the request is repeated")
	}
	if len(v) > 1 || len(v[0]) > 128 {
		return "", refuse("idempotency-key-invalid", "send one Idempotency-Key of 1 to 128 characters")
	}
	for i := 0; i < len(v[0]); i++ {
		if c := v[0][i]; c < 0x20 || c > 0x7e {
			return "", refuse("idempotency-key-invalid", "the Idempotency-Key may hold printable ASCII characters only")
		}
	}
	return v[0], nil
}

// contentOf refuses a body by what its headers say.
func contentOf(r *http.Request, most int64) *problem {
	media := r.Header.Get("Content-Type")
	if media != "application/json" {
		base, params, err := mime.ParseMediaType(media)
		charset := params["charset"]
		if err != nil || base != "application/json" || charset != "" && charset != "utf-8" && charset != "UTF-8" {
			return refuse("unsupported-media-type", "send Content-Type: application/json")
		}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return refuse("unsupported-media-type", "send the body without Content-Encoding")
	}
	if r.ContentLength > most {
		return tooLarge(most)
	}
	return nil
}

func tooLarge(most int64) *problem {
	return refuse("body-too-large", "a body has at most "+strconv.FormatInt(most, 10)+" bytes; split the sale")
}

// admit bounds the memory of all large bodies together.
func (s *Server) admit(ctx context.Context) (release func(), bad *problem) {
	if s.load().Shedding {
		return nil, refuse("busy", "memory is short, large requests have to wait; nothing happened, try again with the same key").retry(5)
	}
	return s.seat(ctx)
}

// seat is admit, also while memory is short.
func (s *Server) seat(ctx context.Context) (release func(), bad *problem) {
	select {
	case s.large <- struct{}{}:
		return func() { <-s.large }, nil
	case <-ctx.Done():
		return nil, refuse("busy", "too many large requests at once; nothing happened, try again with the same key").retry(1)
	}
}

// readBody reads a small body at once. A large one is admitted first, whether its
// size was told or shows; one that is short and has much in it when it has been read.
func (s *Server) readBody(ctx context.Context, w http.ResponseWriter, r *http.Request, x *exchange) (release func(), bad *problem) {
	body := http.MaxBytesReader(w, r.Body, s.o.HTTP.MaxBody)
	release, x.large = func() {}, false
	if r.ContentLength <= smallBody {
		if r.ContentLength > 0 {
			x.body.Grow(int(r.ContentLength) + bytes.MinRead)
		}
		n, err := x.body.ReadFrom(io.LimitReader(body, smallBody+1))
		switch bad := badBody(err); {
		case bad != nil:
			return release, bad
		case n <= smallBody && bytes.Count(x.body.Bytes(), []byte("{")) <= smallObjects:
			return release, nil
		case n <= smallBody:
			x.large = true
			return s.seat(ctx)
		}
	}
	x.large = true
	if release, bad = s.admit(ctx); bad != nil {
		return nil, bad
	}
	if r.ContentLength > 0 {
		x.body.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := x.body.ReadFrom(body)
	if bad := badBody(err); bad != nil {
		release()
		return nil, bad
	}
	return release, nil
}

func badBody(err error) *problem {
	var over *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &over):
		return tooLarge(over.Limit)
	}
	return refuse("malformed-json", "the body could not be read to its end; send it again with the same key")
}

// problemOf says what an error of the register means to the caller.
func (s *Server) problemOf(err error) *problem {
	var refused *till.RefusalError
	var bad *problem
	switch {
	case errors.As(err, &bad):
		return bad
	case errors.Is(err, card.ErrBusy), errors.Is(err, card.ErrDown):
		return s.cardProblem(err)
	case errors.Is(err, register.ErrNoSale):
		return refuse("sale-not-found", "the journal of this terminal holds no such sale; goods of an older one, or of another till's, come back by its receipt with description, tax and price")
	case errors.As(err, &refused):
		p := refuse(refused.Code, refused.Detail).at(refused.Field)
		p.cause, p.basket, p.tender = refused.Cause, refused.Basket, refused.Tender
		return p
	case errors.Is(err, register.ErrKeyReused):
		return refuse("idempotency-key-reused", "this Idempotency-Key belongs to another call: to another path, body or If-Match; use a new key for a new call, and all three as they were to repeat one")
	case errors.Is(err, register.ErrBusy):
		return refuse("busy", "too many sales at once; nothing happened, try again with the same key").retry(1)
	case errors.Is(err, register.ErrUnreadable):
		s.o.Log.Error("a repeated request cannot be answered", "error", err)
		p := refuse("outcome-unknown", "this Idempotency-Key has made a sale before, which cannot be read any more; do not sell it again, see posd's log")
		p.cause = "unreadable"
		return p
	case errors.Is(err, register.ErrIndex):
		return refuse("index-behind", "it cannot be told yet whether this Idempotency-Key has made a sale; nothing happened, try again with the same key").retry(1)
	case errors.Is(err, journal.ErrNoSpace):
		return refuse("no-space", "there is no room for another sale, nothing happened; free space on the data partition or connect the terminal to head office").retry(noSpaceRetry)
	case errors.Is(err, journal.ErrReadOnly):
		return refuse("read-only", "nothing happened; "+readOnly).retry(noSpaceRetry)
	case errors.Is(err, journal.ErrFailed):
		return refuse("journal-failed", "the storage device failed; the sale may have been made or not: ask again with the same key when posd runs again")
	case errors.Is(err, register.ErrStopping), errors.Is(err, journal.ErrClosed):
		return refuse("stopping", "posd is stopping; nothing happened, try again with the same key").retry(stoppingRetry)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return refuse("outcome-unknown", "the sale was not durable in time, it may have been made or not; send the same request with the same key").retry(1)
	}
	s.o.Log.Error("a checkout failed", "error", err)
	return refuse("internal", "an error inside posd, see its log; the sale may have been made or not, try again with the same key")
}

// appendAnswer appends the answer to a checkout.
func (s *Server) appendAnswer(x *exchange, a register.Answer) ([]byte, error) {
	if a.Event == nil {
		return s.appendSale(x.out, a.Seq)
	}
	x.made = a.Event[:0]
	data, err := dataOf(chain.Record{Type: event.RecordType, Payload: a.Event})
	return append(appendMade(x.out, s.o.Journal.ID(), a.Seq, event.TypeSaleCompleted, data), "}\n"...), err
}

// appendSale appends the answer for a sale: its event's place, and its data as
// they stand in the journal.
func (s *Server) appendSale(dst []byte, seq uint64) ([]byte, error) {
	err := s.o.Journal.Read(seq, func(rec chain.Record) error {
		c, err := chain.Named(s.o.Journal.ID(), rec)
		if err != nil {
			return err
		}
		data, err := dataOf(c.Record)
		dst = appendMade(dst, c.Journal, c.Record.Seq, event.TypeSaleCompleted, data)
		return err
	})
	return append(dst, "}\n"...), err
}

// dataOf returns the data of a sale's event.
func dataOf(rec chain.Record) ([]byte, error) {
	if rec.Type != event.RecordType {
		return nil, errors.New("the record is not an event")
	}
	e, err := event.Peek(rec.Payload)
	if err == nil && !isSale(string(e.Type)) {
		err = errors.New("the event is not a sale")
	}
	return e.Data, err
}

// bySale answers GET /v1/sales/{id}.
func (s *Server) bySale(w http.ResponseWriter, r *http.Request) int {
	return s.found(w, r, s.saleNamed(r.URL.Path[len(salePath):]))
}

// byReceipt answers GET /v1/sales?receipt=.
func (s *Server) byReceipt(w http.ResponseWriter, r *http.Request) int {
	q, ok := queryOf(r, "receipt")
	receipt := q.Get("receipt")
	if !ok || receipt == "" || strings.Contains(receipt, "/") {
		return s.refused(w, refuse("query-invalid", "name one receipt: /v1/sales?receipt=T1-1-42"))
	}
	return s.found(w, r, func() (uint64, bool, error) { return s.o.View.ByReceipt(receipt) })
}

// found answers with the sale that the index finds.
func (s *Server) found(w http.ResponseWriter, r *http.Request, find func() (uint64, bool, error)) int {
	return s.lookup(w, r, find, refuse("sale-not-found", "the journal of this terminal holds no such sale; older ones are at head office"),
		func(x *exchange, seq uint64) (err error) {
			x.out, err = s.appendSale(x.out, seq)
			return err
		})
}

// lookup answers with what read makes of the record that the index finds, once that
// knows every sale that was answered before this request.
func (s *Server) lookup(w http.ResponseWriter, r *http.Request, find func() (uint64, bool, error), missing *problem, read func(*exchange, uint64) error) int {
	seq, bad := s.locate(r.Context(), find, missing)
	if bad != nil {
		return s.refused(w, bad)
	}
	x := s.exchange()
	defer s.done(x)
	switch err := read(x, seq); {
	case errors.Is(err, journal.ErrFreed):
		return s.refused(w, missing)
	case err != nil:
		s.o.Log.Error("an event cannot be read", "seq", seq, "error", err)
		return s.refused(w, refuse("internal", "the event cannot be read, see posd's log"))
	}
	return writeJSON(w, http.StatusOK, x.out)
}

// locate is the record that the index finds.
func (s *Server) locate(ctx context.Context, find func() (uint64, bool, error), missing *problem) (uint64, *problem) {
	floor, _ := s.o.Journal.Floor()
	ctx, cancel := context.WithTimeout(ctx, answerTime/2)
	defer cancel()
	behind := refuse("index-behind", "the index of sales is not up to date yet; try again").retry(1)
	if err := s.o.View.WaitApplied(ctx, floor); err != nil {
		return 0, behind
	}
	seq, ok, err := find()
	switch {
	case err != nil:
		return 0, behind
	case !ok:
		return 0, missing
	}
	return seq, nil
}
