package peers

import (
	"testing"

	"golang.org/x/text/encoding/charmap"

	"posd/pos/receipt"
	"posd/pos/receipt/paper"
)

// Every character of a code page comes out as its byte, by the tables of
// golang.org/x/text.
func TestCodePages(t *testing.T) {
	for name, table := range map[string]*charmap.Charmap{
		"cp437": charmap.CodePage437, "cp850": charmap.CodePage850, "cp852": charmap.CodePage852,
		"cp858": charmap.CodePage858, "cp866": charmap.CodePage866, "wpc1252": charmap.Windows1252,
	} {
		var d receipt.Document
		var want []byte
		for b := 0x80; b <= 0xff; b++ {
			r := table.DecodeByte(byte(b))
			// No-break space, soft hyphen and what is not assigned do not get printed as such.
			if r == 0xa0 || r == 0xad || r == 0xfffd || r < 0xa0 {
				continue
			}
			d.Add(receipt.Text, 0, string(r))
			want = append(want, byte(b))
		}
		p, err := receipt.ProfileOf("epson", 42, name)
		if err != nil {
			t.Fatal(err)
		}
		items, err := paper.Read(d.ESCPOS(p))
		if err != nil {
			t.Fatal(err)
		}
		items = items[1:] // the character set
		if len(items) != len(want) || len(want) < 120 {
			t.Fatalf("%s: %d lines for %d characters", name, len(items), len(want))
		}
		for i, item := range items {
			if item.Data != string([]byte{want[i]}) {
				t.Errorf("%s: %c is % x, want %02x", name, table.DecodeByte(want[i]), item.Data, want[i])
			}
		}
	}
}
