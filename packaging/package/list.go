package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/blakesmith/ar"
)

const contentsSuffix = ".contents"

// entry is one thing that a package installs, or one file of its control part.
type entry struct {
	path  string
	kind  byte // of tar
	mode  int64
	owner string
	link  string
	bytes []byte
}

// list writes what is in the package at file, read back from it, to FILE.contents.
func list(file string) error {
	control, data, err := read(file)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	for _, e := range control {
		if path.Base(e.path) == "control" {
			text.Write(e.bytes)
		}
	}
	text.WriteString("\n-- files: mode, owner, size, sha256, path\n")
	for _, e := range append(data, control...) {
		where := e.path
		switch e.kind {
		case tar.TypeDir:
			continue
		case tar.TypeSymlink:
			where += " -> " + e.link
		}
		fmt.Fprintf(&text, "%04o %s %9d %x %s\n", e.mode, e.owner, len(e.bytes), sha256.Sum256(e.bytes), where)
	}
	for _, e := range data {
		if !strings.HasPrefix(e.path, "/usr/bin/") {
			continue
		}
		info, err := buildinfo.Read(bytes.NewReader(e.bytes))
		if err != nil {
			return fmt.Errorf("%s: %w", e.path, err)
		}
		fmt.Fprintf(&text, "\n-- modules of %s, %s\n", e.path, info.GoVersion)
		for _, m := range info.Deps {
			fmt.Fprintf(&text, "%s %s %s\n", m.Path, m.Version, m.Sum)
		}
	}
	return os.WriteFile(file+contentsSuffix, text.Bytes(), 0o644)
}

// read returns both parts of a deb or an ipk.
func read(file string) (control, data []entry, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	members, err := readOuter(f, strings.HasSuffix(file, ".ipk"))
	if err != nil {
		return nil, nil, err
	}
	if string(members["debian-binary"]) != "2.0\n" {
		return nil, nil, errors.New("not a package: it has no debian-binary 2.0")
	}
	if control, err = readTarGz(members["control.tar.gz"], "DEBIAN/"); err != nil {
		return nil, nil, fmt.Errorf("control.tar.gz: %w", err)
	}
	if data, err = readTarGz(members["data.tar.gz"], "/"); err != nil {
		return nil, nil, fmt.Errorf("data.tar.gz: %w", err)
	}
	return control, data, nil
}

// readOuter reads the outer archive: ar in a deb, a compressed tar in an ipk.
func readOuter(r io.Reader, compressed bool) (map[string][]byte, error) {
	members := map[string][]byte{}
	if compressed {
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		entries, err := readTarGz(b, "")
		for _, e := range entries {
			members[e.path] = e.bytes
		}
		return members, err
	}
	for archive := ar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return members, nil
		}
		if err != nil {
			return nil, err
		}
		if members[strings.TrimSuffix(h.Name, "/")], err = io.ReadAll(archive); err != nil {
			return nil, err
		}
	}
}

func readTarGz(b []byte, prefix string) ([]entry, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var all []entry
	for archive := tar.NewReader(z); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		e := entry{path: prefix + strings.TrimPrefix(path.Clean(h.Name), "/"), kind: h.Typeflag, mode: h.Mode & 0o7777, link: h.Linkname}
		e.owner = fmt.Sprintf("%d:%d", h.Uid, h.Gid)
		if h.Uname != "" || h.Gname != "" {
			e.owner = h.Uname + ":" + h.Gname
		}
		if e.bytes, err = io.ReadAll(archive); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
}
