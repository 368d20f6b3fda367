package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestPackageOf(t *testing.T) {
	for symbol, want := range map[string]string{
		"github.com/nats-io/nats%2ego.(*Conn).Publish":             "github.com/nats-io/nats.go",
		"posd/journal.(*Journal).Append.func1":                     "posd/journal",
		"slices.SortFunc[go.shape.[]posd/pos.Tax,go.shape.struct]": "slices",
		"type:*go.etcd.io/bbolt.DB":                                "go.etcd.io/bbolt",
		"go:itab.*net/http.body,io.Reader":                         "net/http",
		"main.main":                                                "main",
		"go:string.*":                                              "go:string",
		"memeqbody":                                                "",
	} {
		if got := packageOf(symbol); got != want {
			t.Errorf("%s: got %q, want %q", symbol, got, want)
		}
	}
}

// The table adds up to the file, and one byte above the limit fails.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	build := func(name, ldflags string) string {
		out := filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags="+ldflags, "-o", out, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return out
	}
	file, symbols := build("stripped", "-s -w"), build("full", "")
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := report(&b, st.Size(), file, symbols, runtime.GOARCH, "."); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if err := report(&b, st.Size()-1, file, symbols, runtime.GOARCH, "."); err == nil || !strings.Contains(err.Error(), "1 too many") {
		t.Errorf("above the limit: %v", err)
	}
	for _, want := range []string{"posd itself", "std: runtime", "std: the rest"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is not in the table:\n%s", want, &b)
		}
	}
	owners, err := packageOwners(".", runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := count(symbols, owners)
	if err != nil {
		t.Fatal(err)
	}
	share(parts, st.Size())
	var sum int64
	for _, p := range parts {
		sum += p.total
	}
	if off := st.Size() - sum; off < 0 || off > int64(len(parts)) { // a byte of rounding each
		t.Errorf("the parts add up to %d, the file has %d", sum, st.Size())
	}
	if _, err := count(file, owners); err == nil || !strings.Contains(err.Error(), "build it without -s") {
		t.Errorf("a stripped file for symbols: %v", err)
	}
}
