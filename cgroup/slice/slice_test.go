package slice

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// tree is a folder that looks like a machine's: name: content; "name/" is a folder,
// "-> target" a link.
func tree(t *testing.T, files ...string) Tree {
	t.Helper()
	root := t.TempDir()
	for _, f := range files {
		name, text, _ := strings.Cut(f, ": ")
		at := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		switch target, link := strings.CutPrefix(text, "-> "); {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o755)
		case link:
			err = os.Symlink(target, at)
		default:
			err = os.WriteFile(at, []byte(text+"\n"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return Tree{root}
}

const cg = "sys/fs/cgroup/"

// unified is a machine whose kernel has made the slice's files already.
func unified(more ...string) []string {
	return append([]string{
		cg + "cgroup.controllers: cpuset cpu io memory pids", cg + "cgroup.subtree_control: ",
		cg + "posd.slice/cgroup.controllers: cpu memory pids", cg + "posd.slice/cgroup.procs: ",
		cg + "posd.slice/cpu.max: max 100000", cg + "posd.slice/cpu.max.burst: 0",
		cg + "posd.slice/memory.high: max", cg + "posd.slice/memory.max: max",
		cg + "posd.slice/memory.swap.max: max", cg + "posd.slice/pids.max: max",
	}, more...)
}

func TestApplySetsAndReadsBack(t *testing.T) {
	s := Slice{tree(t, unified()...), Name}
	rows, err := s.Compare(Default())
	if err != nil || differs(rows) == nil {
		t.Fatalf("a slice without limits is taken for one with them: %v %v", rows, err)
	}
	rows, err = s.Apply(Default())
	if err != nil || len(rows) != 6 {
		t.Fatal(rows, err)
	}
	for file, want := range map[string]string{"cpu.max": "10000 100000", "cpu.max.burst": "10000", "memory.high": "29360128",
		"memory.max": "33554432", "memory.swap.max": "0", "pids.max": "64"} {
		if got, _, _ := s.text(cg + "posd.slice/" + file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	if got, _, _ := s.text(cg + "cgroup.subtree_control"); got != "+cpu +memory +pids" {
		t.Errorf("controllers handed down: %q", got)
	}
	for _, r := range rows {
		if r.State != InForce {
			t.Errorf("%+v", r)
		}
	}
	// Other limits, and none.
	if _, err := s.Apply(Limits{CPU: -1, Period: 100_000, MemoryHigh: -1, MemoryMax: -1, SwapMax: -1, Tasks: -1}); err != nil {
		t.Error(err)
	}
	if got, _, _ := s.text(cg + "posd.slice/memory.max"); got != "max" {
		t.Errorf("memory.max is %q without a limit", got)
	}
}

// A nil error of a write proves nothing: these are the ways in which limits are not
// in force, and each must be seen.
func TestApplySeesWhatIsNotInForce(t *testing.T) {
	swap := func(file, with string) []string {
		var out []string
		for _, f := range unified() {
			if name, _, _ := strings.Cut(f, ": "); name != cg+"posd.slice/"+file {
				out = append(out, f)
			}
		}
		if with != "" {
			out = append(out, cg+"posd.slice/"+file+": "+with)
		}
		return out
	}
	for _, c := range []struct {
		name  string
		files []string
		err   error
		want  string
	}{
		{"a write that goes nowhere", swap("memory.max", "-> /dev/null"), ErrDiffers, `memory.max is "", wanted "33554432"`},
		{"a burst that goes nowhere", swap("cpu.max.burst", "-> /dev/null"), ErrDiffers, "cpu.max.burst"},
		{"a controller not handed down", swap("cgroup.controllers", "cpu pids"), ErrController, "memory was not handed down"},
		{"a controller that the kernel lacks", []string{cg + "cgroup.controllers: cpu pids", cg + "cgroup.subtree_control: "}, ErrController, "cgroup_enable=memory"},
		{"hybrid", []string{cg + "unified/cgroup.controllers: ", cg + "memory/"}, ErrMode, "it is hybrid"},
		{"v1", []string{cg + "memory/"}, ErrMode, "cgroup v1: boot with systemd.unified_cgroup_hierarchy=1"},
		{"not mounted", []string{"proc/filesystems: nodev\tcgroup2"}, ErrMode, "mount -t cgroup2 none"},
		{"not in the kernel", []string{"proc/filesystems: nodev\tproc"}, ErrMode, "CONFIG_MEMCG"},
		{"systemd", unified("run/systemd/system/"), ErrSystemd, "systemctl edit posd.slice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Slice{tree(t, c.files...), Name}.Apply(Default())
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %v with %q", err, c.err, c.want)
			}
		})
	}
	// What a kernel may lack is no error, and is said.
	for _, file := range []string{"cpu.max.burst", "memory.swap.max"} {
		rows, err := Slice{tree(t, swap(file, "")...), Name}.Apply(Default())
		if err != nil {
			t.Errorf("without %s: %v", file, err)
		}
		for _, r := range rows {
			if r.File == file && (r.State != Without || r.Why == "") {
				t.Errorf("%+v", r)
			}
		}
	}
}

func TestSystemdOwnsButShows(t *testing.T) {
	s := Slice{tree(t, unified("run/systemd/system/")...), Name}
	if err := s.Enter(1, Scope); !errors.Is(err, ErrSystemd) {
		t.Error(err)
	}
	if rows, err := s.Compare(Default()); err != nil || len(rows) != 6 {
		t.Error(rows, err)
	}
	if groups, _, err := s.Up("posd.slice"); err != nil || len(groups) != 2 {
		t.Error(groups, err)
	}
	if _, err := (Slice{s.Tree, "other.slice"}).Compare(Default()); !errors.Is(err, ErrNoSlice) {
		t.Error(err)
	}
}

func TestEnterLooksWhereTheProcessIs(t *testing.T) {
	s := Slice{tree(t, unified(cg+"posd.slice/posd.scope/cgroup.procs: ", "proc/7/cgroup: 0::/posd.slice/posd.scope")...), Name}
	if err := s.Enter(7, Scope); err != nil {
		t.Fatal(err)
	}
	if pids, err := s.Processes(); err != nil || !reflect.DeepEqual(pids, []int{7}) {
		t.Error(pids, err)
	}
	// The write went well, and the process is elsewhere all the same.
	if err := os.WriteFile(s.file("proc/7/cgroup"), []byte("0::/\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Enter(7, Scope); !errors.Is(err, ErrDiffers) {
		t.Errorf("a process that did not move is believed to have moved: %v", err)
	}
	if err := s.Enter(7, "../x"); err == nil {
		t.Error("a scope outside of the slice is taken")
	}
}

func TestUpFindsTheLeast(t *testing.T) {
	tr := tree(t, unified(
		cg+"shop.slice/cpu.max: 20000 100000", cg+"shop.slice/memory.max: 16777216", cg+"shop.slice/pids.max: 200",
		cg+"shop.slice/till.slice/cpu.max: 5000 10000", cg+"shop.slice/till.slice/memory.max: 33554432", cg+"shop.slice/till.slice/pids.max: 64",
		cg+"shop.slice/cpu.max.burst: 10000", cg+"shop.slice/till.slice/cpu.max.burst: 0",
		cg+"shop.slice/till.slice/memory.events: low 0\nhigh 3\nmax 1\noom 1\noom_kill 1",
		cg+"shop.slice/till.slice/memory.current: 1234", "proc/7/cgroup: 0::/shop.slice/till.slice")...)
	group, err := tr.GroupOf(7)
	if err != nil || group != "/shop.slice/till.slice" {
		t.Fatal(group, err)
	}
	groups, hidden, err := tr.Up(group)
	if err != nil || hidden != "" || len(groups) != 3 {
		t.Fatal(groups, hidden, err)
	}
	if u := groups[0].Usage; u["memory.events oom_kill"] != 1 || u["memory.current"] != 1234 {
		t.Errorf("usage %v", u)
	}
	want := []Effective{
		{"cpu.max", "20000 100000", "/shop.slice"}, {"cpu.max.burst", "10000", "/shop.slice"}, {"memory.high", "max", ""},
		{"memory.max", "16777216", "/shop.slice"}, {"memory.swap.max", "max", ""}, {"pids.max", "64", "/shop.slice/till.slice"},
	}
	if got := Least(groups); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if _, _, err := tr.Up("/none.slice"); !errors.Is(err, ErrNoSlice) {
		t.Error(err)
	}
	if _, _, err := tr.Up("/../x"); !errors.Is(err, ErrNoSlice) {
		t.Error(err)
	}
	if err := os.WriteFile(tr.file(cg+"cgroup.type"), []byte("domain\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, hidden, _ := tr.Up(group); !strings.Contains(hidden, "container") {
		t.Errorf("a container's top is taken for the machine's: %q", hidden)
	}
}

func TestParse(t *testing.T) {
	for s, want := range map[string]int64{"10%": 10_000, "2.5%": 2_500, "200%": 200_000, "max": -1} {
		if got, err := ParseCPU(s); err != nil || got != want {
			t.Errorf("ParseCPU(%q) = %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "10", "0%", "0.5%", "NaN%", "-3%", "x%"} {
		if got, err := ParseCPU(s); err == nil {
			t.Errorf("ParseCPU(%q) = %d", s, got)
		}
	}
	for s, want := range map[string]int64{"32M": 32 << 20, "32MiB": 32 << 20, "4096": 4096, "1G": 1 << 30, "0": 0, "max": -1} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "M", "-1", "32X", "32MM", "9999999999G", "1.5M"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d", s, got)
		}
	}
	for _, bad := range []func(*Limits){
		func(l *Limits) { l.Burst = 10_001 }, func(l *Limits) { l.MemoryHigh = 33 << 20 }, func(l *Limits) { l.MemoryMax = 1 << 20 },
		func(l *Limits) { l.Tasks = 2 }, func(l *Limits) { l.CPU = 10 }, func(l *Limits) { l.Period = 0 }, func(l *Limits) { l.CPU = -1 },
	} {
		l := Default()
		if bad(&l); l.Check() == nil {
			t.Errorf("%+v is taken", l)
		}
	}
	if Default().Check() != nil {
		t.Error(Default().Check())
	}
	for _, name := range []string{"", "/", "../x", "a/../b", "/sys/fs/cgroup/x"} {
		if s, err := At(name); err == nil {
			t.Errorf("At(%q) = %+v", name, s)
		}
	}
	if s, err := At("shop.slice/posd.slice"); err != nil || s.Path() != "/shop.slice/posd.slice" {
		t.Error(s, err)
	}
}

// The kernel rounds bytes down to its pages; nothing else passes for the same.
func TestSame(t *testing.T) {
	page := int64(os.Getpagesize())
	l := limit{want: number(10*page + 1), bytes: true}
	for found, want := range map[string]bool{number(10 * page): true, number(10*page + 1): true, number(9 * page): false, number(11 * page): false, "max": false, "": false} {
		if l.same(found) != want {
			t.Errorf("%q for %q: %v", found, l.want, !want)
		}
	}
	if (limit{want: "10000 100000"}).same("10000 1000000") {
		t.Error("another period is taken")
	}
}
