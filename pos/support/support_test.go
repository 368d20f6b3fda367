package support

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"posd/pos/config"
)

func cleaned(text string, secrets ...string) string {
	var b Bundle
	for _, s := range secrets {
		b.Secrets = append(b.Secrets, []byte(s))
	}
	return string(b.clean([]byte(text)))
}

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "",
		"nats://user:pass@host:4222 failed":  "nats://(secret)@host:4222 failed",
		"a://b@c d://e@f":                    "a://(secret)@c d://(secret)@f",
		"http://host/path@x":                 "http://host/path@x",
		"\"nats://host\" a@b":                "\"nats://host\" a@b",
		"://@x ://":                          "://@x ://",
		"Authorization: Bearer abcdefgh.ij=": "Authorization: Bearer (secret)",
		"BEARER abcdefghij, bearer x":        "BEARER (secret), bearer x",
		"bearer abcdefghi bearer":            "bearer (secret) bearer",
		"the word s3cret-s3cret-s3cret!":     "the word (secret)!",
	} {
		if got := cleaned(text, "s3cret-s3cret-s3cret"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestBounds(t *testing.T) {
	var names []string
	total := 0
	b := Bundle{Left: 1000, Put: func(name string, content []byte) error {
		names = append(names, name)
		total += len(content)
		return nil
	}}
	b.Text("a", 400, bytes.Repeat([]byte("x"), 5000))
	b.Text("b", 5000, bytes.Repeat([]byte("y"), 5000))
	b.Text("c", 5000, bytes.Repeat([]byte("z"), 5000))
	b.TextOr("d.json", 10, nil, os.ErrNotExist)
	if strings.Join(names, ",") != "a,b" || total != 1000 || b.Err != nil {
		t.Errorf("%v, %d, %v", names, total, b.Err)
	}
	b = Bundle{Left: 1000, Put: func(string, []byte) error { return os.ErrClosed }}
	b.TextOr("d.json", 100, nil, os.ErrNotExist)
	b.Raw("e", []byte("x"))
	if b.Err != os.ErrClosed {
		t.Error(b.Err)
	}
}

func TestSecretsAndFiles(t *testing.T) {
	dir := t.TempDir()
	c := &config.Config{}
	c.Data.Dir = dir
	for name, text := range map[string]string{"hub.creds": "-----BEGIN NATS USER JWT-----\neyJ0eXAiOiJKV1QifQ.x\n", TokenFile: "till 0123456789abcdef0123 2026\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(bytes.Join(Secrets(c), []byte(" "))); got != "0123456789abcdef0123 eyJ0eXAiOiJKV1QifQ.x" {
		t.Error(got)
	}
	list, err := Files(dir)
	if err != nil || strings.Count(string(list), "\n") != 3 || !strings.Contains(string(list), "hub.creds") {
		t.Errorf("%s, %v", list, err)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("nats://a:b@c bearer 0123456789")
	f.Fuzz(func(t *testing.T, text string) {
		once := cleaned(text, "0123456789abcdef")
		if strings.Contains(once, "0123456789abcdef") {
			t.Fatal(once)
		}
	})
}
