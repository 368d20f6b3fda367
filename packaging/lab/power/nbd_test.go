package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// client speaks just enough of the protocol; the labs' own client is qemu.
type client struct {
	t *testing.T
	net.Conn
	handle uint64
}

func dial(t *testing.T, d *disk) *client {
	t.Helper()
	s, err := serve(filepath.Join(t.TempDir(), "s"), func() time.Duration { return time.Millisecond })
	if err != nil {
		t.Fatal(err)
	}
	s.put(d)
	c, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return &client{t: t, Conn: c}
}

func (c *client) get(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *client) put(fields ...any) {
	c.t.Helper()
	for _, f := range fields {
		if err := binary.Write(c, be, f); err != nil {
			c.t.Fatal(err)
		}
	}
}

// option sends one and gives kind and data of each reply until the last.
func (c *client) option(option uint32, data string) (kinds []uint32, all [][]byte) {
	c.t.Helper()
	c.put(uint64(optionMagic), option, uint32(len(data)), []byte(data))
	for {
		h := c.get(20)
		if be.Uint64(h) != replyMagic || be.Uint32(h[8:]) != option {
			c.t.Fatalf("reply %x", h)
		}
		kinds = append(kinds, be.Uint32(h[12:]))
		all = append(all, c.get(int(be.Uint32(h[16:]))))
		if k := kinds[len(kinds)-1]; k == repAck || k >= 1<<31 {
			return kinds, all
		}
	}
}

func (c *client) ask(kind uint16, flags uint16, off uint64, n uint32, data []byte) (code uint32) {
	c.t.Helper()
	c.handle++
	c.put(uint32(askMagic), flags, kind, c.handle, off, n, data)
	h := c.get(16)
	if be.Uint32(h) != answerMagic || be.Uint64(h[8:]) != c.handle {
		c.t.Fatalf("answer %x", h)
	}
	return be.Uint32(h[4:])
}

func TestNBD(t *testing.T) {
	d := blank(false)
	c := dial(t, d)
	if h := c.get(18); be.Uint64(h) != nbdMagic || be.Uint64(h[8:]) != optionMagic || be.Uint16(h[16:])&fixedNewstyle == 0 {
		t.Fatalf("greeting %x", h)
	}
	c.put(uint32(fixedNewstyle | noZeroes))
	if kinds, _ := c.option(8, ""); kinds[0] != repUnsupported { // structured replies
		t.Fatalf("an option that is not supported: %x", kinds)
	}
	if kinds, _ := c.option(optList, ""); len(kinds) != 2 || kinds[0] != repServer {
		t.Fatalf("list: %x", kinds)
	}
	kinds, all := c.option(optGo, "\x00\x00\x00\x00\x00\x00")
	if len(kinds) != 3 || be.Uint64(all[0][2:]) != sectors*512 || be.Uint16(all[0][10:]) != exportFlags {
		t.Fatalf("go: %x %x", kinds, all)
	}
	if code := c.ask(cmdWrite, 0, 512, 1024, page('w', 1024)); code != 0 {
		t.Fatal(code)
	}
	if code := c.ask(cmdZeroes, 0, 1024, 512, nil); code != 0 {
		t.Fatal(code)
	}
	if code := c.ask(cmdRead, 0, 512, 1024, nil); code != 0 {
		t.Fatal(code)
	}
	if got := c.get(1024); !bytes.Equal(got, append(page('w', 512), page(0, 512)...)) {
		t.Fatalf("read %q", got)
	}
	for _, bad := range []struct {
		kind uint16
		off  uint64
		n    uint32
	}{{cmdRead, sectors * 512, 1}, {cmdTrim, 1 << 63, 512}, {99, 0, 0}} {
		if code := c.ask(bad.kind, 0, bad.off, bad.n, nil); code != errInvalid {
			t.Errorf("%+v: %d", bad, code)
		}
	}
	if bytes.Contains(d.kept, []byte("w")) {
		t.Fatal("durable without a flush")
	}
	if code := c.ask(cmdFlush, 0, 0, 0, nil); code != 0 || !bytes.Contains(d.kept, []byte("w")) {
		t.Fatal("not durable after a flush")
	}
	if code := c.ask(cmdWrite, flagFUA, 4096, 512, page('f', 512)); code != 0 || d.kept[4096] != 'f' {
		t.Fatal("FUA")
	}
	d.off()
	c.put(uint32(askMagic), uint16(0), uint16(cmdFlush), uint64(1), uint64(0), uint32(0))
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("an answer without power")
	}
}
