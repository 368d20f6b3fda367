package main

import (
	"posd/pos/config"
	"posd/pos/papers"
	"posd/pos/receipt"
	"posd/pos/register"
)

// papersOf is what c says of papers.
func papersOf(c *config.Config) register.Papers {
	r := &c.Receipt
	return register.Papers{
		Shop: receipt.Shop{
			Header: r.Header, Footer: r.Footer, TaxNumber: r.TaxNumber, Language: r.Language, DecimalComma: r.DecimalComma,
		},
		Barcode: r.Barcode, Sales: r.Print != "none", Others: r.Print == "all",
	}
}

func (t *terminal) openDesk() (err error) {
	t.desk, err = papers.New(papers.Options{
		Journal: t.journal, Register: t.register, Terminal: t.c.Terminal, Printer: t.c.Printer, Log: t.log,
	})
	return err
}
