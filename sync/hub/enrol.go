package hub

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"posd/sync/ledger"
	"posd/sync/trust"
	"posd/sync/wire"
)

// kindEnrol are the one-time tokens, one for a terminal: a newer one takes the place of
// the one before.
const kindEnrol = "enrol"

const (
	maxEnrolBody  = 4 << 10
	maxTerminalCA = 64 << 10
	maxExpires    = 365 * 24 * time.Hour
	// enrolRate and enrolBurst bound the requests of those who have no token either.
	enrolRate, enrolBurst = 50, 200
)

// Enrolment is the one-time token of a terminal, and what became of it.
type Enrolment struct {
	Store    string     `json:"store"`
	Terminal string     `json:"terminal"`
	Shard    int        `json:"shard"`
	Hash     string     `json:"hash"` // SHA-256 of the token, which is kept nowhere
	Replace  bool       `json:"replace,omitempty"`
	Made     time.Time  `json:"made"`
	By       string     `json:"by"`
	Expires  time.Time  `json:"expires"`
	Revoked  *time.Time `json:"revoked,omitempty"`
	Used     *EnrolUse  `json:"used,omitempty"`
}

// EnrolUse is who used it. All but the time and the address is the terminal's claim.
type EnrolUse struct {
	At         time.Time `json:"at"`
	From       string    `json:"from"`
	NKey       string    `json:"nkey"`
	JournalKey string    `json:"journal_key,omitempty"`
	Machine    string    `json:"machine,omitempty"`
}

// State is the word for it: open, used, expired or revoked.
func (e *Enrolment) State(now time.Time) string {
	switch {
	case e.Revoked != nil:
		return "revoked"
	case e.Used != nil:
		return "used"
	case now.After(e.Expires):
		return "expired"
	}
	return "open"
}

func loadEnrolment(tx ledger.Tx, name string) (e Enrolment, ok bool, err error) {
	b, ok, err := tx.Doc(kindEnrol, name)
	if err == nil && ok {
		if err = json.Unmarshal(b, &e); err != nil {
			err = fmt.Errorf("enrolment %s in the ledger: %w", name, err)
		}
	}
	return e, ok, err
}

func (e *Enrolment) save(tx ledger.Tx) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return tx.PutDoc(kindEnrol, e.Store+"."+e.Terminal, b)
}

func hashToken(token string) string {
	s := sha256.Sum256([]byte(token))
	return hex.EncodeToString(s[:])
}

// NewEnrolment asks for a token.
type NewEnrolment struct {
	Decider
	Store    string `json:"store"`
	Terminal string `json:"terminal"`
	Shard    *int   `json:"shard,omitempty"` // nil: as before, or by the name
	Replace  bool   `json:"replace,omitempty"`
	Seconds  int64  `json:"seconds"` // it lasts
}

// NewToken is the answer: the only place where the token is ever shown.
type NewToken struct {
	Token string `json:"token"`
	Enrolment
}

func (h *Hub) makeToken(w http.ResponseWriter, r *http.Request) error {
	var q NewEnrolment
	if err := readBody(r, &q); err != nil {
		return err
	}
	if err := q.check(); err != nil {
		return err
	}
	if q.Seconds <= 0 || q.Seconds > int64(maxExpires/time.Second) {
		return &badRequest{"the token must last at least a second, and a year at most"}
	}
	shard := 0
	if q.Shard != nil {
		shard = *q.Shard
	}
	if _, err := wire.DevicePermissions(shard, q.Store, q.Terminal); err != nil {
		return &badRequest{err.Error()}
	}
	if h.keys == nil {
		return &badRequest{errNoKeys.Error()}
	}
	if _, err := h.office(r.Context()); err != nil {
		return err
	}
	out := NewToken{Token: rand.Text()}
	err := h.ledger.Update(r.Context(), func(tx ledger.Tx) error {
		name := q.Store + "." + q.Terminal
		d, ok, err := loadDevice(tx, name)
		if err != nil {
			return err
		}
		switch {
		case q.Shard != nil:
		case ok:
			shard = d.Shard
		default:
			shard = h.shardFor(name)
		}
		if len(d.Keys) > 0 && !q.Replace {
			return &badRequest{name + " is let in already: with --replace its present keys are shut out when the new one comes"}
		}
		now := h.opt.now().UTC()
		out.Enrolment = Enrolment{Store: q.Store, Terminal: q.Terminal, Shard: shard, Hash: hashToken(out.Token), Replace: q.Replace,
			Made: now, By: q.By, Expires: now.Add(time.Duration(q.Seconds) * time.Second)}
		return errors.Join(out.save(tx), audit(tx, AuditEntry{At: now, Decider: q.Decider, What: "enrol", On: name}, out.Enrolment))
	})
	if err != nil {
		return err
	}
	return reply(w, out)
}

