package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/config"
	"posd/pos/register"
	"posd/sync/wire"
)

// settle is head office for a script: it writes what the uplink would note. With
// -other it is about another history: settle DATA N.
func settle(ts *testscript.TestScript, _ bool, args []string) {
	other := args[0] == "-other"
	if other {
		args = args[1:]
	}
	n, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	ts.Check(settleAt(ts.MkAbs(args[0]), "journal", n, other))
}

// settleAt notes that head office has a journal up to record n.
func settleAt(data, folder string, n uint64, other bool) error {
	dir := filepath.Join(data, folder)
	id, err := journal.Identify(dir)
	if err != nil {
		return err
	}
	w := wire.Watermark{Journal: id, Seq: n}
	stop := errors.New("found")
	_, err = journal.Salvage(context.Background(), dir, journal.SalvageOptions{Each: func(_ chain.ID, r chain.Record, h chain.Head) error {
		if r.Seq == n {
			w.Head = h
			return stop
		}
		return nil
	}})
	if !errors.Is(err, stop) {
		return fmt.Errorf("no record %d: %w", n, err)
	}
	if other {
		w.Head[0] ^= 1
	}
	return os.WriteFile(filepath.Join(data, "uplink.state"), w.Append(nil), 0o600)
}

// heldLocks are journals that a script holds as posd would.
var heldLocks = map[string]*os.File{}

func hold(ts *testscript.TestScript, _ bool, args []string) {
	f, err := lockJournal(filepath.Join(ts.MkAbs(args[0]), "journal"))
	ts.Check(err)
	heldLocks[ts.Getenv("WORK")] = f
}

func letGo(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(heldLocks[ts.Getenv("WORK")].Close())
}

