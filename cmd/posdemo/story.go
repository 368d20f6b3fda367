package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Where in the day things happen, in percent of the baskets sold.
const (
	linkGoesAt = 30
	posdDiesAt = 55
)

// told is one line of the front end: a word and a number.
type told struct {
	word string
	n    int
}

// listen reads what the front end tells, until it ends.
func listen(r io.Reader) <-chan told {
	lines := make(chan told, 1024)
	go func() {
		defer close(lines)
		s := bufio.NewScanner(r)
		for s.Scan() {
			word, number, _ := strings.Cut(s.Text(), " ")
			if n, err := strconv.Atoi(number); err == nil {
				lines <- told{word, n}
			}
		}
	}()
	return lines
}

// tradeAll has the front end sell the day, takes the link away and kills posd.
func (d *demo) tradeAll() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	d.front, err = d.child("the front end", "front.log", w, self, append([]string{"front", "-url", d.posdURL,
		"-token-file", d.path("front.token"), "-out", d.path("front.jsonl")}, d.args()...)...)
	w.Close() // the child has its own
	if err != nil {
		return err
	}
	d.front.expect() // its end is looked at below
	begun := time.Now()
	lines := listen(r)
	if err := d.follow(lines); err != nil {
		err = errors.Join(err, d.front.stop())
		for range lines { // the listener ends with the front end
		}
		return err
	}
	d.selling = time.Since(begun)
	<-d.front.done
	if d.front.err != nil {
		return fmt.Errorf("the front end failed (%w); its log is %s%s", d.front.err, d.front.log, tail(d.front.log))
	}
	return nil
}

// follow watches the day go by and does the damage.
func (d *demo) follow(lines <-chan told) error {
	linkGone, posdDied := false, false
	for {
		var line told
		var more bool
		select {
		case line, more = <-lines:
		case <-d.ctx.Done():
			return context.Cause(d.ctx)
		}
		if !more {
			if <-d.front.done; d.front.err != nil {
				return nil // tradeAll reports it
			}
			break
		}
		d.told[line.word] = line.n
		switch line.word {
		case "baskets":
			d.baskets = line.n
			d.bar.begin("selling", uint64(line.n))
		case "sold":
			d.bar.set(uint64(line.n))
		}
		percent := d.told["sold"] * 100 / max(1, d.baskets)
		if percent >= linkGoesAt && !linkGone {
			linkGone = true
			d.link.cut()
			d.bar.say("the link to head office is gone (%d sold)", d.told["sold"])
		}
		if percent >= posdDiesAt && !posdDied {
			posdDied = true
			if err := d.killPosd(); err != nil {
				return err
			}
		}
	}
	if !linkGone || !posdDied {
		return errors.New("the day was over before the link could be cut and posd killed: sell more")
	}
	return nil
}

// killPosd ends posd as a power cut of the process would, and starts it again.
func (d *demo) killPosd() error {
	d.running().kill()
	d.bar.say("posd was killed with SIGKILL (%d sold)", d.told["sold"])
	begun := time.Now()
	if err := d.startPosd(); err != nil {
		return err
	}
	d.bar.say("posd is back, ready after %d ms; the link is still gone", time.Since(begun).Milliseconds())
	return nil
}

// posdStatus is what the demo reads of posd's /v1/status.
type posdStatus struct {
	Journal struct {
		Floor uint64 `json:"floor"`
	} `json:"journal"`
	Uplink struct {
		Connected bool   `json:"connected"`
		Settled   uint64 `json:"settled"`
		Held      string `json:"held"`
		Fork      string `json:"fork"`
		LastError string `json:"last_error"`
	} `json:"uplink"`
}

// drainTime is how long the backlog may take.
const drainTime = 3 * time.Minute

