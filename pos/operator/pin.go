package operator

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
)

// Key is the secret of one terminal that makes PINs unreadable to who has not got it.
type Key [32]byte

// NewKey makes one.
func NewKey() (k Key) {
	rand.Read(k[:])
	return k
}

// ErrKey: the file of the key holds something else.
var ErrKey = errors.New("the key of the PINs is not 64 hexadecimal digits")

// ParseKey reads what Key.Append writes.
func ParseKey(b []byte) (k Key, err error) {
	if len(b) == 2*len(k)+1 && b[2*len(k)] == '\n' {
		b = b[:2*len(k)]
	}
	if len(b) != 2*len(k) {
		return k, ErrKey
	}
	if _, err := hex.Decode(k[:], b); err != nil {
		return Key{}, ErrKey
	}
	return k, nil
}

// Append appends the key as its file holds it.
func (k *Key) Append(dst []byte) []byte { return append(hex.AppendEncode(dst, k[:]), '\n') }

// Check is what is kept of an operator's PIN.
type Check [sha256.Size]byte

// Check makes it. The operator is part of it: two who have the same PIN are not seen to.
func (k *Key) Check(operator string, pin []byte) (c Check) {
	h := hmac.New(sha256.New, k[:])
	h.Write([]byte("posd pin 1\x00" + operator + "\x00"))
	h.Write(pin)
	h.Sum(c[:0])
	return c
}

func (c *Check) equal(d *Check) bool { return subtle.ConstantTimeCompare(c[:], d[:]) == 1 }

// Bounds of a PIN.
const (
	LeastPIN = 4
	MostPIN  = 12
)

// ErrPIN says what a PIN has to be.
var ErrPIN = errors.New("a PIN has 4 to 12 digits")

// ErrEasy: everybody would try this one first.
var ErrEasy = errors.New("that PIN is the first that anybody would try: no row such as 1234 or 9876, and not one digit only")

// CheckPIN refuses what is not to become somebody's PIN.
func CheckPIN(pin []byte) error {
	if len(pin) < LeastPIN || len(pin) > MostPIN {
		return ErrPIN
	}
	same, up, down := true, true, true
	for i, c := range pin {
		if c < '0' || c > '9' {
			return ErrPIN
		}
		if i > 0 {
			step := (c - pin[i-1] + 10) % 10
			same, up, down = same && step == 0, up && step == 1, down && step == 9
		}
	}
	if same || up || down {
		return ErrEasy
	}
	return nil
}
