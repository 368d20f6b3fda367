package returns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"posd/journal/chain"
	"posd/pos/event"
	"posd/sync/ledger"
)

// Kinds of documents in the ledger.
const (
	kindQueue   = "return-new"   // by event's name: "<store>/<terminal>" of an event that nobody has looked at
	kindReceipt = "return"       // "<store>/<receipt>": an account
	kindOpen    = "return-open"  // likewise: its state, if somebody should see to it
	kindWait    = "return-wait"  // likewise: "<when to look for its sale again, Unix milliseconds> <state>"
	kindBlind   = "return-blind" // "<time> <event's name>": a Return
)

const (
	batch     = 200 // events, or receipts, in one transaction
	maxCount  = 10_000
	keepBlind = 400 * 24 * time.Hour
)

// Times say when a receipt that is not here is not expected any more.
type Times struct {
	Caught   time.Duration // after the return, when all that the till held then is here
	Stranger time.Duration // if no till of that name was ever heard
	Silent   time.Duration // if the till was not heard since
}

// DefaultTimes of a Judge.
var DefaultTimes = Times{Caught: time.Hour, Stranger: 3 * 24 * time.Hour, Silent: 30 * 24 * time.Hour}

// Till is what head office knows of the till that is said to have given a receipt.
type Till struct {
	Known  bool // it has been heard
	Caught bool // it was heard after the time asked for, and all that it held then is in the ledger
}

// Judge works on what [Put] has noted. One at a time is enough; several do no harm.
type Judge struct {
	Ledger ledger.Ledger
	Now    func() time.Time
	Till   func(tx ledger.Tx, store, terminal string, since time.Time) (Till, error)
	Times  Times

	bug bug
}

// Tally is what one call did.
type Tally struct {
	Events     int      // that gave something back of a receipt
	Blind      int      // that gave back goods without one
	Unreadable int      // that cannot be read
	Over       []string // "<store>/<receipt>" that became so
	Unknown    []string
	More       bool // there is more to do
}

type bug uint8

const (
	noBug     bug = iota
	bugKeep       // what was judged stays noted
	bugForget     // a receipt that is not here is not looked for again
	bugEager      // a receipt that is not here is cried out at once
	bugLatest     // only the last return counts
	bugNoLock     // one more sale with a number does not wait for who compares its receipt
)

// Back reports whether a completed sale may give goods back. It looks for a name that no
// other sale has, and no text: within those a quote is escaped.
func Back(payload []byte) bool { return bytes.Contains(payload, []byte(`"return"`)) }

// Put notes an event that may give goods back, in the transaction in which it takes effect.
func Put(tx ledger.Tx, n ledger.Name, store, terminal string) error {
	return tx.PutDoc(kindQueue, nameKey(n), []byte(store+"/"+terminal))
}

// Look has receipts compared anew of which something came back, since they have one more
// sale. Each is locked, as the judge does it: it either has seen that sale, or is done, and
// will look again.
func Look(tx ledger.Tx, sales []ledger.Receipt) error { return look(tx, sales, noBug) }

