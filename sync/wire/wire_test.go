package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"

	"posd/journal/chain"
)

var update = flag.Bool("update", false, "write testdata anew")

// frame builds a record as the journal frames it: len, type, flags, seq, payload, padding to 8.
func frame(seq uint64, payload string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint16(b, 0x100)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = append(b, payload...)
	return append(b, make([]byte, (8-len(b)%8)%8)...)
}

func sample() *Parcel {
	p := &Parcel{Journal: chain.ID{1, 2, 3, 15: 0xff}, First: 7, Last: 9}
	p.Prev = p.Journal.Head0()
	p.Head = p.Prev
	for i, text := range []string{`{"n":7}`, strings.Repeat("eight ", 20), ""} {
		f := frame(7+uint64(i), text)
		p.Head = p.Head.Next(f)
		p.Frames = append(p.Frames, f...)
	}
	return p
}

func encode(t testing.TB, p *Parcel) []byte {
	t.Helper()
	var e Encoder
	b, err := e.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func same(a, b *Parcel) bool {
	return a.Journal == b.Journal && a.First == b.First && a.Last == b.Last && a.Hole == b.Hole &&
		a.Prev == b.Prev && a.Head == b.Head && bytes.Equal(a.Frames, b.Frames)
}

func TestRoundTrip(t *testing.T) {
	full := sample()
	hole := &Parcel{Journal: full.Journal, First: 3, Last: 1 << 40, Hole: true, Head: full.Head}
	var e Encoder // one for both: it must not leak the one into the other
	for range 2 {
		for _, p := range []*Parcel{full, hole} {
			b, err := e.Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(b, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !same(p, &got) {
				t.Errorf("got %+v, want %+v", got, p)
			}
			if err := got.Verify(); err != nil {
				t.Error(err)
			}
			h := map[string][]string{}
			p.SetHeaders(h)
			last, head, err := ParseTail(h)
			if err != nil || last != p.Last || head != p.Head {
				t.Errorf("tail %d %s %v", last, head, err)
			}
		}
	}
}

// TestGolden: what this release writes, and what all later ones must read.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "parcel-v1.bin")
	if *update {
		if err := os.WriteFile(path, encode(t, sample()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Decode(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(); err != nil {
		t.Fatal(err)
	}
	if !same(&p, sample()) {
		t.Errorf("the golden parcel reads as %+v", p)
	}
	if !bytes.Equal(encode(t, sample())[:HeaderSize], b[:HeaderSize]) {
		t.Error("this release writes another header than the golden one")
	}
}

// reseal makes the checksum right again, so that a test reaches what lies behind it.
func reseal(b []byte) []byte {
	raw, err := s2.Decode(nil, b[HeaderSize:])
	if err != nil {
		raw = nil
	}
	crc := crc32.Update(crc32.Checksum(b[:crcAt], castagnoli), castagnoli, raw)
	binary.LittleEndian.PutUint32(b[crcAt:], crc)
	return b
}

func TestDecodeRefuses(t *testing.T) {
	tests := []struct {
		name string
		harm func(b []byte) []byte
		want error
	}{
		{"empty", func(b []byte) []byte { return nil }, ErrFormat},
		{"short", func(b []byte) []byte { return b[:HeaderSize-1] }, ErrFormat},
		{"magic", func(b []byte) []byte { b[0] ^= 1; return reseal(b) }, ErrFormat},
		{"newer version", func(b []byte) []byte { b[4]++; return reseal(b) }, ErrVersion},
		{"unknown flag", func(b []byte) []byte { b[6] |= 2; return reseal(b) }, ErrFormat},
		{"hole with records", func(b []byte) []byte { b[6] |= 1; return reseal(b) }, ErrFormat},
		{"first 0", func(b []byte) []byte { clear(b[24:32]); return reseal(b) }, ErrFormat},
		{"last before first", func(b []byte) []byte { b[32] = 6; return reseal(b) }, ErrFormat},
		{"last at the end of numbers", func(b []byte) []byte { copy(b[32:40], bytes.Repeat([]byte{255}, 8)); return reseal(b) }, ErrFormat},
		{"wrong count", func(b []byte) []byte { b[40]++; return reseal(b) }, ErrFormat},
		{"huge length", func(b []byte) []byte { b[47] = 0xff; return reseal(b) }, ErrTooLarge},
		{"other length", func(b []byte) []byte { b[44]++; return reseal(b) }, ErrFormat},
		{"no head", func(b []byte) []byte { clear(b[80:112]); return reseal(b) }, ErrFormat},
		{"no prev", func(b []byte) []byte { clear(b[48:80]); return reseal(b) }, ErrFormat},
		{"flipped header bit", func(b []byte) []byte { b[80] ^= 1; return b }, ErrChecksum},
		{"flipped crc bit", func(b []byte) []byte { b[113] ^= 1; return b }, ErrChecksum},
		{"cut body", func(b []byte) []byte { return b[:len(b)-1] }, ErrChecksum},
		{"no body", func(b []byte) []byte { return b[:HeaderSize] }, ErrFormat},
		{"body that claims a gigabyte", func(b []byte) []byte {
			return append(b[:HeaderSize], 0x80, 0x80, 0x80, 0x80, 0x04, 0)
		}, ErrFormat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.harm(bytes.Clone(encode(t, sample())))
			if _, err := Decode(b, nil); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestEveryFlippedBit: no single bit of a parcel can change unnoticed.
func TestEveryFlippedBit(t *testing.T) {
	good := encode(t, sample())
	for i := range len(good) * 8 {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		p, err := Decode(b, nil)
		if err == nil && !same(&p, sample()) {
			t.Fatalf("bit %d: another parcel was accepted", i)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	tests := []struct {
		name string
		harm func(p *Parcel)
		want error
	}{
		{"head", func(p *Parcel) { p.Head[0] ^= 1 }, ErrChain},
		{"prev", func(p *Parcel) { p.Prev[0] ^= 1 }, ErrChain},
		{"a byte of a payload", func(p *Parcel) { p.Frames[17] ^= 1 }, ErrChain},
		{"first record missing", func(p *Parcel) { p.Frames = p.Frames[len(frame(7, `{"n":7}`)):] }, ErrFormat},
		{"last record missing", func(p *Parcel) { p.Frames = p.Frames[:len(p.Frames)-16] }, ErrFormat},
		{"one record too many", func(p *Parcel) { p.Frames = append(p.Frames, frame(10, "")...) }, ErrFormat},
		{"a number twice", func(p *Parcel) { p.Frames = append(p.Frames[:len(p.Frames)-16], frame(8, "")...) }, ErrFormat},
		{"half a frame", func(p *Parcel) { p.Frames = p.Frames[:len(p.Frames)-8] }, ErrFormat},
		{"nothing", func(p *Parcel) { p.Frames = nil }, ErrFormat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := sample()
			tt.harm(p)
			if err := p.Verify(); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	var e Encoder
	p := sample()
	p.Frames = make([]byte, MaxRaw+1)
	if _, err := e.Encode(p); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	p = sample()
	p.First = 0
	if _, err := e.Encode(p); !errors.Is(err, ErrFormat) {
		t.Errorf("first 0: %v", err)
	}
}

func TestEncoderReusesItsBuffer(t *testing.T) {
	var e Encoder
	p := sample()
	e.Encode(p)
	if n := testing.AllocsPerRun(100, func() { e.Encode(p) }); n > 0 {
		t.Errorf("%v allocations for a parcel", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, sample()))
	f.Add(encode(f, &Parcel{First: 1, Last: 5, Hole: true, Head: chain.Head{1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, in := range [][]byte{b, reseal(append(bytes.Clone(b), make([]byte, max(0, HeaderSize-len(b)))...))} {
			p, err := Decode(in, nil)
			if err != nil {
				continue
			}
			if len(p.Frames) > MaxRaw {
				t.Fatalf("%d bytes of frames", len(p.Frames))
			}
			p.Verify()
			again, err := Decode(encode(t, &p), nil)
			if err != nil || !same(&p, &again) {
				t.Fatalf("what was accepted does not survive a round trip: %v", err)
			}
		}
	})
}

func TestSubject(t *testing.T) {
	id := chain.ID{0xab}
	s := UpSubject(3, "s-1", "T_2", id)
	shard, store, terminal, got, err := ParseUpSubject(s)
	if err != nil || shard != 3 || store != "s-1" || terminal != "T_2" || got != id {
		t.Errorf("%s reads as %d %s %s %s %v", s, shard, store, terminal, got, err)
	}
	hexID := id.String()
	for _, bad := range []string{"", "pos.up.0.s.t", "pos.up.x.s.t." + hexID, "pos.up.-1.s.t." + hexID, "pos.up.01.s.t." + hexID,
		"pos.up.0.s t.t." + hexID, "pos.up.0..t." + hexID, "pos.up.0.s.t.beef", "pos.up.0.s.t." + hexID + ".x",
		"pos.up.0." + strings.Repeat("s", 33) + ".t." + hexID, "pos.dn.0.s.t." + hexID} {
		if _, _, _, _, err := ParseUpSubject(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseTailRefuses(t *testing.T) {
	good := func() map[string][]string { h := map[string][]string{}; sample().SetHeaders(h); return h }
	for name, harm := range map[string]func(map[string][]string){
		"no last":   func(h map[string][]string) { delete(h, HeaderLast) },
		"two heads": func(h map[string][]string) { h[HeaderHead] = append(h[HeaderHead], h[HeaderHead]...) },
		"bad last":  func(h map[string][]string) { h[HeaderLast] = []string{"-1"} },
		"bad head":  func(h map[string][]string) { h[HeaderHead] = []string{"zz"} },
	} {
		h := good()
		harm(h)
		if _, _, err := ParseTail(h); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWatermark(t *testing.T) {
	for _, w := range []Watermark{
		{Ledger: LedgerID{1}, Journal: chain.ID{2}, Seq: 1<<64 - 1, Head: chain.Head{3}, At: 5, Want: 6, Held: "why \"so\"\n"},
		{Ledger: LedgerID{1}, Journal: chain.ID{2}},
	} {
		got, err := ParseWatermark(w.Append(nil))
		if err != nil || got != w {
			t.Errorf("%s reads as %+v, %v", w.Append(nil), got, err)
		}
	}
	p := Pulse{Ledger: LedgerID{9}, At: 1 << 60}
	if got, err := ParsePulse(p.Append(nil)); err != nil || got != p {
		t.Errorf("%s reads as %+v, %v", p.Append(nil), got, err)
	}
}

func TestWatermarkGolden(t *testing.T) {
	l, j, h := strings.Repeat("0a", 16), strings.Repeat("0b", 16), strings.Repeat("0c", 32)
	text := `{"v":1,"ledger":"` + l + `","journal":"` + j + `","seq":12,"head":"` + h + `","at":34,"want":5}`
	w, err := ParseWatermark([]byte(text))
	if err != nil || string(w.Append(nil)) != text {
		t.Errorf("%s, %v", w.Append(nil), err)
	}
	future := strings.Replace(text, `"v":1`, `"v":1,"new":{"a":[1,{}]}`, 1)
	if got, err := ParseWatermark([]byte(future)); err != nil || got != w {
		t.Errorf("an unknown member is in the way: %v", err)
	}
}

func TestWatermarkRefuses(t *testing.T) {
	w := Watermark{Ledger: LedgerID{1}, Journal: chain.ID{2}, Seq: 7, Head: chain.Head{3}, Held: "x"}
	good := string(w.Append(nil))
	for name, bad := range map[string]string{
		"empty":           "",
		"not JSON":        "seven",
		"array":           "[]",
		"newer version":   strings.Replace(good, `"v":1`, `"v":2`, 1),
		"no version":      strings.Replace(good, `"v":1,`, ``, 1),
		"no head":         strings.Replace(good, `"head"`, `"heat"`, 1),
		"no ledger":       strings.Replace(good, `"ledger"`, `"lodger"`, 1),
		"duplicate name":  strings.Replace(good, `"seq":7`, `"seq":7,"seq":8`, 1),
		"negative":        strings.Replace(good, `"seq":7`, `"seq":-7`, 1),
		"fraction":        strings.Replace(good, `"seq":7`, `"seq":7.5`, 1),
		"exponent":        strings.Replace(good, `"seq":7`, `"seq":7e3`, 1),
		"too big":         strings.Replace(good, `"seq":7`, `"seq":18446744073709551616`, 1),
		"number as text":  strings.Replace(good, `"seq":7`, `"seq":"7"`, 1),
		"short head":      strings.Replace(good, hex.EncodeToString(w.Head[:]), "03", 1),
		"odd digits":      strings.Replace(good, hex.EncodeToString(w.Head[:]), strings.Repeat("g", 64), 1),
		"null":            strings.Replace(good, `"held":"x"`, `"held":null`, 1),
		"invalid UTF-8":   strings.Replace(good, `"x"`, "\"\xff\"", 1),
		"something after": good + "{}",
		"cut":             good[:len(good)-1],
		"too long":        strings.Replace(good, `"x"`, `"`+strings.Repeat("x", maxNotice)+`"`, 1),
	} {
		if got, err := ParseWatermark([]byte(bad)); !errors.Is(err, ErrNotice) {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
}

func FuzzWatermark(f *testing.F) {
	w := Watermark{Ledger: LedgerID{1}, Journal: chain.ID{2}, Seq: 7, Head: chain.Head{3}, At: 1, Want: 2, Held: "x"}
	f.Add(w.Append(nil))
	p := Pulse{At: 3}
	f.Add(p.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if w, err := ParseWatermark(b); err == nil {
			if got, err := ParseWatermark(w.Append(nil)); len(w.Held) < 500 && (err != nil || got != w) {
				t.Fatalf("%+v reads back as %+v, %v", w, got, err)
			}
		}
		if p, err := ParsePulse(b); err == nil {
			if got, err := ParsePulse(p.Append(nil)); err != nil || got != p {
				t.Fatalf("%+v reads back as %+v, %v", p, got, err)
			}
		}
	})
}

func BenchmarkEncode64K(b *testing.B) {
	p := &Parcel{Journal: chain.ID{1}, First: 1, Prev: chain.Head{1}, Head: chain.Head{2}}
	for len(p.Frames) < 64<<10 {
		p.Last++
		p.Frames = append(p.Frames, frame(p.Last, `{"v":1,"type":"sale.completed","time":"2026-11-21T09:30:00.123Z","data":{"total":`+strings.Repeat("1", 200)+`}}`)...)
	}
	var e Encoder
	b.SetBytes(int64(len(p.Frames)))
	for b.Loop() {
		if _, err := e.Encode(p); err != nil {
			b.Fatal(err)
		}
	}
}
