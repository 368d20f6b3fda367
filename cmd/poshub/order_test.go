package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"posd/packaging/lab/freeport"
	"posd/sync/hub"
	"posd/sync/trust"
	"posd/sync/wire"
)

// giveUp bounds waits for what must happen; nothing is measured by it.
const giveUp = 60 * time.Second

// programs are built once.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "poshub-test-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir, "posd/cmd/posd", "posd/cmd/posctl", "posd/cmd/poshub").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

// shop is a hub and a terminal, as processes.
type shop struct {
	t         *testing.T
	bin       string
	hubDir    string
	data      string
	conf      string
	auth      string
	http      string // address of the hub
	nats      string
	till      string // address of posd
	key       string // token of the front end
	hub, posd *process
	sales     int
}

type process struct {
	cmd *exec.Cmd
	log lockedLog
	end chan struct{}
}

// lockedLog is read while its process still writes.
type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.WriteString(line + "\n")
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run starts a program and waits until it has said ready.
func (s *shop) run(ready string, name string, args ...string) *process {
	s.t.Helper()
	p := &process{cmd: exec.Command(filepath.Join(s.bin, name), args...), end: make(chan struct{})}
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	must(s.t, p.cmd.Start())
	said := make(chan struct{})
	re := regexp.MustCompile(ready)
	go func() { p.cmd.Wait(); w.Close() }()
	go func() {
		defer close(p.end)
		once := sync.OnceFunc(func() { close(said) })
		for sc := bufio.NewScanner(r); sc.Scan(); {
			p.log.add(sc.Text())
			if re.MatchString(sc.Text()) {
				once()
			}
		}
	}()
	s.t.Cleanup(func() { p.stop(syscall.SIGKILL) })
	select {
	case <-said:
	case <-p.end:
		s.t.Fatalf("%s ended: %s", name, &p.log)
	case <-time.After(giveUp):
		s.t.Fatalf("%s is not ready", name)
	}
	return p
}

func (p *process) stop(sig syscall.Signal) {
	p.cmd.Process.Signal(sig)
	<-p.end
}

func (s *shop) startHub() {
	s.hub = s.run("NATS on", "poshub", "serve", "--data", s.hubDir, "--listen", s.http, "--nats", s.nats, "--auth", s.auth)
}

func (s *shop) startPosd() { s.posd = s.run("msg=ready", "posd", "--config", s.conf) }

// poshub runs a command of head office's.
func (s *shop) poshub(args ...string) (code int, out string) {
	s.t.Helper()
	var b bytes.Buffer
	code = run(append(args, "--data", s.hubDir, "--hub", "http://"+s.http), &b, &b)
	return code, b.String()
}

func (s *shop) expect(want int, args ...string) string {
	s.t.Helper()
	code, out := s.poshub(args...)
	if code != want {
		s.t.Fatalf("poshub %s: exit %d, want %d\n%s\nposd: %s", strings.Join(args, " "), code, want, out, s.posdLog())
	}
	return out
}

func (s *shop) posdLog() string {
	if s.posd == nil {
		return ""
	}
	return s.posd.log.String()
}

// push writes a configuration and pushes it.
func (s *shop) push(want int, text string) string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "push.toml")
	must(s.t, os.WriteFile(file, []byte(text), 0o600))
	return s.expect(want, "push", file, "S1", "T1", "--why", "a test", "--by", "anna", "--wait", "45s")
}

func tax(rate string) string { return "[tax]\nA = \"" + rate + "\"\n" }

