package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"posd/packaging/lab/guest"
)

// steps in their order: each goes on from where the one before left the disk.
var steps = []struct {
	name string
	do   func(*lab, context.Context) (string, error)
}{
	{"loader", (*lab).loader},
	{"first boot", (*lab).firstBoot},
	{"limits", (*lab).limits},
	{"watchdog", (*lab).watchdog},
	{"diagnosis", (*lab).diagnosis},
	{"sales", (*lab).sales},
	{"restart", (*lab).restart},
	{"power cut", (*lab).powerCut},
	{"hung", (*lab).hung},
	{"upgrade", (*lab).upgrade},
	{"unsettled", (*lab).refusedReset},
	{"reset", (*lab).reset},
	{"new till", (*lab).newTill},
	{"no data", (*lab).noData},
}

func toml(terminal string, nats int) string {
	return fmt.Sprintf(`[terminal]
store = "s1"
id = %q
currency = "EUR"
time_zone = "Europe/Berlin"
[tax]
A = "19"
[http]
listen = "0.0.0.0:8080"
allow_remote = true
socket = "/run/posd/posd.sock"
[data]
dir = "/var/lib/posd"
[hub]
urls = ["nats://10.0.2.2:%d"]
`, terminal, nats)
}

const (
	items  = "code,description,department,unit,price,tax\n4011,Bananas,fruit,pc,2.49,A\n"
	listen = "[Socket]\nListenStream=\nListenStream=0.0.0.0:8080\nListenStream=/run/posd/posd.sock\n"
)

