package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3filter"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
)

var update = flag.Bool("update", false, "write docs/problems.md and openapi.json.flate")

func TestProblemsDoc(t *testing.T) {
	const path = "../../docs/problems.md"
	want := problemsDoc()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("docs/problems.md is not what the table says (%v): go test ./pos/httpapi -run TestProblemsDoc -update", err)
	}
}

// usedSlugs reads this package's sources.
func usedSlugs(t *testing.T) (slugs []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	use := regexp.MustCompile(`(?:refuse|d\.fail)\("([a-z0-9-]+)"`)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range use.FindAllSubmatch(b, -1) {
			slugs = append(slugs, string(m[1]))
		}
	}
	return slugs
}

func TestCheckout(t *testing.T) {
	g := newRig(t).start()
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	const in = `{"operator":"7","prices":"inclusive","currency":"EUR","lines":[
		{"item":"4011","quantity":"1.250"},{"item":"100","quantity":2,"price":99},{"item":"200","amount":2500},
		{"description":"Ä \"bag\"","department":"Misc","tax":"A","unit":"pc","price":10}],
		"tenders":[{"kind":"card","amount":2000,"reference":"A1"},{"kind":"cash","amount":1000}]}`
	a := g.do("POST", "/v1/checkout", in, key("k"), header("Traceparent", trace))
	if a.StatusCode != 201 || a.Header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	e, err := event.ParseSale(saleData(t, a.body))
	if err != nil {
		t.Fatal(err)
	}
	if e.Total != 249+198+2500+10 || e.Change != 3000-2957 || e.Receipt != "T1-1-1" || e.Operator != "7" || len(e.Lines) != 4 ||
		e.Lines[0].Description != "Banana" || e.Lines[0].Rate != 70000 || !e.Lines[2].Fixed || e.Lines[3].Description != `Ä "bag"` {
		t.Errorf("%+v", e)
	}
	var at struct {
		Event struct {
			Journal string
			Seq     uint64
		}
	}
	json.Unmarshal(a.body, &at)
	if at.Event.Journal != g.j.ID().String() || a.Header.Get("Location") != "/v1/sales/"+e.Sale {
		t.Errorf("%+v %s", at, a.Header.Get("Location"))
	}
	err = g.j.Read(at.Event.Seq, func(rec chain.Record) error {
		h, data, err := event.Parse(rec.Payload)
		if h.Trace != trace || h.Front != "till-1" || h.Key != "k" || h.Hash != hexSum(in) {
			t.Errorf("%+v", h)
		}
		if !bytes.Equal(data, saleData(t, a.body)) {
			t.Error("the answer is not what the journal holds")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/v1/sales/" + e.Sale, "/v1/sales?receipt=T1-1-1"} {
		if b := g.do("GET", path, ""); b.StatusCode != 200 || !bytes.Equal(b.body, a.body) {
			t.Errorf("%s: %d %s", path, b.StatusCode, b.body)
		}
	}
}

// TestReplay: a repeated request gets the same bytes, after a restart too, and
// although its item is gone by then.
func TestReplay(t *testing.T) {
	g := newRig(t).start()
	const in = `{"lines":[{"item":"4011"}],"tenders":[{"kind":"cash","amount":199}]}`
	first := g.do("POST", "/v1/checkout", in, key("k"))
	again := func(when string) {
		t.Helper()
		a := g.do("POST", "/v1/checkout", in, key("k"))
		if a.StatusCode != 200 || a.Header.Get("Idempotency-Replayed") != "true" || !bytes.Equal(a.body, first.body) {
			t.Errorf("%s: %d %s", when, a.StatusCode, a.body)
		}
		b := g.do("POST", "/v1/checkout", in+" ", key("k"))
		if b.StatusCode != 409 || b.slug() != "idempotency-key-reused" {
			t.Errorf("%s, other body: %d %s", when, b.StatusCode, b.body)
		}
	}
	again("at once")
	g.stop()
	g.importItems("code,description,department,unit,price,tax\n1,x,y,pc,1.00,A\n")
	g.start()
	again("after a restart")
	g.stop()
	os.Remove(filepath.Join(g.dir, "view.db"))
	g.start()
	again("without an index")
	if n := g.r.Status().Receipt; n != 1 {
		t.Errorf("%d sales", n)
	}
}

func TestSameKeyAtOnce(t *testing.T) {
	g := newRig(t).start()
	const calls = 16
	answers := make([]answer, calls)
	var wg sync.WaitGroup
	for i := range calls {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r, _ := http.NewRequest("POST", g.url("/v1/checkout"), strings.NewReader(good))
			r.Header = http.Header{"Authorization": {"Bearer " + secret}, "Content-Type": {"application/json"}, "Idempotency-Key": {"one"}}
			res, err := client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Error(err)
			}
			answers[i] = answer{res, b}
		}()
	}
	wg.Wait()
	created := 0
	for _, a := range answers {
		if a.Response == nil {
			t.Fatal("no answer")
		}
		if a.StatusCode == 201 {
			created++
		}
		if !bytes.Equal(a.body, answers[0].body) {
			t.Errorf("%s differs from %s", a.body, answers[0].body)
		}
	}
	if created != 1 || g.r.Status().Receipt != 1 {
		t.Errorf("%d created, %d receipts", created, g.r.Status().Receipt)
	}
}

