package config

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// FuzzDecode feeds any bytes to the whole reader. It must not panic; a file that
// it accepts must be complete; a problem must lie in the file.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(""))
	f.Add([]byte("tax = {A = \"19\", B = [[1], {x = 2}]}\n[a.b.\"c d\"]\nx = 1979-05-27T07:32:00Z\n[[q]]\ny = '''\n'''"))
	f.Add([]byte(minimal + "[data]\nretention = \"1d12h\"\nsegment = \"64KiB\"\n[http]\nlisten = \"[::1]:0\"\norigins = [\"https://a.example\"]\n"))
	var ref bytes.Buffer
	if err := WriteReference(&ref); err != nil {
		f.Fatal(err)
	}
	f.Add(ref.Bytes())
	zone := func(string) (*time.Location, error) { return time.UTC, nil }
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > maxFile {
			return
		}
		d := decode("f", text, zone)
		last := 1 + bytes.Count(text, []byte{'\n'})
		for _, p := range append(d.problems, d.warnings...) {
			if p.Line < 0 || p.Line > last || p.What == "" || strings.ContainsAny(p.Key, "\n\r") {
				t.Errorf("bad problem %+v of %d lines", p, last)
			}
		}
		if len(d.problems) > 0 {
			return
		}
		c := d.config
		if !validName(c.Terminal.Store, 32) || !validName(c.Terminal.ID, 32) || c.Terminal.Currency.Code == "" || c.Terminal.TimeZone == nil ||
			len(c.Taxes) == 0 || c.Data.Segment < 64<<10 || c.Data.MaxBytes < 4*c.Data.Segment || c.Data.Retention <= 0 ||
			c.HTTP.MaxBody <= 0 || c.Limits.Memory <= 0 || c.Hub.Stream == "" {
			t.Errorf("accepted, but incomplete: %+v", *c)
		}
		if !c.HTTP.AllowRemote && c.HTTP.Listen != "" && !isLoopback(c.HTTP.Listen) {
			t.Errorf("listens to the world: %q", c.HTTP.Listen)
		}
		if again := decode("f", text, zone); again.config.Hash() != c.Hash() {
			t.Error("the same text gave two hashes")
		}
	})
}
