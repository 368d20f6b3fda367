package event

import (
	"time"

	"posd/pos"
)

// Version is the schema version that this release writes.
const Version = 1

// RecordType is the journal's record type for a JSON event of this package.
const RecordType = 0x0100

// Names of event types. They are stable for ever.
const (
	TypeTerminalStarted = "terminal.started"
	TypeTerminalStopped = "terminal.stopped"
	TypeClockStepped    = "clock.stepped"
	TypeShiftOpened     = "shift.opened"
	TypeShiftClosed     = "shift.closed"
	TypeShiftHanded     = "shift.handed"
	TypeSaleCompleted   = "sale.completed"
	TypeTraining        = "training.completed"
	TypeConfigApplied   = "config.applied"
	TypeConfigRefused   = "config.refused"
	TypeCommandExecuted = "command.executed"
	TypeCommandRefused  = "command.refused"
	TypeRecordsLost     = "records.lost"
)

// Clock says how far an event's wall time can be trusted. Order is the
// sequence number; the wall clock never decides anything.
type Clock string

const (
	ClockSynced   Clock = "synced"   // the kernel says that the clock is disciplined (adjtimex)
	ClockUnsynced Clock = "unsynced" // plausible, not disciplined
	ClockBehind   Clock = "behind"   // earlier than a time already seen: a reset clock, 1970
)

// Header is what all events carry beside their data.
type Header struct {
	V     int
	Type  string
	Time  time.Time // UTC, written with milliseconds
	Clock Clock
	Key   string // Idempotency-Key of the call, if any
	Hash  string // lower-case hex SHA-256 of the call's canonical body, with Key
	Front string // name of the front end's token, if any
	Trace string // W3C traceparent of the call, if any
}

// SaleCompleted is self-contained: everything that head office, a reprint or an
// auditor needs stands in it, however the basket was made. Goods that come back are
// lines with a quantity below zero. With Training it is written as training.completed,
// which is outside all totals.
type SaleCompleted struct {
	Sale         string // sale id, unique for ever: SaleID(journal id, seq)
	Receipt      string // <terminal>-<branch>-<n>, gapless per terminal and branch
	Number       uint64 // n of the receipt
	Store        string
	Terminal     string
	Shift        uint64
	BusinessDate string // YYYY-MM-DD
	Operator     string
	Currency     pos.Currency
	Prices       pos.PriceMode
	Rounding     pos.Rounding
	Lines        []pos.Line
	Taxes        []pos.TaxTotal
	Total        pos.Money // what the customer owes, tax included; below zero is owed to the customer
	Tenders      []pos.Tender
	Change       pos.Money // Σ tenders − Total − CashRounding, cash only
	Perpetual    pos.Money // Σ totals of the terminal with this sale; never reset
	Refunds      pos.Money // Σ totals below zero, as a positive number; never reset

	Training     bool
	Basket       string         // of a sale made step by step
	Opened       time.Time      // when that basket was opened; else zero
	Discounts    []pos.Discount // off the whole sale; their shares stand in the lines
	CashRounding pos.Money      // added to the total to make what is paid in cash a multiple of the smallest coin
	Customer     string         // a reference, never a name
	Note         string
	Age          int    // years that the operator has made sure of; 0: no line asked for it
	VoidOf       string // sale id of the sale that this one takes back as a whole
	VoidReceipt  string // its receipt
	Approved     string // the second operator who allowed it, if one had to
	Print        bool   // the printer is given its receipt
}

// ShiftOpened begins a shift. Implicit: no one opened it, the first sale did.
type ShiftOpened struct {
	Shift        uint64
	BusinessDate string
	Operator     string
	Implicit     bool
	Currency     pos.Currency
	Float        pos.Money // in the drawer at the beginning
	Approved     string    // the second operator who allowed it, if one had to
}

// ShiftClosed ends a shift with its totals: it is the Z report.
type ShiftClosed struct {
	Shift        uint64
	BusinessDate string
	Implicit     bool
	Currency     pos.Currency
	Totals       ShiftTotals
	Z            uint64 // number of the report, gapless per terminal; 0: of a release that gave none
	Operator     string // who closed it; empty: the till did
	Counted      bool   // Declared was counted
	Declared     pos.Money
	Expected     pos.Money // in the drawer: float + cash taken + in − out − dropped
	Approved     string
}

// ShiftHanded says that another operator goes on with the shift.
type ShiftHanded struct {
	Shift    uint64
	From, To string
	Operator string // who did it, where operators sign in
	Approved string
}

// ShiftTotals are the running sums of one shift. Training is outside all of them.
type ShiftTotals struct {
	Sales     uint64         // completed, refunds among them
	Gross     pos.Money      // Σ totals
	Taxes     []pos.TaxTotal // in the order in which the codes first appeared
	Cash      pos.Money      // taken in cash, change deducted
	Card      pos.Money
	Perpetual pos.Money

	Voucher, Account pos.Money
	Refunds          int64     // sales whose total is below zero
	Refunded         pos.Money // their Σ totals, as a positive number
	PostVoids        int64     // sales that take back a whole one
	Discounts        pos.Money // taken off, as a positive number
	CashRounding     pos.Money
	Float            pos.Money // in the drawer at the beginning
	In, Out, Dropped pos.Money // cash moved beside sales
	DrawerOpened     int64     // without a sale
	LinesVoided      int64     // and quantities lowered
	LinesVoidedSum   pos.Money
	BasketsVoided    int64
	BasketsVoidedSum pos.Money
	PriceChanges     int64 // lines sold at a price set by hand
	Copies           int64 // of receipts
	Trainings        int64
	PerpetualRefunds pos.Money // Σ totals below zero of the terminal's whole life, as a positive number
	LinesReturned    int64     // lines of goods that came back, in whatever sale
	LinesReturnedSum pos.Money // their Σ amounts, as a positive number
	BasketsOpen      int64     // open or parked when the report was made, with lines
	BasketsOpenSum   pos.Money
}

// Drawer is what should be in the drawer now.
func (t *ShiftTotals) Drawer() pos.Money { return t.Float + t.Cash + t.In - t.Out - t.Dropped }

// TerminalStarted is written at each start of the daemon.
type TerminalStarted struct {
	Release     string // of posd
	Incarnation uint64
	Config      string // lower-case hex SHA-256 of the configuration in force
	Recovered   string // "" or what recovery had to do, for example "torn tail kept in …"
}

// TerminalStopped is written at an orderly stop.
type TerminalStopped struct {
	Reason string
}

// ClockStepped is written when the wall clock jumped by more than two seconds
// against the monotonic clock.
type ClockStepped struct {
	FromMilli int64 // Unix time expected, milliseconds
	ToMilli   int64 // Unix time found, milliseconds
}

// RecordsLost is written before the terminal tells head office that records of this
// journal, which it had not got, cannot be read any more. The journal's signature over
// it says who declared what.
type RecordsLost struct {
	First, Last uint64 // sequence numbers
	Head        string // lower-case hex head of the chain after Last
	File        string // within the journal's folder
	Offset      uint64 // of the first damaged byte range
	Reason      string
}
