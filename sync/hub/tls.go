package hub

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"
)

// serverTLS is what the HTTP interface and the NATS server inside show; nil without a
// certificate. TLS 1.3 is the least: posd and every client of the last years has it.
func serverTLS(o *Options) (*tls.Config, error) {
	if o.TLSCert == "" {
		return nil, nil
	}
	c := &certificate{cert: o.TLSCert, key: o.TLSKey, log: o.Log}
	if _, err := c.get(); err != nil {
		return nil, fmt.Errorf("certificate of this hub: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get() }}
	if o.TLSCA != "" {
		pool, err := readCA(o.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("authority of clients: %w", err)
		}
		cfg.ClientCAs = pool
	}
	return cfg, nil
}

// HTTPTLS is for the HTTP interface; nil: it has no TLS. A terminal that enrols may
// have no certificate yet, so none is demanded here: Handler demands it.
func (h *Hub) HTTPTLS() *tls.Config {
	if h.tls == nil {
		return nil
	}
	c := h.tls.Clone()
	if c.ClientCAs != nil {
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return c
}

// certified lets in who has shown a certificate, if there have to be any.
func (h *Hub) certified(r *http.Request) bool {
	return h.tls == nil || h.tls.ClientCAs == nil || r.TLS != nil && len(r.TLS.VerifiedChains) > 0
}

func readCA(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

// certificate reads its files again when they have changed, and stays with what it has
// while they are not right: a renewal needs no restart.
type certificate struct {
	cert, key string
	log       *slog.Logger

	mu   sync.Mutex
	have *tls.Certificate
	at   [2]time.Time // when the files were changed
}

func (c *certificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var at [2]time.Time
	for i, path := range []string{c.cert, c.key} {
		if st, err := os.Stat(path); err == nil {
			at[i] = st.ModTime()
		}
	}
	if c.have != nil && at == c.at {
		return c.have, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	switch {
	case err == nil:
		c.have = &pair
	case c.have == nil:
		return nil, err
	default:
		c.log.Error("the changed certificate cannot be used: the one before stays in use", "file", c.cert, "error", err)
	}
	c.at = at
	return c.have, nil
}

// ClientConfig trusts the servers of an authority ("" = the system's) and shows a
// certificate of its own, if there is one.
func ClientConfig(ca, cert, key string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	if ca != "" {
		pool, err := readCA(ca)
		if err != nil {
			return nil, fmt.Errorf("authority of the servers: %w", err)
		}
		cfg.RootCAs = pool
	}
	if cert != "" {
		c := &certificate{cert: cert, key: key, log: slog.New(slog.DiscardHandler)}
		if _, err := c.get(); err != nil {
			return nil, fmt.Errorf("certificate to show: %w", err)
		}
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.get() }
	}
	return cfg, nil
}
