package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"posd/packaging/lab/freeport"
	"posd/packaging/lab/slicebench/rig"
	"posd/sync/trust"
)

// office is head office as docs/hub.md says to run it: a nats-server with the
// configuration that poshub writes (operator mode, an account for each terminal, TLS
// 1.3, sync_interval always), and a poshub beside it, each a process.
type office struct {
	dir         string
	url         string // of the nats-server
	ca          string // PEM file
	web, token  string // of the hub's HTTP interface
	prof        string // where the nats-server shows its heap
	server, hub *rig.Process
	startServer []string
	startHub    []string
	env         []string // of the hub
}

// programs that an office and a till are made of.
func buildPrograms(ctx context.Context, dir string) (rig.Programs, error) {
	p := rig.Programs{Posd: filepath.Join(dir, "posd"), Posctl: filepath.Join(dir, "posctl"), Poshub: filepath.Join(dir, "poshub")}
	return p, errors.Join(buildProgram(ctx, p.Posd, "posd/cmd/posd"), buildProgram(ctx, p.Posctl, "posd/cmd/posctl"), buildProgram(ctx, p.Poshub, "posd/cmd/poshub"))
}

// newOffice writes all that the nats-server of an office needs, in a fresh folder.
func newOffice(dir string, rate int, mutual bool, terminals []trust.Device) (*office, error) {
	o := &office{dir: dir, ca: filepath.Join(dir, "ca.pem")}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o750)); err != nil {
		return nil, err
	}
	keys, err := trust.Open(filepath.Join(dir, "keys"))
	if err != nil {
		return nil, err
	}
	if err := o.writeCertificates(); err != nil {
		return nil, err
	}
	port, err1 := freeport.Number()
	prof, err2 := freeport.Number()
	creds, err3 := keys.HubUser()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	o.url = "tls://" + listen
	cluster := trust.Cluster{
		Auth: trust.AuthJWT, Name: "bench", Servers: []trust.Server{{Name: "n0", Listen: listen}}, StoreDir: filepath.Join(dir, "store"),
		TLS: trust.TLS{Cert: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server.key"), Rate: rate}, Keys: keys, Terminals: terminals,
	}
	if mutual {
		cluster.TLS.CA = o.ca
	}
	conf, err := cluster.Config(0)
	if err != nil {
		return nil, err
	}
	conf = fmt.Appendf(conf, "prof_port: %d\n", prof)
	o.prof = fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/heap?gc=1&debug=1", prof)
	return o, errors.Join(os.WriteFile(o.natsConf(), conf, 0o600), os.WriteFile(o.hubCreds(), creds, 0o600), writeCredentials(dir, keys, terminals))
}

func (o *office) natsConf() string { return filepath.Join(o.dir, "nats.conf") }
func (o *office) hubCreds() string { return filepath.Join(o.dir, "hub.creds") }

// startOffice starts one in a fresh folder, which knows the terminals; ledger is the URL
// of a database or "", rate that of handshakes, 0 for no limit.
func startOffice(ctx context.Context, server, poshub, dir, shards, ledger string, rate int, terminals []trust.Device) (o *office, err error) {
	if o, err = newOffice(dir, rate, false, terminals); err != nil {
		return nil, err
	}
	web, err := freeport.Number()
	if err != nil {
		return nil, err
	}
	o.web = fmt.Sprintf("http://127.0.0.1:%d", web)
	o.startServer = []string{server, "-c", o.natsConf()}
	o.startHub = []string{poshub, "serve", "--data", filepath.Join(dir, "hub"), "--listen", fmt.Sprintf("127.0.0.1:%d", web),
		"--nats-url", o.url, "--nats-creds", o.hubCreds(), "--shards", shards}
	if ledger != "" {
		o.startHub = append(o.startHub, "--ledger", ledger)
	}
	o.env = []string{"SSL_CERT_FILE=" + o.ca}
	if err := o.up(ctx); err != nil {
		return nil, errors.Join(err, o.stop())
	}
	o.hub, err = rig.Begin("poshub", filepath.Join(dir, "poshub.log"), o.env, o.startHub...)
	if err == nil {
		err = o.hub.Wait(ctx, "readiness", func() error { _, err := rig.Get(ctx, http.DefaultClient, o.web+"/readyz", ""); return err })
	}
	if err != nil {
		return nil, errors.Join(err, o.stop())
	}
	token, err := os.ReadFile(filepath.Join(dir, "hub", "api.token"))
	o.token = strings.TrimSpace(string(token))
	return o, err
}

