package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posd/packaging/lab/guest"
)

var mountFlags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "noatime": unix.MS_NOATIME, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV,
	"noexec": unix.MS_NOEXEC, "sync": unix.MS_SYNCHRONOUS, "bind": unix.MS_BIND, "remount": unix.MS_REMOUNT,
}

func mount(m guest.Mount) error {
	var flags uintptr
	for _, f := range strings.FieldsFunc(m.Flags, func(r rune) bool { return r == ',' }) {
		bit, ok := mountFlags[f]
		if !ok {
			return fmt.Errorf("mount %s: unknown flag %q", m.Target, f)
		}
		flags |= bit
	}
	source, err := device(m.Source)
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.Target, err)
	}
	if err := os.MkdirAll(m.Target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, m.Target, m.Type, flags, m.Options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, m.Target, err)
	}
	return nil
}

// device waits for a disk to appear.
func device(source string) (string, error) {
	serial, bySerial := strings.CutPrefix(source, "serial=")
	if !bySerial && !strings.HasPrefix(source, "/dev/") {
		return source, nil
	}
	for range 500 {
		if !bySerial {
			if _, err := os.Stat(source); err == nil {
				return source, nil
			}
		}
		found, _ := filepath.Glob("/sys/block/*/serial")
		for _, f := range found {
			if b, err := os.ReadFile(f); err == nil && bySerial && strings.TrimSpace(string(b)) == serial {
				return "/dev/" + filepath.Base(filepath.Dir(f)), nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return "", fmt.Errorf("no disk %s", source)
}

const cgroups = "/sys/fs/cgroup"

// controllers gives controllers on to the groups below the root.
func controllers(names []string) error {
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(cgroups, "cgroup.subtree_control"), []byte("+"+n), 0); err != nil {
			return fmt.Errorf("controller %s: %w", n, err)
		}
	}
	return nil
}

// group makes a control group with limits. The groups above it give on what they have.
func group(name string, limits map[string]string) (*os.File, error) {
	dir := cgroups
	parts := strings.Split(strings.Trim(name, "/"), "/")
	for i, part := range parts {
		dir = filepath.Join(dir, part)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if i == len(parts)-1 {
			break
		}
		has, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return nil, err
		}
		for _, c := range strings.Fields(string(has)) {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
				return nil, err
			}
		}
	}
	for file, value := range limits {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0); err != nil {
			return nil, err
		}
	}
	return os.Open(dir)
}
