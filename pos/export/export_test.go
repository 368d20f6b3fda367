package export

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/register"
	"posd/pos/till"
)

// entry is an event on its way into the journal.
type entry struct{ e *event.SaleCompleted }

func (a entry) AppendRecord(dst []byte, seq uint64) ([]byte, error) {
	a.e.Sale = fmt.Sprint("s-", seq)
	return a.e.AppendEvent(dst, event.Header{Time: time.Unix(1795253400, 0)})
}

// shop is a journal with days of so many sales each.
func shop(t testing.TB, days, sales int) *journal.Journal {
	t.Helper()
	var dates []string
	for day := range days {
		dates = append(dates, fmt.Sprintf("2026-11-%02d", day+1))
	}
	j, _ := shopOn(t, dates, sales)
	return j
}

// shopOn also returns the first record of each day.
func shopOn(t testing.TB, dates []string, sales int) (*journal.Journal, []uint64) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "journal")
	if _, err := journal.Create(dir, journal.CreateOptions{Identity: journal.Identity{Store: "s", Terminal: "t"}}); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(dir, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	var last uint64
	var first []uint64
	for day, date := range dates {
		for n := range sales {
			e := &event.SaleCompleted{
				Receipt: fmt.Sprint("t-1-", day*sales+n+1), Number: uint64(day*sales + n + 1), Shift: uint64(day + 1), BusinessDate: date,
				Currency: pos.Currency{Code: "EUR", Exponent: 2}, Total: 119,
				Lines: []pos.Line{{Description: strings.Repeat("bread ", 40), Qty: 1000, Unit: "pc", Tax: "A", Rate: 190000, Price: 119, Amount: 119}},
				Taxes: []pos.TaxTotal{{Code: "A", Rate: 190000, Net: 100, Tax: 19, Gross: 119}}, Tenders: []pos.Tender{{Kind: pos.Cash, Amount: 119}},
			}
			if last, err = j.Append(event.RecordType, journal.Durable, 1024, entry{e}); err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				first = append(first, last)
			}
		}
	}
	if err := j.Wait(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	return j, first
}

// runs runs an exporter until the test, or its caller, ends it.
func runs(t testing.TB, o Options) (x *Exporter, stop func()) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "exports")
	}
	x = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := x.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); all.Wait() }
	t.Cleanup(stop)
	return x, stop
}

func (x *Exporter) wait(t testing.TB, q Query) Job {
	t.Helper()
	j, _, err := x.Start(fmt.Sprint(q, time.Now().UnixNano()), [32]byte{}, q)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if j, err = x.Job(j.ID); err != nil {
			t.Fatal(err)
		}
		if j.State == Done || j.State == Failed {
			return j
		}
	}
	t.Fatalf("no end: %+v", j)
	return j
}

// Each day is found whatever stands around it.
func TestEachDay(t *testing.T) {
	j := shop(t, 7, 40)
	var turns atomic.Int64
	x, _ := runs(t, Options{Journal: j, Pace: func(<-chan struct{}) { turns.Add(1) }})
	for day := range 9 {
		want := uint64(40)
		if day == 0 || day > 7 {
			want = 0
		}
		if got := x.wait(t, Query{Date: fmt.Sprintf("2026-11-%02d", day), Format: CSV, Rows: "lines"}); got.Written != want || got.State != Done || got.Truncated {
			t.Errorf("day %d: %+v", day, got)
		}
	}
	if turns.Load() == 0 {
		t.Error("it never waits for its turn")
	}
}

// A day that had begun before the clock was wrong has both its parts, and nobody else's.
func TestDaysAroundASetback(t *testing.T) {
	const sales = 20
	dates := []string{"2026-11-01", "2026-11-02", "2026-11-03", "2062-11-03", "2026-11-03", "2026-11-04"}
	j, first := shopOn(t, dates, sales)
	x, _ := runs(t, Options{Journal: j, Pace: func(<-chan struct{}) {}})
	wrong := 0
	for date, parts := range map[string]uint64{"2026-10-31": 0, "2026-11-01": 1, "2026-11-02": 1, "2026-11-03": 2, "2026-11-04": 1, "2026-11-05": 0, "2062-11-03": 1, "2062-11-04": 0} {
		for _, format := range []string{CSV, JSONL} {
			q := Query{Date: date, Format: format}
			if format == CSV {
				q.Rows = "sales"
			}
			if got := x.wait(t, q); got.Written != parts*sales {
				wrong++ // the negative control: it does not know of the setback
			}
			q.Setback = first[4]
			if got := x.wait(t, q); got.Written != parts*sales || got.State != Done {
				t.Errorf("%s %s: %+v, want %d", date, format, got, parts*sales)
			}
		}
	}
	if wrong == 0 {
		t.Error("whoever does not know of the setback finds all the same")
	}
}

