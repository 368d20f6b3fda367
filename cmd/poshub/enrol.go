package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"posd/sync/hub"
)

const enrolUsage = `Usage: poshub enrol STORE TERMINAL [flags]
       poshub enrol list [flags]
       poshub enrol revoke STORE TERMINAL --why REASON [flags]

The first makes a token with which one machine, once, becomes this terminal, and prints
it. Give it to the terminal as the file of hub.enroll_token_file: posd does the rest.
list shows what became of the tokens. revoke ends the token of a terminal and shuts its
keys out: connections end at once.

Exit codes: 0, 1 the hub did not do it, 2 called wrongly.

Flags:
`

func enrolCommand(args []string, stdout, stderr io.Writer) int {
	var c client
	var d decider
	var q hub.NewEnrolment
	f := newFlags("enrol", enrolUsage, stdout, stderr)
	c.addTo(f)
	d.addTo(f)
	shard := f.Int("shard", -1, "`number` of the shard (default: as before, or spread over the hub's)")
	expires := f.Duration("expires", 7*24*time.Hour, "how `long` the token can be used")
	key := f.String("key", "", "with revoke: shut out this `key` only")
	lines := f.Bool("json", false, "the hub's own answer; with list one JSON object for each, a line each")
	f.BoolVar(&q.Replace, "replace", false, "the terminal is a new machine: when it comes, the keys of the old one are shut out")
	said, code, ok := f.parseWords(args)
	switch {
	case !ok:
		return code
	case len(said) == 1 && said[0] == "list":
		if c.wrong() != "" {
			return f.fail(exitUsage, "%s", c.wrong())
		}
		return listTokens(f, &c, *lines)
	}
	revoke := len(said) > 0 && said[0] == "revoke"
	if revoke {
		said = said[1:]
	} else if d.Why == "" {
		d.Why = "enrolment" // a new terminal needs no reason
	}
	switch {
	case len(said) != 2:
		return f.fail(exitUsage, "name the store and the terminal; see poshub enrol --help")
	case c.wrong() != "":
		return f.fail(exitUsage, "%s", c.wrong())
	case d.wrong() != "":
		return f.fail(exitUsage, "%s", d.wrong())
	case revoke:
		return revokeTerminal(f, &c, hub.Revocation{Decider: d.Decider, Store: said[0], Terminal: said[1], Key: *key}, *lines)
	}
	q.Decider, q.Store, q.Terminal, q.Seconds = d.Decider, said[0], said[1], int64(*expires/time.Second)
	if *shard >= 0 {
		q.Shard = shard
	}
	var made hub.NewToken
	if err := c.post(context.Background(), "/v1/enrol/tokens", &q, &made); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	if *lines {
		return f.answer(made)
	}
	fmt.Fprintln(stdout, made.Token)
	fmt.Fprintf(stderr, "For %s.%s, shard %d, once, until %s.\n", made.Store, made.Terminal, made.Shard, made.Expires.Local().Format(time.RFC1123))
	return 0
}

func revokeTerminal(f *flags, c *client, q hub.Revocation, lines bool) int {
	var done hub.Revoked
	if err := c.post(context.Background(), "/v1/enrol/revoke", &q, &done); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	if lines {
		return f.answer(done)
	}
	if done.Token {
		fmt.Fprintf(f.stdout, "%s.%s: its token is worth nothing any more\n", q.Store, q.Terminal)
	}
	fmt.Fprintf(f.stdout, "%s.%s: %d keys shut out\n", q.Store, q.Terminal, len(done.Keys))
	return 0
}

func listTokens(f *flags, c *client, lines bool) int {
	err := list(context.Background(), c, "/v1/enrol", nil, f.stdout, lines, "TERMINAL\tSHARD\tSTATE\tUNTIL\tBY\tUSED\tMACHINE", func(t io.Writer, e *hub.Enrolment) error {
		used, machine := "", ""
		if e.Used != nil {
			used, machine = e.Used.At.UTC().Format(time.DateTime), plain(e.Used.Machine)
		}
		_, err := fmt.Fprintf(t, "%s.%s\t%d\t%s\t%s\t%s\t%s\t%s\n", e.Store, e.Terminal, e.Shard, e.State(time.Now()), e.Expires.UTC().Format(time.DateTime), plain(e.By), used, machine)
		return err
	})
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	return 0
}

// answer prints an answer of the hub as it came.
func (f *flags) answer(v any) int {
	if err := json.NewEncoder(f.stdout).Encode(v); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	return 0
}
