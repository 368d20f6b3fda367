package journal

import (
	"strings"
	"testing"
)

// What a header says of itself is told in words: one of this segment at another place is
// wrong, one of another segment was left there.
func TestHeaderOfAnotherPlace(t *testing.T) {
	b := make([]byte, groupHeader)
	le.PutUint32(b, groupMagic)
	le.PutUint32(b[24:], 5)
	le.PutUint32(b[28:], 4096+8) // a flipped bit
	for segNo, says := range map[uint32]string{5: "its header is wrong", 6: "left over from segment 5"} {
		if _, err := decodeGroupHeader(b, where{segNo: segNo, off: 4096, end: 64 << 10, align: 4096}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("in segment %d: %v", segNo, err)
		}
	}
}
