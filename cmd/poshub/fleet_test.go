package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"posd/journal/chain"
	"posd/sync/hub"
	"posd/sync/wire"
)

// TestFleet asks a real hub that has heard three terminals.
func TestFleet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hub")
	h, err := hub.Open(hub.Options{Dir: dir, NATSListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.Close()
	}()
	srv := httptest.NewServer(h.Handler())
	defer srv.Close()
	token, err := os.ReadFile(filepath.Join(dir, "nats.token"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(h.NATSURL(), nats.Token(strings.TrimSpace(string(token))))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ask := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		args = append([]string{"fleet", "--hub", srv.URL}, args...)
		if slices.Contains(args, "retire") {
			args = append(append([]string{"fleet"}, args[3:]...), "--hub", srv.URL)
		}
		code := run(args, &out, &errs)
		return code, out.String(), errs.String()
	}
	healthy := []string{"--data", dir, "--check"}
	var code int
	var out string
	beats := func(alarms ...string) {
		for i, name := range []string{"t1", "t2", "t3"} {
			b := wire.Heartbeat{Release: "1.4.0", Store: "s1", Terminal: name, Run: 1, At: time.Now(), Journal: chain.ID{byte(i)}, Floor: 10, Settled: 10}
			if name == "t2" {
				b.Settled, b.Alarms = 3, alarms
				b.Backlog = wire.Backlog{Records: 7, Age: 30, Known: true, Value: 4711, Currency: "EUR"}
			}
			if err := nc.Publish(wire.HeartbeatSubject(0, "s1", name), b.Append(nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	await := func(want string) {
		t.Helper()
		for end := time.Now().Add(90 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if code, out, _ = ask(healthy...); strings.Contains(out, want) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("never %q: %s", want, out)
			}
			if want == "1 failing" {
				beats(wire.AlarmRot)
			} else {
				beats()
			}
		}
	}
	await("0 failing, 0 offline, 0 enrolled, 3 online; backlog 7 records, the oldest 30s, worth 4711 EUR")
	if code != 0 {
		t.Errorf("nothing is failing: exit %d", code)
	}
	await("1 failing")
	lines := strings.Split(out, "\n")
	if code != exitFailing || !strings.HasPrefix(lines[0], "STORE") || !strings.HasPrefix(lines[1], "s1     t2        failing") ||
		!strings.Contains(lines[1], "4711 EUR") || !strings.HasSuffix(lines[1], wire.AlarmRot) {
		t.Errorf("exit %d\n%s", code, out)
	}
	code, out, _ = ask("--token", filepath.Join(dir, "api.token"), "--json", "--state", "online")
	if code != 0 || strings.Count(out, "\n") != 2 {
		t.Errorf("exit %d\n%s", code, out)
	}
	var one hub.FleetTerminal
	if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &one); err != nil || one.Terminal != "t1" || one.Says.Release != "1.4.0" {
		t.Errorf("%+v %v", one, err)
	}
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "--token FILE or --data DIR", nil},
		{exitUsage, "--watch goes with", []string{"--data", dir, "--watch", "--json"}},
		{exitUsage, "unexpected argument", []string{"--data", dir, "x"}},
		{exitUsage, "give a store and a terminal", []string{"retire", "s1", "--data", dir, "--why", "x"}},
		{exitUsage, "--why", []string{"retire", "s1", "t1", "--data", dir}},
		{exitFailed, "it is online", []string{"retire", "s1", "t1", "--data", dir, "--why", "x"}},
		{exitFailed, "no terminal of that name", []string{"retire", "s1", "t9", "--data", dir, "--why", "x"}},
		{exitFailed, "state must be", []string{"--data", dir, "--state", "ill"}},
		{exitFailed, "api.token", []string{"--data", t.TempDir()}},
		{exitFailed, "401", []string{"--token", filepath.Join(dir, "nats.token")}},
		{exitFailed, "ask the hub", []string{"--data", dir, "--hub", "http://127.0.0.1:1"}},
	} {
		if code, _, errs := ask(c.args...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: exit %d, %s", c.args, code, errs)
		}
	}
}
