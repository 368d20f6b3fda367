package guest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"posd/packaging/lab/freeport"
)

// Options of a machine.
type Options struct {
	Kernel  string // file; Kernel finds one. "" = firmware in Args boots a disk
	Initrd  string // file
	Append  string // to the kernel's command line, which has the console
	Memory  int    // MiB, 0 = 256
	Drives  []Drive
	Forward []int    // TCP ports of the guest that the host wants to reach
	Args    []string // further ones for qemu
	Console io.Writer
}

// Drive is a virtio disk: a file, or an NBD server's export.
type Drive struct {
	File     string
	NBD      string // unix socket, instead of File
	Format   string // "" = raw
	Serial   string // by which the guest finds it
	ReadOnly bool
	Snapshot bool   // writes go to a temporary file
	Cache    string // qemu's cache mode: "" = writeback; NBD always is direct, with flushes
}

func (d *Drive) args(i int) []string {
	format := d.Format
	if format == "" {
		format = "raw"
	}
	s := fmt.Sprintf("if=none,id=d%d,format=%s,discard=unmap", i, format)
	if d.NBD != "" {
		s += ",file.driver=nbd,file.server.type=unix,file.server.path=" + d.NBD + ",cache.direct=on,cache.no-flush=off"
	} else {
		s += ",file=" + strings.ReplaceAll(d.File, ",", ",,")
	}
	if d.Cache != "" && d.NBD == "" {
		s += ",cache=" + d.Cache
	}
	if d.ReadOnly {
		s += ",readonly=on"
	}
	if d.Snapshot {
		s += ",snapshot=on"
	}
	dev := fmt.Sprintf("virtio-blk-device,drive=d%d", i)
	if d.Serial != "" {
		dev += ",serial=" + d.Serial
	}
	return []string{"-drive", s, "-device", dev}
}

// Machine is a running qemu.
type Machine struct {
	cmd     *exec.Cmd
	dir     string // sockets
	ports   map[int]int
	console *console
	stdin   io.WriteCloser
	errs    bytes.Buffer // of qemu; read after done
	port    net.Conn     // to the init
	done    chan struct{}
	err     error // set before done is closed
	agent   *Agent
}

// Start runs a machine until it powers off, is killed, or ctx ends, which kills it too.
func Start(ctx context.Context, o Options) (*Machine, error) {
	var err error
	for range 5 { // a port that was free may be taken by somebody else meanwhile
		var m *Machine
		if m, err = start(ctx, o); err == nil {
			return m, nil
		}
		if !errors.Is(err, errPort) {
			break
		}
	}
	return nil, err
}

var errPort = errors.New("a port of this host was taken")

func start(ctx context.Context, o Options) (*Machine, error) {
	dir, err := os.MkdirTemp("", "guest-")
	if err != nil {
		return nil, err
	}
	m := &Machine{dir: dir, done: make(chan struct{}), ports: map[int]int{}}
	args, err := m.args(o)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	m.cmd = exec.CommandContext(ctx, "qemu-system-aarch64", args...)
	m.cmd.Stderr = &m.errs
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // Ctrl-C is the caller's
	m.console = newConsole(o.Console)
	m.cmd.Stdout = m.console
	if m.stdin, err = m.cmd.StdinPipe(); err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a guest: %w", err), os.RemoveAll(dir))
	}
	go m.wait()
	if err := m.connect(ctx); err != nil {
		_ = m.Kill()
		if strings.Contains(m.errs.String(), "forwarding rule") {
			err = errPort
		}
		return nil, fmt.Errorf("start a guest: %w", err)
	}
	m.agent = newAgent(m)
	return m, nil
}

func (m *Machine) args(o Options) ([]string, error) {
	memory := o.Memory
	if memory == 0 {
		memory = 256
	}
	args := []string{
		"-M", "virt", "-cpu", "cortex-a53", "-smp", "1", "-m", fmt.Sprint(memory),
		"-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-qmp", "unix:" + filepath.Join(m.dir, "qmp") + ",server=on,wait=off",
		"-device", "virtio-serial-device",
		"-chardev", "socket,id=lab,server=on,wait=off,path=" + filepath.Join(m.dir, "port"),
		"-device", "virtserialport,chardev=lab,name=" + PortName,
	}
	if o.Kernel != "" {
		args = append(args, "-kernel", o.Kernel, "-append", strings.TrimSpace("console=ttyAMA0 panic=-1 "+o.Append))
	}
	if o.Initrd != "" {
		args = append(args, "-initrd", o.Initrd)
	}
	netdev := "user,id=n0"
	for _, guest := range o.Forward {
		free, err := freeport.Number()
		if err != nil {
			return nil, err
		}
		m.ports[guest] = free
		netdev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", free, guest)
	}
	args = append(args, "-netdev", netdev, "-device", "virtio-net-device,netdev=n0")
	for i, d := range slices.Backward(o.Drives) { // so that the guest's vda is the first
		args = append(args, d.args(i)...)
	}
	return append(args, o.Args...), nil
}

