package catalogue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"posd/pos"
	"posd/pos/itemcode"
)

// Item is one thing that can be sold.
type Item struct {
	Code        string // as in the CSV file, up to 64 bytes
	Description string // up to 200 bytes
	Department  string // up to 64 bytes, may be empty
	Unit        string // up to 8 bytes, may be empty
	Tax         string // up to 8 bytes
	Price       pos.Money
	Open        bool  // the price must be given at the till; Price is 0
	Age         uint8 // years that a customer must have; 0: any
	Decimals    uint8 // that a quantity may have, 0 to 3
	Next        pos.Money
	From        itemcode.Date // Next is the price from this business day on; zero: there is none
}

// PriceOn is the price on a business day.
func (it *Item) PriceOn(day itemcode.Date) pos.Money {
	if it.From.Number() != 0 && day.Number() >= it.From.Number() {
		return it.Next
	}
	return it.Price
}

// Takes tells whether so much can be sold, by the decimals of the item.
func (it *Item) Takes(q pos.Qty) bool {
	step := pos.Qty(1)
	for d := it.Decimals; d < 3; d++ {
		step *= 10
	}
	return q%step == 0
}

const (
	maxCode        = 64
	maxDescription = 200
	maxDepartment  = 64
	maxUnit        = 8
	maxTax         = 8
	maxAge         = 99
	maxDecimals    = 3
)

// ErrCorrupt means that the catalogue's bytes are not what an import wrote.
var ErrCorrupt = errors.New("catalogue is corrupt; import it again with posctl catalogue import")

// An item is stored under its key (see appendKey) as
//
//	version u8 = 2 · flags u8 · age u8 · decimals u8 · price uvarint
//	[ next price uvarint · from uvarint ] · [ code ] · description · department · unit · tax
//
// with each text as len u8 · bytes. The code is there if the key does not tell it.
// Version 1, of schema 1, had no age, decimals, next price and code, but the line in
// the CSV file before the price, which was a varint.
const (
	itemVersion = 2
	flagOpen    = 1
	flagNext    = 2
	flagCode    = 4
)

// A key is a GTIN, as a byte 1 and its number in six bytes, so that all forms of it
// are one; or any other code as it is, which holds no byte below a blank.
const (
	keyGTIN    = 1
	keyGTINLen = 7
)

// appendKey appends the key of a code.
func appendKey(dst []byte, code string) []byte {
	g, ok := itemcode.Normal(code)
	if !ok {
		return append(dst, code...)
	}
	return append(dst, keyGTIN, byte(g>>40), byte(g>>32), byte(g>>24), byte(g>>16), byte(g>>8), byte(g))
}

// codeOf is the code that a key tells if nothing else does.
func codeOf(key []byte) string {
	if len(key) != keyGTINLen || key[0] != keyGTIN {
		return string(key)
	}
	n := uint64(0)
	for _, b := range key[1:] {
		n = n<<8 | uint64(b)
	}
	return itemcode.GTIN(n).Short()
}

// appendItem appends the value that is stored under key.
func appendItem(dst []byte, it *Item, key []byte) []byte {
	var flags byte
	if it.Open {
		flags |= flagOpen
	}
	next := it.From.Number() != 0
	if next {
		flags |= flagNext
	}
	own := it.Code != codeOf(key)
	if own {
		flags |= flagCode
	}
	dst = append(dst, itemVersion, flags, it.Age, it.Decimals)
	dst = binary.AppendUvarint(dst, uint64(it.Price))
	if next {
		dst = binary.AppendUvarint(dst, uint64(it.Next))
		dst = binary.AppendUvarint(dst, uint64(it.From.Number()))
	}
	if own {
		dst = appendText(dst, it.Code)
	}
	for _, s := range [...]string{it.Description, it.Department, it.Unit, it.Tax} {
		dst = appendText(dst, s)
	}
	return dst
}

func appendText(dst []byte, s string) []byte { return append(append(dst, byte(len(s))), s...) }

// fields reads a stored item from its left.
type fields struct {
	b   []byte
	bad string
}

func (f *fields) byte(what string) byte {
	if len(f.b) == 0 {
		f.fail(what)
		return 0
	}
	v := f.b[0]
	f.b = f.b[1:]
	return v
}

func (f *fields) uvarint(what string, most uint64) uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 || v > most {
		f.fail(what)
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) fail(what string) {
	if f.bad == "" {
		f.bad = what
	}
	f.b = nil
}

// decodeItem is the inverse of appendItem. The texts share one copy of b.
func decodeItem(b, key []byte) (it Item, err error) {
	f := fields{b: b}
	version := f.byte("version")
	flags := f.byte("flags")
	switch {
	case version == 1:
		flags = f.versionOne(&it, flags)
	case version != itemVersion || flags > flagOpen|flagNext|flagCode:
		f.fail("version")
	default:
		it.Age, it.Decimals = f.byte("age"), f.byte("decimals")
		it.Price = pos.Money(f.uvarint("price", uint64(pos.MaxAmount)))
	}
	it.Open = flags&flagOpen != 0
	if flags&flagNext != 0 {
		it.Next = pos.Money(f.uvarint("next price", uint64(pos.MaxAmount)))
		n := f.uvarint("day of the next price", 9999_12_31)
		it.From = itemcode.Date{Year: int16(n / 10000), Month: uint8(n / 100 % 100), Day: uint8(n % 100)}
	}
	if it.Open && (it.Price != 0 || flags&flagNext != 0) || it.Age > maxAge || it.Decimals > maxDecimals || flags&flagNext != 0 && it.From.Number() == 0 {
		f.fail("price")
	}
	texts := string(f.b)
	for i, to := range [...]*string{&it.Code, &it.Description, &it.Department, &it.Unit, &it.Tax} {
		if i == 0 && flags&flagCode == 0 {
			it.Code = codeOf(key)
			continue
		}
		if len(texts) == 0 || len(texts)-1 < int(texts[0]) {
			f.fail("text")
			break
		}
		n := int(texts[0])
		*to, texts = texts[1:1+n], texts[1+n:]
	}
	if texts != "" {
		f.fail("length")
	}
	if f.bad != "" {
		return Item{}, fmt.Errorf("%w: an item's %s", ErrCorrupt, f.bad)
	}
	return it, nil
}

// versionOne reads what differs in version 1, which knew no decimals: any were allowed.
func (f *fields) versionOne(it *Item, flags byte) byte {
	it.Decimals = maxDecimals
	f.uvarint("line", 1<<63)
	price, n := binary.Varint(f.b)
	if n <= 0 || price < 0 || price > int64(pos.MaxAmount) || flags > flagOpen {
		f.fail("price")
		return 0
	}
	f.b = f.b[n:]
	it.Price = pos.Money(price)
	return flags
}
