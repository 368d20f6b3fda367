package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// errCut is a power cut: from then on nothing is done any more.
var errCut = errors.New("power cut")

// board is a terminal in a folder, with the programs that setup runs.
type board struct {
	t         *testing.T
	d         *device
	out       bytes.Buffer
	cutAfter  int // steps, -1: never
	steps     int
	ran       []string
	unsettled bool
	badConfig bool
}

func newBoard(t *testing.T) *board {
	b := &board{t: t, cutAfter: -1}
	root := t.TempDir()
	b.d = &device{root: root, out: &b.out, run: b.run, sync: func() {}, mount: b.mount}
	for name, text := range map[string]string{
		"run/posd-image/esp": "/dev/vda1\n", "run/posd-image/slot": "a\n",
		"etc/shadow": "root:*:20000:0:99999:7:::\nposd:!:20000::::::\n", "esp/posd/posd.toml.example": "",
		"esp/loader/entries/posd-a+2-1.conf": "", "esp/loader/entries/posd-b.conf": "", "data/keep": "", "var/lib/x": "",
	} {
		b.write(name, text)
	}
	return b
}

func (b *board) write(name, text string) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(b.d.path(name)), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(b.d.path(name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *board) has(name string) bool {
	_, err := os.Stat(b.d.path(name))
	return err == nil
}

func (b *board) step() error {
	if b.cutAfter >= 0 && b.steps >= b.cutAfter {
		return errCut
	}
	b.steps++
	return nil
}

func (b *board) mount(string, bool) (string, func() error, error) {
	return b.d.path("esp"), func() error { return nil }, b.step()
}

func (b *board) run(_ context.Context, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{filepath.Base(name)}, args...), " ")
	b.ran = append(b.ran, line)
	if err := b.step(); err != nil {
		return "", err
	}
	switch {
	case strings.HasPrefix(line, "install -d"):
		return "", os.MkdirAll(b.d.path(dataDir), 0o750)
	case strings.HasPrefix(line, "posd --check"):
		if b.badConfig {
			return args[2] + ":3: unknown key", &exitError{"posd --check", 78, ""}
		}
	case strings.HasPrefix(line, "posctl init"):
		return "public 1234\n", os.MkdirAll(b.d.path(dataDir+"/journal"), 0o755)
	case line == "posctl unsettled" || line == "posctl reset -yes":
		if b.unsettled {
			return "3 unsettled\n", &exitError{line, exitUnsettled, ""}
		}
		if line == "posctl reset -yes" {
			return "", os.RemoveAll(b.d.path(dataDir + "/journal"))
		}
	}
	return "", nil
}

// boot is one start, with or without a cut; the memory of the start before is gone.
func (b *board) boot(cutAfter int) error {
	b.cutAfter, b.steps = cutAfter, 0
	_ = os.Remove(b.d.path(readyRun))
	return b.d.firstBoot(b.t.Context())
}

func (b *board) give() {
	b.write("esp/posd/posd.toml", "\ufeff[terminal]\n")
	b.write("esp/posd/hub.token", "secret\n")
	b.write("esp/posd/items.csv", "code\n")
	b.write("esp/posd/root.password", "$6$salt$hash\n")
}

func (b *board) checkSetUp(what string) {
	b.t.Helper()
	for _, name := range []string{etcToml, dataDir + "/journal", "etc/credstore/posd.hub.token", doneFile, readyRun,
		"esp/posd/posd.toml.installed", "esp/posd/items.csv.installed"} {
		if !b.has(name) {
			b.t.Errorf("%s: %s is missing; console:\n%s", what, name, b.out.String())
		}
	}
	for _, name := range []string{"esp/posd/hub.token", "esp/posd/root.password", "esp/posd/posd.toml"} {
		if b.has(name) {
			b.t.Errorf("%s: %s is still there", what, name)
		}
	}
	if text, _ := os.ReadFile(b.d.path(etcToml)); string(text) != "[terminal]\n" {
		b.t.Errorf("%s: posd.toml is %q", what, text)
	}
	if st, err := os.Stat(b.d.path("etc/credstore/posd.hub.token")); err != nil || st.Mode().Perm() != 0o600 {
		b.t.Errorf("%s: the secret's mode: %v", what, err)
	}
	if text, _ := os.ReadFile(b.d.path("etc/shadow")); !strings.HasPrefix(string(text), "root:$6$salt$hash:20000:") {
		b.t.Errorf("%s: shadow is %q", what, text)
	}
}