// shardFor spreads terminals over the shards of this hub.
func (h *Hub) shardFor(name string) int {
	f := fnv.New32a()
	io.WriteString(f, name)
	return h.opt.Shards[int(f.Sum32()%uint32(len(h.opt.Shards)))]
}

// listTokens streams the enrolments as JSON lines, by name.
func (h *Hub) listTokens(w http.ResponseWriter, r *http.Request) error {
	after := ""
	return h.stream(w, r, func(buf []byte) (_ []byte, more bool, err error) {
		seen := 0
		err = h.ledger.View(r.Context(), func(tx ledger.Tx) error {
			return tx.Docs(kindEnrol, after, func(key string, v []byte) (bool, error) {
				if more = seen == pageEvents; more {
					return false, nil
				}
				buf = append(append(buf, v...), '\n')
				after, seen = key, seen+1
				return true, nil
			})
		})
		return buf, more, err
	})
}

// Revocation shuts a terminal out, or one key of it.
type Revocation struct {
	Decider
	Store    string `json:"store"`
	Terminal string `json:"terminal"`
	Key      string `json:"key,omitempty"` // "": all, and a token that is open
}

// Revoked is what it had an effect on.
type Revoked struct {
	Token bool     `json:"token"` // one was open
	Keys  []string `json:"keys"`  // that are shut out now
}

func (h *Hub) revoke(w http.ResponseWriter, r *http.Request) error {
	var q Revocation
	if err := readBody(r, &q); err != nil {
		return err
	}
	if err := q.check(); err != nil {
		return err
	}
	if _, err := wire.DevicePermissions(0, q.Store, q.Terminal); err != nil {
		return &badRequest{err.Error()}
	}
	var out Revoked
	_, err := h.changeDevice(r.Context(), q.Store, q.Terminal, func(tx ledger.Tx, d *device) error {
		out = Revoked{Keys: []string{}}
		now := h.opt.now().UTC()
		for key := range d.Keys {
			if q.Key == "" || q.Key == key {
				out.Keys = append(out.Keys, key)
				d.shutOut(key, now)
			}
		}
		slices.Sort(out.Keys)
		name := d.trust().Name()
		e, ok, err := loadEnrolment(tx, name)
		if err != nil {
			return err
		}
		if ok && q.Key == "" && e.Revoked == nil {
			out.Token = e.State(now) == "open"
			e.Revoked = &now
			if err := e.save(tx); err != nil {
				return err
			}
		}
		if len(out.Keys) == 0 && !ok {
			return &badRequest{name + " has no key and no token: nothing to revoke"}
		}
		return audit(tx, AuditEntry{At: now, Decider: q.Decider, What: "enrol revoke", On: name}, out)
	})
	if errors.Is(err, errNoKeys) {
		return &badRequest{err.Error()}
	}
	if err != nil {
		return err
	}
	return reply(w, out)
}

// EnrolRequest is what a terminal sends to be let in.
type EnrolRequest struct {
	Token      string `json:"token"`
	Store      string `json:"store"`
	Terminal   string `json:"terminal"`
	NKey       string `json:"nkey"` // the public half; the other never leaves the terminal
	JournalKey string `json:"journal_key,omitempty"`
	Machine    string `json:"machine,omitempty"`
}

// EnrolAnswer is all that it needs to ship and to listen.
type EnrolAnswer struct {
	JWT       string   `json:"jwt"`
	URLs      []string `json:"urls,omitempty"` // none: it has to be configured with them
	Shard     int      `json:"shard"`
	CA        string   `json:"ca,omitempty"` // PEM
	OfficeKey string   `json:"office_key"`
}

// notLetIn is why a terminal is not let in.
type notLetIn struct {
	status int
	why    string
}

func (e *notLetIn) Error() string { return e.why }

