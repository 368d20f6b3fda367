package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// history is some terminals, hubs and servers from their first start on, through some
// cuts, until all is settled. What is decided in it comes from the seed.
type history struct {
	seed    uint64
	cuts    int
	servers int // 1 or 3
	tills   int
	hubs    int
	ledger  string // bbolt or postgres
	powered bool   // posd is the build that loses with its life what was not synced
}

// What hubs keep their ledger in.
const (
	bbolt    = "bbolt"
	postgres = "PostgreSQL"
)

// pace is how often something happens, in the mean.
type pace struct{ cuts, hubCuts, hubs, tills, servers, leaders time.Duration }

func (h *history) String() string {
	build := "killed"
	if h.powered {
		build = "cut from power"
	}
	return fmt.Sprintf("history %d (%d servers, %d terminals which are %s, %d hubs on %s, %d cuts)", h.seed, h.servers, h.tills, build, h.hubs, h.ledger, h.cuts)
}

// pace depends on how long a new leader takes to be elected.
func (h *history) pace() pace {
	p := pace{cuts: 1500 * time.Millisecond, hubCuts: 6 * time.Second, hubs: 6 * time.Second, tills: 5 * time.Second, servers: 12 * time.Second}
	if h.servers > 1 {
		p.leaders, p.servers = 1200*time.Millisecond, 20*time.Second
	}
	if h.cuts < 20 { // a short one must see something too
		p.hubs, p.tills, p.servers, p.leaders = p.hubs/4, p.tills/4, p.servers/4, p.leaders/2
	}
	return p
}

// histories shares the cuts out. Two thirds of them happen to three servers, where
// most can go wrong; half of the histories have two hubs that share two shards on
// PostgreSQL.
func histories(seed uint64, cuts int) (all []*history) {
	const each = 60
	for n := 0; cuts > 0; n++ {
		rng := rand.New(rand.NewPCG(seed+uint64(n), 1))
		h := &history{seed: seed + uint64(n), servers: []int{3, 1, 3}[n%3], tills: 3 + rng.IntN(3), hubs: 1, ledger: bbolt, powered: rng.IntN(2) == 0}
		if n%2 == 1 {
			h.ledger, h.hubs = postgres, 2
		}
		h.cuts = min(each, max(cuts/2, min(cuts, 6)))
		if cuts-h.cuts < 6 {
			h.cuts = cuts
		}
		cuts -= h.cuts
		all = append(all, h)
	}
	return all
}

// blowsOften: what is aimed at a parcel tells more than a cut just any time.
var blowsOften = []blow{cut, cut, torn, deaf, deaf, late, late, late, double, double, double, frozen}

func pick[T any](rng *rand.Rand, of []T) T { return of[rng.IntN(len(of))] }

// about is a time around a mean, at times much longer.
func about(rng *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(min(rng.ExpFloat64(), 4) * float64(mean))
}
