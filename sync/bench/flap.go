package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/journal"
	"posd/packaging/lab/figures"
	"posd/sync/trust"
	"posd/sync/uplink"
)

// flapRun is a run of "bench flap": what it takes to come back on a link that is cut
// again and again. The servers run in this process: only there can session tickets be
// switched off. No hub runs beside them; it has no part in coming back.
type flapRun struct {
	machine
	dir   string
	drops int
	rows  []*flapRow
}

// flapRow is one terminal with a server and a link of its own.
type flapRow struct {
	every, rtt      time.Duration
	mutual, tickets bool

	pause, connected, acked []float64 // ms since the link came back: dialled, connected, first parcel acknowledged
	connect                 []float64 // ms from dialling to connected
	up, down, trips         []float64 // until that acknowledgement, the parcel itself left out
	missed                  int       // drops that came before it
	full, resumed           uint64    // handshakes
}

func flapCommand(ctx context.Context, args []string) error {
	r := &flapRun{}
	f := flag.NewFlagSet("bench flap", flag.ContinueOnError)
	f.StringVar(&r.dir, "dir", ".tools/bench.d", "`folder` for journals and the servers' files")
	f.IntVar(&r.drops, "drops", 12, "`number` of times that each link is cut")
	if err := f.Parse(args); err != nil {
		return err
	}
	if r.drops < 1 || f.NArg() > 0 {
		return errors.New("bench flap: at least one drop, and no other arguments")
	}
	for _, every := range []time.Duration{10 * time.Second, 2 * time.Second} {
		for _, rtt := range []time.Duration{0, 80 * time.Millisecond} {
			for i := range 4 {
				r.rows = append(r.rows, &flapRow{every: every, rtt: rtt, mutual: i >= 2, tickets: i%2 == 0})
			}
		}
	}
	if err := r.run(ctx); err != nil {
		return err
	}
	r.print(os.Stdout)
	return nil
}

