package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posd/packaging/lab/guest"
)

// port is the way to the host.
type port struct {
	fd int
	mu sync.Mutex // of writes
}

// Read waits for the host where it is not there: the device says "end" then.
func (p *port) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(p.fd, b)
		switch {
		case n > 0:
			return n, nil
		case n == 0 || errors.Is(err, unix.EAGAIN):
			time.Sleep(20 * time.Millisecond)
		case !errors.Is(err, unix.EINTR):
			return 0, err
		}
	}
}

func (p *port) Write(b []byte) (int, error) {
	for done := 0; ; {
		n, err := unix.Write(p.fd, b[done:])
		switch {
		case n > 0:
			if done += n; done == len(b) {
				return done, nil
			}
		case errors.Is(err, unix.EAGAIN):
			time.Sleep(time.Millisecond)
		case err != nil && !errors.Is(err, unix.EINTR):
			return done, err
		}
	}
}

func (p *port) say(r guest.Reply) {
	line, err := json.Marshal(r)
	if err != nil {
		line = fmt.Appendf(nil, `{"id":%d,"error":"reply cannot be written"}`, r.ID)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.Write(append(line, '\n')); err != nil {
		fmt.Println("guest: reply:", err)
	}
}

// serve tells the host how the boot went and then does what it says.
func serve(progs *programs, booted error) error {
	path, err := findPort()
	if err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	p := &port{fd: fd}
	hello := guest.Reply{}
	if booted != nil {
		hello.Error = booted.Error()
	}
	p.say(hello)
	r := bufio.NewReaderSize(p, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return err
		}
		var q guest.Request
		if err := json.Unmarshal(line, &q); err != nil {
			fmt.Println("guest: request:", err)
			continue
		}
		go func() {
			reply, err := answer(progs, &q)
			reply.ID = q.ID
			if err != nil {
				reply.Error = err.Error()
			}
			p.say(reply)
		}()
	}
}

func findPort() (string, error) {
	for range 100 {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, n := range names {
			if b, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(b)) == guest.PortName {
				return "/dev/" + filepath.Base(filepath.Dir(n)), nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return "", errors.New("no port " + guest.PortName)
}

func answer(progs *programs, q *guest.Request) (guest.Reply, error) {
	var r guest.Reply
	var e guest.Exit
	var err error
	switch q.Do {
	case "run", "start":
		if q.Run == nil {
			return r, errors.New("no program given")
		}
		if q.Do == "run" {
			e, err = progs.run(q.Run)
		} else {
			e.PID, err = progs.start(*q.Run)
		}
		r.Exit = &e
	case "await":
		e, err = progs.await(q.Name)
		r.Exit = &e
	case "signal":
		err = progs.signal(q.Name, unix.Signal(q.Signal))
	case "log":
		var n *program
		if n, err = progs.find(q.Name); err == nil {
			r.Data = n.log.bytes()
		}
	case "read":
		r.Data, err = readPiece(q.Name, q.Offset)
	case "write":
		err = writePiece(q)
	case "install":
		err = install(q.From, q.Name)
	case "sum":
		r.Data, err = sum(q.Name)
	case "mount":
		if q.Mount == nil {
			return r, errors.New("no mount given")
		}
		err = mount(*q.Mount)
	case "unmount":
		err = unix.Unmount(q.Name, 0)
	case "poweroff":
		progs.stopAll()
		go powerOff()
	default:
		err = fmt.Errorf("unknown request %q", q.Do)
	}
	return r, err
}

func readPiece(name string, offset int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Kernel files give what they have at each reading, and not always from an offset.
	var b bytes.Buffer
	if _, err := f.Seek(offset, io.SeekStart); err != nil && offset != 0 {
		return nil, err
	}
	_, err = io.Copy(&b, io.LimitReader(f, 256<<10))
	return b.Bytes(), err
}

func writePiece(q *guest.Request) error {
	flags := os.O_WRONLY | os.O_CREATE
	if q.Offset == 0 {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(q.Name, flags, os.FileMode(q.Mode).Perm())
	if err != nil {
		return err
	}
	if q.Offset != 0 {
		_, err = f.WriteAt(q.Data, q.Offset)
	} else {
		_, err = f.Write(q.Data)
	}
	if err == nil && q.Mode != 0 {
		err = f.Chmod(os.FileMode(q.Mode).Perm())
	}
	return errors.Join(err, f.Close())
}

func install(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	beside := to + ".new"
	out, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, st.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(beside, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func sum(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}

// powerOff unmounts what can be, newest first, and ends the machine.
func powerOff() {
	time.Sleep(20 * time.Millisecond) // the answer is on its way
	if b, err := os.ReadFile("/proc/self/mounts"); err == nil {
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		for i := len(lines) - 1; i >= 0; i-- {
			if f := strings.Fields(lines[i]); len(f) > 1 && strings.HasPrefix(f[0], "/dev/") {
				unix.Unmount(f[1], 0)
			}
		}
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("guest: power off:", err)
	}
}
