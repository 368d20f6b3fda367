package downlink

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"posd/sync/wire"
)

func command(o wire.Order, key ed25519.PrivateKey) []byte {
	o.Store, o.Kind = "s1", "do"
	if o.Terminal == "" {
		o.Terminal = "t1"
	}
	b, err := o.Sign(nil, key)
	if err != nil {
		panic(err)
	}
	return b
}

// order sends a command, and returns the answer.
func (w *world) order(b []byte) wire.Answer {
	w.t.Helper()
	nc := w.dial()
	must(w.t, nc.Publish(wire.CommandSubject("s1", "t1", "do"), b))
	return w.answer()
}

// doing makes "do" known; it counts into n.
func (w *world) doing(n *int, data []byte, err error) {
	w.commands = map[string]Command{"do": func(_ context.Context, _ *nats.Conn, o *wire.Order) (string, []byte, error) {
		*n++
		return "did " + string(o.Body), data, err
	}}
	w.start()
	w.link()
}

func init() {
	maps.Copy(scenarios, map[string]func(*world) error{
		"a command is carried out once": func(w *world) error {
			n := 0
			w.doing(&n, []byte("data"), nil)
			b := command(wire.Order{Serial: 5, Body: []byte("it")}, office)
			a := w.order(b)
			again := w.order(b)
			w.start()
			w.link()
			third := w.order(b)
			old := w.order(command(wire.Order{Serial: 4}, office))
			same := w.order(command(wire.Order{Serial: 5, Body: []byte("other")}, office))
			return errors.Join(
				check(n == 1, "carried out %d times", n),
				check(a.State == wire.StateDone && a.Reason == "did it" && string(a.Data) == "data" && a.Serial == 5, "%+v", a),
				check(again.State == wire.StateDone && third.State == wire.StateDone && third.Serial == 5, "%+v, %+v", again, third),
				check(old.State == wire.StateRefused && same.State == wire.StateRefused, "%+v, %+v", old, same),
				check(strings.Join(w.events, ",") == "do 5 done,no do 4,no do 5", "%v", w.events))
		},
		"commands and configurations have numbers of their own": func(w *world) error {
			n := 0
			w.doing(&n, nil, nil)
			c := w.push(order(9, tax("7"), office, "t1"))
			a := w.order(command(wire.Order{Serial: 5}, office))
			d := w.push(order(10, tax("9"), office, "t1"))
			w.start()
			w.link()
			last := w.answer() // about the configuration
			again := w.order(command(wire.Order{Serial: 5}, office))
			return check(c.State == wire.StateApplied && a.State == wire.StateDone && d.State == wire.StateApplied && last.Serial == 10 &&
				again.State == wire.StateDone && n == 1 && rate(w.d.Config()) == "9", "%+v, %+v, %+v, %+v, %d", c, a, d, again, n)
		},
		"a command that comes too late": func(w *world) error {
			n := 0
			w.clock = time.Unix(1000, 0)
			w.doing(&n, nil, nil)
			good := w.order(command(wire.Order{Serial: 5, Expires: 1000}, office))
			late := w.order(command(wire.Order{Serial: 6, Expires: 999}, office))
			w.clock = time.Time{} // the terminal does not know the time
			sixth := w.order(command(wire.Order{Serial: 7, Expires: 999}, office))
			return check(good.State == wire.StateDone && late.State == wire.StateRefused && sixth.State == wire.StateDone && n == 2, "%+v, %+v, %+v", good, late, sixth)
		},
		"killed while a command is carried out": func(w *world) error {
			n := 0
			began, killed := make(chan []byte, 1), make(chan struct{})
			w.commands = map[string]Command{"do": func(context.Context, *nats.Conn, *wire.Order) (string, []byte, error) {
				n++
				b, err := os.ReadFile(w.opt.StatePath) // as a kill would leave it
				must(w.t, err)
				began <- b
				<-killed
				return "", nil, nil
			}}
			w.start()
			w.link()
			b := command(wire.Order{Serial: 5}, office)
			must(w.t, w.dial().Publish(wire.CommandSubject("s1", "t1", "do"), b))
			left := <-began
			serial := w.d.Status() // does not wait for the command
			close(killed)
			w.answer()
			w.close()
			w.events = nil
			must(w.t, os.WriteFile(w.opt.StatePath, left, 0o600))
			w.start()
			w.link()
			a := w.order(b)
			return check(serial.Serial == 0 && a.State == wire.StateUnknown && n == 1 && strings.Join(w.events, ",") == "do 5 unknown", "%+v, %d times, %v", a, n, w.events)
		},
		"a command that fails, one that refuses, one that is not known": func(w *world) error {
			n := 0
			w.doing(&n, nil, errors.New("no paper"))
			failed := w.order(command(wire.Order{Serial: 5}, office))
			w.doing(&n, nil, fmt.Errorf("%w: which level?", ErrRefused))
			no := w.order(command(wire.Order{Serial: 6}, office))
			w.doing(&n, make([]byte, wire.MaxAnswerData+1), nil)
			long := w.order(command(wire.Order{Serial: 7}, office))
			w.commands = nil
			w.start()
			w.link()
			unknown := w.order(command(wire.Order{Serial: 8}, office))
			return errors.Join(
				check(failed.State == wire.StateFailed && failed.Reason == "no paper" && no.State == wire.StateRefused, "%+v, %+v", failed, no),
				check(long.State == wire.StateFailed && len(long.Data) == 0, "%+v", long),
				check(unknown.State == wire.StateRefused && strings.Contains(unknown.Reason, "knows no command"), "%+v", unknown),
				check(strings.Join(w.events, ",") == "do 5 failed,no do 6,do 7 failed,no do 8", "%v", w.events))
		},
		"another terminal's command": func(w *world) error {
			n := 0
			w.doing(&n, nil, nil)
			a := w.order(command(wire.Order{Serial: 5, Terminal: "t2"}, office))
			return check(a.State == wire.StateRefused && a.Serial == 0 && n == 0 && strings.Contains(a.Reason, "for terminal t2"), "%+v, %d", a, n)
		},
		"a stranger's command": func(w *world) error {
			n := 0
			w.doing(&n, nil, nil)
			b := command(wire.Order{Serial: 5}, stranger)
			a, cut := w.order(b), w.order([]byte("x"))
			config := w.order(order(6, tax("7"), office, "t1")) // signed, but by the wrong door
			for i := range 30 {
				w.order(command(wire.Order{Serial: uint64(10 + i)}, stranger))
			}
			w.order(b)
			return check(a.State == wire.StateRefused && cut.State == wire.StateRefused && config.State == wire.StateRefused && n == 0 &&
				rate(w.d.Config()) == "19" && len(w.events) == 6, "%+v, %+v, %+v, %d, %v", a, cut, config, n, w.events)
		},
		"a command that cannot be written down": func(w *world) error {
			n := 0
			w.doing(&n, nil, nil)
			at := w.opt.StatePath
			w.d.opt.StatePath = at + "/missing/state"
			b := command(wire.Order{Serial: 5}, office)
			a := w.order(b)
			before := n
			w.d.opt.StatePath = at
			again := w.order(b)
			return check(a.State == wire.StateRefused && before == 0 && again.State == wire.StateDone && n == 1, "%+v, %+v, %d", a, again, n)
		},
		"no key of head office's, and a command": func(w *world) error {
			w.opt.Key = nil
			w.start()
			w.link()
			a := w.order(command(wire.Order{Serial: 5}, office))
			return check(a.State == wire.StateRefused && strings.Contains(a.Reason, "hub.office_key"), "%+v", a)
		},
	})
}

// FuzzObey: whatever comes as a command, unsigned, changes nothing but one refusal.
func FuzzObey(f *testing.F) {
	good := command(wire.Order{Serial: 5}, office)
	f.Add(good[130:])
	f.Add([]byte("{}\n"))
	w := newWorld(f, noBug)
	n := 0
	w.commands = map[string]Command{"do": func(context.Context, *nats.Conn, *wire.Order) (string, []byte, error) { n++; return "", nil, nil }}
	d := w.start()
	nc := w.dial()
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Equal(b, good) {
			return
		}
		a := d.obey(context.Background(), nc, "do", b)
		if a.State != wire.StateRefused || n != 0 || a.Serial != 0 {
			t.Fatalf("%+v", a)
		}
	})
}
