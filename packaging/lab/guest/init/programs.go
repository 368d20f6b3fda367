package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"posd/packaging/lab/guest"
)

// programs starts programs and is told of their ends. As the first process, this
// one reaps what others leave behind too, so nobody else here may wait for a child.
type programs struct {
	starting sync.Mutex // held from a start until its process is known
	mu       sync.Mutex
	running  map[int]chan<- guest.Exit
	named    map[string]*program
}

// program is one that has a name.
type program struct {
	guest.Program
	log    tail
	over   chan struct{} // closed when it has ended for good
	exit   guest.Exit    // the last one
	pid    int
	starts int
	stop   bool
}

func newPrograms() *programs {
	p := &programs{running: map[int]chan<- guest.Exit{}, named: map[string]*program{}}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		for range ended {
			p.reap()
		}
	}()
	return p
}

func (p *programs) reap() {
	p.starting.Lock()
	defer p.starting.Unlock()
	for {
		var status unix.WaitStatus
		var use unix.Rusage
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, &use)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		e := guest.Exit{PID: pid, Code: status.ExitStatus(), MaxRSS: use.Maxrss, CPU: (use.Utime.Nano() + use.Stime.Nano()) / 1000}
		if status.Signaled() {
			e.Code, e.Signal = -1, int(status.Signal())
		}
		p.mu.Lock()
		c := p.running[pid]
		delete(p.running, pid)
		p.mu.Unlock()
		if c != nil {
			c <- e
		}
	}
}

// spawn starts a program; the channel gives its end.
func (p *programs) spawn(prog *guest.Program, in, out, errs *os.File) (int, <-chan guest.Exit, error) {
	if len(prog.Args) == 0 {
		return 0, nil, errors.New("no program given")
	}
	path, err := exec.LookPath(prog.Args[0])
	if err != nil {
		return 0, nil, err
	}
	attr := &os.ProcAttr{
		Dir:   prog.Dir,
		Env:   append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/"}, prog.Env...),
		Files: []*os.File{in, out, errs},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if prog.UID != 0 || prog.GID != 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: prog.UID, Gid: prog.GID}
	}
	if prog.Cgroup != "" {
		g, err := group(prog.Cgroup, prog.Limits)
		if err != nil {
			return 0, nil, fmt.Errorf("group %s: %w", prog.Cgroup, err)
		}
		defer g.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(g.Fd())
	}
	p.starting.Lock()
	defer p.starting.Unlock()
	proc, err := os.StartProcess(path, prog.Args, attr)
	if err != nil {
		return 0, nil, err
	}
	c, pid := make(chan guest.Exit, 1), proc.Pid // Release forgets it
	p.mu.Lock()
	p.running[pid] = c
	p.mu.Unlock()
	return pid, c, proc.Release()
}

// outputLimit is how much of a program's output run keeps.
const outputLimit = 16 << 20

// run runs a program to its end.
func (p *programs) run(prog *guest.Program) (guest.Exit, error) {
	var out, errs bytes.Buffer
	e, err := p.once(prog, nil, &limited{&out}, &limited{&errs})
	e.Stdout, e.Stderr = out.Bytes(), errs.Bytes()
	return e, err
}

type limited struct{ *bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	l.Buffer.Write(b[:min(len(b), outputLimit-l.Len())])
	return len(b), nil
}

// once starts a program, tells started, and waits for it and for its output.
func (p *programs) once(prog *guest.Program, started func(pid int), out, errs io.Writer) (guest.Exit, error) {
	var streams sync.WaitGroup
	var ours, theirs []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			f.Close()
		}
	}
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err == nil {
			theirs = append(theirs, w)
			ours = append(ours, r)
		}
		return r, w, err
	}
	defer func() { closeAll(ours) }()
	in, feed, err := os.Pipe()
	if err != nil {
		return guest.Exit{}, err
	}
	theirs = append(theirs, in)
	outR, outW, err1 := pipe()
	errR, errW, err2 := pipe()
	var pid int
	var ended <-chan guest.Exit
	if err = errors.Join(err1, err2); err == nil {
		pid, ended, err = p.spawn(prog, in, outW, errW)
	}
	closeAll(theirs)
	if err != nil {
		feed.Close()
		return guest.Exit{}, err
	}
	if started != nil {
		started(pid)
	}
	go func() { // ends with the program at the latest
		feed.Write(prog.Stdin)
		feed.Close()
	}()
	streams.Go(func() { io.Copy(out, outR) })
	streams.Go(func() { io.Copy(errs, errR) })
	e := <-ended
	flushed := make(chan struct{})
	go func() { streams.Wait(); close(flushed) }()
	select {
	case <-flushed:
	case <-time.After(time.Second): // a child of it still holds the pipe
		closeAll(ours)
		<-flushed
	}
	return e, nil
}

