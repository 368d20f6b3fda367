package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	s := &start{out: os.Stdout, wait: time.Minute, patience: 2 * time.Minute}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the first process of the image's initrd, not a command")
		os.Exit(64)
	}
	s.fail(s.run())
}

// start is one boot.
type start struct {
	out      io.Writer
	wait     time.Duration     // for the disk
	patience time.Duration     // before a reset
	options  map[string]string // of the kernel's command line
	slot     string
	modules  *modules
	found    *found
}

// fault is a failure with what a person can do about it.
type fault struct {
	err error
	do  string
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func (s *start) say(format string, a ...any) { fmt.Fprintf(s.out, "init: "+format+"\n", a...) }

// fail says what is wrong until somebody can have read it, and resets the machine.
func (s *start) fail(err error) {
	until := max(s.patience, 10*time.Second)
	do := "Note this text. If it comes again after the next start, put another device in."
	var f *fault
	if errors.As(err, &f) {
		do = f.do
	}
	for left := until; left > 0; left -= until / 4 {
		fmt.Fprintf(s.out, "\n*** posd: this terminal cannot start.\n*** What:  %v\n*** To do: %s\n*** It is reset in %v, since some devices answer then.\n", err, do, left)
		time.Sleep(until / 4)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	os.Exit(1) // the kernel resets after panic=10
}

func (s *start) run() error {
	if err := s.mountKernel(); err != nil {
		return err
	}
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	s.options = parseOptions(string(b))
	s.slot = s.options["posd.slot"]
	if s.slot != "a" && s.slot != "b" {
		return &fault{fmt.Errorf("the loader entry says posd.slot=%q", s.slot), "Correct the entry in loader/entries on the first partition: posd.slot=a or posd.slot=b."}
	}
	if n, err := strconv.Atoi(s.options["posd.wait"]); err == nil {
		s.wait = time.Duration(n) * time.Second
		s.patience = s.wait
	}
	if s.modules, err = readModules(filepath.Join("/lib/modules", release())); err != nil {
		return &fault{fmt.Errorf("the initrd has no modules for kernel %s: %w", release(), err), "Kernel and initrd of this slot do not belong together: write the image or the update again."}
	}
	for _, name := range []string{"crc32c_generic", "squashfs", "ext4", "overlay", "vfat", "nls_cp437", "nls_ascii"} {
		if err := s.modules.probe(name); err != nil {
			return err
		}
	}
	_ = s.modules.probe("efivarfs") // refuses where the firmware is none with variables
	if err := s.find(); err != nil {
		return err
	}
	if err := s.growData(); err != nil { // it sells as well on a small partition
		s.say("the data partition was not stretched: %v", err)
	}
	if err := s.mountRoot(); err != nil {
		return err
	}
	if s.options["posd.rescue"] != "" {
		return s.rescue()
	}
	if err := s.mountData(); err != nil {
		return err
	}
	if err := s.lay(); err != nil {
		return err
	}
	return s.handOver()
}

func parseOptions(line string) map[string]string {
	options := map[string]string{}
	for _, word := range strings.Fields(line) {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			value = "1"
		}
		options[name] = value
	}
	return options
}

func release() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return unix.ByteSliceToString(u.Release[:])
}

