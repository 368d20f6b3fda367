package downlink

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"posd/pos/config"
)

// StatePath is where a terminal keeps what head office has decided.
func StatePath(c *config.Config) string { return filepath.Join(c.Data.Dir, "downlink.state") }

// OfficeKey is head office's public key, from posd.toml or from the enrolment; nil if
// the terminal has none, or with an error that says why.
func OfficeKey(c *config.Config) (ed25519.PublicKey, error) {
	text, from := c.Hub.OfficeKey, "hub.office_key"
	if text == "" {
		from = filepath.Join(c.Data.Dir, config.EnrolledAs)
		b, err := os.ReadFile(from)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		var enrolled struct {
			OfficeKey string `json:"office_key"`
		}
		if err == nil {
			err = json.Unmarshal(b, &enrolled)
		}
		if err != nil {
			return nil, fmt.Errorf("head office's key: %s: %w", from, err)
		}
		text = enrolled.OfficeKey
	}
	key, err := hex.DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("head office's key: %s is not 64 hexadecimal digits", from)
	}
	return key, nil
}

// Kept is c with what head office has decided and a terminal has kept over it, for who
// looks at the terminal's files beside it. Without such a decision it is c.
func Kept(c *config.Config) (*config.Config, error) {
	key, err := OfficeKey(c)
	if err != nil {
		return c, err
	}
	st, err := readState(StatePath(c))
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.order == nil {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", StatePath(c), err)
	}
	d := &Downlink{opt: Options{Store: c.Terminal.Store, Terminal: c.Terminal.ID, Key: key, File: c}, st: st}
	over, _, err := d.kept()
	if err != nil {
		return c, fmt.Errorf("head office's configuration is not in force: %w", err)
	}
	return over, nil
}
