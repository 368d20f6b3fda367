package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"posd/journal/chain"
	"posd/journal/internal/disk"
)

// wanted notes what a reader asks for.
type wanted struct {
	disk.File
	fetched, near, behind [][2]int // from, to
}

func (w *wanted) Fetch(off, n int)  { w.fetched = append(w.fetched, [2]int{off, off + n}) }
func (w *wanted) Near(off, n int)   { w.near = append(w.near, [2]int{off, off + n}) }
func (w *wanted) Behind(off, n int) { w.behind = append(w.behind, [2]int{off, off + n}) }

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
			a := ahead{end: row.end, drop: true}
			for i := range row.row {
				off := i * row.step
				a.look(&w, off)
				if n := len(w.behind); n > 0 && w.behind[n-1][1] > off {
					t.Fatalf("%v is given back at %d", w.behind[n-1], off)
				}
				if i+1 >= aheadAfter && row.asks && a.near <= off {
					t.Fatalf("the group at %d is not near", off)
				}
			}
			if a.behind(&w, row.end); row.end != 0 && a.dropped != row.end {
				t.Fatalf("given back up to %d of %d", a.dropped, row.end)
			}
			for i, r := range w.behind {
				if i == 0 && r[0] != 0 || i > 0 && r[0] != w.behind[i-1][1] {
					t.Fatalf("given back: %v", w.behind)
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

// Who reads a backlog once leaves nothing of it in the page cache; who does not ask for
// that leaves it there, and finds it.
func TestDropBehind(t *testing.T) {
	o := testOptions()
	j, dir := newJournal(t, o)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == unix.TMPFS_MAGIC {
		t.Skip("the page cache is all that a tmpfs has")
	}
	big := bytes.Repeat([]byte("x"), 3000)
	for range 200 {
		mustAppend(t, j, big)
	}
	last, _ := j.Floor()
	read := func(drop bool) (resident int) {
		t.Helper()
		r, err := j.Reader(1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if drop {
			r.DropBehind()
		}
		for n := uint64(0); n < last; n++ {
			rec, err := r.Next()
			if err != nil || rec.Type == chain.TypeOwner && !bytes.Equal(rec.Payload, big) {
				t.Fatalf("record %d: %v", n+1, err)
			}
		}
		j.mu.Lock()
		active := j.segs[len(j.segs)-1].no
		j.mu.Unlock()
		for no := uint32(1); no < active; no++ {
			resident += cached(t, filepath.Join(dir, segmentName(no)))
		}
		return resident
	}
	all := read(false)
	if all < 200 {
		t.Fatalf("%d pages of 200 records are in the page cache", all)
	}
	if left := read(true); left > all/10 {
		t.Errorf("%d of %d pages are left", left, all)
	}
	if again := read(false); again < all/2 {
		t.Errorf("%d of %d pages are there again", again, all)
	}
	if left := read(true); left > all/10 {
		t.Errorf("%d of %d pages are left, the second time", left, all)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// cached counts a file's pages in the page cache.
func cached(t *testing.T, path string) (n int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	in := make([]byte, len(m)/os.Getpagesize())
	if _, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&in[0]))); e != 0 {
		t.Fatal(e)
	}
	for _, b := range in {
		n += int(b & 1)
	}
	return n
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

// Readers leave marks in segments of an earlier run: who asks there for a head need not
// walk from the start of the segment each time.
func TestReadersLeaveMarks(t *testing.T) {
	o := testOptions()
	o.SegmentSize = 1 << 20
	j, dir := newJournal(t, o)
	var heads []chain.Head
	for range 600 {
		mustAppend(t, j, bytes.Repeat([]byte("x"), 3000))
	}
	last, _ := j.Floor()
	for seq := range last {
		h, err := j.Head(seq + 1)
		if err != nil {
			t.Fatal(err)
		}
		heads = append(heads, h)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = reopen(t, dir, o)
	first := j.segs[0]
	far := func(seq uint64) int { return int(seq-first.before(seq).seq) * minAlign }
	for _, from := range []uint64{last / 4, 1, last / 8, 1} { // out of order, and again
		r, err := j.Reader(from)
		if err != nil {
			t.Fatal(err)
		}
		for range last - from + 1 {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
	}
	end := j.segs[1].firstSeq
	if end < 100 || end > last {
		t.Fatalf("the second segment begins with %d of %d records", end, last)
	}
	for seq := uint64(1); seq < end; seq++ {
		if d := far(seq); d > 2*markEvery {
			t.Errorf("record %d is %d bytes behind its mark", seq, d)
		}
	}
	if most := int(o.SegmentSize/markEvery) + 1; len(first.index) > most {
		t.Errorf("%d marks in a segment of %d", len(first.index), o.SegmentSize)
	}
	for seq := range last {
		h, err := j.Head(seq + 1)
		if err != nil || h != heads[seq] {
			t.Fatalf("head of %d: %v %v", seq+1, h, err)
		}
	}
}
