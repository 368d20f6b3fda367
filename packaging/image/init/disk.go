package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// found is the disk that the terminal runs from.
type found struct {
	disk  string            // "/dev/vda"
	parts map[string]string // label → "/dev/vda1"
}

// find loads drivers until the disk with all partitions is there.
func (s *start) find() error {
	need := []string{"posd-esp", "posd-root-" + s.slot, "posd-data"}
	named := loaderPartition()
	until := time.Now().Add(s.wait)
	var disks []found
	for said := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		loaded, problems := s.modules.coldplug("/sys")
		for _, err := range problems {
			s.say("%v", err)
		}
		disks = scan("/sys")
		if f, err := choose(disks, need, named); err != nil && time.Now().After(until) {
			return &fault{err, "Is the storage device in its place? With a second device that holds the image: take one out. Else write the image again."}
		} else if f != nil {
			s.found = f
			s.say("disk %s, slot %s", f.disk, s.slot)
			return nil
		}
		if loaded == 0 && time.Since(said) > 10*time.Second {
			s.say("waiting for the disk; there are %s", describe(disks))
			said = time.Now()
		}
	}
}

// scan lists disks with their labelled partitions.
func scan(sys string) (disks []found) {
	names, _ := filepath.Glob(filepath.Join(sys, "class/block/*"))
	slices.Sort(names)
	byDisk := map[string]*found{}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(n, "uevent"))
		if err != nil {
			continue
		}
		label := ""
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PARTNAME="); ok {
				label = v
			}
		}
		path, err := filepath.EvalSymlinks(n)
		if label == "" || err != nil {
			continue
		}
		disk := "/dev/" + filepath.Base(filepath.Dir(path))
		if byDisk[disk] == nil {
			byDisk[disk] = &found{disk: disk, parts: map[string]string{}}
		}
		byDisk[disk].parts[label] = "/dev/" + filepath.Base(n)
	}
	for _, f := range byDisk {
		disks = append(disks, *f)
	}
	slices.SortFunc(disks, func(a, b found) int { return strings.Compare(a.disk, b.disk) })
	return disks
}

// choose gives the one disk that has all partitions; where several do, the one whose
// ESP has the GUID that the loader named.
func choose(disks []found, need []string, named string) (*found, error) {
	var whole []found
	for _, d := range disks {
		if !slices.ContainsFunc(need, func(l string) bool { return d.parts[l] == "" }) {
			whole = append(whole, d)
		}
	}
	if len(whole) > 1 && named != "" {
		whole = slices.DeleteFunc(whole, func(d found) bool { return espGUID(d.disk) != named })
	}
	switch len(whole) {
	case 1:
		return &whole[0], nil
	case 0:
		return nil, fmt.Errorf("no disk has the partitions %s; there are %s", strings.Join(need, ", "), describe(disks))
	}
	return nil, fmt.Errorf("%d disks hold a posd image and the loader does not say which one was started: %s", len(whole), describe(whole))
}

func describe(disks []found) string {
	if len(disks) == 0 {
		return "no disks with labelled partitions"
	}
	var all []string
	for _, d := range disks {
		var labels []string
		for l := range d.parts {
			labels = append(labels, l)
		}
		slices.Sort(labels)
		all = append(all, fmt.Sprintf("%s (%s)", d.disk, strings.Join(labels, ", ")))
	}
	return strings.Join(all, ", ")
}

// loaderPartition is the GUID of the partition that systemd-boot was read from, "" if the
// firmware keeps no such variables.
func loaderPartition() string {
	const efivars = "/sys/firmware/efi/efivars"
	if _, err := os.Stat(efivars); err != nil {
		return ""
	}
	if err := unix.Mount("efivarfs", efivars, "efivarfs", unix.MS_RDONLY, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return ""
	}
	defer unix.Unmount(efivars, 0) // systemd mounts its own
	b, err := os.ReadFile(efivars + "/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
	if err != nil || len(b) < 4 {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(string(bytes.ReplaceAll(b[4:], []byte{0}, nil))))
}

func espGUID(disk string) string {
	f, err := os.Open(disk)
	if err != nil {
		return ""
	}
	defer f.Close()
	block, _, err := blockSize(f)
	if err != nil {
		return ""
	}
	t, err := readTable(f, block, 1)
	if err != nil {
		return ""
	}
	if e := t.entry("posd-esp"); e != nil {
		return guid(e)
	}
	return ""
}

// growData stretches the data partition to the end of a disk that is larger than the image.
func (s *start) growData() error {
	f, err := os.OpenFile(s.found.disk, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	block, size, err := blockSize(f)
	if err != nil {
		return err
	}
	grown, err := grow(f, block, size, "posd-data")
	if err != nil || !grown {
		return err
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0); err != nil {
		return fmt.Errorf("read the new partition table: %w", err)
	}
	s.say("the data partition goes to the disk's end now, %d MiB", size>>20)
	return s.find() // the kernel has made the partitions anew
}
