package main

import (
	"net"
	"sync"
	"time"
)

// beforeWords are the round trips of a new connection until the server's first word is
// there: TCP's own, and the one that this word waits for.
const beforeWords = 2

// flapLink is a link between one terminal and its server that has a round trip time,
// is counted at the terminal's end, and can be cut.
type flapLink struct {
	l    net.Listener
	to   string
	half time.Duration // of a round trip
	wg   sync.WaitGroup

	mu        sync.Mutex
	near, far net.Conn  // the present connection
	dialled   time.Time // first after the cut
	upward    bool      // something went up last
	up, down  int       // bytes since the cut
	trips     int       // answers, and what came before them
}

func newFlapLink(to string, half time.Duration) (*flapLink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &flapLink{l: l, to: to, half: half}
	f.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			at := time.Now()
			f.wg.Go(func() { f.open(near, at) })
		}
	})
	return f, nil
}

// open makes the server's side of a connection, when the third packet of TCP's
// handshake would have come.
func (f *flapLink) open(near net.Conn, at time.Time) {
	f.mu.Lock()
	if f.near, f.far = near, nil; f.dialled.IsZero() {
		f.dialled = at
	}
	f.trips += beforeWords
	f.mu.Unlock()
	time.Sleep(3 * f.half)
	far, err := net.Dial("tcp", f.to)
	if err != nil {
		near.Close()
		return
	}
	f.mu.Lock()
	if f.near != near { // cut meanwhile
		near.Close()
		far.Close()
	} else {
		f.far = far
	}
	f.mu.Unlock()
	f.wg.Go(func() { f.carry(near, far, near, true) })
	f.carry(near, near, far, false)
}

// carry passes on what src says, half a round trip later.
func (f *flapLink) carry(near, dst, src net.Conn, up bool) {
	type chunk struct {
		b   []byte
		due time.Time
	}
	ch := make(chan chunk, 64)
	f.wg.Go(func() {
		defer close(ch)
		for {
			b := make([]byte, 16<<10)
			n, err := src.Read(b)
			if err != nil {
				return
			}
			if up {
				f.count(near, n, true)
			}
			ch <- chunk{b[:n], time.Now().Add(f.half)}
		}
	})
	for c := range ch {
		time.Sleep(time.Until(c.due))
		if !up {
			f.count(near, len(c.b), false)
		}
		if _, err := dst.Write(c.b); err != nil {
			src.Close() // ends the reader, and so this
		}
	}
	src.Close()
	dst.Close()
}

func (f *flapLink) count(near net.Conn, n int, up bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.near != near:
		return
	case up:
		f.up += n
	default:
		if f.down += n; f.upward {
			f.trips++
		}
	}
	f.upward = up
}

// cut resets the connection; the next one is taken at once.
func (f *flapLink) cut() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range []net.Conn{f.near, f.far} {
		if t, ok := c.(*net.TCPConn); ok {
			t.SetLinger(0)
			t.Close()
		}
	}
	f.near, f.far, f.dialled, f.upward, f.up, f.down, f.trips = nil, nil, time.Time{}, false, 0, 0, 0
	return time.Now()
}

// tell notes what has happened since the cut; the parcel has so many bytes.
func (f *flapLink) tell(w *flapRow, cut, connected time.Time, parcel uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.pause, w.connect = append(w.pause, ms(f.dialled.Sub(cut))), append(w.connect, ms(connected.Sub(f.dialled)))
	w.up, w.down, w.trips = append(w.up, float64(f.up)-float64(parcel)), append(w.down, float64(f.down)), append(w.trips, float64(f.trips))
}

// close is called when the terminal is gone.
func (f *flapLink) close() {
	f.l.Close()
	f.cut()
	f.wg.Wait()
}
