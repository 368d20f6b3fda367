package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"posd/packaging/lab/guest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "device:", err)
		os.Exit(1)
	}
}

// lab is one run.
type lab struct {
	dir, disk, firmware string
	newer               string // the second package
	console             *os.File
	out                 io.Writer
	began               time.Time
	front               *front
	office              *office
	m                   *guest.Machine
	sh                  *shell
	boots, controls     int
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	fs := flag.NewFlagSet("device", flag.ContinueOnError)
	dist := fs.String("dist", "dist", "`folder` with the image")
	image := fs.String("image", "", "image `file` (default: the only one in the folder)")
	hub := fs.String("hub", "bin/poshub", "poshub `program`")
	work := fs.String("work", ".tools/guest-test", "`folder` for disk and logs, made anew")
	newer := fs.String("newer", ".tools/guest-test.deb", "a newer `package`, for the upgrade")
	firmware := fs.String("firmware", "/usr/share/AAVMF/AAVMF_CODE.fd", "UEFI `firmware`")
	skip := fs.String("skip", "", "leave out the step of this `name`: the loader takes two minutes, and no other needs it")
	only := fs.String("only", "", "do the step of this `name` alone: only loader works on a new disk")
	if err := fs.Parse(args); err != nil {
		return err
	}
	l := &lab{dir: *work, disk: filepath.Join(*work, "disk.img"), firmware: *firmware, newer: *newer, out: out, began: time.Now(), front: newFront()}
	if *image == "" {
		found, err := filepath.Glob(filepath.Join(*dist, "posd-*-arm64.img"))
		if err != nil || len(found) != 1 {
			return errors.Join(err, fmt.Errorf("%s holds %d images; make image, or name one with -image", *dist, len(found)))
		}
		*image = found[0]
	}
	if err := l.prepare(ctx, *image, *hub); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.end()) }()
	for _, s := range steps {
		if s.name == *skip || *only != "" && s.name != *only {
			continue
		}
		from := time.Now()
		text, err := s.do(l, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w\nthe console is in %s", s.name, err, l.console.Name())
		}
		fmt.Fprintf(out, "%4.0f s  %-11s %s  (%.0f s)\n", time.Since(l.began).Seconds(), s.name, text, time.Since(from).Seconds())
	}
	fmt.Fprintf(out, "test-guest: %d sales, %d boots, %d requests sent again: nothing lost, nothing twice; %d controls were noticed; %.0f s\n",
		len(l.front.acked), l.boots, l.front.again, l.controls, time.Since(l.began).Seconds())
	return nil
}

// prepare makes the disk: the image on a device of 2 GiB.
func (l *lab) prepare(ctx context.Context, image, hub string) error {
	if err := errors.Join(os.RemoveAll(l.dir), os.MkdirAll(l.dir, 0o755)); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", image, l.disk).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the image: %w: %s", err, out)
	}
	if err := os.Truncate(l.disk, 2<<30); err != nil {
		return err
	}
	for _, name := range []string{"vmlinuz", "initrd"} {
		if err := l.esp(ctx, "mcopy", "::/a/"+name, filepath.Join(l.dir, name)); err != nil {
			return err
		}
	}
	var err error
	if l.console, err = os.Create(filepath.Join(l.dir, "console.log")); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(l.dir, "hub.log"))
	if err != nil {
		return err
	}
	l.office = &office{program: hub, dir: filepath.Join(l.dir, "hub"), log: log}
	return l.office.start(ctx)
}

func (l *lab) end() error {
	var err error
	if l.m != nil {
		err = l.m.Kill()
	}
	if l.office != nil {
		err = errors.Join(err, l.office.stop())
	}
	return err
}

// esp runs one of mtools on the first partition; no guest runs then.
func (l *lab) esp(ctx context.Context, tool string, args ...string) error {
	out, err := l.list(ctx, tool, args...)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (l *lab) list(ctx context.Context, tool string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, tool, append([]string{"-i", l.disk + "@@1048576"}, args...)...)
	c.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", tool, strings.Join(args, " "), err)
	}
	return string(out), err
}

// give writes a file for the technician's folder.
func (l *lab) give(ctx context.Context, name, text string) error {
	file := filepath.Join(l.dir, "give-"+name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return l.esp(ctx, "mcopy", "-o", file, "::/posd/"+name)
}

// boot starts the image's kernel with more on its command line.
func (l *lab) boot(ctx context.Context, more string, args ...string) error {
	o := guest.Options{
		Kernel: filepath.Join(l.dir, "vmlinuz"), Initrd: filepath.Join(l.dir, "initrd"), Append: "posd.slot=a gpt loglevel=3 " + more,
		Memory: 512, Drives: []guest.Drive{{File: l.disk}}, Forward: []int{8080},
		// The board's clock has no battery; its watchdog is a device that every PC of qemu has.
		// An emulation that shares its processor may be slower than any watchdog allows, so
		// it only bites where it is to.
		Args: append([]string{"-device", "i6300esb", "-rtc", "base=1970-01-01T00:00:00", "-action", "watchdog=none"}, args...), Console: l.console,
	}
	return l.start(ctx, o)
}

func (l *lab) start(ctx context.Context, o guest.Options) error {
	l.boots++
	fmt.Fprintf(l.console, "\n======== boot %d: %s\n", l.boots, o.Append)
	var err error
	if l.m, err = guest.Start(ctx, o); err != nil {
		return err
	}
	l.front.at(l.m.Port(8080))
	return nil
}

// shellBoot boots with the shell and waits for it and for posd.
func (l *lab) shellBoot(ctx context.Context, more string, args ...string) (err error) {
	if err := l.boot(ctx, "posd.lab=1 "+more, args...); err != nil {
		return err
	}
	if l.sh, err = newShell(ctx, l.m); err != nil {
		return err
	}
	return l.ready(ctx)
}

// ready waits until posd takes sales.
func (l *lab) ready(ctx context.Context) error {
	_, err := l.sh.run(ctx, "for i in $(seq 240); do systemctl is-active --quiet posd.service && exit 0; systemctl is-failed --quiet posd.service posd.socket && break; sleep 1; done; "+
		"systemctl status --no-pager -n 30 posd.service posd.socket; exit 1")
	return err
}

// gone waits for the machine's end.
func (l *lab) gone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-l.m.Done():
		err := l.m.Err()
		l.m = nil
		return err
	case <-ctx.Done():
		return errors.New("the machine does not end")
	}
}
