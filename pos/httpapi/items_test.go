package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/itemcode"
)

const labelled = `code,description,department,unit,price,tax
4011,Banana,Fruit,kg,1.99,B
12345,Cheese,Deli,kg,12.90,B
0242000000004,Ham,Deli,kg,19.90,B
4006381333931,Pen,Paper,pc,1.29,A
012345000065,Soap,Home,pc,2.49,A
90614141000015,Steak,Meat,kg,24.90,B
200,Gift card,Service,pc,,A
`

// withPatterns starts a terminal that knows labels.
func withPatterns(t *testing.T) *rig {
	t.Helper()
	g := newRig(t)
	g.importItems(labelled)
	g.start()
	set := *g.r.Settings()
	var err error
	if set.Codes, err = itemcode.NewRules([]string{"02IIIIIVPPPPC", "28IIIIIWW.WWWC", "24IIIIIPPPPPC"}, euro); err != nil {
		t.Fatal(err)
	}
	if err := g.r.Note(context.Background(), &event.ConfigApplied{Serial: 1, Config: "c"}, &set); err != nil {
		t.Fatal(err)
	}
	return g
}

// withCheck appends the check digit of a GTIN.
func withCheck(s string) string {
	for d := '0'; d <= '9'; d++ {
		if _, err := itemcode.ParseGTIN(s + string(d)); err == nil {
			return s + string(d)
		}
	}
	panic(s)
}

// A scanned code sells what it says, in one call.
func TestCheckoutOfScannedCodes(t *testing.T) {
	g := withPatterns(t)
	for _, tc := range []struct{ name, line, want string }{
		{"gtin", `{"item":"4006381333931"}`, `"item":"4006381333931","description":"Pen","department":"Paper","quantity":"1","unit":"pc","price":129,"amount":129`},
		{"gtin of fourteen digits", `{"item":"04006381333931","quantity":2}`, `"item":"4006381333931","code":"04006381333931","description":"Pen","department":"Paper","quantity":"2","unit":"pc","price":129,"amount":258`},
		{"symbology identifier", `{"item":"]E04006381333931"}`, `"item":"4006381333931","code":"]E04006381333931"`},
		{"upc-e", `{"item":"01234565"}`, `"item":"012345000065","code":"01234565","description":"Soap"`},
		{"upc-a as ean-13", `{"item":"0012345000065"}`, `"item":"012345000065"`},
		{"price of a label, weight worked out", `{"item":"` + withCheck("021234592875") + `"}`, `"item":"12345","code":"` + withCheck("021234592875") + `","description":"Cheese","department":"Deli","quantity":"2.229","unit":"kg","fixed":true,"amount":2875`},
		{"label with quantity 1", `{"item":"` + withCheck("021234592875") + `","quantity":1}`, `"amount":2875`},
		{"number with zeros before it", `{"item":"` + withCheck("280401100750") + `"}`, `"item":"4011","code":"` + withCheck("280401100750") + `","description":"Banana","department":"Fruit","quantity":"0.75","unit":"kg","price":199,"amount":149`},
		{"catalogue holds the code with zeros", `{"item":"` + withCheck("024200060100") + `"}`, `"item":"0242000000004"`},
		{"weight by GS1", `{"item":"]C101906141410000153103001750"}`, `"item":"90614141000015","code":"]C101906141410000153103001750","description":"Steak","department":"Meat","quantity":"1.75","unit":"kg","price":2490,"amount":4358`},
		{"weight and price by GS1", `{"item":"]C1019061414100001531030017503922` + `1475"}`, `"quantity":"1.75","unit":"kg","fixed":true,"list":4358,"amount":1475`},
		{"weight and its price by GS1", `{"item":"]C1019061414100001531030017503922` + `4355"}`, `"quantity":"1.75","unit":"kg","fixed":true,"amount":4355`},
		{"price per unit by GS1", `{"item":"]C1019061414100001531030017503952` + `002000"}`, `"quantity":"1.75","unit":"kg","price":2000,"list":2490,"amount":3500`},
		{"amount by hand", `{"item":"4006381333931","quantity":100,"amount":1}`, `"quantity":"100","unit":"pc","fixed":true,"list":12900,"amount":1`},
		{"amount by hand that is the catalogue's", `{"item":"4011","quantity":"1.5","amount":299}`, `"quantity":"1.5","unit":"kg","fixed":true,"amount":299`},
		{"amount by hand of a label", `{"item":"` + withCheck("280401100750") + `","amount":1}`, `"quantity":"0.75","unit":"kg","fixed":true,"list":149,"amount":1`},
		{"price by hand of a label with a price", `{"item":"` + withCheck("021234592875") + `","price":1}`, `"quantity":"2.229","unit":"kg","price":1,"list":1290,"amount":2`},
		{"amount by hand of an open item's label", `{"item":"` + withCheck("240020000500") + `","amount":1}`, `"item":"200","code":"` + withCheck("240020000500") + `","description":"Gift card","department":"Service","quantity":"1","unit":"pc","fixed":true,"list":500,"amount":1`},
		{"batch and serial", `{"item":"]d20104006381333931` + `10A7\u001d21S"}`, `"item":"4006381333931","code":"]d2010400638133393110A7\u001d21S"`},
		{"link", `{"item":"https://shop.example/01/04006381333931/10/A7?17=750101"}`, `"item":"4006381333931","code":"https://shop.example/01/04006381333931/10/A7?17=750101"`},
		{"own price wins", `{"item":"` + withCheck("280401100750") + `","price":100}`, `"quantity":"0.75","unit":"kg","price":100,"list":199,"amount":75`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g.t = t
			a := g.do("POST", "/v1/checkout", `{"lines":[`+tc.line+`],"tenders":[{"kind":"cash","amount":100000}]}`)
			if a.StatusCode != 201 || !strings.Contains(string(a.body), tc.want) {
				t.Errorf("%d %s\nwant %s", a.StatusCode, a.body, tc.want)
			}
		})
	}
}

