package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	dataDir  = "var/lib/posd"
	doneFile = "var/lib/posd-image/done"
	etcToml  = "etc/posd/posd.toml"
	readyRun = "run/posd-image/ready" // posd's units wait for it
)

// firstBoot runs at every start, before posd. It fails only for what a restart may
// cure; what the technician has to do is said.
func (d *device) firstBoot(ctx context.Context) error {
	if err := d.resumeReset(ctx); err != nil {
		return err
	}
	if _, cleared, err := present(d.path(resetNote)); err != nil || cleared {
		// /etc still is that of before; init takes it away.
		_, rerr := d.run(ctx, "systemctl", "--no-block", "reboot")
		return errors.Join(err, rerr)
	}
	_, done, err := present(d.path(doneFile))
	if err != nil {
		return err
	}
	if done && !d.hasJournal() {
		d.tell("This terminal was set up, and its journal is gone from the data partition.",
			"Sales may be lost. No empty journal is made in its place, posd is not started.",
			"Keep the device as it is and send it in; put another one in the till.")
		return nil
	}
	if err := d.takeOver(ctx, done); err != nil {
		var said *refusal
		if !errors.As(err, &said) && !done {
			return err
		}
		if said != nil {
			d.tell(said.lines...)
		} else {
			d.say("%v", err)
		}
		if !done {
			return nil
		}
		d.say("the terminal starts as it was set up before")
	}
	return replace(d.path(readyRun), nil, 0o644, "")
}

// refusal is what the technician has to change.
type refusal struct{ lines []string }

func (r *refusal) Error() string { return strings.Join(r.lines, " ") }

// tell says something that nobody may overlook.
func (d *device) tell(lines ...string) {
	bar := strings.Repeat("*", 72)
	fmt.Fprintf(d.out, "\n%s\n", bar)
	for _, l := range lines {
		fmt.Fprintf(d.out, "*** posd: %s\n", l)
	}
	fmt.Fprintf(d.out, "%s\n\n", bar)
}

func (d *device) hasJournal() bool {
	found, _ := filepath.Glob(d.path(dataDir + "/journal*"))
	for _, f := range found {
		// posctl's unfinished work is none.
		if st, err := os.Stat(f); err == nil && st.IsDir() && !strings.HasSuffix(f, ".creating") {
			return true
		}
	}
	return false
}

var howto = []string{
	"To set it up: put its first partition (POSD-ESP) into any PC. In the folder posd, copy",
	"posd.toml.example to posd.toml and change it to your shop; beside it, as far as you have",
	"them: hub.enroll_token, hub.token or hub.creds, hub-ca.pem, items.csv, listen.conf. Then start again.",
}

// takeOver is the work: everything durable first, the partition of the technician last.
func (d *device) takeOver(ctx context.Context, done bool) (err error) {
	dev, err := os.ReadFile(d.path("run/posd-image/esp"))
	if err != nil {
		return err
	}
	esp, unmount, err := d.mount(strings.TrimSpace(string(dev)), false)
	if err != nil {
		return err
	}
	g, err := d.given(filepath.Join(esp, "posd"))
	if err = errors.Join(err, unmount()); err != nil {
		return err
	}
	if len(g) == 0 && done {
		return nil
	}
	if _, ok := g[configName]; !ok && !done {
		return &refusal{append([]string{"This terminal is not set up: there is no posd.toml. posd is not started."}, howto...)}
	}
	taken, err := d.install(ctx, g)
	if err != nil {
		return err
	}
	terminal := ""
	if !done {
		if terminal, err = d.initialise(ctx); err != nil {
			return err
		}
	}
	if items, ok := g[itemsName]; ok {
		if err := d.importItems(ctx, items); err != nil {
			d.say("the catalogue was not taken over, the terminal sells without it: %v", err)
		} else {
			taken = append(taken, input{name: itemsName})
		}
	}
	d.sync()
	if !done {
		if err := replace(d.path(doneFile), []byte(time.Now().UTC().Format(time.RFC3339)+"\n"), 0o644, ""); err != nil {
			return err
		}
		d.say("this terminal is set up")
	}
	if err := d.clear(strings.TrimSpace(string(dev)), taken, terminal); err != nil {
		d.say("the files were taken over and are still on the first partition: %v", err)
	}
	return nil
}

// given reads the technician's files: small ones, and all of them before anything is done.
func (d *device) given(dir string) (map[string][]byte, error) {
	g := map[string][]byte{}
	names := []string{configName, itemsName, passwordName}
	for _, in := range inputs {
		names = append(names, in.name)
	}
	for _, name := range names {
		b, ok, err := present(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read posd/%s of the first partition: %w", name, err)
		}
		if ok {
			g[name] = b
		}
	}
	return g, nil
}

