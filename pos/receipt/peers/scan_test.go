package peers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posd/pos/receipt"
	"posd/pos/receipt/internal/sample"
	"posd/pos/receipt/paper"
	"posd/pos/receipt/qr"
)

// scan has zbar read pictures (portable grey maps) and returns what each says.
func scan(t *testing.T, pictures ...[]byte) []string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"-q", "--raw", "-Sdisable", "-Sqrcode.enable"}
	for i, p := range pictures {
		path := filepath.Join(dir, fmt.Sprintf("%03d.pgm", i))
		if err := os.WriteFile(path, p, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	return strings.Split(strings.TrimSuffix(string(run(t, nil, "zbarimg", args...)), "\n"), "\n")
}

// grey is a picture of w × h dots.
func grey(w, h int, dark func(x, y int) bool) []byte {
	b := fmt.Appendf(nil, "P5 %d %d 255\n", w, h)
	for y := range h {
		for x := range w {
			v := byte(0xff)
			if dark(x, y) {
				v = 0
			}
			b = append(b, v)
		}
	}
	return b
}

// The picture that a printer without QR codes of its own gets, printed and scanned,
// is the receipt's mark.
func TestPrintedCodeIsRead(t *testing.T) {
	o := receipt.Options{Shop: &receipt.Shop{}}
	for i := range o.Head {
		o.Head[i] = byte(255 - i)
	}
	d := receipt.Sale(sample.All(), o)
	p, err := receipt.ProfileOf("generic", 42, "cp437")
	if err != nil {
		t.Fatal(err)
	}
	items, err := paper.Read(d.ESCPOS(p))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		if i.Kind != paper.Picture {
			continue
		}
		across := i.Width / 8
		picture := grey(i.Width, len(i.Data)/across, func(x, y int) bool { return i.Data[y*across+x/8]&(0x80>>(x%8)) != 0 })
		got := scan(t, picture)
		m, err := receipt.ParseMark(got[0])
		if err != nil || m.Head != o.Head || m.Sale != "3f9a0c1e-1042" || m.Receipt != "T7-1-311" {
			t.Fatalf("zbar reads %q: %v", got, err)
		}
		// The reader is not one that guesses: a third of the code gone is too much.
		cut := bytes.Clone(picture)
		for k := len(cut) / 3; k < len(cut)*2/3; k++ {
			cut[k] = 0xff
		}
		path := filepath.Join(t.TempDir(), "cut.pgm")
		if err := os.WriteFile(path, cut, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := try("zbarimg", "-q", "--raw", path); out != "" {
			t.Fatalf("zbar reads %q from half a code", out)
		}
		return
	}
	t.Fatal("no picture was printed")
}

// Every version of code, full and nearly empty, in bytes and in the smaller set.
func TestCodesAreRead(t *testing.T) {
	var texts []string
	var pictures [][]byte
	sizes := map[int]bool{}
	for n := 1; n <= qr.MaxBytes; n++ {
		for _, alphabet := range []string{"abcdefghij:", "0123456789ABCDEF"} {
			text := strings.Repeat(alphabet, n/len(alphabet)+1)[:n]
			code, err := qr.Encode(text)
			if err != nil {
				t.Fatal(err)
			}
			if key := code.Size*2 + len(alphabet)%2; n < qr.MaxBytes && sizes[key] {
				continue
			} else {
				sizes[key] = true
			}
			texts = append(texts, text)
			pictures = append(pictures, grey((code.Size+8)*3, (code.Size+8)*3, func(x, y int) bool { return code.Dark(x/3-4, y/3-4) }))
		}
	}
	if len(texts) < 26 {
		t.Fatalf("only %d codes", len(texts))
	}
	got := scan(t, pictures...)
	for i := range texts {
		if i >= len(got) || got[i] != texts[i] {
			t.Fatalf("code %d of %d: %q was not read", i, len(texts), texts[i])
		}
	}
}
