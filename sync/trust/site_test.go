package trust_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"posd/packaging/lab/freeport"
	"posd/sync/trust"
	"posd/sync/wire"
)

// giveUp bounds the waits for something that must happen; nothing is measured by it.
const giveUp = 60 * time.Second

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(giveUp); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

var builtServer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "posd-trust-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "nats-server")
	out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := builtServer(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// startNATS checks a configuration with the real server and starts it.
func startNATS(t testing.TB, config []byte) {
	t.Helper()
	bin := must(builtServer())(t)
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bin, "-c", path, "-t").CombinedOutput(); err != nil {
		t.Fatalf("nats-server -t: %v\n%s\n%s", err, out, config)
	}
	var log lockedBuffer
	cmd := exec.Command(bin, "-c", path)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("nats-server:\n%s", log.String())
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// site is a set of NATS servers as they stand in the field.
type site struct {
	hub    func(testing.TB) *nats.Conn
	device func(t testing.TB, store, terminal string, opts ...nats.Option) *nats.Conn
}

func connect(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	var nc *nats.Conn
	var err error
	opts = append(opts, nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	eventually(t, "connect to "+url, func() bool {
		nc, err = nats.Connect(url, opts...)
		if err != nil && t.Context().Err() == nil && strings.Contains(err.Error(), "uthorization") {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(nc.Close)
	return nc
}

// credentials is a connection option from JWT and key.
func credentials(token string, kp nkeys.KeyPair) nats.Option {
	return nats.UserJWT(func() (string, error) { return token, nil }, kp.Sign)
}

func fromCreds(t testing.TB, creds []byte) nats.Option {
	token := must(jwt.ParseDecoratedJWT(creds))(t)
	return credentials(token, must(jwt.ParseDecoratedUserNKey(creds))(t))
}

func newUser(t testing.TB) (nkeys.KeyPair, string) {
	kp := must(nkeys.CreateUser())(t)
	return kp, must(kp.PublicKey())(t)
}

var terminals = []trust.Device{{Store: "s1", Terminal: "t1"}, {Store: "s1", Terminal: "t2"}, {Store: "s2", Terminal: "t1"}}

// operatorSite is an external server in operator mode.
func operatorSite(t testing.TB) site {
	keys := must(trust.Open(filepath.Join(t.TempDir(), "keys")))(t)
	addr := freeport.For(t)
	c := trust.Cluster{Auth: trust.AuthJWT, Servers: []trust.Server{{Name: "n1", Listen: addr}}, StoreDir: t.TempDir(), Keys: keys, Terminals: terminals}
	startNATS(t, must(c.Config(0))(t))
	return jwtSite(t, keys, "nats://"+addr)
}

func jwtSite(t testing.TB, keys *trust.Keys, url string) site {
	return site{
		hub: func(t testing.TB) *nats.Conn { return connect(t, url, fromCreds(t, must(keys.HubUser())(t))) },
		device: func(t testing.TB, store, terminal string, opts ...nats.Option) *nats.Conn {
			kp, nkey := newUser(t)
			token := must(keys.DeviceUser(&trust.Device{Store: store, Terminal: terminal}, nkey, time.Hour))(t)
			return connect(t, url, append(opts, credentials(token, kp), nats.CustomInboxPrefix(wire.InboxPrefix(store, terminal)))...)
		},
	}
}

// authority is a certificate authority for one test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t testing.TB) *authority {
	a := &authority{dir: t.TempDir(), next: 2}
	a.key = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key))(t)
	a.cert = must(x509.ParseCertificate(der))(t)
	writePEM(t, a.ca(), "CERTIFICATE", der)
	return a
}

func (a *authority) ca() string { return filepath.Join(a.dir, "ca.pem") }

func writePEM(t testing.TB, path, kind string, der []byte) {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue makes a certificate for loopback, good for servers and clients.
func (a *authority) issue(t testing.TB, cn string) (cert, key string) {
	kp := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if cn == "server" {
		tmpl.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	a.next++
	der := must(x509.CreateCertificate(rand.Reader, tmpl, a.cert, &kp.PublicKey, a.key))(t)
	cert, key = filepath.Join(a.dir, cn+".pem"), filepath.Join(a.dir, cn+".key")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "EC PRIVATE KEY", must(x509.MarshalECPrivateKey(kp))(t))
	return cert, key
}

// certSite is an external server that knows clients by their certificates. change is
// applied to its configuration.
func certSite(t testing.TB, change func(string) string) site {
	a, addr := newAuthority(t), freeport.For(t)
	c := trust.Cluster{Auth: trust.AuthCert, Servers: []trust.Server{{Name: "n1", Listen: addr}}, StoreDir: t.TempDir(),
		Terminals: terminals, Subject: "CN={store}.{terminal}", HubSubject: "CN=poshub", TLS: trust.TLS{CA: a.ca()}}
	c.TLS.Cert, c.TLS.Key = a.issue(t, "server")
	config := string(must(c.Config(0))(t))
	if change != nil {
		config = change(config)
	}
	startNATS(t, []byte(config))
	as := func(t testing.TB, cn string, opts ...nats.Option) *nats.Conn {
		cert, key := a.issue(t, cn)
		return connect(t, "tls://"+addr, append(opts, nats.RootCAs(a.ca()), nats.ClientCert(cert, key), nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13}))...)
	}
	return site{
		hub: func(t testing.TB) *nats.Conn { return as(t, "poshub") },
		device: func(t testing.TB, store, terminal string, opts ...nats.Option) *nats.Conn {
			return as(t, store+"."+terminal, append(opts, nats.CustomInboxPrefix(wire.InboxPrefix(store, terminal)))...)
		},
	}
}

// streams makes what a hub makes, and one stream of which only the hub knows.
func streams(t testing.TB, nc *nats.Conn, replicas int) jetstream.JetStream {
	t.Helper()
	js := must(jetstream.New(nc))(t)
	ctx, cancel := context.WithTimeout(t.Context(), giveUp)
	defer cancel()
	for _, c := range []jetstream.StreamConfig{
		{Name: "POS_UP_0", Subjects: []string{"pos.up.0.>"}, AllowDirect: true, DenyDelete: true, Discard: jetstream.DiscardNew, Replicas: replicas},
		{Name: "POS_EVENTS", Subjects: []string{"pos.events.>"}, AllowDirect: true, Replicas: replicas},
		{Name: "VICTIM", Subjects: []string{"pos.victim.>"}, AllowDirect: true, Replicas: replicas},
	} {
		eventually(t, "stream "+c.Name, func() bool { // a cluster without a leader does not answer
			once, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			_, err := js.CreateOrUpdateStream(once, c)
			return err == nil
		})
	}
	_, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: wire.Bucket, Replicas: replicas,
		RePublish: &jetstream.RePublish{Source: wire.BucketPrefix + ">", Destination: wire.LivePrefix + ">"}})
	if err == nil {
		_, err = js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: wire.ContentBucket, Replicas: replicas})
	}
	if err != nil {
		t.Fatal(err)
	}
	return js
}
