package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"posd/journal"
	"posd/pos/config"
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

// status asks the running posd, or looks at the files when none runs.
func (t *tool) status(args []string) error {
	fs := t.flags("status")
	if _, err := t.parse(fs, args); err != nil {
		return err
	}
	c, err := t.load()
	if err != nil {
		return err
	}
	body, err := t.ask(c)
	if err == nil {
		_, err = fmt.Fprintln(t.out, string(body))
		return err
	}
	rep, verr := journal.Verify(t.ctx, filepath.Join(c.Data.Dir, "journal"), journal.VerifyOptions{From: ^uint64(0)})
	if verr != nil {
		return verr
	}
	if rep.Live {
		return fmt.Errorf("posd is running but does not answer: %w", err)
	}
	fmt.Fprintf(t.out, "posd is not running (%v)\nterminal     %s of store %s\njournal      %s, %d segments, records %d to %d\n",
		err, rep.Identity.Terminal, rep.Identity.Store, rep.Journal, rep.Segments, rep.First, rep.Last)
	return nil
}

func (t *tool) ask(c *config.Config) ([]byte, error) {
	token, err := t.ownToken(c)
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: 5 * time.Second}
	host := c.HTTP.Listen
	if host == "" {
		socket := c.HTTP.Socket
		client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}
		host = "localhost"
	}
	req, err := http.NewRequestWithContext(t.ctx, "GET", "http://"+host+"/v1/status", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return body, err
}
