package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"time"

	"posd/sync/hub"
)

const collisionsUsage = `Usage:

  poshub collisions list [flags]
  poshub collisions settle STORE TERMINAL RECEIPT --why TEXT

Lists the receipt numbers that several sales have, as after a cloned or restored disk, and
notes that somebody has seen to one. Nothing of the sales changes. One more sale with the
number brings it back into the list.

Exit codes: 0, 1 it could not be done, 2 wrong flags.

Flags:
`

func collisionsCommand(args []string, stdout, stderr io.Writer) int {
	var c client
	var d decider
	f := newFlags("collisions", collisionsUsage, stdout, stderr)
	c.addTo(f)
	d.addTo(f)
	all := f.Bool("all", false, "list: settled ones too")
	lines := f.Bool("json", false, "list: one JSON object for each sale, a line each")
	said, code, ok := f.parseWords(args)
	if !ok {
		return code
	}
	list := len(said) == 1 && said[0] == "list"
	settle := len(said) == 4 && said[0] == "settle"
	switch {
	case !list && !settle:
		return f.fail(exitUsage, "say poshub collisions list, or poshub collisions settle STORE TERMINAL RECEIPT")
	case c.wrong() != "":
		return f.fail(exitUsage, "%s", c.wrong())
	case settle && d.wrong() != "":
		return f.fail(exitUsage, "%s", d.wrong())
	}
	ctx := context.Background()
	var err error
	if list {
		err = listCollisions(ctx, &c, *all, *lines, stdout)
	} else {
		var s hub.Settled
		if err = c.post(ctx, "/v1/collisions/settle", map[string]string{"store": said[1], "terminal": said[2], "receipt": said[3], "by": d.By, "why": d.Why}, &s); err == nil {
			fmt.Fprintf(stdout, "settled by %s at %s: %s\n", plain(s.By), s.At.UTC().Format(time.DateTime), plain(s.Why))
		}
	}
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	return 0
}

func listCollisions(ctx context.Context, c *client, all, lines bool, stdout io.Writer) error {
	q := url.Values{}
	if !all {
		q.Set("open", "true")
	}
	return list(ctx, c, "/v1/collisions", q, stdout, lines, "STORE\tTERMINAL\tRECEIPT\tJOURNAL\tRECORD\tNOTICED\tSETTLED", func(t io.Writer, x *hub.Collision) error {
		settled := "no"
		if x.Settled != nil {
			settled = "by " + plain(x.Settled.By) + ": " + plain(x.Settled.Why)
		}
		_, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", x.Store, x.Terminal, plain(x.Number), x.Event.Journal, x.Event.Seq, x.Noticed.UTC().Format(time.DateTime), settled)
		return err
	})
}
