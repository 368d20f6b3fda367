package journal

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// Machine identifies the board that this process runs on, or is "" where nothing
// reliable says: the serial number that the firmware gives, else the machine id of
// the installed system. A machine id that systemd made up for this boot only does
// not count: it would make every boot look like another board.
func Machine() string { return machineBelow("/") }

func machineBelow(root string) string {
	// World-readable, unlike a PC's: posctl as root and posd must see the same.
	if s := readID(root + "sys/firmware/devicetree/base/serial-number"); s != "" {
		return "serial-number:" + s
	}
	if _, err := os.Lstat(root + "run/machine-id"); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if s := readID(root + "etc/machine-id"); s != "" && s != "uninitialized" {
		return "machine-id:" + s
	}
	return ""
}

// readID returns the text of a small file without blanks, zeros or line ends, and
// nothing for the numbers that boards without a number have.
func readID(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	s := strings.TrimSpace(strings.TrimRight(string(b), "\x00\n"))
	if strings.Trim(s, "0-") == "" {
		return ""
	}
	return s
}