// enrol lets a terminal in, once. It is open to whoever can reach the hub.
func (h *Hub) enrol(w http.ResponseWriter, r *http.Request) {
	if !h.enrolLimit.Allow() {
		w.Header().Set("Retry-After", "5")
		problem(w, http.StatusTooManyRequests, "too many terminals at once: try again")
		return
	}
	a, err := h.enrolled(r)
	var bad *badRequest
	var not *notLetIn
	switch {
	case err == nil:
		err = reply(w, a)
	case errors.As(err, &bad):
		problem(w, http.StatusBadRequest, bad.detail)
	case errors.As(err, &not):
		h.m.notEnrolled.Inc()
		h.log.Warn("not let in", "from", r.RemoteAddr, "reason", not.why)
		problem(w, not.status, not.why)
	default:
		h.log.Error("enrolment", "error", err)
		problem(w, http.StatusServiceUnavailable, "the hub could not do it now; its log says why")
	}
	if err != nil {
		h.log.Debug("enrolment", "from", r.RemoteAddr, "error", err)
	}
}

func (h *Hub) enrolled(r *http.Request) (a EnrolAnswer, err error) {
	var q EnrolRequest
	if err := readBody(r, &q); err != nil {
		return a, err
	}
	if len(q.JournalKey) > 2*ed25519.PublicKeySize || len(q.Machine) > 256 {
		return a, &badRequest{"journal_key or machine is too long"}
	}
	if _, err := wire.DevicePermissions(0, q.Store, q.Terminal); err != nil {
		return a, &badRequest{err.Error()}
	}
	if h.keys == nil {
		return a, &notLetIn{http.StatusForbidden, errNoKeys.Error()}
	}
	ca, err := h.terminalCA()
	if err != nil {
		return a, err
	}
	office, err := h.office(r.Context())
	if err != nil {
		return a, err
	}
	var first bool
	d, err := h.changeDevice(r.Context(), q.Store, q.Terminal, func(tx ledger.Tx, d *device) (err error) {
		first, err = h.useToken(tx, d, &q, r.RemoteAddr)
		return err
	})
	if err != nil {
		return a, err
	}
	if first {
		h.m.enrolled.Inc()
		h.log.Info("terminal enrolled", "terminal", d.trust().Name(), "key", q.NKey, "machine", q.Machine, "from", r.RemoteAddr)
	}
	a = EnrolAnswer{URLs: h.terminalURLs(r.Host), Shard: d.Shard, CA: ca, OfficeKey: hex.EncodeToString(office.Public().(ed25519.PublicKey))}
	if a.JWT, err = h.keys.DeviceUser(d.trust(), q.NKey, 0); errors.Is(err, trust.ErrRevoked) {
		err = &notLetIn{http.StatusForbidden, err.Error()}
	}
	return a, err
}

// useToken lets the key of q in if its token is good: not used, or by that same key. So
// a terminal that did not get the answer asks again, and nobody else can.
func (h *Hub) useToken(tx ledger.Tx, d *device, q *EnrolRequest, from string) (first bool, err error) {
	now, name := h.opt.now().UTC(), q.Store+"."+q.Terminal
	no := func(status int, format string, a ...any) (bool, error) {
		return false, &notLetIn{status, fmt.Sprintf(format, a...)}
	}
	e, ok, err := loadEnrolment(tx, name)
	if err != nil {
		return false, err
	}
	switch {
	case !ok || subtle.ConstantTimeCompare([]byte(e.Hash), []byte(hashToken(q.Token))) != 1:
		return no(http.StatusForbidden, "this is not the token of %s: it is another terminal's, or a newer one was made; poshub enrol %s %s gives a new one", name, q.Store, q.Terminal)
	case e.Revoked != nil:
		return no(http.StatusForbidden, "the token of %s was revoked", name)
	case e.Used != nil && e.Used.NKey != q.NKey:
		if m := e.Used.Machine; m != "" && m == q.Machine { // its data folder is new, or lost the key
			return no(http.StatusForbidden, "the token of %s was used on %s from %s with another key by this machine (%s): poshub enrol %s %s --replace gives one that shuts that key out",
				name, e.Used.At.Format(time.RFC3339), e.Used.From, m, q.Store, q.Terminal)
		}
		return no(http.StatusForbidden, "the token of %s was used on %s from %s by another machine (%s): if that was not yours, poshub enrol revoke %s %s",
			name, e.Used.At.Format(time.RFC3339), e.Used.From, e.Used.Machine, q.Store, q.Terminal)
	case e.Used == nil && now.After(e.Expires):
		return no(http.StatusForbidden, "the token of %s expired on %s: poshub enrol %s %s gives a new one", name, e.Expires.Format(time.RFC3339), q.Store, q.Terminal)
	}
	if first = e.Used == nil; first {
		for key := range d.Keys {
			if key == q.NKey {
				continue
			}
			if !e.Replace {
				return no(http.StatusConflict, "%s was let in since the token was made: poshub enrol %s %s --replace gives one that shuts the other key out", name, q.Store, q.Terminal)
			}
			d.shutOut(key, now)
		}
		d.Shard = e.Shard
		e.Used = &EnrolUse{At: now, From: from, NKey: q.NKey, JournalKey: q.JournalKey, Machine: q.Machine}
		if err := e.save(tx); err != nil {
			return false, err
		}
	}
	if err := d.letIn(q.NKey, now); err != nil {
		return no(http.StatusForbidden, "%v", err)
	}
	return first, nil
}

