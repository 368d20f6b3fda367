package load

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	one = `{"seq":5,"event":{"type":"sale.completed","key":"a","data":{"receipt":"t1-1-1"}}}` + "\n"
	two = `{"seq":6,"event":{"type":"sale.completed","key":"b","data":{"receipt":"t1-1-2"}}}` + "\n"
)

// TestCompare: what is lost, doubled or changed is found, and nothing else.
func TestCompare(t *testing.T) {
	acks := []Ack{{Key: "a", Seq: 5, Receipt: "t1-1-1"}, {Key: "b", Seq: 6, Receipt: "t1-1-2"}}
	for name, c := range map[string]struct{ records, want string }{
		"all there":   {one + two, ""},
		"others too":  {`{"seq":1,"event":{"type":"shift.opened"}}` + "\n" + one + two + strings.Replace(one, `"a"`, `"c"`, 1), ""},
		"lost":        {one, "LOST"},
		"twice":       {one + two + strings.Replace(two, "6", "7", 1), "twice"},
		"another one": {one + strings.Replace(two, "t1-1-2", "t1-1-3", 1), "as receipt t1-1-3"},
		"garbage":     {one + two + "{", "source"},
	} {
		t.Run(name, func(t *testing.T) {
			errs := Compare(acks, []byte(c.records), "source")
			if err := errors.Join(errs...); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
		})
	}
}

// TestPlay: every call is made once, and its time counts from when it was due.
func TestPlay(t *testing.T) {
	var n atomic.Int64
	got := Play(context.Background(), 50, 200*time.Millisecond, 1, func(_ context.Context, i int) error {
		if n.Add(1); i == 3 {
			return errors.New("no")
		}
		return nil
	})
	if n.Load() != 10 || len(got.All) != 9 || got.Failed != 1 || got.First != "no" {
		t.Errorf("%d calls, %+v", n.Load(), got)
	}
}

func TestAt(t *testing.T) {
	x := Times{All: []int64{1, 2, 3, 4}}
	if x.At(0.5) != 3*time.Microsecond || x.At(1) != 4*time.Microsecond || (&Times{}).At(1) != 0 {
		t.Error(x.At(0.5), x.At(1))
	}
}

func TestCounters(t *testing.T) {
	c := Counters{}
	for file, text := range map[string]string{
		"cpu.stat":        "usage_usec 12\nnr_periods 3\n",
		"memory.peak":     "4096\n",
		"memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
	} {
		if err := c.parse(file, text); err != nil {
			t.Fatal(err)
		}
	}
	if c["cpu.stat usage_usec"] != 12 || c["memory.peak"] != 4096 || c["memory.pressure some"] != 77 || c["memory.pressure full"] != 7 {
		t.Errorf("%s", c)
	}
	if c.parse("cpu.stat", "usage_usec many\n") == nil {
		t.Error("nonsense was read")
	}
}
