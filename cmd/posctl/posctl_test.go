package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"posd/journal"
)

// terminal opens a pseudo-terminal: what is written to tty is read from screen.
func terminal(t *testing.T) (tty, screen *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here:", err)
	}
	t.Cleanup(func() { screen.Close() })
	fd := int(screen.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here:", err)
	}
	t.Cleanup(func() { tty.Close() })
	return tty, screen
}

// smallJournal has its birth record and opening state only.
func smallJournal(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "journal")
	if _, err := journal.Create(dir, journal.CreateOptions{Identity: journal.Identity{Store: "s1", Terminal: "t1"}, SegmentSize: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestBar: long commands show how far they are on a terminal, and nowhere else.
// A dump to the terminal itself shows its lines only.
func TestBar(t *testing.T) {
	null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if isTerminal(null) || isTerminal(new(bytes.Buffer)) {
		t.Error("what is no terminal is taken for one")
	}
	tty, screen := terminal(t)
	dir := smallJournal(t)
	seen := func(args ...string) string {
		if code := run(t.Context(), args, new(bytes.Buffer), tty); code != 0 {
			t.Fatalf("%v: exit code %d", args, code)
		}
		fmt.Fprint(tty, "END")
		var b []byte
		for buf := make([]byte, 4096); !bytes.HasSuffix(b, []byte("END")); {
			n, err := screen.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, buf[:n]...)
		}
		return string(b)
	}
	for _, c := range [][]string{{"verify", "-journal", dir}, {"dump", "-journal", dir}} {
		if got := seen(c...); !strings.Contains(got, c[0]+" [########################################] 100 %") || !strings.HasSuffix(got, "\x1b[KEND") {
			t.Errorf("%v shows %q", c, got)
		}
	}
	got := seen("salvage", dir, dir+"-new")
	for _, step := range []string{"read [#", "copy [#", "check [#"} {
		if !strings.Contains(got, step) {
			t.Errorf("salvage does not show %q: %q", step, got)
		}
	}
	var errs bytes.Buffer
	if run(t.Context(), []string{"dump", "-journal", dir}, tty, &errs); errs.Len() != 0 {
		t.Errorf("%q", errs.String())
	}
}

func TestPublicKey(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	private, err1 := x509.MarshalPKCS8PrivateKey(key)
	pkix, err2 := x509.MarshalPKIXPublicKey(public)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"noted":   fmt.Sprintf("%X\n", []byte(public)),
		"private": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		"public":  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix})),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := publicKey(path); err != nil || !got.Equal(public) {
			t.Errorf("%s: %x %v", name, got, err)
		}
	}
	if got, err := publicKey(fmt.Sprintf("%x", []byte(public))); err != nil || !got.Equal(public) {
		t.Errorf("digits: %x %v", got, err)
	}
	if got, err := publicKey(""); got != nil || err != nil {
		t.Errorf("nothing: %x %v", got, err)
	}
}

// TestSalvageNeedsRoom: it is asked before anything is written.
func TestSalvageNeedsRoom(t *testing.T) {
	s := salvage{dst: filepath.Join(t.TempDir(), "new"), bytes: 1 << 58}
	s.create.SegmentSize = 64 << 10
	if err := s.checkRoom(); !errors.Is(err, journal.ErrNoSpace) || !strings.Contains(err.Error(), "nothing was written") {
		t.Error(err)
	}
	s.bytes = 1000
	if err := s.checkRoom(); err != nil {
		t.Error(err)
	}
}

// TestSalvageOfRunningJournal: two readings of what is being written would differ.
func TestSalvageOfRunningJournal(t *testing.T) {
	dir := smallJournal(t)
	j, err := journal.Open(dir, journal.Options{SegmentSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"salvage", dir, dir + "-new"}, new(bytes.Buffer), &errs); code != exitFailed || !strings.Contains(errs.String(), "stop it first") {
		t.Errorf("%d %s", code, errs.String())
	}
}

// TestSayMachine: where nothing names the board, nobody is to rely on it.
func TestSayMachine(t *testing.T) {
	var out, errs bytes.Buffer
	tl := &tool{out: &out, err: &errs}
	tl.sayMachine("serial-number:10000000a1b2c3d4")
	if out.String() != "machine  serial-number:10000000a1b2c3d4, noted so that a copied disk is noticed at its start\n" || errs.Len() != 0 {
		t.Errorf("%q %q", out.String(), errs.String())
	}
	out.Reset()
	tl.sayMachine("")
	if out.Len() != 0 || !strings.Contains(errs.String(), "warning: nothing names this board") {
		t.Errorf("%q %q", out.String(), errs.String())
	}
}

func TestMissing(t *testing.T) {
	for _, c := range []struct {
		name        string
		first, last uint64
		records     uint64
		lost        []journal.Loss
		want        uint64
	}{
		{"nothing", 1, 9, 9, nil, 0},
		{"bytes of no record", 1, 9, 9, []journal.Loss{{File: "a"}}, 0},
		{"a gap, for two reasons", 5, 9, 3, []journal.Loss{{First: 6, Last: 7}, {First: 6, Last: 7}}, 2},
		{"a gap and the end", 1, 9, 8, []journal.Loss{{First: 4, Last: 4}, {First: 10, Last: 12}}, 4},
	} {
		s := salvage{first: c.first, found: journal.Salvaged{Last: c.last, Records: c.records, Lost: c.lost}}
		if got := s.missing(); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
