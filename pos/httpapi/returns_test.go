package httpapi

import (
	"fmt"
	"net/http"
	"testing"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/operator"
)

// returnsRig is a till whose cashier anna may take goods back, and whose supervisor ben may
// pay back otherwise than was paid.
func returnsRig(t *testing.T, coin pos.Money) *rig {
	g := newRig(t).withOperators()
	g.set.Operators.Roles = map[string]operator.Grants{
		"cashier":    grants("sale", "return:60000", "return.blind:500", "sale.void"),
		"supervisor": grants("sale", "return", "return.other:60000", "sale.void"),
		"manager":    grants("*"),
	}
	g.set.Coin = coin
	return g.start()
}

func paid(list ...string) (s string) {
	for i, t := range list {
		if i > 0 {
			s += ","
		}
		var kind string
		var amount int
		fmt.Sscan(t, &kind, &amount)
		s += fmt.Sprintf(`{"kind":%q,"amount":%d`, kind, amount)
		if kind != "cash" {
			s += fmt.Sprintf(`,"reference":"ref %d"`, i)
		}
		s += "}"
	}
	return s
}

// sold makes a sale of bottles and returns its receipt.
func (g *rig) sold(bottles int, tenders string, who func(*http.Request)) string {
	g.t.Helper()
	return g.step("/v1/checkout", fmt.Sprintf(`{"lines":[{"item":"100","quantity":%d}],"tenders":[%s]}`, bottles, tenders), who).Sale.Receipt
}

func (g *rig) basketBack(receipt string, bottles int, who func(*http.Request)) (at string) {
	g.t.Helper()
	at = "/v1/baskets/" + g.step("/v1/baskets", `{}`, who).Data.Basket
	g.step(at+"/lines", fmt.Sprintf(`{"quantity":%d,"return":{"receipt":%q,"line":1}}`, bottles, receipt), who)
	return at
}

// What was sold on account, or for a voucher or a card, is not given back in cash by one
// person; nor what was paid in cash to a card.
func TestPaidBackOtherwiseNeedsAnother(t *testing.T) {
	for _, kind := range []string{"account", "voucher", "card", "cash"} {
		g := returnsRig(t, 1)
		anna, ben := g.signIn("anna"), g.signIn("ben")
		at := g.basketBack(g.sold(400, paid(kind+" 51600"), anna), 400, anna)
		same, other := paid(kind+" -51600"), paid("cash -51600")
		if kind == "cash" {
			other = paid("card -51600")
		}
		g.lacks(at+"/tenders", other, "return.other", anna)
		g.lacks(at+"/tenders", other, "return.other", anna, g.approval(anna, "ben", "return.other", "51599"))
		g.step(at+"/tenders", other, anna, g.approval(anna, "ben", "return.other", "51600"))
		g.step(at+"/tenders/1/reverse", `{}`, g.signIn("carla"))
		g.step(at+"/tenders", same, anna)
		g.step(at+"/complete", `{}`, anna)
		at = g.basketBack(g.sold(400, paid(kind+" 51600"), anna), 400, ben)
		g.step(at+"/tenders", other, ben) // may do it alone
	}
}

