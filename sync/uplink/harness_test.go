package uplink

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/journal"
	"posd/journal/chain"
	"posd/packaging/lab/freeport"
	"posd/pos/event"
	"posd/sync/hub"
	"posd/sync/wire"
)

// giveUp bounds the waits for something that must happen; nothing is measured by it.
const giveUp = 90 * time.Second

var quick = times{
	connect: 2 * time.Second, budget: 4 * time.Second, request: 2 * time.Second, ack: time.Second, quiet: time.Second, probe: time.Second,
	refused: 500 * time.Millisecond, home: 50 * time.Millisecond, backoff: 200 * time.Millisecond, firstWait: 5 * time.Millisecond,
	stuck: 300 * time.Millisecond, save: 20 * time.Millisecond, pulse: 2 * time.Second,
	beat: 100 * time.Millisecond, beatMin: 10 * time.Millisecond,
	marks: 50 * time.Millisecond, look: 10 * time.Millisecond, rotten: 200 * time.Millisecond, unreadable: 500 * time.Millisecond,
}

func logger(t testing.TB, name string) *slog.Logger {
	level := slog.Level(100)
	if os.Getenv("UPLINK_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("who", name, "test", t.Name())
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(giveUp); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// hubServer is a hub on a data folder, that can be stopped and started again on the same port.
type hubServer struct {
	t    testing.TB
	dir  string
	addr string // of NATS
	opt  hub.Options
	h    *hub.Hub
	stop func() // ends Run
}

func newHub(t testing.TB) *hubServer {
	s := &hubServer{t: t, dir: filepath.Join(t.TempDir(), "hub"), addr: freeport.For(t)}
	s.opt = hub.Options{Dir: s.dir, NATSListen: s.addr, Pulse: 50 * time.Millisecond, Log: logger(t, "hub")}
	t.Cleanup(s.close)
	return s
}

// open starts the NATS server, run the ingest.
func (s *hubServer) open() {
	s.t.Helper()
	h, err := hub.Open(s.opt)
	if err != nil {
		s.t.Fatal(err)
	}
	s.h = h
}

func (s *hubServer) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func(h *hub.Hub) { done <- h.Run(ctx) }(s.h)
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("hub: %v", err)
		}
		s.stop = nil
	}
}

func (s *hubServer) start() *hubServer { s.open(); s.run(); return s }

// ready waits until a terminal's first session holds: a hub that has just started is one
// that cannot be used.
func (s *hubServer) ready() *hubServer {
	s.t.Helper()
	_, js := s.client()
	for _, name := range []string{"POS_UP_0", "KV_pos_cfg"} {
		eventually(s.t, name+" is there", func() bool { _, err := js.Stream(s.t.Context(), name); return err == nil })
	}
	return s
}

func (s *hubServer) close() {
	if s.stop != nil {
		s.stop()
	}
	if s.h != nil {
		if err := s.h.Close(); err != nil {
			s.t.Errorf("close hub: %v", err)
		}
		s.h = nil
	}
}

func (s *hubServer) tokenFile() string { return filepath.Join(s.dir, "nats.token") }

func readToken(t testing.TB, path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// get asks the HTTP interface.
func (s *hubServer) get(path string) []byte {
	s.t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Authorization", "Bearer "+readToken(s.t, filepath.Join(s.dir, "api.token")))
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}} // where certificates are asked for
	w := httptest.NewRecorder()
	s.h.Handler().ServeHTTP(w, r)
	if w.Code != 200 {
		s.t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

type row struct {
	Journal string          `json:"journal"`
	Seq     uint64          `json:"seq"`
	Head    string          `json:"head"`
	Event   json.RawMessage `json:"event"`
}

func (s *hubServer) events() (rows []row) {
	sc := bufio.NewScanner(bytes.NewReader(s.get("/v1/events")))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var r row
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			s.t.Fatalf("%s: %v", sc.Bytes(), err)
		}
		rows = append(rows, r)
	}
	return rows
}

