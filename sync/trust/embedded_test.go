package trust_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"posd/journal"
	"posd/pos/event"
	"posd/sync/hub"
	"posd/sync/trust"
	"posd/sync/uplink"
	"posd/sync/wire"
)

func openHub(t testing.TB, dir string) *hub.Hub {
	h := must(hub.Open(hub.Options{Dir: dir, NATSListen: "127.0.0.1:0", Auth: hub.AuthJWT, Pulse: 50 * time.Millisecond}))(t)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// embeddedSite is the server inside of a hub.
func embeddedSite(t testing.TB) site {
	dir := t.TempDir()
	h := openHub(t, dir)
	keys := must(trust.Open(filepath.Join(dir, "keys")))(t)
	return site{
		hub: func(t testing.TB) *nats.Conn { return connect(t, h.NATSURL(), fromCreds(t, must(keys.HubUser())(t))) },
		device: func(t testing.TB, store, terminal string, opts ...nats.Option) *nats.Conn {
			kp, nkey := newUser(t)
			token := must(h.LetIn(t.Context(), store, terminal, 0, nkey))(t)
			return connect(t, h.NATSURL(), append(opts, credentials(token, kp), nats.CustomInboxPrefix(wire.InboxPrefix(store, terminal)))...)
		},
	}
}

// TestShutOut: a revoked key is put out at once and never let in again, after a restart
// of the hub neither; the terminal's other key goes on.
func TestShutOut(t *testing.T) {
	dir := t.TempDir()
	h := must(hub.Open(hub.Options{Dir: dir, NATSListen: "127.0.0.1:0", Auth: hub.AuthJWT}))(t)
	old, oldKey := newUser(t)
	young, youngKey := newUser(t)
	oldJWT := must(h.LetIn(t.Context(), "s1", "t1", 0, oldKey))(t)
	youngJWT := must(h.LetIn(t.Context(), "s1", "t1", 0, youngKey))(t)
	was, stays := connect(t, h.NATSURL(), credentials(oldJWT, old)), connect(t, h.NATSURL(), credentials(youngJWT, young))
	if err := h.ShutOut(t.Context(), "s1", "t1", oldKey); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revoked connection ends", was.IsClosed)
	if err := stays.FlushTimeout(giveUp); err != nil {
		t.Errorf("the other key: %v", err)
	}
	if _, err := h.LetIn(t.Context(), "s1", "t1", 0, oldKey); err == nil {
		t.Error("a revoked key got a new JWT")
	}
	if err := h.ShutOut(t.Context(), "s1", "t1", oldKey); err != nil {
		t.Errorf("revoked again: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = openHub(t, dir)
	if nc, err := nats.Connect(h.NATSURL(), credentials(oldJWT, old)); err == nil {
		nc.Close()
		t.Error("let in after a restart of the hub")
	}
	connect(t, h.NATSURL(), credentials(youngJWT, young))
}

type blob string

func (b blob) AppendRecord(dst []byte, _ uint64) ([]byte, error) { return append(dst, b...), nil }

// TestUplinkWithCredentials: the real uplink ships to the real hub with no more than a
// device's credentials, and what is shipped becomes settled.
func TestUplinkWithCredentials(t *testing.T) {
	h := openHub(t, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- h.Run(ctx) }()
	dir := t.TempDir()
	must(journal.Create(filepath.Join(dir, "journal"), journal.CreateOptions{Identity: journal.Identity{Store: "s1", Terminal: "t1"}}))(t)
	j := must(journal.Open(filepath.Join(dir, "journal"), journal.Options{}))(t)
	defer j.Close()
	kp, nkey := newUser(t)
	token := must(h.LetIn(ctx, "s1", "t1", 0, nkey))(t)
	creds := filepath.Join(dir, "hub.creds")
	seed := must(kp.Seed())(t)
	if err := os.WriteFile(creds, must(jwt.FormatUserConfig(token, seed))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	u := must(uplink.New(uplink.Options{Journal: j, URLs: []string{h.NATSURL()}, Store: "s1", Terminal: "t1", Credentials: creds, StatePath: filepath.Join(dir, "uplink.state")}))(t)
	go func() { ended <- u.Run(ctx) }()
	var last uint64
	for i := range 200 {
		seq, err := j.Append(event.RecordType, journal.Durable, 64, blob(fmt.Sprintf(`{"v":1,"n":%d}`, i)))
		if err != nil {
			t.Fatal(err)
		}
		last = seq
	}
	eventually(t, "all is settled", func() bool { return u.Status().Settled >= last })
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
