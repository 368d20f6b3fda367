package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"posd/pos"
	"posd/sync/returns"
)

const returnsUsage = `Usage:

  poshub returns list [flags]
  poshub returns settle STORE RECEIPT --why TEXT

Lists the receipts that somebody should see to: of which more came back than was sold on
them, over all tills of the store ("over"), and which are not in the ledger and not expected
any more ("unknown"). Settling notes that somebody has seen to one. Nothing of the sales
changes. One more return of the receipt brings it back into the list.

Exit codes: 0, 1 it could not be done, 2 wrong flags.

Flags:
`

// returnsFlags say what is listed.
type returnsFlags struct {
	all, blind, lines bool
	state, store      string
}

func returnsCommand(args []string, stdout, stderr io.Writer) int {
	var c client
	var d decider
	var what returnsFlags
	f := newFlags("returns", returnsUsage, stdout, stderr)
	c.addTo(f)
	d.addTo(f)
	f.BoolVar(&what.all, "all", false, "list: every receipt of which something came back")
	f.StringVar(&what.state, "state", "", "list: every receipt in this `state`: over, unknown, waiting (not here yet) or fine")
	f.StringVar(&what.store, "store", "", "list: only of this `store`")
	f.BoolVar(&what.blind, "blind", false, "list: goods that came back without a receipt, the oldest first, for 400 days")
	f.BoolVar(&what.lines, "json", false, "list: one JSON object a line, with the sales that gave back and their lines")
	said, code, ok := f.parseWords(args)
	if !ok {
		return code
	}
	list := len(said) == 1 && said[0] == "list"
	settle := len(said) == 3 && said[0] == "settle"
	switch {
	case !list && !settle:
		return f.fail(exitUsage, "say poshub returns list, or poshub returns settle STORE RECEIPT")
	case what.blind && (what.all || what.state != "" || what.store != ""):
		return f.fail(exitUsage, "--blind is a list of its own: without --all, --state and --store")
	case c.wrong() != "":
		return f.fail(exitUsage, "%s", c.wrong())
	case settle && d.wrong() != "":
		return f.fail(exitUsage, "%s", d.wrong())
	}
	ctx := context.Background()
	var err error
	switch {
	case settle:
		var s returns.Settled
		if err = c.post(ctx, "/v1/returns/settle", map[string]string{"store": said[1], "receipt": said[2], "by": d.By, "why": d.Why}, &s); err == nil {
			fmt.Fprintf(stdout, "settled by %s at %s: %s\n", plain(s.By), s.At.UTC().Format(time.DateTime), plain(s.Why))
		}
	case what.blind:
		err = listBlind(ctx, &c, what.lines, stdout)
	default:
		err = listReturns(ctx, &c, &what, stdout)
	}
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	return 0
}

func listReturns(ctx context.Context, c *client, what *returnsFlags, stdout io.Writer) error {
	q := url.Values{}
	if what.state != "" {
		q.Set("state", what.state)
	} else if !what.all {
		q.Set("open", "true")
	}
	if what.store != "" {
		q.Set("store", what.store)
	}
	return list(ctx, c, "/v1/returns", q, stdout, what.lines, "STATE\tSTORE\tRECEIPT\tRETURNS\tBY\tLAST\tWHY\tSETTLED", func(t io.Writer, x *returns.Receipt) error {
		settled := "no"
		if x.Settled != nil {
			settled = "by " + plain(x.Settled.By) + ": " + plain(x.Settled.Why)
		}
		by, seen := "", map[string]bool{}
		for _, r := range x.Returns {
			if !seen[r.Terminal] {
				seen[r.Terminal] = true
				by += "," + r.Terminal
			}
		}
		_, err := fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", x.State, x.Store, plain(x.Number), x.Count, plain(by[min(1, len(by)):]), x.Last.UTC().Format(time.DateTime), plain(x.Why), settled)
		return err
	})
}

func listBlind(ctx context.Context, c *client, lines bool, stdout io.Writer) error {
	const heading = "AT\tSTORE\tTERMINAL\tRECEIPT\tOPERATOR\tAPPROVED\tQUANTITY\tWHAT\tAMOUNT\tREASON"
	return list(ctx, c, "/v1/returns/blind", nil, stdout, lines, heading, func(t io.Writer, x *returns.Return) error {
		for _, l := range x.Lines {
			approved := x.Approved
			if l.Approved != "" {
				approved = l.Approved
			}
			if _, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s %s\t%s\n", x.At.UTC().Format(time.DateTime), x.Store, x.Terminal, plain(x.Receipt),
				plain(x.Operator), plain(approved), plain(l.Quantity), plain(strings.TrimSpace(l.Item+" "+l.Description)), l.Amount.Format(pos.Currency{Exponent: x.Exponent}), plain(x.Currency), plain(l.Reason)); err != nil {
				return err
			}
		}
		return nil
	})
}