func (s *start) mountKernel() error {
	for _, m := range [][4]string{
		{"devtmpfs", "/dev", "mode=0755"}, {"proc", "/proc", ""}, {"sysfs", "/sys", ""},
		{"tmpfs", "/run", "mode=0755,size=20%"},
	} {
		if err := mount(m[0], m[1], m[0], unix.MS_NOSUID, m[2]); err != nil && !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return nil
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil && !errors.Is(err, unix.EROFS) {
		return err
	}
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

const root = "/root"

func (s *start) mountRoot() error {
	again := "Start the other slot (the loader does by itself after three boots of an update), or write the image again."
	dev := s.found.parts["posd-root-"+s.slot]
	if err := s.prove(dev); err != nil {
		return &fault{err, again}
	}
	if err := mount(dev, root, "squashfs", unix.MS_RDONLY|unix.MS_NODEV, ""); err != nil {
		return &fault{fmt.Errorf("slot %s holds no system: %w", s.slot, err), again}
	}
	s.setClock(filepath.Join(root, "usr/lib/clock-epoch"))
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := mount(dir, root+dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return &fault{err, again}
		}
	}
	return nil
}

// prove compares the root partition with what its loader entry says. Only on trial: a
// slot that has proved to work is not given up for one block that has rotted, perhaps
// in a file that nobody reads.
func (s *start) prove(dev string) error {
	want, length, ok := strings.Cut(s.options["posd.root"], ",")
	if !ok || !s.onTrial() {
		return nil
	}
	n, err := strconv.ParseInt(length, 10, 64)
	if err != nil {
		return fmt.Errorf("the loader entry says posd.root=%s", s.options["posd.root"])
	}
	f, err := os.Open(dev)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(h, f, n); err != nil {
		return fmt.Errorf("read slot %s: %w", s.slot, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("slot %s is not what its loader entry says: an update was cut, or the device loses data (SHA-256 %s)", s.slot, got)
	}
	s.say("slot %s is on trial and proved, %d bytes", s.slot, n)
	return nil
}

// onTrial looks whether the slot's loader entry still counts boots: posd-a+3.conf.
func (s *start) onTrial() bool {
	const esp = "/esp"
	if err := mount(s.found.parts["posd-esp"], esp, "vfat", unix.MS_RDONLY, ""); err != nil {
		s.say("%v", err)
		return false
	}
	defer unix.Unmount(esp, 0)
	names, _ := filepath.Glob(esp + "/loader/entries/posd-" + s.slot + "+*.conf")
	return len(names) > 0
}

// setClock sets a clock that is behind a file's time to it: nothing may happen before
// the image was built, or before the last time that was saved.
func (s *start) setClock(file string) {
	st, err := os.Stat(file)
	if err != nil || !time.Now().Before(st.ModTime()) {
		return
	}
	now := unix.NsecToTimeval(st.ModTime().UnixNano())
	if err := unix.Settimeofday(&now); err != nil {
		s.say("the clock says %v, before %s, and cannot be set: %v", time.Now().UTC(), file, err)
		return
	}
	s.say("the clock was behind and is set to %s, the time of %s", st.ModTime().UTC().Format(time.RFC3339), strings.TrimPrefix(file, root))
}

func (s *start) mountData() error {
	dev := s.found.parts["posd-data"]
	const do = "Nothing was changed and no sale is lost by waiting. Start with posd.rescue (see the manual), copy the partition, " +
		"then let e2fsck -f repair it; or replace the device and send this one in."
	if err := s.inRoot("/usr/sbin/e2fsck", "-p", dev); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() >= 4 {
			return &fault{fmt.Errorf("the data partition %s, which holds the sales, needs a person to check it: e2fsck -p: %w", dev, err), do}
		}
	}
	if err := mount(dev, root+"/data", "ext4", unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID, "errors=remount-ro"); err != nil {
		return &fault{fmt.Errorf("the data partition, which holds the sales: %w", err), do}
	}
	s.setClock(root + "/data/var/lib/systemd/timesync/clock")
	if err := s.inRoot("/lib/systemd/systemd-growfs", "/data"); err != nil {
		s.say("the file system of the data partition was not stretched: %v", err)
	}
	return nil
}

// inRoot runs a program of the image. What it says goes to the console.
func (s *start) inRoot(name string, args ...string) error {
	c := exec.Command(name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	c.Dir = "/"
	c.Env = []string{"PATH=/usr/sbin:/usr/bin", "LC_ALL=C", "SYSTEMD_LOG_TARGET=console"}
	out, err := c.CombinedOutput()
	for line := range strings.Lines(string(bytes.TrimSpace(out))) {
		s.say("%s: %s", filepath.Base(name), strings.TrimSpace(line))
	}
	return err
}

// lay puts /var and /etc together.
func (s *start) lay() error {
	data := root + "/data"
	if err := finishReset(data); err != nil {
		return fmt.Errorf("finish the factory reset: %w", err)
	}
	for _, d := range []string{"/var", "/etc/upper", "/etc/work"} {
		if err := os.MkdirAll(data+d, 0o755); err != nil {
			return &fault{fmt.Errorf("the data partition: %w", err), "If it is full, free space with posd.rescue."}
		}
	}
	if s.options["posd.lab"] == "overlay" {
		if err := s.layWritable(data); err != nil {
			return err
		}
	}
	if err := mount(data+"/var", root+"/var", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return mount("etc", root+"/etc", "overlay", unix.MS_NOATIME,
		"lowerdir="+root+"/etc,upperdir="+data+"/etc/upper,workdir="+data+"/etc/work")
}

// layWritable puts a layer that can be written over the whole root, as if the package
// had been installed on an ordinary Debian.
func (s *start) layWritable(data string) error {
	for _, d := range []string{"/lab/upper", "/lab/work"} {
		if err := os.MkdirAll(data+d, 0o755); err != nil {
			return err
		}
	}
	const all = "/lab"
	if err := mount("lab", all, "overlay", 0, "lowerdir="+root+",upperdir="+data+"/lab/upper,workdir="+data+"/lab/work"); err != nil {
		return err
	}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run", "/data"} {
		if err := mount(root+dir, all+dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	return mount(all, root, "", unix.MS_BIND|unix.MS_REC, "")
}

// finishReset takes away what a factory reset left to do: /etc cannot be cleared while
// it is in use. The note goes last, so that a cut repeats it.
func finishReset(data string) error {
	note := data + "/reset"
	b, err := os.ReadFile(note)
	if err != nil || strings.TrimSpace(string(b)) != "clear" {
		return nil // none, or one that userland has to go on with
	}
	for _, d := range []string{"/etc", "/lab"} {
		if err := os.RemoveAll(data + d); err != nil {
			return err
		}
	}
	unix.Sync()
	if err := os.Remove(note); err != nil {
		return err
	}
	unix.Sync()
	return nil
}

// note tells the programs of the image what was found.
func (s *start) note() error {
	const dir = root + "/run/posd-image"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"esp": s.found.parts["posd-esp"], "data": s.found.parts["posd-data"], "slot": s.slot, "disk": s.found.disk,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// rescue is for a person: a shell in the system of the image, with nothing mounted.
func (s *start) rescue() error {
	s.say("rescue: the sales are on %s, not mounted. exit resets the terminal.", s.found.parts["posd-data"])
	c := exec.Command("/bin/bash", "--login")
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Setsid: true, Setctty: true}
	c.Dir = "/"
	c.Env = []string{"PATH=/usr/sbin:/usr/bin", "HOME=/", "TERM=vt100", "PS1=rescue# "}
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	_ = c.Run()
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// handOver makes the root that was put together the root, and systemd the first process.
func (s *start) handOver() error {
	if err := s.note(); err != nil {
		return err
	}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run"} { // bound below root already
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
	emptyInitrd()
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("change to the root: %w", err)
	}
	if err := errors.Join(unix.Chroot("."), os.Chdir("/")); err != nil {
		return err
	}
	err := unix.Exec("/sbin/init", []string{"/sbin/init"}, []string{"HOME=/", "TERM=linux", "PATH=/usr/sbin:/usr/bin"})
	return &fault{fmt.Errorf("start systemd: %w", err), "Start the other slot, or write the image again."}
}

// emptyInitrd gives its memory back. Nothing that is mounted is entered.
func emptyInitrd() {
	var here unix.Stat_t
	if unix.Lstat("/", &here) != nil {
		return
	}
	for _, name := range []string{"/lib", "/init"} {
		var st unix.Stat_t
		if unix.Lstat(name, &st) == nil && st.Dev == here.Dev {
			_ = os.RemoveAll(name)
		}
	}
}

func blockSize(f *os.File) (block, size int64, err error) {
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return 0, 0, err
	}
	var bytes uint64
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&bytes))); e != 0 {
		return 0, 0, e
	}
	return int64(n), int64(bytes), nil
}
