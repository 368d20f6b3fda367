package card

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Driver is a way to a payment terminal.
type Driver interface {
	// Open reaches the payment terminal, before ctx ends. Nothing was asked yet.
	Open(ctx context.Context) (Link, error)
}

// Link is open for one request.
type Link interface {
	Greeting() Greeting
	// Ask returns the answer. After an error nobody knows whether the payment terminal
	// acts on the request. Shown is told what the customer is shown meanwhile.
	Ask(ctx context.Context, r *Request, shown func(string)) (Answer, error)
	Close()
}

// TCP is the driver of docs/payment.md.
type TCP struct {
	Address string // host:port
	// Name is the payment terminal's in its certificate; empty: Address's host.
	Name string
	// CAFile is of the authority that signed it; empty: no TLS. CertFile and KeyFile are
	// this till's. All are PEM, and read at each connection.
	CAFile, CertFile, KeyFile string
	// Now is a time that has come for sure, whatever the wall clock says; nil: the wall clock.
	Now func() time.Time
}

// Open implements Driver.
func (t TCP) Open(ctx context.Context) (Link, error) {
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	c, err := dialer.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, err
	}
	if t.CAFile != "" {
		if c, err = t.encrypt(ctx, c); err != nil {
			return nil, err
		}
	}
	l := &tcpLink{c: c, r: bufio.NewReaderSize(c, MaxLine)}
	line, err := l.read(ctx)
	if err == nil {
		l.greeting, err = ParseGreeting(line)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("no greeting: %w", err)
	}
	return l, nil
}

// encrypt begins TLS on c, or closes it.
func (t *TCP) encrypt(ctx context.Context, c net.Conn) (net.Conn, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.Name, Time: t.Now}
	pem, err := os.ReadFile(t.CAFile)
	if cfg.RootCAs = x509.NewCertPool(); err == nil && !cfg.RootCAs.AppendCertsFromPEM(pem) {
		err = errors.New(t.CAFile + ": no certificate in PEM is in it")
	}
	if err == nil && t.CertFile != "" {
		cfg.Certificates = make([]tls.Certificate, 1)
		cfg.Certificates[0], err = tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	}
	if err == nil && t.Name == "" {
		cfg.ServerName, _, err = net.SplitHostPort(t.Address)
	}
	s := tls.Client(c, cfg)
	if err == nil {
		err = s.HandshakeContext(ctx)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

type tcpLink struct {
	c        net.Conn
	r        *bufio.Reader
	greeting Greeting
}

func (l *tcpLink) Greeting() Greeting { return l.greeting }

func (l *tcpLink) Close() { l.c.Close() }

// mostLines of one answer: those that say what the customer is shown come before it.
const mostLines = 1000

func (l *tcpLink) Ask(ctx context.Context, r *Request, shown func(string)) (Answer, error) {
	stop := l.until(ctx)
	defer stop()
	if _, err := l.c.Write(r.Append(nil)); err != nil {
		return Answer{}, err
	}
	crash("sent")
	for range mostLines {
		line, err := l.line()
		if err != nil {
			return Answer{}, err
		}
		a, err := ParseAnswer(line)
		switch {
		case err != nil:
			return a, err
		case a.Reference != r.Reference:
			return Answer{}, fmt.Errorf("%w: the answer is about another payment", ErrMessage)
		case a.State == Pending && (r.Ask == AskAuthorise || r.Ask == AskRefund):
			shown(a.Text)
		default:
			return a, nil
		}
	}
	return Answer{}, fmt.Errorf("%w: more than %d lines", ErrMessage, mostLines)
}

// until has what is read and written fail when ctx ends.
func (l *tcpLink) until(ctx context.Context) (stop func() bool) {
	if by, ok := ctx.Deadline(); ok {
		l.c.SetDeadline(by)
	}
	return context.AfterFunc(ctx, func() { l.c.SetDeadline(time.Unix(1, 0)) })
}

func (l *tcpLink) read(ctx context.Context) ([]byte, error) {
	stop := l.until(ctx)
	defer stop()
	return l.line()
}

// line is good until the next one.
func (l *tcpLink) line() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = fmt.Errorf("%w: a line is longer than %d bytes", ErrMessage, MaxLine)
	}
	return line, err
}