func TestCheckoutRefusesCodes(t *testing.T) {
	g := withPatterns(t)
	for _, tc := range []struct{ name, line, slug, pointer, detail string }{
		{"check digit of a label", `{"item":"0212345928750"}`, "code-invalid", "/lines/0/item", "character 13: check digit 0"},
		{"verifier digit", `{"item":"` + withCheck("021234582875") + `"}`, "code-invalid", "/lines/0/item", "character 8: verifier digit 8"},
		{"nothing for a label", `{"item":"` + withCheck("240401100000") + `"}`, "code-invalid", "/lines/0/item", "character 8: the label says that it costs nothing"},
		{"nothing by GS1", `{"item":"(01)90614141000015(3103)010000(3922)000"}`, "code-invalid", "/lines/0/item", "costs nothing"},
		{"nothing per unit by GS1", `{"item":"(01)90614141000015(3103)010000(3952)000000"}`, "code-invalid", "/lines/0/item", "costs nothing"},
		{"check digit of a gtin", `{"item":"4006381333932"}`, "unknown-item", "/lines/0/item", "character 13: check digit 2 does not fit the digits before it, which give 1"},
		{"unknown label", `{"item":"` + withCheck("280999900750") + `"}`, "unknown-item", "/lines/0/item", `no item \"09999\"`},
		{"unit", `{"item":"]C101` + "04006381333931" + `3103001750"}`, "unit-mismatch", "/lines/0/item", `is sold by \"pc\", its label says how many kg`},
		{"three labels at once", `{"item":"` + withCheck("280401100750") + `","quantity":3}`, "label-quantity", "/lines/0/quantity", "scan each piece"},
		{"half a pen", `{"item":"4006381333931","quantity":"0.5"}`, "quantity-invalid", "/lines/0/quantity", "at most 0 decimals, not 0.5"},
		{"expired", `{"item":"]C101` + "04006381333931" + `17200131"}`, "item-expired", "/lines/0/item", "use by 2020-01-31"},
		{"control character", `{"item":"40\u000711"}`, "text-invalid", "/lines/0/item", ""},
		{"separator in a plain code", `{"item":"40\u001d11"}`, "code-invalid", "/lines/0/item", ""},
		{"too long", `{"item":"` + strings.Repeat("1", itemcode.MaxScan+1) + `"}`, "text-invalid", "/lines/0/item", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g.t = t
			a := g.do("POST", "/v1/checkout", `{"lines":[`+tc.line+`],"tenders":[{"kind":"cash","amount":100000}]}`)
			if a.slug() != tc.slug || a.pointer() != tc.pointer || !strings.Contains(string(a.body), tc.detail) {
				t.Errorf("got %d %s\nwant %s at %s: %s", a.StatusCode, a.body, tc.slug, tc.pointer, tc.detail)
			}
		})
	}
}

