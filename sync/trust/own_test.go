package trust_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"posd/packaging/lab/freeport"
	"posd/sync/trust"
	"posd/sync/wire"
)

// ownPart does all that a terminal needs.
func ownPart(t *testing.T, s site, replicas int) {
	hub := s.hub(t)
	js := streams(t, hub, replicas)
	d := s.device(t, "s2", "t1", nats.MaxPingsOutstanding(2))
	ctx, cancel := context.WithTimeout(t.Context(), giveUp)
	defer cancel()
	sub := func(nc *nats.Conn, subject string) *nats.Subscription {
		t.Helper()
		x, err := nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.FlushTimeout(giveUp); err != nil {
			t.Fatal(err)
		}
		return x
	}
	next := func(x *nats.Subscription, want string) {
		t.Helper()
		m, err := x.NextMsg(giveUp)
		if err != nil || string(m.Data) != want {
			t.Fatalf("%s: %v %v, want %q", x.Subject, m, err, want)
		}
	}
	ask := func(m *nats.Msg) (answer *nats.Msg) {
		t.Helper()
		eventually(t, "an answer to "+m.Subject, func() bool {
			var err error
			answer, err = d.RequestMsg(m, 2*time.Second)
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			return err == nil
		})
		return answer
	}
	get := func(stream, subject, want string) { // any replica answers, also one that lags behind
		t.Helper()
		eventually(t, want+" of "+stream, func() bool { return string(ask(nats.NewMsg("$JS.API.DIRECT.GET."+stream+"."+subject)).Data) == want })
	}
	beats, answers := sub(hub, "pos.hb.0.>"), sub(hub, "pos.ans.0.>")
	p, _ := wire.DevicePermissions(0, "s2", "t1")
	var own []*nats.Subscription
	for _, s := range p.Subscribe[1:] {
		own = append(own, sub(d, s))
	}
	up := "pos.up.0.s2.t1." + journalID
	if a := ask(&nats.Msg{Subject: up, Data: []byte("parcel"), Header: nats.Header{"Nats-Expected-Last-Subject-Sequence": {"0"}}}); !contains(a, `"seq"`) {
		t.Fatalf("not acknowledged: %s", a.Data)
	}
	if a := ask(&nats.Msg{Subject: up, Data: []byte("again"), Header: nats.Header{"Nats-Expected-Last-Subject-Sequence": {"0"}}}); !contains(a, "10071") {
		t.Fatalf("the fence did not hold: %s", a.Data)
	}
	get("POS_UP_0", up, "parcel")
	if _, err := js.Publish(ctx, "$KV.pos_cfg.s2.t1.config", []byte("settings")); err != nil {
		t.Fatal(err)
	}
	next(own[0], "settings")
	get("KV_pos_cfg", "$KV.pos_cfg.s2.t1.config", "settings")
	hub.Publish(wire.PulseSubject(0), []byte("pulse"))
	next(own[1], "pulse")
	hub.Publish("pos.cmd.s2.t1.status", []byte("order"))
	next(own[2], "order")
	d.Publish("pos.hb.0.s2.t1", []byte("alive"))
	next(beats, "alive")
	d.Publish("pos.ans.0.s2.t1.7", []byte("done"))
	next(answers, "done")
}

func contains(m *nats.Msg, s string) bool { return m != nil && bytesContain(m.Data, s) }

func TestOwnPart(t *testing.T) {
	t.Run("operator", func(t *testing.T) { ownPart(t, operatorSite(t), 1) })
	t.Run("cert", func(t *testing.T) { ownPart(t, certSite(t, nil), 1) })
	t.Run("embedded", func(t *testing.T) { ownPart(t, embeddedSite(t), 1) })
	t.Run("cluster", func(t *testing.T) { ownPart(t, clusterSite(t), 3) })
}

// TestCredentials: what must not be let in is not.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	keys := must(trust.Open(dir))(t)
	others := must(trust.Open(t.TempDir()))(t)
	d := trust.Device{Store: "s1", Terminal: "t1"}
	lost, lostKey := newUser(t)
	revoked := must(keys.DeviceUser(&d, lostKey, time.Hour))(t)
	d.Revoked = map[string]time.Time{lostKey: time.Now().Add(-time.Hour)} // made later than that it is no better
	if _, err := keys.DeviceUser(&d, lostKey, time.Hour); !errors.Is(err, trust.ErrRevoked) {
		t.Errorf("a JWT for a revoked key: %v", err)
	}
	addr := freeport.For(t)
	c := trust.Cluster{Auth: trust.AuthJWT, Servers: []trust.Server{{Name: "n1", Listen: addr}}, StoreDir: t.TempDir(), Keys: keys, Terminals: []trust.Device{d}}
	startNATS(t, must(c.Config(0))(t))
	try := func(o nats.Option) error {
		nc, err := nats.Connect("nats://"+addr, o, nats.NoReconnect())
		if err == nil {
			nc.Close()
		}
		return err
	}
	kp, nkey := newUser(t)
	good := must(keys.DeviceUser(&d, nkey, time.Hour))(t)
	eventually(t, "a good one is let in", func() bool { return try(credentials(good, kp)) == nil })

	stranger, strangerKey := newUser(t)
	claims := must(jwt.DecodeUserClaims(good))(t)
	claims.NotBefore = time.Now().Add(time.Hour).Unix()
	expired := must(keys.DeviceUser(&d, nkey, time.Nanosecond))(t)
	eventually(t, "an expired one is not let in", func() bool { return try(credentials(expired, kp)) != nil })
	for name, o := range map[string]nats.Option{
		"none":               nats.Name("nobody"),
		"revoked":            credentials(revoked, lost),
		"another operator's": credentials(must(others.DeviceUser(&d, nkey, time.Hour))(t), kp),
		"another key":        credentials(good, stranger),
		"never enrolled":     credentials(must(keys.DeviceUser(&trust.Device{Store: "s9", Terminal: "t9"}, strangerKey, time.Hour))(t), stranger),
		"not yet valid":      credentials(signed(t, dir, claims), kp),
		"of a wrong account": wrongAccount(t, dir, keys, &d, kp, nkey),
		"damaged":            credentials(good[:len(good)-8]+"AAAAAAAA", kp),
		"token":              nats.Token("0123456789abcdef"),
	} {
		if try(o) == nil {
			t.Errorf("%s: was let in", name)
		}
	}
	if err := try(credentials(good, kp)); err != nil {
		t.Errorf("the good one is not let in any more: %v", err)
	}
}
