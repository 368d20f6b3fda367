package hub

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"posd/sync/trust"
)

// secret reads the token in the file, or makes one, readable by the owner only.
func secret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newSecret(path)
	}
	if err != nil {
		return "", err
	}
	s := strings.TrimSpace(string(b))
	if len(s) < 16 {
		return "", fmt.Errorf("%s holds no token of at least 16 characters: remove the file to have a new one made", path)
	}
	return s, nil
}

func newSecret(path string) (string, error) {
	var b [24]byte
	rand.Read(b[:])
	s := hex.EncodeToString(b[:])
	return s, trust.WriteSecret(path, []byte(s+"\n"))
}
