package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"posd/journal"
	"posd/pos/config"
	"posd/pos/operator"
)

// Checks of what lies on the disk, and of the disk.

func (p *patient) configuration() finding {
	_, _, err := config.Load(p.path, true)
	var listed *config.Error
	switch {
	case err == nil:
		return ok("%s, checked strictly", p.path)
	case errors.Is(err, fs.ErrNotExist):
		return failed("write one (posctl config prints every key), or give -config", "%v", err)
	case errors.Is(err, fs.ErrPermission):
		return failed("run doctor as root or as posd's user", "%v", err)
	case p.c != nil && errors.As(err, &listed):
		return attention("posd starts with it all the same; correct the lines named", "%v", err)
	}
	return failed("correct the lines named; posd does not start with them", "%v", err)
}

// owners compares the owner of each file with the folder's, which posd runs as.
func (p *patient) owners() finding {
	dir := p.c.Data.Dir
	st, err := os.Stat(dir)
	if err != nil {
		return failed("mount the data partition, or make the folder for a new terminal", "%v", err)
	}
	uid := st.Sys().(*syscall.Stat_t).Uid
	var foreign, open []string
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.Name() == "lost+found" {
			return fs.SkipDir
		}
		st, err := e.Info()
		if err != nil {
			return nil // it has just been removed
		}
		if st.Sys().(*syscall.Stat_t).Uid != uid {
			foreign = append(foreign, path)
		}
		secret := slices.ContainsFunc([]string{config.KeyFile, tokenFile, ownToken, operator.File, operator.KeyFile},
			func(base string) bool { return strings.HasPrefix(e.Name(), base) })
		if mode := st.Mode().Perm(); path == dir && mode&0o007 != 0 || secret && mode&0o077 != 0 {
			open = append(open, fmt.Sprintf("%s (%04o)", path, mode))
		}
		return nil
	})
	if err != nil {
		return attention("run doctor as root or as posd's user", "not all of it can be looked at: %v", err)
	}
	as, known := p.posdUser()
	switch {
	case len(foreign) > 0:
		return failed(fmt.Sprintf("chown -R --reference=%s %s", dir, dir), "not the owner's of %s, so posd may not write them: %s", dir, some(foreign))
	case known && as != uid && as != 0:
		return failed(fmt.Sprintf("chown -R %d %s, or correct User= of posd.service", as, dir), "posd runs as user %d, %s is user %d's", as, dir, uid)
	case len(open) > 0:
		return attention("chmod o-rwx the folder, chmod 0600 the files", "others can read: %s", some(open))
	case known && as == 0:
		return attention("run it as user posd (posctl slice exec -user posd, or User= of posd.service)", "posd runs as root")
	}
	return ok("%s and all in it is user %d's, secrets are closed", dir, uid)
}

// posdUser is the user that the running posd has.
func (p *patient) posdUser() (uid uint32, known bool) {
	if p.pid == 0 {
		return 0, false
	}
	st, err := os.Stat(p.file(fmt.Sprintf("/proc/%d", p.pid)))
	if err != nil {
		return 0, false
	}
	return st.Sys().(*syscall.Stat_t).Uid, true
}

// some names the first of many.
func some(names []string) string {
	if len(names) > 4 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:4], ", "), len(names)-4)
	}
	return strings.Join(names, ", ")
}

// credentialFolders are where systemd looks for what the unit asks for by name.
var credentialFolders = []string{"/etc/credstore", "/run/credstore", "/usr/lib/credstore"}

// keyPath is the key that posd takes: one that was provisioned comes first.
func (p *patient) keyPath() string {
	for _, dir := range credentialFolders {
		if path := p.file(filepath.Join(dir, "posd."+config.KeyFile)); exists(path) {
			return path
		}
	}
	return filepath.Join(p.c.Data.Dir, config.KeyFile)
}

