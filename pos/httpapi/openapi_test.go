package httpapi

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"posd/pos/register"
)

// The document is checked here in both directions: requests are made from it and sent to
// the server, and the server's own sources are searched for what the document lacks.

// operation is one of the document's.
type operation struct {
	id, method, path string
	*openapi3.Operation
}

func operations(t testing.TB) (list []operation) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			list = append(list, operation{op.OperationID, method, path, op})
		}
	}
	slices.SortFunc(list, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	if len(list) < 50 {
		t.Fatalf("only %d operations", len(list))
	}
	return list
}

// body is the schema of what a request carries, nil if that is nothing.
func (o *operation) body() *openapi3.Schema {
	if o.RequestBody == nil {
		return nil
	}
	return o.RequestBody.Value.Content["application/json"].Schema.Value
}

var inBraces = regexp.MustCompile(`\{[a-z]+\}`)

// sourcePaths are the paths that stand in this package's sources, tests aside.
func sourcePaths(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(gotoken.NewFileSet(), f.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == gotoken.STRING {
				if s, err := strconv.Unquote(l.Value); err == nil && regexp.MustCompile(`^/(v1|debug|livez|readyz|metrics)(/[a-z*/-]*)?$`).MatchString(s) {
					found[s] = true
				}
			}
			return true
		})
	}
	return found
}

// TestEveryRouteIsDocumented: what the server answers is in the document, and the reverse.
func TestEveryRouteIsDocumented(t *testing.T) {
	all := operations(t)
	documented := map[string][]string{} // by a path with * for names: methods
	for _, o := range all {
		p := inBraces.ReplaceAllString(o.path, "*")
		documented[p] = append(documented[p], o.method)
	}
	routes := 0
	for p := range sourcePaths(t) {
		if strings.HasSuffix(p, "/") && p != "/v1/" { // a name follows
			p += "*"
		}
		at := routeOf(strings.ReplaceAll(p, "*", "x"))
		if at == routeNone || at == routeStatic || at == routeDebug { // profiles are for the unix socket, and of Go's making
			continue
		}
		routes++
		var want []string
		for _, m := range []string{"GET", "POST"} {
			if allowed(at.methods(), m) {
				want = append(want, m)
			}
		}
		if at == routeStep && p == basketsPath { // both a list and an action
			want = []string{"GET", "POST"}
		}
		slices.Sort(documented[p])
		if !slices.Equal(documented[p], want) {
			t.Errorf("%s is answered to %v, documented is %v", p, want, documented[p])
		}
	}
	if routes < 40 {
		t.Errorf("only %d routes were found in the sources", routes)
	}
	for _, a := range actions {
		if !slices.Contains(documented[a.path], "POST") {
			t.Errorf("POST %s is not documented", a.path)
		}
	}
	for p, methods := range documented {
		at := routeOf(strings.ReplaceAll(p, "*", "x"))
		for _, m := range methods {
			if at == routeNone || at == routeStatic || !allowed(at.methods(), m) {
				t.Errorf("%s %s is documented and there is no such thing", m, p)
			}
		}
	}
}

// TestEveryMemberIsDocumented: a body may hold what the document says, and nothing else.
// Each name that stands anywhere in the document or in this package's sources is tried in
// each object of each request.
func TestEveryMemberIsDocumented(t *testing.T) {
	plain, signed := newScene(t, false), newScene(t, true)
	names := map[string]bool{}
	word := regexp.MustCompile(`"([a-z][a-z0-9_]*)"`)
	files, _ := os.ReadDir(".")
	for _, f := range files {
		if b, err := os.ReadFile(f.Name()); err == nil && !strings.HasSuffix(f.Name(), "_test.go") {
			for _, m := range word.FindAllSubmatch(b, -1) {
				names[string(m[1])] = true
			}
		}
	}
	for _, a := range actions {
		for name := range strings.FieldsSeq(a.members) {
			names[name] = true
		}
	}
	tried := 0
	for _, o := range operations(t) {
		if o.method != "POST" || o.body() == nil {
			continue
		}
		path, c := inBraces.ReplaceAllString(o.path, "x"), plain.of(&o, signed)
		for at, s := range objects(o.body(), "%s") {
			for name := range names {
				slug := c.inside(path, fmt.Sprintf(at, `{"`+name+`":null}`))
				known := slug != "unknown-member"
				if documented := s.Properties[name] != nil; known != documented {
					t.Errorf("%s, member %s of %s: documented %v, known %v (%s)", o.path, name, at, documented, known, slug)
				}
				tried++
			}
		}
	}
	t.Logf("%d names, %d requests", len(names), tried)
	if tried < 5000 {
		t.Errorf("only %d requests", tried)
	}
}

