package lab

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestFullTill fills a till with baskets, lines, payments and reversals, with the longest
// texts, until it takes no more. Then sales go on over several files of the journal and
// a restart, and all that was begun can be ended.
func TestFullTill(t *testing.T) {
	term, err := newInside(t.TempDir(), 1, false, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { term.stop() }()
	n := 0
	post := func(path, body string) (answer, *made) {
		t.Helper()
		n++
		a, err := term.do(call{method: "POST", path: path, body: body, key: fmt.Sprint("full-", n)})
		if err != nil || a.status >= 500 {
			t.Fatalf("%s: %d %s %v", path, a.status, a.body, err)
		}
		if a.status >= 400 {
			return a, &made{}
		}
		e, err := answered(a.body)
		if err != nil {
			t.Fatal(err)
		}
		return a, e
	}
	reason := strings.Repeat(`\"`, 256)
	var open []string
	refused := map[string]int{}
	for len(open) < 120 {
		a, e := post("/v1/baskets", `{}`)
		if a.slug != "" {
			refused[a.slug]++
			break
		}
		at := "/v1/baskets/" + e.basket.Basket
		open = append(open, at)
		line := `{"description":"x","tax":"A","price":1000}`
		if len(open)%5 == 0 {
			line = fmt.Sprintf(`{"description":"%s","tax":"A","price":1000,"note":"%s"}`, reason, reason)
		}
		a, _ = post(at+"/lines", line)
		refused[a.slug]++
		for range 20 {
			a, _ := post(at+"/tenders", `{"kind":"cash","amount":1}`)
			refused[a.slug]++
		}
	}
	for _, at := range open {
		for i := range 20 {
			a, _ := post(fmt.Sprintf("%s/tenders/%d/reverse", at, i+1), `{"reason":"`+reason+`"}`)
			refused["reverse "+a.slug]++
		}
	}
	t.Logf("%d baskets; %v", len(open), refused)
	if refused["baskets-full"] == 0 {
		t.Error("it was never full")
	}
	sell := func() {
		t.Helper()
		for range 150 { // more than two files of the journal
			if a, _ := post("/v1/checkout", `{"lines":[{"description":"x","tax":"B","price":1}],"tenders":[{"kind":"cash","amount":1}]}`); a.status != 201 {
				t.Fatalf("no sale beside full baskets: %s", a.body)
			}
		}
	}
	sell()
	for _, end := range []func() error{term.stop, term.kill} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := term.start(); err != nil {
			t.Fatal(err)
		}
		sell()
	}
	for _, at := range open {
		if a, _ := post(at+"/void", `{"reason":"`+reason+`"}`); a.status != 201 {
			t.Errorf("%s cannot be voided: %s", at, a.body)
		}
	}
	sell()
}
