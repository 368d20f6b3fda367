package hub

import (
	"encoding/json"
	"errors"
	"time"

	"posd/journal/chain"
	"posd/sync/wire"
)

// Errors of opening a ledger.
var (
	ErrInUse        = errors.New("another hub is using this data folder")
	ErrNewerLedger  = errors.New("ledger was written by a newer release of poshub")
	ErrForeignStore = errors.New("not a ledger of poshub")
)

// Ledger holds what the hub has taken in. Implementations must make Update
// atomic and durable: when it returned nil, all of it survives a power cut;
// when it returned an error, none of it happened. testLedger is the suite that
// each implementation has to pass.
type Ledger interface {
	ID() wire.LedgerID
	// Update runs fn in the one writing transaction. Slices that fn hands to Tx
	// must stay unchanged until Update returns.
	Update(fn func(Tx) error) error
	// View runs fn on a consistent snapshot. Keep it short: an open snapshot
	// keeps old pages alive. Slices that fn receives are valid only within it.
	View(fn func(Tx) error) error
	Close() error
}

// Tx is a transaction on the ledger.
type Tx interface {
	Position(stream string) (Position, error) // zero if the stream was never read
	SetPosition(stream string, p Position) error

	Chain(id chain.ID) (c Chain, ok bool, err error)
	PutChain(c Chain) error
	Chains(fn func(Chain) error) error // ordered by journal id

	// Head is the head after a record that was entered; ok is false for records
	// not entered, also for those inside a hole.
	Head(id chain.ID, seq uint64) (h chain.Head, ok bool, err error)
	// PutRecord enters the head of a record and, if it is an event, its payload.
	PutRecord(id chain.ID, seq uint64, h chain.Head, event []byte) error
	// PutCopy enters the event n, which came as a copy: record at of journal in.
	// Head and the chain of the origin know nothing of it.
	PutCopy(n Name, in chain.ID, at uint64, event []byte) error
	// Event is the event with that name, whether it came as an original or as a copy.
	Event(n Name) (payload []byte, ok bool, err error)
	// Events calls fn with the events behind c, in the order of their names, until
	// fn says stop.
	Events(c Cursor, fn func(Event) (more bool, err error)) error

	// PutReceipt notes which event has a receipt number of a terminal. All events
	// of different names under one number become collisions; again the same name
	// changes nothing.
	PutReceipt(r Receipt, at time.Time) (collides bool, err error)
	// Collisions calls fn with each event whose receipt number another event has
	// too, behind the one given, ordered by store, terminal, receipt and name.
	Collisions(after Receipt, fn func(r Receipt, noticed time.Time) (more bool, err error)) error
	CollisionCount() (uint64, error) // of receipt numbers

	PutHole(h Hole) error
	Holes(fn func(Hole) error) error // ordered by journal id, first

	// PutQuarantine keeps q, once: again the same Key changes nothing.
	PutQuarantine(q Quarantined) (added bool, err error)
	Quarantine(fn func(Quarantined) error) error // ordered by key
	QuarantineCount() (uint64, error)
}

// Position is a place in a stream. A stream that was deleted and made again is
// another stream, though it has the same name: Created tells them apart.
type Position struct {
	Created time.Time `json:"created"`
	Seq     uint64    `json:"seq"` // last message whose effect is in the ledger
}

// Chain is what the ledger knows of one journal.
type Chain struct {
	Journal  chain.ID   `json:"-"`
	Store    string     `json:"store"`
	Terminal string     `json:"terminal"`
	Last     uint64     `json:"last"` // all records up to here are entered, or declared a hole
	Head     chain.Head `json:"-"`    // head(Last)
	Records  uint64     `json:"records"`
	Events   uint64     `json:"events"`
	Lost     uint64     `json:"lost,omitempty"`   // records inside holes
	Want     uint64     `json:"want,omitempty"`   // record asked for; 0 = none
	Held     string     `json:"held,omitempty"`   // why its parcels are set aside
	Copied   uint64     `json:"copied,omitempty"` // of Events: came first, or only, as copies in another journal
	Signed   uint64     `json:"signed,omitempty"` // last record under a checkpoint that was verified

	PublicKey []byte        `json:"public_key,omitempty"` // of the birth record
	Parent    *chain.Parent `json:"parent,omitempty"`     // likewise
	LastCopy  Name          `json:"last_copy,omitzero"`   // the newest copy in this journal, as the next one may continue it
	Updated   time.Time     `json:"updated"`              // when records were last entered, by the hub's clock
}

// Name is what an event is called for ever, together with its terminal: where it
// stands in the journal that it was first written to, and the head there. Two
// histories of one journal have other heads, so they have other names.
type Name struct {
	Journal chain.ID
	Seq     uint64
	Head    chain.Head
}

// maxSeq is the largest number that a record can have.
const maxSeq = ^uint64(0) - 1

type nameJSON struct {
	Journal string `json:"journal"`
	Seq     uint64 `json:"seq"`
	Head    string `json:"head"`
}

// MarshalJSON writes the name as events are listed.
func (n Name) MarshalJSON() ([]byte, error) {
	return json.Marshal(nameJSON{n.Journal.String(), n.Seq, n.Head.String()})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (n *Name) UnmarshalJSON(b []byte) error {
	var v nameJSON
	err := json.Unmarshal(b, &v)
	if err == nil {
		n.Journal, err = chain.ParseID(v.Journal)
	}
	if err == nil {
		n.Head, err = chain.ParseHead(v.Head)
	}
	n.Seq = v.Seq
	return err
}

// Cursor is a place in the events: behind the one with that name, or, without a
// Head, behind all with that Journal and Seq. Only restricts the events to that
// one journal.
type Cursor struct {
	Name
	Only bool
}

// Event is one entry of the events table, under its own name wherever it stands.
type Event struct {
	Name
	Payload []byte
	In      chain.ID // the journal that brought it as a copy; zero: an original
	At      uint64   // the copy's number there
}

// Receipt says that an event has a receipt number of a terminal.
type Receipt struct {
	Store    string `json:"store"`
	Terminal string `json:"terminal"`
	Number   string `json:"receipt"` // as printed: <terminal>-<branch>-<n>
	Event    Name   `json:"event"`
}

// Hole is a run of records that the terminal no longer held when asked.
type Hole struct {
	Journal     chain.ID
	First, Last uint64
	At          time.Time
}

// Quarantined is a message that was set aside, whole.
type Quarantined struct {
	Key     [32]byte  `json:"-"` // SHA-256 of subject, a zero byte, and body
	Subject string    `json:"subject"`
	Stream  string    `json:"stream"`
	Seq     uint64    `json:"stream_seq"` // where it was first met
	Cause   string    `json:"cause"`      // one of the cause constants
	Reason  string    `json:"reason"`     // the whole story, for a person
	First   uint64    `json:"first,omitempty"`
	Last    uint64    `json:"last,omitempty"`
	At      time.Time `json:"at"`
	Body    []byte    `json:"-"`
}
