package card_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"posd/pos/card"
	"posd/pos/card/simulator"
)

// authority signs certificates into files of a folder.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.file, _ = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) issue(name string, c *x509.Certificate) (certFile, keyFile string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer, a.cert, a.key = c, key, c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	write := func(suffix, kind string, b []byte) string {
		path := filepath.Join(a.dir, name+suffix)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return path
	}
	return write(".crt", "CERTIFICATE", der), write(".key", "EC PRIVATE KEY", raw)
}

// Only the payment terminal that was meant is believed, and it only serves tills that
// it knows.
func TestTLS(t *testing.T) {
	t.Parallel()
	ours, other := newAuthority(t), newAuthority(t)
	cert, key := ours.issue("SIM-1", &x509.Certificate{DNSNames: []string{"SIM-1"}})
	till, tillKey := ours.issue("till", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	foreign, foreignKey := other.issue("till", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	sim, err := simulator.New(simulator.Options{Ledger: filepath.Join(t.TempDir(), "acquirer")})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	encrypted, err := simulator.TLS(ln, cert, key, ours.file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); sim.Serve(ctx, encrypted) }()
	t.Cleanup(func() { cancel(); <-done; sim.Close() })
	at := ln.Addr().String()
	for name, c := range map[string]struct {
		d  card.TCP
		ok bool
	}{
		"as configured":               {card.TCP{Address: at, Name: "SIM-1", CAFile: ours.file, CertFile: till, KeyFile: tillKey}, true},
		"without TLS":                 {card.TCP{Address: at}, false},
		"another authority":           {card.TCP{Address: at, Name: "SIM-1", CAFile: other.file, CertFile: till, KeyFile: tillKey}, false},
		"another name":                {card.TCP{Address: at, Name: "SIM-2", CAFile: ours.file, CertFile: till, KeyFile: tillKey}, false},
		"the address is not its name": {card.TCP{Address: at, CAFile: ours.file, CertFile: till, KeyFile: tillKey}, false},
		"a till without certificate":  {card.TCP{Address: at, Name: "SIM-1", CAFile: ours.file}, false},
		"a till of another authority": {card.TCP{Address: at, Name: "SIM-1", CAFile: ours.file, CertFile: foreign, KeyFile: foreignKey}, false},
		"no such file":                {card.TCP{Address: at, Name: "SIM-1", CAFile: ours.file + "x"}, false},
		"no certificate":              {card.TCP{Address: at, Name: "SIM-1", CAFile: key}, false},
		"certificates have run out":   {card.TCP{Address: at, Name: "SIM-1", CAFile: ours.file, CertFile: till, KeyFile: tillKey, Now: func() time.Time { return time.Now().Add(2 * time.Hour) }}, false},
		"another time that has come":  {card.TCP{Address: at, Name: "SIM-1", CAFile: ours.file, CertFile: till, KeyFile: tillKey, Now: time.Now}, true},
	} {
		within, stop := context.WithTimeout(context.Background(), 5*time.Second)
		l, err := c.d.Open(within)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if a, err := l.Ask(within, &card.Request{Ask: card.AskStatus, Reference: "r", Amount: 1, Currency: euro}, nil); err != nil || a.State != card.Absent {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
			l.Close()
		}
		stop()
	}
}
