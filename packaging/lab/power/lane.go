package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"posd/packaging/lab/guest"
	"posd/packaging/lab/slicebench/rig"
)

// lane runs one history after the other: one guest at a time, one disk, one head office.
type lane struct {
	b      *bench
	dir    string
	server *server
	tally  *tally
}

func newLane(b *bench, n int, t *tally) (*lane, error) {
	l := &lane{b: b, dir: filepath.Join(b.work, fmt.Sprint("lane-", n)), tally: t}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, err
	}
	// The path of a socket is short.
	socket, err := os.MkdirTemp("", "power-")
	if err != nil {
		return nil, err
	}
	var turn uint64
	l.server, err = serve(filepath.Join(socket, "nbd"), func() time.Duration {
		turn++
		return time.Duration(1+turn*turn%11) * time.Millisecond // 1 to 10 ms, as eMMC takes
	})
	return l, err
}

func (l *lane) close() error {
	return errors.Join(l.server.close(), os.RemoveAll(filepath.Dir(l.server.path)))
}

// life is a history that is being played.
type life struct {
	*lane
	*history
	account *account
	office  *office
	token   string
	disk    *disk
	began   []byte // the disk as this round found it
	console *os.File
	clock   time.Time
	builds  []string // that may be on the disk
	oldest  uint64   // record that is still held
}

// play plays a history to its end, or to the first thing that is wrong.
func (l *lane) play(ctx context.Context, h *history) error {
	image, err := os.ReadFile(l.b.bases[h.build()])
	if err != nil {
		return err
	}
	// A fresh file for each, without what an earlier run left.
	acked, err := os.Create(filepath.Join(l.dir, "acknowledged.jsonl"))
	if err != nil {
		return err
	}
	defer acked.Close()
	console, err := os.Create(filepath.Join(l.dir, "console.log"))
	if err != nil {
		return err
	}
	defer console.Close()
	f := &life{lane: l, history: h, account: newAccount(acked), console: console, builds: []string{h.build()}, oldest: 1,
		clock: time.Now().UTC().Truncate(time.Second), disk: newDisk(image, h.bug != nil && h.bug.lying)}
	if f.office, err = newOffice(ctx, l.b.hub, filepath.Join(l.dir, "hub")); err != nil {
		return err
	}
	err = f.rounds(ctx)
	if f.account.next > 0 {
		l.tally.sold(len(f.account.inOrder), f.account.replays)
	}
	return errors.Join(err, f.office.stop())
}

func (f *life) rounds(ctx context.Context) error {
	for n := 0; n <= f.cuts; n++ {
		r := f.round(n)
		if n == f.cuts {
			r.office = true
		}
		f.account.begin(f.forgets())
		fmt.Fprintf(f.console, "\n=== %s, round %d, cut %s after %v and %d requests, head office %v, %d acknowledged\n",
			f.history, n, r.aim, r.wait, r.skip, r.office, len(f.account.inOrder))
		f.began = bytes.Clone(f.disk.kept)
		image, err := f.live(ctx, &r, n == f.cuts)
		if err != nil {
			return f.keepFailed(n, err)
		}
		if image == nil {
			return nil
		}
		if r.check {
			if err := fsck(ctx, image, f.dir); err != nil {
				return f.keepFailed(n, err)
			}
			f.tally.checked()
		}
		f.disk = newDisk(image, f.disk.lying)
		f.clock = f.clock.Add(f.clockStep)
	}
	return nil
}

// keepFailed puts what there is to see of a failing round aside.
func (f *life) keepFailed(n int, err error) error {
	err = fmt.Errorf("%s, round %d: %w", f.history, n, err)
	if f.bug != nil || f.b.keep == "" {
		return err
	}
	to := filepath.Join(f.b.keep, fmt.Sprintf("history-%d-round-%d", f.seed, n))
	failed := os.MkdirAll(to, 0o755)
	for _, name := range []string{"console.log", "acknowledged.jsonl", "hub.log"} {
		if e := copyFile(filepath.Join(f.dir, name), filepath.Join(to, name)); e != nil {
			failed = errors.Join(failed, e)
		}
	}
	failed = errors.Join(failed, os.WriteFile(filepath.Join(to, "disk.img"), f.began, 0o600),
		os.WriteFile(filepath.Join(to, "why"), []byte(err.Error()+"\n"), 0o644))
	if failed != nil {
		return errors.Join(err, failed)
	}
	return fmt.Errorf("%w\nkept in %s", err, to)
}

