package receipt

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"posd/pos/receipt/internal/sample"
	"posd/pos/receipt/paper"
)

var update = flag.Bool("update", false, "write testdata/*.golden")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is another one (go test -update writes it):\n%s", path, difference(string(want), string(got)))
	}
}

// difference shows the first lines that differ.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\n  want %q\n  got  %q", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// TestGolden compares every kind of receipt, as text in all widths, as HTML and as
// bytes for two printers.
func TestGolden(t *testing.T) {
	cases := sales()
	for name, make := range reports() {
		cases[name] = make
	}
	for name, make := range cases {
		t.Run(name, func(t *testing.T) {
			d := make()
			var text bytes.Buffer
			for _, columns := range []int{32, 42, 48} {
				fmt.Fprintf(&text, "== %d columns\n%s", columns, d.Text(columns))
			}
			golden(t, name+".txt", text.Bytes())
			golden(t, name+".html", d.HTML())
			var printed bytes.Buffer
			for _, p := range []struct {
				kind, set string
				columns   int
			}{{"epson", "cp858", 42}, {"generic", "cp437", 32}, {"epson", "utf-8", 48}} {
				profile, err := ProfileOf(p.kind, p.columns, p.set)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&printed, "== %s %s %d\n%s", p.kind, p.set, p.columns, commands(d.ESCPOS(profile)))
			}
			golden(t, name+".escpos", printed.Bytes())
		})
	}
}

// commands writes a stream so that a person can read its difference: a line for
// each line or command.
func commands(stream []byte) []byte {
	var out bytes.Buffer
	start := 0
	flush := func(end int) {
		if end > start {
			fmt.Fprintf(&out, "%q\n", stream[start:end])
			start = end
		}
	}
	for i, c := range stream {
		if i > start && (c == 0x1b || c == 0x1c || c == 0x1d) {
			flush(i)
		}
		if c == '\n' {
			flush(i + 1)
		}
	}
	flush(len(stream))
	return out.Bytes()
}

// What a printer makes of the bytes is what the text says: the same words in the
// same order, and the same lines where they are not large.
func TestPaperSaysTheSame(t *testing.T) {
	for name, make := range sales() {
		d := make()
		for _, columns := range []int{32, 42, 48} {
			p, err := ProfileOf("epson", columns, "utf-8")
			if err != nil {
				t.Fatal(err)
			}
			items, err := paper.Read(d.ESCPOS(p))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			text := string(d.Text(columns))
			lines := strings.Split(text, "\n")
			var words []string
			for _, i := range items {
				switch i.Kind {
				case paper.Line:
					words = append(words, strings.Fields(i.Data)...)
					if !i.Double && !slices.Contains(lines, i.Data) {
						t.Errorf("%s, %d columns: the line %q is not in the text\n%s", name, columns, i.Data, text)
					}
				case paper.QR:
					words = append(words, strings.Fields(onlyText(i.Data, columns))...)
				case paper.Barcode:
					words = append(words, strings.Fields(onlyText(strings.TrimPrefix(i.Data, "73:{B"), columns))...)
				}
			}
			if want := strings.Fields(text); !slices.Equal(words, want) {
				t.Errorf("%s, %d columns: printed\n%s\nas text\n%s", name, columns, words, want)
			}
		}
	}
}

func onlyText(s string, columns int) string {
	d := Document{}
	d.Code(QR, s)
	return string(d.Text(columns))
}

// A drawer opens once where it should, the paper is cut once and last, and the code
// in the middle is the mark.
func TestPaperDoes(t *testing.T) {
	for _, kind := range []string{"epson", "generic"} {
		p, err := ProfileOf(kind, 42, "cp858")
		if err != nil {
			t.Fatal(err)
		}
		o := options(plainShop)
		items, err := paper.Read(func() []byte { d := Sale(sample.All(), o); return d.ESCPOS(p) }())
		if err != nil {
			t.Fatal(err)
		}
		count := map[paper.Kind]int{}
		for i, item := range items {
			count[item.Kind]++
			switch item.Kind {
			case paper.Drawer:
				if i != 1 {
					t.Errorf("%s: the drawer waits for %d items", kind, i)
				}
			case paper.Cut:
				if i != len(items)-1 {
					t.Errorf("%s: cut before the end", kind)
				}
			case paper.QR:
				m, err := ParseMark(item.Data)
				if err != nil || m != (Mark{"T7-1-311", "3f9a0c1e-1042", o.Head}) {
					t.Errorf("%s: mark %q: %v", kind, item.Data, err)
				}
			}
		}
		if count[paper.Drawer] != 1 || count[paper.Cut] != 1 || count[paper.QR]+count[paper.Picture] != 1 {
			t.Errorf("%s: %v", kind, count)
		}
	}
}
