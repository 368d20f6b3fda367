package till

import (
	"slices"
	"strings"

	"posd/pos"
	"posd/pos/event"
)

// Offline is what payment terminals have approved without their acquirer, at the shop's
// own risk.
type Offline struct {
	Outstanding pos.Money // not known to have been forwarded
	Date        string    // business date of Day
	Day         pos.Money // approved on it
	Terminal    string    // the payment terminal that counts Forwarded; a former release did not keep it
	Memory      string    // of it
	Forwarded   pos.Money // what it has forwarded since that memory began, as last journaled
}

// Limits bound what may be approved offline, in minor units; 0: nothing.
type Limits struct {
	Sale, Terminal, Day pos.Money
}

// Driver is the way to a payment terminal, as a tender remembers it.
type Driver struct {
	Name   string // of the payment terminal
	Memory string // what it remembers, as it says itself
	Limits Limits

	Journal string // that the tender begins in, as names of baskets begin; empty: the basket's
}

// unsettled says that nobody knows yet, or not for certain, whether this payment counts.
func unsettled(t *event.OpenTender) bool {
	return t.State == "pending" || t.State == "unknown" || t.State == "reversing"
}

// Unsettled are the tenders that a payment terminal has to say something about, with
// their baskets. The pointers are good as long as the state is not changed.
func (s *State) Unsettled(each func(*Basket, *event.OpenTender)) {
	for _, b := range s.Baskets {
		for i := range b.Tenders {
			if t := &b.Tenders[i]; t.Driver != "" && unsettled(t) {
				each(b, t)
			}
		}
	}
}

// Exposure is what the shop would lose now if nothing that was approved offline were
// paid: outstanding, and on this business date. Payments whose outcome is not known
// count as what they may become.
func (s *State) Exposure() (outstanding, day pos.Money) {
	outstanding = s.Offline.Outstanding
	if s.Offline.Date == s.Date {
		day = s.Offline.Day
	}
	s.Unsettled(func(_ *Basket, t *event.OpenTender) {
		if !offline(t) {
			outstanding, day = outstanding+t.Offline, day+t.Offline
		}
	})
	return outstanding, day
}

// offline says that the tender was approved so, and is in State.Offline.
func offline(t *event.OpenTender) bool { return t.Card != nil && t.Card.Offline }

// InDoubt says that a payment terminal may have approved the tender offline, and that
// nobody knows: it is not in State.Offline, but may be in what was forwarded.
func InDoubt(t *event.OpenTender) bool {
	return unsettled(t) && !offline(t) && t.Offline > 0 && t.Reference == ""
}

// NeverForwarded says of a tender that was approved offline, and taken back since, that
// the acquirer cannot have got it before: the payment terminal has not forwarded so much
// since it was asked for it. total is what it tells after it was taken back.
func NeverForwarded(t *event.OpenTender, terminal, memory string, total pos.Money) bool {
	return offline(t) && Remembers(t, terminal, memory) && total-t.ForwardedBefore < t.Amount
}

// Remembers says that a payment terminal that calls itself and its memory so is the one
// that was asked for t, and has forgotten nothing since. Its memory's name alone says
// nothing: another one may count its memories the same way.
func Remembers(t *event.OpenTender, terminal, memory string) bool {
	return t.Driver == terminal && t.Memory == memory
}

// counts says that the payment terminal is the one that Forwarded was counted by.
func (o *Offline) counts(terminal, memory string) bool {
	return o.Terminal == terminal && o.Memory == memory
}

// offlineMost is how much of amount may be approved offline: all of it or nothing.
func (s *State) offlineMost(b *Basket, amount pos.Money, l Limits) pos.Money {
	outstanding, day := s.Exposure()
	for i := range b.Tenders {
		if t := &b.Tenders[i]; offline(t) && t.State != "reversed" {
			l.Sale -= t.Amount
		}
	}
	if amount <= 0 || amount > min(l.Sale, l.Terminal-outstanding, l.Day-day) {
		return 0
	}
	return amount
}

