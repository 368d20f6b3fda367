package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// giveUp is how long something may take that must happen. Nothing is measured by it:
// only a hang meets it.
const giveUp = 10 * time.Minute

// process is one program, that comes and goes. Its output goes to a log file.
type process struct {
	name string
	log  string
	path string
	args []string
	env  []string

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
	state *os.ProcessState
}

// start runs it, unless it runs.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		select {
		case <-p.ended:
		default:
			return nil
		}
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(log, "--- %s start\n", time.Now().Format("15:04:05.000"))
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended, p.state = cmd, ended, nil
	go func() { // ends with the process, which kill and stop wait for
		cmd.Wait()
		p.mu.Lock()
		if p.cmd == cmd {
			p.state = cmd.ProcessState
		}
		p.mu.Unlock()
		close(ended)
	}()
	return nil
}

// running says whether it runs; if not, how it ended.
func (p *process) running() (bool, *os.ProcessState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil && p.state == nil, p.state
}

func (p *process) signal(sig os.Signal) (chan struct{}, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.state != nil {
		return nil, false
	}
	p.cmd.Process.Signal(sig)
	return p.ended, true
}

// kill is SIGKILL; it returns when the process is gone. False if it was not there.
func (p *process) kill() bool {
	ended, ok := p.signal(syscall.SIGKILL)
	if ok {
		<-ended
		p.mark("killed")
	}
	return ok
}

// stop asks the process to end in order.
func (p *process) stop() error {
	ended, ok := p.signal(syscall.SIGTERM)
	if !ok {
		return nil
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		p.kill()
		return found(stuck, "%s did not stop within a minute%s", p.name, p.tail())
	}
	if _, st := p.running(); !st.Success() {
		return found(falseAlarm, "%s did not stop in order: %s%s", p.name, st, p.tail())
	}
	p.mu.Lock()
	p.cmd, p.state = nil, nil // this end was asked for
	p.mu.Unlock()
	return nil
}

func (p *process) mark(what string) {
	if f, err := os.OpenFile(p.log, os.O_WRONLY|os.O_APPEND, 0o644); err == nil {
		fmt.Fprintf(f, "--- %s %s\n", time.Now().Format("15:04:05.000"), what)
		f.Close()
	}
}

// tail is the end of the log, or the first lines of a panic.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil || len(b) == 0 {
		return ""
	}
	lines := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	from := max(0, len(lines)-6)
	for i, line := range lines {
		if bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: ")) {
			from = i
			break
		}
	}
	return "; its log " + p.log + " says:\n    " + string(bytes.Join(lines[from:min(from+6, len(lines))], []byte("\n    ")))
}

// await repeats fn until it returns nil.
func await(ctx context.Context, what string, fn func() error) error {
	limit := time.Now().Add(giveUp)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := fn()
		var f *finding
		switch {
		case err == nil:
			return nil
		case errors.As(err, &f):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(limit):
			return found(stuck, "%s: not within %v: %v", what, giveUp, err)
		}
		sleep(ctx, pause)
	}
}

// run is a program that ends by itself.
func run(ctx context.Context, path string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %v: %w\n%s", filepath.Base(path), args, err, errs.Bytes())
	}
	return out, err
}