// inside posts without a connection, and returns the problem.
func (c *scene) inside(path, body string) string {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Host = "localhost"
	n := atomic.AddInt64(&c.n, 1)
	r.Header = http.Header{"Authorization": {"Bearer " + secret}, "Content-Type": {"application/json"}, "Idempotency-Key": {fmt.Sprint("inside ", n)}}
	c.who(r)
	w := httptest.NewRecorder()
	c.s.ServeHTTP(w, r)
	return answer{body: w.Body.Bytes()}.slug()
}

// objects are those of a schema, by what stands around each, with %s in its place.
func objects(s *openapi3.Schema, around string) map[string]*openapi3.Schema {
	list := map[string]*openapi3.Schema{}
	if len(s.OneOf) > 0 { // one of several objects: what any of them may have
		all := &openapi3.Schema{Properties: openapi3.Schemas{}}
		for _, one := range s.OneOf {
			maps.Copy(all.Properties, one.Value.Properties)
			maps.Copy(list, objects(one.Value, around))
		}
		if len(all.Properties) > 0 {
			list[around] = all
		}
		return list
	}
	if s.Type.Is("array") {
		maps.Copy(list, objects(s.Items.Value, fmt.Sprintf(around, "[%s]")))
	}
	if s.Type.Is("object") {
		list[around] = s
		for name, p := range s.Properties {
			maps.Copy(list, objects(p.Value, fmt.Sprintf(around, `{"`+name+`":%s}`)))
		}
	}
	return list
}

// scene is a terminal on which each operation has something to work on.
type scene struct {
	*rig
	who                func(*http.Request) // the operator's session, if operators sign in
	sale, slip, export string
	basket             string // the last one
}

func newScene(t *testing.T, operators bool) *scene {
	g := newRig(t)
	g.withPrinter(register.Papers{})
	c := &scene{rig: g, who: func(*http.Request) {}}
	if operators {
		g.withOperators().start()
		c.who = g.signIn("carla")
		return c
	}
	g.start()
	g.step("/v1/shift/open", `{"float":100000}`)
	g.step("/v1/shift/close", ``) // there is a Z report
	g.step("/v1/shift/open", `{"float":100000}`)
	in := g.step("/v1/cash/in", `{"amount":100,"reason":"coins"}`)
	c.slip = in.Event.Journal[:8] + "-" + strconv.FormatUint(in.Event.Seq, 10)
	c.sale = g.step("/v1/checkout", good).Sale.Sale
	c.export = g.exported(`{"z":1}`).Export
	return c
}

// of is the terminal for an operation: operators sign in at the other one.
func (c *scene) of(o *operation, signed *scene) *scene {
	if strings.HasPrefix(o.path, "/v1/operators") {
		return signed
	}
	return c
}

// at makes what the operation works on, and returns its path.
func (c *scene) at(o *operation) string {
	c.t.Helper()
	path := o.path
	switch {
	case strings.HasPrefix(path, "/v1/operators"):
		c.who = c.signIn("carla") // the last call may have signed her out
	case strings.HasPrefix(path, "/v1/baskets/"):
		if c.basket != "" { // only so many may be open
			for _, what := range []string{"/recall", "/tenders/1/reverse", "/void"} {
				c.do("POST", c.basket+what, `{"reason":"next"}`)
			}
		}
		b := c.step("/v1/baskets", ``).Data.Basket
		at := "/v1/baskets/" + b
		c.basket = at
		c.step(at+"/lines", `{"item":"100"}`)
		switch o.id {
		case "recall":
			c.step(at+"/park", ``)
		case "complete":
			c.step(at+"/tenders", `{"kind":"cash","amount":500}`)
		case "reverseTender":
			c.step(at+"/tenders", `{"kind":"voucher","amount":100,"reference":"V"}`)
		}
		path = strings.Replace(path, "{id}", b, 1)
	case o.id == "voidSale", o.id == "giveReceipt":
		path = strings.Replace(path, "{id}", c.step("/v1/checkout", good).Sale.Sale, 1)
	case o.id == "openShift":
		c.do("POST", "/v1/shift/close", ``)
	case o.id == "closeShift", o.id == "showShift", o.id == "printShift", strings.HasPrefix(path, "/v1/cash"):
		c.do("POST", "/v1/shift/open", `{"float":100000}`)
	}
	for name, is := range map[string]string{"/v1/sales/{id}": "/v1/sales/" + c.sale, "/v1/cash/{id}": "/v1/cash/" + c.slip,
		"/v1/exports/{id}":   "/v1/exports/" + c.export,
		"/v1/operators/{id}": "/v1/operators/anna", "{n}": "1", "{t}": "1", "{z}": "1", "{code}": "100"} {
		path = strings.Replace(path, name, is, 1)
	}
	return path
}

