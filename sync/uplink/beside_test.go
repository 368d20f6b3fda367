package uplink

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"posd/sync/wire"
)

// TestBeside: on each connection a heartbeat goes out and OnConnect is called;
// neither an error there nor a function that stays holds anything up, and all
// have ended when the uplink has.
func TestBeside(t *testing.T) {
	s := newHub(t).start()
	p := newProxy(t, s.addr)
	admin, _ := s.client()
	heard := make(chan string, 1000)
	_, err := admin.Subscribe(wire.HeartbeatSubject(0, "s1", "t1"), func(m *nats.Msg) { heard <- string(m.Data) })
	must(t, err)
	must(t, admin.Flush())
	var called, staying, beats atomic.Int32
	body := func() []byte { beats.Add(1); return []byte("alive") }
	tl := newTill(t, "t1")
	tl.more = func(o *Options) {
		o.Heartbeat = func() []byte { return body() }
		o.t.beat = giveUp // only when something happens
		o.OnConnect = []func(context.Context, *nats.Conn) error{
			func(context.Context, *nats.Conn) error { return errors.New("planted") },
			func(ctx context.Context, nc *nats.Conn) error {
				if _, err := nc.Subscribe("pos.cfg.s1.t1.>", func(*nats.Msg) {}); err != nil {
					return err
				}
				called.Add(1)
				staying.Add(1)
				<-ctx.Done()
				staying.Add(-1)
				return nil
			},
		}
	}
	tl.link(p.addr(), s.tokenFile(), noBug)
	tl.sell(5, 50)
	tl.waitSettled()
	if got := <-heard; got != "alive" {
		t.Errorf("heartbeat %q", got)
	}
	eventually(t, "the function of OnConnect was called", func() bool { return called.Load() > 0 })
	before := called.Load()
	p.cut()
	eventually(t, "it was called for the second connection", func() bool { return called.Load() > before })
	<-heard
	tl.u.Beat()
	<-heard
	eventually(t, "only those of one connection are at it", func() bool { return staying.Load() <= 1 })
	tl.sell(5, 50)
	tl.waitSettled()
	tl.unlink()
	if n := staying.Load(); n != 0 {
		t.Errorf("%d functions outlived the uplink", n)
	}
	body = func() []byte { beats.Add(1); return []byte(strings.Repeat("x", maxBeat+1)) }
	seen := beats.Load()
	tl.link(p.addr(), s.tokenFile(), noBug)
	eventually(t, "a heartbeat is made", func() bool { return beats.Load() > seen })
	tl.sell(5, 50)
	tl.waitSettled()
	must(t, s.inLedger(tl))
	must(t, admin.Flush())
	for len(heard) > 0 {
		if got := <-heard; got != "alive" {
			t.Errorf("an oversized heartbeat was sent: %d bytes", len(got))
		}
	}
}
