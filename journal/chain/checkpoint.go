package chain

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// A checkpoint is a record whose payload signs the chain up to the record
// before it (Ed25519, RFC 8032):
//
//	 0 version                    u16
//	 2 reserved, 0                u16
//	 4 first 4 bytes of SHA-256(public key)
//	 8 seq: the last record signed        u64
//	16 wall clock, Unix ms        i64
//	24 reserved, 0                8 B
//	32 head(seq)                 32 B
//	64 signature over "posd checkpoint\x00" ‖ journal id ‖ bytes 0 to 63   64 B
const (
	checkpointVersion = 1
	checkpointSigned  = 64

	// CheckpointSize is the length of a checkpoint's payload, in bytes.
	CheckpointSize = checkpointSigned + ed25519.SignatureSize
)

var checkpointContext = [16]byte([]byte("posd checkpoint\x00"))

// Checkpoint is what a checkpoint record says.
type Checkpoint struct {
	Seq  uint64
	Head Head
	At   time.Time // by the terminal's clock; proves nothing
}

// What Verify says of a checkpoint.
var (
	ErrSignature = errors.New("checkpoint with a wrong signature")
	ErrKey       = errors.New("checkpoint of another key")
)

func keyID(k ed25519.PublicKey) uint32 {
	sum := sha256.Sum256(k)
	return le.Uint32(sum[:])
}

func signedText(id ID, b []byte) []byte {
	text := append(make([]byte, 0, 16+16+checkpointSigned), checkpointContext[:]...)
	return append(append(text, id[:]...), b[:checkpointSigned]...)
}

// AppendCheckpoint appends the payload of a checkpoint of journal id.
func AppendCheckpoint(dst []byte, id ID, c Checkpoint, key ed25519.PrivateKey) []byte {
	var b [checkpointSigned]byte
	le.PutUint16(b[0:], checkpointVersion)
	le.PutUint32(b[4:], keyID(key.Public().(ed25519.PublicKey)))
	le.PutUint64(b[8:], c.Seq)
	le.PutUint64(b[16:], uint64(c.At.UnixMilli()))
	copy(b[32:], c.Head[:])
	dst = append(dst, b[:]...)
	return append(dst, ed25519.Sign(key, signedText(id, b[:]))...)
}

// ParseCheckpoint reads a payload without proving anything.
func ParseCheckpoint(b []byte) (Checkpoint, error) {
	if len(b) != CheckpointSize {
		return Checkpoint{}, fmt.Errorf("checkpoint of %d bytes, want %d", len(b), CheckpointSize)
	}
	if v := le.Uint16(b); v != checkpointVersion {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint of version %d", ErrNewer, v)
	}
	return Checkpoint{Seq: le.Uint64(b[8:]), Head: Head(b[32:64]), At: time.UnixMilli(int64(le.Uint64(b[16:])))}, nil
}

// VerifyCheckpoint proves that the holder of the key signed head as the state of
// journal id after record seq. Errors: ErrKey, ErrSignature, ErrNewer, or what is
// malformed.
func VerifyCheckpoint(payload []byte, id ID, seq uint64, head Head, key ed25519.PublicKey) error {
	c, err := ParseCheckpoint(payload)
	switch {
	case err != nil:
		return err
	case c.Seq != seq || c.Head != head:
		return fmt.Errorf("%w: it names record %d with head %s, the chain has record %d with head %s",
			ErrSignature, c.Seq, c.Head, seq, head)
	case len(key) != ed25519.PublicKeySize || le.Uint32(payload[4:]) != keyID(key):
		return fmt.Errorf("%w: after record %d", ErrKey, seq)
	case !ed25519.Verify(key, signedText(id, payload), payload[checkpointSigned:]):
		return fmt.Errorf("%w: after record %d", ErrSignature, seq)
	}
	return nil
}
