package catalogue

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"posd/pos"
)

// Export writes the catalogue at path as the CSV file that Import reads: the same items
// in the same order give the same bytes, however the file was written that they came from.
func Export(path string, w io.Writer, c pos.Currency) error {
	return withItems(path, c, func(items *bolt.Bucket) error {
		out := newWriter(w, c, false)
		err := items.ForEach(func(key, value []byte) error {
			it, err := decodeItem(value, key)
			if err != nil {
				return err
			}
			return out.put(&it)
		})
		return errors.Join(err, out.end())
	})
}

// Diff writes the delta that makes the catalogue at base the one at path, as Import reads
// it, and counts its lines.
func Diff(base, path string, w io.Writer, c pos.Currency) (set, deleted int, err error) {
	err = withItems(base, c, func(old *bolt.Bucket) error {
		return withItems(path, c, func(now *bolt.Bucket) error {
			d := differ{out: newWriter(w, c, true)}
			err := d.run(old.Cursor(), now.Cursor())
			set, deleted = d.set, d.deleted
			return errors.Join(err, d.out.end())
		})
	})
	return set, deleted, err
}

func withItems(path string, c pos.Currency, fn func(*bolt.Bucket) error) error {
	s, err := openSnapshot(path)
	if err != nil {
		return err
	}
	defer s.close()
	if s.schema != schema || s.currency != c.Code {
		return fmt.Errorf("%w: schema %q, prices in %s", ErrBase, clip(s.schema), s.currency)
	}
	return s.db.View(func(tx *bolt.Tx) error { return fn(tx.Bucket(bucketItems)) })
}

type differ struct {
	out          *csvWriter
	set, deleted int
}

// run goes through both in the order of their keys.
func (d *differ) run(old, now *bolt.Cursor) error {
	was, before := old.First()
	key, value := now.First()
	for was != nil || key != nil {
		order := bytes.Compare(was, key)
		switch {
		case key == nil || was != nil && order < 0:
			it, err := decodeItem(before, was)
			if err != nil {
				return err
			}
			d.deleted++
			if err := d.out.gone(it.Code); err != nil {
				return err
			}
			was, before = old.Next()
			continue
		case was == nil || order > 0 || !bytes.Equal(before, value):
			it, err := decodeItem(value, key)
			if err != nil {
				return err
			}
			d.set++
			if err := d.out.put(&it); err != nil {
				return err
			}
		}
		if was != nil && order == 0 {
			was, before = old.Next()
		}
		key, value = now.Next()
	}
	return nil
}

// csvWriter writes items as Import reads them.
type csvWriter struct {
	csv      *csv.Writer
	currency pos.Currency
	record   []string
	delta    bool
	err      error
}

func newWriter(w io.Writer, c pos.Currency, delta bool) *csvWriter {
	out := &csvWriter{csv: csv.NewWriter(w), currency: c, delta: delta}
	head := append(append([]string(nil), columns...), optional...)
	if delta {
		head = append(head, columnOp)
	}
	out.record = make([]string, len(head))
	out.err = out.csv.Write(head)
	return out
}

func (w *csvWriter) put(it *Item) error {
	clear(w.record)
	price, decimals := "", ""
	if !it.Open {
		price = it.Price.Format(w.currency)
	}
	if it.Decimals != usualDecimals(it.Unit) {
		decimals = strconv.Itoa(int(it.Decimals))
	}
	copy(w.record, []string{it.Code, it.Description, it.Department, it.Unit, price, it.Tax, "", decimals})
	if it.Age > 0 {
		w.record[6] = strconv.Itoa(int(it.Age))
	}
	if it.From.Number() != 0 {
		w.record[8], w.record[9] = it.Next.Format(w.currency), it.From.String()
	}
	return w.csv.Write(w.record)
}

func (w *csvWriter) gone(code string) error {
	clear(w.record)
	w.record[0], w.record[len(w.record)-1] = code, "delete"
	return w.csv.Write(w.record)
}

func (w *csvWriter) end() error {
	w.csv.Flush()
	return errors.Join(w.err, w.csv.Error())
}
