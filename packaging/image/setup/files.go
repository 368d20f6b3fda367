package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"posd/durable"
)

// input is a file that the technician may give.
type input struct {
	name   string
	target string
	mode   fs.FileMode
	secret bool // deleted, not renamed
}

// inputs in the order in which they come in place: posd.toml names some of the others.
var inputs = []input{
	// systemd hands these to posd alone (LoadCredential=), posd.toml does not name them.
	{name: "hub.token", target: "etc/credstore/posd.hub.token", mode: 0o600, secret: true},
	{name: "hub.creds", target: "etc/credstore/posd.hub.creds", mode: 0o600, secret: true},
	{name: "hub.enroll_token", target: "etc/credstore/posd.hub.enroll_token", mode: 0o600, secret: true},
	{name: "hub-ca.pem", target: "etc/posd/hub-ca.pem", mode: 0o644},
	{name: "listen.conf", target: "etc/systemd/system/posd.socket.d/listen.conf", mode: 0o644},
	{name: "network.network", target: "etc/systemd/network/10-terminal.network", mode: 0o644},
	{name: "timesyncd.conf", target: "etc/systemd/timesyncd.conf.d/terminal.conf", mode: 0o644},
}

// What is handled in its own way, see first-boot.
const (
	configName    = "posd.toml"
	itemsName     = "items.csv"
	passwordName  = "root.password"
	installedMark = ".installed"
)

// replace writes path so that a cut leaves the old or the new content.
func replace(path string, b []byte, mode fs.FileMode, like string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Chmod(mode))
	if like != "" {
		err = errors.Join(err, chownLike(tmp, like))
	}
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

func chownLike(f *os.File, like string) error {
	st, err := os.Stat(like)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return f.Chown(int(sys.Uid), int(sys.Gid))
}

// present returns the content of a file and whether it is there.
func present(path string) ([]byte, bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return b, err == nil, err
}
