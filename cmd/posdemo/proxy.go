package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is the network between the shop and head office: it passes TCP on to
// target, counts the bytes, and can be cut.
type link struct {
	address string // where the shop connects
	target  string
	up      atomic.Int64 // bytes from the shop
	down    atomic.Int64

	mu       sync.Mutex
	listener net.Listener // nil while cut
	conns    map[net.Conn]bool
	work     sync.WaitGroup
}

func newLink(target string) (*link, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{address: ln.Addr().String(), target: target, conns: map[net.Conn]bool{}}
	l.begin(ln)
	return l, nil
}

func (l *link) begin(ln net.Listener) {
	l.mu.Lock()
	l.listener = ln
	l.mu.Unlock()
	l.work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // cut
			}
			l.work.Go(func() { l.pass(ln, c) })
		}
	})
}

// cut resets all connections and refuses new ones. It returns when it is done.
func (l *link) cut() {
	l.mu.Lock()
	if l.listener != nil {
		l.listener.Close()
		l.listener = nil
	}
	for c := range l.conns {
		abort(c)
	}
	l.mu.Unlock()
	l.work.Wait()
}

// restore lets connections through again, at the same address.
func (l *link) restore() error {
	var err error
	for range 50 { // the port may be taken for a moment by an outgoing connection
		var ln net.Listener
		if ln, err = net.Listen("tcp", l.address); err == nil {
			l.begin(ln)
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("the link cannot be restored: %w", err)
}

// abort closes a connection with a reset, as a network that is gone does not say
// good-bye.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

// keep notes connections of a listener for cut; false if it has been cut since.
func (l *link) keep(ln net.Listener, conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != ln {
		return false
	}
	for _, c := range conns {
		l.conns[c] = true
	}
	return true
}

func (l *link) pass(ln net.Listener, shop net.Conn) {
	hub, err := net.DialTimeout("tcp", l.target, 2*time.Second)
	if err != nil {
		abort(shop)
		return
	}
	if !l.keep(ln, shop, hub) {
		abort(shop)
		abort(hub)
		return
	}
	var both sync.WaitGroup
	copyTo := func(dst, src net.Conn, n *atomic.Int64) {
		_, err := io.Copy(dst, io.TeeReader(src, counter{n}))
		if err == nil || errors.Is(err, net.ErrClosed) {
			dst.(*net.TCPConn).CloseWrite()
			return
		}
		abort(dst)
		abort(src)
	}
	both.Go(func() { copyTo(hub, shop, &l.up) })
	both.Go(func() { copyTo(shop, hub, &l.down) })
	both.Wait()
	l.mu.Lock()
	delete(l.conns, shop)
	delete(l.conns, hub)
	l.mu.Unlock()
	shop.Close()
	hub.Close()
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}
