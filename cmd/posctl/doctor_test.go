package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posd/journal"
	"posd/pos/config"
	"posd/pos/operator"
)

// ward is a terminal in good health on a machine that is made of files.
type ward struct {
	t          *testing.T
	p          *patient
	root, data string
	units      map[string]string // systemctl show
}

const goodUnit = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nWatchdogUSec=1min 30s\nSlice=posd.slice\nResult=success\nNRestarts=0\nNeedDaemonReload=no\n"

// template is a terminal that has sold and has items, to be copied.
func template(t *testing.T) (data string) {
	t.Helper()
	data, conf := terminalFolder(t, 3)
	if code, _, errs := posctl(t, "catalogue", "import", writeItems(t), "-config", conf); code != 0 {
		t.Fatal(errs)
	}
	return data
}

func newWard(t *testing.T, template string) *ward {
	t.Helper()
	dir := t.TempDir()
	data, conf := filepath.Join(dir, "data"), filepath.Join(dir, "posd.toml")
	if out, err := exec.Command("cp", "-a", template, data).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	writeConfig(t, conf, data, "")
	w := &ward{t: t, root: t.TempDir(), data: data, units: map[string]string{"posd.service": goodUnit, "posd.socket": goodUnit, "posd.slice": goodUnit}}
	w.p = newPatient(t.Context(), conf)
	w.p.root = w.root
	w.p.synced = func() bool { return true }
	w.p.run = func(_ context.Context, _ string, args ...string) (string, error) {
		text, ok := w.units[args[len(args)-1]]
		if !ok {
			return "", errors.New("exit status 1")
		}
		return text, nil
	}
	if err := os.Chmod(data, 0o750); err != nil {
		t.Fatal(err)
	}
	w.put("proc/self/mountinfo", fmt.Sprintf("20 1 179:1 / / rw,noatime - ext4 /dev/mmcblk0p1 rw\n21 20 179:2 / %s rw,noatime - ext4 /dev/mmcblk0p2 rw", data))
	w.put("sys/devices/mmcblk0/queue/write_cache", "write back")
	w.put("sys/devices/mmcblk0/mmcblk0p2/partition", "2")
	w.put("sys/dev/block/x", "")
	if err := os.Symlink("../../devices/mmcblk0/mmcblk0p2", filepath.Join(w.root, "sys/dev/block/179:2")); err != nil {
		t.Fatal(err)
	}
	w.put("proc/sys/kernel/osrelease", "6.12.5-arm64")
	w.put("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0")
	w.put("proc/swaps", "Filename Type Size Used Priority")
	w.put("run/systemd/system/x", "")
	w.put("dev/watchdog0", "")
	w.put("sys/class/watchdog/watchdog0/identity", "Broadcom BCM2835 Watchdog timer")
	w.put("sys/class/watchdog/watchdog0/state", "active")
	w.put("sys/class/watchdog/watchdog0/timeout", "30")
	for file, text := range map[string]string{"cpu.max": "10000 100000", "cpu.max.burst": "10000", "memory.high": "29360128", "memory.max": "33554432", "memory.swap.max": "0", "pids.max": "64"} {
		w.put("sys/fs/cgroup/posd.slice/"+file, text)
	}
	w.put("sys/fs/cgroup/cgroup.controllers", "cpu memory pids")
	return w
}

func writeItems(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "items.csv")
	writeFile(t, path, "code,description,department,unit,price,tax\n4011,Bananas,fruit,kg,1.99,A\n")
	return path
}

func (w *ward) put(name, text string) {
	w.t.Helper()
	writeFile(w.t, filepath.Join(w.root, name), text+"\n")
}

func (w *ward) remove(name string) {
	w.t.Helper()
	if err := os.RemoveAll(name); err != nil {
		w.t.Fatal(err)
	}
}

func (w *ward) mounted(kind, options string) {
	w.put("proc/self/mountinfo", fmt.Sprintf("20 1 179:1 / / rw,noatime - ext4 /dev/mmcblk0p1 rw\n21 20 179:2 / %s %s - %s /dev/mmcblk0p2 rw", w.data, options, kind))
}

// answers lets the patient believe that posd answered so.
func (w *ward) answers(change func(*statusDoc)) {
	w.p.pid, w.p.statusErr, w.p.readyErr = 0, nil, nil
	w.p.status = &statusDoc{Release: "1.4.0", Pressure: &pressureDoc{Throttled: 3}}
	w.p.status.Health.Status = "ok"
	change(w.p.status)
}

