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
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"posd/journal"
	"posd/packaging/lab/freeport"
	"posd/pos/config"
	"posd/sync/uplink"
)

// These tests run the real posd against the real poshub.

// headOffice is a poshub that runs.
type headOffice struct {
	t         *testing.T
	bin, dir  string
	web, nats string // addresses
	scheme    string
	flags     []string
	asks      []string // flags of commands that ask it
	cmd       *exec.Cmd
	log       lockedLog
}

type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func openOffice(t *testing.T, flags ...string) *headOffice {
	t.Helper()
	o := &headOffice{t: t, bin: program(t, "poshub"), dir: t.TempDir(), web: freeport.For(t), nats: freeport.For(t), scheme: "http", flags: flags}
	t.Cleanup(func() {
		o.stop()
		if t.Failed() {
			t.Logf("poshub:\n%s", o.log.String())
		}
	})
	return o
}

func (o *headOffice) start() *headOffice {
	o.t.Helper()
	o.cmd = exec.Command(o.bin, append([]string{"serve", "--data", o.dir, "--listen", o.web, "--nats", o.nats, "--log", "debug"}, o.flags...)...)
	o.cmd.Stdout, o.cmd.Stderr = &o.log, &o.log
	if err := o.cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Setenv("NO_PROXY", "*")
	within(o.t, "poshub listens", func() bool {
		c, err := net.Dial("tcp", o.web)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return o
}

func (o *headOffice) stop() {
	if o.cmd != nil {
		o.cmd.Process.Signal(syscall.SIGTERM)
		o.cmd.Wait()
		o.cmd = nil
	}
}

func (o *headOffice) url() string { return o.scheme + "://" + o.web }

// ask runs a command of poshub and returns what it printed.
func (o *headOffice) ask(args ...string) (string, error) {
	cmd := exec.Command(o.bin, append(append(args, "--data", o.dir, "--hub", o.url()), o.asks...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("poshub %v: %w: %s", args, err, errs.String())
	}
	return strings.TrimSpace(string(out)), err
}

func (o *headOffice) token(args ...string) string {
	o.t.Helper()
	s, err := o.ask(append([]string{"enrol"}, args...)...)
	if err != nil {
		o.t.Fatal(err)
	}
	return s
}

func (o *headOffice) enrolment(t *testing.T) (e struct {
	State string
	Used  *struct{ NKey, Machine string }
}) {
	t.Helper()
	s, err := o.ask("enrol", "list", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(strings.SplitN(s, "\n", 2)[0]), &e)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// enrolls configures the site to enrol at url with the token.
func (s *site) enrolls(url, token string, more ...string) {
	s.t.Helper()
	s.configure("127.0.0.1:0", "T1")
	s.giveToken(token)
	f, err := os.OpenFile(s.conf, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintf(f, "[hub]\nenroll_url = %q\nenroll_token_file = %q\n%s\n", url, s.tokenFile(), strings.Join(more, "\n"))
}

func (s *site) tokenFile() string { return filepath.Join(s.dir, "token") }

func (s *site) giveToken(token string) {
	s.t.Helper()
	if err := os.WriteFile(s.tokenFile(), []byte(token+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) has(name string) bool {
	_, err := os.Stat(filepath.Join(s.dir, name))
	return err == nil
}

type uplinkSays struct {
	Connected        bool
	Sent, Settled    uint64
	Unsettled, Lost  uint64
	Rot              string
	LastError        string `json:"last_error"`
	Configured       bool
	Server, Fork, ID string
}

func (r *running) uplink() (u uplinkSays) {
	r.t.Helper()
	req, _ := http.NewRequest("GET", "http://"+r.addr+"/v1/status", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	var st struct{ Uplink uplinkSays }
	if err := json.NewDecoder(res.Body).Decode(&st); err != nil {
		r.t.Fatal(err)
	}
	return st.Uplink
}

func (r *running) settled() bool {
	u := r.uplink()
	return u.Connected && u.Settled > 0 && u.Unsettled == 0
}

func (r *running) mustSell(key string) {
	r.t.Helper()
	if code, b := r.sell(key); code != 201 {
		r.t.Fatalf("no sale: %d %s", code, b)
	}
}

// TestEnroll: a terminal that was only given a token sells from the first moment, and
// ships, with nothing restarted, once head office is there and lets it in.
func TestEnroll(t *testing.T) {
	o := openOffice(t, "--shards", "0-7").start()
	tok := o.token("S1", "T1", "--shard", "5")
	o.stop()
	s := newSite(t)
	s.enrolls(o.url(), tok)
	r := s.start()
	r.mustSell("k1")
	within(t, "the status says why", func() bool {
		u := r.uplink()
		return u.Configured && strings.Contains(u.LastError, "nothing listens there")
	})
	if s.has(config.EnrolledCreds) {
		t.Fatal("credentials without head office")
	}
	o.start()
	within(t, "what was sold before and after is settled", r.settled)
	r.mustSell("k2")
	within(t, "the next sale, too", r.settled)
	if s.has(config.EnrollSeed) {
		t.Error("the key of the enrolment is left")
	}
	if u := o.enrolment(t); u.State != "" || u.Used == nil {
		t.Errorf("not noted as used: %+v", u)
	}
	for _, name := range []string{config.EnrolledCreds, config.EnrolledAs} {
		if st, err := os.Stat(filepath.Join(s.dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, st.Mode(), err)
		}
	}
	if code := r.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("exit %d: %s", code, r.log)
	}

	// The next start needs neither token nor address: also a posd.toml without them.
	s.configure("127.0.0.1:0", "T1")
	os.Remove(s.tokenFile())
	r = s.start()
	r.mustSell("k3")
	within(t, "it ships after a restart", r.settled)

	// Shut out, it sells on and ships no more.
	if _, err := o.ask("enrol", "revoke", "S1", "T1", "--why", "test"); err != nil {
		t.Fatal(err)
	}
	within(t, "it is told", func() bool { u := r.uplink(); return !u.Connected && strings.Contains(u.LastError, "credentials") })
	r.mustSell("k4")
	if u := r.uplink(); u.Unsettled == 0 {
		t.Error("a terminal that was shut out has shipped")
	}
}

// lossy is a way to head office on which answers are lost.
func lossy(t *testing.T, o *headOffice, lose func(body []byte) bool) string {
	t.Helper()
	to, err := url.Parse(o.url())
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(to)
	p.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	p.ModifyResponse = func(r *http.Response) error {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode == http.StatusOK && lose(b) {
			return errors.Join(err, errors.New("lost"))
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		return nil
	}
	srv := &http.Server{Handler: p}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return "http://" + ln.Addr().String()
}

// TestEnrollLostAnswer: head office has let the terminal in, and the terminal did not
// hear of it; it asks again with the same key.
func TestEnrollLostAnswer(t *testing.T) {
	o := openOffice(t).start()
	var lost atomic.Int64
	way := lossy(t, o, func([]byte) bool { return lost.Add(1) <= 2 })
	s := newSite(t)
	s.enrolls(way, o.token("S1", "T1"))
	r := s.start()
	r.mustSell("k1")
	within(t, "it ships", r.settled)
	if lost.Load() < 3 {
		t.Errorf("only %d answers were given", lost.Load())
	}
	if !strings.Contains(o.log.String(), `msg="terminal enrolled"`) || strings.Count(o.log.String(), `msg="terminal enrolled"`) != 1 {
		t.Error("head office has let it in more or less than once")
	}
}

// TestEnrollKilled: posd is killed when head office has let it in, before the answer
// came, and when the answer came, before the credentials are a file.
func TestEnrollKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three hubs")
	}
	for _, c := range []struct{ name, file string }{{"before the answer", ""}, {"before the credentials", config.EnrolledCreds}, {"before the rest", config.EnrolledAs}} {
		t.Run(c.name, func(t *testing.T) {
			o := openOffice(t).start()
			s := newSite(t)
			given := make(chan struct{}, 16)
			var alive atomic.Bool // only then answers arrive
			alive.Store(c.file != "")
			s.enrolls(lossy(t, o, func([]byte) bool { given <- struct{}{}; return !alive.Load() }), o.token("S1", "T1"))
			// A pipe that nobody reads holds posd up where it writes the file.
			pipe := filepath.Join(s.dir, c.file+".new")
			if c.file != "" {
				if err := syscall.Mkfifo(pipe, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r := s.start()
			r.mustSell("k1")
			<-given
			if c.file == config.EnrolledCreds {
				within(t, "all but the credentials is written", func() bool { return s.has(config.EnrolledAs) })
			}
			if c.file != "" {
				r.mustSell("k2") // selling does not wait
			}
			r.stop(syscall.SIGKILL)
			if s.has(config.EnrolledCreds) {
				t.Fatal("killed too late")
			}
			os.Remove(pipe)
			alive.Store(true)
			r = s.start()
			within(t, "it ships", r.settled)
			if n := strings.Count(o.log.String(), `msg="terminal enrolled"`); n != 1 {
				t.Errorf("let in %d times", n)
			}
		})
	}
}

// TestEnrollRefused: whoever must not be let in is told why, and is not.
func TestEnrollRefused(t *testing.T) {
	o := openOffice(t).start()
	first := newSite(t)
	tok := o.token("S1", "T1")
	first.enrolls(o.url(), tok)
	r1 := first.start()
	r1.mustSell("k1")
	within(t, "the first machine ships", r1.settled)

	// The same token in another data folder, which then gets one of its own.
	second := newSite(t)
	second.enrolls(o.url(), tok)
	r2 := second.start()
	refused := func(why string) func() bool {
		return func() bool { return strings.Contains(r2.uplink().LastError, why) }
	}
	by := "with another key by this machine"
	if journal.Machine() == "" { // nothing names the machine of this test
		by = "by another machine"
	}
	within(t, "it is refused", refused(by))
	if _, err := o.ask("enrol", "S1", "T1"); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("a second key without --replace: %v", err)
	}
	late := o.token("S1", "T1", "--replace", "--expires", "1s")
	within(t, "the token expires", func() bool { s, err := o.ask("enrol", "list"); return err == nil && strings.Contains(s, "expired") })
	second.giveToken(late)
	within(t, "an expired token is refused", refused("expired on"))
	second.giveToken("wrong")
	within(t, "a wrong token is refused", refused("this is not the token of S1.T1"))
	if second.has(config.EnrolledCreds) {
		t.Fatal("it has credentials")
	}
	if !r1.settled() {
		t.Error("the first machine was disturbed")
	}
	second.giveToken(o.token("S1", "T1", "--replace"))
	within(t, "it is let in", func() bool { return second.has(config.EnrolledCreds) })
	within(t, "the first machine is shut out", func() bool { return !r1.uplink().Connected })
	r2.mustSell("k2")
	within(t, "the second machine ships", r2.settled)
}

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes name.pem and name.key, good for loopback and for clients.
func (a *authority) issue(name string, number int64) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err1 := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	raw, err2 := x509.MarshalECPrivateKey(key)
	if err := errors.Join(err1, err2); err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "EC PRIVATE KEY", raw)
}

// TestEnrollTLS: over TLS 1.3, with certificates on both sides where they are asked
// for. A head office of another authority gets no token, and a terminal without a
// certificate no link.
func TestEnrollTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	a.issue("hub", 2)
	a.issue("T1", 3)
	a.issue("tool", 4)
	o := openOffice(t, "--tls-cert", a.path("hub.pem"), "--tls-key", a.path("hub.key"), "--tls-ca", a.path("ca.pem"))
	o.scheme, o.asks = "https", []string{"--hub-ca", a.path("ca.pem"), "--hub-cert", a.path("tool.pem"), "--hub-key", a.path("tool.key")}
	o.start()
	tok := o.token("S1", "T1")
	o.asks = o.asks[:2]
	if _, err := o.ask("enrol", "list"); err == nil || !strings.Contains(err.Error(), "show a certificate") {
		t.Errorf("the interface without a certificate: %v", err)
	}

	s := newSite(t)
	ca := func(path string) string { return fmt.Sprintf("ca_file = %q", path) }
	s.enrolls(o.url(), tok, ca(other.path("ca.pem")))
	r := s.start()
	within(t, "another authority is not trusted", func() bool { return strings.Contains(r.uplink().LastError, "an authority that is not trusted") })
	r.stop(syscall.SIGTERM)
	if !s.has(config.EnrollSeed) || s.has(config.EnrolledCreds) {
		t.Error("enrolled at a head office of another authority")
	}

	s.enrolls(o.url(), tok, ca(a.path("ca.pem")))
	r = s.start()
	within(t, "enrolled without a certificate", func() bool { return s.has(config.EnrolledCreds) })
	within(t, "but no link without one", func() bool {
		u := r.uplink()
		return !u.Connected && u.LastError != "" && !strings.HasPrefix(u.LastError, "enrolment")
	})
	t.Logf("without a certificate: %s", r.uplink().LastError)
	r.stop(syscall.SIGTERM)

	s.enrolls(o.url(), tok, ca(a.path("ca.pem")), fmt.Sprintf("cert_file = %q\nkey_file = %q", a.path("T1.pem"), a.path("T1.key")))
	r = s.start()
	r.mustSell("k1")
	within(t, "it ships with one", r.settled)
	if u := r.uplink(); !strings.HasPrefix(u.Server, "tls://") {
		t.Errorf("connected to %q", u.Server)
	}
}

// TestEnrollSilent: what stands in the status must say what the other side does, not what
// posd did with the connection then.
func TestEnrollSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := &enrolling{terminal: &terminal{c: &config.Config{Hub: config.Hub{EnrollURL: "http://" + l.Addr().String()}}}}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := e.post(ctx, []byte("{}")); err == nil || !strings.Contains(err.Error(), "no answer in time") || strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v", err)
	}
}

// TestEnrollAgain: credentials that head office refuses, or that are gone, are fetched anew
// with a new token, and nothing is restarted. An old token does not do it, and is not asked
// with; nor is a new one while the credentials are good.
func TestEnrollAgain(t *testing.T) {
	o := openOffice(t).start()
	s := newSite(t)
	s.enrolls(o.url(), o.token("S1", "T1"))
	r := s.start()
	r.mustSell("k1")
	within(t, "it ships", r.settled)
	creds := filepath.Join(s.dir, config.EnrolledCreds)
	read := func() string { b, _ := os.ReadFile(creds); return string(b) }
	first := read()

	if _, err := o.ask("enrol", "revoke", "S1", "T1", "--why", "test"); err != nil {
		t.Fatal(err)
	}
	within(t, "it is told", func() bool { return strings.Contains(r.uplink().LastError, uplink.Refused) })
	r.mustSell("k2")
	asked := strings.Count(o.log.String(), "msg=enrolment ")
	time.Sleep(2 * enrollLook) // for what must not happen
	if read() != first {
		t.Fatal("the old token was enough")
	}
	if n := strings.Count(o.log.String(), "msg=enrolment ") - asked; n > 0 {
		t.Errorf("it asked %d times with the old token", n)
	}
	s.giveToken(o.token("S1", "T1", "--replace"))
	within(t, "it ships again", r.settled)
	second := read()
	if second == first {
		t.Error("its credentials are the old ones")
	}

	s.giveToken(o.token("S1", "T1", "--replace"))
	time.Sleep(2 * enrollLook) // for what must not happen
	if read() != second {
		t.Error("a token was spent though nobody refused the credentials")
	}
	if err := os.Rename(creds, creds+".away"); err != nil {
		t.Fatal(err)
	}
	within(t, "it has credentials", func() bool { return s.has(config.EnrolledCreds) })
	r.mustSell("k3")
	within(t, "it ships once more", r.settled)
	if third := read(); third == second {
		t.Error("its credentials are the old ones")
	}
	if code := r.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("exit %d: %s", code, r.log)
	}
}

// TestOfficeMadeAnew: head office has lost its keys and was laid out anew. The terminal that
// enrols again does what the new one orders, and nothing is restarted.
func TestOfficeMadeAnew(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two hubs")
	}
	o := openOffice(t).start()
	s := newSite(t)
	s.enrolls(o.url(), o.token("S1", "T1"))
	r := s.start()
	r.mustSell("k1")
	within(t, "it ships", r.settled)
	order := func(why string) {
		t.Helper()
		within(t, "it is connected", func() bool { return r.uplink().Connected })
		if out, err := o.ask("command", "S1", "T1", "log-level", "debug", "1h", "--why", why, "--wait", "1m"); err != nil {
			t.Fatalf("an order %s: %s %v", why, out, err)
		}
	}
	order("before")
	o.stop()
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		os.RemoveAll(filepath.Join(o.dir, e.Name()))
	}
	o.start()
	within(t, "it is told", func() bool { return strings.Contains(r.uplink().LastError, uplink.Refused) })
	office := func() string { b, _ := os.ReadFile(filepath.Join(s.dir, config.EnrolledAs)); return string(b) }
	was := office()
	s.giveToken(o.token("S1", "T1"))
	within(t, "it is let in", func() bool { return office() != was })
	order("after")
	if code := r.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("exit %d: %s", code, r.log)
	}
}

