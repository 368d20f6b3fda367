package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var at = time.Date(2026, 11, 21, 8, 30, 0, 0, time.UTC)

func TestVersion(t *testing.T) {
	for release, want := range map[string]string{
		"v1.4.0":                   "1.4.0",
		"1.4":                      "1.4",
		"v1.4.0-rc1":               "1.4.0~rc1",
		"v1.4.0-3-gabc1234":        "1.4.0+3.gabc1234",
		"v1.4.0-3-gabc1234-dirty":  "1.4.0+3.gabc1234+dirty",
		"v1.4.0-rc1-2-g0123abc":    "1.4.0~rc1+2.g0123abc",
		"v1.4.0-dirty":             "1.4.0+dirty",
		"5e15be5":                  "0~20261121083000.5e15be5",
		"1234567":                  "0~20261121083000.1234567",
		"5e15be5-dirty":            "0~20261121083000.5e15be5.dirty",
		"unreleased":               "0~20261121083000.unreleased",
		"":                         "0~20261121083000.unreleased",
		"feature/x_y v2 (mine)":    "0~20261121083000.feature.x.y.v2.mine",
		"v1.4.0-beta.2-1-gdeadbee": "1.4.0~beta.2+1.gdeadbee",
	} {
		if got := version(release, at); got != want {
			t.Errorf("version(%q) = %s, want %s", release, got, want)
		}
	}
}

// The order is dpkg's own to say.
func TestVersionOrder(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("no dpkg here")
	}
	order := []string{"5e15be5", "v1.4.0-rc1", "v1.4.0-rc2", "v1.4.0", "v1.4.0-3-gabc1234", "v1.4.0-12-g0000000", "v1.4.1", "v1.10.0"}
	for i := 1; i < len(order); i++ {
		low, high := version(order[i-1], at), version(order[i], at)
		if err := exec.Command("dpkg", "--compare-versions", low, "lt", high).Run(); err != nil {
			t.Errorf("%s is not below %s: %v", low, high, err)
		}
	}
	early, late := version("fffffff", at), version("0000000", at.Add(time.Second))
	if err := exec.Command("dpkg", "--compare-versions", early, "lt", late).Run(); err != nil {
		t.Errorf("%s is not below %s: %v", early, late, err)
	}
}

// folder has packages, as far as checksums are concerned.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"posd_1_arm64.deb": "one", "posd_1_arm64.deb.contents": "list", "posd_1_aarch64.ipk": "two", "posd-1.img": "image", "other.txt": "not signed"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var all = slices.Concat(packageFiles, imageFiles)

func TestSeal(t *testing.T) {
	dir := folder(t)
	var out bytes.Buffer
	if err := seal(dir, "", all, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "not a release key") {
		t.Errorf("nothing says that the key is none: %s", &out)
	}
	if n, err := verify(dir, ""); err != nil || n != 4 {
		t.Errorf("verify: %d files, %v; want 4", n, err)
	}
	if err := seal(dir, "", packageFiles, &out); err != nil {
		t.Fatal(err)
	}
	if n, err := verify(dir, ""); err != nil || n != 3 {
		t.Errorf("verify without the image: %d files, %v; want 3", n, err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	edit := func(name string, change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, change(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for name, c := range map[string]struct {
		damage func(*testing.T, string)
		want   error
	}{
		"changed package":   {edit("posd_1_arm64.deb", flip), errChecksum},
		"changed list":      {edit("posd_1_arm64.deb.contents", flip), errChecksum},
		"longer image":      {edit("posd-1.img", func(b []byte) []byte { return append(b, 0) }), errChecksum},
		"changed checksums": {edit(sumsFile, flip), errSignature},
		"dropped line":      {edit(sumsFile, func(b []byte) []byte { return b[bytes.IndexByte(b, '\n')+1:] }), errSignature},
		"missing package": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "posd_1_aarch64.ipk")); err != nil {
				t.Fatal(err)
			}
		}, os.ErrNotExist},
		"another's signature": {func(t *testing.T, dir string) {
			other := folder(t)
			if err := seal(other, "", all, io.Discard); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(other, signatureFile))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, signatureFile), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, errSignature},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			if err := seal(dir, "", all, io.Discard); err != nil {
				t.Fatal(err)
			}
			c.damage(t, dir)
			if _, err := verify(dir, ""); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// A release key is used, with its password, and says so; another public key refuses.
// The key in testdata is a test's and has a cheap password hash.
func TestReleaseKey(t *testing.T) {
	dir, key, public := folder(t), "testdata/release.key", "testdata/release.pub"
	if err := seal(dir, key, all, io.Discard); err == nil || !strings.Contains(err.Error(), passwordFile) {
		t.Errorf("without a password: %v", err)
	}
	password := filepath.Join(t.TempDir(), "password")
	t.Setenv(passwordFile, password)
	var out bytes.Buffer
	for _, c := range []struct {
		password string
		right    bool
	}{{"wrong", false}, {"correct horse\n", true}} {
		if err := os.WriteFile(password, []byte(c.password), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := seal(dir, key, all, &out); (err == nil) != c.right {
			t.Fatalf("password %q: %v", c.password, err)
		}
	}
	if strings.Contains(out.String(), "not a release key") {
		t.Errorf("the release key is said to be none: %s", &out)
	}
	if _, err := verify(dir, public); err != nil {
		t.Error(err)
	}
	if err := seal(dir, "", all, io.Discard); err != nil { // a stranger signs anew
		t.Fatal(err)
	}
	if _, err := verify(dir, public); !errors.Is(err, errSignature) {
		t.Errorf("a stranger's signature: %v", err)
	}
}
