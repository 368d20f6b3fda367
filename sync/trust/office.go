package trust

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const officeFile = "office.key"

// OpenOffice reads the key with which head office signs its orders, from the folder of
// the keys; if may, it is made where there is none. PEM, PKCS #8, Ed25519: openssl reads
// it. The error is ErrKeys, and fs.ErrNotExist where none may be made.
func OpenOffice(dir string, may bool) (ed25519.PrivateKey, error) {
	path := filepath.Join(dir, officeFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && may {
		return makeOffice(path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%w: %s is no PEM file: restore it from its backup", ErrKeys, path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	office, ok := key.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%w: %s holds no Ed25519 key in PKCS #8: restore it from its backup", ErrKeys, path)
	}
	return office, nil
}

func makeOffice(path string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	return key, WriteSecret(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
