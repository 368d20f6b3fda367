package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"posd/pos/config"
	"posd/pos/support"
)

// Words that were sold, or that name somebody. None may leave the terminal.
var private = []string{"Zimtschnecke mit Haselnuss", "CUSTOMER-REF-4711", "idem-key-0815-4242", "AUTH-998877", "S-item-31415"}

const privateSale = `{"lines":[{"item":"S-item-31415","description":"Zimtschnecke mit Haselnuss","tax":"A","price":249}],
	"tenders":[{"kind":"card","amount":249,"reference":"CUSTOMER-REF-4711 AUTH-998877"}]}`

// unpack is name: content of a bundle. A heap profile is a gzip file itself.
func unpack(t *testing.T, b []byte) map[string]string {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(h.Name, "posd-bundle/")
		files[name] = string(content)
		if inner, err := gzip.NewReader(bytes.NewReader(content)); err == nil {
			raw, err := io.ReadAll(inner)
			if err != nil {
				t.Fatal(err)
			}
			files[name+", unpacked"] = string(raw)
		}
	}
}

// secretsAnywhere are the words that must not be in a bundle of the site, in the
// forms in which they might be.
func (s *site) secretsAnywhere() []string {
	words := slices.Clone(private)
	own := strings.TrimSpace(readFile(s.t, filepath.Join(s.data, ownToken)))
	words = append(words, s.token, own)
	for line := range strings.Lines(readFile(s.t, filepath.Join(s.data, tokenFile))) {
		words = append(words, strings.Fields(line)[1]) // the hash
	}
	key, err := config.LoadKey(filepath.Join(s.data, config.KeyFile))
	if err != nil {
		s.t.Fatal(err)
	}
	words = append(words, hex.EncodeToString(key.Seed()))
	for line := range strings.Lines(readFile(s.t, filepath.Join(s.data, config.KeyFile))) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-") {
			words = append(words, line)
		}
	}
	return words
}

// leaks greps for the words, and for receipts.
func leaks(files map[string]string, words []string) (found []string) {
	receipt := regexp.MustCompile(`\bt1-\d+-\d+\b`)
	for name, text := range files {
		for _, w := range words {
			if strings.Contains(text, w) {
				found = append(found, fmt.Sprintf("%q in %s", w, name))
			}
		}
		if r := receipt.FindString(text); r != "" {
			found = append(found, fmt.Sprintf("receipt %s in %s", r, name))
		}
	}
	return found
}

func TestBundleHoldsNothingPrivate(t *testing.T) {
	hubToken := filepath.Join(t.TempDir(), "hub.token")
	writeFile(t, hubToken, "hub-token-abcdefghijklmnop\n")
	s := newSite(t, 3, fmt.Sprintf("[hub]\nurls = [\"nats://127.0.0.1:1\"]\ntoken_file = %q\n", hubToken))
	items := filepath.Join(t.TempDir(), "items.csv")
	writeFile(t, items, "code,description,department,unit,price,tax\nS-item-31415,Zimtschnecke mit Haselnuss,x,pc,2.49,A\n")
	if code, _, errs := posctl(t, "catalogue", "import", items, "-config", s.conf); code != 0 {
		t.Fatal(errs)
	}
	s.start()
	s.sell(privateSale, "idem-key-0815-4242")
	words := append(s.secretsAnywhere(), "hub-token-abcdefghijklmnop")

	before := listing(t, s.data)
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"bundle", "-config", s.conf, "-"}, &out, &errs); code != 0 {
		t.Fatal(code, errs.String())
	}
	files := unpack(t, out.Bytes())
	for _, name := range []string{"README", "versions.txt", "machine.txt", "config.toml", "status.json", "readyz.json", "metrics.txt",
		"doctor.txt", "doctor.json", "journal.txt", "files.txt", "unsettled.json", "slice.json", "goroutines.txt", "heap.pb.gz"} {
		if files[name] == "" {
			t.Errorf("%s is missing in %v", name, fileNames(files))
		}
	}
	for name, want := range map[string]string{"journal.txt": "records      1 to ", "files.txt": "0000000001.seg", "goroutines.txt": "goroutine ",
		"doctor.txt": "ok           journal", "status.json": `"uplink"`, "metrics.txt": "posd_sales_total 1", "unsettled.json": `"sales": 4`} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%q is not in %s:\n%s", want, name, files[name])
		}
	}
	if found := leaks(files, words); len(found) > 0 {
		t.Error(found)
	}
	// posd itself goes on writing its note; nothing else may have changed.
	if after := listing(t, s.data); withoutNote(after) != withoutNote(before) {
		t.Errorf("the data folder was written to:\n%s\n%s", before, after)
	}
	if out.Len() > bundleSize {
		t.Errorf("%d bytes", out.Len())
	}

	// The controls: each word that is planted must be found, and what the bundle cleans
	// is really cleaned by it.
	for i, w := range words {
		if len(leaks(map[string]string{"planted": "x" + w + "x"}, words)) == 0 {
			t.Errorf("word %d is not found when it is there", i)
		}
	}
	if len(leaks(map[string]string{"planted": "sale t1-1-3 done"}, nil)) == 0 {
		t.Error("a receipt is not found when it is there")
	}
	c, _, err := config.Load(s.conf, false)
	if err != nil {
		t.Fatal(err)
	}
	var clean bytes.Buffer
	b := &support.Bundle{Left: 1 << 20, Secrets: secretsOf(c), Put: func(_ string, text []byte) error { _, err := clean.Write(text); return err }}
	dirty := "connect nats://user:pass@host failed, Authorization: Bearer abcdefghijkl, " + strings.Join(words[len(private):], " ")
	if len(leaks(map[string]string{"log": dirty}, words[len(private):])) == 0 {
		t.Error("the dirty text is clean")
	}
	b.Text("log", 1<<20, []byte(dirty))
	text := clean.String()
	if strings.Contains(text, "pass") || strings.Contains(text, "abcdefghijkl") {
		t.Error(text)
	}
	if found := leaks(map[string]string{"log": text}, []string{s.token, "hub-token-abcdefghijklmnop", words[len(private)+1], words[len(private)+2]}); len(found) > 1 {
		t.Error(found) // the front end's own token is known here by its hash only
	}
}

