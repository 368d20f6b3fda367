package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posd/cgroup/slice"
	"posd/journal"
	"posd/journal/chain"
	"posd/pos/config"
	"posd/pos/event"
)

var (
	errAttention = errors.New("something needs attention")
	errBroken    = errors.New("something is broken")
)

// State of a finding, from good to bad.
type state string

const (
	stateOK        state = "ok"
	stateUnchecked state = "not checked" // it cannot be, and Found says why
	stateAttention state = "attention"   // sales go on, somebody has to do something
	stateFailed    state = "failed"      // sales are refused, or are in danger
)

// finding is what one check says.
type finding struct {
	Name  string `json:"name"`
	State state  `json:"state"`
	Found string `json:"found"`
	Do    string `json:"do,omitempty"`
}

func ok(format string, args ...any) finding {
	return finding{State: stateOK, Found: fmt.Sprintf(format, args...)}
}

func unchecked(format string, args ...any) finding {
	return finding{State: stateUnchecked, Found: fmt.Sprintf(format, args...)}
}

func attention(do, format string, args ...any) finding {
	return finding{State: stateAttention, Do: do, Found: fmt.Sprintf(format, args...)}
}

func failed(do, format string, args ...any) finding {
	return finding{State: stateFailed, Do: do, Found: fmt.Sprintf(format, args...)}
}

// checks are all of them, in the order in which one follows from the other.
var checks = []struct {
	name string
	run  func(*patient) finding
}{
	{"configuration", (*patient).configuration},
	{"data folder", (*patient).owners},
	{"signing key", (*patient).key},
	{"journal", (*patient).journal},
	{"former journals", (*patient).former},
	{"space", (*patient).space},
	{"file system", (*patient).fileSystem},
	{"write cache", (*patient).writeCache},
	{"flush", (*patient).flush},
	{"kernel", (*patient).kernel},
	{"limits", (*patient).limits},
	{"systemd", (*patient).systemd},
	{"watchdog", (*patient).watchdog},
	{"clock", (*patient).clock},
	{"tokens", (*patient).tokens},
	{"operators", (*patient).operators},
	{"catalogue", (*patient).catalogue},
	{"posd", (*patient).running},
	{"health", (*patient).health},
	{"pressure", (*patient).pressure},
	{"printer", (*patient).printing},
	{"card payments", (*patient).cards},
	{"head office", (*patient).headOffice},
	{"backlog", (*patient).backlog},
}

// patient is a terminal being looked at. What several checks need is found once.
type patient struct {
	ctx  context.Context
	root string // of /proc, /sys, /dev and /run: "/" but for tests
	path string // of the configuration

	c         *config.Config // nil: there is no usable one
	configErr error

	report    journal.Report // of the journal's end
	reportErr error
	newest    time.Time // time of the last event

	pid       int // of the running posd; 0: there is none
	pidWhy    string
	status    *statusDoc // nil: posd does not answer
	statusErr error
	readyErr  error

	now    func() time.Time
	synced func() bool
	free   func(string) (unix.Statfs_t, error)
	run    func(ctx context.Context, name string, args ...string) (string, error)
}

func newPatient(ctx context.Context, path string) *patient {
	return &patient{ctx: ctx, root: "/", path: path, now: time.Now, synced: clockSynced, run: runProgram,
		free: func(dir string) (st unix.Statfs_t, err error) { err = unix.Statfs(dir, &st); return st, err }}
}

// runProgram runs another program for a moment.
func runProgram(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	b, err := exec.CommandContext(ctx, name, args...).Output()
	return string(b), err
}

func clockSynced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	const timeError = 5 // TIME_ERROR
	return err == nil && state != timeError && t.Status&unix.STA_UNSYNC == 0
}

