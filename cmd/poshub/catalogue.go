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
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"posd/sync/hub"
)

const catalogueUsage = `Usage: poshub catalogue publish FILE STORE [TERMINAL] --currency CODE --why REASON [flags]
       poshub catalogue publish FILE --all --currency CODE --why REASON [flags]
       poshub catalogue list [flags]
       poshub catalogue status [STORE [TERMINAL]] [flags]
       poshub catalogue show VERSION [flags]

Publishes items and prices: the CSV file that posctl catalogue import takes. It is checked
as a whole before anything is sent: one that lacks more than a third of the items of before,
or makes items cost nothing, needs --force. With --delta FILE holds only what changes in the
catalogue that was published to them last. Terminals fetch what they lack, beside their
sales, and use it when they have all of it; those that are offline do so when they come
back. A store means the terminals of it that are known now. list shows what was published,
status what became of it at each terminal, show prints the items of one version.

Exit codes: 0 all use it, 1 the hub did not do it, 2 called wrongly,
3 a terminal has refused it, 4 some have not answered yet.

Flags:
`

// uploadTime is what a large file may take, beside its checks.
const uploadTime = 10 * time.Minute

func catalogueCommand(args []string, stdout, stderr io.Writer) int {
	var c client
	var d decider
	f := newFlags("catalogue", catalogueUsage, stdout, stderr)
	c.addTo(f)
	d.addTo(f)
	all := f.Bool("all", false, "to all terminals that are known")
	name := f.String("name", "", "beginning of its `version`, such as autumn-3 (default: the day)")
	currency := f.String("currency", "", "ISO 4217 `code` of the prices (required)")
	delta := f.Bool("delta", false, "FILE changes the catalogue that is published; a line whose column op says delete takes its item away")
	force := f.Bool("force", false, "also a FILE that lacks more than a third of the items of before, or makes items cost nothing")
	wait := f.Duration("wait", time.Minute, "how `long` to wait for the terminals")
	lines := f.Bool("json", false, "one JSON object a line")
	words, code, ok := f.parseWords(args)
	if !ok {
		return code
	}
	what := ""
	if len(words) > 0 {
		what, words = words[0], words[1:]
	}
	if c.wrong() != "" {
		return f.fail(exitUsage, "%s", c.wrong())
	}
	switch {
	case what == "list" && len(words) == 0:
		return listCatalogues(f, &c, *lines)
	case what == "status" && len(words) <= 2:
		states, err := orderStates(&c, whom(words), nil, supplied)
		if err != nil {
			return f.fail(exitFailed, "%v", err)
		}
		return writeSupplied(f, &c, states, *lines)
	case what == "show" && len(words) == 1:
		return showCatalogue(f, &c, words[0])
	case what != "publish" || len(words) < 1 || len(words) > 3:
		return f.fail(exitUsage, "say poshub catalogue publish FILE STORE [TERMINAL], or list, status or show; see poshub catalogue --help")
	case d.wrong() != "":
		return f.fail(exitUsage, "%s", d.wrong())
	case *currency == "":
		return f.fail(exitUsage, "--currency is missing: say what the prices are in, such as --currency EUR")
	case *all == (len(words) > 1):
		return f.fail(exitUsage, "say to whom: a store, a store and a terminal, or --all")
	}
	q := whom(words[1:])
	for key, value := range map[string]string{"by": d.By, "why": d.Why, "name": *name, "currency": *currency, "all": strconv.FormatBool(*all), "delta": strconv.FormatBool(*delta), "force": strconv.FormatBool(*force)} {
		q.Set(key, value)
	}
	return publishCatalogue(f, &c, words[0], q, *wait, *lines)
}

// whom are the parameters for a store, a store and a terminal, or all.
func whom(words []string) url.Values {
	q := url.Values{}
	for i, name := range []string{"store", "terminal"} {
		if len(words) > i {
			q.Set(name, words[i])
		}
	}
	return q
}