func TestOpenRoutes(t *testing.T) {
	g := newRig(t).start()
	g.do("POST", "/v1/checkout", good)
	anonymous := header("Authorization", "")
	for path, want := range map[string]string{
		"/livez": `"ok"`, "/readyz": `"ok"`, "/metrics": "posd_sales_total 1", "/debug/schema": `"openapi":"3.1.0"`,
		"/": "<h1>till</h1>", "/index.html": "till", "/app/main.js": "let x",
	} {
		a := g.do("GET", path, "", anonymous)
		if a.StatusCode != 200 || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %d %.200s", path, a.StatusCode, a.body)
		}
		if h := g.do("HEAD", path, "", anonymous); h.StatusCode != 200 || len(h.body) != 0 {
			t.Errorf("HEAD %s: %d %s", path, h.StatusCode, h.body)
		}
	}
	for _, path := range []string{
		"/app", "/app/", "/link", "/.hidden", "/../outside", "/%2e%2e/outside", "/app/..%2f..%2f..%2foutside", "/app/.%00", "/missing",
	} {
		got := g.raw("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if !strings.Contains(got, "404 Not Found") && !strings.HasPrefix(got, "HTTP/1.1 400") || strings.Contains(got, "secret") || strings.Contains(got, "main.js") {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestStatus(t *testing.T) {
	g := newRig(t)
	g.now = func() time.Time { return time.Unix(0, 0) }
	g.start()
	g.do("POST", "/v1/checkout", good)
	a := g.do("GET", "/v1/status", "")
	var st map[string]map[string]any
	var flat map[string]any
	if err := json.Unmarshal(a.body, &flat); err != nil || flat["release"] != "test" {
		t.Fatal(err, string(a.body))
	}
	json.Unmarshal(a.body, &st) // the text member makes an error, the objects are read
	if st["clock"]["trust"] != "behind" || st["shift"]["open"] != true || st["receipts"]["last"] != 1.0 ||
		st["journal"]["id"] != g.j.ID().String() || st["catalogue"]["items"] != 4.0 || st["uplink"]["connected"] != true {
		t.Errorf("%s", a.body)
	}
}

func TestCORS(t *testing.T) {
	g := newRig(t).start()
	origin := header("Origin", "https://till.example")
	a := g.do("OPTIONS", "/v1/checkout", "", origin, header("Access-Control-Request-Method", "POST"), header("Authorization", ""))
	if a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != "https://till.example" ||
		!strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "Idempotency-Key") {
		t.Errorf("preflight: %d %v", a.StatusCode, a.Header)
	}
	if a := g.do("POST", "/v1/checkout", good, origin); a.StatusCode != 201 || a.Header.Get("Access-Control-Allow-Origin") == "" || a.Header.Get("Vary") != "Origin" {
		t.Errorf("listed: %d %v", a.StatusCode, a.Header)
	}
	if a := g.do("POST", "/v1/checkout", good, header("Origin", "http://"+g.s.Addr().String())); a.StatusCode != 201 {
		t.Errorf("own page: %d %s", a.StatusCode, a.body)
	}
	b := g.do("OPTIONS", "/v1/checkout", "", header("Origin", "https://evil.example"), header("Access-Control-Request-Method", "POST"))
	if b.StatusCode != 403 || b.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("other: %d %v", b.StatusCode, b.Header)
	}
}