// What a label says is the same whichever way it is sold.
func TestLabelInABasket(t *testing.T) {
	g := withPatterns(t)
	at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	sale := func(line string) pos.Money {
		t.Helper()
		return g.step("/v1/checkout", `{"lines":[`+line+`],"tenders":[{"kind":"cash","amount":100000}]}`).Sale.Total
	}
	for n, code := range []string{withCheck("021234592875"), withCheck("280401100750"), "]C1019061414100001531030017503922" + `1475`, "]C101906141410000153103001750"} {
		label, line := `{"item":"`+code+`"}`, fmt.Sprint(at, "/lines/", n+1)
		if s := g.step(at+"/lines", label); s.Data.Line.Amount != sale(label) {
			t.Errorf("%s: %d", code, s.Data.Line.Amount)
		}
		g.refuses("/v1/checkout", `{"lines":[{"item":"`+code+`","quantity":3}],"tenders":[{"kind":"cash","amount":100000}]}`, "label-quantity")
		g.refuses(line, `{"quantity":3}`, "label-quantity")
		g.refuses(line, `{"quantity":3,"price":1000}`, "label-quantity")
		if s := g.step(line, `{"price":1000}`); s.Data.Line.Amount != sale(`{"item":"`+code+`","price":1000}`) {
			t.Errorf("%s for 10.00: %d", code, s.Data.Line.Amount)
		}
		g.refuses(line, `{"quantity":"0.1"}`, "label-quantity")
	}
	g.step(at+"/lines", `{"item":"4011","quantity":"0.5"}`)
	if s := g.step(at+"/lines/5", `{"quantity":"1.5"}`); s.Data.Line.Amount != 299 { // no label
		t.Errorf("%+v", s.Data.Line)
	}
}

// Goods whose use-by date has passed are not sold, and can come back.
func TestExpiredGoodsComeBack(t *testing.T) {
	g := withPatterns(t)
	at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	const meat = `"item":"]C101` + "90614141000015" + `1720013131030017503922` + `1475"`
	g.refuses(at+"/lines", `{`+meat+`}`, "item-expired")
	g.refuses(at+"/lines", `{`+meat+`,"return":{"receipt":"T9-1-44"}}`, "return-invalid") // without a reason
	if s := g.step(at+"/lines", `{`+meat+`,"reason":"spoilt","return":{"receipt":"T9-1-44"}}`); s.Data.Line.Amount != -1475 {
		t.Errorf("%+v", s.Data)
	}
}