func fileNames(files map[string]string) (out []string) {
	for name := range files {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func withoutNote(listing string) string {
	return regexp.MustCompile(`(?m)^\S+/(floor|view\.db|uplink\.state\S*|\d+\.seg|journal|data) .*$`).ReplaceAllString(listing, "")
}

func TestBundleWithoutPosd(t *testing.T) {
	data, conf := terminalFolder(t, 2)
	before := listing(t, data)
	to := filepath.Join(t.TempDir(), "b.tar.gz")
	code, out, errs := posctl(t, "bundle", to, "-config", conf)
	if code != 0 || out != to+"\n" {
		t.Fatal(code, out, errs)
	}
	files := unpack(t, []byte(readFile(t, to)))
	for _, name := range []string{"journal.txt", "doctor.txt", "status.missing.txt", "heap.missing.txt"} {
		if files[name] == "" {
			t.Errorf("%s is missing in %v", name, fileNames(files))
		}
	}
	if listing(t, data) != before {
		t.Error("the data folder was written to")
	}
	if st, err := os.Stat(to); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st.Mode(), err)
	}
	// It overwrites nothing, and keeps out of the data folder, also through a link.
	if code, _, _ := posctl(t, "bundle", to, "-config", conf); code != exitFailed {
		t.Error("a file was overwritten:", code)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{filepath.Join(data, "b.tar.gz"), filepath.Join(data, "journal", "b.tar.gz"), filepath.Join(link, "b.tar.gz")} {
		if code, _, errs := posctl(t, "bundle", at, "-config", conf); code != exitUsage || exists(at) {
			t.Errorf("%s: %d %s", at, code, errs)
		}
	}
	if code, _, _ := posctl(t, "bundle", "a", "b", "-config", conf); code != exitUsage {
		t.Error(code)
	}
	// Without a usable configuration there is less in it, not nothing.
	var b bytes.Buffer
	if code := run(t.Context(), []string{"bundle", "-config", conf + ".none", "-"}, &b, io.Discard); code != 0 {
		t.Fatal(code)
	}
	if files := unpack(t, b.Bytes()); files["doctor.txt"] == "" || !strings.Contains(files["config.txt"], "no such file") {
		t.Error(fileNames(files))
	}
}

func TestBundleIsBounded(t *testing.T) {
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	b := &support.Bundle{Left: 1000, Put: into(tw, time.Now())}
	b.Text("long", 400, bytes.Repeat([]byte("x"), 5000))
	b.Text("longer", 5000, bytes.Repeat([]byte("y"), 5000))
	b.Text("none", 5000, bytes.Repeat([]byte("z"), 5000))
	if err := tw.Close(); err != nil || b.Err != nil {
		t.Fatal(err, b.Err)
	}
	s := out.String()
	if n := strings.Count(s, "x") + strings.Count(s, "y") + strings.Count(s, "z"); n > 1000 || !strings.Contains(s, "the beginning was left out") {
		t.Errorf("%d of 1000 bytes", n)
	}
	if got := bundleName(&config.Config{Terminal: config.Terminal{Store: "s1", ID: "t1"}}, time.Date(2026, 11, 21, 9, 8, 7, 0, time.UTC)); got != "posd-s1-t1-20261121T090807Z.tar.gz" {
		t.Error(got)
	}
}

// What the bundle says of the configuration is all of it, and is the same one.
func TestEffectiveConfig(t *testing.T) {
	_, conf := terminalFolder(t, 0)
	text := strings.Replace(readFile(t, conf), "[tax]\nA = \"19\"", "rounding = \"line\"\nprices = \"exclusive\"\nday_start = \"04:30\"\n[tax]\nA = \"19\"\nB = \"7.25\"\nC = \"0\"", 1)
	writeFile(t, conf, text+"[hub]\nurls = [\"nats://a.example:4222\", \"tls://b.example:4222\"]\nshard = 3\n[log]\nlevel = \"debug\"\n")
	c, _, err := config.Load(conf, false)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again.toml")
	effective := effectiveConfig(c)
	writeFile(t, again, effective)
	d, _, err := config.Load(again, false)
	if err != nil {
		t.Fatalf("%v\n%s", err, effective)
	}
	if c.Hash() != d.Hash() {
		t.Errorf("another configuration:\n%s", effective)
	}
	// The control: a key that is left out is seen, by its default.
	writeFile(t, again, strings.Replace(effective, "shard = 3  # posd.toml\n", "", 1))
	if d, _, err := config.Load(again, false); err != nil || c.Hash() == d.Hash() {
		t.Error("a key that is missing is not seen", err)
	}
	// So that keys with default values are not forgotten: all of the reference are there.
	var ref bytes.Buffer
	if err := config.WriteReference(&ref); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^#?([a-z_]+) = `).FindAllStringSubmatch(ref.String(), -1) {
		if !regexp.MustCompile(`(?m)^` + m[1] + ` = `).MatchString(effective) {
			t.Errorf("key %s is not told", m[1])
		}
	}
}
