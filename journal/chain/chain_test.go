package chain

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"
)

var key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))

func frame(t Type, seq uint64, payload []byte) []byte {
	b := make([]byte, FrameSize(len(payload)))
	copy(b[FrameHeader:], payload)
	PutFrame(b, len(payload), t, 0, seq)
	return b
}

func TestCopyKeepsTheFrame(t *testing.T) {
	b := frame(TypeOwner, 9, []byte("hello"))
	r, _, err := NextFrame(b)
	if err != nil {
		t.Fatal(err)
	}
	head := Head{1}.Next(r.Frame)
	payload := AppendCopy(nil, ID{3}, r, head)
	c, err := ParseCopy(payload)
	if err != nil || c.Journal != (ID{3}) || c.Head != head || !bytes.Equal(c.Frame(nil), b) {
		t.Fatalf("%+v %v", c, err)
	}
	n, err := Named(ID{8}, Record{Seq: 70, Type: TypeCopy, Payload: payload})
	if err != nil || n.Journal != (ID{3}) || n.Record.Seq != 9 {
		t.Fatalf("name of a copy: %+v %v", n, err)
	}
	if n, err := Named(ID{8}, r); err != nil || n.Journal != (ID{8}) || n.Record.Seq != 9 {
		t.Fatalf("name of an original: %+v %v", n, err)
	}
	if _, err := ParseCopy(AppendCopy(nil, ID{}, Record{Seq: 1, Type: TypeCopy}, Head{})); err == nil {
		t.Fatal("a copy of a copy in a copy")
	}
}

func TestCheckpoint(t *testing.T) {
	public := key.Public().(ed25519.PublicKey)
	c := Checkpoint{Seq: 5, Head: Head{7}, At: time.UnixMilli(1_795_253_400_123)}
	b := AppendCheckpoint(nil, ID{3}, c, key)
	if got, err := ParseCheckpoint(b); err != nil || got.Seq != 5 || got.Head != c.Head || !got.At.Equal(c.At) {
		t.Fatalf("%+v %v", got, err)
	}
	other := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	for name, row := range map[string]struct {
		id   ID
		seq  uint64
		head Head
		key  ed25519.PublicKey
		want error
	}{
		"right":           {ID{3}, 5, Head{7}, public, nil},
		"another journal": {ID{4}, 5, Head{7}, public, ErrSignature},
		"another record":  {ID{3}, 6, Head{7}, public, ErrSignature},
		"another head":    {ID{3}, 5, Head{8}, public, ErrSignature},
		"another key":     {ID{3}, 5, Head{7}, other, ErrKey},
		"no key":          {ID{3}, 5, Head{7}, nil, ErrKey},
	} {
		if err := VerifyCheckpoint(b, row.id, row.seq, row.head, row.key); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", name, err, row.want)
		}
	}
	for i := range b { // no bit of it is without meaning
		b[i] ^= 1
		if VerifyCheckpoint(b, ID{3}, 5, Head{7}, public) == nil {
			t.Fatalf("byte %d may change", i)
		}
		b[i] ^= 1
	}
}

func FuzzNextFrame(f *testing.F) {
	f.Add(frame(TypeOwner, 9, []byte("hello")))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			rec, rest, err := NextFrame(b)
			if err != nil {
				return
			}
			if len(rec.Frame)+len(rest) != len(b) || len(rec.Frame) != FrameSize(len(rec.Payload)) {
				t.Fatal("a frame and its rest do not make up the input")
			}
			b = rest
		}
	})
}

func FuzzBirth(f *testing.F) {
	f.Add([]byte(`{"v":1,"journal":"00","store":"s","terminal":"t","created":"","parent":{"journal":"11","seq":7,"head":"","reason":"clone"}}`))
	f.Fuzz(func(t *testing.T, b []byte) { ParseBirth(b) })
}

// FuzzCopy: what is accepted is what AppendCopy writes.
func FuzzCopy(f *testing.F) {
	f.Add(AppendCopy(nil, ID{1}, Record{Seq: 3, Type: TypeOwner, Payload: []byte("x")}, Head{2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCopy(b)
		if err == nil && !bytes.Equal(AppendCopy(nil, c.Journal, c.Record, c.Head), b) {
			t.Fatal("a copy was accepted that would be written otherwise")
		}
		if err == nil {
			if r, rest, err := NextFrame(c.Frame(nil)); err != nil || len(rest) != 0 || !bytes.Equal(r.Payload, c.Record.Payload) {
				t.Fatalf("its frame cannot be read: %v", err)
			}
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add(AppendCheckpoint(nil, ID{1}, Checkpoint{Seq: 3, Head: Head{2}, At: time.UnixMilli(1)}, key))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCheckpoint(b)
		if err != nil {
			return
		}
		if VerifyCheckpoint(b, ID{1}, c.Seq, c.Head, key.Public().(ed25519.PublicKey)) == nil &&
			!bytes.Equal(AppendCheckpoint(nil, ID{1}, c, key), b) {
			t.Fatal("a signature over something else was accepted")
		}
	})
}