// samples are bodies that are taken, as a front end sends them; of all others {} is.
var samples = map[string]string{
	"checkout":       good,
	"addLine":        `{"item":"100"}`,
	"addTender":      `{"kind":"cash","amount":500}`,
	"cashIn":         `{"amount":5,"reason":"coins"}`,
	"cashOut":        `{"amount":5,"reason":"window cleaner"}`,
	"cashDrop":       `{"amount":5}`,
	"cashOpen":       `{"reason":"stuck"}`,
	"cashDeclare":    `{"amount":5}`,
	"handShift":      `{"to":"8"}`,
	"voidBasket":     `{"reason":"changed her mind"}`,
	"voidLine":       `{"reason":"wrong one"}`,
	"voidSale":       `{"tenders":[{"kind":"cash","amount":-500}]}`,
	"signIn":         `{"operator":"anna","pin":"` + pins["anna"] + `"}`,
	"approve":        `{"operator":"ben","pin":"` + pins["ben"] + `","permission":"line.void"}`,
	"unlockOperator": `{}`,
	"cardForwarded":  `{"amount":5,"reason":"paid to the bank"}`,
	"resolveTender":  `{"outcome":"not-paid","reason":"the slip says so"}`,
	"giveReceipt":    `{"as":"text"}`,
	"beginExport":    `{"z":1}`,
}

// queries are what a GET needs to find something.
var queries = map[string]string{"find": "?receipt=T1-1-1", "items": "?name=milk", "showReceipt": "?as=html&columns=32"}

// elsewhere are operations that need a payment terminal to be taken, or do not end, and
// the test in which they are.
var elsewhere = map[string]string{"resolveTender": "TestCardSaga", "cardForwarded": "TestCardSaga", "events": "TestEventStream"}

// shapes are the problems of a request that the document does not allow.
var shapes = []string{"malformed-json", "invalid-utf8", "duplicate-member", "unknown-member", "wrong-type", "text-invalid", "idempotency-key-missing",
	"idempotency-key-invalid", "unsupported-media-type", "not-found", "method-not-allowed", "internal", "negative-amount", "fractional-money"}

