package chain

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// ID names a journal for ever: 128 random bits.
type ID [16]byte

// Head is the state of the hash chain after a record.
type Head [32]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Head0 is the head before the first record: SHA-256 of the id.
func (id ID) Head0() Head { return sha256.Sum256(id[:]) }

// ParseID reads 32 hexadecimal digits.
func ParseID(s string) (ID, error) {
	var id ID
	return id, parseHex(id[:], s, "journal id")
}

func (h Head) String() string { return hex.EncodeToString(h[:]) }

// Next is the head after one more record: SHA-256(h ‖ frame).
func (h Head) Next(frame []byte) Head {
	d := sha256.New()
	d.Write(h[:])
	d.Write(frame)
	d.Sum(h[:0])
	return h
}

// ParseHead reads 64 hexadecimal digits.
func ParseHead(s string) (Head, error) {
	var h Head
	return h, parseHex(h[:], s, "head")
}

func parseHex(dst []byte, s, what string) error {
	if len(s) != hex.EncodedLen(len(dst)) {
		return fmt.Errorf("%s has %d characters, want %d hexadecimal digits", what, len(s), hex.EncodedLen(len(dst)))
	}
	if _, err := hex.Decode(dst, []byte(s)); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