// run lets all rows run side by side, but not in step: they wait most of the time.
func (r *flapRun) run(ctx context.Context) (err error) {
	r.machine = begin()
	defer r.end()
	dir := filepath.Join(r.dir, "flap")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var wg sync.WaitGroup
	errs := make([]error, len(r.rows))
	for i, row := range r.rows {
		offset := row.every * time.Duration(i) / time.Duration(len(r.rows))
		wg.Go(func() { errs[i] = row.run(ctx, filepath.Join(dir, fmt.Sprint(i)), r.drops, offset) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (w *flapRow) run(ctx context.Context, dir string, drops int, offset time.Duration) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", w.name(), err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, giveUp+w.every*time.Duration(drops))
	defer cancel()
	o, err := newOffice(dir, 0, w.mutual, []trust.Device{{Store: store, Terminal: terminal}})
	if err != nil {
		return err
	}
	ns, err := w.serve(ctx, o)
	if err != nil {
		return err
	}
	defer func() { ns.Shutdown(); ns.WaitForShutdown() }()
	link, err := newFlapLink(strings.TrimPrefix(o.url, "tls://"), w.rtt/2)
	if err != nil {
		return err
	}
	defer link.close()
	path := filepath.Join(dir, "journal")
	if err := newJournal(path, store, terminal, herdSegment, shapes[0], 200, 1); err != nil {
		return err
	}
	j, err := openJournal(path, herdSegment)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer func() { cancel(); running.Wait(); err = errors.Join(err, j.Close()) }()
	set := metrics.NewSet()
	opt := uplink.Options{Journal: j, URLs: []string{"tls://" + link.l.Addr().String()}, Store: store, Terminal: terminal,
		Credentials: credentials(dir, 0), CAFile: o.ca, StatePath: filepath.Join(dir, "uplink.state"), Metrics: set}
	if w.mutual {
		opt.CertFile, opt.KeyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	}
	u, err := uplink.New(opt)
	if err != nil {
		return err
	}
	ended, sell := make(chan error, 2), make(chan struct{})
	running.Go(func() { ended <- u.Run(ctx) })
	running.Go(func() { ended <- sales(ctx, j, sell) })
	for u.Status().Unsent > 0 || u.Status().Parcels == 0 { // the backlog
		if err := pauseFor(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("%w: %s", err, u.Status().LastError)
		}
	}
	meter := func(name string) *metrics.Counter { return set.GetOrCreateCounter("posd_uplink_" + name + "_total") }
	f := &flapping{row: w, link: link, uplink: u, sell: sell, ended: ended, connects: meter("connects"), wire: meter("wire_bytes")}
	resumed := meter("tls_resumed")
	connects0, resumed0 := f.connects.Get(), resumed.Get()
	next := time.Now().Add(offset + w.every)
	for k := range drops {
		if err := pauseFor(ctx, time.Until(next)); err != nil {
			return err
		}
		next = next.Add(w.every)
		if err := f.drop(ctx, next, k == drops-1); err != nil {
			return err
		}
	}
	w.resumed = resumed.Get() - resumed0
	w.full = f.connects.Get() - connects0 - w.resumed
	return nil
}

// flapping is a terminal that sells on a link that is cut.
type flapping struct {
	row            *flapRow
	link           *flapLink
	uplink         *uplink.Uplink
	sell           chan<- struct{}
	ended          <-chan error
	connects, wire *metrics.Counter // the latter of acknowledged parcels
}

// drop cuts the link and measures how the uplink comes back, until the next drop; the
// last one has time.
func (f *flapping) drop(ctx context.Context, next time.Time, last bool) error {
	c, sent, at := f.connects.Get(), f.wire.Get(), f.link.cut()
	select { // there is always something to send
	case f.sell <- struct{}{}:
	case err := <-f.ended:
		return errors.Join(err, errors.New("the terminal has stopped"))
	}
	var connected time.Time
	for last || time.Now().Before(next) {
		if connected.IsZero() && f.connects.Get() > c {
			connected = time.Now()
		}
		if !connected.IsZero() && f.wire.Get() > sent {
			break
		}
		if err := pauseFor(ctx, 200*time.Microsecond); err != nil {
			return fmt.Errorf("%w: %s", err, f.uplink.Status().LastError)
		}
	}
	if f.wire.Get() == sent || connected.IsZero() {
		f.row.missed++
		return nil
	}
	f.row.acked = append(f.row.acked, ms(time.Since(at)))
	f.row.connected = append(f.row.connected, ms(connected.Sub(at)))
	f.link.tell(f.row, at, connected, f.wire.Get()-sent)
	return nil
}

// serve starts the server with the configuration that poshub writes, and makes the streams.
func (w *flapRow) serve(ctx context.Context, o *office) (*natsserver.Server, error) {
	opts, err := natsserver.ProcessConfigFile(o.natsConf())
	if err != nil {
		return nil, err
	}
	opts.NoLog, opts.NoSigs, opts.ProfPort = true, true, 0
	opts.TLSConfig.SessionTicketsDisabled = !w.tickets
	ns, err := natsserver.NewServer(opts)
	if err != nil {
		return nil, err
	}
	ns.Start()
	err = func() error {
		if !ns.ReadyForConnections(giveUp) {
			return errors.New("the server does not start")
		}
		admin := []nats.Option{nats.UserCredentials(o.hubCreds()), nats.RootCAs(o.ca)}
		if w.mutual {
			admin = append(admin, nats.ClientCert(filepath.Join(o.dir, "server.pem"), filepath.Join(o.dir, "server.key")))
		}
		nc, err := nats.Connect(o.url, admin...)
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		return makeStreams(ctx, js, 1)
	}()
	if err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
	return ns, err
}

const (
	saleEvents = 6
	// flapSale is between two sales: about a second, and none is under way at a cut,
	// nor made before the one of the cut is acknowledged.
	flapSale = 950 * time.Millisecond
)

// sales makes one about each second, and one whenever asked.
func sales(ctx context.Context, j *journal.Journal, now <-chan struct{}) error {
	tick := time.NewTicker(flapSale)
	defer tick.Stop()
	sale := shape{group: func(*rand.Rand) int { return saleEvents }}
	for m := newMaker(2); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-now:
			tick.Reset(flapSale)
		case <-tick.C:
		}
		if err := fill(j, m, sale, saleEvents); err != nil {
			return err
		}
	}
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (w *flapRow) name() string {
	kind := map[bool]string{false: "tls", true: "mutual"}[w.mutual]
	tickets := map[bool]string{false: "full", true: "resumed"}[w.tickets]
	return fmt.Sprintf("every_%s.%s.rtt_%dms.%s", w.every, kind, w.rtt.Milliseconds(), tickets)
}

// column of the table: what was measured at each drop.
type column struct {
	name string
	all  []float64
}

func (w *flapRow) columns() []column {
	return []column{{"backoff_ms", w.pause}, {"connect_ms", w.connect}, {"connected_ms", w.connected}, {"acknowledged_ms", w.acked},
		{"bytes_up", w.up}, {"bytes_down", w.down}, {"round_trips", w.trips}}
}

func (r *flapRun) print(out io.Writer) {
	fmt.Fprintf(out, "%s\n%s\n\n%d drops each, p50 (max). The link is back at once; times since then, but connect_ms since dialling.\n"+
		"Bytes and round trips until a parcel is acknowledged, bytes up without that parcel.\n\n", r.String(), r.Load(), r.drops)
	var t figures.Table
	for _, w := range r.rows {
		head, cells := []string{"row"}, []string{w.name()}
		for _, c := range w.columns() {
			head = append(head, c.name)
			cells = append(cells, fmt.Sprintf("%.0f (%.0f)", quantile(c.all, 0.5), quantile(c.all, 1)))
		}
		t.Header = append(head, "full", "resumed", "missed")
		t.Rows = append(t.Rows, append(cells, fmt.Sprint(w.full), fmt.Sprint(w.resumed), fmt.Sprint(w.missed)))
	}
	t.Print(out)
	fmt.Fprintln(out)
	for _, w := range r.rows {
		for _, c := range w.columns() {
			fmt.Fprintf(out, "value flap.%s.%s=%.1f max %.1f\n", w.name(), c.name, quantile(c.all, 0.5), quantile(c.all, 1))
		}
		fmt.Fprintf(out, "value flap.%s.handshakes_full=%d resumed %d missed %d\n", w.name(), w.full, w.resumed, w.missed)
	}
}
