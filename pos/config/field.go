package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// value is one TOML value, copied out of the parser.
type value struct {
	kind unstable.Kind
	text string   // decoded, of a string; as written, of the others
	list []string // of an array of strings
}

// field is how one kind of value gets into a Config and out again. get gives the
// canonical text: equal values, equal text.
type field struct {
	typ string // for the reference
	set func(d *decoder, c *Config, v value) *fault
	get func(c *Config) string
}

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
func text(typ string, at func(*Config) *string, check func(string) *fault) field {
	return field{
		typ: typ,
		set: func(_ *decoder, c *Config, v value) *fault {
			if v.kind != unstable.String {
				return wrongKind(v, "a string", `"text", in quotes`)
			}
			if f := check(v.text); f != nil {
				return f
			}
			*at(c) = v.text
			return nil
		},
		get: func(c *Config) string { return strconv.Quote(*at(c)) },
	}
}

// parsed is a string that parse turns into a T, and format back.
func parsed[T any](typ, example string, at func(*Config) *T, parse func(*decoder, string) (T, *fault), format func(T) string) field {
	return field{
		typ: typ,
		set: func(d *decoder, c *Config, v value) *fault {
			if v.kind != unstable.String {
				return wrongKind(v, "a string", example)
			}
			x, f := parse(d, v.text)
			if f == nil {
				*at(c) = x
			}
			return f
		},
		get: func(c *Config) string { return strconv.Quote(format(*at(c))) },
	}
}

// choice is one of a few words.
func choice[T comparable](at func(*Config) *T, words []string, values []T) field {
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

func size(at func(*Config) *int64, least, most int64) field {
	f := parsed("size", `"4MiB"`, at,
		func(_ *decoder, s string) (int64, *fault) {
			n, bad := parseSize(s)
			if bad == nil && (n < least || n > most) {
				bad = &fault{s + " is out of range", fmt.Sprintf("give %s to %s", formatSize(least), formatSize(most))}
			}
			return n, bad
		}, formatSize)
	str := f.set
	f.set = func(d *decoder, c *Config, v value) *fault {
		if v.kind == unstable.Integer {
			v.kind = unstable.String // plain bytes
		}
		return str(d, c, v)
	}
	return f
}

func duration(at func(*Config) *time.Duration, least, most time.Duration) field {
	return parsed("duration", `"30d"`, at,
		func(_ *decoder, s string) (time.Duration, *fault) {
			n, bad := parseDuration(s)
			if bad == nil && (n < least || n > most) {
				bad = &fault{s + " is out of range", fmt.Sprintf("give %s to %s", formatDuration(least), formatDuration(most))}
			}
			return n, bad
		}, formatDuration)
}

func number(at func(*Config) *int, least, most int64) field {
	return field{
		typ: "whole number",
		set: func(_ *decoder, c *Config, v value) *fault {
			if v.kind != unstable.Integer {
				return wrongKind(v, "a whole number", "12, without quotes")
			}
			n, err := strconv.ParseInt(v.text, 10, 64)
			if err != nil || n < least || n > most {
				return &fault{v.text + " is out of range", fmt.Sprintf("give %d to %d", least, most)}
			}
			*at(c) = int(n)
			return nil
		},
		get: func(c *Config) string { return strconv.Itoa(*at(c)) },
	}
}

func boolean(at func(*Config) *bool) field {
	return field{
		typ: "true or false",
		set: func(_ *decoder, c *Config, v value) *fault {
			if v.kind != unstable.Bool {
				return wrongKind(v, "true or false", "true, without quotes")
			}
			*at(c) = v.text == "true"
			return nil
		},
		get: func(c *Config) string { return strconv.FormatBool(*at(c)) },
	}
}

// list is up to most strings that check accepts.
func list(at func(*Config) *[]string, most int, check func(string) *fault) field {
	return field{
		typ: "list of strings",
		set: func(_ *decoder, c *Config, v value) *fault {
			if v.kind != unstable.Array {
				return wrongKind(v, "a list", `["one", "two"]`)
			}
			if len(v.list) > most {
				return &fault{fmt.Sprintf("%d entries are too many", len(v.list)), fmt.Sprintf("give at most %d", most)}
			}
			for _, s := range v.list {
				if f := check(s); f != nil {
					return f
				}
			}
			*at(c) = v.list
			return nil
		},
		get: func(c *Config) string {
			quoted := make([]string, 0, len(*at(c)))
			for _, s := range *at(c) {
				quoted = append(quoted, strconv.Quote(s))
			}
			return "[" + strings.Join(quoted, ", ") + "]"
		},
	}
}

// file is an absolute path, or empty where may is true.
func file(at func(*Config) *string, mayBeEmpty bool) field {
	return text("path", at, func(s string) *fault {
		switch {
		case s == "" && mayBeEmpty:
			return nil
		case !filepath.IsAbs(s) || !plainText(s, 4096):
			// posd's working folder is not the operator's: a relative path would
			// mean one file for posd and another for posctl.
			return &fault{fmt.Sprintf("%q is not an absolute path", s), "write the whole path, beginning with /"}
		}
		return nil
	})
}
