package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sold(journal string, seq int, key string, total int) line {
	return line{Journal: journal, Seq: uint64(seq), Type: "event", Head: fmt.Sprint("h", seq),
		Event: json.RawMessage(fmt.Sprintf(`{"type":"sale.completed","key":%q,"data":{"receipt":"t1-1-%d","total":%d}}`, key, seq, total))}
}

func TestLedger(t *testing.T) {
	journal := []line{{Journal: "j", Seq: 1, Type: "birth", Head: "h1"}, sold("j", 2, "k1", 100), sold("j", 3, "k2", 200), {Journal: "j", Seq: 4, Type: "checkpoint", Head: "h4"}}
	whole := []line{journal[1], journal[2]}
	end := chainEnd{Journal: "j", Last: 4, Head: "h4", Records: 4, Events: 2}
	changed := func(fn func(*chainEnd)) chainEnd { e := end; fn(&e); return e }
	for name, c := range map[string]struct {
		ledger []line
		end    chainEnd
		want   kind
	}{
		"whole":              {whole, end, 0},
		"an event is gone":   {whole[:1], end, lost},
		"an event twice":     {[]line{whole[0], whole[1], whole[1]}, end, twice},
		"another content":    {[]line{whole[0], sold("j", 3, "k2", 201)}, end, lost},
		"another head":       {[]line{whole[0], {Journal: "j", Seq: 3, Head: "x", Event: whole[1].Event}}, end, phantom},
		"out of order":       {[]line{whole[1], whole[0]}, end, disorder},
		"the end is behind":  {whole, changed(func(e *chainEnd) { e.Last, e.Head = 3, "h3" }), lost},
		"the end is another": {whole, changed(func(e *chainEnd) { e.Head = "x" }), lost},
		"declared lost":      {whole, changed(func(e *chainEnd) { e.Lost = 1 }), lost},
		"counted twice":      {whole, changed(func(e *chainEnd) { e.Events = 3 }), twice},
		"not counted":        {whole, changed(func(e *chainEnd) { e.Records = 3 }), lost},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTruth()
			for _, l := range journal {
				if err := tr.add(l); err != nil {
					t.Fatal(err)
				}
			}
			k := tr.against()
			var err error
			for _, l := range c.ledger {
				if err == nil {
					err = k.add(l)
				}
			}
			if err == nil {
				err = k.done(map[string]chainEnd{"j": c.end})
			}
			if kindOf(err) != c.want || (err != nil) != (c.want != 0) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestAcknowledged(t *testing.T) {
	for name, c := range map[string]struct {
		sales map[string][]string
		want  kind
	}{
		"there":     {map[string][]string{"k": {`{"key":"k","data":{"total":5}}`}}, 0},
		"gone":      {map[string][]string{}, lost},
		"twice":     {map[string][]string{"k": {`{"data":{"total":5}}`, `{"data":{"total":5}}`}}, twice},
		"otherwise": {map[string][]string{"k": {`{"data":{"total":6}}`}}, lost},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "acked"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			b := newBook("t1", f)
			if err := b.answered("k", `{"seq":2,"sale":{"total":5}}`); err != nil {
				t.Fatal(err)
			}
			if err := b.settle(&takings{sales: c.sales}); kindOf(err) != c.want || (err != nil) != (c.want != 0) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err := b.answered("k", `{"seq":3}`); kindOf(err) != twice {
				t.Errorf("another answer to the same key: %v", err)
			}
		})
	}
}

func TestParcels(t *testing.T) {
	type m struct {
		first, last uint64
		prev, head  string
	}
	for name, c := range map[string]struct {
		stream []m
		sent   uint64
		want   kind
	}{
		"in order":         {[]m{{1, 3, "a", "b"}, {4, 4, "b", "c"}}, 4, 0},
		"one again":        {[]m{{1, 3, "a", "b"}, {4, 4, "b", "c"}, {4, 4, "b", "c"}}, 4, twice},
		"early":            {[]m{{4, 4, "b", "c"}, {1, 3, "a", "b"}}, 4, disorder},
		"a gap":            {[]m{{1, 3, "a", "b"}, {5, 5, "c", "d"}}, 5, lost},
		"ends early":       {[]m{{1, 3, "a", "b"}}, 4, lost},
		"not one history":  {[]m{{1, 3, "a", "b"}, {4, 4, "x", "c"}}, 4, disorder},
		"more than said":   {[]m{{1, 3, "a", "b"}, {4, 4, "b", "c"}}, 3, 0},
		"nothing was sent": {nil, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newParcels()
			var err error
			for i, p := range c.stream {
				if err == nil {
					err = s.add(uint64(i+1), "j", p.first, p.last, p.prev, p.head)
				}
			}
			if err == nil {
				err = s.done(map[string]uint64{"j": c.sent})
			}
			if kindOf(err) != c.want || (err != nil) != (c.want != 0) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestFramer: however the bytes come, the messages are the same, and nothing is lost.
func TestFramer(t *testing.T) {
	said := "CONNECT {\"a\":1}\r\nPING\r\nHPUB pos.up.0.s1.t1.ab _INBOX.x 4 12\r\n0123\r\nPUB 89\r\nPUB pos.hb.0 5\r\nhello\r\nPING\r\n"
	for size := 1; size <= len(said); size++ {
		f := framer{aim: parcelLine}
		var m memory
		got, parcels := "", 0
		for rest := said; rest != ""; {
			n := min(size, len(rest))
			for _, c := range f.feed([]byte(rest[:n])) {
				got += string(c.data)
				m.note(c)
				if c.parcel && c.ends {
					parcels++
				}
			}
			rest = rest[n:]
		}
		if got != said || parcels != 1 || string(m.all()) != said || len(m.rest) != 4 {
			t.Fatalf("in pieces of %d: %d parcels, %d messages, %q", size, parcels, len(m.rest), got)
		}
	}
	var f framer
	if out := f.feed([]byte(strings.Repeat("x", maxLine+1))); len(out) != 1 {
		t.Errorf("an endless line is kept: %d", len(out))
	}
}
