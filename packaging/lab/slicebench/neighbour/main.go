// Command neighbour is what runs beside posd in a lab's guest: it makes trouble, or
// lets the host reach what only the guest can.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"posd/packaging/lab/slicebench/load"
)

const usage = `neighbour COMMAND:
  as SCORE PROGRAM ARG...   become PROGRAM with this oom_score_adj, which its children inherit
  sell -url U -token T ...  sell for a while, print what came of it as JSON
  phases SCRIPT             play a script (package load), print a result for each phase
  tokens DIR                wait for the hub's tokens
  ramdisk MODULE DISK       load brd and copy a disk to /dev/ram0
  count GROUP               print the counters of a group
  abuse -url U -long D      send requests that have to be refused, as fast as possible
  after FILE SECONDS PROGRAM ARG...  wait for FILE, then so long, then become PROGRAM
  wait URL                  wait until a page is there
  get URL TOKEN             print a page
  drained URL TOKEN TERMINAL RECORD  wait until head office's ledger has the record
  hog MIB                   take memory, a MiB each 20 ms, keep it for 5 s, and end
  spin SECONDS              use all the processor time there is
  fill FILE SECONDS         write to FILE until the disk is full, keep it so, then remove it
  chatter FILE SECONDS      append log lines to FILE and sync it after each 100, then remove it
`

func main() {
	err := run(os.Args[1:])
	if errors.Is(err, errUsage) {
		fmt.Fprint(os.Stderr, usage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "neighbour:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("wrong command line")

func run(args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	switch args[0] {
	case "as":
		return become(args[1], args[2:])
	case "sell":
		return sell(args[1:])
	case "phases":
		return phases(args[1])
	case "tokens":
		return hubTokens(args[1])
	case "ramdisk":
		if len(args) == 3 {
			return ramdisk(args[1], args[2])
		}
	case "count":
		c, err := load.Count(args[1])
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(c)
	case "abuse":
		return abuse(args[1:])
	case "after":
		if len(args) > 3 {
			return after(args[1], args[2], args[3:])
		}
	case "wait":
		return (&player{c: http.DefaultClient}).await(args[1])
	case "get":
		if len(args) == 3 {
			return printPage(args[1], args[2])
		}
	case "drained":
		if len(args) == 5 {
			return awaitLedger(args[1], args[2], args[3], args[4])
		}
	case "hog":
		return hog(args[1])
	case "spin":
		return spin(args[1])
	case "fill":
		if len(args) == 3 {
			return fill(args[1], args[2])
		}
	case "chatter":
		if len(args) == 3 {
			return chatter(args[1], args[2])
		}
	}
	return errUsage
}

func become(score string, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	if score != "" {
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte(score), 0); err != nil {
			return err
		}
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args, os.Environ())
}

func hog(mib string) error {
	n, err := strconv.Atoi(mib)
	if err != nil {
		return err
	}
	var keep [][]byte
	for range n {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += os.Getpagesize() {
			b[i] = 1
		}
		keep = append(keep, b)
		fmt.Println("holding", len(keep), "MiB")
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(5 * time.Second)
	fmt.Println("held", len(keep), "MiB to the end")
	return nil
}

func spin(seconds string) error {
	n, err := strconv.Atoi(seconds)
	if err != nil {
		return err
	}
	for end := time.Now().Add(time.Duration(n) * time.Second); time.Now().Before(end); {
	}
	return nil
}

func fill(file, seconds string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(file)
	var total int64
	for size := 1 << 20; size >= 1; {
		n, err := f.Write(bytes.Repeat([]byte{'x'}, size))
		total += int64(n)
		if errors.Is(err, syscall.ENOSPC) {
			size /= 16
			continue
		}
		if err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	fmt.Println("full after", total, "bytes")
	n, err := strconv.Atoi(seconds)
	time.Sleep(time.Duration(n) * time.Second)
	return err
}

func chatter(file, seconds string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(file)
	long, err := strconv.Atoi(seconds)
	if err != nil {
		return err
	}
	n := 0
	for end := time.Now().Add(time.Duration(long) * time.Second); time.Now().Before(end); n++ {
		if _, err := fmt.Fprintf(f, "%s scale[%d]: checksum error on port /dev/ttyUSB0, frame %d dropped\n", time.Now().Format(time.RFC3339Nano), os.Getpid(), n); err != nil {
			return err
		}
		if n%100 == 99 {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	fmt.Println("wrote", n, "lines")
	return nil
}
