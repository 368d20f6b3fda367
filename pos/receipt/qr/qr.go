package qr

import (
	"errors"
	"strings"
)

// ErrTooLong means that a text does not fit the largest version made here.
var ErrTooLong = errors.New("text too long for a QR code")

// MaxBytes is how long any text may be. One of the alphanumeric set may be longer.
const MaxBytes = 412

const maxVersion = 15

// For level M, by version from 1.
var (
	eccPerBlock = [maxVersion]int{10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24}
	blockCount  = [maxVersion]int{1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10}
)

// Code is a finished symbol, without its quiet zone of four modules.
type Code struct {
	Size int // modules on each side
	dark []bool
}

// Dark reports whether a module is dark. Outside of the symbol all is light.
func (c *Code) Dark(x, y int) bool {
	return x >= 0 && y >= 0 && x < c.Size && y < c.Size && c.dark[y*c.Size+x]
}

// Encode makes the smallest code that holds text. Errors: ErrTooLong.
func Encode(text string) (*Code, error) {
	if len(text) > 2*MaxBytes {
		return nil, ErrTooLong
	}
	for version := 1; version <= maxVersion; version++ {
		bits := segments(text, version)
		if room := dataBytes(version) * 8; len(bits) <= room {
			return draw(version, interleave(version, pad(bits, room))), nil
		}
	}
	return nil, ErrTooLong
}

// bits is a string of bits, one a byte: codes are short.
type bits []byte

func (b bits) add(value uint, n int) bits {
	for i := n - 1; i >= 0; i-- {
		b = append(b, byte(value>>i&1))
	}
	return b
}

// The alphanumeric set: two of these take 11 bits instead of 16.
const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"

// segments writes the text's bytes and, where that is shorter, its longest
// alphanumeric tail in that set.
func segments(text string, version int) bits {
	tail := len(text)
	for tail > 0 && strings.IndexByte(alphanumeric, text[tail-1]) >= 0 {
		tail--
	}
	// A second header costs less than what 8 characters save in the set.
	if tail > 0 && len(text)-tail < 8 {
		tail = len(text)
	}
	byteCount, setCount := 8, 9 // bits of the length
	if version >= 10 {
		byteCount, setCount = 16, 11
	}
	out := make(bits, 0, 8*len(text)+64)
	if head := text[:tail]; head != "" {
		out = out.add(4, 4).add(uint(len(head)), byteCount)
		for i := range len(head) {
			out = out.add(uint(head[i]), 8)
		}
	}
	rest := text[tail:]
	if rest == "" {
		return out
	}
	out = out.add(2, 4).add(uint(len(rest)), setCount)
	for ; len(rest) > 1; rest = rest[2:] {
		pair := strings.IndexByte(alphanumeric, rest[0])*45 + strings.IndexByte(alphanumeric, rest[1])
		out = out.add(uint(pair), 11)
	}
	if rest != "" {
		out = out.add(uint(strings.IndexByte(alphanumeric, rest[0])), 6)
	}
	return out
}

// pad fills the bits up to room and packs them into bytes.
func pad(b bits, room int) []byte {
	b = b.add(0, min(4, room-len(b)))
	b = b.add(0, -len(b)&7)
	data := make([]byte, 0, room/8)
	for i := 0; i < len(b); i += 8 {
		var v byte
		for _, bit := range b[i : i+8] {
			v = v<<1 | bit
		}
		data = append(data, v)
	}
	for filler := byte(0xec); len(data) < room/8; filler ^= 0xec ^ 0x11 {
		data = append(data, filler)
	}
	return data
}

// rawBytes is how many bytes the modules of a version hold beside its patterns.
func rawBytes(version int) int {
	n := (16*version+128)*version + 64
	if version >= 2 {
		k := version/7 + 2
		n -= (25*k-10)*k - 55
		if version >= 7 {
			n -= 36
		}
	}
	return n / 8
}

func dataBytes(version int) int {
	return rawBytes(version) - eccPerBlock[version-1]*blockCount[version-1]
}

// interleave splits the data into blocks, adds each block's error correction and
// mixes them byte by byte. The last blocks may be one byte longer.
func interleave(version int, data []byte) []byte {
	count, ecc := blockCount[version-1], eccPerBlock[version-1]
	short := len(data) / count
	long := len(data) % count // that many blocks have one byte more
	divisor := generator(ecc)
	blocks, checks := make([][]byte, count), make([][]byte, count)
	for i := range blocks {
		n := short
		if i >= count-long {
			n++
		}
		blocks[i], data = data[:n], data[n:]
		checks[i] = remainder(blocks[i], divisor)
	}
	out := make([]byte, 0, rawBytes(version))
	for i := range short + 1 {
		for _, block := range blocks {
			if i < len(block) {
				out = append(out, block[i])
			}
		}
	}
	for i := range ecc {
		for _, check := range checks {
			out = append(out, check[i])
		}
	}
	return out
}

// generator is the Reed-Solomon polynomial of a degree over GF(2⁸), highest power
// left out.
func generator(degree int) []byte {
	g := make([]byte, degree)
	g[degree-1] = 1
	root := byte(1)
	for range degree {
		for j := range g {
			g[j] = multiply(g[j], root)
			if j+1 < degree {
				g[j] ^= g[j+1]
			}
		}
		root = multiply(root, 2)
	}
	return g
}

func remainder(data, divisor []byte) []byte {
	r := make([]byte, len(divisor))
	for _, b := range data {
		factor := b ^ r[0]
		copy(r, r[1:])
		r[len(r)-1] = 0
		for i, d := range divisor {
			r[i] ^= multiply(d, factor)
		}
	}
	return r
}

// multiply is the product in GF(2⁸) modulo x⁸+x⁴+x³+x²+1.
func multiply(a, b byte) byte {
	var z byte
	for i := 7; i >= 0; i-- {
		carry := z >> 7
		z = z<<1 ^ carry*0x1d
		z ^= (b >> i & 1) * a
	}
	return z
}
