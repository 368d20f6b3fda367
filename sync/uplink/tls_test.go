package uplink

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
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"posd/durable"
	"posd/sync/hub"
)

const day = 24 * time.Hour

// authority signs certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// life is from when to when a certificate is valid, counted from now.
type life struct{ from, to time.Duration }

var longLife = life{-30 * day, 30 * day}

func newAuthority(t testing.TB, l life) *authority {
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, l)
	must(t, os.WriteFile(a.file, pemOf("CERTIFICATE", a.cert.Raw), 0o600))
	return a
}

func pemOf(kind string, b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}

func (a *authority) sign(c *x509.Certificate, l life) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(a.t, err)
	c.NotBefore, c.NotAfter = time.Now().Add(l.from), time.Now().Add(l.to)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	must(a.t, err)
	c, err = x509.ParseCertificate(der)
	must(a.t, err)
	return c, key
}

// pair is a certificate and its key, as files.
type pair struct{ cert, key string }

// issue writes a certificate for 127.0.0.1 and names, which a client may show too.
func (a *authority) issue(l life, into pair, names ...string) pair {
	a.t.Helper()
	if into.cert == "" {
		dir := a.t.TempDir()
		into = pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	}
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "one"}, DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if len(names) == 0 {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	cert, key := a.sign(c, l)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(a.t, err)
	must(a.t, os.WriteFile(into.key, pemOf("PRIVATE KEY", der), 0o600))
	must(a.t, os.WriteFile(into.cert, pemOf("CERTIFICATE", cert.Raw), 0o600))
	return into
}

// tlsRig is a hub that speaks TLS, and a till that trusts its authority.
type tlsRig struct {
	t      *testing.T
	ca     *authority
	trust  string // file of the authority that the till trusts
	server pair
	s      *hubServer
	tl     *till
	opt    func(*Options) // more of the till's; nil: nothing
}

func newTLSRig(t *testing.T) *tlsRig {
	r := &tlsRig{t: t, ca: newAuthority(t, longLife), trust: filepath.Join(t.TempDir(), "trust.pem"), s: newHub(t), tl: newTill(t, "t1")}
	r.trusts(r.ca)
	r.server = r.ca.issue(longLife, pair{})
	r.s.opt.TLSCert, r.s.opt.TLSKey = r.server.cert, r.server.key
	r.tl.more = func(o *Options) {
		o.URLs, o.CAFile, o.t.quiet = []string{"tls://" + r.s.addr}, r.trust, 100*time.Millisecond
		if r.opt != nil {
			r.opt(o)
		}
	}
	return r
}

func (r *tlsRig) trusts(a *authority) {
	must(r.t, os.WriteFile(r.trust, pemOf("CERTIFICATE", a.cert.Raw), 0o600))
}

// shows has the till show a certificate, and the hub ask for one.
func (r *tlsRig) shows(c pair) {
	r.s.opt.TLSCA = r.ca.file
	r.opt = func(o *Options) { o.CertFile, o.KeyFile = c.cert, c.key }
}

func (r *tlsRig) link() { r.tl.link(r.s.addr, r.s.tokenFile(), noBug) }

// works checks that what is sold comes to the ledger.
func (r *tlsRig) works() {
	r.t.Helper()
	r.tl.sell(3, 100)
	r.tl.waitSettled()
	must(r.t, r.s.inLedger(r.tl))
}

// says waits for an error that says so, and checks that nothing more was sent.
func (r *tlsRig) says(text string) {
	r.t.Helper()
	sent := r.tl.u.Status().Sent
	for end := time.Now().Add(giveUp); !strings.Contains(r.tl.u.Status().LastError, text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("no error says %q, but: %s", text, r.tl.u.Status().LastError)
		}
	}
	if st := r.tl.u.Status(); st.Sent != sent {
		r.t.Fatalf("sent all the same: %+v", st)
	}
}

// connectedAnew waits for a further connection after do.
func (r *tlsRig) connectedAnew(do func()) {
	r.t.Helper()
	before := r.tl.u.m.connects.Get()
	do()
	eventually(r.t, "connected anew", func() bool { return r.tl.u.m.connects.Get() > before && r.tl.u.Status().Connected })
}

