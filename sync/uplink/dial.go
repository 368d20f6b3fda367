package uplink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"posd/sync/wire"
)

const (
	// The line watch notices silence long before these.
	pingEvery = time.Minute
	// Bytes unacknowledged for so long mean a dead link: the kernel's own limit
	// is a quarter of an hour.
	userTimeout = 30 * time.Second
	// stagger between two addresses of a server that are tried side by side.
	stagger = 250 * time.Millisecond
)

// connect opens one connection to one server, within limit. It does not repair
// itself: Run does, with its own back-off, and with credentials and certificates
// read anew.
func (u *Uplink) connect(ctx context.Context, s *server, limit time.Duration, more ...nats.Option) (*nats.Conn, *line, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d := &dialer{ctx: ctx, u: u, s: s}
	opts, err := u.natsOptions(s, d, limit)
	if err != nil {
		return nil, nil, err
	}
	nc, err := nats.Connect(s.url, append(opts, more...)...)
	if err != nil {
		if d.err != nil { // nats.go forgets it
			err = d.err
		}
		return nil, nil, fmt.Errorf("%s: %w", s, u.explain(err, s, d.line))
	}
	u.names.worked(s.host, d.line.RemoteAddr())
	return nc, d.line, nil
}

// syncQueue is how many messages a subscription may hold that is read one by one; those
// of orders limit themselves to fewer.
const syncQueue = 16

func (u *Uplink) natsOptions(s *server, d *dialer, limit time.Duration) ([]nats.Option, error) {
	cfg, err := u.tlsConfig(d)
	if err != nil {
		return nil, err
	}
	opts := []nats.Option{
		nats.Name("posd " + u.opt.Store + "." + u.opt.Terminal),
		nats.NoReconnect(), nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort(),
		nats.Timeout(limit), nats.FlusherTimeout(ackMost),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(2),
		nats.CustomInboxPrefix(wire.InboxPrefix(u.opt.Store, u.opt.Terminal)),
		nats.IgnoreDiscoveredServers(), nats.SkipHostLookup(),
		nats.SetCustomDialer(d),
		// The default makes room for 65,536 messages in each subscription that is read one
		// by one: half a MiB, which every garbage collection goes through.
		nats.SyncQueueLen(syncQueue),
		// Also without tls:// in the address the server may ask for TLS.
		func(o *nats.Options) error { o.TLSConfig = cfg; return nil },
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	if u.opt.Credentials != "" {
		opts = append(opts, nats.UserCredentials(u.opt.Credentials))
	}
	if u.opt.TokenFile != "" {
		b, err := os.ReadFile(u.opt.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("hub.token_file: %w", err)
		}
		opts = append(opts, nats.Token(strings.TrimSpace(string(b))))
	}
	return opts, nil
}

// dialer makes the one connection of a connect, by addresses that we looked up
// ourselves.
type dialer struct {
	ctx  context.Context
	u    *Uplink
	s    *server
	line *line // the connection made
	err  error
}

// Dial implements nats.CustomDialer, which has no context.
func (d *dialer) Dial(network, _ string) (net.Conn, error) {
	addrs, err := d.u.names.lookup(d.ctx, d.s.host)
	if err != nil {
		d.err = err
		return nil, err
	}
	c, err := race(d.ctx, network, d.s.port, addrs)
	if err != nil {
		d.err = err
		return nil, err
	}
	limit, _ := d.ctx.Deadline()
	d.line = &line{Conn: c, limit: limit, u: d.u}
	d.line.heard.Store(time.Now().UnixNano())
	return d.line, nil
}

// race connects to the addresses, one after the other with a little head start
// each, and keeps the first that answers.
func race(ctx context.Context, network, port string, addrs []netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		c   net.Conn
		err error
	}
	results := make(chan result, len(addrs))
	next := time.NewTimer(0)
	defer next.Stop()
	var errs []error
	for started := 0; len(errs) < len(addrs); {
		select {
		case <-next.C:
			if started == len(addrs) {
				continue
			}
			addr := net.JoinHostPort(addrs[started].String(), port)
			go func() {
				c, err := dialTCP(ctx, network, addr)
				results <- result{c, err}
			}()
			started++
			next.Reset(stagger)
		case r := <-results:
			if r.err == nil {
				cancel()
				for range started - len(errs) - 1 { // the others end now
					if late := <-results; late.err == nil {
						late.c.Close()
					}
				}
				return r.c, nil
			}
			errs = append(errs, r.err)
			next.Reset(0)
		}
	}
	return nil, errors.Join(errs...)
}

// dialTCP makes a connection that notices a dead link and leaves nothing behind.
func dialTCP(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			cerr := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
			})
			return errors.Join(cerr, err)
		},
	}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if t, ok := c.(*net.TCPConn); ok {
		// What the kernel still holds of an abandoned connection must not land
		// later: it would only run into the fence.
		t.SetLinger(0)
	}
	return c, nil
}

// line is a connection that is watched: what came first, when something came
// last, how much went over it.
type line struct {
	net.Conn
	u     *Uplink
	limit time.Time    // of connecting; zero afterwards
	heard atomic.Int64 // when something came last, Unix nanoseconds
	first []byte       // what the other side said first
}

// maxFirst is enough of a server's first words to know it by.
const maxFirst = 64

func (l *line) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if n > 0 {
		l.heard.Store(time.Now().UnixNano())
		l.u.m.linkRead.Add(n)
		if rest := maxFirst - len(l.first); rest > 0 {
			l.first = append(l.first, b[:min(n, rest)]...)
		}
	}
	return n, err
}

func (l *line) Write(b []byte) (int, error) {
	n, err := l.Conn.Write(b)
	l.u.m.linkWrote.Add(n)
	return n, err
}

// SetDeadline keeps all steps of connecting within one limit: nats.go counts
// anew after dialling.
func (l *line) SetDeadline(t time.Time) error {
	if t.IsZero() {
		l.limit = t
	} else if !l.limit.IsZero() && t.After(l.limit) {
		t = l.limit
	}
	return l.Conn.SetDeadline(t)
}

// silence is how long nothing has come.
func (l *line) silence() time.Duration {
	return time.Since(time.Unix(0, l.heard.Load()))
}

// watch ends the session if the line is dead: when nothing was heard for a
// while, not even the hub's pulse, the server is asked, and must answer. Without
// it an idle terminal would not know that it is cut off.
func (u *Uplink) watch(ctx context.Context, nc *nats.Conn, l *line) error {
	for {
		quiet := u.opt.t.quiet
		sleep(ctx, max(quiet-l.silence(), quiet/8))
		if ctx.Err() != nil {
			return nil
		}
		if l.silence() < quiet {
			continue
		}
		// What is on its way may keep the answer waiting: any byte counts.
		before := l.heard.Load()
		pctx, cancel := context.WithTimeout(ctx, u.opt.t.probe)
		err := nc.FlushWithContext(pctx)
		cancel()
		if err != nil && ctx.Err() == nil && l.heard.Load() == before && !u.busy.Load() {
			return fmt.Errorf("%w: nothing was heard for %.0f s", errSilent, l.silence().Seconds())
		}
	}
}