// TestRequestsFromTheDocument sends to each operation what the document allows, and much
// that it does not allow, member by member. Every answer is checked against the document.
func TestRequestsFromTheDocument(t *testing.T) {
	plain, signed := newScene(t, false), newScene(t, true)
	sent, taken, first := 0, map[string]int{}, map[string]string{}
	for _, o := range operations(t) {
		c := plain.of(&o, signed)
		send := func(path, body string, more ...func(*http.Request)) answer {
			more = append([]func(*http.Request){c.who}, more...)
			a := c.do(o.method, path, body, more...)
			for n := 0; a.slug() == "printer-unavailable" && n < 6000; n++ { // it is slower than this test
				time.Sleep(10 * time.Millisecond)
				a = c.do(o.method, path, body, more...)
			}
			if sent++; a.StatusCode >= 500 {
				t.Errorf("%s %s %s: %d %s", o.method, path, body, a.StatusCode, a.body)
			}
			if a.StatusCode < 300 {
				taken[o.id]++
			} else if first[o.id] == "" {
				first[o.id] = path + " " + body + ": " + string(a.body)
			}
			return a
		}
		// What the document allows is of a shape that the server knows.
		allowed := func(path, body string) {
			a := send(path, body) // a sum may be too large, too: then nothing is pointed at
			if a.StatusCode >= 300 && slices.Contains(shapes, a.slug()) || a.slug() == "number-too-large" && a.pointer() != "" {
				t.Errorf("%s %s %s: %d %s", o.method, path, body, a.StatusCode, a.body)
			}
		}
		// What it forbids is refused.
		forbidden := func(why, path, body string, more ...func(*http.Request)) {
			if a := send(path, body, more...); a.StatusCode < 400 || a.StatusCode >= 500 {
				t.Errorf("%s: %s %s %.300s: %d %s", why, o.method, path, body, a.StatusCode, a.body)
			}
		}
		switch {
		case o.Responses.Status(200) != nil && o.Responses.Status(200).Value.Content["text/event-stream"] != nil:
		case o.method == "GET":
			allowed(c.at(&o)+queries[o.id], "")
			for _, p := range o.Parameters {
				if p.Value.In == "query" {
					for _, v := range append(values(p.Value.Schema.Value), "no%00sense", "%ff", strings.Repeat("x", 600)) {
						send(c.at(&o)+"?"+p.Value.Name+"="+strings.Trim(fmt.Sprint(v), `"`), "")
					}
				}
			}
		default:
			base := samples[o.id]
			if base == "" && o.body() != nil {
				base = "{}"
			}
			allowed(c.at(&o), base)
			if o.body() != nil {
				c.members(t, &o, base, allowed, forbidden)
			}
			c.envelope(&o, base, forbidden)
		}
		for _, name := range []string{"nothing", "%2e%2e", "%00", "%ff", strings.Repeat("x", 300), "-1", "99999999999999999999"} {
			if p := inBraces.ReplaceAllString(o.path, name); p != o.path {
				if a := send(p, samples[o.id]); a.StatusCode < 400 {
					t.Errorf("%s %s: %d %s", o.method, p, a.StatusCode, a.body)
				}
			}
		}
	}
	t.Logf("%d requests", sent)
	for _, o := range operations(t) {
		if at := elsewhere[o.id]; taken[o.id] == 0 && !isTest(t, at) {
			t.Errorf("%s was never taken: this has shown nothing of its answer, and there is no test %q; first %s", o.id, at, first[o.id])
		}
	}
	if sent < 2000 {
		t.Errorf("only %d requests", sent)
	}
}

