package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"posd/cgroup"
	"posd/cgroup/slice"
)

// slice makes, enters and shows the group that limits posd.
func (t *tool) slice(args []string) error {
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	switch verb {
	case "apply":
		return t.sliceApply(args[1:])
	case "exec":
		return t.sliceExec(args[1:])
	case "show":
		return t.sliceShow(args[1:])
	}
	return fmt.Errorf("%w: slice apply, slice exec -- PROGRAM ARGUMENTS, or slice show", errUsage)
}

// limitFlags are the values that apply and exec take.
type limitFlags struct {
	name, cpu, burst, memory, high, swap string
	tasks                                int64
}

func (t *tool) limitFlags(verb string) (*flag.FlagSet, *limitFlags) {
	fs, l := t.flags("slice "+verb), &limitFlags{}
	fs.StringVar(&l.name, "slice", slice.Name, "`name` of the slice, or its path below /sys/fs/cgroup")
	fs.StringVar(&l.cpu, "cpu", "10%", `share of one core, or "max"`)
	fs.StringVar(&l.burst, "burst", "", "unused `share` that one period may have more; default: as -cpu, 0% is none")
	fs.StringVar(&l.memory, "memory", "32M", `bytes beyond which a process is killed, or "max"`)
	fs.StringVar(&l.high, "memory-high", "", "bytes beyond which processes are slowed down; default 7/8 of -memory")
	fs.StringVar(&l.swap, "swap", "0", `bytes that may be swapped out, or "max"`)
	fs.Int64Var(&l.tasks, "tasks", slice.Default().Tasks, "processes and threads; -1 is no limit")
	return fs, l
}

// limits turns the flags into limits.
func (l *limitFlags) limits() (want slice.Limits, err error) {
	want = slice.Default()
	want.Tasks = l.tasks
	var errs [4]error
	want.CPU, errs[0] = slice.ParseCPU(l.cpu)
	want.Burst = max(0, want.CPU)
	if l.burst == "0%" {
		want.Burst = 0
	} else if l.burst != "" {
		want.Burst, errs[1] = slice.ParseCPU(l.burst)
	}
	want.MemoryMax, errs[2] = slice.ParseSize(l.memory)
	want.MemoryHigh = want.MemoryMax
	if want.MemoryMax > 0 {
		want.MemoryHigh = want.MemoryMax / 8 * 7
	}
	if l.high != "" {
		want.MemoryHigh, errs[3] = slice.ParseSize(l.high)
	}
	var swap error
	want.SwapMax, swap = slice.ParseSize(l.swap)
	if err := errors.Join(errors.Join(errs[:]...), swap); err != nil {
		return want, fmt.Errorf("%w: %w", errUsage, err)
	}
	if err := want.Check(); err != nil {
		return want, fmt.Errorf("%w: %w", errUsage, err)
	}
	return want, nil
}

func (l *limitFlags) apply() (s slice.Slice, rows []slice.Row, err error) {
	want, err := l.limits()
	if err != nil {
		return s, nil, err
	}
	if s, err = slice.At(l.name); err != nil {
		return s, nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	rows, err = s.Apply(want)
	return s, rows, err
}

func (t *tool) sliceApply(args []string) error {
	fs, l := t.limitFlags("apply")
	asJSON := fs.Bool("json", false, "print the limits as JSON")
	if _, err := t.parse(fs, args); err != nil {
		return err
	}
	s, rows, err := l.apply()
	if len(rows) > 0 { // also where some are not in force
		err = errors.Join(err, t.printRows(s, rows, *asJSON))
	}
	return err
}

func (t *tool) printRows(s slice.Slice, rows []slice.Row, asJSON bool) error {
	if asJSON {
		return t.printJSON(struct {
			V      int         `json:"v"`
			Slice  string      `json:"slice"`
			Limits []slice.Row `json:"limits"`
		}{1, s.Path(), rows})
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\twanted\tfound\t\n", s.Path())
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.File, r.Want, r.Found, strings.TrimSuffix(r.State+": "+r.Why, ": "))
	}
	return w.Flush()
}

func (t *tool) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = t.out.Write(append(b, '\n'))
	}
	return err
}

// sliceExec becomes another program, within the limits.
func (t *tool) sliceExec(args []string) error {
	fs, l := t.limitFlags("exec")
	scope := fs.String("scope", slice.Scope, "`name` of the child of the slice that the program runs in")
	as := fs.String("user", "", "run the program as this `user`, with its groups")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if fs.NArg() == 0 {
		return fmt.Errorf("%w: slice exec needs a program: posctl slice exec -- /usr/bin/posd --config FILE", errUsage)
	}
	// What can be refused is refused before anything changes.
	program, err := exec.LookPath(fs.Arg(0))
	if err != nil {
		return err
	}
	who, err := account(*as)
	if err != nil {
		return err
	}
	s, _, err := l.apply()
	if err != nil {
		return err
	}
	if err := s.Enter(os.Getpid(), *scope); err != nil {
		return err
	}
	if err := who.become(); err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", program, unix.Exec(program, fs.Args(), os.Environ()))
}

// identity is who a program runs as; the zero value is the caller.
type identity struct {
	name     string
	uid, gid int
	groups   []int
}

func account(name string) (who identity, err error) {
	if name == "" {
		return who, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return who, err
	}
	who.name = name
	ids, err := u.GroupIds()
	if err != nil {
		return who, err
	}
	var errs [2]error
	who.uid, errs[0] = strconv.Atoi(u.Uid)
	who.gid, errs[1] = strconv.Atoi(u.Gid)
	for _, id := range ids {
		n, err := strconv.Atoi(id)
		if err != nil {
			return who, err
		}
		who.groups = append(who.groups, n)
	}
	return who, errors.Join(errs[:]...)
}

