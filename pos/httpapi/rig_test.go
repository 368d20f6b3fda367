package httpapi

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"posd/journal"
	"posd/pos"
	"posd/pos/card"
	"posd/pos/catalogue"
	"posd/pos/config"
	"posd/pos/export"
	"posd/pos/register"
	"posd/pos/view"
)

const (
	secret = "a token of the front end"
	items  = `code,description,department,unit,price,tax
4011,Banana,Fruit,kg,1.99,B
100,Milk,Dairy,pc,1.29,B
200,Gift card,Service,pc,,A
300,Old tax,Service,pc,1.00,Z
`
	apple = `{"description":"Apple","tax":"A","price":500}`
	good  = `{"lines":[` + apple + `],"tenders":[{"kind":"cash","amount":1000}]}`
)

// rig is a whole terminal behind a real HTTP server.
type rig struct {
	t         testing.TB
	dir       string
	now       func() time.Time
	synced    func() bool // nil: as the machine's clock is
	http      config.HTTP
	listeners []net.Listener
	open      journal.Options
	set       register.Settings
	log       *slog.Logger
	paperLog  *slog.Logger
	printer   config.Printer // without an address there is none
	card      card.Driver    // nil: cards are taken beside posd

	j    *journal.Journal
	v    *view.View
	r    *register.Register
	c    *catalogue.Catalogue
	s    *Server
	stop func()
	n    int64 // calls, for their keys; atomic
}

func newRig(t testing.TB) *rig {
	t.Helper()
	g := &rig{t: t, dir: t.TempDir(), now: time.Now}
	g.set.Taxes = []pos.Tax{{Code: "A", Rate: 190000}, {Code: "B", Rate: 70000}}
	g.http = config.HTTP{Listen: "127.0.0.1:0", Origins: []string{"https://till.example"}, Static: filepath.Join(g.dir, "www")}
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	g.open.Key = key
	_, err = journal.Create(filepath.Join(g.dir, "journal"), journal.CreateOptions{
		Identity: journal.Identity{Store: "S1", Terminal: "T1"}, Opening: register.Opening(register.Start{Branch: 1}),
		PublicKey: public, SegmentSize: 64 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	g.importItems(items)
	g.write("tokens", fmt.Sprintf("till-1 %x 2026-01-01T00:00:00Z\n", sha256.Sum256([]byte(secret))))
	g.write("www/index.html", "<h1>till</h1>")
	g.write("www/app/main.js", "let x")
	g.write("www/.hidden", "secret")
	g.write("outside", "secret")
	if err := os.Symlink("../outside", filepath.Join(g.dir, "www/link")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g.stop != nil {
			g.stop()
		}
	})
	return g
}

func (g *rig) importItems(csv string) {
	g.t.Helper()
	_, err := catalogue.Import(context.Background(), strings.NewReader(csv), filepath.Join(g.dir, "catalogue.db"), catalogue.ImportOptions{
		Taxes: map[string]bool{"A": true, "B": true, "Z": true}, Currency: euro})
	if err != nil {
		g.t.Fatal(err)
	}
}

var euro = pos.Currency{Code: "EUR", Exponent: 2}

func (g *rig) write(name, text string) {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) start() *rig {
	g.t.Helper()
	var opener register.Opener
	var err error
	must := func() {
		g.t.Helper()
		if err != nil {
			g.t.Fatal(err)
		}
	}
	g.open.Opening = opener.Opening
	g.j, err = journal.Open(filepath.Join(g.dir, "journal"), g.open)
	must()
	g.v, err = view.Open(filepath.Join(g.dir, "view.db"), g.j, view.Options{})
	must()
	g.r, err = register.Open(g.j, g.v, register.Options{Store: "S1", Terminal: "T1", Operator: "0", Currency: euro, Opener: &opener, Now: g.now, Synced: g.synced,
		Settings: g.set})
	must()
	g.c = catalogue.OpenIn(filepath.Join(g.dir, "catalogue.db"), euro.Code)
	desk := g.newDesk()
	cards := card.New(card.Options{Register: g.r, Driver: g.card, Currency: euro})
	exports := export.New(export.Options{Dir: filepath.Join(g.dir, "exports"), Journal: g.j})
	g.s, err = New(Options{
		Terminal: config.Terminal{Store: "S1", ID: "T1", Operator: "0", Currency: euro, TimeZone: time.UTC},
		HTTP:     g.http, Listeners: g.listeners, Journal: g.j, View: g.v, Register: g.r, Catalogue: g.c, Papers: desk, Exports: exports, Card: cards, Tokens: filepath.Join(g.dir, "tokens"), Operators: g.dir, Release: "test",
		Uplink: func() UplinkStatus { return UplinkStatus{Connected: true, Server: "tls://hub", Sent: 2, Settled: 1} },
		Log:    g.log,
		Limits: Limits{GoMemory: 20 << 20, Procs: 2, Differs: []string{`no "quota"`}},
	})
	must()
	err = g.s.Listen()
	must()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func() error{
		func() error { return g.v.Run(ctx) }, func() error { return g.r.Run(ctx) }, g.s.Serve, func() error { return g.s.o.Papers.Run(ctx) },
		func() error { return exports.Run(ctx) }, func() error { return cards.Run(ctx) },
	} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := run(); err != nil && !errors.Is(err, journal.ErrFailed) {
				g.t.Error(err)
			}
		}()
	}
	g.stop = func() {
		g.stop = nil
		if err := g.s.Shutdown(context.Background()); err != nil {
			g.t.Error(err)
		}
		cancel()
		wg.Wait()
		if err := errors.Join(g.c.Close(), g.v.Close(), g.j.Close()); err != nil {
			g.t.Error(err)
		}
	}
	return g
}