// rate sells something, and returns the rate of tax.
func (s *shop) rate() string {
	s.t.Helper()
	s.sales++
	q, _ := http.NewRequest("POST", "http://"+s.till+"/v1/checkout", strings.NewReader(`{"lines":[{"description":"Rye bread","tax":"A","price":349}],"tenders":[{"kind":"cash","amount":349}]}`))
	q.Header = http.Header{"Authorization": {"Bearer " + s.key}, "Content-Type": {"application/json"}, "Idempotency-Key": {fmt.Sprint("sale-", s.sales)}}
	r, err := http.DefaultClient.Do(q)
	must(s.t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	must(s.t, err)
	var a struct {
		Sale struct{ Lines []struct{ Rate string } }
	}
	if err := json.Unmarshal(b, &a); err != nil || r.StatusCode != http.StatusCreated || len(a.Sale.Lines) != 1 {
		s.t.Fatalf("%s %s", r.Status, b)
	}
	return a.Sale.Lines[0].Rate
}

// events are those of the ledger of one type.
func (s *shop) events(kind string) (all []string) {
	s.t.Helper()
	token, err := os.ReadFile(filepath.Join(s.hubDir, "api.token"))
	must(s.t, err)
	q, _ := http.NewRequest("GET", "http://"+s.http+"/v1/events", http.NoBody)
	q.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	r, err := http.DefaultClient.Do(q)
	must(s.t, err)
	defer r.Body.Close()
	for sc := bufio.NewScanner(r.Body); sc.Scan(); {
		if strings.Contains(sc.Text(), `"type":"`+kind+`"`) {
			all = append(all, sc.Text())
		}
	}
	return all
}

// await waits until the ledger has an event of that type which says so.
func (s *shop) await(kind, says string) {
	s.t.Helper()
	for end := time.Now().Add(giveUp); ; time.Sleep(50 * time.Millisecond) {
		all := s.events(kind)
		if slices.ContainsFunc(all, func(e string) bool { return strings.Contains(e, says) }) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("no %s that says %q: %s", kind, says, all)
		}
	}
}

// office connects as who may write to the bucket.
func (s *shop) office() (*nats.Conn, jetstream.KeyValue) {
	s.t.Helper()
	var as nats.Option
	if s.auth == hub.AuthToken {
		b, err := os.ReadFile(filepath.Join(s.hubDir, "nats.token"))
		must(s.t, err)
		as = nats.Token(strings.TrimSpace(string(b)))
	} else {
		k, err := trust.Open(filepath.Join(s.hubDir, "keys"))
		must(s.t, err)
		creds, err := k.HubUser()
		must(s.t, err)
		as = nats.UserCredentialBytes(creds)
	}
	nc, err := nats.Connect("nats://"+s.nats, as)
	must(s.t, err)
	js, err := jetstream.New(nc)
	must(s.t, err)
	kv, err := js.KeyValue(context.Background(), wire.Bucket)
	must(s.t, err)
	return nc, kv
}

func (s *shop) inBucket() []byte {
	s.t.Helper()
	nc, kv := s.office()
	defer nc.Close()
	e, err := kv.Get(context.Background(), wire.ConfigKey("S1", "T1"))
	must(s.t, err)
	return e.Value()
}

func (s *shop) intoBucket(b []byte) {
	s.t.Helper()
	nc, kv := s.office()
	defer nc.Close()
	_, err := kv.Put(context.Background(), wire.ConfigKey("S1", "T1"), b)
	must(s.t, err)
}

func newShop(t *testing.T, auth string) *shop {
	bin, err := programs()
	must(t, err)
	dir := t.TempDir()
	s := &shop{t: t, bin: bin, auth: auth, hubDir: filepath.Join(dir, "hub"), data: filepath.Join(dir, "posd"), conf: filepath.Join(dir, "posd.toml"),
		http: freeport.For(t), nats: freeport.For(t), till: freeport.For(t)}
	s.startHub()
	must(t, os.Mkdir(s.data, 0o700))
	as := fmt.Sprintf("token_file = %q", filepath.Join(s.hubDir, "nats.token"))
	if auth == hub.AuthJWT {
		as = fmt.Sprintf("credentials = %q", s.enrol())
	} else {
		s.expect(exitUnanswered, "command", "S1", "T1", "status", "--wait", "1s") // makes the office key
	}
	key, err := trust.OpenOffice(filepath.Join(s.hubDir, "keys"), false)
	must(t, err)
	text := fmt.Sprintf("[terminal]\nstore = \"S1\"\nid = \"T1\"\ncurrency = \"EUR\"\ntime_zone = \"UTC\"\n[tax]\nA = \"19\"\n[http]\nlisten = %q\n"+
		"[data]\ndir = %q\nsegment = \"1MiB\"\nmax_bytes = \"64MiB\"\n[hub]\nurls = [\"nats://%s\"]\n%s\noffice_key = \"%s\"\n", s.till, s.data, s.nats, as,
		hex.EncodeToString(key.Public().(ed25519.PublicKey)))
	must(t, os.WriteFile(s.conf, []byte(text), 0o600))
	s.posctl("init")
	s.key = strings.TrimSpace(s.posctl("token", "add", "till"))
	s.startPosd()
	return s
}

func (s *shop) posctl(args ...string) string {
	s.t.Helper()
	var errs bytes.Buffer
	c := exec.Command(filepath.Join(s.bin, "posctl"), append(args, "-config", s.conf)...)
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		s.t.Fatalf("posctl %v: %v %s", args, err, &errs)
	}
	return string(out)
}

