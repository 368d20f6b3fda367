package hub

import (
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
	// Events calls fn with the events behind c, in order, until fn says stop.
	Events(c Cursor, fn func(Event) (more bool, err error)) error

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
	Lost     uint64     `json:"lost,omitempty"` // records inside holes
	Want     uint64     `json:"want,omitempty"` // record asked for; 0 = none
	Held     string     `json:"held,omitempty"` // why its parcels are set aside
	Updated  time.Time  `json:"updated"`        // when records were last entered, by the hub's clock
}

// Cursor is a place in the events: behind record Seq of Journal. Only restricts
// the events to that one journal.
type Cursor struct {
	Journal chain.ID
	Seq     uint64
	Only    bool
}

// Event is one entry of the events table.
type Event struct {
	Journal chain.ID
	Seq     uint64
	Head    chain.Head
	Payload []byte
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
