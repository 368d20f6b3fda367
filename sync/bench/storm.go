package main

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// storm computes what happens when a fleet comes back at once: terminals as the uplink
// behaves (a round over its servers in any order, a short pause after each, a back-off
// with full jitter after a round in vain), servers whose processors all handshakes
// share. A handshake is two steps of work: TLS, then credentials and account. A terminal
// gives up when connecting takes too long, and, which is a matter of nats.go, when
// the second step takes longer than the server waits before its first ping. Whoever gives up
// has cost what was done for it.
//
// All servers fare alike, so one is computed, with its part of the terminals.
type storm struct {
	terminals, servers int
	cores              float64       // of each server, for this
	tls, account       time.Duration // processor time of the two steps
	rate               int           // handshakes a second that a server begins, 0: all
	seed               uint64
}

// As in the uplink (sync/uplink: defaultTimes, pool) and in nats-server.
const (
	connectLimit = 5 * time.Second
	mostPatience = 8
	firstPause   = 250 * time.Millisecond
	longestPause = time.Minute
	firstPing    = 2 * time.Second // and up to a fifth more
	refusal      = 50 * time.Microsecond
	stormStep    = 20 * time.Millisecond
	stormEnd     = 20 * time.Minute
)

// stormResult is when terminals were connected, and what it cost.
type stormResult struct {
	Connected spread  // seconds
	Missing   int     // terminals of one server that were not in at the end
	Attempts  float64 // of each terminal
	Refused   float64 // of them refused by the limit, of each terminal
	Wasted    float64 // of the servers' work, for those who gave up
}

// caller is a terminal.
type caller struct {
	at       time.Duration // of its next attempt
	left     int           // servers still to be tried in this round
	rounds   int
	patience int
	silent   bool // all in this round kept it waiting
}

type callers []*caller

func (c callers) Len() int           { return len(c) }
func (c callers) Less(i, j int) bool { return c[i].at < c[j].at }
func (c callers) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *callers) Push(x any)        { *c = append(*c, x.(*caller)) }
func (c *callers) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	*c = (*c)[:last]
	return x
}

// handshake is one that a server works on.
type handshake struct {
	who            *caller
	began, account time.Duration // when; account 0: still TLS
	left, spent    time.Duration // of the step's work; of all
	ping           time.Duration
}

func (s *storm) run() stormResult {
	rng := rand.New(rand.NewPCG(s.seed, 1))
	jitter := func(d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d) + 1)) }
	total := (s.terminals + s.servers - 1) / s.servers
	step := stormStep
	if total > 5000 {
		step *= 5
	}
	waiting := make(callers, 0, total)
	for range total {
		waiting = append(waiting, &caller{left: s.servers, patience: 1, silent: true})
	}
	heap.Init(&waiting)
	var active []handshake
	begun := 0 // in this second
	var connected []float64
	var attempts, refused int
	var done, wasted time.Duration
	// again lets a terminal that failed go on, as moveOn and roundOver do.
	again := func(c *caller, now time.Duration, silent bool) {
		c.silent = c.silent && silent
		c.at = now + jitter(firstPause)
		if c.left == 0 {
			if c.silent {
				c.patience = min(2*c.patience, mostPatience)
			}
			c.at += jitter(min(firstPause<<min(c.rounds, 20), longestPause))
			c.rounds, c.silent, c.left = c.rounds+1, true, s.servers
		}
		heap.Push(&waiting, c)
	}
	for now := time.Duration(0); len(connected) < total && now < stormEnd; now += step {
		if now%time.Second < step {
			begun = 0
		}
		extra := time.Duration(0) // work for refusals
		for len(waiting) > 0 && waiting[0].at <= now {
			c := heap.Pop(&waiting).(*caller)
			c.left--
			attempts++
			if s.rate > 0 && begun >= s.rate {
				refused++
				extra += refusal
				again(c, now, false)
				continue
			}
			begun++
			active = append(active, handshake{who: c, began: now, left: s.tls, ping: firstPing + jitter(firstPing/5)})
		}
		budget := max(0, time.Duration(s.cores*float64(step))-extra)
		active = s.work(active, budget, now, step, func(h *handshake, ok, silent bool) {
			if done += h.spent; ok {
				connected = append(connected, (now + step).Seconds())
				return
			}
			wasted += h.spent
			again(h.who, now+step, silent)
		})
	}
	n := float64(total)
	r := stormResult{Missing: total - len(connected), Connected: spreadOf(connected), Attempts: float64(attempts) / n, Refused: float64(refused) / n}
	if done > 0 {
		r.Wasted = wasted.Seconds() / done.Seconds()
	}
	return r
}

// work gives all handshakes equal parts of a step's processor time, none more than one
// core, and ends those that are through or given up.
func (s *storm) work(all []handshake, budget, now, step time.Duration, end func(h *handshake, ok, silent bool)) []handshake {
	if len(all) == 0 {
		return all
	}
	share := min(budget/time.Duration(len(all)), step)
	keep := all[:0]
	for i := range all {
		h := &all[i]
		for part := share; part > 0; {
			used := min(part, h.left)
			part, h.left, h.spent = part-used, h.left-used, h.spent+used
			if h.left > 0 {
				break
			}
			if h.account > 0 {
				break
			}
			h.account, h.left = now+step, s.account
		}
		at := now + step
		switch {
		case h.account > 0 && h.left == 0:
			end(h, true, false)
		case h.account > 0 && at-h.account > h.ping:
			end(h, false, false)
		case at-h.began > connectLimit*time.Duration(h.who.patience):
			end(h, false, true)
		default:
			keep = append(keep, *h)
		}
	}
	return keep
}