func TestTokensChange(t *testing.T) {
	g := newRig(t).start()
	if a := g.do("GET", "/v1/status", ""); a.StatusCode != 200 {
		t.Fatal(a.StatusCode)
	}
	fresh := header("Authorization", "bearer second")
	if a := g.do("GET", "/v1/status", "", fresh); a.StatusCode != 401 {
		t.Fatal(a.StatusCode)
	}
	g.write("tokens.new", "# front ends\nbroken line\ntill-2 "+hexSum("second")+" 2026-01-01T00:00:00Z\n")
	if err := os.Rename(filepath.Join(g.dir, "tokens.new"), filepath.Join(g.dir, "tokens")); err != nil {
		t.Fatal(err)
	}
	if a := g.do("GET", "/v1/status", "", fresh); a.StatusCode != 200 {
		t.Errorf("the new token: %d", a.StatusCode)
	}
	if a := g.do("GET", "/v1/status", ""); a.StatusCode != 401 {
		t.Errorf("the old token: %d", a.StatusCode)
	}
	os.Remove(filepath.Join(g.dir, "tokens"))
	g.s.ReloadTokens()
	if a := g.do("GET", "/v1/status", "", fresh); a.StatusCode != 401 {
		t.Errorf("without a file: %d", a.StatusCode)
	}
	if a := g.do("GET", "/readyz", ""); a.StatusCode != 503 || !strings.Contains(string(a.body), "posctl token add") {
		t.Errorf("readyz: %d %s", a.StatusCode, a.body)
	}
}

func TestSocket(t *testing.T) {
	g := newRig(t)
	g.http.Listen, g.http.Socket = "", filepath.Join(g.dir, "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: g.http.Socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close() // as a killed posd leaves it
	g.start()
	over := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", g.http.Socket)
	}}}
	defer over.CloseIdleConnections()
	res, err := over.Get("http://any.name/readyz")
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	if res, err = over.Get("http://any.name/v1/status"); err != nil || res.StatusCode != 401 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	if _, err := listenSocket(g.http.Socket); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second server: %v", err)
	}
}

// When all places are taken, the connection that has done nothing for the longest
// makes room; one with a request under way never does.
func TestConnectionsAreBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cut := 0
	l := limit(ln, 2, func() { cut++ })
	accepted := make(chan *limitedConn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c.(*limitedConn)
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	first := dial()
	a := <-accepted
	dial()
	b := <-accepted
	b.work(1)
	dial()
	c := <-accepted // in the place of a
	if n, err := first.Read(make([]byte, 1)); err == nil || n != 0 || cut != 1 {
		t.Errorf("the idle connection was not cut: %d, %v, %d cut", n, err, cut)
	}
	a.Close()
	a.Close() // twice, as net/http does
	c.work(1)
	dial()
	select {
	case <-accepted:
		t.Error("a third connection beside two at work")
	case <-time.After(50 * time.Millisecond):
	}
	b.work(-1)
	d := <-accepted // in the place of b
	if cut != 2 {
		t.Errorf("%d were cut, want 2", cut)
	}
	d.work(1)
	dial()
	time.Sleep(20 * time.Millisecond) // let it be accepted and wait, most of the time
	l.Close()
	select {
	case e := <-accepted: // it had come before the end
		e.Close()
	case <-ended:
	}
	<-ended
	for _, c := range []*limitedConn{b, c, d} {
		c.Close()
	}
	if len(l.conns) != 0 {
		t.Errorf("%d connections are left", len(l.conns))
	}
}

