package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"posd/sync/hub"
	"posd/sync/wire"
)

const quarantineUsage = `Usage:

  poshub quarantine list [flags]                 what waits for a decision
  poshub quarantine show KEY [flags]             one message: why, what is in it, what accepting would do
  poshub quarantine accept KEY --why TEXT        it is right all the same
  poshub quarantine reject KEY --why TEXT        it stays out of the ledger; its bytes are kept

Asks the hub that runs. KEY may be cut to its first 6 or more digits. What accepting does depends
on the cause:

  store       the store is let in, all its terminals go on
  identity    the journal is this terminal's from now on
  copy, signature
              the parcel is entered in spite of it, and the terminal goes on
  fork        the events of this other history are entered beside the first one
  hole        the events that had been declared lost are entered
  undecodable cannot be accepted

Exit codes: 0, 1 it could not be done, 2 wrong flags.

Flags:
`

// quarantineQuestion is what "poshub quarantine" was asked.
type quarantineQuestion struct {
	client
	decider
	what, key string
	all, json bool
	bodyFile  string
}

func quarantineCommand(args []string, stdout, stderr io.Writer) int {
	var q quarantineQuestion
	f := newFlags("quarantine", quarantineUsage, stdout, stderr)
	q.client.addTo(f)
	q.decider.addTo(f)
	f.BoolVar(&q.all, "all", false, "list: decided ones too; accept, reject: all that came for the same cause from the same terminal, or, for store, from the same store")
	f.BoolVar(&q.json, "json", false, "list, show: the hub's answer as JSON")
	f.StringVar(&q.bodyFile, "body", "", "show: write the message as it came to this `file`")
	said, code, ok := f.parseWords(args)
	if !ok {
		return code
	}
	if len(said) > 0 {
		q.what, said = said[0], said[1:]
	}
	run, keys := map[string]func(context.Context, io.Writer) error{"list": q.list, "show": q.show, "accept": q.decide, "reject": q.decide}[q.what], 1
	if q.what == "list" {
		keys = 0
	}
	switch {
	case run == nil:
		return f.fail(exitUsage, "say poshub quarantine list, show, accept or reject")
	case len(said) > keys:
		return f.fail(exitUsage, "unexpected argument %q; see poshub quarantine --help", said[keys])
	case len(said) < keys:
		return f.fail(exitUsage, "name the message: poshub quarantine %s KEY; poshub quarantine list has the keys", q.what)
	case q.client.wrong() != "":
		return f.fail(exitUsage, "%s", q.client.wrong())
	case (q.what == "accept" || q.what == "reject") && q.decider.wrong() != "":
		return f.fail(exitUsage, "%s", q.decider.wrong())
	}
	if keys == 1 {
		q.key = said[0]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, stdout); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	return 0
}

func (q *quarantineQuestion) entries(ctx context.Context, open bool) (all []hub.QuarantineEntry, err error) {
	v := url.Values{}
	if open {
		v.Set("open", "true")
	}
	err = q.get(ctx, "/v1/quarantine", v, &all)
	slices.SortFunc(all, func(a, b hub.QuarantineEntry) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.First, b.First), a.At.Compare(b.At))
	})
	return all, err
}

// place is the store and terminal of a subject, as far as it names them.
func place(subject string) (store, terminal string) {
	_, store, terminal, _, err := wire.ParseUpSubject(subject)
	if err != nil {
		return "-", "-"
	}
	return store, terminal
}

