package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// blow is what happens to a connection.
type blow int

const (
	cut    blow = iota // both sides are reset
	torn               // in the middle of a parcel
	deaf               // a parcel arrives, what the server says to it does not
	late               // the client is cut off, its parcel arrives after that
	double             // all that was said is said again on a second connection
	frozen             // nothing passes and nothing is closed, then it is cut
	blows
)

func (b blow) String() string {
	return [...]string{"cut", "torn in a parcel", "without its acknowledgement", "landed late", "doubled", "frozen"}[b]
}

const (
	maxLate = 2 * time.Second        // after the cut, that bytes land
	settle  = 500 * time.Millisecond // for a server to decide about what came last on a connection
)

// weather is how good a link is while it works.
type weather struct {
	latency time.Duration
	rate    int // bytes per second, 0 = any
}

// link is the network between one process and the servers: for each server an
// address of its own, at which that process connects.
type link struct {
	name   string
	aims   []byte // at publications that begin so
	addrs  []string
	to     []string
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	stop   []net.Listener

	mu    sync.Mutex
	rng   *rand.Rand
	pipes map[*pipe]bool
	down  bool // connections are refused
	sky   weather
	armed *armed        // waits for its moment
	thaw  chan struct{} // nil, or closed when the ice breaks
	count [blows]int
	late  int // landings
}

// armed is a blow that waits for a parcel to strike.
type armed struct {
	blow
	after time.Duration // of a landing or a second connection
	keep  bool          // the first connection goes on beside the second one
	done  chan struct{}
}

func newLink(name string, aim []byte, seed uint64, to ...string) (*link, error) {
	l := &link{name: name, aims: aim, to: to, rng: rand.New(rand.NewPCG(seed, 77)), pipes: map[*pipe]bool{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for _, target := range to {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			l.close()
			return nil, err
		}
		l.stop = append(l.stop, ln)
		l.addrs = append(l.addrs, ln.Addr().String())
		l.wg.Go(func() { l.accept(ln, target) })
	}
	return l, nil
}

func (l *link) close() {
	l.cancel()
	for _, ln := range l.stop {
		ln.Close()
	}
	l.reset()
	l.wg.Wait()
}

func (l *link) accept(ln net.Listener, target string) {
	for {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		down := l.down || l.ctx.Err() != nil
		l.mu.Unlock()
		if down {
			hangUp(near)
			continue
		}
		l.wg.Go(func() { l.open(near, target) })
	}
}

func (l *link) open(near net.Conn, target string) {
	far, err := net.DialTimeout("tcp", target, 2*time.Second)
	if err != nil {
		hangUp(near)
		return
	}
	p := &pipe{l: l, near: near, far: far, f: framer{aim: l.aims}}
	l.mu.Lock()
	l.pipes[p] = true
	ok := l.ctx.Err() == nil
	l.mu.Unlock()
	if !ok {
		p.end()
		return
	}
	l.wg.Go(p.downward)
	p.upward()
}

// hangUp closes a connection with a reset, as a network that is gone does not say
// good-bye.
func hangUp(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

// reset cuts all connections.
func (l *link) reset() {
	l.mu.Lock()
	var all []*pipe
	for p := range l.pipes {
		all = append(all, p)
	}
	l.mu.Unlock()
	for _, p := range all {
		p.end()
	}
}

// live is how many connections there are.
func (l *link) live() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pipes)
}

func (l *link) set(down bool, sky weather) {
	l.mu.Lock()
	l.down, l.sky = down, sky
	l.mu.Unlock()
}

// strike lets a blow happen. One that is aimed at a parcel waits for one; where none
// comes within wait the connections are cut as they are. It returns what happened.
func (l *link) strike(ctx context.Context, b blow, wait time.Duration) blow {
	l.mu.Lock()
	a := &armed{blow: b, after: time.Duration(l.rng.Int64N(int64(maxLate))), keep: l.rng.IntN(2) == 0, done: make(chan struct{})}
	if l.rng.IntN(3) == 0 {
		a.after = time.Duration(l.rng.Int64N(int64(30 * time.Millisecond)))
	}
	l.mu.Unlock()
	switch b {
	case cut:
		l.reset()
	case frozen:
		l.freeze(ctx, wait)
	default:
		if !l.aim(ctx, a, wait) {
			b = cut
			l.reset()
		}
	}
	l.mu.Lock()
	l.count[b]++
	l.mu.Unlock()
	return b
}

func (l *link) freeze(ctx context.Context, d time.Duration) {
	thaw := make(chan struct{})
	l.mu.Lock()
	l.thaw = thaw
	l.mu.Unlock()
	sleep(ctx, d)
	l.reset()
	l.mu.Lock()
	l.thaw = nil
	l.mu.Unlock()
	close(thaw)
}

func (l *link) aim(ctx context.Context, a *armed, wait time.Duration) bool {
	l.mu.Lock()
	l.armed = a
	l.mu.Unlock()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-a.done:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.armed == a {
		l.armed = nil
		return false
	}
	return true // it has just begun
}

// take gives the blow for a parcel's begin or end to the one who asks first.
func (l *link) take(want ...blow) *armed {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range want {
		if a := l.armed; a != nil && a.blow == b {
			l.armed = nil
			close(a.done)
			return a
		}
	}
	return nil
}

