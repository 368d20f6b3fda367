package journal

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"posd/journal/chain"
	"posd/journal/internal/hook"
)

// TestDeniedCalls: where a filter of system calls, or an old kernel, refuses what
// is only advice, the journal works without it.
func TestDeniedCalls(t *testing.T) {
	if dir := os.Getenv("POSD_TEST_DENIED"); dir != "" {
		deniedChild(t, dir)
		return
	}
	for name, errno := range map[string]unix.Errno{"EPERM": unix.EPERM, "ENOSYS": unix.ENOSYS, "EINVAL": unix.EINVAL} {
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestDeniedCalls$", "-test.v")
			c.Env = append(os.Environ(), "POSD_TEST_DENIED="+t.TempDir(), fmt.Sprintf("POSD_TEST_ERRNO=%d", errno))
			if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("sold without advice")) {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

func deniedChild(t *testing.T, dir string) {
	var errno uint32
	fmt.Sscan(os.Getenv("POSD_TEST_ERRNO"), &errno)
	if err := deny(errno, unix.SYS_MADVISE, unix.SYS_FADVISE64, unix.SYS_FALLOCATE, unix.SYS_IO_URING_SETUP, unix.SYS_SYNC_FILE_RANGE); err != nil {
		t.Skip("system calls cannot be filtered here:", err)
	}
	if err := unix.Madvise(make([]byte, 4096), unix.MADV_NORMAL); err == nil {
		t.Fatal("the filter filters nothing")
	}
	o := testOptions()
	path := filepath.Join(dir, "journal")
	if _, err := Create(path, CreateOptions{Identity: till, SegmentSize: o.SegmentSize, Opening: o.Opening}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		j := reopen(t, path, o)
		for range 40 {
			mustAppend(t, j, bytes.Repeat([]byte("a"), 3000))
		}
		contents(t, j)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("sold without advice")
}

const (
	bpfLoad = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	bpfEq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfSet  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	bpfRet  = unix.BPF_RET | unix.BPF_K
)

// deny makes the kernel refuse system calls of this process for good.
func deny(errno uint32, calls ...uint32) error {
	prog := []unix.SockFilter{{Code: bpfLoad, K: 0}} // offset of nr in struct seccomp_data
	for i, c := range calls {
		prog = append(prog, unix.SockFilter{Code: bpfEq, Jt: uint8(len(calls) - i), K: c})
	}
	return filter(append(prog, unix.SockFilter{Code: bpfRet, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: bpfRet, K: unix.SECCOMP_RET_ERRNO | errno}))
}

// denyDirect makes the kernel refuse to open any file past the page cache.
func denyDirect() error {
	return filter([]unix.SockFilter{
		{Code: bpfLoad, K: 0},
		{Code: bpfEq, Jf: 3, K: unix.SYS_OPENAT},
		{Code: bpfLoad, K: 16 + 2*8}, // flags: low half of the third argument
		{Code: bpfSet, Jf: 1, K: unix.O_DIRECT},
		{Code: bpfRet, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)},
		{Code: bpfRet, K: unix.SECCOMP_RET_ALLOW},
	})
}

func filter(prog []unix.SockFilter) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	p := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p))); e != 0 {
		return e
	}
	return nil
}

// TestPageCacheThatCannotBeDropped: after a failed sync the page cache holds what
// the device does not. Where neither O_DIRECT nor dropping it gets past it, since
// another process maps the file, the start refuses to believe it.
func TestPageCacheThatCannotBeDropped(t *testing.T) {
	if dir := os.Getenv("POSD_TEST_WARM"); dir != "" {
		warmChild(t, dir)
		return
	}
	o := testOptions()
	j, dir := newJournal(t, o)
	mustAppend(t, j, []byte("sale"))
	j.mu.Lock()
	j.fail(unix.EIO)
	j.mu.Unlock()
	j.Close()
	no, _ := folder{t, dir}.last()
	f, err := os.Open(filepath.Join(dir, segmentName(no)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	child := func() string {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestPageCacheThatCannotBeDropped$", "-test.v")
		c.Env = append(os.Environ(), "POSD_TEST_WARM="+dir)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 2*minAlign, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if m[minAlign] == 0 {
		t.Fatal("no group")
	}
	out := child()
	if strings.Contains(out, "cannot be filtered") {
		t.Skip(out)
	}
	if !strings.Contains(out, "refused: journal storage failed") || !strings.Contains(out, "another process maps it") {
		t.Fatalf("mapped by another process: %s", out)
	}
	unix.Munmap(m)
	if out := child(); !strings.Contains(out, "opened") {
		t.Fatalf("mapped by nobody: %s", out)
	}
}

func warmChild(t *testing.T, dir string) {
	if err := denyDirect(); err != nil {
		t.Skip("system calls cannot be filtered here:", err)
	}
	j, err := Open(dir, testOptions())
	if err != nil {
		fmt.Println("refused:", strings.TrimPrefix(err.Error(), "open journal in "+dir+": "))
		return
	}
	fmt.Println("opened")
	j.Close()
}

// TestPageSizes: a disk that moves between machines of 4 and 16 KiB pages. Groups
// keep the alignment of their segment; a larger page begins a new one.
func TestPageSizes(t *testing.T) {
	o := testOptions()
	o.SegmentSize = 128 << 10
	dir := filepath.Join(t.TempDir(), "journal")
	lab := func(page int) *hook.Lab { return &hook.Lab{Page: page} }
	if _, err := Create(dir, CreateOptions{Identity: till, SegmentSize: o.SegmentSize, Opening: o.Opening, Lab: lab(16 << 10)}); err != nil {
		t.Fatal(err)
	}
	want := map[uint64]string{}
	for i, page := range []int{16 << 10, 4 << 10, 16 << 10, 64 << 10 / 2, 4 << 10} {
		o.Lab = lab(page)
		j := reopen(t, dir, o)
		for n := range 12 {
			p := bytes.Repeat([]byte{byte('a' + i)}, 900*n)
			want[mustAppend(t, j, p)] = string(p)
		}
		s := j.segs[len(j.segs)-1]
		if s.align%page != 0 {
			t.Errorf("pages of %d bytes, groups at multiples of %d", page, s.align)
		}
		if got := contents(t, j); len(got) != len(want) {
			t.Fatalf("%d records, want %d", len(got), len(want))
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		n := 0
		if _, err := Verify(t.Context(), dir, VerifyOptions{Each: func(r chain.Record, _ chain.Head) error {
			if r.Type == chain.TypeOwner {
				if n++; want[r.Seq] != string(r.Payload) {
					t.Errorf("record %d differs", r.Seq)
				}
			}
			return nil
		}}); err != nil || n != len(want) {
			t.Fatalf("%d of %d records: %v", n, len(want), err)
		}
	}
}
