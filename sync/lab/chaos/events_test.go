package main

import (
	"fmt"
	"testing"
)

// TestPublished: what is wrong with a stream of events is called by its name.
func TestPublished(t *testing.T) {
	ledger := map[name]entry{}
	var lines []line
	for seq := 2; seq <= 5; seq++ {
		l := sold("j", seq, fmt.Sprint("k", seq), 100*seq)
		l.Store, l.Terminal = "s1", "t1"
		lines = append(lines, l)
		ledger[name{l.Journal, l.Seq, l.Head}] = entryOf(l)
	}
	ce := func(i int) (string, string) {
		l := lines[i]
		return "pos.events.s1.sale.completed", fmt.Sprintf(
			`{"specversion":"1.0","id":"%s:%d:%s","source":"/pos/s1/t1","type":"pos.sale.completed","datacontenttype":"application/json","data":%s}`,
			l.Journal, l.Seq, l.Head, l.Event)
	}
	for what, c := range map[string]struct {
		order []int
		want  kind
	}{
		"whole":        {[]int{0, 1, 2, 3}, 0},
		"twice":        {[]int{0, 1, 1, 2, 3}, twice},
		"skipped":      {[]int{0, 2, 3}, lost},
		"out of order": {[]int{0, 2, 1, 3}, disorder},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPublished(ledger)
			for at, i := range c.order {
				if p.enough() {
					t.Errorf("enough after %d messages", at)
				}
				subject, body := ce(i)
				if err := p.add(uint64(at+1), subject, []byte(body)); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.done(); !p.enough() || kindOf(err) != c.want || (err != nil) != (c.want != 0) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	_, good := ce(3)
	for what, c := range map[string]struct {
		subject, body string
		want          kind
	}{
		"other content":    {"pos.events.s1.sale.completed", `{"specversion":"1.0","id":"j:5:h5","source":"/pos/s1/t1","type":"pos.sale.completed","datacontenttype":"application/json","data":{}}`, lost},
		"other subject":    {"pos.events.s2.sale.completed", good, lost},
		"not in ledger":    {"pos.events.s1.sale.completed", `{"id":"j:9:h9"}`, phantom},
		"no name":          {"pos.events.s1.sale.completed", `{"id":"j"}`, phantom},
		"not a CloudEvent": {"pos.events.s1.sale.completed", `x`, phantom},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPublished(ledger)
			var err error
			for at, i := range []int{0, 1, 2} {
				subject, body := ce(i)
				if err == nil {
					err = p.add(uint64(at+1), subject, []byte(body))
				}
			}
			if err == nil {
				err = p.add(4, c.subject, []byte(c.body))
			}
			if err == nil {
				err = p.done()
			}
			if kindOf(err) != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestHalfBatch(t *testing.T) {
	for m, want := range map[string]bool{
		"HPUB pos.events.x 1 2\r\nNATS/1.0\r\nContent-Type: x\r\n\r\n{}":                               false,
		"HPUB pos.events.x 1 2\r\nNATS/1.0\r\nNats-Batch-Id: a\r\nNats-Batch-Sequence: 1\r\n\r\n{}":    true,
		"HPUB pos.events.x 1 2\r\nNATS/1.0\r\nNats-Batch-Commit: 1\r\nNats-Batch-Id: a\r\n\r\n{\"a\"}": false,
	} {
		if halfBatch([]byte(m)) != want {
			t.Errorf("%q: not %v", m, want)
		}
	}
}
