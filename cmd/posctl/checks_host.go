package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"posd/cgroup/slice"
	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/catalogue"
	"posd/pos/config"
	"posd/pos/event"
	"posd/pos/operator"
)

// Checks of the machine, of the running posd, and of the way to head office.

func (p *patient) kernel() finding {
	text := p.text("/proc/sys/kernel/osrelease")
	if text == "" {
		return unchecked("/proc is not mounted")
	}
	var wrong []string
	var major, minor int
	if _, err := fmt.Sscanf(text, "%d.%d", &major, &minor); err != nil || major < 5 || major == 5 && minor < 14 {
		wrong = append(wrong, "older than 5.14: no cpu burst, and commits take page faults")
	}
	if err := p.tree().Unified(); err != nil {
		wrong = append(wrong, err.Error())
	}
	if _, err := os.ReadFile(p.file("/proc/pressure/cpu")); err != nil {
		wrong = append(wrong, "no pressure figures: build with CONFIG_PSI, boot with psi=1")
	}
	if len(wrong) > 0 {
		return attention("posd runs, but is limited or watched less well; use a newer kernel or its options", "%s: %s", text, strings.Join(wrong, "; "))
	}
	return ok("%s, pages of %s, cgroup v2, pressure figures", text, bytesText(int64(os.Getpagesize())))
}

// limits compares what is in force with what the configuration expects.
func (p *patient) limits() finding {
	const do = "start posd in posd.slice (systemctl restart posd.slice posd; without systemd: posctl slice exec), or correct limits.expect_cpu and limits.expect_memory"
	tree := p.tree()
	if err := tree.Unified(); err != nil {
		if p.status != nil && len(p.status.Limits.Differs) > 0 {
			return attention(do, "%s", strings.Join(p.status.Limits.Differs, "; "))
		}
		if p.status != nil {
			return ok("posd found what it expects; %v", err)
		}
		return unchecked("%v", err)
	}
	group, of := "/"+slice.Name, slice.Name
	if p.pid != 0 {
		var err error
		if group, err = tree.GroupOf(p.pid); err != nil {
			return unchecked("%v", err)
		}
		of = fmt.Sprintf("posd (process %d)", p.pid)
	}
	groups, hidden, err := tree.Up(group)
	if errors.Is(err, slice.ErrNoSlice) && p.pid == 0 {
		return unchecked("posd does not run and there is no %s", slice.Name)
	}
	if err != nil {
		return unchecked("%v", err)
	}
	least := map[string]string{}
	for _, e := range slice.Least(groups) {
		least[e.File] = e.Value
	}
	text := fmt.Sprintf("%s: cpu.max %s, memory.high %s, memory.max %s, swap %s, tasks %s", of, least["cpu.max"], least["memory.high"], least["memory.max"], least["memory.swap.max"], least["pids.max"])
	var wrong []string
	if want := p.c.Limits.ExpectCPU; want != 0 && percent(least["cpu.max"]) != want {
		wrong = append(wrong, fmt.Sprintf("expected %d %% of a core", want))
	}
	if want := p.c.Limits.ExpectMemory; want != 0 && least["memory.max"] != strconv.FormatInt(want, 10) {
		wrong = append(wrong, "expected "+bytesText(want)+" of memory")
	}
	if least["memory.max"] != "max" && least["memory.swap.max"] != "0" && p.swaps() {
		wrong = append(wrong, "it may be swapped out, which makes it slow and wears the flash")
	}
	if hidden != "" {
		wrong = append(wrong, hidden)
	}
	if len(wrong) > 0 {
		return attention(do, "%s; %s", text, strings.Join(wrong, "; "))
	}
	return ok("%s", text)
}

func (p *patient) swaps() bool { return strings.Count(p.text("/proc/swaps"), "\n") > 0 }

// percent of one core, rounded, of a cpu.max; 0 without a quota.
func percent(cpuMax string) int {
	var micros, period int
	if n, err := fmt.Sscanf(cpuMax, "%d %d", &micros, &period); n != 2 || err != nil || period <= 0 {
		return 0
	}
	return max(1, (micros*100+period/2)/period)
}

