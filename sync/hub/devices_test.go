package hub

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"posd/journal/chain"
	"posd/sync/wire"
)

// TestSystemHearsDevices: the server says who connected, by the name in the JWT that
// was signed, not by what the device calls itself.
func TestSystemHearsDevices(t *testing.T) {
	h, err := Open(Options{Dir: t.TempDir(), NATSListen: "127.0.0.1:0", Auth: AuthJWT})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	sys, err := h.sysConn()
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	sub, err := sys.SubscribeSync("$SYS.ACCOUNT.*.CONNECT")
	if err != nil {
		t.Fatal(err)
	}
	if err := sys.Flush(); err != nil {
		t.Fatal(err)
	}
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	nkey, _ := kp.PublicKey()
	token, err := h.LetIn(t.Context(), "s1", "t1", 0, nkey)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(h.NATSURL(), nats.Name("somebody else"), nats.UserJWT(func() (string, error) { return token, nil }, kp.Sign))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for end := time.Now().Add(time.Minute); ; {
		m, err := sub.NextMsg(time.Until(end))
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			Client struct {
				NameTag string `json:"name_tag"`
			} `json:"client"`
		}
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatalf("%s: %v", m.Data, err)
		}
		if e.Client.NameTag == "s1.t1" {
			return
		}
	}
}

func TestNoDeviceWithoutKeys(t *testing.T) {
	h, err := Open(Options{Dir: t.TempDir(), NATSListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.LetIn(t.Context(), "s1", "t1", 0, "U"); !errors.Is(err, errNoKeys) {
		t.Errorf("let in by a shared token: %v", err)
	}
	if _, err := h.sysConn(); !errors.Is(err, errNoKeys) {
		t.Errorf("a system account without keys: %v", err)
	}
}

// TestDeviceGone: the servers' word reaches the fleet: a device whose connection ends is
// offline within the grace, with no heartbeat missed yet; one that stays is not.
func TestDeviceGone(t *testing.T) {
	h, err := Open(Options{Dir: t.TempDir(), NATSListen: "127.0.0.1:0", Auth: AuthJWT,
		fleet: fleetTimes{period: time.Hour, tick: 20 * time.Millisecond, rewrite: time.Hour, refresh: time.Hour, dead: time.Hour,
			fresh: time.Hour, gap: time.Hour, backlog: time.Hour, skew: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	defer func() { cancel(); <-done; h.Close() }()
	devices := map[string]*nats.Conn{}
	for _, name := range []string{"t1", "t2"} {
		kp, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		nkey, _ := kp.PublicKey()
		token, err := h.LetIn(t.Context(), "s1", name, 0, nkey)
		if err != nil {
			t.Fatal(err)
		}
		nc, err := nats.Connect(h.NATSURL(), nats.NoReconnect(), nats.UserJWT(func() (string, error) { return token, nil }, kp.Sign))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		devices[name] = nc
	}
	state := func(name string) string {
		for _, m := range h.fleet.list("s1", "", "", 10).Terminals {
			if m.Terminal == name {
				return m.State
			}
		}
		return ""
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("never happened: ", what)
			}
		}
	}
	for name, nc := range devices {
		until(name+" is online", func() bool {
			b := wire.Heartbeat{Store: "s1", Terminal: name, Run: 7, At: time.Now(), Clock: "synced", Journal: chain.ID{1}, DiskFree: 1, DiskTotal: 2}
			nc.Publish(wire.HeartbeatSubject(0, "s1", name), b.Append(nil))
			return state(name) == StateOnline
		})
	}
	devices["t1"].Close()
	until("t1 is offline", func() bool { return state("t1") == StateOffline })
	if s := state("t2"); s != StateOnline {
		t.Errorf("t2 is %s", s)
	}
}
