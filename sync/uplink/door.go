package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"time"
)

// CheckURL refuses what no uplink could connect to.
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
		return fmt.Errorf("uplink: %.100q is not the address of a NATS server", raw)
	}
	_, err = newServer(raw, true)
	return err
}

// Dial connects to another door of head office, by http or https, as an uplink with
// these options does: with addresses that worked before where names do not resolve,
// with a clock that is behind, and with errors that say what stands in the way.
func Dial(ctx context.Context, o Options, to *url.URL) (net.Conn, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	u := &Uplink{opt: o, names: openNames(o.StatePath+".net", o.Log), tickets: tls.NewLRUClientSessionCache(1)}
	port := to.Port()
	if port == "" {
		port = to.Scheme
	}
	addrs, err := u.names.lookup(ctx, to.Hostname())
	if err != nil {
		return nil, err
	}
	c, err := race(ctx, "tcp", port, addrs)
	if err != nil {
		if text := explainDial(err); text != "" {
			err = &explained{text, err}
		}
		return nil, err
	}
	if to.Scheme == "https" {
		if c, err = u.secure(ctx, c, to.Hostname()); err != nil {
			return nil, err
		}
	}
	u.names.worked(to.Hostname(), c.RemoteAddr())
	return c, nil
}

func (u *Uplink) secure(ctx context.Context, c net.Conn, host string) (net.Conn, error) {
	cfg, err := u.tlsConfig(&dialer{})
	if err == nil {
		cfg.ServerName = host
		t := tls.Client(c, cfg)
		if err = t.HandshakeContext(ctx); err == nil {
			return t, nil
		}
		text := u.explainTLS(err)
		if text == "" && errors.Is(err, io.EOF) {
			text = "the connection is accepted and closed at once: is this the port of the hub?"
		}
		if text != "" {
			err = &explained{text, err}
		}
	}
	c.Close()
	return nil, err
}
