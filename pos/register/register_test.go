package register

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/till"
	"posd/pos/view"
)

// till is a terminal on a temporary folder, with a real journal and index.
type rig struct {
	t    testing.TB
	dir  string
	now  time.Time
	up   time.Duration
	sync bool
	opt  Options

	j    *journal.Journal
	v    *view.View
	r    *Register
	stop func()
}

var euro = pos.Currency{Code: "EUR", Exponent: 2}

func newTill(t testing.TB) *rig {
	t.Helper()
	dir := t.TempDir()
	if _, err := journal.Create(filepath.Join(dir, "journal"), journal.CreateOptions{
		Identity: journal.Identity{Store: "S1", Terminal: "T1"}, SegmentSize: 64 << 10, Opening: Opening(Start{Branch: 1}),
	}); err != nil {
		t.Fatal(err)
	}
	m := &rig{t: t, dir: dir, now: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)}
	m.opt = Options{Store: "S1", Terminal: "T1", Operator: "0", Currency: euro, TimeZone: time.UTC}
	t.Cleanup(func() {
		if m.stop != nil {
			m.stop()
		}
	})
	return m
}

// open opens everything but runs nothing.
func (m *rig) open() error {
	var opener Opener
	var err error
	if m.j, err = journal.Open(filepath.Join(m.dir, "journal"), journal.Options{
		Identity: journal.Identity{Store: "S1", Terminal: "T1"}, SegmentSize: 64 << 10, Opening: opener.Opening,
	}); err != nil {
		return err
	}
	if m.v, err = view.Open(filepath.Join(m.dir, "view.db"), m.j, view.Options{}); err != nil {
		return errors.Join(err, m.j.Close())
	}
	o := m.opt
	o.Opener = &opener
	o.Now = func() time.Time { return m.now }
	o.Uptime = func() time.Duration { return m.up }
	o.Synced = func() bool { return m.sync }
	if m.r, err = Open(m.j, m.v, o); err != nil {
		return errors.Join(err, m.v.Close(), m.j.Close())
	}
	return nil
}

func (m *rig) start() {
	m.t.Helper()
	if err := m.open(); err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { defer wg.Done(); m.v.Run(ctx) }()
	go func() { defer wg.Done(); m.r.Run(ctx) }()
	if err := m.r.Alive(waiting(m.t)); err != nil { // it has looked at the clock, which the test will turn
		m.t.Fatal(err)
	}
	m.stop = func() {
		cancel()
		wg.Wait()
		if err := errors.Join(m.v.Close(), m.j.Close()); err != nil {
			m.t.Error(err)
		}
		m.stop = nil
	}
}

// pass lets time go by on both clocks.
func (m *rig) pass(d time.Duration) {
	m.now = m.now.Add(d)
	m.up += d
}

func sale(key string, price pos.Money) Checkout {
	return Checkout{
		Key: key, Hash: sha256.Sum256([]byte(key)),
		Lines: []pos.Line{{
			Description: "apple", Unit: "pc", Tax: "A", Rate: 190000, Qty: 1000, Price: price,
		}},
		Tenders: []pos.Tender{{Kind: pos.Cash, Amount: price + 100}},
	}
}

func (m *rig) sell(c Checkout) Answer {
	m.t.Helper()
	a, err := m.r.Checkout(context.Background(), c)
	if err != nil {
		m.t.Fatal(err)
	}
	return a
}

// events returns all events of the journal from a record on.
func (m *rig) events(from uint64) (headers []event.Header, data [][]byte) {
	m.t.Helper()
	rd, err := m.j.Reader(from)
	if err != nil {
		m.t.Fatal(err)
	}
	defer rd.Close()
	for {
		rec, err := rd.Next()
		if err != nil {
			return headers, data
		}
		if rec.Type != event.RecordType {
			continue
		}
		h, d, err := event.Parse(rec.Payload)
		if err != nil {
			m.t.Fatal(err)
		}
		headers, data = append(headers, h), append(data, append([]byte(nil), d...))
	}
}

