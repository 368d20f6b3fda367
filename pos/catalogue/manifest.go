package catalogue

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"posd/pos/event"
)

// A manifest says what a catalogue from head office is made of. It is signed, so that
// nobody who can merely write to the servers between can set a price, and numbered, so
// that an old one cannot be given again:
//
//	<128 hexadecimal digits: Ed25519 over "posd catalogue 1\n" and all behind this line>\n
//	{"v":1,"serial":1795247911250,"version":"autumn-3","currency":"EUR"}\n
//	<64 hexadecimal digits: SHA-256 of the first chunk> <its bytes>\n
//	…
//
// The chunks, one behind the other, are the file that Import has written at head office:
// a terminal has nothing to parse, to sort or to index.
type Manifest struct {
	Serial   uint64 // grows with each manifest for a terminal; from 1
	Version  string // 1 to 64 characters without blanks
	Currency string
	Chunks   []Chunk
}

// Chunk is a part of a file, named by its content.
type Chunk struct {
	Sum  [sha256.Size]byte
	Size int // 1 to MaxChunk
}

const (
	// MaxChunk is the largest chunk, in bytes. One is held in memory at a time.
	MaxChunk = 128 << 10
	// MaxManifest is the longest manifest, in bytes.
	MaxManifest = 256 << 10

	maxVersion     = 64
	maxContent     = 256 << 20
	manifestDomain = "posd catalogue 1\n"
	sigDigits      = 2 * ed25519.SignatureSize
)

var (
	// ErrManifest means that a manifest cannot be read.
	ErrManifest = errors.New("not a valid manifest of a catalogue")
	// ErrSignature means that head office has not signed the manifest.
	ErrSignature = errors.New("the signature of the catalogue is not head office's")
)

// Size is the length of the file.
func (m *Manifest) Size() (n int64) {
	for i := range m.Chunks {
		n += int64(m.Chunks[i].Size)
	}
	return n
}

// Offset is where chunk i begins in the file.
func (m *Manifest) Offset(i int) (n int64) {
	for j := range i {
		n += int64(m.Chunks[j].Size)
	}
	return n
}

func (m *Manifest) check() error {
	switch {
	case m.Serial == 0:
		return fmt.Errorf("%w: no serial", ErrManifest)
	case !plainName(m.Version):
		return fmt.Errorf("%w: version %q", ErrManifest, clip(m.Version))
	case len(m.Currency) != 3 || !plainName(m.Currency):
		return fmt.Errorf("%w: currency %q", ErrManifest, clip(m.Currency))
	case len(m.Chunks) == 0 || m.Size() > maxContent:
		return fmt.Errorf("%w: %d chunks of %d bytes", ErrManifest, len(m.Chunks), m.Size())
	}
	for i := range m.Chunks {
		if n := m.Chunks[i].Size; n < 1 || n > MaxChunk {
			return fmt.Errorf("%w: a chunk of %d bytes", ErrManifest, n)
		}
	}
	return nil
}

// plainName tells names that need no quotes anywhere.
func plainName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= maxVersion
}

// Sign writes the manifest with its signature.
func (m *Manifest) Sign(dst []byte, key ed25519.PrivateKey) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, err
	}
	said := append(make([]byte, 0, 256+72*len(m.Chunks)), manifestDomain...)
	said = strconv.AppendUint(append(said, `{"v":1,"serial":`...), m.Serial, 10)
	said = event.AppendString(append(said, `,"version":`...), m.Version)
	said = event.AppendString(append(said, `,"currency":`...), m.Currency)
	said = append(said, "}\n"...)
	for i := range m.Chunks {
		said = hex.AppendEncode(said, m.Chunks[i].Sum[:])
		said = append(strconv.AppendInt(append(said, ' '), int64(m.Chunks[i].Size), 10), '\n')
	}
	if len(said) > MaxManifest-sigDigits {
		return dst, fmt.Errorf("%w: %d bytes, at most %d fit", ErrManifest, len(said), MaxManifest)
	}
	dst = hex.AppendEncode(dst, ed25519.Sign(key, said))
	return append(append(dst, '\n'), said[len(manifestDomain):]...), nil
}

// OpenManifest checks the signature, before anything else is looked at, and reads the
// manifest. Errors: ErrSignature, ErrManifest.
func OpenManifest(b []byte, key ed25519.PublicKey) (*Manifest, error) {
	if len(b) > MaxManifest || len(b) <= sigDigits || b[sigDigits] != '\n' {
		return nil, fmt.Errorf("%w: %d bytes", ErrManifest, len(b))
	}
	var sig [ed25519.SignatureSize]byte
	said := b[sigDigits+1:]
	if _, err := hex.Decode(sig[:], b[:sigDigits]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, append([]byte(manifestDomain), said...), sig[:]) {
		return nil, ErrSignature
	}
	return parseManifest(said)
}

func parseManifest(said []byte) (*Manifest, error) {
	head, lines, _ := bytes.Cut(said, []byte{'\n'})
	m := &Manifest{}
	if err := m.header(head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	for len(lines) > 0 {
		line, rest, ended := bytes.Cut(lines, []byte{'\n'})
		var c Chunk
		sum, size, _ := strings.Cut(string(line), " ")
		if len(sum) == 2*sha256.Size && ended {
			if _, err := hex.Decode(c.Sum[:], []byte(sum)); err == nil {
				c.Size, _ = strconv.Atoi(size)
			}
		}
		if c.Size < 1 || c.Size > MaxChunk {
			return nil, fmt.Errorf("%w: chunk %d", ErrManifest, len(m.Chunks)+1)
		}
		m.Chunks = append(m.Chunks, c)
		lines = rest
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// header reads the line of JSON. A member that this release does not know may change
// what the chunks mean: it is refused.
func (m *Manifest) header(b []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return errors.New("no object")
	}
	version := uint64(0)
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		member := name.String() // a token is good until the next is read
		value, err := d.ReadToken()
		if err != nil {
			return err
		}
		text := value.Kind() == '"'
		switch {
		case member == "v" && value.Kind() == '0':
			version, err = strconv.ParseUint(value.String(), 10, 8)
		case member == "serial" && value.Kind() == '0':
			m.Serial, err = strconv.ParseUint(value.String(), 10, 63)
		case member == "version" && text:
			m.Version = value.String()
		case member == "currency" && text:
			m.Currency = value.String()
		default:
			err = fmt.Errorf("member %q", clip(member))
		}
		if err != nil {
			return err
		}
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != '}' || version != 1 {
		return fmt.Errorf("form %d, this release reads 1", version)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return errors.New("something follows the object")
	}
	return nil
}
