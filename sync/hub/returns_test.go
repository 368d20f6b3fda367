package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
	"posd/sync/ledger"
	"posd/sync/returns"
	"posd/sync/wire"
)

// shop is tills that sell and take back, and ship to a running hub.
type shop struct {
	*rig
	name map[*till]string
	held ledger.Claim
	late atomic.Int64           // how far the hub's clock is ahead
	want map[ledger.Name]string // events
}

// newShop has a hub that waits for receipts as usual, and looks for them with each pulse.
func newShop(t *testing.T, url string, b bug) *shop {
	r := newRig(t, b)
	r.o.LedgerURL = url
	times := returns.DefaultTimes
	times.Caught = 0
	r.o.returns = &times
	s := &shop{rig: r, name: map[*till]string{}, want: map[ledger.Name]string{}}
	r.o.now = func() time.Time { return time.Now().UTC().Add(time.Duration(s.late.Load())) }
	r.start()
	return s
}

// later lets time pass for the hub, so that what was not there is looked for again.
func (s *shop) later() { s.late.Add(int64(time.Hour)) }

func (s *shop) till(name string) *till {
	k := newTill(s.t, name, nil, nil)
	s.name[k] = name
	return k
}

// saleText is a whole sale. Of each item, "4011:2" are two pieces for 2.50 each; one with
// @RECEIPT came back of that receipt, with an empty one of none.
func saleText(t testing.TB, store, terminal, receipt string, items ...string) string {
	t.Helper()
	e := &event.SaleCompleted{Sale: "sale-" + receipt, Receipt: receipt, Store: store, Terminal: terminal, Operator: "7", Currency: pos.Currency{Code: "EUR", Exponent: 2}}
	for _, item := range items {
		item, of, back := strings.Cut(item, "@")
		var code string
		var n int
		if _, err := fmt.Sscanf(strings.Replace(item, ":", " ", 1), "%s %d", &code, &n); err != nil {
			t.Fatal(err)
		}
		l := pos.Line{Item: code, Description: "what " + code + " is", Unit: "pc", Tax: "S", Rate: 190000, Qty: pos.Qty(n) * 1000, Price: 250, Amount: pos.Money(n) * 250}
		if back {
			l.Qty, l.Amount = -l.Qty, -l.Amount
			l.Return = &pos.Return{Receipt: of, Reason: "sour"}
		}
		e.Lines = append(e.Lines, l)
	}
	b, err := e.AppendEvent(nil, event.Header{Time: time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC), Clock: event.ClockSynced})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (s *shop) sell(k *till, receipt string, items ...string) {
	s.t.Helper()
	k.add(event.RecordType, saleText(s.t, "s1", s.name[k], receipt, items...))
}

// ship publishes all of a till's journal, some records a parcel.
func (s *shop) ship(k *till, n uint64) {
	s.t.Helper()
	var last uint64
	for first := uint64(1); first <= k.last(); first += n {
		last = s.publish(wire.UpSubject(0, "s1", s.name[k], k.id), bytesOf(s.t, k.parcel(first, min(first+n-1, k.last()))))
	}
	s.settle(last)
	k.events(s.want)
}

// list is what /v1/returns says, "receipt=state:count" each, once all that was noted was
// looked at.
func (s *shop) list(query string) string {
	s.t.Helper()
	s.eventually("all was looked at", func() bool {
		c, err := s.h.returnCounts()
		return err == nil && c.Noted == 0
	})
	w := s.get("/v1/returns"+query, s.h.api)
	if w.Code != 200 {
		s.t.Fatal(w.Code, w.Body)
	}
	var all []string
	for line := range strings.Lines(w.Body.String()) {
		var x returns.Receipt
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s=%s:%d", x.Number, x.State, x.Count))
	}
	return strings.Join(all, " ")
}

// becomes waits for a list, while the hub's clock runs fast; a control only has to fail.
func (s *shop) becomes(query, want string) error {
	s.t.Helper()
	got := ""
	for end := time.Now().Add(s.patience()); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got = s.list(query); got == want {
			return nil
		}
		s.late.Add(int64(time.Minute))
	}
	return fmt.Errorf("%s: %q, want %q", query, got, want)
}

// hold keeps the hub from looking at what comes back, as another hub would.
func (s *shop) hold() {
	s.t.Helper()
	s.eventually("the claim", func() bool {
		c, ok, err := s.h.ledger.Claim(context.Background(), "returns")
		s.held = c
		return ok && err == nil
	})
}

func (s *shop) restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

