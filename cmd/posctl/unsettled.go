package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
	"posd/sync/uplink"
)

// errUnsettled: a factory reset or a scrapped board would lose sales.
var errUnsettled = errors.New("there are sales here that head office does not have")

// unsettled says what would be lost with this terminal's disk.
func (t *tool) unsettled(args []string) error {
	fs := t.flags("unsettled")
	asJSON := fs.Bool("json", false, "print as JSON")
	if _, err := t.parse(fs, args); err != nil {
		return err
	}
	c, err := t.load()
	if err != nil {
		return err
	}
	u, err := findUnsettled(t.ctx, c.Data.Dir)
	if err != nil {
		return err
	}
	if *asJSON {
		err = t.printJSON(u)
	} else {
		u.print(t)
	}
	if err == nil && !u.clean() {
		err = errUnsettled
	}
	return err
}

// unsettledReport is what head office may lack, over all journals of the data folder.
type unsettledReport struct {
	V        int            `json:"v"`
	Events   uint64         `json:"events"` // that head office may lack
	Sales    uint64         `json:"sales"`  // of these, completed sales
	Doubtful uint64         `json:"doubtful"`
	First    *eventName     `json:"first,omitempty"`
	Last     *eventName     `json:"last,omitempty"`
	Journals []journalShare `json:"journals"`
}

func (u *unsettledReport) clean() bool { return u.Events == 0 && u.Doubtful == 0 }

// eventName tells a person and a program which event it is, without what was sold.
type eventName struct {
	Journal string    `json:"journal"`
	Seq     uint64    `json:"seq"`
	Type    string    `json:"type"`
	Time    time.Time `json:"time"`
	Receipt string    `json:"receipt,omitempty"`
}

// journalShare is what one folder adds.
type journalShare struct {
	Folder   string   `json:"folder"`
	Journal  string   `json:"journal"`
	First    uint64   `json:"first"`
	Last     uint64   `json:"last"`
	Settled  uint64   `json:"settled"` // as the uplink has noted
	Events   uint64   `json:"events"`
	Doubtful uint64   `json:"doubtful"` // records that cannot be read
	Notes    []string `json:"notes,omitempty"`
}

func (u *unsettledReport) print(t *tool) {
	for _, j := range u.Journals {
		fmt.Fprintf(t.out, "%-12s %s: records %d to %d, settled up to %d; %d events that head office may lack\n",
			filepath.Base(j.Folder), j.Journal[:8], j.First, j.Last, j.Settled, j.Events)
		for _, n := range j.Notes {
			fmt.Fprintf(t.out, "%-12s %s\n", "", n)
		}
	}
	if u.clean() {
		fmt.Fprintln(t.out, "head office has everything that was sold here")
		return
	}
	fmt.Fprintf(t.out, "unsettled    %d events, %d of them sales; %d records cannot be read and may be some\n", u.Events, u.Sales, u.Doubtful)
	for _, x := range []struct {
		name string
		e    *eventName
	}{{"first", u.First}, {"last", u.Last}} {
		if x.e != nil {
			fmt.Fprintf(t.out, "%-12s record %d of %s, %s, %s %s\n", x.name, x.e.Seq, x.e.Journal[:8], x.e.Time.Format(time.RFC3339), x.e.Type, x.e.Receipt)
		}
	}
	fmt.Fprintln(t.out, "next         let posd run with a link until posctl status says that nothing is to go (this command knows 15 s later, or when posd has stopped); or copy the data folder to another device")
}

// What is settled is judged by names: an event's name is (journal, record, head) for
// ever, and head office has it if the journal that holds it, or a copy of it, is
// settled that far. So, newest journal first:
//
//   - In the journal in use, records up to what the uplink has noted are settled, if
//     the head that it noted is the journal's. Its copies of former journals' records
//     are settled, or not, with the records that carry them.
//   - In a former journal, a record is settled if a settled record of a later one is
//     its copy; or if it stands before the first that was copied, where posd itself
//     made the later journal: it copies from the first record on that was not settled
//     (and some before it).
//   - Everything else counts as unsettled: records of folders that nothing
//     continues, of a journal whose copies are gone, of one that was salvaged by
//     hand, and all that cannot be read.
type judge struct {
	ctx   context.Context
	state string // uplink.state
	known map[chain.ID]*names
	rep   *unsettledReport
}