type chainRow struct {
	Journal                           string
	Last, Records, Events, Lost, Want uint64
	Held, Head, Store, Terminal       string
}

func (s *hubServer) chain(id chain.ID) (c chainRow) {
	var all []chainRow
	if err := json.Unmarshal(s.get("/v1/terminals"), &all); err != nil {
		s.t.Fatal(err)
	}
	for _, c := range all {
		if c.Journal == id.String() {
			return c
		}
	}
	return c
}

func (s *hubServer) status() (st struct{ Quarantined, Position uint64 }) {
	if err := json.Unmarshal(s.get("/v1/status"), &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

func (s *hubServer) quarantined() uint64 { return s.status().Quarantined }
func (s *hubServer) position() uint64    { return s.status().Position }

// client is an administrator's connection.
func (s *hubServer) client() (*nats.Conn, jetstream.JetStream) {
	nc, err := nats.Connect("nats://"+s.addr, nats.Token(readToken(s.t, s.tokenFile())))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	return nc, js
}

// streamOnce checks that the stream carries the journal's records 1 to last, each once and in order.
func (s *hubServer) streamOnce(id chain.ID, last uint64) error {
	_, js := s.client()
	ctx, cancel := context.WithTimeout(context.Background(), giveUp)
	defer cancel()
	st, err := js.Stream(ctx, "POS_UP_0")
	if err != nil {
		return err
	}
	next := uint64(1)
	info := st.CachedInfo()
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		m, err := st.GetMsg(ctx, seq)
		if err != nil {
			return err
		}
		p, err := wire.Decode(m.Data, nil)
		if err != nil {
			return err
		}
		if p.Journal != id {
			continue
		}
		if p.First != next {
			return fmt.Errorf("message %d carries records %d to %d where %d belongs", seq, p.First, p.Last, next)
		}
		next = p.Last + 1
	}
	if next != last+1 {
		return fmt.Errorf("the stream ends after record %d, not %d", next-1, last)
	}
	return nil
}

// till is a terminal: a journal and its uplink.
type till struct {
	t    testing.TB
	dir  string
	name string
	j    *journal.Journal
	u    *Uplink
	opt  Options
	stop func()
	n    int
	t0   times          // zero: quick
	pace Pacer          // nil: none
	more func(*Options) // nil: nothing
	pre  func(*Uplink)  // before it runs; nil: nothing
	keep time.Duration  // settled records
	sold []row          // what was sold, as the ledger must have it
}

func newTill(t testing.TB, name string) *till { return newKeeper(t, name, 0) }

// newKeeper keeps what is settled for a while, as a real till does.
func newKeeper(t testing.TB, name string, keep time.Duration) *till {
	tl := &till{t: t, dir: t.TempDir(), name: name, keep: keep}
	_, err := journal.Create(tl.journalDir(), journal.CreateOptions{
		Identity: journal.Identity{Store: "s1", Terminal: name}, SegmentSize: 128 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tl.close)
	return tl.open()
}

func (tl *till) journalDir() string { return filepath.Join(tl.dir, "journal") }

func (tl *till) open() *till {
	j, err := journal.Open(tl.journalDir(), journal.Options{SegmentSize: 128 << 10, Retention: tl.keep, Log: logger(tl.t, tl.name)})
	if err != nil {
		tl.t.Fatal(err)
	}
	tl.j = j
	return tl
}

type blob []byte

func (b blob) AppendRecord(dst []byte, _ uint64) ([]byte, error) { return append(dst, b...), nil }

// sell appends n events of about size bytes, durably.
func (tl *till) sell(n, size int) {
	tl.t.Helper()
	var last uint64
	for range n {
		tl.n++
		b := fmt.Appendf(nil, `{"v":1,"type":"test","data":{"till":%q,"n":%d,"pad":"%s"}}`, tl.name, tl.n, strings.Repeat("x", size))
		seq, err := tl.j.Append(event.RecordType, journal.Durable, len(b), blob(b))
		if err != nil {
			tl.t.Fatal(err)
		}
		last = seq
		tl.sold = append(tl.sold, row{Seq: seq, Event: b})
	}
	if err := tl.j.Wait(context.Background(), last); err != nil {
		tl.t.Fatal(err)
	}
}

// link starts the uplink towards addr.
func (tl *till) link(addr, tokenFile string, b bug) *till {
	tl.t.Helper()
	tl.opt = Options{Journal: tl.j, URLs: []string{"nats://" + addr}, Store: "s1", Terminal: tl.name, TokenFile: tokenFile,
		StatePath: filepath.Join(tl.dir, "uplink.state"), Pacer: tl.pace, Log: logger(tl.t, tl.name), t: quick, bug: b}
	if tl.t0 != (times{}) {
		tl.opt.t = tl.t0
	}
	if tl.more != nil {
		tl.more(&tl.opt)
	}
	u, err := New(tl.opt)
	if err != nil {
		tl.t.Fatal(err)
	}
	tl.u = u
	if tl.pre != nil {
		tl.pre(u)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	tl.stop = func() {
		cancel()
		if err := <-done; err != nil {
			tl.t.Errorf("uplink: %v", err)
		}
		tl.stop = nil
	}
	return tl
}

func (tl *till) unlink() {
	if tl.stop != nil {
		tl.stop()
	}
}

func (tl *till) close() {
	tl.unlink()
	if tl.j != nil {
		if err := tl.j.Close(); err != nil {
			tl.t.Errorf("close journal: %v", err)
		}
		tl.j = nil
	}
}

func (tl *till) floor() uint64 { n, _ := tl.j.Floor(); return n }

func (tl *till) waitSettled() {
	tl.t.Helper()
	eventually(tl.t, fmt.Sprintf("%s settled", tl.name), func() bool { return tl.u.Status().Settled == tl.floor() })
}

// inLedger checks that the ledger has each event that the till sold exactly
// once, in order, byte for byte, and nothing else of it; the head of the chain
// stands for all the records between.
func (s *hubServer) inLedger(tl *till) error {
	var got []row
	for _, r := range s.events() {
		if r.Journal == tl.j.ID().String() {
			got = append(got, r)
		}
	}
	for i := range min(len(got), len(tl.sold)) {
		if got[i].Seq != tl.sold[i].Seq || !bytes.Equal(got[i].Event, tl.sold[i].Event) {
			return fmt.Errorf("row %d is record %d %.80s, want %d %.80s", i, got[i].Seq, got[i].Event, tl.sold[i].Seq, tl.sold[i].Event)
		}
	}
	floor, head := tl.j.Floor()
	c := s.chain(tl.j.ID())
	switch {
	case len(got) != len(tl.sold) || c.Events != uint64(len(got)):
		return fmt.Errorf("%d events in the ledger, %d counted there, %d sold", len(got), c.Events, len(tl.sold))
	case c.Last != floor || c.Head != head.String():
		return fmt.Errorf("the ledger's chain ends at %d %s, the journal at %d %s", c.Last, c.Head, floor, head)
	case c.Records+c.Lost != c.Last:
		return fmt.Errorf("%d records were entered and %d lost, of %d", c.Records, c.Lost, c.Last)
	case c.Lost > 0:
		return fmt.Errorf("%d records were declared lost", c.Lost)
	case s.quarantined() > 0:
		return errors.New("something is in quarantine")
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// proxy stands between terminal and server, and does to their connections what
// a bad link does.
type proxy struct {
	l     net.Listener
	to    string
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[*pipe]bool
	drop  []byte // answers of the server that contain it are lost
	thin  bool   // parcels that come back from the server are lost
}

type pipe struct {
	p        *proxy
	down, up net.Conn // to the terminal, to the server
	mu       sync.Mutex
	held     []byte // from the terminal
	answer   []byte // from the server
	holding  bool
}

func newProxy(t testing.TB, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to, conns: make(map[*pipe]bool)}
	p.wg.Add(1)
	go p.accept()
	t.Cleanup(func() {
		l.Close()
		p.each(func(c *pipe) { c.down.Close(); c.up.Close() })
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

// lose sets what an answer holds that never arrives.
func (p *proxy) lose(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop = []byte(what)
}

func (p *proxy) each(f func(*pipe)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		f(c)
	}
}

func (p *proxy) accept() {
	defer p.wg.Done()
	for {
		down, err := p.l.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.to)
		if err != nil {
			down.Close()
			continue
		}
		c := &pipe{p: p, down: down, up: up}
		p.mu.Lock()
		p.conns[c] = true
		p.mu.Unlock()
		p.wg.Add(2)
		go func() { defer p.wg.Done(); c.upward() }()
		go func() { defer p.wg.Done(); c.downward() }()
	}
}

func (c *pipe) upward() {
	b := make([]byte, 64<<10)
	for {
		n, err := c.down.Read(b)
		c.mu.Lock()
		if c.holding {
			c.held = append(c.held, b[:n]...)
		} else if n > 0 {
			if _, werr := c.up.Write(b[:n]); werr != nil {
				err = werr
			}
		}
		keep := c.holding
		c.mu.Unlock()
		if err != nil {
			if !keep {
				c.end()
			}
			return
		}
	}
}

// downward passes on what the server says; once the terminal is gone and its
// data is held, it is noted instead, and the server's side stays up.
func (c *pipe) downward() {
	defer c.end()
	b := make([]byte, 64<<10)
	for {
		n, err := c.up.Read(b)
		if err != nil {
			return
		}
		c.p.mu.Lock()
		thin := c.p.thin
		drop := c.p.drop
		c.p.mu.Unlock()
		if thin && bytes.Contains(b[:n], []byte("Pos-Last:")) {
			continue
		}
		if drop != nil && bytes.Contains(b[:n], drop) {
			continue
		}
		_, err = c.down.Write(b[:n])
		c.mu.Lock()
		keep := c.holding
		if keep && err != nil {
			c.answer = append(c.answer, b[:n]...)
		}
		c.mu.Unlock()
		if err != nil && !keep {
			return
		}
	}
}

// answered reports whether the server has decided about what was delivered.
func (c *pipe) answered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(c.answer, []byte(`"stream":"POS_UP_0"`))
}

func (c *pipe) end() {
	c.down.Close()
	c.up.Close()
	c.p.mu.Lock()
	delete(c.p.conns, c)
	c.p.mu.Unlock()
}

// cut drops both sides of every connection.
func (p *proxy) cut() { p.each(func(c *pipe) { c.down.Close(); c.up.Close() }) }

// delay keeps back from now on what the terminal sends on its present
// connections. It returns a function that reports what is kept.
func (p *proxy) delay() (kept func() []*pipe) {
	var all []*pipe
	p.each(func(c *pipe) {
		c.mu.Lock()
		c.holding = true
		c.mu.Unlock()
		all = append(all, c)
	})
	return func() (full []*pipe) {
		for _, c := range all {
			c.mu.Lock()
			if bytes.Contains(c.held, []byte("PUB pos.up.")) && complete(c.held) {
				full = append(full, c)
			}
			c.mu.Unlock()
		}
		return full
	}
}

// complete reports whether held ends with the whole of the last message: the
// client writes a message in one go, and a parcel's length stands in its HPUB line.
func complete(held []byte) bool {
	i := bytes.LastIndex(held, []byte("HPUB pos.up."))
	if i < 0 {
		return false
	}
	line, rest, ok := bytes.Cut(held[i:], []byte("\r\n"))
	f := strings.Fields(string(line))
	n, err := strconv.Atoi(f[len(f)-1])
	return ok && err == nil && len(rest) >= n+2
}

// deliver sends what was kept to the server, late.
func (c *pipe) deliver() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.up.Write(c.held)
	c.held = nil
	return err
}
