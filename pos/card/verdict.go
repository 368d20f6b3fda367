package card

import (
	"posd/pos"
	"posd/pos/event"
	"posd/pos/till"
)

// verdict is what an answer makes of a tender: the event that says so. Kind is empty
// where it changes nothing yet.
type verdict struct {
	kind    string
	learned *pos.Tender
	reason  string
	stuck   bool // the payment terminal will not say anything else: a person has to look
}

// judge says what an answer of a payment terminal makes of t. g is how it greeted when it
// was asked: that it did something is believed whatever it has forgotten, that it did
// nothing only of the one that was asked for t, if that has forgotten nothing.
func judge(t *event.OpenTender, a *Answer, g Greeting, c pos.Currency) verdict {
	forgot := !till.Remembers(t, g.Terminal, g.Memory) && !planted("card-any-memory")
	reversing := t.State == "reversing"
	switch {
	case a.State == Pending:
		return verdict{}
	case a.State == Approved:
		return approved(t, a, c)
	case a.State == Reversed:
	case forgot, t.Card != nil: // it may have acted, or has said so
		return verdict{reason: "the payment terminal cannot tell what it did: look at its own records, or at the acquirer's, and end the tender by hand", stuck: true}
	case a.State == Absent:
		if reversing {
			return verdict{kind: event.TypeTenderReversed, reason: "the payment terminal never got it"}
		}
		return verdict{kind: event.TypeTenderDeclined, reason: "the payment terminal never got it"}
	default:
		if reversing {
			return verdict{kind: event.TypeTenderReversed, reason: a.Reason}
		}
		return verdict{kind: event.TypeTenderDeclined, reason: or(a.Reason, "the payment terminal declined")}
	}
	if !reversing {
		return verdict{kind: event.TypeTenderDeclined, reason: or(a.Reason, "the payment terminal took it back")}
	}
	v := verdict{kind: event.TypeTenderReversed, reason: a.Reason}
	if t.Card != nil { // as it was approved, but for whether the acquirer has it
		c := *t.Card
		c.Offline = a.Offline
		v.learned = &pos.Tender{Card: &c}
	}
	return v
}

// approved is judge for a payment that was made.
func approved(t *event.OpenTender, a *Answer, c pos.Currency) verdict {
	wrong, charged, asked := "", pos.Money(0), max(t.Amount, -t.Amount)
	switch amount := a.Amount; {
	case amount != asked && amount != t.Amount: // below zero only what was to be paid back
		charged = amount
		wrong = "the payment terminal approved another amount, " + amount.Format(c) + " instead of " + asked.Format(c)
	case a.Offline && t.Offline < t.Amount || a.Offline && t.Amount < 0:
		wrong = "the payment terminal approved offline what it may not"
	}
	learned := &pos.Tender{Amount: charged, Card: &pos.CardData{Brand: a.Brand, Last4: a.Last4, Auth: a.Auth}}
	switch {
	case t.State == "reversing" && planted("card-kept"):
		return verdict{kind: event.TypeTenderReversed}
	case t.State == "reversing" && wrong != "":
		v := verdict{reason: wrong + ", and does not take it back: look there and end the tender by hand", stuck: true}
		if charged != 0 && t.Charged == 0 { // nothing keeps it yet
			v.kind, v.learned = event.TypeTenderReversing, learned
		}
		return v
	case t.State == "reversing" && t.Reference != "":
		return verdict{kind: event.TypeTenderApproved, reason: or(a.Reason, "the payment terminal does not take it back")}
	case wrong != "": // the card's data say from here on that it was approved
		return verdict{kind: event.TypeTenderReversing, reason: wrong, learned: learned}
	}
	learned.Reference, learned.Card.Offline = a.Number, a.Offline
	if learned.Reference == "" {
		learned.Reference = "posd " + a.Reference // letters keep it from looking like a card number
	}
	return verdict{kind: event.TypeTenderApproved, reason: a.Reason, learned: learned}
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
