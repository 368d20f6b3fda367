package guest

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Linux is a kernel: what qemu loads, its modules and its name.
type Linux struct {
	Image   string // file
	Modules string // folder, as /lib/modules/RELEASE of the package, without modules.dep
	Release string
}

// Kernel gives Debian's arm64 kernel. It is fetched into dir once; remove dir to have
// a newer one. Several processes may ask at once.
func Kernel(ctx context.Context, dir string) (Linux, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Linux{}, err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return Linux{}, err
	}
	defer unlock()
	if k, err := cached(dir); err == nil || !errors.Is(err, os.ErrNotExist) {
		return k, err
	}
	work, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return Linux{}, err
	}
	defer os.RemoveAll(work)
	if work, err = filepath.Abs(work); err != nil {
		return Linux{}, err
	}
	if err := fetch(ctx, work); err != nil {
		return Linux{}, fmt.Errorf("fetch a kernel: %w", err)
	}
	if err := os.Rename(filepath.Join(work, "root"), filepath.Join(dir, "kernel")); err != nil {
		return Linux{}, err
	}
	return cached(dir)
}

func fetch(ctx context.Context, work string) error {
	a, err := newAPT(ctx, work)
	if err != nil {
		return err
	}
	name, err := a.kernelPackage(ctx)
	if err != nil {
		return err
	}
	deb, err := a.download(ctx, name)
	if err != nil {
		return err
	}
	return unpack(ctx, deb, filepath.Join(work, "root"))
}

// lock keeps a second process from fetching the same.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

func cached(dir string) (Linux, error) {
	root, err := filepath.Abs(filepath.Join(dir, "kernel"))
	if err != nil {
		return Linux{}, err
	}
	k := Linux{Image: filepath.Join(root, "Image")}
	if _, err := os.Stat(k.Image); err != nil {
		return k, err
	}
	found, err := filepath.Glob(filepath.Join(root, "modules", "*"))
	if err != nil || len(found) != 1 {
		return k, errors.Join(err, fmt.Errorf("%s holds the modules of %d kernels; remove %s", root, len(found), dir))
	}
	k.Modules, k.Release = found[0], filepath.Base(found[0])
	return k, nil
}

// unpack takes kernel and modules out of a package, both uncompressed, so that
// neither qemu nor the guest spends time on that.
func unpack(ctx context.Context, deb, to string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = unpackTar(ctx, tar.NewReader(out), to)
	_, drained := io.Copy(io.Discard, out)
	if ended := cmd.Wait(); ended != nil {
		return fmt.Errorf("dpkg-deb %s: %w", deb, ended)
	}
	return errors.Join(err, drained)
}

func unpackTar(ctx context.Context, r *tar.Reader, to string) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		name := path.Clean("/" + h.Name)
		var target string
		if strings.HasPrefix(name, "/boot/vmlinuz-") {
			target = "Image"
		} else if _, in, ok := strings.Cut(name, "lib/modules/"); ok && strings.Contains(path.Base(in), ".ko") {
			target = path.Join("modules", in)
		} else {
			continue
		}
		if err := unpackFile(ctx, r, filepath.Join(to, target)); err != nil {
			return fmt.Errorf("unpack %s: %w", name, err)
		}
	}
}

func unpackFile(ctx context.Context, r io.Reader, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	base, tool := to, ""
	for suffix, t := range map[string]string{".xz": "xz", ".zst": "zstd"} {
		if b, ok := strings.CutSuffix(to, suffix); ok {
			base, tool = b, t
		}
	}
	f, err := os.Create(base)
	if err != nil {
		return err
	}
	if tool == "" {
		_, err = io.Copy(f, r)
	} else {
		cmd := exec.CommandContext(ctx, tool, "-dcq")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = r, f, os.Stderr
		err = cmd.Run()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if filepath.Base(to) == "Image" {
		return gunzip(base)
	}
	return nil
}

// gunzip replaces a file by its content, if it is compressed.
func gunzip(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if errors.Is(err, gzip.ErrHeader) {
		return nil
	}
	if err != nil {
		return err
	}
	out, err := os.Create(name + ".plain")
	if err != nil {
		return err
	}
	_, err = io.Copy(out, z)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(name+".plain", name)
}

// Load gives the modules with these names and all that they depend on, in the order
// in which they must be loaded. What is built into the kernel is left out.
func (k Linux) Load(names ...string) ([]File, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(k.Modules, func(p string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(p), ".ko"); ok && err == nil && !d.IsDir() {
			paths[strings.ReplaceAll(name, "-", "_")] = p
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var files []File
	var add func(name string) error
	add = func(name string) error {
		name = strings.ReplaceAll(name, "-", "_")
		p, ok := paths[name]
		target := "modules/" + name + ".ko"
		if !ok || slices.ContainsFunc(files, func(f File) bool { return f.Name == target }) {
			return nil
		}
		needs, err := depends(p)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		files = append(files, File{Name: target, Mode: 0o644, Path: p})
		return nil
	}
	for _, n := range names {
		if err := add(n); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// depends reads what a module says it needs. The package has no modules.dep: depmod
// writes that at its installation.
func depends(module string) ([]string, error) {
	f, err := elf.Open(module)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", module, err)
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("module %s says nothing of itself", module)
	}
	b, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", module, err)
	}
	for field := range strings.SplitSeq(string(b), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