func (m *rig) saleOf(seq uint64) (h event.Header, e event.SaleCompleted) {
	m.t.Helper()
	err := m.j.Read(seq, func(rec chain.Record) error {
		var data []byte
		var err error
		if h, data, err = event.Parse(rec.Payload); err != nil {
			return err
		}
		e, err = event.ParseSale(data)
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return h, e
}

func TestSale(t *testing.T) {
	m := newTill(t)
	m.start()
	a := m.sell(sale("k1", 1190))
	h, e := m.saleOf(a.Seq)
	if e.Receipt != "T1-1-1" || e.Number != 1 || e.Shift != 1 || e.BusinessDate != "2026-11-21" ||
		e.Perpetual != 1190 || e.Change != 100 || e.Sale != a.Sale || e.Operator != "0" ||
		e.Taxes[0] != (pos.TaxTotal{Code: "A", Rate: 190000, Net: 1000, Tax: 190, Gross: 1190}) {
		t.Errorf("sale %+v", e)
	}
	if h.Key != "k1" || h.Clock != event.ClockUnsynced || !h.Time.Equal(m.now) {
		t.Errorf("header %+v", h)
	}
	st := m.r.Status()
	want := event.ShiftTotals{Sales: 1, Gross: 1190, Cash: 1190, Perpetual: 1190, Taxes: e.Taxes}
	if !reflect.DeepEqual(st.Totals, want) || !st.Open || !st.Implicit || st.Receipt != 1 {
		t.Errorf("status %+v", st)
	}
}

// sameKey is the check of idempotency: however often a key is sent, also at
// once, there is one sale, and all get its answer.
func sameKey(m *rig) error {
	const calls = 8
	before := m.r.Status().Receipt
	answers := make([]Answer, calls)
	errs := make([]error, calls)
	var wg sync.WaitGroup
	for i := range calls {
		wg.Add(1)
		go func() {
			defer wg.Done()
			answers[i], errs[i] = m.r.Checkout(context.Background(), sale("same", 500))
		}()
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if n := m.r.Status().Receipt - before; n != 1 {
		return errors.New("one key made several sales")
	}
	fresh := 0
	for _, a := range answers {
		if a.Sale != answers[0].Sale {
			return errors.New("answers differ")
		}
		if !a.Replayed {
			fresh++
		}
	}
	if fresh != 1 {
		return errors.New("not exactly one answer is the first")
	}
	return nil
}

func TestSameKey(t *testing.T) {
	m := newTill(t)
	m.start()
	if err := sameKey(m); err != nil {
		t.Error(err)
	}
}

// TestSameKeyControl plants the mistake that TestSameKey is there for.
func TestSameKeyControl(t *testing.T) {
	m := newTill(t)
	m.start()
	m.r.bugDropKey = true
	if err := sameKey(m); err == nil {
		t.Error("dropped keys were not noticed")
	}
}

func TestKeyReused(t *testing.T) {
	m := newTill(t)
	m.start()
	first := m.sell(sale("k", 500))
	other := sale("k", 500)
	other.Hash = sha256.Sum256([]byte("another body"))
	ctx := context.Background()
	if _, err := m.r.Checkout(ctx, other); !errors.Is(err, ErrKeyReused) {
		t.Errorf("checkout: %v", err)
	}
	if _, _, _, err := m.r.Replay(ctx, "k", other.Hash); !errors.Is(err, ErrKeyReused) {
		t.Errorf("replay: %v", err)
	}
	m.stop()
	m.start()
	a, ok, _, err := m.r.Replay(ctx, "k", sale("k", 0).Hash)
	if err != nil || !ok || a.Seq != first.Seq || !a.Replayed {
		t.Errorf("after a restart: %+v %v %v", a, ok, err)
	}
	if _, err := m.r.Checkout(ctx, other); !errors.Is(err, ErrKeyReused) {
		t.Errorf("checkout after a restart: %v", err)
	}
}

// TestKeysWithoutIndex: a key is known at once although its segment is not the
// last one and the index is gone, or was killed before it committed anything.
func TestKeysWithoutIndex(t *testing.T) {
	m := newTill(t)
	m.start()
	old := m.sell(sale("old", 100))
	for first := m.j.LastOpening(); m.j.LastOpening() == first; {
		m.sell(sale("", 100))
	}
	m.sell(sale("new", 100))
	m.stop()
	if err := os.Remove(filepath.Join(m.dir, "view.db")); err != nil {
		t.Fatal(err)
	}
	if err := m.open(); err != nil {
		t.Fatal(err)
	}
	defer func() { m.v.Close(); m.j.Close() }()
	if m.v.Applied() != 0 {
		t.Fatal("the index is not empty")
	}
	for _, key := range []string{"old", "new"} { // the index does not run
		a, ok, _, err := m.r.Replay(waiting(t), key, sale(key, 0).Hash)
		if err != nil || !ok || !a.Replayed || key == "old" && (a.Seq != old.Seq || a.Sale != old.Sale) {
			t.Errorf("%s: %+v %v %v", key, a, ok, err)
		}
	}
	if _, ok, _, err := m.r.Replay(waiting(t), "never", sale("never", 0).Hash); ok || err != nil {
		t.Errorf("a key that was never used: %v %v", ok, err)
	}
}

// TestIndexTooFarBehind: what neither side knows is not taken for new.
func TestIndexTooFarBehind(t *testing.T) {
	m := newTill(t)
	m.start()
	for range 3 {
		m.sell(sale("", 100))
	}
	m.sell(sale("k", 100))
	m.stop()
	if err := os.Remove(filepath.Join(m.dir, "view.db")); err != nil {
		t.Fatal(err)
	}
	if err := m.open(); err != nil {
		t.Fatal(err)
	}
	defer func() { m.v.Close(); m.j.Close() }()
	floor, _ := m.j.Floor()
	m.r.pending = pending{from: floor + 1} // as if more than mostScanned records lay between
	if _, _, err := m.r.find("k", idOf("k"), 0); !errors.Is(err, ErrIndex) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var index sync.WaitGroup
	index.Go(func() { m.v.Run(ctx) })
	defer index.Wait()
	defer cancel()
	if err := m.v.WaitApplied(waiting(t), floor); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := m.r.find("k", idOf("k"), 0); !ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
}

func TestRefusals(t *testing.T) {
	m := newTill(t)
	m.start()
	m.sell(sale("first", 100))
	state := m.r.Status()
	floor, _ := m.j.Floor()
	for name, c := range map[string]struct {
		change func(*Checkout)
		code   string
		is     error
	}{
		"underpaid":   {func(c *Checkout) { c.Tenders[0].Amount = 1 }, till.CodeUnderpaid, pos.ErrUnderpaid},
		"card change": {func(c *Checkout) { c.Tenders[0] = pos.Tender{Kind: pos.Card, Amount: 9999, Reference: "1"} }, till.CodeOverpaid, pos.ErrOverpaid},
		"card slip":   {func(c *Checkout) { c.Tenders[0].Kind = pos.Card }, till.CodeTender, pos.ErrTender},
		"negative":    {func(c *Checkout) { c.Lines[0].Price = -1 }, till.CodeNegative, pos.ErrNegative},
		"overflow":    {func(c *Checkout) { c.Lines[0].Price = pos.MaxAmount + 1 }, till.CodeOverflow, pos.ErrOverflow},
		"too large": {func(c *Checkout) {
			for range 5000 {
				c.Lines = append(c.Lines, pos.Line{Description: "a line of some length", Unit: "pc", Tax: "A", Qty: 1000})
			}
		}, till.CodeTooLarge, journal.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			s := sale("refused "+name, 100)
			c.change(&s)
			_, err := m.r.Checkout(context.Background(), s)
			var refused *till.RefusalError
			if !errors.As(err, &refused) || refused.Code != c.code || !errors.Is(err, c.is) || refused.Detail == "" {
				t.Errorf("got %v", err)
			}
		})
	}
	after := m.r.Status()
	state.Now, after.Now = time.Time{}, time.Time{}
	if !reflect.DeepEqual(state, after) {
		t.Errorf("a refusal has changed something: %+v, was %+v", after, state)
	}
	if now, _ := m.j.Floor(); now != floor {
		t.Errorf("a refusal was journaled: record %d, was %d", now, floor)
	}
}

func TestQueue(t *testing.T) {
	m := newTill(t)
	m.opt.Queue = 2
	if err := m.open(); err != nil {
		t.Fatal(err)
	}
	defer func() { m.v.Close(); m.j.Close() }()
	gone, cancel := context.WithCancel(context.Background())
	var index sync.WaitGroup
	index.Go(func() { m.v.Run(gone) })
	if err := m.v.WaitApplied(waiting(t), m.r.pending.after()); err != nil {
		t.Fatal(err)
	}
	cancel()
	index.Wait()
	for range 2 { // the loop does not run: these wait until their caller goes
		if _, err := m.r.Checkout(gone, sale("k", 100)); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if _, err := m.r.Checkout(context.Background(), sale("k", 100)); !errors.Is(err, ErrBusy) {
		t.Fatalf("full queue: %v", err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	ended := make(chan error)
	go func() { ended <- m.r.Run(ctx) }()
	if err := m.r.Alive(waiting(t)); err != nil && !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	stop(errors.New("the shop is closed"))
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n := m.r.Status().Receipt; n != 0 {
		t.Errorf("%d sales were made for callers who had gone", n)
	}
	if _, err := m.r.Checkout(context.Background(), sale("k", 100)); !errors.Is(err, ErrStopping) {
		t.Errorf("after the end: %v", err)
	}
	if err := m.j.Wait(waiting(t), m.j.Stats().NextSeq-1); err != nil {
		t.Fatal(err)
	}
	h, data := m.events(1)
	last, err := event.ParseTerminalStopped(data[len(data)-1])
	if err != nil || h[0].Type != event.TypeTerminalStarted || last.Reason != "the shop is closed" {
		t.Errorf("events %+v, reason %q, %v", h, last.Reason, err)
	}
}

func waiting(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestDays(t *testing.T) {
	m := newTill(t)
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	m.opt.TimeZone, m.opt.DayStart = zone, 4*time.Hour
	m.now = time.Date(2026, 11, 21, 22, 30, 0, 0, time.UTC) // 23:30 there
	m.start()
	type step struct {
		pass   time.Duration
		date   string
		shift  uint64
		trust  event.Clock
		synced bool
	}
	for i, s := range []step{
		{0, "2026-11-21", 1, event.ClockUnsynced, false},
		{time.Hour, "2026-11-21", 1, event.ClockUnsynced, false},                         // 00:30, before the day's start
		{3*time.Hour + 30*time.Minute, "2026-11-22", 2, event.ClockSynced, true},         // 04:00
		{-48 * time.Hour, "2026-11-22", 2, event.ClockBehind, false},                     // set back
		{time.Hour, "2026-11-22", 2, event.ClockBehind, false},                           // still
		{49 * time.Hour, "2026-11-22", 2, event.ClockUnsynced, false},                    // 06:00 again
		{-56*365*24*time.Hour - 23*time.Hour, "2026-11-22", 2, event.ClockBehind, false}, // 1970
		{57*365*24*time.Hour + 23*time.Hour, "2027-11-22", 3, event.ClockUnsynced, false},
	} {
		m.now = m.now.Add(s.pass) // the clock is set, no time goes by
		m.sync = s.synced
		h, e := m.saleOf(m.sell(sale("", 100)).Seq)
		if e.BusinessDate != s.date || e.Shift != s.shift || h.Clock != s.trust {
			t.Errorf("step %d at %s: date %s shift %d %s, want %s %d %s", i, m.now, e.BusinessDate, e.Shift, h.Clock, s.date, s.shift, s.trust)
		}
	}
	headers, data := m.events(1)
	closed, stepped := 0, 0
	for i, h := range headers {
		switch h.Type {
		case event.TypeShiftClosed:
			e, err := event.ParseShiftClosed(data[i])
			if closed++; err != nil || closed == 1 && (e.Totals.Sales != 2 || e.BusinessDate != "2026-11-21" || e.Totals.Perpetual != 200) {
				t.Errorf("closed %+v %v", e, err)
			}
		case event.TypeClockStepped:
			stepped++
		}
	}
	if closed != 2 || stepped != 7 {
		t.Errorf("%d shifts closed, %d steps of the clock, want 2 and 7", closed, stepped)
	}
}

// TestNewTerminalIn1970: a till without a clock sells from the first minute.
func TestNewTerminalIn1970(t *testing.T) {
	m := newTill(t)
	m.now = time.Unix(60, 0)
	m.start()
	h, e := m.saleOf(m.sell(sale("k", 100)).Seq)
	if h.Clock != event.ClockBehind || e.BusinessDate != "1970-01-01" {
		t.Errorf("%s %s", h.Clock, e.BusinessDate)
	}
	m.now = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	if _, e = m.saleOf(m.sell(sale("k2", 100)).Seq); e.BusinessDate != "2026-11-21" || e.Shift != 2 || e.Number != 2 {
		t.Errorf("%+v", e)
	}
}

// TestSyncedClockCorrects: a clock that was wrongly ahead does not make every later event
// one of a clock that is behind, nor every later day one of that year. Which of the two
// clocks is wrong only a disciplined one can say.
func TestSyncedClockCorrects(t *testing.T) {
	m := newTill(t)
	right := m.now
	m.now = right.AddDate(70, 0, 0)
	m.start()
	sells := func(date string, shift uint64, trust event.Clock) {
		t.Helper()
		if h, e := m.saleOf(m.sell(sale("", 100)).Seq); h.Clock != trust || e.BusinessDate != date || e.Shift != shift {
			t.Errorf("%s %s shift %d, want %s %s %d", h.Clock, e.BusinessDate, e.Shift, trust, date, shift)
		}
	}
	sells("2096-11-21", 1, event.ClockUnsynced)
	m.now = right
	sells("2096-11-21", 1, event.ClockBehind)
	m.sync = true
	sells("2026-11-21", 2, event.ClockSynced)
	m.pass(time.Minute)
	m.sync = false
	sells("2026-11-21", 2, event.ClockUnsynced)
	setback := m.r.state.Setback
	m.stop()
	m.start()
	if now := m.r.state.Setback; setback == 0 || now != setback {
		t.Errorf("the date went back at record %d, after a restart at %d", setback, now)
	}
	m.pass(24 * time.Hour)
	sells("2026-11-22", 3, event.ClockUnsynced)
	m.now, m.sync = m.now.Add(-24*time.Hour), true // one day may be another time zone
	sells("2026-11-22", 3, event.ClockSynced)
}

// A clock that is not disciplined any more does not bring the date back, though the latest
// time seen was corrected meanwhile.
func TestDateStaysWithoutDiscipline(t *testing.T) {
	m := newTill(t)
	right := m.now
	m.now = right.AddDate(70, 0, 0)
	m.start()
	do := func(step func(u *Turn) (Appender, error)) {
		t.Helper()
		if _, err := m.r.Do(t.Context(), Call{}, step); err != nil {
			t.Fatal(err)
		}
	}
	open := func(u *Turn) (Appender, error) { return Made(u.State.OpenShift("7", u.Date, u.Currency, 0)) }
	do(open) // by hand: it stays open
	m.sell(sale("", 100))
	m.now, m.sync = right, true
	m.sell(sale("", 100)) // the latest time is corrected, the shift keeps its date
	m.sync = false
	do(func(u *Turn) (Appender, error) { return Made(u.State.CloseShift("7", "")) })
	do(open)
	if st := m.r.Status(); st.BusinessDate != "2096-11-21" {
		t.Errorf("%s by a clock that nothing disciplines", st.BusinessDate)
	}
}

func TestOtherCurrency(t *testing.T) {
	m := newTill(t)
	m.start()
	m.sell(sale("k", 100))
	m.stop()
	m.opt.Currency = pos.Currency{Code: "CHF", Exponent: 2}
	if err := m.open(); !errors.Is(err, ErrCurrency) {
		t.Errorf("got %v", err)
	}
}

func TestPerpetualIsFull(t *testing.T) {
	m := newTill(t)
	m.start()
	m.r.mu.Lock()
	m.r.state.Perpetual = 1<<63 - 1 - 50
	m.r.mu.Unlock()
	var refused *till.RefusalError
	if _, err := m.r.Checkout(waiting(t), sale("k", 51)); !errors.As(err, &refused) || refused.Code != till.CodeOverflow {
		t.Errorf("got %v", err)
	}
	m.sell(sale("k", 50))
}

func TestSecondBranch(t *testing.T) {
	dir := t.TempDir()
	o := journal.CreateOptions{Identity: journal.Identity{Store: "S1", Terminal: "T1"}, SegmentSize: 64 << 10,
		Opening: Opening(Start{Branch: 2, Perpetual: 5000, Currency: euro})}
	if _, err := journal.Create(filepath.Join(dir, "journal"), o); err != nil {
		t.Fatal(err)
	}
	m := newTill(t)
	m.dir = dir
	m.start()
	if _, e := m.saleOf(m.sell(sale("k", 100)).Seq); e.Receipt != "T1-2-1" || e.Perpetual != 5100 {
		t.Errorf("%+v", e)
	}
}
