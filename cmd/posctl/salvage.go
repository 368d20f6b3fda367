package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/config"
	"posd/pos/register"
)

// errLoss: the new journal is there, and something of the old one is not in it.
var errLoss = errors.New("not everything could be proved; what is missing is listed above and in the report")

// salvage copies what can be proved of a damaged journal into a new one, under
// the names that the records have.
func (t *tool) salvage(args []string) error {
	flags := t.flags("salvage")
	key := flags.String("key", "", "public `key` that the new journal names, instead of the configured terminal's: "+keyForms)
	at, err := t.parse(flags, args, "SRC", "DST")
	if err != nil {
		return err
	}
	s := salvage{t: t, src: filepath.Clean(at[0]), dst: filepath.Clean(at[1])}
	if err := s.checkPlaces(); err != nil {
		return err
	}
	if err := s.look(); err != nil {
		return err
	}
	if err := s.takeTerminal(given(flags, "config"), *key); err != nil {
		return err
	}
	if err := s.make(); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return fmt.Errorf("the new journal %s is not what was copied: %w; remove it and try another medium", s.dst, err)
	}
	if err := s.report(); err != nil {
		return err
	}
	s.next()
	if len(s.found.Lost) > 0 {
		return errLoss
	}
	return nil
}

func given(flags *flag.FlagSet, name string) (yes bool) {
	flags.Visit(func(f *flag.Flag) { yes = yes || f.Name == name })
	return yes
}

// salvage is one run: look reads the old journal, make reads it again and copies.
type salvage struct {
	t        *tool
	src, dst string
	found    journal.Salvaged
	first    uint64 // record that was found
	bytes    int64  // of the copies
	state    register.Successor
	create   journal.CreateOptions
	id       chain.ID // of the new journal
}

// checkPlaces refuses before anything is read.
func (s *salvage) checkPlaces() error {
	if st, err := os.Stat(s.src); err != nil || !st.IsDir() {
		return fmt.Errorf("%w in %s: there is no such folder", journal.ErrNoJournal, s.src)
	}
	if _, err := os.Lstat(s.dst); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already; name a folder that does not exist", s.dst)
	}
	if strings.HasSuffix(s.dst, ".next") || strings.HasSuffix(s.dst, ".creating") {
		return fmt.Errorf("%w: %s: names that end in .next or .creating are posd's own, which it clears away; choose another", errUsage, s.dst)
	}
	src, err := filepath.EvalSymlinks(s.src)
	if err != nil {
		return err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(s.dst))
	if err != nil {
		return fmt.Errorf("the folder that is to hold the new journal: %w", err)
	}
	if src, err = filepath.Abs(src); err == nil {
		parent, err = filepath.Abs(parent)
	}
	if err == nil && strings.HasPrefix(parent+"/", src+"/") {
		err = fmt.Errorf("%w: %s lies within %s, which is not to be changed", errUsage, s.dst, s.src)
	}
	return err
}

// look reads all of the old journal: what is there, what is lost, and the state
// that the new one begins with.
func (s *salvage) look() error {
	if rep, _ := journal.Verify(s.t.ctx, s.src, journal.VerifyOptions{From: ^uint64(0)}); rep.Live {
		return fmt.Errorf("posd is running on %s: stop it first (systemctl stop posd.socket posd), or salvage a copy of the folder", s.src)
	}
	bar := newBar(s.t.err, "read")
	var err error
	s.found, err = journal.Salvage(s.t.ctx, s.src, journal.SalvageOptions{Progress: bar.set, Each: s.saw})
	bar.done()
	if err != nil {
		return err
	}
	f := &s.found
	for _, l := range f.Lost { // the first ones may be missing
		if l.First != 0 {
			s.first = min(s.first, l.First)
		}
	}
	fmt.Fprintf(s.t.out, "source       %s\njournal      %s of terminal %s, store %s\n", s.src, f.Journal, f.Identity.Terminal, f.Identity.Store)
	for _, l := range f.Lost {
		fmt.Fprintln(s.t.out, lossLine(l))
	}
	if f.Records == 0 {
		return fmt.Errorf("no record of %s can be proved, so there is nothing to copy; nothing was written", s.src)
	}
	fmt.Fprintf(s.t.out, "proved       %d records, of %d to %d; %d missing\n", f.Records, s.first, f.Last, s.missing())
	if s.first > 1 {
		fmt.Fprintf(s.t.out, "older        records 1 to %d are not in the folder: freed after head office had them, unless files were taken away\n", s.first-1)
	}
	return nil
}

