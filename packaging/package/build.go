package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/ipk"
)

// build is one making of all packages.
type build struct {
	root     string
	binaries string
	release  string
	out      string
	only     string // empty: all
	time     time.Time
}

// architectures as Go names them, and as Yocto's opkg does; Debian's names are Go's.
var architectures = []struct{ name, opkg string }{
	{"arm64", "aarch64"},
	{"amd64", "x86_64"},
}

var programs = []string{"posd", "posctl"}

const maintainer = "The posd maintainers <posd@localhost>"

const description = `Retail terminal daemon
posd takes the sales of a till over HTTP, has each one on the disk before
anything answers, and gets it to head office exactly once. posctl is the
operator's tool.`

// all makes the packages and lists what is in them.
func (b *build) all(out io.Writer) error {
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	if b.only == "" {
		if err := b.removeOld(); err != nil {
			return err
		}
	}
	made := 0
	for _, arch := range architectures {
		for _, format := range []struct {
			packager     nfpm.Packager
			arch, suffix string
		}{
			{deb.Default, arch.name, "deb"},
			{ipk.Default, arch.opkg, "ipk"},
		} {
			if b.only != "" && b.only != arch.name+"."+format.suffix {
				continue
			}
			name := fmt.Sprintf("posd_%s_%s.%s", version(b.release, b.time), format.arch, format.suffix)
			if err := b.one(filepath.Join(b.out, name), format.packager, arch.name, arch.opkg, out); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			made++
		}
	}
	if made == 0 {
		return fmt.Errorf("there is no package %q", b.only)
	}
	return nil
}

// one makes a package and lists what is in it.
func (b *build) one(path string, packager nfpm.Packager, arch, opkg string, out io.Writer) error {
	licences, err := os.CreateTemp("", "posd-licences-")
	if err != nil {
		return err
	}
	defer os.Remove(licences.Name())
	text, err := b.licences(arch)
	if err == nil {
		_, err = licences.WriteString(text)
	}
	if err := errors.Join(err, licences.Close()); err != nil {
		return err
	}
	if err := b.pack(path, packager, arch, opkg, licences.Name()); err != nil {
		return err
	}
	if err := list(path); err != nil {
		return fmt.Errorf("list the contents: %w", err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%10d  %s\n", st.Size(), path)
	return nil
}

// removeOld removes earlier packages, whose checksums would be signed as if they
// were of this release.
func (b *build) removeOld() error {
	old, err := packages(b.out)
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := errors.Join(os.Remove(path), removeIfThere(path+contentsSuffix)); err != nil {
			return err
		}
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (b *build) pack(path string, packager nfpm.Packager, arch, opkg, licences string) error {
	contents, err := b.contents(arch, licences)
	if err != nil {
		return err
	}
	scripts := func(name string) string { return filepath.Join(b.root, "packaging/package/scripts", name) }
	info := &nfpm.Info{
		Name: "posd", Arch: arch, Platform: "linux", Version: version(b.release, b.time),
		Section: "misc", Priority: "optional", Maintainer: maintainer, Description: description,
		License: "Apache-2.0", MTime: b.time, DisableGlobbing: true,
		Overridables: nfpm.Overridables{
			Contents: contents,
			Umask:    0o022,
			Scripts: nfpm.Scripts{
				PreInstall: scripts("preinst"), PostInstall: scripts("postinst"),
				PreRemove: scripts("prerm"), PostRemove: scripts("postrm"),
			},
			Deb: nfpm.Deb{Compression: "gzip:9"},
			IPK: nfpm.IPK{Arch: opkg},
		},
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(packager.Package(info, f), f.Chmod(0o644), f.Close())
}

// contents is what a package installs. There is no conffile: see scripts/postinst.
func (b *build) contents(arch, licences string) (files.Contents, error) {
	var all files.Contents
	add := func(from, to string, mode fs.FileMode) {
		if !filepath.IsAbs(from) {
			from = filepath.Join(b.root, from)
		}
		all = append(all, &files.Content{Source: from, Destination: to, Type: files.TypeFile,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: b.time}})
	}
	for _, name := range programs {
		path, err := filepath.Abs(filepath.Join(b.binaries, arch, name))
		if err != nil {
			return nil, err
		}
		add(path, "/usr/bin/"+name, 0o755)
	}
	for _, name := range []string{"posd.service", "posd.socket", "posd.slice"} {
		add("packaging/systemd/"+name, "/usr/lib/systemd/system/"+name, 0o644)
	}
	add("packaging/systemd/posd.sysusers", "/usr/lib/sysusers.d/posd.conf", 0o644)
	add("packaging/systemd/posd.tmpfiles", "/usr/lib/tmpfiles.d/posd.conf", 0o644)
	add("packaging/systemd/posd.toml", "/usr/share/posd/posd.toml", 0o644)
	const docs = "/usr/share/doc/posd/"
	pages, err := filepath.Glob(filepath.Join(b.root, "docs/*.md"))
	if err != nil {
		return nil, err
	}
	if len(pages) == 0 {
		return nil, fmt.Errorf("no docs/*.md below %s", b.root)
	}
	for _, page := range pages {
		add("docs/"+filepath.Base(page), docs+"docs/"+filepath.Base(page), 0o644) // where README.md links to
	}
	add("README.md", docs+"README.md", 0o644)
	add("LICENSE", docs+"LICENSE", 0o644)
	add("packaging/package/copyright", docs+"copyright", 0o644)
	add(licences, docs+"third-party-licences.txt", 0o644)
	return all, nil
}

// licences returns the licences of all modules in the programs, and of Go's own
// library: theirs ask that their text goes along with the binary.
func (b *build) licences(arch string) (string, error) {
	modules := map[string]bool{}
	for _, name := range programs {
		info, err := buildinfo.ReadFile(filepath.Join(b.binaries, arch, name))
		if err != nil {
			return "", err
		}
		for _, m := range info.Deps {
			modules[m.Path] = true
		}
	}
	names := make([]string, 0, len(modules))
	for m := range modules {
		names = append(names, m)
	}
	sort.Strings(names)
	ask := exec.Command("go", append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}\t{{.Dir}}"}, names...)...)
	ask.Dir, ask.Stderr = b.root, os.Stderr
	answer, err := ask.Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	var text strings.Builder
	text.WriteString("posd and posctl contain the following, under the licences below.\n")
	for line := range strings.Lines("The Go programming language\t" + string(goroot) + string(answer)) {
		name, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		licence, err := readLicence(dir)
		if err != nil {
			return "", fmt.Errorf("the licence of %s: %w", name, err)
		}
		fmt.Fprintf(&text, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 78), name, strings.TrimSpace(licence))
	}
	return text.String(), nil
}

func readLicence(dir string) (string, error) {
	var text strings.Builder
	for _, pattern := range []string{"LICEN[SC]E*", "COPYING*", "NOTICE*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				return "", err
			}
			text.Write(b)
			text.WriteString("\n")
		}
	}
	if text.Len() == 0 {
		return "", fmt.Errorf("no file LICENSE, COPYING or NOTICE in %s", dir)
	}
	return text.String(), nil
}
