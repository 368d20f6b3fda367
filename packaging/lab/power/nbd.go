package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// server offers one disk over the NBD protocol (fixed newstyle, simple replies) on a
// unix socket. Reads and writes take effect one by one, in the order in which they
// came; a flush takes its time, and others go on beside it.
type server struct {
	ln    net.Listener
	path  string
	delay func() time.Duration // of a flush, as flash takes time
	wg    sync.WaitGroup

	mu   sync.Mutex
	disk *disk
	conn net.Conn
	errs []error
}

// The protocol's numbers, as the NBD project's proto.md has them.
const (
	nbdMagic    = 0x4e42444d41474943 // "NBDMAGIC"
	optionMagic = 0x49484156454f5054 // "IHAVEOPT"
	replyMagic  = 0x3e889045565a9
	askMagic    = 0x25609513
	answerMagic = 0x67446698

	fixedNewstyle = 1
	noZeroes      = 2

	optExport = 1
	optAbort  = 2
	optList   = 3
	optInfo   = 6
	optGo     = 7

	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repUnsupported = 1<<31 + 1

	// has flags, FLUSH, FUA, TRIM, WRITE_ZEROES: a disk with a write cache
	exportFlags = 1 | 4 | 8 | 32 | 64

	cmdRead   = 0
	cmdWrite  = 1
	cmdEnd    = 2
	cmdFlush  = 3
	cmdTrim   = 4
	cmdZeroes = 6

	flagFUA = 1

	errInvalid = 22
	maxLength  = 32 << 20
)

func serve(path string, delay func() time.Duration) (*server, error) {
	os.Remove(path)
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	s := &server{ln: ln, path: path, delay: delay}
	s.wg.Go(s.accept)
	return s, nil
}

// put exchanges the disk. There must be no guest on the old one.
func (s *server) put(d *disk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk = d
}

// close also says what went wrong meanwhile.
func (s *server) close() error {
	s.ln.Close()
	s.mu.Lock()
	if s.conn != nil {
		s.conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return errors.Join(s.errs...)
}

func (s *server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		d := s.disk
		s.conn = c
		s.mu.Unlock()
		s.wg.Go(func() {
			defer c.Close()
			if err := s.talk(c, d); err != nil {
				s.mu.Lock()
				s.errs = append(s.errs, err)
				s.mu.Unlock()
			}
		})
	}
}

// talk serves one client to its end. That a client goes away is how guests end.
func (s *server) talk(c net.Conn, d *disk) error {
	session := &session{r: bufio.NewReaderSize(c, 1<<16), c: c, d: d, delay: s.delay}
	err := session.negotiate()
	if err == nil {
		err = session.transmit()
		session.flushes.Wait()
	}
	var gone *net.OpError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &gone) {
		return nil
	}
	return err
}

type session struct {
	r       *bufio.Reader
	c       net.Conn
	d       *disk
	delay   func() time.Duration
	sending sync.Mutex
	flushes sync.WaitGroup
}

var be = binary.BigEndian

func (s *session) send(b []byte) error {
	_, err := s.c.Write(b)
	return err
}

func (s *session) negotiate() error {
	hello := be.AppendUint64(nil, nbdMagic)
	hello = be.AppendUint64(hello, optionMagic)
	if err := s.send(be.AppendUint16(hello, fixedNewstyle|noZeroes)); err != nil {
		return err
	}
	var flags uint32
	if err := binary.Read(s.r, be, &flags); err != nil {
		return err
	}
	for {
		var o struct {
			Magic       uint64
			Option, Len uint32
		}
		if err := binary.Read(s.r, be, &o); err != nil {
			return err
		}
		if o.Magic != optionMagic || o.Len > 1<<16 {
			return fmt.Errorf("nbd: not an option: %x", o)
		}
		if _, err := s.r.Discard(int(o.Len)); err != nil { // the export's name: there is one
			return err
		}
		over, err := s.option(o.Option, flags&noZeroes == 0)
		if over || err != nil {
			return err
		}
	}
}

