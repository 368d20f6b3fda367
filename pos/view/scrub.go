package view

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"posd/journal/chain"
	"posd/pos/event"
)

// scrubEvery is how long an index that was looked through is believed.
const scrubEvery = 24 * time.Hour

// scrubAfter is how long a start is left alone: a backlog that goes to head office then
// would have to share its processor time.
const scrubAfter = 10 * time.Minute

// bbolt's pages carry no checksums: a flipped bit can hide a name, and a key that is hidden
// makes an old call look new. Each record's names lie in the file twice, under the record
// and each under itself. Scrubbing looks up all of them the way a lookup does, the newest
// first, for calls are repeated soon. What the two do not agree on is damage.

// scrub goes on looking through the file for a burst, if there is something left. Only
// Run calls it.
func (v *View) scrub() (busy bool, err error) {
	if time.Now().Before(v.calm) {
		return false, nil
	}
	if v.left == 0 {
		if time.Since(v.scrubbed) < scrubEvery {
			return false, nil
		}
		v.left = math.MaxUint64
	}
	err = v.file.read(func(tx *bolt.Tx) (err error) {
		v.left, err = scrubDown(tx, v.left, time.Now().Add(burst))
		return err
	})
	v.scrubbed = time.Now()
	return true, err
}

// scrubDown looks at the records before one, and returns the one it came to; 0: all are
// looked at.
func scrubDown(tx *bolt.Tx, before uint64, until time.Time) (uint64, error) {
	records := tx.Bucket(bucketSeq)
	c := records.Cursor()
	names := [...]*bolt.Cursor{tx.Bucket(bucketSale).Cursor(), tx.Bucket(bucketReceipt).Cursor(), tx.Bucket(bucketKey).Cursor()}
	k, val := c.Last()
	if before != math.MaxUint64 {
		c.Seek(appendSeq(nil, before))
		k, val = c.Prev()
	}
	for ; k != nil; k, val = c.Prev() {
		seq, ok := seqOf(k)
		n, readable := parseSeqValue(val)
		ok = ok && readable && seq < before
		for i, name := range n {
			ok = ok && (len(name) == 0 || leads(names[i], records, i, name, seq))
		}
		if !ok {
			return before, fmt.Errorf("%w: the names of record %d do not lead to it", errDamaged, seq)
		}
		if before = seq; time.Now().After(until) {
			return before, nil
		}
	}
	return 0, nil
}

// leads says that a name leads to a record, or to a newer one that has it too.
func leads(c *bolt.Cursor, records *bolt.Bucket, i int, name []byte, seq uint64) bool {
	k, val := c.Seek(name)
	if !bytes.Equal(k, name) || len(val) < 8 {
		return false
	}
	at := binary.BigEndian.Uint64(val)
	if at <= seq {
		return at == seq
	}
	n, ok := parseSeqValue(records.Get(val[:8]))
	return ok && bytes.Equal(n[i], name)
}

// own looks for a sale in the journal itself: its id tells its record, unless it was copied
// from another journal.
func (v *View) own(id string) (seq uint64, ok bool) {
	_, tail, _ := strings.Cut(id, "-")
	seq, err := strconv.ParseUint(tail, 10, 64)
	if err != nil || id != event.SaleID(v.j.ID(), seq) {
		return 0, false
	}
	err = v.j.Read(seq, func(rec chain.Record) error {
		e, _, err := extract(rec)
		ok = e.sale == id
		return err
	})
	return seq, ok && err == nil
}
