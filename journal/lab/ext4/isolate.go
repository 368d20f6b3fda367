package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tmpVar names the folder of this run.
const tmpVar = "POSD_LAB_TMP"

// enter is called first in main and TestMain. It runs this program once more and
// returns only there, with a folder for mounts. When that process has ended,
// however it ended, what it left mounted is taken down here. Other processes of
// this program serve their role and do not return.
//
// Who serves FUSE may not wait for a file system that stands on it: killed in
// the middle it could never end. So all mounting is done by players, and the
// cleaning by a process that serves nothing.
func enter(limit time.Duration) (tmp string) {
	switch role := os.Getenv(roleVar); role {
	case "player":
		serve(new(Player))
		os.Exit(0)
	case "devices":
		serve(newDevices(os.Getenv(tmpVar)))
		os.Exit(0)
	case "inside":
		return os.Getenv(tmpVar)
	}
	os.Exit(supervise(limit))
	return ""
}

func supervise(limit time.Duration) (code int) {
	sweepOld()
	tmp, err := os.MkdirTemp("", fmt.Sprintf("lab-ext4-%d-", os.Getpid()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer sweep(tmp)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), roleVar+"=inside", tmpVar+"="+tmp)
	// A group of its own: the terminal's interrupt comes here only.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timer := time.NewTimer(limit)
	for {
		select {
		case err := <-ended:
			return exitCode(err)
		case s := <-signals:
			cmd.Process.Kill()
			fmt.Fprintln(os.Stderr, "ended by", s)
		case <-timer.C:
			cmd.Process.Kill()
			fmt.Fprintln(os.Stderr, "not done after", limit)
		}
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// sweep unmounts everything below tmp, the newest mount first, and removes it.
// The FUSE server is gone, so whatever still waits for it gets an error.
func sweep(tmp string) {
	for try := 0; ; try++ {
		left := mountsBelow(tmp)
		for _, dir := range slices.Backward(left) {
			flags := 0
			if try >= 50 { // somebody who was killed still holds it after 5 s
				flags = unix.MNT_DETACH
			}
			unix.Unmount(dir, flags)
		}
		if len(left) == 0 || try >= 50 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	os.RemoveAll(tmp)
}

func mountsBelow(dir string) (mounts []string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if fields := strings.Fields(sc.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts
}

// sweepOld clears up behind runs whose first process was killed.
func sweepOld() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "lab-ext4-*-*"))
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "lab-ext4-%d-", &pid); err != nil {
			continue
		}
		if unix.Kill(pid, 0) == unix.ESRCH {
			sweep(dir)
		}
	}
}