func (s *salvage) saw(_ chain.ID, r chain.Record, _ chain.Head) error {
	if s.first == 0 {
		s.first = r.Seq
	}
	s.bytes += int64(chain.FrameSize(len(r.Payload) + chain.CopyHeader))
	s.state.Add(r)
	return nil
}

// lossLine is one line about one loss.
func lossLine(l journal.Loss) string {
	at := fmt.Sprintf("%s at offset %d: %s", l.File, l.Offset, l.Reason)
	switch {
	case l.First == 0:
		return "unprovable   no number is known; " + at
	case l.First == l.Last:
		return fmt.Sprintf("missing      record %d; %s", l.First, at)
	}
	return fmt.Sprintf("missing      records %d to %d; %s", l.First, l.Last, at)
}

// missing counts what is known to be missing between and after the records that
// were found. Two losses may name the same record for two reasons.
func (s *salvage) missing() uint64 {
	end := s.found.Last
	for _, l := range s.found.Lost {
		end = max(end, l.Last)
	}
	return end + 1 - s.first - s.found.Records
}

// takeTerminal takes board, key and segment size from the configuration if it is
// that of the terminal whose journal this is: on another machine the new journal
// must not name that machine.
func (s *salvage) takeTerminal(wanted bool, key string) error {
	s.create.Identity = s.found.Identity
	c, err := s.t.load()
	if wanted && err != nil {
		return err
	}
	if s.create.PublicKey, err = publicKey(key); err != nil {
		return err
	}
	if c != nil && (journal.Identity{Store: c.Terminal.Store, Terminal: c.Terminal.ID}) == s.found.Identity {
		s.create.MachineID, s.create.SegmentSize = journal.Machine(), c.Data.Segment
		if s.create.PublicKey == nil {
			s.create.PublicKey = s.terminalKey(filepath.Join(c.Data.Dir, config.KeyFile))
		}
	} else if wanted {
		s.t.warn("the configuration is that of another terminal, its key and board are not used")
	}
	if s.create.PublicKey == nil {
		s.t.warn("the new journal names no key, so posd can never sign it; give -config of the terminal, or -key")
	}
	return nil
}

func (s *salvage) terminalKey(path string) ed25519.PublicKey {
	key, err := config.LoadKey(path)
	if err != nil {
		s.t.warn(err.Error())
		return nil
	}
	return key.Public().(ed25519.PublicKey)
}

func (t *tool) warn(what string) { fmt.Fprintln(t.err, "posctl: warning:", what) }

// make writes the new journal, and removes what it has written if it fails.
func (s *salvage) make() error {
	f := &s.found
	s.create.Opening = s.state.Opening()
	s.create.Parent = &chain.Parent{Journal: f.Journal.String(), Seq: f.Last, Head: f.Head.String(), Reason: "salvage"}
	if s.create.SegmentSize == 0 {
		s.create.SegmentSize = journal.DefaultSegmentSize
	}
	if err := s.checkRoom(); err != nil {
		return err
	}
	bar := newBar(s.t.err, "copy")
	s.create.Copies = func(add func(chain.ID, chain.Record, chain.Head) error) error {
		again, err := journal.Salvage(s.t.ctx, s.src, journal.SalvageOptions{Progress: bar.set, Each: add})
		if err == nil && (again.Records != f.Records || again.Head != f.Head) {
			err = fmt.Errorf("%s gave %d records at first and %d now: the device is failing; copy the folder to another one and salvage that", s.src, f.Records, again.Records)
		}
		return err
	}
	id, err := journal.Create(s.dst, s.create)
	bar.done()
	s.id = id
	return err
}