func publishCatalogue(f *flags, c *client, path string, q url.Values, wait time.Duration, lines bool) int {
	file, err := os.Open(path)
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	defer file.Close()
	ctx, cancel := context.WithTimeout(context.Background(), uploadTime)
	defer cancel()
	res, err := c.do(ctx, http.MethodPost, "/v1/catalogues?"+q.Encode(), "text/csv", file)
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	defer res.Body.Close()
	var done hub.PublishedCatalogue
	if err := json.NewDecoder(io.LimitReader(res.Body, answerLimit)).Decode(&done); err != nil {
		return f.fail(exitFailed, "%v", c.broken(err))
	}
	fmt.Fprintf(f.stderr, "version %s: %d items, tax codes %s; %d of %d chunks are new, %d bytes to fetch\n",
		done.Version, done.Items, taxes(done.Taxes), done.New, done.Chunks, done.NewBytes)
	of := make(map[string]bool, len(done.Names))
	for _, name := range done.Names {
		of[name] = true
	}
	for end := time.Now().Add(wait); ; time.Sleep(min(300*time.Millisecond, wait)) {
		states, err := orderStates(c, whom(nil), of, supplied)
		if err != nil {
			return f.fail(exitFailed, "the catalogue is published, but what became of it is not known: %v", err)
		}
		if !slices.ContainsFunc(states, func(o hub.Orders) bool { return o.Catalogue.State == hub.StateSent }) || !time.Now().Before(end) {
			return writeSupplied(f, c, states, lines)
		}
	}
}

// taxes is "A 812, B 91".
// supplied says that the terminal was told of a catalogue.
func supplied(o *hub.Orders) bool { return o.Catalogue != nil }

func taxes(by map[string]int) string {
	var all []string
	for code, n := range by {
		all = append(all, code+" "+strconv.Itoa(n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// inUse is the version that each terminal says it uses.
func inUse(c *client) (map[string]string, error) {
	says := map[string]string{}
	f := fleetQuestion{client: *c}
	for after := ""; ; {
		r, err := f.page(context.Background(), after)
		if err != nil {
			return nil, err
		}
		for i := range r.Terminals {
			if t := &r.Terminals[i]; t.Says != nil {
				says[t.Store+"."+t.Terminal] = t.Says.Catalogue
			}
		}
		if after = r.Next; after == "" {
			return says, nil
		}
	}
}

// suppliedState is one line of status.
type suppliedState struct {
	Store    string      `json:"store"`
	Terminal string      `json:"terminal"`
	InUse    string      `json:"in_use,omitempty"` // as its last heartbeat says
	Order    hub.Ordered `json:"order"`
}

// writeSupplied writes a table, and says by the exit code what became of it.
func writeSupplied(f *flags, c *client, all []hub.Orders, lines bool) (code int) {
	says, err := inUse(c)
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	t := tabwriter.NewWriter(f.stdout, 0, 0, 2, ' ', 0)
	if !lines {
		fmt.Fprintln(t, "STORE\tTERMINAL\tVERSION\tSTATE\tIN USE\tPUBLISHED\tBY\tREASON")
	}
	for i := range all {
		s := suppliedState{all[i].Store, all[i].Terminal, says[all[i].Store+"."+all[i].Terminal], *all[i].Catalogue}
		code = worse(code, s.Order.State)
		if lines {
			if c := f.answer(&s); c != 0 {
				return c
			}
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Store, s.Terminal, plain(s.Order.Version), plain(s.Order.State), cmp.Or(plain(s.InUse), "-"),
			s.Order.At.UTC().Format(time.DateTime), plain(s.Order.By), cmp.Or(plain(s.Order.Reason), "-"))
	}
	if !lines {
		t.Flush()
	}
	return code
}

func listCatalogues(f *flags, c *client, lines bool) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	err := list(ctx, c, "/v1/catalogues", nil, f.stdout, lines, "VERSION\tPUBLISHED\tBY\tTO\tITEMS\tTAXES\tBYTES\tCHANGED\tTO FETCH\tWHY", func(t io.Writer, p *hub.Publication) error {
		changed := "-"
		if p.Base != "" {
			changed = strconv.Itoa(p.Set + p.Deleted)
		}
		_, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%d\t%s\t%d\t%s\n", plain(p.Version), p.At.UTC().Format(time.DateTime), plain(p.By), plain(p.To),
			p.Items, plain(taxes(p.Taxes)), p.Bytes, changed, p.NewBytes, plain(p.Why))
		return err
	})
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	return 0
}

func showCatalogue(f *flags, c *client, version string) int {
	res, err := c.do(context.Background(), http.MethodGet, "/v1/catalogues/"+url.PathEscape(version), "", http.NoBody)
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(f.stdout, res.Body); err != nil {
		return f.fail(exitFailed, "%v", c.broken(err))
	}
	return 0
}
