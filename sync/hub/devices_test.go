package hub

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"posd/journal/chain"
	"posd/packaging/lab/freeport"
	"posd/sync/ledger"
	"posd/sync/trust"
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

// heldLedger stops one call after its commit, or after it has looked, until the test
// says go on.
type heldLedger struct {
	ledger.Ledger
	afterUpdate, afterView atomic.Pointer[hold]
}

type hold struct{ reached, goOn chan struct{} }

func newHold() *hold { return &hold{make(chan struct{}), make(chan struct{})} }

func wait(p *atomic.Pointer[hold]) {
	if w := p.Swap(nil); w != nil {
		close(w.reached)
		<-w.goOn
	}
}

func (l *heldLedger) Update(ctx context.Context, fn func(ledger.Tx) error) error {
	defer wait(&l.afterUpdate)
	return l.Ledger.Update(ctx, fn)
}

func (l *heldLedger) View(ctx context.Context, fn func(ledger.Tx) error) error {
	sawDevice := false
	err := l.Ledger.View(ctx, func(tx ledger.Tx) error { return fn(seenTx{tx, &sawDevice}) })
	if sawDevice {
		wait(&l.afterView)
	}
	return err
}

type seenTx struct {
	ledger.Tx
	device *bool
}

func (tx seenTx) Doc(kind, key string) ([]byte, bool, error) {
	*tx.device = *tx.device || kind == docDevice
	return tx.Tx.Doc(kind, key)
}

