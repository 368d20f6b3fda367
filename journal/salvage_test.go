package journal

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"posd/journal/chain"
)

type named struct {
	payload string
	typ     chain.Type
	head    chain.Head
}

// originals reads a sound journal of several segments.
func originals(t *testing.T, dir string) map[uint64]named {
	all := map[uint64]named{}
	if _, err := Verify(t.Context(), dir, VerifyOptions{Each: func(r chain.Record, h chain.Head) error {
		all[r.Seq] = named{string(r.Payload), r.Type, h}
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	return all
}

// salvaged salvages dir and checks that what comes out is true, and that what is
// missing is listed.
func salvaged(t *testing.T, dir string, all map[uint64]named) (Salvaged, map[uint64]bool) {
	t.Helper()
	got, last := map[uint64]bool{}, uint64(0)
	rep, err := Salvage(t.Context(), dir, SalvageOptions{Each: func(_ chain.ID, r chain.Record, h chain.Head) error {
		if want := all[r.Seq]; want != (named{string(r.Payload), r.Type, h}) {
			t.Errorf("record %d is not the one that was written", r.Seq)
		}
		if r.Seq <= last {
			t.Errorf("record %d after %d", r.Seq, last)
		}
		got[r.Seq], last = true, r.Seq
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range rep.Lost {
		for seq := l.First; seq != 0 && seq <= l.Last; seq++ {
			if got[seq] {
				t.Errorf("record %d is there and listed as lost", seq)
			}
			got[seq] = false
		}
	}
	for seq := range all {
		if _, said := got[seq]; !said {
			t.Errorf("record %d is neither there nor listed as lost: %v", seq, rep.Lost)
		}
	}
	return rep, got
}

func damagedJournal(t *testing.T) (folder, map[uint64]named) {
	o := testOptions()
	j, dir := newJournal(t, o)
	for i := range 66 {
		mustAppend(t, j, bytes.Repeat([]byte{byte(i)}, 3000))
	}
	until(t, func() bool { return j.Stats().SpareReady })
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return folder{t, dir}, originals(t, dir)
}

func TestSalvage(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(f folder)
		lost   int // records
	}{
		{"nothing", func(folder) {}, 0},
		{"a flipped bit in a group", func(f folder) {
			f.edit(segmentName(2), func(b []byte) []byte { b[3*minAlign+500] ^= 16; return b })
		}, 1},
		{"a flipped bit in a page 0", func(f folder) {
			f.edit(segmentName(2), func(b []byte) []byte { b[20] ^= 16; return b })
		}, 0},
		{"the end of a segment", func(f folder) {
			f.edit(segmentName(2), func(b []byte) []byte { clear(b[14*minAlign:]); return b })
		}, 2},
		{"a file gone", func(f folder) { os.Remove(f.path(3)) }, 16},
		{"a file cut short", func(f folder) {
			f.edit(segmentName(3), func(b []byte) []byte { return b[:9*minAlign+100] })
		}, 7},
		{"the last group", func(f folder) {
			no, off := f.last()
			f.edit(segmentName(no), func(b []byte) []byte { b[off+300] ^= 1; return b })
		}, 1},
		{"the first segment", func(f folder) {
			f.edit(segmentName(1), func(b []byte) []byte { clear(b); return b })
		}, 16},
		{"the first segment's file", func(f folder) { os.Remove(f.path(1)) }, 16},
		{"the first group", func(f folder) {
			f.edit(segmentName(1), func(b []byte) []byte { b[minAlign+200] ^= 1; return b })
		}, 2},
		{"page 0 and the first group", func(f folder) {
			f.edit(segmentName(1), func(b []byte) []byte { b[30] ^= 1; b[minAlign+200] ^= 1; return b })
		}, 2},
		{"the last group and the first", func(f folder) {
			no, off := f.last()
			f.edit(segmentName(no), func(b []byte) []byte { b[off+300] ^= 1; return b })
			f.edit(segmentName(1), func(b []byte) []byte { b[minAlign+200] ^= 1; return b })
		}, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, all := damagedJournal(t)
			row.damage(f)
			rep, got := salvaged(t, f.dir, all)
			lost := 0
			for _, there := range got {
				if !there {
					lost++
				}
			}
			if lost != row.lost {
				t.Fatalf("lost %d records, want %d: %+v", lost, row.lost, rep.Lost)
			}
		})
	}
}

// TestSalvageOfAnything: whatever is wrong with the bytes, nothing untrue comes out.
func TestSalvageOfAnything(t *testing.T) {
	f, all := damagedJournal(t)
	sound := snapshot(t, f.dir)
	rng := rand.New(rand.NewPCG(3, 5))
	for range 60 {
		for name, b := range sound {
			if err := os.WriteFile(filepath.Join(f.dir, name), b, 0o640); err != nil {
				t.Fatal(err)
			}
		}
		for range 1 + rng.IntN(6) {
			f.edit(segmentName(2+uint32(rng.IntN(3))), func(b []byte) []byte {
				switch at := rng.IntN(len(b)); rng.IntN(3) {
				case 0:
					b[at] ^= 1 << rng.IntN(8)
				case 1:
					clear(b[at:min(at+5000, len(b))])
				default: // a page at a wrong place
					copy(b[at&^4095:], b[rng.IntN(len(b))&^4095:][:4096])
				}
				return b
			})
		}
		salvaged(t, f.dir, all)
	}
}

func TestSucceed(t *testing.T) {
	f, all := damagedJournal(t)
	o := testOptions()
	old, err := Identify(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	opt := CreateOptions{Identity: till, MachineID: "board 2", SegmentSize: o.SegmentSize, Opening: o.Opening,
		Parent: &chain.Parent{Journal: old.String(), Seq: 70, Reason: "clone"},
		Copies: func(add func(chain.ID, chain.Record, chain.Head) error) error {
			_, err := Verify(t.Context(), f.dir, VerifyOptions{From: 20, Each: func(r chain.Record, h chain.Head) error {
				return add(old, r, h)
			}})
			return err
		}}
	id, former, err := Succeed(f.dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := ReadBirth(f.dir); err != nil || b.Parent == nil || *b.Parent != *opt.Parent || b.Journal != id.String() {
		t.Fatalf("birth %+v %v", b, err)
	}
	if now := originals(t, former); len(now) != len(all) {
		t.Fatalf("the former journal has %d records, had %d", len(now), len(all))
	}
	copies, next := 0, uint64(20)
	for seq := uint64(1); ; seq++ {
		r, ok := originals(t, f.dir)[seq]
		if !ok {
			break
		}
		if r.typ != chain.TypeCopy {
			continue
		}
		c, err := chain.ParseCopy([]byte(r.payload))
		if err != nil {
			t.Fatal(err)
		}
		if c.Journal != old || c.Record.Seq != next || (named{string(c.Record.Payload), c.Record.Type, c.Head}) != all[next] {
			t.Fatalf("copy of record %d is not it", c.Record.Seq)
		}
		if all[next-1].head.Next(c.Frame(nil)) != c.Head {
			t.Fatalf("the chain cannot be proved from the copy of record %d", next)
		}
		next++
		copies++
	}
	if copies != len(all)-19 {
		t.Fatalf("%d copies of %d records", copies, len(all))
	}
	for machine, want := range map[string]bool{"board 1": true, "board 2": false, "": false} {
		if got, err := OtherMachine(f.dir, machine); err != nil || got != want {
			t.Errorf("%q is another machine: %v %v", machine, got, err)
		}
	}
	j := reopen(t, f.dir, o)
	mustAppend(t, j, []byte("goes on"))
}

// TestInterruptedSuccession: whatever Succeed was cut off at, one journal stands at
// the place, whole, and the former is never deleted.
func TestInterruptedSuccession(t *testing.T) {
	type step func(t *testing.T, dir string, next CreateOptions)
	create := func(t *testing.T, dir string, next CreateOptions) {
		if _, err := Create(dir+heirSuffix, next); err != nil {
			t.Fatal(err)
		}
	}
	exchange := func(t *testing.T, dir string, next CreateOptions) {
		create(t, dir, next)
		for _, mv := range [][2]string{{dir, dir + ".tmp"}, {dir + heirSuffix, dir}, {dir + ".tmp", dir + heirSuffix}} {
			if err := os.Rename(mv[0], mv[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, row := range map[string]struct {
		before step
		former bool
		again  bool // the journal in place is the old one still
	}{
		"nothing done":          {func(*testing.T, string, CreateOptions) {}, false, false},
		"half of the new one":   {func(t *testing.T, dir string, _ CreateOptions) { os.MkdirAll(dir+heirSuffix+creatingSuffix, 0o750) }, false, false},
		"new one not in place":  {create, false, false},
		"former one not put by": {exchange, true, false},
		"a used one put back there": {func(t *testing.T, dir string, next CreateOptions) {
			create(t, dir, next)
			j := reopen(t, dir+heirSuffix, testOptions())
			mustAppend(t, j, []byte("sale"))
			j.Close()
			reopen(t, dir+heirSuffix, testOptions()).Close()
		}, true, true},
		"its name is taken": {func(t *testing.T, dir string, next CreateOptions) {
			if err := os.MkdirAll(dir+"-"+next.Parent.Journal[:8]+"/full", 0o750); err != nil {
				t.Fatal(err)
			}
			exchange(t, dir, next)
		}, true, false},
		"half removed": {func(t *testing.T, dir string, next CreateOptions) {
			create(t, dir, next)
			os.Rename(dir+heirSuffix, dir+heirSuffix+creatingSuffix)
			os.Remove(filepath.Join(dir+heirSuffix+creatingSuffix, segmentName(1)))
		}, false, false},
		"unreadable": {func(t *testing.T, dir string, next CreateOptions) {
			create(t, dir, next)
			os.Truncate(filepath.Join(dir+heirSuffix, segmentName(1)), 0)
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			f, all := damagedJournal(t)
			old, _ := Identify(f.dir)
			row.before(t, f.dir, CreateOptions{Identity: till, SegmentSize: 64 << 10, Parent: &chain.Parent{Journal: old.String()}})
			former, err := FinishSuccession(f.dir)
			if err != nil || (former != "") != row.former {
				t.Fatalf("former %q %v", former, err)
			}
			if former == "" {
				former = f.dir
			}
			whole := former
			if row.again {
				whole = f.dir
			}
			if len(originals(t, whole)) != len(all) {
				t.Fatal("records of the former journal are missing")
			}
			reopen(t, f.dir, testOptions())
			if _, err := os.Stat(f.dir + heirSuffix); err == nil {
				t.Fatal("something is left over")
			}
		})
	}
}

// TestReadOnlyMount: what is held can be read and shipped, a sale is refused by
// name, and nothing is written.
func TestReadOnlyMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	f, all := damagedJournal(t)
	before := snapshot(t, f.dir)
	if err := unix.Mount(f.dir, f.dir, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("mounting is not permitted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(f.dir, unix.MNT_DETACH) })
	if err := unix.Mount("", f.dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	o := testOptions()
	j := reopen(t, f.dir, o)
	if _, err := j.Append(chain.TypeOwner, Finishing, 1, payload("x")); !errors.Is(err, ErrReadOnly) || !j.ReadOnly() {
		t.Fatalf("append: %v", err)
	}
	if got := contents(t, j); len(got) != 66 {
		t.Fatalf("%d records can be read, 66 are held", len(got))
	}
	if floor, _ := j.Floor(); floor != uint64(len(all)) {
		t.Fatalf("floor %d", floor)
	}
	if _, err := Open(f.dir, o); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second owner: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if !sameFiles(before, snapshot(t, f.dir)) {
		t.Fatal("something was written")
	}
}
