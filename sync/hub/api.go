package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"posd/journal/chain"
	"posd/sync/ledger"
	"posd/sync/returns"
)

// One short read transaction of an answer takes at most this much.
const (
	pageEvents = 256
	pageBytes  = 1 << 20
)

// Handler serves the hub's HTTP interface. /livez, /readyz and POST /v1/enrol are open;
// all else needs the bearer token in the file api.token, and with TLSCA a certificate.
func (h *Hub) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", h.readyz)
	mux.HandleFunc("POST /v1/enrol", h.enrol)
	for pattern, f := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /v1/status":                           h.status,
		"GET /v1/terminals":                        h.terminals,
		"GET /v1/events":                           h.events,
		"GET /v1/fleet":                            h.fleetList,
		"GET /v1/fleet/{store}/{terminal}":         h.fleetOne,
		"POST /v1/fleet/{store}/{terminal}/retire": h.retire,
		"GET /metrics/terminals":                   h.fleetMetrics,
		"GET /v1/quarantine":                       h.quarantine,
		"GET /v1/quarantine/{key}":                 h.quarantineShow,
		"GET /v1/quarantine/{key}/body":            h.quarantineBody,
		"POST /v1/quarantine/{key}/accept":         h.decideHandler(verdictAccepted),
		"POST /v1/quarantine/{key}/reject":         h.decideHandler(verdictRejected),
		"POST /v1/collisions/settle":               h.settleCollision,
		"GET /v1/outbox":                           h.outboxState,
		"POST /v1/outbox/replay":                   h.replayEvents,
		"POST /v1/import":                          h.importParcels,
		"GET /v1/collisions":                       h.collisions,
		"GET /v1/returns":                          h.returnsList,
		"GET /v1/returns/blind":                    h.blindReturns,
		"POST /v1/returns/settle":                  h.settleReturn,
		"GET /v1/enrol":                            h.listTokens,
		"POST /v1/enrol/tokens":                    h.makeToken,
		"POST /v1/enrol/revoke":                    h.revoke,
		"POST /v1/keys/push":                       h.pushAccounts,
		"GET /v1/audit":                            h.auditTrail,
		"GET /v1/orders":                           h.ordersHandler,
		"GET /v1/order/{store}/{terminal}":         h.pushedText,
		"POST /v1/orders/push":                     h.pushHandler,
		"POST /v1/orders/command":                  h.commandHandler,
		"POST /v1/catalogues":                      h.publishHandler,
		"GET /v1/catalogues":                       h.cataloguesHandler,
		"GET /v1/catalogues/{version}":             h.catalogueHandler,
		"GET /metrics":                             func(w http.ResponseWriter, _ *http.Request) error { h.WriteMetrics(w); return nil },
	} {
		mux.Handle(pattern, h.authorized(f))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, "there is no "+r.Method+" "+r.URL.Path)
	})
	return h.bodies.timely(mux)
}

// badRequest is an error whose text is for the caller.
type badRequest struct{ detail string }

func (b *badRequest) Error() string { return b.detail }

// refusedRequest was understood, and is not done; its text is for the caller.
type refusedRequest struct {
	status int
	detail string
}

func (r *refusedRequest) Error() string { return r.detail }

func refuseRequest(status int, format string, a ...any) error {
	return &refusedRequest{status, fmt.Sprintf(format, a...)}
}

// authorized compares digests, so that the time taken tells nothing of the token.
func (h *Hub) authorized(f func(http.ResponseWriter, *http.Request) error) http.Handler {
	want := sha256.Sum256([]byte(h.api))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.certified(r) {
			h.m.auth.Inc()
			problem(w, http.StatusForbidden, "show a certificate of the authority of --tls-ca")
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			h.m.auth.Inc()
			w.Header().Set("WWW-Authenticate", `Bearer realm="poshub"`)
			problem(w, http.StatusUnauthorized, "send the token of the file api.token as: Authorization: Bearer <token>")
			return
		}
		readWithin(w, r, h.bodies.caller)
		err := f(w, r)
		var bad *badRequest
		var no *refusedRequest
		switch {
		case err == nil:
		case errors.As(err, &no):
			problem(w, no.status, no.detail)
		case errors.As(err, &bad):
			problem(w, http.StatusBadRequest, bad.detail)
		default:
			h.log.Error("http", "path", r.URL.Path, "error", err)
			problem(w, http.StatusInternalServerError, "the hub could not answer; its log says why")
		}
	})
}

// problem answers with RFC 9457 problem details.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail})
}

