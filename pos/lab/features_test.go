package lab

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFeaturesExist keeps docs/features.md true: what it names is there, each row names
// a test, and each path of the interface has a row.
func TestFeaturesExist(t *testing.T) {
	const root = "../.."
	page, err := os.ReadFile(filepath.Join(root, "docs/features.md"))
	if err != nil {
		t.Fatal(err)
	}
	served := documented(t, filepath.Join(root, "pos/httpapi/openapi.json"))
	code := regexp.MustCompile("`([^`]+)`")
	test := regexp.MustCompile(`^([a-z0-9/]+)\.((?:Test|Fuzz)\w+)$`)
	rows := 0
	for i, row := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(row, "| ") || strings.HasPrefix(row, "| feature") || strings.HasPrefix(row, "| failure") {
			continue
		}
		rows++
		tests := 0
		for _, m := range code.FindAllStringSubmatch(row, -1) {
			word := m[1]
			at := test.FindStringSubmatch(word)
			method, path, isRoute := strings.Cut(word, " /")
			switch {
			case at != nil:
				if tests++; !tested(t, filepath.Join(root, at[1]), at[2]) {
					t.Errorf("line %d: there is no test %s in %s", i+1, at[2], at[1])
				}
			case isRoute:
				if _, ok := served[method+" /"+path]; !ok {
					t.Errorf("line %d: the interface has no %s", i+1, word)
				}
				served[method+" /"+path] = true
			case strings.Contains(word, "/"):
				if _, err := os.Stat(filepath.Join(root, word)); err != nil {
					t.Errorf("line %d: %v", i+1, err)
				}
			}
		}
		if tests == 0 {
			t.Errorf("line %d names no test: %s", i+1, row)
		}
	}
	for route, named := range served {
		if !named {
			t.Errorf("%s is in no row", route)
		}
	}
	if rows < 60 {
		t.Errorf("%d rows", rows)
	}
}

// tested says whether a package has a test function of that name.
func tested(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

// documented are the methods and paths of the OpenAPI document.
func documented(t *testing.T, file string) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for path, item := range doc.Paths {
		for method := range item {
			if method == "get" || method == "post" {
				all[strings.ToUpper(method)+" "+path] = false
			}
		}
	}
	return all
}
