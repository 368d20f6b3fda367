package tradeday

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posd/pos"
)

// Real yields the baskets of a folder with transactions.csv.gz and
// products.csv.gz, in order of time. It streams the transactions and holds the
// product list. After an error it yields nothing more; errors name file and line.
func Real(dir string) iter.Seq2[Basket, error] {
	return func(yield func(Basket, error) bool) {
		products := map[string]product{}
		err := readProducts(dir, func(p product) error { products[p.code] = p; return nil })
		if err != nil {
			yield(Basket{}, err)
			return
		}
		var b Basket    // being gathered; its lines stand together in the file
		var text string // its id as the file has it
		more := true
		flush := func() error {
			if len(b.Lines) > 0 {
				if err := b.settle(); err != nil {
					return err
				}
				more = yield(b, nil)
			}
			return nil
		}
		err = readGzip(dir, "transactions.csv.gz", transactionColumns, func(row []string) error {
			if row[1] != text {
				if err := flush(); err != nil {
					return err
				}
				if !more {
					return errStopped
				}
				text = strings.Clone(row[1])
				if b, err = beginBasket(row, b.Time); err != nil {
					return err
				}
			}
			l, err := lineOf(row, products)
			b.Lines = append(b.Lines, l)
			return err
		})
		if err == nil && more {
			err = flush()
		}
		if err != nil && more {
			yield(Basket{}, err)
		}
	}
}

var errStopped = errors.New("the caller wants no more")

var transactionColumns = []string{"transaction_timestamp", "basket_id", "store_id", "product_id", "quantity", "sales_value"}

func beginBasket(row []string, after time.Time) (Basket, error) {
	t, err := time.Parse("2006-01-02T15:04:05", row[0])
	if err != nil {
		return Basket{}, err
	}
	if t.Before(after) {
		return Basket{}, fmt.Errorf("basket %s is earlier than the one before it: sort the file by time", row[1])
	}
	id, err := parseID(row[1])
	if err != nil {
		return Basket{}, err
	}
	return Basket{ID: id, Time: t, Store: strings.Clone(row[2])}, nil
}

func lineOf(row []string, products map[string]product) (pos.Line, error) {
	qty, err := parseQuantity(row[4])
	if err != nil {
		return pos.Line{}, fmt.Errorf("quantity %w", err)
	}
	amount, err := parseAmount(row[5])
	if err != nil {
		return pos.Line{}, fmt.Errorf("sales_value %w", err)
	}
	if qty < 0 || amount < 0 {
		return pos.Line{}, fmt.Errorf("quantity %s, sales_value %s: %w", row[4], row[5], pos.ErrNegative)
	}
	p, listed := products[row[3]]
	if !listed {
		p = product{description: "Product " + row[3] + ", not listed", department: unlisted, unit: "pc"}
	}
	tax := taxOf(p.department)
	return pos.Line{
		Item: p.code, Description: p.description, Department: p.department, Unit: p.unit,
		Tax: tax.Code, Rate: tax.Rate, Qty: qty, Fixed: true, Price: amount,
	}, nil
}

// unlisted is the department of products that are in no list.
const unlisted = "UNLISTED"

type product struct {
	code, description, department, unit string
	price                               pos.Money
	open                                bool // the price is given at the till
}

var productColumns = []string{"product_id", "department", "product_category", "product_type", "package_size"}

func readProducts(dir string, each func(product) error) error {
	return readGzip(dir, "products.csv.gz", productColumns, func(row []string) error {
		text := row[3]
		if text == "" {
			text = row[2]
		}
		if text == "" {
			text = row[1]
		}
		if row[4] != "" {
			text += ", " + row[4]
		}
		p := product{code: strings.Clone(row[0]), description: strings.Clone(text), department: strings.Clone(row[1]), unit: "pc", open: true}
		if strings.HasPrefix(row[3], "GASOLINE") {
			p.department, p.unit = fuel, "ml"
		}
		return each(p)
	})
}

const fuel = "FUEL"

// readGzip calls each for every row of a compressed CSV file, with the values of
// the named columns in that order; they are valid only during the call.
func readGzip(dir, name string, columns []string, each func(row []string) error) (err error) {
	path := filepath.Join(dir, name)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := readCSV(z, columns, each); err != nil && !errors.Is(err, errStopped) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readCSV(r io.Reader, columns []string, each func(row []string) error) error {
	c := csv.NewReader(r)
	c.ReuseRecord = true
	header, err := c.Read()
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	at := make([]int, len(columns))
	for i, want := range columns {
		at[i] = -1
		for j, name := range header {
			if name == want {
				at[i] = j
			}
		}
		if at[i] < 0 {
			return fmt.Errorf("header: column %s is missing", want)
		}
	}
	row := make([]string, len(columns))
	for {
		record, err := c.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err // names the line
		}
		for i, j := range at {
			row[i] = record[j]
		}
		if err := each(row); err != nil {
			line, _ := c.FieldPos(0)
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
}
