package receipt

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/receipt/internal/sample"
	"posd/pos/receipt/paper"
)

// words of the kind that breaks layouts and printers.
var nasty = []string{"Bananas", "", " ", "a", "x\x1b@", "\x10\x04\x01", "\x1dV\x00", "\x1bp\x00\x19\xfa", "\n", "\r\n", "\t", "\x00", "\x7f", "\u009b",
	"緑茶", "ﾊﾝｶｸ", "e\u0301\u0301\u0301", "\u202egnp.exe", "\u200b", "👩‍👩‍👧", "\xff\xfe", "Größe", "ТОВАР", "€", "<script>", "&amp;", "\"'", "{B",
	"antidisestablishmentarianism-antidisestablishmentarianism", "123456789012345678901234567890123456789012345678901"}

func drawText(t *rapid.T, name string) string {
	return strings.Join(rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(nasty), rapid.String()), 0, 8).Draw(t, name), rapid.SampledFrom([]string{"", " "}).Draw(t, "between"))
}

// drawSale is a sale as a till would complete it, with any texts in it.
func drawSale(t *rapid.T) *event.SaleCompleted {
	rates := []pos.Rate{0, 70000, 190000, 88750}
	e := sample.Base(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) pos.Line {
		n := rapid.IntRange(0, 3).Draw(t, "tax")
		l := pos.Line{Description: drawText(t, "description"), Item: drawText(t, "item"), Note: drawText(t, "note"),
			Unit: rapid.SampledFrom([]string{"pc", "kg", "l"}).Draw(t, "unit"), Tax: []string{"A", "BB", "C", "LONGCODE"}[n], Rate: rates[n],
			Qty: pos.Qty(rapid.Int64Range(0, 1e8).Draw(t, "qty")), Price: pos.Money(rapid.Int64Range(0, 1e8).Draw(t, "price")),
			Fixed: rapid.Bool().Draw(t, "fixed")}
		if rapid.IntRange(0, 4).Draw(t, "back") == 0 {
			l.Qty, l.Return = -l.Qty, &pos.Return{Receipt: drawText(t, "receipt"), Reason: drawText(t, "reason")}
			if l.Fixed {
				l.Price = -l.Price
			}
		} else if rapid.Bool().Draw(t, "discount") {
			l.Discounts = []pos.Discount{{Percent: pos.Rate(rapid.Int64Range(1, 1e6).Draw(t, "percent")), Reason: drawText(t, "reason")}}
		}
		return l
	}), 0, 12).Draw(t, "lines")...)
	e.Currency.Exponent = rapid.IntRange(0, 4).Draw(t, "exponent")
	e.Prices = pos.PriceMode(rapid.IntRange(0, 1).Draw(t, "prices"))
	e.Customer, e.Note = drawText(t, "customer"), drawText(t, "sale note")
	if rapid.Bool().Draw(t, "off") {
		e.Discounts = []pos.Discount{{Percent: pos.Rate(rapid.Int64Range(1, 1e6).Draw(t, "percent off"))}}
	}
	totals, err := pos.Compute(e.Lines, pos.ComputeOptions{Prices: e.Prices, Discounts: e.Discounts})
	if err != nil {
		t.Fatal(err)
	}
	e.Taxes, e.Total = totals.Taxes, totals.Total
	if e.Total != 0 {
		e.Tenders = []pos.Tender{{Kind: pos.Card, Amount: e.Total, Reference: drawText(t, "reference"), Card: &pos.CardData{Brand: drawText(t, "brand")}}}
	}
	return &e
}

// columnsOf measures a line in another way than the layout does: it asks for every
// rune, and knows what of the nasty words is wide.
func columnsOf(line string) int {
	n := 0
	for _, r := range line {
		switch {
		case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
		case widthOf(r) == 2 || unicode.Is(unicode.Han, r) || unicode.Is(unicode.Hangul, r) && r < 0x1160 || unicode.Is(unicode.Hiragana, r):
			n += 2
		default:
			n++
		}
	}
	return n
}

