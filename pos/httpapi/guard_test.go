package httpapi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"posd/pos/event"
)

// writing are the paths of everything that changes something.
func writing() []string {
	paths := []string{"/v1/checkout", signInPath, signOutPath, approvePath}
	for i := range actions {
		paths = append(paths, strings.ReplaceAll(actions[i].path, "*", "1"))
	}
	return paths
}

var reading = []string{"/v1/baskets", "/v1/baskets/1", "/v1/shift", "/v1/reports/1", "/v1/sales/1", "/v1/items/1", "/v1/status", operatorsPath, mePath, "/v1/events"}

// A web page elsewhere cannot sell, nor do or read anything else: not with the token that
// it has got hold of, not with a session, not with a body that needs no preflight, not
// under a name that it has bound to this terminal's address.
func TestWebPageElsewhere(t *testing.T) {
	g := newRig(t).withOperators().start()
	carla := g.signIn("carla")
	before, _ := g.j.Floor()
	bodies := map[string]string{"/v1/checkout": good, signInPath: `{"operator":"anna","pin":"4711"}`, approvePath: `{"operator":"ben","pin":"2718","permission":"sale.void"}`}
	as := func(origin string) func(*http.Request) { return header("Origin", origin) }
	pages := map[string][]func(*http.Request){
		"another site":      {as("https://evil.example")},
		"a file":            {as("null")},
		"another port":      {as("http://127.0.0.1:1")},
		"another scheme":    {as("https://" + g.s.Addr().String())},
		"a longer name":     {as("https://till.example.evil.example")},
		"a bound name":      {func(r *http.Request) { r.Host = "evil.example:8080" }},
		"a bound name, own": {func(r *http.Request) { r.Host = "evil.example" }, as("http://evil.example")},
	}
	writes := writing()
	for i, path := range append(writes, reading...) {
		method := "POST"
		if i >= len(writes) {
			method = "GET"
		}
		for name, page := range pages {
			for _, kind := range []string{"application/json", "text/plain", "application/x-www-form-urlencoded", ""} {
				a := g.do(method, path, bodies[path], append(page, carla, header("Content-Type", kind))...)
				if a.slug() != "origin-not-allowed" && a.slug() != "host-not-allowed" || a.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Fatalf("%s: %s %s (%s): %d %s", name, method, path, kind, a.StatusCode, a.body)
				}
				if a := g.do("OPTIONS", path, "", append(page, header("Access-Control-Request-Method", method))...); a.StatusCode != 403 {
					t.Fatalf("%s: preflight of %s: %d", name, path, a.StatusCode)
				}
			}
		}
		// Without a token nobody does anything, whatever else they have.
		for _, bare := range []func(*http.Request){header("Authorization", ""), header("Authorization", "Basic "+secret), header("Cookie", "Authorization=Bearer "+secret)} {
			if a := g.do(method, path, bodies[path], carla, header("Authorization", ""), bare); a.slug() != "unauthorized" {
				t.Fatalf("%s %s without a token: %d %s", method, path, a.StatusCode, a.body)
			}
		}
	}
	if after, _ := g.j.Floor(); after != before {
		t.Errorf("%d records were written", after-before)
	}
	// The same call of a page that may.
	a := g.do("OPTIONS", "/v1/checkout", "", header("Origin", "https://till.example"), header("Access-Control-Request-Method", "POST"))
	for _, name := range []string{sessionHeader, approvalHeader, "Idempotency-Key", "Authorization"} {
		if !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), name) {
			t.Errorf("%s is not let through: %v", name, a.Header)
		}
	}
	g.step("/v1/checkout", good, carla, header("Origin", "https://till.example"))
}

// dialAs connects to a unix socket as another user: the kernel tells the other end.
func dialAs(t *testing.T, path string, uid int) (net.Conn, error) {
	t.Helper()
	type dialled struct {
		c   net.Conn
		err error
	}
	done := make(chan dialled)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			done <- dialled{nil, errno}
			return
		}
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err == nil {
			err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
		}
		if err != nil {
			done <- dialled{nil, err}
			return
		}
		f := os.NewFile(uintptr(fd), "socket")
		defer f.Close()
		c, err := net.FileConn(f)
		done <- dialled{c, err}
	}()
	d := <-done
	return d.c, d.err
}

