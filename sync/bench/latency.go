package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/journal/chain"
	"posd/packaging/lab/figures"
	"posd/packaging/lab/freeport"
	"posd/packaging/lab/slicebench/load"
	"posd/packaging/lab/slicebench/rig"
	"posd/sync/trust"
	"posd/sync/wire"
)

// latencyResult is the part "latency".
type latencyResult struct {
	Made
	Backlog uint64 // events of the other terminal
	Rows    []latencyRow
}

// latencyRow is what sales took in one scene, in milliseconds.
type latencyRow struct {
	Store, Scene           string
	Sales                  int
	P50, P99, Most         float64 // from the request to the watermark
	AnswerP50, AnswerP99   float64 // from the request to the terminal's answer
	DrainSeconds, DrainEPS float64 // of the backlog, beside the sales
	Stored                 float64 // bytes in the stream for a sale that goes alone
}

// Scenes of a run: what another terminal does meanwhile.
const (
	sceneIdle  = "idle"
	sceneOther = "a backlog drains in another shard"
	sceneSame  = "a backlog drains in the same shard"
)

const (
	idleSales  = 200
	saleEvery  = 40 * time.Millisecond
	backlogged = 0 // shard of the terminal with the backlog
)

// runLatency times sales from the front end's request to the watermark that covers
// them, through a real posd, nats-server and poshub.
func (r *hubRun) runLatency(ctx context.Context) error {
	o := r.options
	bin, err := buildPrograms(ctx, o.dir)
	if err != nil {
		return err
	}
	var journals []string
	for seed := range uint64(2) {
		path, err := makeJournal(o.dir, shapes[1], o.events, seed+1)
		if err != nil {
			return err
		}
		journals = append(journals, path)
	}
	m, res := begin(), &latencyResult{}
	for _, store := range []string{boltStore, postgresStore} {
		for _, shard := range []int{backlogged, backlogged + 1} {
			ledger := ""
			if store == postgresStore {
				if ledger, err = r.pg.Create(ctx); err != nil {
					return err
				}
			}
			l := latency{run: r, bin: bin, store: store, shard: shard, journals: journals}
			if err := l.measure(ctx, ledger, res); err != nil {
				return fmt.Errorf("%s, shard %d: %w", store, shard, err)
			}
		}
	}
	res.Made = m.made()
	r.Latency = res
	return nil
}

// latency is one till with its head office.
type latency struct {
	run      *hubRun
	bin      rig.Programs
	store    string
	shard    int // of the till
	journals []string
	office   *office
	url      string // of the till
	token    string
	client   *http.Client

	sales   []saleTime
	marks   marks // of the till
	backlog marks // of the other terminal
}

type saleTime struct {
	seq             uint64
	began, answered time.Time
}

func (l *latency) measure(ctx context.Context, ledger string, res *latencyResult) (err error) {
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	dir := filepath.Join(l.run.options.dir, "office")
	devices := []trust.Device{{Store: store, Terminal: terminal, Shard: backlogged}, {Store: store, Terminal: "t2", Shard: l.shard}}
	if l.office, err = startOffice(ctx, l.run.server, l.bin.Poshub, dir, "0-1", ledger, 0, devices); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.office.stop(), os.RemoveAll(dir)) }()
	nc, err := nats.Connect(l.office.url, nats.UserCredentials(filepath.Join(dir, "hub.creds")), nats.RootCAs(l.office.ca))
	if err != nil {
		return err
	}
	defer nc.Close()
	for name, m := range map[string]*marks{"t2": &l.marks, terminal: &l.backlog} {
		if _, err := nc.Subscribe(wire.LivePrefix+store+"."+name+".watermark.*", m.heard); err != nil {
			return err
		}
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	posd, err := l.startTill(ctx, filepath.Join(l.run.options.dir, "till"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, posd.Kill()) }()
	defer l.client.CloseIdleConnections()
	if err := l.sell(ctx, "warm", func(n int) bool { return n < 20 }); err != nil {
		return err
	}
	if l.shard == backlogged { // once is enough
		n := idleSales
		if l.run.options.quick {
			n /= 4
		}
		before, err := stored(ctx, nc, l.shard)
		if err != nil {
			return err
		}
		if err := l.sell(ctx, "idle", func(i int) bool { return i < n }); err != nil {
			return err
		}
		after, err := stored(ctx, nc, l.shard)
		if err != nil {
			return err
		}
		row := l.row(sceneIdle)
		row.Stored = float64(after-before) / float64(n)
		res.Rows = append(res.Rows, row)
	}
	row, err := l.besideBacklog(ctx, res)
	if err == nil {
		res.Rows = append(res.Rows, row)
	}
	return err
}

