package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
)

// Source says who decided a value that is in force.
type Source string

const (
	FromDefault    Source = "default"
	FromFile       Source = "posd.toml"
	FromHeadOffice Source = "head office"
)

// Source is who decided the key; a tax code counts as one ("tax.A").
func (c *Config) Source(key string) Source {
	if strings.HasPrefix(key, "tax.") {
		key = taxKeys // the table comes as a whole
	}
	return cmp.Or(c.sources[key], FromDefault)
}

// noteSources notes who set what d has read.
func (d *decoder) noteSources(who Source) {
	s := maps.Clone(d.config.sources)
	if s == nil {
		s = make(map[string]Source, len(d.seen))
	}
	for name := range d.seen {
		if strings.HasPrefix(name, "tax.") {
			name = taxKeys
		}
		s[name] = who
	}
	d.config.sources = s
}

// Overlay returns c, as Load returned it, with what head office pushes over it: a
// document like posd.toml, of the keys that head office may override. A key that the
// document leaves out is the file's, so that an empty document gives all back to the
// file. [tax] counts as one value: if it is there, it is the whole table.
//
// It is checked together with c, and strictly: an unknown key, or one that only the
// file decides, refuses the document, for head office would believe that it holds.
// The error is an *Error with every problem; c is never changed.
func (c *Config) Overlay(name string, text []byte) (*Config, error) {
	d := overlay(c, name, text)
	d.problems = append(d.problems, d.warnings...)
	if len(d.problems) > 0 {
		sortByLine(d.problems)
		return nil, &Error{Problems: d.problems}
	}
	d.noteSources(FromHeadOffice)
	return d.config, nil
}

func overlay(c *Config, name string, text []byte) *decoder {
	over := *c
	d := &decoder{file: name, config: &over, seen: map[string]int{}, tables: map[string]int{}, text: text, pushed: true}
	if len(text) > maxFile {
		d.problem("", fmt.Sprintf("larger than %d bytes", maxFile), "this cannot be a configuration of posd")
		return d
	}
	if d.walk(text) {
		if line, ok := d.tables["tax"]; ok && !d.taxes {
			d.line = line
			d.problem("tax", "no tax code is defined", "write at least one, or leave [tax] out: then the terminal's own table holds")
		}
		d.checkTogether()
	}
	return d
}

// mayPush says whether head office may decide the key, for set.
func (d *decoder) mayPush(name string, k *key, isTax bool) bool {
	switch {
	case !d.pushed:
		return true
	case isTax:
		if !d.taxes {
			d.taxes, d.config.Taxes = true, nil // of the file: the table comes as a whole
		}
		return true
	case k.owner == ownHeadOffice:
		return true
	}
	d.problem(name, "only the terminal's own posd.toml decides this", "remove it")
	return false
}

// Override is one value that a pushed document decides.
type Override struct{ Key, Value string }

// Overrides checks a document as far as that can be done without the terminal that
// it is for, and lists what it decides. The error is an *Error.
func Overrides(name string, text []byte) ([]Override, error) {
	base := decode("", nil, nil)
	c := base.config
	c.Data.Segment = 64 << 10 // the least: a terminal's own may ask for more
	c.HTTP.Listen = "127.0.0.1:8080"
	over, err := c.Overlay(name, text)
	if err != nil {
		return nil, err
	}
	var all []Override
	for i := range keys {
		k := &keys[i]
		switch {
		case over.Source(k.name) != FromHeadOffice:
		case k.name == taxKeys:
			for _, t := range over.Taxes {
				all = append(all, Override{"tax." + t.Code, formatTax(&t)})
			}
		default:
			all = append(all, Override{k.name, k.get(over)})
		}
	}
	return all, nil
}

// WriteEffective prints what is in force, defaults included, in the form of posd.toml,
// and behind each key who decided it. It names the files that hold secrets, and holds
// none.
func (c *Config) WriteEffective(w io.Writer) error {
	var b strings.Builder
	table := ""
	for i := range keys {
		k := &keys[i]
		t, last, _ := strings.Cut(k.name, ".")
		if t != table {
			if table != "" {
				b.WriteByte('\n')
			}
			table = t
			fmt.Fprintf(&b, "[%s]\n", t)
		}
		by := c.Source(k.name)
		if k.name == taxKeys {
			for _, t := range c.Taxes {
				fmt.Fprintf(&b, "%s = %s  # %s\n", t.Code, formatTax(&t), by)
			}
			continue
		}
		fmt.Fprintf(&b, "%s = %s  # %s\n", last, k.get(c), by)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Reason is the error in one line of at most most bytes, for who is far away.
func Reason(err error, most int) string {
	var e *Error
	s := err.Error()
	if errors.As(err, &e) {
		s = strings.ReplaceAll(e.Error(), "\n", " | ")
	}
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most-3], "") + "..."
	}
	return s
}
