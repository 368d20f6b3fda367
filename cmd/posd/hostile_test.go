package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestHostileClients: whoever can reach the port, with a token or without, may open ten
// thousand connections, send a gigabyte, drop by drop or as garbage: two tills beside it
// go on selling, each sale is made once, and posd stays as small as it was.
func TestHostileClients(t *testing.T) {
	r := newSite(t).start()
	h := &hostile{t: t, addr: r.addr, connections: 10_000}
	if testing.Short() {
		h.connections = 1000
	}
	before := h.metrics()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var attackers, tills sync.WaitGroup
	for _, attack := range []func(context.Context){h.drip, h.drip, h.gigabytes, h.crowd, h.garbage, h.pipeline, h.deafReaders} {
		attackers.Go(func() { attack(ctx) })
	}
	for i := range h.sold {
		tills.Go(func() { h.sell(ctx, i) })
	}
	most := h.watch(r.cmd.Process.Pid, func() bool {
		a := h.answers()
		return h.crowded.Load() && h.sold[0].Load() >= 10 && h.sold[1].Load() >= 10 && a["400"] > 0 && a["401"] > 0 && a["413"] > 0
	})
	stop()
	tills.Wait()
	attackers.Wait()
	sold := h.sold[0].Load() + h.sold[1].Load()
	h.compare(before, sold)
	if !most.small() {
		t.Errorf("posd had %d MiB of its own memory and %d open files", most.memory>>20, most.files)
	}
	t.Logf("%d sales beside it, %d connections, %d bytes of bodies went out, at most %.1f MiB and %d files; refused with %v",
		sold, h.opened.Load(), h.sent.Load(), float64(most.memory)/(1<<20), most.files, h.answers())
	if code := r.stop(os.Interrupt); code != exitOK {
		t.Errorf("exit %d: %s", code, r.log)
	}
}

// TestHostileControl: a server that takes what it is sent does not stay small.
func TestHostileControl(t *testing.T) {
	c := command()
	c.Env = append(c.Env, "POSD_TEST_NAIVE=1")
	r := (&site{t: t}).run(c)
	h := &hostile{t: t, addr: r.addr, connections: 1000}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var attackers sync.WaitGroup
	attackers.Go(func() { h.gigabytes(ctx) })
	attackers.Go(func() { h.crowd(ctx) })
	most := h.watch(r.cmd.Process.Pid, func() bool { return h.crowded.Load() && h.sent.Load() > 64<<20 })
	stop()
	attackers.Wait()
	if most.small() || most.files <= mostFiles {
		t.Errorf("%d MiB and %d files: the attack takes nothing", most.memory>>20, most.files)
	}
}

// naive is a server as one writes it at first.
func naive() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(os.Stderr, "msg=ready address=%s\n", ln.Addr())
	panic(http.Serve(ln, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(io.LimitReader(r.Body, 256<<20)) // this machine has other users
		fmt.Fprintln(io.Discard, len(b))
	})))
}

// hostile is everybody who wishes posd ill.
type hostile struct {
	t           *testing.T
	addr        string
	connections int
	crowded     atomic.Bool // all connections were opened
	opened      atomic.Int64
	sent        atomic.Int64 // bytes of bodies
	sold        [2]atomic.Int64
	mu          sync.Mutex
	status      map[string]int
}

func (h *hostile) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	c, err := d.DialContext(ctx, "tcp", h.addr)
	if err == nil {
		h.opened.Add(1)
	}
	return c, err
}

// heard counts the status of an answer.
func (h *hostile) heard(b []byte) {
	status := "nothing"
	if len(b) > 12 && bytes.HasPrefix(b, []byte("HTTP/1.1 ")) {
		status = string(b[9:12])
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.status == nil {
		h.status = map[string]int{}
	}
	h.status[status]++
}

func (h *hostile) answers() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.status)
}

// drip keeps 200 connections that send their header byte by byte.
func (h *hostile) drip(ctx context.Context) {
	const head = "POST /v1/checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
	conns := make([]net.Conn, 200)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	for n := 0; ctx.Err() == nil; n++ {
		for i, c := range conns {
			if c != nil {
				c.SetWriteDeadline(time.Now().Add(time.Second))
				if _, err := io.WriteString(c, head[n%len(head):][:1]); err == nil {
					continue
				}
				c.Close()
			}
			conns[i], _ = h.dial(ctx)
		}
		wait(ctx, 20*time.Millisecond)
	}
}

