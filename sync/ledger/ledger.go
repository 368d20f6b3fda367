package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"posd/journal/chain"
	"posd/sync/wire"
)

// Errors of a ledger.
var (
	ErrInUse        = errors.New("another hub is using this ledger")
	ErrNewerLedger  = errors.New("ledger was written by a newer release of poshub")
	ErrForeignStore = errors.New("not a ledger of poshub")
	// ErrMoved: somebody else has moved what was to be moved. Nothing of the
	// transaction happened; look again.
	ErrMoved = errors.New("another hub has gone on here")
	// ErrUnknown: the connection broke while the transaction was being committed. It
	// happened or not; the next one sees which.
	ErrUnknown = errors.New("it is not known whether the commit happened")
)

// Ledger holds what head office has taken in. The suite in suite_test.go is what each
// implementation has to pass.
type Ledger interface {
	// ID names this ledger's content for ever; a copy restored from a backup keeps it.
	ID() wire.LedgerID
	// Kind says what it is made of, for people: "bbolt" or "postgresql".
	Kind() string

	// Update runs fn in a writing transaction. When it returned nil, all of it
	// survives a power cut; when it returned an error, none of it happened (unless it is
	// ErrUnknown: then the next Update sees either). fn may be
	// run more than once, and must have no effects but those on Tx. Slices that fn
	// hands to Tx must stay unchanged until Update returns.
	Update(ctx context.Context, fn func(Tx) error) error
	// View runs fn on a consistent snapshot. Keep it short: an open snapshot keeps old
	// pages or rows alive. Slices that fn receives are valid only within it.
	View(ctx context.Context, fn func(Tx) error) error

	// Claim takes a name that one process at a time may hold, such as the work on a
	// stream. ok is false while another holds it. A claim saves work; what makes
	// two holders harmless is the comparison in SetPosition.
	Claim(ctx context.Context, name string) (c Claim, ok bool, err error)

	Close() error
}

// Claim is a name held.
type Claim interface {
	Lost() <-chan struct{} // closed when it is no longer held, for whatever reason
	Release()              // gives it up; again does nothing
}

// Tx is a transaction on the ledger.
type Tx interface {
	// Position is how far a lane has come: the work on one stream, by name. Zero if it
	// was never read.
	Position(lane string) (Position, error)
	// SetPosition moves a lane on. ErrMoved if it is not at from: two hubs that work
	// on one lane cannot both commit.
	SetPosition(lane string, from, to Position) error

	Chain(id chain.ID) (c Chain, ok bool, err error)
	// Expect says which chains the rest of the transaction will ask for, so that a
	// remote store can fetch them at once. It changes nothing.
	Expect(ids []chain.ID) error
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

	// PutOut puts events that took effect into a lane's outbox, in order, under the
	// numbers first, first+1, …
	PutOut(lane string, first uint64, names []Name) error
	// Out calls fn with the outbox of a lane behind number after, in order, until fn
	// says stop.
	Out(lane string, after uint64, fn func(n uint64, e Event) (more bool, err error)) error
	// DropOut forgets the outbox up to and with a number. The events stay.
	DropOut(lane string, upTo uint64) error

	// PutReceipts notes which events have which receipt numbers of a terminal. All
	// events of different names under one number become collisions; again the same
	// name changes nothing. It returns those of rows that collide.
	PutReceipts(rows []Receipt, at time.Time) (colliding []Receipt, err error)
	// Receipts calls fn with the name of each event that has a receipt number of a
	// terminal, ordered by name, until fn says stop.
	Receipts(store, terminal, number string, fn func(Name) (more bool, err error)) error
	// Collisions calls fn with each event whose receipt number another event has
	// too, behind the one given, ordered by store, terminal, receipt and name.
	Collisions(after Receipt, fn func(r Receipt, noticed time.Time) (more bool, err error)) error
	CollisionCount() (uint64, error) // of receipt numbers

	PutHole(h Hole) error
	Holes(fn func(Hole) error) error // ordered by journal id, first

	// PutQuarantine keeps q, once: again the same Key changes nothing.
	PutQuarantine(q Quarantined) (added bool, err error)
	// Quarantined is the message with that key.
	Quarantined(key [32]byte) (q Quarantined, ok bool, err error)
	// Decide notes what was decided about it.
	Decide(key [32]byte, d Decision) error
	Quarantine(fn func(Quarantined) error) error // ordered by key, without bodies
	QuarantineCount() (uint64, error)            // of those not decided

	// Documents are small things by kind and key: what is known of terminals, tokens,
	// orders, the audit trail. A kind is a word, a key is printable ASCII.
	Doc(kind, key string) (value []byte, ok bool, err error)
	PutDoc(kind, key string, value []byte) error
	DeleteDoc(kind, key string) error
	// Docs calls fn with the documents of a kind behind a key, ordered by key (bytes),
	// until fn says stop.
	Docs(kind, after string, fn func(key string, value []byte) (more bool, err error)) error
}

