package config

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func pemOf(t *testing.T, kind string, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestLoadKey(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), KeyFile)
	if _, err := LoadKey(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, pemOf(t, "PRIVATE KEY", key), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadKey(path)
	if err != nil || !got.Equal(key) {
		t.Errorf("got %x, %v", got, err)
	}
}

// TestLoadKeyBad: each wrong file is named together with what is wrong.
func TestLoadKeyBad(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(nil)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	whole := pemOf(t, "PRIVATE KEY", key)
	for want, content := range map[string][]byte{
		"no PEM file (0 bytes)":       nil,
		"no PEM file (5 bytes)":       []byte("hello"),
		"no PEM file (60 bytes)":      whole[:60], // a torn write
		"it holds a EC PRIVATE KEY":   pemOf(t, "EC PRIVATE KEY", other),
		"holds a *ecdsa.PrivateKey, ": pemOf(t, "PRIVATE KEY", other),
		"not a PKCS #8 key":           pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
	} {
		path := filepath.Join(t.TempDir(), KeyFile)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKey(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("want %q and the path, got %v", want, err)
		}
	}
}
