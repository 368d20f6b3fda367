package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// modules loads kernel modules as modprobe does, from depmod's lists.
type modules struct {
	dir     string
	needs   map[string][]string // file → files to load before, as modules.dep has them
	file    map[string]string   // name → file
	aliases [][2]string         // pattern, name
	done    map[string]bool     // by file
	load    func(path string) error
}

func readModules(dir string) (*modules, error) {
	m := &modules{dir: dir, needs: map[string][]string{}, file: map[string]string{}, done: map[string]bool{}, load: loadModule}
	err := eachLine(filepath.Join(dir, "modules.dep"), func(line string) {
		file, needs, _ := strings.Cut(line, ":")
		m.needs[file] = strings.Fields(needs)
		m.file[moduleName(file)] = file
	})
	if err != nil {
		return nil, err
	}
	return m, eachLine(filepath.Join(dir, "modules.alias"), func(line string) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" {
			m.aliases = append(m.aliases, [2]string{f[1], f[2]})
		}
	})
}

func eachLine(file string, f func(string)) error {
	r, err := os.Open(file)
	if err != nil {
		return err
	}
	defer r.Close()
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		f(s.Text())
	}
	return s.Err()
}

func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

// probe loads a module by name with what it needs. One that the initrd does not
// have is taken to be built into the kernel.
func (m *modules) probe(name string) error {
	file, ok := m.file[moduleName(name)]
	if !ok {
		return nil
	}
	return m.insert(file)
}

func (m *modules) insert(file string) error {
	if m.done[file] {
		return nil
	}
	m.done[file] = true
	needs := m.needs[file]
	for i := len(needs) - 1; i >= 0; i-- { // the last is needed by those before it
		if err := m.insert(needs[i]); err != nil {
			return err
		}
	}
	if err := m.load(filepath.Join(m.dir, file)); err != nil {
		return fmt.Errorf("kernel module %s: %w", file, err)
	}
	return nil
}

// coldplug loads what the devices below sys ask for and returns how many modules
// that were. A driver that does not load is not the end: the disk may need none
// of it.
func (m *modules) coldplug(sys string) (loaded int, problems []error) {
	before := len(m.done)
	_ = filepath.WalkDir(filepath.Join(sys, "devices"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "modalias" {
			return nil // devices come and go while they are walked
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return nil
		}
		for _, name := range m.matching(strings.TrimSpace(string(b))) {
			if err := m.probe(name); err != nil {
				problems = append(problems, err)
			}
		}
		return nil
	})
	return len(m.done) - before, problems
}

func (m *modules) matching(modalias string) (names []string) {
	if modalias == "" {
		return nil
	}
	// A slash would end a star in path.Match; none of the patterns means one.
	flat := strings.ReplaceAll(modalias, "/", "_")
	for _, a := range m.aliases {
		if ok, _ := path.Match(strings.ReplaceAll(a[0], "/", "_"), flat); ok {
			names = append(names, a[1])
		}
	}
	return names
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