// start starts a named program and sees to it from then on.
func (p *programs) start(prog guest.Program) (int, error) {
	if prog.Name == "" {
		return 0, errors.New("a program that is started needs a name")
	}
	n := &program{Program: prog, over: make(chan struct{})}
	n.log.prefix = prog.Name
	n.log.console = prog.Console
	p.mu.Lock()
	if old := p.named[prog.Name]; old != nil {
		select {
		case <-old.over:
		default:
			p.mu.Unlock()
			return 0, fmt.Errorf("%s is running", prog.Name)
		}
	}
	p.named[prog.Name] = n
	p.mu.Unlock()
	first := make(chan error, 1)
	go p.keep(n, first)
	if err := <-first; err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return n.pid, nil
}

// keep runs a program, again and again if it is to be restarted.
func (p *programs) keep(n *program, first chan<- error) {
	defer close(n.over)
	for {
		e, err := p.once(&n.Program, func(pid int) {
			p.mu.Lock()
			n.pid = pid
			n.starts++
			begun := n.starts == 1
			p.mu.Unlock()
			if begun {
				first <- nil
			}
		}, &n.log, &n.log)
		p.mu.Lock()
		e.Starts = n.starts
		n.exit, n.pid = e, 0
		again := n.Restart && !n.stop
		begun := n.starts > 0
		p.mu.Unlock()
		if err != nil {
			if !begun {
				first <- err
				return
			}
			fmt.Fprintf(&n.log, "guest: %v\n", err)
		} else {
			fmt.Fprintf(&n.log, "guest: %s ended: code %d, signal %d\n", n.Name, e.Code, e.Signal)
		}
		if !again {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (p *programs) find(name string) (*program, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.named[name]; n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("no program is named %q", name)
}

func (p *programs) await(name string) (guest.Exit, error) {
	n, err := p.find(name)
	if err != nil {
		return guest.Exit{}, err
	}
	<-n.over
	return n.exit, nil
}

func (p *programs) signal(name string, s unix.Signal) error {
	n, err := p.find(name)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s != unix.SIGKILL && s != 0 {
		n.stop = true
	}
	if n.pid <= 0 { // a signal to -1 would be for everyone
		return fmt.Errorf("%s is not running", name)
	}
	return unix.Kill(n.pid, s)
}

// stopAll ends the named programs in order, and after some time in disorder.
func (p *programs) stopAll() {
	p.mu.Lock()
	var all []*program
	for _, n := range p.named {
		n.stop = true
		if n.pid != 0 {
			unix.Kill(n.pid, unix.SIGTERM)
		}
		all = append(all, n)
	}
	p.mu.Unlock()
	limit := time.After(30 * time.Second)
	for _, n := range all {
		select {
		case <-n.over:
		case <-limit:
			return
		}
	}
}

// tail keeps the end of what a program says.
type tail struct {
	prefix  string
	console bool
	mu      sync.Mutex
	b       []byte
	line    []byte // begun, not yet on the console
}

const tailKept = 256 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - tailKept; over > tailKept/4 {
		t.b = append([]byte(nil), t.b[over:]...)
	}
	if t.console {
		t.line = append(t.line, b...)
		for {
			line, rest, whole := bytes.Cut(t.line, []byte("\n"))
			if !whole {
				break
			}
			fmt.Printf("%s| %s\n", t.prefix, line)
			t.line = rest
		}
	}
	return len(b), nil
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.b[max(0, len(t.b)-tailKept):])
}
