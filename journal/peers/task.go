package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"time"

	"posd/packaging/lab/place"

	"golang.org/x/sys/unix"
)

// task is what one child process does. Each has a process of its own, so that
// memory, processor time and allocations are its own.
type task struct {
	Kind      string
	Contender string
	Procs     int
	Env       []string
	Writers   int
	Commits   int
	Limit     time.Duration
	Dir       string // its folder
	Counter   string // the device's counters, "" if there are none
	Socket    string // of the parent, for reads
	Busy      bool   // reads are timed while a writer commits, memory while all segments are scrubbed
	Profile   string // write a CPU profile here
	Die       bool   // end by SIGKILL, without closing anything
}

// kinds are the tasks by name.
var kinds = map[string]func(task) (any, error){
	"commits":    measureCommits,
	"first fill": measureFirstFill,
	"fill":       fillJournal,
	"open":       measureOpen,
	"reads":      serveReads,
	"memory":     measureMemory,
}

// childFlag is followed by a task; no user types it.
const childFlag = "-child"

// runChild does the task and prints its result.
func runChild(text string) error {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return err
	}
	if t.Profile != "" {
		f, err := os.Create(t.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	result, err := kinds[t.Kind](t)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		return err
	}
	if t.Die {
		return unix.Kill(unix.Getpid(), unix.SIGKILL)
	}
	return nil
}

// child starts a task in a process that is pinned to one core.
func child(ctx context.Context, core int, t task) (*exec.Cmd, *bytes.Buffer, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, self, childFlag, string(text))
	cmd.Env = append(append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(t.Procs)), t.Env...)
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	return cmd, &out, place.Pinned(core, cmd.Start)
}

// do runs one task to its end, in a fresh folder unless it is given one.
func (p *bench) do(ctx context.Context, t task, result any) error {
	t.Counter = p.Device
	if t.Dir == "" {
		dir, err := os.MkdirTemp(p.Dir, "run")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		t.Dir = dir
	}
	cmd, out, err := child(ctx, p.core, t)
	if err != nil {
		return err
	}
	return finish(cmd, out, t, result)
}

// finish waits for a child and reads its result.
func finish(cmd *exec.Cmd, out *bytes.Buffer, t task, result any) error {
	err := cmd.Wait()
	if t.Die && out.Len() > 0 { // killed, as it was told to be
		err = nil
	}
	if err == nil {
		err = json.Unmarshal(out.Bytes(), result)
	}
	if err != nil {
		return fmt.Errorf("%s %s in %s: %w", t.Kind, t.Contender, filepath.Base(t.Dir), err)
	}
	return nil
}
