package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mirrorVar names a mirror where apt's own sources list no Debian.
const mirrorVar = "POSD_DEBIAN_MIRROR" // "URI SUITE"

// mirror is where a Debian release is fetched from.
type mirror struct{ uri, suite, signedBy string }

func (m mirror) line() string {
	options := "arch=arm64"
	if m.signedBy != "" {
		options += " signed-by=" + m.signedBy
	}
	return fmt.Sprintf("deb [%s] %s %s main\n", options, m.uri, m.suite)
}

// findMirror takes the first Debian release among the sources of this machine's
// apt: an archive named debian, its component main, and neither updates nor security.
func findMirror(etc string) (mirror, error) {
	if s := os.Getenv(mirrorVar); s != "" {
		uri, suite, ok := strings.Cut(s, " ")
		if !ok {
			return mirror{}, fmt.Errorf("%s=%q: give \"URI SUITE\"", mirrorVar, s)
		}
		return mirror{uri: uri, suite: strings.TrimSpace(suite)}, nil
	}
	files, err := filepath.Glob(filepath.Join(etc, "sources.list.d", "*"))
	if err != nil {
		return mirror{}, err
	}
	slices.Sort(files)
	for _, name := range append([]string{filepath.Join(etc, "sources.list")}, files...) {
		b, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return mirror{}, err
		}
		var found []mirror
		switch filepath.Ext(name) {
		case ".list":
			found = oneLine(string(b))
		case ".sources":
			found = deb822(string(b))
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return mirror{}, fmt.Errorf("apt's sources below %s list no Debian release; set %s=\"URI SUITE\"", etc, mirrorVar)
}

func usable(kind, uri, suite string, components []string) bool {
	return kind == "deb" && strings.HasSuffix(strings.TrimRight(uri, "/"), "/debian") &&
		!strings.ContainsAny(suite, "-/") && slices.Contains(components, "main")
}

// oneLine reads the format of sources.list.
func oneLine(text string) (found []mirror) {
	for line := range strings.Lines(text) {
		var m mirror
		line, _, _ = strings.Cut(line, "#")
		if before, rest, ok := strings.Cut(line, "["); ok {
			options, after, _ := strings.Cut(rest, "]")
			for _, o := range strings.Fields(options) {
				if v, ok := strings.CutPrefix(o, "signed-by="); ok {
					m.signedBy = v
				}
			}
			line = before + after
		}
		f := strings.Fields(line)
		if len(f) < 4 || !usable(f[0], f[1], f[2], f[3:]) {
			continue
		}
		m.uri, m.suite = f[1], f[2]
		found = append(found, m)
	}
	return found
}

// deb822 reads the format of *.sources.
func deb822(text string) (found []mirror) {
	for stanza := range strings.SplitSeq(text, "\n\n") {
		field := map[string]string{}
		for line := range strings.Lines(stanza) {
			if name, value, ok := strings.Cut(line, ":"); ok && name == strings.TrimSpace(name) && name[0] != '#' {
				field[strings.ToLower(name)] = strings.TrimSpace(value)
			}
		}
		if strings.EqualFold(field["enabled"], "no") {
			continue
		}
		for _, kind := range strings.Fields(field["types"]) {
			for _, uri := range strings.Fields(field["uris"]) {
				for _, suite := range strings.Fields(field["suites"]) {
					if usable(kind, uri, suite, strings.Fields(field["components"])) {
						found = append(found, mirror{uri, suite, field["signed-by"]})
					}
				}
			}
		}
	}
	return found
}