// TestTLS: a server or a client that cannot prove who it is gets nothing, and the error
// says why. Each row then mends the one thing that was wrong, beside the running
// uplink, and everything arrives: it was that.
func TestTLS(t *testing.T) {
	good := func(r *tlsRig) { r.ca.issue(longLife, r.server) }
	ownGood := func(r *tlsRig) { r.ca.issue(longLife, pair{r.tl.opt.CertFile, r.tl.opt.KeyFile}) }
	for _, row := range []struct {
		name, says  string
		spoil, mend func(r *tlsRig)
		restart     bool // the hub reads its files at its start
	}{
		{name: "nothing is wrong"},
		{name: "mutual", spoil: func(r *tlsRig) { r.shows(r.ca.issue(longLife, pair{})) }},
		{name: "wrong authority", says: "an authority that is not trusted",
			spoil: func(r *tlsRig) { r.trusts(newAuthority(r.t, longLife)) }, mend: func(r *tlsRig) { r.trusts(r.ca) }},
		{name: "expired", says: "has expired on", restart: true,
			spoil: func(r *tlsRig) { r.ca.issue(life{-20 * day, -day}, r.server) }, mend: good},
		{name: "not valid yet", says: "is not valid before", restart: true,
			spoil: func(r *tlsRig) { r.ca.issue(life{day, 20 * day}, r.server) }, mend: good},
		{name: "for another name", says: "the certificate is for hub.example, not for 127.0.0.1", restart: true,
			spoil: func(r *tlsRig) { r.ca.issue(longLife, r.server, "hub.example") }, mend: good},
		{name: "client shows no certificate", says: "refuses our TLS",
			spoil: func(r *tlsRig) { r.s.opt.TLSCA = r.ca.file },
			mend:  func(r *tlsRig) { r.tl.unlink(); r.shows(r.ca.issue(longLife, pair{})); r.link() }},
		{name: "client's certificate is another authority's", says: "refuses our TLS",
			spoil: func(r *tlsRig) { r.shows(newAuthority(r.t, longLife).issue(longLife, pair{})) }, mend: ownGood},
		{name: "client's certificate has expired", says: "refuses our TLS",
			spoil: func(r *tlsRig) { r.shows(r.ca.issue(life{-20 * day, -day}, pair{})) }, mend: ownGood},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newTLSRig(t)
			if row.spoil != nil {
				row.spoil(r)
			}
			r.s.start()
			r.tl.sell(3, 100)
			r.link()
			if row.says != "" {
				r.says(row.says)
				row.mend(r)
			}
			if row.restart {
				r.s.close()
				r.s.start()
			}
			r.works()
		})
	}
}

// natsAt runs a NATS server with options of its own.
func natsAt(t *testing.T, addr string, o *natsserver.Options) *natsserver.Server {
	t.Helper()
	a, err := netip.ParseAddrPort(addr)
	must(t, err)
	o.Host, o.Port, o.NoSigs, o.NoLog = a.Addr().String(), int(a.Port()), true, true
	ns, err := natsserver.NewServer(o)
	must(t, err)
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(giveUp) {
		t.Fatal("no server")
	}
	return ns
}

// TestTLS13: a server that has TLS 1.2 only is refused; the same one with 1.3 is not.
func TestTLS13(t *testing.T) {
	r := newTLSRig(t)
	cert, err := tls.LoadX509KeyPair(r.server.cert, r.server.key)
	must(t, err)
	old := natsAt(t, r.s.addr, &natsserver.Options{TLS: true, TLSTimeout: 5,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12}})
	r.tl.sell(3, 100)
	must(t, os.MkdirAll(r.s.dir, 0o700))
	must(t, os.WriteFile(r.s.tokenFile(), []byte(strings.Repeat("t", 40)), 0o600))
	r.link()
	r.says("refuses our TLS")
	old.Shutdown()
	old.WaitForShutdown()
	r.s.start()
	r.works()
}

// TestResumption: a session that was cut off is resumed without certificates, and that
// is counted. After a new certificate of our own none is: it would be the old one's.
func TestResumption(t *testing.T) {
	r := newTLSRig(t)
	own := r.ca.issue(longLife, pair{})
	r.shows(own)
	p := newProxy(t, r.s.addr)
	more := r.opt
	r.opt = func(o *Options) { more(o); o.URLs = []string{"tls://" + p.addr()} }
	r.s.start()
	r.link()
	r.works()
	before := r.tl.u.m.resumed.Get() // the stream may not have been there at first
	resumed := func() uint64 { return r.tl.u.m.resumed.Get() - before }
	r.connectedAnew(p.cut)
	r.works()
	if resumed() != 1 {
		t.Fatalf("%d sessions were resumed after a cut", resumed())
	}
	r.connectedAnew(func() { r.ca.issue(longLife, own) })
	r.works()
	if resumed() != 1 {
		t.Fatal("with the new certificate a session of the old one was resumed")
	}
	r.connectedAnew(p.cut)
	r.works()
	if resumed() != 2 {
		t.Fatalf("%d sessions were resumed: the new ones leave no tickets", resumed())
	}
}

