package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"posd/sync/hub"
	"posd/sync/wire"
)

// fleet is what head office says of the terminal.
func (o *headOffice) fleet() (f hub.FleetTerminal) {
	o.t.Helper()
	s, err := o.ask("fleet", "--json")
	if err == nil && s != "" {
		err = json.Unmarshal([]byte(s), &f)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return f
}

func (o *headOffice) events() string {
	o.t.Helper()
	key, err := os.ReadFile(filepath.Join(o.dir, "api.token"))
	if err != nil {
		o.t.Fatal(err)
	}
	req, _ := http.NewRequest("GET", o.url()+"/v1/events", nil)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return string(b)
}

// TestFleetSeesPosd: the real posd and the real poshub, with an account of its own. A page
// of sales that head office lacks rots: they are declared in the journal and to head
// office, everything else arrives, and head office says what is the matter. Then posd is
// killed, and head office knows long before it misses a heartbeat.
func TestFleetSeesPosd(t *testing.T) {
	if testing.Short() {
		t.Skip("rot is looked at for a minute before anything is declared lost")
	}
	o := openOffice(t)
	s := newSite(t)
	s.enrolls(o.url(), "none") // nobody is there
	r := s.start()
	const sales = 12
	for i := range sales {
		if code, body := r.sell(fmt.Sprint("before-", i)); code != http.StatusCreated {
			t.Fatalf("%d %s", code, body)
		}
	}
	rotLastPage(t, filepath.Join(s.dir, "journal", "0000000001.seg"))
	for i := range sales {
		if code, body := r.sell(fmt.Sprint("after-", i)); code != http.StatusCreated {
			t.Fatalf("%d %s", code, body)
		}
	}
	o.start()
	s.giveToken(o.token("S1", "T1"))
	waits := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(4 * time.Minute); !ok(); time.Sleep(200 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never happened: %s\n%+v\n%s", what, r.uplink(), r.log)
			}
		}
	}
	waits("it is tried again", func() bool { return r.uplink().Rot != "" })
	waits("everything else is settled", r.settled)
	if u := r.uplink(); u.Lost == 0 || u.Rot != "" {
		t.Errorf("%+v", u)
	}
	waits("head office says what is the matter", func() bool {
		codes := ""
		for _, x := range o.fleet().Reasons {
			codes += x.Code + " "
		}
		return strings.Contains(codes, "hole") && strings.Contains(codes, wire.AlarmLost) && strings.Contains(codes, wire.AlarmRot)
	})
	all := o.events()
	if n := strings.Count(all, `"type":"sale.completed"`); n != 2*sales-1 {
		t.Errorf("%d of %d sales arrived, all but one should", n, 2*sales)
	}
	if n := strings.Count(all, `"type":"records.lost"`); n != 1 {
		t.Errorf("%d declarations arrived", n)
	}
	if f := o.fleet(); !f.Online || f.Ledger.Lost == 0 {
		t.Errorf("%+v", f)
	}
	killed := time.Now()
	r.cmd.Process.Signal(syscall.SIGKILL)
	waits("head office misses it", func() bool { return !o.fleet().Online })
	t.Logf("offline after %.0f s", time.Since(killed).Seconds())
	if f := o.fleet(); f.Online {
		t.Errorf("%+v", f)
	}
}

// rotLastPage changes the last page of a segment that holds anything.
func rotLastPage(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for off := 4096; off < len(b); off += 4096 {
		if b[off] != 0 {
			last = off
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{b[last+300] ^ 0x55}, int64(last)+300); err != nil {
		t.Fatal(err)
	}
}
