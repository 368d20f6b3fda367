package httpapi

import (
	"encoding/json"
	"testing"
	"time"
)

// A step that names no operator is of the one who was named last: the configured one would
// have all sales of a front end that says it once, at the beginning.
func TestStepsBelongToTheBasketsOperator(t *testing.T) {
	g := newRig(t).start()
	who := func(path, body string) string {
		t.Helper()
		var a struct {
			Data, Sale struct{ Operator string }
		}
		r := g.do("POST", path, body)
		if err := json.Unmarshal(r.body, &a); err != nil || r.StatusCode != 201 {
			t.Fatalf("%s: %d %s %v", path, r.StatusCode, r.body, err)
		}
		return a.Data.Operator + a.Sale.Operator
	}
	at := "/v1/baskets/" + g.step("/v1/baskets", `{"operator":"7"}`).Data.Basket
	for _, s := range []struct{ path, body, want string }{
		{"/lines", apple, "7"},
		{"/park", `{}`, "7"},
		{"/recall", `{"operator":"8"}`, "8"},
		{"/lines/1", `{"quantity":2}`, "8"},
		{"/tenders", `{"kind":"cash","amount":5000}`, "8"},
		{"/complete", `{}`, "8"},
	} {
		if got := who(at+s.path, s.body); got != s.want {
			t.Errorf("%s is of operator %q, want %q", s.path, got, s.want)
		}
	}
	at = "/v1/baskets/" + g.step("/v1/baskets", `{"training":true}`).Data.Basket
	if got, want := who(at+"/lines", apple), "0"; got != want {
		t.Errorf("of a basket of nobody: %q, want %q", got, want)
	}
	var list struct {
		Baskets []struct {
			Training bool
			Opened   time.Time
		}
	}
	if err := json.Unmarshal(g.do("GET", "/v1/baskets", "").body, &list); err != nil || len(list.Baskets) != 1 || !list.Baskets[0].Training || time.Since(list.Baskets[0].Opened) > time.Hour {
		t.Errorf("%+v, %v", list, err)
	}
}