// stored is what a shard's stream takes on the servers' disks.
func stored(ctx context.Context, nc *nats.Conn, shard int) (uint64, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, err
	}
	s, err := js.Stream(ctx, wire.StreamName(shard))
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.Bytes, nil
}

// startTill makes a till and starts posd, without a quota.
func (l *latency) startTill(ctx context.Context, dir string) (*rig.Process, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	till, err := rig.MakeTerminal(ctx, l.bin, dir, "t2", "", 0)
	if err != nil {
		return nil, err
	}
	port, err := freeport.Number()
	if err != nil {
		return nil, err
	}
	at := fmt.Sprintf("127.0.0.1:%d", port)
	text := rig.Place{Data: till.Dir, Listen: at, Rate: 100_000, Extra: rig.NoLimits}.Config("t2") +
		fmt.Sprintf("\n[hub]\nurls = [%q]\ncredentials = %q\nca_file = %q\nshard = %d\n", l.office.url, credentials(l.office.dir, 1), l.office.ca, l.shard)
	conf := filepath.Join(dir, "posd.toml")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	posd, err := rig.Begin("posd", filepath.Join(dir, "posd.log"), nil, l.bin.Posd, "--config", conf)
	if err != nil {
		return nil, err
	}
	l.url, l.token, l.client = "http://"+at, till.Token, &http.Client{Timeout: 30 * time.Second}
	err = posd.Wait(ctx, "readiness", func() error { _, err := rig.Get(ctx, l.client, l.url+"/readyz", ""); return err })
	if err != nil {
		return nil, errors.Join(err, posd.Kill())
	}
	return posd, nil
}

