package event

import "posd/pos"

// TypeCardForwarded says that payments which the payment terminal had approved offline
// are with its acquirer: the shop bears their risk no more.
const TypeCardForwarded = "card.forwarded"

// CardForwarded is what the payment terminal counts, or what a person found out.
type CardForwarded struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Terminal string    // of the payment terminal; empty: a person says it
	Memory   string    // that Total is counted in
	Total    pos.Money // forwarded since that memory began
	Amount   pos.Money // by which the outstanding ones become less
	Operator string    // who says it; empty: the payment terminal
	Approved string
	Reason   string
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *CardForwarded) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeCardForwarded, h)
	dst = appendInt(dst, `{"amount":`, e.Amount)
	dst = appendNumber(dst, `,"total":`, e.Total)
	dst = appendSome(dst, `,"terminal":`, e.Terminal)
	dst = appendSome(dst, `,"memory":`, e.Memory)
	dst = appendSome(dst, `,"operator":`, e.Operator)
	dst = appendSome(dst, `,"approved":`, e.Approved)
	dst = appendSome(dst, `,"reason":`, e.Reason)
	return append(dst, "}}"...), nil
}

// ParseCardForwarded reads the data of a card.forwarded event. Errors: ErrMalformed.
func ParseCardForwarded(data []byte) (CardForwarded, error) {
	var e CardForwarded
	r := newReader(data)
	r.object(members{
		{"amount", &e.Amount, must},
		{"total", &e.Total, may},
		{"terminal", &e.Terminal, may},
		{"memory", &e.Memory, may},
		{"operator", &e.Operator, may},
		{"approved", &e.Approved, may},
		{"reason", &e.Reason, may},
	})
	return finish(r, e)
}