// gigabytes sends bodies of 1 GB, announced and not, with a token and without.
func (h *hostile) gigabytes(ctx context.Context) {
	junk := bytes.Repeat([]byte(`{"lines":[{"item":"`), 1<<12)
	for n := 0; ctx.Err() == nil; n++ {
		c, err := h.dial(ctx)
		if err != nil {
			continue
		}
		done := context.AfterFunc(ctx, func() { c.Close() })
		head := "POST /v1/checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nIdempotency-Key: big\r\n"
		if n%2 == 0 {
			head += "Authorization: Bearer " + token + "\r\n"
		}
		chunk := junk
		if n%4 < 2 {
			head += "Content-Length: 1073741824\r\n\r\n"
		} else {
			head += "Transfer-Encoding: chunked\r\n\r\n"
			chunk = fmt.Appendf(nil, "%x\r\n%s\r\n", len(junk), junk)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(c, head)
		for sent := 0; sent < 1<<30 && ctx.Err() == nil; sent += len(chunk) {
			n, err := c.Write(chunk)
			h.sent.Add(int64(n))
			if err != nil {
				break
			}
		}
		answer := make([]byte, 64)
		got, _ := c.Read(answer)
		h.heard(answer[:got])
		done()
		c.Close()
	}
}

// crowd opens all the connections, and keeps what posd leaves of them.
func (h *hostile) crowd(ctx context.Context) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for n := range h.connections {
		c, err := h.dial(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			h.t.Errorf("connection %d: %v", n, err)
			h.crowded.Store(true)
			return
		}
		conns = append(conns, c)
		if n%3 == 0 { // some say something, or begin to
			io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"[:1+n%40])
		}
		if len(conns) == 2000 { // the oldest are cut long since
			for _, c := range conns[:1000] {
				c.Close()
			}
			conns = append(conns[:0], conns[1000:]...)
		}
	}
	h.crowded.Store(true)
	<-ctx.Done()
}

// notHTTP is what a port scanner, a browser or a mistaken program sends.
var notHTTP = []string{
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x00\x00\x00\x00", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
	"GET /v1/status HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
	"POST /v1/checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
	"POST /v1/checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n", "POST /v1/checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
	"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nA: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "GET /livez HTTP/1.1\nHost: 127.0.0.1\n\n", "*3\r\n$3\r\nSET\r\n",
	"POST /v1/checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n",
}

// garbage says these things, and noise.
func (h *hostile) garbage(ctx context.Context) {
	noise := make([]byte, 8<<10)
	for n := 0; ctx.Err() == nil; n++ {
		text := notHTTP[n%len(notHTTP)]
		if n%5 == 0 {
			rand.Read(noise)
			text = string(noise)
		}
		h.exchange(ctx, text)
	}
}

// pipeline sends many requests at once, good and bad, with garbage behind.
func (h *hostile) pipeline(ctx context.Context) {
	many := strings.Repeat("GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 500)
	bad := strings.Repeat("POST /v1/checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+token+"\r\nContent-Type: application/json\r\nIdempotency-Key: p\r\nContent-Length: 3\r\n\r\n{]}", 200)
	for ctx.Err() == nil {
		h.exchange(ctx, many+"\x00\x01garbage\r\n\r\n"+many)
		h.exchange(ctx, bad+many[:100]+"\xff")
	}
}

// exchange sends and reads what comes, up to a bound.
func (h *hostile) exchange(ctx context.Context, text string) {
	c, err := h.dial(ctx)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		io.WriteString(c, text)
		c.(*net.TCPConn).CloseWrite()
	}()
	b, _ := io.ReadAll(io.LimitReader(c, 1<<20))
	c.Close()
	<-sent
	h.heard(b)
}

