package catalogue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"posd/pos"
)

// Item is one thing that can be sold.
type Item struct {
	Code        string // up to 64 bytes
	Description string // up to 200 bytes
	Department  string // up to 64 bytes, may be empty
	Unit        string // up to 8 bytes, may be empty
	Tax         string // up to 8 bytes
	Price       pos.Money
	Open        bool // the price must be given at the till; Price is 0
}

const (
	maxCode        = 64
	maxDescription = 200
	maxDepartment  = 64
	maxUnit        = 8
	maxTax         = 8
)

// ErrCorrupt means that the catalogue's bytes are not what an import wrote.
var ErrCorrupt = errors.New("catalogue is corrupt; import it again with posctl catalogue import")

// An item is stored under its code as
//
//	version u8 = 1 · flags u8 · line uvarint · price varint · 4 × (len u8 · bytes)
//
// with the texts in the order description, department, unit, tax. Line is where
// the item stood in the CSV file.
const (
	itemVersion = 1
	flagOpen    = 1
)

func appendItem(dst []byte, it *Item, line uint64) []byte {
	var flags byte
	if it.Open {
		flags |= flagOpen
	}
	dst = append(dst, itemVersion, flags)
	dst = binary.AppendUvarint(dst, line)
	dst = binary.AppendVarint(dst, int64(it.Price))
	for _, s := range [...]string{it.Description, it.Department, it.Unit, it.Tax} {
		dst = append(dst, byte(len(s)))
		dst = append(dst, s...)
	}
	return dst
}

// decodeItem is the inverse of appendItem but for the code. The texts share one copy of b.
func decodeItem(b []byte) (it Item, line uint64, err error) {
	if len(b) < 2 {
		return it, 0, fmt.Errorf("%w: item of %d bytes", ErrCorrupt, len(b))
	}
	if b[0] != itemVersion {
		return it, 0, fmt.Errorf("%w: item of version %d", ErrCorrupt, b[0])
	}
	if b[1]&^flagOpen != 0 {
		return it, 0, fmt.Errorf("%w: item flags %#x", ErrCorrupt, b[1])
	}
	it.Open = b[1]&flagOpen != 0
	at := 2
	line, n := binary.Uvarint(b[at:])
	if n <= 0 {
		return it, 0, fmt.Errorf("%w: item line", ErrCorrupt)
	}
	at += n
	price, n := binary.Varint(b[at:])
	if n <= 0 || price < 0 || it.Open && price != 0 {
		return it, 0, fmt.Errorf("%w: item price", ErrCorrupt)
	}
	at += n
	it.Price = pos.Money(price)
	texts := string(b[at:])
	for _, to := range [...]*string{&it.Description, &it.Department, &it.Unit, &it.Tax} {
		if len(texts) == 0 || len(texts)-1 < int(texts[0]) {
			return it, 0, fmt.Errorf("%w: item text", ErrCorrupt)
		}
		n := int(texts[0])
		*to, texts = texts[1:1+n], texts[1+n:]
	}
	if texts != "" {
		return it, 0, fmt.Errorf("%w: %d bytes after an item", ErrCorrupt, len(texts))
	}
	return it, line, nil
}
