package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"posd/pos/operator"
)

// value is one TOML value, copied out of the parser.
type value struct {
	kind unstable.Kind
	text string   // decoded, of a string; as written, of the others
	list []string // of an array of strings
}

// field is how one kind of value gets into a Config and out again. get gives the
// canonical text: equal values, equal text. Most are plain data, so that the table costs
// next to no code.
type field interface {
	typ() string // for the reference
	set(d *decoder, c *Config, v value) *fault
	get(c *Config) string
}

// made is a field of functions.
type made struct {
	name string
	in   func(d *decoder, c *Config, v value) *fault
	out  func(c *Config) string
}

func (f *made) typ() string                               { return f.name }
func (f *made) set(d *decoder, c *Config, v value) *fault { return f.in(d, c, v) }
func (f *made) get(c *Config) string                      { return f.out(c) }

func wrongKind(v value, want, example string) *fault {
	return &fault{fmt.Sprintf("expected %s, found %s", want, kindName(v.kind)), "write it as " + example}
}

func kindName(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "a string"
	case unstable.Bool:
		return "a boolean"
	case unstable.Integer:
		return "a whole number"
	case unstable.Float:
		return "a decimal number"
	case unstable.Array:
		return "a list"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or time"
}

// text is a string that check accepts.
type text struct {
	name  string
	at    func(*Config) *string
	check func(string) *fault
}

func (f *text) typ() string          { return f.name }
func (f *text) get(c *Config) string { return strconv.Quote(*f.at(c)) }

func (f *text) set(_ *decoder, c *Config, v value) *fault {
	if v.kind != unstable.String {
		return wrongKind(v, "a string", `"text", in quotes`)
	}
	if bad := f.check(v.text); bad != nil {
		return bad
	}
	*f.at(c) = v.text
	return nil
}

// parsed is a string that parse turns into a T, and format back.
func parsed[T any](typ, example string, at func(*Config) *T, parse func(*decoder, string) (T, *fault), format func(T) string) *made {
	return &made{
		name: typ,
		in: func(d *decoder, c *Config, v value) *fault {
			if v.kind != unstable.String {
				return wrongKind(v, "a string", example)
			}
			x, f := parse(d, v.text)
			if f == nil {
				*at(c) = x
			}
			return f
		},
		out: func(c *Config) string { return strconv.Quote(format(*at(c))) },
	}
}

// choice is one of a few words.
func choice[T comparable](at func(*Config) *T, words []string, values []T) *made {
	quoted := strings.Join(words, `" or "`)
	return parsed("one of "+strings.Join(words, ", "), `"`+words[0]+`"`, at,
		func(_ *decoder, s string) (T, *fault) {
			if i := slices.Index(words, s); i >= 0 {
				return values[i], nil
			}
			var zero T
			return zero, &fault{fmt.Sprintf("%q is unknown", s), `write "` + quoted + `"`}
		},
		func(v T) string {
			if i := slices.Index(values, v); i >= 0 {
				return words[i]
			}
			return fmt.Sprint(v) // a Config that Load did not make
		})
}

type size struct {
	at          func(*Config) *int64
	least, most int64
}

func (f *size) typ() string          { return "size" }
func (f *size) get(c *Config) string { return strconv.Quote(formatSize(*f.at(c))) }

func (f *size) set(_ *decoder, c *Config, v value) *fault {
	if v.kind != unstable.String && v.kind != unstable.Integer { // plain bytes
		return wrongKind(v, "a string", `"4MiB"`)
	}
	n, bad := parseSize(v.text)
	if bad == nil && (n < f.least || n > f.most) {
		bad = &fault{v.text + " is out of range", fmt.Sprintf("give %s to %s", formatSize(f.least), formatSize(f.most))}
	}
	if bad == nil {
		*f.at(c) = n
	}
	return bad
}

type duration struct {
	at          func(*Config) *time.Duration
	least, most time.Duration
}

func (f *duration) typ() string          { return "duration" }
func (f *duration) get(c *Config) string { return strconv.Quote(formatDuration(*f.at(c))) }

