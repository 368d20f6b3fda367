// Package freeport finds ports on loopback for servers that are told where to listen, and
// that stop and start again there: servers of tests, of benchmarks and of the demo.
//
// To listen on port 0 and close again is not enough. The kernel gives such a port to the
// next one who asks, which may be the second server of the same test, or an outgoing
// connection while the first one restarts. A port from here is below those that the
// kernel hands out, and no other process that asks here gets it until this one has ended.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// Linux hands out 32768 and above unless it is told otherwise (ip_local_port_range in
// ip(7)); servers with well-known ports are mostly below 10000.
const low, high = 10_000, 32_768

// Number returns a port that nothing listens on, and keeps it for this process.
func Number() (int, error) {
	for range 1000 {
		p := low + rand.IntN(high-low)
		if ok, err := keep(p); err != nil {
			return 0, err
		} else if !ok {
			continue
		}
		if ln, err := net.Listen("tcp", address(p)); err == nil {
			return p, ln.Close()
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d", low, high-1)
}

// Address is a free port's address.
func Address() (string, error) {
	p, err := Number()
	return address(p), err
}

// For is a free port's address for a test.
func For(t interface {
	Helper()
	Fatal(...any)
}) string {
	t.Helper()
	a, err := Address()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func address(p int) string { return fmt.Sprint("127.0.0.1:", p) }

// keep says whether the port is this process's from now on. An abstract socket's name
// tells the others: it has the same network namespace as the ports, it needs no file, and
// it ends with the process, for which the descriptor stays open.
func keep(p int) (bool, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("keep port %d: %w", p, err)
	}
	err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: fmt.Sprint("@posd-port-", p)})
	if err == nil {
		return true, nil
	}
	syscall.Close(fd)
	if errors.Is(err, syscall.EADDRINUSE) {
		return false, nil
	}
	return false, fmt.Errorf("keep port %d: %w", p, err)
}
