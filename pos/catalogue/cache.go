package catalogue

import "sync"

// The bounds of what is kept of one version of the catalogue: some thousand items,
// and codes that it does not have, which are asked for again when a scanner reads one
// twice. They are two, so that unknown codes push no item out.
const (
	cacheBytes   = 384 << 10
	unknownBytes = 32 << 10
	// entryBytes is what an entry takes besides its texts, with its place in the map.
	entryBytes = 320
)

// cache holds what was asked for last.
type cache struct {
	mu   sync.Mutex
	most int
	size int
	by   map[string]*entry
	ring entry // its next is the newest, its prev the one asked for longest ago
}

type entry struct {
	key        string
	item       Item
	prev, next *entry
}

func (e *entry) bytes() int {
	return entryBytes + len(e.key) + len(e.item.Code) + len(e.item.Description) + len(e.item.Department) + len(e.item.Unit) + len(e.item.Tax)
}

func (c *cache) get(key []byte) (it Item, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.by[string(key)]
	if e == nil {
		return it, false
	}
	e.leave()
	c.front(e)
	return e.item, true
}

func (c *cache) put(key []byte, it *Item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = make(map[string]*entry)
		c.ring.prev, c.ring.next = &c.ring, &c.ring
	}
	if c.by[string(key)] != nil {
		return // another goroutine asked for it too
	}
	e := &entry{key: string(key), item: *it}
	c.by[e.key] = e
	c.front(e)
	for c.size += e.bytes(); c.size > c.most; {
		last := c.ring.prev
		last.leave()
		delete(c.by, last.key)
		c.size -= last.bytes()
	}
}

func (c *cache) front(e *entry) {
	e.prev, e.next = &c.ring, c.ring.next
	e.prev.next, e.next.prev = e, e
}

func (e *entry) leave() { e.prev.next, e.next.prev = e.next, e.prev }
