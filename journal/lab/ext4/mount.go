package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loop is a loop device that is kept for many images, one after the other. The
// kernel gives it back when the last descriptor is closed.
type loop struct {
	file *os.File
	path string
}

// attach puts a loop device on a file, past the page cache: else a write would
// reach the file whenever the kernel pleases.
func attach(path string) (*loop, error) {
	back, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer back.Close()
	for range 100 { // somebody else may take the free number first
		l, err := attachFree(back)
		if !errors.Is(err, unix.EBUSY) {
			return l, err
		}
	}
	return nil, errors.New("no loop device is free")
}

func attachFree(back *os.File) (*loop, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("get a free loop device: %w", err)
	}
	l := &loop{path: fmt.Sprintf("/dev/loop%d", n)}
	if _, err := os.Stat(l.path); err != nil { // where no udev makes the node
		if err := unix.Mknod(l.path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n)))); err != nil {
			return nil, fmt.Errorf("make %s: %w", l.path, err)
		}
	}
	if l.file, err = os.OpenFile(l.path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	config := unix.LoopConfig{Fd: uint32(back.Fd())}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
	if err := unix.IoctlLoopConfigure(int(l.file.Fd()), &config); err != nil {
		l.file.Close()
		return nil, fmt.Errorf("configure %s: %w", l.path, err)
	}
	info, err := unix.IoctlLoopGetStatus64(int(l.file.Fd()))
	if err == nil && info.Flags&unix.LO_FLAGS_DIRECT_IO == 0 {
		err = errors.New("the kernel refused direct I/O on it")
	}
	if err != nil {
		l.file.Close()
		return nil, fmt.Errorf("%s: %w", l.path, err)
	}
	return l, nil
}

func (l *loop) close() error { return l.file.Close() }

// written is the device's own count of bytes written.
func (l *loop) written() (int64, error) {
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(l.path), "stat"))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b))
	if len(f) < 7 {
		return 0, fmt.Errorf("unexpected counters %q", b)
	}
	var sectors int64
	_, err = fmt.Sscan(f[6], &sectors)
	return sectors * sectorSize, err
}

const sectorSize = 512

// mount mounts a device, whose image may have been exchanged since the last time.
func mount(m Mount) error {
	dev, err := os.Open(m.Device)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := unix.IoctlSetInt(int(dev.Fd()), unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("forget what the kernel has cached of %s: %w", m.Device, err)
	}
	if err := unix.Mount(m.Device, m.Dir, m.FS, unix.MS_NOATIME, m.Options); err != nil {
		return fmt.Errorf("mount %s: %w", m.Device, err)
	}
	return nil
}

// unmount waits for those who still close files there.
func unmount(dir string) (err error) {
	for range 500 {
		if err = unix.Unmount(dir, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

// supported says why the file system cannot be mounted here, or nil.
func supported(fsType string) error {
	if _, err := exec.LookPath("mkfs." + fsType); err != nil {
		return fmt.Errorf("mkfs.%s is not installed", fsType)
	}
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte("\t"+fsType+"\n")) {
		return fmt.Errorf("this kernel does not know %s", fsType)
	}
	return nil
}

// format makes a fresh file system in memory. tmp is a folder for the time
// being; extra are options of mkfs.
func format(fsType string, size int, tmp string, extra ...string) ([]byte, error) {
	path := filepath.Join(tmp, "template")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(path)
	if err := os.Truncate(path, int64(size)); err != nil {
		return nil, err
	}
	args := []string{"-q"}
	if fsType == "ext4" { // nothing is left to a thread of the kernel
		args = append(args, "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0")
	}
	args = append(append(args, extra...), path)
	if out, err := exec.Command("mkfs."+fsType, args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mkfs.%s: %w\n%s", fsType, err, out)
	}
	return os.ReadFile(path)
}