// Position is a place in a stream. A stream that was deleted and made again is
// another stream, though it has the same name: Created tells them apart.
type Position struct {
	Created time.Time `json:"created"`
	Seq     uint64    `json:"seq"`           // last message whose effect is in the ledger
	Out     uint64    `json:"out,omitempty"` // last number given in the lane's outbox
}

// Chain is what the ledger knows of one journal.
type Chain struct {
	Journal  chain.ID   `json:"-"`
	Store    string     `json:"store"`
	Terminal string     `json:"terminal"`
	Shard    int        `json:"shard,omitempty"`  // where it came last
	Region   string     `json:"region,omitempty"` // likewise
	Lane     string     `json:"lane,omitempty"`   // whose outbox has its last event
	Last     uint64     `json:"last"`             // all records up to here are entered, or declared a hole
	Head     chain.Head `json:"-"`                // head(Last)
	Records  uint64     `json:"records"`
	Events   uint64     `json:"events"`
	Lost     uint64     `json:"lost,omitempty"`     // records inside holes
	Want     uint64     `json:"want,omitempty"`     // record asked for; 0 = none
	Held     string     `json:"held,omitempty"`     // why its parcels are set aside
	Copied   uint64     `json:"copied,omitempty"`   // of Events: came first, or only, as copies in another journal
	Imported bool       `json:"imported,omitempty"` // its last records were brought in at head office, not by the terminal
	Signed   uint64     `json:"signed,omitempty"`   // last record under a checkpoint that was verified

	PublicKey []byte        `json:"public_key,omitempty"` // of the birth record
	Parent    *chain.Parent `json:"parent,omitempty"`     // likewise
	LastCopy  Name          `json:"last_copy,omitzero"`   // the newest copy in this journal, as the next one may continue it
	Waived    []Waiver      `json:"waived,omitempty"`     // what a person has decided to accept
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

// MaxSeq is the largest number of a record that a ledger takes: databases know no larger
// integer, and no journal gets there.
const MaxSeq = 1<<63 - 2

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

// Receipt says that an event has a receipt number of a terminal, or a Z report's.
type Receipt struct {
	Store    string `json:"store"`
	Terminal string `json:"terminal"`
	Number   string `json:"receipt"` // as printed: <terminal>-<branch>-<n>, <terminal>-Z<n>
	Event    Name   `json:"event"`
}

// Hole is a run of records that the terminal no longer held when asked.
type Hole struct {
	Journal     chain.ID
	First, Last uint64
	At          time.Time
}

// Waiver says that a person has accepted a journal's records up to Last although they
// would go to quarantine for Cause.
type Waiver struct {
	Cause string `json:"cause"`
	Last  uint64 `json:"last"`
}

// Decision is what a person has decided about a quarantined message.
type Decision struct {
	Verdict string    `json:"verdict"` // "accepted", "rejected"; "" = open
	By      string    `json:"by"`
	Why     string    `json:"why"`
	At      time.Time `json:"at"`
}

// Quarantined is a message that was set aside, whole.
type Quarantined struct {
	Key     [32]byte  `json:"-"` // SHA-256 of subject, body and cause, a zero byte between
	Subject string    `json:"subject"`
	Stream  string    `json:"stream"`
	Seq     uint64    `json:"stream_seq"` // where it was first met
	Cause   string    `json:"cause"`      // one of the cause constants
	Reason  string    `json:"reason"`     // the whole story, for a person
	First   uint64    `json:"first,omitempty"`
	Last    uint64    `json:"last,omitempty"`
	At      time.Time `json:"at"`
	Size    int       `json:"bytes"` // of the body
	Body    []byte    `json:"-"`

	Decision Decision `json:"decision,omitzero"`
}