// loader goes through firmware and loader: an update of slot b that was cut is left for
// slot a, which without a configuration says what to do.
func (l *lab) loader(ctx context.Context) (string, error) {
	half := make([]byte, 4<<20)
	rand.Read(half)
	copy(half, "hsqs") // it looks like a squashfs
	f, err := os.OpenFile(l.disk, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	_, err = f.WriteAt(half, (1+128+256)<<20)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	entry, err := l.list(ctx, "mtype", "::/loader/entries/posd-a+3.conf")
	if err != nil {
		return "", err
	}
	entry = regexp.MustCompile(`(?m)^version .*`).ReplaceAllString(strings.ReplaceAll(entry, "slot=a", "slot=b posd.wait=10"), "version 9999")
	file := filepath.Join(l.dir, "b.conf")
	if err := errors.Join(os.WriteFile(file, []byte(entry), 0o600), l.esp(ctx, "mcopy", file, "::/loader/entries/posd-b+1.conf")); err != nil {
		return "", err
	}
	vars := filepath.Join(l.dir, "efivars.fd")
	b, err := os.ReadFile(strings.Replace(l.firmware, "_CODE", "_VARS", 1))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(vars, b, 0o600); err != nil {
		return "", err
	}
	o := guest.Options{Memory: 512, Drives: []guest.Drive{{File: l.disk}}, Console: l.console, Args: []string{
		"-drive", "if=pflash,format=raw,readonly=on,file=" + l.firmware, "-drive", "if=pflash,format=raw,file=" + vars, "-device", "i6300esb", "-action", "watchdog=none"}}
	wctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	if err := l.start(ctx, o); err != nil {
		return "", err
	}
	if _, err := l.m.Wait(wctx, `slot b is not what its loader entry says`); err != nil {
		return "", err
	}
	if err := l.gone(ctx); err != nil {
		return "", err
	}
	if err := l.start(ctx, o); err != nil {
		return "", err
	}
	for _, said := range []string{`slot a is on trial and proved`, `This terminal is not set up: there is no posd.toml`, `slot a has proved itself`} {
		if _, err := l.m.Wait(wctx, said); err != nil {
			return "", err
		}
	}
	if err := l.cut(); err != nil {
		return "", err
	}
	names, err := l.list(ctx, "mdir", "-b", "::/loader/entries")
	if err != nil {
		return "", err
	}
	if !strings.Contains(names, "posd-a.conf") || !strings.Contains(names, "posd-b+0-1.conf") {
		return "", fmt.Errorf("the loader's entries are %s", names)
	}
	return "AAVMF and systemd-boot: half-written slot b refused, slot a taken and kept; no posd.toml: said on the console",
		l.esp(ctx, "mdel", "::/loader/entries/posd-b+0-1.conf")
}

// cut is a power cut.
func (l *lab) cut() error {
	err := l.m.Kill()
	l.m = nil
	return err
}

func (l *lab) firstBoot(ctx context.Context) (string, error) {
	token, err := os.ReadFile(filepath.Join(l.office.dir, "nats.token"))
	if err != nil {
		return "", err
	}
	if err := errors.Join(
		l.give(ctx, "posd.toml", "\ufeff"+strings.ReplaceAll(toml("t1", l.office.nats), "\n", "\r\n")), // a PC's editor
		l.give(ctx, "hub.token", string(token)), l.give(ctx, "items.csv", items), l.give(ctx, "listen.conf", listen)); err != nil {
		return "", err
	}
	if err := l.shellBoot(ctx, ""); err != nil {
		return "", err
	}
	if l.front.token, err = l.sh.run(ctx, "posctl token add front | tail -1"); err != nil {
		return "", err
	}
	year, err := l.number(ctx, "date +%s")
	if err != nil {
		return "", err
	}
	built, err := l.number(ctx, "stat -c %Y /usr/lib/clock-epoch")
	if err != nil || year < built || built < 1700000000 {
		return "", errors.Join(err, fmt.Errorf("the clock says %d, the image was built at %d", year, built))
	}
	left, err := l.sh.run(ctx, "mkdir -p /run/esp && mount -o ro $(cat /run/posd-image/esp) /run/esp && ls /run/esp/posd && umount /run/esp")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"posd.toml.installed", "items.csv.installed", "listen.conf.installed", "terminal.txt"} {
		if !strings.Contains(left, name) {
			return "", fmt.Errorf("the first partition lacks %s: %s", name, left)
		}
	}
	if strings.Contains(left, "hub.token") {
		return "", fmt.Errorf("the secret was not deleted: %s", left)
	}
	size, err := l.number(ctx, "df -B1M --output=size /data | tail -1")
	if err != nil || size < 1000 {
		return "", errors.Join(err, fmt.Errorf("the data partition has %d MiB", size))
	}
	up, err := l.sh.run(ctx, "systemd-analyze --no-pager | head -1; systemctl --failed --no-legend --plain; cat /proc/meminfo | grep MemAvailable")
	if err != nil {
		return "", err
	}
	fmt.Fprintf(l.console, "%s\n", up)
	first, _, _ := strings.Cut(up, "\n")
	return fmt.Sprintf("set up from the first partition, secret gone from it, %d MiB of data; board's clock 1970, system's %s; %s",
		size, time.Unix(year, 0).UTC().Format("2006-01-02"), strings.TrimPrefix(first, "Startup finished in ")), nil
}

func (l *lab) number(ctx context.Context, command string) (int64, error) {
	out, err := l.sh.run(ctx, command)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(out), 10, 64)
}

// wanted are the limits of the package, as the kernel says them.
var wanted = []struct{ file, value string }{
	{"cpu.max", "10000 100000"}, {"cpu.max.burst", "10000"}, {"memory.high", "29360128"},
	{"memory.max", "33554432"}, {"memory.swap.max", "0"}, {"pids.max", "64"},
}

func (l *lab) readLimits(ctx context.Context) (string, error) {
	var text []string
	for _, w := range wanted {
		dir := "/sys/fs/cgroup/posd.slice/"
		if w.file == "memory.high" { // of posd alone: it slows down whoever is in the group
			dir += "posd.service/"
		}
		got, err := l.sh.run(ctx, "cat "+dir+w.file)
		if err != nil {
			return "", err
		}
		if got != w.value {
			return "", fmt.Errorf("%s is %q, expected %q", w.file, got, w.value)
		}
		text = append(text, w.file+" "+got)
	}
	group, err := l.sh.run(ctx, "cat /proc/$(systemctl show -P MainPID posd.service)/cgroup")
	if err != nil || group != "0::/posd.slice/posd.service" {
		return "", errors.Join(err, fmt.Errorf("posd runs in %q", group))
	}
	return strings.Join(append(text, "in "+group), ", "), nil
}

