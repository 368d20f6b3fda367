package receipt

import "bytes"

// leastColumns is the narrowest paper that a document is laid out for.
const leastColumns = 16

// Text is the document as plain UTF-8 text. No line is wider than columns (32, 42
// or 48 on usual paper); East Asian wide characters count as two. Styles are lost,
// a code is its data.
func (d *Document) Text(columns int) []byte {
	out := make([]byte, 0, len(d.Blocks)*(columns+1))
	s := sheet{columns: max(columns, leastColumns), small: true}
	s.put = func(text []byte, style Style) {
		out = append(out, bytes.TrimRight(text, " ")...)
		out = append(out, '\n')
	}
	s.mark = func(b *Block) {
		switch b.Kind {
		case QR, Code128, EAN13:
			s.text(b.Data, Center)
		}
	}
	s.document(d)
	return out
}
