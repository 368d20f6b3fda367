package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"posd/sync/hub"
)

const outboxUsage = `Usage:

  poshub outbox status [flags]
  poshub outbox replay --from TIME --why TEXT [flags]

replay has the hub publish again, from the ledger, what the stream of events does not hold: after
it was deleted, or lost more than the hub remembers. Each event stands in the stream once
afterwards. Those of a terminal follow each other in order, but behind what the stream held
and among what is sold meanwhile.

Exit codes: 0, 1 it could not be done, 2 wrong flags.

Flags:
`

func outboxCommand(args []string, stdout, stderr io.Writer) int {
	var c client
	var d decider
	f := newFlags("outbox", outboxUsage, stdout, stderr)
	c.addTo(f)
	d.addTo(f)
	from := f.String("from", "", "replay: leave out what happened before this `time`, such as 2026-11-21T00:00:00Z; start = leave out nothing")
	said, code, ok := f.parseWords(args)
	if !ok {
		return code
	}
	replay := len(said) == 1 && said[0] == "replay"
	switch {
	case len(said) != 1 || !replay && said[0] != "status":
		return f.fail(exitUsage, "say poshub outbox status or poshub outbox replay")
	case c.wrong() != "":
		return f.fail(exitUsage, "%s", c.wrong())
	case replay && *from == "":
		return f.fail(exitUsage, "--from is missing: a time such as 2026-11-21T00:00:00Z, or start")
	case replay && d.wrong() != "":
		return f.fail(exitUsage, "%s", d.wrong())
	}
	ctx := context.Background()
	var s hub.OutboxReply
	var err error
	if replay {
		err = c.post(ctx, "/v1/outbox/replay", map[string]string{"from": *from, "by": d.By, "why": d.Why}, &s)
	} else {
		err = c.get(ctx, "/v1/outbox", nil, &s)
	}
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	state := "another hub publishes, or none does"
	if s.Publishing {
		state = fmt.Sprintf("this hub publishes; %d events are due, %d on their way", s.Backlog, s.InFlight)
	}
	fmt.Fprintf(stdout, "stream %s: %s\n", s.Stream, state)
	if s.LastError != "" {
		fmt.Fprintf(stdout, "last trouble: %s\n", plain(s.LastError))
	}
	if r := s.Replay; r != nil {
		how := "done " + r.Done.UTC().Format(time.DateTime)
		if r.Done.IsZero() {
			how = fmt.Sprintf("going on, %d of %d journals", r.Journal, r.Journals)
		}
		fmt.Fprintf(stdout, "replay ordered %s: %s; %d events sent, %d the stream held\n", r.Ordered.UTC().Format(time.DateTime), how, r.Sent, r.Held)
	}
	return 0
}
