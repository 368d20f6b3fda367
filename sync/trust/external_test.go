package trust_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"posd/packaging/lab/freeport"
	"posd/sync/hub"
	"posd/sync/trust"
)

// TestServersOfYourOwn: a hub with the operator's keys lets terminals in on NATS servers
// that it does not run, over mutual TLS, shuts them out there at once, and tells servers
// that were set up anew of all of them.
func TestServersOfYourOwn(t *testing.T) {
	dir, a := t.TempDir(), newAuthority(t)
	keys := must(trust.Open(filepath.Join(dir, "keys")))(t)
	cert, key := a.issue(t, "server")
	mine, mineKey := a.issue(t, "poshub")
	serve := func() (url string) {
		addr := freeport.For(t)
		c := trust.Cluster{Auth: trust.AuthJWT, Servers: []trust.Server{{Name: "n1", Listen: addr}}, StoreDir: t.TempDir(), Keys: keys,
			TLS: trust.TLS{Cert: cert, Key: key, CA: a.ca()}}
		startNATS(t, must(c.Config(0))(t))
		return "tls://" + addr
	}
	open := func(url, ca, cert, key string) (h *hub.Hub, err error) {
		eventually(t, "the NATS server answers", func() bool {
			h, err = hub.Open(hub.Options{Dir: dir, Auth: hub.AuthJWT, NATSURL: url, NATSCA: ca, NATSCert: cert, NATSKey: key})
			return err == nil || !strings.Contains(err.Error(), "no servers available") && !strings.Contains(err.Error(), "refused")
		})
		return h, err
	}
	url := serve()
	h := must(open(url, a.ca(), mine, mineKey))(t)
	old, oldKey := newUser(t)
	kp, nkey := newUser(t)
	oldJWT := must(h.LetIn(t.Context(), "s1", "t1", 0, oldKey))(t)
	token := must(h.LetIn(t.Context(), "s1", "t1", 0, nkey))(t)
	way := []nats.Option{nats.RootCAs(a.ca()), nats.ClientCert(mine, mineKey), nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13})}
	as := func(url string, o nats.Option) (*nats.Conn, error) {
		return nats.Connect(url, append(way, o, nats.NoReconnect())...)
	}
	was := must(as(url, credentials(oldJWT, old)))(t)
	defer was.Close()
	stays := must(as(url, credentials(token, kp)))(t)
	defer stays.Close()
	if err := h.ShutOut(t.Context(), "s1", "t1", oldKey); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revoked connection ends", was.IsClosed)
	late := must(keys.DeviceUser(&trust.Device{Store: "s1", Terminal: "t1"}, oldKey, 0))(t) // as by a call that was slow
	for _, token := range []string{oldJWT, late} {
		if nc, err := as(url, credentials(token, old)); err == nil {
			nc.Close()
			t.Error("the revoked key is let in")
		}
	}
	if err := stays.FlushTimeout(giveUp); err != nil {
		t.Errorf("the other key: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}

	other := newAuthority(t)
	for what, files := range map[string][3]string{"another authority": {other.ca(), mine, mineKey}, "no certificate": {a.ca(), "", ""}} {
		if h, err := open(url, files[0], files[1], files[2]); err == nil {
			h.Close()
			t.Errorf("%s: the hub has connected", what)
		}
	}

	anew := serve()
	h = must(open(anew, a.ca(), mine, mineKey))(t)
	defer h.Close()
	if nc, err := as(anew, credentials(token, kp)); err == nil {
		nc.Close()
		t.Error("servers that were set up anew know the terminal")
	}
	api := strings.TrimSpace(string(must(os.ReadFile(filepath.Join(dir, "api.token")))(t)))
	q := httptest.NewRequest(http.MethodPost, "/v1/keys/push", nil)
	q.Header.Set("Authorization", "Bearer "+api)
	w := httptest.NewRecorder()
	if h.Handler().ServeHTTP(w, q); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"accounts":1}` {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	nc, err := as(anew, credentials(token, kp))
	if err != nil {
		t.Fatalf("after keys push: %v", err)
	}
	nc.Close()
	if nc, err := as(anew, credentials(oldJWT, old)); err == nil {
		nc.Close()
		t.Error("the revoked key is good again")
	}
}
