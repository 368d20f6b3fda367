package catalogue

import (
	"bytes"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// The words bucket holds, for each word, the keys of the items that have it, sorted,
// in blocks of some hundred bytes:
//
//	word · 0 · first key of the block   →   n × ( len u8 · key )
//
// An entry for each pair of word and item would take three times the room.
const (
	blockBytes = 900  // a block that is written ends here
	splitBytes = 2000 // one that has grown to this becomes two
)

// postings changes the bucket. Changes come sorted by word and key, so that one block
// is in work at a time.
type postings struct {
	fresh bool // the bucket was empty: nothing needs to be looked up

	word  []byte // with its 0
	name  []byte // of the block in the bucket; nil: it is new
	next  []byte // name of the block behind it; nil: none of this word
	keys  []byte // n × ( len u8 · key )
	dirty bool
}

// change adds an item to a word, or takes it away.
func (p *postings) change(b *bolt.Bucket, word, key []byte, remove bool) (wrote bool, err error) {
	if !p.holds(word, key) {
		if wrote, err = p.flush(b); err != nil {
			return wrote, err
		}
		p.load(b, word, key)
	}
	at, found := findKey(p.keys, key)
	switch {
	case remove && found:
		p.keys = slices.Delete(p.keys, at, at+1+len(key))
		p.dirty = true
	case !remove && !found:
		p.keys = slices.Insert(p.keys, at, append([]byte{byte(len(key))}, key...)...)
		p.dirty = true
	}
	return wrote, nil
}

// holds tells whether a key belongs into the block in work.
func (p *postings) holds(word, key []byte) bool {
	if !bytes.Equal(p.word, word) {
		return false
	}
	if p.fresh {
		return len(p.keys) < blockBytes
	}
	return p.next == nil || bytes.Compare(key, p.next[len(word):]) < 0
}

// load takes the block into which a key belongs: the last of the word whose name is
// not beyond it, or the first.
func (p *postings) load(b *bolt.Bucket, word, key []byte) {
	p.word = append(p.word[:0], word...)
	p.name, p.next, p.keys, p.dirty = nil, nil, p.keys[:0], false
	if p.fresh {
		return
	}
	wanted := append(bytes.Clone(word), key...)
	c := b.Cursor()
	k, v := c.Seek(wanted)
	if !bytes.Equal(k, wanted) {
		if k == nil {
			k, v = c.Last()
		} else {
			k, v = c.Prev()
		}
		if !bytes.HasPrefix(k, word) { // before the word's first block
			if k, v = c.Seek(word); !bytes.HasPrefix(k, word) {
				return
			}
		}
	}
	p.name, p.keys = bytes.Clone(k), append(p.keys, v...)
	c.Seek(p.name)
	if k, _ = c.Next(); bytes.HasPrefix(k, word) {
		p.next = bytes.Clone(k)
	}
}

// flush writes the block in work, if it was changed.
func (p *postings) flush(b *bolt.Bucket) (wrote bool, err error) {
	if !p.dirty {
		return false, nil
	}
	p.dirty = false
	if p.name != nil {
		if err := b.Delete(p.name); err != nil {
			return true, err
		}
	}
	rest := p.keys
	for len(rest) > 0 {
		n := len(rest)
		if n > splitBytes {
			n = 0
			for n < blockBytes {
				n += 1 + int(rest[n])
			}
		}
		name := append(bytes.Clone(p.word), rest[1:1+rest[0]]...)
		if err := b.Put(name, bytes.Clone(rest[:n])); err != nil {
			return true, err
		}
		rest = rest[n:]
	}
	p.word = p.word[:0] // what is in work may have become two
	return true, nil
}

// findKey is where a key is among sorted ones, or belongs.
func findKey(keys, key []byte) (at int, found bool) {
	for at < len(keys) {
		k := keys[at+1 : at+1+int(keys[at])]
		switch c := bytes.Compare(k, key); {
		case c == 0:
			return at, true
		case c > 0:
			return at, false
		}
		at += 1 + len(k)
	}
	return at, false
}

// nextKey takes the first key of a block off it; ok is false at its end, and when it
// is not a block.
func nextKey(block []byte) (key, rest []byte, ok bool) {
	if len(block) == 0 || len(block) < 1+int(block[0]) || block[0] == 0 {
		return nil, nil, false
	}
	n := 1 + int(block[0])
	return block[1:n], block[n:], true
}
