package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"posd/packaging/lab/guest"
)

// bench is what all rounds share.
type bench struct {
	kernel guest.Linux
	initrd string
	tools  string              // image of the read-only disk with the builds
	bases  map[string]string   // planted build → image of a fresh data partition
	sums   map[string][32]byte // of the builds, by name
	hub    string              // bin/poshub
	work   string              // folder for what is running
	keep   string              // folder for what failed
	out    io.Writer
	mu     sync.Mutex
}

// Builds of posd that a terminal may have. The first one is the release.
const (
	buildNow  = "posd"
	buildNext = "posd-next"
	buildLab  = "posd-lab" // with the tag posdlab, for planted bugs
)

func (b *bench) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(b.out, format+"\n", args...)
}

// path is where a build lies on this machine; the folder is the guest's /lab.
func (b *bench) path(build string) string { return filepath.Join(b.work, "tools", build) }

// prepare builds and packs all that a guest needs.
func prepare(ctx context.Context, posd, posctl, hub, kernels, work, keep string) (*bench, error) {
	b := &bench{hub: hub, work: work, keep: keep, out: os.Stdout, bases: map[string]string{}, sums: map[string][32]byte{}}
	var err error
	if b.kernel, err = guest.Kernel(ctx, kernels); err != nil {
		return nil, err
	}
	bin := b.path("")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	for name, from := range map[string]string{buildNow: posd, "posctl": posctl} {
		if err := copyFile(from, filepath.Join(bin, name)); err != nil {
			return nil, err
		}
	}
	for name, args := range map[string][]string{
		buildNext: {"-ldflags", "-s -w -X main.release=lab-next"},
		buildLab:  {"-ldflags", "-s -w -X main.release=lab-planted", "-tags", "posdlab"},
	} {
		if err := build(ctx, filepath.Join(bin, name), args...); err != nil {
			return nil, err
		}
	}
	b.tools = filepath.Join(work, "tools.img")
	if err := makeImage(ctx, b.tools, 80, bin); err != nil {
		return nil, err
	}
	for _, name := range []string{buildNow, buildNext, buildLab} {
		if b.sums[name], err = sumOf(filepath.Join(bin, name)); err != nil {
			return nil, err
		}
		if name == buildNext {
			continue
		}
		root := filepath.Join(work, "base-"+name)
		if err := os.MkdirAll(filepath.Join(root, "posd"), 0o750); err != nil {
			return nil, err
		}
		if err := copyFile(filepath.Join(bin, name), filepath.Join(root, "bin", "posd")); err != nil {
			return nil, err
		}
		b.bases[name] = root + ".img"
		if err := makeImage(ctx, b.bases[name], diskMiB, root); err != nil {
			return nil, err
		}
	}
	b.initrd = filepath.Join(work, "initrd")
	return b, guest.Initrd(ctx, b.kernel, b.initrd, guest.Config{
		Network: true,
		Mounts:  []guest.Mount{{Source: "serial=tools", Target: "/lab", Type: "ext4", Flags: "ro"}},
	}, guest.File{Name: "etc/machine-id", Data: []byte("6c61622d67756573742d706f7764656d\n")})
}

func build(ctx context.Context, to string, args ...string) error {
	args = append(append([]string{"build", "-trimpath", "-buildvcs=false"}, args...), "-o", to, "posd/cmd/posd")
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