func TestNoLineIsTooLong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawSale(t)
		shop := &Shop{Header: []string{drawText(t, "header"), drawText(t, "header 2")}, Footer: []string{drawText(t, "footer")},
			Language: rapid.SampledFrom(Languages()).Draw(t, "language"), DecimalComma: rapid.Bool().Draw(t, "comma")}
		d := Sale(e, options(shop))
		for _, columns := range []int{32, 42, 48} {
			for _, line := range strings.Split(string(d.Text(columns)), "\n") {
				if n := columnsOf(line); n > columns {
					t.Fatalf("%d columns in %d: %q", n, columns, line)
				}
			}
			p, err := ProfileOf("epson", columns, rapid.SampledFrom([]string{"cp437", "cp866", "wpc1252", "utf-8"}).Draw(t, "set"))
			if err != nil {
				t.Fatal(err)
			}
			items, err := paper.Read(d.ESCPOS(p))
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range items {
				room := columns
				if i.Double {
					room /= 2
				}
				n := len(i.Data) // of a code page: a byte a column
				if p.page == nil {
					n = columnsOf(i.Data)
				}
				if i.Kind == paper.Line && n > room {
					t.Fatalf("printed %d columns in %d: %q", n, room, i.Data)
				}
			}
		}
	})
}

// TestFiguresAddUp follows the right column from the first line to the total, and
// finds the amount of each line in the text.
func TestFiguresAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawSale(t)
		d := Sale(e, options(plainShop))
		var sum pos.Money
		rules, total := 0, false
		for i := range d.Blocks {
			b := &d.Blocks[i]
			if b.Kind == Rule {
				rules++
			}
			if rules < 2 || b.Kind != Row || total {
				continue
			}
			m, err := pos.ParseMoney(strings.Fields(b.Cells[1])[0], e.Currency)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case b.Style&Double != 0:
				if total = true; m != e.Total {
					t.Fatalf("total %d, want %d", m, e.Total)
				}
			case b.Cells[0] == "Subtotal":
				if m != sum {
					t.Fatalf("subtotal %d, the lines make %d", m, sum)
				}
			default:
				sum += m
			}
		}
		if !total || sum != e.Total {
			t.Fatalf("figures make %d, want %d (told: %v)", sum, e.Total, total)
		}
		text := string(d.Text(42))
		for i := range e.Lines {
			l := &e.Lines[i]
			before := l.Amount
			for _, off := range l.Discounts {
				before += off.Amount
				if off.Of == 0 && !strings.Contains(text, " "+(-off.Amount).Format(e.Currency)) {
					t.Fatalf("discount %d of line %d is not there:\n%s", off.Amount, i+1, text)
				}
			}
			if !strings.Contains(text, " "+before.Format(e.Currency)+" "+l.Tax) {
				t.Fatalf("amount %d of line %d is not there:\n%s", before, i+1, text)
			}
		}
	})
}

// structure is what a stream makes a printer do beside writing text.
func structure(stream []byte) (string, error) {
	items, err := paper.Read(stream)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, i := range items {
		switch i.Kind {
		case paper.Line:
		case paper.QR, paper.Picture:
			b.WriteString("code ")
		default:
			fmt.Fprintf(&b, "%s ", i.Kind)
		}
	}
	return b.String(), nil
}

// harmless reports what a stream does that a receipt must not do.
func harmless(stream []byte) error {
	does, err := structure(stream)
	if err != nil {
		return err
	}
	if want := "character set drawer code cut "; does != want {
		return fmt.Errorf("the printer does %q, want %q", does, want)
	}
	return nil
}

var profiles = [...]struct {
	kind, set string
	columns   int
}{{"epson", "cp858", 42}, {"generic", "cp437", 32}, {"epson", "utf-8", 48}, {"epson", "cp866", 42}, {"generic", "wpc1252", 42}, {"epson", "cp852", 32}}