// systemd asks for the units.
func (p *patient) systemd() finding {
	if !p.tree().Systemd() {
		return unchecked("systemd is not the init system here: see that something starts posd again and limits it (posctl slice exec)")
	}
	var wrong []string
	props := map[string]map[string]string{}
	for _, unit := range []string{"posd.service", "posd.socket", "posd.slice"} {
		text, err := p.run(p.ctx, "systemctl", "show", "-p", "LoadState,ActiveState,UnitFileState,WatchdogUSec,Slice,Result,NRestarts,NeedDaemonReload", unit)
		if err != nil {
			return unchecked("systemctl show %s: %v", unit, err)
		}
		props[unit] = map[string]string{}
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			props[unit][name] = value
		}
		if state := props[unit]["LoadState"]; state != "loaded" {
			wrong = append(wrong, unit+" is "+state)
		}
		if props[unit]["NeedDaemonReload"] == "yes" {
			wrong = append(wrong, unit+" was changed: systemctl daemon-reload")
		}
	}
	service, socket := props["posd.service"], props["posd.socket"]
	if service["LoadState"] == "loaded" {
		switch {
		case service["WatchdogUSec"] == "0" || service["WatchdogUSec"] == "" || service["WatchdogUSec"] == "infinity":
			wrong = append(wrong, "posd.service has no WatchdogSec: a posd that hangs stays so")
		case service["Slice"] != slice.Name:
			wrong = append(wrong, "posd.service is in "+service["Slice"]+", not in "+slice.Name)
		}
		if s := service["UnitFileState"]; s != "enabled" && socket["UnitFileState"] != "enabled" {
			wrong = append(wrong, "neither posd.service nor posd.socket is enabled: posd does not start with the machine")
		}
	}
	if socket["LoadState"] == "loaded" && socket["ActiveState"] != "active" {
		wrong = append(wrong, "posd.socket is "+socket["ActiveState"]+": front ends get no answer while posd starts")
	}
	if s := service["ActiveState"]; s == "failed" {
		return failed("journalctl -u posd says why; then systemctl restart posd", "posd.service has failed (%s)%s", service["Result"], strings.Join(append([]string{""}, wrong...), "; "))
	}
	if len(wrong) > 0 {
		return attention("install the units of this release, then systemctl daemon-reload && systemctl enable --now posd.socket posd.service", "%s", strings.Join(wrong, "; "))
	}
	return ok("posd.service, posd.socket and posd.slice are in place, watchdog %s, %s restarts", service["WatchdogUSec"], service["NRestarts"])
}

// watchdog looks for the hardware that resets a board which hangs.
func (p *patient) watchdog() finding {
	if !exists(p.file("/dev/watchdog")) && !exists(p.file("/dev/watchdog0")) {
		return attention("enable the board's watchdog driver; with systemd set RuntimeWatchdogSec=30s in /etc/systemd/system.conf", "there is no /dev/watchdog: a kernel that hangs stays so until somebody comes")
	}
	at := "/sys/class/watchdog/watchdog0/"
	name, mode, timeout := p.text(at+"identity"), p.text(at+"state"), p.text(at+"timeout")
	if mode == "inactive" {
		return attention("with systemd set RuntimeWatchdogSec=30s in /etc/systemd/system.conf; else start a watchdog daemon", "%s is there and nobody has started it", name)
	}
	if mode == "" {
		return ok("/dev/watchdog is there; the kernel does not say whether it is fed")
	}
	return ok("%s, %s, %s s", name, mode, timeout)
}

func (p *patient) clock() finding {
	now := p.now().UTC()
	text := now.Format("2006-01-02T15:04:05Z")
	const do = "start a time daemon (systemd-timesyncd, chrony), check the battery of the clock; sales go on, ordered by number"
	switch {
	case now.Year() < 2025:
		return attention(do, "%s: the clock was reset", text)
	case !p.newest.IsZero() && now.Before(p.newest.Add(-2*time.Second)):
		return attention(do, "%s is before the newest event, %s", text, p.newest.UTC().Format(time.RFC3339))
	case now.Year() > 2100 || !p.newest.IsZero() && now.Sub(p.newest) > 5*365*24*time.Hour:
		return attention(do, "%s: years after the newest event", text)
	case !p.synced():
		return attention(do, "%s, and nothing disciplines the clock", text)
	}
	return ok("%s, synchronized", text)
}

func (p *patient) tokens() finding {
	path := filepath.Join(p.c.Data.Dir, tokenFile)
	lines, err := readTokens(path)
	if errors.Is(err, os.ErrPermission) {
		return unchecked("%v: run doctor as root or as posd's user", err)
	}
	if err != nil {
		return failed("make the file readable, or make new tokens", "%v", err)
	}
	var names, bad []string
	for _, l := range lines {
		f := strings.Fields(l)
		switch {
		case strings.HasPrefix(l, "#"):
		case len(f) != 3 || len(f[1]) != 64 || strings.Trim(f[1], "0123456789abcdefABCDEF") != "":
			bad = append(bad, f[0])
		case f[0] != "posctl":
			names = append(names, f[0])
		}
	}
	switch {
	case len(bad) > 0:
		return attention("posctl token revoke NAME and add it again", "%d lines of %s are no tokens: %s", len(bad), path, some(bad))
	case len(names) == 0:
		return failed("posctl token add NAME, and give the token to the front end", "no front end has a token: none can sell")
	}
	return ok("%d front ends: %s", len(names), some(names))
}

