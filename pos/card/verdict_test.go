package card

import (
	"strings"
	"testing"

	"posd/pos"
	"posd/pos/event"
)

// What each answer makes of each state. "" stays as it is, "stuck" needs a person.
func TestJudge(t *testing.T) {
	tender := func(state string, amount, offline pos.Money, approved bool) *event.OpenTender {
		x := &event.OpenTender{Tender: pos.Tender{ID: "1", Kind: pos.Card, Amount: amount}, State: state, Driver: "P", Memory: "m1", Offline: offline}
		if approved {
			x.Reference, x.Card = "000001", &pos.CardData{Brand: "visa", Offline: offline > 0}
		}
		return x
	}
	open := tender("unknown", 500, 0, false)
	back := tender("reversing", 500, 0, true)   // it was approved
	never := tender("reversing", 500, 0, false) // nobody knows
	ok := Answer{State: Approved, Amount: 500, Number: "7"}
	euro := pos.Currency{Code: "EUR", Exponent: 2}
	g := Greeting{Terminal: "P", Memory: "m1"}
	for _, c := range []struct {
		name     string
		of       *event.OpenTender
		a        Answer
		memory   string
		want     string
		terminal string // empty: P
	}{
		{"approved", open, ok, "m1", event.TypeTenderApproved, ""},
		{"approved by one that has forgotten other things", open, ok, "m2", event.TypeTenderApproved, ""},
		{"pending", tender("pending", 500, 0, false), Answer{State: Pending}, "m1", "", ""},
		{"another amount", open, Answer{State: Approved, Amount: 501}, "m1", event.TypeTenderReversing, ""},
		{"charged, it says, what was paid back", open, Answer{State: Approved, Amount: -500}, "m1", event.TypeTenderReversing, ""},
		{"refund with its sign", tender("unknown", -500, 0, false), Answer{State: Approved, Amount: -500}, "m1", event.TypeTenderApproved, ""},
		{"no amount", open, Answer{State: Approved}, "m1", event.TypeTenderReversing, ""},
		{"refund", tender("unknown", -500, 0, false), ok, "m1", event.TypeTenderApproved, ""},
		{"refund offline", tender("unknown", -500, 0, false), Answer{State: Approved, Amount: 500, Offline: true}, "m1", event.TypeTenderReversing, ""},
		{"offline as allowed", tender("unknown", 500, 500, false), Answer{State: Approved, Amount: 500, Offline: true}, "m1", event.TypeTenderApproved, ""},
		{"offline though not allowed", open, Answer{State: Approved, Amount: 500, Offline: true}, "m1", event.TypeTenderReversing, ""},
		{"declined", open, Answer{State: Declined}, "m1", event.TypeTenderDeclined, ""},
		{"declined by one that has forgotten", open, Answer{State: Declined}, "m2", "stuck", ""},
		{"absent", open, Answer{State: Absent}, "m1", event.TypeTenderDeclined, ""},
		{"absent from one that has forgotten", open, Answer{State: Absent}, "m2", "stuck", ""},
		{"reversed", open, Answer{State: Reversed}, "m2", event.TypeTenderDeclined, ""},
		{"absent, says another payment terminal that counts its memories the same way", open, Answer{State: Absent}, "m1", "stuck", "Q"},
		{"declined, says another", open, Answer{State: Declined}, "m1", "stuck", "Q"},
		{"to be taken back, never heard of by another", never, Answer{State: Absent}, "m1", "stuck", "Q"},

		{"taken back", back, Answer{State: Reversed}, "m1", event.TypeTenderReversed, ""},
		{"taken back after it had forgotten", back, Answer{State: Reversed}, "m2", event.TypeTenderReversed, ""},
		{"refused to take back", back, ok, "m1", event.TypeTenderApproved, ""},
		{"approved, now never heard of", back, Answer{State: Absent}, "m1", "stuck", ""},
		{"still at it", back, Answer{State: Pending}, "m1", "", ""},
		{"declined to take back", back, Answer{State: Declined}, "m1", "stuck", ""},
		{"never charged", never, Answer{State: Declined}, "m1", event.TypeTenderReversed, ""},
		{"never asked", never, Answer{State: Absent}, "m1", event.TypeTenderReversed, ""},
		{"forgotten while it is to be taken back", never, Answer{State: Absent}, "m2", "stuck", ""},
		{"it went through, and stays", never, ok, "m1", event.TypeTenderApproved, ""},
		{"the wrong amount stays", never, Answer{State: Approved, Amount: 1}, "m1", "stuck" + event.TypeTenderReversing, ""},
	} {
		v := judge(c.of, &c.a, Greeting{Terminal: or(c.terminal, "P"), Memory: c.memory}, euro)
		got := v.kind
		if v.stuck {
			got = "stuck" + v.kind
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if v.stuck && !strings.Contains(v.reason, "by hand") {
			t.Errorf("%s: the reason does not say what to do: %s", c.name, v.reason)
		}
	}
	// A basket's name may look like the number of a card.
	a := Answer{State: Approved, Reference: "41111111-11111-11", Amount: 500, Auth: "A"}
	if pos.CheckReference(a.Reference) == nil {
		for n := range 10 {
			if a.Reference = "41111111-11111-1" + string(rune('0'+n)); pos.CheckReference(a.Reference) != nil {
				break
			}
		}
	}
	if v := judge(open, &a, g, euro); pos.CheckReference(a.Reference) == nil || pos.CheckReference(v.learned.Reference) != nil || v.learned.Reference == "" || v.learned.Card.Auth != "A" {
		t.Errorf("a payment without a number: %+v", v.learned)
	}
	// One that was approved offline and has been forwarded is not with the payment
	// terminal any more: what is outstanding was lowered by that already.
	stored := tender("reversing", 500, 500, true)
	for _, still := range []bool{true, false} {
		if v := judge(stored, &Answer{State: Reversed, Offline: still}, g, euro); v.learned.Card.Offline != still {
			t.Errorf("%+v", v.learned.Card)
		}
	}
	if !stored.Card.Offline {
		t.Error("the tender itself was changed")
	}
}
