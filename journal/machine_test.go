package journal

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMachine(t *testing.T) {
	const serial, id = "sys/firmware/devicetree/base/serial-number", "etc/machine-id"
	for name, row := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":            {nil, ""},
		"board":              {map[string]string{serial: "10000000c0ffee\x00", id: "abc\n"}, "serial-number:10000000c0ffee"},
		"board without one":  {map[string]string{serial: "0000000000000000\x00", id: "abc\n"}, "machine-id:abc"},
		"installed system":   {map[string]string{id: "abc\n"}, "machine-id:abc"},
		"made up for a boot": {map[string]string{id: "abc\n", "run/machine-id": "abc\n"}, ""},
		"first boot":         {map[string]string{id: "uninitialized\n"}, ""},
	} {
		root := t.TempDir() + "/"
		for path, text := range row.files {
			os.MkdirAll(filepath.Dir(root+path), 0o755)
			if err := os.WriteFile(root+path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := machineBelow(root); got != row.want {
			t.Errorf("%s: got %q, want %q", name, got, row.want)
		}
	}
}