func (l *lab) limits(ctx context.Context) (string, error) {
	text, err := l.readLimits(ctx)
	if err != nil {
		return "", err
	}
	// The control: another quota has to be noticed.
	if _, err := l.sh.run(ctx, "systemctl set-property --runtime posd.slice CPUQuota=20%"); err != nil {
		return "", err
	}
	if _, err := l.readLimits(ctx); err == nil {
		return "", errors.New("a quota of 20 % was not noticed")
	}
	if _, err := l.sh.run(ctx, "systemctl set-property --runtime posd.slice CPUQuota=10%"); err != nil {
		return "", err
	}
	l.controls++
	_, err = l.readLimits(ctx)
	return text + "; 20 % was noticed", err
}

func (l *lab) watchdog(ctx context.Context) (string, error) {
	out, err := l.sh.run(ctx, "readlink /proc/1/fd/* | grep -x /dev/watchdog0; cat /sys/class/watchdog/watchdog0/{state,timeout,identity}")
	if err != nil {
		return "", err
	}
	f := strings.Split(out, "\n")
	if len(f) != 4 || f[0] != "/dev/watchdog0" || f[1] != "active" || f[2] != "60" {
		return "", fmt.Errorf("the watchdog is not fed by pid 1 with 60 s: %q", out)
	}
	return fmt.Sprintf("%s, opened by pid 1, %s, %s s", f[3], f[1], f[2]), nil
}

func (l *lab) diagnosis(ctx context.Context) (string, error) {
	out, err := l.sh.run(ctx, "systemd-analyze security --no-pager posd.service | tail -1")
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`for posd.service: ([0-9.]+)`).FindStringSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("systemd-analyze security says %q", out)
	}
	doctor, code, err := l.sh.try(ctx, "posctl doctor")
	if err != nil {
		return "", err
	}
	fmt.Fprintf(l.out, "posctl doctor (exit %d):\n    %s\n", code, strings.ReplaceAll(doctor, "\n", "\n    "))
	writes, err := l.sh.run(ctx, "findmnt -no OPTIONS /var | tr , '\\n' | grep -x noatime; swapon --noheadings | wc -l; ls -d /var/log/journal 2>/dev/null | wc -l; systemctl list-timers --no-legend --all --plain | grep -o '[^ ]*[.]timer' | sort | paste -sd ' '")
	if err != nil {
		return "", err
	}
	f := strings.Split(writes, "\n")
	if len(f) != 4 || f[0] != "noatime" || f[1] != "0" || f[2] != "0" || f[3] != "fstrim.timer systemd-tmpfiles-clean.timer" {
		return "", fmt.Errorf("something writes that should not: %q", writes)
	}
	return fmt.Sprintf("exposure %s, doctor's code %d, timers: %s", found[1], code, f[3]), nil
}

