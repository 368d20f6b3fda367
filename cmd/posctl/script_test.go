package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"posd/cgroup/slice"
)

// programs is the folder of what tests build.
var programs string

type cleaned struct{ m *testing.M }

func (c cleaned) Run() int {
	var err error
	if programs, err = os.MkdirTemp("", "posctl-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(programs)
	return c.m.Run()
}

func TestMain(m *testing.M) {
	testscript.Main(cleaned{m}, map[string]func(){
		"posctl": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// TestScripts pins what an operator sees.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Condition: func(name string) (bool, error) {
			if name != "unified" {
				return false, fmt.Errorf("no condition is named %q", name)
			}
			return slice.Tree{Root: "/"}.Unified() == nil, nil // the machine has one cgroup v2 tree
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":  exitIs,
			"flip":  flipByte,
			"sell":  sell,
			"forge": forge,

			"settle":  settle,
			"hold":    hold,
			"release": letGo,
		},
	})
}

// exitIs runs posctl and compares its exit code: code 66 verify -journal x.
func exitIs(ts *testscript.TestScript, _ bool, args []string) {
	want := args[0]
	err := ts.Exec("posctl", args[1:]...)
	got := "0"
	if err != nil {
		got = fmt.Sprint(err)
	}
	if want == "0" && err == nil || got == "exit status "+want {
		return
	}
	ts.Fatalf("exit code: %s, want %s", got, want)
}

// flipByte changes a byte of a file: flip FILE OFFSET.
func flipByte(ts *testscript.TestScript, _ bool, args []string) {
	var off int64
	_, err := fmt.Sscan(args[1], &off)
	ts.Check(err)
	f, err := os.OpenFile(filepath.Clean(ts.MkAbs(args[0])), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, off)
	ts.Check(err)
	b[0] ^= 1
	_, err = f.WriteAt(b, off)
	ts.Check(err)
}