func findingOf(t *testing.T, found []finding, name string) finding {
	t.Helper()
	for _, f := range found {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no check is named %q", name)
	return finding{}
}

// Each check must see what it is for: the sound terminal is ok, and the broken one
// is not. What is broken is made on the files.
func TestDoctor(t *testing.T) {
	from := template(t)
	sound := newWard(t, from).p.check()
	if len(sound) != len(checks) {
		t.Fatalf("%d findings of %d checks", len(sound), len(checks))
	}
	// Without posd nothing of it can be known; the rest is sound.
	for _, f := range sound {
		want := stateOK
		switch f.Name {
		case "flush", "health", "pressure", "printer", "card payments":
			want = stateUnchecked
		case "posd":
			want = stateFailed
		}
		if f.State != want || f.Found == "" || (f.State == stateOK || f.State == stateUnchecked) != (f.Do == "") {
			t.Errorf("sound: %+v, want %s", f, want)
		}
	}

	join := func(w *ward, name string) string { return filepath.Join(w.data, name) }
	for _, c := range []struct {
		check, what string
		make        func(*ward)
		state       state
		want        string
	}{
		{"configuration", "an unknown key", func(w *ward) { w.edit("[http]", "[extra]\nx = 1\n[http]") }, stateAttention, "extra"},
		{"configuration", "a bad value", func(w *ward) { w.edit(`currency = "EUR"`, `currency = "EURO"`) }, stateFailed, "ISO 4217"},
		{"configuration", "no file", func(w *ward) { w.p.path += ".none" }, stateFailed, "no such file"},
		{"journal", "nothing to look at", func(w *ward) { w.edit(`currency = "EUR"`, `currency = "EURO"`) }, stateUnchecked, "without a usable configuration"},
		{"data folder", "it is not there", func(w *ward) { w.remove(w.data) }, stateFailed, "no such file"},
		{"data folder", "open to all", func(w *ward) { w.must(os.Chmod(w.data, 0o755)) }, stateAttention, "others can read"},
		{"data folder", "an open key", func(w *ward) { w.must(os.Chmod(join(w, config.KeyFile), 0o640)) }, stateAttention, "terminal.key (0640)"},
		{"data folder", "an open token", func(w *ward) { w.must(os.Chmod(join(w, ownToken), 0o604)) }, stateAttention, "posctl.token (0604)"},
		{"data folder", "a file of somebody else", func(w *ward) { w.foreign(join(w, "view.db")) }, stateFailed, "view.db"},
		{"signing key", "missing", func(w *ward) { w.remove(join(w, config.KeyFile)) }, stateAttention, "is missing"},
		{"signing key", "another one", func(w *ward) {
			other, _ := terminalFolder(w.t, 0)
			writeFile(w.t, join(w, config.KeyFile), readFile(w.t, filepath.Join(other, config.KeyFile)))
		}, stateAttention, "is not the key that the journal names"},
		{"signing key", "a wrong one was provisioned", func(w *ward) {
			other, _ := terminalFolder(w.t, 0)
			w.put("etc/credstore/posd.terminal.key", readFile(w.t, filepath.Join(other, config.KeyFile)))
		}, stateAttention, "credstore/posd.terminal.key is not the key"},
		{"signing key", "the right one was provisioned", func(w *ward) {
			w.put("etc/credstore/posd.terminal.key", readFile(w.t, join(w, config.KeyFile)))
			w.remove(join(w, config.KeyFile))
		}, stateOK, "it is the journal's"},
		{"signing key", "rubbish", func(w *ward) { writeFile(w.t, join(w, config.KeyFile), "x") }, stateAttention, "no PEM"},
		{"journal", "damaged", func(w *ward) { rot(w.t, join(w, "journal/0000000001.seg")) }, stateFailed, "journal is damaged"},
		{"journal", "not mounted", func(w *ward) { w.remove(join(w, "journal")) }, stateFailed, "no journal"},
		{"journal", "half reset", func(w *ward) { w.must(os.Rename(join(w, "journal"), join(w, resetFolder))) }, stateFailed, "a reset was interrupted"},
		{"journal", "another terminal's", func(w *ward) { w.edit(`id = "t1"`, `id = "t9"`) }, stateFailed, "is t9 of s1's"},
		{"journal", "rot that posd has found", func(w *ward) {
			w.answers(func(s *statusDoc) {
				s.Journal.Damaged = append(s.Journal.Damaged, struct{ File, Text string }{"0000000001.seg", "rotten"})
			})
		}, stateFailed, "rotten"},
		{"journal", "another board's", func(w *ward) { w.otherBoard() }, stateAttention, "another board"},
		{"former journals", "one", func(w *ward) { w.must(os.Mkdir(join(w, "journal-12345678"), 0o750)) }, stateAttention, "journal-12345678"},
		{"space", "a smaller disk than max_bytes", func(w *ward) { w.edit(`max_bytes = "1MiB"`, `max_bytes = "1024GiB"`) }, stateAttention, "may grow to 1024 GiB"},
		{"space", "a full disk", func(w *ward) {
			w.p.free = func(string) (unix.Statfs_t, error) {
				return unix.Statfs_t{Bsize: 4096, Blocks: 1000, Bavail: 10, Ffree: 1000, Files: 2000}, nil
			}
		}, stateFailed, "40 KiB free of 3.9 MiB"},
		{"space", "no inodes", func(w *ward) {
			w.p.free = func(string) (unix.Statfs_t, error) {
				return unix.Statfs_t{Bsize: 4096, Blocks: 1 << 20, Bavail: 1 << 20, Ffree: 1, Files: 2000}, nil
			}
		}, stateFailed, "1 inodes"},
		{"space", "a full journal", func(w *ward) { w.edit(`max_bytes = "1MiB"`, `max_bytes = "256KiB"`) }, stateAttention, "sales are refused when it is full"},
		{"file system", "memory", func(w *ward) { w.mounted("tmpfs", "rw,noatime") }, stateFailed, "a power cut takes all sales"},
		{"file system", "a network", func(w *ward) { w.mounted("nfs4", "rw,noatime") }, stateFailed, "nfs4"},
		{"file system", "no barriers", func(w *ward) { w.mounted("ext4", "rw,noatime,nobarrier") }, stateFailed, "nobarrier lets"},
		{"file system", "no barriers, as ext3 says it", func(w *ward) { w.mounted("ext4", "rw,noatime,barrier=0") }, stateFailed, "barrier=0"},
		{"file system", "read-only", func(w *ward) { w.mounted("ext4", "ro,noatime") }, stateFailed, "read-only"},
		{"file system", "data=writeback", func(w *ward) { w.mounted("ext4", "rw,noatime,data=writeback") }, stateAttention, "old bytes"},
		{"file system", "atime", func(w *ward) { w.mounted("ext4", "rw") }, stateAttention, "ext4 on"},
		{"file system", "one that nobody tested", func(w *ward) { w.mounted("jffs2", "rw,noatime") }, stateAttention, "jffs2"},
		{"file system", "the system's", func(w *ward) {
			w.put("proc/self/mountinfo", "20 1 179:1 / / rw,noatime - ext4 /dev/mmcblk0p1 rw")
		}, stateAttention, "on the system's partition"},
		{"file system", "no /proc", func(w *ward) { w.remove(filepath.Join(w.root, "proc")) }, stateUnchecked, "mountinfo"},
		{"write cache", "something new", func(w *ward) { w.put("sys/devices/mmcblk0/queue/write_cache", "sideways") }, stateAttention, "sideways"},
		{"write cache", "write through", func(w *ward) { w.put("sys/devices/mmcblk0/queue/write_cache", "write through") }, stateOK, "sends no flush"},
		{"write cache", "no device", func(w *ward) { w.remove(filepath.Join(w.root, "sys/dev")) }, stateUnchecked, "says nothing"},
		{"kernel", "old", func(w *ward) { w.put("proc/sys/kernel/osrelease", "4.19.0-rt") }, stateAttention, "older than 5.14"},
		{"kernel", "hybrid", func(w *ward) { w.hybrid() }, stateAttention, "it is hybrid"},
		{"kernel", "without pressure", func(w *ward) { w.remove(filepath.Join(w.root, "proc/pressure")) }, stateAttention, "CONFIG_PSI"},
		{"limits", "no quota", func(w *ward) { w.put("sys/fs/cgroup/posd.slice/cpu.max", "max 100000") }, stateAttention, "expected 10 % of a core"},
		{"limits", "more memory", func(w *ward) { w.put("sys/fs/cgroup/posd.slice/memory.max", "67108864") }, stateAttention, "expected 32 MiB"},
		{"limits", "swap", func(w *ward) {
			w.put("sys/fs/cgroup/posd.slice/memory.swap.max", "max")
			w.put("proc/swaps", "Filename Type\n/dev/zram0 partition")
		}, stateAttention, "may be swapped out"},
		{"limits", "hidden", func(w *ward) { w.put("sys/fs/cgroup/cgroup.type", "domain") }, stateAttention, "hidden"},
		{"limits", "no slice", func(w *ward) { w.remove(filepath.Join(w.root, "sys/fs/cgroup/posd.slice")) }, stateUnchecked, "there is no posd.slice"},
		{"limits", "hybrid, as posd found them", func(w *ward) {
			w.hybrid()
			w.answers(func(s *statusDoc) { s.Limits.Differs = []string{"expected a cpu quota"} })
		}, stateAttention, "expected a cpu quota"},
		{"systemd", "no unit", func(w *ward) { w.units["posd.socket"] = "LoadState=not-found\n" }, stateAttention, "posd.socket is not-found"},
		{"systemd", "no watchdog", func(w *ward) { w.unit("posd.service", "WatchdogUSec=1min 30s", "WatchdogUSec=0") }, stateAttention, "WatchdogSec"},
		{"systemd", "another slice", func(w *ward) { w.unit("posd.service", "Slice=posd.slice", "Slice=system.slice") }, stateAttention, "system.slice"},
		{"systemd", "not enabled", func(w *ward) {
			w.unit("posd.service", "=enabled", "=disabled")
			w.unit("posd.socket", "=enabled", "=disabled")
		}, stateAttention, "does not start with the machine"},
		{"systemd", "socket down", func(w *ward) { w.unit("posd.socket", "ActiveState=active", "ActiveState=inactive") }, stateAttention, "posd.socket is inactive"},
		{"systemd", "failed", func(w *ward) { w.unit("posd.service", "ActiveState=active", "ActiveState=failed") }, stateFailed, "has failed"},
		{"systemd", "changed", func(w *ward) { w.unit("posd.slice", "Reload=no", "Reload=yes") }, stateAttention, "daemon-reload"},
		{"systemd", "no systemctl", func(w *ward) { w.units = nil }, stateUnchecked, "systemctl show"},
		{"systemd", "no systemd", func(w *ward) { w.remove(filepath.Join(w.root, "run")) }, stateUnchecked, "not the init system"},
		{"watchdog", "none", func(w *ward) { w.remove(filepath.Join(w.root, "dev")) }, stateAttention, "there is no /dev/watchdog"},
		{"watchdog", "idle", func(w *ward) { w.put("sys/class/watchdog/watchdog0/state", "inactive") }, stateAttention, "nobody has started it"},
		{"clock", "reset", func(w *ward) { w.at(time.Date(1970, 1, 1, 0, 3, 0, 0, time.UTC)) }, stateAttention, "was reset"},
		{"clock", "behind", func(w *ward) { w.at(time.Now().Add(-time.Hour)) }, stateAttention, "before the newest event"},
		{"clock", "far ahead", func(w *ward) { w.at(time.Now().AddDate(9, 0, 0)) }, stateAttention, "years after"},
		{"clock", "free", func(w *ward) { w.p.synced = func() bool { return false } }, stateAttention, "nothing disciplines"},
		{"tokens", "none", func(w *ward) {
			if code, _, errs := posctl(w.t, "token", "revoke", "till", "-config", w.p.path); code != 0 {
				w.t.Fatal(errs)
			}
		}, stateFailed, "none can sell"},
		{"operators", "who can sign in", func(w *ward) {
			staffOf(w.t, w.data, map[string]string{"carla": "manager"}, map[string]string{"carla": "4711"})
		}, stateOK, "1 sign in, 1 may end a lock"},
		{"operators", "nobody to end a lock", func(w *ward) {
			staffOf(w.t, w.data, map[string]string{"anna": "cashier"}, map[string]string{"anna": "4711"})
		}, stateAttention, "nobody of 1 may end a lock"},
		{"operators", "a role that there is not", func(w *ward) {
			staffOf(w.t, w.data, map[string]string{"anna": "chef"}, map[string]string{"anna": "4711"})
		}, stateAttention, "the role chef, which there is not"},
		{"operators", "without their key", func(w *ward) {
			staffOf(w.t, w.data, map[string]string{"anna": "cashier"}, map[string]string{"anna": "4711"})
			if err := os.Remove(join(w, operator.KeyFile)); err != nil {
				w.t.Fatal(err)
			}
		}, stateFailed, "nobody can sign in"},
		{"operators", "gone", func(w *ward) {
			staffOf(w.t, w.data, map[string]string{"anna": "cashier"}, map[string]string{"anna": "4711"})
			w.remove(join(w, operator.File))
		}, stateAttention, "the operators file is gone"},
		{"operators", "a bad line", func(w *ward) { writeFile(w.t, join(w, operator.File), "anna\n") }, stateAttention, "line 1: a line is an operator"},
		{"tokens", "a bad line", func(w *ward) { writeFile(w.t, join(w, tokenFile), "till nothex 2026\n") }, stateAttention, "are no tokens"},
		{"catalogue", "broken", func(w *ward) { writeFile(w.t, join(w, "catalogue.db"), "x") }, stateAttention, "no item codes"},
		{"catalogue", "another currency", func(w *ward) { w.edit(`currency = "EUR"`, `currency = "USD"`) }, stateAttention, "its prices are in EUR"},
		{"catalogue", "a tax code less", func(w *ward) { w.edit("\nA = ", "\nANOTHER = ") }, stateAttention, "tax code A"},
		{"catalogue", "old", func(w *ward) {
			old := time.Now().AddDate(-2, 0, 0)
			w.must(os.Chtimes(join(w, "catalogue.db"), old, old))
		}, stateAttention, "days ago"},
		{"catalogue", "none", func(w *ward) { w.remove(join(w, "catalogue.db")) }, stateOK, "none"},
		{"posd", "a journal that is held by somebody silent", func(w *ward) {
			f, err := lockJournal(join(w, "journal"))
			w.must(err)
			w.t.Cleanup(func() { f.Close() })
			_, err = fmt.Fprintf(f, "%d x open\n", os.Getpid())
			w.must(err)
		}, stateFailed, "does not answer"},
		{"posd", "not ready", func(w *ward) {
			w.answers(func(*statusDoc) {})
			w.p.readyErr = &answerError{503, `{"detail":"no space left for sales"}`}
		}, stateFailed, "no space left for sales"},
		{"health", "degraded", func(w *ward) {
			w.answers(func(s *statusDoc) {
				s.Health.Status, s.Health.Reasons = "degraded", []string{"the journal is not signed"}
			})
		}, stateAttention, "not signed"},
		{"health", "sound", func(w *ward) { w.answers(func(*statusDoc) {}) }, stateOK, "ok"},
		{"printer", "none", func(w *ward) { w.answers(func(*statusDoc) {}) }, stateOK, "none"},
		{"printer", "ready", func(w *ward) {
			w.answers(func(s *statusDoc) { s.Printer.Configured, s.Printer.Condition = true, "ready" })
		}, stateOK, "ready"},
		{"printer", "little paper", func(w *ward) {
			w.answers(func(s *statusDoc) {
				s.Printer.Configured, s.Printer.Condition, s.Printer.PaperLow = true, "ready", true
			})
		}, stateAttention, "running low"},
		{"printer", "no paper", func(w *ward) {
			w.answers(func(s *statusDoc) { s.Printer.Configured, s.Printer.Condition = true, "paper_out" })
		}, stateAttention, "paper out"},
		{"card payments", "none", func(w *ward) { w.answers(func(*statusDoc) {}) }, stateOK, "no payment terminal"},
		{"card payments", "silent", func(w *ward) {
			w.answers(func(s *statusDoc) { s.Card.Configured, s.Card.Failure = true, "connection refused" })
		}, stateAttention, "connection refused"},
		{"card payments", "unknown ones", func(w *ward) {
			w.answers(func(s *statusDoc) {
				s.Card.Configured, s.Card.Reachable, s.Card.Unsettled = true, true, make([]struct{}, 2)
			})
		}, stateAttention, "not known what became of them: 2"},
		{"card payments", "sound", func(w *ward) {
			w.answers(func(s *statusDoc) { s.Card.Configured, s.Card.Reachable, s.Card.Terminal = true, true, "P400" })
		}, stateOK, "P400 answers"},
		{"pressure", "kills", func(w *ward) { w.answers(func(s *statusDoc) { s.Pressure.OOMKills = 2 }) }, stateAttention, "killed 2 times"},
		{"pressure", "shedding", func(w *ward) {
			w.answers(func(s *statusDoc) { s.Pressure.Shedding, s.Pressure.Reasons = true, []string{"memory"} })
		}, stateAttention, "puts work off: memory"},
		{"pressure", "throttled", func(w *ward) { w.answers(func(s *statusDoc) { s.Pressure.Throttled = 80 }) }, stateAttention, "80 % of the periods"},
		{"pressure", "sound", func(w *ward) { w.answers(func(*statusDoc) {}) }, stateOK, "3 % of the periods"},
		{"pressure", "an older release", func(w *ward) { w.answers(func(s *statusDoc) { s.Pressure = nil }) }, stateUnchecked, "tells nothing"},
		{"head office", "no link", func(w *ward) {
			w.hub()
			w.answers(func(s *statusDoc) { s.Uplink.LastError = "connection refused" })
		}, stateAttention, "connection refused"},
		{"head office", "a fork", func(w *ward) {
			w.hub()
			w.answers(func(s *statusDoc) { s.Uplink.Connected, s.Uplink.Fork = true, "another history" })
		}, stateAttention, "another history"},
		{"head office", "lost", func(w *ward) {
			w.hub()
			w.answers(func(s *statusDoc) { s.Uplink.Connected, s.Uplink.Lost = true, 2 })
		}, stateFailed, "2 records that head office lacks were declared lost"},
		{"head office", "rot", func(w *ward) {
			w.hub()
			w.answers(func(s *statusDoc) { s.Uplink.Connected, s.Uplink.Rot = true, "records 3 to 4" })
		}, stateFailed, "records 3 to 4"},
		{"head office", "held", func(w *ward) {
			w.hub()
			w.answers(func(s *statusDoc) { s.Uplink.Connected, s.Uplink.Held = true, "set aside" })
		}, stateAttention, "set aside"},
		{"head office", "a link", func(w *ward) {
			w.hub()
			w.answers(func(s *statusDoc) { s.Uplink.Connected, s.Uplink.Server = true, "hub-1" })
		}, stateOK, "connected to hub-1"},
		{"head office", "silence", func(w *ward) { w.hub() }, stateUnchecked, "does not answer"},
		{"backlog", "old", func(w *ward) {
			w.hub()
			w.answers(func(s *statusDoc) { s.Uplink.Unsettled = 5 })
			w.at(time.Now().AddDate(0, 0, 3))
		}, stateAttention, "5 records wait, the oldest for 72h"},
		{"backlog", "young", func(w *ward) {
			w.hub()
			w.answers(func(s *statusDoc) { s.Uplink.Unsettled = 5 })
		}, stateOK, "5 records wait"},
		{"backlog", "none", func(w *ward) { w.hub(); w.answers(func(*statusDoc) {}) }, stateOK, "head office has all"},
	} {
		t.Run(c.check+"/"+c.what, func(t *testing.T) {
			w := newWard(t, from)
			c.make(w)
			answered, pid := w.p.status, w.p.pid
			ready := w.p.readyErr
			w.p.examine()
			if answered != nil { // examine has found no posd
				w.p.status, w.p.statusErr, w.p.readyErr, w.p.pid = answered, nil, ready, pid
			}
			f := findingOf(t, w.p.checkAll(), c.check)
			if f.State != c.state || !strings.Contains(f.Found, c.want) {
				t.Errorf("got %s: %s\nwant %s with %q", f.State, f.Found, c.state, c.want)
			}
			if (f.State == stateAttention || f.State == stateFailed) && f.Do == "" {
				t.Error("nothing says what to do")
			}
		})
	}
}

func (w *ward) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *ward) edit(old, text string) {
	w.t.Helper()
	was := readFile(w.t, w.p.path)
	if !strings.Contains(was, old) {
		w.t.Fatalf("%q is not in the configuration", old)
	}
	writeFile(w.t, w.p.path, strings.Replace(was, old, text, 1))
}