// FuzzNoInjection puts one text wherever a text of a catalogue, a customer or a shop
// can come from.
func FuzzNoInjection(f *testing.F) {
	for _, s := range nasty {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := sample.All()
		for i := range e.Lines {
			l := &e.Lines[i]
			l.Description, l.Note, l.Unit, l.Tax = s, s, s, s
			if l.Return != nil {
				l.Return = &pos.Return{Receipt: s, Reason: s}
			}
			for j := range l.Discounts {
				l.Discounts[j].Reason = s
			}
		}
		for i := range e.Tenders {
			e.Tenders[i].Reference = s
		}
		e.Tenders[0].Card = &pos.CardData{Brand: s, Last4: s, Auth: s}
		e.Customer, e.Note, e.Operator = s, s, s
		d := Sale(e, options(&Shop{Header: []string{s, s}, Footer: []string{s}, TaxNumber: s}))
		for _, c := range profiles {
			p, err := ProfileOf(c.kind, c.columns, c.set)
			if err != nil {
				t.Fatal(err)
			}
			if err := harmless(d.ESCPOS(p)); err != nil {
				t.Fatalf("%q on %s %s: %v", s, c.kind, c.set, err)
			}
		}
		html := d.HTML()
		for _, tag := range []string{"<html", "<head", "<title", "<style", "<body", "<svg", "</html>"} {
			if n := bytes.Count(html, []byte(tag)); n != 1 {
				t.Fatalf("%q: %d × %s", s, n, tag)
			}
		}
		if i := bytes.IndexFunc(html, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0x202e }); i >= 0 {
			t.Fatalf("%q: control character in the page", s)
		}
	})
}

// The check above is not blind: texts put into the stream as they are get caught.
func TestInjectionIsSeen(t *testing.T) {
	d := Sale(sample.All(), options(plainShop))
	p, err := ProfileOf("epson", 42, "cp858")
	if err != nil {
		t.Fatal(err)
	}
	stream := d.ESCPOS(p)
	if err := harmless(stream); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\x1bp\x00\x19\xfa", "\x1dV\x00", "\x10\x04\x01", "\x10\x14\x01\x00\x01", "\x1b@\x07", "\x1bt\x02", "\x00", "\x1d(k\x03\x001Q0"} {
		if err := harmless(bytes.Replace(stream, []byte("Bananas"), []byte(bad), 1)); err == nil {
			t.Errorf("%q was not noticed", bad)
		}
	}
}

// Codes whose data comes from elsewhere: what they cannot hold is printed as text.
func FuzzCodes(f *testing.F) {
	for _, s := range append(nasty, "4006381333931", "T7-1-311") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d Document
		for _, k := range []Kind{QR, Code128, EAN13} {
			d.Code(k, s)
		}
		for _, c := range profiles {
			p, err := ProfileOf(c.kind, c.columns, c.set)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := paper.Read(d.ESCPOS(p)); err != nil {
				t.Fatalf("%q on %s %s: %v", s, c.kind, c.set, err)
			}
		}
		d.HTML()
	})
}

func FuzzParseMark(f *testing.F) {
	f.Add(Mark{Receipt: "T7-1-311", Sale: "3f9a0c1e-1042"}.String())
	f.Add("posd1:::")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMark(s)
		if err != nil {
			return
		}
		if again, err := ParseMark(m.String()); err != nil || again != m {
			t.Fatalf("%q → %q: %v", s, m, err)
		}
	})
}

func BenchmarkESCPOS(b *testing.B) {
	e := sample.All()
	p, err := ProfileOf("epson", 42, "cp858")
	if err != nil {
		b.Fatal(err)
	}
	o := options(plainShop)
	b.ReportAllocs()
	for b.Loop() {
		d := Sale(e, o)
		d.ESCPOS(p)
	}
}
