package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/pos/config"
	"posd/pos/operator"
	"posd/sync/wire"
)

func rateOf(t *testing.T, code int, sale []byte) string {
	t.Helper()
	var s struct {
		Sale struct{ Lines []struct{ Rate string } }
	}
	if err := json.Unmarshal(sale, &s); err != nil || code != 201 || len(s.Sale.Lines) != 1 {
		t.Fatalf("%d %s", code, sale)
	}
	return s.Sale.Lines[0].Rate
}

// Head office pushes taxes to a posd that sells: each sale has the old or the new rate,
// the answered push holds for the next sale and after SIGKILL, without a link; a forged
// one and a damaged file change what the documents say they do.
func TestPushedConfiguration(t *testing.T) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer func() { srv.Shutdown(); srv.WaitForShutdown() }()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("no server")
	}
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, _ := jetstream.New(nc)
	ctx := context.Background()
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: wire.Bucket,
		RePublish: &jetstream.RePublish{Source: wire.BucketPrefix + ">", Destination: wire.LivePrefix + ">"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "POS_UP_0", Subjects: []string{"pos.up.0.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	answers := make(chan wire.Answer, 64)
	if _, err := nc.Subscribe(wire.AnswerPrefix(0)+">", func(m *nats.Msg) {
		if a, err := wire.ParseAnswer(m.Data); err == nil {
			answers <- a
		}
	}); err != nil {
		t.Fatal(err)
	}
	office := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	push := func(serial uint64, key ed25519.PrivateKey, rate string) {
		t.Helper()
		o := wire.Order{Store: "S1", Terminal: "T1", Serial: serial, Kind: wire.KindConfig, Body: []byte("[tax]\nA = \"" + rate + "\"\n")}
		b, err := o.Sign(nil, key)
		if err == nil {
			_, err = kv.Put(ctx, wire.ConfigKey("S1", "T1"), b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	answered := func(serial uint64, state string) {
		t.Helper()
		end := time.After(30 * time.Second)
		for {
			select {
			case a := <-answers:
				if a.Serial == serial && a.State == state {
					return
				}
			case <-end:
				t.Fatalf("push %d was never %s", serial, state)
			}
		}
	}
	s := newSite(t)
	b, err := os.ReadFile(s.conf)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%s[hub]\nurls = [%q]\noffice_key = \"%x\"\n", b, srv.ClientURL(), office.Public())
	if err := os.WriteFile(s.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.start()
	rates := map[string]int{}
	n := 0
	sell := func() string {
		n++
		code, sale := r.sell(fmt.Sprint("k", n))
		rate := rateOf(t, code, sale)
		rates[rate]++
		return rate
	}
	if got := sell(); got != "19" {
		t.Fatalf("rate %s", got)
	}
	for i := range 10 {
		want := []string{"7", "9"}[i%2]
		push(uint64(i+1), office, want)
		for range 3 {
			sell()
		}
		answered(uint64(i+1), wire.StateApplied)
		if got := sell(); got != want {
			t.Errorf("push %d is answered, the next sale has rate %s", i+1, got)
		}
	}
	if rates["7"]+rates["9"]+rates["19"] != n {
		t.Errorf("rates nobody has pushed: %v", rates)
	}
	push(11, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32)), "0")
	answered(0, wire.StateRefused)
	if got := sell(); got != "9" {
		t.Errorf("a forged push: rate %s", got)
	}
	r.stop(syscall.SIGKILL)
	srv.Shutdown()
	srv.WaitForShutdown()
	r = s.start()
	if got := sell(); got != "9" {
		t.Errorf("after SIGKILL and without a link: rate %s", got)
	}
	r.stop(syscall.SIGTERM)
	// The control, and the alarm: with a damaged file posd.toml decides.
	at := s.dir + "/downlink.state"
	kept, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, kept[:len(kept)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	r = s.start()
	if got := sell(); got != "19" {
		t.Errorf("with a damaged file: rate %s", got)
	}
	r.stop(syscall.SIGTERM)
	if !strings.Contains(r.log.String(), "head office's configuration is lost") {
		t.Errorf("no alarm: %s", r.log)
	}
}

// A push after which nobody who signs in could sell is refused; where nobody signs in,
// roles mean nothing.
func TestPushedRolesLeaveSomebodyToSell(t *testing.T) {
	file, _, err := config.Load(newSite(t).conf, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ operators, push, says string }{
		{"", "[roles]\ncashier = []\nsupervisor = []\nmanager = []\n", ""},
		{"anna cashier, carla manager", "[roles]\ncashier = []\nsupervisor = []\nmanager = []\n", "no operator of this till could sell"},
		{"anna cashier, carla manager", "[roles]\ncashier = [\"training\"]\nmanager = [\"export\"]\n", "no operator of this till could sell"},
		{"anna cashier, carla manager", "[roles]\ncashier = []\n", ""},
		{"anna cashier", "[roles]\ncashier = []\n", "no operator of this till could sell"},
		{"anna cashier", "[roles]\nmanager = []\n", ""},
		{"anna cashier", "[receipt]\nfooter = [\"Thank you\"]\n", ""},
	} {
		var list []operator.Entry
		for _, who := range strings.Split(step.operators, ", ") {
			if name, role, ok := strings.Cut(who, " "); ok {
				list = operator.Set(list, operator.Entry{Name: name, Role: role}, time.Now())
			}
		}
		at := filepath.Join(file.Data.Dir, operator.File)
		if len(list) > 0 {
			if err := os.WriteFile(at, operator.Format(list), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := file.Overlay("push", []byte(step.push))
		if err != nil {
			t.Fatal(err)
		}
		if err := staffed(c); (err == nil) != (step.says == "") || err != nil && !strings.Contains(err.Error(), step.says) {
			t.Errorf("%s, %q: %v", step.operators, step.push, err)
		}
	}
}