func (w *ward) unit(name, old, text string) {
	if !strings.Contains(w.units[name], old) {
		w.t.Fatalf("%q is not in %s", old, name)
	}
	w.units[name] = strings.Replace(w.units[name], old, text, 1)
}

func (w *ward) hub() {
	w.edit("[http]", "[hub]\nurls = [\"nats://127.0.0.1:1\"]\n[http]")
}

func (w *ward) at(now time.Time) { w.p.now = func() time.Time { return now } }

func (w *ward) hybrid() {
	w.remove(filepath.Join(w.root, "sys/fs/cgroup"))
	w.put("sys/fs/cgroup/unified/cgroup.controllers", "")
}

func (w *ward) foreign(path string) {
	if os.Geteuid() != 0 {
		w.t.Skip("only root gives files away")
	}
	w.must(os.Chown(path, 12345, 12345))
}

// otherBoard makes the journal anew, as on another machine.
func (w *ward) otherBoard() {
	if journal.Machine() == "" {
		w.t.Skip("nothing names this machine")
	}
	dir := filepath.Join(w.data, "journal")
	w.remove(dir)
	_, err := journal.Create(dir, journal.CreateOptions{Identity: journal.Identity{Store: "s1", Terminal: "t1"}, SegmentSize: 64 << 10, MachineID: "serial-number:other"})
	w.must(err)
}

