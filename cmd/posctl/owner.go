package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// chownLike gives f to the owner of st. posctl often runs as root, posd does
// not; without the right to do so the file stays the caller's.
func chownLike(f *os.File, st fs.FileInfo) {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(sys.Uid), int(sys.Gid))
	}
}

// handOver gives dir and all below it to the owner of like, if the caller is root.
func handOver(dir, like string) error {
	st, err := os.Stat(like)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(sys.Uid), int(sys.Gid))
	})
}
