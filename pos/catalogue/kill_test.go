package catalogue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"posd/pos"
)

const killedItems = 300

// A process that changes all prices by one delta after another is killed again and
// again. What is there then has one price for all, and it is the last that was
// acknowledged or the one behind it; the next delta goes on from there.
func TestKilledImports(t *testing.T) {
	if path := os.Getenv("CATALOGUE_TEST_KILLED"); path != "" {
		importForEver(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "c.db")
	var b strings.Builder
	b.WriteString(header)
	for i := range killedItems {
		fmt.Fprintf(&b, "%d,item version1,,,1,A\n", i)
	}
	importText(t, path, b.String())
	kills, last := 8, pos.Money(100)
	if testing.Short() {
		kills = 2
	}
	for range kills {
		c := exec.Command(os.Args[0], "-test.run", "^TestKilledImports$")
		c.Env = append(os.Environ(), "CATALOGUE_TEST_KILLED="+path)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		acknowledged := make(chan pos.Money)
		go func() { // every line is a price that an import has returned with
			n, word := pos.Money(0), ""
			for {
				if _, err := fmt.Fscanln(out, &word); err != nil {
					acknowledged <- n
					return
				}
				if v, err := strconv.ParseInt(word, 10, 64); err == nil {
					n = pos.Money(v)
				}
			}
		}()
		time.Sleep(time.Duration(200+rand.IntN(600)) * time.Millisecond)
		c.Process.Kill()
		told := max(<-acknowledged, last)
		c.Wait()
		if last = onePrice(t, path); last != told && last != told+100 {
			t.Fatalf("the price is %d, %d was acknowledged", last, told)
		}
	}
	if last == 100 {
		t.Error("no delta came through: nothing was tested")
	}
}

// onePrice is the price that all items have; their names, and the index, tell the same.
func onePrice(t *testing.T, path string) pos.Money {
	t.Helper()
	c := Open(path)
	defer c.Close()
	first, _, err := c.Lookup("0")
	if err != nil || c.Err() != nil || c.Len() != killedItems {
		t.Fatal(first, err, c.Err(), c.Len())
	}
	for i := range killedItems {
		it, ok, err := c.Lookup(fmt.Sprint(i))
		if !ok || err != nil || it.Price != first.Price || it.Description != first.Description || it.Description != fmt.Sprintf("item version%d", it.Price/100) {
			t.Fatalf("item %d is %+v, item 0 %+v, %v", i, it, first, err)
		}
	}
	_, name, _ := strings.Cut(first.Description, " ")
	if found, more, err := c.Find(name, MaxFound); len(found) != MaxFound || !more || err != nil {
		t.Fatalf("%q finds %d items, %v", name, len(found), err)
	}
	return first.Price
}

func importForEver(t *testing.T, path string) {
	for n := int(onePrice(t, path)/100) + 1; ; n++ {
		var b strings.Builder
		b.WriteString(header)
		for i := range killedItems {
			fmt.Fprintf(&b, "%d,item version%d,,,%d,A\n", i, n, n)
		}
		o := euro
		o.Delta = true
		if _, err := Import(context.Background(), strings.NewReader(b.String()), path, o); err != nil {
			t.Fatal(err)
		}
		fmt.Println(n * 100)
	}
}
