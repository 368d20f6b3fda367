// Binary checks that files are what a terminal can run: static, stripped,
// built for linux/arm64 (or the architecture given), without paths of the machine
// that built them.
//
//	go run ./packaging/tools/binary [-arch arm64] [-release 1.4.0] FILE...
package main

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

func main() {
	arch := flag.String("arch", "arm64", "expected architecture, as Go names it")
	release := flag.String("release", "", "expected text of the release inside the file")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "binary: name at least one file")
		os.Exit(64)
	}
	failed := false
	for _, name := range flag.Args() {
		if err := check(name, *arch, *release); err != nil {
			failed = true
			for line := range strings.Lines(err.Error()) {
				fmt.Fprintf(os.Stderr, "%s: %s\n", name, strings.TrimSpace(line))
			}
			continue
		}
		fmt.Printf("%s: %s, static, stripped, no local paths\n", name, *arch)
	}
	if failed {
		os.Exit(1)
	}
}

var machines = map[string]elf.Machine{"arm64": elf.EM_AARCH64, "amd64": elf.EM_X86_64}

// check returns everything that is wrong with one file.
func check(name, arch, release string) error {
	f, err := elf.Open(name)
	if err != nil {
		return fmt.Errorf("not an ELF file: %w", err)
	}
	defer f.Close()
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if f.Machine != machines[arch] || f.Class != elf.ELFCLASS64 {
		fail("is %v, expected %s", f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			fail("is not static: it has %v; build with CGO_ENABLED=0", p.Type)
		}
	}
	for _, s := range f.Sections {
		if s.Name == ".symtab" || strings.HasPrefix(s.Name, ".debug") || strings.HasPrefix(s.Name, ".zdebug") {
			fail("is not stripped: it has %s; link with -s -w", s.Name)
		}
	}
	errs = append(errs, checkBuild(name, arch, release))
	return errors.Join(errs...)
}

// checkBuild looks at what the Go toolchain noted, and for paths of the builder.
func checkBuild(name, arch, release string) error {
	info, err := buildinfo.ReadFile(name)
	if err != nil {
		return fmt.Errorf("no build information: %w", err)
	}
	var errs []error
	want := map[string]string{"CGO_ENABLED": "0", "-trimpath": "true", "GOARCH": arch, "GOOS": "linux"}
	for _, s := range info.Settings {
		if w, ok := want[s.Key]; ok && s.Value != w {
			errs = append(errs, fmt.Errorf("was built with %s=%s, expected %s", s.Key, s.Value, w))
		}
		delete(want, s.Key)
	}
	for k, w := range want {
		errs = append(errs, fmt.Errorf("was built without %s, expected %s", k, w))
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	for _, path := range []string{here + "/", strings.TrimSpace(string(root)) + "/src/"} {
		if len(path) > len("/src/") && bytes.Contains(content, []byte(path)) {
			errs = append(errs, fmt.Errorf("holds the path %s of this machine; build with -trimpath", path))
		}
	}
	if release != "" && !bytes.Contains(content, []byte(release)) {
		errs = append(errs, fmt.Errorf("does not hold the release %q; link with -X main.release", release))
	}
	return errors.Join(errs...)
}
