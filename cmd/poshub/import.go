package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"posd/journal"
	"posd/journal/chain"
	"posd/sync/hub"
	"posd/sync/wire"
)

const importUsage = `Usage: poshub import DIR --why TEXT [flags]

Brings the journal in DIR into the ledger: that of a till that is no more, or what posctl
salvage has made of it. DIR is the journal's folder, or a data folder with one in it; it is
only read. The hub judges the records as if the till had sent them: what it knows changes
nothing, so this may be repeated, and goes on where it was interrupted. A till that still
ships the same journal does no harm, and takes none.

Records that neither the ledger nor DIR has end it, unless --declare-lost is given: then they
are entered as lost. Do that only when no other copy is left: what is declared lost and turns
up later goes to quarantine.

Exit codes: 0 all of DIR is in the ledger, 1 it could not be done, 2 wrong flags, 3 something
is missing or was set aside.

Flags:
`

const exitIncomplete = 3

// importing is one run of poshub import.
type importing struct {
	client
	decider
	dir     string
	shard   int
	declare bool
	stdout  io.Writer

	found  journal.Salvaged
	reply  hub.ImportReply // the newest
	parcel wire.Parcel     // being filled
	next   uint64          // record that belongs behind it
	batch  []outgoing
	size   int
	enc    wire.Encoder

	read, events, lost uint64
	known, asides      int
	other              bool // another history than the ledger's has begun
	posts              int
	batchBytes         int             // in one request, about
	limit              func(posts int) // tests: called before each request
}

// outgoing is a parcel on its way to the hub.
type outgoing struct {
	first uint64
	prev  chain.Head
	body  []byte
}

const (
	importParcel = 256 << 10 // bytes of records in one parcel
	importBatch  = 4 << 20   // bytes of parcels in one request, about
)

func importCommand(args []string, stdout, stderr io.Writer) int {
	f := newFlags("import", importUsage, stdout, stderr)
	i := importing{stdout: stdout, batchBytes: importBatch}
	i.client.addTo(f)
	i.decider.addTo(f)
	f.IntVar(&i.shard, "shard", 0, "`number` of the terminal's shard, where the ledger does not know the journal")
	f.BoolVar(&i.declare, "declare-lost", false, "enter records as lost that neither the ledger nor DIR has")
	said, code, ok := f.parseWords(args)
	if !ok {
		return code
	}
	switch {
	case len(said) != 1:
		return f.fail(exitUsage, "name one folder: poshub import DIR; see poshub import --help")
	case i.client.wrong() != "":
		return f.fail(exitUsage, "%s", i.client.wrong())
	case i.decider.wrong() != "":
		return f.fail(exitUsage, "%s", i.decider.wrong())
	}
	i.dir = said[0]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := i.run(ctx)
	if i.reply.Head != "" {
		fmt.Fprintf(stdout, "journal %s of terminal %s, store %s: %d records read, %d events took effect, %d parcels were known; the ledger has it up to record %d\n",
			i.found.Journal, i.found.Identity.Terminal, i.found.Identity.Store, i.read, i.events, i.known, i.reply.Last)
		if i.lost > 0 {
			fmt.Fprintf(stdout, "%d records were declared lost\n", i.lost)
		}
	}
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	for _, l := range i.found.Lost {
		fmt.Fprintf(stdout, "not in %s: records %d to %d (%s at %d: %s)\n", i.dir, l.First, l.Last, l.File, l.Offset, plain(l.Reason))
	}
	if i.asides > 0 || len(i.found.Lost) > 0 {
		return exitIncomplete
	}
	return 0
}

// errDiffers: the folder does not hold the record that the ledger ends with.
var errDiffers = errors.New("the folder does not hold what the ledger ends with")

