package papers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
	"posd/pos/printer"
	"posd/pos/receipt"
)

// follow sees each record when it is durable, until ctx ends.
func (d *Desk) follow(ctx context.Context) {
	for from := d.from; ctx.Err() == nil; {
		err := d.read(ctx, &from)
		if ctx.Err() != nil || errors.Is(err, journal.ErrClosed) || errors.Is(err, journal.ErrFailed) {
			<-ctx.Done()
			return
		}
		d.o.Log.Error("papers of some records are not printed by themselves", "first", from, "error", err)
		floor, _ := d.o.Journal.Floor()
		from = floor + 1
		select {
		case <-time.After(again):
		case <-ctx.Done():
		}
	}
}

// read follows the journal from a record on, and moves it.
func (d *Desk) read(ctx context.Context, from *uint64) error {
	r, err := d.o.Journal.Reader(*from)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			if err = d.o.Journal.WaitBeyond(ctx, *from-1); err != nil {
				return err
			}
			continue
		}
		if err == nil {
			*from = rec.Seq + 1
			err = r.Guard(func() error { return d.see(rec) })
		}
		if err != nil {
			return err
		}
	}
}

// see prints what comes by itself. A copy of a former journal's record does nothing: what
// it says was done then.
func (d *Desk) see(rec chain.Record) error {
	if rec.Type != event.RecordType {
		return nil
	}
	kind := event.KindOf(rec.Payload)
	switch kind {
	case event.TypeSaleCompleted, event.TypeTraining, event.TypeShiftClosed, event.TypeCashIn, event.TypeCashOut, event.TypeCashDropped, event.TypeDrawerOpened:
	default:
		return nil
	}
	id := event.SaleID(d.o.Journal.ID(), rec.Seq)
	others := d.o.Register.Settings().Papers.Others
	switch kind {
	case event.TypeSaleCompleted, event.TypeTraining:
		cash := kind == event.TypeSaleCompleted && bytes.Contains(rec.Payload, inCash)
		d.out(id, id, rec.Seq, Receipt, bytes.Contains(rec.Payload, toPrint), cash && d.o.Printer.Drawer)
	case event.TypeShiftClosed:
		_, data, err := event.Parse(rec.Payload)
		if err != nil {
			return err
		}
		e, err := event.ParseShiftClosed(data)
		if err != nil {
			return err
		}
		d.out(ReportName(e.Z), id, rec.Seq, Report, others, false)
	default:
		d.out(SlipName(id), id, rec.Seq, Slip, others && kind != event.TypeDrawerOpened, d.o.Printer.Drawer)
	}
	return nil
}

// What a sale has that is printed, and one that moves cash: change comes from cash too. No
// text can hold these bytes, since its quotes would be escaped; parsing each sale would
// cost as much as making it.
var (
	toPrint = []byte(`"print":true`)
	inCash  = []byte(`"kind":"cash"`)
)

// out prints a record's paper, or only opens the drawer.
func (d *Desk) out(name, id string, seq uint64, kind Kind, paper, drawer bool) {
	job := printer.Job{Name: name, Drawer: drawer, Make: func() (*receipt.Document, error) { return d.Document(seq, Of{Kind: kind, Drawer: drawer}) }}
	switch {
	case paper:
	case drawer:
		job = printer.Job{Name: "drawer/" + id, Drawer: true, Within: late}
	default:
		return
	}
	if err := d.queue(job); err != nil {
		d.refused(job.Name, err)
	}
}

// refused counts a paper that the printer did not take. The first is logged, then one a
// minute: a printer may be away all day, and a log in memory is small.
func (d *Desk) refused(name string, err error) {
	d.mu.Lock()
	d.ends[printer.NotPrinted]++
	d.mu.Unlock()
	if d.unsaid++; !d.said.IsZero() && time.Since(d.said) < time.Minute {
		return
	}
	d.o.Log.Warn("not printed", "paper", name, "because", err, "papers", d.unsaid)
	d.said, d.unsaid = time.Now(), 0
}

// late is when nobody stands at the drawer any more.
const late = 5 * time.Second
