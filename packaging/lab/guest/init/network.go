package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The address that qemu's user network gives, and its host.
var (
	address = [4]byte{10, 0, 2, 15}
	netmask = [4]byte{255, 255, 255, 0}
	gateway = [4]byte{10, 0, 2, 2}
)

// network brings lo and eth0 up, with a default route.
func network() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if err := up(s, "lo"); err != nil {
		return err
	}
	for range 500 {
		if _, err := os.Stat("/sys/class/net/eth0"); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := set(s, unix.SIOCSIFADDR, address); err != nil {
		return fmt.Errorf("address of eth0: %w", err)
	}
	if err := set(s, unix.SIOCSIFNETMASK, netmask); err != nil {
		return fmt.Errorf("netmask of eth0: %w", err)
	}
	if err := up(s, "eth0"); err != nil {
		return err
	}
	return route()
}

func set(s int, request uint, ip [4]byte) error {
	r, err := unix.NewIfreq("eth0")
	if err != nil {
		return err
	}
	if err := r.SetInet4Addr(ip[:]); err != nil {
		return err
	}
	return unix.IoctlIfreq(s, request, r)
}

func up(s int, name string) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("%s up: %w", name, err)
	}
	return nil
}

// route asks the kernel over netlink for a default route through the gateway.
func route() error {
	i, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	le := binary.NativeEndian
	b := le.AppendUint32(nil, 0) // length, set below
	b = le.AppendUint16(b, unix.RTM_NEWROUTE)
	b = le.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_ACK)
	b = le.AppendUint64(b, 1) // sequence and port
	b = append(b, unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST)
	b = le.AppendUint32(b, 0) // flags
	b = le.AppendUint16(le.AppendUint16(b, 8), unix.RTA_GATEWAY)
	b = append(b, gateway[:]...)
	b = le.AppendUint16(le.AppendUint16(b, 8), unix.RTA_OIF)
	b = le.AppendUint32(b, uint32(i.Index))
	le.PutUint32(b, uint32(len(b)))
	if err := unix.Sendto(s, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil {
		return err
	}
	if n < 20 || le.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("default route: the kernel answered %x", answer[:n])
	}
	if code := int32(le.Uint32(answer[16:])); code != 0 {
		return fmt.Errorf("default route: %w", unix.Errno(-code))
	}
	return nil
}