func TestFirstBoot(t *testing.T) {
	b := newBoard(t)
	if err := b.boot(-1); err != nil || b.has(readyRun) || !strings.Contains(b.out.String(), "posd.toml.example") {
		t.Fatal("without a configuration:", err, b.out.String())
	}
	b.give()
	if err := b.boot(-1); err != nil {
		t.Fatal(err)
	}
	b.checkSetUp("first boot")
	if !b.has("esp/posd/terminal.txt") {
		t.Error("nothing for the asset list")
	}
	b.ran = nil
	if err := b.boot(-1); err != nil || !b.has(readyRun) || len(b.ran) != 0 {
		t.Error("the next start:", err, b.ran)
	}
}

// TestFirstBootCuts: a cut after any step; the next starts come to the same end, with
// one journal.
func TestFirstBootCuts(t *testing.T) {
	for cut := range 40 {
		b := newBoard(t)
		b.give()
		err := b.boot(cut)
		if b.steps < cut { // it was over before
			if err != nil || cut < 6 {
				t.Fatal(cut, err)
			}
			return
		}
		if err := b.boot(-1); err != nil {
			t.Fatal(cut, err)
		}
		b.checkSetUp("after a cut")
		inits := 0
		for _, r := range b.ran {
			if strings.HasPrefix(r, "posctl init") {
				inits++
			}
		}
		if made := b.has(dataDir + "/journal"); !made || inits > 2 {
			t.Errorf("cut %d: %d journals made", cut, inits)
		}
	}
	t.Error("the cuts have no end")
}

// TestLostJournal: a terminal that was set up never gets an empty journal in silence.
func TestLostJournal(t *testing.T) {
	b := newBoard(t)
	b.give()
	if err := b.boot(-1); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(b.d.path(dataDir + "/journal")); err != nil {
		t.Fatal(err)
	}
	b.give()
	b.ran = nil
	if err := b.boot(-1); err != nil || b.has(readyRun) || len(b.ran) != 0 || !strings.Contains(b.out.String(), "its journal is gone") {
		t.Error(err, b.ran, b.out.String())
	}
}

func TestBadFiles(t *testing.T) {
	b := newBoard(t)
	b.give()
	b.badConfig = true
	if err := b.boot(-1); err != nil || b.has(readyRun) || b.has(etcToml) || !strings.Contains(b.out.String(), "posd.toml:3: unknown key") {
		t.Error(err, b.out.String())
	}
	b.badConfig = false
	b.write("esp/posd/listen.conf", "[Socket]\r\nListenStream=0.0.0.0:8080\r\n")
	if err := b.boot(-1); err != nil || b.has(readyRun) || !strings.Contains(b.out.String(), "127.0.0.1:8080 is still opened") {
		t.Error(err, b.out.String())
	}
	b.write("esp/posd/listen.conf", "[Socket]\r\nListenStream=\r\nListenStream=0.0.0.0:8080\r\n")
	if err := b.boot(-1); err != nil || !b.has("etc/systemd/system/posd.socket.d/listen.conf") {
		t.Error(err, b.out.String())
	}
	b.checkSetUp("corrected")
	// Later, a wrong one leaves the old in use.
	b.badConfig = true
	b.write("esp/posd/posd.toml", "wrong")
	if err := b.boot(-1); err != nil || !b.has(readyRun) || !strings.Contains(b.out.String(), "as it was set up before") {
		t.Error(err, b.out.String())
	}
	if text, _ := os.ReadFile(b.d.path(etcToml)); string(text) != "[terminal]\n" {
		t.Errorf("%q", text)
	}
}

