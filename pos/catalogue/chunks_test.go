package catalogue

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// office is head office: it splits, signs, and hands out chunks.
type office struct {
	t      *testing.T
	public ed25519.PublicKey
	key    ed25519.PrivateKey
	chunks map[[sha256.Size]byte][]byte
	last   string // file of the newest publication
	asked  int
	spoil  func(n int, b []byte) ([]byte, error) // what happens to the n-th chunk on its way
}

func newOffice(t *testing.T) *office {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &office{t: t, public: public, key: key, chunks: map[[sha256.Size]byte][]byte{}}
}

// publish imports a file, splits what comes of it, signs a manifest, and reads it as a
// terminal does. change may alter what it says.
func (o *office) publish(serial uint64, text string, change ...func(*Manifest)) *Manifest {
	o.t.Helper()
	m := &Manifest{Serial: serial, Version: fmt.Sprint("v", serial), Currency: "EUR"}
	path := filepath.Join(o.t.TempDir(), "c.db")
	o.file(path, m, text)
	f, err := os.Open(path)
	if err != nil {
		o.t.Fatal(err)
	}
	defer f.Close()
	m.Chunks, err = Split(f, func(c Chunk, b []byte) error {
		o.chunks[c.Sum] = bytes.Clone(b)
		return nil
	})
	if err != nil {
		o.t.Fatal(err)
	}
	for _, c := range change {
		c(m)
	}
	b, err := m.Sign(nil, o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	m, err = OpenManifest(b, o.public)
	if err != nil {
		o.t.Fatal(err)
	}
	return m
}

// file makes the file of a publication: of the one before it by what differs, if it can.
func (o *office) file(path string, m *Manifest, text string) {
	o.t.Helper()
	opt := ImportOptions{Currency: cents, Version: m.Version, Serial: m.Serial}
	_, err := Import(context.Background(), strings.NewReader(text), path, opt)
	if o.last != "" && err == nil {
		var delta bytes.Buffer
		if _, _, err = Diff(o.last, path, &delta, cents); err == nil {
			b, bad := os.ReadFile(o.last)
			opt.Delta = true
			if err = errors.Join(bad, os.WriteFile(path, b, 0o600)); err == nil {
				_, err = Import(context.Background(), &delta, path, opt)
			}
		}
	}
	if err != nil {
		o.t.Fatal(err)
	}
	o.last = path
}

func (o *office) get(_ context.Context, sum [sha256.Size]byte) ([]byte, error) {
	o.asked++
	b, ok := o.chunks[sum]
	if !ok {
		return nil, errors.New("no such chunk")
	}
	if o.spoil != nil {
		return o.spoil(o.asked, b)
	}
	return b, nil
}

func (o *office) assemble(path string, m *Manifest) (ImportReport, error) {
	o.asked = 0
	return Assemble(context.Background(), path, m, o.get, euro)
}

// shop is a file of so many items whose prices come from seed.
func shop(items, seed int) string {
	var b strings.Builder
	b.WriteString(header)
	for i := range items {
		price := i
		if i%500 == 0 {
			price += seed
		}
		fmt.Fprintf(&b, "%d,Item number %d of the shop,dept%d,pc,%d.%02d,A\n", i, i, i%40, price/100, price%100)
	}
	return b.String()
}

func TestSplit(t *testing.T) {
	text := shop(40_000, 1)
	var whole bytes.Buffer
	sizes := map[int]int{}
	chunks, err := Split(strings.NewReader(text), func(c Chunk, b []byte) error {
		whole.Write(b)
		sizes[c.Size]++
		if sha256.Sum256(b) != c.Sum || len(b) != c.Size || c.Size > MaxChunk {
			t.Errorf("chunk of %d bytes", c.Size)
		}
		return nil
	})
	if err != nil || whole.String() != text || len(sizes) < 10 {
		t.Fatalf("%d chunks of %d sizes, %v", len(chunks), len(sizes), err)
	}
	slow, err := Split(iotestOneByte{strings.NewReader(text)}, func(Chunk, []byte) error { return nil })
	if err != nil || !slices.Equal(slow, chunks) {
		t.Errorf("a slow reader gives other chunks: %v", err)
	}
	same := 0
	other, err := Split(strings.NewReader(text[:50]+"one line more,\n"+text[50:]), func(Chunk, []byte) error { return nil })
	for _, c := range other {
		if slices.Contains(chunks, c) {
			same++
		}
	}
	if err != nil || len(chunks)-same > 3 {
		t.Errorf("one line changed %d of %d chunks, %v", len(chunks)-same, len(chunks), err)
	}
	if none, err := Split(strings.NewReader(""), nil); err != nil || len(none) != 0 {
		t.Errorf("%v %v", none, err)
	}
	if flat, err := Split(strings.NewReader(strings.Repeat("x", 300<<10)), func(Chunk, []byte) error { return nil }); err != nil || len(flat) != 3 {
		t.Errorf("%d chunks, %v", len(flat), err)
	}
}

// iotestOneByte gives one byte at a time.
type iotestOneByte struct{ r io.Reader }

func (r iotestOneByte) Read(p []byte) (int, error) { return r.r.Read(p[:min(1, len(p))]) }

// From nothing to the next: each is what head office published, and of the second only
// the changed chunks are fetched.
func TestAssemble(t *testing.T) {
	o := newOffice(t)
	path := filepath.Join(t.TempDir(), "catalogue.db")
	c := open(t, path)
	first := o.publish(10, shop(20_000, 1))
	r, err := o.assemble(path, first)
	if err != nil || r.Items != 20_000 || r.Version != "v10" || r.Taxes["A"] != 20_000 || o.asked != len(first.Chunks) || c.Version() != "v10" || c.Len() != 20_000 {
		t.Fatalf("%+v %v, %d of %d chunks", r, err, o.asked, len(first.Chunks))
	}
	if _, err := o.assemble(path, first); !errors.Is(err, ErrCurrent) || o.asked != 0 {
		t.Errorf("again: %v, %d asked", err, o.asked)
	}
	changed := strings.Replace(shop(20_000, 1), "Item number 700 of", "Other thing 700 of", 1)
	if r, err = o.assemble(path, o.publish(11, changed)); err != nil || o.asked > len(first.Chunks)/4 || o.asked == 0 {
		t.Errorf("%+v %v, %d of %d chunks fetched for one line", r, err, o.asked, len(first.Chunks))
	}
	c.next.Store(0)
	if it, _, _ := c.Lookup("700"); !strings.HasPrefix(it.Description, "Other") {
		t.Errorf("%+v", it)
	}
	if found, _, err := c.Find("other thing", 10); err != nil || len(found) != 1 {
		t.Errorf("%+v %v", found, err)
	}
	other := func(m *Manifest) { m.Version = "another" }
	for name, tc := range map[string]struct {
		m     *Manifest
		want  error
		asked bool
	}{
		"an old one":          {first, ErrOld, false},
		"another currency":    {o.publish(14, header+"1,a,,,1,A\n", func(m *Manifest) { m.Currency = "USD" }), ErrManifest, false},
		"another version":     {o.publish(15, header+"1,a,,,1,A\n", other), ErrManifest, true},
		"another number":      {o.publish(16, header+"1,a,,,1,A\n", func(m *Manifest) { m.Serial = 17 }), ErrManifest, true},
		"an unknown tax code": {o.publish(18, header+"1,a,,,1,A\n2,b,,,1,X\n"), ErrTaxes, true},
		"no catalogue":        {o.signed(19, strings.Repeat("no catalogue ", 5000)), ErrCorrupt, true},
		"cut short":           {o.publish(20, shop(20_000, 1), func(m *Manifest) { m.Chunks = m.Chunks[:len(m.Chunks)-1] }), ErrCorrupt, true},
	} {
		if _, err := o.assemble(path, tc.m); !errors.Is(err, tc.want) || (o.asked > 0) != tc.asked {
			t.Errorf("%s: %v, %d asked", name, err, o.asked)
		}
	}
	if c.next.Store(0); c.Version() != "v11" || c.Err() != nil {
		t.Errorf("in use is %s, %v", c.Version(), c.Err())
	}
	importText(t, path, header+"1,by hand,,,1,A\n")
	if _, err := o.assemble(path, first); !errors.Is(err, ErrOld) {
		t.Errorf("an old one after an import by hand: %v", err)
	}
	if _, err := o.assemble(path, o.publish(21, header+"1,again,,,1,A\n")); err != nil {
		t.Error(err)
	}
}

// Between two chunks, both when they come and when the file is made, sales have their turn;
// and who ends it is heard there.
func TestAssembleGivesWay(t *testing.T) {
	o := newOffice(t)
	m := o.publish(1, shop(20_000, 1))
	turns := 0
	opt := euro
	opt.Pace = func() { turns++ }
	if _, err := Assemble(context.Background(), filepath.Join(t.TempDir(), "c.db"), m, o.get, opt); err != nil || turns != 2*len(m.Chunks) {
		t.Errorf("%d turns for %d chunks, %v", turns, len(m.Chunks), err)
	}
	for _, end := range []int{1, len(m.Chunks) / 2, len(m.Chunks) + 1, 2*len(m.Chunks) - 1} {
		path := filepath.Join(t.TempDir(), "c.db")
		ctx, cancel := context.WithCancel(context.Background())
		turns = 0
		opt.Pace = func() {
			if turns++; turns == end {
				cancel()
			}
		}
		get := func(ctx context.Context, sum [sha256.Size]byte) ([]byte, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return o.get(ctx, sum)
		}
		if _, err := Assemble(ctx, path, m, get, opt); !errors.Is(err, context.Canceled) || turns > end+1 {
			t.Errorf("ended at turn %d: %v after %d", end, err, turns)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("ended at turn %d: there is a catalogue, %v", end, err)
		}
	}
}

// signed is a manifest of any bytes.
func (o *office) signed(serial uint64, text string) *Manifest {
	m := &Manifest{Serial: serial, Version: fmt.Sprint("v", serial), Currency: "EUR"}
	m.Chunks, _ = Split(strings.NewReader(text), func(c Chunk, b []byte) error { o.chunks[c.Sum] = bytes.Clone(b); return nil })
	return m
}

// Cut off after each chunk, it goes on where it was; files that a power cut has torn,
// emptied or filled with rubbish are fetched again; and what does not belong there goes.
func TestAssembleResumes(t *testing.T) {
	o := newOffice(t)
	path := filepath.Join(t.TempDir(), "catalogue.db")
	m := o.publish(1, shop(20_000, 1))
	if len(m.Chunks) < 8 {
		t.Fatalf("%d chunks", len(m.Chunks))
	}
	lost := errors.New("the line is cut")
	for i := range m.Chunks {
		o.spoil = func(n int, b []byte) ([]byte, error) {
			if n > 1 {
				return nil, lost
			}
			return b, nil
		}
		_, err := o.assemble(path, m)
		if last := i == len(m.Chunks)-1; last != (err == nil) || !last && !errors.Is(err, lost) {
			t.Fatalf("chunk %d: %v", i, err)
		}
	}
	o.spoil = nil
	if it, ok, err := open(t, path).Lookup("19999"); !ok || err != nil || it.Price != 19999 {
		t.Errorf("%+v %v %v", it, ok, err)
	}
	next := o.publish(2, shop(20_000, 1))
	var both []Chunk
	for _, c := range next.Chunks {
		if slices.Contains(m.Chunks, c) {
			both = append(both, c)
		}
	}
	name := func(i int) string { return filepath.Join(path+".chunks", fmt.Sprintf("%x", both[i].Sum)) }
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Truncate(name(0), 100))
	must(os.Truncate(name(1), 0))
	must(os.WriteFile(name(2), bytes.Repeat([]byte{7}, both[2].Size), 0o600))
	must(os.WriteFile(name(3), bytes.Repeat([]byte{7}, 3*MaxChunk), 0o600))
	must(os.Remove(name(4)))
	must(os.WriteFile(name(5)+".new", []byte("half"), 0o600))
	must(os.Mkdir(filepath.Join(path+".chunks", "stray"), 0o700))
	fresh := len(next.Chunks) - len(both)
	if _, err := o.assemble(path, next); err != nil || o.asked != 5+fresh || fresh > 3 {
		t.Errorf("%v, %d fetched, %d of them new", err, o.asked, fresh)
	}
	if names, _ := filepath.Glob(path + ".chunks/*"); len(names) != len(next.Chunks) {
		t.Errorf("%d files of %d chunks", len(names), len(next.Chunks))
	}
}