// names is what later journals say about the records of one journal.
type names struct {
	spans []span
	// least is the first record of which there is a copy in a journal that posd
	// itself began: those before it were settled then. 0: nothing says so.
	least uint64
}

// span is a row of records that head office has, or that are counted already.
type span struct {
	first, last uint64
	head        chain.Head // after last
	settled     bool
}

// findUnsettled looks at all journals of the data folder. It only reads.
func findUnsettled(ctx context.Context, data string) (*unsettledReport, error) {
	j := &judge{ctx: ctx, state: filepath.Join(data, "uplink.state"), known: map[chain.ID]*names{},
		rep: &unsettledReport{V: 1, Journals: []journalShare{}}}
	folders, err := journalFolders(data)
	if err != nil || len(folders) == 0 {
		return j.rep, err
	}
	for _, dir := range folders {
		if err := j.folder(dir, len(folders) > 1); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
	}
	return j.rep, nil
}

// journalFolders are the journal in use and, after it, the former ones: each after
// the one that continues it.
func journalFolders(data string) ([]string, error) {
	entries, err := os.ReadDir(data)
	if err != nil {
		return nil, err
	}
	current := filepath.Join(data, "journal")
	var all, former []string
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, "journal") || name == resetFolder {
			continue
		}
		info, err := os.Stat(filepath.Join(data, name)) // it may be a link to another disk
		if err != nil {
			return nil, fmt.Errorf("%w; is the disk that it leads to mounted?", err)
		}
		if !info.IsDir() || emptyFolder(filepath.Join(data, name)) {
			continue
		}
		if name == "journal" {
			all = append(all, current)
		} else {
			former = append(former, filepath.Join(data, name))
		}
	}
	if _, err := os.Lstat(filepath.Join(data, resetFolder)); err == nil && len(all) == 0 {
		return nil, nil // a reset has been decided: everything was checked then
	}
	if len(all)+len(former) == 0 {
		return nil, fmt.Errorf("%w in %s: is the data partition mounted?", journal.ErrNoJournal, current)
	}
	return append(all, inOrder(current, former)...), nil
}

func emptyFolder(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
}

// inOrder follows the parents from the journal in use; folders that nothing
// continues come last.
func inOrder(current string, former []string) (out []string) {
	ids := map[string]string{}
	for _, dir := range former {
		if id, err := journal.Identify(dir); err == nil {
			ids[id.String()] = dir
		}
	}
	for at := current; at != ""; {
		b, err := journal.ReadBirth(at)
		if at = ""; err == nil && b.Parent != nil && !slices.Contains(out, ids[b.Parent.Journal]) {
			at = ids[b.Parent.Journal]
		}
		if at != "" {
			out = append(out, at)
		}
	}
	for _, dir := range former {
		if !slices.Contains(out, dir) {
			out = append(out, dir)
		}
	}
	return out
}

// fate is on what it hangs whether a record is settled: on a span of its journal's
// records, under which it goes by its name, or on one of these.
type fate struct {
	of   chain.ID
	span int
}

var (
	fateNone  = fate{span: -1} // nothing says that it is
	fateNoted = fate{span: -2} // it is, if the head that the uplink has noted is the journal's
	fateBelow = fate{span: -3} // it was when posd began the journal that continues this one
)

// walk is one folder being judged.
type walk struct {
	share   journalShare
	id      chain.ID
	noted   span
	known   map[chain.ID]*names // by later journals
	fates   map[fate]*tally
	proved  map[fate]bool // whose head was found
	parent  *chain.Parent
	least   uint64 // first copied record of the parent
	whole   bool   // nothing is damaged
	endHead chain.Head
}

// tally is what the records of one fate hold.
type tally struct {
	events, sales uint64
	first, last   *eventName
	copies        map[chain.ID][]span
}

