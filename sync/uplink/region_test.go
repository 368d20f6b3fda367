package uplink

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"posd/packaging/lab/freeport"
	"posd/sync/hub"
)

// rude listens, and does to each connection what f does.
func rude(t *testing.T, f func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	var held []net.Conn
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f(c)
			held = append(held, c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, c := range held {
			c.Close()
		}
	})
	return l.Addr().String()
}

// blackHole is an address whose packets are dropped: a listener whose queue is
// full and that nobody serves.
func blackHole(t *testing.T) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, unix.Listen(fd, 0))
	name, err := unix.Getsockname(fd)
	must(t, err)
	addr := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*unix.SockaddrInet4).Port}).String()
	for {
		c, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
}

// twin is a second hub that takes the same token.
func twin(t *testing.T, of *hubServer) *hubServer { return twinWith(t, of, func(*hub.Options) {}) }

func twinWith(t *testing.T, of *hubServer, change func(*hub.Options)) *hubServer {
	s := newHub(t)
	change(&s.opt)
	must(t, os.MkdirAll(s.dir, 0o700))
	b, err := os.ReadFile(of.tokenFile())
	must(t, err)
	must(t, os.WriteFile(s.tokenFile(), b, 0o600))
	return s.start().ready()
}

// leaderless is a home whose stream answers questions, and takes nothing: what is
// published on it has no responder.
func leaderless(t *testing.T, of *hubServer) string {
	h := twin(t, of)
	_, js := h.client()
	cfg := jetstream.StreamConfig{}
	eventually(t, "the stream has other subjects", func() bool {
		st, err := js.Stream(t.Context(), "POS_UP_0")
		if err != nil {
			return false
		}
		cfg = st.CachedInfo().Config
		cfg.Subjects = []string{"pos.elsewhere"}
		_, err = js.UpdateStream(t.Context(), cfg)
		return err == nil
	})
	return h.addr
}

// TestLongIsNotGood: a home that refuses what is sent gets its turn, and the other
// region gets its own; who takes a long session for a good one stays at home for ever.
func TestLongIsNotGood(t *testing.T) {
	for _, b := range []bug{noBug, bugLongIsGood} {
		away := newHub(t).start()
		home := twinWith(t, away, func(o *hub.Options) { o.MaxBytes = 100 })
		tl := newTill(t, "t1")
		tl.sell(20, 100)
		tl.t0 = quick
		tl.t0.budget, tl.t0.connect = 400*time.Millisecond, 1500*time.Millisecond
		tl.more = func(o *Options) {
			o.URLs, o.Fallback = []string{"nats://" + home.addr}, []string{"nats://" + away.addr}
		}
		tl.link(away.addr, away.tokenFile(), b)
		if b == noBug {
			tl.waitSettled()
			must(t, away.inLedger(tl))
			continue
		}
		eventually(t, "sessions at home", func() bool { return tl.u.m.connects.Get() > 4 })
		if st := tl.u.Status(); st.Failovers != 0 {
			t.Error("the planted bug was not noticed")
		}
	}
}

