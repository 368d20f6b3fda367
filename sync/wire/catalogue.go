package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/s2"
)

// KindCatalogue is the kind of an order whose body is an Offer.
const KindCatalogue = "catalogue"

// ContentBucket holds what catalogues are made of, manifests and chunks, for all
// terminals together: each content under its SHA-256, compressed as an s2 block.
// ContentStream is the stream behind it.
const (
	ContentBucket = "pos_cat"
	ContentStream = "KV_" + ContentBucket
	ContentPrefix = "$KV." + ContentBucket + "."
)

// MaxContent is the longest content, in bytes: a manifest.
const MaxContent = 256 << 10

// CatalogueKey is the key in Bucket of the order that names a terminal's catalogue.
func CatalogueKey(store, terminal string) string { return store + "." + terminal + ".catalogue" }

// ContentKey is the key in ContentBucket of a content.
func ContentKey(sum [sha256.Size]byte) string { return hex.EncodeToString(sum[:]) }

// ErrContent: what came is not the content that was asked for.
var ErrContent = errors.New("the content is not what its name says")

// PackContent is how a content stands in ContentBucket.
func PackContent(content []byte) []byte { return s2.Encode(nil, content) }

// UnpackContent is the inverse of PackContent. The error is ErrContent.
func UnpackContent(b []byte, sum [sha256.Size]byte) ([]byte, error) {
	n, err := s2.DecodedLen(b)
	if err != nil || n > MaxContent {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrContent, n, MaxContent)
	}
	content, err := s2.Decode(nil, b)
	if err != nil || sha256.Sum256(content) != sum {
		return nil, ErrContent
	}
	return content, nil
}

// Offer is the body of an order of KindCatalogue:
//
//	{"v":1,"version":"autumn-3-9f86d081884c","manifest":"<64 hexadecimal digits>","spread":120}
type Offer struct {
	Version  string
	Manifest [sha256.Size]byte // the content that says what the catalogue is made of
	Spread   uint64            // seconds in which all who are offered it begin, each when chance says
}

// Append writes the offer.
func (o *Offer) Append(dst []byte) []byte {
	m := members{b: append(dst, `{"v":1`...)}
	m.text("version", o.Version, maxVersion)
	m.hex("manifest", o.Manifest[:])
	m.uint("spread", o.Spread)
	return append(m.b, '}')
}

// ParseOffer is the inverse of Append, as strict as ParseWatermark. Errors: ErrOrder.
func ParseOffer(b []byte) (Offer, error) {
	var o Offer
	err := parseNotice(b, map[string]func(jsontext.Token) error{
		"version":  stringField(&o.Version),
		"manifest": hexField(o.Manifest[:]),
		"spread":   uintField(&o.Spread),
	}, "version", "manifest")
	if err == nil && !isVersion(o.Version) {
		err = errors.New("version " + strconv.Quote(Short(o.Version, maxVersion)))
	}
	if err != nil {
		return Offer{}, fmt.Errorf("%w: catalogue: %w", ErrOrder, err)
	}
	o.Spread = min(o.Spread, MaxSpread)
	return o, nil
}

// MaxSpread bounds Spread, in seconds.
const MaxSpread = 3600

// DirectGet is the subject that asks for a content.
func DirectGet(sum [sha256.Size]byte) string {
	return directGet + ContentStream + "." + ContentPrefix + ContentKey(sum)
}

// isVersion tells names of catalogues: printable ASCII without blanks.
func isVersion(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= maxVersion
}