// TestAnotherShard: enrolled again with another shard, posd ends once, and ships there when
// it was started again.
func TestAnotherShard(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the token to be seen")
	}
	o := openOffice(t, "--shards", "0-1").start()
	s := newSite(t)
	s.enrolls(o.url(), o.token("S1", "T1", "--shard", "0"))
	r := s.start()
	r.mustSell("k1")
	within(t, "it ships", r.settled)
	if _, err := o.ask("enrol", "revoke", "S1", "T1", "--why", "test"); err != nil {
		t.Fatal(err)
	}
	within(t, "it is told", func() bool { return strings.Contains(r.uplink().LastError, uplink.Refused) })
	r.mustSell("k2")
	s.giveToken(o.token("S1", "T1", "--replace", "--shard", "1"))
	select {
	case <-r.read:
	case <-time.After(time.Minute):
		t.Fatal("it goes on with the old shard")
	}
	r.cmd.Wait()
	if code := r.cmd.ProcessState.ExitCode(); code != exitTemporary || !strings.Contains(r.log.String(), errAnotherWay.Error()) {
		t.Errorf("exit %d: %s", code, r.log)
	}
	r = s.start()
	if code, b := r.sell("k2"); code != http.StatusOK {
		t.Errorf("the sale of before: %d %s", code, b)
	}
	r.mustSell("k3")
	within(t, "it ships to the other shard", r.settled)
	if code := r.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("exit %d: %s", code, r.log)
	}
}

