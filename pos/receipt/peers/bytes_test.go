package peers

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"posd/pos/receipt"
	"posd/pos/receipt/internal/sample"
)

// A difference is one way in which the two write the same thing differently. Rewriting
// each of theirs must make the streams equal, byte for byte: there is no other.
type difference struct {
	why  string
	find *regexp.Regexp
	ours func(found []string, columns int) string
	used int
}

func text(s string) func([]string, int) string {
	return func([]string, int) string { return s }
}

const (
	large = `\x1bE\x01\x1d!\x11`
	small = `\x1bE\x00\x1d!\x00`
	plain = `([^\x1b\x1c\x1d\n]*)`
)

// half is blanks of normal size as those of double size.
func half(blanks string) string { return blanks[:len(blanks)/2] }

// latin is a byte stream as text with one character a byte, for regexp.
func latin(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

func differences() []*difference {
	set := func(why, find string, ours func([]string, int) string) *difference {
		return &difference{why: why, find: regexp.MustCompile(`(?s)` + find), ours: ours}
	}
	return []*difference{
		set("they draw a rule with a box character, for which they change to code page 437; we write hyphens, which all pages have",
			`\x1bt\x00\xc4+\n`, func(_ []string, columns int) string { return strings.Repeat("-", columns) + "\n" }),
		set("they choose the code page when a text comes, we at the beginning",
			`\x1bt\x13`, text("")),
		set("they choose font A, which is what a reset printer has; we choose the American character set, and the code page",
			`^\x1b@\x1c\.\x1bM\x00`, text("\x1b@\x1c.\x1bR\x00\x1bt\x13")),
		set("they pad cells and texts to their full width; we write no blanks at the end of a line",
			` +\n`, text("\n")),
		set("they feed a line after the pulse for the drawer",
			`(\x1bp\x002\xfa)\n`, func(f []string, _ int) string { return f[1] }),
		set("they feed a line after the cut; we let the printer feed to its knife before",
			`\x1dV\x01\n`, text("\x1dVB\x00")),
		set("they choose the place of a bar code's text after its width, we before",
			`(\x1dw.)(\x1dH\x02)`, func(f []string, _ int) string { return f[2] + f[1] }),
		set("they switch a style on and off again before the next text",
			large+small, text("")),
		set("they fill the middle of a large row with narrow blanks, we with large ones",
			large+plain+`\x1d!\x01( +)\x1d!\x11`+plain+small+`\n`, func(f []string, _ int) string {
				return "\x1bE\x01\x1d!\x11" + f[1] + half(f[2]) + f[3] + "\n\x1bE\x00\x1d!\x00"
			}),
		set("they centre large text with blanks of normal size, one at most off ours, and reset the style before the end of the line; we after",
			`( *)`+large+plain+small+`\n`, func(f []string, _ int) string {
				return "\x1bE\x01\x1d!\x11" + half(f[1]) + f[2] + "\n\x1bE\x00\x1d!\x00"
			}),
		set("they reset a style at the end of each line of a text that was wrapped",
			small+large, text("")),
		set("they break a text at a hyphen, here a receipt's number; we at blanks only",
			`STORNO VON T7-1-\n +310\n`, text("   STORNO VON\n    T7-1-310\n")),
		set("they write EAN-13 in the older form, which ends with a zero; we with a length, in which no byte can end it",
			`\x1dk\x02([0-9]{13})\x00`, func(f []string, _ int) string { return "\x1dkC\r" + f[1] }),
	}
}

func TestBytes(t *testing.T) {
	shop := &receipt.Shop{Header: []string{"Bäckerei Müßig", "Hauptstraße 1, 10115 Berlin"}, TaxNumber: "DE123456789",
		Footer: []string{"Vielen Dank für Ihren Einkauf!", "Umtausch innerhalb von 14 Tagen mit diesem Bon"}, Language: "de", DecimalComma: true}
	o := receipt.Options{Shop: shop, Time: time.Date(2026, 11, 21, 10, 30, 0, 0, time.UTC), Drawer: true, Barcode: true, Head: [32]byte{1, 2, 0xfe}}
	again := o
	again.Copy, again.Drawer = 2, false
	training := sample.All()
	training.Training = true
	var ean receipt.Document
	ean.Code(receipt.EAN13, "4006381333931")
	var names []string
	var jobs []job
	add := func(name string, d receipt.Document) {
		for _, columns := range []int{32, 42, 48} {
			names, jobs = append(names, fmt.Sprint(name, columns)), append(jobs, job{d, columns})
		}
	}
	add("simple", receipt.Sale(sample.Simple(), o))
	add("all", receipt.Sale(sample.All(), o))
	add("copy", receipt.Sale(sample.All(), again))
	add("void", receipt.Sale(sample.Void(), o))
	add("exclusive", receipt.Sale(sample.Exclusive(), o))
	add("training", receipt.Sale(training, o))
	add("ean", ean)
	rules := differences()
	for i, stream := range theirs(t, jobs) {
		t.Run(names[i], func(t *testing.T) {
			p, err := receipt.ProfileOf("epson", jobs[i].columns, "cp858")
			if err != nil {
				t.Fatal(err)
			}
			same(t, latin(jobs[i].doc.ESCPOS(p)), rewrite(rules, latin(stream), jobs[i].columns))
		})
	}
	for _, r := range rules {
		if r.used == 0 {
			t.Errorf("not a difference any more: %s", r.why)
		}
	}
}

func rewrite(rules []*difference, stream string, columns int) string {
	for _, r := range rules {
		stream = r.find.ReplaceAllStringFunc(stream, func(found string) string {
			r.used++
			return r.ours(r.find.FindStringSubmatch(found), columns)
		})
	}
	return stream
}

func same(t *testing.T, ours, theirs string) {
	t.Helper()
	if ours == theirs {
		return
	}
	a, b := strings.SplitAfter(ours, "\n"), strings.SplitAfter(theirs, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("line %d\nours   %q\ntheirs %q", i+1, a[i], b[i])
		}
	}
	t.Fatalf("%d bytes, theirs %d", len(ours), len(theirs))
}