func (g *rig) url(path string) string { return "http://" + g.s.Addr().String() + path }

// answer is a response with its body read.
type answer struct {
	*http.Response
	body []byte
}

func (a answer) slug() string {
	var p struct{ Type, Detail, Pointer string }
	json.Unmarshal(a.body, &p)
	return strings.TrimPrefix(p.Type, urn)
}

func (a answer) pointer() string {
	var p struct{ Pointer string }
	json.Unmarshal(a.body, &p)
	return p.Pointer
}

// client speaks to every rig; redirects would hide what the server said.
var client = &http.Client{
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// do sends a request with a token and a fresh key, changed by the given
// functions, and checks the answer against the OpenAPI document.
func (g *rig) do(method, path, body string, change ...func(*http.Request)) answer {
	g.t.Helper()
	a, err := g.try(method, path, body, change...)
	if err != nil {
		g.t.Fatal(err)
	}
	if err := conforms(a); err != nil {
		g.t.Errorf("%s %s: %v", method, path, err)
	}
	return a
}

func (g *rig) try(method, path, body string, change ...func(*http.Request)) (answer, error) {
	r, err := http.NewRequest(method, g.url(path), strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	if method == "POST" {
		n := atomic.AddInt64(&g.n, 1)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", fmt.Sprint("key ", n))
	}
	for _, c := range change {
		c(r)
	}
	res, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	a := answer{res, b}
	if res.StatusCode >= 400 {
		sawProblem(a.slug())
		if why := a.members().Cause; why != "" {
			sawProblem(a.slug() + " " + why)
		}
	}
	return a, err
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del(name)
		if value != "" {
			r.Header.Set(name, value)
		}
	}
}

func key(k string) func(*http.Request) { return header("Idempotency-Key", k) }

// document is the OpenAPI document with its router.
var document = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.json")
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	doc.Servers = nil
	return gorillamux.NewRouter(doc)
})

// everywhere are headers of which HTTP says enough; all others are in the document.
var everywhere = []string{"Cache-Control", "Connection", "Content-Length", "Content-Type", "Date",
	"Vary", "X-Accel-Buffering", "X-Content-Type-Options", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"}

// conforms checks an answer against the document. Paths that are not in it are
// the static files and what is not there.
func conforms(a answer) error {
	router, err := document()
	if err != nil {
		return err
	}
	r := a.Request.Clone(context.Background())
	if r.Method == http.MethodHead {
		return nil
	}
	at, params, err := router.FindRoute(r)
	if err != nil {
		return nil
	}
	said := at.Operation.Responses.Status(a.StatusCode)
	if said == nil {
		said = at.Operation.Responses.Default()
	}
	told := map[string]bool{}
	for name := range said.Value.Headers {
		told[http.CanonicalHeaderKey(name)] = true
	}
	for name := range a.Header {
		if !told[name] && !slices.Contains(everywhere, name) {
			return fmt.Errorf("%s %s answers %d with a header %s, of which the document says nothing", r.Method, at.Path, a.StatusCode, name)
		}
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: at},
		Status:                 a.StatusCode, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
}

// raw sends bytes over a connection and returns all that comes back.
func (g *rig) raw(text string) string {
	g.t.Helper()
	c, err := net.Dial("tcp", g.s.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, text)
	b, _ := io.ReadAll(c)
	return string(b)
}

// saleData returns the sale's bytes within an answer.
func saleData(t testing.TB, body []byte) []byte {
	t.Helper()
	var a struct{ Sale json.RawMessage }
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return a.Sale
}

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
