package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Place is a folder and what is known of its device.
type Place struct {
	Dir    string
	Device string         // the device's counters in /sys, "" if it has none
	About  string         // for a document
	undo   []func() error // last first
}

// Own makes a fresh ext4 of so many MiB on a loop device, which nobody else writes to.
// Its image is a file in work, whose name begins with name. It needs root.
func Own(ctx context.Context, work, name string, mib int) (p *Place, err error) {
	p = &Place{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Remove())
			p = nil
		}
	}()
	base, err := os.MkdirTemp(work, name+"-")
	if err != nil {
		return p, err
	}
	p.undo = append(p.undo, func() error { return os.RemoveAll(base) })
	image, mount := filepath.Join(base, "image"), filepath.Join(base, "mount")
	if err := errors.Join(os.Mkdir(mount, 0o700), writeZeros(image, int64(mib)<<20)); err != nil {
		return p, err
	}
	loop, err := output(ctx, "losetup", "--find", "--show", "--direct-io=on", image)
	if err != nil {
		return p, err
	}
	p.undo = append(p.undo, func() error { return command("losetup", "--detach", loop) })
	// Without lazy initialisation: else the kernel goes on writing to the device.
	if _, err := output(ctx, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", loop); err != nil {
		return p, err
	}
	if _, err := output(ctx, "mount", "-t", "ext4", "-o", "noatime", loop, mount); err != nil {
		return p, err
	}
	p.undo = append(p.undo, func() error { return command("umount", mount) })
	p.Dir, p.Device = mount, filepath.Join("/sys/block", filepath.Base(loop), "stat")
	p.About = fmt.Sprintf("a fresh ext4 of %d MiB on a loop device with direct I/O, on %s", mib, FileSystem(base))
	return p, nil
}

// Shared makes a folder in dir, whatever device that is on.
func Shared(dir, name string) (*Place, error) {
	base, err := os.MkdirTemp(dir, name+"-")
	if err != nil {
		return nil, err
	}
	p := &Place{Dir: base, undo: []func() error{func() error { return os.RemoveAll(base) }}}
	p.About = fmt.Sprintf("%s in a folder whose device other programs use too: device bytes include theirs", FileSystem(base))
	var st unix.Stat_t
	if err := unix.Stat(base, &st); err != nil {
		return nil, errors.Join(err, p.Remove())
	}
	stat := fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev))
	if _, err := os.Stat(stat); err == nil {
		p.Device = stat
	}
	return p, nil
}

// Remove takes the place apart, also after a failure or an interrupt.
func (p *Place) Remove() (err error) {
	for len(p.undo) > 0 {
		last := len(p.undo) - 1
		err = errors.Join(err, p.undo[last]())
		p.undo = p.undo[:last]
	}
	return err
}

// writeZeros writes the whole image: a hole would be filled while we measure.
func writeZeros(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	zero := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zero)) {
		if _, err := f.Write(zero); err != nil {
			f.Close()
			return err
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// command is for taking apart: it runs to its end also after an interrupt, and
// tries again, because a child that was just killed may still hold a file.
func command(name string, args ...string) (err error) {
	for range 20 {
		if _, err = output(context.Background(), name, args...); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// FileSystem is the type of the file system that holds path.
func FileSystem(path string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "an unknown file system"
	}
	names := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.TMPFS_MAGIC: "tmpfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.XFS_SUPER_MAGIC: "xfs", unix.F2FS_SUPER_MAGIC: "f2fs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs"}
	if name, ok := names[int64(st.Type)]; ok {
		return name
	}
	return fmt.Sprintf("file system %#x", st.Type)
}

// Counter reads what the device has written since it was made.
type Counter struct {
	path   string
	dir    *os.File
	before int64
}

// Count begins to count. What lies in the page cache is written first.
func Count(dir, device string) (*Counter, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	c := &Counter{path: device, dir: f}
	c.before, err = c.read()
	return c, err
}

// Bytes since Count, what is still in the page cache included; -1 if the device does
// not count. It ends the counting.
func (c *Counter) Bytes() (float64, error) {
	defer c.dir.Close()
	now, err := c.read()
	if err != nil || c.path == "" {
		return -1, err
	}
	return float64(now - c.before), nil
}

func (c *Counter) read() (int64, error) {
	if c.path == "" {
		return 0, nil
	}
	if err := unix.Syncfs(int(c.dir.Fd())); err != nil {
		return 0, err
	}
	b, err := os.ReadFile(c.path)
	if err != nil {
		return 0, err
	}
	const sectorsWritten = 6 // the seventh number of a block device's stat
	fields := strings.Fields(string(b))
	if len(fields) <= sectorsWritten {
		return 0, fmt.Errorf("%s: %w", c.path, io.ErrUnexpectedEOF)
	}
	sectors, err := strconv.ParseInt(fields[sectorsWritten], 10, 64)
	return sectors * 512, err
}
