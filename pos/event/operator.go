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
	TypeReceiptPrinted = "receipt.printed" // given out, on paper or to a front end: the first one
	TypeReceiptCopied  = "receipt.copied"  // given out once more

	TypeOperatorRefused  = "operator.refused"  // a wrong PIN
	TypeOperatorUnlocked = "operator.unlocked" // before the lock's time was over
	TypeOperatorApproved = "operator.approved" // a second operator allowed what the first may not do
)

// OperatorTypes are the types of an Operator event.
var OperatorTypes = [...]string{TypeSignedIn, TypeSignedOut, TypeOperatorLocked, TypeReceiptPrinted, TypeReceiptCopied,
	TypeOperatorRefused, TypeOperatorUnlocked, TypeOperatorApproved}

// Operator is something that an operator did, or that was done to one.
type Operator struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Type     string // one of OperatorTypes
	Operator string
	Role     string
	Reason   string
	Failures int    // wrong PINs in a row
	Sale     string // whose receipt was given out
	Copy     int    // its number, from 1; 0: it is the receipt

	Approved   string // the second operator who allowed it, if one had to; of operator.unlocked: who did it
	For        string // of operator.approved: who had asked
	Permission string // likewise: what for
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
	dst = appendSome(dst, `,"approved":`, e.Approved)
	dst = appendSome(dst, `,"for":`, e.For)
	dst = appendSome(dst, `,"permission":`, e.Permission)
	return append(dst, "}}"...), nil
}

// ParseOperator reads the data of an Operator event, whose type the caller knows.
// Errors: ErrMalformed.
func ParseOperator(kind string, data []byte) (Operator, error) {
	e := Operator{Type: kind}
	r := newReader(data)
	r.object(members{
		{"operator", &e.Operator, must},
		{"role", &e.Role, may},
		{"reason", &e.Reason, may},
		{"failures", &e.Failures, may},
		{"sale", &e.Sale, may},
		{"copy", &e.Copy, may},
		{"approved", &e.Approved, may},
		{"for", &e.For, may},
		{"permission", &e.Permission, may},
	})
	return finish(r, e)
}