// bootLimit and the like are far more than anything takes: only a hang meets them.
const (
	bootLimit  = 3 * time.Minute
	callLimit  = 3 * time.Minute
	loadLimit  = 20 * time.Second // for what a cut is aimed at to happen; else it comes then
	idleLimit  = 2 * time.Second  // the same for the next request to the disk
	drainLimit = 5 * time.Minute
)

const (
	guestPort = 8080
	program   = "/data/bin/posd"
)

// live boots the disk as it is, judges what is there, plays a load and cuts the
// power. It gives what the cut leaves; after the last round, which ends in order, nil.
func (f *life) live(ctx context.Context, r *round, last bool) (image []byte, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.office {
		err = f.office.start(ctx)
	} else {
		err = f.office.stop()
	}
	if err != nil {
		return nil, err
	}
	f.server.put(f.disk)
	m, err := guest.Start(ctx, guest.Options{
		Kernel: f.b.kernel.Image, Initrd: f.b.initrd, Append: "loglevel=5", Memory: 192, Console: f.console,
		Forward: []int{guestPort},
		Drives:  []guest.Drive{{NBD: f.server.path, Serial: "data"}, {File: f.b.tools, Serial: "tools", ReadOnly: true}},
		Args:    []string{"-rtc", "clock=vm,base=" + f.clock.Format("2006-01-02T15:04:05")},
	})
	if err != nil {
		return nil, err
	}
	defer m.Kill()
	g := &visit{life: f, m: m}
	defer g.wait()
	if err := g.prepare(ctx, r); err != nil {
		return nil, err
	}
	cut, err := g.start(ctx, r, last)
	if err == nil && !cut {
		err = g.judge(ctx, r)
	}
	if err == nil && last {
		return nil, g.end(ctx)
	}
	if err == nil && !cut {
		err = g.load(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	f.disk.off()
	if err := m.Kill(); err != nil {
		return nil, err
	}
	image, pending := f.disk.left(r.rng)
	f.tally.cut(r.aim, pending)
	return image, nil
}

// visit is one boot of the terminal.
type visit struct {
	*life
	m     *guest.Machine
	a     *guest.Agent
	till  *till
	ended chan error // posd ended by itself
	wg    sync.WaitGroup
}

func (g *visit) wait() {
	g.m.Kill()
	g.wg.Wait()
	if g.till != nil {
		g.till.close()
	}
}

const configText = `[terminal]
store = "s1"
id = "t1"
currency = "EUR"
time_zone = "UTC"
[tax]
A = "19"
[http]
listen = "10.0.2.15:%d"
allow_remote = true
[data]
dir = "/data/posd"
segment = "%s"
retention = "%s"
max_bytes = "16MiB"
[hub]
urls = ["nats://10.0.2.2:%s"]
token_file = "/run/nats.token"
[limits]
expect_cpu = "0%%"
expect_memory = "0B"
`

// prepare waits for the guest, and mounts the disk.
func (g *visit) prepare(ctx context.Context, r *round) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	var err error
	if g.a, err = g.m.Agent(ctx); err != nil {
		return err
	}
	if err := g.a.Mount(ctx, guest.Mount{Source: "serial=data", Target: "/data", Type: "ext4", Flags: "noatime"}); err != nil {
		return found(unmountable, "%v", err)
	}
	// What an earlier boot found stands in the superblock.
	if n, err := g.a.ReadFile(ctx, "/sys/fs/ext4/vda/errors_count"); err != nil || strings.TrimSpace(string(n)) != "0" {
		return found(unmountable, "ext4 has counted %q errors (%v)", n, err)
	}
	text := fmt.Sprintf(configText, guestPort, g.segment, g.retention, g.office.port())
	if err := g.a.WriteFile(ctx, "/run/posd.toml", []byte(text), 0o644); err != nil {
		return err
	}
	if err := g.a.WriteFile(ctx, "/run/nats.token", []byte(g.office.token+"\n"), 0o600); err != nil {
		return err
	}
	if r.eager {
		for _, name := range []string{"dirty_expire_centisecs", "dirty_writeback_centisecs"} {
			if err := g.a.WriteFile(ctx, "/proc/sys/vm/"+name, []byte("5"), 0); err != nil {
				return err
			}
		}
	}
	if r.n == 0 {
		return g.install(ctx)
	}
	if len(g.builds) > 1 { // one or the other, whole
		sum, err := g.a.Sum(ctx, program)
		if err != nil {
			return found(lost, "the program: %v", err)
		}
		for _, name := range g.builds {
			if want := g.b.sums[name]; bytes.Equal(sum, want[:]) {
				g.builds = []string{name}
				return nil
			}
		}
		return found(lost, "after a cut in an upgrade the program is neither the old one nor the new one (SHA-256 %s)", hex.EncodeToString(sum))
	}
	return nil
}

func sumOf(path string) (sum [32]byte, err error) {
	b, err := os.ReadFile(path)
	return sha256.Sum256(b), err
}

// posctl runs a command in the guest.
func (g *visit) posctl(ctx context.Context, args ...string) (guest.Exit, error) {
	return g.a.Run(ctx, guest.Program{Args: append(append([]string{"/lab/posctl"}, args...), "-config", "/run/posd.toml")})
}

// install does what an installer does, once in a terminal's life.
func (g *visit) install(ctx context.Context) error {
	e, err := g.posctl(ctx, "init")
	if err == nil && e.Code == 0 {
		e, err = g.posctl(ctx, "token", "add", "till")
	}
	if err == nil && e.Code != 0 {
		err = fmt.Errorf("posctl: exit code %d: %s%s", e.Code, e.Stdout, e.Stderr)
	}
	g.token = strings.TrimSpace(string(e.Stdout))
	return err
}

// start starts posd; cut says that the power was cut meanwhile.
func (g *visit) start(ctx context.Context, r *round, last bool) (cut bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	if r.verify {
		if err := g.verify(ctx, "before the start"); err != nil {
			return false, err
		}
	}
	if err := g.launch(ctx); err != nil {
		return false, err
	}
	// The first start is let through: there is nothing to lose yet.
	if r.aim == atStart && r.n > 0 && !last {
		select {
		case err := <-g.ended:
			return false, err
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(r.wait):
			g.strike(r)
			return true, nil
		}
	}
	return false, g.awaitReady(ctx)
}

// strike cuts the power: at once, or with one of the next requests to the disk.
func (g *visit) strike(r *round) {
	if r.busy {
		g.disk.aim(afterRequests(r.skip))
		select {
		case <-g.disk.dark:
		case <-time.After(idleLimit):
		}
	}
	g.disk.off()
}

// launch starts the posd that is on the disk.
func (g *visit) launch(ctx context.Context) error {
	p := guest.Program{Name: "posd", Args: []string{program, "--config", "/run/posd.toml"}, Console: true}
	if g.bug != nil {
		p.Env = []string{"POSD_PLANTED_BUG=" + g.bug.env}
	}
	if _, err := g.a.Start(ctx, p); err != nil {
		return found(falseAlarm, "the program on the disk does not start: %v", err)
	}
	ended := make(chan error, 1)
	g.ended = ended
	g.wg.Go(func() {
		e, err := g.a.Await(context.WithoutCancel(ctx), "posd")
		if err != nil {
			return // the guest has ended
		}
		ended <- found(falseAlarm, "posd ended by itself with code %d, signal %d", e.Code, e.Signal)
	})
	if g.till == nil {
		g.till = newTill(g.m.Port(guestPort), g.token, g.account)
	}
	return nil
}

func (g *visit) awaitReady(ctx context.Context) error {
	var err error
	for {
		if _, err = rig.Get(ctx, g.till.client, g.till.url+"/readyz", ""); err == nil {
			return nil
		}
		select {
		case err := <-g.ended:
			return err
		case <-ctx.Done():
			return found(falseAlarm, "posd is not ready: %v", err)
		case <-time.After(15 * time.Millisecond):
		}
	}
}

func (g *visit) verify(ctx context.Context, when string) error {
	e, err := g.posctl(ctx, "verify")
	if err == nil && e.Code != 0 {
		err = found(falseAlarm, "posctl verify %s: exit code %d: %s%s", when, e.Code, e.Stdout, e.Stderr)
	}
	return err
}

// posdStatus is what of posd's status matters here.
type posdStatus struct {
	Health struct {
		Status  string
		Reasons []string
	}
	Journal struct {
		ID     string
		Floor  uint64
		Oldest uint64
	}
	Uplink struct {
		Settled    uint64
		Held, Fork string
	}
}

func (g *visit) status(ctx context.Context) (s posdStatus, err error) {
	b, err := rig.Get(ctx, g.till.client, g.till.url+"/v1/status", g.token)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && (s.Health.Status != "ok" || s.Uplink.Held != "" || s.Uplink.Fork != "") {
		err = found(falseAlarm, "posd is not well: %s", b)
	}
	return s, err
}

// judge holds what the cut has left against what is known.
func (g *visit) judge(ctx context.Context, r *round) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	s, err := g.status(ctx)
	if err != nil {
		return err
	}
	g.tally.frees(s.Journal.Oldest - g.oldest)
	g.oldest = s.Journal.Oldest
	if !r.verify {
		if err := g.verify(ctx, "beside posd"); err != nil {
			return err
		}
	}
	if err := g.compare(ctx); err != nil {
		return err
	}
	return g.till.again(ctx, g.account.sample(8, r.rng))
}

