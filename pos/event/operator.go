package event

import (
	"fmt"
	"slices"
)

// Types of what operators do at the till beside selling.
const (
	TypeSignedIn       = "operator.signed_in"
	TypeSignedOut      = "operator.signed_out"
	TypeOperatorLocked = "operator.locked" // too many wrong PINs
	TypeReceiptCopied  = "receipt.copied"  // printed once more
)

// OperatorTypes are the types of an Operator event.
var OperatorTypes = [...]string{TypeSignedIn, TypeSignedOut, TypeOperatorLocked, TypeReceiptCopied}

// Operator is something that an operator did, or that was done to one.
type Operator struct {
	Type     string // one of OperatorTypes
	Operator string
	Role     string
	Reason   string
	Failures int    // wrong PINs in a row
	Sale     string // whose receipt was copied
	Copy     int    // its number, from 1
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *Operator) AppendEvent(dst []byte, h Header) ([]byte, error) {
	if !slices.Contains(OperatorTypes[:], e.Type) || e.Failures < 0 || e.Copy < 0 {
		return dst, fmt.Errorf("%w: type %s, %d failures, copy %d", ErrValue, e.Type, e.Failures, e.Copy)
	}
	dst = appendHeader(dst, e.Type, h)
	dst = appendText(dst, `{"operator":`, e.Operator)
	dst = appendSome(dst, `,"role":`, e.Role)
	dst = appendSome(dst, `,"reason":`, e.Reason)
	dst = appendNumber(dst, `,"failures":`, e.Failures)
	dst = appendSome(dst, `,"sale":`, e.Sale)
	dst = appendNumber(dst, `,"copy":`, e.Copy)
	return append(dst, "}}"...), nil
}

// ParseOperator reads the data of an Operator event, whose type the caller knows.
// Errors: ErrMalformed.
func ParseOperator(kind string, data []byte) (Operator, error) {
	e := Operator{Type: kind}
	r := newReader(data)
	r.object([]string{"operator"}, func(name string) bool {
		switch name {
		case "operator":
			e.Operator = r.text()
		case "role":
			e.Role = r.text()
		case "reason":
			e.Reason = r.text()
		case "failures":
			e.Failures = r.count()
		case "sale":
			e.Sale = r.text()
		case "copy":
			e.Copy = r.count()
		default:
			return false
		}
		return true
	})
	return finish(r, e)
}