// fold keeps the sum of what was approved offline. was is the tender before. It returns
// the business date that the tender counts for, empty if it does not.
func (o *Offline) fold(was *event.OpenTender, e *event.Basket, date string) string {
	counted := was != nil && offline(was)
	now := e.Tender.Card != nil && e.Tender.Card.Offline
	amount := max(0, e.Tender.Amount)
	switch {
	case e.Type == event.TypeTenderApproved && now && !counted && e.Driver != "":
		if o.Date != date {
			o.Date, o.Day = date, 0
		}
		o.Outstanding += amount
		o.Day += amount
		return date
	case e.Type == event.TypeTenderReversed && now && counted && e.Driver != "":
		// It was still with the payment terminal, which forgets it.
		o.Outstanding = max(0, o.Outstanding-amount)
		if o.Date == was.OfflineDate { // a former release did not keep that: then it stays
			o.Day = max(0, o.Day-amount)
		}
	case counted && e.Type != event.TypeTenderReversed:
		return was.OfflineDate
	}
	return ""
}

func (o *Offline) forwarded(e *event.CardForwarded) {
	o.Outstanding = max(0, o.Outstanding-e.Amount)
	if e.Memory != "" {
		o.Terminal, o.Memory, o.Forwarded = e.Terminal, e.Memory, e.Total
	}
}

// Forwarded says what a payment terminal has told about its offline approvals: so much
// was forwarded since its memory began. It returns nil if that is known. What a former
// memory had not forwarded stays outstanding, until a person says what became of it. As
// much as tenders in doubt may be of it is held back until they are settled: it would be
// taken off others', while they are not outstanding.
func (s *State) Forwarded(terminal, memory string, total pos.Money) *event.CardForwarded {
	o := &s.Offline
	e := &event.CardForwarded{Terminal: terminal, Memory: memory, Total: total}
	switch {
	case !o.counts(terminal, memory): // counted from here on
	default:
		news := total - o.Forwarded
		s.Unsettled(func(_ *Basket, t *event.OpenTender) {
			if InDoubt(t) && Remembers(t, terminal, memory) {
				news -= t.Offline
			}
		})
		if news <= 0 {
			return nil
		}
		e.Total, e.Amount = o.Forwarded+news, min(news, o.Outstanding)
	}
	return e
}

// Share is for a tender in doubt that the payment terminal has acted upon, and does not
// have any more: nobody knows whether it was ever approved offline. If there is room for
// it in what was forwarded, it may be that: then so much is taken off nobody's.
func (s *State) Share(terminal, memory string, total pos.Money, t *event.OpenTender) *event.CardForwarded {
	o := &s.Offline
	if !InDoubt(t) || !Remembers(t, terminal, memory) || !o.counts(terminal, memory) || total-o.Forwarded < t.Offline {
		return nil
	}
	return &event.CardForwarded{Terminal: terminal, Memory: memory, Total: o.Forwarded + t.Offline}
}

// WriteOff says by hand that amount is outstanding no more.
func (s *State) WriteOff(o Step, amount pos.Money) (*event.CardForwarded, error) {
	switch {
	case o.Reason == "":
		return nil, &RefusalError{Code: CodeValue, Detail: "say why: what the acquirer's report shows", Field: "/reason"}
	case amount <= 0 || amount > s.Offline.Outstanding:
		return nil, &RefusalError{Code: CodeValue, Detail: "at most what is outstanding can be taken off, and above zero", Field: "/amount"}
	}
	return &event.CardForwarded{Amount: amount, Operator: o.Operator, Approved: o.Approved, Reason: o.Reason}, nil
}