func TestFactoryReset(t *testing.T) {
	b := newBoard(t)
	b.give()
	if err := b.boot(-1); err != nil {
		t.Fatal(err)
	}
	b.unsettled = true
	var code *exitError
	if err := b.d.factoryReset(t.Context()); !errors.As(err, &code) || code.code != exitUnsettled || b.has(resetNote) || !b.has(doneFile) {
		t.Fatal("with unsettled sales:", err)
	}
	if last := b.ran[len(b.ran)-1]; last != "systemctl start posd.socket posd.service" {
		t.Error("posd does not go on:", last)
	}
	b.unsettled = false
	if err := b.d.factoryReset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if note, _ := os.ReadFile(b.d.path(resetNote)); string(note) != "clear\n" || b.has(doneFile) || b.has(dataDir+"/journal") {
		t.Errorf("%q %v", note, b.ran)
	}
	// Init clears /etc and the note; with no files the terminal waits.
	if err := errors.Join(os.Remove(b.d.path(resetNote)), os.RemoveAll(b.d.path("etc/posd"))); err != nil {
		t.Fatal(err)
	}
	b.out.Reset()
	if err := b.boot(-1); err != nil || !strings.Contains(b.out.String(), "not set up") {
		t.Error(err, b.out.String())
	}
}

// TestFactoryResetCuts: cut anywhere, the terminal is either as before or goes on to the end.
func TestFactoryResetCuts(t *testing.T) {
	for cut := range 20 {
		b := newBoard(t)
		b.give()
		if err := b.boot(-1); err != nil {
			t.Fatal(err)
		}
		b.cutAfter, b.steps = cut, 0
		err := b.d.factoryReset(t.Context())
		if err == nil {
			if cut < 4 {
				t.Fatal(cut, "no step was cut")
			}
			return
		}
		begun := b.has(resetNote)
		if err := b.boot(-1); err != nil {
			t.Fatal(cut, err)
		}
		switch note, _ := os.ReadFile(b.d.path(resetNote)); {
		case !begun && (!b.has(readyRun) || !b.has(dataDir+"/journal")):
			t.Error(cut, "it was not begun, and the terminal does not sell")
		case begun && string(note) != "clear\n":
			t.Errorf("%d: begun, and left at %q", cut, note)
		}
	}
	t.Error("the cuts have no end")
}

func TestBless(t *testing.T) {
	b := newBoard(t)
	if err := b.d.bless(t.Context()); err != nil || !b.has("esp/loader/entries/posd-a.conf") || b.has("esp/loader/entries/posd-a+2-1.conf") {
		t.Error(err)
	}
	b.ran = nil
	if err := b.d.bless(t.Context()); err != nil || len(b.ran) != 0 {
		t.Error("again:", err, b.ran)
	}
}

func TestResolv(t *testing.T) {
	b := newBoard(t)
	b.write("run/systemd/netif/state", "OPER_STATE=routable\nDNS=10.0.2.3 fe80::1\nDOMAINS=shop.example\n")
	if err := b.d.resolv(); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(b.d.path("run/posd-image/resolv.conf")); string(text) != "nameserver 10.0.2.3\nnameserver fe80::1\nsearch shop.example\n" {
		t.Errorf("%q", text)
	}
}

func TestUsage(t *testing.T) {
	b := newBoard(t)
	for _, args := range [][]string{{}, {"factory-reset"}, {"factory-reset", "-yes", "-yes"}, {"reset"}} {
		if err := b.d.dispatch(t.Context(), args); !errors.Is(err, errUsage) {
			t.Error(args, err)
		}
	}
	if _, ok, err := present(b.d.path("nowhere")); ok || err != nil {
		t.Error(ok, err)
	}
	if err := replace(b.d.path("etc/new"), []byte("x"), 0o600, ""); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(b.d.path("etc/.new*"))
	if st, err := os.Stat(b.d.path("etc/new")); err != nil || st.Mode() != fs.FileMode(0o600) || len(left) != 0 {
		t.Error(err, left)
	}
}
