package hub

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"posd/journal/chain"
	"posd/pos/event"
	"posd/sync/ledger"
	"posd/sync/outbox"
)

const (
	verdictAccepted = "accepted"
	verdictRejected = "rejected"
)

// Kinds of documents in the ledger.
const (
	kindQuarantine = "quarantine"         // key "size": what waits for a decision
	kindSkipped    = "quarantine-skipped" // by lane: what the quarantine had no room for
	kindAllowed    = "store-allowed"      // by store: a person has let it in
	kindTell       = "tell"               // "<region>/<shard> <journal>": a terminal has to be told of a decision
)

// officeLane is the lane of what people at head office decide and bring in.
const officeLane = "office"

// errAgain: the stream is to be read again from an earlier place.
var errAgain = errors.New("the quarantine has room again")

type quarantineSize struct {
	Bytes int64 `json:"bytes"`
}

// readSize is what waits for a decision. A ledger of an earlier release has not counted it.
func readSize(tx ledger.Tx) (s quarantineSize, err error) {
	v, ok, err := tx.Doc(kindQuarantine, "size")
	switch {
	case err != nil:
		return s, err
	case ok:
		return s, json.Unmarshal(v, &s)
	}
	return s, tx.Quarantine(func(q ledger.Quarantined) error {
		if q.Decision.Verdict == "" {
			s.Bytes += int64(q.Size)
		}
		return nil
	})
}

func putDoc(tx ledger.Tx, kind, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.PutDoc(kind, key, b)
}

// quarantine keeps a message that was refused, if there is room.
func (g *judge) quarantine(tx ledger.Tx, m *message, r *refusal) error {
	q := g.quarantined(m, r)
	g.last = q
	size, err := readSize(tx)
	if err != nil {
		return err
	}
	if size.Bytes += int64(len(m.body)); g.room > 0 && size.Bytes > g.room && g.bug != bugNoLimit {
		if _, known, err := tx.Quarantined(q.Key); known || err != nil {
			return err
		}
		return g.skip(tx, m)
	}
	if added, err := tx.PutQuarantine(q); !added || err != nil {
		return err
	}
	return putDoc(tx, kindQuarantine, "size", size)
}

// skipped says what a lane's stream holds that the quarantine had no room for.
type skipped struct {
	First uint64 `json:"first"` // message of the stream
	Count uint64 `json:"count"`
}

func readSkipped(tx ledger.Tx, lane string) (s skipped, err error) {
	v, ok, err := tx.Doc(kindSkipped, lane)
	if ok && err == nil {
		err = json.Unmarshal(v, &s)
	}
	return s, err
}

// skip leaves a message in the stream, to be read again.
func (g *judge) skip(tx ledger.Tx, m *message) error {
	if g.office {
		return refuseRequest(http.StatusInsufficientStorage, "the quarantine is full: decide about what is there first (poshub quarantine list)")
	}
	s, err := readSkipped(tx, g.lane)
	if err != nil {
		return err
	}
	if s.Count++; s.First == 0 || m.seq < s.First {
		s.First = m.seq
	}
	g.tally.skipped++
	return putDoc(tx, kindSkipped, g.lane, s)
}

func tellPrefix(region string, shard int) string { return region + "/" + strconv.Itoa(shard) + " " }

