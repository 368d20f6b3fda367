package main

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"posd/journal/lab/tear"
)

const sectors = 64

// blank is a disk of "o"; page writes n bytes of c.
func blank(lying bool) *disk {
	return newDisk(bytes.Repeat([]byte("o"), sectors*tear.Sector), lying)
}

func page(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

func mustFlush(t *testing.T, d *disk) {
	t.Helper()
	upTo, ok := d.flushes()
	if !ok || !d.flushed(upTo) {
		t.Fatal("no flush")
	}
}

// TestCut: what was flushed is there after every cut; of the rest anything may be.
func TestCut(t *testing.T) {
	all, none, torn, garbled := 0, 0, 0, 0
	for seed := range uint64(2000) {
		d := blank(false)
		d.write(page('a', 4096), 0, false)
		mustFlush(t, d)
		d.write(page('b', 4096), 8192, false)
		d.write(page('c', 4096), 0, false)
		got := make([]byte, 8)
		if d.read(got, 0); string(got) != "cccccccc" {
			t.Fatalf("read back %q", got)
		}
		image, pending := d.left(rand.New(rand.NewPCG(seed, 0)))
		if pending != 8192 {
			t.Fatal(pending, "pending bytes")
		}
		if !bytes.Equal(image[4096:8192], page('o', 4096)) || !bytes.Equal(image[12288:], page('o', len(image)-12288)) {
			t.Fatal("the cut changed what nobody wrote")
		}
		new, old := 0, 0
		for at := 0; at < 4096; at += tear.Sector {
			switch s := image[at : at+tear.Sector]; {
			case bytes.Equal(s, page('c', tear.Sector)):
				new++
			case bytes.Equal(s, page('a', tear.Sector)):
				old++
			default:
				garbled++
			}
		}
		if new+old < 7 {
			t.Fatalf("seed %d: %d sectors are new, %d old", seed, new, old)
		}
		switch {
		case old == 0:
			all++
		case new == 0:
			none++
		default:
			torn++
		}
	}
	if all < 100 || none < 100 || torn < 100 || garbled < 100 {
		t.Errorf("%d kept, %d dropped, %d torn, %d sectors garbled", all, none, torn, garbled)
	}
}

// TestFlushBeside: a flush covers what came before it only, and is worth nothing if
// the power goes before it has ended.
func TestFlushBeside(t *testing.T) {
	survive := func(play func(d *disk)) (a, b int) {
		for seed := range uint64(200) {
			d := blank(false)
			d.write(page('a', 512), 0, false)
			play(d)
			image, _ := d.left(rand.New(rand.NewPCG(seed, 0)))
			if image[0] == 'a' && image[511] == 'a' {
				a++
			}
			if image[512] == 'b' {
				b++
			}
		}
		return a, b
	}
	a, b := survive(func(d *disk) {
		upTo, _ := d.flushes()
		d.write(page('b', 512), 512, false)
		d.flushed(upTo)
	})
	if a != 200 || b == 0 || b == 200 {
		t.Errorf("flushed before: %d of 200; written beside the flush: %d", a, b)
	}
	a, _ = survive(func(d *disk) {
		upTo, _ := d.flushes()
		d.off()
		if d.flushed(upTo) || d.write(page('x', 512), 0, false) || d.read(make([]byte, 1), 0) {
			t.Error("the disk works without power")
		}
	})
	if a == 0 || a == 200 {
		t.Errorf("of a flush that did not end: %d of 200", a)
	}
	a, _ = survive(func(d *disk) { // two flushes, the later one ends first
		one, _ := d.flushes()
		d.write(page('b', 512), 512, false)
		two, _ := d.flushes()
		d.flushed(two)
		d.write(page('z', 512), 0, false)
		d.flushed(one)
		d.pending = nil
	})
	if a != 200 {
		t.Errorf("a late end of an early flush: %d of 200", a)
	}
}

// TestLyingFlush is the planted bug at work.
func TestLyingFlush(t *testing.T) {
	kept := 0
	for seed := range uint64(200) {
		d := blank(true)
		d.write(page('a', 512), 0, true)
		mustFlush(t, d)
		if image, _ := d.left(rand.New(rand.NewPCG(seed, 0))); image[0] == 'a' {
			kept++
		}
	}
	if kept == 0 || kept == 200 {
		t.Errorf("of a lying disk %d of 200 writes survive", kept)
	}
}

// TestFUA: such a write is durable alone, and nothing older comes back over it.
func TestFUA(t *testing.T) {
	others := 0
	for seed := range uint64(500) {
		d := blank(false)
		d.write(page('a', 4096), 0, false)
		d.write(page('b', 512), 1024, true)    // in the middle
		d.write(page('c', 1024), 3584, true)   // over the end
		d.write(page('d', 4096), 16384, false) // before its begin
		d.write(page('e', 1024), 15872, true)
		image, _ := d.left(rand.New(rand.NewPCG(seed, 0)))
		garbled := 0
		for at, c := range map[int]byte{1024: 'b', 3584: 'c', 4096: 'c', 15872: 'e', 16384: 'e'} {
			if !bytes.Equal(image[at:at+512], page(c, 512)) {
				garbled++ // 1024 is sent along with the write around it
			}
		}
		if garbled > 1 {
			t.Fatalf("seed %d: a forced write is gone", seed)
		}
		if image[0] != 'a' {
			others++
		}
	}
	if others == 0 {
		t.Error("a forced write made others durable")
	}
}

func TestAims(t *testing.T) {
	begin := append(page(0, 4096), "POSDSEG1"...)
	d := blank(false)
	d.aim(afterRoll(2))
	if !d.write(page('a', 512), 0, false) || !d.write(bytes.Clone(begin), 0, false) {
		t.Fatal("cut too early")
	}
	if _, ok := d.flushes(); !ok {
		t.Fatal("cut too early")
	}
	if d.write(page('a', 512), 0, false) || !d.isDark() {
		t.Error("no cut after a roll")
	}
	d = blank(false)
	d.aim(atFlushes(1))
	upTo, ok := d.flushes()
	if !ok || !d.flushed(upTo) || !d.write(page('a', 512), 0, false) {
		t.Fatal("cut too early")
	}
	if _, ok := d.flushes(); ok || !d.isDark() {
		t.Error("no cut at a flush")
	}
	d = blank(false)
	d.aim(afterRequests(0))
	if d.write(page('a', 512), 0, false) || len(d.pending) != 1 {
		t.Error("the write that cuts the power is in flight")
	}
}
