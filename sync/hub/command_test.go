package hub

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"posd/sync/wire"
)

// keyed is a terminal that is given keys.
type keyed struct {
	t      *testing.T
	h      *Hub
	office ed25519.PublicKey
	kp     nkeys.KeyPair // made last
	jwt    string        // for it, "" = none yet
	state  string        // that it answers with when it has the JWT, and uses it
	serial uint64        // of the order that it answered last
}

func (k *keyed) connect() (*nats.Conn, error) {
	kp, jwt := k.kp, k.jwt
	return nats.Connect(k.h.NATSURL(), nats.NoReconnect(), nats.UserJWT(func() (string, error) { return jwt, nil }, kp.Sign))
}

func (k *keyed) newKey() (public string) {
	k.kp, _ = nkeys.CreateUser()
	public, _ = k.kp.PublicKey()
	return public
}

// listen answers orders until nc is closed.
func (k *keyed) listen(nc *nats.Conn) {
	k.t.Helper()
	_, err := nc.Subscribe(wire.CommandSubject("s1", "t1", wire.CommandRotateKey), func(m *nats.Msg) {
		o, err := wire.OpenOrder(m.Data, k.office)
		if err != nil || o.Serial == k.serial {
			return
		}
		k.serial = o.Serial
		a := wire.Answer{Store: "s1", Terminal: "t1", Serial: o.Serial, Kind: o.Kind, State: wire.StateDone}
		if len(o.Body) == 0 {
			a.Data, _ = json.Marshal(wire.MakeNewKey("s1", "t1", o.Serial, k.newKey(), nil))
		} else {
			k.jwt, a.State, a.Reason = string(o.Body), k.state, "as the test has it"
		}
		nc.Publish(wire.AnswerSubject(0, "s1", "t1", o.Serial), a.Append(nil))
	})
	if err = errors.Join(err, nc.Flush()); err != nil {
		k.t.Fatal(err)
	}
}

func (k *keyed) rotate() (a CommandAnswer, err error) {
	r := httptest.NewRequest("POST", "/v1/orders/command", strings.NewReader(`{"store":"s1","terminal":"t1","command":"rotate-key","by":"ada","why":"a laptop was stolen"}`))
	r.Header.Set("Authorization", "Bearer "+k.h.api)
	w := httptest.NewRecorder()
	if k.h.Handler().ServeHTTP(w, r); w.Code != 200 {
		return a, fmt.Errorf("%d %s", w.Code, w.Body)
	}
	return a, json.Unmarshal(w.Body.Bytes(), &a)
}

// rotates has a terminal that answers with state to a key that it uses from then on.
func rotates(t *testing.T, state string, b bug) error {
	h, err := Open(Options{Dir: t.TempDir(), NATSListen: "127.0.0.1:0", Auth: AuthJWT, bug: b})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	defer func() { cancel(); <-done; h.Close() }()
	key, err := h.office(ctx)
	if err != nil {
		t.Fatal(err)
	}
	k := &keyed{t: t, h: h, office: key.Public().(ed25519.PublicKey), state: state}
	if k.jwt, err = h.LetIn(ctx, "s1", "t1", 0, k.newKey()); err != nil {
		t.Fatal(err)
	}
	first := *k
	nc, err := k.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	k.listen(nc)
	a, err := k.rotate()
	if err != nil || a.State != state || !strings.Contains(a.Reason, "both good") {
		t.Fatalf("%+v %v", a, err)
	}
	second := *k
	for which, u := range map[string]keyed{"old": first, "new": second} {
		c, err := u.connect()
		if err != nil {
			return fmt.Errorf("the %s key: %w", which, err)
		}
		defer c.Close()
		if which == "new" {
			nc.Close()
			k.listen(c)
		}
	}
	// Ordered again, as it says: one key is good.
	k.state = wire.StateDone
	if a, err = k.rotate(); err != nil || a.State != wire.StateDone {
		t.Fatalf("again: %+v %v", a, err)
	}
	for which, u := range map[string]keyed{"first": first, "second": second} {
		if c, err := u.connect(); err == nil {
			c.Close()
			t.Errorf("the %s key is still good", which)
		}
	}
	c, err := k.connect()
	if err != nil {
		t.Fatalf("the third key: %v", err)
	}
	c.Close()
	return nil
}

// TestRotateHalf: a terminal that says that it did not take a key may be using it all the
// same: nothing is revoked before a rotation has ended well.
func TestRotateHalf(t *testing.T) {
	for _, state := range []string{wire.StateRefused, wire.StateFailed, wire.StateUnknown} {
		t.Run(state, func(t *testing.T) {
			if err := rotates(t, state, noBug); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("control", func(t *testing.T) {
		if rotates(t, wire.StateFailed, bugShutsNew) == nil {
			t.Error("passes with the new key shut out: the check proves nothing")
		}
	})
}

// TestProvenByWhoSells: after a dead board's journal was imported, the key of the journal
// that the terminal sells with counts still.
func TestProvenByWhoSells(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		r := newRig(t, noBug)
		r.o.LedgerURL = url
		r.start()
		dead, alive := newTill(t, "t1", keyA, nil), newTill(t, "t1", keyB, nil)
		a := wire.Answer{Store: "s1", Terminal: "t1", Serial: 7}
		check := func(when string, byDead, byAlive bool) {
			t.Helper()
			for key, want := range map[string]bool{"dead": byDead, "alive": byAlive} {
				signs := map[string]ed25519.PrivateKey{"dead": keyA, "alive": keyB}[key]
				k := wire.MakeNewKey("s1", "t1", 7, "U", signs)
				if ok, err := r.h.proven(t.Context(), &a, &k); ok != want || (err == nil) != want {
					t.Errorf("%s, signed by the %s board's key: %v %v", when, key, ok, err)
				}
			}
		}
		ship := func(k *till) {
			k.sell(1, 100, 5)
			r.settle(r.publish(wire.UpSubject(0, "s1", "t1", k.id), bytesOf(t, k.parcel(1, k.last()))))
		}
		ship(dead)
		check("before the board dies", true, false)
		ship(alive)
		check("with the new board", false, true)
		dead.sell(1, 200, 5)
		r.bring(dead, 1, dead.last())
		check("with the dead one's last sales", false, true)
		ship(alive)
		check("later", false, true)
		ship(dead)
		check("with the dead one alive again", true, false)
	})
}

// TestProvenByImport: where all that head office has was imported, the newest of it counts.
func TestProvenByImport(t *testing.T) {
	r := newRig(t, noBug)
	r.start()
	k := newTill(t, "t1", keyA, nil)
	k.sell(1, 100, 5)
	r.bring(k, 1, k.last())
	for _, c := range []struct {
		key ed25519.PrivateKey
		ok  bool
	}{{keyA, true}, {keyB, false}} {
		n := wire.MakeNewKey("s1", "t1", 7, "U", c.key)
		if ok, err := r.h.proven(t.Context(), &wire.Answer{Store: "s1", Terminal: "t1", Serial: 7}, &n); ok != c.ok || (err == nil) != c.ok {
			t.Errorf("%v %v, want %v", ok, err, c.ok)
		}
	}
}
