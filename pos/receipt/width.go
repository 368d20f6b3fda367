package receipt

import (
	"unicode"
	"unicode/utf8"
)

// wide holds the ranges of East Asian wide and full-width characters below
// U+10000, which take two columns; a range is two runes.
const wide = "\u1100\u115f\u231a\u231b\u2329\u232a\u23e9\u23ec\u23f0\u23f0\u23f3\u23f3\u25fd\u25fe" +
	"\u2614\u2615\u2648\u2653\u267f\u267f\u2693\u2693\u26a1\u26a1\u26aa\u26ab\u26bd\u26be\u26c4\u26c5" +
	"\u26ce\u26ce\u26d4\u26d4\u26ea\u26ea\u26f2\u26f3\u26f5\u26f5\u26fa\u26fa\u26fd\u26fd\u2705\u2705" +
	"\u270a\u270b\u2728\u2728\u274c\u274c\u274e\u274e\u2753\u2755\u2757\u2757\u2795\u2797\u27b0\u27b0" +
	"\u27bf\u27bf\u2b1b\u2b1c\u2b50\u2b50\u2b55\u2b55\u2e80\u303e\u3041\ua4cf\ua960\ua97c\uac00\ud7a3" +
	"\uf900\ufaff\ufe10\ufe19\ufe30\ufe6b\uff01\uff60\uffe0\uffe6"

// narrow is the one character within those ranges that is not wide.
const narrow = '\u303f'

// widthOf is how many columns a cleaned rune takes: 0, 1 or 2.
func widthOf(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r < 0x1100:
		return 1
	case r >= 0x10000:
		if r >= 0x1f300 && r <= 0x1faff || r >= 0x20000 && r <= 0x3fffd || r >= 0x16fe0 && r <= 0x1b2ff ||
			r == 0x1f004 || r == 0x1f0cf || r >= 0x1f18e && r <= 0x1f2ff {
			return 2
		}
		return 1
	case r == narrow:
		return 1
	}
	for s := wide; s != ""; {
		from, n := utf8.DecodeRuneInString(s)
		to, m := utf8.DecodeRuneInString(s[n:])
		if r < from {
			return 1
		}
		if r <= to {
			return 2
		}
		s = s[n+m:]
	}
	return 1
}

func width(b []byte) int {
	n := 0
	for len(b) > 0 {
		if b[0] < utf8.RuneSelf {
			n++
			b = b[1:]
			continue
		}
		r, size := utf8.DecodeRune(b)
		n += widthOf(r)
		b = b[size:]
	}
	return n
}

// clean is what a rune of a text from outside becomes. Control characters are
// commands to a printer, and those that turn the direction of writing or are
// not seen make a receipt say what it does not hold.
func clean(r rune, size int) rune {
	switch {
	case r >= ' ' && r < 0x7f:
		return r
	case r == utf8.RuneError && size <= 1:
		return '?'
	case r < ' ', r == 0xa0, r == 0x2028, r == 0x2029:
		return ' '
	case r < 0xa0: // DEL and C1
		return '?'
	case r == 0xad, r == 0x61c, r == 0x180e, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e,
		r >= 0x2060 && r <= 0x206f, r == 0xfeff, r >= 0xfff9 && r <= 0xfffb, r >= 0xe0000 && r <= 0xe0fff:
		return -1 // left out
	}
	return r
}
