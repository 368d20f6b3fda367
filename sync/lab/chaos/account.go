package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"

	"posd/packaging/lab/slicebench/rig"
)

// kind is a way to be wrong.
type kind int

const (
	lost       kind = 1 + iota // what was acknowledged, or stands in a journal, did not arrive, or arrived as another
	twice                      // it took effect, or was shipped, more than once
	disorder                   // it came out of order
	stuck                      // it never came to an end
	phantom                    // something arrived that nobody wrote
	falseAlarm                 // a part complains, or ends, though nothing of its own was broken
	kinds
)

func (k kind) String() string {
	return [...]string{"", "lost", "twice", "out of order", "stuck", "phantom", "false alarm"}[k]
}

// finding is a verdict. Other errors are the lab's own.
type finding struct {
	kind kind
	why  string
}

func (f *finding) Error() string { return f.kind.String() + ": " + f.why }

func found(k kind, format string, args ...any) error {
	return &finding{k, fmt.Sprintf(format, args...)}
}

func kindOf(err error) kind {
	var f *finding
	if errors.As(err, &f) {
		return f.kind
	}
	return 0
}

// name is what an event is called for ever.
type name struct {
	journal string
	seq     uint64
	head    string
}

func (n name) String() string { return fmt.Sprintf("record %d of journal %.8s", n.seq, n.journal) }

// sale is what of an event matters for money.
type sale struct {
	Type string `json:"type"`
	Key  string `json:"key"`
	Data struct {
		Receipt string `json:"receipt"`
		Total   int64  `json:"total"`
		Z       uint64 `json:"z"`
	} `json:"data"`
}

// truth is what the journals of all terminals hold: what must arrive, once.
type truth struct {
	events map[name]string
	ends   map[string]chainEnd // by journal: last record and head
	counts map[string]uint64   // events of a journal
	money  int64
	forked map[string]bool // journals with two histories: the end of neither is the ledger's alone
	gone   map[string]span // by journal: what no terminal holds any more, and the ledger never had
	limit  place           // of the journal that is being read: what was written after all was settled does not count
}

// span is some records of a journal that follow each other.
type span struct{ first, last uint64 }

func (s span) count() uint64 {
	if s.last < s.first || s.first == 0 {
		return 0
	}
	return s.last - s.first + 1
}

func (s span) has(seq uint64) bool { return seq >= s.first && seq <= s.last }

func newTruth() *truth {
	return &truth{events: map[name]string{}, ends: map[string]chainEnd{}, counts: map[string]uint64{}, forked: map[string]bool{}, gone: map[string]span{}}
}

// add takes one record of a journal. Copies tell nothing new: their origin was kept.
func (t *truth) add(l line) error {
	if t.limit.journal == l.Journal && l.Seq > t.limit.seq {
		return nil
	}
	if end := t.ends[l.Journal]; l.Seq > end.Last {
		t.ends[l.Journal] = chainEnd{Journal: l.Journal, Last: l.Seq, Head: l.Head}
	}
	if l.Type != "event" || t.gone[l.Journal].has(l.Seq) {
		return nil
	}
	n := name{l.Journal, l.Seq, l.Head}
	if _, known := t.events[n]; known {
		return nil
	}
	t.events[n] = string(l.Event)
	t.counts[l.Journal]++
	s, err := parseSale(l.Event)
	t.money += s.Data.Total
	return err
}

func parseSale(event []byte) (s sale, err error) {
	if err = json.Unmarshal(event, &s); err != nil {
		return s, fmt.Errorf("event %.200s: %w", event, err)
	}
	if s.Type != "sale.completed" {
		s.Data.Total = 0
	}
	return s, nil
}

// takings is what head office has, held against the truth line by line.
type takings struct {
	t      *truth
	ledger map[name]entry
	more   bool // head office may have what no terminal holds any more
	seen   map[name]bool
	counts map[string]uint64
	last   name
	money  int64
	sales  map[string][]string // key of a front end → the events that it made
}

