package uplink

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// What the state file has beside the watermark, as members of the same object:
//
//	"lost":[<first>,<last>,…]    records that were declared lost, oldest first
//	"marks":[<seq>,<time>,…]     when records became durable, Unix seconds
//
// A reader of the watermark alone passes over them.

const (
	maxLost  = 32
	maxMarks = 48
	// saneTime is earlier than any clock that was right.
	saneTime = 1_780_000_000
)

// span is a row of records.
type span struct{ first, last uint64 }

// mark says that of the records up to seq, and behind the mark before it, the oldest
// became durable at a time.
type mark struct {
	seq uint64
	at  time.Time
}

// own is guarded by Uplink.mu.
type own struct {
	lost   []span
	untold []span // declared lost too, but the journal did not take that; not in the file
	marks  []mark
	fresh  bool // marks were made since the file was written
}

// grew notes that records up to seq are durable.
func (o *own) grew(seq uint64, at time.Time) {
	if n := len(o.marks); n > 0 && o.marks[n-1].seq >= seq {
		return
	}
	if len(o.marks) == maxMarks { // two become one: what is old is known less closely, and never as younger than it is
		half := o.marks[:0]
		for i := 0; i+1 < maxMarks; i += 2 {
			half = append(half, mark{o.marks[i+1].seq, o.marks[i].at})
		}
		o.marks = half
	}
	o.marks, o.fresh = append(o.marks, mark{seq, at}), true
}

// shrank forgets records that are settled.
func (o *own) shrank(settled uint64) {
	i := 0
	for i < len(o.marks) && o.marks[i].seq <= settled {
		i++
	}
	o.marks = slices.Delete(o.marks, 0, i)
}

// since is when record seq became durable, zero if that is not known.
func (o *own) since(seq uint64) time.Time {
	for _, m := range o.marks {
		if m.seq >= seq {
			return m.at
		}
	}
	return time.Time{}
}

// age is how long ago the record after seq became durable, 0 if none has.
func (o *own) age(seq, floor uint64) time.Duration {
	since := o.since(seq + 1)
	if seq >= floor || since.IsZero() {
		return 0
	}
	return max(0, time.Since(since))
}

// addLost notes a declaration, and whether it is in the journal: one that is not is made
// again if it comes to that.
func (u *Uplink) addLost(s span, told bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := &u.own.untold
	if told {
		list, u.own.untold = &u.own.lost, slices.DeleteFunc(u.own.untold, func(o span) bool { return o == s })
	}
	if !slices.Contains(*list, s) {
		*list = append(*list, s)
		*list = (*list)[max(0, len(*list)-maxLost):]
	}
}

// toldLost says whether a declaration is in the journal.
func (u *Uplink) toldLost(s span) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Contains(u.own.lost, s)
}

// lostFrom counts what is declared lost, of what the terminal would still hold: what is
// older has left with the rest of its time.
func (o *own) lostFrom(oldest uint64) (n uint64) {
	for _, list := range [][]span{o.lost, o.untold} {
		for _, s := range list {
			if s.last >= oldest {
				n += s.last + 1 - max(s.first, oldest)
			}
		}
	}
	return n
}

// append adds the members to an object that ends with b.
func (o *own) append(b []byte) []byte {
	list := func(name string, n int, pair func(i int) (uint64, uint64)) {
		if n == 0 {
			return
		}
		b = append(append(append(b, ',', '"'), name...), `":[`...)
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			x, y := pair(i)
			b = append(strconv.AppendUint(b, x, 10), ',')
			b = strconv.AppendUint(b, y, 10)
		}
		b = append(b, ']')
	}
	b = bytes.TrimSuffix(b, []byte("}"))
	list("lost", len(o.lost), func(i int) (uint64, uint64) { return o.lost[i].first, o.lost[i].last })
	list("marks", len(o.marks), func(i int) (uint64, uint64) {
		return o.marks[i].seq, uint64(max(o.marks[i].at.Unix(), 0))
	})
	return append(b, '}')
}

// parseOwn reads the members from a state file.
func parseOwn(b []byte) (o own, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	err = document(d, func(name string) error {
		switch name {
		case "lost":
			return pairs(d, maxLost, func(first, last uint64) error {
				if first == 0 || last < first {
					return errors.New("no row of records")
				}
				o.lost = append(o.lost, span{first, last})
				return nil
			})
		case "marks":
			return pairs(d, maxMarks, func(seq, at uint64) error {
				if n := len(o.marks); n > 0 && o.marks[n-1].seq >= seq || at > 1<<40 {
					return errors.New("no marks")
				}
				o.marks = append(o.marks, mark{seq, time.Unix(int64(at), 0)})
				return nil
			})
		}
		return d.SkipValue()
	})
	if err != nil {
		return own{}, err
	}
	return o, nil
}

// pairs reads a list of at most most pairs of numbers.
func pairs(d *jsontext.Decoder, most int, fn func(x, y uint64) error) error {
	t, err := d.ReadToken()
	if err != nil || t.Kind() != '[' {
		return errors.Join(err, errors.New("not a list"))
	}
	for n := 0; d.PeekKind() != ']'; n++ {
		x, err := number(d)
		if err != nil {
			return err
		}
		y, err := number(d)
		if err != nil {
			return err
		}
		if n == most {
			return errors.New("too many")
		}
		if err := fn(x, y); err != nil {
			return err
		}
	}
	_, err = d.ReadToken()
	return err
}
