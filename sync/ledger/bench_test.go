package ledger

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"posd/journal/chain"
	"posd/sync/ledger/pgtest"
)

// Batches as a hub commits them, when it has a backlog.
const (
	benchParcels  = 128
	benchEvents   = 200 // in a parcel
	benchBytes    = 300 // in an event
	benchSale     = 8   // one event in so many has a receipt number
	benchJournals = 3000
)

// BenchmarkCommit: batch after batch of parcels from as many terminals, everything that
// a hub writes of them: chains, records, receipt numbers, outbox, position.
func BenchmarkCommit(b *testing.B) {
	b.Run("bbolt", func(b *testing.B) {
		l, err := OpenBolt(filepath.Join(b.TempDir(), "ledger.db"))
		benchCommit(b, l, err)
	})
	b.Run("postgresql", func(b *testing.B) {
		l, err := OpenPostgres(b.Context(), pgtest.Shared(b).Database(b), PostgresOptions{})
		benchCommit(b, l, err)
	})
}

func benchCommit(b *testing.B, l Ledger, err error) {
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.ReportAllocs()
	payloads := make([][]byte, benchEvents)
	filler := bytes.Repeat([]byte("abcdefgh"), benchBytes/8)
	at := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	for i := range payloads {
		p := fmt.Appendf(nil, `{"v":1,"type":"sale.completed","time":"%s","clock":"synced","data":{"n":%d,"x":"`, at.Add(time.Duration(i)*time.Second).Format("2006-01-02T15:04:05.000Z"), i)
		p = append(p, filler[:benchBytes-len(p)-3]...)
		payloads[i] = append(p, `"}}`...)
	}
	var pos Position
	chains := make([]Chain, benchJournals)
	for i := range chains {
		chains[i] = Chain{Store: fmt.Sprint("s", i/10), Terminal: fmt.Sprint("t", i), Updated: at}
		rand.Read(chains[i].Journal[:])
	}
	turn := 0
	for b.Loop() {
		var parts []*Chain
		var ids []chain.ID
		for range benchParcels {
			c := &chains[turn%benchJournals]
			turn++
			parts, ids = append(parts, c), append(ids, c.Journal)
		}
		to := pos
		if err := l.Update(b.Context(), func(tx Tx) error {
			to = pos
			if err := tx.Expect(ids); err != nil {
				return err
			}
			var receipts []Receipt
			var names []Name
			for _, p := range parts {
				c, ok, err := tx.Chain(p.Journal)
				if err != nil {
					return err
				}
				if !ok {
					c = *p
				}
				for i := range uint64(benchEvents) {
					seq := c.Last + 1 + i
					n := Name{Journal: c.Journal, Seq: seq}
					copy(n.Head[:], c.Journal[:])
					binary.BigEndian.PutUint64(n.Head[16:], seq*0x9E3779B97F4A7C15)
					if err := tx.PutRecord(c.Journal, seq, n.Head, payloads[i]); err != nil {
						return err
					}
					names = append(names, n)
					if seq%benchSale == 0 {
						receipts = append(receipts, Receipt{c.Store, c.Terminal, fmt.Sprintf("%s-1-%d", c.Terminal, seq), n})
					}
				}
				c.Last += benchEvents
				c.Records += benchEvents
				c.Events += benchEvents
				if err := tx.PutChain(c); err != nil {
					return err
				}
			}
			if _, err := tx.PutReceipts(receipts, at); err != nil {
				return err
			}
			to.Seq += benchParcels
			to.Out += uint64(len(names))
			if err := tx.PutOut("lane", pos.Out+1, names); err != nil {
				return err
			}
			return tx.SetPosition("lane", pos, to)
		}); err != nil {
			b.Fatal(err)
		}
		pos = to
	}
	b.ReportMetric(float64(b.N)*benchParcels*benchEvents/b.Elapsed().Seconds(), "events/s")
}
