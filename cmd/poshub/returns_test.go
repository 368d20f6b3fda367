package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"posd/journal"
	"posd/pos"
	"posd/pos/event"
	"posd/sync/hub"
)

func TestReturns(t *testing.T) {
	o := newOffice(t, hub.Options{Pulse: 50 * time.Millisecond})
	k := newTill(t)
	for receipt, lines := range map[string][]pos.Line{
		"t1-1-7": {{Item: "4011", Description: "Bananas", Unit: "pc", Tax: "S", Qty: 2000, Price: 250, Amount: 500}},
		"t1-1-8": {
			{Item: "4011", Description: "Bananas", Unit: "pc", Tax: "S", Qty: -3000, Price: 250, Amount: -750, Return: &pos.Return{Receipt: "t1-1-7", Reason: "brown"}},
			{Item: "4012", Description: "Pears\x1b[2J", Unit: "pc", Tax: "S", Qty: -1000, Price: 99, Amount: -99, Return: &pos.Return{Reason: "gift"}, Approved: "3"},
		},
	} {
		e := &event.SaleCompleted{Sale: receipt, Receipt: receipt, Store: "s1", Terminal: "t1", Operator: "7", Currency: pos.Currency{Code: "EUR", Exponent: 2}, Lines: lines}
		payload, err := e.AppendEvent(nil, event.Header{Time: time.Now(), Clock: event.ClockSynced})
		if err != nil {
			t.Fatal(err)
		}
		seq, err := k.j.Append(event.RecordType, journal.Durable, len(payload), text(payload))
		if err == nil {
			err = k.j.Wait(context.Background(), seq)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	o.imports(0, "2 events took effect", k.dead())
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if out := o.says("STORE", "returns", "list"); strings.Count(out, "\n") == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("never listed")
		}
	}
	o.says(`over +s1 +t1-1-7 +1 +t1 .* 4011 Bananas: 3 came back, 2 were sold +no\n`, "returns", "list")
	o.says(`over +s1`, "returns", "list", "--state", "over", "--store", "s1")
	o.says(` s1 +t1 +t1-1-8 +7 +3 +1 +4012 Pears\?\[2J +0\.99 EUR +gift\n`, "returns", "list", "--blind")
	o.says(`"reason":"gift"`, "returns", "list", "--blind", "--json")
	o.says("settled by ada", "returns", "settle", "s1", "t1-1-7", "--by", "ada", "--why", "the box had three")
	if out := o.says("STORE", "returns", "list"); strings.Count(out, "\n") != 1 {
		t.Errorf("%s", out)
	}
	o.says("by ada: the box had three", "returns", "list", "--all")
	o.says(`"settled":{"by":"ada"`, "returns", "list", "--all", "--json")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "say poshub returns", []string{"returns"}},
		{exitUsage, "say poshub returns", []string{"returns", "settle", "s1"}},
		{exitUsage, "--blind is a list of its own", []string{"returns", "list", "--blind", "--all"}},
		{exitUsage, "--why is missing", []string{"returns", "settle", "s1", "x"}},
		{exitFailed, "nothing has come back", []string{"returns", "settle", "s1", "x", "--why", "y"}},
		{exitFailed, "state is one of", []string{"returns", "list", "--state", "odd"}},
	} {
		if code, _, errs := o.run(c.args...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: exit %d, %s", c.args, code, errs)
		}
	}
}
