package cgroup

import (
	"strings"
	"testing"
)

// FuzzParse feeds any text to every parser; what they accept must be in range.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"max 100000\n", "10000 100000\n", "9223372036854771712\n", "-1\n", "max\n", v2Mount + v1Mount,
		"4:memory:/a b/../c (deleted)\n0::/\n", "31 23 0:28 /a\\040b /sys/fs/cgroup\\999 rw - cgroup2 c rw",
		"nr_throttled 7\nthrottled_usec 1\n", "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\nfull total=1\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok, err := parseLimit(s); n < 0 || ok && (err != nil || n >= unlimited) || !ok && n != 0 {
			t.Errorf("limit %d %v %v", n, ok, err)
		}
		if q, ok, err := parseQuota(s); ok && (err != nil || q.Micros <= 0 || q.Period <= 0) {
			t.Errorf("quota %+v %v", q, err)
		} else if ok {
			q.Path = "/"
			if q.Percent() < 1 || q.less(q) || !q.less(Quota{}) {
				t.Errorf("quota %+v is %d percent", q, q.Percent())
			}
		}
		if err := parseCounters(s, func(name string, n int64) {
			if n < 0 {
				t.Errorf("counter %s = %d", name, n)
			}
		}); err != nil && err.Error() == "" {
			t.Error("empty error")
		}
		if p, _ := parsePressure(s); p.SomeMicros < 0 || p.FullMicros < 0 {
			t.Errorf("pressure %+v", p)
		}
		groups, _ := parseMembership(s)
		for _, m := range parseMounts(s) {
			for _, g := range groups {
				// Whatever the files say, nothing outside of the mount may be read.
				if rel, _ := m.below(g.group); !strings.HasPrefix(rel, "/") || strings.Contains(rel+"/", "/../") {
					t.Errorf("group %q below %q is %q", g.group, m.root, rel)
				}
			}
		}
	})
}
