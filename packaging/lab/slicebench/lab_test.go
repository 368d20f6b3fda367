package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"posd/packaging/lab/guest"
	"posd/packaging/lab/slicebench/load"
	"posd/packaging/lab/slicebench/rig"
)

// labShift makes a slow core: 4 ns for an instruction.
const labShift = 2

// lab is a till in its slice, in a guest, with head office beside it.
type lab struct {
	*box
	t     *testing.T
	ctx   context.Context
	till  *rig.Terminal
	token string // of head office
	acks  []load.Ack
	n     int
}

// needLab boots a till, or leaves the test out where it was not asked for.
func needLab(t *testing.T) *lab {
	t.Helper()
	if os.Getenv("POSD_SLICE") == "" {
		t.Skip("boots a guest: make test-slice, make lab-neighbours")
	}
	for _, name := range []string{"qemu-system-aarch64", "mke2fs", "apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	t.Cleanup(cancel)
	l := &lab{t: t, ctx: ctx}
	must := l.must
	root, err := filepath.Abs("../../..")
	must(err)
	t.Chdir(root)
	kernel, err := guest.Kernel(ctx, filepath.Join(root, ".tools/guest-kernel"))
	must(err)
	work := t.TempDir()
	for name, pkg := range map[string]string{"neighbour": "./packaging/lab/slicebench/neighbour", "poshub": "./cmd/poshub", "posd": "./cmd/posd", "posctl": "./cmd/posctl"} {
		must(crossBuild(ctx, filepath.Join(work, name), pkg))
	}
	_, err = rig.Output(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", work+"/native/", "./cmd/posctl")
	must(err)
	l.till, err = rig.MakeTerminal(ctx, rig.Programs{Posctl: work + "/native/posctl"}, work+"/till", "t1", "64KiB", 0)
	must(err)
	must(stage(work+"/tree", map[string]string{"bin/posd": work + "/posd", "bin/posctl": work + "/posctl", "till": l.till.Dir}))
	must(image(ctx, work+"/disk", work+"/tree", 64))
	l.box, err = boot(ctx, kernel, work, work+"/disk", labShift, guest.File{Name: "bin/poshub", Mode: 0o755, Path: work + "/poshub"})
	must(err)
	t.Cleanup(func() { l.m.Kill() })
	_, err = l.a.Start(ctx, office("poshub", "/bin/poshub", "serve", "--auth", "token", "--data", "/tmp/hub",
		"--listen", fmt.Sprint("127.0.0.1:", hubPort), "--nats", fmt.Sprint("127.0.0.1:", hubNATS)))
	must(err)
	l.token = strings.TrimSpace(l.in("tokens", "/tmp/hub"))
	p := rig.Place{Data: "/data/till", Listen: fmt.Sprint("127.0.0.1:", webPort), Socket: "/run/posd.sock", Segment: "64KiB",
		Hub: fmt.Sprint("127.0.0.1:", hubNATS), HubToken: "/tmp/hub/nats.token"}
	must(l.a.WriteFile(ctx, "/run/posd.toml", []byte(p.Config("t1")), 0o600))
	_, err = l.a.Start(ctx, guest.Program{Name: "posd", Args: inSlice(limited, 32, "/data/bin/posd", "--config", "/run/posd.toml"), Restart: true})
	must(err)
	l.in("wait", fmt.Sprintf("http://127.0.0.1:%d/readyz", webPort))
	return l
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err == nil {
		return
	}
	if l.box != nil {
		err = fmt.Errorf("%w\n%w", err, l.logs(context.WithoutCancel(l.ctx), "posd"))
	}
	l.t.Fatal(err)
}

// in runs the lab's own program in the guest.
func (l *lab) in(args ...string) string {
	l.t.Helper()
	out, err := l.run(l.ctx, append([]string{tool}, args...)...)
	l.must(err)
	return string(out)
}

// trouble is a program that runs beside posd.
type trouble struct {
	inside bool // in the same slice
	args   []string
	score  string // oom_score_adj
}

// ends is how the troubles of one scene ended.
type ends []guest.Exit

// sell sells two a second for so many seconds, with troubles from the third second on.
// The front end repeats a sale until it is answered.
func (l *lab) sell(seconds int, troubles ...trouble) (load.Sold, ends) {
	l.t.Helper()
	l.n++
	var names []string
	for i, tr := range troubles {
		name := fmt.Sprint("trouble-", l.n, "-", i)
		args := []string{tool, "after", "/run/selling", "3"}
		if tr.score != "" {
			args = append(args, tool, "as", tr.score)
		}
		p := guest.Program{Name: name, Args: append(args, tr.args...), Cgroup: "trouble.slice"}
		if tr.inside {
			p.Cgroup = "posd.slice/" + name
		}
		_, err := l.a.Start(l.ctx, p)
		l.must(err)
		names = append(names, name)
	}
	var sold load.Sold
	out := l.in("sell", "-token", l.till.Token, "-rate", "2", "-long", fmt.Sprint(seconds, "s"), "-prefix", fmt.Sprint("sale-", l.n),
		"-seed", strconv.Itoa(l.n), "-patience", "10m", "-started", "/run/selling", "-acks")
	l.must(json.Unmarshal([]byte(out), &sold))
	l.acks = append(l.acks, sold.Acks...)
	var e ends
	for i, name := range names {
		exit, err := l.a.Await(l.ctx, name)
		l.must(err)
		text, err := l.a.Log(l.ctx, name)
		l.must(err)
		l.t.Logf("%s: code %d, signal %d: %s", strings.Join(troubles[i].args, " "), exit.Code, exit.Signal, lastLine(text))
		e = append(e, exit)
	}
	l.t.Logf("%d sales acknowledged, p50 %v p99 %v, longest without one %.1f s; refused %v, without an answer %d",
		len(sold.Acks), sold.At(0.5), sold.At(0.99), sold.LongestS, sold.Refused, sold.Broken)
	if len(sold.Unclear) > 0 {
		l.t.Errorf("answers that are neither a sale nor a problem document: %q", sold.Unclear)
	}
	if len(sold.GivenUp) > 0 {
		l.t.Errorf("sales that were not taken in ten minutes: %q", sold.GivenUp)
	}
	return sold, e
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for _, line := range slices.Backward(lines) {
		if !strings.HasPrefix(line, "guest: ") {
			return line
		}
	}
	return ""
}

// settle demands that nothing is wrong any more and nothing is lost.
func (l *lab) settle() {
	l.t.Helper()
	sold, _ := l.sell(5)
	if len(sold.Refused) > 0 || sold.Broken > 0 || sold.Failed > 0 || len(sold.Acks) != 10 {
		l.t.Errorf("afterwards %d of 10 sales, %v refused, %d without an answer", len(sold.Acks), sold.Refused, sold.Broken)
	}
	last := l.acks[len(l.acks)-1].Seq
	l.in("drained", fmt.Sprint("http://127.0.0.1:", hubPort), l.token, "t1", fmt.Sprint(last))
	journal, ledger := l.sources()
	for _, err := range load.Compare(l.acks, journal, "the journal") {
		l.t.Error(err)
	}
	for _, err := range load.Compare(l.acks, ledger, "head office's ledger") {
		l.t.Error(err)
	}
}

// sources are the journal and the ledger, as text.
func (l *lab) sources() (journal, ledger []byte) {
	l.t.Helper()
	journal, err := l.run(l.ctx, "/data/bin/posctl", "dump", "-journal", "/data/till/journal")
	l.must(err)
	return journal, []byte(l.in("get", fmt.Sprintf("http://127.0.0.1:%d/v1/events?store=s1&terminal=t1", hubPort), l.token))
}

// plantLoss is the negative control: a source without one acknowledged sale, and one
// that has it twice, must be noticed.
func (l *lab) plantLoss() {
	l.t.Helper()
	journal, ledger := l.sources()
	victim := l.acks[len(l.acks)/2]
	for source, records := range map[string][]byte{"the journal": journal, "the ledger": ledger} {
		var without, twice []byte
		for line := range strings.Lines(string(records)) {
			if !strings.Contains(line, strconv.Quote(victim.Key)) {
				without = append(without, line...)
			} else {
				twice = append(twice, line...)
			}
			twice = append(twice, line...)
		}
		if errs := load.Compare(l.acks, without, source); len(errs) != 1 || !strings.Contains(errs[0].Error(), "LOST") {
			l.t.Errorf("a loss in %s was not noticed: %v", source, errs)
		}
		if errs := load.Compare(l.acks, twice, source); len(errs) != 1 || !strings.Contains(errs[0].Error(), "twice") {
			l.t.Errorf("a sale twice in %s was not noticed: %v", source, errs)
		}
	}
}

func (l *lab) counters() load.Counters {
	l.t.Helper()
	c, err := l.count(l.ctx)
	l.must(err)
	return c
}

// starts is how often posd has been started.
func (l *lab) starts() int {
	l.t.Helper()
	text, err := l.a.Log(l.ctx, "posd")
	l.must(err)
	return strings.Count(text, "msg=ready")
}
