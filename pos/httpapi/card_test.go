package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"posd/pos/card"
	"posd/pos/card/simulator"
	"posd/pos/register"
	"posd/pos/till"
)

// newCardRig is a terminal with a simulated payment terminal.
func newCardRig(t *testing.T) (*rig, *simulator.Simulator) {
	t.Helper()
	return cardRig(t, newRig(t))
}

func cardRig(t *testing.T, g *rig) (*rig, *simulator.Simulator) {
	t.Helper()
	sim, err := simulator.New(simulator.Options{Ledger: filepath.Join(g.dir, "acquirer")})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); sim.Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); <-done; sim.Close() })
	g.card = card.TCP{Address: ln.Addr().String()}
	g.set.CardTimeout, g.set.Offline = 10*time.Second, till.Limits{Sale: 500, Terminal: 500, Day: 500}
	return g.start(), sim
}

func (g *rig) basketOf(body string) string {
	g.t.Helper()
	at := "/v1/baskets/" + g.step("/v1/baskets", body).Data.Basket
	g.step(at+"/lines", apple)
	return at
}

// states of a basket's tenders, separated by blanks.
func (g *rig) states(at string) string {
	g.t.Helper()
	var b struct {
		Basket struct{ Tenders []struct{ State string } }
	}
	if err := json.Unmarshal(g.do("GET", at, "").body, &b); err != nil {
		g.t.Fatal(err)
	}
	var states []string
	for _, t := range b.Basket.Tenders {
		states = append(states, t.State)
	}
	return strings.Join(states, " ")
}

func (g *rig) awaits(at, states string) {
	g.t.Helper()
	for by := time.Now().Add(30 * time.Second); g.states(at) != states; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(by) {
			g.t.Fatalf("tenders are %s, want %s", g.states(at), states)
		}
	}
}

func typeOf(a answer) string {
	var s stepAnswer
	json.Unmarshal(a.body, &s)
	return s.Event.Type
}

func TestCardOverHTTP(t *testing.T) {
	g, sim := newCardRig(t)
	at := g.basketOf("{}")
	wait := header("Prefer", "respond-async, wait=20")

	if err := sim.SetMode("hang", 1); err != nil {
		t.Fatal(err)
	}
	a := g.do("POST", at+"/tenders", `{"kind":"card","amount":300}`, key("one"))
	if a.StatusCode != http.StatusAccepted || typeOf(a) != "tender.pending" || a.Header.Get("Location") != at {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	again := g.do("POST", at+"/tenders", `{"kind":"card","amount":300}`, key("one"))
	if again.StatusCode != http.StatusAccepted || string(again.body) != string(a.body) || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("sent again: %d %s", again.StatusCode, again.body)
	}
	g.refuses(at+"/complete", `{}`, "basket-state")
	g.refuses(at+"/void", `{}`, "basket-state")
	g.refuses(at+"/tenders", `{"kind":"cash","amount":500}`, "basket-state")
	g.refuses(at+"/tenders/1/resolve", `{"outcome":"paid","reference":"7","reason":"r"}`, "basket-state") // the customer is at it
	g.refuses(g.basketOf("{}")+"/tenders", `{"kind":"card","amount":300}`, "payment-terminal-busy")

	// It takes too long, and is found to be declined.
	g.awaits(at, "declined")
	a = g.do("POST", at+"/tenders", `{"kind":"card","amount":300}`, wait)
	if a.StatusCode != http.StatusCreated || typeOf(a) != "tender.approved" || a.Header.Get("Preference-Applied") != "wait=20" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	a = g.do("POST", at+"/tenders/2/reverse", `{"reason":"pays cash"}`, wait, key("back"))
	if a.StatusCode != http.StatusCreated || typeOf(a) != "tender.reversed" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if again := g.do("POST", at+"/tenders/2/reverse", `{"reason":"pays cash"}`, wait, key("back")); again.StatusCode != http.StatusOK || typeOf(again) != "tender.reversed" {
		t.Errorf("%d %s", again.StatusCode, again.body)
	}
	// One that is asked for beside posd counts at once, and goes back at once.
	if s := g.step(at+"/tenders", `{"kind":"card","amount":500,"reference":"slip 7"}`); s.Event.Type != "tender.approved" {
		t.Errorf("%+v", s)
	}
	if s := g.step(at+"/tenders/3/reverse", `{"reference":"slip 8"}`); s.Event.Type != "tender.reversed" {
		t.Errorf("%+v", s)
	}
	g.do("POST", at+"/tenders", `{"kind":"card","amount":500}`, wait)
	sale := g.step(at+"/complete", `{}`)
	if sale.Sale.Total != 500 {
		t.Errorf("%+v", sale)
	}
	// Who took the money gives it back.
	g.refuses("/v1/sales/"+sale.Sale.Sale+"/void", `{"reason":"r"}`, "tender-invalid")
	back := "/v1/baskets/" + g.step("/v1/baskets", "{}").Data.Basket
	g.step(back+"/lines", `{"return":{"receipt":"`+sale.Sale.Receipt+`","line":1},"reason":"sour"}`)
	if a := g.do("POST", back+"/tenders", `{"kind":"card","amount":-500}`, wait); typeOf(a) != "tender.approved" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	g.step(back+"/complete", `{}`)
	entries, err := simulator.ReadLedger(filepath.Join(g.dir, "acquirer"))
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	sum, _ := simulator.Balance(entries)
	for _, n := range sum {
		total += n
	}
	if total != 0 || len(entries) < 4 {
		t.Errorf("%d is left at the acquirer: %+v", total, entries)
	}
}

