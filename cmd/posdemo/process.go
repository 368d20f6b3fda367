package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// process is one child. Its standard error goes to a log file.
type process struct {
	name string
	log  string // path
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	// Valid after done.
	err error

	mu       sync.Mutex
	expected bool  // its end was asked for
	peakRSS  int64 // VmHWM, bytes
	peakAnon int64 // highest RssAnon seen, bytes
}

// begin starts a child; it must be called on the main goroutine (see init). out,
// if any, gets its standard output. ended is called if it ends unasked.
func begin(name, log string, out io.Writer, ended func(error), path string, args ...string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the child has its own copy
	p := &process{name: name, log: log, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	if out != nil {
		p.cmd.Stdout = out
	}
	// A group of its own: Ctrl-C reaches posdemo only, which stops the children in
	// order. Should posdemo be killed, they die with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.look()
	stop := make(chan struct{})
	var sampler sync.WaitGroup
	sampler.Go(func() { p.sample(stop) })
	go func() {
		p.err = p.cmd.Wait()
		close(stop)
		sampler.Wait()
		p.mu.Lock()
		unasked := !p.expected
		p.mu.Unlock()
		close(p.done)
		if unasked {
			ended(fmt.Errorf("%s ended by itself (%s); its log is %s%s", name, p.cmd.ProcessState, log, tail(log)))
		}
	}()
	return p, nil
}

// tail is the last lines of a log, or the first of a panic, for an error.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return ""
	}
	lines := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	from := max(0, len(lines)-5)
	for i, line := range lines {
		if bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: ")) {
			from = i
			break
		}
	}
	return ":\n    " + string(bytes.Join(lines[from:min(from+5, len(lines))], []byte("\n    ")))
}

// expect says that the end of the process will be asked for.
func (p *process) expect() {
	p.mu.Lock()
	p.expected = true
	p.mu.Unlock()
}

// stop asks the process to end and waits; it is killed if it takes too long,
// which is an error, as is an exit code other than 0.
func (p *process) stop() error {
	select {
	case <-p.done:
		return nil // reported when it happened
	default:
	}
	p.expect()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s did not stop in order: %w; its log is %s%s", p.name, p.err, p.log, tail(p.log))
		}
		return nil
	case <-time.After(15 * time.Second):
		p.kill()
		return fmt.Errorf("%s did not stop within 15 s and was killed; its log is %s", p.name, p.log)
	}
}

// kill is SIGKILL, and returns when the process is gone.
func (p *process) kill() {
	p.expect()
	p.cmd.Process.Kill()
	<-p.done
}

// cpu is the processor time used, by wait4 if it has ended, else so far.
func (p *process) cpu() time.Duration {
	select {
	case <-p.done:
		return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	default:
		return cpuSoFar(p.cmd.Process.Pid)
	}
}

// cpuSoFar reads user and system time, members 14 and 15 of /proc/PID/stat, in
// ticks of 1/100 s.
func cpuSoFar(pid int) time.Duration {
	b, _ := os.ReadFile(procFile(pid, "stat"))
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name may hold blanks
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(string(fields[11]), 10, 64)
	system, _ := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// sample polls the memory in use.
func (p *process) sample(stop <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.look()
		case <-stop:
			return
		}
	}
}

// look notes the memory in use now.
func (p *process) look() {
	b, err := os.ReadFile(procFile(p.cmd.Process.Pid, "status"))
	if err != nil {
		return // it has ended
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peakRSS = max(p.peakRSS, statusBytes(b, "VmHWM:"))
	p.peakAnon = max(p.peakAnon, statusBytes(b, "RssAnon:"))
}

// statusBytes reads a row "Name:   123 kB" of /proc/PID/status.
func statusBytes(status []byte, name string) int64 {
	_, rest, ok := bytes.Cut(status, []byte(name))
	if !ok {
		return 0
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(fields[0]), 10, 64)
	return n << 10
}

func (p *process) peaks() (rss, anon int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peakRSS, p.peakAnon
}