func (t *truth) against() *takings {
	return &takings{t: t, ledger: map[name]entry{}, seen: map[name]bool{}, counts: map[string]uint64{}, sales: map[string][]string{}}
}

// add takes one event of the ledger, as listed: by journal, then number.
func (k *takings) add(l line) error {
	n := name{l.Journal, l.Seq, l.Head}
	switch want, ok := k.t.events[n]; {
	case k.seen[n]:
		return found(twice, "head office has %s twice", n)
	case !ok && !k.more:
		return found(phantom, "head office has %s with head %s, which no terminal holds: %.200s", n, n.head, l.Event)
	case ok && want != string(l.Event):
		return found(lost, "%s is at head office %.300s\nand on the terminal %.300s", n, l.Event, want)
	case k.last.journal == n.journal && k.last.seq > n.seq:
		return found(disorder, "head office lists %s behind record %d", n, k.last.seq)
	}
	k.seen[n], k.last = true, n
	k.ledger[n] = entryOf(l)
	k.counts[n.journal]++
	s, err := parseSale(l.Event)
	k.money += s.Data.Total
	if s.Key != "" && s.Type == "sale.completed" {
		k.sales[s.Key] = append(k.sales[s.Key], string(l.Event))
	}
	return err
}

// done compares the whole.
func (k *takings) done(ends map[string]chainEnd) error {
	missing, example := 0, name{}
	for n := range k.t.events {
		if !k.seen[n] {
			if missing++; missing == 1 || n.seq < example.seq {
				example = n
			}
		}
	}
	if missing > 0 {
		return found(lost, "head office lacks %d of %d events, such as %s", missing, len(k.t.events), example)
	}
	if k.money != k.t.money && !k.more {
		return found(lost, "head office has sales of %d, the journals have %d", k.money, k.t.money)
	}
	for id, want := range k.t.ends {
		got, ok := ends[id]
		switch {
		case k.t.forked[id]:
		case !ok:
			return found(lost, "head office does not know journal %s, which has %d records", id, want.Last)
		case got.Lost != k.t.gone[id].count():
			return found(lost, "head office says that %d records of journal %s were declared lost, %d are gone", got.Lost, id, k.t.gone[id].count())
		case got.Last != want.Last || got.Head != want.Head:
			return found(lost, "head office has journal %s up to %d with head %s, it ends at %d with %s", id, got.Last, got.Head, want.Last, want.Head)
		case got.Records > got.Last-got.Lost || got.Events > k.counts[id]:
			return found(twice, "head office has counted %d records and %d events of journal %s, there are %d and %d", got.Records, got.Events, id, got.Last-got.Lost, k.counts[id])
		case got.Records < got.Last-got.Lost || got.Events < k.counts[id]:
			return found(lost, "head office has counted %d records and %d events of journal %s, there are %d and %d", got.Records, got.Events, id, got.Last-got.Lost, k.counts[id])
		}
	}
	return nil
}

// book is what the front end of one terminal knows: what it asked for, and what it was
// answered.
type book struct {
	name string

	mu      sync.Mutex
	file    *os.File // of acknowledged sales
	sent    map[string]rig.Order
	acked   map[string]string // key → answer
	inOrder []string
	open    []string // sent and not answered
	next    int
	since   int // answers before inOrder[since:] are not asked for again
	replays int
}

func newBook(name string, file *os.File) *book {
	return &book{name: name, file: file, sent: map[string]rig.Order{}, acked: map[string]string{}}
}

// pick is the next sale: one without an answer first, now and then one that was
// answered before, else a new one.
func (b *book) pick(rng *rand.Rand) (string, rig.Order) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var key string
	switch {
	case len(b.open) > 0:
		key, b.open = b.open[0], b.open[1:]
	case len(b.inOrder) > b.since && rng.IntN(20) == 0:
		key = b.inOrder[max(b.since, len(b.inOrder)-1-rng.IntN(200))]
	default:
		b.next++
		key = fmt.Sprintf("%s-%d", b.name, b.next)
		b.sent[key] = rig.NewOrder(rng, 12)
	}
	return key, b.sent[key]
}

