// Command init is the first process of a lab's guest: it does what /init.json says,
// then what the host asks for over a virtio-serial port. See posd/packaging/lab/guest.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"posd/packaging/lab/guest"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: runs as the first process of a guest only")
		os.Exit(1)
	}
	p := newPrograms()
	err := boot(p)
	if err != nil {
		fmt.Println("guest: not ready:", err)
	} else {
		fmt.Println("guest: ready")
	}
	fmt.Println("guest: the port to the host:", serve(p, err))
	select {} // the console alone goes on; the first process must not end
}

func boot(p *programs) error {
	if err := os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	for _, m := range []guest.Mount{
		{Source: "dev", Target: "/dev", Type: "devtmpfs"},
		{Source: "proc", Target: "/proc", Type: "proc"},
		{Source: "sys", Target: "/sys", Type: "sysfs"},
		{Source: "cgroup2", Target: "/sys/fs/cgroup", Type: "cgroup2"},
		{Source: "run", Target: "/run", Type: "tmpfs"},
		{Source: "tmp", Target: "/tmp", Type: "tmpfs"},
	} {
		if err := mount(m); err != nil {
			return err
		}
	}
	text, err := os.ReadFile("/init.json")
	if err != nil {
		return err
	}
	var c guest.Config
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("/init.json: %w", err)
	}
	for _, m := range c.Modules {
		if err := load(m); err != nil {
			return err
		}
	}
	if err := controllers(c.Controllers); err != nil {
		return err
	}
	if c.Network {
		if err := network(); err != nil {
			return fmt.Errorf("network: %w", err)
		}
	}
	for _, m := range c.Mounts {
		if err := mount(m); err != nil && !m.Optional {
			return err
		} else if err != nil {
			fmt.Println("guest:", err)
		}
	}
	for _, prog := range c.Programs {
		if _, err := p.start(prog); err != nil {
			return err
		}
	}
	return nil
}

func load(module string) error {
	f, err := os.Open(module)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", module, err)
	}
	return nil
}