func (q *quarantineQuestion) list(ctx context.Context, stdout io.Writer) error {
	all, err := q.entries(ctx, !q.all)
	if err != nil {
		return err
	}
	if q.json {
		for _, e := range all {
			if err := json.NewEncoder(stdout).Encode(e); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tAT\tSTORE\tTERMINAL\tCAUSE\tRECORDS\tBYTES\tDECISION\tREASON")
	for _, e := range all {
		store, terminal := place(e.Subject)
		records := "-"
		if e.Last > 0 {
			records = fmt.Sprintf("%d-%d", e.First, e.Last)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", e.Key[:12], e.At.UTC().Format(time.DateTime), store, terminal,
			e.Cause, records, e.Size, cmp.Or(e.Decision.Verdict, "open"), plain(e.Reason))
	}
	return t.Flush()
}

func (q *quarantineQuestion) show(ctx context.Context, stdout io.Writer) error {
	var d hub.QuarantineDetail
	if err := q.get(ctx, "/v1/quarantine/"+url.PathEscape(q.key), nil, &d); err != nil {
		return err
	}
	if q.bodyFile != "" {
		if err := q.saveBody(ctx, d.Key); err != nil {
			return err
		}
	}
	if q.json {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		return e.Encode(d)
	}
	store, terminal := place(d.Subject)
	fmt.Fprintf(stdout, "key       %s\ncause     %s\nreason    %s\ncame      %s on %s, %d bytes\nterminal  %s of store %s\n",
		d.Key, d.Cause, plain(d.Reason), d.At.UTC().Format(time.DateTime), plain(d.Subject), d.Size, terminal, store)
	if p := d.Parcel; p != nil {
		fmt.Fprintf(stdout, "parcel    records %d to %d of journal %s", p.First, p.Last, p.Journal)
		for _, kind := range []string{"event", "copy", "checkpoint", "other"} {
			if n := p.Kinds[kind]; n > 0 {
				fmt.Fprintf(stdout, ", %d %s", n, kind)
			}
		}
		fmt.Fprintln(stdout)
		for _, e := range p.Events {
			fmt.Fprintf(stdout, "  %d  %s\n", e.Seq, plain(e.Event))
		}
	}
	if l := d.Ledger; l != nil {
		fmt.Fprintf(stdout, "ledger    has records up to %d, %d events, of terminal %s of store %s; held: %s\n",
			l.Last, l.Events, l.Terminal, l.Store, cmp.Or(plain(l.Held), "no"))
	}
	switch w := d.Decision; {
	case w.Verdict != "":
		fmt.Fprintf(stdout, "decision  %s by %s at %s: %s\n", w.Verdict, plain(w.By), w.At.UTC().Format(time.DateTime), plain(w.Why))
	default:
		fmt.Fprintf(stdout, "accepting %s\n", plain(d.Accept))
	}
	return nil
}

func (q *quarantineQuestion) saveBody(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	res, err := q.do(ctx, http.MethodGet, "/v1/quarantine/"+key+"/body", "", http.NoBody)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return q.broken(err)
	}
	return os.WriteFile(q.bodyFile, b, 0o600)
}

func (q *quarantineQuestion) decide(ctx context.Context, stdout io.Writer) error {
	keys := []string{q.key}
	if q.all {
		var err error
		if keys, err = q.alike(ctx); err != nil {
			return err
		}
	}
	for _, key := range keys {
		var d hub.Decided
		if err := q.post(ctx, "/v1/quarantine/"+url.PathEscape(key)+"/"+q.what, q.Decider, &d); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s  %s by %s: %s", d.Key[:12], d.Verdict, plain(d.By), plain(d.Effect))
		if d.Events > 0 {
			fmt.Fprintf(stdout, "; %d events took effect", d.Events)
		}
		fmt.Fprintln(stdout)
	}
	return nil
}

// alike are the open messages that a decision with --all is about, in the order of their records.
func (q *quarantineQuestion) alike(ctx context.Context) (keys []string, err error) {
	var d hub.QuarantineDetail
	if err := q.get(ctx, "/v1/quarantine/"+url.PathEscape(q.key), nil, &d); err != nil {
		return nil, err
	}
	all, err := q.entries(ctx, true)
	if err != nil {
		return nil, err
	}
	store, _ := place(d.Subject)
	for _, e := range all {
		s, _ := place(e.Subject)
		if e.Cause == d.Cause && (e.Subject == d.Subject || e.Cause == hub.CauseStore && s == store) {
			keys = append(keys, e.Key)
		}
	}
	if !slices.Contains(keys, d.Key) { // decided before: say so
		keys = append([]string{d.Key}, keys...)
	}
	return keys, nil
}
