package downlink

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/pos/config"
	"posd/pos/event"
	"posd/sync/wire"
)

const giveUp = 30 * time.Second // bounds waits for what must happen; nothing is measured by it

var (
	office   = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	stranger = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
)

// world is a NATS server with the bucket, and one terminal's folder.
type world struct {
	t       testing.TB
	srv     *server.Server
	kv      jetstream.KeyValue
	answers chan wire.Answer
	dir     string
	opt     Options

	d        *Downlink
	stop     func()
	applied  []string // rate of A, as it came into force
	events   []string
	applyErr error
	checkErr error
	failed   error     // of a start with a push
	clock    time.Time // zero: not known
	commands map[string]Command
	itemsTo  *Items
}

func newWorld(t testing.TB, b bug) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), answers: make(chan wire.Answer, 64)}
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	must(t, err)
	srv.Start()
	t.Cleanup(func() { w.close(); srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(giveUp) {
		t.Fatal("no server")
	}
	w.srv = srv
	nc := w.dial()
	js, err := jetstream.New(nc)
	must(t, err)
	w.kv, err = js.CreateKeyValue(context.Background(), jetstream.KeyValueConfig{Bucket: wire.Bucket,
		RePublish: &jetstream.RePublish{Source: wire.BucketPrefix + ">", Destination: wire.LivePrefix + ">"}})
	must(t, err)
	_, err = nc.Subscribe(wire.AnswerPrefix(0)+"s1.t1.*", func(m *nats.Msg) {
		a, err := wire.ParseAnswer(m.Data)
		if err != nil {
			t.Error(err)
		}
		w.answers <- a
	})
	must(t, err)
	must(t, nc.Flush())
	conf := filepath.Join(w.dir, "posd.toml")
	must(t, os.WriteFile(conf, []byte("[terminal]\nstore = \"s1\"\nid = \"t1\"\ncurrency = \"EUR\"\ntime_zone = \"UTC\"\n[tax]\nA = \"19\"\n"), 0o600))
	file, _, err := config.Load(conf, false)
	must(t, err)
	w.opt = Options{Store: "s1", Terminal: "t1", Key: office.Public().(ed25519.PublicKey), File: file,
		StatePath: filepath.Join(w.dir, "downlink.state"), bug: b}
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) dial() *nats.Conn {
	nc, err := nats.Connect(w.srv.ClientURL())
	must(w.t, err)
	w.t.Cleanup(nc.Close)
	return nc
}

// rate is the rate of A in a configuration.
func rate(c *config.Config) string { return string(c.Taxes[0].Rate.Append(nil)) }

// start is a start of posd, without a link.
func (w *world) start() *Downlink {
	w.close()
	w.d = New(w.opt)
	if w.failed != nil {
		w.d.Without()
		w.d.Later(w.failed)
	}
	w.applied = append(w.applied, "start "+rate(w.d.Config()))
	w.d.Start(context.Background(), Parts{
		Check: func(*config.Config) error { return w.checkErr },
		Apply: func(_ context.Context, c *config.Config, e *event.ConfigApplied) error {
			w.applied = append(w.applied, rate(c))
			if w.applyErr == nil {
				w.events = append(w.events, fmt.Sprint("applied ", e.Serial))
			}
			return w.applyErr
		},
		Note:     w.note,
		Now:      func() (time.Time, bool) { return w.clock, !w.clock.IsZero() },
		Commands: w.commands,
		Items:    w.itemsTo,
	})
	return w.d
}

// link connects; it ends with the next link, or close.
func (w *world) link() {
	w.unlink()
	nc := w.dial()
	asked := make(chan struct{}, 8)
	w.d.opt.asked = func() { asked <- struct{}{} }
	listens := make(chan struct{}, 1)
	w.d.opt.listens = func() { listens <- struct{}{} }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 3)
	go func(d *Downlink) { done <- d.Connected(ctx, nc) }(w.d)
	go func(d *Downlink) { done <- d.Commands(ctx, nc) }(w.d)
	go func(d *Downlink) { done <- d.Catalogue(ctx, nc) }(w.d)
	w.stop = func() {
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				w.t.Error(err)
			}
		}
		nc.Close()
		w.stop = nil
	}
	for range 2 { // for the configuration, and for the catalogue
		select {
		case <-asked:
		case <-time.After(giveUp):
			w.t.Fatal("the bucket was not asked")
		}
	}
	select {
	case <-listens:
		must(w.t, nc.Flush())
	case <-time.After(giveUp):
		w.t.Fatal("nobody listens to commands")
	}
}

