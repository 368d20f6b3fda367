package uplink

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// tlsConfig is made anew for each connect, so that certificates are read again.
// TLS 1.3 is the least: every NATS server of the last years has it.
func (u *Uplink) tlsConfig(d *dialer) (*tls.Config, error) {
	least := u.names.now(u.opt.Now())
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, ClientSessionCache: sessions{u.tickets, d, fmt.Sprint(u.stamps())}}
	if u.opt.CAFile != "" {
		pool, newest, err := readCA(u.opt.CAFile)
		if err != nil {
			return nil, fmt.Errorf("hub.ca_file: %w", err)
		}
		cfg.RootCAs = pool
		if newest.After(least) {
			least = newest
		}
	}
	if u.opt.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(u.opt.CertFile, u.opt.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("hub.cert_file, hub.key_file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
		if cert.Leaf != nil && cert.Leaf.NotBefore.After(least) {
			least = cert.Leaf.NotBefore
		}
	}
	// What head office has signed for us was signed in the past: a clock that
	// says otherwise is behind, and would refuse every certificate.
	cfg.Time = func() time.Time { return least }
	return cfg, nil
}

// readCA reads the authorities to trust, and when the newest of them began.
func readCA(path string) (pool *x509.CertPool, newest time.Time, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, newest, err
	}
	pool = x509.NewCertPool()
	found := false
	for len(b) > 0 {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, newest, fmt.Errorf("%s: %w", path, err)
		}
		pool.AddCert(c)
		if found = true; c.NotBefore.After(newest) {
			newest = c.NotBefore
		}
	}
	if !found {
		return nil, newest, fmt.Errorf("%s: %w", path, errors.New("no certificate in PEM is in it"))
	}
	return pool, newest, nil
}

// sessions keeps the tickets of each address apart: servers behind one name do
// not take each other's. And those of each state of the files: a session that is
// resumed is the one of the certificate that it began with.
type sessions struct {
	tickets tls.ClientSessionCache
	d       *dialer
	files   string
}

func (c sessions) key(name string) string {
	name += c.files
	if c.d.line == nil {
		return name
	}
	return name + " " + c.d.line.RemoteAddr().String()
}

func (c sessions) Get(name string) (*tls.ClientSessionState, bool) { return c.tickets.Get(c.key(name)) }
func (c sessions) Put(name string, s *tls.ClientSessionState)      { c.tickets.Put(c.key(name), s) }
