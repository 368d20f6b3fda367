package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/journal/chain"
	"posd/sync/hub"
	"posd/sync/outbox"
	"posd/sync/wire"
)

// office is a running hub, and a client of its NATS server.
type office struct {
	t   *testing.T
	dir string
	url string // of the HTTP interface
	h   *hub.Hub
	nc  *nats.Conn
}

func newOffice(t *testing.T, o hub.Options) *office {
	o.Dir, o.NATSListen, o.Pulse = filepath.Join(t.TempDir(), "hub"), "127.0.0.1:0", 50*time.Millisecond
	h, err := hub.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	srv := httptest.NewServer(h.Handler())
	token, err := os.ReadFile(filepath.Join(o.Dir, "nats.token"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(h.NATSURL(), nats.Token(strings.TrimSpace(string(token))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		srv.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.Close()
	})
	return &office{t, o.Dir, srv.URL, h, nc}
}

// ledger is how often each event is listed, by name.
func (o *office) ledger() map[string]int {
	o.t.Helper()
	all := make(map[string]int)
	c := client{hub: o.url, data: o.dir}
	if err := c.lines(o.t.Context(), "/v1/events", nil, func(b []byte) error {
		var e struct {
			Journal, Head string
			Seq           uint64
		}
		err := json.Unmarshal(b, &e)
		all[fmt.Sprintf("%s:%d:%s", e.Journal, e.Seq, e.Head)]++
		return err
	}); err != nil {
		o.t.Fatal(err)
	}
	return all
}

// published are the names in the stream of events, in order.
func (o *office) published() (all []string) {
	o.t.Helper()
	js, err := jetstream.New(o.nc)
	if err != nil {
		o.t.Fatal(err)
	}
	s, err := js.Stream(o.t.Context(), outbox.Stream)
	if err != nil {
		return nil
	}
	cons, err := js.OrderedConsumer(o.t.Context(), outbox.Stream, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		o.t.Fatal(err)
	}
	for range s.CachedInfo().State.Msgs {
		m, err := cons.Next()
		if err != nil {
			o.t.Fatal(err)
		}
		all = append(all, m.Headers().Get("Pos-Name"))
	}
	return all
}

// has waits until the ledger has exactly those events, each once, and the stream of events
// has them once and in that order.
func (o *office) has(want []string) {
	o.t.Helper()
	o.eventually("all is published", func() bool { return len(o.published()) >= len(want) })
	all := o.ledger()
	for _, name := range want {
		if all[name] != 1 {
			o.t.Errorf("%s is listed %d times", name, all[name])
		}
	}
	if len(all) != len(want) {
		o.t.Errorf("%d events, want %d", len(all), len(want))
	}
	if got := o.published(); !slices.Equal(got, want) {
		o.t.Errorf("%d events are published, or in another order than the %d of the journal", len(got), len(want))
	}
}

func (o *office) eventually(what string, ok func() bool) {
	o.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			o.t.Fatalf("never happened: %s", what)
		}
	}
}

func (o *office) run(args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = run(append(args, "--hub", o.url, "--data", o.dir), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// says runs a command that must succeed until it says what matches.
func (o *office) says(pattern string, args ...string) string {
	o.t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		code, out, errs := o.run(args...)
		if code != 0 {
			o.t.Fatalf("%v: exit %d: %s", args, code, errs)
		}
		if re.MatchString(out) {
			return out
		}
		if time.Now().After(end) {
			o.t.Fatalf("%v never said %q: %s", args, pattern, out)
		}
	}
}

func (o *office) publish(subject string, body []byte) {
	o.t.Helper()
	js, err := jetstream.New(o.nc)
	if err != nil {
		o.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // the stream may not be there yet
		if _, err = js.Publish(context.Background(), subject, body); err == nil {
			return
		}
		if time.Now().After(end) {
			o.t.Fatal(err)
		}
	}
}

func TestQuarantine(t *testing.T) {
	o := newOffice(t, hub.Options{})
	subject := wire.UpSubject(0, "s1", "t1", chain.ID{7})
	for i := range 3 {
		o.publish(subject, fmt.Appendf(nil, "rubbish %d\x1b[31m", i))
	}
	list := o.says(`(?s)(undecodable.*){3}`, "quarantine", "list")
	key := strings.Fields(strings.Split(list, "\n")[1])[0]
	if len(key) != 12 || strings.Contains(list, "\x1b") {
		t.Errorf("%q", list)
	}
	body := filepath.Join(t.TempDir(), "body")
	o.says(`cause +undecodable(?s).*accepting this cannot be accepted`, "quarantine", "show", key, "--body", body)
	if b, err := os.ReadFile(body); err != nil || !bytes.HasPrefix(b, []byte("rubbish ")) {
		t.Errorf("body %q, %v", b, err)
	}
	first := o.says(`rejected by ada: it stays out`, "quarantine", "reject", key, "--by", "ada", "--why", "line noise")
	if again := o.says(`rejected by ada`, "quarantine", "reject", key, "--by", "bob", "--why", "me too"); again != first {
		t.Errorf("%q, then %q", first, again)
	}
	if out := o.says(`rejected by carl`, "quarantine", "reject", "--all", key, "--by", "carl", "--why", "all of it"); strings.Count(out, "\n") != 3 {
		t.Errorf("%q", out)
	}
	if list := o.says("KEY", "quarantine", "list"); strings.Count(list, "\n") != 1 {
		t.Errorf("%q", list)
	}
	o.says(`(?s)(rejected.*){3}`, "quarantine", "list", "--all")
	if trail := o.says(`line noise`, "audit"); strings.Count(trail, "\n") != 4 || strings.Contains(trail, "bob") {
		t.Errorf("%q", trail)
	}
	if trail := o.says("", "audit", "--since", time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "--json"); trail != "" {
		t.Errorf("%q", trail)
	}
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "say poshub quarantine", []string{"quarantine"}},
		{exitUsage, "name the message", []string{"quarantine", "accept", "--why", "x"}},
		{exitUsage, "--why is missing", []string{"quarantine", "accept", key}},
		{exitUsage, "unexpected argument", []string{"quarantine", "show", key, key}},
		{exitUsage, "unexpected argument", []string{"quarantine", "list", key}},
		{exitFailed, "Reject it", []string{"quarantine", "accept", key, "--why", "x"}},
		{exitFailed, "at least 6", []string{"quarantine", "show", "12"}},
		{exitFailed, "404", []string{"quarantine", "show", strings.Repeat("0", 64)}},
		{exitFailed, "give a time", []string{"audit", "--since", "yesterday"}},
		{exitUsage, "must be a URL", []string{"audit", "--hub", "localhost"}},
	} {
		if code, _, errs := func() (int, string, string) {
			var out, errs bytes.Buffer
			code := run(append([]string{c.args[0], "--hub", o.url, "--data", o.dir}, c.args[1:]...), &out, &errs)
			return code, out.String(), errs.String()
		}(); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: exit %d, %s", c.args, code, errs)
		}
	}
}
