package receipt

import (
	"strconv"
	"unicode/utf8"

	"posd/pos/receipt/qr"
)

const htmlStyle = `body{margin:1em auto;width:min-content;min-width:20em;font:14px/1.35 monospace}` +
	`p{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}table{width:100%;border-spacing:0}` +
	`td{padding:0;vertical-align:bottom;white-space:pre-wrap}td+td{text-align:right;white-space:nowrap;padding-left:1em}` +
	`hr{border:0;border-top:1px dashed}.b{font-weight:bold}.d{font-size:150%}.c{text-align:center}svg{width:10em;height:10em}`

// HTML is the document as one page of HTML 5 with nothing outside of it: no script,
// no picture to fetch.
func (d *Document) HTML() []byte {
	out := make([]byte, 0, 1024+256*len(d.Blocks))
	out = append(out, "<!DOCTYPE html>\n<html lang=\""...)
	out = appendHTML(out, d.Lang)
	out = append(out, "\">\n<head><meta charset=\"utf-8\"><title>"...)
	out = appendHTML(out, d.Title)
	out = append(out, "</title><style>"+htmlStyle+"</style></head>\n<body>\n"...)
	table := 0 // cells of the table that is open
	for i := range d.Blocks {
		b := &d.Blocks[i]
		if table > 0 && (b.Kind != Row || len(b.Cells) != table) {
			out = append(out, "</table>\n"...)
			table = 0
		}
		switch b.Kind {
		case Row:
			if table == 0 && len(b.Cells) > 0 {
				out = append(out, "<table>\n"...)
				table = len(b.Cells)
			}
			out = appendRow(out, b)
		case Text:
			for _, cell := range b.Cells {
				out = appendParagraph(out, cell, b.Style)
			}
		case Rule:
			out = append(out, "<hr>\n"...)
		case QR:
			out = appendSVG(out, b.Data)
		case Code128, EAN13:
			out = appendParagraph(out, b.Data, Center)
		}
	}
	if table > 0 {
		out = append(out, "</table>\n"...)
	}
	return append(out, "</body>\n</html>\n"...)
}

func appendRow(out []byte, b *Block) []byte {
	if len(b.Cells) == 0 {
		return out
	}
	out = append(append(append(out, "<tr"...), class(b.Style&^Center)...), '>')
	for _, cell := range b.Cells {
		out = append(out, "<td>"...)
		out = append(appendHTML(out, cell), "</td>"...)
	}
	return append(out, "</tr>\n"...)
}

func appendParagraph(out []byte, text string, s Style) []byte {
	out = append(append(append(out, "<p"...), class(s)...), '>')
	if text == "" {
		text = "\u00a0" // an empty paragraph has no height
		return append(append(out, text...), "</p>\n"...)
	}
	return append(appendHTML(out, text), "</p>\n"...)
}

// class is the class attribute of a style, by Bold, Double and Center.
func class(s Style) string {
	return [...]string{"", ` class="b"`, ` class="d"`, ` class="b d"`,
		` class="c"`, ` class="b c"`, ` class="d c"`, ` class="b d c"`}[s&7]
}

// appendHTML appends a text from outside: cleaned like for a printer, and escaped.
func appendHTML(out []byte, s string) []byte {
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		switch r = clean(r, size); r {
		case -1:
		case '&':
			out = append(out, "&amp;"...)
		case '<':
			out = append(out, "&lt;"...)
		case '>':
			out = append(out, "&gt;"...)
		case '"':
			out = append(out, "&quot;"...)
		case '\'':
			out = append(out, "&#39;"...)
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// appendSVG draws a QR code, row by row, as one path.
func appendSVG(out []byte, data string) []byte {
	code, err := qr.Encode(data)
	if err != nil {
		return appendParagraph(out, data, Center)
	}
	side := code.Size + 8 // a quiet zone of four
	out = append(out, `<p class="c"><svg viewBox="0 0 `...)
	out = strconv.AppendInt(out, int64(side), 10)
	out = strconv.AppendInt(append(out, ' '), int64(side), 10)
	out = append(out, `" role="img" aria-label="QR"><path fill="#fff" d="M0 0h`...)
	out = strconv.AppendInt(out, int64(side), 10)
	out = strconv.AppendInt(append(out, 'v'), int64(side), 10)
	out = strconv.AppendInt(append(out, "h-"...), int64(side), 10)
	out = append(out, `z"/><path d="`...)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			n := 0
			for code.Dark(x+n, y) {
				n++
			}
			if n > 0 {
				out = strconv.AppendInt(append(out, 'M'), int64(x+4), 10)
				out = strconv.AppendInt(append(out, ' '), int64(y+4), 10)
				out = strconv.AppendInt(append(out, 'h'), int64(n), 10)
				out = strconv.AppendInt(append(out, "v1h-"...), int64(n), 10)
				out = append(out, 'z')
				x += n
			}
		}
	}
	return append(out, "\"/></svg></p>\n"...)
}