// What a sale took in by a kind can go back by it once, over all baskets and tenders.
func TestPaidBackAsItWasPaid(t *testing.T) {
	g := returnsRig(t, 1)
	anna := g.signIn("anna")
	receipt := g.sold(4, paid("account 216", "cash 500"), anna) // 3.00 of it in cash
	one, two := g.basketBack(receipt, 2, anna), g.basketBack(receipt, 2, anna)
	g.step(two+"/park", `{}`, anna) // 2.58 of the cash may be its
	g.lacks(one+"/tenders", paid("cash -43"), "return.other", anna)
	g.step(one+"/tenders", paid("cash -42"), anna)
	g.lacks(one+"/tenders", paid("cash -1"), "return.other", anna)
	g.step(one+"/tenders", `{"kind":"account","amount":-1,"reference":"x"}`, g.signIn("carla"))
	g.step(one+"/tenders/2/reverse", `{}`, g.signIn("carla"))
	g.step(one+"/tenders/1/reverse", `{}`, g.signIn("carla"))
	g.step(two+"/void", `{}`, g.signIn("carla"))
	g.step(one+"/tenders", paid("cash -258"), anna)
	g.step(one+"/complete", `{}`, anna)
	one = g.basketBack(receipt, 2, anna)
	g.lacks(one+"/tenders", paid("cash -43"), "return.other", anna)
	g.step(one+"/tenders", paid("cash -42"), anna)

	// Another sale's cash does not pay for what this one sold on account.
	cash := g.sold(400, paid("cash 51600"), anna)
	at := g.basketBack(g.sold(100, paid("account 12900"), anna), 100, anna)
	g.step(at+"/lines", fmt.Sprintf(`{"quantity":1,"return":{"receipt":%q,"line":1}}`, cash), anna)
	g.lacks(at+"/tenders", paid("cash -13029"), "return.other", anna)
	g.lacks(at+"/tenders", paid("cash -130"), "return.other", anna)
	// Goods of another till's receipt have their own limit, and any kind.
	g.step(at+"/lines", `{"item":"100","price":129,"return":{"receipt":"t9-1-1"},"reason":"sour"}`, g.signIn("carla"))
	g.step(at+"/tenders", paid("cash -258"), anna)
	g.lacks(at+"/tenders", paid("cash -1"), "return.other", anna)
	g.step(at+"/tenders", `{"kind":"account","amount":-12900,"reference":"x"}`, anna)
	g.step(at+"/complete", `{}`, anna)
}

// Cash that was rounded to coins asks for nobody, in however many parts it goes back.
func TestPaidBackInCoins(t *testing.T) {
	g := returnsRig(t, 5)
	anna := g.signIn("anna")
	receipt := g.sold(4, paid("cash 515"), anna) // of 5.16
	for range 4 {
		at := g.basketBack(receipt, 1, anna)
		g.step(at+"/tenders", paid("cash -130"), anna) // of 1.29
		g.step(at+"/complete", `{}`, anna)
	}
}

// A whole sale that is taken back by other tenders than its own asks for the same.
func TestVoidPaidBackOtherwise(t *testing.T) {
	g := returnsRig(t, 5)
	anna := g.signIn("anna")
	sell := func(tenders string) string {
		return g.step("/v1/checkout", `{"lines":[{"item":"100","quantity":4}],"tenders":[`+tenders+`]}`, anna).Sale.Sale
	}
	void := "/v1/sales/" + sell(paid("account 516")) + "/void"
	g.lacks(void, `{"tenders":[`+paid("cash -515")+`]}`, "return.other", anna)
	g.step(void, `{"tenders":[`+paid("cash -515")+`]}`, anna, g.approval(anna, "ben", "return.other", ""))
	void = "/v1/sales/" + sell(paid("account 516")) + "/void"
	g.step(void, `{"tenders":[`+paid("account -516")+`]}`, anna)
	void = "/v1/sales/" + sell(paid("cash 600")) + "/void"
	g.step(void, `{"tenders":[`+paid("cash -515")+`]}`, anna)
}

// With exclusive prices the tax of the parts makes that of the whole, in one basket and in
// many.
func TestPartsOfANetPriceMakeTheWhole(t *testing.T) {
	g := newRig(t)
	g.set.Prices, g.set.Rounding = pos.Exclusive, pos.PerLine
	g.start()
	sell := func() string {
		return g.step("/v1/checkout", `{"lines":[{"description":"Screw","tax":"A","price":3,"quantity":40}],"tenders":[{"kind":"cash","amount":143}]}`).Sale.Receipt
	}
	back := func(at, receipt string) pos.Money {
		return g.step(at+"/lines", `{"quantity":1,"return":{"receipt":"`+receipt+`","line":1}}`).Data.Total
	}
	one, at, total := sell(), "/v1/baskets/"+g.step("/v1/baskets", `{}`).Data.Basket, pos.Money(0)
	for range 40 {
		total = back(at, one)
	}
	if total != -143 {
		t.Errorf("%d are given back in one basket", total)
	}
	one, total = sell(), 0
	for range 40 {
		at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
		n := back(at, one)
		total += n
		g.step(at+"/tenders", fmt.Sprintf(`{"kind":"cash","amount":%d}`, n))
		g.step(at+"/complete", `{"print":false}`)
	}
	if total != -143 {
		t.Errorf("%d are given back in many baskets", total)
	}
}

