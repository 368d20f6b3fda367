package hub

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"posd/journal/chain"
	"posd/sync/ledger"
	"posd/sync/wire"
)

// Limits of one request to import.
const (
	MaxImport        = 8 << 20 // bytes
	MaxImportParcels = 128
)

// Verdicts of an import.
const (
	ImportEntered = "entered"
	ImportKnown   = "known"
	ImportGap     = "gap"   // records before it are missing: nothing of it is entered
	ImportAside   = "aside" // in quarantine
)

// ImportResult is what became of one parcel.
type ImportResult struct {
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Verdict  string `json:"verdict"`
	Cause    string `json:"cause,omitempty"` // of what was set aside, also beside an end that was entered
	Reason   string `json:"reason,omitempty"`
	Key      string `json:"key,omitempty"`
	Decision string `json:"decision,omitempty"` // what a person has decided about it before
}

// ImportReply says what became of the parcels, up to the first that has to be seen to, and
// what the ledger has of the journal now.
type ImportReply struct {
	Run     string         `json:"run,omitempty"` // to be given with the next request
	Results []ImportResult `json:"results"`
	Last    uint64         `json:"last"`
	Head    string         `json:"head"`
	Lost    uint64         `json:"lost"`
	Events  int            `json:"events"` // that took effect
}

// importRequest is one batch of parcels of one journal.
type importRequest struct {
	Decider
	store, terminal string
	shard           int
	id              chain.ID
	run             string // key of the entry in the audit trail, "" at first
	declare         bool   // records may be declared lost
	history         bool   // what follows a gap belongs to another history
	messages        []message
}

func parseImport(q url.Values) (r importRequest, err error) {
	r.By, r.Why, r.run = q.Get("by"), q.Get("why"), q.Get("run")
	r.store, r.terminal = q.Get("store"), q.Get("terminal")
	r.declare, r.history = q.Get("declare_lost") == "true", q.Get("history") == "other"
	if err := r.check(); err != nil {
		return r, err
	}
	if s := q.Get("shard"); s != "" {
		if r.shard, err = strconv.Atoi(s); err != nil || r.shard < 0 || r.shard > wire.MaxShard {
			return r, &badRequest{"shard is not the number of a shard"}
		}
	}
	if r.id, err = chain.ParseID(q.Get("journal")); err != nil {
		return r, &badRequest{"journal: " + err.Error()}
	}
	if _, _, _, _, err = wire.ParseUpSubject(wire.UpSubject(r.shard, r.store, r.terminal, r.id)); err != nil {
		return r, &badRequest{"store and terminal: " + err.Error()}
	}
	return r, nil
}

// readParcels takes a body apart: each parcel behind its length, a little-endian u32.
func (r *importRequest) readParcels(body io.Reader) error {
	subject := wire.UpSubject(r.shard, r.store, r.terminal, r.id)
	var size [4]byte
	for {
		_, err := io.ReadFull(body, size[:])
		if errors.Is(err, io.EOF) {
			return nil
		}
		n := binary.LittleEndian.Uint32(size[:])
		if err == nil && (n > maxPayload || len(r.messages) == MaxImportParcels) {
			return &badRequest{fmt.Sprintf("a parcel has at most %d bytes, a request at most %d parcels", maxPayload, MaxImportParcels)}
		}
		b := make([]byte, n)
		if err == nil {
			_, err = io.ReadFull(body, b)
		}
		if err != nil {
			return &badRequest{"the body is cut short: " + err.Error()}
		}
		m := prepare(subject, 0, b)
		if m.refused != nil {
			return &badRequest{m.refused.reason}
		}
		if m.parcel.Hole && !r.declare {
			return &badRequest{"a parcel that declares records lost needs declare_lost=true"}
		}
		r.messages = append(r.messages, m)
	}
}