// isTest says that there is a test of that name, here or of the whole program.
func isTest(t *testing.T, name string) bool {
	files, err := filepath.Glob("../../*/posd/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	here, _ := filepath.Glob("*_test.go")
	for _, f := range append(files, here...) {
		if b, err := os.ReadFile(f); err == nil && name != "" && strings.Contains(string(b), "\nfunc "+name+"(t *testing.T) {") {
			return true
		}
	}
	return false
}

// members tries each member of an operation's body with what the document allows and with
// what it does not.
func (c *scene) members(t *testing.T, o *operation, base string, allowed func(path, body string), forbidden func(why, path, body string, more ...func(*http.Request))) {
	whole := objects(o.body(), "%s")["%s"]
	for _, name := range slices.Sorted(maps.Keys(whole.Properties)) {
		s := whole.Properties[name].Value
		for _, v := range values(s) {
			body := with(t, base, name, v)
			err := c.valid(o, body)
			if err != nil && len(o.body().OneOf) > 0 { // a voucher without a reference
				forbidden(name, c.at(o), body)
				continue
			}
			if err != nil {
				t.Errorf("%s: the document does not allow what was made from it: %s: %v", o.id, body, err)
			}
			allowed(c.at(o), body)
		}
		for _, v := range wrong(s) {
			body := with(t, base, name, v)
			if c.valid(o, body) == nil {
				t.Errorf("%s: the document allows %.300s", o.id, body)
			}
			forbidden(name, c.at(o), body)
		}
	}
	for _, name := range o.body().Required {
		forbidden(name+" is missing", c.at(o), with(t, base, name, ""))
	}
	forbidden("unknown member", c.at(o), with(t, base, "no_such_member", "1"))
	for _, body := range []string{`{`, `[]`, `7`, `null`, `{"a":1}{}`, "{\"note\":\"\xff\"}"} {
		forbidden("no object", c.at(o), body)
	}
}

// envelope tries what holds for every call that changes something.
func (c *scene) envelope(o *operation, base string, forbidden func(why, path, body string, more ...func(*http.Request))) {
	forbidden("no token", c.at(o), base, header("Authorization", ""))
	forbidden("other token", c.at(o), base, header("Authorization", "Bearer x"))
	forbidden("origin", c.at(o), base, header("Origin", "https://evil.example"))
	if o.body() != nil {
		forbidden("text", c.at(o), cmpOr(base, "{}"), header("Content-Type", "text/plain"))
		forbidden("gzip", c.at(o), cmpOr(base, "{}"), header("Content-Encoding", "gzip"))
	}
	if o.Parameters.GetByInAndName("header", "Idempotency-Key") != nil {
		forbidden("no key", c.at(o), base, key(""))
		forbidden("long key", c.at(o), base, key(strings.Repeat("k", 129)))
		forbidden("key", c.at(o), base, key("ü"))
	}
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// valid asks the document about a body.
func (c *scene) valid(o *operation, body string) error {
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		return err
	}
	return o.body().VisitJSON(v, openapi3.MultiErrors())
}

// with sets a member of an object to JSON text; empty text takes it away.
func with(t *testing.T, base, name, text string) string {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(base), &m); err != nil {
		t.Fatalf("%s: %v", base, err)
	}
	if text == "" {
		delete(m, name)
	} else {
		m[name] = json.RawMessage(text)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return string(b)
}

// fitting are strings for patterns, and those that they just exclude.
var fitting = []string{"1", "1.5", "EUR", "x", "2026-11-21", "4711", "100", "100.0001", "01", "1.", "-1", "999999999999.999", "1000000000000", "1000000000000.001"}

// fits says that a string is of a pattern.
func fits(s *openapi3.Schema, text string) bool {
	return regexp.MustCompile(s.Pattern).MatchString(text)
}

// isText: the pattern says only which characters a text has not, or there is none.
func isText(s *openapi3.Schema) bool {
	return s.Pattern == "" && s.Format == "" || strings.HasPrefix(s.Pattern, `^[^`)
}

// values are some that a schema allows, its bounds among them, as JSON.
func values(s *openapi3.Schema) (list []string) {
	if len(s.OneOf) > 0 {
		for _, one := range s.OneOf {
			list = append(list, values(one.Value)...)
		}
		return list
	}
	for _, v := range s.Enum {
		b, _ := json.Marshal(v)
		list = append(list, string(b))
	}
	if len(list) > 0 {
		return list
	}
	switch {
	case s.Type.Is("boolean"):
		return []string{"true", "false"}
	case s.Type.Is("integer"):
		list = []string{"7"}
		if s.Min != nil {
			list = []string{fmt.Sprint(int64(*s.Min)), fmt.Sprint(int64(*s.Min) + 1)}
		}
		if s.Max != nil {
			list = append(list, fmt.Sprint(int64(*s.Max)))
		} else {
			list = append(list, "9007199254740992") // beyond what a front end's numbers can be, and posd's
		}
	case s.Type.Is("string"):
		for _, v := range fitting {
			if isText(s) && v == "x" || s.Format == "date" && v == "2026-11-21" || !isText(s) && s.Pattern != "" && fits(s, v) {
				list = append(list, strconv.Quote(v))
			}
		}
		if s.MinLength == 0 && isText(s) {
			list = append(list, `""`)
		}
		if isText(s) && s.Pattern == "" {
			list = append(list, `"bell\u0007"`)
		}
		if s.MaxLength != nil && isText(s) {
			list = append(list, strconv.Quote(strings.Repeat("y", int(*s.MaxLength))))
		}
	case s.Type.Is("array"):
		for _, v := range values(s.Items.Value) {
			list = append(list, "["+v+"]")
		}
	case s.Type.Is("object"):
		list = inside(s, values)
		if len(s.Required) == 0 {
			list = append(list, "{}")
		}
	}
	return list
}

// inside are objects of a schema in which one member after the other has one of what of
// says of it; the others are left out, but for those that must be there.
func inside(s *openapi3.Schema, of func(*openapi3.Schema) []string) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		for _, v := range of(s.Properties[name].Value) {
			members := []string{strconv.Quote(name) + ":" + v}
			for _, other := range s.Required {
				if other != name {
					members = append(members, strconv.Quote(other)+":"+values(s.Properties[other].Value)[0])
				}
			}
			list = append(list, "{"+strings.Join(members, ",")+"}")
		}
	}
	return list
}

