package httpapi

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"posd/pos/register"
	"posd/pos/till"
)

// problemCauses are the second table of docs/problems.md.
var problemCauses = []struct{ slug, cause, names, do string }{
	{"basket-not-found", "completed", "sale", "It is this sale: show it, do not sell it again."},
	{"basket-not-found", "voided", "", "Begin another one."},
	{"basket-state", "parked", "", "Recall it first."},
	{"basket-state", "not-parked", "", "It is open: go on."},
	{"basket-state", "being-paid", "", "Money counts for it: take the rest and complete it, or reverse its approved tenders first."},
	{"basket-state", "tender-pending", "tender", "A customer is at the payment terminal: wait, or reverse the tender."},
	{"basket-state", "tender-unknown", "tender", "It is found out what became of the payment: wait, reverse the tender, or, with `needs_person` in the status, resolve it."},
	{"basket-state", "tender-reversing", "tender", "The payment is being taken back: wait, or, with `needs_person` in the status, resolve it."},
	{"basket-state", "tender-approved", "tender", "The payment counts: there is nothing to find out. Reverse it, or complete the basket."},
	{"basket-state", "tender-declined", "tender", "The tender counts nothing, and nothing has to be taken back. Read the basket again."},
	{"basket-state", "tender-reversed", "tender", "It was taken back already. Read the basket again."},
	{"basket-state", "in-basket", "basket", "That basket gives goods of the sale back: complete or void it first."},
	{"shift-state", "shift-open", "", "Close it first, or go on with it."},
	{"shift-state", "shift-closed", "", "Open one first."},
	{"shift-state", "being-paid", "basket", "Complete that basket, or reverse its tenders."},
	{"shift-state", "same-operator", "", "The operator has it already: go on."},
	{"already-voided", "takes-back", "", "The receipt takes another one back itself. Sell again instead."},
	{"already-voided", "came-back", "", "Something of it has come back, or all. Return what is left, line by line."},
	{"return-invalid", "too-much", "", "Lower the quantity to what is left, which the detail tells."},
	{"return-invalid", "takes-back", "", "The line, or one of the sale that is to be voided, is itself of goods that came back. Return others, line by line."},
	{"return-invalid", "line-is-return", "", "Of goods that come back the note alone is changed. Void the line and add it again."},
	{"return-invalid", "other-prices", "", "Open another basket for it, with the `prices` of the sale, which the detail tells."},
	{"return-invalid", "came-back", "", "The goods have come back meanwhile, or stand in another basket. Void the line here or there."},
	{"tender-invalid", "nothing-due", "", "It is paid: complete the basket."},
	{"tender-invalid", "coins", "", "Cash is a multiple of the smallest coin. The detail tells what is due in cash."},
	{"tender-invalid", "card-paid", "", "Return the lines in a basket with a card tender, or say with `tenders` how it was paid back."},
	{"tender-invalid", "too-many", "", "Reverse what counts, void the basket and begin again."},
	{"outcome-unknown", "unreadable", "", "The key has made a sale that cannot be read any more: do not repeat the call, do not sell it again, look at posd's log."},
}

// problemMembers are those by which a program acts.
type problemMembers struct{ Cause, Basket, Tender, Sale string }

func (a answer) members() (p problemMembers) {
	json.Unmarshal(a.body, &p)
	return p
}

// because expects a cause, and returns what the problem names.
func (g *rig) because(path, body, slug, cause string) problemMembers {
	g.t.Helper()
	a := g.do("POST", path, body)
	if a.slug() != slug || a.members().Cause != cause {
		g.t.Errorf("%s %s: %d %s, want %s because of %s", path, body, a.StatusCode, a.body, slug, cause)
	}
	return a.members()
}

