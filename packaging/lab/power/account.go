package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"

	"posd/packaging/lab/slicebench/rig"
)

// kind is a way to be wrong.
type kind int

const (
	lost        kind = 1 + iota // what was acknowledged, or was seen after an earlier cut, is gone or another
	twice                       // one key made two sales, or a receipt number is there twice
	phantom                     // a sale that nobody asked for
	falseAlarm                  // posd, posctl or head office complains, or does not start
	unmountable                 // the file system is not what it was
	kinds
)

func (k kind) String() string {
	return [...]string{"", "lost", "twice", "phantom", "false alarm", "unmountable"}[k]
}

// finding is a verdict against the terminal. Other errors are the lab's own.
type finding struct {
	kind kind
	why  string
}

func (f *finding) Error() string { return f.kind.String() + ": " + f.why }

func found(k kind, format string, args ...any) error {
	return &finding{k, fmt.Sprintf(format, args...)}
}

// account is what the outside knows of one terminal: what a front end asked for,
// what it was answered, and what the journal was seen to hold. None of it is taken
// from the terminal's own word about itself.
type account struct {
	mu       sync.Mutex
	file     *os.File             // of acknowledged sales
	sent     map[string]rig.Order // by key
	first    map[string]int       // the round in which it was sent first, from 1
	acked    map[string]string    // key → answer
	inOrder  []string             // of acked
	recent   int                  // inOrder[recent:] may be asked for again
	answers  []int                // len(inOrder) at the start of each round
	open     []attempt            // sent and not answered
	next     int
	replays  int
	journal  string           // id
	heads    map[uint64]entry // by sequence number, as first seen
	sales    map[string]uint64
	receipts map[uint64]uint64 // number → sequence number
	last     uint64            // everything up to here is in heads, or was freed unseen
	unseen   [][2]uint64       // ranges that were freed before anyone looked
}

// attempt is a key that was first sent in a round.
type attempt struct {
	key   string
	round int
}

// entry is one record of the journal.
type entry struct {
	head  string
	event bool   // not a birth, an opening state, a checkpoint
	key   string // of a sale
	data  string
}

func newAccount(file *os.File) *account {
	return &account{file: file, sent: map[string]rig.Order{}, first: map[string]int{}, acked: map[string]string{}, heads: map[uint64]entry{},
		sales: map[string]uint64{}, receipts: map[uint64]uint64{}}
}

// begin says that the terminal boots again. Where the clock makes retention pass, a
// key is good for this round and the next one only: after that its sale may have been
// freed, and with it the key, as documented. A front end must not ask again then.
func (a *account) begin(forgets bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = append(a.answers, len(a.inOrder))
	if n := len(a.answers) - 2; forgets && n >= 0 {
		a.recent = a.answers[n]
		a.open = slices.DeleteFunc(a.open, func(t attempt) bool { return t.round <= n })
	}
}

// pick gives a worker the next sale: one without an answer first, now and then one
// that was answered before, else a new one.
func (a *account) pick(rng *rand.Rand) (key string, o rig.Order) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case len(a.open) > 0:
		key, a.open = a.open[0].key, a.open[1:]
	case len(a.inOrder) > a.recent && rng.IntN(6) == 0:
		key = a.inOrder[a.recent+rng.IntN(len(a.inOrder)-a.recent)]
	default:
		a.next++
		key = fmt.Sprintf("basket-%d", a.next)
		a.sent[key] = rig.NewOrder(rng, 10)
		a.first[key] = len(a.answers)
	}
	return key, a.sent[key]
}

// unanswered puts a key back.
func (a *account) unanswered(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.acked[key]; !ok {
		a.open = append(a.open, attempt{key, a.first[key]})
	}
}

// answered writes down an acknowledgement, in the front end's own file too.
func (a *account) answered(key, answer string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	was, known := a.acked[key]
	if known {
		a.replays++
		if was != answer {
			return found(twice, "key %s was answered in two ways:\n%s\n%s", key, was, answer)
		}
		return nil
	}
	a.acked[key] = answer
	a.inOrder = append(a.inOrder, key)
	_, err := fmt.Fprintf(a.file, "{\"key\":%q,\"answer\":%s}\n", key, strings.TrimSpace(answer))
	return err
}

// sample is some answered keys, the newest among them.
func (a *account) sample(n int, rng *rand.Rand) (keys []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range min(n, len(a.inOrder)-a.recent) {
		at := len(a.inOrder) - 1 - i
		if i >= n/2 {
			at = a.recent + rng.IntN(len(a.inOrder)-a.recent)
		}
		keys = append(keys, a.inOrder[at])
	}
	return keys
}

// line is one record as posctl dump and poshub tell it.
type line struct {
	Journal string          `json:"journal"`
	Seq     uint64          `json:"seq"`
	Head    string          `json:"head"`
	Event   json.RawMessage `json:"event"`
}

// eventOf is what of an event matters here.
type eventOf struct {
	Type string          `json:"type"`
	Key  string          `json:"key"`
	Data json.RawMessage `json:"data"`
}

