package outbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/journal/chain"
	"posd/packaging/lab/freeport"
	"posd/sync/ledger"
)

// rig is a NATS server, a ledger, and publishers between them.
type rig struct {
	t    testing.TB
	dir  string // of the server
	srv  *server.Server
	nc   *nats.Conn // of the test itself
	js   jetstream.JetStream
	path string // of the ledger's file
	url  string // of the ledger's database, "" = the file
	port int
	all  string // URLs of a cluster
	led  ledger.Ledger
	cfg  jetstream.StreamConfig
	due  []string // names, in the order in which they took effect
	runs []*running
}

// running is a publisher at work.
type running struct {
	o    *Outbox
	nc   *nats.Conn
	end  context.CancelFunc
	done chan error
}

func newRig(t testing.TB) *rig { return newRigOn(t, "") }

// newRigOn has its ledger in a PostgreSQL database, if there is a URL.
func newRigOn(t testing.TB, url string) *rig {
	r := &rig{t: t, dir: t.TempDir(), url: url, cfg: StreamConfig("", 1, 0, -1), path: filepath.Join(t.TempDir(), "ledger.db")}
	r.startServer()
	t.Cleanup(r.close)
	r.open()
	r.makeStream()
	return r
}

func (r *rig) close() {
	r.stop()
	r.nc.Close()
	r.srv.Shutdown()
	r.srv.WaitForShutdown()
	if r.led != nil {
		r.led.Close()
	}
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.url != "" {
		r.led, err = ledger.OpenPostgres(context.Background(), r.url, ledger.PostgresOptions{})
	} else {
		r.led, err = ledger.OpenBolt(r.path)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) startServer() {
	r.t.Helper()
	var err error
	if r.port == 0 {
		if r.port, err = freeport.Number(); err != nil {
			r.t.Fatal(err)
		}
	}
	r.srv, err = server.NewServer(&server.Options{Host: "127.0.0.1", Port: r.port, JetStream: true, StoreDir: r.dir, NoSigs: true, MaxPayload: 64 << 10})
	if err != nil {
		r.t.Fatal(err)
	}
	r.srv.Start()
	if !r.srv.ReadyForConnections(30 * time.Second) {
		r.t.Fatal("the server does not start")
	}
	if r.nc, err = nats.Connect(r.srv.ClientURL()); err != nil {
		r.t.Fatal(err)
	}
	r.js, _ = jetstream.New(r.nc)
}

func (r *rig) stopServer() {
	r.nc.Close()
	r.srv.Shutdown()
	r.srv.WaitForShutdown()
}

func (r *rig) makeStream() {
	r.t.Helper()
	if _, err := r.js.CreateOrUpdateStream(context.Background(), r.cfg); err != nil {
		r.t.Fatal(err)
	}
}

// payload of event seq of a journal.
func payload(id chain.ID, seq uint64, fill int) []byte {
	return fmt.Appendf(nil, `{"v":1,"type":"sale.completed","time":"2026-11-21T09:30:00.123Z","data":{"n":%d,"of":"%s","fill":"%s"}}`,
		seq, id, strings.Repeat("x", fill))
}

func headOf(id chain.ID, seq uint64) chain.Head {
	return id.Head0().Next(fmt.Appendf(nil, "%d", seq))
}

// enter lets events from to to of a journal take effect in a lane.
func (r *rig) enter(lane string, journal byte, from, to uint64) {
	r.t.Helper()
	r.enterWith(lane, journal, from, to, func(id chain.ID, seq uint64) []byte { return payload(id, seq, 0) })
}

func (r *rig) enterWith(lane string, journal byte, from, to uint64, make func(chain.ID, uint64) []byte) {
	r.t.Helper()
	id := chain.ID{journal}
	var names []string
	if err := r.led.Update(context.Background(), func(tx ledger.Tx) error {
		names = names[:0]
		pos, err := tx.Position(lane)
		if err != nil {
			return err
		}
		was := pos
		err = tx.PutChain(ledger.Chain{Journal: id, Store: "s1", Terminal: fmt.Sprintf("t%d", journal), Last: to, Head: headOf(id, to), Updated: time.Now().UTC()})
		var out []ledger.Name
		for seq := from; seq <= to; seq++ {
			n := ledger.Name{Journal: id, Seq: seq, Head: headOf(id, seq)}
			err = errors.Join(err, tx.PutRecord(id, seq, n.Head, make(id, seq)))
			out = append(out, n)
			names = append(names, Name(n))
		}
		err = errors.Join(err, Put(tx, lane, &pos, out))
		return errors.Join(err, tx.SetPosition(lane, was, pos))
	}); err != nil {
		r.t.Fatal(err)
	}
	known := map[string]bool{}
	for _, n := range r.due {
		known[n] = true
	}
	for _, n := range names {
		if !known[n] {
			r.due = append(r.due, n)
		}
	}
}

// start runs a publisher with a connection of its own.
func (r *rig) start(b bug, change ...func(*Options)) *running {
	r.t.Helper()
	o := Options{Ledger: r.led, Poll: 5 * time.Millisecond, bug: b}
	url := cmp.Or(r.all, r.srv.ClientURL())
	for _, f := range change {
		f(&o)
	}
	if o.Conn == nil {
		nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(10*time.Millisecond))
		if err != nil {
			r.t.Fatal(err)
		}
		o.Conn = nc
	}
	p, err := New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &running{o: p, nc: o.Conn, end: cancel, done: make(chan error, 1)}
	go func() { run.done <- p.Run(ctx) }()
	r.runs = append(r.runs, run)
	return run
}

