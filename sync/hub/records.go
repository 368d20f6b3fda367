package hub

import (
	"bytes"
	"crypto/ed25519"
	"errors"

	"posd/journal/chain"
	"posd/pos/event"
	"posd/sync/ledger"
	"posd/sync/returns"
)

// intake takes the new records of one parcel into the ledger, in two walks: the
// first one only looks, so that a refusal leaves nothing behind.
type intake struct {
	g       *judge
	tx      ledger.Tx
	c       *ledger.Chain // of the journal that the parcel is of
	m       *message
	origins map[chain.ID]*ledger.Chain // of the copies
	events  map[ledger.Name][]byte     // those that this parcel brings as copies
	frame   []byte                     // scratch
	at      uint64                     // number of the record that is being checked

	signed, unverified int // checkpoints
}

// walk calls fn with each record from fresh on, and the heads before and after it.
func (in *intake) walk(fresh uint64, fn func(rec chain.Record, before, after chain.Head) (*refusal, error)) (*refusal, error) {
	p := &in.m.parcel
	before, rest := p.Prev, p.Frames
	for i, after := range in.m.heads {
		rec, r, err := chain.NextFrame(rest)
		if err != nil {
			return nil, err // cannot be: prepare has walked them
		}
		if p.First+uint64(i) >= fresh {
			if r, err := fn(rec, before, after); r != nil || err != nil {
				return r, err
			}
		}
		before, rest = after, r
	}
	return nil, nil
}

// check proves what the records say of other records.
func (in *intake) check(fresh uint64) (*refusal, error) {
	return in.walk(fresh, func(rec chain.Record, before, after chain.Head) (r *refusal, err error) {
		in.at = rec.Seq
		switch {
		case rec.Seq == 1:
			r = in.checkBirth(in.c, rec)
		case rec.Type == chain.TypeCheckpoint:
			r = in.checkSignature(in.c, rec, before)
		case rec.Type == chain.TypeCopy:
			r, err = in.checkCopy(rec)
		}
		if r == nil && err == nil && in.c.Copied > 0 {
			r, err = in.checkKnown(ledger.Name{Journal: in.c.Journal, Seq: rec.Seq, Head: after}, rec)
		}
		return r, err
	})
}

// refuse says why the parcel is to be refused, unless a person has decided otherwise.
func (in *intake) refuse(cause, format string, a ...any) *refusal {
	for _, w := range in.c.Waived {
		if w.Cause == cause && in.at <= w.Last {
			in.g.tally.waived++
			return nil
		}
	}
	return refuse(cause, format, a...)
}

// checkBirth compares the birth record of c, which may be a copy, with the
// terminal, and takes from it what is needed later.
func (in *intake) checkBirth(c *ledger.Chain, rec chain.Record) *refusal {
	if rec.Type != chain.TypeBirth {
		return in.refuse(CauseIdentity, "record 1 is no birth record but of type %d", rec.Type)
	}
	b, err := chain.ParseBirth(rec.Payload)
	if err != nil {
		return in.refuse(CauseIdentity, "%v", err)
	}
	if b.Store != in.m.store || b.Terminal != in.m.terminal || b.Journal != c.Journal.String() {
		if r := in.refuse(CauseIdentity, "born as journal %s of terminal %s of store %s, came as journal %s of terminal %s of store %s",
			b.Journal, b.Terminal, b.Store, c.Journal, in.m.terminal, in.m.store); r != nil {
			return r
		}
	}
	if c != in.c && (c.Last > 0 || c.PublicKey != nil) {
		return nil // the original has come, or an earlier copy
	}
	if len(b.PublicKey) == ed25519.PublicKeySize {
		c.PublicKey = b.PublicKey
	}
	if b.Parent != nil && len(b.Parent.Journal) <= 64 && len(b.Parent.Head) <= 64 {
		c.Parent = b.Parent
		c.Parent.Reason = cut(c.Parent.Reason, 256)
	}
	return nil
}

