package view

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/till"
)

// backKey names a line of a sale.
type backKey struct {
	sale string
	line uint32
}

type backLine struct {
	of  backKey
	seq uint64 // of the sale that took it back
	till.Back
}

// backOf returns what a sale says came back of lines of other sales.
func backOf(seq uint64, data []byte) (list []backLine, err error) {
	if !bytes.Contains(data, []byte(`"return":{`)) { // a text with these bytes costs a parse, no more
		return nil, nil
	}
	e, err := event.ParseSale(data)
	if err != nil {
		return nil, err
	}
	for i := range e.Lines {
		l := &e.Lines[i]
		if r := l.Return; r != nil && r.Sale != "" && len(r.Sale) <= maxName && r.Line > 0 {
			b := backLine{seq: seq, of: backKey{r.Sale, uint32(r.Line)}, Back: till.Back{Qty: -l.Qty, Amount: -l.Amount}}
			list = append(list, b)
			if r.Tax != 0 {
				b.of.line, b.Qty, b.Amount = b.of.line+taxes, 0, -r.Tax
				list = append(list, b)
			}
		}
	}
	return list, nil
}

// taxes is added to a line's number where the tax is kept that came back with it: a former
// release knows of no such line, and goes on reading the index.
const taxes = 1 << 30

// givenOut returns that a sale's receipt was given out once more.
func givenOut(seq uint64, kind string, data []byte) ([]backLine, error) {
	e, err := event.ParseOperator(kind, data)
	if err != nil || e.Sale == "" || len(e.Sale) > maxName {
		return nil, err
	}
	once := till.Back{Qty: 1}
	if kind == event.TypeReceiptCopied {
		once.Amount = 1
	}
	return []backLine{{seq: seq, of: backKey{sale: e.Sale}, Back: once}}, nil
}

// bytes is the key in the file: the sale, a zero byte, the line.
func (k backKey) bytes() []byte {
	return binary.BigEndian.AppendUint32(append([]byte(k.sale), 0), k.line)
}

func backBytes(b till.Back) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(b.Qty)), uint64(b.Amount))
}

func parseBack(v []byte) (b till.Back) {
	if len(v) == 16 {
		b.Qty, b.Amount = pos.Qty(binary.BigEndian.Uint64(v)), pos.Money(binary.BigEndian.Uint64(v[8:]))
	}
	return b
}

// Returned returns what has come back of a sale's lines, by their number, as far as the
// index knows: ask with Applied, before.
func (v *View) Returned(sale string) (map[int]till.Back, error) {
	found, err := v.noted(sale)
	delete(found, 0)
	for n, tax := range found {
		if n > taxes {
			delete(found, n)
			back := found[n-taxes]
			back.Tax = tax.Amount
			found[n-taxes] = back
		}
	}
	return found, err
}

// Receipts returns how often a sale's receipt was given out beside the sale itself, and
// how many of these were copies: likewise. Until it is sure that the release before has
// missed none, that is ErrRebuilding.
func (v *View) Receipts(sale string) (given, copies int, err error) {
	found, err := v.noted(sale)
	if err == nil && !v.countsPapers() {
		return 0, 0, fmt.Errorf("%w: receipts that were given out are still looked for", ErrRebuilding)
	}
	return int(found[0].Qty), int(found[0].Amount), err
}

func (v *View) noted(sale string) (map[int]till.Back, error) {
	found := map[int]till.Back{}
	if sale == "" || len(sale) > maxName {
		return found, nil
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	committed := uint64(0)
	err := v.lookup(func(tx *bolt.Tx) {
		b, meta := tx.Bucket(bucketBack), tx.Bucket(bucketMeta)
		if b == nil || meta == nil {
			return
		}
		committed, _ = seqOf(meta.Get(metaApplied))
		prefix := append([]byte(sale), 0)
		c := b.Cursor()
		for k, val := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(k) == len(prefix)+4; k, val = c.Next() {
			found[int(binary.BigEndian.Uint32(k[len(prefix):]))] = parseBack(val)
		}
	})
	for _, l := range v.backs {
		if l.of.sale == sale && l.seq > committed { // a commit may just have written it
			found[int(l.of.line)] = found[int(l.of.line)].Plus(l.Back)
		}
	}
	return found, err
}
