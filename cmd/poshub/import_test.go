package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
	"posd/sync/hub"
	"posd/sync/ledger/pgtest"
	"posd/sync/uplink"
	"posd/sync/wire"
)

// till is a terminal's journal.
type till struct {
	t   *testing.T
	dir string
	j   *journal.Journal

	names []string // of its events, in order
}

type text string

func (b text) AppendRecord(dst []byte, _ uint64) ([]byte, error) { return append(dst, b...), nil }

func newTill(t *testing.T) *till {
	k := &till{t: t, dir: filepath.Join(t.TempDir(), "data", "journal")}
	if err := os.MkdirAll(filepath.Dir(k.dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Create(k.dir, journal.CreateOptions{Identity: journal.Identity{Store: "s1", Terminal: "t1"}, SegmentSize: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	k.open()
	return k
}

func (k *till) open() {
	var err error
	if k.j, err = journal.Open(k.dir, journal.Options{SegmentSize: 1 << 20}); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { k.j.Close() })
}

// sell makes n sales, of which no two are alike.
func (k *till) sell(n int) {
	k.t.Helper()
	var first, seq uint64
	for i := range n {
		fill := make([]byte, 500)
		for j := range fill {
			fill[j] = byte(rand.IntN(256))
		}
		var err error
		if seq, err = k.j.Append(event.RecordType, journal.Durable, 1200, text(fmt.Sprintf(`{"v":1,"type":"sale.completed","time":"2026-11-21T09:30:00.123Z","data":{"fill":"%x"}}`, fill))); err != nil {
			k.t.Fatal(err)
		}
		if i == 0 {
			first = seq
		}
	}
	if err := k.j.Wait(context.Background(), seq); err != nil {
		k.t.Fatal(err)
	}
	r, err := k.j.Reader(first)
	if err != nil {
		k.t.Fatal(err)
	}
	defer r.Close()
	for rec := (chain.Record{}); rec.Seq < seq; {
		if rec, err = r.Next(); err != nil {
			k.t.Fatal(err)
		}
		h, err := k.j.Head(rec.Seq)
		if err != nil {
			k.t.Fatal(err)
		}
		if rec.Type == event.RecordType {
			k.names = append(k.names, fmt.Sprintf("%s:%d:%s", k.j.ID(), rec.Seq, h))
		}
	}
}

// dead is the till's data folder as it is found after its end: the journal was not closed.
func (k *till) dead() string {
	k.t.Helper()
	dir := filepath.Join(k.t.TempDir(), "disk")
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(k.dir))); err != nil {
		k.t.Fatal(err)
	}
	return dir
}

func (o *office) ship(k *till) (stop func()) {
	u, err := uplink.New(uplink.Options{Journal: k.j, URLs: []string{o.h.NATSURL()}, Store: "s1", Terminal: "t1",
		TokenFile: filepath.Join(o.dir, "nats.token"), StatePath: filepath.Join(o.t.TempDir(), "uplink.state")})
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); u.Run(ctx) }()
	stop = func() { cancel(); <-done }
	o.t.Cleanup(stop)
	return stop
}

func onEachStore(t *testing.T, run func(t *testing.T, o hub.Options)) {
	t.Run("bbolt", func(t *testing.T) { run(t, hub.Options{}) })
	t.Run("postgresql", func(t *testing.T) { run(t, hub.Options{LedgerURL: pgtest.Start(t).Database(t)}) })
}

func (o *office) imports(code int, says string, dir string, more ...string) {
	o.t.Helper()
	got, out, errs := o.run(append([]string{"import", dir, "--by", "ada", "--why", "the till burnt"}, more...)...)
	if got != code || !regexp.MustCompile(says).MatchString(out+errs) {
		o.t.Errorf("import %s %v: exit %d, want %d and %q: %s%s", dir, more, got, code, says, out, errs)
	}
}

// TestImport: half of a till's journal was shipped when it died. Its folder brings the rest,
// once however often it is imported, and while the till still ships.
func TestImport(t *testing.T) {
	onEachStore(t, func(t *testing.T, opt hub.Options) {
		o := newOffice(t, opt)
		k := newTill(t)
		k.sell(300)
		stop := o.ship(k)
		o.eventually("half is there", func() bool { return len(o.ledger()) == 300 })
		stop()
		k.sell(1200)
		disk := k.dead()
		o.imports(0, `1200 events took effect`, disk)
		o.has(k.names)
		o.imports(0, ` 0 records read, 0 events took effect`, disk)
		o.imports(0, ` 0 records read, 0 events took effect`, filepath.Join(disk, "journal"))
		o.has(k.names)
		// It was not dead: it ships all of it, and more, while another copy is imported.
		k.sell(1200)
		disk = k.dead()
		stop = o.ship(k)
		o.imports(0, `took effect`, disk)
		k.sell(50)
		o.eventually("all is settled", func() bool { _, at := k.settled(o); return at })
		stop()
		o.has(k.names)
		if out := o.says(`import `, "audit"); !strings.Contains(out, "the till burnt") {
			t.Errorf("%s", out)
		}
	})
}

func (k *till) settled(o *office) (last uint64, all bool) {
	floor, _ := k.j.Floor()
	c := client{hub: o.url, data: o.dir}
	var terminals []struct {
		Journal string
		Last    uint64
	}
	if err := c.get(o.t.Context(), "/v1/terminals", nil, &terminals); err != nil {
		o.t.Fatal(err)
	}
	for _, t := range terminals {
		if t.Journal == k.j.ID().String() {
			last = t.Last
		}
	}
	return last, last == floor
}