// checkSignature verifies a checkpoint of c, if the hub knows the key.
func (in *intake) checkSignature(c *ledger.Chain, rec chain.Record, before chain.Head) *refusal {
	if c.PublicKey == nil || in.g.bug == bugBlindKeys {
		in.unverified++
		return nil
	}
	err := chain.VerifyCheckpoint(rec.Payload, c.Journal, rec.Seq-1, before, c.PublicKey)
	switch {
	case errors.Is(err, chain.ErrNewer): // proves nothing to this release
		in.unverified++
	case err != nil:
		return in.refuse(CauseSignature, "record %d of journal %s: %v", rec.Seq, c.Journal, err)
	default:
		in.signed++
		if c == in.c { // a copy may be of another history than the one in the ledger
			c.Signed = rec.Seq - 1
		}
	}
	return nil
}

// checkCopy looks at a copied record: whose it is, whether it continues the copy
// before it, and whether the ledger has something else under its name.
func (in *intake) checkCopy(rec chain.Record) (*refusal, error) {
	cp, err := chain.ParseCopy(rec.Payload)
	if err != nil {
		return in.refuse(CauseCopy, "record %d: %v", rec.Seq, err), nil
	}
	n := ledger.Name{Journal: cp.Journal, Seq: cp.Record.Seq, Head: cp.Head}
	if in.impossible(n) {
		return in.refuse(CauseCopy, "record %d: a copy of record %d of journal %s cannot stand in journal %s", rec.Seq, n.Seq, n.Journal, in.c.Journal), nil
	}
	o, err := in.origin(n.Journal)
	if err != nil {
		return nil, err
	}
	if o.Store != in.m.store || o.Terminal != in.m.terminal {
		if r := in.refuse(CauseIdentity, "record %d is a copy from journal %s of terminal %s of store %s, it came from terminal %s of store %s",
			rec.Seq, n.Journal, o.Terminal, o.Store, in.m.terminal, in.m.store); r != nil {
			return r, nil
		}
	}
	before, known := in.before(n)
	in.frame = cp.Frame(in.frame[:0])
	if known && before.Next(in.frame) != n.Head && in.g.bug != bugBlindCopies {
		if r := in.refuse(CauseCopy, "record %d: the copy of record %d of journal %s does not continue the hash chain of the copy before it", rec.Seq, n.Seq, n.Journal); r != nil {
			return r, nil
		}
	}
	in.c.LastCopy = n
	var r *refusal
	switch {
	case n.Seq == 1:
		r = in.checkBirth(o, cp.Record)
	case cp.Record.Type == chain.TypeCheckpoint && known:
		r = in.checkSignature(o, cp.Record, before)
	}
	if r != nil {
		return r, nil
	}
	return in.checkKnown(n, cp.Record)
}

// before is the head before a copied record, if the records at hand prove it.
func (in *intake) before(n ledger.Name) (h chain.Head, known bool) {
	last := &in.c.LastCopy
	switch {
	case n.Seq == 1:
		return n.Journal.Head0(), true
	case last.Journal == n.Journal && last.Seq == n.Seq-1:
		return last.Head, true
	}
	return h, false
}

// origin is the chain of a journal that has been copied from.
func (in *intake) origin(id chain.ID) (*ledger.Chain, error) {
	if o := in.origins[id]; o != nil {
		return o, nil
	}
	o, exists, err := in.tx.Chain(id)
	if err != nil {
		return nil, err
	}
	if !exists {
		o = ledger.Chain{Journal: id, Store: in.m.store, Terminal: in.m.terminal, Head: id.Head0(), Updated: in.g.now()}
	}
	in.origins[id] = &o
	return &o, nil
}

// checkKnown refuses a record of whose name the ledger, or this parcel, has
// something else. One of the two is a lie, and only a person can tell which.
func (in *intake) checkKnown(n ledger.Name, rec chain.Record) (*refusal, error) {
	isEvent := rec.Type == event.RecordType
	was, wasEvent := in.events[n]
	if !wasEvent {
		var err error
		if was, wasEvent, err = in.tx.Event(n); err != nil {
			return nil, err
		}
	}
	forged := wasEvent && !(isEvent && bytes.Equal(was, rec.Payload))
	if !wasEvent && isEvent && n.Journal != in.c.Journal {
		h, there, err := in.tx.Head(n.Journal, n.Seq)
		if err != nil {
			return nil, err
		}
		forged = there && h == n.Head // entered, and was no event
		if in.events == nil {
			in.events = make(map[ledger.Name][]byte)
		}
		in.events[n] = rec.Payload
	}
	if forged {
		return in.refuse(CauseCopy, "record %d of journal %s with head %s is known with another content: one of the two is a forged copy",
			n.Seq, n.Journal, n.Head), nil
	}
	return nil, nil
}

