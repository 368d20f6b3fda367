package qr

import (
	"errors"
	"strings"
	"testing"
)

// reader undoes Encode by the standard's rules, from the finished modules only: it
// shares the table of blocks with the encoder and nothing else. What it cannot see,
// a fault in that table, zbar sees (pos/receipt/peers).
func read(t testing.TB, c *Code) string {
	t.Helper()
	version := (c.Size - 17) / 4
	mask := 0
	for i := range 15 {
		x, y := 8, i // the copy beside the upper left finder
		switch {
		case i == 6:
			y = 7
		case i == 7:
			y = 8
		case i == 8:
			x, y = 7, 8
		case i > 8:
			x, y = 14-i, 8
		}
		if c.Dark(x, y) {
			mask |= 1 << i
		}
	}
	mask ^= 0x5412
	if mask>>13 != 0 {
		t.Fatalf("level %d, want M", mask>>13)
	}
	mask = mask >> 10 & 7
	blank := canvas{Code: Code{Size: c.Size, dark: append([]bool(nil), c.dark...)}, fixed: make([]bool, len(c.dark))}
	blank.patterns(version)
	copy(blank.dark, c.dark)
	blank.mask(mask)
	raw := make([]byte, rawBytes(version))
	i := 0
	for right := c.Size - 1; right > 0; right -= 2 {
		if right == 6 {
			right--
		}
		for n := range c.Size {
			y := n
			if (right+1)&2 == 0 {
				y = c.Size - 1 - n
			}
			for _, x := range []int{right, right - 1} {
				if !blank.fixed[y*c.Size+x] && i < len(raw)*8 {
					if blank.Dark(x, y) {
						raw[i/8] |= 0x80 >> (i % 8)
					}
					i++
				}
			}
		}
	}
	return parse(t, version, gather(t, version, raw))
}

// gather puts the blocks together again and checks each against its generator:
// a codeword is a multiple of it, so it is zero at the generator's roots.
func gather(t testing.TB, version int, raw []byte) []byte {
	count, ecc := blockCount[version-1], eccPerBlock[version-1]
	n := dataBytes(version)
	blocks := make([][]byte, count)
	at := 0
	for i := range n/count + 1 {
		for b := range blocks {
			size := n / count
			if b >= count-n%count {
				size++
			}
			if i < size {
				blocks[b] = append(blocks[b], raw[at])
				at++
			}
		}
	}
	var data []byte
	for _, b := range blocks {
		data = append(data, b...)
	}
	for b := range blocks {
		for i := range ecc {
			blocks[b] = append(blocks[b], raw[at+i*count+b])
		}
		root := byte(1)
		for range ecc {
			var v byte
			for _, x := range blocks[b] {
				v = multiply(v, root) ^ x
			}
			if v != 0 {
				t.Fatalf("block %d is no codeword", b)
			}
			root = multiply(root, 2)
		}
	}
	return data
}

func parse(t testing.TB, version int, data []byte) string {
	var b bits
	for _, v := range data {
		b = b.add(uint(v), 8)
	}
	take := func(n int) (v uint) {
		for _, bit := range b[:n] {
			v = v<<1 | uint(bit)
		}
		b = b[n:]
		return v
	}
	wide := 0
	if version >= 10 {
		wide = 1
	}
	var out strings.Builder
	for len(b) >= 4 {
		switch mode := take(4); mode {
		case 0:
			return out.String()
		case 4:
			for n := take(8 + 8*wide); n > 0; n-- {
				out.WriteByte(byte(take(8)))
			}
		case 2:
			n := take(9 + 2*wide)
			for ; n > 1; n -= 2 {
				pair := take(11)
				out.WriteByte(alphanumeric[pair/45])
				out.WriteByte(alphanumeric[pair%45])
			}
			if n == 1 {
				out.WriteByte(alphanumeric[take(6)])
			}
		default:
			t.Fatalf("mode %d", mode)
		}
	}
	return out.String()
}

func TestEncode(t *testing.T) {
	for _, text := range []string{"", "A", "a", "HELLO WORLD", "posd1:t1-1-1:f8b9b325-5:" + strings.Repeat("0123456789ABCDEF", 4),
		"Größe\x00\xff", strings.Repeat("x", 412), strings.Repeat("x", 213), strings.Repeat("9", 600)} {
		c, err := Encode(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if got := read(t, c); got != text {
			t.Errorf("%q was read as %q", text, got)
		}
	}
	if _, err := Encode(strings.Repeat("x", 413)); !errors.Is(err, ErrTooLong) {
		t.Errorf("413 bytes: %v", err)
	}
}

// Every version up to the largest is reached, with data that fills it.
func TestVersions(t *testing.T) {
	seen := map[int]bool{}
	for n := range 413 {
		c, err := Encode(strings.Repeat("q", n))
		if err != nil {
			t.Fatal(err)
		}
		if !seen[c.Size] && n > 0 {
			full := strings.Repeat("p", n-1) // the version before, full
			before, err := Encode(full)
			if err != nil || read(t, before) != full {
				t.Fatalf("%d bytes: %v", n-1, err)
			}
		}
		seen[c.Size] = true
	}
	if len(seen) != maxVersion {
		t.Errorf("%d versions were made, want %d", len(seen), maxVersion)
	}
}

// A module that was flipped is seen by the reader: it is not blind.
func TestReaderSees(t *testing.T) {
	c, err := Encode("receipt")
	if err != nil {
		t.Fatal(err)
	}
	c.dark[c.Size*c.Size-1] = !c.dark[c.Size*c.Size-1]
	if failed := !t.Run("flipped", func(t *testing.T) {
		probe := &recorder{TB: t}
		func() {
			defer func() { _ = recover() }()
			read(probe, c)
		}()
		if !probe.failed {
			t.Error("a flipped module was not noticed")
		}
	}); failed {
		t.Fail()
	}
}

type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper() {}
func (r *recorder) Fatalf(string, ...any) {
	r.failed = true
	panic("stop")
}

func FuzzEncode(f *testing.F) {
	f.Add("posd1:t1-1-1:f8b9b325-5:ABCDEF")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Encode(text)
		if err != nil {
			if len(text) <= 412 {
				t.Fatal(err)
			}
			return
		}
		if got := read(t, c); got != text {
			t.Fatalf("%q was read as %q", text, got)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	text := "posd1:t1-1-1:f8b9b325-5:" + strings.Repeat("0123456789ABCDEF", 4)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(text); err != nil {
			b.Fatal(err)
		}
	}
}
