package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
	"unicode"

	"posd/sync/hub"
)

const auditUsage = `Usage: poshub audit [flags]

Lists what people have decided at this hub, the oldest first: when, who, what, and why.

Exit codes: 0, 1 the hub could not be asked, 2 wrong flags.

Flags:
`

func auditCommand(args []string, stdout, stderr io.Writer) int {
	var c client
	f := newFlags("audit", auditUsage, stdout, stderr)
	c.addTo(f)
	since := f.String("since", "", "only decisions behind this `time`, such as 2026-11-21T09:30:00Z")
	lines := f.Bool("json", false, "one JSON object for each, a line each, with all details")
	if code, ok := f.parse(args); !ok {
		return code
	}
	switch {
	case f.NArg() > 0:
		return f.fail(exitUsage, "unexpected argument %q; see poshub audit --help", f.Arg(0))
	case c.wrong() != "":
		return f.fail(exitUsage, "%s", c.wrong())
	}
	q := url.Values{}
	if *since != "" {
		q.Set("after", *since)
	}
	err := list(context.Background(), &c, "/v1/audit", q, stdout, *lines, "AT\tBY\tWHAT\tON\tWHY", func(t io.Writer, e *hub.AuditEntry) error {
		_, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", e.At.UTC().Format(time.DateTime), plain(e.By), plain(e.What), shorten(plain(e.On)), plain(e.Why))
		return err
	})
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	return 0
}

// plain takes out of a text what would do something to a terminal or a table.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// shorten makes a key fit into a table.
func shorten(s string) string {
	if len(s) > 40 {
		return s[:16] + "…"
	}
	return s
}
