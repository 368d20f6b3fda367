package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posd/journal"
	"posd/sync/uplink"
)

// The terminals of a herd have small journals: a segment holds some 700 events.
const herdSegment = 256 << 10

// filesEach is how many files one terminal may have open, and then some.
const filesEach = 16

// raiseFiles lets this process open n files. Root may raise the hard limit too.
func raiseFiles(n uint64) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if l.Cur >= n {
		return nil
	}
	l.Cur, l.Max = n, max(l.Max, n)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("%d files must be open at once and the limit cannot be raised (try more processes, or ulimit -n as root): %w", n, err)
	}
	return nil
}

// runTerminals is a process with terminals From to To of a herd. It does what it is told
// on standard input, line by line, and reports on standard output.
func runTerminals(ctx context.Context, t task) (_ any, err error) {
	if err := raiseFiles(uint64(filesEach*(t.To-t.From)) + 64); err != nil {
		return nil, err
	}
	p := &process{task: t, said: make(map[string]int)}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer func() { cancel(); running.Wait() }()
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "forget": // what was said while nothing could be reached
			p.mu.Lock()
			clear(p.said)
			p.sum.Failed = 0
			p.mu.Unlock()
		case "go":
			for _, x := range p.all {
				running.Go(func() { x.err = x.u.Run(ctx) })
			}
			running.Go(func() { p.look(ctx) })
		}
		if err := out.Encode(p.report()); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// process has terminals.
type process struct {
	task task
	all  []*herdTerminal

	mu   sync.Mutex
	said map[string]int
	sum  herdReport
}

type herdTerminal struct {
	j               *journal.Journal
	u               *uplink.Uplink
	floor           uint64
	connected, done bool
	err             error
}

// herdReport is what a process says, or all together.
type herdReport struct {
	Connected, Done     int // terminals that ever were, and those whose events are all settled
	Events              uint64
	Failed              int     // attempts and sessions
	ConnectedAt, DoneAt []int64 // Unix ns
	Said                map[string]int
}

func (r *herdReport) add(o *herdReport) {
	r.Connected, r.Done, r.Events, r.Failed = r.Connected+o.Connected, r.Done+o.Done, r.Events+o.Events, r.Failed+o.Failed
	r.ConnectedAt, r.DoneAt = append(r.ConnectedAt, o.ConnectedAt...), append(r.DoneAt, o.DoneAt...)
	for text, n := range o.Said {
		if r.Said == nil {
			r.Said = make(map[string]int)
		}
		r.Said[text] += n
	}
}

// open makes or takes the journals, and prepares the uplinks. Journals stay for the next
// run: nothing is freed in them, and what an earlier head office settled is forgotten.
func (p *process) open(ctx context.Context) error {
	devices := herdTerminals(p.task.To)
	for i := p.task.From; i < p.task.To; i++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d := devices[i]
		dir := filepath.Join(p.task.Journal, fmt.Sprintf("%05d", i))
		if err := makeSmall(dir, d.Store, d.Terminal, p.task.Pending, uint64(i)+1); err != nil {
			return err
		}
		j, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{SegmentSize: herdSegment, MaxBytes: 1 << 30, ScrubEvery: -1, Retention: 1000 * time.Hour})
		if err != nil {
			return err
		}
		x := &herdTerminal{j: j}
		p.all = append(p.all, x)
		x.floor, _ = j.Floor()
		state := filepath.Join(p.task.Dir, fmt.Sprintf("%05d.state", i))
		if x.u, err = uplink.New(uplink.Options{Journal: j, URLs: p.task.URLs, Store: d.Store, Terminal: d.Terminal, Shard: d.Shard,
			Credentials: credentials(p.task.Dir, i), CAFile: p.task.CA, StatePath: state, Log: slog.New(&ears{p: p})}); err != nil {
			return err
		}
	}
	return nil
}

// makeSmall makes a journal of groups of 100 events, or takes the one that is there.
func makeSmall(dir, store, terminal string, n int, seed uint64) error {
	note := filepath.Join(dir, "made.json")
	var was made
	if b, err := os.ReadFile(note); err == nil && json.Unmarshal(b, &was) == nil && was.Events == n {
		return nil
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o750)); err != nil {
		return err
	}
	if err := newJournal(filepath.Join(dir, "journal"), store, terminal, herdSegment, shapes[2], n, seed); err != nil {
		return err
	}
	b, err := json.Marshal(made{n})
	if err != nil {
		return err
	}
	return os.WriteFile(note, b, 0o600)
}

func (p *process) close() (err error) {
	for _, x := range p.all {
		err = errors.Join(err, x.err, x.j.Close())
	}
	return err
}

// look notes when terminals are connected and done.
func (p *process) look(ctx context.Context) {
	for left := len(p.all); left > 0 && ctx.Err() == nil; {
		for _, x := range p.all {
			if x.done {
				continue
			}
			st, now := x.u.Status(), time.Now().UnixNano()
			p.mu.Lock()
			if !x.connected && (st.Connected || st.Settled > 0) {
				x.connected = true
				p.sum.Connected++
				p.sum.ConnectedAt = append(p.sum.ConnectedAt, now)
			}
			if st.Settled >= x.floor {
				x.done = true
				left--
				p.sum.Done++
				p.sum.DoneAt = append(p.sum.DoneAt, now)
				p.sum.Events += x.floor
			}
			p.mu.Unlock()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *process) report() *herdReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := herdReport{Said: map[string]int{}}
	r.add(&p.sum)
	for text, n := range p.said {
		r.Said[text] = n
	}
	return &r
}

// ears count what the uplinks warn of.
type ears struct {
	slog.Handler
	p *process
}

func (e *ears) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelDebug }
func (e *ears) WithAttrs([]slog.Attr) slog.Handler           { return e }
func (e *ears) WithGroup(string) slog.Handler                { return e }

func (e *ears) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" || a.Key == "reason" {
			text += ": " + kind(a.Value.String())
		}
		return true
	})
	if r.Level < slog.LevelWarn && !strings.Contains(text, "session ended: ") {
		return nil
	}
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	if strings.HasPrefix(r.Message, "uplink: interrupted") || strings.HasPrefix(r.Message, "uplink: session ended") {
		e.p.sum.Failed++
	}
	if len(e.p.said) < 40 || e.p.said[text] > 0 {
		e.p.said[text]++
	}
	return nil
}

// kind is an error without what differs from terminal to terminal.
func kind(text string) string {
	f := strings.Fields(text)
	for i, w := range f {
		if strings.ContainsAny(w, "0123456789") {
			f[i] = "#"
		}
	}
	return strings.Join(f, " ")
}
