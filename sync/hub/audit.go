package hub

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"posd/sync/ledger"
)

const kindAudit = "audit"

// Decider is who decides something, and why.
type Decider struct {
	By  string `json:"by"`
	Why string `json:"why"`
}

const maxWhy = 2000

func (d *Decider) check() error {
	switch {
	case strings.TrimSpace(d.By) == "":
		return &badRequest{`"by" is missing: say who decides this`}
	case strings.TrimSpace(d.Why) == "":
		return &badRequest{`"why" is missing: say why, it is kept in the audit trail`}
	case len(d.By) > 200 || len(d.Why) > maxWhy:
		return &badRequest{fmt.Sprintf(`"by" has at most 200 bytes, "why" at most %d`, maxWhy)}
	}
	return nil
}

// AuditEntry is one decision of a person, kept for good.
type AuditEntry struct {
	At time.Time `json:"at"`
	Decider
	What    string          `json:"what"` // what was decided, such as "quarantine accept"
	On      string          `json:"on"`   // about what
	Details json.RawMessage `json:"details,omitempty"`
}

// auditKey sorts by time. Two decisions of one nanosecond are about different things.
func auditKey(at time.Time, on string) string {
	return at.UTC().Format("2006-01-02T15:04:05.000000000Z") + " " + strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, on)
}

// audit keeps e, in the transaction of what was decided.
func audit(tx ledger.Tx, e AuditEntry, details any) (err error) {
	if e.Details, err = json.Marshal(details); err != nil {
		return err
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return tx.PutDoc(kindAudit, auditKey(e.At, e.On), b)
}

// auditTrail streams the decisions as JSON lines, the oldest first; after is the "at" of
// one that was seen.
func (h *Hub) auditTrail(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	after, limit := "", ^uint64(0)
	if s := q.Get("after"); s != "" {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return &badRequest{"after: give a time such as 2026-11-21T09:30:00Z"}
		}
		after = auditKey(at, "~")
	}
	if s := q.Get("limit"); s != "" {
		var err error
		if limit, err = strconv.ParseUint(s, 10, 64); err != nil || limit == 0 {
			return &badRequest{"limit must be a positive number"}
		}
	}
	return h.stream(w, r, func(buf []byte) (_ []byte, more bool, err error) {
		seen := 0
		err = h.ledger.View(r.Context(), func(tx ledger.Tx) error {
			return tx.Docs(kindAudit, after, func(key string, v []byte) (bool, error) {
				if more = seen == pageEvents && limit > 0; more || limit == 0 {
					return false, nil
				}
				buf = append(append(buf, v...), '\n')
				after, seen, limit = key, seen+1, limit-1
				return true, nil
			})
		})
		return buf, more, err
	})
}
