package receipt

import (
	"bytes"

	"posd/pos/receipt/qr"
)

// The commands of ESC/POS that are used.
const (
	cmdInit      = "\x1b@"
	cmdSingle    = "\x1c."                 // no two-byte characters
	cmdUSA       = "\x1bR\x00"             // "#" and "$" are not replaced by a country's own
	cmdUTF8      = "\x1c(C\x02\x000\x02"   // UTF-8 from here on
	cmdPage      = "\x1bt"                 // n
	cmdBold      = "\x1bE"                 // 0, 1
	cmdSize      = "\x1d!"                 // width-1 in the high half, height-1 in the low one
	cmdAlign     = "\x1ba"                 // 0 left, 1 centre
	cmdDrawer    = "\x1bp\x00\x32\xfa"     // 100 ms on, 500 ms off
	cmdCut       = "\n\n\n\n\n\x1dV\x01"   // partly; the knife is about four lines behind the head
	cmdFeedCut   = "\x1dV\x42\x00"         // feeds as far as needed
	cmdQRModel   = "\x1d(k\x04\x001A2\x00" // model 2
	cmdQRSize    = "\x1d(k\x03\x001C\x04"  // dots a module
	cmdQRLevel   = "\x1d(k\x03\x001E1"     // M
	cmdQRPrint   = "\x1d(k\x03\x001Q0"     //
	cmdRaster    = "\x1dv0\x00"            // xL xH yL yH data
	cmdBarHeight = "\x1dh\x3c"             // 60 dots
	cmdBarText   = "\x1dH\x02"             // below
	cmdBarWidth  = "\x1dw"                 // dots of the narrowest bar
	cmdBarcode   = "\x1dk"                 // kind, length, data
	barEAN13     = 67
	barCode128   = 73
)

// qrScale is dots a module of a code that is sent as a picture. With 4 the bytes of
// the picture are 00, 0f, f0 and ff only: a printer that looks for real-time
// commands (DLE, 10 hex) in the middle of pictures finds none.
const qrScale = 4

// ESCPOS is the document as bytes for a printer. Whatever the texts hold, the only
// commands in it are those of this file.
func (d *Document) ESCPOS(p Profile) []byte {
	w := printing{Profile: p, out: make([]byte, 0, 1024+len(d.Blocks)*(p.columns+8))}
	w.start()
	w.sheet = sheet{columns: max(p.columns, leastColumns), page: p.page, put: w.line, mark: w.mark}
	w.sheet.document(d)
	return w.out
}

type printing struct {
	Profile
	sheet sheet
	style Style // that the printer has now
	out   []byte
}

func (w *printing) start() {
	w.out = append(w.out, cmdInit...)
	if w.page == nil {
		w.out = append(w.out, cmdUTF8...)
		return
	}
	w.out = append(w.out, cmdSingle+cmdUSA+cmdPage...)
	w.out = append(w.out, w.page.epson)
}

func (w *printing) line(text []byte, s Style) {
	w.set(s)
	w.out = w.page.appendEncoded(w.out, bytes.TrimRight(text, " "))
	w.out = append(w.out, '\n')
}

// set changes the printer's style to s.
func (w *printing) set(s Style) {
	if (s^w.style)&Bold != 0 {
		w.out = append(append(w.out, cmdBold...), byte(s&Bold))
	}
	if (s^w.style)&Double != 0 {
		size := byte(0)
		if s&Double != 0 {
			size = 0x11
		}
		w.out = append(append(w.out, cmdSize...), size)
	}
	w.style = s
}

func (w *printing) mark(b *Block) {
	w.set(0)
	switch b.Kind {
	case QR:
		w.qrCode(b.Data)
	case Code128:
		w.code128(b.Data)
	case EAN13:
		w.ean13(b.Data)
	case Drawer:
		w.out = append(w.out, cmdDrawer...)
	case Cut:
		if w.feedCut {
			w.out = append(w.out, cmdFeedCut...)
		} else {
			w.out = append(w.out, cmdCut...)
		}
	}
}

func (w *printing) align(n byte) { w.out = append(append(w.out, cmdAlign...), n) }

// qrCode draws a code, or prints its data if it cannot be one.
func (w *printing) qrCode(data string) {
	// A printer looks for real-time commands (DLE) even within a code's data.
	if len(data) > qr.MaxBytes || hasControl(data) {
		w.sheet.text(data, Center)
		return
	}
	if !w.qr {
		w.qrPicture(data)
		return
	}
	w.align(1)
	w.out = append(w.out, cmdQRModel+cmdQRSize+cmdQRLevel...)
	n := len(data) + 3
	w.out = append(w.out, "\x1d(k"...)
	w.out = append(w.out, byte(n), byte(n>>8))
	w.out = append(w.out, "1P0"...)
	w.out = append(w.out, data...) // counted: none of its bytes is taken for a command
	w.out = append(w.out, cmdQRPrint...)
	w.align(0)
}

func (w *printing) qrPicture(data string) {
	code, err := qr.Encode(data)
	if err != nil {
		w.sheet.text(data, Center)
		return
	}
	side := code.Size + 8
	across := side * qrScale / 8 // bytes; size is odd and so is side: half a byte more
	if side*qrScale%8 != 0 {
		across++
	}
	if across*8 > w.dots {
		w.sheet.text(data, Center)
		return
	}
	w.align(1)
	w.out = append(w.out, cmdRaster...)
	w.out = append(w.out, byte(across), byte(across>>8), byte(side*qrScale), byte(side*qrScale>>8))
	for y := range side {
		row := len(w.out)
		for x := range across {
			v := byte(0)
			if code.Dark(2*x-4, y-4) {
				v = 0xf0
			}
			if code.Dark(2*x-3, y-4) {
				v |= 0x0f
			}
			w.out = append(w.out, v)
		}
		for range qrScale - 1 {
			w.out = append(w.out, w.out[row:row+across]...)
		}
	}
	w.align(0)
}

// code128 draws printable ASCII in code set B, or prints it if it is something else
// or too long for the paper.
func (w *printing) code128(data string) {
	modules := (len(data)+3)*11 + 2
	bar := byte(2)
	if modules*int(bar) > w.dots {
		bar = 1
	}
	escaped := make([]byte, 2, 2+2*len(data))
	copy(escaped, "{B")
	for i := range len(data) {
		c := data[i]
		if c < ' ' || c > '~' {
			escaped = nil
			break
		}
		if c == '{' {
			escaped = append(escaped, c)
		}
		escaped = append(escaped, c)
	}
	if data == "" || len(escaped) == 0 || len(escaped) > 255 || modules*int(bar) > w.dots {
		w.sheet.text(data, Center)
		return
	}
	w.bars(barCode128, bar, escaped)
}

func (w *printing) ean13(data string) {
	sum := 0
	for i := range len(data) {
		c := data[i]
		if c < '0' || c > '9' {
			sum = -1
			break
		}
		sum += int(c-'0') * (1 + i%2*2)
	}
	if len(data) != 13 || sum < 0 || sum%10 != 0 { // the printer would print nothing, or its own idea
		w.sheet.text(data, Center)
		return
	}
	w.bars(barEAN13, 2, []byte(data))
}

func (w *printing) bars(kind, bar byte, data []byte) {
	w.align(1)
	w.out = append(w.out, cmdBarHeight+cmdBarText+cmdBarWidth...)
	w.out = append(w.out, bar)
	w.out = append(w.out, cmdBarcode...)
	w.out = append(w.out, kind, byte(len(data)))
	w.out = append(w.out, data...)
	w.align(0)
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}
