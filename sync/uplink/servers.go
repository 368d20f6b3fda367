package uplink

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"time"
)

// server is one NATS server that may be connected to.
type server struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	url        string
	host, port string
	home       bool  // of our own region
	err        error // of the last attempt, in this round
	silent     bool  // that failed by silence, not by a refusal
}

func newServer(raw string, home bool) (*server, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("uplink: %q is not the address of a NATS server", raw)
	}
	s := &server{url: raw, host: u.Hostname(), port: u.Port(), home: home}
	if s.port == "" {
		s.port = map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	}
	if s.port == "" {
		s.port = "4222"
	}
	return s, nil
}

func (s *server) String() string { return net.JoinHostPort(s.host, s.port) }

// maxPatience times the first limits is what a server gets in the end.
const maxPatience = 8

// pool decides which server is tried next. It goes in rounds: in each, a server
// is tried once, the one that was good last first, then those at home, then the
// other regions'. While there are other regions, home has a budget of time in
// each round: however many servers it has, and in whatever way they fail, the
// other regions' turn comes. After a round in vain the limits double, up to
// maxPatience: a link may be so slow that every server is too late.
type pool struct {
	home, away []*server
	round      []*server // still to be tried
	good       *server   // the last that took what we sent
	patience   time.Duration
	budget     time.Duration // of home in a round, before patience
	began      time.Time
}

func newPool(urls, fallback []string, budget time.Duration) (*pool, error) {
	p := &pool{budget: budget, patience: 1}
	for i, raw := range append(append([]string(nil), urls...), fallback...) {
		s, err := newServer(raw, i < len(urls))
		if err != nil {
			return nil, err
		}
		if s.home {
			p.home = append(p.home, s)
		} else {
			p.away = append(p.away, s)
		}
	}
	return p, nil
}

// begin starts a round. first, if any, is tried first; avoid, if any, after the
// others of its region.
func (p *pool) begin(now time.Time, first, avoid *server) {
	p.began, p.round = now, p.round[:0]
	for _, region := range [][]*server{p.home, p.away} {
		for _, i := range rand.Perm(len(region)) {
			s := region[i]
			s.err, s.silent = nil, false
			if s != first && s != avoid {
				p.round = append(p.round, s)
			}
		}
		if avoid != nil && avoid != first && len(region) > 0 && region[0].home == avoid.home {
			p.round = append(p.round, avoid)
		}
	}
	if first != nil {
		p.round = append([]*server{first}, p.round...)
	}
}

// next takes the next server of the round; limit is what the attempt may take.
// nil: the round is over.
func (p *pool) next(now time.Time, limit time.Duration) (*server, time.Duration) {
	limit *= p.patience
	for len(p.round) > 0 {
		s := p.round[0]
		p.round = p.round[1:]
		if !s.home || len(p.away) == 0 {
			return s, limit
		}
		left := p.budget*p.patience - now.Sub(p.began)
		if left >= limit/4 {
			return s, min(limit, left)
		}
		if s.err == nil {
			s.err = errNoTurn
		}
	}
	return nil, 0
}

var errNoTurn = errors.New("not tried: the others took too long")

// failed is the end of a round in vain: what each server said, and whether only
// silence was met, so that more patience may help.
func (p *pool) failed() error {
	silent := true
	var texts []string
	for _, s := range append(append([]*server(nil), p.home...), p.away...) {
		if s.err == nil || s.err == errNoTurn {
			continue
		}
		silent = silent && s.silent
		if t := s.err.Error(); len(texts) < 4 {
			texts = append(texts, t)
		}
	}
	if silent {
		p.patience = min(2*p.patience, maxPatience)
	}
	if len(texts) == 0 {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}

// proved: a server took what we sent.
func (p *pool) proved(s *server) { p.good, p.patience = s, 1 }
