package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posd/journal"
	"posd/pos/config"
	"posd/pos/support"
)

const (
	bundleTime = time.Minute
	bundleSize = 2 << 20 // of all files together, before they are compressed
	logLines   = 2000
)

// bundle writes what support asks for into one file. It holds nothing of what was
// sold and no secret, and it is made without writing to the data folder, whose pages
// must be the journal's alone.
func (t *tool) bundle(args []string) error {
	rest, err := t.parseRest(t.flags("bundle"), args)
	if err != nil {
		return err
	}
	to := ""
	switch len(rest) {
	case 0:
	case 1:
		to = rest[0]
	default:
		return fmt.Errorf("%w: bundle takes one file, or - for the standard output", errUsage)
	}
	c, _, configErr := config.Load(t.config, false)
	if to == "" {
		to = bundleName(c, time.Now())
	}
	if to == "-" {
		if isTerminal(t.out) {
			return fmt.Errorf("%w: a bundle is no text: name a file, or send it on", errUsage)
		}
		return t.writeBundle(t.out, c, configErr)
	}
	if err := outside(to, c); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = t.writeBundle(f, c, configErr)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(to)
		return err
	}
	fmt.Fprintf(t.out, "%s\n", to)
	return nil
}

// bundleName says whose it is and when it was made.
func bundleName(c *config.Config, at time.Time) string {
	who := "unknown"
	if c != nil {
		who = c.Terminal.Store + "-" + c.Terminal.ID
	}
	return fmt.Sprintf("posd-%s-%s.tar.gz", who, at.UTC().Format("20060102T150405Z"))
}

// outside refuses a place in the data folder.
func outside(to string, c *config.Config) error {
	dir, err := filepath.Abs(filepath.Dir(to))
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil || c == nil {
		return err
	}
	data, err := filepath.EvalSymlinks(c.Data.Dir)
	if err == nil && strings.HasPrefix(dir+"/", data+"/") {
		return fmt.Errorf("%w: %s lies in the data folder, where nothing but the journal is to be written; name another place", errUsage, to)
	}
	return nil
}

// bundler collects files, within its bounds.
type bundler struct {
	support.Bundle
	t *tool
}

func (t *tool) writeBundle(w io.Writer, c *config.Config, configErr error) error {
	ctx, cancel := context.WithTimeout(t.ctx, bundleTime)
	defer cancel()
	zw := gzip.NewWriter(w)
	tw := tar.NewWriter(zw)
	b := &bundler{t: t, Bundle: support.Bundle{Left: bundleSize, Secrets: secretsOf(c), Put: into(tw, time.Now().UTC())}}
	b.Text("README", 16<<10, []byte(bundleReadme))
	b.Text("versions.txt", 16<<10, versions())
	b.Text("machine.txt", 64<<10, machineFacts())
	// The quick things first: what takes long must not cost the rest its time.
	if c == nil {
		b.Text("config.txt", 64<<10, []byte(configErr.Error()+"\n"))
	} else {
		b.Text("config.toml", 64<<10, []byte(effectiveConfig(c)))
		b.fromPosd(ctx, c)
	}
	if view, err := t.viewSlice("", 0); err != nil {
		b.TextOr("slice.json", 1<<10, nil, err)
	} else {
		b.addJSON("slice.json", 64<<10, view)
	}
	p := newPatient(ctx, t.config)
	text, err := p.run(ctx, "journalctl", "--no-pager", "-o", "short-iso", "-n", fmt.Sprint(logLines), "-u", "posd.service")
	b.TextOr("log.txt", 512<<10, []byte(text), err)
	d := diagnose(p)
	b.Text("doctor.txt", 64<<10, []byte(d.text()))
	b.addJSON("doctor.json", 64<<10, d)
	if c != nil {
		b.fromFiles(ctx, c)
	}
	return errors.Join(b.Err, tw.Close(), zw.Close())
}

const bundleReadme = `What posctl bundle collected from a terminal, for those who help.

versions, machine   the programs, the kernel, memory, mounts, pressure
config.toml         the configuration in force; files with secrets are named, not read
doctor              each check with what it found
status, metrics     as posd answered
journal             names and sizes of files, numbers and heads, what is settled
goroutines, heap    of the running posd, through its unix socket
slice               the limits on the whole way up
log                 the last lines of posd's log

Not in it: what was sold, receipts, items, customers' data, tokens, keys, idempotency
keys. A word that is known to be a secret here is replaced by (secret).
`