// Each cause is met, and what the table says about it is done then, and helps.
func TestCausesOfBaskets(t *testing.T) {
	g := newRig(t)
	g.set.Coin = 5
	g.start()
	at := g.basketOf("{}")
	id := at[len("/v1/baskets/"):]
	g.because(at+"/recall", "", "basket-state", "not-parked")
	g.step(at+"/park", "")
	for _, path := range []string{"/lines", "/tenders", "/complete"} {
		body := map[string]string{"/lines": apple, "/tenders": `{"kind":"cash","amount":5}`}[path]
		g.because(at+path, body, "basket-state", "parked")
	}
	g.step(at+"/recall", "")
	g.step(at+"/lines", apple)
	g.because(at+"/tenders", `{"kind":"cash","amount":7}`, "tender-invalid", "coins")
	g.step(at+"/tenders", `{"kind":"cash","amount":500}`)
	g.because(at+"/lines", apple, "basket-state", "being-paid")
	g.because(at+"/void", "", "basket-state", "being-paid")
	if p := g.because("/v1/shift/close", "", "shift-state", "shift-closed"); p.Basket != "" { // a sale opens one
		t.Errorf("%+v", p)
	}
	g.step("/v1/shift/open", `{"operator":"7"}`)
	g.because("/v1/shift/open", "", "shift-state", "shift-open")
	g.because("/v1/shift/hand", `{"to":"7"}`, "shift-state", "same-operator")
	if p := g.because("/v1/shift/close", "", "shift-state", "being-paid"); p.Basket != id {
		t.Errorf("%+v", p)
	}
	if p := g.because(at+"/tenders/1/resolve", `{"outcome":"not-paid","reason":"r"}`, "basket-state", "tender-approved"); p.Tender != "1" {
		t.Errorf("%+v", p)
	}
	g.step(at+"/tenders/1/reverse", "")
	if p := g.because(at+"/tenders/1/reverse", "", "basket-state", "tender-reversed"); p.Tender != "1" {
		t.Errorf("%+v", p)
	}
	g.step(at+"/lines", apple)
	for n := 2; n < till.MostTenders; n++ {
		g.step(at+"/tenders", `{"kind":"cash","amount":5}`)
		g.step(fmt.Sprintf("%s/tenders/%d/reverse", at, n), "")
	}
	g.step(at+"/tenders", `{"kind":"cash","amount":5}`)
	g.because(at+"/tenders", `{"kind":"cash","amount":5}`, "tender-invalid", "too-many")
	g.step(at+"/tenders/20/reverse", "")
	g.step(at+"/void", "")
	g.because(at+"/lines", apple, "basket-not-found", "voided")
	at = g.basketOf("{}")
	g.step(at+"/tenders", `{"kind":"cash","amount":500}`)
	g.because(at+"/tenders", `{"kind":"cash","amount":5}`, "tender-invalid", "nothing-due")
	sale := g.step(at+"/complete", "").Sale.Sale
	if p := g.because(at+"/complete", "", "basket-not-found", "completed"); p.Sale != sale {
		t.Errorf("%+v, want %s", p, sale)
	}
	g.step("/v1/shift/close", "")
}