func (j *judge) folder(dir string, more bool) error {
	id, err := journal.Identify(dir)
	if err != nil {
		j.rep.Doubtful++
		j.rep.Journals = append(j.rep.Journals, journalShare{Folder: dir, Journal: "unreadable", Doubtful: 1, Notes: []string{"cannot be read: " + err.Error()}})
		return nil
	}
	begin := func(whole bool) *walk {
		w := &walk{share: journalShare{Folder: dir, Journal: id.String()}, id: id, known: j.known, fates: map[fate]*tally{}, proved: map[fate]bool{}, whole: whole}
		w.noted.last, w.noted.head = uplink.Settled(j.state, id)
		w.share.Settled = w.noted.last
		return w
	}
	w := begin(true)
	from := uint64(0)
	if !more { // no copies matter: begin at the noted record
		from = w.noted.last
	}
	rep, err := journal.Verify(j.ctx, dir, journal.VerifyOptions{From: from, Each: w.record})
	if err == nil && from > 0 && !w.proved[fateNoted] { // the note proves nothing: what is before it counts, too
		w = begin(true)
		rep, err = journal.Verify(j.ctx, dir, journal.VerifyOptions{Each: w.record})
	}
	w.share.First, w.share.Last, w.endHead = rep.First, rep.Last, rep.Head
	var lost []journal.Loss
	if corrupt := new(journal.CorruptError); errors.As(err, &corrupt) {
		w = begin(false)
		var found journal.Salvaged
		found, err = journal.Salvage(j.ctx, dir, journal.SalvageOptions{Each: func(_ chain.ID, r chain.Record, h chain.Head) error { return w.record(r, h) }})
		lost, w.share.Last, w.endHead = found.Lost, found.Last, found.Head
	}
	if err != nil {
		return err
	}
	j.close(w, lost)
	return nil
}

// record takes one record of a journal.
func (w *walk) record(r chain.Record, h chain.Head) error {
	if w.share.First == 0 {
		w.share.First = r.Seq
	}
	if r.Seq == w.noted.last && h == w.noted.head {
		w.proved[fateNoted] = true
	}
	f := w.fateOf(w.id, r.Seq, h)
	if r.Type != chain.TypeCopy {
		if b, err := chain.ParseBirth(r.Payload); r.Type == chain.TypeBirth && err == nil {
			w.parent = b.Parent
		}
		w.tally(f).event(w.id, r)
		return nil
	}
	c, err := chain.ParseCopy(r.Payload)
	if err != nil { // of a newer release: whatever it is, it counts
		w.tally(f).add(eventName{Journal: w.id.String(), Seq: r.Seq, Type: "copy that cannot be read"}, false)
		return nil
	}
	if w.least == 0 && w.begunByPosd(c.Journal) {
		w.least = c.Record.Seq
	}
	// A later journal may have the copy too, under the same name.
	if byName := w.fateOf(c.Journal, c.Record.Seq, c.Head); byName.span >= 0 {
		w.tally(byName).event(c.Journal, c.Record)
		return nil
	}
	w.tally(f).copied(c)
	w.tally(f).event(c.Journal, c.Record)
	return nil
}

func (w *walk) tally(f fate) *tally {
	if w.fates[f] == nil {
		w.fates[f] = &tally{copies: map[chain.ID][]span{}}
	}
	return w.fates[f]
}

// fateOf says on what it hangs whether a record is settled, and notes the head that
// proves it.
func (w *walk) fateOf(id chain.ID, seq uint64, h chain.Head) fate {
	n := w.known[id]
	if n == nil {
		n = &names{}
	}
	for i, s := range n.spans {
		if seq < s.first || seq > s.last {
			continue
		}
		f := fate{id, i}
		if seq == s.last && h == s.head {
			w.proved[f] = true
		}
		return f
	}
	switch {
	case id == w.id && seq <= w.noted.last:
		return fateNoted
	case id == w.id && seq < n.least && w.whole:
		return fateBelow
	}
	return fateNone
}

// event counts what matters to head office: all but what a terminal says of itself.
func (ta *tally) event(id chain.ID, r chain.Record) {
	if r.Type < chain.TypeOwner {
		return
	}
	name := eventName{Journal: id.String(), Seq: r.Seq, Type: fmt.Sprintf("type %d, unknown here", r.Type)}
	h, data, err := event.Parse(r.Payload)
	if r.Type == event.RecordType && err == nil {
		if strings.HasPrefix(h.Type, "terminal.") || strings.HasPrefix(h.Type, "clock.") {
			return
		}
		name.Type, name.Time = h.Type, h.Time
	}
	sale := name.Type == event.TypeSaleCompleted
	if sale {
		if s, err := event.ParseSale(data); err == nil {
			name.Receipt = s.Receipt
		}
	}
	ta.add(name, sale)
}

func (ta *tally) add(name eventName, sale bool) {
	ta.events++
	if sale {
		ta.sales++
	}
	if ta.first == nil {
		ta.first = &name
	}
	ta.last = &name
}

