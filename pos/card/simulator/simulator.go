package simulator

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"posd/pos"
	"posd/pos/card"
)

// Modes are what a simulator can be told to do with the requests that come.
var Modes = map[string]string{
	"approve":      "keeps the rules and approves",
	"decline":      "declines payments",
	"offline":      "approves offline what it may, and declines what it may not",
	"offline-drop": "as offline, then drops the line",
	"offline-all":  "approves all offline, whatever it may",
	"hang":         "takes the request, does nothing and never answers",
	"act-hang":     "acts, and never answers",
	"late":         "acts, and answers later than posd waits",
	"drop":         "drops the line before it acts",
	"act-drop":     "acts, then drops the line",
	"forget":       "acts, drops the line, and forgets everything",
	"drop-forget":  "drops the line before it acts, and forgets everything",
	"other-amount": "approves another amount",
	"garbage":      "acts, and answers with no message",
	"other":        "acts, and answers about another payment",
	"slow":         "acts, and tells before what the customer is shown, line by line",
	"keep":         "refuses to take a payment back",
	"deaf":         "accepts connections and never greets",
}

// Options of a simulator.
type Options struct {
	Terminal string        // its name; empty: SIM-1
	Ledger   string        // path of the file
	Late     time.Duration // of mode late; 0: 2 s
}

// Simulator is a payment terminal. Serve it on a listener.
type Simulator struct {
	o Options

	mu     sync.Mutex
	ledger *os.File
	memory string
	forgot int
	known  map[string]*payment // what the payment terminal remembers
	stored []string            // offline approvals that were not forwarded
	total  int64               // forwarded since this memory began
	next   int
	mode   string
	times  int // requests that mode is for; below zero: all
	seen   int // requests
}

type payment struct {
	state          string // as in an answer; pending: a customer is at it
	amount         int64
	refund         bool
	offline        bool // approved or reversed without the acquirer ever having it
	number, reason string
	cut            chan struct{} // closed when it is taken back while pending
}