// pipe is one connection of a process to a server.
type pipe struct {
	l         *link
	near, far net.Conn
	f         framer
	m         memory
	blow      *armed // under way on this connection
	held      []byte // of a parcel that will land late
	from      int    // where in it the newest publication begins

	mu   sync.Mutex
	mute bool // what the server says is lost, and its side stays open
}

// deafen loses from now on what the server says.
func (p *pipe) deafen() {
	p.mu.Lock()
	p.mute = true
	p.mu.Unlock()
}

func (p *pipe) deaf() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mute
}

func (p *pipe) end() {
	hangUp(p.near)
	hangUp(p.far)
	p.l.mu.Lock()
	delete(p.l.pipes, p)
	p.l.mu.Unlock()
}

var errStruck = errors.New("struck")

// upward passes on what the client says.
func (p *pipe) upward() {
	b := make([]byte, 32<<10)
	for {
		n, err := p.near.Read(b)
		for _, c := range p.f.feed(b[:n]) {
			if err := p.pass(c); errors.Is(err, errStruck) {
				return // far is another's now
			} else if err != nil {
				p.end()
				return
			}
		}
		if err != nil && len(p.held) > 0 { // the client went first: its parcel stays half
			p.deafen()
			p.l.wg.Go(p.land)
			return
		}
		if err != nil {
			p.end()
			return
		}
	}
}

// pass passes a chunk on, or does to it what was planned.
func (p *pipe) pass(c chunk) error {
	p.m.note(c)
	if c.parcel && c.begins {
		p.blow = p.l.take(late, torn)
	}
	switch a := p.blow; {
	case a != nil && a.blow == late:
		if c.begins {
			p.from = len(p.held)
		}
		p.held = append(p.held, c.data...)
		if !c.parcel || !c.ends || halfBatch(p.held[p.from:]) {
			return nil
		}
		p.deafen()
		hangUp(p.near)
		p.l.wg.Go(p.land)
		return errStruck
	case a != nil && a.blow == torn && !c.begins:
		p.far.Write(c.data[:len(c.data)/2])
		p.end()
		return errStruck
	case c.parcel && c.ends:
		if a = p.l.take(deaf, double); a != nil {
			return p.atEnd(c, a)
		}
	}
	return p.write(p.far, c.data)
}

// atEnd strikes when a whole parcel is about to arrive.
func (p *pipe) atEnd(c chunk, a *armed) error {
	if a.blow == deaf {
		p.deafen()
	}
	if err := p.write(p.far, c.data); err != nil {
		return err
	}
	if a.blow == double {
		said := p.m.all()
		p.l.wg.Go(func() { p.l.again(said, a.after) })
		if a.keep {
			return nil
		}
		p.end()
		return errStruck
	}
	hangUp(p.near)
	p.l.wg.Go(func() {
		sleep(p.l.ctx, settle)
		p.end()
	})
	return errStruck
}

// land delivers what was held, after the client has given the connection up.
func (p *pipe) land() {
	defer p.end()
	if p.blow != nil {
		sleep(p.l.ctx, p.blow.after)
	}
	if p.l.ctx.Err() != nil {
		return
	}
	if _, err := p.far.Write(p.held); err != nil {
		return
	}
	p.l.mu.Lock()
	p.l.late++
	p.l.mu.Unlock()
	sleep(p.l.ctx, settle)
}

// landed waits until what was held back has landed, and was decided about.
func (l *link) landed(ctx context.Context) error {
	err := await(ctx, "the late landing", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.late == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	sleep(ctx, settle)
	return err
}

// again says on a connection of its own what was said before, to any of the servers.
func (l *link) again(said []byte, after time.Duration) {
	sleep(l.ctx, after)
	l.mu.Lock()
	target := l.to[l.rng.IntN(len(l.to))]
	l.mu.Unlock()
	c, err := net.DialTimeout("tcp", target, 2*time.Second)
	if err != nil {
		return
	}
	defer c.Close()
	stop := context.AfterFunc(l.ctx, func() { c.Close() })
	defer stop()
	l.wg.Go(func() { // the server must not have to wait for a reader
		b := make([]byte, 32<<10)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
		}
	})
	if _, err := c.Write(said); err == nil {
		sleep(l.ctx, settle)
	}
}

// downward passes on what the server says, until it says no more.
func (p *pipe) downward() {
	b := make([]byte, 32<<10)
	for {
		n, err := p.far.Read(b)
		if n > 0 && !p.deaf() {
			// A client that was cut off does not end the server's side: what is held still lands.
			if werr := p.write(p.near, b[:n]); werr != nil && !p.deaf() {
				err = werr
			}
		}
		if err != nil {
			p.end()
			return
		}
	}
}

// write obeys the weather.
func (p *pipe) write(to net.Conn, b []byte) error {
	for len(b) > 0 {
		p.l.mu.Lock()
		sky, thaw := p.l.sky, p.l.thaw
		p.l.mu.Unlock()
		if thaw != nil {
			select {
			case <-thaw:
			case <-p.l.ctx.Done():
			}
		}
		n := len(b)
		if sky.rate > 0 {
			n = min(n, 2048)
			sky.latency += time.Duration(n) * time.Second / time.Duration(sky.rate)
		}
		sleep(p.l.ctx, sky.latency)
		if _, err := to.Write(b[:n]); err != nil {
			return fmt.Errorf("link %s: %w", p.l.name, err)
		}
		b = b[n:]
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