func (w *world) unlink() {
	if w.stop != nil {
		w.stop()
	}
}

func (w *world) close() { w.unlink() }

func (w *world) note(_ context.Context, e Event) error {
	switch e := e.(type) {
	case *event.ConfigRefused:
		w.events = append(w.events, fmt.Sprint("refused ", e.Serial))
	case *event.CatalogueApplied:
		w.events = append(w.events, fmt.Sprint("catalogue ", e.Serial, " ", e.Version))
	case *event.CatalogueRefused:
		w.events = append(w.events, fmt.Sprint("no catalogue ", e.Serial))
	case *event.CommandExecuted:
		w.events = append(w.events, fmt.Sprint(e.Command, " ", e.Serial, " ", e.Outcome))
	case *event.CommandRefused:
		w.events = append(w.events, fmt.Sprint("no ", e.Command, " ", e.Serial))
	}
	return nil
}

func order(serial uint64, body string, key ed25519.PrivateKey, terminal string) []byte {
	o := wire.Order{Store: "s1", Terminal: terminal, Serial: serial, Kind: wire.KindConfig, Body: []byte(body)}
	b, err := o.Sign(nil, key)
	if err != nil {
		panic(err)
	}
	return b
}

func tax(percent string) string { return "[tax]\nA = \"" + percent + "\"\n" }

func (w *world) put(b []byte) {
	_, err := w.kv.Put(context.Background(), wire.ConfigKey("s1", "t1"), b)
	must(w.t, err)
}

// answer is the next answer.
func (w *world) answer() wire.Answer {
	w.t.Helper()
	select {
	case a := <-w.answers:
		return a
	case <-time.After(giveUp):
		w.t.Fatal("no answer")
	}
	return wire.Answer{}
}

func (w *world) push(b []byte) wire.Answer {
	w.t.Helper()
	w.put(b)
	return w.answer()
}

func check(ok bool, format string, a ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, a...)
}

