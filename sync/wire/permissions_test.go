package wire

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"posd/journal/chain"
)

// covers is how the server compares a subject with a pattern.
func covers(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i := range p {
		if p[i] == ">" {
			return len(s) > i
		}
		if i >= len(s) || (p[i] != "*" && p[i] != s[i]) {
			return false
		}
	}
	return len(p) == len(s)
}

func TestDevicePermissions(t *testing.T) {
	p, err := DevicePermissions(3, "s1", "t1")
	if err != nil {
		t.Fatal(err)
	}
	may := func(list []string, subject string) bool {
		return slices.ContainsFunc(list, func(p string) bool { return covers(p, subject) })
	}
	up := UpSubject(3, "s1", "t1", chain.ID{1})
	for _, s := range []string{up, "$JS.API.DIRECT.GET.POS_UP_3." + up, "$JS.API.DIRECT.GET.KV_pos_cfg." + BucketPrefix + WatermarkKey("s1", "t1", chain.ID{1}),
		"$JS.API.DIRECT.GET.KV_pos_cfg.$KV.pos_cfg." + CatalogueKey("s1", "t1"), DirectGet([32]byte{1})} {
		if !may(p.Publish, s) {
			t.Errorf("may not publish on %s", s)
		}
	}
	for _, s := range []string{LivePrefix + WatermarkKey("s1", "t1", chain.ID{1}), PulseSubject(3), InboxPrefix("s1", "t1") + ".x.y"} {
		if !may(p.Subscribe, s) {
			t.Errorf("may not subscribe to %s", s)
		}
	}
	for _, s := range []string{UpSubject(3, "s1", "t2", chain.ID{1}), UpSubject(4, "s1", "t1", chain.ID{1}), "$JS.API.STREAM.INFO.POS_UP_3", "$JS.API.DIRECT.GET.POS_UP_3",
		"$JS.API.DIRECT.GET.KV_pos_cat", ContentPrefix + ContentKey([32]byte{1})} {
		if may(p.Publish, s) {
			t.Errorf("may publish on %s", s)
		}
	}
}

// TestPermissionsApart: whatever two terminals are called, neither reaches what is
// the other's, or what is for all.
func TestPermissionsApart(t *testing.T) {
	names := [][2]string{{"a", "b"}, {"a_b", "c"}, {"a", "b_c"}, {"a-b", "c"}, {"b", "a"}, {"a", "a"}}
	for _, one := range names {
		p, err := DevicePermissions(0, one[0], one[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range names {
			if one == other {
				continue
			}
			q, _ := DevicePermissions(0, other[0], other[1])
			for i, list := range [][2][]string{{p.Publish, q.Publish}, {p.Subscribe, q.Subscribe}} {
				for _, s := range list[1] {
					s = strings.NewReplacer(">", "x", "*", "x").Replace(s)
					for _, pattern := range list[0] {
						if covers(pattern, s) && pattern != LivePrefix+"all.>" && !strings.HasPrefix(pattern, directGet+ContentStream+".") {
							t.Errorf("%v reaches %s of %v by %s (%d)", one, s, other, pattern, i)
						}
					}
				}
			}
		}
	}
}

func TestPermissionsOfNoName(t *testing.T) {
	for _, bad := range [][2]string{{"", "t1"}, {"s1", ""}, {"*", "t1"}, {"s1", ">"}, {"s.1", "t1"}, {"all", "hub"}, {strings.Repeat("x", 33), "t1"}, {"s 1", "t1"}} {
		if p, err := DevicePermissions(0, bad[0], bad[1]); !errors.Is(err, ErrFormat) || p.Publish != nil {
			t.Errorf("%q: %v, %v", bad, p, err)
		}
	}
	for _, shard := range []int{-1, MaxShard + 1} {
		if _, err := DevicePermissions(shard, "s1", "t1"); !errors.Is(err, ErrFormat) {
			t.Errorf("shard %d: %v", shard, err)
		}
	}
}