// secretsOf are the words that must not leave this terminal, as far as it has them.
func secretsOf(c *config.Config) (out [][]byte) {
	if c == nil {
		return nil
	}
	var more []string
	for _, dir := range credentialFolders {
		found, _ := filepath.Glob(filepath.Join(dir, "posd.*"))
		more = append(more, found...)
	}
	return support.Secrets(c, more...)
}

// into puts files into an archive.
func into(tw *tar.Writer, at time.Time) func(string, []byte) error {
	return func(name string, content []byte) error {
		err := tw.WriteHeader(&tar.Header{Name: "posd-bundle/" + name, Mode: 0o600, Size: int64(len(content)), ModTime: at.Truncate(time.Second), Format: tar.FormatPAX})
		if err == nil {
			_, err = tw.Write(content)
		}
		return err
	}
}

func (b *bundler) addJSON(name string, most int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	b.TextOr(name, most, append(text, '\n'), err)
}

// fromPosd asks the running posd.
func (b *bundler) fromPosd(ctx context.Context, c *config.Config) {
	ask := lookCaller(c)
	for _, x := range []struct {
		name, path string
		most       int
		local      bool
	}{
		{"status.json", "/v1/status", 128 << 10, false},
		{"readyz.json", "/readyz", 16 << 10, false},
		{"metrics.txt", "/metrics", 256 << 10, false},
		{"goroutines.txt", "/debug/pprof/goroutine?debug=2", 256 << 10, true},
	} {
		get := ask.get
		if x.local {
			get = ask.getLocal
		}
		text, err := get(ctx, x.path)
		b.TextOr(x.name, x.most, text, err)
	}
	heap, err := ask.getLocal(ctx, "/debug/pprof/heap")
	if err == nil && len(heap) > min(b.Left, 512<<10) {
		err = fmt.Errorf("it has %d bytes, which is too much", len(heap))
	}
	if err != nil {
		b.TextOr("heap.pb.gz", 1<<10, nil, err)
		return
	}
	b.Raw("heap.pb.gz", heap) // names of functions and sizes, compressed already
}

// fromFiles tells of the data folder: names and sizes, and what the journal's end says.
func (b *bundler) fromFiles(ctx context.Context, c *config.Config) {
	list, err := support.Files(c.Data.Dir)
	b.TextOr("files.txt", 256<<10, list, err)

	var text bytes.Buffer
	tell := *b.t
	tell.out = &text
	rep, err := journal.Verify(ctx, filepath.Join(c.Data.Dir, "journal"), journal.VerifyOptions{From: ^uint64(0)})
	if err != nil {
		fmt.Fprintln(&text, err)
	} else {
		tell.printReport(rep)
		tell.printKey(rep, false)
		fmt.Fprintf(&text, "bytes        %d\nverified     the newest segment\n", rep.Bytes)
	}
	b.Text("journal.txt", 64<<10, text.Bytes())
	u, err := findUnsettled(ctx, c.Data.Dir)
	if err == nil { // counts only: names of receipts are nobody else's business
		u.First, u.Last = nil, nil
		b.addJSON("unsettled.json", 64<<10, u)
	} else {
		b.TextOr("unsettled.json", 1<<10, nil, err)
	}
}

func versions() []byte {
	var w bytes.Buffer
	fmt.Fprintf(&w, "posctl   %s, %s %s/%s\nmade     %s\n", release, runtime.Version(), runtime.GOOS, runtime.GOARCH, time.Now().UTC().Format(time.RFC3339))
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			fmt.Fprintln(&w, d.Path, d.Version)
		}
	}
	return w.Bytes()
}

// machineFacts are small files of the kernel.
func machineFacts() []byte {
	var w bytes.Buffer
	var st unix.Sysinfo_t
	if unix.Sysinfo(&st) == nil {
		fmt.Fprintf(&w, "up for   %v\n", time.Duration(st.Uptime)*time.Second)
	}
	for _, path := range []string{"/proc/version", "/proc/cmdline", "/proc/uptime", "/proc/loadavg", "/proc/meminfo", "/proc/cpuinfo",
		"/proc/self/mountinfo", "/proc/pressure/cpu", "/proc/pressure/io", "/proc/pressure/memory", "/proc/diskstats", "/proc/swaps",
		"/sys/firmware/devicetree/base/model", "/etc/os-release", "/sys/fs/cgroup/cgroup.controllers"} {
		text, err := support.ReadSome(path, 8<<10)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&w, "\n== %s\n%s\n", path, bytes.TrimRight(text, "\x00\n"))
	}
	return w.Bytes()
}