func TestItemByCode(t *testing.T) {
	g := withPatterns(t)
	get := func(code string) (a answer, doc map[string]map[string]any) {
		t.Helper()
		a = g.do("GET", "/v1/items/"+url.PathEscape(code), "")
		if b := g.do("GET", "/v1/items?code="+url.QueryEscape(code), ""); b.StatusCode != a.StatusCode || string(b.body) != string(a.body) {
			t.Errorf("%s: the path says %s, the query %s", code, a.body, b.body)
		}
		json.Unmarshal(a.body, &doc)
		return a, doc
	}
	for code, want := range map[string]string{
		"4011": `{"item":{"item":"4011","description":"Banana","department":"Fruit","unit":"kg","decimals":3,"tax":"B","price":199}`,
		"200":  `{"item":{"item":"200","description":"Gift card","department":"Service","unit":"pc","decimals":0,"tax":"A","open":true}`,
		"]C101" + "04006381333931" + "17200131" + "10A/7": `"code":{"text":"]C101040063813339311720013110A/7","gtin":"04006381333931","batch":"A/7","use_by":"2020-01-31","expired":true}}`,
		withCheck("280401100750"):                         `"quantity":"0.75"`,
		withCheck("021234592875"):                         `"quantity":"2.229","amount":2875}`,
		"https://shop.example/01/04006381333931?10=A7":    `"gtin":"04006381333931","batch":"A7"}`,
	} {
		if a, _ := get(code); a.StatusCode != 200 || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %d %s\nwant %s", code, a.StatusCode, a.body, want)
		}
	}
	if a, _ := get("4006381333932"); a.StatusCode != 404 || a.slug() != "item-not-found" || !strings.Contains(string(a.body), "character 13") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a, _ := get("0212345928750"); a.StatusCode != 422 || a.slug() != "code-invalid" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for path, slug := range map[string]string{
		"/v1/items": "query-invalid", "/v1/items?code=": "query-invalid", "/v1/items?code=1&code=2": "query-invalid", "/v1/items?x=1": "query-invalid",
		"/v1/items/4011?x=1": "query-invalid", "/v1/items/": "not-found",
	} {
		if a := g.do("GET", path, ""); a.slug() != slug {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if a := g.do("GET", "/v1/items/4011", "", header("Authorization", "")); a.StatusCode != 401 {
		t.Errorf("without a token: %d", a.StatusCode)
	}
	if a := g.do("POST", "/v1/items/4011", "{}"); a.StatusCode != 405 {
		t.Errorf("POST: %d", a.StatusCode)
	}
}

func TestItemsByName(t *testing.T) {
	g := newRig(t)
	g.importItems("code,description,department,unit,price,tax,age,next_price,next_from\n1,Rotwein Spätburgunder,Wein,pc,7.99,A,18,6.99,2999-01-01\n" +
		"2,Weißwein,Wein,pc,5.99,A,18,4.99,2020-01-01\n3,Rote Bete,Obst,kg,1.99,B,,,\n")
	g.start()
	for query, want := range map[string]string{
		"name=spatb":                             `{"items":[{"item":"1","description":"Rotwein Spätburgunder","department":"Wein","unit":"pc","decimals":0,"tax":"A","age":18,"price":799,"next_price":699,"next_from":"2999-01-01"}],"more":false}`,
		"name=WEISS":                             `{"items":[{"item":"2","description":"Weißwein","department":"Wein","unit":"pc","decimals":0,"tax":"A","age":18,"price":499}],"more":false}`,
		"name=bete+rot":                          `{"items":[{"item":"3","description":"Rote Bete","department":"Obst","unit":"kg","decimals":3,"tax":"B","price":199}],"more":false}`,
		"name=nothing":                           `{"items":[],"more":false}`,
		"name=rot&limit=1":                       `"more":true}`,
		"name=rot&limit=0":                       `query-invalid`,
		"name=rot&limit=51":                      `query-invalid`,
		"name=rot&x=1":                           `query-invalid`,
		"name=rot&code=1":                        `query-invalid`,
		"name=rot&name=wein":                     `query-invalid`,
		"name=":                                  `query-invalid`,
		"limit=3":                                `query-invalid`,
		"name=" + strings.Repeat("x", maxText+1): `query-invalid`,
	} {
		if a := g.do("GET", "/v1/items?"+query, ""); !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %d %s\nwant %s", query, a.StatusCode, a.body, want)
		}
	}
	// The price that has come into force is that of a sale.
	a := g.do("POST", "/v1/checkout", `{"lines":[{"item":"2"},{"item":"1"}],"age":18,"tenders":[{"kind":"cash","amount":10000}]}`)
	if a.StatusCode != 201 || !strings.Contains(string(a.body), `"price":499`) || !strings.Contains(string(a.body), `"price":799`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// Anybody can print a code: what it says of the price of a piece, which the catalogue has,
// is a price by hand.
func TestPriceInACodeOfAPiece(t *testing.T) {
	g := newRig(t).withOperators()
	g.importItems("code,description,department,unit,price,tax\n5000267014203,Whisky,Spirits,pc,29.99,A\n")
	g.start()
	anna := g.signIn("anna")
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	for _, code := range []string{"]d20105000267014203" + "3922001", "(01)05000267014203(3922)1", "https://x.example/01/05000267014203?3922=1", "(01)05000267014203(3952)000001"} {
		g.lacks(at+"/lines", `{"item":"`+code+`"}`, "price.change", anna)
	}
	g.step(at+"/lines", `{"item":"(01)05000267014203(3922)2999"}`, anna) // which it has anyway
	s := g.step(at+"/lines", `{"item":"(01)05000267014203(3922)1"}`, anna, g.approval(anna, "carla", "price.change", ""))
	if l := s.Data.Line; l.Amount != 1 || l.List == nil || *l.List != 2999 {
		t.Errorf("%+v", l)
	}
}

// A pattern that fits more than labels takes away no item that the catalogue has by the
// whole code; labels stay labels.
func TestAWidePatternLeavesTheCatalogueItsCodes(t *testing.T) {
	g := withPatterns(t)
	set := *g.r.Settings()
	var err error
	if set.Codes, err = itemcode.NewRules([]string{"4IIIIIIVPPPPC", "02IIIIIVPPPPC", "28IIIIIWW.WWWC", "0IIIIIIIIIIIC"}, euro); err != nil {
		t.Fatal(err)
	}
	if err := g.r.Note(context.Background(), &event.ConfigApplied{Serial: 2, Config: "c"}, &set); err != nil {
		t.Fatal(err)
	}
	for code, want := range map[string]string{
		"4006381333931":                `{"item":{"item":"4006381333931",`,
		"]E04006381333931":             `"code":{"text":"]E04006381333931","gtin":"04006381333931"}`,
		"]E3400638133393112":           `"add_on":"12"`,
		"0012345000065":                `{"item":{"item":"012345000065",`,
		withCheck("280401100750"):      `"quantity":"0.75"`,
		withCheck("021234592875"):      `"amount":2875`,
		withCheck("400638193339"):      `code-invalid`, // not the catalogue's: the label's verifier digit is wrong
		withCheck("2804011" + "00000"): `nothing is in it`,
	} {
		if a := g.do("GET", "/v1/items/"+url.PathEscape(code), ""); !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %s, want %s", code, a.body, want)
		}
	}
}

// What a code says of the price of goods by weight is a price by hand where it can be
// compared with the catalogue's, and is another.
func TestPriceInACodeOfGoodsByWeight(t *testing.T) {
	g := newRig(t).withOperators()
	g.importItems(labelled)
	var err error
	if g.set.Codes, err = itemcode.NewRules([]string{"24IIIIIPPPPPC"}, euro); err != nil {
		t.Fatal(err)
	}
	g.start()
	anna, ben, carla := g.signIn("anna"), g.signIn("ben"), g.signIn("carla")
	g.step("/v1/shift/open", `{"float":0}`, anna)
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	const steak = `{"item":"(01)90614141000015(3103)001750`
	for _, code := range []string{steak + `(3952)000001"}`, steak + `(3922)4352"}`, steak + `(3922)4364"}`} {
		g.lacks(at+"/lines", code, "price.change", anna)
		g.step(at+"/lines", code, ben)
	}
	for _, code := range []string{steak + `(3952)002490"}`, steak + `(3922)4358"}`, steak + `(3922)4355"}`, `{"item":"` + withCheck("241234500875") + `"}`} {
		if s := g.step(at+"/lines", code, anna); s.Data.Line.List != nil {
			t.Errorf("%s: %+v", code, s.Data.Line)
		}
	}
	// Amounts by hand are among the prices by hand.
	g.lacks("/v1/checkout", `{"lines":[{"item":"4006381333931","quantity":100,"amount":1}],"tenders":[{"kind":"cash","amount":1}]}`, "price.change", anna)
	g.step("/v1/checkout", `{"lines":[{"item":"4006381333931","quantity":100,"amount":1}],"tenders":[{"kind":"cash","amount":1}]}`, ben)
	var x struct {
		Totals struct {
			Changes int `json:"price_changes"`
		}
	}
	if a := g.do("GET", "/v1/shift", "", carla); json.Unmarshal(a.body, &x) != nil || x.Totals.Changes != 1 {
		t.Errorf("%s", a.body)
	}
}

// What an item is called, and which department it is of, the catalogue says; of an item
// without a price the front end may.
func TestWordsOfAnItem(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna := g.signIn("anna")
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	g.lacks(at+"/lines", `{"item":"100","description":"Diamond ring"}`, "price.change", anna)
	g.lacks(at+"/lines", `{"item":"100","department":"Jewels"}`, "price.change", anna)
	g.step(at+"/lines", `{"item":"100","description":"Milk","department":"Dairy"}`, anna)
	g.step(at+"/lines", `{"item":"200","description":"Voucher for a massage","department":"Spa","price":5000}`, anna)
	g.step(at+"/lines", `{"item":"100","description":"Milk of the day before"}`, g.signIn("ben"))
}

// Use-by dates go by the business date where the clock was reset.
func TestUseByOfAClockThatWasReset(t *testing.T) {
	g := newRig(t)
	g.importItems(labelled)
	real, synced := g.now, false
	g.synced = func() bool { return synced }
	g.now = func() time.Time { return real().AddDate(2, 0, 0) }
	g.start()
	g.step("/v1/shift/open", `{"float":0}`)
	g.stop()
	g.now = real
	g.start()
	next := time.Now().AddDate(1, 0, 0).Format("060102")
	steak := `{"lines":[{"item":"(01)90614141000015(17)` + next + `(3103)001750"}],"tenders":[{"kind":"cash","amount":10000}]}`
	g.refuses("/v1/checkout", steak, "item-expired")
	g.stop()
	synced = true // it was the shift's date that was wrong
	g.start()
	g.step("/v1/checkout", steak)
}

// A bar code that is scanned where a number is typed is none; the same digits as a code
// are the item, and other large numbers are amounts.
func TestABarCodeIsNoAmount(t *testing.T) {
	g := newRig(t)
	g.importItems(labelled + "96385074,Gum,Food,pc,0.50,B\n10000000,Own,Food,pc,0.50,B\n")
	g.start()
	at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	g.step(at+"/lines", `{"item":"4006381333931"}`)
	for _, tc := range []struct{ path, body, pointer string }{
		{at + "/tenders", `{"kind":"cash","amount":4006381333931}`, "/amount"},
		{at + "/tenders", `{"kind":"cash","amount":96385074}`, "/amount"},
		{at + "/tenders", `{"kind":"cash","amount":12345000065}`, "/amount"}, // of 0 12345 00006 5 a front end sends no zero
		{at + "/lines", `{"item":"200","price":4006381333931}`, "/price"},
		{at + "/lines", `{"item":"4006381333931","quantity":96385074}`, "/quantity"},
		{at + "/lines", `{"item":"4006381333931","quantity":"96385074"}`, "/quantity"},
		{"/v1/cash/in", `{"amount":4006381333931,"reason":"change"}`, "/amount"},
		{"/v1/checkout", `{"lines":[{"item":"200","price":4006381333931}],"tenders":[{"kind":"cash","amount":4006381333931}]}`, "/lines/0/price"},
	} {
		a := g.do("POST", tc.path, tc.body)
		if a.slug() != "number-too-large" || a.pointer() != tc.pointer || !strings.Contains(string(a.body), "the bar code of item") {
			t.Errorf("%s: %d %s", tc.body, a.StatusCode, a.body)
		}
	}
	for _, amount := range []string{"4006381333932", "10000000", "400638133393", "6385074"} {
		g.step("/v1/checkout", `{"lines":[{"item":"200","price":`+amount+`}],"tenders":[{"kind":"card","amount":`+amount+`,"reference":"slip"}]}`)
	}
}