// New opens the ledger, and remembers what stands in it.
func New(o Options) (*Simulator, error) {
	if o.Terminal == "" {
		o.Terminal = "SIM-1"
	}
	if o.Late == 0 {
		o.Late = 2 * time.Second
	}
	entries, err := ReadLedger(o.Ledger)
	if err != nil {
		return nil, err
	}
	s := &Simulator{o: o, mode: "approve", memory: "m0", known: map[string]*payment{}, times: -1}
	for _, e := range entries {
		s.remember(e)
	}
	s.ledger, err = os.OpenFile(o.Ledger, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil && len(entries) == 0 {
		err = s.write(Entry{What: Begin, Memory: s.memoryName()})
	}
	return s, err
}

// Close closes the ledger.
func (s *Simulator) Close() error { return s.ledger.Close() }

// SetMode has the next requests done in a mode: so many; below zero: all from now on.
func (s *Simulator) SetMode(mode string, times int) error {
	if Modes[mode] == "" {
		return fmt.Errorf("there is no mode %q", mode)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode, s.times = mode, times
	return nil
}

// Seen is how many requests have come.
func (s *Simulator) Seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// Forward sends to the acquirer what was approved offline: payments of these references,
// or all.
func (s *Simulator) Forward(references ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ref := range slices.Clone(s.stored) { // from which each is taken when it is written
		if len(references) > 0 && !slices.Contains(references, ref) {
			continue
		}
		if err := s.write(Entry{What: Forward, Reference: ref, Amount: s.known[ref].amount}); err != nil {
			return err
		}
	}
	return nil
}

// write puts an entry on the disk and takes it in. s.mu is held.
func (s *Simulator) write(e Entry) error {
	b, err := json.Marshal(e)
	if err == nil {
		_, err = s.ledger.Write(append(b, '\n'))
	}
	if err == nil {
		err = s.ledger.Sync()
	}
	if err == nil {
		s.remember(e)
	}
	return err
}

// remember is the fold of the ledger.
func (s *Simulator) remember(e Entry) {
	switch e.What {
	case Charge, Refund:
		s.next++
		s.known[e.Reference] = &payment{state: card.Approved, amount: e.Amount, refund: e.What == Refund, offline: e.Offline, number: e.Number}
		if e.Offline {
			s.stored = append(s.stored, e.Reference)
		}
	case Reverse:
		if p := s.known[e.Reference]; p != nil {
			p.state = card.Reversed
		}
		s.unstore(e.Reference)
	case Forward:
		s.total += e.Amount
		if p := s.known[e.Reference]; p != nil {
			p.offline = false
		}
		s.unstore(e.Reference)
	case Seal:
		s.known[e.Reference] = &payment{state: card.Declined, reason: e.Reason}
		if e.Absent {
			s.known[e.Reference].state = card.Absent
		}
	case Begin:
		s.memory = e.Memory
	case Forget:
		s.memory, s.known, s.stored, s.total = e.Memory, map[string]*payment{}, nil, 0
		s.forgot++
	}
}

func (s *Simulator) unstore(ref string) {
	for i, r := range s.stored {
		if r == ref {
			s.stored = append(s.stored[:i], s.stored[i+1:]...)
			return
		}
	}
}

// Serve answers on ln until ctx ends, and then closes it.
func (s *Simulator) Serve(ctx context.Context, ln net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wg.Go(func() {
			defer c.Close()
			cut := context.AfterFunc(ctx, func() { c.Close() })
			defer cut()
			s.converse(ctx, c)
		})
	}
}

// converse is one connection: a greeting, a request, an answer.
func (s *Simulator) converse(ctx context.Context, c net.Conn) {
	s.mu.Lock()
	g := card.Greeting{Terminal: s.o.Terminal, Memory: s.memory, Forwarded: pos.Money(s.total)}
	deaf := s.mode == "deaf"
	s.mu.Unlock()
	gone := make(chan struct{})
	r := bufio.NewReaderSize(c, card.MaxLine)
	if deaf {
		r.ReadByte()
		return
	}
	if _, err := c.Write(g.Append(nil)); err != nil {
		return
	}
	line, err := r.ReadSlice('\n')
	if err != nil {
		return
	}
	q, err := card.ParseRequest(line)
	if err != nil {
		return
	}
	go func() { // until the other side hangs up, or this one does
		defer close(gone)
		r.ReadByte()
	}()
	s.answer(ctx, c, &q, gone)
	c.Close()
	<-gone
}

// take counts a request and says in which mode it is to be done.
func (s *Simulator) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen++
	mode := s.mode
	if s.times > 0 {
		if s.times--; s.times == 0 {
			s.mode, s.times = "approve", -1
		}
	}
	return mode
}

func (s *Simulator) answer(ctx context.Context, c net.Conn, q *card.Request, gone <-chan struct{}) {
	mode := s.take()
	send := func(a card.Answer) { c.Write(a.Append(nil)) }
	switch mode {
	case "hang":
		s.hang(ctx, q, gone)
		return
	case "drop":
		return
	case "drop-forget":
		s.Forget()
		return
	case "slow":
		for _, text := range []string{"insert card", "enter PIN", "please wait"} {
			send(card.Answer{Reference: q.Reference, State: card.Pending, Text: text})
			time.Sleep(5 * time.Millisecond)
		}
	}
	a, err := s.act(q, mode)
	if err != nil {
		return // its disk failed: it cannot say what it has not written
	}
	switch mode {
	case "act-hang":
		s.wait(ctx, gone, time.Hour)
		return
	case "late":
		s.wait(ctx, gone, s.o.Late)
	case "act-drop", "offline-drop":
		return
	case "forget":
		s.Forget()
		return
	case "garbage":
		c.Write([]byte("{\"v\":1,\"state\":\"perhaps\"}\n"))
		return
	case "other":
		a.Reference += "0"
	}
	send(a)
}

func (s *Simulator) wait(ctx context.Context, gone <-chan struct{}, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-gone:
	case <-time.After(d):
	}
}

