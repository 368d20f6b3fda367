package uplink

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

const (
	dialTimeout = 10 * time.Second
	pingEvery   = 20 * time.Second
	// Bytes unacknowledged for so long mean a dead link: the kernel's own limit
	// is a quarter of an hour.
	userTimeout = 30 * time.Second
)

// connect opens one connection that does not repair itself: Run does, with its
// own back-off, and with credentials read anew. closed is called once, when the
// connection has ended.
func (u *Uplink) connect(closed func()) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("posd " + u.opt.Store + "." + u.opt.Terminal),
		nats.NoReconnect(), nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort(),
		nats.Timeout(dialTimeout), nats.FlusherTimeout(u.opt.t.ack),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(2),
		nats.CustomInboxPrefix("_INBOX_" + u.opt.Store + "_" + u.opt.Terminal),
		nats.IgnoreDiscoveredServers(),
		nats.SetCustomDialer(dialer{}),
		nats.ClosedHandler(func(*nats.Conn) { closed() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { u.log.Warn("uplink: nats", "error", err) }),
	}
	if u.opt.CAFile != "" {
		opts = append(opts, nats.RootCAs(u.opt.CAFile))
	}
	if u.opt.Credentials != "" {
		opts = append(opts, nats.UserCredentials(u.opt.Credentials))
	}
	if u.opt.TokenFile != "" {
		b, err := os.ReadFile(u.opt.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("hub token: %w", err)
		}
		opts = append(opts, nats.Token(strings.TrimSpace(string(b))))
	}
	nc, err := nats.Connect(strings.Join(u.opt.URLs, ","), opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the hub: %w", err)
	}
	return nc, nil
}

// dialer makes connections that notice a dead link and leave nothing behind.
type dialer struct{}

func (dialer) Dial(network, address string) (net.Conn, error) {
	d := net.Dialer{
		Timeout: dialTimeout,
		Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			cerr := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
			})
			if cerr != nil {
				return cerr
			}
			return err
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
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
