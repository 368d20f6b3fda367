package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Devices is a rack in a process of its own, for tests that run the journal
// themselves: a page fault that waits for the FUSE server must not stop it.
type Devices struct {
	mu   sync.Mutex
	rack *rack
	all  []*device
}

func newDevices(tmp string) *Devices {
	dir := filepath.Join(tmp, fmt.Sprintf("rack%d", os.Getpid()))
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		var k *rack
		if k, err = newRack(dir); err == nil {
			return &Devices{rack: k}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
	return nil
}

// Device names one and the file that it is behind.
type Device struct {
	No   int
	Path string
}

// New makes a device with this content.
func (s *Devices) New(image []byte, out *Device) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, path, _ := s.rack.add(len(image))
	d.load(false, func(img []byte) { copy(img, image) })
	s.all = append(s.all, d)
	*out = Device{len(s.all) - 1, path}
	return nil
}

// Injection is what a device shall refuse from now on.
type Injection struct {
	No     int
	Faults []Fault
}

// Inject replaces the faults of a device; none heals it.
func (s *Devices) Inject(in Injection, _ *struct{}) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults []*Fault
	for _, f := range in.Faults {
		faults = append(faults, &f)
	}
	s.all[in.No].inject(faults...)
	return nil
}
