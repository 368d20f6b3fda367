package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestGivenCredentials: without systemd the files of the working directory are not
// taken for secrets, whose words a bundle would lack.
func TestGivenCredentials(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hub-creds")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for of, want := range map[string][]string{"": nil, dir: {path}, filepath.Join(dir, "none"): nil} {
		t.Setenv("CREDENTIALS_DIRECTORY", of)
		if got := givenCredentials(); !slices.Equal(got, want) {
			t.Errorf("CREDENTIALS_DIRECTORY=%q: %q", of, got)
		}
	}
}
