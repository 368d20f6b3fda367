package catalogue

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

const (
	// MaxFound is how many items Find gives at most.
	MaxFound = 50
	// maxLooks bounds the items that one question may look at, whatever it asks: some
	// milliseconds of the processor.
	maxLooks = 2000
	// maxProbe is how many blocks and bytes of a word are counted, to begin with the rarest.
	maxProbe      = 200
	maxProbeBytes = 16 << 10
)

// ErrNoWords means that the catalogue was imported by a release without an index.
var ErrNoWords = errors.New("this catalogue cannot be searched by name; import it again")

// Find gives up to most items, MaxFound at the most, whose description has a word
// for each word of name that begins with it, whatever case and accents, ordered by
// the rarest word. More tells that there may be others: ask with more letters. A
// word of one letter counts for nothing. Errors: ErrNoWords, ErrCorrupt, ErrClosed.
func (c *Catalogue) Find(name string, most int) (items []Item, more bool, err error) {
	c.refresh()
	s, err := c.acquire()
	if s == nil || err != nil {
		return nil, false, err
	}
	defer c.release(s)
	return s.find(name, min(most, MaxFound))
}

func (s *snapshot) find(name string, most int) (items []Item, more bool, err error) {
	if s.schema != schema {
		return nil, false, ErrNoWords
	}
	var want, has words
	want.split(name)
	if want.n == 0 || most < 1 {
		return nil, false, nil
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	r, err := s.begin()
	if err != nil {
		return nil, false, err
	}
	defer s.end(r)
	index := r.tx.Bucket(bucketWords)
	if index == nil {
		return nil, false, fmt.Errorf("%w: no index of words", ErrCorrupt)
	}
	at, looks := index.Cursor(), 0
	prefix := rarest(at, &want)
	for k, block := at.Seek(prefix); bytes.HasPrefix(k, prefix); k, block = at.Next() {
		for len(block) > 0 {
			key, rest, ok := nextKey(block)
			if looks++; looks > maxLooks || len(items) == most {
				return items, true, nil
			}
			value := r.items.Get(key)
			if !ok || value == nil {
				return nil, false, fmt.Errorf("%w: a word of no item", ErrCorrupt)
			}
			it, err := decodeItem(value, key)
			if err != nil {
				return nil, false, err
			}
			if has.split(it.Description); want.in(&has) && !contains(items, &it) {
				items = append(items, it)
			}
			block = rest
		}
	}
	return items, false, nil
}

// rarest is the word of want with the shortest blocks.
func rarest(at *bolt.Cursor, want *words) (prefix []byte) {
	fewest := maxProbeBytes
	for i := range want.n {
		word, n, blocks := want.at(i), 0, 0
		for k, block := at.Seek(word); n < fewest && bytes.HasPrefix(k, word); k, block = at.Next() {
			if blocks++; blocks > maxProbe {
				n = fewest
			}
			n += len(block)
		}
		if prefix == nil || n < fewest {
			prefix, fewest = word, n
		}
	}
	return prefix
}

// in tells whether each word of w begins one of has.
func (w *words) in(has *words) bool {
	for i := range w.n {
		if !has.begins(w.at(i)) {
			return false
		}
	}
	return true
}

// contains tells whether an item was found by another of its words.
func contains(items []Item, it *Item) bool {
	for i := range items {
		if items[i].Code == it.Code {
			return true
		}
	}
	return false
}