// The exit code is that of the worst finding, and JSON says the same.
func TestDoctorExitCode(t *testing.T) {
	for _, c := range []struct {
		states []state
		want   error
	}{
		{[]state{stateOK, stateUnchecked}, nil},
		{[]state{stateOK, stateAttention, stateUnchecked}, errAttention},
		{[]state{stateFailed, stateAttention}, errBroken},
		{[]state{stateAttention, stateFailed, stateAttention}, errBroken},
	} {
		d := diagnosis{State: stateOK}
		for _, s := range c.states {
			d.Checks = append(d.Checks, finding{State: s})
		}
		d.judge()
		if d.err() != c.want {
			t.Errorf("%v: %v, want %v", c.states, d.err(), c.want)
		}
	}
	_, conf := terminalFolder(t, 1)
	code, out, _ := posctl(t, "doctor", "-json", "-config", conf)
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != exitBroken || d.State != stateFailed || len(d.Checks) != len(checks) {
		t.Errorf("%d %v: %s", code, err, out)
	}
	code, out, _ = posctl(t, "doctor", "-config", conf)
	if code != exitBroken || !strings.Contains(out, "\nfailed       posd             posd is not running") {
		t.Errorf("%d:\n%s", code, out)
	}
}

// doctor writes nothing, also where posctl's own token is missing.
func TestDoctorWritesNothing(t *testing.T) {
	data, conf := terminalFolder(t, 1)
	if err := os.Remove(filepath.Join(data, ownToken)); err != nil {
		t.Fatal(err)
	}
	before := listing(t, data)
	posctl(t, "doctor", "-config", conf)
	if after := listing(t, data); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	posctl(t, "status", "-config", conf) // the control: status makes the token
	if listing(t, data) == before {
		t.Error("a file more is not seen")
	}
}

// listing is what is in a folder, with sizes and times of writing.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, path, st.Size(), st.Mode(), st.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The real daemon: what it answers is understood.
func TestDoctorOfARunningPosd(t *testing.T) {
	s := newSite(t, 2, "[hub]\nurls = [\"nats://127.0.0.1:1\"]\n")
	s.start()
	look := func() []finding {
		p := newPatient(t.Context(), s.conf)
		return p.check()
	}
	found := look()
	for name, want := range map[string]state{"posd": stateOK, "health": stateOK, "head office": stateAttention, "backlog": stateOK, "signing key": stateOK, "journal": stateOK} {
		if f := findingOf(t, found, name); f.State != want {
			t.Errorf("%+v, want %s", f, want)
		}
	}
	// Started without its key it is degraded.
	s.stop()
	if err := os.Rename(filepath.Join(s.data, config.KeyFile), filepath.Join(s.data, config.KeyFile+".away")); err != nil {
		t.Fatal(err)
	}
	s.start()
	if f := findingOf(t, look(), "health"); f.State != stateAttention || !strings.Contains(f.Found, "not signed") {
		t.Errorf("%+v", f)
	}
}
