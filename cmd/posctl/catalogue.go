package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posd/pos"
	"posd/pos/catalogue"
	"posd/pos/config"
	"posd/pos/itemcode"
)

const catalogueFile = "catalogue.db"

var errNoItem = errors.New("the catalogue has no such item")

func (t *tool) catalogue(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "import":
			return t.importCatalogue(args[1:])
		case "look":
			return t.lookUp(args[1:])
		}
	}
	return fmt.Errorf("%w: catalogue import [-force] [-delta [-base VERSION]] FILE, or catalogue look CODE", errUsage)
}

func (t *tool) importCatalogue(args []string) error {
	fs := t.flags("catalogue import")
	delta := fs.Bool("delta", false, "change the catalogue that is there by the lines of FILE; one whose column op says delete goes")
	base := fs.String("base", "", "with -delta: the `version` that it belongs to, or its beginning; another is refused")
	force := fs.Bool("force", false, "also a FILE that lacks more than a third of the items that are there, or makes items cost nothing")
	files, err := t.parse(fs, args, "FILE")
	if err == nil && *base != "" && !*delta {
		err = fmt.Errorf("%w: -base goes with -delta", errUsage)
	}
	if err != nil {
		return err
	}
	c, err := t.load()
	if err != nil {
		return err
	}
	f, err := os.Open(files[0])
	if err != nil {
		return err
	}
	defer f.Close()
	o := importOptions(c)
	o.Delta, o.Base = *delta, *base
	o.Sure = func(c *catalogue.Change) error {
		switch doubt := c.Doubt(*delta); {
		case doubt == "":
		case !*force:
			return fmt.Errorf("%s; nothing was changed: look whether the file is whole, or say -force", doubt)
		default:
			fmt.Fprintf(t.err, "posctl: warning: %s\n", doubt)
		}
		return nil
	}
	rep, err := catalogue.Import(t.ctx, f, filepath.Join(c.Data.Dir, catalogueFile), o)
	if err != nil {
		return fmt.Errorf("import %s: %w", files[0], err)
	}
	for _, name := range rep.Ignored {
		fmt.Fprintf(t.err, "posctl: warning: the column %q has no meaning here\n", name)
	}
	if *delta {
		fmt.Fprintf(t.out, "%d items set, %d deleted, %d in the catalogue, version %s; a running posd uses them within a second\n", rep.Set, rep.Deleted, rep.Items, rep.Version)
		return nil
	}
	fmt.Fprintf(t.out, "%d items imported, version %s; a running posd uses them within a second\n", rep.Items, rep.Version)
	return nil
}

func importOptions(c *config.Config) catalogue.ImportOptions {
	taxes := map[string]bool{}
	for _, tax := range c.Taxes {
		taxes[tax.Code] = true
	}
	return catalogue.ImportOptions{Taxes: taxes, Currency: c.Terminal.Currency}
}

// lookUp says what a till would make of a code.
func (t *tool) lookUp(args []string) error {
	codes, err := t.parse(t.flags("catalogue look"), args, "CODE")
	if err != nil {
		return err
	}
	c, err := t.load()
	if err != nil {
		return err
	}
	rules, err := itemcode.NewRules(c.Items.Patterns, c.Terminal.Currency)
	if err != nil {
		return err
	}
	items := catalogue.OpenIn(filepath.Join(c.Data.Dir, catalogueFile), c.Terminal.Currency.Code)
	defer items.Close()
	code, err := rules.Read(codes[0], time.Now().In(c.Terminal.TimeZone).Year())
	if code.Whole != "" { // as a till does: what the catalogue has by all digits is no label
		if it, ok, _ := items.Lookup(code.Whole); ok && (err == nil || it.Unit == "" || it.Unit == "pc") {
			code, err = code.Plain(), nil
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", codes[0], err)
	}
	if err := items.Err(); err != nil {
		return err
	}
	t.sayCode(&code, c.Terminal.Currency)
	for _, key := range code.Items {
		it, ok, err := items.Lookup(key)
		if err != nil {
			return err
		}
		if ok {
			t.sayItem(&it, c.Terminal.Currency)
			return nil
		}
	}
	if code.Doubt != nil {
		return fmt.Errorf("%w; if it was to be a GTIN, %w", errNoItem, code.Doubt)
	}
	return fmt.Errorf("%w in version %s", errNoItem, items.Version())
}

// say prints one fact, if there is one.
func (t *tool) say(name, value string) {
	if value != "" {
		fmt.Fprintf(t.out, "%-12s %s\n", name, value)
	}
}

func (t *tool) sayCode(c *itemcode.Code, currency pos.Currency) {
	if c.GTIN != 0 {
		t.say("GTIN", c.GTIN.String())
	}
	t.say("looked for", strings.Join(strings.Fields(strings.Join(c.Items[:], " ")), ", then "))
	for _, m := range c.Measures {
		if m.Unit != "" {
			t.say("quantity", m.Qty.String()+" "+m.Unit)
		}
	}
	if c.Priced {
		t.say("amount", c.Amount.Format(currency))
	}
	if c.UnitPriced {
		t.say("unit price", c.UnitPrice.Format(currency))
	}
	t.say("batch", c.Batch)
	t.say("serial", c.Serial)
	t.say("best before", c.BestBefore.String())
	t.say("sell by", c.SellBy.String())
	t.say("use by", c.Expiry.String())
}

func (t *tool) sayItem(it *catalogue.Item, currency pos.Currency) {
	t.say("item", it.Code)
	t.say("description", it.Description)
	t.say("department", it.Department)
	t.say("unit", it.Unit)
	t.say("tax", it.Tax)
	price := it.Price.Format(currency)
	if it.Open {
		price = "open"
	}
	t.say("price", price)
	if it.From.Number() != 0 {
		t.say("next price", it.Next.Format(currency)+" from "+it.From.String())
	}
	if it.Age > 0 {
		t.say("age", fmt.Sprint(it.Age))
	}
}
