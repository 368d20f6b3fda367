package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posd/durable"

	"github.com/nats-io/nkeys"
)

// TestKeyWhoseFileWasReplaced: what is wrong after the rename does not make the old key
// stay: the file has the new one.
func TestKeyWhoseFileWasReplaced(t *testing.T) {
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "hub.creds")
	broken := errors.New("input/output error")
	for _, row := range []struct {
		name  string
		write func(path string, b []byte) error
		stays bool
	}{
		{"all is well", durable.Replace, false},
		{"the folder's sync fails", func(path string, b []byte) error { return errors.Join(durable.Replace(path, b), broken) }, false},
		{"nothing is written", func(string, []byte) error { return broken }, true},
		{"nothing can be read either", func(path string, _ []byte) error { return errors.Join(os.Remove(path), broken) }, true},
	} {
		if err := durable.Replace(path, []byte("the old one")); err != nil {
			t.Fatal(err)
		}
		err := replaceCreds(path, "a.new.jwt", seed, row.write)
		if (err != nil) != row.stays {
			t.Errorf("%s: %v", row.name, err)
		}
		b, err := os.ReadFile(path)
		if has := err == nil && strings.Contains(string(b), "a.new.jwt") && strings.Contains(string(b), string(seed)); has == row.stays {
			t.Errorf("%s: the file has the new key: %v", row.name, has)
		}
	}
}
