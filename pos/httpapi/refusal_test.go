package httpapi

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

func body(line, more string) string {
	return `{"lines":[` + line + `],"tenders":[{"kind":"cash","amount":100000}]` + more + `}`
}

// refusals of a checkout by its body: the slug, and the pointer.
var badBodies = []struct{ name, body, slug, pointer string }{
	{"empty", ``, "malformed-json", ""},
	{"cut", good[:40], "malformed-json", "/lines/0/tax"},
	{"two values", good + good, "malformed-json", ""},
	{"trailing", good + "x", "malformed-json", ""},
	{"bare word", `{"lines":yes}`, "malformed-json", "/lines"},
	{"lone surrogate", body(`{"item":"\ud800"}`, ""), "malformed-json", "/lines/0/item"},
	{"array", `[]`, "wrong-type", ""},
	{"null", `null`, "wrong-type", ""},
	{"latin 1", "{\"operator\":\"M\xfcller\"}", "invalid-utf8", ""},
	{"utf-8 cut short", "{\"operator\":\"\xe2\x82\"}", "invalid-utf8", ""},
	{"duplicate", body(apple, `,"operator":"1","operator":"2"`), "duplicate-member", "/operator"},
	{"duplicate escaped", body(`{"item":"100","\u0069tem":"4011"}`, ""), "duplicate-member", "/lines/0/item"},
	{"unknown", body(apple, `,"training":true`), "unknown-member", "/training"},
	{"unknown in line", body(apple+`,{"item":"100","discount":5}`, ""), "unknown-member", "/lines/1/discount"},
	{"unknown in tender", `{"lines":[` + apple + `],"tenders":[{"kind":"cash","amount":500,"pan":"4111"}]}`, "unknown-member", "/tenders/0/pan"},
	{"unknown with slash", body(apple, `,"a/b~c":1`), "unknown-member", "/a~1b~0c"},
	{"lines object", `{"lines":{}}`, "wrong-type", "/lines"},
	{"line number", body(`7`, ""), "wrong-type", "/lines/0"},
	{"item number", body(`{"item":4011}`, ""), "wrong-type", "/lines/0/item"},
	{"item null", body(`{"item":null}`, ""), "wrong-type", "/lines/0/item"},
	{"price string", body(`{"item":"100","price":"1.29"}`, ""), "wrong-type", "/lines/0/price"},
	{"price object", body(`{"item":"100","price":{"a":1}}`, ""), "wrong-type", "/lines/0/price"},
	{"quantity bool", body(`{"item":"100","quantity":true}`, ""), "wrong-type", "/lines/0/quantity"},
	{"no lines", `{"tenders":[]}`, "no-lines", "/lines"},
	{"lines empty", `{"lines":[],"tenders":[]}`, "no-lines", "/lines"},
	{"501 lines", body(strings.Repeat(apple+",", 500)+apple, ""), "too-many-lines", "/lines"},
	{"21 tenders", `{"lines":[` + apple + `],"tenders":[` + strings.Repeat(`{"kind":"cash","amount":1},`, 20) + `{"kind":"cash","amount":1}]}`, "too-many-tenders", "/tenders"},
	{"unknown item", body(apple+`,{"item":"999"}`, ""), "unknown-item", "/lines/1/item"},
	{"unknown tax", body(`{"description":"x","tax":"C","price":1}`, ""), "unknown-tax", "/lines/0/tax"},
	{"tax of the catalogue", body(`{"item":"300"}`, ""), "unknown-tax", "/lines/0/tax"},
	{"open price", body(`{"item":"200"}`, ""), "price-required", "/lines/0/price"},
	{"no item, no price", body(`{"description":"x","tax":"A"}`, ""), "price-required", "/lines/0/price"},
	{"no item, no tax", body(`{"description":"x","price":1}`, ""), "tax-required", "/lines/0/tax"},
	{"no item, no text", body(`{"tax":"A","price":1}`, ""), "description-required", "/lines/0/description"},
	{"empty line", body(`{}`, ""), "description-required", "/lines/0/description"},
	{"price and amount", body(`{"item":"100","price":1,"amount":1}`, ""), "price-and-amount", "/lines/0/amount"},
	{"fraction", body(`{"item":"100","price":1.29}`, ""), "fractional-money", "/lines/0/price"},
	{"fraction of 0", body(`{"item":"100","price":1.0}`, ""), "fractional-money", "/lines/0/price"},
	{"exponent", body(`{"item":"100","amount":1e2}`, ""), "fractional-money", "/lines/0/amount"},
	{"negative price", body(`{"item":"100","price":-1}`, ""), "negative-amount", "/lines/0/price"},
	{"negative amount", body(`{"item":"100","amount":-5}`, ""), "negative-amount", "/lines/0/amount"},
	{"negative quantity", body(`{"item":"100","quantity":-2}`, ""), "negative-amount", "/lines/0/quantity"},
	{"negative tender", `{"lines":[` + apple + `],"tenders":[{"kind":"cash","amount":-500}]}`, "negative-amount", "/tenders/0/amount"},
	{"huge price", body(`{"item":"100","price":1000000000000001}`, ""), "number-too-large", "/lines/0/price"},
	{"beyond int64", body(`{"item":"100","price":9223372036854775808}`, ""), "number-too-large", "/lines/0/price"},
	{"product", body(`{"item":"100","price":1000000000000000,"quantity":2}`, ""), "number-too-large", "/lines"},
	{"sum", body(`{"item":"100","price":1000000000000000},{"item":"100","price":1}`, ""), "number-too-large", "/lines"},
	{"huge quantity", body(`{"item":"100","quantity":"1000000000001"}`, ""), "number-too-large", "/lines/0/quantity"},
	{"quantity 0", body(`{"item":"100","quantity":0}`, ""), "quantity-invalid", "/lines/0/quantity"},
	{"quantity 0.0001", body(`{"item":"100","quantity":"0.0001"}`, ""), "quantity-invalid", "/lines/0/quantity"},
	{"quantity float", body(`{"item":"100","quantity":1.5}`, ""), "quantity-invalid", "/lines/0/quantity"},
	{"quantity text", body(`{"item":"100","quantity":"two"}`, ""), "quantity-invalid", "/lines/0/quantity"},
	{"quantity empty", body(`{"item":"100","quantity":""}`, ""), "quantity-invalid", "/lines/0/quantity"},
	{"currency", body(apple, `,"currency":"USD"`), "currency-mismatch", "/currency"},
	{"prices", body(apple, `,"prices":"gross"`), "value-invalid", "/prices"},
	{"card number as customer", body(apple, `,"customer":"4111 1111 1111 1111"`), "value-invalid", "/customer"},
	{"empty text", body(apple, `,"operator":""`), "text-invalid", "/operator"},
	{"long text", body(`{"item":"`+strings.Repeat("1", 513)+`"}`, ""), "text-invalid", "/lines/0/item"},
	{"control", body(`{"item":"1\n2"}`, ""), "text-invalid", "/lines/0/item"},
	{"tender kind", `{"lines":[` + apple + `],"tenders":[{"kind":"cheque","amount":500}]}`, "tender-invalid", "/tenders"},
	{"tender zero", `{"lines":[` + apple + `],"tenders":[{"kind":"cash","amount":0}]}`, "tender-invalid", "/tenders"},
	{"card without slip", `{"lines":[` + apple + `],"tenders":[{"kind":"card","amount":500}]}`, "tender-invalid", "/tenders"},
	{"no tenders", `{"lines":[` + apple + `]}`, "underpaid", "/tenders"},
	{"underpaid", `{"lines":[` + apple + `],"tenders":[{"kind":"cash","amount":499}]}`, "underpaid", "/tenders"},
	{"card change", `{"lines":[` + apple + `],"tenders":[{"kind":"card","amount":501,"reference":"1"}]}`, "change-without-cash", "/tenders"},
	{"too large", body(strings.Repeat(`{"description":"`+strings.Repeat("x", 256)+`","tax":"A","price":1},`, 449)+apple, ""), "sale-too-large", ""},
}

