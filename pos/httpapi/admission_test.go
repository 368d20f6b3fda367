package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A front end that sends too much is told when to come again, and its key still
// makes its sale once.
func TestRate(t *testing.T) {
	g := newRig(t)
	g.http.Rate = 1
	g.start()
	var calls sync.WaitGroup
	answers := make([]answer, 12)
	for i := range answers { // all at once: on a slow machine one after the other is never too early
		calls.Go(func() {
			var err error
			if answers[i], err = g.try("POST", "/v1/checkout", good, key(fmt.Sprint("k", i))); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if t.Failed() {
		return
	}
	sold, refused := 0, 0
	var early string
	for i, res := range answers {
		switch res.StatusCode {
		case 201:
			sold++
		case 429:
			refused++
			early = fmt.Sprint("k", i)
			if after, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || after < 1 || after > 12 || res.slug() != "too-many-requests" {
				t.Fatalf("Retry-After %q, %s", res.Header.Get("Retry-After"), res.slug())
			}
		default:
			t.Fatal(res.Status)
		}
	}
	if sold < 2 || refused == 0 {
		t.Fatalf("%d sold, %d refused: two come at once, the rest too early", sold, refused)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if res := g.do("POST", "/v1/checkout", good, key(early)); res.StatusCode == 201 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the key that came too early is never let in")
		}
	}
	if res := g.do("GET", "/livez", ""); res.StatusCode != 200 {
		t.Error("/livez is limited too:", res.Status)
	}
	if n := g.s.meters.refusals[kindOf("too-many-requests")].Get(); n < uint64(refused) {
		t.Errorf("%d counted, %d refused", n, refused)
	}
}

// Clients that open connections and send next to nothing keep nobody out.
func TestSlowClients(t *testing.T) {
	g := newRig(t).start()
	at := g.s.Addr().String()
	for i := range 2 * tcpConns {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			fmt.Fprintf(c, "POST /v1/checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
		}
	}
	if res := g.do("POST", "/v1/checkout", good); res.StatusCode != 201 {
		t.Fatal(res.Status)
	}
	if g.s.meters.cut.Get() == 0 {
		t.Error("nobody was cut: the test opened too few")
	}
}

// The same with a token and a body that never ends, and with an answer that nobody
// takes.
func TestSlowBodies(t *testing.T) {
	g := newRig(t)
	g.write("www/large", "")
	if err := os.Truncate(filepath.Join(g.dir, "www/large"), 1<<30); err != nil { // more than the kernel's buffers take
		t.Fatal(err)
	}
	g.start()
	at := g.s.Addr().String()
	for i := range 2 * tcpConns {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			fmt.Fprintf(c, "POST /v1/checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n"+
				"Content-Type: application/json\r\nIdempotency-Key: slow %d\r\nContent-Length: 20000\r\n\r\n{", secret, i)
		} else {
			fmt.Fprintf(c, "GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		}
	}
	l := g.s.listeners[0]
	for deadline := time.Now().Add(30 * time.Second); l.unasked() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not every request has come")
		}
	}
	l.mu.Lock()
	for c := range l.conns {
		if c.busy > 0 {
			t.Error("a request that has not come yet is taken for a sale")
		}
	}
	l.mu.Unlock()
	for range 20 {
		res, err := g.try("POST", "/v1/checkout", good, func(r *http.Request) { r.Close = true })
		if err != nil || res.StatusCode != 201 {
			t.Fatal(res.Response, err)
		}
	}
	if g.s.meters.cut.Get() == 0 {
		t.Error("nobody was cut: the test opened too few")
	}
}

// Sockets that were open before posd's start are served, and stay open behind it.
func TestListenersGiven(t *testing.T) {
	g := newRig(t)
	path := filepath.Join(g.dir, "given.sock")
	first, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	f, err := first.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	g.http.Listen = "127.0.0.1:1" // not used
	g.listeners = []net.Listener{ln}
	g.start()
	res, err := overSocket(path).Get("http://posd/readyz")
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	g.stop()
	c, err := net.Dial("unix", path) // waits for the next posd
	if err != nil {
		t.Fatal("the socket was closed with posd:", err)
	}
	c.Close()
	first.Close()
}

func overSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}