// enrol makes the terminal one of the hub's, and returns its file of credentials.
func (s *shop) enrol() string {
	s.t.Helper()
	token, _, _ := strings.Cut(s.expect(0, "enrol", "S1", "T1"), "\n")
	kp, err := nkeys.CreateUser()
	must(s.t, err)
	public, err := kp.PublicKey()
	must(s.t, err)
	b, err := json.Marshal(hub.EnrolRequest{Token: token, Store: "S1", Terminal: "T1", NKey: public})
	must(s.t, err)
	r, err := http.Post("http://"+s.http+"/v1/enrol", "application/json", bytes.NewReader(b))
	must(s.t, err)
	defer r.Body.Close()
	var a hub.EnrolAnswer
	must(s.t, json.NewDecoder(r.Body).Decode(&a))
	seed, err := kp.Seed()
	must(s.t, err)
	creds, err := jwt.FormatUserConfig(a.JWT, seed)
	must(s.t, err)
	path := filepath.Join(s.data, "hub.creds")
	must(s.t, os.WriteFile(path, creds, 0o600))
	return path
}

func TestHeadOfficeDecides(t *testing.T) {
	for _, auth := range []string{hub.AuthToken, hub.AuthJWT} {
		t.Run(auth, func(t *testing.T) {
			s := newShop(t, auth)
			s.testPush()
			s.testForgeries()
			s.testCommands()
			s.testRotation()
			s.testKilled()
			s.testAudit()
		})
	}
}

func contains(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

func (s *shop) wantRate(want string) {
	s.t.Helper()
	if got := s.rate(); got != want {
		s.t.Errorf("rate %s, want %s", got, want)
	}
}

// testPush: applied, refused by the hub, refused by the terminal with the reason, and
// the last good one holds over kills without a link.
func (s *shop) testPush() {
	t := s.t
	s.wantRate("19")
	contains(t, s.push(0, tax("7")+"[data]\nretention = \"20d\"\n"), "tax.A", "applied", "anna")
	s.wantRate("7")
	contains(t, s.push(exitFailed, tax("119")), "tax.A", "out of range")
	contains(t, s.push(exitFailed, "[hub]\nshard = 1\n"), "only the terminal's own posd.toml decides this")
	contains(t, s.push(exitRefused, tax("9")+"[data]\nmax_bytes = \"2MiB\"\n"), "refused", "data.max_bytes", "less than four files")
	contains(t, s.expect(exitRefused, "push", "list"), "S1", "T1", "refused", "data.max_bytes")
	contains(t, s.expect(0, "push", "show", "S1", "T1"), "A = \"9\"")
	s.await("config.refused", "less than four files")
	s.wantRate("7")
	s.posd.stop(syscall.SIGKILL)
	s.hub.stop(syscall.SIGTERM)
	contains(t, s.posctl("config", "-in-force"), "A = \"7\"  # head office\n", "retention = \"20d\"  # head office\n", "store = \"S1\"  # posd.toml\n")
	s.startPosd()
	s.wantRate("7")
	s.startHub()
	contains(t, s.push(0, tax("8")), "applied")
	s.wantRate("8")
}

// testForgeries: an old order that comes again, one signed by another key, one for
// another terminal. The control: the same text, signed by head office, is taken.
func (s *shop) testForgeries() {
	t := s.t
	old := s.inBucket()
	contains(t, s.push(0, tax("6")), "applied")
	newest := s.inBucket()
	office, err := trust.OpenOffice(filepath.Join(s.hubDir, "keys"), false)
	must(t, err)
	sign := func(key ed25519.PrivateKey, terminal string) []byte {
		o := wire.Order{Store: "S1", Terminal: terminal, Serial: uint64(time.Now().UnixMilli()), Kind: wire.KindConfig, Body: []byte(tax("0"))}
		b, err := o.Sign(nil, key)
		must(t, err)
		return b
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	must(t, err)
	for says, b := range map[string][]byte{
		"an old order is not taken again":    old,
		"the signature is not head office's": sign(stranger, "T1"),
		"it is for terminal T2 of store S1":  sign(office, "T2"),
		"it does not begin with a signature": []byte(tax("0")),
	} {
		s.intoBucket(b)
		s.await("config.refused", says)
		s.wantRate("6")
	}
	// The ledger is the truth: a restart of the hub puts its own order back.
	s.hub.stop(syscall.SIGTERM)
	s.startHub()
	for end := time.Now().Add(giveUp); !bytes.Equal(s.inBucket(), newest); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the bucket has %s", s.inBucket())
		}
	}
	// But what is newer and signed by head office was forgotten by the ledger.
	s.hub.stop(syscall.SIGTERM)
	s.startHub()
	s.intoBucket(sign(office, "T1"))
	s.await("config.applied", "")
	for end := time.Now().Add(giveUp); s.rate() != "0"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the control is not taken")
		}
	}
	s.hub.stop(syscall.SIGTERM)
	s.startHub()
	for end := time.Now().Add(giveUp); ; time.Sleep(50 * time.Millisecond) {
		if _, out := s.poshub("push", "show", "S1", "T1"); strings.Contains(out, "A = \"0\"") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the ledger does not take over what is newer")
		}
	}
	contains(t, s.push(0, tax("7")), "applied")
}