// TestCredentials: new credentials are used while the old ones are still good, so that
// revoking these cuts nobody off; who keeps the old ones is cut off.
func TestCredentials(t *testing.T) {
	r := newTLSRig(t)
	r.s.opt.Auth = hub.AuthJWT
	r.s.start()
	file := filepath.Join(t.TempDir(), "hub.creds")
	fresh := func() (nkey string) {
		kp, err := nkeys.CreateUser()
		must(t, err)
		nkey, err = kp.PublicKey()
		must(t, err)
		token, err := r.s.h.LetIn(t.Context(), "s1", "t1", 0, nkey)
		must(t, err)
		seed, err := kp.Seed()
		must(t, err)
		b, err := jwt.FormatUserConfig(token, seed)
		must(t, err)
		must(t, durable.Replace(file, append(b, '\n')))
		return nkey
	}
	r.opt = func(o *Options) { o.TokenFile, o.Credentials = "", file }
	first := fresh()
	r.link()
	r.works()
	second := ""
	r.connectedAnew(func() { second = fresh() })
	connects := r.tl.u.m.connects.Get()
	must(t, r.s.h.ShutOut(t.Context(), "s1", "t1", first))
	r.works()
	if n := r.tl.u.m.connects.Get(); n != connects {
		t.Fatalf("revoking the old key broke the connection with the new one: %d connections, then %d", connects, n)
	}
	must(t, r.s.h.ShutOut(t.Context(), "s1", "t1", second)) // control: revoking the present one does
	r.says("refuses our credentials")
	fresh()
	r.works()
}

// TestLameDuck: a server that is about to stop is left at once, while it still serves
// others; who does not listen to it stays.
func TestLameDuck(t *testing.T) {
	t.Run("leaves", func(t *testing.T) {
		t.Parallel()
		var err error
		for range 20 { // sometimes the other reason comes first
			if err = lameDuck(t, noBug); err == nil {
				return
			}
		}
		t.Error(err)
	})
	t.Run("planted: stays", func(t *testing.T) {
		t.Parallel()
		if lameDuck(t, bugStay) == nil {
			t.Error("the planted bug was not noticed")
		}
	})
}

// words is a log that can be searched.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) hold(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.b.String(), text)
}

// lameDuck has the till's home say that it will go. The till must leave it because it was
// asked to; the home's JetStream stops too, which is another reason to leave.
func lameDuck(t *testing.T, b bug) error {
	log := &words{}
	away := newHub(t).start()
	home := newHub(t)
	token := readToken(t, away.tokenFile())
	ns := natsAt(t, home.addr, &natsserver.Options{Authorization: token, JetStream: true, StoreDir: t.TempDir(),
		LameDuckDuration: giveUp, LameDuckGracePeriod: giveUp / 2})
	home.opt.NATSURL = "nats://" + token + "@" + home.addr
	home.start()
	notice := make(chan struct{})
	witness, err := nats.Connect(home.opt.NATSURL, nats.NoReconnect(), nats.LameDuckModeHandler(func(*nats.Conn) { close(notice) }))
	must(t, err)
	t.Cleanup(witness.Close)
	tl := newTill(t, "t1")
	tl.more = func(o *Options) {
		o.URLs, o.Fallback = []string{"nats://" + home.addr}, []string{"nats://" + away.addr}
		o.t.refused = 10 * giveUp
		o.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	tl.link(home.addr, away.tokenFile(), b)
	tl.sell(3, 100)
	tl.waitSettled()
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer cancel(); ns.LameDuckShutdown() }()
	t.Cleanup(func() { home.close(); ns.Shutdown(); <-ctx.Done() })
	<-notice
	tl.sell(3, 100)
	if b == noBug {
		eventually(t, "in the other region", func() bool { st := tl.u.Status(); return st.Away && st.Sent == tl.floor() })
	} else {
		eventually(t, "refused, or just in time", func() bool { return tl.u.m.opens.Get() > 2 || tl.u.Status().Sent == tl.floor() })
	}
	if !witness.IsConnected() {
		t.Error("the server has gone: it was not left of one's own accord")
	}
	if !log.hold(errLameDuck.Error()) {
		return errors.New("it did not leave because it was asked to")
	}
	return nil
}

