package event

import "bytes"

// Peeked is what Peek finds, mostly sub-slices of the event.
type Peeked struct{ Type, Key, Hash, Data []byte }

// Peek is Parse for who has to look at each of many events, and trusts the journal that
// they came from: one that is as AppendEvent writes it is not taken apart, and nothing in
// its data is checked.
func Peek(b []byte) (Peeked, error) {
	if p, ok := peek(b); ok {
		return p, nil
	}
	h, data, err := Parse(b)
	return Peeked{Type: []byte(h.Type), Key: []byte(h.Key), Hash: []byte(h.Hash), Data: data}, err
}

// peek looks at an event as AppendEvent writes it; ok is false for one that was written
// otherwise.
func peek(b []byte) (p Peeked, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte(`{"v":1,`))
	for ok {
		if data, last := bytes.CutPrefix(rest, []byte(`"data":{`)); last {
			p.Data = rest[len(`"data":`) : len(rest)-1]
			return p, len(data) > 1 && bytes.HasSuffix(data, []byte("}}")) && p.Type != nil
		}
		var name, value []byte
		if name, rest, ok = peekString(rest); !ok || len(rest) == 0 || rest[0] != ':' {
			break
		}
		if value, rest, ok = peekString(rest[1:]); !ok || len(rest) == 0 || rest[0] != ',' {
			break
		}
		rest = rest[1:]
		switch string(name) {
		case "type":
			p.Type = value
		case "key":
			p.Key = value
		case "hash":
			p.Hash = value
		}
	}
	return Peeked{}, false
}

// peekString cuts a string that holds no escape off b.
func peekString(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	b = b[1:]
	end := bytes.IndexByte(b, '"')
	if end < 0 || bytes.IndexByte(b[:end], '\\') >= 0 {
		return nil, nil, false
	}
	return b[:end], b[end+1:], true
}

// PeekSale returns the first two members of a sale's data, as AppendData writes them.
func PeekSale(data []byte) (sale, receipt []byte, ok bool) {
	return peekTwo(data, `{"sale":`, `,"receipt":`)
}

// PeekBasket is PeekSale for the data of a basket's event.
func PeekBasket(data []byte) (basket, version []byte, ok bool) {
	return peekTwo(data, `{"basket":`, `,"version":`)
}

func peekTwo(data []byte, first, second string) (a, b []byte, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(first))
	if ok {
		a, rest, ok = peekString(rest)
	}
	if ok {
		rest, ok = bytes.CutPrefix(rest, []byte(second))
	}
	if ok {
		b, _, ok = peekString(rest)
	}
	return a, b, ok
}