// testCommands: each one, what it answers, what is journaled, and what comes of one to
// a terminal that is off.
func (s *shop) testCommands() {
	t := s.t
	var status struct{ Terminal struct{ Store, ID string } }
	if err := json.Unmarshal([]byte(s.expect(0, "command", "S1", "T1", "status")), &status); err != nil || status.Terminal.ID != "T1" {
		t.Errorf("%+v, %v", status, err)
	}
	contains(t, s.expect(0, "command", "S1", "T1", "sync"), "records are settled")
	contains(t, s.expect(0, "command", "S1", "T1", "log-level", "debug", "1h", "--why", "a look"), "DEBUG for 1h0m0s, then INFO again")
	contains(t, s.expect(0, "command", "S1", "T1", "log-level", "debug", "0s", "--why", "a look"), "INFO")
	contains(t, s.expect(exitRefused, "command", "S1", "T1", "log-level", "loud", "1h", "--why", "a look"), "refused", "say a level")
	contains(t, s.expect(exitUsage, "command", "S1", "T1", "log-level", "debug", "1h"), "--why")
	contains(t, s.expect(exitFailed, "command", "S1", "T1", "reboot", "--why", "x"), "there is no command")
	s.testBundle()
	s.await("command.executed", `"command":"sync","outcome":"done"`)
	s.await("command.refused", `"command":"log-level"`)

	s.posd.stop(syscall.SIGTERM)
	contains(t, s.expect(exitUnanswered, "command", "S1", "T1", "log-level", "warn", "1h", "--why", "while it is off", "--wait", "3s"), "expired", "offline")
	s.startPosd()
	s.expect(0, "command", "S1", "T1", "sync") // what came before would be in the ledger now
	s.await("command.executed", "DEBUG for 1h")
	for _, e := range s.events("command.executed") {
		if strings.Contains(e, "WARN") {
			t.Errorf("carried out behind everybody's back: %s", e)
		}
	}
}

// testBundle: what is in it, and that no secret is.
func (s *shop) testBundle() {
	t := s.t
	file := filepath.Join(t.TempDir(), "b.tar.gz")
	s.expect(0, "command", "S1", "T1", "bundle", file)
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	zr, err := gzip.NewReader(f)
	must(t, err)
	all := map[string]string{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		b, err := io.ReadAll(tr)
		must(t, err)
		all[strings.TrimPrefix(h.Name, "posd-bundle/")] = string(b)
	}
	for name, says := range map[string]string{"status.json": `"uplink"`, "config.toml": "A = \"7\"  # head office", "metrics.txt": "posd_sales_total",
		"files.txt": "0000000001.seg", "goroutines.txt": "goroutine profile", "log.txt": "journal is open", "versions.txt": "posd ", "process.txt": "VmRSS"} {
		if !strings.Contains(all[name], says) {
			t.Errorf("%s does not say %q: %.300s", name, says, all[name])
		}
	}
	secrets := []string{s.key, "Rye bread"}
	for _, path := range []string{filepath.Join(s.hubDir, "nats.token"), filepath.Join(s.data, "hub.creds"), filepath.Join(s.data, "terminal.key")} {
		b, _ := os.ReadFile(path)
		for _, w := range strings.Fields(string(b)) {
			if len(w) > 20 && !strings.HasPrefix(w, "-") {
				secrets = append(secrets, w)
			}
		}
	}
	if len(secrets) < 4 {
		t.Fatalf("too few secrets to look for: %d", len(secrets))
	}
	for name, text := range all {
		for i, w := range secrets {
			if strings.Contains(text, w) {
				t.Errorf("%s holds secret %d", name, i)
			}
		}
	}
}

