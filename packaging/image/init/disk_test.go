package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sysfs makes class/block with partitions, as "vda1=posd-esp".
func sysfs(t *testing.T, parts ...string) string {
	t.Helper()
	sys := t.TempDir()
	if err := os.MkdirAll(filepath.Join(sys, "class/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		name, label, _ := strings.Cut(p, "=")
		disk := strings.TrimRight(name, "0123456789")
		dir := filepath.Join(sys, "devices", disk, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "uevent"), []byte("MAJOR=1\nPARTNAME="+label+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir, filepath.Join(sys, "class/block", name)); err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

func TestChoose(t *testing.T) {
	need := []string{"posd-esp", "posd-root-a", "posd-data"}
	one := []string{"vda1=posd-esp", "vda2=posd-root-a", "vda4=posd-data"}
	disks := scan(sysfs(t, append(slices.Clone(one), "sda1=posd-data")...))
	f, err := choose(disks, need, "")
	if err != nil || f.disk != "/dev/vda" || f.parts["posd-data"] != "/dev/vda4" {
		t.Errorf("%+v %v", f, err)
	}
	// A stick with the same image, and a loader that does not say: nothing is guessed.
	twice := append(slices.Clone(one), "sda1=posd-esp", "sda2=posd-root-a", "sda4=posd-data")
	if _, err := choose(scan(sysfs(t, twice...)), need, ""); err == nil || !strings.Contains(err.Error(), "/dev/sda") {
		t.Error("two disks:", err)
	}
	// The partitions of two disks are never mixed.
	if f, err := choose(scan(sysfs(t, "vda1=posd-esp", "vda2=posd-root-a", "sda4=posd-data")), need, ""); err == nil {
		t.Error("mixed:", f)
	}
	if _, err := choose(nil, need, ""); err == nil || !strings.Contains(err.Error(), "no disks") {
		t.Error("none:", err)
	}
}

func TestModules(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep":   "kernel/a/virtio_blk.ko: kernel/a/virtio_ring.ko kernel/a/virtio.ko\nkernel/a/virtio_ring.ko: kernel/a/virtio.ko\nkernel/a/virtio.ko:\nkernel/a/usb-storage.ko:\n",
		"modules.alias": "# Aliases\nalias virtio:d00000002v* virtio_blk\nalias of:N*T*Cvendor,board/x* usb_storage\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := readModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	var loaded []string
	m.load = func(p string) error { loaded = append(loaded, filepath.Base(p)); return nil }
	sys := t.TempDir()
	for name, alias := range map[string]string{"a": "virtio:d00000002v00001AF4\n", "b": "of:NxTyCvendor,board/x1", "c": "pci:unknown"} {
		if err := os.MkdirAll(filepath.Join(sys, "devices", name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, "devices", name, "modalias"), []byte(alias), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if n, problems := m.coldplug(sys); n != 4 || problems != nil {
		t.Error(n, problems)
	}
	if want := []string{"virtio.ko", "virtio_ring.ko", "virtio_blk.ko", "usb-storage.ko"}; !slices.Equal(loaded, want) {
		t.Error(loaded)
	}
	if n, _ := m.coldplug(sys); n != 0 {
		t.Error("loaded again:", n)
	}
	if err := m.probe("built-in"); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	o := parseOptions("posd.slot=a  posd.rescue root=x=y\n")
	if o["posd.slot"] != "a" || o["posd.rescue"] != "1" || o["root"] != "x=y" {
		t.Error(o)
	}
}

// TestFinishReset: only what says so is cleared, and the sales' folder never is.
func TestFinishReset(t *testing.T) {
	for note, cleared := range map[string]bool{"clear\n": true, "journal\n": false, "": false} {
		data := t.TempDir()
		for _, f := range []string{"etc/upper/posd/posd.toml", "var/lib/posd/journal/1.seg"} {
			if err := os.MkdirAll(filepath.Join(data, filepath.Dir(f)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(data, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if note != "" {
			if err := os.WriteFile(filepath.Join(data, "reset"), []byte(note), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := finishReset(data); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(filepath.Join(data, "etc/upper/posd/posd.toml"))
		if os.IsNotExist(err) != cleared {
			t.Errorf("%q: %v", note, err)
		}
		if _, err := os.Stat(filepath.Join(data, "var/lib/posd/journal/1.seg")); err != nil {
			t.Error(err)
		}
	}
}
