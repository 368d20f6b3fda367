package wire

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"posd/journal/chain"
)

func beat() Heartbeat {
	return Heartbeat{
		Release: "1.4.0", Store: "s1", Terminal: "t1", Run: 0xfeedface,
		Started: time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC), At: time.Date(2026, 11, 21, 9, 30, 0, 123e6, time.UTC), Clock: "synced",
		Journal: chain.ID{1, 2, 3, 15: 0xff}, Oldest: 3, Floor: 4711, Head: chain.Head{9, 31: 7}, Sent: 4700, Settled: 4690,
		JournalBytes: 8 << 20, JournalMax: 2200 << 20, DiskFree: 1 << 30, DiskTotal: 4 << 30,
		Backlog: Backlog{Records: 21, Sales: 20, Age: 17, Known: true, Value: 123456, Currency: "EUR"},
		Limits: HeartbeatLimits{Memory: 14 << 20, MemoryMax: 32 << 20, CPUPercent: 10, Throttled: 3, CPUWaiting: 4, MemWaiting: 1,
			IOWaiting: 2, Shedding: true, OOMKills: 1, MemoryMaxHits: 2},
		Config: ConfigState{Serial: 1795253400123, State: ConfigRefused, Reason: `limits.memory: "lots" is no size`},
		Alarms: []string{AlarmRot, AlarmConfig}, Why: "damaged segments: 1",
	}
}

func TestHeartbeatRoundTrip(t *testing.T) {
	bare := Heartbeat{Store: "s1", Terminal: "t1", Started: beat().Started, At: beat().At, Journal: chain.ID{5}}
	loss := beat()
	loss.Backlog.Value = math.MinInt64
	nothing := beat()
	nothing.Backlog = Backlog{Known: true, Currency: "EUR"}
	for _, want := range []Heartbeat{beat(), bare, loss, nothing} {
		b := want.Append([]byte("x"))[1:]
		got, err := ParseHeartbeat(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n got %+v\nwant %+v", b, got, want)
		}
	}
}

