package register

import "sync"

// mostPending bounds the keys kept in memory while the index stands still, on a
// full disk for example: five busy days, about 1 MiB.
const mostPending = 16384

// pending knows the keys of sales that the index may not know yet.
type pending struct {
	mu    sync.Mutex
	seqs  map[keyID]uint64
	queue []usedKey // ascending seq
	head  int       // queue[:head] is gone
}

func (p *pending) find(id keyID) (seq uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seq, ok = p.seqs[id]
	return seq, ok
}

// add takes in a key, and forgets those up to applied, which the index answers.
// It returns false if a key had to be forgotten that the index does not know.
func (p *pending) add(k usedKey, applied uint64) (kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept = true
	if p.seqs == nil {
		p.seqs = make(map[keyID]uint64)
	}
	for p.head < len(p.queue) {
		old := p.queue[p.head]
		if old.seq > applied {
			if len(p.queue)-p.head < mostPending {
				break
			}
			kept = false
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
	p.seqs[k.id] = k.seq
	return kept
}
