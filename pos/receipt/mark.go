package receipt

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Mark is what the QR code of a receipt says.
type Mark struct {
	Receipt string
	Sale    string
	Head    [32]byte // chain head of the journal's record that made the sale
}

// ErrMark means that a text is not a receipt's QR code.
var ErrMark = errors.New("not the code of a receipt")

// markVersion begins every mark; another form would begin otherwise.
const markVersion = "posd1"

// String is "posd1:receipt:sale:HEAD", the head in 64 hexadecimal digits. They are
// capitals because a QR code holds those in fewer modules.
func (m Mark) String() string {
	b := make([]byte, 0, len(markVersion)+len(m.Receipt)+len(m.Sale)+3+64)
	b = append(append(b, markVersion...), ':')
	b = append(append(b, m.Receipt...), ':')
	b = append(append(b, m.Sale...), ':')
	b = hex.AppendEncode(b, m.Head[:])
	for i := len(b) - 64; i < len(b); i++ {
		if b[i] >= 'a' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

// ParseMark reads what String writes, as a scanner gives it. Errors: ErrMark.
func ParseMark(s string) (Mark, error) {
	part := strings.Split(strings.TrimSpace(s), ":")
	if len(s) > 512 || len(part) != 4 || part[0] != markVersion || part[1] == "" || part[2] == "" || len(part[3]) != 64 {
		return Mark{}, fmt.Errorf("%w: want posd1:receipt:sale:head", ErrMark)
	}
	m := Mark{Receipt: part[1], Sale: part[2]}
	if _, err := hex.Decode(m.Head[:], []byte(part[3])); err != nil {
		return Mark{}, fmt.Errorf("%w: its head is not 64 hexadecimal digits", ErrMark)
	}
	return m, nil
}