// TestShutOutStays: whatever else is being done for the terminal, a key that was shut out
// is of no use afterwards: no call that began before tells the server of an older
// account, and no JWT made later is good.
func TestShutOutStays(t *testing.T) {
	bolt, err := ledger.OpenBolt(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	l := &heldLedger{Ledger: bolt}
	h, err := Open(Options{Dir: t.TempDir(), NATSListen: "127.0.0.1:0", Auth: AuthJWT, share: l})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	as := func(token string, kp nkeys.KeyPair) (*nats.Conn, error) {
		return nats.Connect(h.NATSURL(), nats.NoReconnect(), nats.UserJWT(func() (string, error) { return token, nil }, kp.Sign))
	}
	newKey := func() (nkeys.KeyPair, string) {
		kp, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		nkey, _ := kp.PublicKey()
		return kp, nkey
	}
	useless := func(what, token string, kp nkeys.KeyPair) {
		t.Helper()
		if nc, err := as(token, kp); err == nil {
			nc.Close()
			t.Error(what, ": a key that was shut out is let in")
		} else if !errors.Is(err, nats.ErrAuthorization) {
			t.Error(what, ": ", err)
		}
	}
	// The server must know the account: one that it does not know it asks the ledger for.
	other, otherKey := newKey()
	otherJWT, err := h.LetIn(t.Context(), "s1", "t1", 0, otherKey)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := as(otherJWT, other)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()

	for what, point := range map[string]*atomic.Pointer[hold]{"let in again, committed": &l.afterUpdate, "let in again, looked": &l.afterView} {
		kp, nkey := newKey()
		first, err := h.LetIn(t.Context(), "s1", "t1", 0, nkey)
		if err != nil {
			t.Fatal(err)
		}
		control, err := as(first, kp)
		if err != nil {
			t.Fatal(err)
		}
		control.Close()
		held := newHold()
		point.Store(held)
		type answer struct {
			token string
			err   error
		}
		again, shut := make(chan answer, 1), make(chan error, 1)
		go func() {
			token, err := h.LetIn(context.Background(), "s1", "t1", 0, nkey)
			again <- answer{token, err}
		}()
		select {
		case <-held.reached:
		case a := <-again:
			t.Fatalf("%s: it was never there (%v)", what, a.err)
		}
		go func() { shut <- h.ShutOut(context.Background(), "s1", "t1", nkey) }()
		for revoked := false; !revoked; {
			if err := bolt.View(t.Context(), func(tx ledger.Tx) error {
				d, _, err := loadDevice(tx, "s1.t1")
				_, revoked = d.Revoked[nkey]
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		if point == &l.afterView { // it is between its look and the server: nobody else may tell that
			close(held.goOn)
		}
		if err := <-shut; err != nil {
			t.Fatal(err)
		}
		if point == &l.afterUpdate {
			close(held.goOn)
		}
		a := <-again
		if !errors.Is(a.err, trust.ErrRevoked) {
			t.Errorf("%s: got a JWT (%v)", what, a.err)
		}
		useless(what, first, kp)
		if a.err == nil {
			useless(what+", the JWT made last", a.token, kp)
		}
	}

	// Many at once, and JWTs made after the revocation.
	for range 8 {
		kp, nkey := newKey()
		if _, err := h.LetIn(t.Context(), "s1", "t1", 0, nkey); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { h.LetIn(context.Background(), "s1", "t1", 0, nkey) })
			wg.Go(func() {
				_, another := newKey()
				if _, err := h.LetIn(context.Background(), "s1", "t1", 0, another); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if err := h.ShutOut(context.Background(), "s1", "t1", nkey); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		late, err := h.keys.DeviceUser(&trust.Device{Store: "s1", Terminal: "t1"}, nkey, 0)
		if err != nil {
			t.Fatal(err)
		}
		useless("many at once", late, kp)
	}
	if nc, err := as(otherJWT, other); err != nil {
		t.Error("the other key: ", err)
	} else {
		nc.Close()
	}
}

// TestAccountsUntaught: what the servers did not take when it was committed they are told
// again.
func TestAccountsUntaught(t *testing.T) {
	h, err := Open(Options{Dir: t.TempDir(), NATSListen: "127.0.0.1:0", Auth: AuthJWT})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	nkey, _ := kp.PublicKey()
	token, err := h.LetIn(t.Context(), "s1", "t1", 0, nkey)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(h.NATSURL(), nats.NoReconnect(), nats.UserJWT(func() (string, error) { return token, nil }, kp.Sign))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// As a hub leaves it that ended between the commit and the server's answer.
	if err := h.ledger.Update(t.Context(), func(tx ledger.Tx) error {
		d, _, err := loadDevice(tx, "s1.t1")
		if err != nil {
			return err
		}
		d.Keys, d.Revoked = nil, map[string]time.Time{nkey: time.Now()}
		b, err := json.Marshal(&d)
		return errors.Join(err, tx.PutDoc(docDevice, "s1.t1", b), tx.PutDoc(docUntaught, h.untaught("s1.t1"), []byte("{}")),
			tx.PutDoc(docUntaught, "elsewhere/s1.t1", []byte("{}")))
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for end := time.Now().Add(time.Minute); !nc.IsClosed(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server was never told that the key is shut out")
		}
	}
	left := []string{}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err := h.ledger.View(t.Context(), func(tx ledger.Tx) error {
			left = left[:0]
			return tx.Docs(docUntaught, "", func(key string, _ []byte) (bool, error) { left = append(left, key); return true, nil })
		}); err != nil {
			t.Fatal(err)
		}
		if slices.Equal(left, []string{"elsewhere/s1.t1"}) {
			return // another region's servers are not this hub's
		}
		if time.Now().After(end) {
			t.Fatalf("still to be told: %q", left)
		}
	}
}

// TestSystemConnectionStays: servers that refuse the hub for a while, as when they were
// set up anew, are asked again until they do not, and a connection that is closed all the
// same ends the listening, so that it begins anew.
func TestSystemConnectionStays(t *testing.T) {
	mine, other := t.TempDir(), t.TempDir()
	open := func(dir, listen string) *Hub {
		t.Helper()
		h, err := Open(Options{Dir: dir, NATSListen: listen, Auth: AuthJWT})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	address := freeport.For(t)
	first := open(mine, address)
	url := first.NATSURL()
	h := &Hub{opt: Options{NATSURL: url}, keys: first.keys, fleet: first.fleet}
	nc, err := h.sysConn()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("never happened: ", what)
			}
		}
	}
	stranger := open(other, address)
	until("refused three times", func() bool {
		if nc.IsClosed() {
			t.Fatal("it has given up: ", nc.LastError())
		}
		v, err := stranger.srv.Varz(nil)
		return err == nil && v.TotalConnections >= 3+1 // and the stranger's own
	})
	if err := stranger.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(mine, address)
	defer again.Close()
	until("it is let in again", nc.IsConnected)

	ended := make(chan error, 1)
	go func() { ended <- h.hear(t.Context(), nc) }()
	until("it listens", func() bool { return nc.NumSubscriptions() == 2 })
	nc.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, errClosed) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it listens to a connection that is closed")
	}
}
