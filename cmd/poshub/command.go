package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"

	"posd/sync/hub"
	"posd/sync/wire"
)

const commandUsage = `Usage: poshub command STORE TERMINAL status [flags]
       poshub command STORE TERMINAL sync [flags]
       poshub command STORE TERMINAL bundle [FILE] [flags]
       poshub command STORE TERMINAL log-level LEVEL DURATION --why REASON [flags]
       poshub command STORE TERMINAL rotate-key --why REASON [flags]

Orders a terminal to do something, and waits for its answer.

  status      prints what its GET /v1/status answers
  sync        ship now, whatever pause its uplink is in
  bundle      diagnostics, without sales or secrets, into a file (.tar.gz)
  log-level   log more or less for a while: debug 30m; 0s ends it
  rotate-key  another key for the NATS servers; the old one is revoked when the new one
              has connected

A command is signed, numbered, and worth nothing when the time to wait is over: nothing
is carried out behind your back later. The terminal journals what it did or refused.

Exit codes: 0 done, 1 the hub did not do it, 2 called wrongly, 3 the terminal has refused
it or failed, 4 no answer in time.

Flags:
`

func commandCommand(args []string, stdout, stderr io.Writer) int {
	var c client
	var d decider
	f := newFlags("command", commandUsage, stdout, stderr)
	c.addTo(f)
	d.addTo(f)
	wait := f.Duration("wait", 20*time.Second, "how `long` to wait for the answer, at most 5m")
	raw := f.Bool("json", false, "the hub's own answer")
	words, code, ok := f.parseWords(args)
	if !ok {
		return code
	}
	if len(words) < 3 {
		return f.fail(exitUsage, "name the store, the terminal and the command; see poshub command --help")
	}
	q := hub.CommandRequest{Store: words[0], Terminal: words[1], Command: words[2], Seconds: int64(*wait / time.Second)}
	words = words[3:]
	file := ""
	switch q.Command {
	case wire.CommandStatus, wire.CommandSync, wire.CommandBundle:
		d.Why = cmp.Or(d.Why, "a look") // they change nothing
	}
	switch {
	case q.Command == wire.CommandLogLevel:
		q.Argument, words = strings.Join(words, " "), nil
	case q.Command == wire.CommandBundle && len(words) == 1:
		file, words = words[0], nil
	}
	q.Decider = d.Decider
	switch {
	case len(words) > 0:
		return f.fail(exitUsage, "unexpected argument %q; see poshub command --help", words[0])
	case c.wrong() != "":
		return f.fail(exitUsage, "%s", c.wrong())
	case d.wrong() != "":
		return f.fail(exitUsage, "%s", d.wrong())
	case q.Seconds < 1:
		return f.fail(exitUsage, "--wait must be a second or more")
	}
	var a hub.CommandAnswer
	c.more = *wait
	if err := c.post(context.Background(), "/v1/orders/command", &q, &a); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	if *raw {
		return cmp.Or(f.answer(a), commandCode(a.State))
	}
	if a.State != wire.StateDone {
		return f.fail(commandCode(a.State), "%s.%s: %s: %s", a.Store, a.Terminal, plain(a.State), plain(a.Reason))
	}
	switch a.Command {
	case wire.CommandStatus:
		stdout.Write(a.Data)
	case wire.CommandBundle:
		if file == "" {
			file = fmt.Sprintf("posd-%s-%s-%s.tar.gz", a.Store, a.Terminal, time.Now().UTC().Format("20060102T150405Z"))
		}
		if err := writeBundle(file, a.Data); err != nil {
			return f.fail(exitFailed, "%v", err)
		}
		fmt.Fprintln(stdout, file)
	default:
		fmt.Fprintln(stdout, plain(a.Reason))
	}
	return 0
}

func commandCode(state string) int {
	switch state {
	case wire.StateDone:
		return 0
	case wire.StateRefused, wire.StateFailed:
		return exitRefused
	}
	return exitUnanswered
}

// writeBundle makes an archive of what a terminal has sent.
func writeBundle(path string, data []byte) error {
	n, err := s2.DecodedLen(data)
	if err == nil && n > wire.MaxBundle {
		err = fmt.Errorf("it claims to have %d bytes, at most %d", n, wire.MaxBundle)
	}
	if err == nil {
		data, err = s2.Decode(nil, data)
	}
	var files []wire.File
	if err == nil {
		files, err = wire.ParseFiles(data)
	}
	if err != nil {
		return fmt.Errorf("the terminal's bundle cannot be read: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	zw := gzip.NewWriter(f)
	tw := tar.NewWriter(zw)
	now := time.Now().UTC().Truncate(time.Second)
	for _, x := range files {
		h := tar.Header{Name: "posd-bundle/" + x.Name, Mode: 0o600, Size: int64(len(x.Content)), ModTime: now, Format: tar.FormatPAX}
		if err = tw.WriteHeader(&h); err == nil {
			_, err = tw.Write(x.Content)
		}
		if err != nil {
			break
		}
	}
	return errors.Join(err, tw.Close(), zw.Close(), f.Close())
}
