package main

import (
	"context"
	"strings"
	"testing"

	"posd/journal"
	"posd/pos/event"
	"posd/sync/hub"
)

func TestCollisions(t *testing.T) {
	o := newOffice(t, hub.Options{})
	k := newTill(t)
	for _, total := range []string{"1", "2"} {
		payload := `{"v":1,"type":"sale.completed","time":"2026-11-21T09:30:00.123Z","data":{"receipt":"t1-1-7","total":` + total + `}}`
		seq, err := k.j.Append(event.RecordType, journal.Durable, len(payload), text(payload))
		if err == nil {
			err = k.j.Wait(context.Background(), seq)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	o.imports(0, "2 events took effect", k.dead())
	o.says(`(?s)(s1 +t1 +t1-1-7.*no\n){2}`, "collisions", "list")
	o.says("settled by ada", "collisions", "settle", "s1", "t1", "t1-1-7", "--by", "ada", "--why", "restored disk")
	if out := o.says("STORE", "collisions", "list"); strings.Count(out, "\n") != 1 {
		t.Errorf("%s", out)
	}
	o.says("by ada: restored disk", "collisions", "list", "--all")
	o.says(`"settled":{"by":"ada"`, "collisions", "list", "--all", "--json")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "say poshub collisions", []string{"collisions"}},
		{exitUsage, "say poshub collisions", []string{"collisions", "settle", "s1"}},
		{exitUsage, "--why is missing", []string{"collisions", "settle", "s1", "t1", "x"}},
		{exitFailed, "no two sales", []string{"collisions", "settle", "s1", "t1", "x", "--why", "y"}},
	} {
		if code, _, errs := o.run(c.args...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: exit %d, %s", c.args, code, errs)
		}
	}
}
