package wire

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestFiles(t *testing.T) {
	b := AppendFile(nil, "status.json", []byte("{}\n"))
	b = AppendFile(b, "empty.txt", nil)
	b = AppendFile(b, "log.txt", []byte("a 5\nb"))
	all, err := ParseFiles(b)
	if err != nil || len(all) != 3 || all[0].Name != "status.json" || len(all[1].Content) != 0 || string(all[2].Content) != "a 5\nb" {
		t.Fatalf("%q, %v", all, err)
	}
	for name, bad := range map[string]string{
		"cut": string(b[:len(b)-1]), "path": "../x 0\n", "folder": "a/b 0\n", "hidden": ".x 0\n", "none": " 0\n", "length": "a -1\n", "huge": "a 99999999999\n",
		"no line": "abc", "long name": strings.Repeat("a", 65) + " 0\n", "too much": "a " + strings.Repeat("0", MaxBundle),
	} {
		if _, err := ParseFiles([]byte(bad)); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewKey(t *testing.T) {
	k := MakeNewKey("s1", "t1", 5, "UABC", office)
	b, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	k, err = ParseNewKey(b)
	if err != nil || !k.Verify("s1", "t1", 5, public(office)) {
		t.Fatalf("%+v, %v", k, err)
	}
	other, bare := k, MakeNewKey("s1", "t1", 5, "UABC", nil)
	other.Public = "UABD"
	for name, bad := range map[string]bool{
		"another terminal": k.Verify("s1", "t2", 5, public(office)), "another order": k.Verify("s1", "t1", 6, public(office)),
		"another journal": k.Verify("s1", "t1", 5, public(stranger)), "another key": other.Verify("s1", "t1", 5, public(office)),
		"no signature": bare.Verify("s1", "t1", 5, public(office)), "no journal": k.Verify("s1", "t1", 5, nil),
	} {
		if bad {
			t.Errorf("%s: is taken", name)
		}
	}
}

func FuzzCommandData(f *testing.F) {
	f.Add(AppendFile(AppendFile(nil, "a.txt", []byte("x")), "b", nil))
	f.Add([]byte(`{"nkey":"U","signature":"00"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseFiles(b)
		if err != nil && !errors.Is(err, ErrOrder) {
			t.Fatal(err)
		}
		var again []byte
		for _, x := range all {
			if strings.ContainsAny(x.Name, "/\\\n ") {
				t.Fatalf("file %q", x.Name)
			}
			again = AppendFile(again, x.Name, x.Content)
		}
		if back, err := ParseFiles(again); err != nil || len(back) != len(all) {
			t.Fatalf("%d files read back as %d, %v", len(all), len(back), err)
		}
		if k, err := ParseNewKey(b); err == nil && k.Verify("s", "t", 1, public(office)) {
			t.Fatalf("forged: %+v", k)
		}
	})
}
