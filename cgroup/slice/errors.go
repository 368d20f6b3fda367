package slice

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
)

var (
	// ErrMode: the machine has no unified cgroup v2 tree.
	ErrMode = errors.New("no unified cgroup v2 tree")
	// ErrController: the kernel, or the group above, does not offer a controller.
	ErrController = errors.New("a controller is missing")
	// ErrSystemd: systemd owns the tree, and would undo or fight every change.
	ErrSystemd = errors.New("systemd owns the limits here")
	// ErrNoSlice: there is no such group.
	ErrNoSlice = errors.New("no such slice")
	// ErrDiffers: what was read back is not what was wanted.
	ErrDiffers = errors.New("the kernel has other limits in force than were asked for")
)

// explain adds what to do to an error of the kernel.
func explain(doing, file string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: run as root, and outside of a container", doing, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s: %w: the tree is mounted read-only, as in a container; run on the machine itself", doing, err)
	case errors.Is(err, syscall.EBUSY) && strings.Contains(err.Error()+file, "subtree_control"):
		return fmt.Errorf("%s: %w: processes live in %s itself, and a group with processes of its own cannot hand controllers to children; move them into a child first", doing, err, path.Dir(file))
	case errors.Is(err, syscall.EINVAL) && strings.Contains(err.Error()+file, "subtree_control"):
		return fmt.Errorf("%s: %w: a controller cannot be handed down; processes with realtime priority keep cpu from it on some kernels", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