// Cash that no coins pay leaves no cent that a card would have to pay back, and the
// basket can be ended.
func TestNoCardRefundOnASale(t *testing.T) {
	g := newRig(t)
	g.set.Coin = 5
	g, _ = cardRig(t, g)
	at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	g.step(at+"/lines", `{"description":"Tea","tax":"A","price":513}`)
	a := g.do("POST", at+"/tenders", `{"kind":"cash","amount":514}`)
	if a.slug() != "tender-invalid" || !strings.Contains(string(a.body), "514 cannot be paid in coins of 5; in cash 515 is due") || !strings.Contains(string(a.body), `"/amount"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := g.do("POST", at+"/tenders", `{"kind":"card","amount":-1}`); a.slug() != "tender-invalid" || !strings.Contains(string(a.body), `"/amount"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	g.step(at+"/tenders", `{"kind":"cash","amount":510}`)
	g.refuses(at+"/tenders", `{"kind":"card","amount":-1}`, "tender-invalid")
	if a := g.do("POST", at+"/tenders", `{"kind":"card","amount":3}`, header("Prefer", "wait=20")); typeOf(a) != "tender.approved" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	g.step(at+"/complete", `{}`)
	if entries, err := simulator.ReadLedger(filepath.Join(g.dir, "acquirer")); err != nil || len(entries) != 2 || entries[1].Amount != 3 {
		t.Errorf("%+v, %v", entries, err)
	}
}

func TestCardNeedsAPerson(t *testing.T) {
	g, sim := newCardRig(t)
	at := g.basketOf("{}")
	if err := sim.SetMode("forget", 1); err != nil {
		t.Fatal(err)
	}
	g.do("POST", at+"/tenders", `{"kind":"card","amount":500}`)
	var status struct {
		Health struct{ Reasons []string }
		Card   struct {
			Offline   struct{ Outstanding int }
			Unsettled []struct {
				Basket, Tender, State string
				NeedsPerson           bool `json:"needs_person"`
			}
		}
	}
	for by := time.Now().Add(30 * time.Second); len(status.Card.Unsettled) == 0 || !status.Card.Unsettled[0].NeedsPerson; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(by) {
			t.Fatalf("%+v", status)
		}
		if err := json.Unmarshal(g.do("GET", "/v1/status", "").body, &status); err != nil {
			t.Fatal(err)
		}
	}
	u := status.Card.Unsettled[0]
	if "/v1/baskets/"+u.Basket != at || u.Tender != "1" || u.State != "unknown" || status.Card.Offline.Outstanding != 500 || len(status.Health.Reasons) == 0 {
		t.Errorf("%+v", status)
	}
	g.refuses(at+"/complete", `{}`, "basket-state")
	g.refuses(at+"/tenders/1/resolve", `{"outcome":"perhaps","reason":"r"}`, "value-invalid")
	g.refuses(at+"/tenders/1/resolve", `{"outcome":"paid","reason":"r"}`, "tender-invalid")
	g.refuses(at+"/tenders/1/resolve", `{"outcome":"paid","reference":"7"}`, "value-invalid")
	g.refuses(at+"/tenders/1/resolve", `{"outcome":"paid","reference":"7","reason":"r","amount":499}`, "value-invalid")
	g.refuses(at+"/tenders/2/resolve", `{"outcome":"paid","reference":"7","reason":"r"}`, "tender-not-found")
	g.refuses("/v1/card/forwarded", `{"amount":1,"reason":"r"}`, "value-invalid") // nothing is known to be outstanding
	if s := g.step(at+"/tenders/1/resolve", `{"outcome":"paid","reference":"000001","reason":"on the report","operator":"9"}`); s.Event.Type != "tender.approved" || s.Data.Due != 0 {
		t.Errorf("%+v", s)
	}
	g.step(at+"/complete", `{}`)

	if err := sim.SetMode("offline", 1); err != nil {
		t.Fatal(err)
	}
	// Nobody knows whether it was approved offline: it counts until somebody says more.
	at = g.basketOf("{}")
	if a := g.do("POST", at+"/tenders", `{"kind":"card","amount":500}`, header("Prefer", "wait=20")); typeOf(a) != "tender.declined" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if s := g.step("/v1/card/forwarded", `{"amount":200,"reason":"terminal replaced","operator":"9"}`); s.Event.Type != "card.forwarded" {
		t.Errorf("%+v", s)
	}
	if err := json.Unmarshal(g.do("GET", "/v1/status", "").body, &status); err != nil || status.Card.Offline.Outstanding != 300 {
		t.Errorf("%+v, %v", status, err)
	}
}

