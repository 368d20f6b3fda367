package hub

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/outbox"
)

// natsFor starts a server with a monitoring port.
func natsFor(t *testing.T, change func(*server.Options)) (*nats.Conn, jetstream.JetStream, string) {
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, MaxPayload: maxPayload, NoSigs: true, ServerName: "n1"}
	change(o)
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js, fmt.Sprintf("http://%s", s.MonitorAddr())
}

// worst is the worst grade, and what was found of it.
func worst(found []Finding) (g Grade, what string) {
	g = Fine
	for _, f := range found {
		if f.Grade == Unsafe && g != Unsafe || f.Grade == Unknown && g == Fine {
			g = f.Grade
		}
	}
	for _, f := range found {
		if f.Grade == g {
			what += f.Of + " " + f.What + "\n"
		}
	}
	return g, what
}

func TestStreams(t *testing.T) {
	ctx := context.Background()
	set := StreamSet{Shards: []int{0, 1}, Replicas: 1, MaxAge: 400 * 24 * time.Hour, MaxBytes: -1}
	for name, tt := range map[string]struct {
		server func(*server.Options)
		change func(c *jetstream.StreamConfig) // POS_UP_1, before init
		after  func(js jetstream.JetStream) error
		blind  bool
		grade  Grade
		say    string
	}{
		"safe":           {grade: Fine},
		"no monitor":     {blind: true, grade: Unknown, say: "sync_interval cannot be read here"},
		"default sync":   {server: func(o *server.Options) { o.SyncAlways = false }, grade: Unsafe, say: "server n1 syncs every 2m0s"},
		"small payload":  {server: func(o *server.Options) { o.MaxPayload = 1 << 20 }, grade: Unsafe, say: "max_payload is 1048576"},
		"memory":         {change: func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, grade: Unsafe, say: "POS_UP_1 storage is memory"},
		"short age":      {change: func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, grade: Unsafe, say: "POS_UP_1 keeps messages for 1h0m0s only"},
		"discards old":   {change: func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, grade: Unsafe, say: "POS_UP_1 discards old"},
		"per subject":    {change: func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, grade: Unsafe, say: "POS_UP_1 max_msgs_per_subject is 5"},
		"may be deleted": {change: func(c *jetstream.StreamConfig) { c.DenyDelete = false }, grade: Unsafe, say: "POS_UP_1 messages may be deleted"},
		"no direct get":  {change: func(c *jetstream.StreamConfig) { c.AllowDirect = false }, grade: Unsafe, say: "POS_UP_1 direct get is off"},
		"interest":       {change: func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, grade: Unsafe, say: "POS_UP_1 retention is"},
		"other subjects": {change: func(c *jetstream.StreamConfig) { c.Subjects = []string{"pos.up.1.s1.>"} }, grade: Unsafe, say: "POS_UP_1 takes pos.up.1.s1.>"},
		"gone":           {after: func(js jetstream.JetStream) error { return js.DeleteStream(ctx, outbox.Stream) }, grade: Unsafe, say: "POS_EVENTS is not there"},
		"a mute bucket": {after: func(js jetstream.JetStream) error {
			err := js.DeleteKeyValue(ctx, "pos_cfg")
			if err == nil {
				_, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "pos_cfg"})
			}
			return err
		}, grade: Unsafe, say: "KV_pos_cfg does not republish"},
		"a bucket that forgets": {after: func(js jetstream.JetStream) error {
			_, err := js.UpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "pos_cat", TTL: time.Hour})
			return err
		}, grade: Unsafe, say: "KV_pos_cat keys end after 1h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.server == nil {
				tt.server = func(*server.Options) {}
			}
			nc, js, monitor := natsFor(t, tt.server)
			if err := set.Init(ctx, js); err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				c := set.up(1)
				tt.change(&c)
				if err := js.DeleteStream(ctx, c.Name); err != nil {
					t.Fatal(err)
				}
				if _, err := js.CreateStream(ctx, c); err != nil {
					t.Fatal(err)
				}
			}
			if tt.after != nil {
				if err := tt.after(js); err != nil {
					t.Fatal(err)
				}
			}
			monitors := []string{monitor}
			if tt.blind {
				monitors = nil
			}
			found, err := set.Check(ctx, nc, js, monitors)
			if g, what := worst(found); err != nil || g != tt.grade || !strings.Contains(what, tt.say) {
				t.Errorf("%s, %v: %s", g, err, what)
			}
			if tt.change == nil && tt.after == nil {
				if err := set.Init(ctx, js); err != nil { // again changes nothing
					t.Error(err)
				}
			}
		})
	}
}