// sell makes a sale every saleEvery, whatever becomes of the ones before, as long as
// more says, and waits until all are settled.
func (l *latency) sell(ctx context.Context, name string, more func(n int) bool) error {
	l.sales = nil
	tick := time.NewTicker(saleEvery)
	defer tick.Stop()
	for n := 0; more(n); n++ {
		began := time.Now()
		a, err := load.Checkout(ctx, l.client, l.url, l.token, fmt.Sprintf("%s-%d-%d", name, n, began.UnixNano()))
		if err != nil {
			return err
		}
		l.sales = append(l.sales, saleTime{a.Seq, began, time.Now()})
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	last := l.sales[len(l.sales)-1].seq
	for l.marks.newest() < last {
		select {
		case <-ctx.Done():
			return fmt.Errorf("settled up to record %d of %d: %w", l.marks.newest(), last, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// row says what the sales took.
func (l *latency) row(scene string) latencyRow {
	var all, answers []float64
	for _, s := range l.sales {
		all = append(all, float64(l.marks.of(s.seq).Sub(s.began).Microseconds())/1000)
		answers = append(answers, float64(s.answered.Sub(s.began).Microseconds())/1000)
	}
	return latencyRow{Store: l.store, Scene: scene, Sales: len(all), P50: quantile(all, 0.5), P99: quantile(all, 0.99), Most: quantile(all, 1),
		AnswerP50: quantile(answers, 0.5), AnswerP99: quantile(answers, 0.99)}
}

// besideBacklog sells while another terminal's backlog goes to the ledger.
func (l *latency) besideBacklog(ctx context.Context, res *latencyResult) (row latencyRow, err error) {
	scene, began := sceneOther, time.Now()
	if l.shard == backlogged {
		scene = sceneSame
	}
	ended, shipped := make(chan error, 1), uint64(0)
	go func() { // waited for below: more is false only after it has ended
		var err error
		for i, path := range l.journals {
			t := task{Kind: "uplink", Journal: path, URLs: []string{l.office.url}, Credentials: credentials(l.office.dir, 0), CA: l.office.ca,
				Dir: filepath.Join(l.office.dir, fmt.Sprint("backlog", i))}
			var s sample
			if err = errors.Join(os.MkdirAll(t.Dir, 0o750), do(ctx, t, &s)); err != nil {
				break
			}
			shipped += s.Events
		}
		ended <- err
	}()
	var all bool
	err = l.sell(ctx, "backlog", func(int) bool {
		if !all {
			select {
			case err2 := <-ended:
				all, err = true, err2
			default:
				return true
			}
		}
		return err == nil && l.backlog.sum() < shipped
	})
	if !all {
		err = errors.Join(err, <-ended)
	}
	if err != nil {
		return row, err
	}
	row = l.row(scene)
	row.DrainSeconds = l.backlog.last().Sub(began).Seconds()
	row.DrainEPS, res.Backlog = float64(shipped)/row.DrainSeconds, shipped
	return row, nil
}

// marks are the watermarks that have come.
type marks struct {
	mu  sync.Mutex
	all []mark
	far map[chain.ID]uint64 // by journal
}

type mark struct {
	seq uint64
	at  time.Time
}

// heard takes a watermark off the wire. What cannot be read would leave sales open, and
// end the run with that.
func (m *marks) heard(msg *nats.Msg) {
	at := time.Now()
	w, err := wire.ParseWatermark(msg.Data)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.far == nil {
		m.far = make(map[chain.ID]uint64)
	}
	m.all = append(m.all, mark{w.Seq, at})
	m.far[w.Journal] = max(m.far[w.Journal], w.Seq)
}

// of is when record seq was first known to be settled, for one journal.
func (m *marks) of(seq uint64) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.all {
		if k.seq >= seq {
			return k.at
		}
	}
	return time.Time{}
}

func (m *marks) newest() (seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.all {
		seq = max(seq, k.seq)
	}
	return seq
}

// sum is how far all journals are together.
func (m *marks) sum() (n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, seq := range m.far {
		n += seq
	}
	return n
}

// last is when the last one came.
func (m *marks) last() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all[len(m.all)-1].at
}

// quantile of v, 1 for the largest.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	return v[min(len(v)-1, int(q*float64(len(v))))]
}

func (r *latencyResult) text() string {
	if r == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n\n", r.Machine, r.Load)
	r.table().Print(&b)
	b.WriteByte('\n')
	return b.String()
}

var latencyHeader = []string{"ledger", "scene", "sales", "settled p50 ms", "p99", "max", "answered p50 ms", "p99", "backlog drains at, events/s"}

func (r *latencyResult) table() figures.Table {
	t := figures.Table{Header: latencyHeader}
	for _, row := range r.Rows {
		t.Rows = append(t.Rows, row.cells())
	}
	return t
}

func (r *latencyRow) cells() []string {
	drain := ""
	if r.DrainEPS > 0 {
		drain = fmt.Sprintf("%.0f", r.DrainEPS)
	}
	return []string{r.Store, r.Scene, fmt.Sprint(r.Sales), fmt.Sprintf("%.1f", r.P50), fmt.Sprintf("%.1f", r.P99), fmt.Sprintf("%.1f", r.Most),
		fmt.Sprintf("%.2f", r.AnswerP50), fmt.Sprintf("%.2f", r.AnswerP99), drain}
}