func TestDocument(t *testing.T) {
	router, err := document()
	if err != nil {
		t.Fatal(err)
	}
	valid := func(body string) error {
		r, _ := http.NewRequest("POST", "/v1/checkout", strings.NewReader(body))
		r.Header = http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {"k"}}
		at, params, err := router.FindRoute(r)
		if err != nil {
			t.Fatal(err)
		}
		return openapi3filter.ValidateRequest(context.Background(), &openapi3filter.RequestValidationInput{
			Request: r, PathParams: params, Route: at, Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}})
	}
	if err := valid(good); err != nil {
		t.Error(err)
	}
	if valid(body(apple, `,"training":true`)) == nil || valid(body(`{"item":"100","price":-1}`, "")) == nil {
		t.Error("the document allows what the server refuses")
	}
	bad := answer{&http.Response{StatusCode: 201, Header: http.Header{"Content-Type": {"application/json"}}}, []byte(`{"sale":{}}`)}
	bad.Request, _ = http.NewRequest("POST", "/v1/checkout", nil)
	if conforms(bad) == nil {
		t.Error("the check of answers lets everything through")
	}
}

func TestDataOf(t *testing.T) {
	e := event.SaleCompleted{Sale: `x","data":{`, Receipt: "r"}
	for _, key := range []string{"", `","data":{"`, `\`, `",`} {
		b, err := e.AppendEvent(nil, event.Header{Key: key, Front: `,"data":`})
		if err != nil {
			t.Fatal(err)
		}
		_, want, err := event.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := dataOf(chain.Record{Type: event.RecordType, Payload: b})
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("key %q: %s, want %s, %v", key, got, want, err)
		}
	}
	b, _ := (&event.TerminalStopped{}).AppendEvent(nil, event.Header{})
	if _, err := dataOf(chain.Record{Type: event.RecordType, Payload: b}); err == nil {
		t.Error("another event was taken for a sale")
	}
}

func TestStopping(t *testing.T) {
	g := newRig(t).start()
	s := g.s
	g.do("POST", "/v1/checkout", good)
	g.stop()
	for err, slug := range map[error]string{
		context.DeadlineExceeded: "outcome-unknown", journal.ErrFailed: "journal-failed",
		journal.ErrNoSpace: "no-space", journal.ErrReadOnly: "read-only", journal.ErrClosed: "stopping", errors.New("x"): "internal",
	} {
		if p := s.problemOf(err); p.kind.slug != slug {
			t.Errorf("%v: %s", err, p.kind.slug)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	for _, c := range badBodies {
		if len(c.body) < 4096 {
			f.Add([]byte(c.body))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d decoder
		var req request
		bad := d.decode(b, &req)
		if bad != nil {
			if bad.kind.slug == "internal" || bad.detail == "" || !json.Valid(bad.append(nil)) {
				t.Fatalf("%q: %+v", b, bad)
			}
			return
		}
		if !json.Valid(b) {
			t.Fatalf("%q was accepted", b)
		}
		if len(req.lines) > maxLines || len(req.tenders) > maxTenders {
			t.Fatalf("%d lines, %d tenders", len(req.lines), len(req.tenders))
		}
		for _, l := range req.lines {
			if l.price < 0 || l.amount < 0 || l.qty < 0 || len(l.description) > maxText {
				t.Fatalf("%q: %+v", b, l)
			}
		}
	})
}

func FuzzTokens(f *testing.F) {
	f.Add("till-1 " + hexSum("x") + " 2026-01-01T00:00:00Z\n# c\n\nbad")
	f.Fuzz(func(t *testing.T, s string) {
		list, _ := parseTokens(strings.NewReader(s), "tokens")
		for _, e := range list {
			if e.name == "" || !strings.Contains(s, e.name) {
				t.Errorf("%q gives %+v", s, e)
			}
		}
		if len(list) > maxTokens {
			t.Errorf("%d tokens", len(list))
		}
	})
}
