package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// slot is a place where an image is mounted and a journal is run: a device, a
// loop device on it, a mount point and a process.
type slot struct {
	d       *device
	loop    *loop
	dir     string // mount point
	reports string
	fsType  string
	player  *child
}

// callLimit is how long a process may take for one call; far more than any
// takes, so that only a hang meets it.
const callLimit = 60 * time.Second

func newSlot(k *rack, tmp, fsType string, size int) (*slot, error) {
	s := &slot{fsType: fsType}
	var image string
	s.d, image, s.reports = k.add(size)
	var err error
	if s.loop, err = attach(image); err != nil {
		return nil, err
	}
	s.dir = filepath.Join(tmp, "mnt-"+filepath.Base(image))
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, err
	}
	s.player, err = spawn("player")
	return s, err
}

func (s *slot) till(h *history) Till {
	return Till{Dir: filepath.Join(s.dir, "journal"), Reports: s.reports, Bug: h.bug, Segment: h.segment, MaxBytes: h.maxBytes}
}

// Mount is what a player mounts.
type Mount struct{ Device, Dir, FS, Options string }

// Mount mounts the image, which may have been exchanged since the last time.
func (*Player) Mount(m Mount, _ *struct{}) error { return mount(m) }

// Unmount unmounts it.
func (*Player) Unmount(dir string, _ *struct{}) error { return unmount(dir) }

func (s *slot) mount(options string) error {
	return s.call("Player.Mount", Mount{s.loop.path, s.dir, s.fsType, options}, &struct{}{})
}

// unmount names the files that are still open there, if that is why it fails.
func (s *slot) unmount() error {
	err := s.call("Player.Unmount", s.dir, &struct{}{})
	if err != nil {
		err = fmt.Errorf("%w; open: %q", err, openBelow(s.player.cmd.Process.Pid, s.dir))
	}
	return err
}

func openBelow(pid int, dir string) (open []string) {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	maps, _ := filepath.Glob(fmt.Sprintf("/proc/%d/map_files/*", pid))
	for _, l := range append(links, maps...) {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, dir) {
			open = append(open, strings.TrimPrefix(to, dir))
		}
	}
	return open
}

// call runs a method in the slot's process, and sees to it that there is one
// again if that died.
func (s *slot) call(method string, args, reply any) error {
	err := s.player.call(method, args, reply, callLimit)
	select {
	case <-s.player.exited:
	default:
		return err
	}
	s.player.kill()
	fresh, failed := spawn("player")
	if failed != nil {
		return fmt.Errorf("start a new process: %w", failed)
	}
	s.player = fresh
	return err
}

func (s *slot) close() {
	s.player.kill()
	s.loop.close()
}
