package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/config"
	"posd/pos/event"
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

func (t *tool) verify(args []string) error {
	fs, where := t.journalFlags("verify")
	if _, err := t.parse(fs, args); err != nil {
		return err
	}
	dir, err := where()
	if err != nil {
		return err
	}
	bar := newBar(t.err, "verify")
	rep, err := journal.Verify(t.ctx, dir, journal.VerifyOptions{Progress: bar.set})
	bar.done()
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "journal      %s\nterminal     %s of store %s\nsegments     %d\nrecords      %d to %d, without a gap\nincarnation  %d\nhead         %s\n",
		rep.Journal, rep.Identity.Terminal, rep.Identity.Store, rep.Segments, rep.First, rep.Last, rep.Incarnation, rep.Head)
	if rep.Live {
		fmt.Fprintln(t.out, "owner        posd is running; the records were read beside it")
	}
	if rep.Tail != "" {
		fmt.Fprintln(t.out, "tail        ", rep.Tail)
	}
	fmt.Fprintln(t.out, "checksums, numbering and hash chain are whole")
	return nil
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
	_, err = journal.Verify(t.ctx, dir, journal.VerifyOptions{From: *from, Each: l.record})
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

// lines prints records as JSON lines:
//
//	{"journal":"…","seq":7,"type":"event","head":"…","event":{…}}
//
// type is birth, opening, checkpoint, event, or the number of one unknown here,
// whose payload then stands in base64.
type lines struct {
	w   *bufio.Writer
	dir string
	id  string
	buf []byte
}

func (l *lines) record(r chain.Record, h chain.Head) error {
	if l.id == "" {
		id, err := journal.Identify(l.dir)
		if err != nil {
			return err
		}
		l.id = id.String()
	}
	name, member := typeName(r.Type)
	b := append(l.buf[:0], `{"journal":"`...)
	b = append(append(b, l.id...), `","seq":`...)
	b = strconv.AppendUint(b, r.Seq, 10)
	b = append(append(b, `,"type":"`...), name...)
	b = append(append(b, `","head":"`...), h.String()...)
	b = append(append(b, `","`...), member...)
	if b = append(b, `":`...); json.Valid(r.Payload) {
		b = append(b, r.Payload...)
	} else {
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, r.Payload)
		b = append(b, '"')
	}
	l.buf = append(b, "}\n"...)
	_, err := l.w.Write(l.buf)
	return err
}

func typeName(t chain.Type) (name, member string) {
	switch t {
	case chain.TypeBirth:
		return "birth", "birth"
	case chain.TypeOpening:
		return "opening", "state"
	case chain.TypeCheckpoint:
		return "checkpoint", "payload"
	case event.RecordType:
		return "event", "event"
	}
	return strconv.Itoa(int(t)), "payload"
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

// bar is a progress bar on a terminal, and silent elsewhere.
type bar struct {
	w    io.Writer
	name string
	last time.Time
	on   bool
}

func newBar(w io.Writer, name string) *bar {
	b := &bar{w: w, name: name}
	if f, ok := w.(*os.File); ok {
		if st, err := f.Stat(); err == nil {
			b.on = st.Mode()&os.ModeCharDevice != 0
		}
	}
	return b
}

func (b *bar) set(done, total int64) {
	if !b.on || total == 0 || (time.Since(b.last) < 100*time.Millisecond && done < total) {
		return
	}
	b.last = time.Now()
	const width = 40
	full := int(done * width / total)
	fmt.Fprintf(b.w, "\r%s [%-*s] %3d %%", b.name, width, "########################################"[:full], done*100/total)
}

func (b *bar) done() {
	if b.on {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
