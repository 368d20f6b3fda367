package peers

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"posd/pos/receipt"
	"posd/pos/receipt/internal/sample"
)

// try runs a program that may fail.
func try(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput()
	return string(out)
}

// HTML Tidy has nothing to say about a page.
func TestPageIsValid(t *testing.T) {
	o := receipt.Options{Shop: &receipt.Shop{Header: []string{"A & B <Ltd>", ""}, Footer: []string{"\"Thanks\""}}, Copy: 1,
		Time: time.Date(2026, 11, 21, 10, 30, 0, 0, time.UTC), Head: [32]byte{1}, Barcode: true}
	path := filepath.Join(t.TempDir(), "receipt.html")
	for name, d := range map[string]receipt.Document{
		"all": receipt.Sale(sample.All(), o), "wide": receipt.Sale(sample.Wide(), o), "void": receipt.Sale(sample.Void(), o), "largest": receipt.Sale(sample.Largest(), o),
	} {
		if err := os.WriteFile(path, d.HTML(), 0o600); err != nil {
			t.Fatal(err)
		}
		if said := try("tidy", "-quiet", "-errors", "-utf8", path); said != "" {
			t.Errorf("%s:\n%s", name, said)
		}
	}
	if err := os.WriteFile(path, []byte("<!DOCTYPE html><title>x</title><p><td>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if try("tidy", "-quiet", "-errors", path) == "" {
		t.Error("tidy finds nothing wrong with a cell outside of a table")
	}
}
