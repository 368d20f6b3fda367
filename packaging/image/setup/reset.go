package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// resetNote is on the data partition. It says how far a factory reset has come:
// "journal": posctl reset is to be done (again); "clear": init takes /etc's layer away.
const resetNote = "data/reset"

// factoryReset makes the terminal new. It asks posctl whether head office has all
// sales, twice: before anything is noted, and, since posd may sell until it is
// stopped, after.
func (d *device) factoryReset(ctx context.Context) error {
	if out, err := d.run(ctx, "systemctl", "stop", "posd.socket", "posd.service"); err != nil {
		return fmt.Errorf("stop posd: %w: %s", err, out)
	}
	// Works without posd running.
	if out, err := d.run(ctx, "posctl", "unsettled"); err != nil {
		fmt.Fprint(d.out, out)
		_, back := d.run(ctx, "systemctl", "start", "posd.socket", "posd.service")
		return errors.Join(fmt.Errorf("nothing was changed: %w", err), back)
	}
	if err := replace(d.path(resetNote), []byte("journal\n"), 0o600, ""); err != nil {
		return err
	}
	if err := d.resumeReset(ctx); err != nil {
		return err
	}
	d.say("the terminal starts anew and then needs a posd.toml on its first partition")
	_, err := d.run(ctx, "systemctl", "reboot")
	return err
}

// resumeReset goes on with a reset that was begun, also one that a power cut ended.
func (d *device) resumeReset(ctx context.Context) error {
	b, ok, err := present(d.path(resetNote))
	if err != nil || !ok || strings.TrimSpace(string(b)) != "journal" {
		return err
	}
	out, err := d.run(ctx, "posctl", "reset", "-yes")
	var code *exitError
	switch {
	case errors.As(err, &code) && code.code == exitUnsettled:
		fmt.Fprint(d.out, out)
		return errors.Join(fmt.Errorf("the factory reset is called off: %w", err), os.Remove(d.path(resetNote)))
	case err != nil && d.hasJournal(): // an emptied folder may be all that is wrong
		return fmt.Errorf("%w: %s", err, out)
	}
	if err := os.Remove(d.path(doneFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := replace(d.path(resetNote), []byte("clear\n"), 0o600, ""); err != nil {
		return err
	}
	d.sync()
	return nil
}

// blessing: how long a slot on trial may take until posd runs.
const blessing = 10 * time.Minute

// bless ends the trial of a slot: its loader entry loses the counter of boots. A slot
// on trial in which posd does not come up is left again, by a reset.
func (d *device) bless(ctx context.Context) error {
	read := func(name string) string {
		b, _ := os.ReadFile(d.path("run/posd-image/" + name))
		return strings.TrimSpace(string(b))
	}
	entries, err := d.entries(read("esp"))
	if err != nil {
		return err
	}
	mine := "posd-" + read("slot")
	trial, fallback := "", false
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e, mine+"+"):
			trial = e
		case !strings.HasPrefix(e, mine):
			fallback = true
		}
	}
	if trial == "" {
		return nil
	}
	if err := d.awaitPosd(ctx); err != nil {
		if !fallback {
			return fmt.Errorf("%w; there is no other slot, so this one stays on trial", err)
		}
		d.say("%v: the terminal is reset, so that the loader counts and at last takes the other slot", err)
		_, rerr := d.run(ctx, "systemctl", "reboot")
		return errors.Join(err, rerr)
	}
	esp, unmount, err := d.mount(read("esp"), true)
	if err != nil {
		return err
	}
	err = os.Rename(esp+"/loader/entries/"+trial, esp+"/loader/entries/"+mine+".conf")
	d.sync()
	if err = errors.Join(err, unmount()); err == nil {
		d.say("slot %s has proved itself", read("slot"))
	}
	return err
}

func (d *device) entries(dev string) (names []string, err error) {
	esp, unmount, err := d.mount(dev, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	found, err := os.ReadDir(esp + "/loader/entries")
	for _, f := range found {
		names = append(names, f.Name())
	}
	return names, err
}

// awaitPosd waits until posd runs, or is not to run: without a configuration.
func (d *device) awaitPosd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, blessing)
	defer cancel()
	for {
		if _, ok, err := present(d.path(readyRun)); err == nil && !ok {
			return nil
		}
		if _, err := d.run(ctx, "systemctl", "is-active", "--quiet", "posd.service"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("posd does not run %v after the start", blessing)
		case <-time.After(2 * time.Second):
		}
	}
}

// resolv writes the name servers that systemd-networkd got where programs look for them.
// systemd-resolved would need dbus for it.
func (d *device) resolv() error {
	b, _, err := present(d.path("run/systemd/netif/state"))
	if err != nil {
		return err
	}
	var text strings.Builder
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "DNS="); ok {
			for _, server := range strings.Fields(v) {
				fmt.Fprintf(&text, "nameserver %s\n", server)
			}
		}
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "DOMAINS="); ok && v != "" {
			fmt.Fprintf(&text, "search %s\n", v)
		}
	}
	return replace(d.path("run/posd-image/resolv.conf"), []byte(text.String()), 0o644, "")
}
