package trust_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"posd/packaging/lab/freeport"
	"posd/sync/trust"
)

func bytesContain(b []byte, s string) bool { return bytes.Contains(b, []byte(s)) }

// TestKeysLast: the keys are made once, are nobody else's, and give the same accounts
// after a restart.
func TestKeysLast(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if trust.Exist(dir) {
		t.Error("keys before there are any")
	}
	k := must(trust.Open(dir))(t)
	again := must(trust.Open(dir))(t)
	if !trust.Exist(dir) || k.OperatorKey() != again.OperatorKey() {
		t.Error("the operator changed")
	}
	for _, n := range [][2]string{{"s1", "t1"}, {"s1", "t2"}, {"s2", "t1"}} {
		if a, b := must(k.DeviceKey(n[0], n[1]))(t), must(again.DeviceKey(n[0], n[1]))(t); a != b {
			t.Errorf("%v: account %s, then %s", n, a, b)
		}
	}
	if must(k.DeviceKey("s1", "t1"))(t) == must(k.DeviceKey("s1", "t2"))(t) {
		t.Error("two terminals share an account")
	}
	if st := must(os.Stat(dir))(t); st.Mode().Perm() != 0o700 {
		t.Errorf("folder has mode %v", st.Mode())
	}
	files := must(os.ReadDir(dir))(t)
	if len(files) != 4 {
		t.Errorf("%d files", len(files))
	}
	for _, f := range files {
		if st := must(f.Info())(t); st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), st.Mode())
		}
	}
}

// TestKeysLost: a lost or damaged seed is said, not replaced; a cut while they are made
// costs nothing.
func TestKeysLost(t *testing.T) {
	for _, name := range []string{"operator.nk", "hub.nk", "system.nk", "devices.nk"} {
		dir := t.TempDir()
		k := must(trust.Open(dir))(t)
		path := filepath.Join(dir, name)
		whole := must(os.ReadFile(path))(t)
		for _, damage := range [][]byte{nil, {}, whole[:20], bytes.Repeat([]byte("A"), 5000), []byte("SUAJ\n")} {
			var err error
			if damage == nil && name == "operator.nk" {
				continue // nothing tells it from a first start that was cut
			} else if damage == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, damage, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := trust.Open(dir); !errors.Is(err, trust.ErrKeys) {
				t.Errorf("%s as %q: %v", name, damage, err)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := must(trust.Open(dir))(t); got.OperatorKey() != k.OperatorKey() {
			t.Errorf("%s: put back, and another operator", name)
		}
	}
	dir := t.TempDir()
	k := must(trust.Open(dir))(t)
	hub := must(k.Hub())(t)
	os.Remove(filepath.Join(dir, "operator.nk")) // as if the first start had been cut before its end
	if again := must(must(trust.Open(dir))(t).Hub())(t); again.Key != hub.Key {
		t.Error("the start after a cut made all seeds anew")
	}
}

func TestNoDevice(t *testing.T) {
	k := must(trust.Open(t.TempDir()))(t)
	_, nkey := newUser(t)
	account := must(k.DeviceKey("s1", "t1"))(t)
	for _, d := range []trust.Device{{}, {Store: "all", Terminal: "hub"}, {Store: "*", Terminal: "t1"}, {Store: "s1", Terminal: "t1", Shard: -1}} {
		if _, err := k.Device(&d); !errors.Is(err, trust.ErrDevice) {
			t.Errorf("account of %+v: %v", d, err)
		}
		if _, err := k.DeviceUser(&d, nkey, 0); !errors.Is(err, trust.ErrDevice) {
			t.Errorf("user of %+v: %v", d, err)
		}
	}
	for _, bad := range []string{"", "UX", account, nkey + "A"} {
		if _, err := k.DeviceUser(&trust.Device{Store: "s1", Terminal: "t1"}, bad, 0); !errors.Is(err, trust.ErrDevice) {
			t.Errorf("key %q: %v", bad, err)
		}
	}
}

// signed signs claims with the key that signs for devices.
func signed(t testing.TB, dir string, c *jwt.UserClaims) string {
	seed := bytes.TrimSpace(must(os.ReadFile(filepath.Join(dir, "devices.nk")))(t))
	return must(c.Encode(must(nkeys.FromSeed(seed))(t)))(t)
}

// wrongAccount is signed as a device's, and says that it is of the hub's account.
func wrongAccount(t testing.TB, dir string, k *trust.Keys, d *trust.Device, kp nkeys.KeyPair, nkey string) nats.Option {
	c := must(jwt.DecodeUserClaims(must(k.DeviceUser(d, nkey, time.Hour))(t)))(t)
	c.IssuerAccount = must(k.Hub())(t).Key
	return credentials(signed(t, dir, c), kp)
}

// clusterSite is three servers as the generator writes them.
func clusterSite(t testing.TB) site {
	keys := must(trust.Open(filepath.Join(t.TempDir(), "keys")))(t)
	c := trust.Cluster{Auth: trust.AuthJWT, Name: "pos", StoreDir: t.TempDir(), Keys: keys, Terminals: terminals}
	for _, name := range []string{"n1", "n2", "n3"} {
		route := freeport.For(t)
		c.Servers = append(c.Servers, trust.Server{Name: name, Listen: freeport.For(t), ClusterListen: route, Advertise: route})
	}
	for i := range c.Servers {
		startNATS(t, must(c.Config(i))(t))
	}
	return jwtSite(t, keys, "nats://"+c.Servers[0].Listen+",nats://"+c.Servers[1].Listen+",nats://"+c.Servers[2].Listen)
}