// terminalFolder is a terminal that has sold, with one token, in a folder of its own.
func terminalFolder(t *testing.T, sales int) (data, conf string) {
	t.Helper()
	dir := t.TempDir()
	data, conf = filepath.Join(dir, "data"), filepath.Join(dir, "posd.toml")
	writeConfig(t, conf, data, "")
	if err := os.Mkdir(data, 0o750); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := posctl(t, "init", "-config", conf); code != 0 {
		t.Fatal(errs)
	}
	if code, _, errs := posctl(t, "token", "add", "till", "-config", conf); code != 0 {
		t.Fatal(errs)
	}
	if sales > 0 {
		key, err := config.LoadKey(filepath.Join(data, config.KeyFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := sellSome(data, key, sales); err != nil {
			t.Fatal(err)
		}
	}
	return data, conf
}

func writeConfig(t *testing.T, conf, data, more string) {
	t.Helper()
	text := fmt.Sprintf(`[terminal]
store = "s1"
id = "t1"
currency = "EUR"
time_zone = "UTC"
[tax]
A = "19"
[data]
dir = %q
segment = "64KiB"
max_bytes = "1MiB"
[http]
listen = "127.0.0.1:1"
%s`, data, more)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func posctl(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

// A power cut at any step of a reset leaves a terminal that is whole, or one that
// init makes new. The order of the removals does not matter, so each one that is
// still missing is tried as the only one, too.
func TestResetIsCutAnywhere(t *testing.T) {
	data, conf := terminalFolder(t, 2)
	writeFile(t, filepath.Join(data, "journal-12345678", "0000000001.seg"), "old")
	writeFile(t, filepath.Join(data, config.ExportsFolder, "0123456789abcdef"), "what was sold")
	var names []string
	entries, err := os.ReadDir(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "journal" {
			names = append(names, e.Name())
		}
	}
	if len(names) < 5 {
		t.Fatal("too little to remove: ", names)
	}
	oldKey := readFile(t, filepath.Join(data, config.KeyFile))
	whole := filepath.Join(t.TempDir(), "whole")
	if err := os.CopyFS(whole, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	again := func(removed []string, journalGone bool) {
		t.Helper()
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(data, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(data, "journal"), filepath.Join(data, resetFolder)); err != nil {
			t.Fatal(err)
		}
		for _, name := range removed {
			if err := os.RemoveAll(filepath.Join(data, name)); err != nil {
				t.Fatal(err)
			}
		}
		if journalGone {
			for _, name := range []string{"0000000001.seg", "lock"} {
				os.Remove(filepath.Join(data, resetFolder, name))
			}
		}
	}
	type cut struct {
		removed     []string
		journalGone bool
	}
	cuts := []cut{{nil, false}, {names, false}, {names, true}}
	for i, name := range names {
		cuts = append(cuts, cut{names[:i], false}, cut{[]string{name}, false}, cut{slices.Delete(slices.Clone(names), i, i+1), false})
	}
	for _, c := range cuts {
		again(c.removed, c.journalGone)
		if code, _, errs := posctl(t, "unsettled", "-config", conf); code != 0 {
			t.Errorf("%v: unsettled: %d %s", c, code, errs)
		}
		if code, _, errs := posctl(t, "init", "-config", conf); code != 0 {
			t.Errorf("%v: init: %d %s", c, code, errs)
			continue
		}
		if readFile(t, filepath.Join(data, config.KeyFile)) == oldKey {
			t.Errorf("%v: the old key was kept", c)
		}
		for _, name := range []string{resetFolder, "journal-12345678", "view.db"} {
			if exists(filepath.Join(data, name)) {
				t.Errorf("%v: %s was left", c, name)
			}
		}
		again(c.removed, c.journalGone)
		if code, out, errs := posctl(t, "reset", "-yes", "-config", conf); code != 0 || !strings.Contains(out, "finishing a reset") {
			t.Errorf("%v: reset: %d %s%s", c, code, out, errs)
		}
		if entries, err := os.ReadDir(data); err != nil || len(entries) > 0 {
			t.Errorf("%v: left %v %v", c, entries, err)
		}
	}
	// The control: without the mark, what is left of a terminal is not thrown away.
	again(names[:1], false)
	if err := os.Rename(filepath.Join(data, resetFolder), filepath.Join(data, "journal-broken")); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := posctl(t, "reset", "-yes", "-config", conf); code != exitUnsettled {
		t.Errorf("a terminal without its journal was reset: %d", code)
	}
	// A journal that was made after a reset is nobody's leftover.
	again(nil, false)
	if err := os.CopyFS(filepath.Join(data, "journal"), os.DirFS(filepath.Join(whole, "journal"))); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := posctl(t, "reset", "-yes", "-config", conf); code != exitUnsettled || !exists(filepath.Join(data, "journal")) || exists(filepath.Join(data, resetFolder)) {
		t.Errorf("a journal beside a reset's leftover: %d %s", code, errs)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o750)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// succeedAs begins a journal that continues another, as posd does: it copies from
// record from on.
func succeedAs(t *testing.T, data, reason string, from uint64) (former string) {
	t.Helper()
	dir := filepath.Join(data, "journal")
	end, err := journal.Verify(t.Context(), dir, journal.VerifyOptions{From: ^uint64(0)})
	if err != nil {
		t.Fatal(err)
	}
	_, former, err = journal.Succeed(dir, journal.CreateOptions{
		Identity: end.Identity, PublicKey: end.Key, SegmentSize: 64 << 10,
		Opening: register.Opening(register.Start{Branch: 2, Currency: pos.Currency{Code: "EUR", Exponent: 2}}),
		Parent:  &chain.Parent{Journal: end.Journal.String(), Seq: end.Last, Head: end.Head.String(), Reason: reason},
		Copies: func(add func(chain.ID, chain.Record, chain.Head) error) error {
			_, err := journal.Salvage(t.Context(), dir, journal.SalvageOptions{From: from, Each: add})
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return former
}

// What former journals hold is settled only where that follows from what later ones
// say.
func TestUnsettledOfFormerJournals(t *testing.T) {
	count := func(data string, want uint64, why string) *unsettledReport {
		t.Helper()
		u, err := findUnsettled(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		if u.Events != want || u.Doubtful != 0 {
			t.Errorf("%s: %d events and %d doubtful records, want %d: %+v", why, u.Events, u.Doubtful, want, u.Journals)
		}
		return u
	}
	last := func(data string) uint64 {
		t.Helper()
		rep, err := journal.Verify(t.Context(), filepath.Join(data, "journal"), journal.VerifyOptions{From: ^uint64(0)})
		if err != nil {
			t.Fatal(err)
		}
		return rep.Last
	}
	settleUpTo := func(data, folder string, n uint64) {
		t.Helper()
		if err := settleAt(data, folder, n, false); err != nil {
			t.Fatal(err)
		}
	}

	// Records: 1 birth, 2 opening, 3 started, 4 shift opened, 5 to 14 sales, …
	data, _ := terminalFolder(t, 10)
	count(data, 11, "before")
	settleUpTo(data, "journal", 6)
	count(data, 8, "some are settled")
	succeedAs(t, data, "clone", 5)
	count(data, 10, "the note is still about the former journal: the copies count, once")
	settleUpTo(data, "journal", 3)
	count(data, 9, "the copy of record 5 only: 6 to 14 and their copies count once, before 5 all was settled")
	settleUpTo(data, "journal", last(data))
	count(data, 0, "all copies are settled, and what was not copied had been")

	// The same journals, but a hand had chosen what to copy.
	data, _ = terminalFolder(t, 10)
	succeedAs(t, data, "salvage", 8)
	settleUpTo(data, "journal", last(data))
	count(data, 4, "what was not copied by hand is not proved: 4 to 7")

	// A journal that nothing continues.
	data, _ = terminalFolder(t, 10)
	settleUpTo(data, "journal", last(data))
	other, _ := terminalFolder(t, 3)
	if err := os.Rename(filepath.Join(other, "journal"), filepath.Join(data, "journal-aside")); err != nil {
		t.Fatal(err)
	}
	u := count(data, 4, "a stranger's journal")
	if len(u.Journals) != 2 || len(u.Journals[1].Notes) == 0 {
		t.Errorf("nothing says why: %+v", u.Journals)
	}

	// A copy of the journal in use, made by hand: nothing is counted twice.
	data, _ = terminalFolder(t, 10)
	if err := os.CopyFS(filepath.Join(data, "journal-copy"), os.DirFS(filepath.Join(data, "journal"))); err != nil {
		t.Fatal(err)
	}
	count(data, 11, "a journal and its copy")
	settleUpTo(data, "journal", last(data))
	count(data, 0, "a settled journal and its copy")

	// Two generations.
	data, _ = terminalFolder(t, 10)
	settleUpTo(data, "journal", 6)
	succeedAs(t, data, "clone", 5)
	succeedAs(t, data, "restore", 1)
	count(data, 10, "three journals: 5 to 14 count once, by the newest; 4 was settled when the second began")
	settleUpTo(data, "journal", last(data))
	count(data, 0, "the newest has copies of all")

	// A copy that says another history than the journal it is said to be of.
	data, _ = terminalFolder(t, 10)
	former := succeedAs(t, data, "clone", 1)
	settleUpTo(data, "journal", last(data))
	count(data, 0, "all is copied and settled")
	stranger, _ := terminalFolder(t, 10)
	id := readFile(t, filepath.Join(former, "0000000001.seg"))[16:32]
	if readFile(t, filepath.Join(stranger, "journal", "0000000001.seg"))[16:32] == id {
		t.Fatal("two journals have one name")
	}
	if err := os.RemoveAll(former); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(stranger, "journal"), former); err != nil {
		t.Fatal(err)
	}
	count(data, 11, "a stranger's journal under the former's folder name")

	// Rot in a former journal: doubtful, unless a settled copy has what is lost.
	data, _ = terminalFolder(t, 10)
	succeedAs(t, data, "clone", 8)
	former = filepath.Join(data, formerOf(t, data))
	settleUpTo(data, "journal", last(data))
	count(data, 0, "before the rot")
	rot(t, filepath.Join(former, "0000000001.seg"))
	u, err := findUnsettled(t.Context(), data)
	if err != nil || u.clean() {
		t.Errorf("rot before the first copy is taken for settled: %+v %v", u, err)
	}
}

func formerOf(t *testing.T, data string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(data, "journal-*"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return filepath.Base(found[0])
}

// rot changes a byte of the fourth group.
func rot(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 4*4096+200); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, 4*4096+200); err != nil {
		t.Fatal(err)
	}
}

// The same with a journal that posd itself began.
func TestUnsettledOfPosdsOwnSuccessor(t *testing.T) {
	s := newSite(t, 10, "")
	if err := settleAt(s.data, "journal", 6, false); err != nil {
		t.Fatal(err)
	}
	id, err := journal.Identify(filepath.Join(s.data, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(s.data, "successor.wanted"), fmt.Sprintf(`{"journal":%q,"why":"a test"}`, id))
	s.start()
	u, err := findUnsettled(t.Context(), s.data) // beside the running posd
	if err != nil || len(u.Journals) != 2 || u.Sales != 10 || u.Events != 11 {
		t.Fatalf("%+v %v", u, err)
	}
	s.stop()
	rep, err := journal.Verify(t.Context(), filepath.Join(s.data, "journal"), journal.VerifyOptions{From: ^uint64(0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := settleAt(s.data, "journal", rep.Last, false); err != nil {
		t.Fatal(err)
	}
	if u, err := findUnsettled(t.Context(), s.data); err != nil || !u.clean() {
		t.Errorf("all is settled: %+v %v", u, err)
	}
	// The last copied sale is the only one that head office lacks.
	copies := 0
	last := uint64(0)
	_, err = journal.Verify(t.Context(), filepath.Join(s.data, "journal"), journal.VerifyOptions{Each: func(r chain.Record, _ chain.Head) error {
		if c, err := chain.ParseCopy(r.Payload); r.Type == chain.TypeCopy && err == nil && c.Record.Seq == 14 {
			copies, last = copies+1, r.Seq
		}
		return nil
	}})
	if err != nil || copies != 1 {
		t.Fatal(copies, err)
	}
	if err := settleAt(s.data, "journal", last-1, false); err != nil {
		t.Fatal(err)
	}
	if u, err := findUnsettled(t.Context(), s.data); err != nil || u.Sales != 1 || u.Events != 1 {
		t.Errorf("one sale is not settled: %+v %v", u, err)
	}
}
