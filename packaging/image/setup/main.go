package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const usage = `usage: posd-factory-reset -yes     makes this terminal new: refused while head office lacks sales

of the image's units: setup first-boot | bless | resolv
`

// Exit codes: 81 is posctl's, unsettled sales exist.
const (
	exitFailed    = 1
	exitUsage     = 64
	exitUnsettled = 81
)

var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := &device{root: "/", out: os.Stdout, run: command, mount: mountESP, sync: syscall.Sync}
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == "posd-factory-reset" {
		args = append([]string{"factory-reset"}, args...)
	}
	err := d.dispatch(ctx, args)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "posd-setup:", err)
	var code *exitError
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(exitUsage)
	case errors.As(err, &code) && code.code == exitUnsettled:
		os.Exit(exitUnsettled)
	}
	os.Exit(exitFailed)
}

func (d *device) dispatch(ctx context.Context, args []string) error {
	switch strings.Join(args, " ") {
	case "first-boot":
		return d.firstBoot(ctx)
	case "factory-reset -yes":
		return d.factoryReset(ctx)
	case "bless":
		return d.bless(ctx)
	case "resolv":
		return d.resolv()
	}
	return fmt.Errorf("%w: %q", errUsage, args)
}

// device is the terminal. Tests put it into a folder.
type device struct {
	root string
	out  io.Writer
	// run runs a program of the system, with its output.
	run func(ctx context.Context, name string, args ...string) (string, error)
	// mount mounts the first partition and returns its folder and the way back.
	mount func(dev string, writable bool) (dir string, unmount func() error, err error)
	sync  func()
}

func (d *device) path(name string) string { return filepath.Join(d.root, name) }

func (d *device) say(format string, a ...any) { fmt.Fprintf(d.out, "posd: "+format+"\n", a...) }

// exitError is a program that ended badly, with what it said.
type exitError struct {
	name string
	code int
	text string
}

func (e *exitError) Error() string {
	return fmt.Sprintf("%s ended with code %d: %s", e.name, e.code, strings.TrimSpace(e.text))
}

func command(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), &exitError{strings.Join(append([]string{name}, args...), " "), exit.ExitCode(), string(out)}
	}
	return string(out), err
}

func mountESP(dev string, writable bool) (string, func() error, error) {
	const dir = "/run/posd-image/first-partition"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	flags := uintptr(syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC)
	if !writable {
		flags |= syscall.MS_RDONLY
	}
	if err := syscall.Mount(dev, dir, "vfat", flags, "umask=0077,utf8"); err != nil {
		return "", nil, fmt.Errorf("mount the first partition %s: %w", dev, err)
	}
	return dir, func() error { return syscall.Unmount(dir, 0) }, nil
}