func TestCausesOfReturns(t *testing.T) {
	g := newRig(t).start()
	sell := func(more string) string { return g.step("/v1/checkout", body(apple, more)).Sale.Sale }
	back := func(sale string, qty int) string {
		return fmt.Sprintf(`{"quantity":%d,"reason":"sour","return":{"sale":%q,"line":1}}`, qty, sale)
	}
	sale := sell("")
	at := "/v1/baskets/" + g.step("/v1/baskets", "").Data.Basket
	g.because(at+"/lines", back(sale, 2), "return-invalid", "too-much")
	g.step(at+"/lines", back(sale, 1))
	g.because(at+"/lines/1", `{"quantity":2}`, "return-invalid", "line-is-return")
	g.step(at+"/lines/1/void", "")
	g.step(at+"/lines", back(sale, 1))
	g.because(at+"/lines", back(sell(`,"prices":"exclusive"`), 1), "return-invalid", "other-prices")
	other := "/v1/baskets/" + g.step("/v1/baskets", `{"prices":"exclusive"}`).Data.Basket
	g.step(other+"/lines", back(sell(`,"prices":"exclusive"`), 1))
	g.step(other+"/void", "")
	if p := g.because("/v1/sales/"+sale+"/void", `{"reason":"r"}`, "basket-state", "in-basket"); "/v1/baskets/"+p.Basket != at {
		t.Errorf("%+v, want %s", p, at)
	}

	// Two baskets give back the same, as a former release let them.
	two := "/v1/baskets/" + g.step("/v1/baskets", "").Data.Basket
	_, err := g.r.Do(t.Context(), register.Call{}, func(turn *register.Turn) (register.Appender, error) {
		first := turn.State.Find(at[len("/v1/baskets/"):])
		return register.Made(turn.State.AddLine(till.Step{Basket: two[len("/v1/baskets/"):]}, turn.Rules, first.Lines[0].Line, 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	g.because(at+"/tenders", `{"kind":"cash","amount":-500}`, "return-invalid", "came-back")
	g.step(two+"/lines/1/void", "")
	g.step(at+"/tenders", `{"kind":"cash","amount":-500}`)
	returned := g.step(at+"/complete", "").Sale.Sale
	g.because(two+"/lines", back(returned, 1), "return-invalid", "takes-back")
	g.because("/v1/sales/"+returned+"/void", `{"reason":"r"}`, "return-invalid", "takes-back")
	g.because("/v1/sales/"+sale+"/void", `{"reason":"r"}`, "already-voided", "came-back")
	void := g.step("/v1/sales/"+sell("")+"/void", `{"reason":"r"}`).Sale.Sale
	g.because("/v1/sales/"+void+"/void", `{"reason":"r"}`, "already-voided", "takes-back")
}

// hangs is a terminal whose payment terminal says nothing for an hour, with a basket
// that is asked for there.
func hangs(t *testing.T) (g *rig, at string) {
	g, sim := newCardRig(t)
	g.stop()
	g.set.CardTimeout = time.Hour
	g.start()
	if err := sim.SetMode("hang", -1); err != nil {
		t.Fatal(err)
	}
	at = g.basketOf("{}")
	g.do("POST", at+"/tenders", `{"kind":"card","amount":500}`)
	return g, at
}

func TestCausesOfCardPayments(t *testing.T) {
	const notPaid = `{"outcome":"not-paid","reason":"on the report"}`
	g, at := hangs(t)
	is := func(cause string, paths ...string) {
		t.Helper()
		for _, path := range paths {
			body := map[string]string{"/lines": apple, "/tenders": `{"kind":"cash","amount":5}`, "/tenders/1/resolve": notPaid}[path]
			if p := g.because(at+path, body, "basket-state", cause); p.Tender != "1" {
				t.Errorf("%s: %+v", path, p)
			}
		}
	}
	is("tender-pending", "/lines", "/tenders", "/complete", "/void", "/park", "/tenders/1/resolve")
	if a := g.do("POST", at+"/tenders/1/reverse", ""); typeOf(a) != "tender.reversing" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	is("tender-reversing", "/lines", "/tenders", "/complete", "/void", "/park", "/tenders/1/reverse")
	g.step(at+"/tenders/1/resolve", notPaid)
	is("tender-reversed", "/tenders/1/reverse", "/tenders/1/resolve")
	g.step(at+"/void", "")

	g, at = hangs(t)
	g.stop()
	g.card = nil
	g.start()
	g.awaits(at, "unknown")
	is("tender-unknown", "/lines", "/tenders", "/complete", "/void", "/park")
	g.step(at+"/tenders/1/resolve", notPaid)
	is("tender-declined", "/tenders/1/reverse", "/tenders/1/resolve")
	g.step(at+"/tenders", `{"kind":"cash","amount":500}`)
	g.step(at+"/complete", "")

	g, _ = newCardRig(t)
	at = g.basketOf("{}")
	g.do("POST", at+"/tenders", `{"kind":"card","amount":500}`, header("Prefer", "wait=20"))
	sale := g.step(at+"/complete", "").Sale.Sale
	g.because("/v1/sales/"+sale+"/void", `{"reason":"r"}`, "tender-invalid", "card-paid")
	g.step("/v1/sales/"+sale+"/void", `{"reason":"r","tenders":[{"kind":"cash","amount":-500}]}`)
}

// TestCausesAreDocumented: those of the sources, of the OpenAPI document and of the table
// are the same.
func TestCausesAreDocumented(t *testing.T) {
	var table, sources []string
	for _, c := range problemCauses {
		table = append(table, c.cause)
		if kindOf(c.slug).slug != c.slug || c.do == "" {
			t.Errorf("%+v", c)
		}
	}
	for _, state := range []string{"pending", "unknown", "reversing", "approved", "declined", "reversed"} {
		sources = append(sources, "tender-"+state)
	}
	for _, c := range []struct{ file, like string }{
		{"../till/refusal.go", `\tCause\w+ += "([a-z-]+)"`}, {"became.go", `\tcause\w+ += "([a-z-]+)"`}, {"sales.go", `\.cause = "([a-z-]+)"`},
	} {
		text, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(c.like).FindAllSubmatch(text, -1)
		for _, m := range found {
			sources = append(sources, string(m[1]))
		}
		if len(found) == 0 {
			t.Errorf("no cause in %s", c.file)
		}
	}
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, v := range doc.Components.Schemas["Problem"].Value.Properties["cause"].Value.Enum {
		said = append(said, v.(string))
	}
	for _, list := range []*[]string{&table, &sources, &said} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if !slices.Equal(table, sources) || !slices.Equal(table, said) {
		t.Errorf("table   %v\nsources %v\nsaid    %v", table, sources, said)
	}
}
