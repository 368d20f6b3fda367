package lab

import "math/bits"

// sectors is a set of sectors of a file.
type sectors [4]uint64

const maxFile = sector * 64 * len(sectors{}) // what it can name

var everything = sectors{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

// span is the set of sectors that n bytes at off touch.
func span(off, n int) (s sectors) {
	for i := off / sector; i*sector < off+n; i++ {
		s.add(i)
	}
	return s
}

func (s *sectors) add(i int)  { s[i/64] |= 1 << (i % 64) }
func (s sectors) empty() bool { return s == sectors{} }
func (s sectors) and(t sectors) sectors {
	return sectors{s[0] & t[0], s[1] & t[1], s[2] & t[2], s[3] & t[3]}
}
func (s sectors) or(t sectors) sectors {
	return sectors{s[0] | t[0], s[1] | t[1], s[2] | t[2], s[3] | t[3]}
}
func (s sectors) without(t sectors) sectors {
	return sectors{s[0] &^ t[0], s[1] &^ t[1], s[2] &^ t[2], s[3] &^ t[3]}
}

// each calls fn for each sector, with the bytes that it has in files of size n.
func (s sectors) each(n int, fn func(i, from, to int)) {
	for w, b := range s {
		for ; b != 0; b &= b - 1 {
			i := w*64 + bits.TrailingZeros64(b)
			if i*sector < n {
				fn(i, i*sector, min(n, (i+1)*sector))
			}
		}
	}
}
