package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"posd/packaging/lab/freeport"
	"posd/packaging/lab/slicebench/load"
)

// CatalogueCSV has the items of fiveLines and as many beside them as a small shop has.
func CatalogueCSV() string {
	var b strings.Builder
	b.WriteString("code,description,department,unit,price,tax\n" +
		"4011,Banana,Fruit,kg,1.99,B\n100,Milk,Dairy,pc,1.29,B\n200,Gift card,Service,pc,,A\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "%d,Article %d,Department %d,pc,%d.%02d,%s\n", 10000+i, i, i%20, 1+i%50, i%100, []string{"A", "B"}[i%2])
	}
	return b.String()
}

// Terminal is the data of one till, made on this machine: it names no board, so that
// a guest, which has no number either, takes it for its own.
type Terminal struct {
	ID     string
	Dir    string // data folder
	Token  string // of a front end
	Posctl string // posctl's own token, for the unix socket
	Events uint64 // in its journal
}

// Place is where posd runs and whom it reaches.
type Place struct {
	Data, Listen, Socket string
	Hub                  string // address, "" = none
	HubToken             string // file
	Rate                 int
	Segment              string // size, "" = the default
	Extra                string // more lines of [limits] and so on
}

func (p Place) Config(id string) string {
	hub := ""
	if p.Hub != "" {
		hub = fmt.Sprintf("\n[hub]\nurls = [\"nats://%s\"]\ntoken_file = %q\n", p.Hub, p.HubToken)
	}
	segment := ""
	if p.Segment != "" {
		segment = fmt.Sprintf("segment = %q\n", p.Segment)
	}
	return fmt.Sprintf(`[terminal]
store = "s1"
id = %q
currency = "EUR"
time_zone = "UTC"

[tax]
A = "19"
B = "7"

[http]
listen = %q
allow_remote = true
socket = %q
rate = %d

[data]
dir = %q
%s%s%s`, id, p.Listen, p.Socket, p.Rate, p.Data, segment, hub, p.Extra)
}

// NoLimits is for posd without a slice.
const NoLimits = "\n[limits]\nexpect_cpu = \"0%\"\nexpect_memory = \"0B\"\n"

// Programs are those of this machine, in bin.
type Programs struct{ Posd, Posctl, Poshub string }

// MakeTerminal makes the data folder of a till whose journal holds at least events
// records, all of them sales of five lines, or takes the one that an earlier run made.
func MakeTerminal(ctx context.Context, bin Programs, dir, id, segment string, events uint64) (*Terminal, error) {
	t := &Terminal{ID: id, Dir: filepath.Join(dir, "data")}
	note := filepath.Join(dir, "made.json")
	if b, err := os.ReadFile(note); err == nil {
		var made struct {
			Token, Posctl string
			Events        uint64
		}
		if json.Unmarshal(b, &made) == nil && made.Events >= events && made.Events < events+events/10+100 {
			t.Token, t.Posctl, t.Events = made.Token, made.Posctl, made.Events
			return t, nil
		}
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(t.Dir, 0o750)); err != nil {
		return nil, err
	}
	port, err := freeport.Number()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "posd.toml")
	text := Place{Data: t.Dir, Listen: fmt.Sprintf("127.0.0.1:%d", port), Rate: 100_000, Segment: segment, Extra: NoLimits}.Config(id)
	csv := filepath.Join(dir, "items.csv")
	if err := errors.Join(os.WriteFile(conf, []byte(text), 0o600), os.WriteFile(csv, []byte(CatalogueCSV()), 0o600)); err != nil {
		return nil, err
	}
	if _, err := Output(ctx, bin.Posctl, "init", "--config", conf); err != nil {
		return nil, err
	}
	token, err := Output(ctx, bin.Posctl, "token", "add", "till-1", "--config", conf)
	if err != nil {
		return nil, err
	}
	t.Token = strings.TrimSpace(string(token))
	if _, err := Output(ctx, bin.Posctl, "catalogue", "import", csv, "--config", conf); err != nil {
		return nil, err
	}
	if own, err := os.ReadFile(filepath.Join(t.Dir, "posctl.token")); err == nil {
		t.Posctl = strings.TrimSpace(string(own))
	}
	if events > 0 {
		if err := t.sellMany(ctx, bin, dir, conf, fmt.Sprintf("http://127.0.0.1:%d", port), events); err != nil {
			return nil, err
		}
	}
	b, err := json.Marshal(map[string]any{"token": t.Token, "posctl": t.Posctl, "events": t.Events})
	if err != nil {
		return nil, err
	}
	return t, os.WriteFile(note, b, 0o600)
}

// sellMany fills the journal through posd itself, as fast as this machine can.
func (t *Terminal) sellMany(ctx context.Context, bin Programs, dir, conf, url string, events uint64) error {
	posd, err := Begin("posd", filepath.Join(dir, "posd.log"), nil, bin.Posd, "--config", conf)
	if err != nil {
		return err
	}
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer c.CloseIdleConnections()
	err = posd.Wait(ctx, "readiness", func() error { _, err := Get(ctx, c, url+"/readyz", ""); return err })
	if err != nil {
		return errors.Join(err, posd.Kill())
	}
	// One after the other, as a till sells: each sale has a group of its own in the journal.
	for n := 0; t.Events < events && err == nil; n++ {
		var a load.Ack
		if a, err = load.Checkout(ctx, c, url, t.Token, "made-"+strconv.Itoa(n)); err == nil {
			t.Events = a.Seq
		}
	}
	return errors.Join(err, posd.Stop())
}