// scenarios are what must hold; each is given a terminal that is linked.
var scenarios = map[string]func(w *world) error{
	"applied, kept, and told once": func(w *world) error {
		a := w.push(order(5, tax("7"), office, "t1"))
		hash := w.d.Config().Hash()
		w.link() // asks again
		again := w.answer()
		w.start()
		w.link()
		last := w.answer()
		return errors.Join(
			check(a.State == wire.StateApplied && a.Serial == 5 && a.Config == hash, "answer %+v", a),
			check(again.State == wire.StateApplied && last.State == wire.StateApplied && last.Config == hash, "answers %+v, %+v", again, last),
			check(strings.Join(w.applied, ",") == "start 19,7,start 7", "in force: %v", w.applied),
			check(strings.Join(w.events, ",") == "applied 5", "events: %v", w.events))
	},
	"refused with every reason, journaled once, the last good stays": func(w *world) error {
		w.push(order(5, tax("7"), office, "t1"))
		a := w.push(order(6, "[tax]\nA = \"119\"\n[terminal]\nid = \"x\"\n", office, "t1"))
		w.link()
		again := w.answer()
		w.start()
		w.link()
		last := w.answer()
		return errors.Join(
			check(a.State == wire.StateRefused && a.Serial == 6 && strings.Contains(a.Reason, "tax.A") && strings.Contains(a.Reason, "terminal.id"), "answer %+v", a),
			check(again.Reason == a.Reason && last.Reason == a.Reason, "later answers %+v, %+v", again, last),
			check(strings.Join(w.applied, ",") == "start 19,7,start 7", "in force: %v", w.applied),
			check(strings.Join(w.events, ",") == "applied 5,refused 6", "events: %v", w.events))
	},
	"what the running terminal knows refuses too": func(w *world) error {
		w.checkErr = errors.New("tax code A is used")
		a := w.push(order(5, tax("7"), office, "t1"))
		return check(a.State == wire.StateRefused && strings.Contains(a.Reason, "is used") && rate(w.d.Config()) == "19", "%+v", a)
	},
	"an old order is not taken again": func(w *world) error {
		old := order(5, tax("7"), office, "t1")
		w.push(old)
		w.push(order(6, tax("9"), office, "t1"))
		a := w.push(old)
		w.start()
		w.link()
		again := w.answer()
		same := w.push(order(6, tax("3"), office, "t1")) // signed by head office, but its number is used
		return errors.Join(
			check(a.State == wire.StateRefused && again.State == wire.StateRefused && same.State == wire.StateRefused, "%+v, %+v, %+v", a, again, same),
			check(rate(w.d.Config()) == "9", "in force: %v", w.applied),
			check(strings.Join(w.events, ",") == "applied 5,applied 6,refused 5,refused 6", "events: %v", w.events))
	},
	"an order for another terminal": func(w *world) error {
		a := w.push(order(5, tax("7"), office, "t2"))
		ok := w.push(order(4, tax("9"), office, "t1")) // its number was not used up
		return errors.Join(check(a.State == wire.StateRefused, "%+v", a), check(ok.State == wire.StateApplied && rate(w.d.Config()) == "9", "%+v", ok))
	},
	"the bucket rewritten by a stranger": func(w *world) error {
		w.push(order(5, tax("7"), office, "t1"))
		forged := order(6, tax("0"), stranger, "t1")
		a := w.push(forged)
		w.link()
		w.answer()
		garbage := w.push([]byte("[tax]\nA = \"0\"\n"))
		for i := range 20 {
			w.push(order(uint64(10+i), tax("0"), stranger, "t1"))
		}
		w.start()
		w.link()
		w.answer()
		return errors.Join(
			check(a.State == wire.StateRefused && a.Serial == 0 && garbage.State == wire.StateRefused, "%+v, %+v", a, garbage),
			check(rate(w.d.Config()) == "7", "in force: %v", w.applied),
			check(len(w.events) >= 3 && len(w.events) < 10, "events: %v", w.events))
	},
	"removed from the bucket": func(w *world) error {
		w.push(order(5, tax("7"), office, "t1"))
		must(w.t, w.kv.Delete(context.Background(), wire.ConfigKey("s1", "t1")))
		w.link()
		a := w.push(order(6, tax("9"), office, "t1"))
		return check(a.State == wire.StateApplied && strings.Join(w.applied, ",") == "start 19,7,9", "%+v, %v", a, w.applied)
	},
	"no link while it was pushed": func(w *world) error {
		w.unlink()
		w.put(order(5, tax("7"), office, "t1"))
		w.put(order(6, tax("9"), office, "t1"))
		w.link()
		a := w.answer()
		return check(a.Serial == 6 && strings.Join(w.applied, ",") == "start 19,9", "%+v, %v", a, w.applied)
	},
	"killed between the disk and the event": func(w *world) error {
		w.applyErr = errors.New("killed")
		w.push(order(5, tax("7"), office, "t1"))
		w.applyErr = nil
		w.start()
		return check(rate(w.d.Config()) == "7" && strings.Join(w.events, ",") == "applied 5", "%v %v", w.applied, w.events)
	},
	"a damaged file": func(w *world) error {
		w.push(order(5, tax("7"), office, "t1"))
		w.unlink()
		good, err := os.ReadFile(w.opt.StatePath)
		must(w.t, err)
		for i := range good {
			b := bytes.Clone(good)
			b[i] ^= 4
			must(w.t, os.WriteFile(w.opt.StatePath, b, 0o600))
			if d := New(w.opt); rate(d.Config()) != "19" {
				return fmt.Errorf("byte %d: rate %s", i, rate(d.Config()))
			}
			must(w.t, os.WriteFile(w.opt.StatePath, good[:i], 0o600))
			if d := New(w.opt); rate(d.Config()) != "19" {
				return fmt.Errorf("cut at %d: rate %s", i, rate(d.Config()))
			}
		}
		w.start()
		w.link()
		a := w.answer()
		return check(a.State == wire.StateApplied && rate(w.d.Config()) == "7", "not healed by the next connection: %+v", a)
	},
	"a disk that takes no writes": func(w *world) error {
		at := w.opt.StatePath
		w.d.opt.StatePath = filepath.Join(w.dir, "missing", "state")
		a := w.push(order(5, tax("7"), office, "t1"))
		now := rate(w.d.Config())
		w.d.opt.StatePath = at
		w.link()
		again := w.answer()
		return check(a.State == wire.StateRefused && now == "19" && again.State == wire.StateApplied && rate(w.d.Config()) == "7", "%+v, %s, %+v", a, now, again)
	},
	"starts that do not last": func(w *world) error {
		w.push(order(5, tax("7"), office, "t1"))
		for range maxTries {
			if w.start(); rate(w.d.Config()) != "7" {
				return fmt.Errorf("given up too early: %v", w.applied)
			}
		}
		w.start()
		given := rate(w.d.Config())
		w.link()
		a := w.answer()
		next := w.push(order(6, tax("9"), office, "t1"))
		for range 2 * maxTries {
			w.start().Lasted()
		}
		return errors.Join(
			check(given == "19" && a.State == wire.StateRefused && a.Serial == 5, "%s, %+v", given, a),
			check(next.State == wire.StateApplied && rate(w.d.Config()) == "9", "%+v %v", next, w.applied),
			check(strings.Join(w.events, ",") == "applied 5,refused 5,applied 6", "events: %v", w.events))
	},
	"a start that fails": func(w *world) error {
		w.push(order(5, tax("7"), office, "t1"))
		w.unlink()
		d := New(w.opt)
		pushed := d.Pushed()
		d.GiveUp(errors.New("the journal cannot be opened"))
		after := rate(d.Config())
		w.start()
		return check(pushed && after == "19" && rate(w.d.Config()) == "19" && strings.Contains(w.d.Status().Reason, "cannot be opened"), "%v", w.d.Status())
	},
	"a start without head office's key": func(w *world) error {
		w.push(order(5, tax("7"), office, "t1"))
		key := w.opt.Key
		w.opt.Key = nil
		for range 2 * maxTries { // it is not a start with it
			w.start()
			w.d.Lasted()
		}
		status := w.d.Status()
		w.link()
		a := w.answer()
		w.opt.Key = key
		w.applied = nil
		w.start()
		w.link()
		again := w.answer()
		return errors.Join(
			check(!status.Applied && strings.Contains(status.Reason, "hub.office_key") && a.State == wire.StateRefused, "without: %+v, %+v", status, a),
			check(again.State == wire.StateApplied && again.Serial == 5 && w.d.Status().Applied, "with: %+v, %+v", again, w.d.Status()),
			check(strings.Join(w.applied, ",") == "start 7", "in force: %v", w.applied),
			check(strings.Join(w.events, ",") == "applied 5,refused 0", "events: %v", w.events))
	},
	"head office's key comes with an enrolment": func(w *world) error {
		w.push(order(5, tax("7"), office, "t1"))
		refused := w.push(order(6, "[terminal]\nid = \"x\"\n", office, "t1"))
		key := w.opt.Key
		w.opt.Key = nil
		w.applied = nil
		w.start()
		w.d.Enrolled(0, key)
		w.link()
		a := w.answer()
		return errors.Join(
			check(refused.State == wire.StateRefused && a.State == wire.StateRefused && a.Serial == 6, "%+v, %+v", refused, a),
			check(rate(w.d.Config()) == "7" && strings.Join(w.applied, ",") == "start 19,7", "in force: %v", w.applied))
	},
	"a start that fails through no fault of its own": func(w *world) error {
		w.push(order(5, tax("7"), office, "t1"))
		w.applied = nil
		w.failed = errors.New("address in use")
		w.start()
		now, status := rate(w.d.Config()), w.d.Status()
		w.failed = nil
		w.start()
		return errors.Join(
			check(now == "7" && status.Applied, "%s, %+v", now, status),
			check(strings.Join(w.applied, ",") == "start 19,7,start 7", "in force: %v", w.applied))
	},
	"no key of head office's": func(w *world) error {
		w.opt.Key = nil
		w.start()
		w.link()
		a := w.push(order(5, tax("7"), office, "t1"))
		return check(a.State == wire.StateRefused && strings.Contains(a.Reason, "hub.office_key") && rate(w.d.Config()) == "19", "%+v", a)
	},
}

