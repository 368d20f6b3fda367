package httpapi

import (
	"strings"
	"testing"

	"posd/pos"
)

// Cash is paid in coins, whichever call takes it: one rule, one answer.
func TestCashIsPaidInCoins(t *testing.T) {
	g := newRig(t)
	g.set.Coin = 5
	g.start()
	tea := `{"description":"Tea","tax":"A","price":513}`
	basket := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	g.step(basket+"/lines", tea)
	sale := func(tenders string) string { return `{"lines":[` + tea + `],"tenders":[` + tenders + `]}` }
	sold := g.step("/v1/checkout", sale(`{"kind":"card","amount":313,"reference":"slip 7"},{"kind":"cash","amount":200}`)).Sale.Sale
	for _, c := range []struct{ path, body, says string }{
		{basket + "/tenders", `{"kind":"cash","amount":514}`, "514 cannot be paid in coins of 5; in cash 515 is due"},
		{"/v1/checkout", sale(`{"kind":"cash","amount":514}`), "514 cannot be paid in coins of 5; in cash 515 is due"},
		{"/v1/checkout", sale(`{"kind":"cash","amount":1001}`), "1001 cannot be paid in coins of 5; in cash 515 is due"},
		{"/v1/checkout", sale(`{"kind":"card","amount":300,"reference":"slip 7"},{"kind":"cash","amount":213}`), "tender 2: "},
		{"/v1/checkout", sale(`{"kind":"cash","amount":213},{"kind":"card","amount":300,"reference":"slip 7"}`), "in cash 215 is due"},
		{"/v1/sales/" + sold + "/void", `{"reason":"r","tenders":[{"kind":"cash","amount":-513}]}`, "-513 cannot be paid in coins of 5; in cash -515 is due"},
	} {
		a := g.do("POST", c.path, c.body)
		if a.slug() != "tender-invalid" || !strings.Contains(string(a.body), c.says) {
			t.Errorf("%s %s: %d %s", c.path, c.body, a.StatusCode, a.body)
		}
	}
	for _, c := range []struct{ path, body string }{
		{basket + "/tenders", `{"kind":"cash","amount":515}`},
		{"/v1/checkout", sale(`{"kind":"cash","amount":520}`)},
		{"/v1/checkout", sale(`{"kind":"card","amount":512,"reference":"slip 7"},{"kind":"cash","amount":0}`)},
		{"/v1/sales/" + sold + "/void", `{"reason":"r"}`},
	} {
		g.step(c.path, c.body)
	}
}

// What was paid is paid back, though head office changed the smallest coin in between.
func TestVoidAfterAnotherCoin(t *testing.T) {
	for _, coin := range []struct {
		was, is pos.Money
		paid    string
	}{{0, 5, "513"}, {5, 0, "515"}, {5, 10, "515"}} {
		g := newRig(t)
		g.set.Coin = coin.was
		g.start()
		sale := g.step("/v1/checkout", `{"lines":[{"description":"Tea","tax":"A","price":513}],"tenders":[{"kind":"cash","amount":`+coin.paid+`}]}`).Sale.Sale
		g.stop()
		g.set.Coin = coin.is
		g.start()
		a := g.do("POST", "/v1/sales/"+sale+"/void", `{"reason":"r"}`)
		if a.StatusCode != 201 || !strings.Contains(string(a.body), `"kind":"cash","amount":-`+coin.paid) {
			t.Errorf("coin %d, then %d: %d %s", coin.was, coin.is, a.StatusCode, a.body)
		}
	}
}
