package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"posd/packaging/lab/freeport"
	"posd/pos/tradeday"
)

const (
	store    = "S1"
	terminal = "T1"
)

// demo is one run: the processes, and what is known of them.
type demo struct {
	trade
	posdBin, posctlBin, hubBin string
	dir                        string // work folder
	keep                       bool
	out                        io.Writer
	bar                        *bar

	ctx  context.Context // ends when interrupted, or when a child ends by itself
	fail context.CancelCauseFunc

	link  *link
	hub   *process
	posd  []*process // the one running is the last
	front *process

	posdURL, hubURL string
	token           string // of the front end
	hubToken        string // of the hub's HTTP interface

	baskets             int
	told                map[string]int // what the front end reported at its end
	selling             time.Duration
	reconnect, draining time.Duration // from the link's return, and from there
	backlog             uint64        // records to drain when the link came back
}

func runCommand(ctx context.Context, args []string, out, errs io.Writer) error {
	d := &demo{out: out, told: map[string]int{}}
	fs := flag.NewFlagSet("posdemo run", flag.ContinueOnError)
	fs.StringVar(&d.posdBin, "posd", "", "the posd binary")
	fs.StringVar(&d.posctlBin, "posctl", "", "the posctl binary")
	fs.StringVar(&d.hubBin, "poshub", "", "the poshub binary")
	fs.StringVar(&d.dir, "dir", ".demo", "work folder; that of an earlier run is replaced")
	fs.BoolVar(&d.keep, "keep", os.Getenv("KEEP") != "" && os.Getenv("KEEP") != "0", "leave posd and poshub running at the end, until Ctrl-C")
	d.trade.flags(fs)
	if err := parse(fs, args, errs); err != nil {
		return err
	}
	if d.posdBin == "" || d.posctlBin == "" || d.hubBin == "" {
		return &usageError{"give -posd, -posctl and -poshub"}
	}
	if err := d.trade.check(); err != nil {
		return err
	}
	d.bar = newBar(out)
	d.ctx, d.fail = context.WithCancelCause(ctx)
	defer d.fail(nil)
	err := d.run()
	d.bar.end()
	if err = errors.Join(err, d.cleanUp()); err != nil && !errors.Is(err, errDiffer) {
		return fmt.Errorf("%w\nthe logs are in %s", err, d.dir)
	}
	return err
}

// run is the whole story; cleanUp follows on every way out.
func (d *demo) run() error {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"the work folder", d.prepareFolder},
		{"head office", d.startHub},
		{"a new terminal", d.setUpTerminal},
		{"posd", d.startPosd},
		{"the trading day", d.tradeAll},
		{"the drain", d.drain},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, d.cause(err))
		}
	}
	v, err := d.judge()
	if err != nil {
		return fmt.Errorf("the comparison: %w", d.cause(err))
	}
	if !d.keep { // processor time is known for good when they have ended
		if err := d.stopAll(); err != nil {
			return err
		}
	}
	anon := d.writeResult(v)
	if d.keep {
		d.leaveRunning()
	}
	if !v.agrees() {
		return fmt.Errorf("%w; everything is in %s", errDiffer, d.dir)
	}
	if anon > memoryLimit {
		return fmt.Errorf("posd used %.1f MiB of its own memory, the terminal has %d MiB", mib(anon), memoryLimit>>20)
	}
	return nil
}

// cause prefers why the demo is ending over what failed because of it.
func (d *demo) cause(err error) error {
	if d.ctx.Err() == nil {
		return err
	}
	if why := context.Cause(d.ctx); !errors.Is(why, context.Canceled) {
		return why
	}
	return errors.New("interrupted")
}

// marker is in every work folder, so that nothing else is ever deleted.
const marker = "made-by-posdemo"