func TestScenarios(t *testing.T) {
	for name, run := range scenarios {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, noBug)
			w.start()
			w.link()
			if err := run(w); err != nil {
				t.Error(err)
			}
		})
	}
}

// The control: each planted mistake is seen by the scenario that is there for it.
func TestPlantedBugsAreSeen(t *testing.T) {
	for name, b := range map[string]bug{
		"a catalogue is taken, kept and told once": bugNoSerial,
		"a catalogue for another terminal":         bugNoAddress,
		"an old order is not taken again":          bugNoSerial,
		"an order for another terminal":            bugNoAddress,
		"applied, kept, and told once":             bugApplyOnly,
		"a command is carried out once":            bugNoSerial,
		"a command that comes too late":            bugNoExpiry,
		"another terminal's command":               bugNoAddress,
	} {
		w := newWorld(t, b)
		w.start()
		w.link()
		if scenarios[name](w) == nil {
			t.Errorf("%s: mistake %d is not seen", name, b)
		}
	}
}

func FuzzState(f *testing.F) {
	s := state{Serial: 5, State: wire.StateApplied, Told: true, order: []byte("x")}
	b, err := s.append()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		again, err := s.append()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseState(again); err != nil || got.Serial != s.Serial || !bytes.Equal(got.order, s.order) {
			t.Fatalf("%+v reads back as %+v, %v", s, got, err)
		}
	})
}