// TestImportKilled: an import that is killed between two requests goes on.
func TestImportKilled(t *testing.T) {
	o := newOffice(t, hub.Options{})
	k := newTill(t)
	k.sell(2000)
	disk := k.dead()
	for n := 1; ; n++ {
		ctx, kill := context.WithCancel(t.Context())
		i := importing{client: client{hub: o.url, data: o.dir}, decider: decider{hub.Decider{By: "a", Why: "b"}}, dir: disk, stdout: os.Stderr}
		i.batchBytes = 300 << 10
		i.limit = func(posts int) {
			if posts > 2 {
				kill()
			}
		}
		err := i.run(ctx)
		kill()
		if err == nil {
			if n < 4 {
				t.Errorf("it took only %d runs: nothing was interrupted", n)
			}
			break
		}
		if n > 1000 {
			t.Fatal(err)
		}
	}
	o.has(k.names)
}

// TestImportLost: what is missing ends an import, unless it is declared lost; what turns
// up later waits for a person, and then takes effect once.
func TestImportLost(t *testing.T) {
	onEachStore(t, func(t *testing.T, opt hub.Options) {
		o := newOffice(t, opt)
		k := newTill(t)
		k.sell(3000)
		whole, disk := k.dead(), k.dead()
		names := k.names
		files, err := filepath.Glob(filepath.Join(disk, "journal", "*"))
		if err != nil {
			t.Fatal(err)
		}
		files = slices.DeleteFunc(files, func(f string) bool { i, err := os.Stat(f); return err != nil || i.Size() < 1<<20 })
		if len(files) < 3 {
			t.Fatalf("only %v", files)
		}
		if err := os.Remove(files[1]); err != nil {
			t.Fatal(err)
		}
		o.imports(1, `neither in the ledger nor in`, disk)
		before := len(o.ledger())
		if before == 0 {
			t.Error("what stands before the gap is not in the ledger")
		}
		o.imports(exitIncomplete, `records were declared lost`, disk, "--declare-lost")
		after := len(o.ledger())
		if after <= before || after >= len(names) {
			t.Errorf("%d events, then %d, of %d", before, after, len(names))
		}
		o.imports(exitIncomplete, ` 0 events took effect`, disk, "--declare-lost")
		if n := len(o.ledger()); n != after {
			t.Errorf("%d events, were %d", n, after)
		}
		// A better copy is found.
		o.imports(exitIncomplete, `had been declared lost`, whole)
		if n := len(o.ledger()); n != after {
			t.Errorf("%d events before anybody decided, were %d", n, after)
		}
		key := strings.Fields(strings.Split(o.says("hole", "quarantine", "list"), "\n")[1])[0]
		o.says("accepted", "quarantine", "accept", "--all", key, "--why", "found it")
		o.eventually("all is published", func() bool { return len(o.published()) >= len(names) })
		got := o.published()
		slices.Sort(got)
		want := slices.Sorted(slices.Values(names))
		if !slices.Equal(got, want) {
			t.Errorf("%d events are published, want %d", len(got), len(want))
		}
		if n := len(o.ledger()); n != len(names) {
			t.Errorf("%d events, want %d", n, len(names))
		}
		o.imports(0, ` 0 events took effect`, whole)
	})
}

// TestImportRefused: what does not prove itself does not get in.
func TestImportRefused(t *testing.T) {
	o := newOffice(t, hub.Options{})
	k := newTill(t)
	k.sell(20)
	disk := k.dead()
	o.imports(0, `20 events took effect`, disk)
	// Another history under the same id.
	twin := &till{t: t, dir: filepath.Join(disk, "journal")}
	twin.open()
	twin.sell(30)
	k.sell(10)
	o.imports(0, `10 events took effect`, k.dead())
	o.imports(exitIncomplete, `set aside for fork`, twin.dead())
	if n := len(o.ledger()); n != 30 {
		t.Errorf("%d events, want 30", n)
	}
	o.imports(1, "no journal", t.TempDir())
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "name one folder", []string{"import"}},
		{exitUsage, "--why is missing", []string{"import", disk}},
	} {
		if code, _, errs := o.run(c.args...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: exit %d, %s", c.args, code, errs)
		}
	}
	// The hub does not trust the command either.
	c := client{hub: o.url, data: o.dir}
	var e wire.Encoder
	hole, err := e.Encode(&wire.Parcel{Journal: k.j.ID(), First: 34, Last: 99, Hole: true, Head: chain.Head{1}})
	if err != nil {
		t.Fatal(err)
	}
	base := "/v1/import?by=a&why=b&store=s1&terminal=t1&journal="
	for _, r := range []struct{ path, body, says string }{
		{base + k.j.ID().String(), string(hub.ImportBody([][]byte{hole})), "declare_lost"},
		{base + strings.Repeat("0", 32), string(hub.ImportBody([][]byte{hole})), "on the subject of journal"},
		{base + k.j.ID().String(), string(hub.ImportBody([][]byte{[]byte("rubbish")})), "not a valid parcel"},
		{base + k.j.ID().String(), "\xff\xff\xff\xffx", "at most"},
		{base + k.j.ID().String(), "\x09\x00\x00\x00x", "cut short"},
		{base + k.j.ID().String() + "&shard=-1", "", "shard"},
		{base + "x", "", "journal"},
		{strings.Replace(base, "s1", "s.1", 1) + k.j.ID().String(), "", "store and terminal"},
		{strings.Replace(base, "why=b", "", 1) + k.j.ID().String(), "", "why"},
	} {
		if _, err := c.do(t.Context(), "POST", r.path, "", strings.NewReader(r.body)); err == nil || !strings.Contains(err.Error(), r.says) {
			t.Errorf("%s: %v, want %q", r.path, err, r.says)
		}
	}
	if n := len(o.ledger()); n != 30 {
		t.Errorf("%d events, want 30", n)
	}
}