func lines(text []byte, fn func(line, entry) error) error {
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, 4<<20)
	for sc.Scan() {
		var l line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return fmt.Errorf("line %.200s: %w", sc.Bytes(), err)
		}
		e := entry{head: l.Head}
		if len(l.Event) > 0 {
			var ev eventOf
			if err := json.Unmarshal(l.Event, &ev); err != nil {
				return fmt.Errorf("line %.200s: %w", sc.Bytes(), err)
			}
			e.event = true
			if ev.Type == "sale.completed" {
				e.key, e.data = ev.Key, string(ev.Data)
			}
		}
		if err := fn(l, e); err != nil {
			return err
		}
	}
	return sc.Err()
}

// look takes a dump of the journal from record a.last on. What was seen before must
// still be there under the same head, which names all that came before it.
func (a *account) look(dump []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := max(1, a.last)
	first := true
	err := lines(dump, func(l line, e entry) error {
		if a.journal == "" {
			a.journal = l.Journal
		}
		if l.Journal != a.journal {
			return found(falseAlarm, "the terminal has begun a new journal, %s instead of %s", l.Journal, a.journal)
		}
		if first && l.Seq > next { // freed, which must not be before head office has it; see settle
			a.unseen = append(a.unseen, [2]uint64{next, l.Seq - 1})
			next = l.Seq
		}
		first = false
		if l.Seq < next {
			return nil
		}
		if l.Seq > next {
			return found(lost, "the journal goes from record %d to %d", next-1, l.Seq)
		}
		next++
		return a.add(l.Seq, e)
	})
	if err != nil {
		return err
	}
	if next <= a.last { // not even what had been the last
		return found(lost, "the journal ends before record %d, which was there after an earlier cut", a.last)
	}
	a.last = next - 1
	return nil
}

func (a *account) add(seq uint64, e entry) error {
	if was, ok := a.heads[seq]; ok {
		if was.head != e.head {
			return found(lost, "record %d had head %s after an earlier cut and has %s", seq, was.head, e.head)
		}
		return nil
	}
	a.heads[seq] = e
	if e.key == "" {
		return nil
	}
	o, asked := a.sent[e.key]
	if !asked {
		return found(phantom, "record %d is a sale with key %q, which nobody sent", seq, e.key)
	}
	if other, ok := a.sales[e.key]; ok {
		return found(twice, "key %s made the sales of records %d and %d", e.key, other, seq)
	}
	a.sales[e.key] = seq
	var sale struct {
		Number uint64 `json:"number"`
		Total  int64  `json:"total"`
	}
	if err := json.Unmarshal([]byte(e.data), &sale); err != nil {
		return fmt.Errorf("record %d: %w", seq, err)
	}
	if sale.Total != o.Total {
		return found(phantom, "record %d has a total of %d, asked for was %d", seq, sale.Total, o.Total)
	}
	if other, ok := a.receipts[sale.Number]; ok {
		return found(twice, "receipt %d stands in records %d and %d", sale.Number, other, seq)
	}
	a.receipts[sale.Number] = seq
	return nil
}

// settle holds what was acknowledged against what the journal was seen to hold. Of
// records that were freed unseen, final tells: then head office's ledger was added.
func (a *account) settle(final bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	gone := false
	for _, r := range a.unseen {
		for seq := r[0]; seq <= r[1]; seq++ {
			if _, ok := a.heads[seq]; !ok {
				gone = true
			}
		}
	}
	for _, key := range a.inOrder {
		seq, ok := a.sales[key]
		if !ok && gone && !final {
			continue
		}
		if !ok {
			return found(lost, "the acknowledged sale of key %s: %s", key, a.acked[key])
		}
		if data := a.heads[seq].data; !strings.Contains(a.acked[key], data) {
			return found(lost, "key %s was answered %s; record %d says %s", key, a.acked[key], seq, data)
		}
	}
	if gone && !final {
		return nil
	}
	for n := uint64(1); n <= uint64(len(a.receipts)); n++ {
		if a.receipts[n] == 0 {
			return found(lost, "receipt %d is missing, there are %d", n, len(a.receipts))
		}
	}
	return nil
}

// ledger holds all that head office has against all that was seen of the journal:
// nothing up to a record is missing, nothing else is there.
func (a *account) ledger(events []byte, upTo uint64) error {
	a.mu.Lock()
	there := map[uint64]bool{}
	err := lines(events, func(l line, e entry) error {
		if l.Journal != a.journal {
			return found(phantom, "head office has journal %s, the terminal's is %s", l.Journal, a.journal)
		}
		if there[l.Seq] {
			return found(twice, "head office has record %d twice", l.Seq)
		}
		there[l.Seq] = true
		if l.Seq > a.last {
			return found(phantom, "head office has record %d, the journal ends at %d", l.Seq, a.last)
		}
		if was, ok := a.heads[l.Seq]; ok && was.head == e.head && (was.key != e.key || was.data != e.data) {
			return found(lost, "record %d is %s at head office, on the terminal %s", l.Seq, e.data, was.data)
		}
		return a.add(l.Seq, e)
	})
	if err == nil {
		for seq, e := range a.heads {
			if e.event && !there[seq] && seq <= upTo {
				err = found(lost, "head office lacks record %d, key %q", seq, e.key)
				break
			}
		}
	}
	a.mu.Unlock()
	if err != nil {
		return err
	}
	return a.settle(true)
}