func (d *demo) prepareFolder() (err error) {
	if d.dir, err = filepath.Abs(d.dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.dir)
	if err == nil && len(entries) > 0 {
		if _, err := os.Stat(d.path(marker)); err != nil {
			return fmt.Errorf("%s is not an earlier demo's: give another folder with -dir", d.dir)
		}
		if err := os.RemoveAll(d.dir); err != nil {
			return err
		}
	}
	for _, sub := range []string{"hub", "terminal"} {
		if err := os.MkdirAll(d.path(sub), 0o700); err != nil {
			return err
		}
	}
	return os.WriteFile(d.path(marker), nil, 0o644)
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// child starts a process of the demo; if it ends unasked, the demo ends.
func (d *demo) child(name, log string, out io.Writer, path string, args ...string) (*process, error) {
	return begin(name, d.path(log), out, d.fail, path, args...)
}

func (d *demo) startHub() error {
	web, err1 := freeport.Address()
	nats, err2 := freeport.Address()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	d.hubURL = "http://" + web
	var err error
	if d.hub, err = d.child("poshub", "poshub.log", nil, d.hubBin, "serve", "--data", d.path("hub"), "--listen", web, "--nats", nats); err != nil {
		return err
	}
	if err := d.waitReady(d.hubURL, d.hub); err != nil {
		return err
	}
	token, err := os.ReadFile(d.path("hub/api.token"))
	if err != nil {
		return err
	}
	d.hubToken = strings.TrimSpace(string(token))
	d.link, err = newLink(nats)
	return err
}

const configText = `# written by posdemo
[terminal]
store = "%s"
id = "%s"
currency = "%s"
time_zone = "UTC"

[tax]
%s
[http]
listen = "%s"

[data]
dir = "%s"

[hub]
urls = ["nats://%s"]
enroll_url = "%s"
enroll_token_file = "%s"

[limits]
expect_cpu = "0%%"
expect_memory = "0B"
`

// setUpTerminal does what an installer does: a token of head office's, configuration,
// journal, a front end's token, the catalogue.
func (d *demo) setUpTerminal() error {
	once, err := output("poshub enrol", exec.CommandContext(d.ctx, d.hubBin, "enrol", store, terminal, "--data", d.path("hub"), "--hub", d.hubURL))
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.path("enrol.token"), once, 0o600); err != nil {
		return err
	}
	web, err := freeport.Address()
	if err != nil {
		return err
	}
	d.posdURL = "http://" + web
	var taxes strings.Builder
	for _, t := range tradeday.Taxes() {
		fmt.Fprintf(&taxes, "%s = \"%s\"\n", t.Code, t.Rate)
	}
	text := fmt.Sprintf(configText, store, terminal, tradeday.Currency.Code, taxes.String(), web, d.path("terminal"), d.link.address, d.hubURL, d.path("enrol.token"))
	if err := os.WriteFile(d.config(), []byte(text), 0o644); err != nil {
		return err
	}
	if _, err := d.posctl("init"); err != nil {
		return err
	}
	token, err := d.posctl("token", "add", "till-1")
	if err != nil {
		return err
	}
	d.token = strings.TrimSpace(string(token))
	if err := os.WriteFile(d.path("front.token"), token, 0o600); err != nil {
		return err
	}
	items, err := os.Create(d.path("catalogue.csv"))
	if err != nil {
		return err
	}
	if err := errors.Join(d.writeCatalogue(items), items.Close()); err != nil {
		return err
	}
	_, err = d.posctl("catalogue", "import", d.path("catalogue.csv"))
	return err
}

func (d *demo) config() string { return d.path("posd.toml") }

// posctl runs one of its commands.
func (d *demo) posctl(args ...string) ([]byte, error) {
	return output("posctl "+strings.Join(args, " "), exec.CommandContext(d.ctx, d.posctlBin, append(args, "--config", d.config())...))
}

// output runs a command to its end and returns its standard output.
func output(name string, cmd *exec.Cmd) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}

func (d *demo) startPosd() error {
	p, err := d.child("posd", "posd.log", nil, d.posdBin, "--config", d.config())
	if err != nil {
		return err
	}
	d.posd = append(d.posd, p)
	return d.waitReady(d.posdURL, p)
}

func (d *demo) running() *process { return d.posd[len(d.posd)-1] }

// stopAll stops posd and head office in order.
func (d *demo) stopAll() (err error) {
	if len(d.posd) > 0 {
		err = d.running().stop()
	}
	if d.hub != nil {
		err = errors.Join(err, d.hub.stop())
	}
	return err
}

// cleanUp leaves no child and no goroutine behind, however the run ended.
func (d *demo) cleanUp() error {
	var err error
	if d.front != nil {
		err = d.front.stop()
	}
	err = errors.Join(err, d.stopAll())
	if d.link != nil {
		d.link.cut()
	}
	if d.ctx.Err() != nil {
		return nil // why is known; that the children then had to be ended is not news
	}
	return err
}

// leaveRunning says how to look around, and waits to be interrupted.
func (d *demo) leaveRunning() {
	fmt.Fprintf(d.out, `
  posd and poshub are running. Look around:
    curl -s -H "Authorization: Bearer $(cat %[1]s/front.token)" %[2]s/v1/status
    curl -s -H "Authorization: Bearer $(cat %[1]s/front.token)" '%[2]s/v1/sales?receipt=%[5]s-1-1'
    curl -s -H "Authorization: Bearer $(cat %[1]s/hub/api.token)" %[3]s/v1/status
    curl -s -H "Authorization: Bearer $(cat %[1]s/hub/api.token)" '%[3]s/v1/events?store=%[4]s&terminal=%[5]s&limit=3'
  Ctrl-C stops them.
`, d.dir, d.posdURL, d.hubURL, store, terminal)
	<-d.ctx.Done()
}

func (d *demo) sleep(t time.Duration) error {
	select {
	case <-time.After(t):
		return nil
	case <-d.ctx.Done():
		return context.Cause(d.ctx)
	}
}
