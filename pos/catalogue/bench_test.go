package catalogue

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posd/pos/itemcode"
)

const manyItems = 100_000

// gtinOf is the item of that number: an EAN-13.
func gtinOf(i int) string {
	b := fmt.Sprintf("40%010d", i*7)
	for d := '0'; ; d++ {
		if _, ok := itemcode.Normal(b + string(d)); ok {
			return b + string(d)
		}
	}
}

var goods = []string{"Milk", "Bread", "Butter", "Cheese", "Coffee", "Tea", "Water", "Juice", "Apple", "Banana", "Rice", "Pasta", "Flour", "Sugar", "Salt", "Honey"}

// writeMany writes a catalogue of 100,000 items as a supermarket's might be.
func writeMany(w io.Writer) {
	b := bufio.NewWriter(w)
	defer b.Flush()
	b.WriteString(wideHeader)
	for i := range manyItems {
		n := i * 61 % manyItems
		fmt.Fprintf(b, "%s,%s %s brand%d %d g,dept%d,pc,%d.%02d,A,,,,,\n", gtinOf(n), goods[n%16], goods[n/16%16], n%3000, n%40*25, n%40, n/100, n%100)
	}
}

func importMany(t testing.TB, path string) ImportReport {
	t.Helper()
	r, w := io.Pipe()
	go func() {
		writeMany(w)
		w.Close()
	}()
	report, err := Import(context.Background(), r, path, euro)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// BenchmarkLookup is one look-up among 100,000 items: of those that a till sells again
// and again, of any in a file that is in memory, of one in a file that is not (it is
// opened and its pages are read from the device), of a code that is unknown.
func BenchmarkLookup(b *testing.B) {
	path := filepath.Join(b.TempDir(), "c.db")
	report := importMany(b, path)
	rnd := rand.New(rand.NewPCG(1, 1))
	codes := make([]string, manyItems)
	for i := range codes {
		codes[i] = gtinOf(i)
	}
	run := func(name string, code func(i int) string, before func(*Catalogue) *Catalogue, found bool) {
		b.Run(name, func(b *testing.B) {
			c := Open(path)
			defer func() { c.Close() }()
			took := make([]time.Duration, 0, 1<<20)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if before != nil {
					b.StopTimer()
					c = before(c)
					b.StartTimer()
				}
				k := code(i)
				began := time.Now()
				_, ok, err := c.Lookup(k)
				if len(took) < cap(took) {
					took = append(took, time.Since(began))
				}
				if ok != found || err != nil {
					b.Fatal(k, ok, err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
			b.ReportMetric(float64(report.Bytes)/(1<<20), "file-MiB")
		})
	}
	run("popular", func(i int) string { return codes[i%500] }, nil, true)
	run("any", func(int) string { return codes[rnd.IntN(manyItems)] }, nil, true)
	run("cold", func(int) string { return codes[rnd.IntN(manyItems)] }, func(c *Catalogue) *Catalogue {
		c.Close()
		forget(b, path)
		return Open(path)
	}, true)
	run("unknown", func(i int) string { return "5" + codes[i%50][1:12] + "x" }, nil, false)
}

// forget takes the pages of a file out of the kernel's memory.
func forget(t testing.TB, path string) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkFind is a question for ten items by the beginnings of one and two words.
func BenchmarkFind(b *testing.B) {
	path := filepath.Join(b.TempDir(), "c.db")
	importMany(b, path)
	c := Open(path)
	defer c.Close()
	for name, text := range map[string]string{"common": "milk", "rare": "brand2999", "both": "milk brand2", "none": "milk zzz"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := c.Find(text, 10); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkImport is the whole file, and a delta of ten prices.
func BenchmarkImport(b *testing.B) {
	path := filepath.Join(b.TempDir(), "c.db")
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			importMany(b, path)
		}
	})
	b.Run("delta", func(b *testing.B) {
		o := euro
		o.Delta = true
		for i := 0; b.Loop(); i++ {
			var text strings.Builder
			text.WriteString(header)
			for n := range 10 {
				fmt.Fprintf(&text, "%s,Another Milk,dept1,pc,%d.00,A\n", gtinOf(n*9999), i)
			}
			if _, err := Import(context.Background(), strings.NewReader(text.String()), path, o); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// mostAnonymous bounds the memory of its own that a process may have which imports
// 100,000 items beside a catalogue in use. The Go runtime takes some 5 MiB of it.
const mostAnonymous = 20 << 20

// Within the terminal's limit for the Go heap, an import of 100,000 items, a delta,
// look-ups of all of them and questions by name take a bounded memory of their own. A
// child does it, so that no other test's memory counts. The control is a child that
// keeps every item.
func TestMemory(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("takes seconds, and measures memory")
	}
	if path := os.Getenv("CATALOGUE_TEST_MEMORY"); path != "" {
		useMemory(t, path, os.Getenv("CATALOGUE_TEST_KEEP") != "")
		return
	}
	child := func(keep string) int64 {
		c := exec.Command(os.Args[0], "-test.run", "^TestMemory$", "-test.v")
		c.Env = append(os.Environ(), "GOMEMLIMIT=20MiB", "CATALOGUE_TEST_MEMORY="+filepath.Join(t.TempDir(), "c.db"), "CATALOGUE_TEST_KEEP="+keep)
		out, err := c.CombinedOutput()
		_, after, ok := strings.Cut(string(out), "anonymous=")
		n, _, _ := strings.Cut(after, "\n")
		peak, bad := strconv.ParseInt(n, 10, 64)
		if err != nil || !ok || bad != nil {
			t.Fatalf("%v %v\n%s", err, bad, out)
		}
		return peak
	}
	got, control := child(""), child("1")
	t.Logf("at its peak %.1f MiB of its own memory; %.1f MiB with all items kept", float64(got)/(1<<20), float64(control)/(1<<20))
	if got > mostAnonymous {
		t.Errorf("%d bytes, at most %d are allowed", got, mostAnonymous)
	}
	if control <= mostAnonymous {
		t.Errorf("a process that keeps every item takes %d bytes: this test sees nothing", control)
	}
}

func useMemory(t *testing.T, path string, keep bool) {
	peak := int64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				peak = max(peak, anonymous(t))
			}
		}
	}()
	importMany(t, path)
	c := Open(path)
	defer c.Close()
	var kept []Item
	for i := range manyItems {
		it, ok, err := c.Lookup(gtinOf(i))
		if !ok || err != nil {
			t.Fatal(i, ok, err)
		}
		c.Lookup(fmt.Sprint("unknown", i))
		if keep {
			kept = append(kept, it)
		}
	}
	importMany(t, path) // beside the one that is in use
	var text strings.Builder
	text.WriteString(header)
	for i := range 20_000 {
		fmt.Fprintf(&text, "%s,Other words,dept1,pc,%d.00,A\n", gtinOf(i*5), i)
	}
	if _, err := applyDelta(t, path, text.String()); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if items, _, err := c.Find("milk brand", MaxFound); err != nil || len(items) == 0 {
			t.Fatal(items, err)
		}
	}
	close(stop)
	<-stopped
	fmt.Printf("anonymous=%d\n", max(peak, anonymous(t)))
	if keep && len(kept) != manyItems {
		t.Error("nothing was kept")
	}
}

// anonymous is the process's memory that no file backs.
func anonymous(t testing.TB) int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "RssAnon:")
	kib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
