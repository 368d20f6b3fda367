package wire

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
)

func TestOffer(t *testing.T) {
	for _, o := range []Offer{
		{Version: "a-1", Manifest: [32]byte{1, 2}},
		{Version: "a-2", Manifest: [32]byte{31: 9}, Spread: 120},
	} {
		b := o.Append(nil)
		got, err := ParseOffer(b)
		if err != nil || got != o || len(b) > 400 {
			t.Errorf("%s: %+v, %v", b, got, err)
		}
	}
	manifest := `"manifest":"` + strings.Repeat("ab", 32) + `"`
	for _, bad := range []string{
		``, `{}`, `{"v":1,"version":"a"}`, `{"v":1,` + manifest + `}`, `{"v":2,"version":"a",` + manifest + `}`, `{"v":1,"version":"",` + manifest + `}`,
		`{"v":1,"version":"` + strings.Repeat("x", 65) + `",` + manifest + `}`, `{"v":1,"version":"a b",` + manifest + `}`,
		`{"v":1,"version":"a","manifest":"ab"}`, `{"v":1,"version":"a",` + manifest + `} x`,
	} {
		if o, err := ParseOffer([]byte(bad)); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: %+v, %v", bad, o, err)
		}
	}
	if o, err := ParseOffer([]byte(`{"v":1,"version":"a",` + manifest + `,"spread":99999,"more":1}`)); err != nil || o.Spread != MaxSpread {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestContent(t *testing.T) {
	content := bytes.Repeat([]byte("code,description\n"), 1000)
	sum := sha256.Sum256(content)
	b := PackContent(content)
	if got, err := UnpackContent(b, sum); err != nil || !bytes.Equal(got, content) || len(b) > len(content)/10 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	other := sha256.Sum256([]byte("x"))
	if _, err := UnpackContent(b, other); !errors.Is(err, ErrContent) {
		t.Error(err)
	}
	if _, err := UnpackContent(PackContent(make([]byte, MaxContent+1)), other); !errors.Is(err, ErrContent) {
		t.Error("a bomb was unpacked")
	}
}

func FuzzContent(f *testing.F) {
	f.Add(PackContent([]byte("code,description\n1,a\n")))
	f.Add(PackContent(bytes.Repeat([]byte("x"), 1000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := UnpackContent(b, [32]byte{}); err == nil {
			t.Fatalf("%d bytes have the sum 0", len(c))
		}
	})
}

func FuzzOffer(f *testing.F) {
	o := Offer{Version: "a-2", Manifest: [32]byte{31: 9}, Spread: 120}
	f.Add(o.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOffer(b)
		if err != nil {
			return
		}
		if strings.ContainsFunc(o.Version, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%q", o.Version)
		}
		if again, err := ParseOffer(o.Append(nil)); err != nil || again != o {
			t.Fatalf("%+v reads back as %+v, %v", o, again, err)
		}
	})
}
