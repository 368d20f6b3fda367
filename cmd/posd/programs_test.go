package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// programs is a folder for what tests build and start; TestMain makes and removes it.
var programs string

// builds make the programs, each once. This posd maps its segments privately: SIGKILL
// takes with it all that was not synced, as a power cut would.
var builds = map[string]func() error{
	"posd":    sync.OnceValue(func() error { return build("posd", "-tags", "posdlab") }),
	"posctl":  sync.OnceValue(func() error { return build("posctl") }),
	"poscard": sync.OnceValue(func() error { return build("poscard") }),
	"poshub":  sync.OnceValue(func() error { return build("poshub") }),
}

func build(name string, flags ...string) error {
	args := append([]string{"build", "-o", filepath.Join(programs, name)}, flags...)
	if out, err := exec.Command("go", append(args, "posd/cmd/"+name)...).CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return nil
}

// program builds one and gives its path.
func program(t *testing.T, name string) string {
	t.Helper()
	if err := builds[name](); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(programs, name)
}