// heedDecisions tells terminals what people have decided about them, and goes back in
// the stream when there is room for what was skipped.
func (s *shard) heedDecisions(ctx context.Context, pos ledger.Position) error {
	h := s.h
	prefix := tellPrefix(h.opt.Region, s.n)
	var chains []ledger.Chain
	var keys []string
	var left skipped
	var size quarantineSize
	err := h.ledger.View(ctx, func(tx ledger.Tx) error {
		chains, keys = chains[:0], keys[:0]
		err := tx.Docs(kindTell, prefix, func(key string, _ []byte) (bool, error) {
			text, mine := strings.CutPrefix(key, prefix)
			if !mine {
				return false, nil
			}
			keys = append(keys, key)
			id, err := chain.ParseID(text)
			if err != nil {
				return false, fmt.Errorf("document %q: %w", key, err)
			}
			c, ok, err := tx.Chain(id)
			if ok {
				chains = append(chains, c)
			}
			return len(keys) < 1000, err
		})
		if err != nil {
			return err
		}
		if err := h.readAllowed(tx); err != nil {
			return err
		}
		if left, err = readSkipped(tx, s.lane); err != nil || left.Count == 0 {
			return err
		}
		size, err = readSize(tx)
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range chains {
		s.tell(c)
	}
	again := left.Count > 0 && size.Bytes <= h.opt.QuarantineBytes/4*3 && h.opt.bug != bugNoReread
	if len(keys) == 0 && !again {
		return nil
	}
	if err := h.ledger.Update(ctx, func(tx ledger.Tx) error {
		for _, key := range keys {
			if err := tx.DeleteDoc(kindTell, key); err != nil {
				return err
			}
		}
		if !again {
			return nil
		}
		back := pos
		back.Seq = min(pos.Seq, left.First-1)
		return errors.Join(tx.DeleteDoc(kindSkipped, s.lane), tx.SetPosition(s.lane, pos, back))
	}); err != nil || !again {
		return err
	}
	return fmt.Errorf("%w: stream %s is read again from message %d", errAgain, s.stream, left.First)
}

// readAllowed keeps in mind which stores people have let in.
func (h *Hub) readAllowed(tx ledger.Tx) error {
	if len(h.opt.Stores) == 0 {
		return nil
	}
	return tx.Docs(kindAllowed, "", func(store string, _ []byte) (bool, error) {
		h.allowed.Store(store, true)
		return true, nil
	})
}

func (h *Hub) quarantineBytes() uint64 {
	return h.counted(func(tx ledger.Tx) (uint64, error) {
		s, err := readSize(tx)
		return uint64(max(0, s.Bytes)), err
	})
}

// enterOffice runs fn in a transaction of head office's own lane.
func (h *Hub) enterOffice(ctx context.Context, fn func(tx ledger.Tx, g *judge) error) error {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	var done tally
	err := h.ledger.Update(ctx, func(tx ledger.Tx) error {
		g := h.judge(officeLane)
		g.office = true
		from, err := tx.Position(officeLane)
		if err != nil {
			return err
		}
		if err := fn(tx, &g); err != nil {
			return err
		}
		to := from
		to.Seq++
		if err := g.finish(tx, &to); err != nil {
			return err
		}
		done = g.tally
		return tx.SetPosition(officeLane, from, to)
	})
	if err == nil {
		h.outbox.Wake()
		h.countRecords(&done)
	}
	return err
}

// Decided is the answer to a decision about a quarantined message; the same however
// often it is asked for.
type Decided struct {
	Key string `json:"key"`
	ledger.Decision
	Effect string `json:"effect"`           // what it did
	Events int    `json:"events,omitempty"` // that took effect
}

// ruling is what the audit trail keeps of a decision.
type ruling struct {
	Subject string `json:"subject"`
	Cause   string `json:"cause"`
	Reason  string `json:"reason"`
	First   uint64 `json:"first,omitempty"`
	Last    uint64 `json:"last,omitempty"`
	Effect  string `json:"effect"`
	Events  int    `json:"events,omitempty"`
	Was     string `json:"was,omitempty"` // the terminal that the journal belonged to
}

// errDry ends a transaction that was only to show what would happen.
var errDry = errors.New("not meant")

// decide notes a person's decision and does what follows from it, in one transaction.
// dry only says what would follow.
func (h *Hub) decide(ctx context.Context, key [32]byte, verdict string, by Decider, dry bool) (d Decided, err error) {
	at := h.opt.now()
	err = h.enterOffice(ctx, func(tx ledger.Tx, g *judge) error {
		d = Decided{Key: hex.EncodeToString(key[:])}
		q, ok, err := tx.Quarantined(key)
		switch was := q.Decision; {
		case err != nil:
			return err
		case !ok:
			return refuseRequest(http.StatusNotFound, "there is no quarantined message %s", d.Key)
		case was.Verdict == verdict:
			d.Decision = was
			if err := d.recall(tx); err != nil {
				return err
			}
			return errDry
		case was.Verdict == verdictAccepted:
			return refuseRequest(http.StatusConflict, "accepted by %s at %s (%s): what is in the ledger stays there", was.By, was.At.Format(time.RFC3339), was.Why)
		}
		q.Body = bytes.Clone(q.Body)
		d.Decision = ledger.Decision{Verdict: verdict, By: by.By, Why: by.Why, At: at}
		rule := ruling{Subject: q.Subject, Cause: q.Cause, Reason: q.Reason, First: q.First, Last: q.Last, Effect: "it stays out of the ledger; its bytes are kept"}
		if verdict == verdictAccepted {
			if err := g.accept(tx, &q, &rule); err != nil {
				return err
			}
		}
		d.Effect, d.Events = rule.Effect, rule.Events
		if dry {
			return errDry
		}
		if q.Decision.Verdict == "" {
			size, err := readSize(tx)
			if err != nil {
				return err
			}
			size.Bytes -= int64(q.Size)
			if err := putDoc(tx, kindQuarantine, "size", size); err != nil {
				return err
			}
		}
		return errors.Join(tx.Decide(key, d.Decision),
			audit(tx, AuditEntry{At: at, Decider: by, What: "quarantine " + verdict, On: d.Key}, rule))
	})
	if errors.Is(err, errDry) {
		err = nil
	}
	return d, err
}

// recall reads what a decision did when it was made.
func (d *Decided) recall(tx ledger.Tx) error {
	v, ok, err := tx.Doc(kindAudit, auditKey(d.At, d.Key))
	if err != nil || !ok {
		return err
	}
	var e AuditEntry
	var r ruling
	err = json.Unmarshal(v, &e)
	if err == nil {
		err = json.Unmarshal(e.Details, &r)
	}
	d.Effect, d.Events = r.Effect, r.Events
	return err
}

// accept does what follows when a person says that a message is right all the same.
func (g *judge) accept(tx ledger.Tx, q *ledger.Quarantined, rule *ruling) error {
	m := prepare(q.Subject, q.Seq, q.Body)
	if m.refused != nil {
		return refuseRequest(http.StatusUnprocessableEntity, "this cannot be accepted: %s. Reject it: its bytes are kept", m.refused.reason)
	}
	out := len(g.out)
	var err error
	switch q.Cause {
	case CauseFork, CauseHole:
		rule.Effect, err = g.acceptHistory(tx, &m)
	default:
		if err = g.waive(tx, q, &m, rule); err == nil {
			rule.Effect, err = g.judgeAgain(tx, &m)
		}
	}
	rule.Events = len(g.out) - out
	return err
}

// waive takes away what stood against a message.
func (g *judge) waive(tx ledger.Tx, q *ledger.Quarantined, m *message, rule *ruling) error {
	if g.bug == bugNoWaiver {
		return nil
	}
	switch q.Cause {
	case CauseUndecodable:
		return nil // a newer release can read it
	case CauseStore:
		if err := putDoc(tx, kindAllowed, m.store, struct {
			At time.Time `json:"at"`
		}{g.now()}); err != nil {
			return err
		}
		return g.releaseStore(tx, m.store)
	}
	c, exists, err := tx.Chain(m.id)
	if err != nil {
		return err
	}
	if !exists {
		c = g.newChain(m)
	}
	if c.Store != m.store || c.Terminal != m.terminal { // the till was given another place
		rule.Was = c.Store + "/" + c.Terminal
		c.Store, c.Terminal, c.Shard, c.Region = m.store, m.terminal, m.shard, g.region
		if err := outbox.OwnersChanged(tx); err != nil {
			return err
		}
	}
	w := ledger.Waiver{Cause: q.Cause, Last: m.parcel.Last}
	if i := slices.IndexFunc(c.Waived, func(x ledger.Waiver) bool { return x.Cause == w.Cause }); i >= 0 {
		c.Waived[i].Last = max(c.Waived[i].Last, w.Last)
	} else {
		c.Waived = append(c.Waived, w)
	}
	return tx.PutChain(c)
}

// releaseStore lets all journals of a store go on that were held since it was not allowed.
func (g *judge) releaseStore(tx ledger.Tx, store string) error {
	var ids []chain.ID
	if err := tx.Chains(func(c ledger.Chain) error {
		if c.Store == store && strings.HasPrefix(c.Held, CauseStore+":") {
			ids = append(ids, c.Journal)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, id := range ids {
		c, ok, err := tx.Chain(id)
		if err != nil || !ok {
			return err
		}
		if err := g.release(tx, c, c.Last+1); err != nil {
			return err
		}
	}
	return nil
}

// release takes back the word that sending is useless, and asks for record want, if any.
func (g *judge) release(tx ledger.Tx, c ledger.Chain, want uint64) error {
	c.Held, c.Want = "", want
	return errors.Join(tx.PutChain(c), tx.PutDoc(kindTell, tellPrefix(c.Region, c.Shard)+c.Journal.String(), []byte("{}")))
}

// judgeAgain enters an accepted message itself, since its terminal may be no more, and
// lets the terminal go on.
func (g *judge) judgeAgain(tx ledger.Tx, m *message) (effect string, err error) {
	_, v, _, err := g.apply(tx, m)
	if err != nil {
		return "", err
	}
	c, ok, err := tx.Chain(m.id)
	if err != nil {
		return "", err
	}
	if !ok {
		c = g.newChain(m)
	}
	p, want := &m.parcel, uint64(0)
	switch v {
	case entered:
		effect = fmt.Sprintf("records %d to %d are in the ledger", p.First, p.Last)
	case known:
		effect = fmt.Sprintf("records %d to %d were in the ledger already", p.First, p.Last)
	case gap:
		want = c.Last + 1
		effect = fmt.Sprintf("the terminal is asked for record %d and all behind it: those before this parcel are missing", want)
	case aside:
		want = c.Last + 1
		effect = "not entered: something else stands against it too, which is in quarantine under another key; the terminal sends it again"
	}
	return effect, g.release(tx, c, want)
}

// acceptHistory enters the events of records that are no part of their journal as the
// ledger has it: another history, or what had been declared lost. They stand in the
// ledger under their own names; the journal's end, gaps and holes stay as they are.
func (g *judge) acceptHistory(tx ledger.Tx, m *message) (effect string, err error) {
	c, ok, err := tx.Chain(m.id)
	switch {
	case err != nil:
		return "", err
	case !ok || c.Store != m.store || c.Terminal != m.terminal:
		return "", refuseRequest(http.StatusConflict, "journal %s is not terminal %s's of store %s any more", m.id, m.terminal, m.store)
	case m.parcel.Hole:
		return "", refuseRequest(http.StatusUnprocessableEntity, "this cannot be accepted: it declares records lost that the ledger has otherwise")
	}
	in := intake{g: g, tx: tx, c: &c, m: m, origins: make(map[chain.ID]*ledger.Chain)}
	out, common, others := len(g.out), 0, 0
	if _, err := in.walk(m.parcel.First, func(rec chain.Record, _, after chain.Head) (*refusal, error) {
		h, there, err := tx.Head(c.Journal, rec.Seq)
		if err != nil {
			return nil, err
		}
		if there && h == after && g.bug != bugBlindAccept {
			common++
			return nil, nil
		}
		others++
		switch rec.Type {
		case event.RecordType:
			err = in.putOther(ledger.Name{Journal: c.Journal, Seq: rec.Seq, Head: after}, rec.Payload)
		case chain.TypeCopy:
			err = in.putCopy(rec)
		}
		return nil, err
	}); err != nil {
		return "", err
	}
	if n := len(g.out) - out; n > 0 {
		if err := g.follow(tx, &c, out); err != nil {
			return "", err
		}
	}
	effect = fmt.Sprintf("%d records are known to the ledger, of %d others the events stand in it as another history of the journal", common, others)
	return effect, errors.Join(in.putOrigins(), tx.PutChain(c))
}

// putOther enters an event of another history of the journal, once.
func (in *intake) putOther(n ledger.Name, payload []byte) error {
	if _, known, err := in.tx.Event(n); known && in.g.bug != bugBlindAccept || err != nil {
		return err
	}
	in.c.Events++
	in.c.Copied++
	if err := in.tx.PutCopy(n, in.c.Journal, n.Seq, payload); err != nil {
		return err
	}
	in.takesEffect(n, payload)
	return nil
}

// QuarantineEntry is a quarantined message as it is listed.
type QuarantineEntry struct {
	Key string `json:"key"`
	ledger.Quarantined
}

func (h *Hub) quarantine(w http.ResponseWriter, r *http.Request) error {
	all := []QuarantineEntry{}
	open := r.URL.Query().Get("open") == "true"
	err := h.ledger.View(r.Context(), func(tx ledger.Tx) error {
		all = all[:0]
		return tx.Quarantine(func(q ledger.Quarantined) error {
			if !open || q.Decision.Verdict == "" {
				all = append(all, QuarantineEntry{hex.EncodeToString(q.Key[:]), q})
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	return reply(w, all)
}

const minKey = 6 // digits of a key that may stand for all of it

// findQuarantined is the message whose key begins with those digits.
func (h *Hub) findQuarantined(ctx context.Context, digits string) (found ledger.Quarantined, err error) {
	digits = strings.ToLower(digits)
	if b, err := hex.DecodeString(digits + strings.Repeat("0", len(digits)%2)); err != nil || len(digits) < minKey || len(b) > len(found.Key) {
		return found, &badRequest{fmt.Sprintf("%.80q is not the key of a quarantined message, nor its first digits, at least %d", digits, minKey)}
	}
	n := 0
	err = h.ledger.View(ctx, func(tx ledger.Tx) error {
		n = 0
		if err := tx.Quarantine(func(q ledger.Quarantined) error {
			if strings.HasPrefix(hex.EncodeToString(q.Key[:]), digits) {
				n++
				found.Key = q.Key
			}
			return nil
		}); err != nil || n != 1 {
			return err
		}
		q, _, err := tx.Quarantined(found.Key)
		q.Body = bytes.Clone(q.Body)
		found = q
		return err
	})
	switch {
	case err != nil:
	case n == 0:
		err = refuseRequest(http.StatusNotFound, "there is no quarantined message %s", digits)
	case n > 1:
		err = refuseRequest(http.StatusConflict, "%d quarantined messages have a key that begins with %s: give more digits", n, digits)
	}
	return found, err
}

// QuarantineDetail is all that is known of a quarantined message.
type QuarantineDetail struct {
	QuarantineEntry
	Parcel *ParcelSummary `json:"parcel,omitempty"` // if it can be read
	Ledger *ledger.Chain  `json:"ledger,omitempty"` // what is known of the journal
	Accept string         `json:"accept,omitempty"` // what accepting it would do, or why it cannot be
}

// ParcelSummary says what is in a parcel.
type ParcelSummary struct {
	Journal string         `json:"journal"`
	First   uint64         `json:"first"`
	Last    uint64         `json:"last"`
	Hole    bool           `json:"hole,omitempty"`
	Prev    string         `json:"prev"`
	Head    string         `json:"head"`
	Kinds   map[string]int `json:"records"` // how many of which type
	Events  []EventSummary `json:"events"`  // the first ones
}

// EventSummary is one event, as its terminal wrote it.
type EventSummary struct {
	Seq   uint64 `json:"seq"`
	Event string `json:"event"`
}

const (
	shownEvents = 20
	shownBytes  = 2000 // of one event
)

func summary(m *message) *ParcelSummary {
	p := &m.parcel
	s := &ParcelSummary{Journal: p.Journal.String(), First: p.First, Last: p.Last, Hole: p.Hole,
		Prev: p.Prev.String(), Head: p.Head.String(), Kinds: make(map[string]int), Events: []EventSummary{}}
	p.Walk(func(rec chain.Record, _ chain.Head) error { // an error ends the list: prepare has said it
		kind := "other"
		switch rec.Type {
		case event.RecordType:
			kind = "event"
			if len(s.Events) < shownEvents {
				s.Events = append(s.Events, EventSummary{rec.Seq, cut(strings.ToValidUTF8(string(rec.Payload), "?"), shownBytes)})
			}
		case chain.TypeCopy:
			kind = "copy"
		case chain.TypeCheckpoint:
			kind = "checkpoint"
		}
		s.Kinds[kind]++
		return nil
	})
	return s
}

func (h *Hub) quarantineShow(w http.ResponseWriter, r *http.Request) error {
	q, err := h.findQuarantined(r.Context(), r.PathValue("key"))
	if err != nil {
		return err
	}
	d := QuarantineDetail{QuarantineEntry: QuarantineEntry{hex.EncodeToString(q.Key[:]), q}}
	m := prepare(q.Subject, q.Seq, q.Body)
	if m.parcel.Journal != (chain.ID{}) {
		d.Parcel = summary(&m)
	}
	if m.store != "" {
		if err := h.ledger.View(r.Context(), func(tx ledger.Tx) error {
			c, ok, err := tx.Chain(m.id)
			if ok {
				d.Ledger = &c
			}
			return err
		}); err != nil {
			return err
		}
	}
	if q.Decision.Verdict == "" {
		var no *refusedRequest
		would, err := h.decide(r.Context(), q.Key, verdictAccepted, Decider{}, true)
		switch {
		case errors.As(err, &no):
			d.Accept = no.detail
		case err != nil:
			return err
		default:
			d.Accept = fmt.Sprintf("%s; %d events take effect", would.Effect, would.Events)
		}
	}
	return reply(w, d)
}

// quarantineBody gives the message back as it came.
func (h *Hub) quarantineBody(w http.ResponseWriter, r *http.Request) error {
	q, err := h.findQuarantined(r.Context(), r.PathValue("key"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(q.Body) // a caller that went away needs no answer
	return nil
}

// decideHandler takes a decision, {"by","why"}.
func (h *Hub) decideHandler(verdict string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var by Decider
		if err := readJSON(w, r, &by); err != nil {
			return err
		}
		if err := by.check(); err != nil {
			return err
		}
		q, err := h.findQuarantined(r.Context(), r.PathValue("key"))
		if err != nil {
			return err
		}
		d, err := h.decide(r.Context(), q.Key, verdict, by, false)
		if err != nil {
			return err
		}
		return reply(w, d)
	}
}

// readJSON reads a small body.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return &badRequest{"the body is not the JSON that this wants: " + err.Error()}
	}
	return nil
}