func (f *duration) set(_ *decoder, c *Config, v value) *fault {
	if v.kind != unstable.String {
		return wrongKind(v, "a string", `"30d"`)
	}
	n, bad := parseDuration(v.text)
	if bad == nil && (n < f.least || n > f.most) {
		bad = &fault{v.text + " is out of range", fmt.Sprintf("give %s to %s", formatDuration(f.least), formatDuration(f.most))}
	}
	if bad == nil {
		*f.at(c) = n
	}
	return bad
}

type number struct {
	at          func(*Config) *int
	least, most int64
}

func (f *number) typ() string          { return "whole number" }
func (f *number) get(c *Config) string { return strconv.Itoa(*f.at(c)) }

func (f *number) set(_ *decoder, c *Config, v value) *fault {
	if v.kind != unstable.Integer {
		return wrongKind(v, "a whole number", "12, without quotes")
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil || n < f.least || n > f.most {
		return &fault{v.text + " is out of range", fmt.Sprintf("give %d to %d", f.least, f.most)}
	}
	*f.at(c) = int(n)
	return nil
}

type boolean struct{ at func(*Config) *bool }

func (f *boolean) typ() string          { return "true or false" }
func (f *boolean) get(c *Config) string { return strconv.FormatBool(*f.at(c)) }

func (f *boolean) set(_ *decoder, c *Config, v value) *fault {
	if v.kind != unstable.Bool {
		return wrongKind(v, "true or false", "true, without quotes")
	}
	*f.at(c) = v.text == "true"
	return nil
}

// list is up to most strings that check accepts.
type list struct {
	at    func(*Config) *[]string
	most  int
	check func(string) *fault
}

func (f *list) typ() string { return "list of strings" }

func (f *list) set(_ *decoder, c *Config, v value) *fault {
	if v.kind != unstable.Array {
		return wrongKind(v, "a list", `["one", "two"]`)
	}
	if len(v.list) > f.most {
		return &fault{fmt.Sprintf("%d entries are too many", len(v.list)), fmt.Sprintf("give at most %d", f.most)}
	}
	for _, s := range v.list {
		if bad := f.check(s); bad != nil {
			return bad
		}
	}
	*f.at(c) = v.list
	return nil
}

func (f *list) get(c *Config) string {
	quoted := make([]string, 0, len(*f.at(c)))
	for _, s := range *f.at(c) {
		quoted = append(quoted, strconv.Quote(s))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// role is a list of permissions.
type role struct{ name string }

func (f *role) typ() string { return "list of strings" }

func (f *role) get(c *Config) string {
	var quoted []string
	for _, g := range c.Operators.Roles[f.name] {
		quoted = append(quoted, strconv.Quote(g.String()))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (f *role) set(_ *decoder, c *Config, v value) *fault {
	if v.kind != unstable.Array {
		return wrongKind(v, "a list", `["sale", "discount:10"]`)
	}
	grants, err := operator.ParseGrants(v.list)
	if err != nil {
		return &fault{err.Error(), `write names as posd --reference shows them, such as "discount:10"`}
	}
	if len(grants) > mostGrants {
		return &fault{fmt.Sprintf("%d permissions are too many", len(grants)), fmt.Sprintf("give at most %d", mostGrants)}
	}
	roles := maps.Clone(c.Operators.Roles) // those of the file stay as they are
	if roles == nil {
		roles = map[string]operator.Grants{}
	}
	roles[f.name] = grants
	c.Operators.Roles = roles
	return nil
}

const mostGrants = 64

// checkPath accepts an absolute path.
func checkPath(s string) *fault {
	if !filepath.IsAbs(s) || !plainText(s, 4096) {
		// posd's working folder is not the operator's: a relative path would
		// mean one file for posd and another for posctl.
		return &fault{fmt.Sprintf("%q is not an absolute path", s), "write the whole path, beginning with /"}
	}
	return nil
}

// checkNoPath accepts none too.
func checkNoPath(s string) *fault {
	if s == "" {
		return nil
	}
	return checkPath(s)
}