// beat is a heartbeat of a till whose journal ends at floor.
func (s *shop) beat(k *till, floor uint64) {
	s.t.Helper()
	b := wire.Heartbeat{Store: "s1", Terminal: s.name[k], Run: 7, At: time.Now(), Clock: "synced", Journal: k.id, Floor: floor, Settled: floor, DiskFree: 1, DiskTotal: 2}
	s.eventually("the heartbeat is in the ledger", func() bool {
		if err := s.nc.Publish(wire.HeartbeatSubject(0, "s1", s.name[k]), b.Append(nil)); err != nil {
			s.t.Fatal(err)
		}
		var d terminalDoc
		s.h.ledger.View(context.Background(), func(tx ledger.Tx) error {
			v, _, err := tx.Doc(kindTerminal, "s1."+s.name[k])
			json.Unmarshal(v, &d)
			return err
		})
		h, err := wire.ParseHeartbeat(d.Beat)
		return err == nil && h.Floor == floor && d.Seen >= milli(b.At)
	})
}

// overReturn has a receipt of t1 given back by t2 and by t3. Every record comes twice or
// more: again, in a stream made anew, as a copy in an heir of t3, and the hub is stopped
// between taking in and looking. Of the receipts t1-1-1 more came back than was sold, of
// t1-1-2 exactly what was.
func overReturn(t *testing.T, url string, b bug, saleFirst bool) error {
	s := newShop(t, url, b)
	s.o.fleet = defaultFleetTimes
	s.o.fleet.tick, s.o.fleet.rewrite, s.o.fleet.often = 20*time.Millisecond, 20*time.Millisecond, 0
	s.restart()
	t1, t2, t3 := s.till("t1"), s.till("t2"), s.till("t3")
	s.sell(t1, "t1-1-1", "4011:2")
	s.sell(t1, "t1-1-2", "4011:2", "4012:1")
	s.sell(t2, "t2-1-1", "4011:1@t1-1-1", "4011:1@t1-1-2", "4013:1")
	s.sell(t3, "t3-1-1", "4011:2@t1-1-1", "4011:1@t1-1-2", "4012:1@", "4014:1@t1-1-99")
	heir := newTill(t, "t3", nil, &chain.Parent{Journal: t3.id.String(), Seq: t3.last(), Reason: "clone"})
	s.name[heir] = "t3"
	heir.copy(t3, 1, t3.last())

	if saleFirst {
		s.ship(t1, 1)
	}
	s.hold()
	s.ship(t2, 2)
	if c, err := s.h.returnCounts(); err != nil || c.Noted != 1 && b == noBug {
		t.Errorf("%+v, %v: nobody may look", c, err)
	}
	s.held.Release()
	s.restart()
	s.ship(t3, 1)
	s.ship(t3, 3) // what is known is passed over
	s.ship(heir, 1)
	var err error
	if !saleFirst {
		err = errors.Join(err, s.becomes("", "t1-1-1=waiting:2 t1-1-2=waiting:2 t1-1-99=waiting:1"), s.becomes("?open=true", ""))
		s.ship(t1, 1)
	}
	s.later()
	err = errors.Join(err, s.becomes("", "t1-1-1=over:2 t1-1-2=fine:2 t1-1-99=waiting:1"))
	if e := s.js.DeleteStream(t.Context(), s.h.shards[0].stream); e != nil {
		t.Fatal(e)
	}
	s.eventually("a new stream is read", func() bool { return s.h.m.restarts.Get() == 1 && s.h.shards[0].reading.Load() })
	for _, k := range []*till{heir, t3, t2, t1} {
		s.ship(k, 9)
	}
	s.beat(t1, t1.last()+1) // it holds more than the ledger has
	s.later()
	err = errors.Join(err, s.becomes("", "t1-1-1=over:2 t1-1-2=fine:2 t1-1-99=waiting:1"))
	s.beat(t1, t1.last())
	s.later()
	return errors.Join(err, s.becomes("", "t1-1-1=over:2 t1-1-2=fine:2 t1-1-99=unknown:1"), s.becomes("?open=true", "t1-1-1=over:2 t1-1-99=unknown:1"),
		s.blind(1), proves(s.h.ledger, s.want))
}

func (s *shop) blind(want int) error {
	if n := strings.Count(s.get("/v1/returns/blind", s.h.api).Body.String(), "\n"); n != want {
		return fmt.Errorf("%d blind returns, want %d", n, want)
	}
	return nil
}

// TestOverReturn: see overReturn.
func TestOverReturn(t *testing.T) {
	for _, saleFirst := range []bool{true, false} {
		t.Run(fmt.Sprint("sale first ", saleFirst), func(t *testing.T) {
			onEachStore(t, func(t *testing.T, url string) {
				if err := overReturn(t, url, noBug, saleFirst); err != nil {
					t.Error(err)
				}
			})
		})
	}
	for name, b := range map[string]bug{"nobody looks": bugNoReturns, "not idempotent": bugNotIdempotent, "copies are others": bugNoNames} {
		t.Run("control: "+name, func(t *testing.T) {
			if overReturn(t, "", b, true) == nil {
				t.Error("passes: the check proves nothing")
			}
		})
	}
}