// terminalURLs are where a terminal that reached this hub by HTTP at host finds NATS.
func (h *Hub) terminalURLs(host string) []string {
	if len(h.opt.TerminalURLs) > 0 {
		return h.opt.TerminalURLs
	}
	if h.srv == nil {
		return strings.Split(h.NATSURL(), ",")
	}
	scheme, at, _ := strings.Cut(h.NATSURL(), "://")
	name, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil
	}
	if ip := net.ParseIP(name); ip != nil && ip.IsUnspecified() {
		if name, _, err = net.SplitHostPort(host); err != nil {
			name = strings.Trim(host, "[]")
		}
	}
	return []string{scheme + "://" + net.JoinHostPort(name, port)}
}

// terminalCA is the authority that terminals are to trust for NATS, as PEM.
func (h *Hub) terminalCA() (string, error) {
	if h.opt.TerminalCA == "" {
		return "", nil
	}
	f, err := os.Open(h.opt.TerminalCA)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTerminalCA+1))
	if err == nil && (len(b) > maxTerminalCA || !strings.Contains(string(b), "-----BEGIN CERTIFICATE-----")) {
		err = fmt.Errorf("%s holds no certificates in PEM, or more than %d bytes", h.opt.TerminalCA, maxTerminalCA)
	}
	return string(b), err
}

// pushAccounts tells NATS servers of your own of every terminal's account.
func (h *Hub) pushAccounts(w http.ResponseWriter, r *http.Request) error {
	if h.keys == nil {
		return &badRequest{errNoKeys.Error()}
	}
	if h.srv != nil {
		return &badRequest{"the NATS server inside asks for accounts by itself: this is for servers of your own"}
	}
	n, err := h.pushAll(r.Context())
	if err != nil {
		return err
	}
	return reply(w, map[string]int{"accounts": n})
}

func (h *Hub) pushAll(ctx context.Context) (n int, err error) {
	p, err := h.newPusher()
	if err != nil {
		return 0, err
	}
	defer p.close()
	for after := ""; ; {
		var names []string
		err := h.ledger.View(ctx, func(tx ledger.Tx) error {
			names = names[:0]
			return tx.Docs(docDevice, after, func(key string, _ []byte) (bool, error) {
				names = append(names, key)
				return len(names) < pageEvents, nil
			})
		})
		if err != nil || len(names) == 0 {
			return n, err
		}
		for _, name := range names {
			if _, err := h.refreshAccount(ctx, name, p); err != nil {
				return n, err
			}
			n++
		}
		after = names[len(names)-1]
	}
}

// readBody reads a request's JSON.
func readBody(r *http.Request, v any) error { return readBodyOf(r, maxEnrolBody, v) }

func readBodyOf(r *http.Request, most int, v any) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, int64(most)+1))
	if err != nil {
		return &badRequest{"the request was not read to its end"}
	}
	if len(b) > most {
		return &badRequest{fmt.Sprintf("a request has at most %d bytes", most)}
	}
	if err := json.Unmarshal(b, v); err != nil {
		return &badRequest{"not the JSON that was expected: " + err.Error()}
	}
	return nil
}
