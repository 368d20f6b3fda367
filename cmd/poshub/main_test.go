package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"posd/packaging/lab/freeport"

	"github.com/rogpeppe/go-internal/testscript"
	bolt "go.etcd.io/bbolt"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"poshub": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"ready":     ready,
			"terminate": terminate,
			"private":   private,
			"freeport":  freePort,
		},
	})
}

// ready waits until the hub has the folder and listens: the tokens are there and
// the ledger is locked.
func ready(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if made, _ := filepath.Glob(filepath.Join(dir, "nats", "jetstream", "*", "streams", "KV_pos_cfg")); made == nil { // in $G, or in the account of the hub
			continue
		}
		db, err := bolt.Open(filepath.Join(dir, "ledger.db"), 0o600, &bolt.Options{Timeout: time.Millisecond, ReadOnly: true})
		if err != nil {
			return // it is in use
		}
		db.Close()
	}
	ts.Fatalf("the hub did not start")
}

// freePort puts a free address on loopback into a variable.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	a, err := freeport.Address()
	ts.Check(err)
	ts.Setenv(args[0], a)
}

func terminate(ts *testscript.TestScript, _ bool, args []string) {
	for _, c := range ts.BackgroundCmds() {
		if c.Process != nil {
			ts.Check(c.Process.Signal(syscall.SIGTERM))
		}
	}
}

func private(ts *testscript.TestScript, _ bool, args []string) {
	i, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if i.Mode().Perm() != 0o600 {
		ts.Fatalf("%s has mode %v", args[0], i.Mode())
	}
}
