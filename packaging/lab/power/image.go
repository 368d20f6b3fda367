package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// mib of the terminal's data partition. It holds two builds of posd during an upgrade.
const diskMiB = 64

// makeImage makes an ext4 file system that holds the files of dir.
func makeImage(ctx context.Context, to string, mib int, dir string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-F", "-m", "0", "-J", "size=4",
		"-E", "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0", "-d", dir, to, fmt.Sprintf("%dM", mib))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w\n%s", err, out)
	}
	return nil
}

// fsck has e2fsck replay the journal of a copy, as at any boot, and then prove the
// file system: what a cut leaves needs no other repair.
func fsck(ctx context.Context, image []byte, tmp string) error {
	path := filepath.Join(tmp, "fsck.img")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		return err
	}
	defer os.Remove(path)
	for _, c := range []struct {
		option string
		worst  int // exit code: 1 = the journal was replayed, counts were set right
	}{{"-fp", 1}, {"-fn", 0}} {
		out, err := exec.CommandContext(ctx, "e2fsck", c.option, path).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return err
		}
		if exit != nil && exit.ExitCode() > c.worst {
			return found(unmountable, "e2fsck %s: exit code %d\n%s", c.option, exit.ExitCode(), out)
		}
	}
	return nil
}