// told is one event of a journal on its way into it.
type told struct {
	event interface {
		AppendEvent([]byte, event.Header) ([]byte, error)
	}
}

func (a told) AppendRecord(dst []byte, seq uint64) ([]byte, error) {
	if e, ok := a.event.(*event.SaleCompleted); ok {
		e.Sale = fmt.Sprint("s-", seq)
	}
	return a.event.AppendEvent(dst, event.Header{Time: time.Unix(1795253400, 0)})
}

func tell(t testing.TB, j *journal.Journal, e told) uint64 {
	t.Helper()
	seq, err := j.Append(event.RecordType, journal.Durable, 1024, e)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func durable(t testing.TB, j *journal.Journal, seq uint64) uint64 {
	t.Helper()
	if err := j.Wait(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
	return seq
}

func soldOn(date string, shift, n uint64) told {
	return told{&event.SaleCompleted{Receipt: fmt.Sprint("t-1-", n), Number: n, Shift: shift, BusinessDate: date, Currency: pos.Currency{Code: "EUR", Exponent: 2}, Total: 119,
		Lines:   []pos.Line{{Description: "bread", Qty: 1000, Unit: "pc", Tax: "A", Rate: 190000, Price: 119, Amount: 119}},
		Tenders: []pos.Tender{{Kind: pos.Cash, Amount: 119}}}}
}

// However often dates go back, a day has the records that are its own, and no others.
func TestDatesThatGoBack(t *testing.T) {
	eur := pos.Currency{Code: "EUR", Exponent: 2}
	days := []string{"2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04", "2040-01-01", "2062-11-03"}
	rapid.Check(t, func(rt *rapid.T) {
		dir := filepath.Join(t.TempDir(), "journal")
		if _, err := journal.Create(dir, journal.CreateOptions{Identity: journal.Identity{Store: "s", Terminal: "t"}, SegmentSize: 64 << 10}); err != nil {
			t.Fatal(err)
		}
		j, err := journal.Open(dir, journal.Options{SegmentSize: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		var setback, n, waits uint64
		waits = j.Oldest()
		was, open := "", false
		want := map[string][]uint64{} // records by day
		of := func(date string, seq uint64) {
			for ; waits <= seq; waits++ {
				want[date] = append(want[date], waits)
			}
		}
		opens := false
		for shift := range uint64(rapid.IntRange(0, 9).Draw(rt, "shifts")) {
			date := rapid.SampledFrom(days).Draw(rt, "date")
			if rapid.Bool().Draw(rt, "today") && was != "" {
				date = was
			}
			tell(t, j, told{&event.Cash{Type: event.TypeDrawerOpened}})
			seq := tell(t, j, told{&event.ShiftOpened{Shift: shift + 1, BusinessDate: date, Currency: eur}})
			of(date, seq)
			if date < was {
				setback = seq
			}
			for range rapid.IntRange(0, 3).Draw(rt, "sales") {
				n++
				of(date, tell(t, j, soldOn(date, shift+1, n)))
			}
			opens = rapid.Bool().Draw(rt, "stays open") // as after a salvage that has lost the end
			if !opens {
				of(date, tell(t, j, told{&event.ShiftClosed{Shift: shift + 1, BusinessDate: date, Currency: eur}}))
			}
			was, open = date, true
		}
		until := durable(t, j, tell(t, j, told{&event.Cash{Type: event.TypeDrawerOpened}}))
		if open && opens {
			of(was, until)
		}
		setback += uint64(rapid.SampledFrom([]int{0, 0, 3, 1000}).Draw(rt, "more")) // a later one will do
		x := New(Options{Dir: t.TempDir(), Journal: j, Pace: func(<-chan struct{}) {}})
		for _, date := range append(days, "2026-10-31", "2070-01-01") {
			spans, err := x.bounds(t.Context(), &Job{Query: Query{Date: date, Setback: setback}, Until: until})
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for _, s := range spans {
				for seq := s.first; seq < s.end; seq++ {
					got = append(got, seq)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want[date]) {
				rt.Fatalf("%s, setback %d: %v, want %v", date, setback, got, want[date])
			}
		}
	})
}

// A journal that continues one whose dates went back has them among its copies, wherever
// these begin: the days are found in it, too, and in what it adds.
func TestDaysInAnHeir(t *testing.T) {
	eur := pos.Currency{Code: "EUR", Exponent: 2}
	for from := range uint64(3) {
		dir := filepath.Join(t.TempDir(), "journal")
		id := journal.Identity{Store: "s", Terminal: "t"}
		if _, err := journal.Create(dir, journal.CreateOptions{Identity: id}); err != nil {
			t.Fatal(err)
		}
		j, err := journal.Open(dir, journal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var n, shift, last uint64
		day := func(date string, sales int) {
			shift++
			last = tell(t, j, told{&event.ShiftOpened{Shift: shift, BusinessDate: date, Currency: eur}})
			for range sales {
				n++
				last = tell(t, j, soldOn(date, shift, n))
			}
		}
		for _, date := range []string{"2026-11-01", "2062-11-03", "2026-11-02", "2040-01-01", "2026-11-03"} {
			day(date, 5)
		}
		durable(t, j, last)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		var heir register.Successor
		end, err := journal.Verify(t.Context(), dir, journal.VerifyOptions{Each: func(r chain.Record, _ chain.Head) error { heir.Add(r); return nil }})
		if err == nil {
			_, _, err = journal.Succeed(dir, journal.CreateOptions{
				Identity: id, Opening: heir.Opening(), Parent: &chain.Parent{Journal: end.Journal.String(), Seq: end.Last, Head: end.Head.String(), Reason: "restore"},
				Copies: func(add func(chain.ID, chain.Record, chain.Head) error) error {
					_, err := journal.Salvage(t.Context(), dir, journal.SalvageOptions{From: end.First + 4*from, Each: add})
					return err
				},
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		if j, err = journal.Open(dir, journal.Options{}); err != nil {
			t.Fatal(err)
		}
		state, err := till.ParseState(heir.Opening()(nil, 2))
		if err != nil {
			t.Fatal(err)
		}
		last, _ = j.Floor()
		for range 2 { // once with what it adds
			x, stop := runs(t, Options{Journal: j})
			for _, date := range []string{"2026-11-02", "2026-11-03", "2026-11-04", "2040-01-01", "2062-11-03"} {
				want := uint64(5)
				if date == "2026-11-04" && shift < 6 {
					want = 0
				}
				if got := x.wait(t, Query{Date: date, Format: CSV, Rows: "sales", Setback: state.Setback}); got.Written != want {
					t.Errorf("from %d, setback %d, end %d: %d sales of %s", from, state.Setback, last, got.Written, date)
				}
			}
			stop()
			day("2026-11-04", 5)
			durable(t, j, last)
		}
		j.Close()
	}
}

// What is left of before the setback is of later dates only. A day behind that of the setback
// is whole; that one may have had a morning.
func TestTruncatedAroundASetback(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	if _, err := journal.Create(dir, journal.CreateOptions{Identity: journal.Identity{Store: "s", Terminal: "t"}, SegmentSize: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(dir, journal.Options{SegmentSize: 64 << 10, Retention: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	n := uint64(0)
	sell := func(date string) uint64 { n++; return durable(t, j, tell(t, j, soldOn(date, 1, n))) }
	for j.Oldest() < 3 {
		j.Settle(sell("2062-11-03"))
		if n > 20000 {
			t.Fatal("nothing is freed")
		}
	}
	setback := sell("2026-11-21")
	sell("2026-11-21")
	sell("2026-11-22")
	sell("2026-11-22")
	x, _ := runs(t, Options{Journal: j})
	for date, want := range map[string]struct {
		sales     uint64
		truncated bool
	}{
		"2026-11-20": {0, true}, "2026-11-21": {2, true}, "2026-11-22": {2, false}, "2026-11-23": {0, false},
	} {
		if got := x.wait(t, Query{Date: date, Format: CSV, Rows: "sales", Setback: setback}); got.Written != want.sales || got.Truncated != want.truncated {
			t.Errorf("%s: %d sales, truncated %v", date, got.Written, got.Truncated)
		}
	}
	if got := x.wait(t, Query{Date: "2062-11-03", Format: CSV, Rows: "sales", Setback: setback}); got.Written == 0 || !got.Truncated {
		t.Errorf("the day that was freed in part: %d sales, truncated %v", got.Written, got.Truncated)
	}
}

// An export for which there is no space fails, says why, and leaves nothing.
func TestNoSpaceForAnExport(t *testing.T) {
	j := shop(t, 1, 200)
	day := Query{Date: "2026-11-01", Format: JSONL}
	dir := filepath.Join(t.TempDir(), "exports")
	x, stop := runs(t, Options{Dir: dir, Journal: j, free: func(string) (int64, error) { return keepFree, nil }})
	if got := x.wait(t, day); got.State != Failed || got.Why != errNoSpace.Error() {
		t.Errorf("%+v", got)
	}
	stop()
	x, stop = runs(t, Options{Dir: dir, Journal: j, mostFile: 64 << 10, mostFiles: 1 << 20})
	if got := x.wait(t, day); got.State != Failed || got.Why != errTooBig.Error() {
		t.Errorf("%+v", got)
	}
	if _, _, err := x.Open(x.Jobs()[0].ID); !errors.Is(err, ErrNotDone) {
		t.Error(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("%d files stay, %v", len(names), err)
	}
	stop()
	x, _ = runs(t, Options{Dir: dir, Journal: j, mostFile: 1 << 20, mostFiles: 300 << 10})
	first := x.wait(t, day)
	for range 4 { // they take each other's place
		if got := x.wait(t, day); got.State != Done {
			t.Errorf("%+v", got)
		}
	}
	if _, err := x.Job(first.ID); !errors.Is(err, ErrNoJob) {
		t.Errorf("the oldest stays: %v", err)
	}
	if sum := x.taken(); sum > 300<<10 {
		t.Errorf("%d bytes", sum)
	}
	open, _, err := x.Open(x.Jobs()[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	x.dropAll() // sales find no room
	if b, err := io.ReadAll(open); err != nil || len(b) != 0 {
		t.Errorf("who fetches it keeps %d bytes of the disk, %v", len(b), err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("%d files stay, %v", len(names), err)
	}
	if got := x.Jobs()[0]; got.State != Failed || got.Why == "" {
		t.Errorf("%+v", got)
	}
}

// A start removes what is left, an end what is half done.
func TestNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "0123456789abcdef"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := shop(t, 1, 400)
	turn := make(chan struct{})
	x, stop := runs(t, Options{Dir: dir, Journal: j, Pace: func(done <-chan struct{}) {
		select {
		case turn <- struct{}{}:
			<-done // somebody sells without end
		case <-done:
		}
	}})
	if _, _, err := x.Start("k", [32]byte{}, Query{Date: "2026-11-01", Format: JSONL}); err != nil {
		t.Fatal(err)
	}
	<-turn
	stop()
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("%d files stay, %v", len(names), err)
	}
}

func TestBusy(t *testing.T) {
	x := New(Options{Dir: t.TempDir(), Journal: shop(t, 1, 1)}) // nobody works
	for n := range mostJobs {
		if _, _, err := x.Start(fmt.Sprint(n), [32]byte{}, Query{Date: "2026-11-01"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := x.Start("one more", [32]byte{}, Query{}); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if _, again, err := x.Start("3", [32]byte{}, Query{}); !again || err != nil {
		t.Error(again, err)
	}
	if _, _, err := x.Start("3", [32]byte{1}, Query{}); !errors.Is(err, ErrKeyReused) {
		t.Error(err)
	}
}

// Whatever somebody has written is one cell, and no formula.
func TestCells(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.String(), 1, 5).Draw(t, "texts")
		var e encoder
		e.j = &Job{}
		e.row()
		e.number(1) // no reader takes an empty line for a row
		for _, s := range texts {
			e.text(s)
		}
		e.end()
		rows, err := csv.NewReader(strings.NewReader(string(e.buf))).ReadAll()
		if err != nil || len(rows) != 1 || len(rows[0]) != len(texts)+1 {
			t.Fatalf("%q: %v, %v", e.buf, rows, err)
		}
		for i, s := range texts {
			got := rows[0][i+1]
			if got != "" && strings.IndexByte("=+-@\t\r", got[0]) >= 0 {
				t.Fatalf("%q is a formula", got)
			}
			if s != "" && strings.IndexByte("=+-@\t\r", s[0]) >= 0 {
				s = "'" + s
			}
			if s = strings.ReplaceAll(s, "\r\n", "\n"); got != s { // as the reader does
				t.Fatalf("%q, want %q", got, s)
			}
		}
	})
}

// Each table has as many cells in its rows as columns.
func TestColumns(t *testing.T) {
	s := event.SaleCompleted{
		Sale: "s-1", Currency: pos.Currency{Code: "JPY"}, Change: 5, Age: 18,
		Lines:   []pos.Line{{Fixed: true, Amount: 7, Return: &pos.Return{Sale: "s-0", Line: 3}}, {Changed: true, List: 3, Discounts: []pos.Discount{{Amount: 1}}}},
		Taxes:   []pos.TaxTotal{{Code: "A"}},
		Tenders: []pos.Tender{{Kind: pos.Card, Card: &pos.CardData{Brand: "visa", Offline: true}}, {Kind: pos.Cash, Amount: 9}},
	}
	b, err := s.AppendEvent(nil, event.Header{})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range RowKinds {
		e := encoder{j: &Job{Query: Query{Format: CSV, Rows: kind}}}
		e.begin()
		e.event(&record{kind: event.TypeSaleCompleted, payload: b})
		rows, err := csv.NewReader(strings.NewReader(string(e.buf))).ReadAll() // all as long as the first
		if err != nil || len(rows) < 2 || uint64(len(rows)-1) != e.j.Written {
			t.Errorf("%s: %v, %v", kind, rows, err)
		}
	}
}

// BenchmarkExport is a day of 3,000 sales with one line, the tenth of ten.
func BenchmarkExport(b *testing.B) {
	j := shop(b, 10, 3000)
	x, _ := runs(b, Options{Journal: j})
	for _, q := range []Query{{Date: "2026-11-10", Format: JSONL}, {Date: "2026-11-10", Format: CSV, Rows: "lines"}} {
		b.Run(q.Format, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if got := x.wait(b, q); got.State != Done || got.Written != 3000 {
					b.Fatalf("%+v", got)
				}
			}
		})
	}
}

type raw string

func (r raw) AppendRecord(dst []byte, _ uint64) ([]byte, error) { return append(dst, r...), nil }

// Each line of an export has the chain's head behind its event, a copy's the one that it
// had where it was made: so a line can be held against a receipt's code, the journal and
// what head office has.
func TestHeadsOfAnExport(t *testing.T) {
	j, old := shop(t, 2, 2000), shop(t, 1, 1)
	h, err := old.Head(3)
	if err == nil {
		err = old.Read(3, func(r chain.Record) error {
			b := string(chain.AppendCopy(nil, old.ID(), r, h))
			seq, err := j.Append(chain.TypeCopy, journal.Durable, len(b), raw(b))
			return errors.Join(err, j.Wait(t.Context(), seq))
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	x, _ := runs(t, Options{Journal: j}) // in several turns
	f, _, err := x.Open(x.wait(t, Query{Date: "2026-11-02", Format: JSONL}).ID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, copies := 0, 0
	for dec := json.NewDecoder(f); dec.More(); lines++ {
		var l struct {
			Journal, Head string
			Seq           uint64
		}
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		of := j
		if l.Journal == old.ID().String() {
			of, copies = old, copies+1
		}
		if h, err := of.Head(l.Seq); err != nil || h.String() != l.Head {
			t.Fatalf("%+v, want %s, %v", l, h, err)
		}
	}
	if lines != 2001 || copies != 1 {
		t.Errorf("%d lines, %d copies", lines, copies)
	}
}