// checkRoom asks before anything is written. Copies lie closer together than the
// records did, so this is less than the old journal takes.
func (s *salvage) checkRoom() error {
	size := s.create.SegmentSize
	need := (s.bytes+s.bytes/8)/(size-size/8)*size + 3*size
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(s.dst), &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return fmt.Errorf("%w: it may take %d bytes in %s, %d are free; nothing was written: free space, or name a folder elsewhere",
			journal.ErrNoSpace, need, filepath.Dir(s.dst), free)
	}
	return nil
}

// check reads the new journal from the device and compares.
func (s *salvage) check() error {
	var copies uint64
	var last chain.Copy
	bar := newBar(s.t.err, "check")
	defer bar.done()
	_, err := journal.Verify(s.t.ctx, s.dst, journal.VerifyOptions{Progress: bar.set, Each: func(r chain.Record, _ chain.Head) (err error) {
		if r.Type == chain.TypeCopy {
			copies++
			last, err = chain.ParseCopy(r.Payload)
		}
		return err
	}})
	if err == nil && copies != s.found.Records {
		err = fmt.Errorf("it holds %d copies of %d records", copies, s.found.Records)
	}
	if err == nil && last.Journal == s.found.Journal && last.Head != s.found.Head {
		err = fmt.Errorf("the copy of record %d has another head", last.Record.Seq)
	}
	return err
}

// salvageReport is the file DST.report.json.
type salvageReport struct {
	V       int    `json:"v"`
	Made    string `json:"made"` // RFC 3339, as this machine's clock said
	Release string `json:"release"`
	Source  struct {
		Folder   string `json:"folder"`
		Journal  string `json:"journal"`
		Store    string `json:"store"`
		Terminal string `json:"terminal"`
		First    uint64 `json:"first"` // record that is there
		Last     uint64 `json:"last"`
		Head     string `json:"head"` // after the last one
	} `json:"source"`
	Records uint64       `json:"records"` // copied
	Missing uint64       `json:"missing"` // known to be missing between and after them
	Lost    []lossReport `json:"lost"`
	New     struct {
		Folder  string `json:"folder"`
		Journal string `json:"journal"`
	} `json:"new"`
}

type lossReport struct {
	First  uint64 `json:"first,omitempty"` // none: bytes that belong to no record
	Last   uint64 `json:"last,omitempty"`
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Reason string `json:"reason"`
}

func (s *salvage) reportPath() string { return s.dst + ".report.json" }

// report writes what was found beside the new journal, and gives the journal to
// the owner of the folder that it is in: posd's, on the terminal.
func (s *salvage) report() error {
	f := &s.found
	r := salvageReport{V: 1, Made: time.Now().UTC().Format(time.RFC3339), Release: release,
		Records: f.Records, Missing: s.missing(), Lost: []lossReport{}}
	r.Source.Folder, r.Source.Journal, r.Source.Store, r.Source.Terminal = s.src, f.Journal.String(), f.Identity.Store, f.Identity.Terminal
	r.Source.First, r.Source.Last, r.Source.Head = s.first, f.Last, f.Head.String()
	r.New.Folder, r.New.Journal = s.dst, s.id.String()
	for _, l := range f.Lost {
		r.Lost = append(r.Lost, lossReport(l))
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = replaceFile(s.reportPath(), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return handOver(s.dst, filepath.Dir(s.dst))
}

// next says what to do with the new journal.
func (s *salvage) next() {
	fmt.Fprintf(s.t.out, "new journal  %s in %s, checked\nreport       %s\n", s.id, s.dst, s.reportPath())
	fmt.Fprintf(s.t.out, `unchanged    %s; keep it until head office has the records
next         if posd has sold since %[1]s was copied, stop it and begin again with a
             new copy: those sales are not in here. Else, on the terminal: stop posd,
             put the old journal folder aside, move %s to its place,
             start posd. It sells on and ships the copies under the names that the
             records have. Or leave both folders and the report to head office.
`, s.src, s.dst)
}
