package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// roleVar tells a process of this program what it is.
const roleVar = "POSD_LAB_ROLE"

// child is another process of this program that answers calls. It dies with
// its parent.
type child struct {
	cmd    *exec.Cmd
	rpc    *rpc.Client
	errs   tail
	exited chan struct{}
}

type pipes struct {
	io.Reader
	io.WriteCloser
}

func spawn(role string) (*child, error) {
	c := &child{cmd: exec.Command("/proc/self/exe"), exited: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), roleVar+"="+role)
	c.cmd.Stderr = &c.errs
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.rpc = rpc.NewClient(pipes{out, in})
	go func() {
		c.cmd.Process.Wait() // not cmd.Wait, which would close the pipes under a call
		close(c.exited)
	}()
	return c, nil
}

// errDied: the process ended in the middle of a call.
var errDied = errors.New("the process died")

// call runs a method there. After the deadline the process is killed.
func (c *child) call(method string, args, reply any, limit time.Duration) error {
	call := c.rpc.Go(method, args, reply, make(chan *rpc.Call, 1))
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-call.Done:
	case <-timer.C:
		c.kill()
		return fmt.Errorf("%s took longer than %v\n%s", method, limit, c.errs.String())
	}
	var said rpc.ServerError
	if call.Error != nil && !errors.As(call.Error, &said) {
		c.kill()
		return fmt.Errorf("%s: %w: %w\n%s", method, errDied, call.Error, c.errs.String())
	}
	return call.Error
}

// kill ends the process at once and waits until it is gone.
func (c *child) kill() {
	c.cmd.Process.Kill()
	select {
	case <-c.exited:
	case <-time.After(20 * time.Second): // it hangs in the kernel; the end of the devices will free it
	}
	c.rpc.Close()
}

// serve answers calls of the parent until it closes the pipe.
func serve(rcvr any) {
	s := rpc.NewServer()
	if err := s.Register(rcvr); err != nil {
		panic(err)
	}
	out := os.Stdout
	os.Stdout = os.Stderr
	s.ServeConn(pipes{os.Stdin, out})
}

// tail keeps the end of what a process says.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Write(p)
	if over := t.b.Len() - 16<<10; over > 0 {
		t.b.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
