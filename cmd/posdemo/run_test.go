package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The demo starts itself as the front end; under test that is the test binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "front" {
		main()
	}
	os.Exit(m.Run())
}

// The whole demo with the real programs, and with a fault planted between the
// journal and the comparison.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds three programs and runs the demo: not with -short")
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "posd/cmd/posd", "posd/cmd/posctl", "posd/cmd/poshub")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script := func(name, text string) string {
		path := filepath.Join(bin, name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "POSCTL", filepath.Join(bin, "posctl"))), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	onDump := func(filter string) string {
		return "#!/bin/sh\nif [ \"$1\" = dump ]; then POSCTL \"$@\" | " + filter + "; else exec POSCTL \"$@\"; fi\n"
	}
	for _, c := range []struct {
		name, posctl string
		code         int
		want         string
	}{
		{"no fault", filepath.Join(bin, "posctl"), exitOK, "The three agree on 200 sales, to the cent."},
		{"a sale lost", script("lose", onDump("sed 42d")), exitFailed, "journal has lost"},
		{"a sale doubled", script("double", onDump("sed 42p")), exitFailed, "journal has twice"},
		{"a cent off", script("cent", onDump(`sed '42s/"net":/"net":1/'`)), exitFailed, "THEY DO NOT AGREE"},
		{"posctl fails", script("fail", "#!/bin/sh\necho because >&2; exit 1\n"), exitFailed, "posctl init: exit status 1: because"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			code := start(t.Context(), []string{"run", "-posd", filepath.Join(bin, "posd"), "-posctl", c.posctl,
				"-poshub", filepath.Join(bin, "poshub"), "-dir", filepath.Join(t.TempDir(), "demo"), "-sales", "200", "-data", "", "-day", ""}, &out, &out)
			if code != c.code || !strings.Contains(out.String(), c.want) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, c.code, c.want, out.String())
			}
		})
	}
}
