package journal

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posd/journal/chain"
)

// folder is a closed journal of several segments that a test damages.
type folder struct {
	t   *testing.T
	dir string
}

func (f folder) path(no uint32) string { return filepath.Join(f.dir, segmentName(no)) }

func (f folder) edit(name string, fn func(b []byte) []byte) {
	f.t.Helper()
	p := filepath.Join(f.dir, name)
	b, err := os.ReadFile(p)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(p, fn(b), 0o640); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) segments() (nos []uint32) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		if no := segmentNo(e.Name()); no != 0 {
			nos = append(nos, no)
		}
	}
	return nos
}

// last is the newest segment in use and the offset of its last group.
func (f folder) last() (no uint32, off int) {
	for _, n := range f.segments() {
		b, err := os.ReadFile(f.path(n))
		if err != nil {
			f.t.Fatal(err)
		}
		h, err := decodeSegmentHead(b)
		if err != nil || h.no != n {
			continue
		}
		no = n
		for at := h.align; at < len(b); {
			g, err := decodeGroupHeader(b[at:], where{h.id, n, at, len(b), h.align})
			if err != nil {
				break
			}
			off = at
			at += g.size(h.align)
		}
	}
	return no, off
}

func swap(f folder, a, b uint32) {
	tmp := f.path(a) + ".tmp"
	for _, mv := range [][2]string{{f.path(a), tmp}, {f.path(b), f.path(a)}, {tmp, f.path(b)}} {
		if err := os.Rename(mv[0], mv[1]); err != nil {
			f.t.Fatal(err)
		}
	}
}

// TestRecovery damages a good journal; each row says what the start must say.
// want "" means that it opens, keeps keep records fewer than before at most,
// and goes on.
func TestRecovery(t *testing.T) {
	last := func(f folder, fn func(no uint32, off int)) { no, off := f.last(); fn(no, off) }
	rows := []struct {
		name   string
		damage func(f folder)
		want   string // in the *CorruptError; "" = opens
		lose   uint64
		torn   bool
		old    bool // damage of older records: it opens, sells, and says so
	}{
		{name: "nothing", damage: func(folder) {}},
		{name: "garbage behind the end, note gone", torn: true, damage: func(f folder) {
			last(f, func(no uint32, off int) {
				f.edit(segmentName(no), func(b []byte) []byte { b[off+minAlign+3] = 7; return b })
			})
			f.edit(noteName, func(b []byte) []byte { clear(b); return b })
		}},
		{name: "last group torn, no note saw it", torn: true, lose: 1, damage: func(f folder) {
			last(f, func(no uint32, off int) {
				f.edit(segmentName(no), func(b []byte) []byte { b[off+100] ^= 1; return b })
			})
			f.edit(noteName, func(b []byte) []byte { clear(b); return b })
		}},
		{name: "last group torn, the note saw it", want: "the floor note names record", damage: func(f folder) {
			last(f, func(no uint32, off int) {
				f.edit(segmentName(no), func(b []byte) []byte { b[off+100] ^= 1; return b })
			})
		}},
		{name: "an earlier group is damaged", want: "a valid later group", damage: func(f folder) {
			no, _ := f.last()
			f.edit(segmentName(no), func(b []byte) []byte { b[minAlign+200] ^= 4; return b })
		}},
		{name: "last segment missing", want: "the floor note names record", damage: func(f folder) {
			no, _ := f.last()
			os.Remove(f.path(no))
		}},
		{name: "a segment in the middle missing", old: true, want: "the file is missing", damage: func(f folder) { os.Remove(f.path(2)) }},
		{name: "two segments swapped", old: true, want: "the file holds segment 3", damage: func(f folder) { swap(f, 2, 3) }},
		{name: "page 0 of an old segment zeroed", old: true, want: "page 0 is gone", damage: func(f folder) {
			f.edit(segmentName(2), func(b []byte) []byte { clear(b[:minAlign]); return b })
		}},
		{name: "page 0 of the last segment zeroed", want: "a valid group at offset 4096", damage: func(f folder) {
			no, _ := f.last()
			f.edit(segmentName(no), func(b []byte) []byte { clear(b[:minAlign]); return b })
		}},
		{name: "page 0 of the last segment garbled", want: "a valid group at offset 4096", damage: func(f folder) {
			no, _ := f.last()
			f.edit(segmentName(no), func(b []byte) []byte { b[17] ^= 1; return b })
		}},
		{name: "page 0 of the spare torn", damage: func(f folder) {
			no, _ := f.last()
			f.edit(segmentName(no+1), func(b []byte) []byte { copy(b, "POSDSEG1 torn"); return b })
		}},
		{name: "spare half made", damage: func(f folder) {
			no, _ := f.last()
			f.edit(segmentName(no+1), func(b []byte) []byte { return b[:5000] })
		}},
		{name: "last segment cut short", want: "the file has", damage: func(f folder) {
			no, _ := f.last()
			f.edit(segmentName(no), func(b []byte) []byte { return b[:len(b)/2] })
		}},
		{name: "floor note file missing", want: "every journal has a floor note", damage: func(f folder) {
			os.Remove(filepath.Join(f.dir, noteName))
		}},
		{name: "one note page torn", damage: func(f folder) {
			f.edit(noteName, func(b []byte) []byte { b[40] ^= 1; return b })
		}},
		{name: "a segment of another journal", old: true, want: "it belongs to journal", damage: func(f folder) {
			f.edit(segmentName(2), func(b []byte) []byte { b[16] ^= 1; reseal(b); return b })
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if row.old {
				recoverOldDamage(t, row.damage, row.want)
				return
			}
			recoverDamaged(t, row.damage, row.want, row.lose, row.torn)
		})
	}
}

