package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"posd/packaging/lab/guest"
	"posd/packaging/lab/slicebench/load"
	"posd/packaging/lab/slicebench/rig"
)

const (
	sliceDir = "/sys/fs/cgroup/posd.slice"
	webPort  = 8080
	hubPort  = 8090
	hubNATS  = 4223
	leafNATS = 4222
	leafPort = 7422
	tool     = "/bin/neighbour"
)

// image makes an ext4 of so many MiB that holds the folder's content.
func image(ctx context.Context, file, folder string, mib int) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	_, err := rig.Output(ctx, "mke2fs", "-q", "-t", "ext4", "-d", folder, "-E", "root_owner=0:0", "-m", "0", file, strconv.Itoa(mib)+"M")
	return err
}

// stage copies files and folders, as they are, into one folder.
func stage(folder string, files map[string]string) error {
	for name, from := range files {
		to := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if out, err := exec.Command("cp", "-a", "--sparse=never", from, to).CombinedOutput(); err != nil {
			return fmt.Errorf("cp %s: %w: %s", from, err, out)
		}
	}
	return nil
}

// box is a guest with a data disk at /data.
type box struct {
	m *guest.Machine
	a *guest.Agent
}

// boot starts a guest whose time is that of its instructions: one takes 1<<shift
// nanoseconds, and when nothing is to be done the clock jumps to the next timer. What this machine does meanwhile does not show.
// For that, nothing that is measured may wait for the host: the disk is copied to the
// guest's memory at first, head office and the front end run in the guest.
func boot(ctx context.Context, k guest.Linux, work, disk string, shift int, files ...guest.File) (*box, error) {
	brd, err := k.Load("brd")
	if err != nil {
		return nil, err
	}
	initrd := filepath.Join(work, "initrd")
	files = append(append(files, brd...), guest.File{Name: tool[1:], Mode: 0o755, Path: filepath.Join(work, "neighbour")})
	if err := guest.Initrd(ctx, k, initrd, guest.Config{Network: true, Controllers: []string{"cpu", "memory", "pids"}}, files...); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(work, "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	m, err := guest.Start(ctx, guest.Options{Kernel: k.Image, Initrd: initrd, Memory: 2048, Append: "quiet", Console: log,
		Drives: []guest.Drive{{File: disk, ReadOnly: true}}, Args: []string{"-icount", fmt.Sprintf("shift=%d,sleep=off", shift)}})
	if err != nil {
		return nil, err
	}
	b := &box{m: m}
	if b.a, err = m.Agent(ctx); err == nil {
		_, err = b.run(ctx, tool, "ramdisk", "/"+brd[len(brd)-1].Name, "/dev/vda")
	}
	if err == nil {
		err = b.a.Mount(ctx, guest.Mount{Source: "/dev/ram0", Target: "/data", Type: "ext4", Flags: "noatime"})
	}
	if err != nil {
		return nil, errors.Join(err, m.Kill())
	}
	return b, nil
}

// run runs a program outside of the slice.
func (b *box) run(ctx context.Context, args ...string) ([]byte, error) {
	e, err := b.a.Run(ctx, guest.Program{Args: args, Cgroup: "front.slice"})
	if err == nil && e.Code != 0 {
		err = fmt.Errorf("%s: code %d, signal %d: %s", strings.Join(args, " "), e.Code, e.Signal, e.Stderr)
	}
	return e.Stdout, err
}

// office is a group for what is not on the till in truth: it runs when nothing else
// in the guest wants to.
func office(name string, args ...string) guest.Program {
	return guest.Program{Name: name, Args: args, Cgroup: "office.slice/" + name, Limits: map[string]string{"cpu.weight": "1"}}
}

// quota is whether the slice limits the processor.
type quota bool

const (
	limited   quota = true
	unlimited quota = false
)

func (q quota) String() string {
	if q == limited {
		return "10 %"
	}
	return "none"
}

func (q quota) word() string {
	if q == limited {
		return "limited"
	}
	return "unlimited"
}

// inSlice wraps a program so that it runs in a child of posd.slice, and is killed
// late, as systemd would have it.
func inSlice(q quota, memory int, args ...string) []string {
	cpu := "10%"
	if q == unlimited {
		cpu = "max"
	}
	return append([]string{tool, "as", "-500", "/data/bin/posctl", "slice", "exec", "-cpu", cpu, "-memory", strconv.Itoa(memory) + "M", "--"}, args...)
}

// stop ends a program in order, and says what it logged where that fails.
func (b *box) stop(ctx context.Context, name string) error {
	if err := b.a.Stop(ctx, name, syscall.SIGTERM); err != nil {
		return err
	}
	e, err := b.a.Await(ctx, name)
	if err == nil && e.Code > 0 {
		err = errors.Join(fmt.Errorf("%s did not stop in order: %+v", name, e), b.logs(ctx, name))
	}
	return err
}

// play plays a script in the guest, and calls each with its results.
func (b *box) play(ctx context.Context, s load.Script, each func(load.Result)) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := b.a.WriteFile(ctx, "/run/script.json", text, 0o600); err != nil {
		return err
	}
	out, err := b.run(ctx, tool, "phases", "/run/script.json")
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var r load.Result
		if e := d.Decode(&r); errors.Is(e, io.EOF) {
			return err
		} else if e != nil {
			return errors.Join(err, e)
		}
		each(r)
	}
}

// logs is what programs have said, as an error.
func (b *box) logs(ctx context.Context, names ...string) error {
	var all []error
	for _, name := range names {
		text, err := b.a.Log(ctx, name)
		all = append(all, fmt.Errorf("log of %s:\n%s", name, text[max(0, len(text)-4000):]), err)
	}
	return errors.Join(all...)
}

// count reads the slice's counters.
func (b *box) count(ctx context.Context) (c load.Counters, err error) {
	out, err := b.run(ctx, tool, "count", sliceDir)
	if err == nil {
		err = json.Unmarshal(out, &c)
	}
	return c, err
}
