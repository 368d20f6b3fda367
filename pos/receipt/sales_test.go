package receipt

import (
	"time"

	"posd/pos/receipt/internal/sample"
)

var berlin = time.FixedZone("CET", 3600)

// options are those of a receipt with all that it can have.
func options(shop *Shop) Options {
	o := Options{Shop: shop, Time: time.Date(2026, 11, 21, 10, 30, 0, 0, berlin), Drawer: true}
	for i := range o.Head {
		o.Head[i] = byte(i * 7)
	}
	return o
}

var plainShop = &Shop{
	Header:    []string{"Corner Shop", "1 High Street, Ambridge"},
	Footer:    []string{"Thank you", "Goods may come back within 14 days, with this receipt"},
	TaxNumber: "GB 123 4567 89",
}

var germanShop = &Shop{
	Header:       []string{"Bäckerei Müßig", "Hauptstraße 1 · 10115 Berlin"},
	Footer:       []string{"Vielen Dank für Ihren Einkauf!"},
	TaxNumber:    "DE123456789",
	Language:     "de",
	DecimalComma: true,
}

// sales are the cases of the golden files.
func sales() map[string]func() Document {
	return map[string]func() Document{
		"simple":     func() Document { return Sale(sample.Simple(), options(plainShop)) },
		"all":        func() Document { return Sale(sample.All(), options(plainShop)) },
		"all-german": func() Document { return Sale(sample.All(), options(germanShop)) },
		"copy": func() Document {
			o := options(germanShop)
			o.Copy, o.Drawer, o.Barcode = 2, false, true
			return Sale(sample.All(), o)
		},
		"training": func() Document {
			e := sample.All()
			e.Training = true
			return Sale(e, options(plainShop))
		},
		"void":      func() Document { return Sale(sample.Void(), options(plainShop)) },
		"exclusive": func() Document { return Sale(sample.Exclusive(), options(&Shop{Header: []string{"Bodega"}})) },
		"wide": func() Document {
			return Sale(sample.Wide(), options(&Shop{Header: []string{"角の店"}, TaxNumber: "T1234567890123"}))
		},
		"largest": func() Document {
			o := options(plainShop)
			o.Time, o.Head = time.Time{}, [32]byte{}
			return Sale(sample.Largest(), o)
		},
	}
}
