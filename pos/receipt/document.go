package receipt

// Document is a receipt, a report or a slip before it is text, a page or bytes for
// a printer. Texts in it may come from anywhere: every output neutralises them.
type Document struct {
	Title  string
	Lang   string // of its words, "en"
	Blocks []Block
}

// Kind says what a block is.
type Kind uint8

const (
	Text    Kind = iota // one cell, wrapped
	Row                 // two cells or more: the first to the left, the others to the right, aligned over rows that follow each other
	Rule                // a line across
	QR                  // Data as a QR code
	Code128             // Data as a bar code: printable ASCII
	EAN13               // Data as a bar code: 13 digits
	Cut                 // of the paper
	Drawer              // opens the cash drawer
)

// Style is how a text or a row looks.
type Style uint8

const (
	Bold   Style = 1 << iota
	Double       // twice as wide and high, where it fits
	Center       // texts only
)

// Block is one element of a document.
type Block struct {
	Kind  Kind
	Style Style
	Cells []string
	Data  string
}

// Add appends a block.
//
//go:noinline
func (d *Document) Add(k Kind, s Style, cells ...string) {
	d.Blocks = append(d.Blocks, Block{Kind: k, Style: s, Cells: cells})
}

// Code appends a QR or bar code.
//
//go:noinline
func (d *Document) Code(k Kind, data string) {
	d.Blocks = append(d.Blocks, Block{Kind: k, Data: data})
}
