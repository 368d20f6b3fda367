package main

import (
	"bufio"
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// cell is one of the table: lines of a sale, callers at once.
type cell struct{ lines, callers int }

// catalogue is a CSV of itemCount articles.
func catalogue() []byte {
	var b bytes.Buffer
	b.WriteString("code,description,department,unit,price,tax\n")
	for i := range itemCount {
		fmt.Fprintf(&b, "%d,Article %d,Department %d,pc,%d.%02d,%s\n", 100_000+i, i, i%20, 1+i%50, i%100, []string{"A", "B"}[i%2])
	}
	return b.Bytes()
}

// codes draws articles as a shop sells them: a few of them most of the time.
type codes struct{ z *rand.Zipf }

func newCodes(r *rand.Rand) codes { return codes{rand.NewZipf(r, 1.1, 10, itemCount-1)} }

// next is the code of one. The popular ones are spread over the whole catalogue.
func (c codes) next() string {
	const step = 61_803 // and itemCount have no common factor
	return strconv.FormatUint(100_000+c.z.Uint64()*step%itemCount, 10)
}

// bodies are sales of so many lines.
func bodies(r *rand.Rand, lines int) (list []string) {
	from := newCodes(r)
	for range 256 {
		var b strings.Builder
		b.WriteString(`{"operator":"7","lines":[`)
		for i := range lines {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"item":"%s"`, from.next())
			if n := r.IntN(10); n > 7 {
				fmt.Fprintf(&b, `,"quantity":%d`, n-6)
			}
			b.WriteByte('}')
		}
		b.WriteString(`],"tenders":[{"kind":"cash","amount":500000}]}`)
		list = append(list, b.String())
	}
	return list
}

// caller is one connection, with as little work of its own as can be: it shares the
// machine with what it measures.
type caller struct {
	conn net.Conn
	r    *bufio.Reader
	head string // of each request, up to the key
	out  []byte
	body []byte
	key  [16]byte
	keys *rand.ChaCha8
}

func (s *server) dial(ctx context.Context) (*caller, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", fmt.Sprint("127.0.0.1:", s.port))
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		conn.SetDeadline(end)
	}
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	return &caller{conn: conn, r: bufio.NewReaderSize(conn, 16<<10), keys: rand.NewChaCha8(seed),
		head: " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + s.token + "\r\nContent-Type: application/json\r\n"}, nil
}

// call sends a request with a fresh key and reads the answer, whose body is valid until
// the next call.
func (c *caller) call(method, path, body string) (status int, answer []byte, err error) {
	c.keys.Read(c.key[:])
	b := append(append(append(append(c.out[:0], method...), ' '), path...), c.head...)
	if method == "POST" {
		b = hex.AppendEncode(append(b, "Idempotency-Key: "...), c.key[:])
		b = append(strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(body)), 10), "\r\n"...)
	}
	c.out = append(append(b, "\r\n"...), body...)
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, nil, err
	}
	return c.answer()
}

func (c *caller) answer() (status int, body []byte, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, fmt.Errorf("no status: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, err
	}
	length := 0
	for {
		if line, err = c.r.ReadSlice('\n'); err != nil {
			return 0, nil, err
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, nil, err
			}
		}
	}
	c.body = slices.Grow(c.body[:0], length)[:length]
	_, err = io.ReadFull(c.r, c.body)
	return status, c.body, err
}

// times are what calls took.
type times []time.Duration

// at is the time that this share of them kept to, in microseconds. times are sorted.
func (t times) at(share float64) float64 {
	if len(t) == 0 {
		return 0
	}
	return float64(t[min(len(t)-1, int(share*float64(len(t))))].Nanoseconds()) / 1000
}

// together has callers do one thing after the other until long has passed, each on a
// connection of its own.
func (s *server) together(ctx context.Context, callers int, long time.Duration, one func(c *caller, n int) error) (times, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, long+30*time.Second)
	defer cancel()
	all, errs := make([]times, callers), make([]error, callers)
	connections := make([]*caller, callers)
	for i := range connections {
		c, err := s.dial(ctx)
		if err != nil {
			return nil, 0, err
		}
		defer c.conn.Close()
		connections[i] = c
	}
	var g sync.WaitGroup
	begun := time.Now()
	for i, c := range connections {
		g.Go(func() {
			for n := i; ; n += callers {
				from := time.Now()
				if from.Sub(begun) >= long || ctx.Err() != nil {
					return
				}
				if errs[i] = one(c, n); errs[i] != nil {
					return
				}
				all[i] = append(all[i], time.Since(from))
			}
		})
	}
	g.Wait()
	took := time.Since(begun)
	for _, err := range errs {
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	sorted := slices.Concat(all...)
	slices.Sort(sorted)
	return sorted, took, ctx.Err()
}

// want turns another answer than the expected one into an error.
func want(expected, status int, body []byte, err error) error {
	if err == nil && status != expected {
		err = fmt.Errorf("status %d: %.300s", status, body)
	}
	return err
}
