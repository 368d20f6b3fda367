package slice

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2"
)

// Slice is a group that limits what is in it.
type Slice struct {
	Tree
	Name string // "posd.slice", or a path below the top: "shop.slice/posd.slice"
}

// At names a slice of this machine.
func At(name string) (Slice, error) {
	clean := path.Clean("/" + name)
	if clean == "/" || strings.Trim(name, "/") != clean[1:] || strings.HasPrefix(clean, "/sys/") {
		return Slice{}, fmt.Errorf("%q is no name of a slice: give one such as %q", name, Name)
	}
	return Slice{Tree{"/"}, clean[1:]}, nil
}

// Path of the slice below the mount point.
func (s Slice) Path() string { return "/" + s.Name }

func (s Slice) dir() string { return path.Join(mountPoint, s.Name) }

// States of a row.
const (
	InForce = "in force"
	Other   = "differs"
	Missing = "missing"
	Without = "not here" // optional, and this kernel does not have it
)

// Row is one limit, wanted and found.
type Row struct {
	File  string `json:"file"`
	Want  string `json:"want"`
	Found string `json:"found"`
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
}

// Compare reads each file of the slice and compares it. The error is about files
// that could not be read; differing limits are in the rows.
func (s Slice) Compare(want Limits) (rows []Row, err error) {
	if err := s.Unified(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.file(s.dir())); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNoSlice, s.dir())
	}
	var errs []error
	for _, l := range want.list() {
		text, ok, err := s.text(path.Join(s.dir(), l.file))
		r := Row{File: l.file, Want: l.want, Found: text, State: Other}
		switch {
		case err != nil:
			errs = append(errs, err)
			r.State, r.Why = Missing, err.Error()
		case ok && l.same(text):
			r.State = InForce
		case ok:
			r.Why = "something else has set it, or the kernel did not take it"
		case l.optional:
			r.State, r.Why = Without, l.why
		default:
			r.State, r.Why = Missing, "the group above does not hand down the controller "+l.controller
		}
		rows = append(rows, r)
	}
	return rows, errors.Join(errs...)
}

// differs is what keeps rows from being what was asked for.
func differs(rows []Row) error {
	var bad []string
	for _, r := range rows {
		if r.State == Other || r.State == Missing {
			bad = append(bad, fmt.Sprintf("%s is %q, wanted %q (%s)", r.File, r.Found, r.Want, r.Why))
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("%w: %s", ErrDiffers, strings.Join(bad, "; "))
	}
	return nil
}

// Apply makes the slice where it is missing, sets the limits, and reads them back.
// A nil error means that each of them is in force in the slice; a group above may
// have a smaller one, which Least shows. Errors: ErrMode, ErrSystemd, ErrController,
// ErrDiffers, fs.ErrPermission.
func (s Slice) Apply(want Limits) (rows []Row, err error) {
	if err := want.Check(); err != nil {
		return nil, err
	}
	if err := s.Unified(); err != nil {
		return nil, err
	}
	if s.Systemd() {
		return nil, fmt.Errorf("%w: set them in the unit (systemctl edit %s) and run systemctl daemon-reload; nothing was changed", ErrSystemd, path.Base(s.Name))
	}
	if err := s.offered(); err != nil {
		return nil, err
	}
	group, err := s.make()
	if err != nil {
		return nil, err
	}
	if err := s.set(group, want); err != nil {
		return nil, err
	}
	rows, err = s.Compare(want)
	if err == nil {
		err = differs(rows)
	}
	return rows, err
}

// offered checks that the top has the controllers, which needs no right to write.
func (s Slice) offered() error {
	text, _, err := s.text(mountPoint + "/cgroup.controllers")
	if err != nil {
		return err
	}
	have := strings.Fields(text)
	for _, c := range []string{"cpu", "memory", "pids"} {
		if slices.Contains(have, c) {
			continue
		}
		remedy := "build the kernel with it (CONFIG_CFS_BANDWIDTH, CONFIG_MEMCG, CONFIG_CGROUP_PIDS)"
		if c == "memory" {
			remedy += "; some boards switch it off: add cgroup_enable=memory to the kernel's command line"
		}
		if s.hidden() != "" {
			remedy = "this is a container: the machine has to hand it down"
		}
		return fmt.Errorf("%w: %s is not among %q of %s: %s", ErrController, c, text, mountPoint, remedy)
	}
	return nil
}

// make creates the group and hands it the controllers. cgroup2 forgets an error of
// one level when the next one works, so each level is looked at afterwards.
func (s Slice) make() (*cgroup2.Manager, error) {
	doing := "make " + s.dir()
	group, err := cgroup2.NewManager(s.file(mountPoint), s.Path(), &cgroup2.Resources{CPU: &cgroup2.CPU{}, Memory: &cgroup2.Memory{}, Pids: &cgroup2.Pids{}})
	if err != nil {
		return nil, explain(doing, path.Join(path.Dir(s.dir()), "cgroup.subtree_control"), err)
	}
	have, _, err := s.text(path.Join(s.dir(), "cgroup.controllers"))
	if err != nil {
		return nil, explain(doing, "", err)
	}
	for _, c := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(strings.Fields(have), c) {
			return nil, fmt.Errorf("%w: %s was not handed down to %s, which has %q", ErrController, c, s.dir(), have)
		}
	}
	return group, nil
}