// up starts the nats-server, again on the same port.
func (o *office) up(ctx context.Context) (err error) {
	log := filepath.Join(o.dir, "nats.log")
	before, err := os.ReadFile(log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if o.server, err = rig.Begin("nats-server", log, nil, o.startServer...); err != nil {
		return err
	}
	return o.server.Wait(ctx, "its readiness", func() error {
		all, err := os.ReadFile(log)
		if err == nil && !bytes.Contains(all[len(before):], []byte("Server is ready")) {
			err = errors.New("not ready yet")
		}
		return err
	})
}

func (o *office) stop() (err error) {
	for _, p := range []*rig.Process{o.hub, o.server} {
		if p != nil {
			err = errors.Join(err, p.Kill())
		}
	}
	return err
}

// status is what the hub says.
func (o *office) status(ctx context.Context) (st hubStatus, err error) {
	b, err := rig.Get(ctx, http.DefaultClient, o.web+"/v1/status", o.token)
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	return st, err
}

// kept is what the nats-server's heap and stacks hold after a collection, in bytes. What
// the kernel says falls minutes later.
func (o *office) kept(ctx context.Context) (n int64, err error) {
	var b []byte
	for range 3 { // what lies in pools survives two collections
		if b, err = rig.Get(ctx, http.DefaultClient, o.prof, ""); err != nil {
			return 0, err
		}
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, " = ")
		var bytes int64
		if name == "# HeapAlloc" || name == "# Stack" {
			if _, err := fmt.Sscan(value, &bytes); err != nil {
				return 0, fmt.Errorf("heap of the nats-server: %q: %w", line, err)
			}
			n += bytes
		}
	}
	if n == 0 {
		return 0, errors.New("the nats-server does not show its heap")
	}
	return n, nil
}

// credentials is the file of terminal i.
func credentials(dir string, i int) string {
	return filepath.Join(dir, "creds", fmt.Sprintf("%05d.creds", i))
}

func writeCredentials(dir string, keys *trust.Keys, terminals []trust.Device) error {
	if err := os.MkdirAll(filepath.Join(dir, "creds"), 0o700); err != nil {
		return err
	}
	for i := range terminals {
		kp, err := nkeys.CreateUser()
		if err != nil {
			return err
		}
		public, err := kp.PublicKey()
		if err != nil {
			return err
		}
		token, err := keys.DeviceUser(&terminals[i], public, 0)
		if err != nil {
			return err
		}
		seed, err := kp.Seed()
		if err != nil {
			return err
		}
		text, err := jwt.FormatUserConfig(token, seed)
		if err != nil {
			return err
		}
		if err := os.WriteFile(credentials(dir, i), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// writeCertificates makes an authority and a certificate for 127.0.0.1, both P-256. A
// client may show it too.
func (o *office) writeCertificates() error {
	now := time.Now()
	sign := func(name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
			IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
		if parent == nil {
			parent, by = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
		if err != nil {
			return nil, nil, err
		}
		c, err = x509.ParseCertificate(der)
		return c, key, err
	}
	ca, caKey, err := sign("bench", nil, nil)
	if err != nil {
		return err
	}
	cert, key, err := sign("127.0.0.1", ca, caKey)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	write := func(name, kind string, der []byte) error {
		return os.WriteFile(filepath.Join(o.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	return errors.Join(write("ca.pem", "CERTIFICATE", ca.Raw), write("server.pem", "CERTIFICATE", cert.Raw), write("server.key", "PRIVATE KEY", der))
}

// demand is what a process took.
type demand struct {
	CPU  float64 // seconds
	Anon int64   // most bytes of its own memory
	Peak int64   // most resident bytes, mapped files included
}

// watch samples a process's memory until the end function is called.
func watch(pid int) (end func() (demand, error), err error) {
	first, err := usageOf(pid)
	if err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var most int64
	wg.Go(func() {
		for {
			if u, err := usageOf(pid); err == nil {
				most = max(most, u.anon)
			}
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return func() (demand, error) {
		close(stop)
		wg.Wait()
		last, err := usageOf(pid)
		return demand{(last.cpu - first.cpu).Seconds(), most, last.peak}, err
	}, nil
}