func TestBadBodies(t *testing.T) {
	g := newRig(t).start()
	g.do("POST", "/v1/checkout", good)
	floor, _ := g.j.Floor()
	for _, c := range badBodies {
		t.Run(c.name, func(t *testing.T) {
			g := *g
			g.t = t
			a := g.do("POST", "/v1/checkout", c.body, key("bad "+c.name))
			if a.slug() != c.slug || a.pointer() != c.pointer || a.StatusCode != kindOf(c.slug).status {
				t.Errorf("got %d %s, want %s at %q", a.StatusCode, a.body, c.slug, c.pointer)
			}
			if a.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("content type %s", a.Header.Get("Content-Type"))
			}
		})
	}
	if now, _ := g.j.Floor(); now != floor {
		t.Errorf("refusals were journaled: record %d, was %d", now, floor)
	}
	if n := g.r.Status().Receipt; n != 1 {
		t.Errorf("%d receipts", n)
	}
}

func TestBadRequests(t *testing.T) {
	g := newRig(t).start()
	for _, c := range []struct {
		name, method, path, body string
		change                   func(*http.Request)
		status                   int
		slug                     string
	}{
		{"no key", "POST", "/v1/checkout", good, key(""), 400, "idempotency-key-missing"},
		{"long key", "POST", "/v1/checkout", good, key(strings.Repeat("k", 129)), 400, "idempotency-key-invalid"},
		{"key of umlauts", "POST", "/v1/checkout", good, key("ü"), 400, "idempotency-key-invalid"},
		{"two keys", "POST", "/v1/checkout", good, func(r *http.Request) { r.Header.Add("Idempotency-Key", "b") }, 400, "idempotency-key-invalid"},
		{"text", "POST", "/v1/checkout", good, header("Content-Type", "text/plain"), 415, "unsupported-media-type"},
		{"no type", "POST", "/v1/checkout", good, header("Content-Type", ""), 415, "unsupported-media-type"},
		{"charset", "POST", "/v1/checkout", good, header("Content-Type", "application/json; charset=latin1"), 415, "unsupported-media-type"},
		{"gzip", "POST", "/v1/checkout", good, header("Content-Encoding", "gzip"), 415, "unsupported-media-type"},
		{"no token", "POST", "/v1/checkout", good, header("Authorization", ""), 401, "unauthorized"},
		{"other token", "GET", "/v1/status", "", header("Authorization", "Bearer guess"), 401, "unauthorized"},
		{"hash as token", "GET", "/v1/status", "", header("Authorization", "Bearer "+hexSum(secret)), 401, "unauthorized"},
		{"basic", "GET", "/v1/sales/x", "", header("Authorization", "Basic "+secret), 401, "unauthorized"},
		{"no sale", "GET", "/v1/sales/ffffffff-1", "", nil, 404, "sale-not-found"},
		{"no receipt", "GET", "/v1/sales?receipt=T1-1-99", "", nil, 404, "sale-not-found"},
		{"no query", "GET", "/v1/sales", "", nil, 400, "query-invalid"},
		{"two receipts", "GET", "/v1/sales?receipt=1&receipt=2", "", nil, 400, "query-invalid"},
		{"other query", "GET", "/v1/sales?receipt=1&x=2", "", nil, 400, "query-invalid"},
		{"no route", "GET", "/v1/voids", "", nil, 404, "not-found"},
		{"deep route", "GET", "/v1/sales/a/b", "", nil, 404, "not-found"},
		{"get checkout", "GET", "/v1/checkout", "", nil, 405, "method-not-allowed"},
		{"post status", "POST", "/v1/status", "", nil, 405, "method-not-allowed"},
		{"delete sale", "DELETE", "/v1/sales/x", "", nil, 405, "method-not-allowed"},
		{"origin", "GET", "/livez", "", header("Origin", "https://evil.example"), 403, "origin-not-allowed"},
		{"origin null", "POST", "/v1/checkout", good, header("Origin", "null"), 403, "origin-not-allowed"},
		{"origin other port", "POST", "/v1/checkout", good, header("Origin", "http://127.0.0.1:1"), 403, "origin-not-allowed"},
		{"rebound name", "GET", "/livez", "", func(r *http.Request) { r.Host = "evil.example:8080" }, 403, "host-not-allowed"},
		{"almost localhost", "GET", "/livez", "", func(r *http.Request) { r.Host = "localhost.evil.example" }, 403, "host-not-allowed"},
		{"other address", "GET", "/livez", "", func(r *http.Request) { r.Host = "10.1.2.3" }, 403, "host-not-allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.t = t
			var change []func(*http.Request)
			if c.change != nil {
				change = append(change, c.change)
			}
			a := g.do(c.method, c.path, c.body, change...)
			if a.StatusCode != c.status || a.slug() != c.slug {
				t.Errorf("got %d %s, want %d %s", a.StatusCode, a.body, c.status, c.slug)
			}
		})
	}
	g.t = t
	if n := g.r.Status().Receipt; n != 0 {
		t.Errorf("%d sales were made", n)
	}
}