// TestHeartbeatGolden: what this release writes, and what all later ones must read.
func TestHeartbeatGolden(t *testing.T) {
	path := filepath.Join("testdata", "heartbeat-v1.json")
	h := beat()
	if *update {
		if err := os.WriteFile(path, h.Append(nil), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseHeartbeat(b); err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("the golden heartbeat reads as %+v, %v", got, err)
	}
	if got := h.Append(nil); !bytes.Equal(got, b) {
		t.Errorf("this release writes\n%s", got)
	}
}

// worst is the longest heartbeat that there can be.
func worst() Heartbeat {
	h := beat()
	most := uint64(math.MaxUint64)
	quotes := strings.Repeat(`"`, 1000)
	h.Release, h.Why = quotes, quotes
	h.Store, h.Terminal, h.Clock = strings.Repeat("s", 32), strings.Repeat("t", 32), "unsynced"
	for _, n := range []*uint64{&h.Run, &h.Oldest, &h.Floor, &h.Sent, &h.Settled, &h.JournalBytes, &h.JournalMax, &h.DiskFree, &h.DiskTotal,
		&h.Backlog.Records, &h.Backlog.Sales, &h.Backlog.Age, &h.Limits.Memory, &h.Limits.MemoryMax, &h.Limits.CPUPercent,
		&h.Limits.OOMKills, &h.Limits.MemoryMaxHits, &h.Config.Serial} {
		*n = most
	}
	h.Catalogue = CatalogueState{strings.Repeat("v", 64), most}
	h.Limits.Throttled, h.Limits.CPUWaiting, h.Limits.MemWaiting, h.Limits.IOWaiting = 100, 100, 100, 100
	h.Backlog.Value = math.MinInt64
	h.Config.Reason = quotes
	h.Alarms = nil
	for i := range 2 * maxAlarms {
		h.Alarms = append(h.Alarms, strings.Repeat("x", maxCode-2)+string(rune('a'+i/26))+string(rune('a'+i%26)))
	}
	return h
}

func TestHeartbeatIsBounded(t *testing.T) {
	h := worst()
	if n := len(h.append(nil, maxText)); n <= MaxHeartbeat {
		t.Errorf("%d bytes with its texts: this test does not reach the limit", n)
	}
	b := h.Append(nil)
	if len(b) > MaxHeartbeat {
		t.Fatalf("%d bytes", len(b))
	}
	if _, err := ParseHeartbeat(b); err != nil {
		t.Error(err)
	}
	h = beat()
	h.Why = "one\ntwo\x00\xff\u2028\u009bthree"
	if got, err := ParseHeartbeat(h.Append(nil)); err != nil || got.Why != "one two   three" {
		t.Errorf("%q, %v", got.Why, err)
	}
	h.Alarms = []string{"Not a code", "fine", "", `"`}
	if got, err := ParseHeartbeat(h.Append(nil)); err != nil || len(got.Alarms) != 1 {
		t.Errorf("%v, %v", got.Alarms, err)
	}
}

func TestParseHeartbeatRefuses(t *testing.T) {
	h := beat()
	good := string(h.Append(nil))
	for name, b := range map[string]string{
		"nothing":                "",
		"an array":               "[]",
		"no object":              `"v"`,
		"cut":                    good[:len(good)-1],
		"something behind it":    good + "{}",
		"a newer version":        strings.Replace(good, `"v":1`, `"v":2`, 1),
		"no version":             strings.Replace(good, `"v":1,`, "", 1),
		"a name twice":           strings.Replace(good, `"v":1`, `"v":1,"v":1`, 1),
		"an inner name twice":    strings.Replace(good, `"oldest":3`, `"oldest":3,"oldest":4`, 1),
		"an unknown name twice":  strings.Replace(good, `"v":1`, `"v":1,"new":1,"new":1`, 1),
		"no store":               strings.Replace(good, `"store":"s1",`, "", 1),
		"a store of two parts":   strings.Replace(good, `"s1"`, `"s1.x"`, 1),
		"a wildcard":             strings.Replace(good, `"t1"`, `"*"`, 1),
		"no journal":             strings.Replace(good, `"journal"`, `"other"`, 1),
		"half a journal id":      strings.Replace(good, `"id":"0102`, `"id":"02`, 1),
		"a fraction":             strings.Replace(good, `"floor":4711`, `"floor":4711.5`, 1),
		"a negative number":      strings.Replace(good, `"floor":4711`, `"floor":-1`, 1),
		"a number too large":     strings.Replace(good, `"floor":4711`, `"floor":99999999999999999999`, 1),
		"a number as text":       strings.Replace(good, `"floor":4711`, `"floor":"4711"`, 1),
		"an object for a number": strings.Replace(good, `"floor":4711`, `"floor":{}`, 1),
		"101 percent":            strings.Replace(good, `"throttled":3`, `"throttled":101`, 1),
		"more free than total":   strings.Replace(good, `"total":4294967296`, `"total":1`, 1),
		"a value of nothing":     strings.Replace(good, `,"currency":"EUR"`, "", 1),
		"a currency of markup":   strings.Replace(good, `"EUR"`, `"\"}{"`, 1),
		"a code of markup":       strings.Replace(good, `"rot"`, `"rot\"} 1\nx{"`, 1),
		"alarms as text":         strings.Replace(good, `["rot","config-refused"]`, `"rot"`, 1),
		"too many alarms":        strings.Replace(good, `["rot"`, `["a1","a2","a3","a4","a5","a6","a7","a8","a9","a10","a11","a12","a13","a14","a15"`+`,"a16"`, 1),
		"a state of its own":     strings.Replace(good, `"refused"`, `"maybe"`, 1),
		"a time without a zone":  strings.Replace(good, `09:30:00.123Z`, `09:30:00`, 1),
		"invalid UTF-8":          strings.Replace(good, "1.4.0", "1.\xff.0", 1),
		"too long":               strings.Replace(good, `"v":1`, `"v":1,"x":"`+strings.Repeat("x", MaxHeartbeat)+`"`, 1),
		"deep":                   strings.Replace(good, `"v":1`, `"v":1,"x":`+strings.Repeat("[", 1000), 1),
	} {
		if b == good {
			t.Errorf("%s: the test changes nothing", name)
		}
		if _, err := ParseHeartbeat([]byte(b)); !errors.Is(err, ErrHeartbeat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	newer := strings.Replace(good, `"v":1`, `"v":1,"new":{"deep":[1,2,{}]}`, 1)
	newer = strings.Replace(newer, `"oldest"`, `"newest":true,"oldest"`, 1)
	if got, err := ParseHeartbeat([]byte(newer)); err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("members of a newer release: %v", err)
	}
}

func TestHeartbeatSubject(t *testing.T) {
	shard, store, terminal, err := ParseHeartbeatSubject(HeartbeatSubject(12, "s-1", "T_9"))
	if shard != 12 || store != "s-1" || terminal != "T_9" || err != nil {
		t.Error(shard, store, terminal, err)
	}
	for _, s := range []string{"", "pos.hb", "pos.hb.0.s1", "pos.hb.0.s1.t1.x", "pos.up.0.s1.t1", "pos.hb.00.s1.t1", "pos.hb.-1.s1.t1",
		"pos.hb.x.s1.t1", "pos.hb.0..t1", "pos.hb.0.s1.*", "pos.hb.0.s1.>", "pos.hb.0.s 1.t1"} {
		if _, _, _, err := ParseHeartbeatSubject(s); !errors.Is(err, ErrHeartbeat) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// FuzzParseHeartbeat: what is accepted is written again as something that reads the same.
func FuzzParseHeartbeat(f *testing.F) {
	h, w := beat(), worst()
	f.Add(h.Append(nil))
	f.Add(w.Append(nil))
	f.Add([]byte(`{"v":1,"store":"s","terminal":"t","at":"0001-01-01T00:00:00Z","journal":{"id":"","head":""}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeartbeat(b)
		if err != nil {
			if !errors.Is(err, ErrHeartbeat) {
				t.Error(err)
			}
			return
		}
		out := h.Append(nil)
		if len(out) > MaxHeartbeat {
			t.Fatalf("%d bytes", len(out))
		}
		again, err := ParseHeartbeat(out)
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if !bytes.Equal(again.Append(nil), out) {
			t.Errorf("%s\n%s", out, again.Append(nil))
		}
	})
}

// BenchmarkHeartbeat: what one costs the terminal.
func BenchmarkHeartbeat(b *testing.B) {
	h := beat()
	var dst []byte
	for b.Loop() {
		dst = h.Append(dst[:0])
	}
	b.ReportMetric(float64(len(dst)), "bytes")
}

// BenchmarkParseHeartbeat: what one costs the hub.
func BenchmarkParseHeartbeat(b *testing.B) {
	h := beat()
	body := h.Append(nil)
	for b.Loop() {
		if _, err := ParseHeartbeat(body); err != nil {
			b.Fatal(err)
		}
	}
}