func (i *importing) run(ctx context.Context) (err error) {
	if i.found, err = journal.Salvage(ctx, i.dir, journal.SalvageOptions{From: ^uint64(0)}); errors.Is(err, journal.ErrNoJournal) {
		if below, err2 := journal.Salvage(ctx, filepath.Join(i.dir, "journal"), journal.SalvageOptions{From: ^uint64(0)}); err2 == nil {
			i.dir, i.found, err = filepath.Join(i.dir, "journal"), below, nil
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", i.dir, err)
	}
	if err := i.post(ctx, nil); err != nil {
		return err
	}
	if i.reply.Last > 0 && i.reply.Lost == 0 { // what the ledger has need not be sent again
		if err = i.send(ctx, i.reply.Last); !errors.Is(err, errDiffers) {
			return err
		}
	}
	return i.send(ctx, 1)
}

// send reads the folder from a record on and gives the hub what is behind it. From 1 it
// gives all.
func (i *importing) send(ctx context.Context, from uint64) (err error) {
	head, anchored := i.reply.Head, from == 1
	i.read, i.next, i.parcel, i.batch, i.size = 0, 0, wire.Parcel{}, nil, 0
	var prev chain.Head
	i.found, err = journal.Salvage(ctx, i.dir, journal.SalvageOptions{From: from,
		Group: func(first uint64, before chain.Head) {
			if first != i.next || before != i.parcel.Head {
				i.next = 0 // a new run
			}
			prev = before
		},
		Each: func(_ chain.ID, rec chain.Record, after chain.Head) error {
			if !anchored { // the first one
				if anchored = true; rec.Seq != from || after.String() != head {
					return errDiffers
				}
				prev, i.next = after, 0
				return nil
			}
			err := i.add(ctx, rec, prev, after)
			prev = after
			return err
		}})
	if err == nil && !anchored {
		err = errDiffers
	}
	if err == nil {
		err = i.flush(ctx)
	}
	return err
}

// add puts a record into the parcel, which ends where records are missing.
func (i *importing) add(ctx context.Context, rec chain.Record, prev, after chain.Head) error {
	p := &i.parcel
	if len(p.Frames) > 0 && (rec.Seq != i.next || len(p.Frames)+len(rec.Frame) > importParcel || p.Last == i.reply.Last) {
		if err := i.pack(); err != nil {
			return err
		}
		if i.size >= i.batchBytes || len(i.batch) == hub.MaxImportParcels-1 {
			if err := i.deliver(ctx); err != nil {
				return err
			}
		}
	}
	if len(p.Frames) == 0 {
		*p = wire.Parcel{Journal: i.found.Journal, First: rec.Seq, Prev: prev, Frames: p.Frames}
	}
	p.Frames = append(p.Frames, rec.Frame...)
	p.Last, p.Head, i.next = rec.Seq, after, rec.Seq+1
	i.read++
	return nil
}

// pack ends the parcel.
func (i *importing) pack() error {
	b, err := i.enc.Encode(&i.parcel)
	if err != nil {
		return err
	}
	i.batch = append(i.batch, outgoing{i.parcel.First, i.parcel.Prev, bytes.Clone(b)})
	i.size += len(b)
	i.parcel.Frames = i.parcel.Frames[:0]
	return nil
}

func (i *importing) flush(ctx context.Context) error {
	if len(i.parcel.Frames) > 0 {
		if err := i.pack(); err != nil {
			return err
		}
	}
	return i.deliver(ctx)
}

// deliver posts the batch, and what is left of it when the hub has stopped on the way.
func (i *importing) deliver(ctx context.Context) error {
	for len(i.batch) > 0 {
		before, other := i.reply.Last, i.other
		if err := i.post(ctx, i.batch); err != nil {
			return err
		}
		done := len(i.reply.Results)
		if done == 0 {
			return i.broken(errors.New("it says nothing of what was sent"))
		}
		last := &i.reply.Results[done-1]
		if err := i.note(); err != nil {
			return err
		}
		if last.Verdict != hub.ImportGap {
			i.batch = i.batch[done:]
			continue
		}
		if i.batch = i.batch[done-1:]; i.other && !other {
			continue // it follows what was set aside
		}
		want, first := i.reply.Last+1, i.batch[0].first
		if !i.declare {
			return fmt.Errorf("records %d to %d are neither in the ledger nor in %s: look for another copy; if there is none, repeat this with --declare-lost", want, first-1, i.dir)
		}
		hole := wire.Parcel{Journal: i.found.Journal, First: want, Last: first - 1, Hole: true, Head: i.batch[0].prev}
		b, err := i.enc.Encode(&hole)
		if err != nil {
			return err
		}
		if i.lost += first - want; i.reply.Last < before {
			return i.broken(errors.New("the ledger has gone back"))
		}
		i.batch = append([]outgoing{{want, chain.Head{}, bytes.Clone(b)}}, i.batch...)
	}
	i.size = 0
	return nil
}

// note takes up what the hub has answered.
func (i *importing) note() error {
	i.events += uint64(i.reply.Events)
	for _, r := range i.reply.Results {
		switch {
		case r.Verdict == hub.ImportKnown:
			i.known++
		case r.Key != "": // set aside, if not all of it
			state := "decide with poshub quarantine show " + r.Key[:12]
			if r.Decision != "" {
				state = "it was " + r.Decision + " before"
			} else {
				i.asides++
			}
			fmt.Fprintf(i.stdout, "records %d to %d were set aside for %s: %s; %s\n", r.First, r.Last, r.Cause, plain(r.Reason), state)
			if i.other = i.other || r.Cause == hub.CauseFork; r.Cause != hub.CauseFork && r.Cause != hub.CauseHole && r.Decision != "accepted" {
				return fmt.Errorf("records from %d on cannot be entered before somebody has accepted that parcel; then repeat this", r.First)
			}
		}
	}
	return nil
}

func (i *importing) post(ctx context.Context, batch []outgoing) error {
	q := url.Values{"by": {i.By}, "why": {i.Why}, "journal": {i.found.Journal.String()},
		"store": {i.found.Identity.Store}, "terminal": {i.found.Identity.Terminal}, "shard": {strconv.Itoa(i.shard)}}
	if i.declare {
		q.Set("declare_lost", "true")
	}
	if i.other {
		q.Set("history", "other")
	}
	if i.reply.Run != "" {
		q.Set("run", i.reply.Run)
	}
	parcels := make([][]byte, len(batch))
	for n := range batch {
		parcels[n] = batch[n].body
	}
	if i.posts++; i.limit != nil {
		i.limit(i.posts)
	}
	ctx, cancel := context.WithTimeout(ctx, 4*answerTime) // a commit of many records
	defer cancel()
	res, err := i.do(ctx, http.MethodPost, "/v1/import?"+q.Encode(), "application/octet-stream", bytes.NewReader(hub.ImportBody(parcels)))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return i.broken(err)
	}
	i.reply = hub.ImportReply{}
	if err := json.Unmarshal(b, &i.reply); err != nil {
		return i.broken(err)
	}
	return nil
}
