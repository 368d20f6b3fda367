package tradeday

import (
	"bufio"
	"encoding/csv"
	"io"
)

// WriteItems writes the product list of a folder as a catalogue (see
// WriteSyntheticItems). All its prices are open: the data has none.
func WriteItems(w io.Writer, dir string) error {
	return writeCatalogue(w, func(each func(product) error) error { return readProducts(dir, each) })
}

// WriteSyntheticItems writes the items that Synthetic sells as a catalogue: CSV
// with the header code,description,department,unit,price,tax; an empty price is
// an open one.
func WriteSyntheticItems(w io.Writer) error {
	d, err := distributions()
	if err != nil {
		return err
	}
	return writeCatalogue(w, func(each func(product) error) error {
		for number := range d.Departments {
			dep := &d.Departments[number]
			for at := range dep.Prices {
				p := dep.product(number, at)
				if p.code == "" {
					continue
				}
				if err := each(p); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func writeCatalogue(w io.Writer, products func(each func(product) error) error) error {
	buffer := bufio.NewWriterSize(w, 64<<10)
	c := csv.NewWriter(buffer)
	if err := c.Write([]string{"code", "description", "department", "unit", "price", "tax"}); err != nil {
		return err
	}
	err := products(func(p product) error {
		price := ""
		if !p.open {
			price = p.price.Format(Currency)
		}
		return c.Write([]string{p.code, p.description, p.department, p.unit, price, taxOf(p.department).Code})
	})
	if err != nil {
		return err
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return err
	}
	return buffer.Flush()
}