// Head office pushes another rounding and other prices while a basket is being paid for: it
// ends as it was begun.
func TestPushWhileABasketIsPaidFor(t *testing.T) {
	for _, way := range []pos.Rounding{pos.PerLine, pos.PerDocument} {
		g := newRig(t)
		g.set.Prices, g.set.Rounding = pos.Exclusive, pos.PerDocument+pos.PerLine-way
		g.start()
		at, due := "/v1/baskets/"+g.step("/v1/baskets", `{}`).Data.Basket, pos.Money(0)
		for range 4 {
			due = g.step(at+"/lines", `{"description":"Nail","tax":"A","price":2}`).Data.Due
		}
		g.step(at+"/tenders", fmt.Sprintf(`{"kind":"card","amount":%d,"reference":"slip 1"}`, due))
		set := *g.r.Settings()
		set.Prices, set.Rounding = pos.Inclusive, way
		if err := g.r.Note(t.Context(), &event.ConfigApplied{Serial: 1, Config: "c"}, &set); err != nil {
			t.Fatal(err)
		}
		if s := g.step(at+"/complete", `{}`); s.Sale.Total != due {
			t.Errorf("to %s: %d was due, the sale is of %d", way, due, s.Sale.Total)
		}
	}
}

// One voucher pays once in a sale, in one call and step by step.
func TestVoucherOnceInASale(t *testing.T) {
	g := newRig(t).start()
	const two = `{"lines":[{"item":"100","quantity":2}],"tenders":[{"kind":"voucher","amount":129,"reference":"V-9"},{"kind":"voucher","amount":129,"reference":"V-%d"}]}`
	g.refuses("/v1/checkout", fmt.Sprintf(two, 9), "tender-invalid")
	g.step("/v1/checkout", fmt.Sprintf(two, 8))
	at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	g.step(at+"/lines", `{"item":"100","quantity":2}`)
	v := `{"kind":"voucher","amount":129,"reference":"V-9"}`
	g.step(at+"/tenders", v)
	if a := g.do("POST", at+"/tenders", v); a.slug() != "tender-invalid" || a.pointer() != "/reference" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	g.step(at+"/tenders/1/reverse", `{}`)
	g.step(at+"/tenders", v) // it was put back into the customer's hand
	g.step(at+"/tenders", `{"kind":"card","amount":129,"reference":"V-9"}`)
	g.step(at+"/complete", `{}`)
}

// What was sold in whole pieces comes back in whole pieces; what is measured, as it is.
func TestWholePiecesComeBackWhole(t *testing.T) {
	g := newRig(t).start()
	s := g.step("/v1/checkout", `{"lines":[{"item":"100","quantity":2},{"description":"Rope","tax":"A","unit":"m","price":100,"quantity":2},{"description":"Pie","tax":"A","price":100,"quantity":"1.5"}],"tenders":[{"kind":"cash","amount":1000}]}`)
	at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	back := func(line int, qty string) string {
		return fmt.Sprintf(`{"quantity":%q,"return":{"receipt":%q,"line":%d}}`, qty, s.Sale.Receipt, line)
	}
	g.refuses(at+"/lines", back(1, "0.5"), "return-invalid")
	g.refuses(at+"/lines", back(1, "1.5"), "return-invalid")
	g.step(at+"/lines", back(1, "1"))
	g.step(at+"/lines", back(2, "0.5"))
	g.step(at+"/lines", back(3, "0.5"))
}
