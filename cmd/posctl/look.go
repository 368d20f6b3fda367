package main

import (
	"bufio"
	"errors"
	"flag"
	"path/filepath"
	"time"

	"posd/journal"
)

// journalFlags adds -journal, for a copy without a configuration.
func (t *tool) journalFlags(name string) (*flag.FlagSet, func() (string, error)) {
	fs := t.flags(name)
	dir := fs.String("journal", "", "journal `folder`, instead of the configuration's")
	return fs, func() (string, error) {
		if *dir != "" {
			return *dir, nil
		}
		c, err := t.load()
		if err != nil {
			return "", err
		}
		return filepath.Join(c.Data.Dir, "journal"), nil
	}
}

func (t *tool) dump(args []string) error {
	fs, where := t.journalFlags("dump")
	from := fs.Uint64("from", 0, "first `sequence number`")
	if _, err := t.parse(fs, args); err != nil {
		return err
	}
	dir, err := where()
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(t.out, 64<<10)
	l := lines{w: w, dir: dir}
	bar := newBar(t.err, "dump")
	bar.on = bar.on && !isTerminal(t.out) // the records go over the same screen
	_, err = journal.Verify(t.ctx, dir, journal.VerifyOptions{From: *from, Each: l.record, Progress: bar.set})
	bar.done()
	return errors.Join(err, w.Flush())
}

func (t *tool) tail(args []string) error {
	fs, where := t.journalFlags("tail")
	n := fs.Uint64("n", 10, "how many `records`")
	follow := fs.Bool("f", false, "go on as records become durable")
	if _, err := t.parse(fs, args); err != nil {
		return err
	}
	dir, err := where()
	if err != nil {
		return err
	}
	rep, err := journal.Verify(t.ctx, dir, journal.VerifyOptions{From: ^uint64(0)})
	if err != nil {
		return err
	}
	w := bufio.NewWriter(t.out)
	l := lines{w: w, dir: dir}
	next := max(1, rep.Last+1-min(*n, rep.Last))
	for {
		rep, err := journal.Verify(t.ctx, dir, journal.VerifyOptions{From: next, Each: l.record})
		if err := errors.Join(err, w.Flush()); err != nil || !*follow {
			return err
		}
		next = rep.Last + 1
		select {
		case <-t.ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}