// compare reads what is new in the journal.
func (g *visit) compare(ctx context.Context) error {
	e, err := g.posctl(ctx, "dump", "-from", fmt.Sprint(max(1, g.account.last)))
	if err != nil {
		return err
	}
	if e.Code != 0 {
		return found(falseAlarm, "posctl dump: exit code %d: %s", e.Code, e.Stderr)
	}
	if err := g.account.look(e.Stdout); err != nil {
		return err
	}
	return g.account.settle(false)
}

// load sells until what the cut is aimed at has come.
func (g *visit) load(ctx context.Context, r *round) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	selling, stop := context.WithCancel(ctx)
	defer stop()
	sold := make(chan error, 1)
	g.wg.Go(func() { sold <- g.till.sell(selling, g.workers, r.load) })
	others := make(chan error, 1)
	timer := time.NewTimer(loadLimit)
	defer timer.Stop()
	switch r.aim {
	case atRoll:
		g.disk.aim(afterRoll(r.skip))
	case atFlush:
		g.later(func() bool { return g.passes(r.wait) }, func() { g.disk.aim(atFlushes(r.skip)) })
	case atUpgrade:
		var begun [steps]chan struct{}
		for i := range begun {
			begun[i] = make(chan struct{})
		}
		to := buildNext
		if g.builds[0] == to {
			to = buildNow
		}
		g.builds = append(g.builds, to)
		g.later(func() bool { return g.passes(r.before) }, func() { others <- g.upgrade(ctx, to, begun) })
		g.later(func() bool { return g.happens(begun[r.step]) && g.passes(r.wait) }, func() { g.strike(r) })
	case atDrain:
		g.later(func() bool { return g.drains(ctx) && g.passes(r.wait) }, func() { g.strike(r) })
	default:
		g.later(func() bool { return g.passes(r.wait) }, func() { g.strike(r) })
	}
	err := g.untilCut(timer, sold, others)
	if !g.disk.isDark() {
		r.aim = anywhere // what it was aimed at did not come
	}
	g.disk.off()
	// What was answered is on its way to the front end; the power does not stop that.
	if kill := g.m.Kill(); err == nil {
		err = kill
	}
	stop()
	g.wg.Wait()
	select { // what the front end found wrong while the lights went out
	case late := <-sold:
		err = errors.Join(err, late)
	default:
	}
	return err
}

