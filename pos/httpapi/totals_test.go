package httpapi

import (
	"encoding/json"
	"net/http"
	"testing"

	"posd/pos/operator"
)

// figure is one of the X report, as who may see it is told.
func (g *rig) figure(name string, who ...func(*http.Request)) int64 {
	g.t.Helper()
	var x struct{ Totals map[string]json.RawMessage }
	if err := json.Unmarshal(g.do("GET", "/v1/shift", "", who...).body, &x); err != nil {
		g.t.Fatal(err)
	}
	var n int64
	if v, ok := x.Totals[name]; ok {
		if err := json.Unmarshal(v, &n); err != nil {
			g.t.Fatal(err)
		}
	}
	return n
}

func (g *rig) figures(want map[string]int64, who ...func(*http.Request)) {
	g.t.Helper()
	for name, n := range want {
		if is := g.figure(name, who...); is != n {
			g.t.Errorf("%s is %d in the X report, want %d", name, is, n)
		}
	}
}

// Goods that come back beside a larger sale are no refund, and stand in the report
// nevertheless.
func TestReturnsBesideALargerSale(t *testing.T) {
	g := newRig(t).start()
	s := g.step("/v1/checkout", `{"lines":[{"item":"100","quantity":100}],"tenders":[{"kind":"cash","amount":12900}]}`)
	at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	g.step(at+"/lines", `{"item":"100","quantity":100}`)
	g.step(at+"/lines", `{"quantity":99,"return":{"receipt":"`+s.Sale.Receipt+`","line":1}}`)
	g.step(at+"/tenders", `{"kind":"cash","amount":129}`)
	g.step(at+"/complete", `{}`)
	g.figures(map[string]int64{"sales": 2, "gross": 13029, "refunds": 0, "lines_returned": 1, "lines_returned_sum": 12771})
	s = g.step("/v1/checkout", `{"lines":[{"item":"100"},{"item":"100","quantity":2}],"tenders":[{"kind":"cash","amount":387}]}`)
	g.step("/v1/sales/"+s.Sale.Sale+"/void", `{"reason":"wrong customer"}`)
	g.figures(map[string]int64{"refunds": 1, "refunded": 387, "lines_returned": 3, "lines_returned_sum": 12771 + 387})
}

// A lowered quantity takes goods out as a voided line does, at what they were in the
// basket for.
func TestLoweredQuantityIsAVoid(t *testing.T) {
	g := newRig(t).start()
	at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	g.step(at+"/lines", `{"item":"100","quantity":100}`)
	g.step(at+"/lines/1", `{"quantity":120}`)
	g.step(at+"/lines/1", `{"note":"as it is","quantity":120}`)
	g.figures(map[string]int64{"lines_voided": 0, "lines_voided_sum": 0})
	g.step(at+"/lines/1", `{"quantity":20}`)
	g.figures(map[string]int64{"lines_voided": 1, "lines_voided_sum": 12900})
	g.step(at+"/lines/1", `{"quantity":1,"price":1}`) // the price is another matter
	g.figures(map[string]int64{"lines_voided": 2, "lines_voided_sum": 12900 + 19*129})
	g.step(at+"/lines/1/void", `{}`)
	g.figures(map[string]int64{"lines_voided": 3, "lines_voided_sum": 12900 + 19*129 + 1})
	at = "/v1/baskets/" + g.step("/v1/baskets", `{"training":true}`).Data.Basket
	g.step(at+"/lines", `{"item":"100","quantity":100}`)
	g.step(at+"/lines/1", `{"quantity":20}`)
	g.figures(map[string]int64{"lines_voided": 3})
}

// What waits in open and parked baskets stands in X and Z: goods may have been paid for
// that are in no sale.
func TestBasketsOpenAtTheEnd(t *testing.T) {
	g := newRig(t).start()
	g.step("/v1/shift/open", `{"float":0}`)
	at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	g.step(at+"/lines", `{"item":"100","quantity":100}`)
	g.step(at+"/park", `{}`)
	at = "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	g.step(at+"/lines", `{"item":"100"}`)
	g.step("/v1/baskets", `{}`) // empty: a front end may always have one
	train := "/v1/baskets/" + g.step("/v1/baskets", `{"training":true}`).Data.Basket
	g.step(train+"/lines", `{"item":"100"}`)
	want := map[string]int64{"baskets_open": 2, "baskets_open_sum": 12900 + 129}
	g.figures(want)
	var z struct {
		Data struct{ Totals map[string]json.RawMessage }
	}
	a := g.do("POST", "/v1/shift/close", `{}`)
	if err := json.Unmarshal(a.body, &z); err != nil || string(z.Data.Totals["baskets_open"]) != "2" || string(z.Data.Totals["baskets_open_sum"]) != "13029" {
		t.Errorf("Z: %s, %v", a.body, err)
	}
	g.stop()
	g.start()
	g.figures(want)
	g.step(at+"/void", `{"reason":"left"}`)
	g.figures(map[string]int64{"baskets_open": 1, "baskets_open_sum": 12900, "baskets_voided": 1})
}

// Who may not see what should be in the drawer is not told by a refusal either: what is
// too much is recorded, and the report shows it.
func TestDrawerShortTellsNobodyWhoCounts(t *testing.T) {
	g := newRig(t).withOperators()
	g.set.Operators.Roles = map[string]operator.Grants{"cashier": grants("cash.drop", "cash.out"), "supervisor": grants("cash.drop", "shift.report"), "manager": grants("*")}
	g.start()
	anna, ben, carla := g.signIn("anna"), g.signIn("ben"), g.signIn("carla")
	g.step("/v1/shift/open", `{"float":12345}`, carla)
	g.refuses("/v1/cash/drop", `{"amount":12346}`, "drawer-short", ben)
	g.step("/v1/cash/drop", `{"amount":12346}`, anna)
	g.step("/v1/cash/out", `{"amount":100}`, anna)
	g.figures(map[string]int64{"dropped": 12346, "out": 100}, carla)
	var x struct{ Drawer int64 }
	if a := g.do("GET", "/v1/shift", "", carla); json.Unmarshal(a.body, &x) != nil || x.Drawer != -101 {
		t.Errorf("%s", a.body)
	}
	g.refuses("/v1/cash/drop", `{"amount":1}`, "drawer-short", ben)
}