// put enters the records.
func (in *intake) put(fresh uint64) error {
	in.g.tally.signed += in.signed
	in.g.tally.unverified += in.unverified
	_, err := in.walk(fresh, func(rec chain.Record, _, after chain.Head) (_ *refusal, err error) {
		var payload []byte
		switch rec.Type {
		case event.RecordType:
			payload, err = in.putEvent(ledger.Name{Journal: in.c.Journal, Seq: rec.Seq, Head: after}, rec.Payload)
		case chain.TypeCopy:
			err = in.putCopy(rec)
		}
		if err != nil {
			return nil, err
		}
		in.c.Records++
		return nil, in.tx.PutRecord(in.c.Journal, rec.Seq, after, payload)
	})
	if err != nil {
		return err
	}
	return in.putOrigins()
}

func (in *intake) putOrigins() error {
	for _, o := range in.origins {
		if err := in.tx.PutChain(*o); err != nil {
			return err
		}
	}
	return nil
}

// impossible: no copy in this journal can have that name.
func (in *intake) impossible(n ledger.Name) bool {
	return n.Journal == in.c.Journal || n.Seq > ledger.MaxSeq
}

// putEvent returns what to enter of an original: nothing, if its name took effect
// as a copy already.
func (in *intake) putEvent(n ledger.Name, payload []byte) ([]byte, error) {
	if in.c.Copied > 0 && in.g.bug != bugNoNames {
		if _, known, err := in.tx.Event(n); known || err != nil {
			return nil, err
		}
	}
	in.c.Events++
	in.takesEffect(n, payload)
	return payload, nil
}

// event is the name of the event that a record is, or is a copy of, if it is one.
func (in *intake) event(rec chain.Record, after chain.Head) (n ledger.Name, ok bool) {
	switch rec.Type {
	case event.RecordType:
		return ledger.Name{Journal: in.c.Journal, Seq: rec.Seq, Head: after}, true
	case chain.TypeCopy:
		cp, err := chain.ParseCopy(rec.Payload)
		if err != nil || cp.Record.Type != event.RecordType {
			return n, false
		}
		n = ledger.Name{Journal: cp.Journal, Seq: cp.Record.Seq, Head: cp.Head}
		return n, !in.impossible(n)
	}
	return n, false
}

// putCopy enters a copied event whose name is not in the ledger yet.
func (in *intake) putCopy(rec chain.Record) error {
	cp, err := chain.ParseCopy(rec.Payload)
	if err != nil || cp.Record.Type != event.RecordType {
		return nil // what cannot be read was accepted by a person: it has no effect
	}
	n := ledger.Name{Journal: cp.Journal, Seq: cp.Record.Seq, Head: cp.Head}
	if in.impossible(n) {
		return nil
	}
	_, known, err := in.tx.Event(n)
	if err != nil {
		return err
	}
	switch in.g.bug {
	case bugNoNames:
		known = false
	case bugNoHeads:
		_, had, _ := in.tx.Head(n.Journal, n.Seq)
		known = known || had
	}
	if known {
		in.g.tally.repeated++
		return nil
	}
	in.g.tally.copied++
	o, err := in.origin(n.Journal)
	if err != nil {
		return err
	}
	o.Events++
	o.Copied++
	if err := in.tx.PutCopy(n, in.c.Journal, rec.Seq, cp.Record.Payload); err != nil {
		return err
	}
	in.takesEffect(n, cp.Record.Payload)
	return nil
}

// takesEffect notes an event that is new to the ledger.
func (in *intake) takesEffect(n ledger.Name, payload []byte) {
	in.g.out = append(in.g.out, n)
	r := ledger.Receipt{Store: in.m.store, Terminal: in.m.terminal, Number: ledger.ReceiptOf(payload), Event: n}
	if r.Number != "" && returns.Back(payload) && in.g.bug != bugNoReturns {
		in.g.returns = append(in.g.returns, r)
	}
	if r.Number == "" {
		r.Number = ledger.ReportOf(r.Terminal, payload)
	}
	if r.Number != "" {
		in.g.receipts = append(in.g.receipts, r)
	}
}