// Goods of one receipt are given money for once, and a refund that the payment terminal
// keeps does not hold the till up for ever.
func TestOneRefundForOneReceipt(t *testing.T) {
	g, sim := newCardRig(t)
	wait := header("Prefer", "wait=20")
	at := g.basketOf("{}")
	g.do("POST", at+"/tenders", `{"kind":"card","amount":500}`, wait)
	sale := g.step(at+"/complete", "").Sale
	back := fmt.Sprintf(`{"return":{"sale":%q,"line":1},"reason":"sour"}`, sale.Sale)
	one := "/v1/baskets/" + g.step("/v1/baskets", "").Data.Basket
	g.step(one+"/lines", back)
	g.step(one+"/park", "{}")
	two := "/v1/baskets/" + g.step("/v1/baskets", "").Data.Basket
	g.refuses(two+"/lines", back, "return-invalid")
	g.refuses("/v1/sales/"+sale.Sale+"/void", `{"reason":"r","tenders":[{"kind":"cash","amount":-500}]}`, "basket-state")
	g.step(one+"/recall", "{}")

	// However it came that both hold it, money is given for neither.
	_, err := g.r.Do(t.Context(), register.Call{}, func(turn *register.Turn) (register.Appender, error) {
		other := turn.State.Find(two[len("/v1/baskets/"):])
		first := turn.State.Find(one[len("/v1/baskets/"):])
		return register.Made(turn.State.AddLine(till.Step{Basket: other.Basket}, turn.Rules, first.Lines[0].Line, 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{one, two} {
		g.refuses(at+"/tenders", `{"kind":"card","amount":-500}`, "return-invalid", wait)
		g.refuses(at+"/tenders", `{"kind":"cash","amount":-500}`, "return-invalid")
	}
	g.step(two+"/void", "{}")
	if a := g.do("POST", one+"/tenders", `{"kind":"card","amount":-500}`, wait); typeOf(a) != "tender.approved" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	entries, err := simulator.ReadLedger(filepath.Join(g.dir, "acquirer"))
	if err != nil || len(entries) != 3 { // the first is the beginning of its memory
		t.Errorf("the acquirer has %+v, %v", entries, err)
	}

	// The payment terminal does not take it back: a person ends it.
	const byHand = `{"outcome":"not-paid","reason":"paid in cash by the customer"}`
	g.refuses(one+"/tenders/1/resolve", byHand, "basket-state")
	if err := sim.SetMode("keep", -1); err != nil {
		t.Fatal(err)
	}
	if a := g.do("POST", one+"/tenders/1/reverse", `{"reason":"kept by the customer after all"}`, wait); typeOf(a) != "tender.approved" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	g.stop()
	g.start()
	g.refuses(one+"/void", "{}", "basket-state")
	g.refuses(one+"/tenders/1/resolve", `{"outcome":"not-paid"}`, "value-invalid")
	g.refuses("/v1/shift/close", "{}", "shift-state")
	g.refuses(one+"/tenders/1/resolve", `{"outcome":"paid","reason":"r"}`, "basket-state")
	if s := g.step(one+"/tenders/1/resolve", byHand); s.Event.Type != "tender.reversed" {
		t.Errorf("%+v", s)
	}
	g.step(one+"/void", "{}")
	g.step("/v1/shift/close", "{}")
}

// Nobody is charged for what is only tried, and nobody waits for a payment terminal
// that is not there.
func TestCardTrainingAndDown(t *testing.T) {
	g, sim := newCardRig(t)
	at := g.basketOf(`{"training":true}`)
	if s := g.step(at+"/tenders", `{"kind":"card","amount":500}`); s.Event.Type != "tender.approved" {
		t.Errorf("%+v", s)
	}
	g.step(at+"/complete", `{}`)
	if sim.Seen() != 0 {
		t.Error("the payment terminal was asked in training")
	}
	g.stop()
	g.card = card.TCP{Address: "127.0.0.1:1"}
	g.start()
	at = g.basketOf("{}")
	a := g.do("POST", at+"/tenders", `{"kind":"card","amount":500}`)
	if a.slug() != "payment-terminal-down" || a.StatusCode != 503 || g.states(at) != "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	tried, opened := regexp.MustCompile(`; it is tried again in ([0-9]+) s"`), false
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // the pauses grow
		a = g.do("POST", at+"/tenders", `{"kind":"card","amount":500}`)
		in := a.Header.Get("Retry-After")
		switch m := tried.FindSubmatch(a.body); {
		case a.slug() != "payment-terminal-down" || time.Now().After(end):
			t.Fatalf("%d %s", a.StatusCode, a.body)
		case m == nil && (opened || in != "1" || !strings.Contains(string(a.body), "; the next call tries it again")), m != nil && string(m[1]) != in:
			t.Fatalf("Retry-After %s, %s", in, a.body)
		case m != nil:
			opened = true
		}
		if n, _ := strconv.Atoi(in); n > 2 {
			break
		}
	}
	if b := g.do("GET", "/v1/status", "").body; !bytes.Contains(b, []byte(`"breaker":"open","next_try_seconds":`)) {
		t.Errorf("%s", b)
	}
	g.refuses(at+"/tenders", `{"kind":"card","amount":501}`, "change-without-cash") // what is wrong comes first
	g.stop()
	g.card = nil
	g.start()
	g.refuses(at+"/tenders", `{"kind":"card","amount":500}`, "tender-invalid")
}

// A cashier lets a customer go who changes their mind; money that was taken, and what a
// payment terminal cannot tell, is for others.
func TestWhoMayEndACardPayment(t *testing.T) {
	g, sim := cardRig(t, newRig(t).withOperators())
	anna, carla := g.signIn("anna"), g.signIn("carla")
	at := "/v1/baskets/" + g.step("/v1/baskets", "{}", anna).Data.Basket
	g.step(at+"/lines", `{"item":"100"}`, anna)
	wait := header("Prefer", "wait=20")
	if err := sim.SetMode("hang", 1); err != nil {
		t.Fatal(err)
	}
	g.do("POST", at+"/tenders", `{"kind":"card","amount":100}`, anna)
	if a := g.do("POST", at+"/tenders/1/reverse", `{}`, anna, wait); typeOf(a) != "tender.reversed" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := g.do("POST", at+"/tenders", `{"kind":"card","amount":100}`, anna, wait); typeOf(a) != "tender.approved" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	g.refuses(at+"/tenders/2/reverse", `{}`, "permission-required", anna)
	if a := g.do("POST", at+"/tenders/2/reverse", `{}`, anna, wait, g.approval(anna, "carla", "tender.reverse", "")); typeOf(a) != "tender.reversed" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if err := sim.SetMode("forget", 1); err != nil {
		t.Fatal(err)
	}
	g.do("POST", at+"/tenders", `{"kind":"card","amount":100}`, anna)
	for by := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if st := g.s.o.Card.Status(); st.Long() != nil {
			break
		}
		if time.Now().After(by) {
			t.Fatal("it is not shown that a person has to look")
		}
	}
	const paid = `{"outcome":"paid","reference":"7","reason":"on the report"}`
	g.refuses(at+"/tenders/3/resolve", paid, "permission-required", anna)
	g.step(at+"/tenders/3/resolve", paid, carla)
	g.refuses("/v1/card/forwarded", `{"amount":1,"reason":"r"}`, "permission-required", anna)
	g.refuses("/v1/card/forwarded", `{"amount":101,"reason":"r"}`, "value-invalid", carla) // it may have been approved offline
	last := g.journaled("tender.reversing", "tender.approved")
	if s := strings.Join(last, "\n"); !strings.Contains(s, `"approved":"carla"`) || !strings.Contains(s, `"operator":"carla","reason":"on the report"`) {
		t.Errorf("who did it is not journaled: %s", s)
	}
}

func TestPreferWait(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "wait=5": 5 * time.Second, "Wait=500": mostWait * time.Second, "respond-async , wait=1": time.Second, "wait": 0, "wait=-1": 0, "wait=1e3": 0, "nowait=3": 0,
	} {
		r := &http.Request{Header: http.Header{"Prefer": {value}}}
		if got := waitOf(r); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// One receipt is paid back once, by whomever: neither in two baskets, nor in one and by a
// void.
func TestReceiptIsPaidBackOnce(t *testing.T) {
	g, sim := newCardRig(t)
	wait := header("Prefer", "wait=20")
	at := g.basketOf("{}")
	g.do("POST", at+"/tenders", `{"kind":"card","amount":500}`, wait)
	sale := g.step(at+"/complete", "").Sale.Sale
	back := `{"return":{"sale":"` + sale + `","line":1},"reason":"sour"}`
	one, two := "/v1/baskets/"+g.step("/v1/baskets", "").Data.Basket, "/v1/baskets/"+g.step("/v1/baskets", "").Data.Basket
	g.step(one+"/lines", back)
	g.refuses(two+"/lines", back, "return-invalid")
	g.refuses("/v1/sales/"+sale+"/void", `{"reason":"r","tenders":[{"kind":"cash","amount":-500}]}`, "basket-state")
	if a := g.do("POST", one+"/tenders", `{"kind":"card","amount":-500}`, wait); typeOf(a) != "tender.approved" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	// A refund that the payment terminal does not take back is ended by hand.
	g.refuses(one+"/tenders/1/resolve", `{"outcome":"not-paid","reason":"r"}`, "basket-state") // it was not asked yet
	if err := sim.SetMode("keep", 1); err != nil {
		t.Fatal(err)
	}
	if a := g.do("POST", one+"/tenders/1/reverse", `{}`, wait); typeOf(a) != "tender.approved" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	g.refuses(one+"/void", `{}`, "basket-state")
	g.step(one+"/tenders/1/resolve", `{"outcome":"not-paid","reason":"taken back at the acquirer's"}`)
	g.step(one+"/void", `{}`)
	g.step(two+"/lines", back)
}

// A payment that a person ended as paid was a payment terminal's all the same: no void
// pays it back on paper only.
func TestVoidOfAPaymentEndedByHand(t *testing.T) {
	g, sim := newCardRig(t)
	at := g.basketOf("{}")
	if err := sim.SetMode("forget", 1); err != nil {
		t.Fatal(err)
	}
	g.do("POST", at+"/tenders", `{"kind":"card","amount":500}`)
	g.awaits(at, "unknown")
	g.step(at+"/tenders/1/resolve", `{"outcome":"paid","reference":"000001","reason":"on the report"}`)
	sale := g.step(at+"/complete", "").Sale.Sale
	g.refuses("/v1/sales/"+sale+"/void", `{"reason":"r"}`, "tender-invalid")
}

// A payment is left over when its payment terminal is taken out of the configuration: it
// is shown, and can be ended.
func TestCardWithoutItsPaymentTerminal(t *testing.T) {
	g, sim := newCardRig(t)
	if err := sim.SetMode("hang", -1); err != nil {
		t.Fatal(err)
	}
	at := g.basketOf("{}")
	g.do("POST", at+"/tenders", `{"kind":"card","amount":300}`)
	g.stop()
	g.card = nil
	g.start()
	g.awaits(at, "unknown")
	for by := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if st := g.s.o.Card.Status(); len(st.Long()) == 1 && st.Long()[0].Stuck {
			break
		}
		if time.Now().After(by) {
			t.Fatalf("%+v", g.s.o.Card.Status())
		}
	}
	g.step(at+"/tenders/1/resolve", `{"outcome":"not-paid","reason":"the payment terminal is broken"}`)
}

// What was approved offline on an earlier day, and is not known to be with the acquirer,
// is shown until somebody takes it off.
func TestOldOfflineApprovalIsShown(t *testing.T) {
	g := newRig(t)
	day := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var later atomic.Int64
	g.now = func() time.Time { return day.Add(time.Duration(later.Load())) }
	g, sim := cardRig(t, g)
	reasons := func() string {
		t.Helper()
		var status struct{ Health struct{ Reasons []string } }
		if err := json.Unmarshal(g.do("GET", "/v1/status", "").body, &status); err != nil {
			t.Fatal(err)
		}
		return strings.Join(status.Health.Reasons, "\n")
	}
	pay := func(mode, outcome string) {
		t.Helper()
		if err := sim.SetMode(mode, 1); err != nil {
			t.Fatal(err)
		}
		at := g.basketOf("{}")
		if a := g.do("POST", at+"/tenders", `{"kind":"card","amount":500}`, header("Prefer", "wait=20")); typeOf(a) != outcome {
			t.Errorf("%s: %d %s", mode, a.StatusCode, a.body)
		}
		if outcome == "tender.approved" {
			g.step(at+"/complete", "{}")
		}
	}
	const old = "approved offline until 2026-11-21"
	pay("offline", "tender.approved")
	if s := reasons(); strings.Contains(s, "offline") {
		t.Errorf("on its day: %s", s)
	}
	later.Store(int64(24 * time.Hour))
	pay("approve", "tender.approved")
	if s := reasons(); !strings.Contains(s, old) {
		t.Errorf("on the next day: %s", s)
	}
	g.step("/v1/card/forwarded", `{"amount":500,"reason":"on the acquirer's report"}`)
	if s := reasons(); strings.Contains(s, old) {
		t.Errorf("after it was taken off: %s", s)
	}
}

// A payment is the first thing of the day: the shift is that of the operator whose basket it is.
func TestCardOpensTheShift(t *testing.T) {
	g, _ := newCardRig(t)
	at := "/v1/baskets/" + g.step("/v1/baskets", `{"operator":"7"}`).Data.Basket
	g.step(at+"/lines", apple)
	g.step(at+"/tenders", `{"kind":"card","amount":300}`, header("Prefer", "wait=20"))
	if st := g.r.Status(); !st.Open || st.Operator != "7" {
		t.Errorf("shift %+v", st)
	}
}
