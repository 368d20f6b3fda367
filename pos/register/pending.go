package register

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
)

const (
	// mostPending bounds the keys kept in memory while the index stands still, on
	// a full disk for example: five busy days, about 1 MiB.
	mostPending = 16384
	// mostScanned bounds the records that are read for their keys when the index
	// has fallen behind what memory knows: after a kill at most what it had not
	// committed, a few hundred; after its loss two to three days.
	mostScanned = mostPending / 2
	// So many keys that the index knows too stay here, at least and at most: as long as
	// memory reaches back as far as it did, nobody has to ask the index again.
	leastKnown = 256
	mostKnown  = 2 * leastKnown
)

// keyID stands for an idempotency key: the first half of its SHA-256.
type keyID [16]byte

func idOf(key string) keyID {
	sum := sha256.Sum256([]byte(key))
	return keyID(sum[:16])
}

type usedKey struct {
	id  keyID
	seq uint64
}

// pending knows the keys of all records from one on. The index knows those
// before; while it does not, nobody can tell whether a key is new.
type pending struct {
	mu    sync.Mutex
	from  uint64 // every key of records from here on is here
	seqs  map[keyID]uint64
	queue []usedKey // ascending seq
	head  int       // queue[:head] is gone

	scan sync.Mutex // one cover at a time
}

func (p *pending) find(id keyID) (seq uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seq, ok = p.seqs[id]
	return seq, ok
}

// after is the last record whose key is not here: the index has to know it.
func (p *pending) after() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.from, 1) - 1
}

// add takes in a key, and forgets older ones up to applied, which the index answers.
// It returns false if a key had to be forgotten that the index does not know: its
// repetition, mostPending sales later, would be taken for a new sale. The shop is
// not stopped for that.
func (p *pending) add(k usedKey, applied uint64) (kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept = true
	for many := len(p.queue)-p.head >= mostKnown; many; many = len(p.queue)-p.head > leastKnown {
		old := p.queue[p.head]
		if old.seq > applied {
			if len(p.queue)-p.head < mostPending {
				break
			}
			kept = false
		} else {
			p.from = max(p.from, old.seq+1)
		}
		if p.seqs[old.id] == old.seq {
			delete(p.seqs, old.id)
		}
		p.head++
	}
	if p.head > 0 && p.head*2 >= len(p.queue) {
		p.queue = p.queue[:copy(p.queue, p.queue[p.head:])]
		p.head = 0
	}
	p.queue = append(p.queue, k)
	p.remember(k)
	return kept
}

func (p *pending) remember(k usedKey) {
	if p.seqs == nil {
		p.seqs = make(map[keyID]uint64)
	}
	p.seqs[k.id] = k.seq
}

// prepend takes in the keys of the records from first up to where p began.
func (p *pending) prepend(keys []usedKey, first uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = slices.Concat(keys, p.queue[p.head:])
	p.head, p.from = 0, first
	for _, k := range keys {
		if _, newer := p.seqs[k.id]; !newer {
			p.remember(k)
		}
	}
}

// cover reads the keys that neither the index nor memory knows: the index was
// killed before its commit, or is being built again. What lies further back than
// mostScanned records is left to the index.
func (r *Register) cover() {
	r.pending.scan.Lock()
	defer r.pending.scan.Unlock()
	floor, _ := r.j.Floor()
	first, end := max(r.v.Applied()+1, r.j.Oldest()), r.pending.after()+1
	if floor >= mostScanned {
		first = max(first, floor-mostScanned+1)
	}
	if first >= end {
		return
	}
	keys, err := keysBetween(r.j, first, end)
	if err != nil {
		r.o.Log.Error("idempotency keys of recent sales cannot be read, new sales wait for the index", "error", err)
		return
	}
	r.o.Log.Info("the index is behind, keys were read from the journal", "first", first, "end", end, "keys", len(keys))
	r.pending.prepend(keys, first)
}

// keysBetween returns the keys of the durable records [first, end).
func keysBetween(j *journal.Journal, first, end uint64) (keys []usedKey, err error) {
	rd, err := j.Reader(first)
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	for {
		rec, err := rd.Next()
		if errors.Is(err, io.EOF) || err == nil && rec.Seq >= end {
			return keys, nil
		}
		if err != nil {
			return nil, err
		}
		if rec.Type != event.RecordType && rec.Type != chain.TypeCopy {
			continue
		}
		c, err := chain.Named(chain.ID{}, rec)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", rec.Seq, err)
		}
		if c.Record.Type != event.RecordType {
			continue
		}
		h, _, err := event.Parse(c.Record.Payload)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", rec.Seq, err)
		}
		if h.Key != "" {
			keys = append(keys, usedKey{idOf(h.Key), rec.Seq})
		}
	}
}
