package cgroup

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/containerd/cgroups/v3"
)

// tree writes files under a new root; a name that ends in / is a folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(full, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	v2Mount = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
	v1Mount = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
		"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n" +
		"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n" +
		"39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
	noLimitV1 = "9223372036854771712\n"
)

// short prints what Read found, in one line.
func short(l Limits) string {
	limit := func(x Limit) string {
		if x.Path == "" {
			return "-"
		}
		return fmt.Sprintf("%d@%s", x.Value, strings.TrimPrefix(x.Path, "/sys/fs/cgroup"))
	}
	cpu := "-"
	if l.CPU.Path != "" {
		cpu = fmt.Sprintf("%d%%@%s", l.CPU.Percent(), strings.TrimPrefix(l.CPU.Path, "/sys/fs/cgroup"))
	}
	return fmt.Sprintf("%s %s cpu=%s max=%s high=%s tasks=%s", l.Mode, l.Group, cpu, limit(l.MemoryMax), limit(l.MemoryHigh), limit(l.Tasks))
}

func TestRead(t *testing.T) {
	const c = "/sys/fs/cgroup/"
	for _, tc := range []struct {
		name   string
		files  map[string]string
		want   string
		hidden string // substring; empty: nothing is hidden
		err    string // substring; empty: no error
	}{
		{name: "v2, slice sets everything", files: map[string]string{
			"/proc/self/cgroup": "0::/posd.slice/posd.service\n", "/proc/self/mountinfo": v2Mount, c + "cgroup.controllers": "cpu memory pids",
			c + "posd.slice/cpu.max": "10000 100000\n", c + "posd.slice/memory.max": "33554432\n", c + "posd.slice/memory.high": "29360128\n",
			c + "posd.slice/pids.max": "64\n", c + "posd.slice/posd.service/cpu.max": "max 100000\n",
			c + "posd.slice/posd.service/memory.max": "max\n", c + "posd.slice/posd.service/memory.high": "max\n"},
			want: "v2 /posd.slice/posd.service cpu=10%@/posd.slice max=33554432@/posd.slice high=29360128@/posd.slice tasks=64@/posd.slice"},
		{name: "v2, the least of nested limits, each from another group", files: map[string]string{
			"/proc/self/cgroup": "0::/a/b/c\n", "/proc/self/mountinfo": v2Mount, c + "cgroup.controllers": "",
			c + "a/cpu.max": "50000 100000\n", c + "a/b/cpu.max": "20000 1000000\n", c + "a/b/c/cpu.max": "30000 100000\n",
			c + "a/memory.max": "1000\n", c + "a/b/memory.max": "3000\n", c + "a/b/c/memory.max": "2000\n",
			c + "a/memory.high": "max\n", c + "a/b/c/memory.high": "900\n"},
			want: "v2 /a/b/c cpu=2%@/a/b max=1000@/a high=900@/a/b/c tasks=-"},
		{name: "v2, no limit", files: map[string]string{
			"/proc/self/cgroup": "0::/user.slice\n", "/proc/self/mountinfo": v2Mount, c + "cgroup.controllers": "",
			c + "user.slice/cpu.max": "max 100000\n", c + "user.slice/memory.max": "max\n"},
			want: "v2 /user.slice cpu=- max=- high=- tasks=-"},
		{name: "v2, root group has no files", files: map[string]string{
			"/proc/self/cgroup": "0::/\n", "/proc/self/mountinfo": v2Mount, c + "cgroup.controllers": ""},
			want: "v2 / cpu=- max=- high=- tasks=-"},
		{name: "v2, no mountinfo: the usual place", files: map[string]string{
			"/proc/self/cgroup": "0::/s\n", c + "cgroup.controllers": "", c + "s/memory.max": "4096\n"},
			want: "v2 /s cpu=- max=4096@/s high=- tasks=-"},
		{name: "v2, cgroup namespace: limits on the visible root", files: map[string]string{
			"/proc/self/cgroup": "0::/\n", "/proc/self/mountinfo": strings.Replace(v2Mount, " / ", " /docker/abc ", 1),
			c + "cgroup.controllers": "", c + "memory.max": "4096\n"},
			want:   "v2 / cpu=- max=4096@ high=- tasks=-",
			hidden: "group / is outside of the part that is mounted"},
		{name: "v2, bind-mounted part", files: map[string]string{
			"/proc/self/cgroup": "0::/docker/abc/inner\n", "/proc/self/mountinfo": strings.Replace(v2Mount, " / ", " /docker/abc ", 1),
			c + "cgroup.controllers": "", c + "memory.max": "4096\n", c + "inner/memory.max": "8192\n"},
			want: "v2 /docker/abc/inner cpu=- max=4096@ high=- tasks=-", hidden: "only the part below /docker/abc is mounted"},
		{name: "v2, outside of the namespace", files: map[string]string{
			"/proc/self/cgroup": "0::/../other\n", "/proc/self/mountinfo": v2Mount, c + "cgroup.controllers": "", c + "other/memory.max": "1\n"},
			want: "v2 /../other cpu=- max=- high=- tasks=-", hidden: "limits above are not visible"},
		{name: "v2, own group is not visible, its parent is", files: map[string]string{
			"/proc/self/cgroup": "0::/posd.slice/gone (deleted)\n", "/proc/self/mountinfo": v2Mount, c + "cgroup.controllers": "",
			c + "posd.slice/memory.max": "33554432\n"},
			want: "v2 /posd.slice/gone cpu=- max=33554432@/posd.slice high=- tasks=-", hidden: "/posd.slice/gone is not visible"},
		{name: "v2, rubbish in one file leaves the others", files: map[string]string{
			"/proc/self/cgroup": "0::/s\n", "/proc/self/mountinfo": v2Mount, c + "cgroup.controllers": "",
			c + "s/cpu.max": "ten percent\n", c + "s/memory.max": "4096\n", c + "s/memory.high": "-5\n"},
			want: "v2 /s cpu=- max=4096@/s high=- tasks=-", err: `/sys/fs/cgroup/s/cpu.max: not a cpu quota: "ten percent"`},
		{name: "v1", files: map[string]string{
			"/proc/self/cgroup":                           "4:memory:/posd.slice/posd.service\n3:cpu,cpuacct:/posd.slice\n2:pids:/posd.slice\n1:name=systemd:/posd.slice\n",
			"/proc/self/mountinfo":                        v1Mount,
			c + "cpu,cpuacct/posd.slice/cpu.cfs_quota_us": "10000\n", c + "cpu,cpuacct/posd.slice/cpu.cfs_period_us": "100000\n",
			c + "cpu,cpuacct/cpu.cfs_quota_us": "-1\n", c + "memory/memory.limit_in_bytes": noLimitV1,
			c + "memory/posd.slice/memory.limit_in_bytes": "33554432\n", c + "memory/posd.slice/posd.service/memory.limit_in_bytes": noLimitV1,
			c + "pids/posd.slice/pids.max": "64\n"},
			want: "v1 /posd.slice/posd.service cpu=10%@/cpu,cpuacct/posd.slice max=33554432@/memory/posd.slice high=- tasks=64@/pids/posd.slice"},
		{name: "v1, no limit", files: map[string]string{
			"/proc/self/cgroup": "4:memory:/\n3:cpu,cpuacct:/\n", "/proc/self/mountinfo": v1Mount,
			c + "cpu,cpuacct/cpu.cfs_quota_us": "-1\n", c + "memory/memory.limit_in_bytes": "9223372036854710272\n"},
			want: "v1 / cpu=- max=- high=- tasks=-"},
		{name: "hybrid: controllers in v1, v2 for systemd", files: map[string]string{
			"/proc/self/cgroup":              "3:cpu,cpuacct:/s\n4:memory:/s\n0::/system.slice/s.service\n",
			"/proc/self/mountinfo":           v1Mount + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			c + "unified/cgroup.controllers": "", c + "unified/system.slice/s.service/cgroup.procs": "1\n",
			c + "cpu,cpuacct/s/cpu.cfs_quota_us": "25000\n", c + "cpu,cpuacct/s/cpu.cfs_period_us": "50000\n",
			c + "memory/s/memory.limit_in_bytes": "67108864\n"},
			want: "hybrid /system.slice/s.service cpu=50%@/cpu,cpuacct/s max=67108864@/memory/s high=- tasks=-"},
		{name: "hybrid: memory controller in v2", files: map[string]string{
			"/proc/self/cgroup":              "3:cpu,cpuacct:/\n0::/s\n",
			"/proc/self/mountinfo":           v1Mount + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			c + "unified/cgroup.controllers": "memory", c + "cpu,cpuacct/": "", c + "unified/s/memory.max": "5000\n", c + "unified/s/memory.high": "4000\n"},
			want: "hybrid /s cpu=- max=5000@/unified/s high=4000@/unified/s tasks=-"},
		{name: "no cgroups", files: map[string]string{"/proc/self/cgroup": "0::/\n"}, want: "none  cpu=- max=- high=- tasks=-"},
		{name: "no proc", files: map[string]string{c + "cgroup.controllers": ""}, want: "v2  cpu=- max=- high=- tasks=-", hidden: "is /proc mounted?"},
		{name: "rubbish in proc", files: map[string]string{"/proc/self/cgroup": "rubbish\n", c + "cgroup.controllers": ""},
			want: "v2  cpu=- max=- high=- tasks=-", err: `/proc/self/cgroup: not a cgroup line: "rubbish"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, err := Read(tree(t, tc.files))
			if got := short(l); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if (tc.hidden == "") != (l.Hidden == "") || !strings.Contains(l.Hidden, tc.hidden) {
				t.Errorf("hidden: %q, want %q", l.Hidden, tc.hidden)
			}
			if (tc.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
		})
	}
}

// The real machine: Read agrees with containerd about the mode, finds this process
// and reads without error.
func TestReadHere(t *testing.T) {
	l, err := Read("/")
	if err != nil {
		t.Fatal(err)
	}
	want := map[cgroups.CGMode]string{cgroups.Unified: "v2", cgroups.Hybrid: "hybrid", cgroups.Legacy: "v1", cgroups.Unavailable: "none"}
	if l.Mode != want[cgroups.Mode()] {
		t.Errorf("mode %s, containerd says %v", l.Mode, cgroups.Mode())
	}
	if l.Mode != "none" {
		if l.Group == "" {
			t.Error("own group not found")
		}
		if l.cpuDir == "" && l.memoryDir == "" {
			t.Errorf("no counters to read: %+v", l)
		}
	}
	if _, err := l.Usage(); err != nil {
		t.Error(err)
	}
	t.Log(l)
}

func TestUsage(t *testing.T) {
	const c = "/sys/fs/cgroup/"
	root := tree(t, map[string]string{
		"/proc/self/cgroup": "0::/posd.slice/posd.service\n", "/proc/self/mountinfo": v2Mount, c + "cgroup.controllers": "",
		c + "posd.slice/cpu.max": "10000 100000\n", c + "posd.slice/memory.max": "33554432\n", c + "posd.slice/memory.high": "29360128\n",
		// The slice was throttled; the service itself has no quota, hence no count.
		c + "posd.slice/cpu.stat":                 "usage_usec 5\nnr_periods 100\nnr_throttled 7\nthrottled_usec 12345\n",
		c + "posd.slice/posd.service/cpu.stat":    "usage_usec 5\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
		c + "posd.slice/memory.events":            "low 0\nhigh 3\nmax 2\noom 1\noom_kill 1\n",
		c + "posd.slice/memory.current":           "1048576\n",
		c + "posd.slice/posd.service/io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
		"/proc/pressure/cpu":                      "some avg10=1.00 avg60=0.00 avg300=0.00 total=77\n",
	})
	l, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Usage()
	want := Usage{Periods: 100, Throttled: 7, ThrottledMicros: 12345, MemoryCurrent: 1 << 20, MemoryHigh: 3, MemoryMax: 2, OOMKills: 1,
		CPUPressure: Pressure{SomeMicros: 77}, IOPressure: Pressure{11, 9}}
	if err != nil || got != want {
		t.Errorf("got  %+v %v\nwant %+v", got, err, want)
	}
	if err := os.WriteFile(filepath.Join(root, c, "posd.slice/cpu.stat"), []byte("nr_throttled many\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Usage(); err == nil || !strings.Contains(err.Error(), "not a counter") || got.MemoryMax != 2 {
		t.Errorf("rubbish in cpu.stat: %+v %v", got, err)
	}

	v1 := tree(t, map[string]string{
		"/proc/self/cgroup": "4:memory:/s\n3:cpu,cpuacct:/s\n", "/proc/self/mountinfo": v1Mount,
		c + "cpu,cpuacct/s/cpu.cfs_quota_us": "10000\n", c + "cpu,cpuacct/s/cpu.stat": "nr_periods 5\nnr_throttled 4\nthrottled_time 3000000\n",
		c + "memory/s/memory.limit_in_bytes": "33554432\n", c + "memory/s/memory.failcnt": "6\n", c + "memory/s/memory.usage_in_bytes": "4096\n",
		c + "memory/s/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"})
	if l, err = Read(v1); err != nil {
		t.Fatal(err)
	}
	want = Usage{Periods: 5, Throttled: 4, ThrottledMicros: 3000, MemoryCurrent: 4096, MemoryMax: 6, OOMKills: 2}
	if got, err := l.Usage(); err != nil || got != want {
		t.Errorf("v1: got  %+v %v\nwant %+v", got, err, want)
	}
}

func TestApply(t *testing.T) {
	oldProcs, oldLimit := runtime.GOMAXPROCS(0), debug.SetMemoryLimit(-1)
	defer func() { runtime.GOMAXPROCS(oldProcs); debug.SetMemoryLimit(oldLimit) }()
	slice := func(max, high int64) Limits {
		l := Limits{Mode: "v2", CPU: Quota{Micros: 10000, Period: 100000, Path: "/s"}}
		if max > 0 {
			l.MemoryMax = Limit{max, "/s"}
		}
		if high > 0 {
			l.MemoryHigh = Limit{high, "/s"}
		}
		return l
	}
	for _, tc := range []struct {
		name   string
		limits Limits
		memory int64
		env    map[string]string
		want   int64
		procs  int
		reason string
	}{
		{"the slice posd is made for", slice(32<<20, 28<<20), 20 << 20, nil, 20 << 20, 2, "as configured"},
		{"default", slice(0, 0), 0, nil, 20 << 20, 2, "as configured"},
		{"a smaller slice", slice(16<<20, 0), 20 << 20, nil, 10 << 20, 2, "5/8 of memory.max 16 MiB from /s"},
		{"memory.high decides", slice(32<<20, 14<<20), 20 << 20, nil, 10 << 20, 2, "5/7 of memory.high 14 MiB from /s"},
		{"far too small", slice(1<<20, 0), 20 << 20, nil, 4 << 20, 2, "too small for posd"},
		{"configured lower than the slice allows", slice(32<<20, 0), 12 << 20, nil, 12 << 20, 2, "as configured"},
		{"a huge limit does not overflow", slice(unlimited-1, 0), 20 << 20, nil, 20 << 20, 2, "as configured"},
		{"the user set both", slice(16<<20, 0), 20 << 20, map[string]string{"GOMAXPROCS": "3", "GOMEMLIMIT": "off"}, math.MaxInt64, 3, "GOMEMLIMIT in the environment says off"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			runtime.GOMAXPROCS(3)
			debug.SetMemoryLimit(math.MaxInt64)
			a := apply(tc.limits, tc.memory, func(name string) string { return tc.env[name] })
			if a.MemoryLimit != tc.want || debug.SetMemoryLimit(-1) != tc.want {
				t.Errorf("memory limit %d, in force %d, want %d", a.MemoryLimit, debug.SetMemoryLimit(-1), tc.want)
			}
			if a.GOMAXPROCS != tc.procs || runtime.GOMAXPROCS(0) != tc.procs {
				t.Errorf("GOMAXPROCS %d, in force %d, want %d", a.GOMAXPROCS, runtime.GOMAXPROCS(0), tc.procs)
			}
			if len(a.Reasons) != 2 || !strings.Contains(a.Reasons[1], tc.reason) {
				t.Errorf("reasons %q, want %q", a.Reasons, tc.reason)
			}
		})
	}
}

func TestDiffers(t *testing.T) {
	l := Limits{CPU: Quota{Micros: 20000, Period: 100000, Path: "/s"}, MemoryMax: Limit{64 << 20, "/s"}}
	if d := l.Differs(20, 64<<20); d != nil {
		t.Errorf("as expected, yet: %q", d)
	}
	if d := l.Differs(0, 0); d != nil {
		t.Errorf("nothing expected, yet: %q", d)
	}
	if d := strings.Join(l.Differs(10, 32<<20), "\n"); !strings.Contains(d, "quota of 10%, found 20% from /s") || !strings.Contains(d, "limit of 32 MiB, found 64 MiB from /s") {
		t.Errorf("got %q", d)
	}
	if d := (Limits{}).Differs(10, 32<<20); len(d) != 2 || !strings.Contains(d[0], "found no quota") || !strings.Contains(d[1], "found none") {
		t.Errorf("got %q", d)
	}
}
