package journal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posd/journal/chain"
	"posd/journal/internal/disk"
	"posd/journal/internal/hook"
)

var terminalKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// signedJournal has a key and signs often.
func signedJournal(t *testing.T) (*Journal, string, Options) {
	o := testOptions()
	o.Key, o.CheckpointEvery = terminalKey, 10
	dir := filepath.Join(t.TempDir(), "journal")
	if _, err := Create(dir, CreateOptions{Identity: till, SegmentSize: o.SegmentSize, Opening: o.Opening,
		PublicKey: terminalKey.Public().(ed25519.PublicKey)}); err != nil {
		t.Fatal(err)
	}
	return reopen(t, dir, o), dir, o
}

func TestCheckpoints(t *testing.T) {
	j, dir, o := signedJournal(t)
	for range 95 {
		mustAppend(t, j, bytes.Repeat([]byte("c"), 1000))
	}
	floor, _ := j.Floor()
	if n := j.Stats().Checkpoints; n < floor/11-1 || n > floor/10+1 {
		t.Fatalf("%d checkpoints in %d records, one every 10 was asked for", n, floor)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	rep, err := Verify(t.Context(), dir, VerifyOptions{Key: terminalKey.Public().(ed25519.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Signed != rep.Last-1 {
		t.Fatalf("signed up to %d of %d: an orderly stop signs all", rep.Signed, rep.Last)
	}
	// Nothing new: nothing to sign, however often it starts.
	for range 3 {
		reopen(t, dir, o).Close()
	}
	again, err := Verify(t.Context(), dir, VerifyOptions{})
	if err != nil || again.Last != rep.Last {
		t.Fatalf("%d records, %d before the starts (%v)", again.Last, rep.Last, err)
	}
}

// TestForgedJournal: someone with write access but without the key makes the
// chain anew; only the signatures can tell.
func TestForgedJournal(t *testing.T) {
	for _, row := range []struct {
		name  string
		forge func(f *forger)
		want  error
	}{
		{"nothing", func(*forger) {}, nil},
		{"a changed sale, chain made anew", func(f *forger) { f.payload(chain.TypeOwner, func(b []byte) { b[0] ^= 1 }) }, chain.ErrSignature},
		{"a changed signature", func(f *forger) { f.payload(chain.TypeCheckpoint, func(b []byte) { b[chain.CheckpointSize-1] ^= 1 }) }, chain.ErrSignature},
		{"a changed time", func(f *forger) { f.payload(chain.TypeCheckpoint, func(b []byte) { b[16] ^= 1 }) }, chain.ErrSignature},
		{"another key in page 0", func(f *forger) { f.page0(func(b []byte) { b[168] ^= 1 }) }, chain.ErrKey},
	} {
		t.Run(row.name, func(t *testing.T) {
			j, dir, _ := signedJournal(t)
			for range 12 {
				mustAppend(t, j, bytes.Repeat([]byte("c"), 100))
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			f := &forger{t: t, folder: folder{t, dir}}
			row.forge(f)
			f.rechain()
			_, err := Verify(t.Context(), dir, VerifyOptions{Key: terminalKey.Public().(ed25519.PublicKey)})
			if !errors.Is(err, row.want) {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			var ce *CorruptError
			if row.want != nil && !errors.As(err, &ce) {
				t.Fatalf("got %T", err)
			}
		})
	}
}

// forger changes segment 1 and makes checksums, heads and note fit again.
type forger struct {
	t *testing.T
	folder
}

func (f *forger) payload(want chain.Type, change func([]byte)) {
	f.groups(func(g *group, b []byte) {
		for rest := b[groupHeader : groupHeader+g.bodyLen]; len(rest) > 0; {
			rec, next, err := chain.NextFrame(rest)
			if err != nil {
				f.t.Fatal(err)
			}
			if rec.Type == want && want != 0 {
				change(rec.Payload)
				want = 0
			}
			rest = next
		}
	})
}

func (f *forger) page0(change func([]byte)) {
	f.edit(segmentName(1), func(b []byte) []byte { change(b); reseal(b); return b })
}

func (f *forger) groups(fn func(g *group, b []byte)) {
	f.edit(segmentName(1), func(b []byte) []byte {
		h, err := decodeSegmentHead(b)
		if err != nil {
			f.t.Fatal(err)
		}
		for off := h.align; off < len(b); {
			g, err := decodeGroupHeader(b[off:], where{h.id, 1, off, len(b), h.align})
			if err != nil {
				break
			}
			fn(&g, b[off:off+g.size(h.align)])
			off += g.size(h.align)
		}
		return b
	})
}

func (f *forger) rechain() {
	var head chain.Head
	f.groups(func(g *group, b []byte) {
		if g.firstSeq == 1 {
			head = g.prev
		}
		g.prev = head
		for rest := b[groupHeader : groupHeader+g.bodyLen]; len(rest) > 0; {
			rec, next, _ := chain.NextFrame(rest)
			head, rest = head.Next(rec.Frame), next
		}
		g.head = head
		g.seal(b)
	})
	f.edit(noteName, func(b []byte) []byte {
		for _, page := range [][]byte{b[:noteSize], b[minAlign : minAlign+noteSize]} {
			if n, err := decodeNote(page); err == nil {
				n.head = head
				n.encode(page)
			}
		}
		return b
	})
}

// TestAnotherKey: the shop sells on with a key that does not fit, unsigned.
func TestAnotherKey(t *testing.T) {
	j, dir, o := signedJournal(t)
	j.Close()
	o.Key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
	j = reopen(t, dir, o)
	for range 30 {
		mustAppend(t, j, []byte("sale"))
	}
	if s := j.Stats(); s.Signing || s.Checkpoints != 0 {
		t.Fatalf("signed with a key that is not the journal's: %+v", s)
	}
}

// TestScrub: rot in an old segment is found without anybody reading it, said once,
// and selling goes on; without rot nothing is said.
func TestScrub(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(f folder)
		want   string
	}{
		{"sound", func(folder) {}, ""},
		{"a flipped bit in a group", func(f folder) {
			f.edit(segmentName(2), func(b []byte) []byte { b[3*minAlign+500] ^= 16; return b })
		}, "0000000002.seg at offset 12288"},
		{"a flipped bit in a page 0", func(f folder) {
			f.edit(segmentName(3), func(b []byte) []byte { b[20] ^= 16; return b })
		}, "0000000003.seg at offset 0"},
		{"two segments swapped", func(f folder) { swap(f, 3, 4) }, "the file holds segment"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := testOptions()
			o.ScrubEvery = -1
			j, dir := newJournal(t, o)
			for range 100 {
				mustAppend(t, j, bytes.Repeat([]byte("d"), 3000))
			}
			j.Close()
			row.damage(folder{t, dir})
			o.ScrubEvery = 1 // as fast as it can
			j = reopen(t, dir, o)
			seq := mustAppend(t, j, []byte("selling goes on"))
			until(t, func() bool { return j.Stats().ScrubPasses >= 2 })
			switch d := j.Damage(); {
			case row.want == "" && len(d) == 0:
			case row.want == "" || len(d) == 0:
				t.Fatalf("found %v", d)
			case !strings.Contains(d[0].Error(), row.want):
				t.Fatalf("found %v, want %q", d[0], row.want)
			}
			if mustAppend(t, j, []byte("and on")) <= seq {
				t.Fatal("numbering")
			}
			if n := j.Stats().Scrubbed; n == 0 {
				t.Fatal("nothing was read")
			}
		})
	}
}

// TestScrubGoesOnAfterAStop: the floor note keeps the place.
func TestScrubGoesOnAfterAStop(t *testing.T) {
	o := testOptions()
	o.ScrubEvery = -1
	j, dir := newJournal(t, o)
	for range 100 {
		mustAppend(t, j, bytes.Repeat([]byte("d"), 3000))
	}
	j.mu.Lock()
	j.scrub.no = 3
	j.mu.Unlock()
	j.Close()
	j = reopen(t, dir, o)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.scrub.no != 3 {
		t.Fatalf("it begins again with segment %d", j.scrub.no)
	}
}

// TestStartReadsFewPages: a start does not read what it does not need, and all is
// known soon after.
func TestStartReadsFewPages(t *testing.T) {
	o := testOptions()
	j, dir := newJournal(t, o)
	for range 300 {
		mustAppend(t, j, bytes.Repeat([]byte("d"), 3000))
	}
	want := contents(t, j)
	j.Close()
	j, err := open(o, hookFor(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	known := 0
	for _, s := range j.segs {
		if s.known {
			known++
		}
	}
	if len(j.segs) < 15 || known > 3 {
		t.Fatalf("%d of %d pages 0 were read", known, len(j.segs))
	}
	for seq := range want { // readers learn what they need, in any order
		if err := j.Read(seq, func(r chain.Record) error {
			if string(r.Payload) != want[seq] {
				t.Errorf("record %d differs", seq)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	j.learnRest()
	for _, s := range j.segs {
		if !s.known {
			t.Fatalf("segment %d is not known", s.no)
		}
	}
}

// hookFor drives a journal on the real file system by hand.
func hookFor(t *testing.T, dir string) *hook.Lab {
	d, err := disk.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return &hook.Lab{FS: d, Manual: true}
}

// TestScrubWhileSelling: a scrub at full speed beside rolls, freeing and readers
// calls nothing damaged that is not.
func TestScrubWhileSelling(t *testing.T) {
	o := testOptions()
	o.ScrubEvery = 1
	j, dir := newJournal(t, o)
	for i := range 600 {
		class := Class(i % 2) // half of the segments begin with a group that waits
		seq, err := j.Append(chain.TypeOwner, class, 3000, payload(bytes.Repeat([]byte("s"), 3000)))
		if err != nil {
			t.Fatal(err)
		}
		if class == Durable {
			if err := j.Wait(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
		}
		if i%100 == 0 {
			j.Settle(seq)
		}
	}
	until(t, func() bool { return j.Stats().ScrubPasses >= 3 })
	if d := j.Damage(); len(d) != 0 {
		t.Fatalf("called damaged: %v", d)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), dir, VerifyOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestVanishedSegment: a file that somebody takes away under a running posd is
// reported, and the scrub goes on behind it.
func TestVanishedSegment(t *testing.T) {
	for _, learned := range []bool{false, true} {
		f, _ := damagedJournal(t)
		o := testOptions()
		o.ScrubEvery = -1
		j, err := open(o, hookFor(t, f.dir))
		if err != nil {
			t.Fatal(err)
		}
		if learned {
			j.learnRest()
		}
		if err := os.Remove(f.path(3)); err != nil {
			t.Fatal(err)
		}
		buf := disk.Buffer(maxGroup)
		for range 200 {
			j.scrubNext(buf)
		}
		if d := j.Damage(); len(d) == 0 || d[0].Segment != 3 || j.Stats().ScrubPasses == 0 {
			t.Errorf("learned %v: damage %v after %d passes", learned, d, j.Stats().ScrubPasses)
		}
	}
}

// TestVerifyTheEndOnly: rot in an old page 0 does not hide how the journal ends.
func TestVerifyTheEndOnly(t *testing.T) {
	f, all := damagedJournal(t)
	f.edit(segmentName(3), func(b []byte) []byte { b[60] ^= 1; return b })
	rep, err := Verify(t.Context(), f.dir, VerifyOptions{From: ^uint64(0)})
	if err != nil || rep.Last != uint64(len(all)) || rep.Opening == 0 {
		t.Fatalf("%+v %v", rep, err)
	}
	if want := int64(rep.Segments) * testOptions().SegmentSize; rep.Bytes != want { // those that were not looked at, too
		t.Errorf("%d segments take %d bytes, want %d", rep.Segments, rep.Bytes, want)
	}
}

// TestOtherKeyIsSaid: who reads the log can compare the keys, and is not told to put back a
// key where there never was one.
func TestOtherKeyIsSaid(t *testing.T) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		named ed25519.PublicKey
		says  []string
		not   string
	}{
		{"another", other, []string{hex.EncodeToString(public), hex.EncodeToString(other), "put back"}, "without a key"},
		{"none", nil, []string{"without a key"}, "put back"},
		{"its own", public, nil, "key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "journal")
			o := testOptions()
			if _, err := Create(dir, CreateOptions{Identity: till, SegmentSize: o.SegmentSize, Opening: o.Opening, PublicKey: row.named}); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			o.Key, o.Log = key, slog.New(slog.NewTextHandler(&log, nil))
			j, err := Open(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			for _, s := range row.says {
				if !strings.Contains(log.String(), s) {
					t.Errorf("no %q in %s", s, &log)
				}
			}
			if strings.Contains(log.String(), row.not) {
				t.Errorf("%q in %s", row.not, &log)
			}
		})
	}
}

// TestSignedDespiteKills: who pulls the plug each evening, before a segment's first
// checkpoint is due, has a signed journal all the same.
func TestSignedDespiteKills(t *testing.T) {
	o := testOptions()
	o.Key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	o.CheckpointEvery = 25 // a segment has 15 groups, a day 6
	o.ScrubEvery = -1
	dir := filepath.Join(t.TempDir(), "0")
	if _, err := Create(dir, CreateOptions{Identity: till, PublicKey: o.Key.Public().(ed25519.PublicKey), SegmentSize: o.SegmentSize, Opening: o.Opening}); err != nil {
		t.Fatal(err)
	}
	for day := range 12 {
		j, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		for range 6 {
			mustAppend(t, j, bytes.Repeat([]byte("s"), 3000))
		}
		next := filepath.Join(filepath.Dir(dir), fmt.Sprint(day+1))
		if err := os.CopyFS(next, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(next, "lock")); err != nil {
			t.Fatal(err)
		}
		dir = next
	}
	rep, err := Verify(t.Context(), dir, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Last < 60 || rep.Signed+40 < rep.Last {
		t.Errorf("%d of %d records are signed", rep.Signed, rep.Last)
	}
}
