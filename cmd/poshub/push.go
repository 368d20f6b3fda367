package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"posd/sync/hub"
	"posd/sync/wire"
)

const pushUsage = `Usage: poshub push FILE STORE [TERMINAL] --why REASON [flags]
       poshub push FILE --all --why REASON [flags]
       poshub push list [STORE [TERMINAL]] [flags]
       poshub push show STORE TERMINAL [flags]

Pushes a configuration: a file like posd.toml, of the keys that head office may decide
(posctl config says which). It is checked before it is sent, and by each terminal again,
together with its own file. It takes the place of what was pushed before: a key that is
left out is the terminal's own again. A store means the terminals of it that are known
now. Terminals that are offline take it when they come back. list shows what became of
it, show prints what was pushed last to a terminal.

Exit codes: 0 all have applied it, 1 the hub did not do it, 2 called wrongly,
3 a terminal has refused it, 4 some have not answered yet.

Flags:
`

// Exit codes of poshub push, and of poshub command.
const (
	exitRefused    = 3
	exitUnanswered = 4
)

func pushCommand(args []string, stdout, stderr io.Writer) int {
	var c client
	var d decider
	f := newFlags("push", pushUsage, stdout, stderr)
	c.addTo(f)
	d.addTo(f)
	all := f.Bool("all", false, "to all terminals that are known")
	wait := f.Duration("wait", 15*time.Second, "how `long` to wait for answers")
	lines := f.Bool("json", false, "one JSON object for each terminal, a line each")
	words, code, ok := f.parseWords(args)
	if !ok {
		return code
	}
	what := ""
	if len(words) > 0 {
		what, words = words[0], words[1:]
	}
	q := url.Values{}
	for i, name := range []string{"store", "terminal"} {
		if len(words) > i {
			q.Set(name, words[i])
		}
	}
	switch {
	case c.wrong() != "":
		return f.fail(exitUsage, "%s", c.wrong())
	case what == "" || len(words) > 2:
		return f.fail(exitUsage, "say poshub push FILE STORE [TERMINAL], or list, or show; see poshub push --help")
	case what == "show" && len(words) != 2:
		return f.fail(exitUsage, "name the store and the terminal; see poshub push --help")
	case what == "show":
		return showPushed(f, &c, words[0], words[1])
	case what == "list":
		states, err := orderStates(&c, q, nil, pushed)
		if err != nil {
			return f.fail(exitFailed, "%v", err)
		}
		return writePushed(f, states, *lines)
	case d.wrong() != "":
		return f.fail(exitUsage, "%s", d.wrong())
	case *all == (len(words) > 0):
		return f.fail(exitUsage, "say to whom: a store, a store and a terminal, or --all")
	}
	text, err := os.ReadFile(what)
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	var done hub.PushAnswer
	r := hub.PushRequest{Decider: d.Decider, Store: q.Get("store"), Terminal: q.Get("terminal"), All: *all, Text: string(text)}
	if err := c.post(context.Background(), "/v1/orders/push", &r, &done); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	for _, k := range done.Keys {
		fmt.Fprintf(stderr, "%s = %s\n", k.Key, k.Value)
	}
	return awaitPushed(f, &c, q, done.Terminals, *wait, *lines)
}

// awaitPushed shows what became of a push, when all have answered or the time is over.
func awaitPushed(f *flags, c *client, q url.Values, names []string, wait time.Duration, lines bool) int {
	of := make(map[string]bool, len(names))
	for _, n := range names {
		of[n] = true
	}
	for end := time.Now().Add(wait); ; time.Sleep(min(200*time.Millisecond, wait)) {
		states, err := orderStates(c, q, of, pushed)
		if err != nil {
			return f.fail(exitFailed, "the configuration is pushed, but what became of it is not known: %v", err)
		}
		waiting := false
		for _, o := range states {
			waiting = waiting || o.Config.State == hub.StateSent
		}
		if !waiting || !time.Now().Before(end) {
			return writePushed(f, states, lines)
		}
	}
}

// pushed says that the terminal was sent a configuration.
func pushed(o *hub.Orders) bool { return o.Config != nil }

// orderStates are the terminals of which has is true, of those named (nil: all).
func orderStates(c *client, q url.Values, of map[string]bool, has func(*hub.Orders) bool) (all []hub.Orders, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	err = c.lines(ctx, "/v1/orders", q, func(b []byte) error {
		var o hub.Orders
		if err := json.Unmarshal(b, &o); err != nil {
			return c.broken(err)
		}
		if has(&o) && (of == nil || of[o.Store+"."+o.Terminal]) {
			all = append(all, o)
		}
		return nil
	})
	return all, err
}

// writePushed writes a table, and says by the exit code what became of it.
func writePushed(f *flags, all []hub.Orders, lines bool) (code int) {
	t := tabwriter.NewWriter(f.stdout, 0, 0, 2, ' ', 0)
	if !lines {
		fmt.Fprintln(t, "STORE\tTERMINAL\tNUMBER\tSTATE\tPUSHED\tBY\tREASON")
	}
	for i := range all {
		o := &all[i]
		code = worse(code, o.Config.State)
		if lines {
			if c := f.answer(o); c != 0 {
				return c
			}
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", o.Store, o.Terminal, o.Config.Serial, plain(o.Config.State),
			o.Config.At.UTC().Format(time.DateTime), plain(o.Config.By), cmp.Or(plain(o.Config.Reason), "-"))
	}
	if !lines {
		t.Flush()
	}
	return code
}

func showPushed(f *flags, c *client, store, terminal string) int {
	var r struct{ Text string }
	path := "/v1/order/" + url.PathEscape(store) + "/" + url.PathEscape(terminal)
	if err := c.get(context.Background(), path, nil, &r); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	io.WriteString(f.stdout, r.Text)
	return 0
}

// worse is the exit code behind one more order in that state: refused, then unanswered.
func worse(code int, state string) int {
	switch {
	case state == wire.StateRefused:
		return exitRefused
	case state == hub.StateSent && code == 0:
		return exitUnanswered
	}
	return code
}
