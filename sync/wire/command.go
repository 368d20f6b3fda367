package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
)

// MaxBundle is the most that a bundle takes before it is compressed, in bytes: also
// what does not compress fits into one answer.
const MaxBundle = 400 << 10

// File is one of a bundle. Its name is a plain one, never a path.
type File struct {
	Name    string
	Content []byte
}

// AppendFile appends one file of a bundle: "<name> <length>\n", and its bytes.
func AppendFile(dst []byte, name string, content []byte) []byte {
	dst = append(append(dst, name...), ' ')
	dst = append(strconv.AppendInt(dst, int64(len(content)), 10), '\n')
	return append(dst, content...)
}

// ParseFiles is the inverse of AppendFile for all files of a bundle. What it gives
// beside an error is what stands before the mistake. Contents are parts of b.
func ParseFiles(b []byte) (all []File, err error) {
	if len(b) > MaxBundle {
		return nil, fmt.Errorf("%w: bundle of %d bytes, at most %d", ErrOrder, len(b), MaxBundle)
	}
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte{'\n'})
		name, length, _ := bytes.Cut(line, []byte{' '})
		n, err := strconv.ParseUint(string(length), 10, 31)
		if !isFileName(name) || err != nil || int(n) > len(rest) {
			return all, fmt.Errorf("%w: bundle: file %d has no name and length, or is cut", ErrOrder, len(all)+1)
		}
		all = append(all, File{string(name), rest[:n]})
		b = rest[n:]
	}
	return all, nil
}

func isFileName(s []byte) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 64 && s[0] != '.'
}

// NewKey is how a terminal asks for a JWT for a user key that it has made. The key of
// its journal signs for it: who has merely copied the terminal's credentials cannot
// have his own key let in and the terminal shut out.
type NewKey struct {
	Public    string `json:"nkey"`
	Signature string `json:"signature,omitempty"` // hexadecimal; "": the journal has no key
}

// MakeNewKey signs for a key in answer to the order with that number.
func MakeNewKey(store, terminal string, serial uint64, public string, journal ed25519.PrivateKey) NewKey {
	k := NewKey{Public: public}
	if journal != nil {
		k.Signature = hex.EncodeToString(ed25519.Sign(journal, newKeySaid(store, terminal, serial, public)))
	}
	return k
}

func newKeySaid(store, terminal string, serial uint64, public string) []byte {
	return fmt.Appendf(nil, "posd user key 1\n%s.%s\n%d\n%s", store, terminal, serial, public)
}

// Verify reports whether the key of the journal has signed.
func (k *NewKey) Verify(store, terminal string, serial uint64, journal ed25519.PublicKey) bool {
	sig, err := hex.DecodeString(k.Signature)
	return err == nil && len(journal) == ed25519.PublicKeySize && ed25519.Verify(journal, newKeySaid(store, terminal, serial, k.Public), sig)
}

// ParseNewKey reads what Data of an answer to CommandRotateKey is. Errors: ErrOrder.
func ParseNewKey(b []byte) (k NewKey, err error) {
	if len(b) > maxHeader {
		return k, fmt.Errorf("%w: key: %d bytes", ErrOrder, len(b))
	}
	if err := json.Unmarshal(b, &k); err != nil {
		return k, fmt.Errorf("%w: key: %w", ErrOrder, err)
	}
	return k, nil
}
