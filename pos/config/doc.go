// Package config reads posd's one configuration file, posd.toml.
//
// It guarantees to posd that a Config which Load returned is complete and in
// range: every value was either written in the file and checked, or is the
// documented default. It guarantees to the operator that a refusal names file,
// line, what is wrong and what to do, and that one run lists every problem, not
// just the first.
//
// There are two ways to load. Strict (posd --check, before a file is put in
// place) also refuses unknown keys and unsafe permissions. Lenient (at boot)
// reports those as warnings, because a release that was rolled back must start
// with the file its successor left behind. A bad value refuses in both.
//
// All keys stand in one table (keys.go): name, type, default, owner, text and
// how it is set. The reference, docs/config.md, the defaults and the hash of the
// effective configuration come from that table, so they cannot disagree.
//
// The package does not watch the file, does not read the secrets that it names,
// and does not create anything.
package config
