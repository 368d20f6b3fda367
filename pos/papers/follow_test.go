package papers

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"posd/pos"
	"posd/pos/event"
)

// What a sale's bytes tell without being parsed is what they say when they are, whatever
// stands in its texts.
func TestToldByBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{`"print":true`, `","print":true,"x":"`, `"kind":"cash"`, `\","kind":"cash"`, `\"kind\":\"cash\"`}))
		kinds := rapid.SampledFrom([]pos.TenderKind{pos.Cash, pos.Card, pos.Voucher, pos.Account})
		e := event.SaleCompleted{
			Currency: pos.Currency{Code: "EUR", Exponent: 2}, Note: text.Draw(t, "note"), Customer: text.Draw(t, "customer"), Print: rapid.Bool().Draw(t, "print"),
			Lines:   []pos.Line{{Description: text.Draw(t, "description"), Note: text.Draw(t, "line"), Unit: text.Draw(t, "unit")}},
			Tenders: []pos.Tender{{Kind: kinds.Draw(t, "kind"), Amount: 1, Reference: text.Draw(t, "reference")}},
		}
		b, err := e.AppendEvent(nil, event.Header{Key: text.Draw(t, "key"), Front: text.Draw(t, "front")})
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, toPrint) != e.Print || bytes.Contains(b, inCash) != (e.Tenders[0].Kind == pos.Cash) {
			t.Fatalf("%s", b)
		}
	})
}
