package hub

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
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