func (g *visit) untilCut(timer *time.Timer, sold, others chan error) error {
	ended := g.ended
	for {
		select {
		case <-timer.C:
			return nil
		case <-g.disk.dark:
			return nil
		case err := <-sold:
			if err == nil {
				err = errors.New("the front end stopped")
			}
			return err
		case err := <-ended:
			if len(g.builds) > 1 { // the upgrade has stopped it
				ended = nil
				continue
			}
			return err
		case err := <-others:
			if err != nil {
				return err
			}
		case <-g.m.Done():
			return fmt.Errorf("the guest ended by itself: %w", g.m.Err())
		}
	}
}

// later does something in a goroutine of its own, when a condition has come true.
func (g *visit) later(when func() bool, do func()) {
	g.wg.Go(func() {
		if when() {
			do()
		}
	})
}

// passes waits; it is false when there is nothing to wait for any more.
func (g *visit) passes(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-g.disk.dark:
		return false
	}
}

// happens waits until a channel is closed.
func (g *visit) happens(c chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-g.disk.dark:
		return false
	}
}

// afterRequests cuts with one of the next requests.
func afterRequests(skip int) func(event) bool {
	return func(event) bool {
		skip--
		return skip < 0
	}
}

// afterRoll cuts some requests after the first page of a new segment was written.
func afterRoll(skip int) func(event) bool {
	seen := false
	return func(e event) bool {
		if e.begin {
			seen = true
		}
		if seen {
			skip--
		}
		return seen && skip < 0
	}
}