// drain brings the link back and waits until head office has confirmed all that
// the journal holds.
func (d *demo) drain() error {
	var st posdStatus
	if err := d.get(d.posdURL+"/v1/status", d.token, &st); err != nil {
		return err
	}
	if st.Uplink.Settled >= st.Journal.Floor {
		return fmt.Errorf("head office already has all %d records, with the link gone: the link was not gone", st.Journal.Floor)
	}
	d.backlog = st.Journal.Floor - st.Uplink.Settled
	target, from := st.Journal.Floor, st.Uplink.Settled
	d.bar.say("all %d baskets are sold; head office lacks %d records", d.baskets, d.backlog)
	begun := time.Now()
	if err := d.link.restore(); err != nil {
		return err
	}
	d.bar.say("the link is back")
	d.bar.begin("draining", d.backlog)
	for st.Uplink.Settled < target {
		if err := d.sleep(20 * time.Millisecond); err != nil {
			return err
		}
		if err := d.get(d.posdURL+"/v1/status", d.token, &st); err != nil {
			return err
		}
		if st.Uplink.Connected && d.reconnect == 0 {
			d.reconnect = time.Since(begun)
		}
		d.bar.set(min(st.Uplink.Settled, target) - from)
		if st.Uplink.Held != "" || st.Uplink.Fork != "" {
			return fmt.Errorf("the uplink is held: %s %s", st.Uplink.Held, st.Uplink.Fork)
		}
		if time.Since(begun) > drainTime {
			return fmt.Errorf("head office still lacks %d records after %v; the uplink's last error: %q", target-st.Uplink.Settled, drainTime, st.Uplink.LastError)
		}
	}
	d.draining = time.Since(begun) - d.reconnect
	d.bar.end()
	return nil
}

var client = &http.Client{Timeout: 20 * time.Second}

// waitReady waits until a process answers /readyz.
func (d *demo) waitReady(base string, p *process) error {
	begun := time.Now()
	for {
		err := d.get(base+"/readyz", "", nil)
		if err == nil {
			return nil
		}
		if time.Since(begun) > 30*time.Second {
			return fmt.Errorf("%s is not ready after 30 s: %w; its log is %s%s", p.name, err, p.log, tail(p.log))
		}
		if err := d.sleep(10 * time.Millisecond); err != nil {
			return err
		}
	}
}

func (d *demo) open(address, token string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		return nil, fmt.Errorf("GET %s: %s: %s", address, res.Status, text)
	}
	return res.Body, nil
}

func (d *demo) get(address, token string, into any) error {
	body, err := d.open(address, token)
	if err != nil {
		return err
	}
	defer body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, body)
		return err
	}
	return json.NewDecoder(body).Decode(into)
}

// judge reads the three sources, each by its own road, and compares them.
func (d *demo) judge() (*verdict, error) {
	d.bar.say("reading the front end's file, the journal and the ledger")
	f, err := os.Open(d.path("front.jsonl"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	acknowledged, err := readFront(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	dump, err := d.dump()
	if err != nil {
		return nil, err
	}
	defer dump.Close()
	journal, journalHeads, err := readRecords(dump)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dump.Name(), err)
	}
	events, err := d.open(d.hubURL+"/v1/events?"+url.Values{"store": {store}, "terminal": {terminal}}.Encode(), d.hubToken)
	if err != nil {
		return nil, err
	}
	defer events.Close()
	ledger, ledgerHeads, err := readRecords(events)
	if err != nil {
		return nil, fmt.Errorf("the ledger of poshub: %w", err)
	}
	v := compare(d.baskets, []source{{"front end", acknowledged}, {"journal", journal}, {"ledger", ledger}})
	v.compareHeads(journalHeads, ledgerHeads)
	return v, nil
}

// dump writes the journal to a file and opens it.
func (d *demo) dump() (*os.File, error) {
	text, err := d.posctl("dump")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(d.path("journal.jsonl"), text, 0o644); err != nil {
		return nil, err
	}
	return os.Open(d.path("journal.jsonl"))
}