// What is not what the manifest names never reaches the catalogue.
func TestAssembleRefusesOtherChunks(t *testing.T) {
	o := newOffice(t)
	path := filepath.Join(t.TempDir(), "catalogue.db")
	importText(t, path, header+"1,old,,,1,A\n")
	m := o.publish(1, shop(20_000, 1))
	for name, spoil := range map[string]func(n int, b []byte) ([]byte, error){
		"flipped":  func(_ int, b []byte) ([]byte, error) { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b, nil },
		"short":    func(_ int, b []byte) ([]byte, error) { return b[:len(b)-1], nil },
		"long":     func(_ int, b []byte) ([]byte, error) { return append(bytes.Clone(b), 'x'), nil },
		"empty":    func(int, []byte) ([]byte, error) { return nil, nil },
		"exchange": func(n int, _ []byte) ([]byte, error) { return o.chunks[m.Chunks[n%len(m.Chunks)].Sum], nil },
	} {
		o.spoil = spoil
		if _, err := o.assemble(path, m); !errors.Is(err, ErrChunk) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if it, _, err := open(t, path).Lookup("1"); err != nil || it.Description != "old" {
		t.Errorf("%+v %v", it, err)
	}
	o.spoil = nil
	busy := &chunkStore{dir: path + ".chunks"}
	if err := busy.prepare(m); err != nil {
		t.Fatal(err)
	}
	if _, err := o.assemble(path, m); !errors.Is(err, ErrBusy) {
		t.Errorf("two at once: %v", err)
	}
	busy.close()
	if _, err := o.assemble(path, m); err != nil {
		t.Error(err)
	}
}

// Every changed byte of a manifest, and another key, is noticed.
func TestManifestIsSigned(t *testing.T) {
	o := newOffice(t)
	m := o.publish(7, shop(3000, 1))
	b, err := m.Sign(nil, o.key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenManifest(b, o.public)
	if err != nil || again.Serial != 7 || again.Version != "v7" || again.Currency != "EUR" || !slices.Equal(again.Chunks, m.Chunks) {
		t.Fatalf("%+v %v", again, err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= byte(1 + rand.IntN(255))
		if m, err := OpenManifest(bad, o.public); err == nil && !bytes.EqualFold(bad[:sigDigits], b[:sigDigits]) {
			t.Fatalf("byte %d: %+v", i, m)
		}
	}
	if _, err := OpenManifest(b, newOffice(t).public); !errors.Is(err, ErrSignature) {
		t.Errorf("another key: %v", err)
	}
	if _, err := OpenManifest(b, nil); !errors.Is(err, ErrSignature) {
		t.Errorf("no key: %v", err)
	}
	for name, change := range map[string]func(*Manifest){
		"no serial":      func(m *Manifest) { m.Serial = 0 },
		"no version":     func(m *Manifest) { m.Version = "" },
		"quotes":         func(m *Manifest) { m.Version = `a"b` },
		"no chunks":      func(m *Manifest) { m.Chunks = nil },
		"large chunk":    func(m *Manifest) { m.Chunks = []Chunk{{Size: MaxChunk + 1}} },
		"currency":       func(m *Manifest) { m.Currency = "EURO" },
		"too much":       func(m *Manifest) { m.Chunks = slices.Repeat([]Chunk{{Size: MaxChunk}}, 2049) },
		"too many lines": func(m *Manifest) { m.Chunks = slices.Repeat([]Chunk{{Size: 1}}, 4000) },
	} {
		bad := *m
		change(&bad)
		if _, err := bad.Sign(nil, o.key); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzManifest: what the parser takes is in bounds, and is the same when it is written
// and read again.
func FuzzManifest(f *testing.F) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	m := &Manifest{Serial: 7, Version: "v7", Currency: "EUR", Chunks: []Chunk{{Size: 5}, {Size: MaxChunk}}}
	b, err := m.Sign(nil, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[sigDigits+1:])
	f.Add([]byte(`{"v":1,"serial":1,"version":"a","currency":"EUR","delta":false}` + "\n"))
	f.Add([]byte(`{"v":2}` + "\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		m, err := parseManifest(said)
		if err != nil {
			if !errors.Is(err, ErrManifest) {
				t.Error(err)
			}
			return
		}
		b, err := m.Sign(nil, key)
		if err != nil {
			if len(said) < MaxManifest/2 {
				t.Error(err)
			}
			return
		}
		again, err := OpenManifest(b, key.Public().(ed25519.PublicKey))
		if err != nil || !slices.Equal(again.Chunks, m.Chunks) || again.Version != m.Version || again.Serial != m.Serial {
			t.Errorf("%+v became %+v %v", m, again, err)
		}
	})
}
