package paper

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Kind is what an item is.
type Kind string

const (
	Line    Kind = "line"
	QR      Kind = "qr"
	Barcode Kind = "barcode"
	Picture Kind = "picture"
	Cut     Kind = "cut"
	Drawer  Kind = "drawer"
	Set     Kind = "character set" // Data is "utf-8" or the number of a code page
)

// Item is one thing that the printer did.
type Item struct {
	Kind   Kind
	Data   string // of a line the bytes as they are encoded, of a code its content
	Bold   bool
	Double bool // twice as wide and high
	Center bool
	Width  int // of a picture, in dots; its rows are Width/8 bytes of Data
}

// Read prints a stream. The error says at which byte something is not understood.
func Read(stream []byte) ([]Item, error) {
	p := printer{rest: stream}
	// A printer obeys these as they arrive, wherever they stand.
	for _, c := range [][]byte{{0x10, 4}, {0x10, 5}, {0x10, 0x14}} {
		if at := bytes.Index(stream, c); at >= 0 {
			return nil, fmt.Errorf("real-time command % x at byte %d", c, at)
		}
	}
	for len(p.rest) > 0 {
		at := len(stream) - len(p.rest)
		if err := p.step(); err != nil {
			return p.items, fmt.Errorf("byte %d: %w", at, err)
		}
	}
	if len(p.line) > 0 {
		return p.items, fmt.Errorf("the last line is not ended: %q", p.line)
	}
	return p.items, nil
}

type printer struct {
	rest      []byte
	items     []Item
	line      []byte
	style     Item
	lineStyle Item // at the first character of the line
	store     []byte
}

// take returns the next n bytes.
func (p *printer) take(n int) ([]byte, error) {
	if n > len(p.rest) {
		return nil, fmt.Errorf("the stream ends in a command")
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b, nil
}

func (p *printer) step() error {
	c := p.rest[0]
	switch {
	case c == '\n':
		p.rest = p.rest[1:]
		item := p.lineStyle
		if len(p.line) == 0 {
			item = Item{}
		}
		item.Kind, item.Data = Line, string(p.line)
		p.items, p.line = append(p.items, item), p.line[:0]
		return nil
	case c == '\r': // ignored, unless a switch says otherwise
		p.rest = p.rest[1:]
		return nil
	case c == 0x1b, c == 0x1c, c == 0x1d:
		return p.command()
	case c < ' ' || c == 0x7f:
		return fmt.Errorf("control character %02x", c)
	}
	if len(p.line) == 0 {
		p.lineStyle = p.style
	}
	p.line = append(p.line, c)
	p.rest = p.rest[1:]
	return nil
}

func (p *printer) command() error {
	head, err := p.take(2)
	if err != nil {
		return err
	}
	switch string(head) {
	case "\x1b@":
		p.style = Item{}
		return nil
	case "\x1c.":
		return nil
	case "\x1c(", "\x1d(":
		return p.extended(head[0])
	case "\x1dv":
		return p.picture()
	case "\x1dk":
		return p.barcode()
	case "\x1bp":
		_, err = p.take(3)
		p.items = append(p.items, Item{Kind: Drawer})
		return err
	}
	arg, err := p.take(1)
	if err != nil {
		return err
	}
	n := arg[0]
	switch string(head) {
	case "\x1bM", "\x1bR", "\x1dh", "\x1dw", "\x1dH":
	case "\x1bt":
		p.items = append(p.items, Item{Kind: Set, Data: fmt.Sprint(n)})
	case "\x1bE":
		p.style.Bold = n&1 != 0
	case "\x1ba":
		p.style.Center = n == 1 || n == '1'
	case "\x1d!":
		if n != 0 && n != 0x11 {
			return fmt.Errorf("size %02x", n)
		}
		p.style.Double = n == 0x11
	case "\x1dV":
		if n == 'B' {
			_, err = p.take(1)
		} else if n > 1 {
			err = fmt.Errorf("cut %d", n)
		}
		p.items = append(p.items, Item{Kind: Cut})
	default:
		return fmt.Errorf("unknown command % x", head)
	}
	return err
}

// extended is a command with a length: GS ( k for QR codes, FS ( C for UTF-8.
func (p *printer) extended(lead byte) error {
	head, err := p.take(3)
	if err != nil {
		return err
	}
	body, err := p.take(int(binary.LittleEndian.Uint16(head[1:])))
	if err != nil {
		return err
	}
	switch {
	case lead == 0x1c && head[0] == 'C' && string(body) == "0\x02":
		p.items = append(p.items, Item{Kind: Set, Data: "utf-8"})
		return nil
	case lead != 0x1d || head[0] != 'k' || len(body) < 2 || body[0] != '1':
		return fmt.Errorf("unknown command %02x ( %c % x", lead, head[0], body)
	}
	switch body[1] {
	case 'A', 'C', 'E': // model, size, level
	case 'P':
		p.store = body[3:]
	case 'Q':
		p.code(QR, string(p.store))
	default:
		return fmt.Errorf("unknown function %c of QR codes", body[1])
	}
	return nil
}

func (p *printer) code(k Kind, data string) {
	item := p.style
	item.Kind, item.Data = k, data
	p.items = append(p.items, item)
}

func (p *printer) picture() error {
	head, err := p.take(6)
	if err != nil {
		return err
	}
	if head[0] != '0' || head[1] != 0 {
		return fmt.Errorf("unknown picture mode % x", head[:2])
	}
	across, down := int(binary.LittleEndian.Uint16(head[2:])), int(binary.LittleEndian.Uint16(head[4:]))
	data, err := p.take(across * down)
	item := p.style
	item.Kind, item.Data, item.Width = Picture, string(data), across*8
	p.items = append(p.items, item)
	return err
}

// barcode knows both forms: data that ends with a zero, and data with a length.
func (p *printer) barcode() error {
	kind, err := p.take(1)
	if err != nil {
		return err
	}
	if kind[0] <= 6 {
		n := bytes.IndexByte(p.rest, 0)
		if n < 0 {
			return fmt.Errorf("the stream ends in a bar code")
		}
		data, _ := p.take(n + 1)
		p.code(Barcode, fmt.Sprintf("%d:%s", kind[0]+65, data[:n]))
		return nil
	}
	n, err := p.take(1)
	if err != nil {
		return err
	}
	data, err := p.take(int(n[0]))
	p.code(Barcode, fmt.Sprintf("%d:%s", kind[0], data))
	return err
}
