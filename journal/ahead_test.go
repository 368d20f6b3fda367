package journal

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"posd/journal/internal/disk"
)

// wanted notes what a reader asks for.
type wanted struct {
	disk.File
	fetched, near [][2]int // from, to
}

func (w *wanted) Fetch(off, n int) { w.fetched = append(w.fetched, [2]int{off, off + n}) }
func (w *wanted) Near(off, n int)  { w.near = append(w.near, [2]int{off, off + n}) }

// Who reads on gets what lies before him, each page once, from the device before it is
// waited for, and nothing behind the end; who wants one record gets nothing more.
func TestLookAhead(t *testing.T) {
	const end = 1 << 20
	for _, row := range []struct {
		name     string
		end, row int // the segment's end for reading ahead; groups read
		step     int // size of a group
		asks     bool
	}{
		{"one record", end, 1, minAlign, false},
		{"a few", end, aheadAfter - 1, minAlign, false},
		{"the active segment", 0, end / minAlign, minAlign, false},
		{"small groups", end, end / minAlign, minAlign, true},
		{"large groups", end, end / maxGroup, maxGroup, true},
		{"an odd end", end - 3*minAlign, (end - 3*minAlign) / minAlign, minAlign, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			var w wanted
			a := ahead{end: row.end}
			for i := range row.row {
				off := i * row.step
				a.look(&w, off)
				if i+1 >= aheadAfter && row.asks && a.near <= off {
					t.Fatalf("the group at %d is not near", off)
				}
			}
			for _, all := range [][][2]int{w.fetched, w.near} {
				for i, r := range all {
					if r[0] >= r[1] || r[1] > row.end || i > 0 && r[0] < all[i-1][1] {
						t.Fatalf("%v", all)
					}
				}
				if (len(all) > 0) != row.asks {
					t.Fatalf("%v", all)
				}
			}
			for i := range w.near {
				if w.near[i][1] > w.fetched[min(i, len(w.fetched)-1)][1] {
					t.Fatalf("waits for %v, fetched are %v", w.near[i], w.fetched)
				}
			}
		})
	}
}

// A reader hands out records, not what stands between them: a bit that flips there is the
// scrub's and the proof's to find, and keeps no sale from being sent.
func TestPaddingIsNotTheReaders(t *testing.T) {
	o := testOptions()
	j, dir := newJournal(t, o)
	for i := range 300 {
		mustAppend(t, j, fmt.Appendf(nil, "record %d", i))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	f := folder{t, dir}
	f.edit(segmentName(1), func(b []byte) []byte {
		h, err := decodeSegmentHead(b)
		if err != nil {
			t.Fatal(err)
		}
		g, err := decodeGroupHeader(b[h.align:], where{h.id, 1, h.align, len(b), h.align})
		if err != nil {
			t.Fatal(err)
		}
		b[h.align+g.size(h.align)-1] = 1
		return b
	})
	j = reopen(t, dir, o)
	if n := len(contents(t, j)); n != 300 {
		t.Errorf("%d records", n)
	}
	j.Close()
	var damage *CorruptError
	if _, err := Verify(context.Background(), dir, VerifyOptions{}); !errors.As(err, &damage) {
		t.Errorf("the proof says %v", err)
	}
}
