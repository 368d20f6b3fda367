package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"
	"unicode/utf16"
)

const testBlock = 512

// memory is a disk that records its writes, a block each.
type memory struct {
	b      []byte
	writes []write
}

type write struct {
	at int64
	b  []byte
}

func (m *memory) ReadAt(p []byte, at int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(p, at)
}

func (m *memory) WriteAt(p []byte, at int64) (int, error) {
	for i := 0; i < len(p); i += testBlock {
		end := min(i+testBlock, len(p))
		m.writes = append(m.writes, write{at + int64(i), bytes.Clone(p[i:end])})
	}
	copy(m.b[at:], p)
	return len(p), nil
}

func (m *memory) Sync() error { return nil }

// newDisk is the image on a disk of size bytes: the table's end lies where the image ends.
func newDisk(size, image int64) *memory {
	m := &memory{b: make([]byte, size)}
	t := &table{block: testBlock, header: make([]byte, testBlock), entries: make([]byte, 128*128)}
	last := image/testBlock - 1
	copy(t.header, "EFI PART")
	put32(t.header, 8, 0x10000)
	put32(t.header, 12, headerSize)
	put64(t.header, 24, last)
	put64(t.header, 32, 1)
	put64(t.header, 40, 34)
	put64(t.header, 48, last-33)
	put64(t.header, 72, last-32)
	put32(t.header, 80, 128)
	put32(t.header, 84, 128)
	for i, label := range []string{"posd-esp", "posd-root-a", "posd-root-b", "posd-data"} {
		e := t.entries[i*128:]
		e[0], e[16] = 1, byte(i+1)
		put64(e, entryFirst, int64(2048*(i+1)))
		put64(e, entryLast, int64(2048*(i+2)-1))
		for j, c := range utf16.Encode([]rune(label)) {
			binary.LittleEndian.PutUint16(e[entryLabel+2*j:], c)
		}
	}
	put32(t.header, 88, crc32.ChecksumIEEE(t.entries))
	if err := t.writeLast(m, last, 32); err != nil {
		panic(err)
	}
	if err := t.writeFirst(m); err != nil {
		panic(err)
	}
	m.writes = nil
	return m
}

// kernelReads takes the table as Linux does with the option gpt: the first, else the
// one at the end of the disk.
func kernelReads(m *memory) (*table, error) {
	t, err := readTable(m, testBlock, 1)
	if err != nil {
		t, err = readTable(m, testBlock, int64(len(m.b))/testBlock-1)
	}
	return t, err
}

func lastOf(t *table) int64 { return u64(t.entry("posd-data"), entryLast) }

func TestGrow(t *testing.T) {
	m := newDisk(64<<20, 6<<20)
	if grown, err := grow(m, testBlock, 64<<20, "posd-data"); err != nil || !grown {
		t.Fatal(grown, err)
	}
	got, err := readTable(m, testBlock, 1)
	if err != nil {
		t.Fatal(err)
	}
	if end := (lastOf(got) + 1) * testBlock; end != 63<<20 {
		t.Errorf("the partition ends at %d", end)
	}
	if _, err := readTable(m, testBlock, 64<<20/testBlock-1); err != nil {
		t.Error("the table at the end:", err)
	}
	if first := u64(got.entry("posd-root-b"), entryFirst); first != 3*2048 {
		t.Errorf("another partition moved to %d", first)
	}
	if grown, err := grow(m, testBlock, 64<<20, "posd-data"); err != nil || grown {
		t.Error("again:", grown, err)
	}
}

// TestGrowCuts: a power cut after any block, also in its middle, leaves the old partition
// or the new one, and the next start comes to the new one.
func TestGrowCuts(t *testing.T) {
	const size = 64 << 20
	whole := newDisk(size, 6<<20)
	if _, err := grow(whole, testBlock, size, "posd-data"); err != nil {
		t.Fatal(err)
	}
	want, _ := readTable(whole, testBlock, 1)
	seen := map[int64]int{}
	for cut := 0; cut <= 2*len(whole.writes); cut++ {
		m := newDisk(size, 6<<20)
		old, _ := readTable(m, testBlock, 1)
		for _, w := range whole.writes[:cut/2] {
			copy(m.b[w.at:], w.b)
		}
		if cut%2 == 1 { // half a block
			w := whole.writes[cut/2]
			copy(m.b[w.at:], w.b[:len(w.b)/2])
		}
		got, err := kernelReads(m)
		if err != nil {
			t.Fatalf("cut %d: no table is left: %v", cut, err)
		}
		if e := lastOf(got); e != lastOf(old) && e != lastOf(want) {
			t.Fatalf("cut %d: the partition ends at block %d", cut, e)
		}
		seen[lastOf(got)]++
		if _, err := grow(m, testBlock, size, "posd-data"); err != nil {
			t.Fatalf("cut %d: the next start: %v", cut, err)
		}
		if got, err := readTable(m, testBlock, 1); err != nil || lastOf(got) != lastOf(want) {
			t.Fatalf("cut %d: the next start did not finish: %v", cut, err)
		}
	}
	if len(seen) != 2 {
		t.Errorf("the cuts met only %v", seen)
	}
	// The control: the beginning first, as one would without thinking.
	m := newDisk(size, 6<<20)
	copy(m.b[testBlock:], make([]byte, testBlock/2))
	if _, err := kernelReads(m); err == nil {
		t.Error("a torn beginning without a new end was read")
	}
}

func TestGrowRefuses(t *testing.T) {
	if _, err := grow(newDisk(64<<20, 6<<20), testBlock, 64<<20, "posd-root-b"); err == nil {
		t.Error("a partition with another behind it")
	}
	if _, err := grow(newDisk(64<<20, 6<<20), testBlock, 64<<20, "none"); err == nil {
		t.Error("a partition that is not there")
	}
	if _, err := grow(&memory{b: make([]byte, 1<<20)}, testBlock, 1<<20, "posd-data"); err == nil {
		t.Error("no table")
	}
}

func FuzzReadTable(f *testing.F) {
	f.Add(newDisk(1<<20, 1<<20).b[:34*testBlock])
	f.Fuzz(func(_ *testing.T, b []byte) {
		if t, err := readTable(bytes.NewReader(b), testBlock, 1); err == nil {
			_ = fmt.Sprint(t.entry("posd-data") != nil)
		}
	})
}
