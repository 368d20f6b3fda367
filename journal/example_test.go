package journal_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"posd/journal"
	"posd/journal/chain"
)

// sale is an owner's record.
type sale string

func (s sale) AppendRecord(dst []byte, seq uint64) ([]byte, error) {
	return fmt.Appendf(dst, `{"seq":%d,"sale":%q}`, seq, string(s)), nil
}

// A terminal is set up once. From then on its journal is opened at each start,
// records are appended, and nothing is answered before Wait has returned.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	dir = filepath.Join(dir, "journal")
	till := journal.Identity{Store: "berlin-7", Terminal: "till-2"}
	if _, err := journal.Create(dir, journal.CreateOptions{Identity: till}); err != nil {
		log.Fatal(err)
	}

	j, err := journal.Open(dir, journal.Options{Identity: till})
	if err != nil {
		log.Fatal(err)
	}
	defer j.Close()
	for _, s := range []sale{"two apples", "a newspaper"} {
		seq, err := j.Append(chain.TypeOwner, journal.Durable, 64, s)
		if err == nil {
			err = j.Wait(context.Background(), seq)
		}
		if err != nil {
			log.Fatal(err) // nothing may be printed for this customer
		}
	}

	r, err := j.Reader(j.Oldest())
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if err == io.EOF { // the end of what is durable
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		if rec.Type == chain.TypeOwner {
			fmt.Println(rec.Seq, string(rec.Payload))
		}
	}
	// Output:
	// 3 {"seq":3,"sale":"two apples"}
	// 4 {"seq":4,"sale":"a newspaper"}
}

// Verify proves a journal, running or copied, and hands out what it has proved.
func ExampleVerify() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	dir = filepath.Join(dir, "journal")
	if _, err := journal.Create(dir, journal.CreateOptions{Identity: journal.Identity{Store: "s", Terminal: "t"}}); err != nil {
		log.Fatal(err)
	}
	head := chain.Head{}
	rep, err := journal.Verify(context.Background(), dir, journal.VerifyOptions{
		Each: func(r chain.Record, h chain.Head) error {
			fmt.Println(r.Seq, r.Type)
			head = h
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(rep.First, rep.Last, rep.Head == head)
	// Output:
	// 1 1
	// 2 2
	// 1 2 true
}