// copied notes the copy of a record under its own name.
func (ta *tally) copied(c chain.Copy) {
	list := ta.copies[c.Journal]
	if n := len(list); n > 0 && list[n-1].last+1 == c.Record.Seq {
		list[n-1].last, list[n-1].head = c.Record.Seq, c.Head
		return
	}
	ta.copies[c.Journal] = append(list, span{first: c.Record.Seq, last: c.Record.Seq, head: c.Head})
}

// settledBy says whether the records of a fate are settled, and whether those that
// are not have been counted with a later journal.
func (w *walk) settledBy(f fate) (settled, counted bool) {
	switch {
	case f == fateBelow:
		return true, false
	case f == fateNone || !w.proved[f]:
		return false, false
	case f == fateNoted:
		return true, false
	}
	s := w.known[f.of].spans[f.span].settled
	return s, !s
}

// close adds a folder to the report, and tells what it says of others.
func (j *judge) close(w *walk, lost []journal.Loss) {
	j.doubt(w, lost)
	var found []func() // spans are looked up by their place until all is judged
	for f, ta := range w.fates {
		settled, counted := w.settledBy(f)
		for of, spans := range ta.copies {
			found = append(found, func() {
				for _, s := range spans {
					s.settled = settled
					j.names(of).spans = append(j.names(of).spans, s)
				}
			})
		}
		if !settled && !counted {
			w.share.Events += ta.events
			j.rep.Events += ta.events
			j.rep.Sales += ta.sales
			j.rep.First = earlier(j.rep.First, ta.first)
			j.rep.Last = later(j.rep.Last, ta.last)
		}
	}
	for _, add := range found {
		add()
	}
	w.explain()
	if w.least > 0 {
		if parent, err := chain.ParseID(w.parent.Journal); err == nil {
			j.names(parent).least = w.least
		}
	}
	// A second folder of the same journal is not counted again.
	n := j.names(w.id)
	if w.proved[fateNoted] {
		n.spans = append(n.spans, span{1, w.noted.last, w.noted.head, true})
	}
	if first := w.noted.last + 1; first <= w.share.Last && w.whole {
		n.spans = append(n.spans, span{first, w.share.Last, w.endHead, false})
	}
	j.rep.Journals = append(j.rep.Journals, w.share)
}

func (j *judge) names(id chain.ID) *names {
	if j.known[id] == nil {
		j.known[id] = &names{}
	}
	return j.known[id]
}

// begunByPosd: posd copies from the first record on that is not settled. What is
// salvaged by hand begins wherever the old folder did.
func (w *walk) begunByPosd(of chain.ID) bool {
	return w.parent != nil && w.parent.Journal == of.String() && (w.parent.Reason == "clone" || w.parent.Reason == "restore")
}

// doubt counts what cannot be read, unless what is settled covers it.
func (j *judge) doubt(w *walk, lost []journal.Loss) {
	for _, l := range lost {
		if l.First > 0 && l.Last >= l.First {
			a, b := w.fateOf(w.id, l.First, chain.Head{}), w.fateOf(w.id, l.Last, chain.Head{})
			if settled, counted := w.settledBy(a); a == b && (settled || counted) {
				continue
			}
		}
		n := uint64(1)
		if l.First > 0 && l.Last > l.First {
			n = l.Last - l.First + 1
		}
		w.share.Doubtful += n
		j.rep.Doubtful += n
		w.share.Notes = append(w.share.Notes, lossLine(l))
	}
}

// explain says why something counts that may be settled.
func (w *walk) explain() {
	if w.noted.last > 0 && !w.proved[fateNoted] && w.share.First <= w.noted.last {
		w.share.Notes = append(w.share.Notes, "what the uplink has noted as settled is about another history of this journal: nothing here counts as settled")
	}
	if w.share.Events > 0 && filepath.Base(w.share.Folder) != "journal" {
		w.share.Notes = append(w.share.Notes, "a former journal: not all of it can be proved to be at head office from here. If head office lists it as settled to its end (GET /v1/terminals there), the folder can be removed")
	}
}

func earlier(a, b *eventName) *eventName {
	if a == nil || b != nil && b.Time.Before(a.Time) {
		return b
	}
	return a
}

func later(a, b *eventName) *eventName {
	if a == nil || b != nil && b.Time.After(a.Time) {
		return b
	}
	return a
}
