package catalogue

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"strings"

	bolt "go.etcd.io/bbolt"

	"posd/pos"
)

const (
	fewGone   = 10 // items that may be gone whatever part of all they are
	namedFree = 10
)

// Change is what a catalogue has become, as far as it may be a mistake.
type Change struct {
	Before, Gone int      // items of before; of these, those that are not there any more
	Free         int      // items that cost nothing, now or from a day on, and did not before
	Named        []string // the first of these
}

// Doubt says what is probably a mistake: a file that has lost its end, or its prices.
// Empty: nothing is. A delta names what it takes away, and is not asked for that.
func (c *Change) Doubt(delta bool) string {
	var what []string
	if !delta && c.Gone > fewGone && 3*c.Gone > c.Before {
		what = append(what, fmt.Sprintf("%d of the %d items that are there are not in it", c.Gone, c.Before))
	}
	if c.Free > 0 {
		more := ""
		if c.Free > len(c.Named) {
			more = fmt.Sprintf(" and %d more", c.Free-len(c.Named))
		}
		what = append(what, fmt.Sprintf("%d items would cost nothing that did not before: %s%s (an empty price is one that the front end names)", c.Free, strings.Join(c.Named, ", "), more))
	}
	return strings.Join(what, "; ")
}

// Compare says what the catalogue at base became as the one at path. Where there is none
// at base, or one that cannot be compared, there was nothing before.
func Compare(base, path string, c pos.Currency) (ch Change, err error) {
	err = withItems(path, c, func(now *bolt.Bucket) error {
		ch, err = changed(base, now, c)
		return err
	})
	return ch, err
}

func changed(base string, now *bolt.Bucket, c pos.Currency) (Change, error) {
	var ch Change
	if err := ch.since(base, now, c); err == nil {
		return ch, nil
	}
	ch = Change{} // a catalogue that cannot be read is no reason to keep it
	err := ch.run(nil, now)
	return ch, err
}

func (ch *Change) since(base string, now *bolt.Bucket, c pos.Currency) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	return withItems(base, c, func(old *bolt.Bucket) error { return ch.run(old.Cursor(), now) })
}

// run goes through both in the order of their keys.
func (ch *Change) run(old *bolt.Cursor, now *bolt.Bucket) error {
	var was, before []byte
	next := func(first bool) {
		switch {
		case old == nil:
		case first:
			was, before = old.First()
		default:
			was, before = old.Next()
		}
	}
	gone := func(upTo []byte) {
		for was != nil && (upTo == nil || bytes.Compare(was, upTo) < 0) {
			ch.Before++
			ch.Gone++
			next(false)
		}
	}
	next(true)
	err := now.ForEach(func(key, value []byte) error {
		gone(key)
		it, err := decodeItem(value, key)
		if err != nil {
			return err
		}
		paid := free(&it)
		if bytes.Equal(was, key) {
			ch.Before++
			if it, err := decodeItem(before, was); err == nil && free(&it) {
				paid = false
			}
			next(false)
		}
		if paid {
			if ch.Free++; len(ch.Named) < namedFree {
				ch.Named = append(ch.Named, strings.Clone(it.Code))
			}
		}
		return nil
	})
	gone(nil)
	return err
}

func free(it *Item) bool {
	return !it.Open && (it.Price == 0 || it.From.Number() != 0 && it.Next == 0)
}

// sure asks before the file that was built takes the place of the one at path.
func (b *build) sure(path string, o *ImportOptions) (err error) {
	var ch Change
	if bad := b.db.View(func(tx *bolt.Tx) error {
		ch, err = changed(path, tx.Bucket(bucketItems), o.Currency)
		return err
	}); bad != nil {
		return bad
	}
	return o.Sure(&ch)
}
