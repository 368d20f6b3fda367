package catalogue

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

const (
	maxWord  = 24 // bytes of a word in the index; a longer one is found by its beginning
	maxWords = 12 // of one item
	minWord  = 2  // bytes; shorter ones would find half the shop
)

// words are the different words of a text, without case and accents, in a buffer that
// is used again.
type words struct {
	buf  []byte
	ends [maxWords]int
	n    int
}

func (w *words) at(i int) []byte {
	from := 0
	if i > 0 {
		from = w.ends[i-1]
	}
	return w.buf[from:w.ends[i]]
}

// split takes the words of text.
func (w *words) split(text string) {
	w.buf, w.n = w.buf[:0], 0
	start := 0
	for _, r := range text {
		if unicode.Is(unicode.Mn, r) {
			continue // an accent of its own
		}
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			w.buf = appendFolded(w.buf, r)
			continue
		}
		start = w.end(start)
	}
	w.end(start)
}

// end ends the word that began at start, if it counts, and says where the next begins.
func (w *words) end(start int) int {
	word := w.buf[start:]
	if len(word) > maxWord {
		n := maxWord
		for !utf8.RuneStart(word[n]) {
			n--
		}
		word = word[:n]
	}
	if len(word) < minWord || w.n == maxWords || w.has(word) {
		w.buf = w.buf[:start]
		return start
	}
	w.buf = w.buf[:start+len(word)]
	w.ends[w.n] = len(w.buf)
	w.n++
	return len(w.buf)
}

func (w *words) has(word []byte) bool {
	for i := range w.n {
		if bytes.Equal(w.at(i), word) {
			return true
		}
	}
	return false
}

// begins tells whether a word of w begins with prefix.
func (w *words) begins(prefix []byte) bool {
	for i := range w.n {
		if bytes.HasPrefix(w.at(i), prefix) {
			return true
		}
	}
	return false
}

// The letters without accents of U+00C0 to U+017F and of U+1EA0 to U+1EF9; a blank
// is none, an asterisk one of the special cases.
const (
	latin = "aaaaaa*ceeeeiiiidnooooo ouuuuy**" + "aaaaaa*ceeeeiiiidnooooo ouuuuy*y" +
		"aaaaaacccccccc" + "ddddeeeeeeeeee" + "gggggggghhhh" + "iiiiiiiiii**" + "jjkkq" + "llllllllll" + "nnnnnnnnn" +
		"oooooo**" + "rrrrrrssssssss" + "tttttt" + "uuuuuuuuuuuu" + "wwyyy" + "zzzzzzs"
	vietnamese = "aaaaaaaaaaaaaaaaaaaaaaaa" + "eeeeeeeeeeeeeeee" + "iiii" + "oooooooooooooooooooooooo" + "uuuuuuuuuuuuuu" + "yyyyyyyy"
)

// appendFolded appends a letter or digit without case and accents.
func appendFolded(dst []byte, r rune) []byte {
	switch {
	case r < utf8.RuneSelf:
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return append(dst, byte(r))
	case r >= 0xC0 && r <= 0x17F && latin[r-0xC0] >= 'a':
		return append(dst, latin[r-0xC0])
	case r >= 0x1EA0 && r <= 0x1EF9:
		return append(dst, vietnamese[r-0x1EA0])
	}
	switch r {
	case 'Æ', 'æ':
		return append(dst, "ae"...)
	case 'Œ', 'œ':
		return append(dst, "oe"...)
	case 'Ĳ', 'ĳ':
		return append(dst, "ij"...)
	case 'Þ', 'þ':
		return append(dst, "th"...)
	case 'ß', 'ẞ':
		return append(dst, "ss"...)
	case 'Ș', 'ș':
		return append(dst, 's')
	case 'Ț', 'ț':
		return append(dst, 't')
	case 'Ơ', 'ơ':
		return append(dst, 'o')
	case 'Ư', 'ư':
		return append(dst, 'u')
	}
	r = unicode.ToLower(r)
	switch r {
	case 'ά':
		r = 'α'
	case 'έ':
		r = 'ε'
	case 'ή':
		r = 'η'
	case 'ί', 'ϊ', 'ΐ':
		r = 'ι'
	case 'ό':
		r = 'ο'
	case 'ύ', 'ϋ', 'ΰ':
		r = 'υ'
	case 'ώ':
		r = 'ω'
	case 'ς':
		r = 'σ'
	case 'ё':
		r = 'е'
	}
	return utf8.AppendRune(dst, r)
}