// TestReturnOfADeadTill: the sale comes from the disk of a till that is no more, long after
// its receipt was cried out.
func TestReturnOfADeadTill(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		s := newShop(t, url, noBug)
		times := returns.Times{}
		s.o.returns = &times
		s.restart()
		t1, t2 := s.till("t1"), s.till("t2")
		s.sell(t1, "t1-1-1", "4011:2")
		s.sell(t2, "t2-1-1", "4011:2@t1-1-1")
		s.ship(t2, 9)
		err := s.becomes("", "t1-1-1=waiting:1")
		s.later()
		if err := errors.Join(err, s.becomes("?open=true", "t1-1-1=unknown:1")); err != nil {
			t.Error(err)
		}
		s.bring(t1, 1, t1.last())
		s.later()
		if err := errors.Join(s.becomes("", "t1-1-1=fine:1"), s.becomes("?open=true", "")); err != nil {
			t.Error(err)
		}
	})
}

// TestReturnsAPI: what is shown, counted and settled.
func TestReturnsAPI(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		s := newShop(t, url, noBug)
		t1, t2 := s.till("t1"), s.till("t2")
		s.sell(t1, "t1-1-1", "4011:1")
		s.sell(t1, "t1-1-2", "4011:1")
		s.sell(t2, "t2-1-1", "4011:1@t1-1-1", "4012:2@", "4011:1@t1-1-2", "4011:1@old 17")
		s.sell(t2, "t2-1-2", "4011:1@t1-1-1", "4011:1@t1-1-3")
		s.ship(t1, 9)
		s.ship(t2, 9)
		for query, want := range map[string]string{
			"":                     "old 17=unknown:1 t1-1-1=over:2 t1-1-2=fine:1 t1-1-3=waiting:1",
			"?open=true":           "old 17=unknown:1 t1-1-1=over:2",
			"?state=waiting":       "t1-1-3=waiting:1",
			"?state=fine":          "t1-1-2=fine:1",
			"?open=true&store=s1":  "old 17=unknown:1 t1-1-1=over:2",
			"?open=true&store=s2":  "",
			"?store=s1&state=over": "t1-1-1=over:2",
		} {
			if err := s.becomes(query, want); err != nil {
				t.Error(err)
			}
		}
		settle := func(receipt, why string) (x returns.Settled, code int) {
			b, _ := json.Marshal(map[string]string{"store": "s1", "receipt": receipt, "by": "ada", "why": why})
			code = s.call("POST", "/v1/returns/settle", string(b), &x)
			return x, code
		}
		for receipt, want := range map[string]int{"t1-1-2": 409, "t1-1-3": 409, "t1-1-9": 404, "": 404} {
			if _, code := settle(receipt, "looked"); code != want {
				t.Errorf("%q: %d, want %d", receipt, code, want)
			}
		}
		if _, code := settle("t1-1-1", ""); code != 400 {
			t.Errorf("without a reason: %d", code)
		}
		one, code := settle("t1-1-1", "two papers")
		if two, again := settle("t1-1-1", "another reason"); code != 200 || again != 200 || one != two || one.By != "ada" || one.Why != "two papers" {
			t.Errorf("%d %+v, then %d %+v", code, one, again, two)
		}
		if _, code := settle("old 17", "from before"); code != 200 || s.list("?open=true") != "" {
			t.Errorf("%d, %s", code, s.list("?open=true"))
		}
		for path, want := range map[string][]string{
			"/v1/audit":                   {`"what":"return settled","on":"s1/t1-1-1"`, `"why":"4011 what 4011 is: 2 came back, 1 were sold"`, `"on":"s1/old 17"`},
			"/v1/returns":                 {`"settled":{"by":"ada","why":"two papers"`, `"why":"no till gives such a number"`},
			"/v1/returns/blind":           {`"terminal":"t2","receipt":"t2-1-1"`, `"quantity":"2","amount":500,"reason":"sour"`},
			"/metrics":                    {`poshub_returns_open{state="over"} 0`, `poshub_returns_open{state="unknown"} 0`, "poshub_returns_waiting 1", "poshub_returns_unjudged 0", `poshub_returns_total{receipt="given"} 5`, `poshub_returns_total{receipt="none"} 1`},
			"/v1/status":                  {`"returns_over":0,"returns_unknown":0`},
			"/v1/returns?state=x":         {"state is one of"},
			"/v1/returns?opn=true":        {"there are open, state and store"},
			"/v1/returns/blind?after=yes": {"give a time"},
		} {
			body := s.get(path, s.h.api).Body.String()
			for _, w := range want {
				if !strings.Contains(body, w) {
					t.Errorf("%s does not say %s: %s", path, w, body)
				}
			}
		}
		if n := strings.Count(s.get("/v1/audit", s.h.api).Body.String(), "\n"); n != 2 {
			t.Errorf("%d entries in the audit trail", n)
		}
		if body := s.get("/v1/returns/blind?after="+time.Now().UTC().Add(time.Hour).Format(time.RFC3339), s.h.api).Body.String(); body != "" {
			t.Errorf("%s", body)
		}
		s.sell(t2, "t2-1-3", "4011:1@t1-1-1")
		s.ship(t2, 9)
		if err := s.becomes("?open=true", "t1-1-1=over:3"); err != nil {
			t.Error(err)
		}
	})
}

