package uplink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

// Why a session ended, if not by an error of the link.
var (
	errLost     = errors.New("the connection to the hub was lost")
	errSilent   = errors.New("the server does not answer any more")
	errLameDuck = errors.New("the server is about to stop and asked us to leave")
	errRotated  = errors.New("the credentials or certificates have changed: connecting with the new ones")
	errHome     = errors.New("our own region answers again: going back to it")
)

// silent reports whether an error is the lack of an answer, which more patience
// may cure.
func silent(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, errSilent) || errors.As(err, &n) && n.Timeout()
}

// explained says in an operator's words what is wrong; the error beneath is kept.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// explain tells why no connection came about. l is nil if not even TCP's did.
func (u *Uplink) explain(err error, s *server, l *line) error {
	text := ""
	switch {
	case l == nil:
		text = explainDial(err)
	case isHTTP(l.first, s):
		text = "HTTP is spoken where the NATS server should be: a captive portal or a proxy stands between. " +
			"Sign in to the network there, or correct the address"
	case len(l.first) == 0 && silent(err):
		text = "the connection is accepted, but nothing is said: a captive portal or a firewall may stand between, or the server is overloaded"
	case len(l.first) == 0 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		text = "the connection is accepted and closed at once: is this the NATS port?"
	case errors.Is(err, nats.ErrNoInfoReceived):
		text = fmt.Sprintf("this is no NATS server: it says %q", l.first[:min(len(l.first), 32)])
	default:
		if text = u.explainTLS(err); text == "" {
			text = explainAuth(err)
		}
		if strings.HasSuffix(err.Error(), "expected 'PONG', got 'PING'") { // nats.go does not wait longer
			text = "the server is overloaded: in 2 s it did not get to our credentials"
		}
	}
	if text == "" {
		if silent(err) {
			text = "no answer in time"
		} else {
			return err
		}
	}
	return &explained{text: text, err: err}
}

func isHTTP(first []byte, s *server) bool {
	if strings.HasPrefix(s.url, "ws") {
		return false // there it is in order
	}
	return bytes.HasPrefix(first, []byte("HTTP/")) || bytes.HasPrefix(first, []byte("<"))
}

func explainDial(err error) string {
	var name *nameError
	switch {
	case errors.As(err, &name):
		return name.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused: nothing listens there, or a firewall says no"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN):
		return "there is no way to it: is this machine connected to the network?"
	case silent(err):
		return "no answer to the attempt to connect: the network is down, or something swallows it"
	}
	return ""
}

// explainTLS tells what is wrong with a certificate, on either side.
func (u *Uplink) explainTLS(err error) string {
	var (
		invalid   x509.CertificateInvalidError
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		now := u.names.now(u.opt.Now())
		clock := "this machine's clock says " + date(time.Now())
		if c := invalid.Cert; now.Before(c.NotBefore) {
			return "the server's certificate is not valid before " + date(c.NotBefore) + ", and " + clock + ": set the clock"
		} else {
			return "the server's certificate has expired on " + date(c.NotAfter) + ", and " + clock +
				": if that is wrong set it, else the server needs a new certificate"
		}
	case errors.As(err, &host):
		return fmt.Sprintf("the certificate is for %s, not for %s: a captive portal stands between, or the address is wrong",
			names4(host.Certificate), host.Host)
	case errors.As(err, &authority):
		return "the server's certificate is from an authority that is not trusted: a captive portal stands between, or hub.ca_file is not the hub's"
	case errors.As(err, &record) && bytes.HasPrefix(record.RecordHeader[:], []byte("-ERR")): // connection_rate_limit
		return "the server lets nobody more in at the moment: too many come at once"
	case errors.As(err, &record):
		return "the server does not speak TLS where it should"
	case strings.Contains(err.Error(), "remote error: tls: "): // crypto/tls keeps the type to itself
		_, alert, _ := strings.Cut(err.Error(), "remote error: tls: ")
		return fmt.Sprintf("the server refuses our TLS: %s (is hub.cert_file the one it knows, and TLS 1.3 switched on there?)", alert)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "the server offers no TLS, and the address asks for it"
	case errors.Is(err, nats.ErrTLS) && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		return "the server has closed the connection instead of beginning TLS: too many come at once, or something between allows none"
	case errors.Is(err, nats.ErrTLS):
		return fmt.Sprintf("TLS failed: %v", err)
	}
	return ""
}

// names4 lists up to four names of a certificate.
func names4(c *x509.Certificate) string {
	if c == nil {
		return "another name"
	}
	list := c.DNSNames
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		return fmt.Sprintf("%q", c.Subject.CommonName)
	}
	return strings.Join(list[:min(len(list), 4)], ", ")
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// Refused begins a Status.LastError that new credentials would help.
const Refused = "the server refuses our credentials"

func explainAuth(err error) string {
	var path *fs.PathError
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return Refused + ": they are unknown there, or were replaced"
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAccountAuthExpired):
		return Refused + ": they have expired"
	case errors.Is(err, nats.ErrAuthRevoked):
		return Refused + ": they have been revoked"
	case errors.As(err, &path):
		return fmt.Sprintf("our credentials cannot be read: %v", path)
	}
	return ""
}