// TestNamesKept: while names cannot be resolved a server is reached where it was
// reached last, also after a start, and must still prove its name.
func TestNamesKept(t *testing.T) {
	r := newTLSRig(t)
	r.ca.issue(longLife, r.server, "hub.test")
	_, port, err := net.SplitHostPort(r.s.addr)
	must(t, err)
	p := newProxy(t, r.s.addr)
	_, port, err = net.SplitHostPort(p.addr())
	must(t, err)
	r.opt = func(o *Options) { o.URLs = []string{"tls://hub.test:" + port} }
	answers := make(chan bool, 1)
	answers <- true
	r.tl.pre = func(u *Uplink) {
		u.names.lookUp = func(_ context.Context, host string) ([]netip.Addr, error) {
			ok := <-answers
			answers <- ok
			if host != "hub.test" || !ok {
				return nil, &net.DNSError{Err: "planted", Name: host, IsTimeout: true}
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
	}
	r.s.start()
	r.link()
	r.works()
	<-answers
	answers <- false
	r.connectedAnew(p.cut)
	r.works()
	r.tl.unlink()
	r.link() // a start
	r.works()
	r.tl.unlink()
	must(t, os.Remove(r.tl.opt.StatePath+".net")) // control: with nothing kept
	r.link()
	r.says("the name hub.test cannot be resolved: the name server does not answer")
}

// TestClockAt1970: with a clock that was reset the authority's and our own certificate
// say how late it is at least, and a server once proved says it more closely. Where
// that is not enough the error says so.
func TestClockAt1970(t *testing.T) {
	r := newTLSRig(t)
	r.ca.issue(life{-31 * day, 30 * day}, r.server)
	clock := time.Unix(1000, 0)
	r.opt = func(o *Options) { o.Now = func() time.Time { return clock } }
	r.s.start()
	r.link()
	r.works() // the authority's
	r.tl.unlink()

	os.Remove(r.tl.opt.StatePath + ".net")
	r.s.close()
	r.ca.issue(life{-10 * day, 30 * day}, r.server)
	r.s.start()
	r.link()
	r.says("is not valid before") // control: nothing says that it is so late
	r.tl.unlink()

	own := r.ca.issue(life{-9 * day, 30 * day}, pair{})
	r.opt = func(o *Options) { o.Now, o.CertFile, o.KeyFile = func() time.Time { return clock }, own.cert, own.key }
	r.link()
	r.works() // our own
	r.tl.unlink()

	r.opt = func(o *Options) { o.Now = func() time.Time { return clock } }
	r.link()
	r.works() // what the server had said meanwhile
}

func FuzzNames(f *testing.F) {
	f.Add([]byte(`{"v":1,"time":1795253467,"hosts":{"hub.test":["127.0.0.1","::1"],"b":[]}}`))
	f.Add([]byte(`{"v":1,"time":-1,"hosts":{}}`))
	f.Add([]byte(`{"v":1,"hosts":{"a":["x"]}}`))
	f.Add([]byte(`{"v":1,"hosts":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "net")
		must(t, os.WriteFile(path, b, 0o600))
		n := openNames(path, logger(t, "names"))
		if len(n.hosts) > maxHosts || n.time.Unix() >= 1<<40 {
			t.Fatalf("%d hosts, time %v", len(n.hosts), n.time)
		}
		for h, list := range n.hosts {
			if len(list) > maxAddrs {
				t.Fatalf("%d addresses of %q", len(list), h)
			}
		}
		n.mu.Lock()
		n.write()
		n.mu.Unlock()
		again := openNames(path, logger(t, "names"))
		if a, b := fmt.Sprint(n.hosts, max(n.time.Unix(), 0)), fmt.Sprint(again.hosts, max(again.time.Unix(), 0)); a != b {
			t.Fatalf("%s was read as %s", a, b)
		}
	})
}

func FuzzOwn(f *testing.F) {
	f.Add([]byte(`{"lost":[1,2],"marks":[3,1795253467,9,1795253468]}`))
	f.Add([]byte(`{"lost":[2,1]}`))
	f.Add([]byte(`{"marks":[3,1,3,1]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOwn(b)
		if err != nil {
			return
		}
		if len(o.lost) > maxLost || len(o.marks) > maxMarks {
			t.Fatalf("%d rows, %d marks", len(o.lost), len(o.marks))
		}
		if len(o.lost)+len(o.marks) == 0 {
			return
		}
		again, err := parseOwn(o.append([]byte(`{"v":1}`)))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(o) {
			t.Fatalf("%v was read as %v (%v)", o, again, err)
		}
	})
}