// TestAnotherWay: posd ends where an enrolment leads elsewhere than its uplink goes, and only
// there.
func TestAnotherWay(t *testing.T) {
	const key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	first := office{URLs: []string{"nats://a:4222"}, Shard: 1, OfficeKey: key}
	for _, c := range []struct {
		name  string
		now   func(o *office)
		file  string // made
		moved string // away
		want  error
	}{
		{name: "the same", now: func(*office) {}},
		{name: "another key", now: func(o *office) { o.OfficeKey = strings.Repeat("00", 32) }},
		{name: "another shard", now: func(o *office) { o.Shard = 2 }, want: errAnotherWay},
		{name: "another address", now: func(o *office) { o.URLs = []string{"nats://b:4222"} }, want: errAnotherWay},
		{name: "an authority", now: func(*office) {}, file: config.EnrolledCA, want: errAnotherWay},
		{name: "credentials that are gone again", now: func(o *office) { o.Shard = 2 }, moved: config.EnrolledCreds},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name string, o office) {
				b, err := json.Marshal(o)
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			write(config.EnrolledCreds, office{})
			write(config.EnrolledAs, first)
			p := &terminal{c: &config.Config{Data: config.Data{Dir: dir}, Hub: config.Hub{EnrollURL: "https://hub"}}, log: slog.New(slog.DiscardHandler), uplink: &uplink.Uplink{}}
			p.way = p.findWay()
			now := first
			c.now(&now)
			write(config.EnrolledAs, now)
			if c.file != "" {
				write(c.file, now)
			}
			if c.moved != "" {
				os.Remove(filepath.Join(dir, c.moved))
			}
			if err := p.enrolled(); err != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