// sales sells, and compares with head office, with the control.
func (l *lab) sales(ctx context.Context) (string, error) {
	l.front.begin()
	if err := l.front.sell(ctx, 15); err != nil {
		return "", err
	}
	ledger, err := l.office.settled(ctx, "t1", l.front.acked)
	if err != nil {
		return "", err
	}
	if err := control(l.front.acked, ledger); err != nil {
		return "", err
	}
	l.controls++
	if _, err := l.sh.run(ctx, "posctl verify"); err != nil {
		return "", err
	}
	if err := l.heard(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d sold and settled, each once; one taken out of what is expected was noticed", len(ledger)), nil
}

// heard waits until the terminal, too, knows that head office has everything.
func (l *lab) heard(ctx context.Context) error {
	_, err := l.sh.run(ctx, "for i in $(seq 200); do posctl unsettled >/dev/null && exit 0; sleep 1; done; posctl unsettled")
	return err
}

// restart: systemctl reboot, with a board that forgets its time.
func (l *lab) restart(ctx context.Context) (string, error) {
	// Two days later; the time is saved as systemd-timesyncd does every quarter of an hour.
	saved, err := l.number(ctx, "date -s '+2 days' >/dev/null; touch /var/lib/systemd/timesync/clock; sync; date +%s")
	if err != nil {
		return "", err
	}
	if err := l.sh.m.Send("systemctl reboot\n"); err != nil {
		return "", err
	}
	if err := l.gone(ctx); err != nil {
		return "", err
	}
	if err := l.shellBoot(ctx, ""); err != nil {
		return "", err
	}
	now, err := l.number(ctx, "date +%s")
	if err != nil || now < saved {
		return "", errors.Join(err, fmt.Errorf("the clock went back from %d to %d", saved, now))
	}
	text, err := l.sellMore(ctx, 6)
	return fmt.Sprintf("board's clock 1970 again, system's %s, not before what was saved; %s", time.Unix(now, 0).UTC().Format("2006-01-02"), text), err
}

func (l *lab) sellMore(ctx context.Context, n int) (string, error) {
	if err := l.front.sell(ctx, n); err != nil {
		return "", err
	}
	ledger, err := l.office.settled(ctx, "t1", l.front.acked)
	return fmt.Sprintf("%d more sold, %d in the ledger, each once", n, len(ledger)), err
}

// powerCut kills the machine while it sells.
func (l *lab) powerCut(ctx context.Context) (string, error) {
	if err := l.front.sell(ctx, 3); err != nil {
		return "", err
	}
	sctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- l.front.sell(sctx, 1<<30) }()
	time.Sleep(2 * time.Second) // anywhere in the middle of sales
	err := l.cut()
	cancel()
	<-ended
	if err != nil {
		return "", err
	}
	before := len(l.front.acked)
	if err := l.shellBoot(ctx, "", "-action", "watchdog=reset"); err != nil {
		return "", err
	}
	text, err := l.sellMore(ctx, 5)
	return fmt.Sprintf("%d acknowledged before the cut; the sale that was under way was sent again with its key; %s", before, text), err
}

// upgrade installs a newer package while the front end sells.
func (l *lab) upgrade(ctx context.Context) (string, error) {
	if err := l.esp(ctx, "mcopy", "-o", l.newer, "::/new.deb"); err != nil {
		return "", err
	}
	if err := l.shellBoot(ctx, "posd.lab=overlay"); err != nil {
		return "", err
	}
	old, err := l.sh.run(ctx, "mkdir -p /run/esp; mount -o ro $(cat /run/posd-image/esp) /run/esp; cp /run/esp/new.deb /tmp/; umount /run/esp; posd --version; dpkg-query -Wf '${Version}\\n' posd")
	if err != nil {
		return "", err
	}
	if err := l.front.sell(ctx, 2); err != nil {
		return "", err
	}
	l.front.begin()
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.front.until(ctx, done) }()
	before := len(l.front.acked)
	out, err := l.sh.run(ctx, "dpkg -i /tmp/new.deb")
	close(done)
	if err := errors.Join(err, <-ended); err != nil {
		return "", err
	}
	now, err := l.sh.run(ctx, "posd --version; dpkg-query -Wf '${Version}\\n' posd")
	if err != nil || now == old {
		return "", errors.Join(err, fmt.Errorf("the package was not upgraded: %s, then %s: %s", old, now, out))
	}
	if err := l.ready(ctx); err != nil {
		return "", err
	}
	if _, err := l.readLimits(ctx); err != nil {
		return "", fmt.Errorf("after the upgrade: %w", err)
	}
	ledger, err := l.office.settled(ctx, "t1", l.front.acked)
	one := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	return fmt.Sprintf("%s → %s; %d sold meanwhile, %d in the ledger, each once; longest gap between two acknowledged sales %.1f s",
		one(old), one(now), len(l.front.acked)-before, len(ledger), l.front.gap.Seconds()), err
}

