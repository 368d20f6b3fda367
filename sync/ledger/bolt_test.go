package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"posd/journal/chain"
)

// sale is the event of a completed sale, as little of it as matters here.
func sale(receipt string, total int) string {
	return fmt.Sprintf(`{"v":1,"type":"sale.completed","time":"2026-11-21T09:30:00.123Z","data":{"receipt":%q,"total":%d}}`, receipt, total)
}

func TestReceiptOf(t *testing.T) {
	golden, err := os.ReadFile("../../pos/event/testdata/v1/sale.completed.json")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("9", 129)
	for payload, want := range map[string]string{
		string(golden):    "T7-1-311",
		sale("t1-1-1", 1): "t1-1-1",
		strings.Replace(sale("t1-1-1", 1), "sale.completed", "sale.returned", 1): "",
		sale(long, 1): "", sale("a b", 1): "", sale("", 1): "", sale("a\x00b", 1): "",
		strings.Replace(sale("7", 1), `"7"`, "7", 1):                    "",
		strings.Replace(sale("7", 1), `"7"`, `"7","receipt":"8"`, 1):    "", // which of the two?
		strings.Replace(sale("7", 1), `{"rec`, `{"x":{"y":[]},"rec`, 1): "7",
		"": "", "rubbish": "", "{}": "", `{"v":1,"data":{"receipt":"1"}}`: "",
	} {
		if got := ReceiptOf([]byte(payload)); got != want {
			t.Errorf("%.90q: %q, want %q", payload, got, want)
		}
	}
}

func TestReportOf(t *testing.T) {
	golden, err := os.ReadFile("../../pos/event/testdata/v1/shift.closed.json")
	if err != nil {
		t.Fatal(err)
	}
	z := strings.Replace(string(golden), `"totals"`, `"z":17,"totals"`, 1)
	for payload, want := range map[string]string{
		z: "t1-Z17",
		strings.Replace(z, "shift.closed", "shift.halved", 1):            "",
		strings.Replace(z, `"z":17`, `"z":17,"z":18`, 1):                 "", // which of the two?
		strings.Replace(z, `"z":17`, `"z":0`, 1):                         "",
		strings.Replace(z, `"z":17`, `"z":17,"front":"shift.closed"`, 1): "t1-Z17",
		string(golden):                                  "", // a release that did not number them
		sale("t1-1-1", 1):                               "",
		sale(`shift.closed`, 1):                         "",
		`{"v":1,"type":"shift.closed"`:                  "",
		`{"v":1,"type":"shift.closed","data":{"z":17}}`: "", // malformed
	} {
		if got := ReportOf("t1", []byte(payload)); got != want {
			t.Errorf("%.300q: %q, want %q", payload, got, want)
		}
	}
}

// TestBoltSchema1: a ledger of the first schema is brought up, with its receipts.
func TestBoltSchema1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	const n = indexBatch*2 + 5
	a, b := chain.ID{1}, chain.ID{2}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range []string{"meta", "chains", "events", "heads", "holes", "quarantine"} {
			if _, err := tx.CreateBucket([]byte(b)); err != nil {
				return err
			}
		}
		meta, chains, events := tx.Bucket([]byte("meta")), tx.Bucket([]byte("chains")), tx.Bucket([]byte("events"))
		head := chain.Head{9}
		row := fmt.Sprintf(`{"store":"s1","terminal":"t1","last":%d,"records":%d,"events":%d,"updated":"2026-11-21T09:30:00Z"}`, n, n, n)
		err := errors.Join(
			meta.Put([]byte("schema"), []byte{0, 0, 0, 1}), meta.Put([]byte("ledger"), bytes.Repeat([]byte{7}, 16)),
			chains.Put(a[:], append(head[:], row...)), chains.Put(b[:], append(head[:], row...)))
		for i := uint64(1); i <= n; i++ {
			key := binary.BigEndian.AppendUint64(slices.Clone(a[:]), i)
			err = errors.Join(err, events.Put(key, append(head[:], sale(fmt.Sprintf("t1-1-%d", i), 1)...)))
		}
		return errors.Join(err, events.Put(binary.BigEndian.AppendUint64(slices.Clone(b[:]), 3), append(head[:], sale("t1-1-20004", 1)...)))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l, err := OpenBolt(path)
		if err != nil {
			t.Fatal(err)
		}
		err = l.View(t.Context(), func(tx Tx) error {
			c, ok, err := tx.Chain(a)
			if k, _ := tx.CollisionCount(); k != 1 || !ok || c.Events != n || l.ID()[3] != 7 {
				t.Errorf("%d collisions, %+v", k, c)
			}
			if k := tx.(boltTx).Bucket(bReceipts).Stats().KeyN; k != n {
				t.Errorf("%d receipts, want %d", k, n)
			}
			return err
		})
		events := 0
		if err := l.View(t.Context(), func(tx Tx) error {
			return tx.Events(Cursor{}, func(Event) (bool, error) { events++; return true, nil })
		}); err != nil || events != n+1 {
			t.Errorf("%d events, %v", events, err)
		}
		if err = errors.Join(err, l.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
