package httpapi

import (
	"net"
	"sync"
	"time"
)

// limited holds at most so many connections. When one more comes, the one on which
// nothing has begun or ended for the longest is cut: an idle one, or one whose
// client sends its request, or takes its answer, drop by drop. One on which a sale
// is being made is never cut; if all are at that, the new one waits.
type limited struct {
	net.Listener
	most int

	mu     sync.Mutex
	freed  *sync.Cond
	conns  map[*limitedConn]struct{}
	closed bool
	cut    func() // called for each one that is cut; may be nil
}

func limit(ln net.Listener, most int, cut func()) *limited {
	l := &limited{Listener: ln, most: most, conns: make(map[*limitedConn]struct{}, most), cut: cut}
	l.freed = sync.NewCond(&l.mu)
	return l
}

// Accept returns the next connection, once there is room for it.
func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.conns) >= l.most && !l.closed {
		if idle := l.longestIdle(); idle != nil {
			delete(l.conns, idle)
			idle.Conn.Close()
			if l.cut != nil {
				l.cut()
			}
			continue
		}
		l.freed.Wait()
	}
	// One that has come before the end is answered, at the end too.
	lc := &limitedConn{Conn: c, l: l, since: time.Now()}
	l.conns[lc] = struct{}{}
	return lc, nil
}

// longestIdle is the connection to cut, nil if all are at work. Callers hold mu.
func (l *limited) longestIdle() (found *limitedConn) {
	for c := range l.conns {
		if c.busy == 0 && (found == nil || c.since.Before(found.since)) {
			found = c
		}
	}
	return found
}

// Close ends the next Accept. One that waits for room returns its connection.
func (l *limited) Close() error {
	l.mu.Lock()
	l.closed = true
	l.freed.Broadcast()
	l.mu.Unlock()
	return l.Listener.Close()
}

// unasked is how many connections have not sent their first request yet.
func (l *limited) unasked() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if !c.asked {
			n++
		}
	}
	return n
}

// cutUnasked ends these.
func (l *limited) cutUnasked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if !c.asked {
			c.Conn.Close()
		}
	}
}

type limitedConn struct {
	net.Conn
	l *limited

	asked bool      // a request has come; guarded by l.mu, as is what follows
	busy  int       // sales being made
	since time.Time // of the last request's beginning or end
}

// Close gives the room back.
func (c *limitedConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.freed.Signal()
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// touch says that a request has come, or was answered.
func (c *limitedConn) touch() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.asked, c.since = true, time.Now()
}

// work says that a sale begins (1) or has been answered (-1).
func (c *limitedConn) work(n int) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.busy += n
	c.since = time.Now()
	if c.busy == 0 {
		c.l.freed.Signal()
	}
}