func recoverDamaged(t *testing.T, damage func(folder), want string, lose uint64, torn bool) {
	o := testOptions()
	j, dir := newJournal(t, o)
	var seq uint64
	for range 66 {
		seq = mustAppend(t, j, bytes.Repeat([]byte("d"), 3000))
	}
	until(t, func() bool { return j.Stats().SpareReady })
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, "lock")) // as after a reboot
	damage(folder{t, dir})
	before := snapshot(t, dir)
	j, err := Open(dir, o)
	if want != "" {
		var ce *CorruptError
		if !errors.As(err, &ce) || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v, want a CorruptError with %q", err, want)
		}
		if after := snapshot(t, dir); !sameFiles(before, after) {
			t.Fatal("the refused start changed a file")
		}
		if _, err := Verify(t.Context(), dir, VerifyOptions{}); !errors.As(err, &ce) && want != "every journal has a floor note" {
			t.Fatalf("verify: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if floor, _ := j.Floor(); floor != seq-lose {
		t.Fatalf("recovered %d, want %d", floor, seq-lose)
	}
	if (j.Recovered() != "") != torn || (j.Stats().TornTails == 1) != torn {
		t.Fatalf("torn tail reported: %q", j.Recovered())
	}
	mustAppend(t, j, []byte("on it goes"))
	contents(t, j)
}

func recoverOldDamage(t *testing.T, damage func(folder), want string) {
	f, _ := damagedJournal(t)
	damage(f)
	j := reopen(t, f.dir, testOptions())
	until(t, func() bool { return len(j.Damage()) > 0 })
	if d := j.Damage(); !strings.Contains(d[0].Error(), want) {
		t.Fatalf("got %v, want %q", d, want)
	}
	mustAppend(t, j, []byte("on it goes"))
	var ce *CorruptError
	if r, err := j.Reader(5); err != nil {
		t.Fatalf("what is sound cannot be read: %v", err)
	} else {
		for err == nil {
			_, err = r.Next()
		}
		if r.Close(); !errors.As(err, &ce) {
			t.Fatalf("reading on into the damage: %v", err)
		}
	}
	if _, err := Verify(t.Context(), f.dir, VerifyOptions{}); !errors.As(err, &ce) {
		t.Fatalf("verify: %v", err)
	}
}

