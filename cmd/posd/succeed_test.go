package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"posd/journal"
	"posd/journal/chain"
)

// TestSuccessor: a till whose disk was copied to this board, or whose journal head
// office knows otherwise, goes on selling in a new journal: next branch of receipt
// numbers, the perpetual total kept, the latest sales copied under their names, and
// a call that was answered before is answered the same way again.
func TestSuccessor(t *testing.T) {
	for name, begin := range map[string]func(s *site, id string){
		"another board": func(s *site, _ string) {
			if journal.Machine() == "" {
				s.t.Skip("nothing identifies this machine")
			}
			moveToAnotherBoard(s)
		},
		"head office knows another history": func(s *site, id string) {
			b, _ := json.Marshal(wanted{id, "head of record 9 differs"})
			os.WriteFile(filepath.Join(s.dir, wantedName), b, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			dir := filepath.Join(s.dir, "journal")
			old, err := journal.Identify(dir)
			if err != nil {
				t.Fatal(err)
			}
			r := s.start()
			_, first := r.sell("k1")
			r.stop(syscall.SIGTERM)
			begin(s, old.String())
			r = s.start()
			code, again := r.sell("k1")
			if code != 200 || !bytes.Equal(first, again) {
				t.Errorf("the call that the old journal answered: %d %s, was %s", code, again, first)
			}
			if code, b := r.sell("k2"); code != 201 || !bytes.Contains(b, []byte(`"receipt":"T1-2-1"`)) || !bytes.Contains(b, []byte(`"perpetual":200`)) {
				t.Errorf("the next sale: %d %s", code, b)
			}
			if code := r.stop(syscall.SIGTERM); code != exitOK {
				t.Fatalf("exit %d", code)
			}
			former := dir + "-" + old.String()[:8]
			if id, err := journal.Identify(former); err != nil || id != old {
				t.Errorf("the former journal: %v %v", id, err)
			}
			b, err := journal.ReadBirth(dir)
			if err != nil || b.Parent == nil || b.Parent.Journal != old.String() {
				t.Fatalf("birth: %+v %v", b, err)
			}
			copies := 0
			journal.Verify(t.Context(), dir, journal.VerifyOptions{Each: func(r chain.Record, _ chain.Head) error {
				if r.Type == chain.TypeCopy {
					copies++
				}
				return nil
			}})
			if uint64(copies) != b.Parent.Seq {
				t.Errorf("%d copies of %d records", copies, b.Parent.Seq)
			}
			// A further start changes nothing.
			s.start().stop(syscall.SIGTERM)
			if again, err := journal.ReadBirth(dir); err != nil || again.Journal != b.Journal {
				t.Errorf("another new journal: %+v %v", again, err)
			}
		})
	}
}

// moveToAnotherBoard gives page 0 of the journal's segment the tag of a board that
// is not this one.
func moveToAnotherBoard(s *site) { moveToAnotherBoardAt(s, "0000000001.seg") }

func moveToAnotherBoardAt(s *site, segment string) {
	path := filepath.Join(s.dir, "journal", segment)
	b, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	copy(b[200:216], "another board...")
	binary.LittleEndian.PutUint32(b[252:], crc32.Checksum(b[:252], crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(path, b, 0o640); err != nil {
		s.t.Fatal(err)
	}
}

// TestSuccessorOfADamagedJournal: a copied disk and rot come together. What is sound
// is copied, and the shop is open.
func TestSuccessorOfADamagedJournal(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(s.dir, "journal")
	r := s.start()
	for i := range 400 {
		r.sell(fmt.Sprint("k", i))
	}
	_, last := r.sell("k399")
	r.stop(syscall.SIGTERM)
	path := filepath.Join(dir, "0000000001.seg")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[50*4096+300] ^= 1
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
	moveToAnotherBoardAt(s, "0000000002.seg")
	if journal.Machine() == "" {
		t.Skip("nothing identifies this machine")
	}
	r = s.start()
	if code, again := r.sell("k399"); code != 200 || !bytes.Equal(last, again) {
		t.Errorf("a call that was answered: %d %s", code, again)
	}
	if code, b := r.sell("next"); code != 201 || !bytes.Contains(b, []byte(`"receipt":"T1-2-1"`)) || !bytes.Contains(b, []byte(`"perpetual":40100`)) {
		t.Errorf("the next sale: %d %s", code, b)
	}
	r.stop(syscall.SIGTERM)
	if !strings.Contains(r.log.String(), "damaged records are not copied") {
		t.Errorf("the damage is not said: %s", r.log)
	}
}
