// Command self is what the test of posd/packaging/lab/guest runs in a guest.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	var err error
	switch os.Args[1] {
	case "serve":
		addr := ":80"
		if len(os.Args) > 2 {
			addr = os.Args[2]
		}
		http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
			b, _ := os.ReadFile("/proc/self/cgroup")
			w.Write(b)
		})
		var ln net.Listener
		if ln, err = net.Listen("tcp", addr); err == nil {
			fmt.Println("serving")
			err = http.Serve(ln, nil)
		}
	case "cat":
		var f *os.File
		if f, err = os.Open(os.Args[2]); err == nil {
			_, err = io.Copy(os.Stdout, f)
		}
	case "dial":
		_, err = net.Dial("tcp", os.Args[2])
	case "fail":
		fmt.Fprintln(os.Stderr, "no")
		os.Exit(3)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
