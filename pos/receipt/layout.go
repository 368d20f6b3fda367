package receipt

import (
	"bytes"
	"unicode/utf8"
)

// sheet lays a document out in columns. Every line that it hands to put is at most
// columns wide, at most half of that if the style is Double.
type sheet struct {
	columns int
	page    *page
	small   bool                       // there is no double size
	put     func(text []byte, s Style) // text is valid during the call
	mark    func(b *Block)             // codes, cut and drawer

	line []byte
	left []byte
	cell []byte
}

func (s *sheet) document(d *Document) {
	for i := 0; i < len(d.Blocks); i++ {
		b := &d.Blocks[i]
		switch b.Kind {
		case Text:
			for _, cell := range b.Cells {
				s.text(cell, b.Style)
			}
		case Row:
			n := i + 1
			for n < len(d.Blocks) && d.Blocks[n].Kind == Row && len(d.Blocks[n].Cells) == len(b.Cells) {
				n++
			}
			s.rows(d.Blocks[i:n])
			i = n - 1
		case Rule:
			s.line = s.line[:0]
			for range s.columns {
				s.line = append(s.line, '-')
			}
			s.put(s.line, 0)
		default:
			s.mark(b)
		}
	}
}

func (s *sheet) possible(style Style) Style {
	if s.small {
		return style &^ Double
	}
	return style
}

// room is how many columns a style leaves.
func (s *sheet) room(style Style) int {
	if style&Double != 0 {
		return s.columns / 2
	}
	return s.columns
}

func (s *sheet) text(cell string, style Style) {
	style = s.possible(style)
	s.left = s.page.appendFolded(s.left[:0], cell)
	room := s.room(style)
	if style&Double != 0 && longestWord(s.left) > room {
		style, room = style&^Double|Bold, s.columns // rather small than torn
	}
	indent := 0
	if style&Center == 0 {
		indent = indentOf(s.left, room)
	}
	rest := s.left[indent:]
	for first := true; first || len(rest) > 0; first = false {
		var part []byte
		part, rest = wrap(rest, room-indent)
		s.line = blanks(s.line[:0], indent)
		if style&Center != 0 {
			s.line = blanks(s.line, (room-width(part))/2)
		}
		s.line = append(s.line, part...)
		s.put(s.line, style&^Center)
	}
}

// rows lays out rows of the same number of cells. From three cells on they are a
// table, if it fits; otherwise each is a row of two.
func (s *sheet) rows(rows []Block) {
	if n := len(rows[0].Cells); n > 2 {
		widths := make([]int, n)
		for i := range rows {
			for j, cell := range rows[i].Cells {
				s.cell = s.page.appendFolded(s.cell[:0], cell)
				widths[j] = max(widths[j], width(s.cell))
			}
		}
		total := n - 1
		for _, w := range widths {
			total += w
		}
		if total <= s.columns {
			for i := range rows {
				s.tableRow(&rows[i], widths, s.columns-total)
			}
			return
		}
	}
	for i := range rows {
		s.row(&rows[i])
	}
}

// tableRow gives each cell its column; spare columns go behind the first one.
func (s *sheet) tableRow(b *Block, widths []int, spare int) {
	s.line = s.line[:0]
	for j, cell := range b.Cells {
		s.cell = s.page.appendFolded(s.cell[:0], cell)
		gap := widths[j] - width(s.cell)
		switch j {
		case 0:
			s.line = append(s.line, s.cell...)
			s.line = blanks(s.line, gap+spare)
		default:
			s.line = blanks(s.line, gap+1)
			s.line = append(s.line, s.cell...)
		}
	}
	s.put(s.line, b.Style&Bold)
}

// indentOf is how many blanks a text begins with; the lines that it is wrapped into
// all get them.
func indentOf(text []byte, room int) int {
	return min(len(text)-len(bytes.TrimLeft(text, " ")), room/2)
}

// leastLeft is how narrow the left cell of a row may get beside the right one.
const leastLeft = 8

// row wraps the left cell beside the right one, which stands in the last line. If
// the right one leaves too little room, it gets lines of its own.
func (s *sheet) row(b *Block) {
	if len(b.Cells) == 0 {
		return
	}
	s.left = s.page.appendFolded(s.left[:0], b.Cells[0])
	s.cell = s.cell[:0]
	for j, cell := range b.Cells[1:] {
		if j > 0 {
			s.cell = append(s.cell, ' ')
		}
		s.cell = s.page.appendFolded(s.cell, cell)
	}
	style := s.possible(b.Style &^ Center)
	lw, rw := width(s.left), width(s.cell)
	if style&Double != 0 && lw+1+rw > s.columns/2 {
		style = style&^Double | Bold
	}
	room := s.room(style)
	beside := room - rw - 1
	if beside < min(lw, leastLeft) {
		s.stacked(style, room)
		return
	}
	indent := indentOf(s.left, beside)
	rest := s.left[indent:]
	for first := true; first || len(rest) > 0; first = false {
		var part []byte
		part, rest = wrap(rest, beside-indent)
		s.line = append(blanks(s.line[:0], indent), part...)
		if len(rest) == 0 {
			s.line = blanks(s.line, room-indent-width(part)-rw)
			s.line = append(s.line, s.cell...)
		}
		s.put(s.line, style)
	}
}

func (s *sheet) stacked(style Style, room int) {
	rest := s.left
	for len(rest) > 0 {
		var part []byte
		part, rest = wrap(rest, room)
		s.put(part, style)
	}
	s.right(style, room)
}

// right writes the right cell on lines of its own.
func (s *sheet) right(style Style, room int) {
	rest := s.cell
	for len(rest) > 0 {
		var part []byte
		part, rest = wrap(rest, room)
		s.line = blanks(s.line[:0], room-width(part))
		s.line = append(s.line, part...)
		s.put(s.line, style)
	}
}

// wrap splits off what fits into room columns, at a blank if there is one. It
// always splits off something.
func wrap(text []byte, room int) (part, rest []byte) {
	used, blank, at := 0, -1, 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		w := widthOf(r)
		if used+w > room && at > 0 {
			break
		}
		if r == ' ' {
			blank = at
		}
		used += w
		at += size
	}
	switch {
	case at == len(text):
		return bytes.TrimRight(text, " "), nil
	case text[at] == ' ':
		blank = at
	case blank <= 0:
		return text[:at], text[at:]
	}
	return bytes.TrimRight(text[:blank], " "), bytes.TrimLeft(text[blank:], " ")
}

func longestWord(text []byte) int {
	most := 0
	for word := range bytes.FieldsSeq(text) {
		most = max(most, width(word))
	}
	return most
}

func blanks(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, ' ')
	}
	return dst
}