func (p *patient) key() finding {
	path := p.keyPath()
	key, err := config.LoadKey(path)
	switch {
	case p.reportErr != nil:
		return unchecked("the journal says which key it is, and cannot be read")
	case p.report.Key == nil:
		return attention("only a new journal can name a key: begin one with posctl salvage when it suits", "the journal names no key: nothing in it is signed")
	case errors.Is(err, fs.ErrNotExist):
		return attention("put it back from its backup (owner posd, mode 0600) and start posd again; sales go on unsigned", "%s is missing", path)
	case errors.Is(err, fs.ErrPermission):
		return unchecked("%v: run doctor as root or as posd's user", err)
	case err != nil:
		return attention("put it back from its backup; sales go on unsigned", "%v", err)
	case !key.Public().(ed25519.PublicKey).Equal(p.report.Key):
		return attention("put back the key that the journal was made with; sales go on unsigned", "%s is not the key that the journal names", path)
	}
	return ok("it is the journal's; the last segment is signed up to record %d", p.report.Signed)
}

func (p *patient) journal() finding {
	const damaged = "copy the data folder away, then follow \"Damaged journal\" in the operators' guide (posctl verify, posctl salvage)"
	var corrupt *journal.CorruptError
	err := p.reportErr
	switch {
	case errors.As(err, &corrupt):
		return failed(damaged, "%v", err)
	case errors.Is(err, journal.ErrNoJournal) && exists(filepath.Join(p.c.Data.Dir, resetFolder)):
		return failed("posctl reset -yes ends it, posctl init too", "a reset was interrupted: %s is there", resetFolder)
	case errors.Is(err, journal.ErrNoJournal):
		return failed("mount the data partition; posctl init for a new terminal", "%v", err)
	case errors.Is(err, fs.ErrPermission):
		return unchecked("%v: run doctor as root or as posd's user", err)
	case err != nil:
		return failed("see the message; posctl verify says more", "%v", err)
	}
	r := &p.report
	if want := (journal.Identity{Store: p.c.Terminal.Store, Terminal: p.c.Terminal.ID}); r.Identity != want {
		return failed("correct terminal.store and terminal.id, or data.dir", "it is terminal %s of store %s's, the configuration is %s of %s's", r.Identity.Terminal, r.Identity.Store, want.Terminal, want.Store)
	}
	if p.status != nil && len(p.status.Journal.Damaged) > 0 {
		return failed(damaged, "%d damaged segments: %s", len(p.status.Journal.Damaged), p.status.Journal.Damaged[0].Text)
	}
	if other, err := journal.OtherMachine(p.journalDir(), journal.Machine()); err == nil && other {
		return attention("nothing: posd begins a new journal at its next start; see \"Cloned disk\" in the operators' guide", "it was made on another board than this one")
	}
	tail := ""
	if r.Tail != "" {
		tail = "; after a power cut " + r.Tail
	}
	return ok("records %d to %d in %d segments, the newest segment is whole (posctl verify proves all)%s", r.First, r.Last, r.Segments, tail)
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// former names journals beside the one in use.
func (p *patient) former() finding {
	entries, err := os.ReadDir(p.c.Data.Dir)
	if err != nil {
		return unchecked("%v", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), "journal") && e.Name() != "journal" && e.Name() != resetFolder {
			names = append(names, e.Name())
		}
	}
	if len(names) > 0 {
		return attention("posctl unsettled says whether head office has their sales; then remove them: they take space", "%s", some(names))
	}
	return ok("none")
}

// leastSegments is the room without which a sale may be refused at the next segment.
const leastSegments = 3

func (p *patient) space() finding {
	dir := p.c.Data.Dir
	st, err := p.free(dir)
	if err != nil {
		return unchecked("%v", err)
	}
	free := int64(st.Bavail) * st.Bsize
	may := p.c.Data.MaxBytes - p.report.Bytes
	text := fmt.Sprintf("%s free of %s; the journal has %s and may grow to %s (data.max_bytes)", bytesText(free),
		bytesText(int64(st.Blocks)*st.Bsize), bytesText(p.report.Bytes), bytesText(p.c.Data.MaxBytes))
	switch {
	case free < leastSegments*p.c.Data.Segment:
		return failed("free space on the partition, or restore the link: what head office has is freed", "%s", text)
	case st.Files > 0 && st.Ffree < 64:
		return failed("remove small files from the partition", "%d inodes are left", st.Ffree)
	case may <= leastSegments*p.c.Data.Segment:
		return attention("restore the link to head office, or raise data.max_bytes", "%s: sales are refused when it is full", text)
	case free < may:
		return attention("lower data.max_bytes, or use a larger partition: sales stop when the disk is full, whatever max_bytes says", "%s", text)
	}
	return ok("%s", text)
}