// TestFailOver: whatever is wrong at home, what was sold reaches the other
// region, and the error says in words what it is. The times are the real ones.
func TestFailOver(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		home       func(t *testing.T, s *hubServer) string
	}{
		{"refused", "the connection is refused", func(t *testing.T, s *hubServer) string { return "nats://" + freeport.For(t) }},
		{"black hole", "no answer to the attempt to connect", func(t *testing.T, s *hubServer) string { return "nats://" + blackHole(t) }},
		{"accepts and is silent", "nothing is said", func(t *testing.T, s *hubServer) string { return "nats://" + rude(t, func(net.Conn) {}) }},
		{"captive portal", "a captive portal", func(t *testing.T, s *hubServer) string {
			return "nats://" + rude(t, func(c net.Conn) { c.Write([]byte("HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n")) })
		}},
		{"closes at once", "closed at once", func(t *testing.T, s *hubServer) string { return "nats://" + rude(t, func(c net.Conn) { c.Close() }) }},
		{"no TLS", "offers no TLS", func(t *testing.T, s *hubServer) string { return "tls://" + s.addr }},
		{"name", "no-such-host.invalid", func(t *testing.T, s *hubServer) string { return "nats://no-such-host.invalid:4222" }},
		{"no stream", "is not there yet", func(t *testing.T, s *hubServer) string {
			ns, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, Authorization: readToken(t, s.tokenFile()), NoSigs: true, NoLog: true})
			must(t, err)
			ns.Start()
			t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
			if !ns.ReadyForConnections(giveUp) {
				t.Fatal("no server")
			}
			return ns.ClientURL()
		}},
		{"wrong token", "refuses our credentials", func(t *testing.T, s *hubServer) string { return "nats://" + newHub(t).start().addr }},
		{"stream full", "the server refuses a parcel", func(t *testing.T, s *hubServer) string {
			h := twinWith(t, s, func(o *hub.Options) { o.MaxBytes = 100 })
			return "nats://" + h.addr
		}},
		{"stream without a leader", "has no leader", func(t *testing.T, s *hubServer) string { return "nats://" + leaderless(t, s) }},
		{"never acknowledges", "no acknowledgement in time", func(t *testing.T, s *hubServer) string {
			h := twin(t, s)
			p := newProxy(t, h.addr)
			p.lose(`"stream":"POS_UP_0"`)
			return "nats://" + p.addr()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			away := newHub(t).start().ready()
			tl := newTill(t, "t1")
			tl.sell(20, 100)
			tl.t0 = defaultTimes
			home := tt.home(t, away)
			tl.more = func(o *Options) { o.URLs, o.Fallback = []string{home}, []string{"nats://" + away.addr} }
			began := time.Now()
			tl.link(away.addr, away.tokenFile(), noBug)
			said := make(map[string]bool)
			eventually(t, "all is settled in the other region", func() bool {
				st := tl.u.Status()
				said[st.LastError] = true
				return st.Settled == tl.floor()
			})
			t.Logf("%s: in the other region after %.1f s", tt.name, time.Since(began).Seconds())
			if st := tl.u.Status(); !st.Away || st.Failovers != 1 {
				t.Errorf("status %+v", st)
			}
			ok := false
			for text := range said {
				ok = ok || strings.Contains(text, tt.says)
			}
			if !ok {
				t.Errorf("no error said %q, but %v", tt.says, said)
			}
			must(t, away.inLedger(tl))
		})
	}
}

// TestHome: while home is good nobody goes away; when home comes back, the
// terminal does, and nothing is lost or doubled on the way.
func TestHome(t *testing.T) {
	home := newHub(t).start().ready()
	away := twin(t, home)
	tl := newTill(t, "t1")
	tl.more = func(o *Options) { o.Fallback = []string{"nats://" + away.addr} }
	tl.link(home.addr, home.tokenFile(), noBug)
	tl.sell(20, 100)
	tl.waitSettled()
	if st := tl.u.Status(); st.Away || st.Failovers != 0 {
		t.Fatalf("home is good: %+v", st)
	}
	home.close()
	tl.sell(20, 100)
	eventually(t, "sent to the other region", func() bool { st := tl.u.Status(); return st.Away && st.Sent == tl.floor() })
	home.start()
	eventually(t, "back at home", func() bool { st := tl.u.Status(); return st.Connected && !st.Away })
	tl.sell(20, 100)
	eventually(t, "sent at home", func() bool { st := tl.u.Status(); return !st.Away && st.Sent == tl.floor() })
	eventually(t, "home's ledger is whole", func() bool { return home.chain(tl.j.ID()).Last == tl.floor() })
	must(t, home.inLedger(tl))
}

// TestRotation: a new token is used soon, while the old connection is still good.
func TestRotation(t *testing.T) {
	s := newHub(t).start()
	token := filepath.Join(t.TempDir(), "token")
	b := readToken(t, s.tokenFile())
	must(t, os.WriteFile(token, []byte(b), 0o600))
	tl := newTill(t, "t1")
	tl.more = func(o *Options) { o.t.quiet = 50 * time.Millisecond }
	tl.link(s.addr, token, noBug)
	tl.sell(5, 100)
	tl.waitSettled()
	before := tl.u.m.connects.Get()
	must(t, os.WriteFile(token, []byte(b+"\n"), 0o600))
	eventually(t, "connected anew", func() bool { return tl.u.m.connects.Get() > before && tl.u.Status().Connected })
	tl.sell(5, 100)
	tl.waitSettled()
	must(t, s.inLedger(tl))
	must(t, s.streamOnce(tl.j.ID(), tl.floor()))
}