// option answers one option; over means that transmission follows.
func (s *session) option(option uint32, zeroes bool) (over bool, err error) {
	size := uint64(len(s.d.now))
	reply := func(kind uint32, data []byte) error {
		b := be.AppendUint64(nil, replyMagic)
		b = be.AppendUint32(b, option)
		b = be.AppendUint32(b, kind)
		b = be.AppendUint32(b, uint32(len(data)))
		return s.send(append(b, data...))
	}
	switch option {
	case optExport:
		b := be.AppendUint16(be.AppendUint64(nil, size), exportFlags)
		if zeroes {
			b = append(b, make([]byte, 124)...)
		}
		return true, s.send(b)
	case optInfo, optGo:
		export := be.AppendUint16(nil, 0)
		export = be.AppendUint16(be.AppendUint64(export, size), exportFlags)
		blocks := be.AppendUint16(nil, 3)
		for _, n := range []uint32{512, 4096, maxLength} {
			blocks = be.AppendUint32(blocks, n)
		}
		err := errors.Join(reply(repInfo, export), reply(repInfo, blocks), reply(repAck, nil))
		return option == optGo, err
	case optList:
		return false, errors.Join(reply(repServer, be.AppendUint32(nil, 0)), reply(repAck, nil))
	case optAbort:
		return false, errors.Join(reply(repAck, nil), io.EOF)
	}
	return false, reply(repUnsupported, nil)
}

func (s *session) transmit() error {
	for {
		var q struct {
			Magic       uint32
			Flags, Type uint16
			Handle      uint64
			Off         uint64
			Len         uint32
		}
		if err := binary.Read(s.r, be, &q); err != nil {
			return err
		}
		if q.Magic != askMagic || q.Len > maxLength && q.Type <= cmdWrite {
			return fmt.Errorf("nbd: not a request: %x", q)
		}
		var data []byte
		if q.Type == cmdWrite {
			data = make([]byte, q.Len)
			if _, err := io.ReadFull(s.r, data); err != nil {
				return err
			}
		}
		if q.Type == cmdEnd {
			return nil
		}
		if q.Type == cmdFlush {
			s.flush(q.Handle)
			continue
		}
		code, out, ok := s.do(q.Type, q.Flags, q.Off, q.Len, data)
		if !ok { // no power: no answer, and none to what else is on its way
			_, err := io.Copy(io.Discard, s.r)
			return err
		}
		if err := s.answer(q.Handle, code, out); err != nil {
			return err
		}
	}
}

func (s *session) answer(handle uint64, code uint32, out []byte) error {
	b := be.AppendUint32(make([]byte, 0, 16+len(out)), answerMagic)
	b = be.AppendUint32(b, code)
	b = append(be.AppendUint64(b, handle), out...)
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.send(b)
}

// flush answers later.
func (s *session) flush(handle uint64) {
	upTo, ok := s.d.flushes()
	if !ok {
		return
	}
	delay := s.delay()
	s.flushes.Go(func() {
		time.Sleep(delay)
		if s.d.flushed(upTo) {
			_ = s.answer(handle, 0, nil) // who does not get it has gone
		}
	})
}

// do carries one request out. ok is false when the power is gone.
func (s *session) do(kind, flags uint16, off uint64, n uint32, data []byte) (code uint32, out []byte, ok bool) {
	size := uint64(len(s.d.now))
	if off > size || uint64(n) > size-off {
		return errInvalid, nil, true
	}
	fua := flags&flagFUA != 0
	switch kind {
	case cmdRead:
		out = make([]byte, n)
		ok = s.d.read(out, int64(off))
	case cmdWrite:
		ok = s.d.write(data, int64(off), fua)
	case cmdTrim, cmdZeroes:
		// What is trimmed reads as zeros here, and until the next flush as either.
		ok = s.d.write(make([]byte, n), int64(off), fua)
	default:
		return errInvalid, nil, true
	}
	return 0, out, ok
}