func TestBodySizes(t *testing.T) {
	g := newRig(t)
	g.http.MaxBody = 4096
	g.start()
	pad := func(n int) string { return good + strings.Repeat(" ", n-len(good)) }
	chunked := func(r *http.Request) { r.ContentLength = -1 }
	for _, c := range []struct {
		name   string
		size   int
		change func(*http.Request)
		status int
	}{
		{"at the limit", 4096, key("a"), 201},
		{"one more", 4097, key("b"), 413},
		{"chunked at the limit", 4096, chunked, 201},
		{"chunked one more", 4097, chunked, 413},
	} {
		if a := g.do("POST", "/v1/checkout", pad(c.size), c.change); a.StatusCode != c.status {
			t.Errorf("%s: %d %s", c.name, a.StatusCode, a.body)
		}
	}
	if got := g.raw("POST /v1/checkout HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("large header: %.60q", got)
	}
}

// TestProblemTable: slugs are unique, and every one that the code uses is there.
func TestProblemTable(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range kinds {
		if seen[k.slug] || k.status < 400 || k.title == "" || k.meaning == "" {
			t.Errorf("%+v", k)
		}
		seen[k.slug] = true
	}
	used := usedSlugs(t)
	for _, slug := range used {
		if !seen[slug] {
			t.Errorf("%q is used and not in the table", slug)
		}
	}
	for _, slug := range used {
		delete(seen, slug)
	}
	for _, slug := range tillCodes(t) {
		if kindOf(slug).slug != slug {
			t.Errorf("%q is a refusal of the till and not in the table", slug)
		}
		delete(seen, slug)
	}
	if len(seen) > 0 {
		t.Errorf("never used: %v", seen)
	}
}