// hung: the first process no longer answers, so the board's watchdog resets it.
func (l *lab) hung(ctx context.Context) (string, error) {
	from := time.Now()
	if err := l.sh.m.Send("kill -SEGV 1\n"); err != nil {
		return "", err
	}
	if err := l.gone(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("systemd frozen: the watchdog reset the board after %.0f s", time.Since(from).Seconds()), nil
}

// refusedReset: head office is away and sales are not settled.
func (l *lab) refusedReset(ctx context.Context) (string, error) {
	if err := l.cut(); err != nil { // of the layer with the newer package
		return "", err
	}
	if err := l.shellBoot(ctx, ""); err != nil {
		return "", err
	}
	if _, err := l.sellMore(ctx, 2); err != nil {
		return "", err
	}
	if err := l.office.stop(); err != nil {
		return "", err
	}
	if err := l.front.sell(ctx, 3); err != nil {
		return "", err
	}
	out, code, err := l.sh.try(ctx, "posd-factory-reset -yes")
	if err != nil || code != 81 {
		return "", errors.Join(err, fmt.Errorf("the reset ended with code %d, expected 81: %s", code, out))
	}
	if err := l.ready(ctx); err != nil {
		return "", err
	}
	if err := l.front.sell(ctx, 1); err != nil {
		return "", fmt.Errorf("after the refused reset: %w", err)
	}
	return "hub stopped, 3 sold: factory reset refused with code 81, the terminal sells on", nil
}

func (l *lab) reset(ctx context.Context) (string, error) {
	if err := l.office.start(ctx); err != nil {
		return "", err
	}
	ledger, err := l.office.settled(ctx, "t1", l.front.acked)
	if err != nil {
		return "", err
	}
	if err := l.heard(ctx); err != nil {
		return "", err
	}
	if err := l.sh.m.Send("posd-factory-reset -yes\n"); err != nil {
		return "", err
	}
	return fmt.Sprintf("hub back, %d settled: factory reset done", len(ledger)), l.gone(ctx)
}

// newTill sets the same board up as another terminal.
func (l *lab) newTill(ctx context.Context) (string, error) {
	if err := l.boot(ctx, "posd.lab=1"); err != nil {
		return "", err
	}
	wctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := l.m.Wait(wctx, `This terminal is not set up: there is no posd.toml`); err != nil {
		return "", err
	}
	if err := l.cut(); err != nil {
		return "", err
	}
	token, err := os.ReadFile(filepath.Join(l.office.dir, "nats.token"))
	if err != nil {
		return "", err
	}
	if err := errors.Join(l.give(ctx, "posd.toml", toml("t2", l.office.nats)), l.give(ctx, "hub.token", string(token)),
		l.give(ctx, "items.csv", items), l.give(ctx, "listen.conf", listen)); err != nil {
		return "", err
	}
	if err := l.shellBoot(ctx, ""); err != nil {
		return "", err
	}
	all := l.front.acked
	l.front.acked = nil
	if l.front.token, err = l.sh.run(ctx, "posctl token add front | tail -1"); err != nil {
		return "", err
	}
	if err := l.front.sell(ctx, 3); err != nil {
		return "", err
	}
	if _, err := l.office.settled(ctx, "t2", l.front.acked); err != nil {
		return "", err
	}
	ledger, err := l.office.settled(ctx, "t1", all)
	l.front.acked = append(all, l.front.acked...)
	return fmt.Sprintf("said that posd.toml is missing; with a new one it is terminal t2, 3 sold and settled; %d of t1 untouched", len(ledger)), err
}

// noData: the data partition cannot be read. Nothing may be sold, nothing made anew.
func (l *lab) noData(ctx context.Context) (string, error) {
	if l.m != nil {
		if err := l.cut(); err != nil {
			return "", err
		}
	}
	f, err := os.OpenFile(l.disk, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	_, err = f.WriteAt(make([]byte, 8192), (1+128+256+256)<<20)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if err := l.boot(ctx, "posd.wait=10"); err != nil {
		return "", err
	}
	wctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := l.m.Wait(wctx, `which holds the sales, needs a person to check it`); err != nil {
		return "", err
	}
	// What follows is the reset: nothing was started.
	if line, err := l.m.Wait(wctx, `systemd|is set up|Retail terminal`); err == nil {
		return "", fmt.Errorf("the terminal went on: %s", line)
	}
	return "superblock overwritten: said on the console, nothing started, reset", l.gone(ctx)
}