// stop ends all publishers in good order.
func (r *rig) stop() {
	for _, run := range r.runs {
		run.end()
		<-run.done
		run.nc.Close()
	}
	r.runs = nil
}

func (r *rig) eventually(what string, ok func() bool) error {
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("never happened: %s", what)
		}
	}
	return nil
}

// last is the end of the stream.
func (r *rig) last() uint64 {
	s, err := r.js.Stream(context.Background(), r.cfg.Name)
	if err != nil {
		return 0
	}
	return s.CachedInfo().State.LastSeq
}

// noted is whether the ledger's note has come to the end of all lanes.
func (r *rig) noted() bool {
	ok := true
	r.led.View(context.Background(), func(tx ledger.Tx) error {
		n, err := readNote(tx)
		if err != nil {
			ok = false
			return err
		}
		all, err := lanes(tx)
		for _, lane := range all {
			pos, err := tx.Position(lane)
			ok = ok && err == nil && n.Lanes[lane] == pos.Out
		}
		ok = ok && err == nil && len(all) > 0
		return nil
	})
	return ok
}

// message of the stream as a consumer sees it.
type cloud struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Journal     string          `json:"journal"`
	Seq         string          `json:"seq"`
	DataRef     string          `json:"dataref"`
	Data        json.RawMessage `json:"data"`
	Base64      []byte          `json:"data_base64"`
	subject     string
}

// read is the whole stream; what is no CloudEvent has no ID.
func (r *rig) read() (all []cloud) {
	r.t.Helper()
	ctx := context.Background()
	cons, err := r.js.OrderedConsumer(ctx, r.cfg.Name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	st, _ := r.js.Stream(ctx, r.cfg.Name)
	want := st.CachedInfo().State.Msgs
	it, err := cons.Messages()
	if err != nil {
		r.t.Fatal(err)
	}
	defer it.Stop()
	for range want {
		m, err := it.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		var c cloud
		if json.Unmarshal(m.Data(), &c) != nil {
			c = cloud{}
		}
		c.subject = m.Subject()
		all = append(all, c)
	}
	return all
}

// once checks that the stream holds each event once, and those of a journal in order.
func (r *rig) once() error {
	seen := map[string]int{}
	lastOf := map[string]uint64{}
	var err error
	for i, c := range r.read() {
		if c.ID == "" {
			continue
		}
		n, e := parseName(c.ID)
		if e != nil {
			return e
		}
		if seen[c.ID]++; seen[c.ID] > 1 {
			err = errors.Join(err, fmt.Errorf("event %d of journal %d is there twice, again as message %d", n.Seq, n.Journal[0], i+1))
		} else if n.Seq <= lastOf[c.Journal] {
			err = errors.Join(err, fmt.Errorf("event %d of journal %d comes behind %d", n.Seq, n.Journal[0], lastOf[c.Journal]))
		}
		lastOf[c.Journal] = n.Seq
	}
	for _, name := range r.due {
		if seen[name] == 0 {
			err = errors.Join(err, fmt.Errorf("%s is missing", name))
		}
		delete(seen, name)
	}
	if len(seen) > 0 {
		err = errors.Join(err, fmt.Errorf("%d events from nowhere", len(seen)))
	}
	if err != nil { // the first lines are enough
		if s := strings.SplitN(err.Error(), "\n", 6); len(s) > 5 {
			err = errors.New(strings.Join(s[:5], "\n"))
		}
	}
	return err
}

// settled waits until all is published and noted, and checks it.
func (r *rig) settled() error {
	if err := r.eventually("all is published", r.noted); err != nil {
		return err
	}
	return r.once()
}

// proxy passes bytes on between a publisher and the server, and can swallow what comes back.
type proxy struct {
	l      net.Listener
	to     string
	mu     sync.Mutex
	deaf   bool
	conns  []net.Conn
	ending sync.WaitGroup
}

func newProxy(t testing.TB, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to}
	p.ending.Add(1)
	go p.serve()
	t.Cleanup(func() { l.Close(); p.cut(); p.ending.Wait() })
	return p
}

func (p *proxy) serve() {
	defer p.ending.Done()
	for {
		a, err := p.l.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", p.to)
		if err != nil {
			a.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, a, b)
		p.mu.Unlock()
		p.ending.Add(2)
		go func() { defer p.ending.Done(); io.Copy(b, a); b.Close() }()
		go func() { defer p.ending.Done(); p.back(a, b); a.Close() }()
	}
}

func (p *proxy) back(a, b net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := b.Read(buf)
		p.mu.Lock()
		deaf := p.deaf
		p.mu.Unlock()
		if !deaf && n > 0 {
			if _, err := a.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// set makes the proxy deaf: the server gets all, the publisher hears nothing.
func (p *proxy) set(deaf bool) { p.mu.Lock(); p.deaf = deaf; p.mu.Unlock() }

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// copyLedger copies the file of a ledger that is closed.
func copyLedger(r *rig, to string) error {
	b, err := os.ReadFile(r.path)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// wellFormed checks a message as a strict reader does.
func wellFormed(c cloudEvent, payload []byte, ref bool) error {
	var got cloud
	if err := json.Unmarshal(c.body, &got); err != nil {
		return err
	}
	if !strings.HasPrefix(c.subject, Prefix) || strings.ContainsAny(c.subject, " *>\t\r\n") || strings.Contains(c.subject, "..") || strings.HasSuffix(c.subject, ".") {
		return fmt.Errorf("subject %q", c.subject)
	}
	if data := string(got.Data) + string(got.Base64); !ref && data != string(bytes.TrimSpace(payload)) && data != string(payload) {
		return fmt.Errorf("data %q", data)
	}
	return nil
}
