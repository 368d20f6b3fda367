package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/register"
	"posd/pos/till"
)

type stepAnswer struct {
	Event struct {
		Journal string
		Seq     uint64
		Type    string
	}
	Data struct {
		Basket, Version, State string
		Lines                  int
		Total, Due             pos.Money
		Z                      uint64
		Expected, Declared     pos.Money
		Line                   struct {
			N        int
			Amount   pos.Money
			List     *pos.Money
			Approved string
		}
	}
	Sale struct {
		Sale, Receipt string
		Total, Change pos.Money
	}
}

// step posts and expects a step to be taken.
func (g *rig) step(path, body string, change ...func(*http.Request)) (s stepAnswer) {
	g.t.Helper()
	a := g.do("POST", path, body, change...)
	if a.StatusCode != http.StatusCreated && a.StatusCode != http.StatusOK {
		g.t.Fatalf("%s: %d %s", path, a.StatusCode, a.body)
	}
	if err := json.Unmarshal(a.body, &s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

// The pointer names the value that is to blame, and a line without a number is not line 1.
func TestPointersOfSteps(t *testing.T) {
	g := newRig(t).start()
	at := "/v1/baskets/" + g.step("/v1/baskets", ``).Data.Basket
	g.step(at+"/lines", apple)
	g.step(at+"/lines", apple, key("used"))
	for _, c := range []struct{ path, body, pointer, says string }{
		{"/tenders", `{"amount":5}`, "/kind", ""},
		{"/tenders", `{"kind":"gift","amount":5}`, "/kind", ""},
		{"/tenders", `{"kind":"cash"}`, "/amount", ""},
		{"/tenders", `{"kind":"cash","amount":-5}`, "/amount", ""},
		{"/tenders", `{"kind":"voucher"}`, "/amount", ""},
		{"/tenders", `{"kind":"voucher","amount":5}`, "/reference", "number as reference"},
		{"/tenders", `{"kind":"voucher","amount":5,"reference":"4111111111111111"}`, "/reference", "card number"},
		{"/tenders", `{"kind":"cash","amount":5,"reference":"4111111111111111"}`, "/reference", "card number"},
		{"/tenders", `{"kind":"cash","amount":5,"reference":"4111111111111111 12/28"}`, "/reference", "card number"},
		{"/tenders", `{"kind":"voucher","amount":5000,"reference":"1"}`, "/amount", "from cash only"},
		{"", `{"customer":"4111111111111111"}`, "/customer", "the number of a payment card"},
		{"/lines", `{"tax":"A","price":5}`, "/description", "the line has no item; send its description"},
		{"/lines", `{"item":"4011","quantity":"0"}`, "/quantity", "the line has quantity 0"},
		{"/lines", `{"item":"4011","quantity":"-1"}`, "/quantity", "goods that come back are a line of a basket with return"},
	} {
		a := g.do("POST", at+c.path, c.body)
		if a.StatusCode != 422 || !strings.Contains(string(a.body), `"pointer":"`+c.pointer+`"`) || !strings.Contains(string(a.body), c.says) {
			t.Errorf("%s: %d %s, want %s", c.body, a.StatusCode, a.body, c.pointer)
		}
	}
	for _, own := range []string{"4111111111111112", "4006381333931", "9876543210123456", ""} { // no card, a GTIN, the shop's own
		g.step(at, `{"customer":"`+own+`"}`)
	}
	if a := g.do("POST", at+"/lines", apple, key("used"), header("If-Match", `"1-1"`)); a.slug() != "idempotency-key-reused" || !strings.Contains(string(a.body), "If-Match") {
		t.Errorf("%s", a.body)
	}
}

// More than is owed is not paid out, and what is said about it is not about change.
func TestNoMoreIsPaidOut(t *testing.T) {
	g := newRig(t).start()
	at := "/v1/baskets/" + g.step("/v1/baskets", ``).Data.Basket
	g.step(at+"/lines", `{"description":"Apple","tax":"A","price":500,"return":{},"reason":"sour"}`)
	for _, tender := range []string{`{"kind":"cash","amount":-501}`, `{"kind":"card","amount":-501,"reference":"s"}`} {
		a := g.do("POST", at+"/tenders", tender)
		if a.slug() != "change-without-cash" || !strings.Contains(string(a.body), "more is paid out than the customer is owed: 501, owed are 500; lower the tender") {
			t.Errorf("%s: %s", tender, a.body)
		}
	}
	g.step(at+"/tenders", `{"kind":"cash","amount":-500}`)
	g.step(at+"/complete", ``)
}

func (g *rig) refuses(path, body, slug string, change ...func(*http.Request)) {
	g.t.Helper()
	if a := g.do("POST", path, body, change...); a.slug() != slug {
		g.t.Errorf("%s %s: %d %s, want %s", path, body, a.StatusCode, a.body, slug)
	}
}

// A sale step by step as a front end makes it, and everything that may be asked about it.
func TestStepByStep(t *testing.T) {
	g := newRig(t).start()
	b := g.step("/v1/baskets", `{"name":"table 4","operator":"7"}`)
	at := "/v1/baskets/" + b.Data.Basket
	l := g.step(at+"/lines", `{"item":"4011","quantity":"1.250"}`)
	if l.Data.Line.Amount != 249 || l.Data.Total != 249 || l.Data.Lines != 1 {
		t.Errorf("%+v", l)
	}
	g.step(at+"/lines", apple, key("same"))
	if again := g.do("POST", at+"/lines", apple, key("same")); again.StatusCode != 200 || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("repeated: %d %s", again.StatusCode, again.body)
	}
	g.refuses(at+"/lines", `{"item":"4011"}`, "idempotency-key-reused", key("same"))
	g.refuses(at+"/lines", apple, "version-conflict", header("If-Match", `"`+l.Data.Version+`"`))
	two := g.step(at+"/lines/2", `{"quantity":2,"price":450,"discounts":[{"percent":"10","reason":"torn"}],"note":"gift"}`)
	if two.Data.Line.Amount != 810 || two.Data.Total != 1059 {
		t.Errorf("%+v", two)
	}
	g.step(at+"/lines", `{"item":"100"}`)
	if v := g.step(at+"/lines/3/void", `{"reason":"not mine"}`); v.Data.Total != 1059 {
		t.Errorf("%+v", v)
	}
	g.refuses(at+"/lines/3", `{"quantity":1}`, "line-not-found")
	g.step(at, `{"customer":"C-1","note":"x","discounts":[{"amount":59,"reason":"coupon"}]}`)
	g.step(at+"/park", ``)
	g.refuses(at+"/lines", apple, "basket-state")
	g.stop()
	g.start() // whatever the front end was told survives
	g.step(at+"/recall", `{}`)
	a := g.do("GET", at, "")
	var open struct {
		Basket struct {
			Total pos.Money
			Lines []struct{ Line struct{ N int } }
			Name  string
		}
		Taxes []struct{ Gross pos.Money }
	}
	if err := json.Unmarshal(a.body, &open); err != nil || open.Basket.Total != 1000 || len(open.Basket.Lines) != 2 || open.Basket.Name != "table 4" || a.Header.Get("ETag") == "" {
		t.Errorf("%s, %v", a.body, err)
	}
	if sum := open.Taxes[0].Gross + open.Taxes[1].Gross; sum != 1000 {
		t.Errorf("taxes of %d", sum)
	}
	if list := g.do("GET", "/v1/baskets", ""); !strings.Contains(string(list.body), b.Data.Basket) {
		t.Errorf("%s", list.body)
	}
	g.refuses(at+"/complete", ``, "underpaid")
	g.refuses(at+"/tenders", `{"kind":"card","amount":1001,"reference":"s"}`, "change-without-cash")
	g.step(at+"/tenders", `{"kind":"card","amount":300,"reference":"slip 1"}`)
	g.step(at+"/tenders", `{"kind":"voucher","amount":200,"reference":"V-9"}`)
	g.refuses(at+"/void", ``, "basket-state")
	g.step(at+"/tenders/2/reverse", `{"reason":"expired"}`)
	g.refuses(at+"/tenders/2/reverse", ``, "basket-state")
	g.refuses(at+"/tenders/9/reverse", ``, "tender-not-found")
	if p := g.step(at+"/tenders", `{"kind":"cash","amount":1000}`); p.Data.Due != -300 {
		t.Errorf("%+v", p)
	}
	done := g.step(at+"/complete", ``, key("done"))
	if done.Sale.Total != 1000 || done.Sale.Change != 300 || done.Sale.Receipt != "T1-1-1" {
		t.Errorf("%+v", done)
	}
	if again := g.step(at+"/complete", ``, key("done")); again.Sale.Sale != done.Sale.Sale {
		t.Errorf("repeated: %+v", again)
	}
	g.refuses(at+"/complete", ``, "basket-not-found")
	if a := g.do("GET", at, ""); a.slug() != "basket-not-found" {
		t.Errorf("%s", a.body)
	}
	if a := g.do("GET", "/v1/sales/"+done.Sale.Sale, ""); string(saleData(t, a.body)) == "" || a.StatusCode != 200 {
		t.Errorf("%s", a.body)
	}
}

func TestReturnsOverHTTP(t *testing.T) {
	g := newRig(t).start()
	var sold stepAnswer
	a := g.do("POST", "/v1/checkout", `{"lines":[`+apple+`,{"item":"100","quantity":3}],"discounts":[{"percent":"50","reason":"last day"}],"customer":"C","note":"n","tenders":[{"kind":"cash","amount":1000}]}`)
	if err := json.Unmarshal(a.body, &sold); err != nil || sold.Sale.Total != 443 {
		t.Fatalf("%s %v", a.body, err)
	}
	b := g.step("/v1/baskets", ``)
	at := "/v1/baskets/" + b.Data.Basket
	back := func(line int, qty string) string {
		return fmt.Sprintf(`{"quantity":%s,"reason":"sour","return":{"receipt":%q,"line":%d}}`, qty, sold.Sale.Receipt, line)
	}
	if l := g.step(at+"/lines", back(2, "1")); l.Data.Total != -65 && l.Data.Total != -64 {
		t.Errorf("%+v", l)
	}
	g.refuses(at+"/lines", back(2, "3"), "return-invalid")
	g.refuses(at+"/lines", back(9, "1"), "line-not-found")
	g.refuses(at+"/lines", `{"return":{"sale":"00000000-1","line":1}}`, "sale-not-found")
	if l := g.step(at+"/lines", `{"description":"Chair","tax":"A","price":1000,"reason":"wobbles","return":{"receipt":"T9-1-4"}}`); l.Data.Line.Amount != -1000 {
		t.Errorf("another till's receipt: %+v", l)
	}
	g.step(at+"/lines", apple) // an exchange
	var open struct{ Basket struct{ Due pos.Money } }
	if err := json.Unmarshal(g.do("GET", at, "").body, &open); err != nil || open.Basket.Due >= 0 {
		t.Fatalf("%+v %v", open, err)
	}
	g.refuses(at+"/tenders", `{"kind":"cash","amount":5}`, "tender-invalid")
	g.step(at+"/tenders", fmt.Sprintf(`{"kind":"cash","amount":%d}`, open.Basket.Due))
	done := g.step(at+"/complete", ``)
	if done.Sale.Total != open.Basket.Due || done.Sale.Change != 0 {
		t.Errorf("%+v", done)
	}
	g.refuses("/v1/sales/"+sold.Sale.Sale+"/void", ``, "already-voided")
	g.refuses("/v1/sales/none/void", ``, "sale-not-found")
	again := g.step("/v1/checkout", good)
	v := g.step("/v1/sales/"+again.Sale.Sale+"/void", `{"reason":"wrong till"}`)
	if v.Sale.Total != -500 {
		t.Errorf("%+v", v)
	}
}

func TestShiftOverHTTP(t *testing.T) {
	g := newRig(t).start()
	g.refuses("/v1/shift/close", ``, "shift-state")
	g.step("/v1/shift/open", `{"float":10000,"operator":"7"}`)
	g.refuses("/v1/shift/open", ``, "shift-state")
	g.step("/v1/checkout", good)
	g.step("/v1/cash/in", `{"amount":500,"reason":"change"}`)
	g.step("/v1/cash/out", `{"amount":200}`)
	g.step("/v1/cash/drop", `{"amount":300}`)
	g.step("/v1/cash/open", `{"reason":"change for a note"}`)
	g.refuses("/v1/cash/out", `{"amount":99999}`, "drawer-short")
	g.refuses("/v1/cash/declare", `{"amount":5,"counts":[{"value":1,"pieces":4}]}`, "value-invalid")
	g.refuses("/v1/shift/hand", `{}`, "value-invalid")
	g.step("/v1/shift/hand", `{"to":"8"}`)
	g.step("/v1/cash/declare", `{"amount":10450,"counts":[{"value":5000,"pieces":2},{"value":50,"pieces":9}]}`)
	var x struct {
		Drawer, Declared pos.Money
		Operator         string
		Totals           struct{ Sales int }
	}
	if a := g.do("GET", "/v1/shift", ""); json.Unmarshal(a.body, &x) != nil || x.Drawer != 10500 || x.Declared != 10450 || x.Operator != "8" || x.Totals.Sales != 1 {
		t.Errorf("%s", a.body)
	}
	z := g.step("/v1/shift/close", `{"operator":"8"}`)
	if z.Data.Z != 1 || z.Data.Expected != 10500 || z.Data.Declared != 10450 {
		t.Errorf("%+v", z)
	}
	if a := g.do("GET", "/v1/reports/1", ""); a.StatusCode != 200 || !strings.Contains(string(a.body), event.TypeShiftClosed) {
		t.Errorf("%s", a.body)
	}
	for path, slug := range map[string]string{"/v1/reports/2": "report-not-found", "/v1/reports/x": "query-invalid"} {
		if a := g.do("GET", path, ""); a.slug() != slug {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

// A basket in training is a sale of another kind: no receipt number, no total of the till.
// What is counted and moved ten minutes after midnight is of the shift that the X report
// shows then, though its day is over: nobody counts a drawer twice. The first sale ends it.
func TestCashIsOfTheShiftThatIsShown(t *testing.T) {
	g := newRig(t)
	var off atomic.Int64
	base := time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
	g.now = func() time.Time { return base.Add(time.Duration(off.Load())) }
	g.start()
	g.sell(cashSale)
	off.Store(int64(4*time.Hour + 10*time.Minute))
	var x struct {
		Shift  uint64
		Date   string `json:"business_date"`
		Drawer pos.Money
	}
	if err := json.Unmarshal(g.do("GET", "/v1/shift", "").body, &x); err != nil || x.Shift != 1 || x.Date != "2026-11-21" || x.Drawer != 500 {
		t.Fatalf("%+v, %v", x, err)
	}
	g.step("/v1/cash/drop", `{"amount":300}`)
	g.step("/v1/cash/in", `{"amount":50}`)
	g.step("/v1/cash/out", `{"amount":10}`)
	g.step("/v1/cash/open", `{"reason":"change"}`)
	g.step("/v1/cash/declare", `{"amount":240}`)
	g.sell(cashSale)
	var z stepAnswer
	if err := json.Unmarshal(g.do("GET", "/v1/reports/1", "").body, &z); err != nil || z.Data.Expected != 240 || z.Data.Declared != 240 {
		t.Errorf("%+v, %v", z.Data, err)
	}
	if err := json.Unmarshal(g.do("GET", "/v1/shift", "").body, &x); err != nil || x.Shift != 2 || x.Date != "2026-11-22" || x.Drawer != 500 {
		t.Errorf("%+v, %v", x, err)
	}
	g.step("/v1/shift/close", `{}`)
	g.step("/v1/cash/in", `{"amount":50}`) // the first of a new one
	if st := g.r.Status(); st.Shift != 3 || st.BusinessDate != "2026-11-22" || st.Totals.In != 50 {
		t.Errorf("%+v", st)
	}
}

func TestTraining(t *testing.T) {
	g := newRig(t).start()
	b := g.step("/v1/baskets", `{"training":true}`)
	at := "/v1/baskets/" + b.Data.Basket
	g.step(at+"/lines", apple)
	g.step(at+"/tenders", `{"kind":"cash","amount":500}`)
	g.step("/v1/shift/open", `{"float":0}`)
	g.step("/v1/shift/close", ``) // the cash is none
	done := g.step(at+"/complete", ``)
	if done.Sale.Receipt != "T1-1-training-1" {
		t.Errorf("%+v", done)
	}
	g.refuses("/v1/sales/"+done.Sale.Sale+"/void", ``, "sale-not-found")
	if a := g.do("GET", "/v1/sales/"+done.Sale.Sale, ""); a.StatusCode != 200 {
		t.Errorf("%s", a.body)
	}
	if st := g.r.Status(); st.Perpetual != 0 || st.Totals.Sales != 0 || st.Totals.Trainings != 1 || st.Receipt != 0 {
		t.Errorf("%+v", st)
	}
}

func TestStepsRefuse(t *testing.T) {
	g := newRig(t).start()
	b := g.step("/v1/baskets", ``)
	at := "/v1/baskets/" + b.Data.Basket
	for _, c := range []struct{ path, body, slug string }{
		{"/v1/baskets/none/lines", apple, "basket-not-found"},
		{at + "/lines", `{}`, "description-required"},
		{at + "/lines", `{"item":"999999"}`, "unknown-item"},
		{at + "/lines", `{"item":"4011","quantity":-1}`, "negative-amount"},
		{at + "/lines", `{"item":"4011","discounts":[{}]}`, "discount-invalid"},
		{at + "/lines", `{"item":"4011","discounts":[{"percent":"101"}]}`, "discount-invalid"},
		{at + "/lines", `{"item":"4011","discounts":[{"amount":9999}]}`, "discount-invalid"},
		{at + "/lines", `{"amount":[1]}`, "wrong-type"},
		{at + "/lines", `{"float":1}`, "unknown-member"},
		{at, `{"age":-1}`, "value-invalid"},
		{at, `{"age":1.5}`, "value-invalid"},
		{at, `{"discounts":[{"amount":1}]}`, "discount-invalid"},
		{at + "/tenders", `{"kind":"cash","amount":1}`, "no-lines"},
		{at + "/complete", ``, "no-lines"},
		{at + "/recall", ``, "basket-state"},
		{"/v1/baskets", `{"prices":"free"}`, "value-invalid"},
		{"/v1/baskets", `{"training":1}`, "wrong-type"},
		{"/v1/baskets", `[]`, "wrong-type"},
		{"/v1/cash/in", `{}`, "value-invalid"},
	} {
		g.refuses(c.path, c.body, c.slug)
	}
	for _, path := range []string{"/v1/baskets/x/y", "/v1/baskets/x/lines/", "/v1/baskets//lines", "/v1/shift/", "/v1/cash/steal", "/v1/baskets/x/lines/1/void/2"} {
		if a := g.do("POST", path, "{}"); a.slug() != "not-found" {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	if a := g.do("GET", at+"/lines", ""); a.slug() != "method-not-allowed" || a.Header.Get("Allow") != "POST" {
		t.Errorf("%s", a.body)
	}
	g.refuses("/v1/baskets", ``, "idempotency-key-missing", header("Idempotency-Key", ""))
	g.refuses("/v1/baskets", ``, "unauthorized", header("Authorization", ""))
}

// Wine asks for the buyer's age, in one call and step by step; a price set by hand is
// told beside that of the catalogue.
func TestAgeAndPriceByHand(t *testing.T) {
	g := newRig(t)
	g.importItems("code,description,department,unit,price,tax,age\n300,Wine,Drinks,pc,5.00,A,16\n100,Milk,Dairy,pc,1.29,B,\n")
	g.start()
	wine := `{"lines":[{"item":"300"}],"tenders":[{"kind":"cash","amount":500}]`
	g.refuses("/v1/checkout", wine+`}`, "age-check-required")
	g.step("/v1/checkout", wine+`,"age":18}`)
	at := "/v1/baskets/" + g.step("/v1/baskets", ``).Data.Basket
	g.step(at+"/lines", `{"item":"300"}`)
	g.step(at+"/lines", `{"item":"100","price":99}`)
	g.step(at+"/tenders", `{"kind":"cash","amount":599}`)
	g.refuses(at+"/complete", ``, "age-check-required")
	g.step(at, `{"age":16}`)
	a := g.do("POST", at+"/complete", ``)
	if !strings.Contains(string(a.body), `"price":99,"list":129`) || !strings.Contains(string(a.body), `"age":16`) {
		t.Errorf("%s", a.body)
	}
	if st := g.r.Status(); st.Totals.PriceChanges != 1 {
		t.Errorf("%+v", st.Totals)
	}
}

// A refused call changes nothing, and one that was done is answered again, whatever
// the world says now.
func TestRepeatedAndRefused(t *testing.T) {
	g := newRig(t).start()
	g.refuses("/v1/cash/out", `{"amount":0}`, "value-invalid")
	if st := g.r.Status(); st.Open {
		t.Error("a refused call has opened a shift")
	}
	at := "/v1/baskets/" + g.step("/v1/baskets", ``).Data.Basket
	g.step(at+"/lines", `{"item":"100"}`, key("milk"))
	g.importItems("code,description,department,unit,price,tax\n7,Other,X,pc,1.00,A\n")
	if s := g.step(at+"/lines", `{"item":"100"}`, key("milk")); s.Data.Lines != 1 {
		t.Errorf("%+v", s)
	}
	g.refuses("/v1/checkout", good, "idempotency-key-reused", key("milk"))
	g.step(at+"/void", `{"reason":"r"}`, key("void"))
	if s := g.step(at+"/void", `{"reason":"r"}`, key("void")); s.Data.State != "void" {
		t.Errorf("%+v", s)
	}
	g.stop()
	g.start()
	if s := g.step(at+"/void", `{"reason":"r"}`, key("void")); s.Data.State != "void" {
		t.Errorf("after a restart: %+v", s)
	}
}

// Goods of a sale that this till knows come back by its line and not around it.
func TestBlindReturns(t *testing.T) {
	g := newRig(t).start()
	sold := g.step("/v1/checkout", good)
	at := "/v1/baskets/" + g.step("/v1/baskets", ``).Data.Basket
	const chair = `"description":"Chair","tax":"A","price":500`
	g.refuses(at+"/lines", `{`+chair+`,"return":{}}`, "return-invalid")
	g.refuses(at+"/lines", `{`+chair+`,"reason":"r","return":{"receipt":"`+sold.Sale.Receipt+`"}}`, "return-invalid")
	g.step(at+"/lines", `{`+chair+`,"reason":"r","return":{}}`)
	// With its code and what was paid, so that head office can compare item by item.
	back := `{"item":"100","price":42,"reason":"r","return":{"receipt":"T9-1-4"}}`
	if a := g.do("POST", at+"/lines", back); a.StatusCode/100 != 2 || !strings.Contains(string(a.body), `"item":"100"`) || !strings.Contains(string(a.body), `"amount":-42,`) ||
		!strings.Contains(string(a.body), `"return":{"receipt":"T9-1-4","reason":"r"}`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for path, slug := range map[string]string{"/v1/sales?receipt=Z/1": "query-invalid"} {
		if a := g.do("GET", path, ""); a.slug() != slug {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

// A basket that gives goods back has their sales read under the measure of large
// requests, also while memory is short; another one is paid for without.
func TestReturnsTakeAPlace(t *testing.T) {
	g := newRig(t).start()
	g.s.o.Load = func() Load { return Load{Shedding: true} }
	sold := g.sell(cashSale)
	at := "/v1/baskets/" + g.step("/v1/baskets", ``).Data.Basket
	g.step(at+"/lines", `{"reason":"sour","return":{"sale":"`+sold+`","line":1}}`)
	other := "/v1/baskets/" + g.step("/v1/baskets", ``).Data.Basket
	g.step(other+"/lines", apple)
	g.fill(0)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for name, run := range map[string]func(context.Context, *step) (register.Outcome, error){"tender": g.s.addTender, "complete": g.s.complete} {
		var bad *problem
		p := &step{of: till.Step{Basket: strings.TrimPrefix(at, "/v1/baskets/")}, body: stepBody{tender: pos.Tender{Kind: pos.Cash, Amount: -500}}}
		if _, err := run(over, p); !errors.As(err, &bad) || bad.kind.slug != "busy" {
			t.Errorf("%s without a place: %v", name, err)
		}
	}
	g.step(other+"/tenders", `{"kind":"cash","amount":500}`)
	g.step(other+"/complete", ``)
	<-g.s.large
	g.step(at+"/tenders", `{"kind":"cash","amount":-500}`)
	g.wantFree(1)
	g.s.o.Load = nil
	pad := strings.Repeat(" ", smallBody)
	if done := g.step(at+"/complete", `{}`+pad); done.Sale.Total != -500 {
		t.Errorf("%+v", done)
	}
	g.wantFree(1)
}

// Every action's decoder meets every body, also that of another action.
func FuzzStep(f *testing.F) {
	for _, body := range []string{
		"", "{}", `{"operator":"7","reason":"damaged"}`, `{"name":"lane 3","prices":"exclusive","training":true}`,
		`{"customer":"","note":"a","age":18,"discounts":[{"percent":"10","reason":"x"},{"amount":5}]}`,
		`{"item":"4006381333931","quantity":"1.250","price":299,"return":{"sale":"a","receipt":"T1-1-1","line":2}}`,
		`{"kind":"cash","amount":-500,"reference":"r"}`, `{"tenders":[{"kind":"card","amount":-1,"reference":"s"}]}`,
		`{"float":10000}`, `{"amount":1,"counts":[{"value":50,"pieces":3}]}`, `{"to":"8"}`, `{"outcome":"paid","reference":"7","reason":"r"}`,
		`{"print":false}`, `{"as":"text","columns":32}`, `{"blind":true}`,
	} {
		for i := range actions {
			f.Add(uint8(i), []byte(body))
		}
	}
	var d decoder
	f.Fuzz(func(t *testing.T, at uint8, b []byte) {
		p := step{action: &actions[int(at)%len(actions)]}
		if bad := d.decodeStep(b, &p); bad != nil {
			if bad.kind.slug == "internal" || bad.detail == "" || !json.Valid(bad.append(nil)) {
				t.Fatalf("%s %q: %+v", p.action.path, b, bad)
			}
			return
		}
		if len(bytes.TrimSpace(b)) > 0 && !json.Valid(b) {
			t.Fatalf("%s: %q was accepted", p.action.path, b)
		}
		body := &p.body
		if len(body.tenders) > maxTenders || len(body.counts) > maxCounts || len(body.discounts) > maxDiscounts || body.float < 0 {
			t.Fatalf("%s %q: %+v", p.action.path, b, body)
		}
		if len(p.of.Operator) > maxShort || len(p.of.Reason) > maxText || len(body.note) > maxText {
			t.Fatalf("%s %q: %+v, %+v", p.action.path, b, p.of, body)
		}
	})
}

// What is sold whole is not cut by changing its line.
func TestWholeItemsStayWhole(t *testing.T) {
	g := newRig(t).start()
	at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	g.step(at+"/lines", `{"item":"100"}`)
	g.step(at+"/lines", `{"item":"4011","quantity":"1.250"}`)
	g.refuses(at+"/lines/1", `{"quantity":"1.5"}`, "quantity-invalid")
	g.refuses(at+"/lines/1", `{"quantity":0}`, "quantity-invalid")
	g.step(at+"/lines/1", `{"quantity":3}`)
	g.step(at+"/lines/2", `{"quantity":"0.125"}`)
	g.refuses(at+"/lines/9", `{"quantity":"1.5"}`, "line-not-found")
}
