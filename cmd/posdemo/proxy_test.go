package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// echo serves lines back until the listener is closed.
func echo(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	return ln.Addr().String()
}

func talk(t *testing.T, address, text string) (net.Conn, *bufio.Reader) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(c, text)
	r := bufio.NewReader(c)
	if got, err := r.ReadString('\n'); got != text+"\n" {
		t.Fatalf("%q came back, %v", got, err)
	}
	return c, r
}

func TestLink(t *testing.T) {
	l, err := newLink(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	c, r := talk(t, l.address, "hello")
	defer c.Close()
	if up, down := l.up.Load(), l.down.Load(); up != 6 || down != 6 {
		t.Errorf("%d bytes up, %d down", up, down)
	}
	l.cut()
	if _, err := r.ReadByte(); err == nil {
		t.Error("a connection survived the cut")
	}
	if c, err := net.Dial("tcp", l.address); err == nil {
		c.Close()
		t.Error("a new connection was made while cut")
	}
	if err := l.restore(); err != nil {
		t.Fatal(err)
	}
	again, _ := talk(t, l.address, "there again")
	again.Close()
	l.cut()
	l.cut() // harmless
}

func TestLinkPassesHalfClose(t *testing.T) {
	l, err := newLink(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.cut()
	c, r := talk(t, l.address, "one")
	defer c.Close()
	fmt.Fprintln(c, "two")
	c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(r); string(rest) != "two\n" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestProcess(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	log := filepath.Join(t.TempDir(), "log")
	p, err := begin("sleep", log, nil, func(err error) { ended <- err }, sleep, "1000")
	if err != nil {
		t.Fatal(err)
	}
	p.kill()
	if rss, anon := p.peaks(); rss == 0 || anon > rss {
		t.Errorf("peak %d, own %d", rss, anon)
	}
	if err := p.stop(); err != nil {
		t.Error("stop of what has ended:", err)
	}
	select {
	case err := <-ended:
		t.Error("an end that was asked for was reported:", err)
	default:
	}
	p, err = begin("shell", log, nil, func(err error) { ended <- err }, "/bin/sh", "-c", "echo the reason >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	if err := <-ended; !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the reason") {
		t.Error(err)
	}
	if _, err := begin("nothing", log, nil, nil, "/nonexistent"); err == nil {
		t.Error("a program that is not there was started")
	}
}

func TestStatusBytes(t *testing.T) {
	status := []byte("Name:\tposd\nVmHWM:\t   21912 kB\nRssAnon:\t    8000 kB\n")
	if a, b := statusBytes(status, "VmHWM:"), statusBytes(status, "RssAnon:"); a != 21912<<10 || b != 8000<<10 || statusBytes(status, "VmSwap:") != 0 {
		t.Error(a, b)
	}
	if cpuSoFar(os.Getpid()) < 0 || cpuSoFar(-1) != 0 {
		t.Error("processor time")
	}
}

func TestBarIsPlainWhenNotATerminal(t *testing.T) {
	var b bytes.Buffer
	bar := newBar(&b)
	bar.begin("selling", 100)
	for i := range uint64(101) {
		bar.set(i)
	}
	bar.say("half of it: %d", 50)
	bar.end()
	if got := b.String(); strings.Count(got, "\n") != 11 || strings.ContainsAny(got, "\r\x1b") || !strings.Contains(got, "selling 100 of 100") {
		t.Errorf("%q", got)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"sell"}, {"run"}, {"front"}, {"run", "-nonsense"}, {"run", "-posd", "a", "-posctl", "b", "-poshub", "c", "-sales", "1"},
		{"run", "-posd", "a", "-posctl", "b", "-poshub", "c", "-day", "all"}, {"front", "-url", "x", "-token-file", "y", "-out", "z", "more"},
	} {
		var errs bytes.Buffer
		if code := start(t.Context(), args, io.Discard, &errs); code != exitUsage || errs.Len() == 0 {
			t.Errorf("%q: exit code %d, %q", args, code, errs.String())
		}
	}
}

// The work folder of something else is not deleted.
func TestForeignFolderIsKept(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	code := start(t.Context(), []string{"run", "-posd", "a", "-posctl", "b", "-poshub", "c", "-dir", dir}, io.Discard, &errs)
	if _, err := os.Stat(file); err != nil || code != exitFailed || !strings.Contains(errs.String(), "not an earlier demo's") {
		t.Errorf("exit code %d, %s, %v", code, errs.String(), err)
	}
}