// operators looks whether those who have to sign in can.
func (p *patient) operators() finding {
	path := filepath.Join(p.c.Data.Dir, operator.File)
	f, err := os.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && exists(filepath.Join(p.c.Data.Dir, operator.KeyFile)):
		return attention("put operators back, or remove pin.key too if nobody is to sign in", "the operators file is gone, pin.key is not: whoever has a front end's token may do everything")
	case errors.Is(err, os.ErrNotExist):
		return ok("none sign in: whoever has a front end's token may do everything")
	case errors.Is(err, os.ErrPermission):
		return unchecked("%v: run doctor as root or as posd's user", err)
	case err != nil:
		return failed("make the file readable", "%v", err)
	}
	defer f.Close()
	list, err := operator.Parse(f)
	if err != nil {
		return attention("correct the file, or set these operators anew with posctl operator", "%s: %v", path, err)
	}
	text, err := os.ReadFile(filepath.Join(p.c.Data.Dir, operator.KeyFile))
	if errors.Is(err, os.ErrPermission) {
		return unchecked("%v: run doctor as root or as posd's user", err)
	}
	if err == nil {
		_, err = operator.ParseKey(text)
	}
	if err != nil || len(list) == 0 {
		return failed("put pin.key back, or give each operator a new PIN: posctl operator pin", "nobody can sign in: %d operators, %v", len(list), err)
	}
	may, roles := 0, p.c.Operators.Roles
	for i := range list {
		if roles[list[i].Role] == nil {
			return attention("posctl operator role", "operator %s has the role %s, which there is not: nothing is allowed", list[i].Name, list[i].Role)
		}
		if roles[list[i].Role].Allow(operator.OperatorUnlock, 0) {
			may++
		}
	}
	if may == 0 {
		return attention("posctl operator add NAME manager", "nobody of %d may end a lock", len(list))
	}
	return ok("%d sign in, %d may end a lock", len(list), may)
}

// catalogueAge is how old prices may be before somebody should wonder.
const catalogueAge = 400 * 24 * time.Hour

func (p *patient) catalogue() finding {
	path := filepath.Join(p.c.Data.Dir, "catalogue.db")
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return ok("none: the front end names description, price and tax of what it sells")
	}
	if err != nil {
		return unchecked("%v", err)
	}
	c := catalogue.Open(path)
	defer c.Close()
	const do = "posctl catalogue import FILE"
	if err := c.Err(); err != nil {
		return attention(do+"; sales with item codes are refused until then", "%v", err)
	}
	if got, want := c.Currency(), p.c.Terminal.Currency.Code; got != want {
		return attention(do+"; sales with item codes are refused until then", "its prices are in %s, the terminal sells in %s", got, want)
	}
	for _, code := range slices.Sorted(maps.Keys(c.Taxes())) {
		if !slices.ContainsFunc(p.c.Taxes, func(t pos.Tax) bool { return t.Code == code }) {
			return attention("configure the code under [tax], or import a catalogue without it; those items are refused until then",
				"%d items have the tax code %s, which is not configured", c.Taxes()[code], code)
		}
	}
	age := p.now().Sub(st.ModTime())
	text := fmt.Sprintf("%d items, imported %s", c.Len(), st.ModTime().UTC().Format("2006-01-02"))
	if age > catalogueAge {
		return attention(do+" if prices have changed since", "%s, %d days ago", text, int(age.Hours()/24))
	}
	return ok("%s", text)
}

func (p *patient) running() finding {
	switch {
	case p.pid == 0 && p.status == nil:
		return failed("systemctl start posd, or see why it ended: journalctl -u posd", "%s", firstNonEmpty(p.pidWhy, "posd is not running"))
	case p.status == nil && p.statusErr != nil:
		var answer *answerError
		if errors.As(p.statusErr, &answer) && answer.status == 401 {
			return attention("posctl token revoke posctl, then posctl status makes a new one", "posd runs and does not know posctl's token")
		}
		if errors.Is(p.statusErr, os.ErrPermission) || p.readyErr == nil {
			return unchecked("posd runs: %v", p.statusErr)
		}
		return failed("look at its log; the watchdog or systemctl restart posd starts it again", "posd runs as process %d and does not answer: %v", p.pid, p.statusErr)
	case p.readyErr != nil:
		return failed("see the reason", "no sale can be taken: %s", detailOf(p.readyErr))
	}
	return ok("process %d, release %s, takes sales", p.pid, p.status.Release)
}