// atFlushes cuts when a flush arrives.
func atFlushes(skip int) func(event) bool {
	return func(e event) bool {
		if e.flush {
			skip--
		}
		return e.flush && skip < 0
	}
}

// upgrade replaces posd by another build, as a package manager does, and restarts it.
// It tells where it is.
func (g *visit) upgrade(ctx context.Context, to string, begun [steps]chan struct{}) error {
	replace := func() error {
		close(begun[replacing])
		return g.a.Install(ctx, "/lab/"+to, program)
	}
	stop := func() error {
		close(begun[stopping])
		err := g.a.Stop(ctx, "posd", syscall.SIGTERM)
		if err != nil {
			return err
		}
		e, err := g.a.Await(ctx, "posd")
		if err == nil && e.Code != 0 {
			err = found(falseAlarm, "posd ended with code %d, signal %d after SIGTERM", e.Code, e.Signal)
		}
		return err
	}
	start := func() error {
		close(begun[starting])
		_, err := g.a.Start(ctx, guest.Program{Name: "posd", Args: []string{program, "--config", "/run/posd.toml"}, Console: true})
		if err != nil {
			return err
		}
		e, err := g.a.Await(ctx, "posd")
		if err == nil {
			err = found(falseAlarm, "the new posd ended by itself with code %d, signal %d", e.Code, e.Signal)
		}
		return err
	}
	order := []func() error{replace, stop, start}
	if g.bug != nil && g.bug.place { // a program that runs cannot be written to
		order = []func() error{stop, func() error {
			close(begun[replacing])
			return g.overwrite(ctx, to)
		}, start}
	}
	for _, do := range order {
		err := do()
		var f *finding
		if err != nil && !errors.As(err, &f) && g.disk.isDark() { // that was the cut
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// overwrite is the planted bug: the old program is gone before the new one is there.
func (g *visit) overwrite(ctx context.Context, build string) error {
	b, err := os.ReadFile(g.b.path(build))
	if err != nil {
		return err
	}
	return g.a.WriteFile(ctx, program, b, 0o755)
}

// drains waits until head office has begun to take in what it lacks.
func (g *visit) drains(ctx context.Context) bool {
	before, err := g.office.status(ctx)
	for !g.disk.isDark() && ctx.Err() == nil {
		now, failed := g.office.status(ctx)
		if err == nil && failed == nil && now.Records > before.Records {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// end drains, compares with head office, stops in order and proves all once more.
func (g *visit) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	s, err := g.status(ctx)
	if err != nil {
		return err
	}
	goal := s.Journal.Floor
	for s.Uplink.Settled < goal {
		select {
		case err := <-g.ended:
			return err
		case <-ctx.Done():
			return found(lost, "head office has %d of %d records and no more come", s.Uplink.Settled, goal)
		case <-time.After(50 * time.Millisecond):
		}
		if s, err = g.status(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	if err := g.compare(ctx); err != nil {
		return err
	}
	events, err := g.office.events(ctx)
	if err != nil {
		return err
	}
	if err := g.account.ledger(events, goal); err != nil {
		return err
	}
	o, err := g.office.status(ctx)
	if err != nil {
		return err
	}
	if o.Lost+o.Quarantined+o.Copied+o.Collisions != 0 || o.Held != 0 {
		return found(falseAlarm, "head office complains: %+v", o)
	}
	if err := g.a.Stop(ctx, "posd", syscall.SIGTERM); err != nil {
		return err
	}
	if e, err := g.a.Await(ctx, "posd"); err != nil || e.Code != 0 {
		return found(falseAlarm, "posd ended with code %d, signal %d after SIGTERM (%v)", e.Code, e.Signal, err)
	}
	if err := g.verify(ctx, "after an orderly stop"); err != nil {
		return err
	}
	return g.a.PowerOff(ctx)
}
