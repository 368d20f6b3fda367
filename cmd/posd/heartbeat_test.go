package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"posd/journal"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/register"
	"posd/sync/wire"
)

// day is a journal with sales among other events, and what each record is worth.
type day struct {
	j     *journal.Journal
	at    time.Time
	worth []pos.Money // by seq
	sale  []bool
	sum   sold
}

type written struct {
	e interface {
		AppendEvent([]byte, event.Header) ([]byte, error)
	}
	h event.Header
}

func (w written) AppendRecord(dst []byte, _ uint64) ([]byte, error) { return w.e.AppendEvent(dst, w.h) }

func newDay(t testing.TB, records int) *day {
	dir := filepath.Join(t.TempDir(), "journal")
	if _, err := journal.Create(dir, journal.CreateOptions{
		Identity: journal.Identity{Store: "S1", Terminal: "T-1"}, SegmentSize: 1 << 20, Opening: register.Opening(register.Start{Branch: 3}),
	}); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(dir, journal.Options{ScrubEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	d := &day{j: j, at: time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC), sum: sold{branch: 3, perpetual: 1000}}
	r := rand.New(rand.NewPCG(1, 2))
	var last uint64
	for range records {
		h := event.Header{V: 1, Time: d.at, Clock: event.ClockSynced}
		w := written{e: &event.ClockStepped{}, h: h}
		var worth pos.Money
		if r.IntN(3) > 0 {
			worth = pos.Money(r.IntN(5000))
			d.sum.receipt++
			d.sum.perpetual += worth
			w.e = &event.SaleCompleted{Sale: fmt.Sprint("x-", d.sum.receipt), Receipt: fmt.Sprintf("T-1-3-%d", d.sum.receipt), Number: d.sum.receipt,
				Store: "S1", Terminal: "T-1", BusinessDate: "2026-11-21", Currency: pos.Currency{Code: "EUR", Exponent: 2}, Total: worth, Perpetual: d.sum.perpetual}
		}
		if last, err = j.Append(event.RecordType, journal.Durable, 2048, w); err != nil {
			t.Fatal(err)
		}
		for uint64(len(d.worth)) < last {
			d.worth, d.sale = append(d.worth, 0), append(d.sale, false)
		}
		_, isSale := w.e.(*event.SaleCompleted)
		d.worth, d.sale = append(d.worth, worth), append(d.sale, isSale)
		d.at = d.at.Add(time.Second)
	}
	if err := j.Wait(context.Background(), last); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestBacklog: what a heartbeat says of the backlog is what adding it all up gives.
func TestBacklog(t *testing.T) {
	d := newDay(t, 400)
	floor, _ := d.j.Floor()
	count := func(settled uint64) (l wire.Backlog) {
		l.Known = true
		for seq := settled + 1; seq <= floor; seq++ {
			if l.Value += int64(d.worth[seq]); d.sale[seq] {
				l.Sales++
			}
		}
		return l
	}
	different := 0
	for name, step := range map[string]func(uint64) uint64{
		"record by record": func(s uint64) uint64 { return s + 1 },
		"in leaps":         func(s uint64) uint64 { return min(s+uint64(rand.IntN(40)), floor) },
		"not moving":       func(s uint64) uint64 { return s + uint64(rand.IntN(2)) },
	} {
		b := backlog{j: d.j}
		for settled := uint64(0); settled < floor; settled = step(settled) {
			got := b.state(settled, floor, d.at, d.sum)
			want := count(settled)
			if !got.Known || got.Value != want.Value || got.Sales != want.Sales || got.Records != floor-settled {
				t.Fatalf("%s, %d of %d settled: %+v, added up %+v", name, settled, floor, got, want)
			}
			if settled > 2 && got.Age != floor-settled { // one record a second, the last one a second ago
				t.Fatalf("%s, %d of %d settled: the oldest is %d s old", name, settled, floor, got.Age)
			}
			// A value that forgot the first record would be noticed.
			if count(settled+1).Value != got.Value {
				different++
			}
		}
		if got := b.state(floor, floor, d.at, d.sum); got != (wire.Backlog{Known: true}) {
			t.Errorf("nothing is left: %+v", got)
		}
	}
	if different == 0 {
		t.Error("this test would not see a wrong value")
	}
}

// TestBacklogWithoutSales: a long row of other records is looked through bit by bit, and
// until that is done nothing is claimed.
func TestBacklogWithoutSales(t *testing.T) {
	d := newDay(t, 0)
	for range 5 * lookMost {
		seq, err := d.j.Append(event.RecordType, journal.Durable, 256, written{&event.ClockStepped{}, event.Header{V: 1, Time: d.at, Clock: event.ClockSynced}})
		if err != nil {
			t.Fatal(err)
		}
		d.j.Wait(context.Background(), seq)
	}
	floor, _ := d.j.Floor()
	b := backlog{j: d.j}
	unknown := 0
	for !b.state(0, floor, d.at, d.sum).Known {
		if unknown++; unknown > 10 {
			t.Fatal("it never gets to the end")
		}
	}
	if unknown < 3 {
		t.Errorf("known after %d turns: more than %d records were looked at in one", unknown, lookMost)
	}
	if got := b.state(0, floor, d.at, d.sum); got.Value != 0 || got.Sales != 0 || got.Records != floor {
		t.Errorf("%+v", got)
	}
}

// BenchmarkBacklog: the first heartbeat after a start, with 100,000 records not settled.
func BenchmarkBacklog(b *testing.B) {
	d := newDay(b, 100_000)
	floor, _ := d.j.Floor()
	b.ResetTimer()
	for b.Loop() {
		l := backlog{j: d.j}
		if s := l.state(floor-100_000, floor, d.at, d.sum); !s.Known {
			b.Fatal("not known")
		}
	}
}