func firstNonEmpty(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// silent is what the checks of a running posd say without one.
func (p *patient) silent() finding {
	return unchecked("posd does not answer: %v", p.statusErr)
}

func (p *patient) health() finding {
	if p.status == nil {
		return p.silent()
	}
	if h := p.status.Health; h.Status != "ok" {
		return attention("see the reasons; each says what to do", "%s: %s", h.Status, strings.Join(h.Reasons, "; "))
	}
	if r := p.status.Journal.Recovered; r != "" {
		return ok("ok; at its start: %s", r)
	}
	return ok("ok")
}

// pressureHigh is where a till gets slow at its busiest.
const pressureHigh = 50

func (p *patient) pressure() finding {
	if p.status == nil {
		return p.silent()
	}
	x := p.status.Pressure
	if x == nil {
		return unchecked("release %s tells nothing about it", p.status.Release)
	}
	text := fmt.Sprintf("stopped in %.0f %% of the periods, waits %.0f %% of the time, %s of memory", x.Throttled, x.CPUWaiting, bytesText(x.MemoryBytes))
	switch {
	case x.OOMKills > 0:
		return attention("raise memory.max of the slice, or look for what grows (posctl bundle)", "killed %d times at the memory limit; %s", x.OOMKills, text)
	case x.Shedding:
		return attention("wait, and look again; if it stays: give the slice more, or find the busy neighbour", "posd puts work off: %s; %s", strings.Join(x.Reasons, "; "), text)
	case x.Throttled > pressureHigh || x.CPUWaiting > pressureHigh:
		return attention("if it stays: raise cpu.max of the slice, or find what asks so much of posd", "%s", text)
	}
	return ok("%s", text)
}

// alone: no head office is configured, and the terminal has not enrolled at one.
func (p *patient) alone() bool {
	_, err := os.Stat(filepath.Join(p.c.Data.Dir, config.EnrolledCreds))
	return len(p.c.Hub.URLs) == 0 && p.c.Hub.EnrollURL == "" && err != nil
}

func (p *patient) headOffice() finding {
	if p.alone() {
		return ok("none is configured (hub.urls): the terminal works alone, and its disk is the only copy")
	}
	if p.status == nil {
		return p.silent()
	}
	u := &p.status.Uplink
	switch {
	case u.Fork != "":
		return attention("nothing at once: posd begins a new journal; see \"Cloned disk, restored backup\" in the operators' guide", "%s", u.Fork)
	case u.Lost > 0:
		return failed("keep the disk; see \"Damaged journal\" in the operators' guide", "%d records that head office lacks were declared lost, since they cannot be read", u.Lost)
	case u.Rot != "":
		return failed("keep the disk; see \"Damaged journal\" in the operators' guide", "%s", u.Rot)
	case u.Held != "":
		return attention("head office holds this terminal back; ask there", "%s", u.Held)
	case !u.Connected:
		return attention("check the network, the address and the credentials; sales go on meanwhile", "no link: %s", firstNonEmpty(u.LastError, "no reason is known"))
	}
	return ok("connected to %s", u.Server)
}

// backlogAge is how long sales may wait before somebody should look.
const backlogAge = 24 * time.Hour

func (p *patient) backlog() finding {
	if p.alone() {
		return ok("no head office is configured: nothing waits")
	}
	if p.status == nil {
		return p.silent()
	}
	u := &p.status.Uplink
	if u.Unsettled == 0 {
		return ok("head office has all %d records", u.Settled)
	}
	oldest := p.oldest(u.Settled + 1)
	text := fmt.Sprintf("%d records wait", u.Unsettled)
	if oldest.IsZero() {
		return ok("%s; none is an event", text)
	}
	age := p.now().Sub(oldest)
	text += fmt.Sprintf(", the oldest for %s", age.Round(time.Second))
	if age > backlogAge {
		return attention("restore the link; until then this disk holds the only copy", "%s", text)
	}
	return ok("%s", text)
}

var errEnough = errors.New("enough")

// oldest is the time of the first event from a record on.
func (p *patient) oldest(seq uint64) (at time.Time) {
	_, _ = journal.Verify(p.ctx, p.journalDir(), journal.VerifyOptions{From: seq, Each: func(r chain.Record, _ chain.Head) error {
		if r.Type == event.RecordType {
			if h, _, err := event.Parse(r.Payload); err == nil {
				at = h.Time
				return errEnough
			}
		}
		return nil
	}})
	return at
}