func look(tx ledger.Tx, sales []ledger.Receipt, b bug) error {
	keys := make([]string, len(sales))
	for i := range sales {
		keys[i] = accountKey(sales[i].Store, sales[i].Number)
	}
	slices.Sort(keys) // two hubs lock in one order
	for _, k := range slices.Compact(keys) {
		ok, err := true, error(nil)
		if b != bugNoLock {
			_, ok, err = tx.Doc(kindReceipt, k)
		}
		if ok && err == nil {
			err = tx.PutDoc(kindWait, k, []byte("0"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func nameKey(n ledger.Name) string {
	return fmt.Sprintf("%s:%020d:%s", n.Journal, n.Seq, n.Head)
}

func parseNameKey(s string) (n ledger.Name, err error) {
	p := strings.Split(s, ":")
	if len(p) != 3 {
		return n, fmt.Errorf("document %q is not named as an event", s)
	}
	var err1, err2, err3 error
	n.Journal, err1 = chain.ParseID(p[0])
	n.Seq, err2 = strconv.ParseUint(p[1], 10, 64)
	n.Head, err3 = chain.ParseHead(p[2])
	return n, errors.Join(err1, err2, err3)
}

// noted is an event that nobody has looked at.
type noted struct {
	key             string
	store, terminal string
}

// Judge looks at some of the events that were noted.
func (j *Judge) Judge(ctx context.Context) (t Tally, err error) {
	some := false
	if err := j.Ledger.View(ctx, func(tx ledger.Tx) error {
		return tx.Docs(kindQueue, "", func(string, []byte) (bool, error) { some = true; return false, nil })
	}); err != nil || !some {
		return t, err
	}
	err = j.Ledger.Update(ctx, func(tx ledger.Tx) error {
		t = Tally{}
		var work []noted
		if err := tx.Docs(kindQueue, "", func(k string, v []byte) (bool, error) {
			if t.More = len(work) == batch; t.More {
				return false, nil
			}
			store, terminal, _ := strings.Cut(string(v), "/")
			work = append(work, noted{k, store, terminal})
			return true, nil
		}); err != nil {
			return err
		}
		return j.work(tx, work, &t)
	})
	return t, err
}

// part is what one event gives back of one receipt.
type part struct {
	n ledger.Name
	noted
	e *event.SaleCompleted
}

func (j *Judge) work(tx ledger.Tx, work []noted, t *Tally) error {
	parts := make(map[string][]part) // by account; "" has the blind ones
	for _, w := range work {
		n, err := parseNameKey(w.key)
		if err != nil {
			return err
		}
		if _, still, err := tx.Doc(kindQueue, w.key); err != nil {
			return err
		} else if !still {
			continue // another hub was faster
		}
		if j.bug != bugKeep {
			if err := tx.DeleteDoc(kindQueue, w.key); err != nil {
				return err
			}
		}
		e, err := saleOf(tx, n)
		switch {
		case errors.Is(err, errUnreadable):
			t.Unreadable++
			continue
		case err != nil:
			return err
		}
		for _, number := range numbers(e) {
			k := ""
			if number != "" {
				k = accountKey(w.store, number)
			}
			parts[k] = append(parts[k], part{n, w, e})
		}
	}
	at := j.Now()
	for _, p := range parts[""] {
		t.Blind++
		if err := putBlind(tx, newReturn(at, p.n, p.store, p.terminal, p.e, back(p.e, ""))); err != nil {
			return err
		}
	}
	delete(parts, "")
	for _, k := range slices.Sorted(maps.Keys(parts)) { // two hubs lock in one order
		if err := j.count(tx, k, parts[k], at, t); err != nil {
			return err
		}
	}
	return nil
}

// count adds what events give back of one receipt, and compares.
func (j *Judge) count(tx ledger.Tx, k string, parts []part, at time.Time, t *Tally) error {
	store, number, err := parseAccountKey(k)
	if err != nil {
		return err
	}
	a, err := load(tx, store, number)
	if err != nil {
		return err
	}
	was := a.State
	for _, p := range parts {
		if j.bug == bugLatest {
			a.Sums = nil
		}
		t.Events++
		lines := back(p.e, number)
		a.add(newReturn(at, p.n, p.store, p.terminal, p.e, lines), p.e, lines)
	}
	return j.decide(tx, a, was, nil, t)
}

// Again looks for sales that were not there, and forgets blind returns of long ago.
func (j *Judge) Again(ctx context.Context) (t Tally, err error) {
	type due struct {
		store, number string
		till          Till
	}
	var all []due
	var gone []string
	now := j.Now()
	err = j.Ledger.View(ctx, func(tx ledger.Tx) error {
		all, gone, t.More = nil, nil, false
		if err := tx.Docs(kindBlind, "", func(k string, _ []byte) (bool, error) {
			old := k < blindKey(now.Add(-keepBlind), "")
			if old {
				gone = append(gone, k)
			}
			return old && len(gone) < batch, nil
		}); err != nil {
			return err
		}
		if err := tx.Docs(kindWait, "", func(k string, v []byte) (bool, error) {
			at, _, _ := strings.Cut(string(v), " ")
			if next, _ := strconv.ParseInt(at, 10, 64); next > now.UnixMilli() {
				return true, nil
			}
			if t.More = len(all) == batch; t.More {
				return false, nil
			}
			store, number, err := parseAccountKey(k)
			all = append(all, due{store: store, number: number})
			return true, err
		}); err != nil {
			return err
		}
		for i := range all { // read here: an Update would lock what other parts of the hub write
			a, err := load(tx, all[i].store, all[i].number)
			if err == nil && a.Terminal != "" {
				all[i].till, err = j.Till(tx, a.Store, a.Terminal, a.First.Add(j.Times.Caught))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(all)+len(gone) == 0 || j.bug == bugForget {
		return t, err
	}
	more := t.More
	err = j.Ledger.Update(ctx, func(tx ledger.Tx) error {
		t = Tally{More: more || len(gone) == batch}
		for _, k := range gone {
			if err := tx.DeleteDoc(kindBlind, k); err != nil {
				return err
			}
		}
		for _, d := range all {
			a, err := load(tx, d.store, d.number)
			if err == nil {
				err = j.decide(tx, a, a.State, &d.till, &t)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return t, err
}

// decide compares an account with the sales that have its number, and keeps it.
func (j *Judge) decide(tx ledger.Tx, a *account, was string, till *Till, t *Tally) error {
	now := j.Now()
	a.Sales = nil
	if a.Terminal != "" {
		if err := tx.Receipts(a.Store, a.Terminal, a.Number, func(n ledger.Name) (bool, error) {
			a.Sales = append(a.Sales, n)
			return len(a.Sales) < maxSales, nil
		}); err != nil {
			return err
		}
	}
	var sold []sum
	read := 0
	for _, n := range a.Sales {
		e, err := saleOf(tx, n)
		switch {
		case errors.Is(err, errUnreadable):
			continue
		case err != nil:
			return err
		}
		read++
		for i := range e.Lines {
			if l := &e.Lines[i]; l.Return == nil {
				s := sumOf(e, l)
				s.Sale, s.Line = short(e.Sale), i+1
				sold = append(sold, s)
			}
		}
	}
	switch {
	case len(a.Sales) == 0:
		a.absent(j.missing(a, till, now))
	case read < len(a.Sales):
		a.absent(Unknown, "the sale is known by its number alone: it was dropped from the ledger, or cannot be read")
	default:
		a.compare(sold)
	}
	k := accountKey(a.Store, a.Number)
	if a.State == Over && was != Over {
		a.Settled = nil // it was something else that somebody has seen to
		t.Over = append(t.Over, k)
	}
	if a.State == Unknown && was != Unknown && a.Settled == nil {
		t.Unknown = append(t.Unknown, k)
	}
	return a.save(tx, was, now)
}

// absent says that there is nothing to compare with.
func (a *account) absent(state, why string) {
	a.State = state
	a.show(rowsOf(nil, a.Sums), func(*row) string { return "" })
	a.Why = why
	for i := range a.Compared {
		a.Compared[i].Sold = ""
	}
}

// missing says what to think of a receipt that is not here.
func (j *Judge) missing(a *account, till *Till, now time.Time) (state, why string) {
	age := now.Sub(a.First)
	switch {
	case a.Terminal == "":
		return Unknown, "no till gives such a number"
	case j.bug == bugEager:
		return Unknown, "it is not here"
	case till == nil && a.State == Unknown:
		return a.State, a.Why
	case till == nil:
	case till.Caught:
		return Unknown, "head office has all that till " + a.Terminal + " holds, and no such receipt: it was never given, or its record is lost"
	case !till.Known && age >= j.Times.Stranger:
		return Unknown, "no till " + a.Terminal + " was ever heard in this store"
	case age >= j.Times.Silent:
		return Unknown, "till " + a.Terminal + " has not sent it for " + strconv.Itoa(int(age/(24*time.Hour))) + " days"
	}
	return Waiting, "till " + a.Terminal + " may not have sent it yet"
}

// errUnreadable: an event is not there any more, or is no sale that can be read.
var errUnreadable = errors.New("no sale that can be read")

func saleOf(tx ledger.Tx, n ledger.Name) (*event.SaleCompleted, error) {
	payload, ok, err := tx.Event(n)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errUnreadable
	}
	h, data, err := event.Parse(payload)
	if err != nil || h.Type != event.TypeSaleCompleted {
		return nil, errUnreadable
	}
	e, err := event.ParseSale(data)
	if err != nil {
		return nil, errUnreadable
	}
	return &e, nil
}
