package journal

import (
	"bytes"
	"crypto/ed25519"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"posd/journal/chain"
)

var update = flag.Bool("update", false, "write the golden files anew")

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

// TestGoldenSegment: every later version must read this segment as it stands.
func TestGoldenSegment(t *testing.T) {
	golden, goldenNote := filepath.Join("testdata", "v1.seg"), filepath.Join("testdata", "v1.floor")
	if *update {
		j, dir, _ := signedJournal(t)
		for _, p := range []string{"first", "second, longer than a word", ""} {
			mustAppend(t, j, []byte(p))
		}
		copied := chain.Record{Seq: 7, Type: chain.TypeOwner, Payload: []byte("copied")}
		if _, err := j.Append(chain.TypeCopy, Durable, 100, &copyEncoder{chain.ID{1}, copied, chain.Head{2}}); err != nil {
			t.Fatal(err)
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
	err = j.Read(6, func(r chain.Record) error {
		c, err := chain.ParseCopy(r.Payload)
		if c.Journal != (chain.ID{1}) || c.Head != (chain.Head{2}) || c.Record.Seq != 7 || string(c.Record.Payload) != "copied" {
			t.Errorf("copy %+v", c)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rep, err := Verify(t.Context(), dir, VerifyOptions{Key: terminalKey.Public().(ed25519.PublicKey)})
	if err != nil || rep.Checkpoints != 1 || rep.Signed != 6 {
		t.Fatalf("checkpoints %d up to %d: %v", rep.Checkpoints, rep.Signed, err)
	}
	mustAppend(t, j, []byte("a newer version goes on"))
}
