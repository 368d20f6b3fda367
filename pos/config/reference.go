package config

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/flate"
)

const referenceHead = `# posd.toml: every key that posd knows.
#
# A key that is commented out shows its default; the others have none and must be
# set. "set by: file" means that only this file decides. "head office may override"
# marks what a configuration push is allowed to change; without one the file decides.
# Check a file before you put it in place: posd --check --config FILE
`

// packed is what writeReference writes.
//
//go:embed reference.flate
var packed []byte

// WriteReference prints a commented configuration with every key. The output is
// itself a valid file.
func WriteReference(w io.Writer) error {
	_, err := io.Copy(w, flate.NewReader(bytes.NewReader(packed)))
	return err
}

// writeReference makes it from the table of keys.
func writeReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(referenceHead)
	table := ""
	for i := range keys {
		k := &keys[i]
		t, last, _ := strings.Cut(k.name, ".")
		if t != table {
			table = t
			fmt.Fprintf(&b, "\n[%s]\n", t)
		}
		b.WriteByte('\n')
		for _, line := range strings.Split(doc(k.name), "\n") {
			fmt.Fprintf(&b, "# %s\n", line)
		}
		fmt.Fprintf(&b, "# %s · set by: %s\n", k.typ(), k.owner)
		switch {
		case k.name == taxKeys:
			fmt.Fprintf(&b, "%s\n", k.example)
		case k.def == "":
			fmt.Fprintf(&b, "%s = %s\n", last, k.example)
		default:
			fmt.Fprintf(&b, "#%s = %s\n", last, k.def)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