// mount is what /proc/self/mountinfo says of the mount that holds a folder.
type mount struct {
	device, point, kind, source string
	options                     []string
}

func (p *patient) mountOf(dir string) (m mount, found bool) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return m, false // what it would be on says nothing
	}
	for line := range strings.Lines(p.text("/proc/self/mountinfo") + "\n") {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 6 || len(r) < 3 {
			continue
		}
		point := strings.ReplaceAll(l[4], `\040`, " ")
		if dir != point && !strings.HasPrefix(dir, strings.TrimSuffix(point, "/")+"/") || found && len(point) < len(m.point) {
			continue
		}
		found = true
		m = mount{device: l[2], point: point, kind: r[0], source: r[1], options: append(strings.Split(l[5], ","), strings.Split(r[2], ",")...)}
	}
	return m, found
}

func (m mount) has(option string) bool { return slices.Contains(m.options, option) }

func (p *patient) fileSystem() finding {
	m, found := p.mountOf(p.c.Data.Dir)
	if !found {
		return unchecked("/proc/self/mountinfo does not say what %s is on", p.c.Data.Dir)
	}
	text := fmt.Sprintf("%s on %s at %s (%s)", m.kind, m.source, m.point, strings.Join(m.options, ","))
	switch m.kind {
	case "tmpfs", "ramfs":
		return failed("put data.dir on a partition of the flash", "%s: it is memory, a power cut takes all sales", text)
	case "nfs", "nfs4", "cifs", "9p", "virtiofs", "overlay", "aufs", "fuse", "vfat", "exfat", "msdos":
		return failed("put data.dir on ext4 or f2fs on a device of this board", "%s: what is synced there is not certain to be on a device", text)
	}
	for _, o := range []string{"nobarrier", "barrier=0", "fsync_mode=nobarrier"} {
		if m.has(o) {
			return failed("mount it without "+o, "%s: %s lets the device lose what it has acknowledged", text, o)
		}
	}
	switch {
	case m.has("ro"):
		return failed("look at dmesg, have the file system checked, mount it writable, start posd again", "%s: it is read-only", text)
	case m.has("data=writeback"):
		return attention("mount it with data=ordered, ext4's default", "%s: after a power cut files may hold other files' old bytes", text)
	case m.has("strictatime") || !m.has("noatime") && !m.has("relatime"):
		return attention("mount it with noatime: every read writes to the flash", "%s", text)
	case m.kind != "ext4" && m.kind != "f2fs" && m.kind != "xfs" && m.kind != "btrfs":
		return attention("the journal is proved on ext4; use that", "%s: nobody has cut its power in a test of posd's", text)
	case p.sharesRoot(m):
		return attention("give posd a partition of its own, so that logs cannot fill it", "%s: the data folder is on the system's partition", text)
	}
	return ok("%s", text)
}

func (p *patient) sharesRoot(m mount) bool { return m.point == "/" }

// writeCache says what the kernel believes of the device's own cache.
func (p *patient) writeCache() finding {
	m, found := p.mountOf(p.c.Data.Dir)
	if !found || strings.HasPrefix(m.device, "0:") {
		return unchecked("no block device of its own is under %s (%s)", p.c.Data.Dir, m.kind)
	}
	at := p.file("/sys/dev/block/" + m.device)
	if real, err := filepath.EvalSymlinks(at); err == nil {
		at = real
	}
	for _, queue := range []string{at + "/queue", filepath.Dir(at) + "/queue"} { // a partition has none of its own
		b, err := os.ReadFile(queue + "/write_cache")
		if err != nil {
			continue
		}
		switch mode := strings.TrimSpace(string(b)); mode {
		case "write back":
			return ok("%s: write back, so the kernel sends a flush at each commit", m.source)
		case "write through":
			return ok("%s: write through, so the kernel sends no flush: right for a device without a cache of its own", m.source)
		default:
			return attention("look at "+queue+"/write_cache", "%s: %q", m.source, mode)
		}
	}
	return unchecked("the kernel says nothing about the cache of device %s", m.device)
}

// flush is here so that nobody takes the check above for it.
func (p *patient) flush() finding {
	return unchecked("whether the device keeps what it has acknowledged can only be shown by cutting its power while it writes; ask for that of the model that you buy")
}
