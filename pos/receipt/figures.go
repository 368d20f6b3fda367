package receipt

import (
	"strings"

	"posd/pos"
)

// writer makes a document in the shop's language and way to write numbers.
type writer struct {
	doc      Document
	shop     *Shop
	words    *words
	mark     byte // decimal
	currency pos.Currency
	column   int // width of what stands behind an amount, a tax code
}

func newWriter(s *Shop, c pos.Currency) *writer {
	w := &writer{mark: '.', currency: c}
	if s == nil {
		s = &Shop{}
	}
	w.shop = s
	if s.DecimalComma {
		w.mark = ','
	}
	w.doc.Lang, w.words = wordsOf(s.Language)
	return w
}

func (w *writer) say(n word) string { return w.words[n] }

// amount is an amount in major units, and the place behind it where lines have
// their tax code.
func (w *writer) amount(m pos.Money) string {
	return w.coded(m, "")
}

func (w *writer) coded(m pos.Money, code string) string {
	b := w.marked(m.Append(make([]byte, 0, 32), w.currency))
	if w.column > 0 {
		b = append(append(b, ' '), code...)
		b = blanks(b, w.column-len(code))
	}
	return string(b)
}

// plain is an amount with nothing behind it.
func (w *writer) plain(m pos.Money) string {
	return string(w.marked(m.Append(make([]byte, 0, 24), w.currency)))
}

func (w *writer) quantity(q pos.Qty) string { return string(w.marked(q.Append(nil))) }

func (w *writer) percent(r pos.Rate) string { return string(append(w.marked(r.Append(nil)), " %"...)) }

// marked writes the shop's decimal mark over the point.
func (w *writer) marked(b []byte) []byte {
	for i := range b {
		if b[i] == '.' {
			b[i] = w.mark
		}
	}
	return b
}

// Not inlined, like Add: at a hundred calls that is 16 kB of the terminal's program.
//
//go:noinline
func (w *writer) text(s Style, parts ...string) { w.doc.Add(Text, s, join(parts...)) }

//go:noinline
func (w *writer) row(s Style, cells ...string) { w.doc.Add(Row, s, cells...) }

func (w *writer) rule() { w.doc.Add(Rule, 0) }

// join puts blanks between what is not empty.
func join(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p)
	}
	return b.String()
}