// connect waits until qemu runs: it greets on its own socket once all is set up.
func (m *Machine) connect(ctx context.Context) error {
	qmp, err := m.dial(ctx, "qmp")
	if err != nil {
		return err
	}
	defer qmp.Close()
	if err := qmp.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	var hello struct{ QMP json.RawMessage }
	if err := json.NewDecoder(bufio.NewReader(qmp)).Decode(&hello); err != nil {
		select {
		case <-m.done:
			return m.err
		case <-time.After(time.Second):
			return fmt.Errorf("qemu's greeting: %w", err)
		}
	}
	m.port, err = m.dial(ctx, "port")
	return err
}

func (m *Machine) dial(ctx context.Context, name string) (net.Conn, error) {
	for {
		c, err := net.Dial("unix", filepath.Join(m.dir, name))
		if err == nil {
			return c, nil
		}
		select {
		case <-m.done:
			return nil, m.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (m *Machine) wait() {
	err := m.cmd.Wait()
	m.console.end()
	if err != nil {
		m.err = fmt.Errorf("qemu: %w\n%s\nend of the console:\n%s", err, strings.TrimSpace(m.errs.String()), m.console.tail())
	}
	os.RemoveAll(m.dir)
	close(m.done)
}

// Done is closed when the machine has ended; Err then says how.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Err is nil while the machine runs and after it powered off in order.
func (m *Machine) Err() error {
	select {
	case <-m.done:
		return m.err
	default:
		return nil
	}
}

// Kill is the power cut: SIGKILL. It returns when qemu is gone, so that nothing that
// it had asked of a disk comes later.
func (m *Machine) Kill() error {
	err := m.cmd.Process.Kill()
	<-m.done
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Port is the port of 127.0.0.1 that leads to the guest's port, 0 if Options.Forward
// does not list it.
func (m *Machine) Port(guest int) int { return m.ports[guest] }

// Send types text on the console.
func (m *Machine) Send(text string) error {
	_, err := io.WriteString(m.stdin, text)
	return err
}

// Wait gives the next line of the console that matches, or what there is of a line
// that is not ended yet, such as a prompt. Lines before it are passed over: each line
// is looked at once. It ends with an error when the machine does.
func (m *Machine) Wait(ctx context.Context, pattern string) (string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, m.console.wake)
	defer stop()
	line, err := m.console.next(ctx, re)
	if errors.Is(err, io.EOF) {
		<-m.done
		err = errors.Join(fmt.Errorf("the guest ended before %q", pattern), m.err)
	} else if err != nil {
		err = fmt.Errorf("waiting for %q: %w; end of the console:\n%s", pattern, err, m.console.tail())
	}
	return line, err
}

// console takes what the guest says.
type console struct {
	copy io.Writer
	mu   sync.Mutex
	some *sync.Cond
	b    []byte
	at   int // b[:at] was looked at by Wait
	over bool
}

func newConsole(to io.Writer) *console {
	c := &console{copy: to}
	c.some = sync.NewCond(&c.mu)
	return c
}

const consoleKept = 4 << 20

func (c *console) Write(p []byte) (int, error) {
	if c.copy != nil {
		if n, err := c.copy.Write(p); err != nil {
			return n, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if over := len(c.b) + len(p) - consoleKept; over > 0 {
		over = min(over+consoleKept/4, len(c.b))
		c.b, c.at = append([]byte(nil), c.b[over:]...), max(0, c.at-over)
	}
	c.b = append(c.b, p...)
	c.some.Broadcast()
	return len(p), nil
}

func (c *console) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.some.Broadcast()
}

func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.some.Broadcast()
}

func (c *console) next(ctx context.Context, re *regexp.Regexp) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for {
			line, _, whole := bytes.Cut(c.b[c.at:], []byte("\n"))
			text := strings.TrimRight(string(line), "\r")
			found := len(line) > 0 && re.MatchString(text)
			if whole {
				c.at += len(line) + 1
			} else if found {
				c.at += len(line)
			}
			if found {
				return text, nil
			}
			if !whole {
				break
			}
		}
		if err := context.Cause(ctx); err != nil {
			return "", err
		}
		if c.over {
			return "", io.EOF
		}
		c.some.Wait()
	}
}

// tail is the end of what was said.
func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.b
	if over := len(b) - 4000; over > 0 {
		b = b[over:]
	}
	return string(b)
}