func (who identity) become() error {
	if who.name == "" {
		return nil
	}
	err := syscall.Setgroups(who.groups)
	if err == nil {
		err = syscall.Setgid(who.gid)
	}
	if err == nil {
		err = syscall.Setuid(who.uid)
	}
	if err != nil {
		return fmt.Errorf("become user %s: %w", who.name, err)
	}
	return nil
}

// sliceView is what slice show prints.
type sliceView struct {
	V         int               `json:"v"`
	Of        string            `json:"of"` // "process 123", "posd.slice"
	Mode      string            `json:"mode"`
	Systemd   bool              `json:"systemd"`
	Effective []slice.Effective `json:"effective,omitempty"`
	Groups    []slice.Group     `json:"groups,omitempty"` // the process's own first
	Hidden    string            `json:"hidden,omitempty"`
	Note      string            `json:"note,omitempty"`
}

func (t *tool) sliceShow(args []string) error {
	fs := t.flags("slice show")
	name := fs.String("slice", "", "`name` of a slice; default: the groups of the running posd, else "+slice.Name)
	pid := fs.Int("pid", 0, "show the groups of this `process`")
	asJSON := fs.Bool("json", false, "print as JSON")
	if _, err := t.parse(fs, args); err != nil {
		return err
	}
	v, err := t.viewSlice(*name, *pid)
	if err != nil {
		return err
	}
	if *asJSON {
		return t.printJSON(v)
	}
	return v.print(t)
}

// viewSlice looks at a slice by name, at a process, or at the running posd.
func (t *tool) viewSlice(name string, pid int) (v sliceView, err error) {
	machine := slice.Tree{Root: "/"}
	v = sliceView{V: 1, Mode: "v2", Systemd: machine.Systemd()}
	if name == "" && pid == 0 {
		if pid, v.Note = t.posdPID(); pid == 0 {
			name = slice.Name
		}
	}
	if err := machine.Unified(); err != nil {
		l, read := cgroup.Read("/")
		v.Of, v.Mode = "posctl itself", l.Mode
		v.Note = strings.TrimPrefix(v.Note+"; "+err.Error(), "; ") + "; only the limits of posctl itself can be told: " + l.String()
		return v, read
	}
	group := "/" + strings.Trim(name, "/")
	v.Of = group[1:]
	if pid != 0 {
		v.Of = fmt.Sprintf("process %d", pid)
		if group, err = machine.GroupOf(pid); err != nil {
			return v, err
		}
	}
	if v.Groups, v.Hidden, err = machine.Up(group); err != nil {
		return v, err
	}
	v.Effective = slice.Least(v.Groups)
	return v, nil
}

// posdPID is the process that holds the journal, or 0 and why there is none.
func (t *tool) posdPID() (pid int, why string) {
	c, err := t.load()
	if err != nil {
		return 0, "posd is not looked for: " + err.Error()
	}
	return lockHolder(filepath.Join(c.Data.Dir, "journal"))
}

// lockHolder is the process that holds the lock of a journal. It writes its number
// there; the lock itself is the kernel's.
func lockHolder(dir string) (pid int, why string) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "posd is not running"
	}
	if err != nil {
		return 0, err.Error()
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		return 0, "posd is not running"
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, err.Error()
	}
	b := make([]byte, 64)
	n, _ := f.Read(b)
	if _, err := fmt.Sscan(string(b[:n]), &pid); err != nil || pid <= 0 {
		return 0, "somebody holds " + f.Name() + ", and does not say who"
	}
	return pid, ""
}

func (v sliceView) print(t *tool) error {
	fmt.Fprintf(t.out, "limits of    %s, cgroup %s\n", v.Of, v.Mode)
	if v.Systemd {
		fmt.Fprintln(t.out, "owner        systemd: change them in the unit (systemctl edit posd.slice)")
	}
	for _, x := range []string{v.Note, v.Hidden} {
		if x != "" {
			fmt.Fprintf(t.out, "note         %s\n", x)
		}
	}
	if len(v.Groups) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nin force\t\tset by")
	for _, e := range v.Effective {
		by := e.Path
		if by == "" {
			by = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", e.File, e.Value, by)
	}
	fmt.Fprintln(w)
	columns := []string{"cpu.max", "cpu.max.burst", "memory.high", "memory.max", "memory.swap.max", "pids.max"}
	fmt.Fprintf(w, "group\t%s\n", strings.Join(columns, "\t"))
	for _, g := range v.Groups {
		fmt.Fprint(w, g.Path)
		for _, c := range columns {
			text, ok := g.Limits[c]
			if !ok {
				text = "-"
			}
			fmt.Fprint(w, "\t", text)
		}
		fmt.Fprintln(w)
	}
	uses := []string{"memory.current", "pids.current", "cpu.stat nr_periods", "cpu.stat nr_throttled", "cpu.stat throttled_usec", "memory.events high", "memory.events max", "memory.events oom_kill"}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "group\tmemory\ttasks\tperiods\tstopped\tstopped µs\thigh\tmax\tkilled")
	for _, g := range v.Groups {
		fmt.Fprint(w, g.Path)
		for _, u := range uses {
			text := "-"
			if n, ok := g.Usage[u]; ok {
				text = strconv.FormatInt(n, 10)
			}
			fmt.Fprint(w, "\t", text)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
