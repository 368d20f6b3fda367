package ledger

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"posd/pos/event"
)

// maxReceipt bounds a receipt number: two names, two numbers and two dashes take less.
const maxReceipt = 128

// ReceiptOf is the receipt number of a completed sale, "" of anything else. It
// reads no more than that, so that a newer release's sale has one too.
func ReceiptOf(payload []byte) string {
	h, data, err := event.Parse(payload)
	if err != nil || h.Type != event.TypeSaleCompleted {
		return ""
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	dec.ReadToken() // the object that Parse has found
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return ""
		}
		if name.String() != "receipt" {
			if dec.SkipValue() != nil {
				return ""
			}
			continue
		}
		if dec.PeekKind() != '"' {
			return ""
		}
		v, err := dec.ReadToken()
		if err != nil || !isReceipt(v.String()) {
			return ""
		}
		return v.String()
	}
	return ""
}

// isReceipt: printable ASCII without spaces, of a sane length.
func isReceipt(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= maxReceipt
}

var shiftClosed = []byte(`"` + event.TypeShiftClosed + `"`)

// ReportOf is the number of a Z report as its paper has it, t1-Z17, "" of anything else.
// Reports are numbered without branches: two histories of one terminal give a number twice.
func ReportOf(terminal string, payload []byte) string {
	if !bytes.Contains(payload, shiftClosed) {
		return ""
	}
	h, data, err := event.Parse(payload)
	if err != nil || h.Type != event.TypeShiftClosed {
		return ""
	}
	e, err := event.ParseShiftClosed(data)
	number := terminal + "-Z" + strconv.FormatUint(e.Z, 10)
	if err != nil || e.Z == 0 || !isReceipt(number) {
		return ""
	}
	return number
}
