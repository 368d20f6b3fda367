package config

import (
	"strings"
	"testing"
	"time"
)

func TestTaxByDate(t *testing.T) {
	read := func(value string) *decoder {
		return decode("f", []byte(strings.Replace(minimal, "[tax]", "[tax]\nC = "+value, 1)), time.LoadLocation)
	}
	base := read(`"19"`)
	c := read(`["19", "16 from 2027-07-01", "19.5% from 2028-01-01"]`)
	if len(base.problems)+len(c.problems) > 0 {
		t.Fatal(base.problems, c.problems)
	}
	tax := c.config.Taxes[len(c.config.Taxes)-1]
	if tax.Code != "C" {
		t.Fatalf("%+v", c.config.Taxes)
	}
	for date, want := range map[string]string{"2026-12-31": "19", "2027-06-30": "19", "2027-07-01": "16", "2027-12-31": "16", "2028-01-01": "19.5", "9999-12-31": "19.5", "": "19"} {
		if got := tax.On(date).String(); got != want {
			t.Errorf("%s: %s, want %s", date, got, want)
		}
	}
	if base.config.Hash() == c.config.Hash() || read(`["19"]`).config.Hash() != base.config.Hash() {
		t.Error("the hash does not tell what holds from a day on")
	}
	var b strings.Builder
	if err := c.config.WriteEffective(&b); err != nil || !strings.Contains(b.String(), `C = ["19", "16 from 2027-07-01", "19.5 from 2028-01-01"]  # posd.toml`) {
		t.Errorf("%v\n%s", err, b.String())
	}
	over, err := Overrides("push", []byte("[tax]\nA = \"7\"\nB = [\"7\", \"9 from 2027-01-01\"]\n"))
	if err != nil || len(over) != 2 || over[1].Value != `["7", "9 from 2027-01-01"]` || over[0].Value != `"7"` {
		t.Errorf("%v, %v", over, err)
	}
	for value, says := range map[string]string{
		`[]`:                            "a list of 0 rates",
		`["16 from 2027-07-01"]`:        "the first rate has no day",
		`["19", "16"]`:                  "the first rate has no day",
		`["19", "16 from tomorrow"]`:    `"tomorrow" is not a day`,
		`["19", "16 from 0000-01-01"]`:  "is not a day",
		`["19", "116 from 2027-07-01"]`: "out of range",
		`["19", "x from 2027-07-01"]`:   "decimal",
		`["19", "16 from 2027-07-01", "19 from 2027-07-01"]`: "does not come behind",
		`["19", 16]`: "expected strings",
		`[` + strings.Repeat(`"1", `, 16) + `"1"]`: "a list of 17",
		`true`: "a string or a list",
	} {
		d := read(value)
		if len(d.problems) != 1 || !strings.Contains(d.problems[0].String(), says) || d.problems[0].Key != "tax.C" {
			t.Errorf("%s: %v", value, d.problems)
		}
	}
}