// set writes the limits, the memory's last: a process that is in the slice already
// and has more may die of it.
func (s Slice) set(group *cgroup2.Manager, want Limits) error {
	doing := "set the limits of " + s.dir()
	// A burst above the quota is refused, in either order of the two.
	if s.has("cpu.max.burst") {
		if err := s.write("cpu.max.burst", "0"); err != nil {
			return explain(doing, "", err)
		}
	}
	r := cgroup2.Resources{CPU: &cgroup2.CPU{Max: cgroup2.CPUMax(number(want.CPU) + " " + number(want.Period))},
		Memory: &cgroup2.Memory{High: limited(want.MemoryHigh), Max: limited(want.MemoryMax)}, Pids: &cgroup2.Pids{Max: want.Tasks}}
	if s.has("memory.swap.max") { // the library would try to create it
		r.Memory.Swap = limited(want.SwapMax)
	}
	if err := group.Update(&r); err != nil {
		return explain(doing, "", err)
	}
	for _, l := range want.list() {
		// What cgroup2 cannot say: "max" bytes, and the burst.
		if s.has(l.file) && (l.want == "max" && l.controller == "memory" || l.file == "cpu.max.burst") {
			if err := s.write(l.file, l.want); err != nil {
				return explain(doing, "", err)
			}
		}
	}
	return nil
}

func limited(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

func (s Slice) has(file string) bool {
	_, err := os.Stat(s.file(path.Join(s.dir(), file)))
	return err == nil
}

// write changes a file that exists; it creates none.
func (s Slice) write(file, text string) error {
	f, err := os.OpenFile(s.file(path.Join(s.dir(), file)), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Enter moves a process into a scope below the slice, and looks whether it is there.
func (s Slice) Enter(pid int, scope string) error {
	if s.Systemd() {
		return fmt.Errorf("%w: start posd as a unit (systemctl start posd), or with systemd-run --slice=%s --scope", ErrSystemd, path.Base(s.Name))
	}
	if scope == "" || strings.Contains(scope, "/") || strings.HasPrefix(scope, ".") {
		return fmt.Errorf("%q is no name of a scope: give one such as %q", scope, Scope)
	}
	doing := fmt.Sprintf("move process %d into %s/%s", pid, s.dir(), scope)
	group, err := cgroup2.Load(s.Path(), cgroup2.WithMountpoint(s.file(mountPoint)))
	if err != nil {
		return explain(doing, "", err)
	}
	child, err := group.NewChild(scope, nil)
	if err != nil {
		return explain(doing, "", err)
	}
	if err := child.AddProc(uint64(pid)); err != nil {
		return explain(doing, "", err)
	}
	want := path.Join(s.Path(), scope)
	if got, err := s.GroupOf(pid); err != nil || got != want {
		return fmt.Errorf("%s: the kernel says that it is in %q: %w", doing, got, errors.Join(err, ErrDiffers))
	}
	return nil
}

// Remove removes the slice and its scopes. It fails where processes are in them.
func (s Slice) Remove() error {
	dir := s.file(s.dir())
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}

// Processes are the processes in the slice and in its scopes.
func (s Slice) Processes() ([]int, error) {
	var out []int
	err := filepath.WalkDir(s.file(s.dir()), func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "cgroup.procs" {
			return err
		}
		b, err := os.ReadFile(at)
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				out = append(out, pid)
			}
		}
		return err
	})
	return out, err
}
