package journal

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// deny makes the kernel refuse system calls of this process for good.
func deny(errno uint32, calls ...uint32) error {
	const load, jeq, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	prog := []unix.SockFilter{{Code: load, K: 0}} // offset of nr in struct seccomp_data
	for i, c := range calls {
		prog = append(prog, unix.SockFilter{Code: jeq, Jt: uint8(len(calls) - i), K: c})
	}
	prog = append(prog, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | errno})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	p := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p))); e != 0 {
		return e
	}
	return nil
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
