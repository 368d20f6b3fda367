package view

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	bolt "go.etcd.io/bbolt"
)

// schema is the version of the layout below. Another one is not converted: the
// index is built again. The one before lacks only what papers have added: where there were
// none, a shop that updates need not wait for a new index.
const (
	schema              = 3
	schemaWithoutPapers = 2
)

// Buckets of the file, all numbers big-endian, so that by-seq keys sort:
//
//	meta     schema → u16 · journal → 16 B · applied → u64 · head → 32 B (after applied)
//	sale     sale id → seq u64
//	receipt  receipt → seq u64
//	key      first 16 bytes of SHA-256(idempotency key) → seq u64 · SHA-256 of the body, 32 B
//	back     sale id · 0 · line u32 → quantity i64 · amount i64 that came back;
//	         line n + 2^30: 0 · tax that came back with line n;
//	         line 0: how often its receipt was given out · of these, as a copy
//	seq      seq u64 → sale length u8 · receipt length u8 · sale · receipt · [key 16 B]
//
// The last bucket exists to find the others' entries when the journal frees a
// segment.
var (
	bucketMeta    = []byte("meta")
	bucketSale    = []byte("sale")
	bucketReceipt = []byte("receipt")
	bucketKey     = []byte("key")
	bucketBack    = []byte("back")
	bucketSeq     = []byte("seq")

	metaSchema  = []byte("schema")
	metaJournal = []byte("journal")
	metaApplied = []byte("applied")
	metaHead    = []byte("head")
)

// maxName is the longest sale id or receipt that fits the length byte.
const maxName = 255

type keyID [16]byte

type bodyHash [sha256.Size]byte

// entry is what one event adds to the index.
type entry struct {
	seq           uint64
	sale, receipt string
	keyed         bool
	key           keyID
	hash          bodyHash
	back          []backLine
}

func idOf[T string | []byte](key T) keyID {
	sum := sha256.Sum256([]byte(key))
	return keyID(sum[:16])
}

func parseHash(s []byte) (h bodyHash, ok bool) {
	if len(s) != 2*len(h) {
		return h, false
	}
	_, err := hex.Decode(h[:], s)
	return h, err == nil
}

func appendSeq(dst []byte, seq uint64) []byte { return binary.BigEndian.AppendUint64(dst, seq) }

func seqOf(b []byte) (uint64, bool) {
	if len(b) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

func (e *entry) appendKeyValue(dst []byte) []byte {
	return append(appendSeq(dst, e.seq), e.hash[:]...)
}

// leadsTo is the record that begins the value of a name.
func leadsTo(b *bolt.Bucket, name []byte) (seq uint64, ok bool) {
	val := b.Get(name)
	if len(val) < 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(val), true
}

func (e *entry) appendSeqValue(dst []byte) []byte {
	dst = append(dst, byte(len(e.sale)), byte(len(e.receipt)))
	dst = append(dst, e.sale...)
	dst = append(dst, e.receipt...)
	if e.keyed {
		dst = append(dst, e.key[:]...)
	}
	return dst
}

// names are those of a record, in the order of their buckets; some may be empty.
type names [3][]byte

// parseSeqValue returns slices of b.
func parseSeqValue(b []byte) (n names, ok bool) {
	if len(b) < 2 {
		return n, false
	}
	s, r := int(b[0]), int(b[1])
	b = b[2:]
	if len(b) != s+r && len(b) != s+r+len(keyID{}) {
		return n, false
	}
	return names{b[:s], b[s : s+r], b[s+r:]}, true
}
