package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3filter"

	"posd/pos/config"
	"posd/pos/papers"
	"posd/pos/printer/sim"
	oracle "posd/pos/receipt/paper"
	"posd/pos/register"
	"posd/pos/till"
)

// The validator knows neither pages nor tables.
func init() {
	for _, media := range []string{"text/html", "text/csv", "application/jsonl"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.FileBodyDecoder)
	}
}

// withPrinter gives the rig a printer's simulator.
func (g *rig) withPrinter(p register.Papers) *sim.Printer {
	s := sim.New()
	s.Listen(g.t, "127.0.0.1:0")
	g.set.Papers = p
	g.printer = config.Printer{Address: s.Address, Profile: "epson", Columns: 42, Charset: "cp858", Status: true, Drawer: true}
	return s
}

// newDesk is one with the rig's printer, nil if it has none.
func (g *rig) newDesk() *papers.Desk {
	if g.printer.Address == "" {
		return nil
	}
	d, err := papers.New(papers.Options{
		Journal: g.j, Register: g.r, Printer: g.printer, Log: g.paperLog,
		Terminal: config.Terminal{Store: "S1", ID: "T1", Currency: euro, TimeZone: time.UTC},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return d
}

// slips are the papers that came out, each as its lines, "[drawer]" where that opened.
func slips(t testing.TB, s *sim.Printer) (list [][]string) {
	t.Helper()
	items, err := oracle.Read(s.OnPaper())
	if err != nil {
		t.Fatal(err)
	}
	var one []string
	for _, i := range items {
		switch i.Kind {
		case oracle.Line:
			one = append(one, strings.TrimSpace(i.Data))
		case oracle.Drawer:
			one = append(one, "[drawer]")
		case oracle.QR:
			one = append(one, i.Data)
		case oracle.Cut:
			list, one = append(list, one), nil
		}
	}
	if len(one) > 0 {
		list = append(list, one)
	}
	return list
}

type paperAnswer struct {
	Event struct{ Type string }
	Data  struct {
		Sale string
		Copy int
	}
	Paper struct{ As, Name, State, Why, Text, Base64 string }
}

func (g *rig) gives(path, body string, change ...func(*http.Request)) (p paperAnswer, a answer) {
	g.t.Helper()
	a = g.do("POST", path, body, change...)
	if err := json.Unmarshal(a.body, &p); err != nil || a.StatusCode >= 300 {
		g.t.Fatalf("%s: %d %s", path, a.StatusCode, a.body)
	}
	return p, a
}

// settled waits for the end of a paper.
func (g *rig) settled(name string) (state string) {
	g.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var p paperAnswer
		a := g.do("GET", "/v1/printer?paper="+name, "")
		json.Unmarshal(a.body, &p)
		if state = p.Paper.State; state != "" && state != "waiting" && state != "printing" {
			return state
		}
	}
	g.t.Fatal("no end of ", name, ": ", state)
	return ""
}

func (g *rig) sell(body string, change ...func(*http.Request)) string {
	g.t.Helper()
	var s stepAnswer
	a := g.do("POST", "/v1/checkout", body, change...)
	if err := json.Unmarshal(a.body, &s); err != nil || s.Sale.Sale == "" {
		g.t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	return s.Sale.Sale
}

const cashSale = `{"lines":[` + apple + `],"tenders":[{"kind":"cash","amount":1000}]}`

// The first receipt is given out once, whatever way; then come copies with their numbers,
// across restarts.
func TestReceiptsAreGivenOutOnce(t *testing.T) {
	g := newRig(t).start()
	id := g.sell(cashSale)
	path := "/v1/sales/" + id + "/paper"
	first, _ := g.gives(path, `{"as":"text","columns":32}`, key("first"))
	if first.Event.Type != "receipt.printed" || first.Data.Copy != 0 || !strings.Contains(first.Paper.Text, "T1-1-1") || strings.Contains(first.Paper.Text, "COPY") {
		t.Errorf("%+v", first)
	}
	again, a := g.gives(path, `{"as":"text","columns":32}`, key("first"))
	if again != first || a.StatusCode != 200 || a.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("repeated: %d %+v", a.StatusCode, again)
	}
	g.refuses(path, `{"as":"html"}`, "idempotency-key-reused", key("first"))
	two, _ := g.gives(path, `{"as":"html","reason":"lost","operator":"7"}`)
	if two.Event.Type != "receipt.copied" || two.Data.Copy != 1 || !strings.Contains(two.Paper.Text, "COPY 1") || !strings.Contains(two.Paper.Text, "<html") {
		t.Errorf("%+v", two)
	}
	g.stop()
	g.start()
	if again, _ := g.gives(path, `{"as":"text","columns":32}`, key("first")); again != first {
		t.Errorf("repeated after a restart: %+v", again)
	}
	three, _ := g.gives(path, `{"as":"escpos"}`)
	if three.Data.Copy != 2 || three.Paper.Base64 == "" {
		t.Errorf("%+v", three)
	}
	g.refuses(path, `{}`, "no-printer")
	for _, other := range []string{"/v1/shift/paper", "/v1/reports/1/paper"} { // their bodies have no as
		if a := g.do("POST", other, `{}`); a.slug() != "no-printer" || !strings.Contains(string(a.body), "GET gives the paper") || strings.Contains(string(a.body), "pointer") {
			t.Errorf("%s: %s", other, a.body)
		}
	}
	g.refuses(path, `{"as":"fax"}`, "value-invalid")
	g.refuses(path, `{"as":"text","columns":7}`, "value-invalid")
	g.refuses("/v1/sales/"+id[:8]+"-9999/paper", `{"as":"text"}`, "sale-not-found")
	if x := g.do("GET", "/v1/shift", ""); !strings.Contains(string(x.body), `"copies":2`) {
		t.Errorf("%s", x.body)
	}
}

// Many at once are one receipt and copies of different numbers.
func TestReceiptsAtOnce(t *testing.T) {
	g := newRig(t).start()
	path := "/v1/sales/" + g.sell(cashSale) + "/paper"
	var all sync.WaitGroup
	got := make([]int, 12)
	for i := range got {
		r, err := http.NewRequest("POST", g.url(path), strings.NewReader(`{"as":"text"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+secret)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", fmt.Sprint("at once ", i))
		all.Go(func() {
			res, err := client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			var p paperAnswer
			if err := json.NewDecoder(res.Body).Decode(&p); err != nil || res.StatusCode != 201 {
				t.Errorf("%d %v", res.StatusCode, err)
			}
			got[i] = p.Data.Copy
		})
	}
	all.Wait()
	slices.Sort(got)
	for i := range got {
		if got[i] != i {
			t.Fatalf("copies %v", got)
		}
	}
}

// What is shown without a record says that it is no receipt; nothing else can be had as a
// receipt's paper by another name.
func TestShownReceiptIsNone(t *testing.T) {
	g := newRig(t).start()
	id := g.sell(cashSale)
	for _, as := range []string{"text", "html", "escpos"} {
		a := g.do("GET", "/v1/sales/"+id+"/paper?as="+as, "")
		if n := strings.Count(string(a.body), "NOT A RECEIPT"); a.StatusCode != 200 || n != 2 || strings.Contains(string(a.body), "posd1:") {
			t.Errorf("%s: %d, %d marks\n%s", as, a.StatusCode, n, a.body)
		}
	}
	if a := g.do("GET", "/v1/cash/"+id+"/paper", ""); a.slug() != "paper-not-found" {
		t.Errorf("a sale as a slip: %s", a.body)
	}
	for _, q := range []string{"?as=printer", "?as=pdf", "?columns=9", "?columns=x", "?x=1", "?as=text&as=html", "?columns=48&columns=48", "?columns=48&x=1"} {
		if a := g.do("GET", "/v1/sales/"+id+"/paper"+q, ""); a.slug() != "query-invalid" {
			t.Errorf("%s: %s", q, a.body)
		}
	}
	s := g.withPrinter(register.Papers{})
	g.stop()
	g.start()
	g.refuses("/v1/cash/"+id+"/paper", ``, "paper-not-found")
	g.refuses("/v1/reports/1/paper", ``, "paper-not-found")
	g.stop()
	if got := slips(t, s); len(got) != 0 {
		t.Errorf("printed: %v", got)
	}
}

// Training is no receipt and no copy, however often, and opens no drawer.
func TestTrainingReceipt(t *testing.T) {
	g := newRig(t)
	s := g.withPrinter(register.Papers{})
	g.start()
	at := "/v1/baskets/" + g.step("/v1/baskets", `{"training":true}`).Data.Basket
	g.step(at+"/lines", apple)
	g.step(at+"/tenders", `{"kind":"cash","amount":1000}`)
	done := g.step(at+"/complete", `{"print":true}`)
	for range 2 {
		p, _ := g.gives("/v1/sales/"+done.Sale.Sale+"/paper", `{}`)
		if p.Data.Copy != 0 {
			t.Errorf("%+v", p)
		}
		g.settled(p.Paper.Name)
	}
	if x := g.do("GET", "/v1/shift", ""); strings.Contains(string(x.body), `"copies"`) {
		t.Errorf("%s", x.body)
	}
	for _, p := range slips(t, s) {
		if !slices.ContainsFunc(p, func(l string) bool { return strings.HasPrefix(l, "TRAINING") }) || slices.Contains(p, "[drawer]") {
			t.Errorf("%v", p)
		}
	}
}

// What comes by itself: receipts, reports and slips as configured, the drawer with cash.
func TestPrintsByItself(t *testing.T) {
	g := newRig(t)
	s := g.withPrinter(register.Papers{Sales: true, Others: true})
	g.start()
	id := g.sell(cashSale, key("once"))
	if got := g.settled(id); got != "printed" {
		t.Error(got)
	}
	quiet := g.sell(`{"lines":[` + apple + `],"tenders":[{"kind":"cash","amount":500}],"print":false}`)
	if got := g.settled("drawer/" + quiet); got != "printed" {
		t.Error(got)
	}
	if a := g.do("GET", "/v1/printer?paper="+quiet, ""); a.slug() != "paper-not-found" {
		t.Errorf("not wanted: %s", a.body)
	}
	g.sell(cashSale, key("once")) // the first sale again: nothing is printed
	in := g.step("/v1/cash/in", `{"amount":500,"reason":"change"}`)
	slip := fmt.Sprint(in.Event.Journal[:8], "-", in.Event.Seq)
	g.settled("slip/" + slip)
	open := g.step("/v1/cash/open", `{"reason":"look"}`)
	g.settled(fmt.Sprint("drawer/", open.Event.Journal[:8], "-", open.Event.Seq))
	g.gives("/v1/shift/paper", `{"blind":true}`, key("x"))
	g.gives("/v1/shift/paper", `{"blind":true}`, key("x"))
	g.settled("report/x/x")
	g.step("/v1/shift/close", ``)
	g.settled("report/1")
	g.gives("/v1/cash/"+slip+"/paper", ``)
	g.settled("slip/" + slip)
	if p, a := g.gives("/v1/reports/1/paper", ``, header("Prefer", "wait=20")); p.Paper.State != "printed" || a.Header.Get("Preference-Applied") != "wait=20" {
		t.Errorf("%+v", p)
	}
	got := slips(t, s)
	for i, want := range [][]string{
		{"[drawer]", "Receipt T1-1-1"}, {"[drawer]", "[drawer]", "CASH IN"}, {"[drawer]", "X REPORT"}, {"Z REPORT 1"}, {"CASH IN"}, {"Z REPORT 1"},
	} {
		if i >= len(got) || !inOrder(got[i], want) {
			t.Fatalf("paper %d of %d has not %v:\n%s", i+1, len(got), want, strings.Join(got[min(i, len(got)-1)], "\n"))
		}
	}
	if len(got) != 6 {
		t.Errorf("%d papers: %v", len(got), got)
	}
	if drawers := strings.Count(fmt.Sprint(got), "[drawer]"); drawers != 4 {
		t.Errorf("the drawer opened %d times", drawers)
	}
	status := string(g.do("GET", "/v1/printer", "").body)
	if !strings.Contains(status, `"condition":"ready"`) || !strings.Contains(status, id) {
		t.Errorf("%s", status)
	}
}

// inOrder says that lines begin with the wanted ones, in their order.
func inOrder(lines, want []string) bool {
	for _, l := range lines {
		if len(want) > 0 && strings.HasPrefix(l, want[0]) {
			want = want[1:]
		}
	}
	return len(want) == 0
}

// A receipt that surely did not come out is given out as the first one again; one that
// may have come out is not.
func TestReceiptThatWasNotPrinted(t *testing.T) {
	g := newRig(t)
	s := g.withPrinter(register.Papers{Sales: true})
	g.start()
	s.Change(func(s *sim.Printer) { s.Hang = true })
	id := g.sell(cashSale) // taken at once, though nobody prints
	if got := g.settled(id); got != "not_printed" {
		t.Fatal(got)
	}
	s.Change(func(s *sim.Printer) { s.Hang = false })
	p := g.givesWhenUp("/v1/sales/" + id + "/paper")
	if p.Event.Type != "receipt.printed" || g.settled(id) != "printed" {
		t.Errorf("%+v", p)
	}
	if p, _ = g.gives("/v1/sales/"+id+"/paper", `{}`, key("copy")); p.Data.Copy != 1 || g.settled(p.Paper.Name) != "printed" {
		t.Errorf("%+v", p)
	}
	was := p.Paper.Name
	g.stop()
	address := g.printer.Address
	g.printer.Address = ""
	g.start() // what was done is told again, printer or not
	if p, a := g.gives("/v1/sales/"+id+"/paper", `{}`, key("copy")); a.StatusCode != 200 || p.Data.Copy != 1 || p.Paper.Name != was || p.Paper.State != "unknown" {
		t.Errorf("%d %+v", a.StatusCode, p)
	}
	g.stop()
	g.printer.Address = address
	g.start()
	s.Change(func(s *sim.Printer) { s.Paper = 0 })
	begun := time.Now()
	if p, _ := g.gives("/v1/sales/"+id+"/paper", `{}`, header("Prefer", "wait=1")); p.Paper.State != "printing" || time.Since(begun) < time.Second {
		t.Errorf("without paper: %+v", p)
	}
	s.Change(func(s *sim.Printer) { s.Paper = -1 })
	g.settled(id + "/copy/2")
	s.Change(func(s *sim.Printer) { s.DropAt = len(s.Done) + 40 })
	other := g.sell(cashSale)
	if got := g.settled(other); got != "unknown" {
		t.Fatal(got)
	}
	if p, _ = g.gives("/v1/sales/"+other+"/paper", `{}`); p.Data.Copy != 1 {
		t.Errorf("%+v", p)
	}
	g.settled(p.Paper.Name)
	third := g.sell(cashSale)
	g.settled(third)
	g.stop()
	g.start() // what the sale says of its receipt survives
	if p, _ = g.gives("/v1/sales/"+third+"/paper", `{"as":"text"}`); p.Data.Copy != 1 {
		t.Errorf("after a restart: %+v", p)
	}
}

// A receipt that the printer did not even take, since it is known to be away, is told as
// not printed: who asks for it must not hear that there is no such paper.
func TestReceiptThatWasNotTaken(t *testing.T) {
	g := newRig(t)
	g.withPrinter(register.Papers{Sales: true})
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.printer.Address = nobody.Addr().String()
	nobody.Close()
	var log bytes.Buffer
	g.paperLog = slog.New(slog.NewTextHandler(&log, nil))
	began := time.Now()
	g.start()
	for end := time.Now().Add(time.Minute); g.do("POST", "/v1/shift/paper", ``).slug() != "printer-unavailable"; {
		g.sell(cashSale)
		if time.Now().After(end) {
			t.Fatal("the printer is never found to be away")
		}
	}
	if got := g.settled(g.sell(cashSale)); got != "not_printed" {
		t.Error(got)
	}
	a := g.do("POST", "/v1/shift/paper", ``)
	for end := time.Now().Add(time.Minute); !strings.Contains(string(a.body), "; it is tried again in "+a.Header.Get("Retry-After")+" s\""); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) { // that its queue is full comes before
			t.Fatalf("Retry-After %s, %s", a.Header.Get("Retry-After"), a.body)
		}
		a = g.do("POST", "/v1/shift/paper", ``)
	}
	if b := g.do("GET", "/v1/printer", "").body; !strings.Contains(string(b), `"next_try_seconds":`) {
		t.Errorf("%s", b)
	}

	// Each is counted; the log says it once a minute.
	count := func() int {
		n, err := strconv.Atoi(g.metric(`posd_papers_total\{state="not_printed"\}`))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	for range 20 {
		g.sell(cashSale)
	}
	eventually(t, "all are counted", func() bool { return count() >= before+20 })
	g.stop()
	lines := strings.Count(log.String(), `msg="not printed"`)
	if most := 1 + int(time.Since(began)/time.Minute); lines == 0 || lines > most {
		t.Errorf("%d lines, want at most %d: %s", lines, most, log.String())
	}
}

// givesWhenUp asks until the printer is found to answer again.
func (g *rig) givesWhenUp(path string) (p paperAnswer) {
	g.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		a := g.do("POST", path, `{}`)
		if a.slug() == "printer-unavailable" {
			continue
		}
		if err := json.Unmarshal(a.body, &p); err != nil || a.StatusCode != 201 {
			g.t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		return p
	}
	g.t.Fatal("the printer stays away")
	return p
}

// Who waits for a paper may be cut for a sale, though it was as good as one until the
// paper was on its way.
func TestWaitingForPaperHoldsNoConnection(t *testing.T) {
	g := newRig(t)
	s := g.withPrinter(register.Papers{Sales: true})
	g.start()
	id := g.sell(cashSale)
	g.settled(id)
	s.Change(func(s *sim.Printer) { s.Paper = 0 })
	done := make(chan error, 1)
	go func() {
		_, err := g.try("POST", "/v1/sales/"+id+"/paper", `{}`, header("Prefer", "wait=20"))
		done <- err
	}()
	copied := id + "/copy/1"
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(time.Millisecond) {
		busy := 0
		l := g.s.listeners[0]
		l.mu.Lock()
		for c := range l.conns {
			busy += c.busy
		}
		l.mu.Unlock()
		if o, known := g.s.o.Papers.Outcome(copied); known && o.State == "printing" && busy == 0 {
			break
		}
		if time.Now().After(end) {
			t.Error("the connection is held")
			break
		}
	}
	select {
	case err := <-done:
		t.Errorf("nobody waits: %v", err)
	default:
	}
	s.Change(func(s *sim.Printer) { s.Paper = -1 })
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// fill takes all places of large requests but n; wantFree makes sure that so many are free.
func (g *rig) fill(n int) {
	g.t.Helper()
	for len(g.s.large) < cap(g.s.large)-n {
		g.s.large <- struct{}{}
	}
}

func (g *rig) wantFree(n int) {
	g.t.Helper()
	for range n {
		select {
		case g.s.large <- struct{}{}:
		case <-time.After(time.Minute): // an answer may come before its place is given back
			g.t.Fatal("a place of a large request is lost")
		}
	}
	for range n {
		<-g.s.large
	}
}

// A call that has a place for its large body takes no second one for the paper, or all
// of them would wait for each other.
func TestLargeCallForAPaperTakesOnePlace(t *testing.T) {
	g := newRig(t).start()
	path := "/v1/sales/" + g.sell(cashSale) + "/paper"
	g.fill(1)
	body := `{"as":"text"}` + strings.Repeat(" ", smallBody)
	for _, wait := range []string{"", "wait=1"} {
		if p, _ := g.gives(path, body, header("Prefer", wait)); !strings.Contains(p.Paper.Text, "T1-1-1") {
			t.Errorf("%+v", p)
		}
		g.wantFree(1)
	}
	if p, _ := g.gives(path, `{"as":"text"}`); p.Data.Copy != 2 {
		t.Errorf("a small one: %+v", p)
	}
	g.wantFree(1)
	g.fill(0) // the control: one place is taken
	over, cancel := context.WithCancel(context.Background())
	cancel()
	var bad *problem
	p := &step{of: till.Step{Basket: strings.Split(path, "/")[3]}, body: stepBody{as: asText}}
	if _, err := g.s.giveReceipt(over, p); !errors.As(err, &bad) || bad.kind.slug != "busy" {
		t.Errorf("without a place: %v", err)
	}
}

// A repeated call is answered as the first one, although its approval is spent.
func TestRepeatedPrintAsksForNothing(t *testing.T) {
	g := newRig(t).withOperators()
	g.withPrinter(register.Papers{})
	g.start()
	anna := g.signIn("anna")
	g.step("/v1/checkout", `{"lines":[{"item":"100"}],"tenders":[{"kind":"cash","amount":129}]}`, anna)
	const path = "/v1/shift/paper"
	g.lacks(path, `{}`, "shift.report", anna)
	ok := g.approval(anna, "carla", "shift.report", "")
	first, a := g.gives(path, `{}`, anna, ok, key("x"))
	if a.StatusCode != 202 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for _, again := range []func(*http.Request){ok, func(*http.Request) {}} {
		p, a := g.gives(path, `{}`, anna, again, key("x"))
		if a.StatusCode != 200 || a.Header.Get("Idempotency-Replayed") != "true" || p.Paper.Name != first.Paper.Name {
			t.Errorf("repeated: %d %s", a.StatusCode, a.body)
		}
	}
	g.lacks(path, `{}`, "shift.report", anna, ok)                               // another call is one of its own
	g.refuses(path, `{"blind":true}`, "idempotency-key-reused", anna, key("x")) // and so is another body
	g.refuses(path, `{}`, "session-required", key("x"))
}