// restored says that the terminal has forgotten what it answered so far.
func (b *book) restored() {
	b.mu.Lock()
	b.since = len(b.inOrder)
	b.mu.Unlock()
}

// forget drops what was sold since restored, as the terminal's disk does.
func (b *book) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range b.inOrder[b.since:] {
		delete(b.acked, key)
	}
	b.inOrder, b.open = b.inOrder[:b.since], nil
}

func (b *book) unanswered(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.acked[key]; !ok {
		b.open = append(b.open, key)
	}
}

// answered writes down an acknowledgement, in the front end's own file too.
func (b *book) answered(key, answer string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, known := b.acked[key]
	if known {
		b.replays++
		if was != answer {
			return found(twice, "key %s was answered in two ways:\n%s\n%s", key, was, answer)
		}
		return nil
	}
	b.acked[key] = answer
	b.inOrder = append(b.inOrder, key)
	_, err := fmt.Fprintf(b.file, "{\"key\":%q,\"answer\":%s}\n", key, strings.TrimSpace(answer))
	return err
}

func (b *book) sales() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.inOrder)
}

// settle holds what was acknowledged against what head office has.
func (b *book) settle(k *takings) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range b.inOrder {
		switch made := k.sales[key]; {
		case len(made) == 0:
			return found(lost, "the acknowledged sale of key %s is not at head office: %.300s", key, b.acked[key])
		case len(made) > 1:
			return found(twice, "key %s made %d sales at head office", key, len(made))
		default:
			var e struct{ Data json.RawMessage }
			if err := json.Unmarshal([]byte(made[0]), &e); err != nil {
				return err
			}
			if !strings.Contains(b.acked[key], string(e.Data)) {
				return found(lost, "key %s was answered %.300s\nhead office has %.300s", key, b.acked[key], made[0])
			}
		}
	}
	return nil
}

// parcels is what of a stream matters: which records its messages carry, in order.
type parcels struct {
	next  map[string]uint64 // by journal: the record that belongs next
	early map[string]error  // a message that came before its time
	heads map[string]string // head before next
}

func newParcels() *parcels {
	return &parcels{map[string]uint64{}, map[string]error{}, map[string]string{}}
}

// add takes the next message: records first to last of a journal, whose heads before
// and after are given.
func (s *parcels) add(at uint64, journal string, first, last uint64, prev, head string) error {
	next := max(1, s.next[journal])
	switch {
	case first < next:
		return found(twice, "message %d of the stream carries records %d to %d of journal %.8s, record %d belongs there", at, first, last, journal, next)
	case first > next:
		if s.early[journal] == nil {
			s.early[journal] = found(lost, "message %d of the stream carries records %d to %d of journal %.8s, record %d belongs there and never comes", at, first, last, journal, next)
		}
		return nil
	case s.early[journal] != nil:
		return found(disorder, "message %d of the stream carries records %d to %d of journal %.8s, behind later ones", at, first, last, journal)
	case s.heads[journal] != "" && s.heads[journal] != prev:
		return found(disorder, "message %d of the stream carries records %d to %d of journal %.8s, which do not continue the ones before", at, first, last, journal)
	}
	s.next[journal], s.heads[journal] = last+1, head
	return nil
}

// done compares with how far each journal says that it was sent.
func (s *parcels) done(sent map[string]uint64) error {
	for id, last := range sent {
		if err := s.early[id]; err != nil {
			return err
		}
		if have := max(1, s.next[id]) - 1; have < last {
			return found(lost, "journal %.8s was sent up to record %d, the stream ends after %d", id, last, have)
		}
	}
	return nil
}
