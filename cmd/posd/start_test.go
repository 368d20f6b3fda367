package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"posd/journal"
	"posd/pos/config"
	"posd/pos/event"
	"posd/pos/register"
	"posd/sync/downlink"
	"posd/sync/wire"
)

// onLine calls do with each line of a log.
type onLine func(line string)

func (do onLine) Write(b []byte) (int, error) { do(string(b)); return len(b), nil }

// TestPushOutlastsABusyAddress: the first opening meets an address in use, the second one,
// without head office's values, does not. That is no reason to give them up.
func TestPushOutlastsABusyAddress(t *testing.T) {
	s := newSite(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s.configure(ln.Addr().String(), "T1")
	office := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	text, err := os.ReadFile(s.conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.conf, fmt.Appendf(text, "[hub]\noffice_key = \"%x\"\n", office.Public()), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Load(s.conf, false)
	if err != nil {
		t.Fatal(err)
	}
	o := wire.Order{Store: "S1", Terminal: "T1", Serial: 5, Kind: wire.KindConfig, Body: []byte("[tax]\nA = \"7\"\n")}
	order, err := o.Sign(nil, office)
	if err != nil {
		t.Fatal(err)
	}
	digest := wire.Digest(order)
	state := append(fmt.Appendf(nil, `{"v":1,"serial":5,"digest":"%x","state":%q,"told":true,"tries":0}`+"\n", digest, wire.StateApplied), order...)
	if err := os.WriteFile(downlink.StatePath(c), append(fmt.Appendf(nil, "%x\n", sha256.Sum256(state)), state...), 0o600); err != nil {
		t.Fatal(err)
	}

	opened := 0
	term, err := openTerminal(c, newLogger(onLine(func(line string) {
		if strings.Contains(line, "msg=limits") {
			if opened++; opened == 2 {
				ln.Close()
			}
		}
	}), config.Log{Format: "text"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := term.begin(); err != nil {
		t.Fatal(err)
	}
	st, rate := term.downlink.Status(), string(term.downlink.Config().Taxes[0].Rate.Append(nil))
	if err := term.stop("test"); err != nil {
		t.Fatal(err)
	}
	if opened != 2 {
		t.Fatalf("opened %d times", opened)
	}
	if !st.Applied || st.Serial != 5 || rate != "7" {
		t.Errorf("in force: rate %s, %+v", rate, st)
	}
	over, err := downlink.Kept(c)
	if err != nil || string(over.Taxes[0].Rate.Append(nil)) != "7" {
		t.Errorf("what is kept for the next start: %v", err)
	}
}

// TestLostWaitsForItsTurn: lost records are journaled, however many sales wait before.
func TestLostWaitsForItsTurn(t *testing.T) {
	s := newSite(t)
	c, _, err := config.Load(s.conf, false)
	if err != nil {
		t.Fatal(err)
	}
	term, err := openTerminal(c, newLogger(onLine(func(string) {}), config.Log{Format: "text"}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	noted := make(chan error)
	sent := 0
	for full := false; !full; sent++ { // nobody takes them from the queue yet
		go func() {
			noted <- term.register.Note(ctx, &event.ConfigRefused{Serial: 1, Config: c.Hash(), Reason: "test"}, nil)
		}()
		select {
		case err := <-noted:
			if full = errors.Is(err, register.ErrBusy); !full {
				t.Fatal(err)
			}
			sent--
		case <-time.After(time.Millisecond):
		}
	}
	lost := make(chan error, 1)
	go func() {
		lost <- term.lost(ctx, &journal.MissingError{First: 1, Last: 1, Damage: &journal.CorruptError{File: "0000000001.seg", Err: errors.New("test")}})
	}()
	select {
	case err := <-lost:
		t.Errorf("with a full queue: %v", err)
		lost <- nil
	case <-time.After(3 * busy):
	}
	term.goDo("index", term.view.Run)
	term.goDo("register", term.register.Run)
	for range sent {
		if err := <-noted; err != nil {
			t.Error(err)
		}
	}
	if err := <-lost; err != nil {
		t.Errorf("lost records are not journaled: %v", err)
	}
	if err := term.stop("test"); err != nil {
		t.Fatal(err)
	}
}
