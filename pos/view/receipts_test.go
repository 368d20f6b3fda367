package view

import (
	"fmt"
	"os"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"posd/journal"
	"posd/pos/event"
)

// give journals that a receipt was given out.
func (r *rig) give(sale string, copied int) {
	r.t.Helper()
	e := event.Operator{Type: event.TypeReceiptPrinted, Operator: "7", Sale: sale, Copy: copied}
	if copied > 0 {
		e.Type = event.TypeReceiptCopied
	}
	seq, err := r.j.Append(event.RecordType, journal.Durable, 500, encoder(func(dst []byte, _ uint64) ([]byte, error) {
		return e.AppendEvent(dst, event.Header{Time: time.Now()})
	}))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.j.Wait(within(r.t), seq); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) wantReceipts(sale string, given, copies int) {
	r.t.Helper()
	floor, _ := r.j.Floor()
	if err := r.v.WaitApplied(within(r.t), floor); err != nil {
		r.t.Fatal(err)
	}
	g, c, err := r.v.Receipts(sale)
	if err != nil || g != given || c != copies {
		r.t.Errorf("sale %s: given out %d times, %d copies, %v; want %d and %d", sale, g, c, err, given, copies)
	}
	if back, err := r.v.Returned(sale); err != nil || len(back) != 0 {
		r.t.Errorf("a receipt is no goods that came back: %v, %v", back, err)
	}
}

// Receipts are counted in memory and in the file, and again where the file is lost.
func TestReceipts(t *testing.T) {
	r := newRig(t)
	r.open(Options{CommitEvents: 7})
	r.sell(3)
	sale, other := event.SaleID(r.j.ID(), r.seqs[0]), event.SaleID(r.j.ID(), r.seqs[2])
	r.wantReceipts(sale, 0, 0)
	for n := range 20 {
		r.give(sale, n)
		r.wantReceipts(sale, n+1, n)
	}
	r.give(other, 0)
	r.wantReceipts(other, 1, 0)
	r.give("ffffffff-1", 0) // whose sale the journal does not hold
	r.close()
	r.open(Options{})
	r.wantReceipts(sale, 20, 19)
	r.close()
	if err := os.Remove(r.path()); err != nil {
		t.Fatal(err)
	}
	r.open(Options{CommitEvents: 5})
	r.wantReceipts(sale, 20, 19)
	r.wantReceipts(other, 1, 0)
	r.close()
	db, err := bolt.Open(r.path(), 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bolt.Tx) error {
		if n := tx.Bucket(bucketBack).Stats().KeyN; n != 2 {
			return fmt.Errorf("%d sales are counted", n)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