// tillCodes are the refusals of package till.
func tillCodes(t *testing.T) (codes []string) {
	text, err := os.ReadFile("../till/refusal.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`Code\w+ += "([a-z-]+)"`).FindAllSubmatch(text, -1) {
		codes = append(codes, string(m[1]))
	}
	if len(codes) < 20 {
		t.Fatalf("only %v", codes)
	}
	return codes
}

// problemsDoc is docs/problems.md.
func problemsDoc() string {
	var b strings.Builder
	b.WriteString("# Problems of posd's HTTP interface\n\nEvery refusal is an `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail` (what is wrong and what to do) and, where one value of the body is to blame, `pointer` (a JSON pointer to it). Types are stable; new ones may be added, so treat an unknown one by its status.\n\nA checkout that was refused with 400 to 422 or 429 changed nothing. After 500, 503, or no answer at all: send the same bytes with the same `Idempotency-Key`. Whether a request is the same is decided by the SHA-256 of its body's bytes.\n\n| Type | Status | Title | Meaning |\n|---|---|---|---|\n")
	for _, k := range kinds {
		fmt.Fprintf(&b, "| `%s%s` | %d | %s | %s |\n", urn, k.slug, k.status, k.title, k.meaning)
	}
	b.WriteString("\n## Causes\n\nWhere one type calls for different actions, the member `cause` says which, and names what is in the way. It is a member and not a type of its own so that a front end which looks at the type alone stays right. Causes are stable; new ones may be added, so take one that you do not know for none.\n\n| Type | `cause` | Names | What to do |\n|---|---|---|---|\n")
	for _, c := range problemCauses {
		names := c.names
		if names != "" {
			names = "`" + names + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", c.slug, c.cause, names, c.do)
	}
	b.WriteString("\nRequests that are not HTTP, or whose header is larger than 16 KiB, are answered by the HTTP library itself, in plain text.\n")
	return b.String()
}