// importParcels takes in records that head office has from elsewhere: from the disk of a
// till that is no more. They are judged as if the till had sent them, and one request is
// one transaction, so it may be repeated at will.
func (h *Hub) importParcels(w http.ResponseWriter, r *http.Request) error {
	in, err := parseImport(r.URL.Query())
	if err != nil {
		return err
	}
	if err := in.readParcels(http.MaxBytesReader(w, r.Body, MaxImport)); err != nil {
		return err
	}
	var out ImportReply
	var counts [aside + 1]int
	at := h.opt.now()
	err = h.enterOffice(r.Context(), func(tx ledger.Tx, g *judge) error {
		out, counts = ImportReply{Results: []ImportResult{}, Run: in.run}, [aside + 1]int{}
		g.imports, g.history = true, in.history
		for i := range in.messages {
			res, v, err := g.importOne(tx, &in.messages[i])
			if err != nil {
				return err
			}
			counts[v]++
			out.Results = append(out.Results, res)
			if v == gap || v == aside && res.Cause != CauseFork && res.Decision == "" {
				break
			}
		}
		out.Events = len(g.out)
		c, ok, err := tx.Chain(in.id)
		if err != nil {
			return err
		}
		if !ok {
			c.Head = in.id.Head0()
		}
		out.Last, out.Head, out.Lost = c.Last, c.Head.String(), c.Lost
		if counts[entered] > 0 {
			if err := g.release(tx, c, c.Want); err != nil {
				return err
			}
		}
		if counts[entered]+counts[aside] == 0 {
			return nil
		}
		lost := uint64(0)
		for i := range in.messages[:len(out.Results)] {
			if p := &in.messages[i].parcel; p.Hole && out.Results[i].Verdict == ImportEntered {
				lost += p.Last - p.First + 1
			}
		}
		if out.Run == "" {
			out.Run = auditKey(at, in.id.String())
		}
		return in.audit(tx, out, AuditEntry{At: at, Decider: in.Decider, What: "import", On: in.id.String()}, lost, counts[aside]+g.tally.besides)
	})
	if err != nil {
		return err
	}
	h.count(in.messages[:len(out.Results)], counts)
	return reply(w, out)
}

func (g *judge) importOne(tx ledger.Tx, m *message) (res ImportResult, v verdict, err error) {
	res = ImportResult{First: m.parcel.First, Last: m.parcel.Last}
	besides := g.tally.besides
	if _, v, _, err = g.apply(tx, m); err != nil {
		return res, v, err
	}
	res.Verdict = [...]string{entered: ImportEntered, known: ImportKnown, gap: ImportGap, aside: ImportAside}[v]
	if v == aside || g.tally.besides > besides {
		q, _, err := tx.Quarantined(g.last.Key)
		if err != nil {
			return res, v, err
		}
		res.Cause, res.Reason, res.Key, res.Decision = g.last.Cause, g.last.Reason, hex.EncodeToString(g.last.Key[:]), q.Decision.Verdict
	}
	return res, v, nil
}

// imported is what the audit trail keeps of an import.
type imported struct {
	Store    string `json:"store"`
	Terminal string `json:"terminal"`
	Events   int    `json:"events"`         // that took effect
	Last     uint64 `json:"last"`           // record that the ledger has since
	Lost     uint64 `json:"lost,omitempty"` // records declared lost
	Aside    int    `json:"set_aside,omitempty"`
}

// audit adds to the run's entry in the audit trail.
func (r *importRequest) audit(tx ledger.Tx, out ImportReply, e AuditEntry, lost uint64, asides int) error {
	sum := imported{Store: r.store, Terminal: r.terminal}
	v, ok, err := tx.Doc(kindAudit, out.Run)
	if err != nil {
		return err
	}
	if ok {
		if err := errors.Join(json.Unmarshal(v, &e), json.Unmarshal(e.Details, &sum)); err != nil {
			return err
		}
	}
	if e.What != "import" || e.On != r.id.String() || !strings.HasSuffix(out.Run, " "+e.On) || r.run != "" && !ok {
		return &badRequest{"run is not what the hub has answered to the first request"}
	}
	sum.Events, sum.Last, sum.Lost, sum.Aside = sum.Events+out.Events, out.Last, sum.Lost+lost, sum.Aside+asides
	return audit(tx, e, sum)
}

// ImportBody puts parcels into the body of a request.
func ImportBody(parcels [][]byte) []byte {
	var b []byte
	for _, p := range parcels {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	return b
}
