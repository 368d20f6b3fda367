package papers

import (
	"errors"
	"fmt"

	"posd/journal/chain"
	"posd/pos/event"
	"posd/pos/receipt"
	"posd/pos/till"
)

// Kind of paper.
type Kind uint8

const (
	Receipt Kind = iota // of a sale
	Report              // Z
	Slip                // of cash
)

// Of says which paper of a record is wanted.
type Of struct {
	Kind    Kind // ErrNoPaper if the record is of another
	Copy    int  // 0: the receipt; n: its copy n
	Preview bool // to be looked at
	Drawer  bool // opens the drawer
}

// ErrNoPaper: the record is of a kind of which there is no paper.
var ErrNoPaper = errors.New("there is no paper of this")

// Document is the paper of a record: the receipt of a sale, a Z report, or a slip of cash.
// Errors: ErrNoPaper, or as journal.Journal.Read.
func (d *Desk) Document(seq uint64, of Of) (*receipt.Document, error) {
	var doc *receipt.Document
	j := d.o.Journal
	head, err := j.Head(seq)
	if err != nil {
		return nil, err
	}
	err = j.Read(seq, func(rec chain.Record) error {
		named, err := chain.Named(j.ID(), rec)
		if err != nil {
			return err
		}
		if rec.Type == chain.TypeCopy {
			head = named.Head
		}
		if named.Record.Type != event.RecordType {
			return ErrNoPaper
		}
		doc, err = d.document(named, head, of)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", seq, err)
	}
	return doc, nil
}

// kinds of paper that events have.
var kinds = map[string]Kind{
	event.TypeSaleCompleted: Receipt, event.TypeTraining: Receipt, event.TypeShiftClosed: Report,
	event.TypeCashIn: Slip, event.TypeCashOut: Slip, event.TypeCashDropped: Slip, event.TypeDrawerOpened: Slip, event.TypeCashDeclared: Slip,
}

func (d *Desk) document(named chain.Copy, head chain.Head, of Of) (*receipt.Document, error) {
	h, data, err := event.Parse(named.Record.Payload)
	if err != nil {
		return nil, err
	}
	p := d.o.Register.Settings().Papers
	o := d.about(&p.Shop)
	o.Time, o.Head, o.Record = h.Time.In(d.o.Terminal.TimeZone), head, event.SaleID(named.Journal, named.Record.Seq)
	o.Barcode, o.Copy, o.Preview, o.Drawer = p.Barcode, of.Copy, of.Preview, of.Drawer
	if kind, ok := kinds[h.Type]; !ok || kind != of.Kind {
		return nil, ErrNoPaper
	}
	var doc receipt.Document
	switch h.Type {
	case event.TypeSaleCompleted, event.TypeTraining:
		e, err := event.ParseSale(data)
		if err != nil {
			return nil, err
		}
		if e.Training = h.Type == event.TypeTraining; e.Training {
			o.Copy = 0
		}
		doc = receipt.Sale(&e, o)
	case event.TypeShiftClosed:
		e, err := event.ParseShiftClosed(data)
		if err != nil {
			return nil, err
		}
		doc = receipt.Z(&e, o)
	default:
		e, err := event.ParseCash(h.Type, data)
		if err != nil {
			return nil, err
		}
		doc = receipt.CashSlip(&e, o)
	}
	return &doc, nil
}

// X is the report of the shift as it is now; blind: for who counts the drawer. nil: no
// shift is open.
func (d *Desk) X(blind bool) *receipt.Document {
	p := d.o.Register.Settings().Papers
	o := d.about(&p.Shop)
	o.Blind = blind
	o.Time = d.o.Register.Status().Now.In(d.o.Terminal.TimeZone)
	var doc *receipt.Document
	d.o.Register.Look(func(s *till.State) {
		if !s.Shift.Open {
			return
		}
		e := s.Closing()
		e.Operator, e.Counted, e.Declared = s.Shift.Operator, s.Shift.Counted, s.Shift.Declared
		made := receipt.X(e, o)
		doc = &made
	})
	return doc
}

func (d *Desk) about(shop *receipt.Shop) receipt.Options {
	t := &d.o.Terminal
	return receipt.Options{Shop: shop, Store: t.Store, Terminal: t.ID, Currency: t.Currency}
}
