package httpapi

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentLeavesNothingOpen: what generators make of the document has no member of
// unknown type, no number that is cut to 32 bits, and no bound that only the server knows.
func TestDocumentLeavesNothingOpen(t *testing.T) {
	b, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for path, item := range doc["paths"].(map[string]any) {
		if path == "/debug/schema" { // of which OpenAPI says what it is
			continue
		}
		for method, o := range item.(map[string]any) {
			at := method + " " + path
			for _, gap := range gaps(doc, o, strings.HasPrefix(at, "post "), nil, &seen) {
				t.Errorf("%s: %s", at, gap)
			}
		}
	}
	if seen < 2000 {
		t.Errorf("only %d schemas", seen)
	}
	planted := map[string]any{"requestBody": map[string]any{"schema": map[string]any{"type": "object", "properties": map[string]any{
		"a": map[string]any{"type": "integer"}, "b": map[string]any{"type": "string"}, "c": map[string]any{"const": true}}}}}
	if found := gaps(doc, planted, true, nil, &seen); len(found) != 5 {
		t.Errorf("of five planted gaps were found: %q", found)
	}
}

// gaps are the schemas below x that do not say all; path is how they were reached.
func gaps(doc map[string]any, x any, asks bool, path []string, seen *int) (list []string) {
	if all, ok := x.([]any); ok {
		for i, one := range all {
			list = append(list, gaps(doc, one, asks, append(path, fmt.Sprint(i)), seen)...)
		}
		return list
	}
	s, ok := x.(map[string]any)
	if !ok {
		return nil
	}
	if ref, ok := s["$ref"].(string); ok {
		target := any(doc)
		for _, name := range strings.Split(ref, "/")[1:] {
			target = target.(map[string]any)[name]
		}
		return gaps(doc, target, asks, path, seen)
	}
	*seen++
	say := func(what string) { list = append(list, "/"+strings.Join(path, "/")+": "+what) }
	sent := asks && len(path) > 0 && path[0] == "requestBody"
	most, bounded := s["maximum"].(float64)
	switch s["type"] {
	case "object":
		if s["additionalProperties"] != false {
			say("an object that is open")
		}
	case "integer":
		if (!bounded || most >= 1<<31) && s["format"] != "int64" {
			say("an integer of unknown size")
		}
		if sent && s["enum"] == nil && (!bounded || s["minimum"] == nil) {
			say("an integer without bounds")
		}
	case "string":
		if sent && s["enum"] == nil && s["pattern"] == nil && s["format"] == nil {
			say("a text of any characters")
		}
	case nil:
		if s["const"] != nil || s["enum"] != nil {
			say("a value without a type")
		}
	}
	for name, below := range s {
		if name != "discriminator" && name != "examples" {
			list = append(list, gaps(doc, below, asks, append(path[:len(path):len(path)], name), seen)...)
		}
	}
	return list
}

// TestOneNameForEachThing: what is not written as posd writes it is refused, so that a
// typing error neither finds something nor is passed over.
func TestOneNameForEachThing(t *testing.T) {
	g := newRig(t).start()
	g.step("/v1/shift/open", `{"float":100}`)
	g.step("/v1/shift/close", ``)
	g.step("/v1/shift/open", `{"float":100}`)
	at := "/v1/baskets/" + g.step("/v1/baskets", ``).Data.Basket
	g.step(at+"/lines", `{"item":"100"}`)
	for _, c := range []struct{ method, path, slug string }{
		{"POST", at + "/lines/01", "line-not-found"}, {"POST", at + "/lines/+1/void", "line-not-found"},
		{"GET", "/v1/reports/01", "query-invalid"}, {"GET", "/v1/reports/01/paper", "paper-not-found"}, {"GET", "/v1/reports/-1/paper", "paper-not-found"},
		{"GET", "/v1/items?name=milk&limit=%2B5", "query-invalid"}, {"GET", "/v1/shift/paper?columns=032", "query-invalid"},
		{"GET", "/v1/shift/paper?blind=TRUE", "query-invalid"}, {"GET", "/v1/shift/paper?blind=", "query-invalid"}, {"GET", "/v1/reports/1/paper?blind=true", "query-invalid"},
		{"POST", at + "?note=gift", "query-invalid"}, {"POST", "/v1/checkout?print=true", "query-invalid"},
	} {
		if a := g.do(c.method, c.path, ""); a.slug() != c.slug {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.StatusCode, a.body)
		}
	}
	for path, want := range map[string]int{at + "/lines/1": 201, "/v1/reports/1": 200, "/v1/reports/1/paper": 200, "/v1/items?name=milk&limit=5": 200, "/v1/shift/paper?columns=32&blind=false": 200} {
		method := "GET"
		if regexp.MustCompile(`/lines/`).MatchString(path) {
			method = "POST"
		}
		if a := g.do(method, path, ""); a.StatusCode != want {
			t.Errorf("%s %s: %d %s", method, path, a.StatusCode, a.body)
		}
	}
	for _, none := range []string{`""`, ` `, `"`} { // a front end that has lost the version
		g.refuses(at, `{"note":"gift"}`, "version-conflict", header("If-Match", none))
	}
}

// TestTendersThatNoSaleTakes: what could not be completed is not taken as paid.
func TestTendersThatNoSaleTakes(t *testing.T) {
	g := newRig(t).start()
	at := "/v1/baskets/" + g.step("/v1/baskets", ``).Data.Basket
	g.step(at+"/lines", apple)
	g.step(at+"/tenders", `{"kind":"voucher","amount":50,"reference":"V"}`)
	g.refuses(at+"/tenders", `{"kind":"cash","amount":1000000000000000}`, "number-too-large")
	g.step(at+"/tenders", `{"kind":"cash","amount":999999999999950}`)
	if sale := g.step(at+"/complete", ``).Sale.Sale; sale == "" {
		t.Error("not completed")
	}
}

// TestExportIsAnsweredAgain: a repeated call finds its export, whoever has signed in since.
func TestExportIsAnsweredAgain(t *testing.T) {
	g := newRig(t)
	g.withOperators().start()
	body := `{"date":"2026-11-21"}`
	first := g.do("POST", "/v1/exports", body, g.signIn("carla"), key("day"))
	anna := g.signIn("anna")
	again := g.do("POST", "/v1/exports", body, anna, key("day"))
	if first.StatusCode != 202 || again.StatusCode != 200 || again.Header.Get("Location") != first.Header.Get("Location") {
		t.Errorf("%d %s, then %d %s", first.StatusCode, first.body, again.StatusCode, again.body)
	}
	for _, a := range []answer{g.do("POST", "/v1/exports", body, anna, key("other")), g.do("POST", "/v1/exports", body, key("day"))} {
		if a.slug() != "permission-required" && a.slug() != "session-required" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
}