// install brings configuration and secrets in place.
func (d *device) install(ctx context.Context, g map[string][]byte) (taken []input, err error) {
	if err := os.MkdirAll(d.path("etc/posd"), 0o755); err != nil {
		return nil, err
	}
	if err := d.dataFolder(ctx); err != nil {
		return nil, err
	}
	if b, ok := g["listen.conf"]; ok && !resets.Match(b) {
		return nil, &refusal{[]string{
			"listen.conf on the first partition is not taken over: before its addresses it needs a line ListenStream= with nothing",
			"behind it. Else 127.0.0.1:8080 is still opened too, and 0.0.0.0:8080 is taken then. Name all, /run/posd/posd.sock as well.",
			"Correct it on any PC and start again."}}
	}
	for _, in := range inputs {
		b, ok := g[in.name]
		if !ok {
			continue
		}
		if err := replace(d.path(in.target), b, in.mode, ""); err != nil {
			return nil, fmt.Errorf("take over %s: %w", in.name, err)
		}
		taken = append(taken, in)
	}
	if b, ok := g[passwordName]; ok {
		if err := d.setPassword(b); err != nil {
			return nil, err
		}
		taken = append(taken, input{name: passwordName, secret: true})
	}
	if b, ok := g[configName]; ok {
		if err := d.setConfig(ctx, b); err != nil {
			return nil, err
		}
		taken = append(taken, input{name: configName})
	}
	if len(taken) > 0 { // drop-ins were read before
		if _, err := d.run(ctx, "systemctl", "daemon-reload"); err != nil {
			return nil, err
		}
	}
	return taken, nil
}

// dataFolder makes posd's folder as its package describes it, for posctl.
func (d *device) dataFolder(ctx context.Context) error {
	if _, err := os.Stat(d.path(dataDir)); err == nil {
		return nil
	}
	_, err := d.run(ctx, "install", "-d", "-m", "0750", "-o", "posd", "-g", "posd", d.path(dataDir))
	return err
}

// setConfig lets posd judge the file before it replaces the one in use. Windows'
// editors begin files with a mark that is none of TOML's.
func (d *device) setConfig(ctx context.Context, b []byte) error {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	candidate := d.path("etc/posd/.posd.toml.candidate")
	if err := replace(candidate, b, 0o640, d.path(dataDir)); err != nil {
		return err
	}
	defer os.Remove(candidate)
	if out, err := d.run(ctx, "/usr/bin/posd", "--check", "--config", candidate); err != nil {
		lines := []string{"posd.toml on the first partition is not taken over:"}
		for l := range strings.Lines(strings.ReplaceAll(strings.TrimSpace(out), candidate, "posd.toml")) {
			lines = append(lines, "  "+strings.TrimSpace(l))
		}
		return &refusal{append(lines, "Correct it on any PC and start again.")}
	}
	return replace(d.path(etcToml), b, 0o640, d.path(dataDir))
}

// initialise makes the journal, once. It returns what belongs on the asset list.
func (d *device) initialise(ctx context.Context) (string, error) {
	if d.hasJournal() { // a cut came between the journal and the note
		return "", nil
	}
	out, err := d.run(ctx, "posctl", "init", "-config", d.path(etcToml))
	fmt.Fprint(d.out, out)
	if err != nil {
		return "", &refusal{[]string{"The journal was not made, posd is not started:", err.Error()}}
	}
	return out, nil
}

func (d *device) importItems(ctx context.Context, b []byte) error {
	file := d.path("run/posd-image/items.csv")
	if err := os.WriteFile(file, bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	out, err := d.run(ctx, "posctl", "catalogue", "import", file, "-config", d.path(etcToml))
	if err != nil {
		return err
	}
	fmt.Fprint(d.out, out)
	return d.own("catalogue.db")
}

// own gives a file that posctl made as root to posd.
func (d *device) own(name string) error {
	f, err := os.Open(d.path(filepath.Join(dataDir, name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(chownLike(f, d.path(dataDir)), f.Close())
}

// resets is the line that takes away what posd.socket listens on.
var resets = regexp.MustCompile(`(?m)^ListenStream=\s*$`)

var crypted = regexp.MustCompile(`^\$[0-9a-z]+\$[^:\s]+$`)

// setPassword lets root log in at the console.
func (d *device) setPassword(b []byte) error {
	hash := strings.TrimSpace(string(b))
	if !crypted.MatchString(hash) {
		return &refusal{[]string{"root.password is not taken over: it must be one line, made by: openssl passwd -6"}}
	}
	shadow, err := os.ReadFile(d.path("etc/shadow"))
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(shadow), "\n")
	for i, l := range lines {
		if f := strings.Split(l, ":"); f[0] == "root" && len(f) > 2 {
			f[1] = hash
			lines[i] = strings.Join(f, ":")
		}
	}
	return replace(d.path("etc/shadow"), []byte(strings.Join(lines, "")), 0o640, d.path("etc/shadow"))
}

// clear deletes the secrets from the first partition and marks the rest.
func (d *device) clear(dev string, taken []input, terminal string) (err error) {
	if len(taken) == 0 && terminal == "" {
		return nil
	}
	esp, unmount, err := d.mount(dev, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	dir := filepath.Join(esp, "posd")
	if terminal != "" {
		err = os.WriteFile(filepath.Join(dir, "terminal.txt"), []byte(strings.ReplaceAll(terminal, "\n", "\r\n")), 0o644)
		d.sync()
	}
	for _, in := range taken {
		name := filepath.Join(dir, in.name)
		if in.secret {
			err = errors.Join(err, os.Remove(name))
		} else {
			err = errors.Join(err, os.Rename(name, name+installedMark))
		}
	}
	d.sync()
	return err
}