// TestOldDamageDoesNotStopFreeing: a page 0 that nobody can read must not fill the
// disk with settled records.
func TestOldDamageDoesNotStopFreeing(t *testing.T) {
	f, _ := damagedJournal(t)
	for _, no := range []uint32{2, 3} {
		f.edit(segmentName(no), func(b []byte) []byte { b[20] ^= 1; return b })
	}
	o := testOptions()
	o.MaxBytes = 8 * o.SegmentSize
	for range 3 {
		j := reopen(t, f.dir, o)
		for range 100 {
			floor, _ := j.Floor()
			j.Settle(floor)
			until(t, func() bool { return !j.Full() })
			mustAppend(t, j, bytes.Repeat([]byte("f"), 3000))
		}
		until(t, func() bool { return j.Stats().Damaged == 0 }) // freed, and so forgotten
		contents(t, j)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func snapshot(t *testing.T, dir string) map[string][]byte {
	got := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "lock" {
			continue
		}
		if got[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func sameFiles(a, b map[string][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

// TestFileTruncatedUnderTheMap: a store into a page that is gone is SIGBUS; it
// must come back as an error, and nothing may be acknowledged.
func TestFileTruncatedUnderTheMap(t *testing.T) {
	j, dir := newJournal(t, testOptions())
	seq := mustAppend(t, j, []byte("safe"))
	no, _ := folder{t, dir}.last()
	if err := os.Truncate(filepath.Join(dir, segmentName(no)), minAlign); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 3 {
		var s uint64
		if s, err = j.Append(chain.TypeOwner, Durable, 5000, payload(make([]byte, 5000))); err == nil {
			err = j.Wait(t.Context(), s)
		}
		if err == nil {
			t.Fatal("acknowledged into a truncated file")
		}
	}
	if !errors.Is(err, ErrFailed) {
		t.Fatalf("got %v, want ErrFailed", err)
	}
	select {
	case <-j.Failed():
	default:
		t.Fatal("the failure is not announced")
	}
	if floor, _ := j.Floor(); floor != seq {
		t.Fatalf("floor moved to %d", floor)
	}
	if err := j.Read(seq, func(chain.Record) error { return nil }); err == nil {
		t.Fatal("read a page that is gone")
	}
}

// TestFileReplacedUnderTheMap: who copies a backup over a running journal, or
// removes it, must not have sales acknowledged into a file without a name.
func TestFileReplacedUnderTheMap(t *testing.T) {
	for name, how := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			b, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path+".new", b, 0o640)
			}
			return errors.Join(err, os.Rename(path+".new", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			j, dir := newJournal(t, testOptions())
			mustAppend(t, j, []byte("safe"))
			no, _ := folder{t, dir}.last()
			if err := how(filepath.Join(dir, segmentName(no))); err != nil {
				t.Fatal(err)
			}
			seq, err := j.Append(chain.TypeOwner, Durable, 5, payload("lost?"))
			if err == nil {
				err = j.Wait(t.Context(), seq)
			}
			if !errors.Is(err, ErrFailed) || !errors.Is(err, unix.ESTALE) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// TestReservedFlags: what this version does not know is a newer format, never a
// torn tail.
func TestReservedFlags(t *testing.T) {
	o := testOptions()
	j, dir := newJournal(t, o)
	mustAppend(t, j, []byte("x"))
	j.Close()
	no, off := folder{t, dir}.last()
	folder{t, dir}.edit(segmentName(no), func(b []byte) []byte {
		g := b[off:]
		le.PutUint16(g[14:], 1)
		le.PutUint32(g[4:], crc32.Checksum(g[8:groupHeader+le.Uint32(g[8:])], castagnoli))
		return b
	})
	if _, err := Open(dir, o); !errors.Is(err, ErrNewer) {
		t.Fatalf("got %v, want ErrNewer", err)
	}
}

// TestFreeingByWrongClocks: a clock that was years ahead at a roll must not keep
// settled segments for ever, and one that is ahead now must not free what is young.
func TestFreeingByWrongClocks(t *testing.T) {
	day := (24 * time.Hour).Milliseconds()
	now := time.Now().UnixMilli()
	for _, row := range []struct {
		name    string
		created []int64
		timely  bool
		full    bool
		free    bool
	}{
		{"young", []int64{now - 3*day, now - 2*day, now}, true, false, false},
		{"old", []int64{now - 40*day, now - 31*day, now}, true, false, true},
		{"was ahead, then corrected", []int64{now - 40*day, now + 9999*day, now - 31*day}, true, false, true},
		{"is ahead", []int64{now - 3*day, now + 9999*day, now + 9999*day}, true, false, false},
		{"is ahead and the budget is used up", []int64{now - 3*day, now + 9999*day, now + 9999*day}, true, true, true},
		{"was at 1970", []int64{now - 3*day, 1000, now}, true, false, false},
		{"two days old and the budget is used up", []int64{now - 3*day, now - 2*day, now}, true, true, true},
		{"nobody disciplines the clock", []int64{now - 40*day, now - 31*day, now}, false, false, false},
		{"nobody disciplines the clock and the budget is used up", []int64{now - 40*day, now - 31*day, now}, false, true, true},
		{"fresh and the budget is used up", []int64{now - 1000, now - 1000, now}, true, true, false},
	} {
		j := &Journal{opt: Options{SegmentSize: 1 << 20, MaxBytes: 1 << 30, Retention: 30 * 24 * time.Hour, Timely: func() bool { return row.timely }}, settled: 100, floorSeq: 100, surveyed: true}
		for i, at := range row.created {
			j.segs = append(j.segs, &segment{known: true, segmentHead: segmentHead{size: 1 << 20, no: uint32(i + 1), firstSeq: uint64(1 + 10*i), created: at}})
		}
		if got := j.freeableLocked(0, time.Now(), row.full); got != row.free {
			t.Errorf("%s: freed %v, want %v", row.name, got, row.free)
		}
	}
}

// TestFolderGone: nobody may mistake an unmounted partition for a new terminal.
func TestFolderGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "journal")
	_, err := Open(dir, testOptions())
	if !errors.Is(err, ErrNoJournal) || !strings.Contains(err.Error(), "mounted") {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("Open made the folder")
	}
}

// A start gave up a group for its torn padding alone; its records never were. Then page 0
// of the next segment, which says where this one ends, goes bad: that group is not handed
// out again, neither by a Reader nor by a Rescue.
func TestGivenUpStaysGone(t *testing.T) {
	o := testOptions()
	j, dir := newJournal(t, o)
	for range 3 {
		mustAppend(t, j, []byte("sold"))
	}
	gone := mustAppend(t, j, []byte("given up"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	f := folder{t, dir}
	os.Remove(filepath.Join(dir, "lock")) // as after a reboot
	no, off := f.last()
	f.edit(segmentName(no), func(b []byte) []byte { b[off+minAlign-1] = 7; return b })
	f.edit(noteName, func(b []byte) []byte { clear(b); return b })
	j = reopen(t, dir, o)
	if floor, _ := j.Floor(); floor != gone-1 {
		t.Fatalf("record %d is the last one, want %d", floor, gone-1)
	}
	for last := no; last < no+2; last, _ = f.last() {
		mustAppend(t, j, bytes.Repeat([]byte("n"), 3000))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	f.edit(segmentName(no+1), func(b []byte) []byte { b[0] ^= 1; return b })
	j = reopen(t, dir, o)
	look := func(rec chain.Record) {
		t.Helper()
		if bytes.Contains(rec.Payload, []byte("given up")) {
			t.Errorf("record %d is the one that was given up", rec.Seq)
		}
	}
	r, err := j.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var rec chain.Record
	for err == nil {
		if rec, err = r.Next(); err == nil {
			look(rec)
		}
	}
	var damage *CorruptError
	if !errors.As(err, &damage) || rec.Seq > gone {
		t.Errorf("the reader ends behind record %d: %v", rec.Seq, err)
	}
	if err := j.Read(gone, func(rec chain.Record) error { look(rec); return nil }); err != nil && !errors.As(err, &damage) {
		t.Error(err)
	}
}