// Reverse says that the payment terminal is about to be asked to take tender id back,
// whatever became of it. A tender that no payment terminal took is reversed at once.
func (s *State) Reverse(o Step, r Rules, id string, learned *pos.Tender) (*event.Basket, error) {
	kind := event.TypeTenderReversed
	if b := s.Find(o.Basket); b != nil {
		if t := b.Tender(id); t != nil && t.Driver != "" {
			kind, learned = event.TypeTenderReversing, nil
		}
	}
	return s.EndTender(o, r, id, kind, learned)
}

// Resolve ends by hand a tender of which the payment terminal cannot say what became of
// it: somebody has looked, there or at the acquirer, and says why. said has the reference
// of a payment that was made, and its amount, where the payment terminal named another one.
func (s *State) Resolve(o Step, r Rules, id string, paid bool, said *pos.Tender) (*event.Basket, error) {
	b, err := s.Seen(o)
	if err != nil {
		return nil, err
	}
	t := b.Tender(id)
	switch {
	case t == nil:
		return nil, noTender(id)
	case t.State != "unknown" && t.State != "reversing" && (paid || !t.Kept):
		return nil, isState(t, "; only one that is unknown, or that the payment terminal does not take back, is ended by hand")
	case o.Reason == "":
		return nil, &RefusalError{Code: CodeValue, Detail: "say why, and who has looked where", Field: "/reason"}
	case (said.Amount != 0 || paid && t.Charged != 0) && said.Amount != t.Amount:
		return nil, &RefusalError{Code: CodeValue, Detail: "the payment terminal has named another amount, or you do: only if the acquirer's report shows the tender's own amount, give that; else have it paid back there, and end the tender as not-paid", Field: "/amount"}
	case paid && said.Reference == "" && t.Reference == "":
		return nil, &RefusalError{Code: CodeTender, Detail: "a payment that was made has a reference: the number on its slip", Field: "/reference"}
	}
	// What a person says of money that was approved offline is the careful side of it: a
	// payment that was made may be outstanding; one that was taken back may have been
	// forwarded before, and is taken off by WriteOff alone.
	learned, kind := &pos.Tender{Reference: said.Reference}, event.TypeTenderDeclined
	if paid {
		kind = event.TypeTenderApproved
		if learned.Card = t.Card; t.Card == nil {
			learned.Card = &pos.CardData{Offline: t.Offline > 0}
		}
	} else if t.State != "unknown" {
		kind = event.TypeTenderReversed
		if t.Card != nil {
			c := *t.Card
			c.Offline = false
			learned.Card = &c
		}
	}
	return s.EndTender(o, r, id, kind, learned)
}

// Tender returns the one with that id, nil if there is none.
func (b *Basket) Tender(id string) *event.OpenTender {
	i := slices.IndexFunc(b.Tenders, func(t event.OpenTender) bool { return t.ID == id })
	if i < 0 {
		return nil
	}
	return &b.Tenders[i]
}

// Waits says that nobody knows yet whether a payment terminal took money for the tender.
func (b *Basket) Waits(id string) bool {
	t := b.Tender(id)
	return t != nil && t.Driver != "" && (t.State == "pending" || t.State == "unknown")
}

// Ended says that nobody asks a payment terminal about the tender any more.
func (b *Basket) Ended(id string) bool {
	t := b.Tender(id)
	return t == nil || !unsettled(t)
}

// Still says that the tender has not become anything else since.
func (b *Basket) Still(was *event.OpenTender) bool {
	t := b.Tender(was.ID)
	return t != nil && t.State == was.State
}

// follows says whether an event may follow upon what a tender is.
func follows(t *event.OpenTender, kind string) bool {
	switch t.State {
	case "pending", "unknown":
		return kind != event.TypeTenderReversed && kind != event.TypeTenderPending && strings.HasPrefix(kind, "tender.")
	case "approved":
		return kind == event.TypeTenderReversed && (t.Driver == "" || t.Kept) || kind == event.TypeTenderReversing && t.Driver != ""
	case "reversing":
		return kind == event.TypeTenderReversed || kind == event.TypeTenderApproved
	}
	return false
}