// examine finds what the checks share. It writes nothing.
func (p *patient) examine() {
	if p.c, _, p.configErr = config.Load(p.path, false); p.c == nil {
		return
	}
	dir := p.journalDir()
	p.report, p.reportErr = journal.Verify(p.ctx, dir, journal.VerifyOptions{From: ^uint64(0)})
	if p.reportErr == nil {
		p.newest = lastEvent(p.ctx, dir, p.report)
	}
	p.pid, p.pidWhy = lockHolder(dir)
	ask := lookCaller(p.c)
	if ask.token == "" {
		p.statusErr = fmt.Errorf("posctl has no token that it can read: run as root or as posd's user; posctl status makes one")
	} else if body, err := ask.get(p.ctx, "/v1/status"); err != nil {
		p.statusErr = err
	} else {
		p.status = &statusDoc{}
		if p.statusErr = json.Unmarshal(body, p.status); p.statusErr != nil {
			p.status = nil
		}
	}
	_, p.readyErr = ask.get(p.ctx, "/readyz")
}

// lastEvent is when the newest event of the last segment was made.
func lastEvent(ctx context.Context, dir string, rep journal.Report) (at time.Time) {
	_, _ = journal.Verify(ctx, dir, journal.VerifyOptions{From: max(rep.Opening, 1), Each: func(r chain.Record, _ chain.Head) error {
		if r.Type == event.RecordType {
			if h, _, err := event.Parse(r.Payload); err == nil {
				at = h.Time
			}
		}
		return nil
	}})
	return at
}

func (p *patient) journalDir() string { return filepath.Join(p.c.Data.Dir, "journal") }

func (p *patient) file(name string) string { return filepath.Join(p.root, name) }

// text reads a small file below the root; "" where there is none.
func (p *patient) text(name string) string {
	b, err := os.ReadFile(p.file(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (p *patient) tree() slice.Tree { return slice.Tree{Root: p.root} }

// check makes all checks.
func (p *patient) check() (found []finding) {
	p.examine()
	return p.checkAll()
}

func (p *patient) checkAll() (found []finding) {
	for _, c := range checks {
		var f finding
		if p.c == nil && c.name != "configuration" && !needsNoConfig[c.name] {
			f = unchecked("without a usable configuration nothing says where to look")
		} else {
			f = c.run(p)
		}
		f.Name = c.name
		found = append(found, f)
	}
	return found
}

var needsNoConfig = map[string]bool{"flush": true, "kernel": true, "systemd": true, "watchdog": true, "clock": true}

// diagnosis is what doctor -json prints.
type diagnosis struct {
	V       int       `json:"v"`
	Release string    `json:"release"`
	At      time.Time `json:"at"`
	State   state     `json:"state"` // the worst
	Checks  []finding `json:"checks"`
}

func diagnose(p *patient) diagnosis {
	d := diagnosis{V: 1, Release: release, At: p.now().UTC(), State: stateOK, Checks: p.check()}
	d.judge()
	return d
}

func (d *diagnosis) judge() {
	for _, f := range d.Checks {
		if f.State == stateFailed || f.State == stateAttention && d.State == stateOK {
			d.State = f.State
		}
	}
}

func (d *diagnosis) err() error {
	switch d.State {
	case stateFailed:
		return errBroken
	case stateAttention:
		return errAttention
	}
	return nil
}

func (d *diagnosis) text() string {
	var b strings.Builder
	count := map[state]int{}
	for _, f := range d.Checks {
		count[f.State]++
		fmt.Fprintf(&b, "%-12s %-16s %s\n", f.State, f.Name, strings.ReplaceAll(f.Found, "\n", "\n"+strings.Repeat(" ", 30)))
		if f.Do != "" {
			fmt.Fprintf(&b, "%-12s %-16s do: %s\n", "", "", f.Do)
		}
	}
	fmt.Fprintf(&b, "\n%d ok, %d need attention, %d failed, %d could not be checked\n",
		count[stateOK], count[stateAttention], count[stateFailed], count[stateUnchecked])
	return b.String()
}

// doctor looks at everything that a till needs.
func (t *tool) doctor(args []string) error {
	fs := t.flags("doctor")
	asJSON := fs.Bool("json", false, "print as JSON")
	if _, err := t.parse(fs, args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.ctx, time.Minute)
	defer cancel()
	d := diagnose(newPatient(ctx, t.config))
	if *asJSON {
		if err := t.printJSON(d); err != nil {
			return err
		}
	} else if _, err := fmt.Fprint(t.out, d.text()); err != nil {
		return err
	}
	return d.err()
}
