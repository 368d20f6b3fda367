package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"posd/packaging/lab/place"
	"posd/packaging/lab/slicebench/rig"
	"posd/pos"
)

// TestMain is also the peer, as the program itself is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == peerFlag {
		main()
		return
	}
	os.Exit(m.Run())
}

func newPeer(t *testing.T, most int) (*httptest.Server, *store) {
	t.Helper()
	items := filepath.Join(t.TempDir(), "items.csv")
	if err := os.WriteFile(items, catalogue(), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &peer{rates: map[string]pos.Rate{"A": 190_000, "B": 70_000}, token: sha256.Sum256([]byte("secret"))}
	var err error
	if p.items, err = readItems(items); err != nil {
		t.Fatal(err)
	}
	if p.store, err = openStore(filepath.Join(t.TempDir(), "till.db"), most); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(p.checkout))
	t.Cleanup(func() {
		s.Close()
		if err := p.store.close(); err != nil {
			t.Error(err)
		}
	})
	return s, p.store
}

// TestPeerKeepsItsPromises: an honest peer makes a sale once for each key, and its
// sums are posd's.
func TestPeerKeepsItsPromises(t *testing.T) {
	for _, most := range []int{1, 256} {
		s, st := newPeer(t, most)
		ask := func(key, body string) (int, string) {
			r, _ := http.NewRequest("POST", s.URL, strings.NewReader(body))
			r.Header = http.Header{"Authorization": {"Bearer secret"}, "Content-Type": {"application/json"}, "Idempotency-Key": {key}}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var b bytes.Buffer
			b.ReadFrom(res.Body)
			return res.StatusCode, b.String()
		}
		const body = `{"lines":[{"item":"100110","quantity":3},{"item":"100001"}],"tenders":[{"kind":"cash","amount":5000}]}`
		status, first := ask("k", body)
		var a struct{ Sale struct{ Total, Change int64 } }
		if err := json.Unmarshal([]byte(first), &a); err != nil || status != 201 || a.Sale.Total != 3*1110+201 || a.Sale.Change != 5000-3531 {
			t.Errorf("%d %s, %v", status, first, err)
		}
		if status, again := ask("k", body); status != 200 || again != first {
			t.Errorf("repeated: %d %s, was %s", status, again, first)
		}
		if status, text := ask("k", strings.Replace(body, "5000", "6000", 1)); status != 409 {
			t.Errorf("another body: %d %s", status, text)
		}
		if status, text := ask("x", strings.Replace(body, "5000", "1", 1)); status != 422 {
			t.Errorf("underpaid: %d %s", status, text)
		}
		if st.last != 1 {
			t.Errorf("%d sales", st.last)
		}
	}
}

// TestWholeRun does all that a long run does, for moments.
func TestWholeRun(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+"/", "./cmd/posd", "./cmd/posctl")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p, err := place.Shared(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Remove()
	o := options{rounds: 1, long: 20 * time.Millisecond, scans: 40, bin: rig.Programs{Posd: filepath.Join(dir, "posd"), Posctl: filepath.Join(dir, "posctl")}}
	rep, err := o.measure(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	rep.print(&out)
	for _, want := range []string{`(?m)^sales of 20 lines$`, `(?m)^ratio posd-procs1 5 8 \d+\.\d\d$`, `(?m)^ratio sqlite 20 32 \d+\.\d\d$`, `(?m)^ratio sqlite-grouped 1 1 \d+\.\d\d$`,
		`(?m)^target sales-5-32-over-sqlite \d+\.\d\d 3\.00 (met|missed)$`, `(?m)^target user-us-5-32 \d+\.\d\d 100\.00 `, `GET /v1/items/CODE`} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("%s is missing in\n%s", want, out.String())
		}
	}
	path := filepath.Join(t.TempDir(), "new", "document.md")
	if err := rep.writeDocument(path); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, []byte("<no value>")) || bytes.Contains(b, []byte("NaN")) {
		t.Fatalf("%v\n%s", err, b)
	}
	s := rep.servers[2]
	if s.made++; s.same(s.made-1) == nil || s.made == 0 {
		t.Error("a sale that a contender does not have was not missed")
	}
}

func TestTargetsAreJudged(t *testing.T) {
	for text, x := range map[string]target{
		"target a 3.00 3.00 met":    {"a", 3, 3, true},
		"target a 2.99 3.00 missed": {"a", 2.99, 3, true},
		"target a 5.00 5.00 met":    {"a", 5, 5, false},
		"target a 5.01 5.00 missed": {"a", 5.01, 5, false},
	} {
		if x.String() != text {
			t.Errorf("%s, want %s", x, text)
		}
	}
}