func reply(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// readyz: this process does its part. Which shards another process works on it cannot
// know; it is ready when it has none to do, or takes in what it has.
func (h *Hub) readyz(w http.ResponseWriter, _ *http.Request) {
	why := ""
	reading := 0
	for _, s := range h.shards {
		if s.reading.Load() {
			reading++
		} else if e, _ := s.lastErr.Load().(string); e != "" {
			why = e
		}
	}
	if reading == 0 || !h.nc.IsConnected() {
		if why == "" {
			why = "starting"
		}
		problem(w, http.StatusServiceUnavailable, "not taking in: "+why)
		return
	}
	w.Write([]byte("ok\n"))
}

type shardReply struct {
	Shard     int    `json:"shard"`
	Stream    string `json:"stream"`
	Position  uint64 `json:"position"` // stream sequence committed by this process
	Ingesting bool   `json:"ingesting"`
	LastError string `json:"last_error,omitempty"`
}

type statusReply struct {
	Ledger      string       `json:"ledger"`
	Store       string       `json:"store"` // what the ledger is made of
	Shards      []shardReply `json:"shards"`
	Position    uint64       `json:"position"`  // sum of the shards'
	Ingesting   bool         `json:"ingesting"` // any of them, by this process
	LastError   string       `json:"last_error,omitempty"`
	Journals    int          `json:"journals"`
	Terminals   int          `json:"terminals"`
	Records     uint64       `json:"records"`
	Events      uint64       `json:"events"`
	Lost        uint64       `json:"lost"`    // records declared lost by terminals
	Waiting     int          `json:"waiting"` // journals with a gap
	Held        int          `json:"held"`    // journals whose parcels are set aside
	Quarantined uint64       `json:"quarantined"`
	Copied      uint64       `json:"copied"`     // of events: came first, or only, as copies in another journal
	Collisions  uint64       `json:"collisions"` // receipt numbers that several sales have, and nobody has seen to

	ReturnsOver    uint64 `json:"returns_over"`    // receipts of which more came back than was sold, and nobody has seen to
	ReturnsUnknown uint64 `json:"returns_unknown"` // and those that are not in the ledger; at most 10,000 of both
}

func (h *Hub) status(w http.ResponseWriter, r *http.Request) error {
	s := statusReply{Ledger: h.ledger.ID().String(), Store: h.ledger.Kind()}
	for _, x := range h.shards {
		e, _ := x.lastErr.Load().(string)
		s.Shards = append(s.Shards, shardReply{x.n, x.stream, x.at.Load(), x.reading.Load(), e})
		s.Position += x.at.Load()
		if s.Ingesting = s.Ingesting || x.reading.Load(); e != "" {
			s.LastError = e
		}
	}
	terminals := make(map[string]bool)
	err := h.ledger.View(r.Context(), func(tx ledger.Tx) (err error) {
		if s.Quarantined, err = tx.QuarantineCount(); err != nil {
			return err
		}
		if s.Collisions, err = openCollisions(tx); err != nil {
			return err
		}
		back, err := returns.Count(tx)
		if err != nil {
			return err
		}
		s.ReturnsOver, s.ReturnsUnknown = back.Over, back.Unknown
		return tx.Chains(func(c ledger.Chain) error {
			s.Journals++
			s.Copied += c.Copied
			terminals[c.Store+"."+c.Terminal] = true
			s.Records += c.Records
			s.Events += c.Events
			s.Lost += c.Lost
			if c.Want != 0 {
				s.Waiting++
			}
			if c.Held != "" {
				s.Held++
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	s.Terminals = len(terminals)
	return reply(w, s)
}

type terminalReply struct {
	Journal string `json:"journal"`
	ledger.Chain
	Head string `json:"head"`
}

func (h *Hub) terminals(w http.ResponseWriter, r *http.Request) error {
	all := []terminalReply{}
	err := h.ledger.View(r.Context(), func(tx ledger.Tx) error {
		return tx.Chains(func(c ledger.Chain) error {
			all = append(all, terminalReply{c.Journal.String(), c, c.Head.String()})
			return nil
		})
	})
	if err != nil {
		return err
	}
	return reply(w, all)
}

// filter is what /v1/events was asked for.
type filter struct {
	store, terminal string
	from            ledger.Cursor
	limit           uint64
}

func parseFilter(r *http.Request) (f filter, err error) {
	q := r.URL.Query()
	for name := range q {
		switch name {
		case "store", "terminal", "journal", "after", "limit":
		default:
			return f, &badRequest{fmt.Sprintf("unknown parameter %q: there are store, terminal, journal, after and limit", name)}
		}
	}
	f.store, f.terminal, f.limit = q.Get("store"), q.Get("terminal"), ^uint64(0)
	if s := q.Get("limit"); s != "" {
		if f.limit, err = strconv.ParseUint(s, 10, 64); err != nil || f.limit == 0 {
			return f, &badRequest{"limit must be a positive number"}
		}
	}
	if s := q.Get("journal"); s != "" {
		if f.from.Journal, err = chain.ParseID(s); err != nil {
			return f, &badRequest{err.Error()}
		}
		f.from.Only = true
	}
	return f, f.parseAfter(q.Get("after"))
}

// parseAfter reads "<seq>", with journal, or "<journal id>:<seq>", without.
func (f *filter) parseAfter(s string) (err error) {
	if s == "" {
		return nil
	}
	if id, seq, ok := strings.Cut(s, ":"); ok {
		if f.from.Only {
			return &badRequest{"after must be a number when journal is given"}
		}
		if f.from.Journal, err = chain.ParseID(id); err != nil {
			return &badRequest{"after: " + err.Error()}
		}
		s = seq
	} else if !f.from.Only {
		return &badRequest{"after must be <journal id>:<seq> unless journal is given"}
	}
	if f.from.Seq, err = strconv.ParseUint(s, 10, 64); err != nil {
		return &badRequest{"after: the sequence number is not a number"}
	}
	return nil
}

// events streams JSON lines, page by page: a slow reader holds no transaction.
func (h *Hub) events(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilter(r)
	if err != nil {
		return err
	}
	return h.stream(w, r, func(buf []byte) ([]byte, bool, error) { return h.page(r.Context(), buf, &f) })
}

// stream writes page after page, each of one read transaction.
func (h *Hub) stream(w http.ResponseWriter, r *http.Request, page func([]byte) ([]byte, bool, error)) error {
	w.Header().Set("Content-Type", "application/jsonl")
	var buf []byte
	for more := true; more; {
		var err error
		if buf, more, err = page(buf[:0]); err != nil {
			// The answer has begun: end it in a way that its reader notices.
			h.log.Error("http: answer cut short", "path", r.URL.Path, "error", err)
			panic(http.ErrAbortHandler)
		}
		if _, err := w.Write(buf); err != nil {
			return nil // the reader went away
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return nil
		}
	}
	return nil
}

// page appends the lines of one read transaction and moves the filter on. A limit
// never parts the events of one number, as after could not name the rest.
func (h *Hub) page(ctx context.Context, buf []byte, f *filter) ([]byte, bool, error) {
	seen, more := 0, false
	var c ledger.Chain
	var hit bool
	err := h.ledger.View(ctx, func(tx ledger.Tx) error {
		return tx.Events(f.from, func(e ledger.Event) (bool, error) {
			if f.limit == 0 && (e.Journal != f.from.Journal || e.Seq != f.from.Seq) {
				return false, nil
			}
			if more = seen == pageEvents || len(buf) >= pageBytes; more {
				return false, nil
			}
			if seen++; c.Journal != e.Journal || seen == 1 {
				var err error
				if c, _, err = tx.Chain(e.Journal); err != nil {
					return false, err
				}
				hit = (f.store == "" || f.store == c.Store) && (f.terminal == "" || f.terminal == c.Terminal)
			}
			if !hit { // pass over the whole journal
				f.from.Name = ledger.Name{Journal: e.Journal, Seq: ledger.MaxSeq}
				more = !f.from.Only
				return false, nil
			}
			f.from.Name = e.Name
			buf = appendLine(buf, &c, &e)
			f.limit -= min(f.limit, 1)
			return true, nil
		})
	})
	return buf, more, err
}

func appendLine(buf []byte, c *ledger.Chain, e *ledger.Event) []byte {
	buf = append(buf, `{"store":"`...)
	buf = append(buf, c.Store...) // tokens of [A-Za-z0-9_-]: nothing to escape
	buf = append(buf, `","terminal":"`...)
	buf = append(buf, c.Terminal...)
	buf = append(buf, `","journal":"`...)
	buf = hex.AppendEncode(buf, e.Journal[:])
	buf = append(buf, `","seq":`...)
	buf = strconv.AppendUint(buf, e.Seq, 10)
	buf = append(buf, `,"head":"`...)
	buf = hex.AppendEncode(buf, e.Head[:])
	if e.At != 0 {
		buf = append(buf, `","copy":{"journal":"`...)
		buf = hex.AppendEncode(buf, e.In[:])
		buf = append(buf, `","seq":`...)
		buf = append(strconv.AppendUint(buf, e.At, 10), '}')
	} else {
		buf = append(buf, '"')
	}
	if v := jsontext.Value(e.Payload); !v.IsValid() { // keep the line whole, whatever a terminal wrote
		buf = append(buf, `,"raw":"`...)
		buf = hex.AppendEncode(buf, e.Payload)
		return append(buf, "\"}\n"...)
	}
	buf = append(buf, `,"event":`...)
	if bytes.ContainsAny(e.Payload, "\r\n") {
		var one bytes.Buffer
		json.Compact(&one, e.Payload)
		buf = append(buf, one.Bytes()...)
	} else {
		buf = append(buf, e.Payload...)
	}
	return append(buf, "}\n"...)
}
