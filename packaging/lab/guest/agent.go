package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// Agent commands the ready init of a guest. Calls may run side by side.
type Agent struct {
	m     *Machine
	ready chan struct{} // closed when the init has said that it is ready
	over  chan struct{} // closed when the port is

	mu    sync.Mutex
	last  uint64
	calls map[uint64]chan Reply
	fatal string // what the init said instead of being ready
}

// errUnready: the init ran and could not do what its configuration says.
var errUnready = errors.New("the guest could not get ready")

func newAgent(m *Machine) *Agent {
	a := &Agent{m: m, ready: make(chan struct{}), over: make(chan struct{}), calls: map[uint64]chan Reply{}}
	go a.read()
	return a
}

// Agent waits until the guest's init has done all that its configuration says.
func (m *Machine) Agent(ctx context.Context) (*Agent, error) {
	select {
	case <-m.agent.ready:
	case <-m.agent.over:
		<-m.done
		return nil, errors.Join(errors.New("the guest ended before it was ready"), m.err)
	case <-ctx.Done():
		return nil, fmt.Errorf("the guest is not ready: %w; end of the console:\n%s", context.Cause(ctx), m.console.tail())
	}
	if m.agent.fatal != "" {
		return nil, fmt.Errorf("%w: %s", errUnready, m.agent.fatal)
	}
	return m.agent, nil
}

func (a *Agent) read() {
	defer close(a.over)
	defer a.m.port.Close()
	r := bufio.NewReaderSize(a.m.port, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		var reply Reply
		if json.Unmarshal(line, &reply) != nil {
			continue // half a line of a life that was cut
		}
		if reply.ID == 0 {
			a.fatal = reply.Error
			close(a.ready)
			continue
		}
		a.mu.Lock()
		c := a.calls[reply.ID]
		delete(a.calls, reply.ID)
		a.mu.Unlock()
		if c != nil {
			c <- reply
		}
	}
}

func (a *Agent) call(ctx context.Context, q Request) (Reply, error) {
	c := make(chan Reply, 1)
	a.mu.Lock()
	a.last++
	q.ID = a.last
	a.calls[q.ID] = c
	line, err := json.Marshal(q)
	if err == nil {
		_, err = a.m.port.Write(append(line, '\n'))
	}
	a.mu.Unlock()
	if err != nil {
		return Reply{}, fmt.Errorf("guest, %s: %w", q.Do, err)
	}
	select {
	case reply := <-c:
		if reply.Error != "" {
			return reply, fmt.Errorf("guest, %s: %s", q.Do, reply.Error)
		}
		return reply, nil
	case <-a.over:
		return Reply{}, fmt.Errorf("guest, %s: the guest ended", q.Do)
	case <-ctx.Done():
		a.mu.Lock()
		delete(a.calls, q.ID)
		a.mu.Unlock()
		return Reply{}, fmt.Errorf("guest, %s: %w; end of the console:\n%s", q.Do, context.Cause(ctx), a.m.console.tail())
	}
}

func (a *Agent) exit(ctx context.Context, q Request) (Exit, error) {
	reply, err := a.call(ctx, q)
	if err != nil || reply.Exit == nil {
		return Exit{}, err
	}
	return *reply.Exit, nil
}

// Run runs a program to its end; that it ended badly is no error of Run.
func (a *Agent) Run(ctx context.Context, p Program) (Exit, error) {
	return a.exit(ctx, Request{Do: "run", Run: &p})
}

// Start starts a program that has a name, and gives its process id.
func (a *Agent) Start(ctx context.Context, p Program) (int, error) {
	e, err := a.exit(ctx, Request{Do: "start", Run: &p})
	return e.PID, err
}

// Await waits until a named program has ended for good.
func (a *Agent) Await(ctx context.Context, name string) (Exit, error) {
	return a.exit(ctx, Request{Do: "await", Name: name})
}

// Stop sends a signal to a named program; one that is to be restarted is no longer,
// unless the signal is SIGKILL: that is an accident.
func (a *Agent) Stop(ctx context.Context, name string, s syscall.Signal) error {
	_, err := a.call(ctx, Request{Do: "signal", Name: name, Signal: int(s)})
	return err
}

// Log is the end of what a named program has said, up to 256 KiB.
func (a *Agent) Log(ctx context.Context, name string) (string, error) {
	reply, err := a.call(ctx, Request{Do: "log", Name: name})
	return string(reply.Data), err
}

// piece is how much of a file goes in one message.
const piece = 256 << 10

// ReadFile reads a file of the guest, such as one of its kernel's.
func (a *Agent) ReadFile(ctx context.Context, name string) ([]byte, error) {
	var all []byte
	for {
		reply, err := a.call(ctx, Request{Do: "read", Name: name, Offset: int64(len(all))})
		all = append(all, reply.Data...)
		if err != nil || len(reply.Data) == 0 {
			return all, err
		}
	}
}

// WriteFile writes one, as the guest's kernel caches it: nothing is synced. A file of
// the kernel gets all in one write; else, past 256 KiB, it comes in several.
func (a *Agent) WriteFile(ctx context.Context, name string, data []byte, mode uint32) error {
	for at := 0; ; {
		n := min(piece, len(data)-at)
		if _, err := a.call(ctx, Request{Do: "write", Name: name, Data: data[at : at+n], Offset: int64(at), Mode: mode}); err != nil {
			return err
		}
		if at += n; at == len(data) {
			return nil
		}
	}
}

// Install puts a copy of one file of the guest in the place of another, as package
// managers do: written beside it, synced, renamed over it, and the folder synced.
func (a *Agent) Install(ctx context.Context, from, to string) error {
	_, err := a.call(ctx, Request{Do: "install", From: from, Name: to})
	return err
}

// Sum is the SHA-256 of a file.
func (a *Agent) Sum(ctx context.Context, name string) ([]byte, error) {
	reply, err := a.call(ctx, Request{Do: "sum", Name: name})
	return reply.Data, err
}

// Mount mounts a file system.
func (a *Agent) Mount(ctx context.Context, m Mount) error {
	_, err := a.call(ctx, Request{Do: "mount", Mount: &m})
	return err
}

// Unmount unmounts one.
func (a *Agent) Unmount(ctx context.Context, target string) error {
	_, err := a.call(ctx, Request{Do: "unmount", Name: target})
	return err
}

// PowerOff stops all programs with SIGTERM, unmounts, and waits for the machine's end.
func (a *Agent) PowerOff(ctx context.Context) error {
	if _, err := a.call(ctx, Request{Do: "poweroff"}); err != nil {
		return err
	}
	select {
	case <-a.m.done:
		return a.m.err
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("the guest does not power off: %w", context.Cause(ctx)), a.m.Kill())
	case <-time.After(2 * time.Minute):
		return errors.Join(errors.New("the guest does not power off"), a.m.Kill())
	}
}
