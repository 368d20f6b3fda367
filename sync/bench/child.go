package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"time"
)

// task is what one child process does.
type task struct {
	Kind        string
	Procs       int    // GOMAXPROCS, 0 = Go's own choice
	Journal     string // folder
	Cold        bool   // the kernel has to read it from the device
	Dir         string // for state files
	URLs        []string
	CA          string // PEM file
	Credentials string
	Limit       time.Duration // of a contender that would take too long
	Pending     int           // publishes in flight; of the hub, messages in the stream
	From, To    int           // of a herd: these terminals
	Ledger      string        // of the hub: URL of a database, "" = bbolt
	Profile     string        // write a CPU profile here
}

// kinds are the tasks by name.
var kinds = map[string]func(context.Context, task) (any, error){
	"uplink":  shipJournal,
	"publish": publishEach,
	"async":   publishAsync,
	"s2":      compressOnly,
	"fill":    fillStream,
	"hub":     runHub,
	"each":    fillEach,
	"consume": consumeEach,
	"herd":    runTerminals,
}

// childFlag is followed by a task; no user types it.
const childFlag = "-child"

// runChild does the task and prints its result.
func runChild(ctx context.Context, text string) error {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return err
	}
	do := kinds[t.Kind]
	if do == nil {
		return fmt.Errorf("no task is called %q", t.Kind)
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
	result, err := do(ctx, t)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// child starts a task in a process of its own.
func child(ctx context.Context, t task) (*exec.Cmd, *bytes.Buffer, error) {
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
	if t.Procs > 0 {
		cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(t.Procs))
	}
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	return cmd, &out, cmd.Start()
}

// do runs a task to its end.
func do(ctx context.Context, t task, result any) error {
	cmd, out, err := child(ctx, t)
	if err != nil {
		return err
	}
	if err = cmd.Wait(); err == nil {
		err = json.Unmarshal(out.Bytes(), result)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t.Kind, err)
	}
	return nil
}
