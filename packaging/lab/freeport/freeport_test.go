package freeport

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
)

// Nobody is given a port twice: not within a process, and not beside others.
func TestEachPortOnce(t *testing.T) {
	const each = 200
	if os.Getenv("PORTS") != "" {
		for range each {
			a, err := Address()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Println(a)
		}
		fmt.Println("done")
		fmt.Scanln() // they are kept until the parent has seen all
		return
	}
	seen := map[string]bool{}
	for range 4 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestEachPortOnce$")
		cmd.Env = append(os.Environ(), "PORTS=1")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); cmd.Wait() })
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != "done" {
			a := lines.Text()
			if seen[a] {
				t.Errorf("%s was given twice", a)
			}
			seen[a] = true
		}
	}
	if len(seen) != 4*each {
		t.Errorf("%d ports, %d asked for", len(seen), 4*each)
	}
}

// What is given can be listened on, and only its owner's process may have it.
func TestKeep(t *testing.T) {
	p, err := Number()
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := keep(p); ok || err != nil {
		t.Error("kept twice", err)
	}
	for range 2 { // a server restarts
		ln, err := net.Listen("tcp", address(p))
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
	}
}