// TestReturnsOfAClone: what came back of a number that two sales have is compared anew when
// the second one comes.
func TestReturnsOfAClone(t *testing.T) {
	s := newShop(t, "", noBug)
	t1, t2 := s.till("t1"), s.till("t2")
	twin := newTill(t, "t1", nil, nil)
	s.name[twin] = "t1"
	s.sell(t1, "t1-1-1", "4011:1")
	s.sell(twin, "t1-1-1", "4011:1")
	s.sell(t2, "t2-1-1", "4011:2@t1-1-1")
	s.ship(t1, 9)
	s.ship(t2, 9)
	err := s.becomes("?open=true", "t1-1-1=over:1")
	s.ship(twin, 9)
	if err := errors.Join(err, s.becomes("", "t1-1-1=fine:1")); err != nil || s.h.collisionCount() != 1 {
		t.Error(err, s.h.collisionCount())
	}
}

// benchSales is what a hub takes in: sales of five lines, of which one in each gives
// something back of a receipt of its own.
func benchSales(b *testing.B, parcels, each, back int) []message {
	k := newTill(b, "t1", nil, nil)
	for i := range parcels * each {
		items := []string{"4011:1", "4012:2", "4013:1", "4014:3", "4015:1"}
		if back > 0 && i%back == back-1 {
			items[4] = fmt.Sprintf("4015:1@t1-1-%d", i)
		}
		payload := saleText(b, "s1", "t1", fmt.Sprint("t1-1-", i+1), items...)
		if _, err := k.j.Append(event.RecordType, 0, len(payload), blob(payload)); err != nil {
			b.Fatal(err)
		}
	}
	k.add(event.RecordType, saleText(b, "s1", "t1", "t1-1-0", "4011:1"))
	var all []message
	for first := uint64(1); first <= k.last(); first += uint64(each) {
		all = append(all, prepare(wire.UpSubject(0, "s1", "t1", k.id), uint64(len(all)+1), bytes.Clone(bytesOf(b, k.parcel(first, min(first+uint64(each)-1, k.last()))))))
	}
	return all
}

// BenchmarkReturns takes the same batch into two ledgers in turns: into one as a hub does,
// into the other without a look at what comes back. ratio is the processor time of the first
// by that of the second; the median of all rounds.
func BenchmarkReturns(b *testing.B) {
	for _, back := range []int{0, 50, 5} {
		b.Run(fmt.Sprint("1 in ", back), func(b *testing.B) {
			all := benchSales(b, 64, 200, back)
			events := 0
			for i := range all {
				events += len(all[i].heads)
			}
			var ratios []float64
			var whole, without time.Duration
			for b.Loop() {
				one := func(g bug) time.Duration {
					l, err := ledger.OpenBolt(filepath.Join(b.TempDir(), "ledger.db"))
					if err != nil {
						b.Fatal(err)
					}
					defer l.Close()
					h := &Hub{ledger: l, opt: Options{bug: g, now: time.Now}}
					from := processorTime(b)
					if err := l.Update(b.Context(), func(tx ledger.Tx) error {
						g := h.judge("S")
						for i := range all {
							if _, _, _, err := g.apply(tx, &all[i]); err != nil {
								return err
							}
						}
						var pos ledger.Position
						return g.finish(tx, &pos)
					}); err != nil {
						b.Fatal(err)
					}
					return processorTime(b) - from
				}
				var x, y time.Duration
				if len(ratios)%2 == 0 {
					x, y = one(noBug), one(bugNoReturns)
				} else {
					y, x = one(bugNoReturns), one(noBug)
				}
				whole, without = whole+x, without+y
				ratios = append(ratios, float64(x)/float64(y))
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
			b.ReportMetric(whole.Seconds()*1e6/float64(events*len(ratios)), "µs/event")
			b.ReportMetric(without.Seconds()*1e6/float64(events*len(ratios)), "µs/event-without")
		})
	}
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