// hang is a customer who does not make up their mind. The payment can be taken back.
func (s *Simulator) hang(ctx context.Context, q *card.Request, gone <-chan struct{}) {
	if q.Ask != card.AskAuthorise && q.Ask != card.AskRefund {
		s.wait(ctx, gone, time.Hour)
		return
	}
	s.mu.Lock()
	p := &payment{state: card.Pending, cut: make(chan struct{})}
	if s.known[q.Reference] == nil {
		s.known[q.Reference] = p
	}
	s.mu.Unlock()
	select {
	case <-p.cut:
	case <-ctx.Done():
	case <-gone: // nobody waits for it any more: the payment terminal gives up
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.known[q.Reference] == p {
			s.write(Entry{What: Seal, Reference: q.Reference, Reason: "the customer took too long"})
		}
	}
}

// Forget loses all that the payment terminal remembers; the acquirer does not.
func (s *Simulator) Forget() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(Entry{What: Forget, Memory: s.memoryName()})
}

// memoryName is one that no other memory has, of this or of another payment terminal.
func (s *Simulator) memoryName() string {
	return "m" + strconv.Itoa(s.forgot) + "-" + rand.Text()[:8]
}

// act is what the payment terminal does, once for each reference.
func (s *Simulator) act(q *card.Request, mode string) (card.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.known[q.Reference]
	switch q.Ask {
	case card.AskAuthorise, card.AskRefund:
		if p == nil {
			if err := s.write(s.decide(q, mode)); err != nil {
				return card.Answer{}, err
			}
		} else if p.state == card.Absent {
			return card.Answer{Reference: q.Reference, State: card.Declined, Reason: "the till has given it up"}, nil
		}
	case card.AskStatus:
		if p == nil {
			if err := s.write(Entry{What: Seal, Reference: q.Reference, Absent: true}); err != nil {
				return card.Answer{}, err
			}
		}
	case card.AskReverse:
		return s.takeBack(q, p, mode)
	}
	return s.told(q.Reference), nil
}

// decide is what becomes of a new payment.
func (s *Simulator) decide(q *card.Request, mode string) Entry {
	e := Entry{What: Charge, Reference: q.Reference, Amount: int64(q.Amount), Number: fmt.Sprintf("%06d", s.next+1)}
	if q.Ask == card.AskRefund {
		e.What = Refund
	}
	switch {
	case mode == "decline":
		return Entry{What: Seal, Reference: q.Reference, Reason: "insufficient funds"}
	case (mode == "offline" || mode == "offline-drop") && q.OfflineMost < q.Amount:
		return Entry{What: Seal, Reference: q.Reference, Reason: "the acquirer cannot be reached"}
	case mode == "offline", mode == "offline-drop", mode == "offline-all":
		e.Offline = true
	case mode == "other-amount":
		e.Amount++
	}
	return e
}

func (s *Simulator) takeBack(q *card.Request, p *payment, mode string) (card.Answer, error) {
	switch {
	case p == nil:
		err := s.write(Entry{What: Seal, Reference: q.Reference, Absent: true})
		return s.told(q.Reference), err
	case p.state == card.Pending:
		close(p.cut)
		err := s.write(Entry{What: Seal, Reference: q.Reference, Reason: "stopped at the till"})
		return s.told(q.Reference), err
	case p.state == card.Approved && mode == "keep":
		a := s.told(q.Reference)
		a.Reason = "it is with the acquirer already"
		return a, nil
	case p.state == card.Approved:
		if err := s.write(Entry{What: Reverse, Reference: q.Reference, Amount: p.amount}); err != nil {
			return card.Answer{}, err
		}
	}
	return s.told(q.Reference), nil
}

// told is what the payment terminal says of a payment that it knows.
func (s *Simulator) told(ref string) card.Answer {
	p := s.known[ref]
	a := card.Answer{Reference: ref, State: p.state, Reason: p.reason}
	if p.state == card.Reversed { // however often it is asked
		a.Offline = p.offline
	}
	if p.state == card.Approved {
		a.Amount, a.Number, a.Offline = pos.Money(p.amount), p.number, p.offline
		a.Brand, a.Last4, a.Auth = "visa", "1111", fmt.Sprintf("%06X", crc32.ChecksumIEEE([]byte(ref))&0xffffff)
	}
	return a
}
