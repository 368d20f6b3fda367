package config

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

// KeyFile is the name of the terminal's signing key in the data folder.
const KeyFile = "terminal.key"

// ExportsFolder in the data folder holds files that front ends have asked for.
const ExportsFolder = "posd-exports"

// LoadKey reads the terminal's signing key: an Ed25519 private key in PKCS #8, as
// PEM. Errors: fs.ErrNotExist, fs.ErrPermission, or what is wrong with the file.
func LoadKey(path string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the terminal's key: %w", err)
	}
	key, err := ParseKey(b)
	if err != nil {
		return nil, fmt.Errorf("the terminal's key %s: %w", path, err)
	}
	return key, nil
}

// ParseKey reads the content of a key file.
func ParseKey(b []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("no PEM file (%d bytes)", len(b))
	}
	if block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("it holds a %s, want a PRIVATE KEY (PKCS #8)", block.Type)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("not a PKCS #8 key: %w", err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it holds a %T, an Ed25519 key is needed", key)
	}
	return ed, nil
}
