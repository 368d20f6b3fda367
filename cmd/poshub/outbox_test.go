package main

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/hub"
	"posd/sync/outbox"
)

// TestOutboxReplay: the stream of events is deleted; what it held comes back when somebody says so.
func TestOutboxReplay(t *testing.T) {
	o := newOffice(t, hub.Options{})
	k := newTill(t)
	k.sell(30)
	o.imports(0, "30 events took effect", k.dead())
	o.has(k.names)
	o.says(`this hub publishes; 0 events are due`, "outbox", "status")
	js, err := jetstream.New(o.nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), outbox.Stream); err != nil {
		t.Fatal(err)
	}
	o.says("replay ordered", "outbox", "replay", "--from", "start", "--why", "deleted by mistake")
	o.says("done .*; 30 events sent", "outbox", "status")
	o.has(k.names)
	o.says("deleted by mistake", "audit")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "say poshub outbox", []string{"outbox"}},
		{exitUsage, "--from is missing", []string{"outbox", "replay", "--why", "x"}},
		{exitUsage, "--why is missing", []string{"outbox", "replay", "--from", "start"}},
		{exitFailed, "give a time", []string{"outbox", "replay", "--from", "monday", "--why", "x"}},
	} {
		if code, _, errs := o.run(c.args...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: exit %d, %s", c.args, code, errs)
		}
	}
}
