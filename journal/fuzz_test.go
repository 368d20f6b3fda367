package journal

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"posd/journal/chain"
)

var update = flag.Bool("update", false, "write the golden files anew")

func FuzzNextFrame(f *testing.F) {
	b := make([]byte, chain.FrameSize(5))
	copy(b[chain.FrameHeader:], "hello")
	chain.PutFrame(b, 5, chain.TypeOwner, 0, 9)
	f.Add(b)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			rec, rest, err := chain.NextFrame(b)
			if err != nil {
				return
			}
			if len(rec.Frame)+len(rest) != len(b) || len(rec.Frame) != chain.FrameSize(len(rec.Payload)) {
				t.Fatal("a frame and its rest do not make up the input")
			}
			b = rest
		}
	})
}

// FuzzGroup: whatever lies in a segment, decoding neither panics nor accepts
// what seal did not make.
func FuzzGroup(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1.seg"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden[minAlign : 2*minAlign])
	h, err := decodeSegmentHead(golden)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:len(b)/minAlign*minAlign]
		g, err := decodeGroupHeader(b, where{h.id, 1, minAlign, minAlign + len(b), minAlign})
		if err != nil {
			return
		}
		b = b[:g.size(minAlign)]
		if g.check(b, minAlign) != nil {
			return
		}
		again := bytes.Clone(b)
		g.seal(again)
		if !bytes.Equal(again[:4], b[:4]) || !bytes.Equal(again[8:14], b[8:14]) || !bytes.Equal(again[16:], b[16:]) {
			t.Fatal("a group was accepted that seal would write otherwise")
		}
	})
}

func FuzzPages(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1.seg"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden[:page0Used])
	n := make([]byte, noteSize)
	(&note{gen: 3, seq: 4}).encode(n)
	f.Add(n)
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeSegmentHead(b); err == nil && (h.align < minAlign || h.size == 0 || h.firstSeq == 0) {
			t.Fatalf("accepted impossible values: %+v", h)
		}
		decodeNote(b)
	})
}

func FuzzBirth(f *testing.F) {
	f.Add([]byte(`{"v":1,"journal":"00","store":"s","terminal":"t","created":""}`))
	f.Fuzz(func(t *testing.T, b []byte) { chain.ParseBirth(b) })
}

// TestGoldenSegment: every later version must read this segment as it stands.
func TestGoldenSegment(t *testing.T) {
	golden, goldenNote := filepath.Join("testdata", "v1.seg"), filepath.Join("testdata", "v1.floor")
	if *update {
		o := testOptions()
		j, dir := newJournal(t, o)
		for _, p := range []string{"first", "second, longer than a word", ""} {
			mustAppend(t, j, []byte(p))
		}
		j.Close()
		for from, to := range map[string]string{segmentName(1): golden, noteName: goldenNote} {
			b, err := os.ReadFile(filepath.Join(dir, from))
			if err == nil {
				err = os.WriteFile(to, b, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := filepath.Join(t.TempDir(), "journal")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{golden: segmentName(1), goldenNote: noteName} {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), b, 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	j := reopen(t, dir, testOptions())
	got := contents(t, j)
	if len(got) != 3 || got[3] != "first" || got[4] != "second, longer than a word" || got[5] != "" {
		t.Fatalf("got %v", got)
	}
	var birth chain.Birth
	err := j.Read(1, func(r chain.Record) (err error) { birth, err = chain.ParseBirth(r.Payload); return err })
	if err != nil || birth.Journal != j.ID().String() || birth.Store != till.Store || birth.Terminal != till.Terminal {
		t.Fatalf("birth %+v, %v", birth, err)
	}
	mustAppend(t, j, []byte("a newer version goes on"))
}
