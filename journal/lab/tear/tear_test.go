package tear

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// land plays many cuts of some writes on a blank disk.
func land(t *testing.T, writes []Write, first int, look func(img []byte)) {
	t.Helper()
	for seed := range uint64(2000) {
		img := bytes.Repeat([]byte{'o'}, 24*Sector)
		Land(img, writes, first, rand.New(rand.NewPCG(seed, 0)))
		look(img)
	}
}

// TestLand: each sector has one of its versions, all combinations come, and nothing
// is garbled where it must not be.
func TestLand(t *testing.T) {
	writes := []Write{{6 * Sector, bytes.Repeat([]byte{'a'}, 2*Sector)}, {7 * Sector, bytes.Repeat([]byte{'b'}, 2*Sector)}}
	seen := map[string]int{}
	land(t, writes, 16*Sector, func(img []byte) {
		for at := 0; at < len(img); at += Sector {
			if n := bytes.Count(img[at:at+Sector], img[at:at+1]); n != Sector {
				t.Fatalf("the sector at %d is torn in itself: %d of %q", at, n, img[at])
			}
		}
		if img[5*Sector] != 'o' || img[9*Sector] != 'o' {
			t.Fatal("what nobody wrote has changed")
		}
		seen[string([]byte{img[6*Sector], img[7*Sector], img[8*Sector]})]++
	})
	if want := 2 * 3 * 2; len(seen) != want {
		t.Errorf("%d of %d combinations: %v", len(seen), want, seen)
	}
	garbled := 0
	land(t, writes, 7*Sector, func(img []byte) {
		if !bytes.Contains([]byte("oa"), img[6*Sector:6*Sector+1]) {
			t.Fatal("garbled before first")
		}
		n := 0
		for _, at := range []int{7 * Sector, 8 * Sector} {
			if bytes.Count(img[at:at+Sector], img[at:at+1]) != Sector {
				n++
			}
		}
		if n > 1 {
			t.Fatal("two sectors are garbled")
		}
		garbled += n
	})
	if garbled == 0 {
		t.Error("nothing is ever garbled")
	}
}

// TestAtomic: superblocks of ext4 and of its journal, and its commit blocks, land whole
// or not at all.
func TestAtomic(t *testing.T) {
	journal := binary.BigEndian.AppendUint32(nil, 0xC03B3998)
	journal = append(binary.BigEndian.AppendUint32(journal, 4), bytes.Repeat([]byte{'j'}, 2*Sector-8)...)
	commit := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 0xC03B3998), 2)
	commit = append(commit, bytes.Repeat([]byte{'c'}, 8*Sector-8)...)
	writes := []Write{{0, bytes.Repeat([]byte{'s'}, 8*Sector)}, {8 * Sector, journal}, {16 * Sector, commit}}
	torn := 0
	land(t, writes, 0, func(img []byte) {
		if n := bytes.Count(img[16*Sector:24*Sector], []byte{'c'}); n != 0 && n != 8*Sector-8 {
			t.Fatalf("a commit block is torn: %d bytes of it", n)
		}
		if img[2*Sector] != img[4*Sector-1] {
			t.Fatal("the superblock is torn")
		}
		if (img[8*Sector+8] == 'j') != (img[10*Sector-1] == 'j') {
			t.Fatal("the superblock of the journal is torn")
		}
		if img[0] != img[Sector] {
			torn++
		}
	})
	if torn == 0 {
		t.Error("nothing else is torn either")
	}
}