// The users of http.socket_users need no token on the unix socket; the events name them.
// Others do, whatever they say of themselves.
func TestSocketUsers(t *testing.T) {
	dir, err := os.MkdirTemp("", "posd-socket-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	g := newRig(t)
	g.http.Socket = filepath.Join(dir, "s")
	me := strconv.Itoa(os.Getuid())
	g.http.SocketUsers = []string{me, "there-is-nobody-of-this-name"}
	g.start()
	if err := os.Chmod(g.http.Socket, 0o666); err != nil {
		t.Fatal(err)
	}
	ask := func(dial func() (net.Conn, error), change ...func(*http.Request)) *http.Response {
		t.Helper()
		c, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		n := atomic.AddInt64(&g.n, 1)
		r, _ := http.NewRequest("POST", "http://till/v1/checkout", strings.NewReader(good))
		r.Header = http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {fmt.Sprint("key ", n)}, "Connection": {"close"}}
		for _, f := range change {
			f(r)
		}
		if err := r.Write(c); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	dial := func() (net.Conn, error) { return net.Dial("unix", g.http.Socket) }
	if res := ask(dial); res.StatusCode != 201 {
		t.Fatalf("a user of the list: %s", res.Status)
	}
	if res := ask(dial, header("Authorization", "Bearer wrong")); res.StatusCode != 401 {
		t.Errorf("a user of the list with a wrong token: %s", res.Status)
	}
	if res := ask(dial, header("Origin", "https://evil.example")); res.StatusCode != 403 {
		t.Errorf("a web page through a user of the list: %s", res.Status)
	}
	if res := ask(func() (net.Conn, error) { return net.Dial("tcp", g.s.Addr().String()) }, func(r *http.Request) { r.Host = g.s.Addr().String() }); res.StatusCode != 401 {
		t.Errorf("over TCP: %s", res.Status)
	}
	if os.Getuid() == 0 { // who may become others
		other := func() (net.Conn, error) { return dialAs(t, g.http.Socket, 65534) }
		for _, who := range []func(*http.Request){func(*http.Request) {}, header("X-Forwarded-User", me), header("Authorization", "user:"+me)} {
			if res := ask(other, who); res.StatusCode != 401 {
				t.Errorf("another user: %s", res.Status)
			}
		}
		if res := ask(other, header("Authorization", "Bearer "+secret)); res.StatusCode != 201 {
			t.Errorf("another user with a token: %s", res.Status)
		}
	}
	if n := g.salesOf("user:" + me); n != 1 {
		t.Errorf("%d sales of a user of the list", n)
	}
}

// salesOf counts the sales of a front end.
func (g *rig) salesOf(front string) (n int) {
	rd, err := g.j.Reader(1)
	if err != nil {
		g.t.Fatal(err)
	}
	defer rd.Close()
	for {
		rec, err := rd.Next()
		if err != nil {
			return n
		}
		if h, _, err := event.Parse(rec.Payload); err == nil && h.Type == event.TypeSaleCompleted && h.Front == front {
			n++
		}
	}
}

func TestReadUsers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(path, []byte("root:x:0:0:root:/root:/bin/sh\nbroken\nkiosk:x:1001:1001::/:\nlarge:x:99999999999:1::/:\n::7:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := readUsers(path)
	if err != nil || users["root"] != 0 || users["kiosk"] != 1001 || len(users) != 3 {
		t.Errorf("%v %v", users, err)
	}
	if _, ok := users["large"]; ok {
		t.Error("a number too large for a user is one")
	}
	s := &Server{}
	s.o.HTTP.SocketUsers = []string{"kiosk", "33", "gone", "65534"}
	all, some := filepath.Join(t.TempDir(), "all"), filepath.Join(t.TempDir(), "some")
	if err := errors.Join(os.WriteFile(all, []byte("         0          0 4294967295\n"), 0o600), os.WriteFile(some, []byte("0 0 1\n33 33 1\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s.o.Log = slogTo(&log)
	got := s.socketUsers(path, all)
	if fmt.Sprint(got) != "map[33:user:33 1001:user:kiosk]" || !strings.Contains(log.String(), "gone") || !strings.Contains(log.String(), "http.socket_users=65534") {
		t.Errorf("%v %s", got, log.String())
	}
	if s.socketUsers("/nowhere", "/nowhere")[33] != "user:33" {
		t.Error("a number needs no file")
	}
	log.Reset()
	if got := s.socketUsers(path, some); fmt.Sprint(got) != "map[33:user:33]" || !strings.Contains(log.String(), "PrivateUsers=no") {
		t.Errorf("in a namespace without kiosk: %v %s", got, log.String())
	}
}

func slogTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