// testRotation: another key; the old one is worth nothing then.
func (s *shop) testRotation() {
	t := s.t
	rotate := []string{"command", "S1", "T1", "rotate-key", "--why", "a laptop was stolen"}
	if s.auth == hub.AuthToken {
		contains(t, s.expect(exitFailed, rotate...), "no operator's keys")
		return
	}
	path := filepath.Join(s.data, "hub.creds")
	old, err := os.ReadFile(path)
	must(t, err)
	connects := func(creds []byte) error {
		nc, err := nats.Connect("nats://"+s.nats, nats.UserCredentialBytes(creds))
		if err == nil {
			nc.Close()
		}
		return err
	}
	must(t, connects(old)) // the control
	contains(t, s.expect(0, rotate...), "is in use")
	now, err := os.ReadFile(path)
	must(t, err)
	if bytes.Equal(now, old) {
		t.Error("the credentials are the old ones")
	}
	must(t, connects(now))
	if connects(old) == nil {
		t.Error("the old key is still good")
	}
	s.expect(0, "command", "S1", "T1", "sync", "--wait", "60s")
	contains(t, s.expect(0, "audit"), "rotate-key", "a laptop was stolen")
	// Who has merely stolen the credentials cannot have a key of his own let in.
	s.posd.stop(syscall.SIGTERM)
	thief, err := nats.Connect("nats://"+s.nats, nats.UserCredentialBytes(now), nats.CustomInboxPrefix(wire.InboxPrefix("S1", "T1")))
	must(t, err)
	defer thief.Close()
	kp, err := nkeys.CreateUser()
	must(t, err)
	public, err := kp.PublicKey()
	must(t, err)
	_, own, err := ed25519.GenerateKey(nil)
	must(t, err)
	_, err = thief.Subscribe(wire.CommandSubject("S1", "T1", "rotate-key"), func(m *nats.Msg) {
		_, rest, _ := bytes.Cut(m.Data, []byte{'\n'})
		var o struct{ Serial uint64 }
		json.Unmarshal(bytes.SplitN(rest, []byte{'\n'}, 2)[0], &o)
		data, _ := json.Marshal(wire.MakeNewKey("S1", "T1", o.Serial, public, own))
		a := wire.Answer{Store: "S1", Terminal: "T1", Serial: o.Serial, Kind: wire.CommandRotateKey, State: wire.StateDone, Data: data}
		thief.Publish(wire.AnswerSubject(s.shard(), "S1", "T1", o.Serial), a.Append(nil))
	})
	must(t, err)
	must(t, thief.Flush())
	contains(t, s.expect(exitFailed, rotate...), "not signed by the key of its journal")
	s.startPosd()
	s.expect(0, "command", "S1", "T1", "sync", "--wait", "60s")
}

// shard is where the terminal was let in.
func (s *shop) shard() int { return 0 }

// testKilled: posd is killed at any moment of taking a push. Whatever was answered
// holds, and each push ends as applied, in the journal too.
func (s *shop) testKilled() {
	t := s.t
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	for i := range rounds {
		want := fmt.Sprint(3 + i%2)
		file := filepath.Join(t.TempDir(), "push.toml")
		must(t, os.WriteFile(file, []byte(tax(want)), 0o600))
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(rand.N(60 * time.Millisecond))
			s.posd.stop(syscall.SIGKILL)
		}()
		code, out := s.poshub("push", file, "S1", "T1", "--why", "in the middle", "--by", "anna", "--wait", "100ms")
		<-killed
		if code != 0 && code != exitUnanswered {
			t.Fatalf("round %d: exit %d %s", i, code, out)
		}
		s.startPosd()
		if got := s.rate(); code == 0 && got != want {
			t.Fatalf("round %d: it was answered, and after the kill the rate is %s", i, got)
		}
		for end := time.Now().Add(giveUp); ; time.Sleep(20 * time.Millisecond) {
			if code, out = s.poshub("push", "list", "S1", "T1"); code == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("round %d: %s", i, out)
			}
		}
		s.wantRate(want)
	}
}

// testAudit: everything that a person has decided is written down, and the fleet shows
// what became of it.
func (s *shop) testAudit() {
	contains(s.t, s.expect(0, "audit"), "push", "command sync", "anna", "in the middle", "S1.T1")
	for end := time.Now().Add(giveUp); ; time.Sleep(100 * time.Millisecond) {
		_, out := s.poshub("fleet")
		if strings.Contains(out, "CONFIG") && strings.Contains(out, " applied ") {
			return
		}
		if time.Now().After(end) {
			s.t.Fatal(out)
		}
	}
}