// Profiles and traces are for whoever may open the socket's file, with a token.
func TestDebug(t *testing.T) {
	g := newRig(t)
	g.http.Socket = filepath.Join(g.dir, "posd.sock")
	g.start()
	over := overSocket(g.http.Socket)
	ask := func(path, token string) (*http.Response, []byte) {
		t.Helper()
		req, err := http.NewRequest("GET", "http://posd"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := over.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, b
	}
	for path, begins := range map[string]string{
		"/debug/pprof/heap": "\x1f\x8b", "/debug/pprof/allocs": "\x1f\x8b", "/debug/pprof/goroutine?debug=1": "goroutine profile:",
		"/debug/pprof/profile?seconds=1": "\x1f\x8b", "/debug/trace?seconds=1": "go 1.",
	} {
		if res, b := ask(path, secret); res.StatusCode != 200 || !bytes.HasPrefix(b, []byte(begins)) {
			t.Errorf("%s: %s, %q", path, res.Status, b[:min(len(b), 60)])
		}
		if res, _ := ask(path, ""); res.StatusCode != 401 {
			t.Errorf("%s without a token: %s", path, res.Status)
		}
		if res := g.do("GET", path, ""); res.StatusCode != 404 {
			t.Errorf("%s over TCP: %s", path, res.Status)
		}
	}
	for path, want := range map[string]int{"/debug/pprof/nothing": 404, "/debug/pprof/profile?seconds=0": 400, "/debug/trace?seconds=31": 400} {
		if res, _ := ask(path, secret); res.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, res.Status, want)
		}
	}
}

// held is a listener that has accepted a connection and not returned it yet.
type held struct {
	net.Listener
	accepted, release chan struct{}
}

func (l *held) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		close(l.accepted)
		<-l.release
	}
	return c, err
}

// A connection that posd has accepted gets its answer, also when posd is told to
// stop at that very moment.
func TestStopDropsNobody(t *testing.T) {
	g := newRig(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &held{ln, make(chan struct{}), make(chan struct{})}
	g.listeners = []net.Listener{l}
	g.start()
	got := make(chan error, 1)
	go func() {
		over := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := over.Get("http://" + ln.Addr().String() + "/livez")
		if err == nil {
			res.Body.Close()
		}
		got <- err
	}()
	<-l.accepted
	stopped := make(chan struct{})
	go func() { defer close(stopped); g.stop() }()
	<-g.s.stopping
	time.Sleep(50 * time.Millisecond) // a stop that does not wait is over by now, most of the time
	close(l.release)
	if err := <-got; err != nil {
		t.Error(err)
	}
	<-stopped
}

// While memory is short a large body has to wait, and a small one sells, whether
// its size was told or not.
func TestSheddingBodies(t *testing.T) {
	g := newRig(t).start()
	g.s.o.Load = func() Load { return Load{Shedding: true, Reasons: []string{"test"}} }
	large := good + strings.Repeat(" ", smallBody+1)
	for _, c := range []struct {
		name, body string
		change     func(*http.Request)
		status     int
	}{
		{"small", good, func(*http.Request) {}, 201},
		{"small, chunked", good, func(r *http.Request) { r.ContentLength = -1 }, 201},
		{"large", large, func(*http.Request) {}, 429},
		{"large, chunked", large, func(r *http.Request) { r.ContentLength = -1 }, 429},
	} {
		if res := g.do("POST", "/v1/checkout", c.body, c.change); res.StatusCode != c.status {
			t.Errorf("%s: %s %s", c.name, res.Status, res.body)
		}
	}
	g.s.o.Load = nil
	for range largeBodies {
		g.s.large <- struct{}{}
	}
	line := `{"description":"Bread","price":100,"tax":"B"}`
	sale := func(lines int) string {
		return fmt.Sprintf(`{"lines":[%s],"tenders":[{"kind":"cash","amount":%d}]}`, strings.TrimSuffix(strings.Repeat(line+",", lines), ","), lines*100)
	}
	few, many := sale(smallObjects/2), sale(smallObjects+1) // which are no large bodies
	if res := g.do("POST", "/v1/checkout", few); res.StatusCode != 201 {
		t.Errorf("few lines: %s %s", res.Status, res.body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	x := g.s.exchange()
	defer g.s.done(x)
	if release, bad := g.s.readBody(ctx, httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/checkout", strings.NewReader(many)), x); bad == nil {
		release()
		t.Error("many lines take no place of those that take much memory")
	}
	for range largeBodies {
		<-g.s.large
	}
	if res := g.do("POST", "/v1/checkout", many); res.StatusCode != 201 {
		t.Errorf("many lines: %s %s", res.Status, res.body)
	}
	eventually(t, "the places given back", func() bool { return len(g.s.large) == 0 })
	if res := g.do("POST", "/v1/checkout", large, func(r *http.Request) { r.ContentLength = -1 }); res.StatusCode != 201 {
		t.Errorf("large, chunked, with memory enough: %s %s", res.Status, res.body)
	}
}
