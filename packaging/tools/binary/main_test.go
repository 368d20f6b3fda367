package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const program = "package main\n\nvar release = \"\"\n\nfunc main() { println(release) }\n"

// build compiles a small program with the given flags and environment.
func build(t *testing.T, env []string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": program, "go.mod": "module probe\n\ngo 1.26\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "probe")
	cmd := exec.Command("go", append(append([]string{"build", "-buildvcs=false"}, flags...), "-o", out, ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// A good file passes, and each thing that can be wrong is found.
func TestCheck(t *testing.T) {
	arm := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64"}
	good := []string{"-trimpath", "-ldflags=-s -w -X main.release=1.2.3"}
	if err := check(build(t, arm, good...), "arm64", "1.2.3"); err != nil {
		t.Fatalf("the control must pass: %v", err)
	}
	for _, tc := range []struct {
		name  string
		env   []string
		flags []string
		want  string
	}{
		{"architecture", []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64"}, good, "is EM_X86_64, expected arm64"},
		{"symbols", arm, []string{"-trimpath", "-ldflags=-X main.release=1.2.3"}, "is not stripped: it has .symtab"},
		{"paths", arm, []string{"-ldflags=-s -w -X main.release=1.2.3"}, "was built without -trimpath"},
		{"release", arm, []string{"-trimpath", "-ldflags=-s -w"}, `does not hold the release "1.2.3"`},
		{"dynamic", arm, append([]string{"-buildmode=pie"}, good...), "is not static: it has PT_INTERP"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := check(build(t, tc.env, tc.flags...), "arm64", "1.2.3")
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
	if err := check("main.go", "arm64", ""); err == nil || !strings.Contains(err.Error(), "not an ELF file") {
		t.Errorf("got %v", err)
	}
}