// deafReaders ask for much and take nothing of it.
func (h *hostile) deafReaders(ctx context.Context) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	paths := []string{"/metrics", "/debug/schema", "/v1/events?after=start", "/v1/status"}
	for n := 0; ctx.Err() == nil; n++ {
		if c, err := h.dial(ctx); err == nil {
			conns = append(conns, c)
			c.SetWriteDeadline(time.Now().Add(time.Second))
			io.WriteString(c, strings.Repeat("GET "+paths[n%len(paths)]+" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+token+"\r\n\r\n", 50))
		}
		if len(conns) > 300 {
			conns[0].Close()
			conns = conns[1:]
		}
		wait(ctx, 5*time.Millisecond)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// sell is a till of the shop: it sends each sale until it is answered, as front ends do.
// One keeps its connection, the other opens one for each call. It ends with ctx, between
// two sales.
func (h *hostile) sell(ctx context.Context, till int) {
	tr := &http.Transport{DisableKeepAlives: till == 1}
	defer tr.CloseIdleConnections()
	c := &http.Client{Timeout: 30 * time.Second, Transport: tr}
	for ctx.Err() == nil {
		key := fmt.Sprintf("till %d sale %d", till, h.sold[till].Load())
		for try := 0; ; try++ {
			if try == 1000 {
				h.t.Errorf("%s: given up", key)
				return
			}
			status, body, err := h.post(c, key)
			if err == nil && (status == http.StatusCreated || status == http.StatusOK) {
				break
			}
			if err == nil && status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
				h.t.Errorf("%s: %d %s", key, status, body)
				return
			}
		}
		h.sold[till].Add(1)
	}
}

func (h *hostile) post(c *http.Client, key string) (int, []byte, error) {
	req, err := http.NewRequest("POST", "http://"+h.addr+"/v1/checkout", strings.NewReader(sale))
	if err != nil {
		return 0, nil, err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Idempotency-Key": {key}}
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, b, err
}

// size is what posd has taken at most.
type size struct {
	memory int64 // bytes of its own
	files  int
}

// A connection takes some 20 KiB; a body, or a header, would take more than all of this.
const (
	mostMemory = 48 << 20
	mostFiles  = 300
)

func (s size) small() bool { return (raced || s.memory <= mostMemory) && s.files <= mostFiles }

// watch looks at the process until enough has happened.
func (h *hostile) watch(pid int, enough func() bool) (most size) {
	anon := regexp.MustCompile(`RssAnon:\s+(\d+) kB`)
	end := time.Now().Add(3 * time.Minute)
	for begun := time.Now(); !enough() || time.Since(begun) < 3*time.Second; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Errorf("not enough has happened in time: %d connections, sold %d and %d, answers %v", h.opened.Load(), h.sold[0].Load(), h.sold[1].Load(), h.answers())
			break
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		files, err2 := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		m := anon.FindSubmatch(b)
		if err := errors.Join(err, err2); err != nil || m == nil {
			h.t.Fatalf("posd has gone: %v", err)
		}
		kib, _ := strconv.ParseInt(string(m[1]), 10, 64)
		most.memory, most.files = max(most.memory, kib<<10), max(most.files, len(files))
	}
	return most
}

// metrics are posd's own, without labels summed up.
func (h *hostile) metrics() map[string]float64 {
	h.t.Helper()
	res, err := http.Get("http://" + h.addr + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			v, _ := strconv.ParseFloat(value, 64)
			all[name] += v
		}
	}
	return all
}

// compare: all sales are there, once; and what was sent against posd has arrived, or this
// would have shown nothing.
func (h *hostile) compare(before map[string]float64, sold int64) {
	h.t.Helper()
	after := h.metrics()
	grown := func(name string) float64 { return after[name] - before[name] }
	req, _ := http.NewRequest("GET", "http://"+h.addr+"/v1/shift", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	var shift struct{ Totals struct{ Sales int64 } }
	if err := json.NewDecoder(res.Body).Decode(&shift); err != nil {
		h.t.Fatal(err)
	}
	if shift.Totals.Sales != sold {
		h.t.Errorf("%d sales were acknowledged, the till has %d", sold, shift.Totals.Sales)
	}
	for name, least := range map[string]float64{
		"posd_http_connections_cut_total":                    float64(h.connections) / 2,
		`posd_refusals_total{reason="body-too-large"}`:       1,
		`posd_refusals_total{reason="unauthorized"}`:         1,
		`posd_refusals_total{reason="malformed-json"}`:       1,
		`posd_http_requests_total{route="livez",code="2xx"}`: 100,
	} {
		if grown(name) < least {
			h.t.Errorf("%s grew by %v only: the attack was none", name, grown(name))
		}
	}
	if h.opened.Load() < int64(h.connections) {
		h.t.Errorf("%d connections: the attack was none", h.opened.Load())
	}
}