// wrong are values that a schema does not allow.
func wrong(s *openapi3.Schema) (list []string) {
	types := map[string]string{"boolean": "true", "string": `"x"`, "array": "[]", "object": "{}", "integer": "7"}
	kinds := []*openapi3.Schema{s}
	for _, one := range s.OneOf {
		kinds = append(kinds, one.Value)
	}
	for _, k := range kinds {
		for _, t := range k.Type.Slice() {
			delete(types, t)
		}
	}
	list = append(slices.Sorted(maps.Values(types)), "null", "1.5")
	if s.Type.Is("string") && s.MaxLength != nil {
		list = append(list, strconv.Quote(strings.Repeat("z", int(*s.MaxLength)+1)))
	}
	if s.Type.Is("string") && s.MinLength > 0 {
		list = append(list, `""`)
	}
	if len(s.Enum) > 0 && s.Type.Is("string") || !isText(s) && s.Pattern != "" || s.Format == "date" {
		list = append(list, `"no such thing!"`)
	}
	for _, text := range append([]string{"bell\u0007", "\u2028"}, fitting...) {
		if s.Pattern != "" && !fits(s, text) {
			quoted, _ := json.Marshal(text)
			list = append(list, string(quoted))
		}
	}
	for _, one := range s.OneOf {
		for _, v := range wrong(one.Value) {
			if one.Value.Type.Is("object") || one.Value.Type.Is("string") && v[0] == '"' {
				list = append(list, v)
			}
		}
	}
	if s.Type.Is("integer") && s.Min != nil {
		list = append(list, fmt.Sprint(int64(*s.Min)-1))
	}
	if s.Type.Is("integer") && s.Max != nil {
		list = append(list, fmt.Sprint(int64(*s.Max)+1))
	}
	if s.Type.Is("array") {
		if s.MaxItems != nil {
			one := values(s.Items.Value)[0]
			list = append(list, "["+strings.Repeat(one+",", int(*s.MaxItems))+one+"]")
		}
		if s.MinItems > 0 {
			list = append(list, "[]")
		}
		for _, v := range wrong(s.Items.Value) {
			list = append(list, "["+v+"]")
		}
	}
	if s.Type.Is("object") {
		list = append(append(list, inside(s, wrong)...), `{"no_such_member":1}`)
	}
	return list
}

// TestMethods: each documented path refuses the methods that it does not document, and
// says which it has.
func TestMethods(t *testing.T) {
	g := newRig(t).start()
	methods := map[string][]string{}
	for _, o := range operations(t) {
		p := inBraces.ReplaceAllString(o.path, "x")
		methods[p] = append(methods[p], o.method)
	}
	for p, has := range methods {
		if slices.Contains(has, "GET") {
			has = append(has, "HEAD")
		}
		slices.Sort(has)
		for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			if slices.Contains(has, m) {
				continue
			}
			a, err := g.try(m, p, "")
			if err != nil {
				t.Fatal(err)
			}
			allow := strings.Split(a.Header.Get("Allow"), ", ")
			if slices.Sort(allow); a.StatusCode != 405 || !slices.Equal(allow, has) {
				t.Errorf("%s %s: %d, Allow %v, documented %v", m, p, a.StatusCode, allow, has)
			}
		}
	}
}

// TestPacked: what posd serves is openapi.json.
func TestPacked(t *testing.T) {
	plain, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, plain); err != nil {
		t.Fatal(err)
	}
	compact.WriteByte('\n')
	plain = compact.Bytes()
	if *update {
		var b bytes.Buffer
		z, err := flate.NewWriter(&b, flate.BestCompression)
		if err == nil {
			_, err = z.Write(plain)
		}
		if err = errors.Join(err, z.Close()); err == nil {
			err = os.WriteFile("openapi.json.flate", b.Bytes(), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		openAPI = b.Bytes()
	}
	w := httptest.NewRecorder()
	if schema(w); !bytes.Equal(w.Body.Bytes(), plain) {
		t.Error("openapi.json.flate is not openapi.json packed: go test ./pos/httpapi -run TestPacked -update")
	}
}
