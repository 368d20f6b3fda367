// Package monitoring holds the alert rules. Its tests read them strictly, ask the real
// programs for every metric that they name, and hold posd's against what is documented.
package monitoring

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"posd/journal"
	"posd/pos/register"
	"posd/sync/hub"
)

const rules = "posd.rules.yml"

// shapes are the lines that a rule has, in this order; "for" may be missing.
var shapes = []*regexp.Regexp{
	regexp.MustCompile(`^      - alert: [A-Z][A-Za-z]+$`),
	regexp.MustCompile(`^        expr: \S.*\S$`),
	regexp.MustCompile(`^        for: [0-9]+[mh]$`),
	regexp.MustCompile(`^        labels: \{severity: (warning|critical)\}$`),
	regexp.MustCompile(`^        annotations:$`),
	regexp.MustCompile(`^          summary: "[^"\\]+"$`),
	regexp.MustCompile(`^          runbook: "[^"\\]+"$`),
}

var (
	inBraces = regexp.MustCompile(`\{[^{}]*\}|\[[0-9]+[mh]\]`)
	metric   = regexp.MustCompile(`\b(posd|poshub)_[a-z_]+\b`)
)

// check reads rules and returns what is wrong with them, and the metrics that they name.
func check(text string) (wrong []string, metrics map[string]bool) {
	metrics = make(map[string]bool)
	at, seen := 0, map[string]bool{}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		bad := func(why string) { wrong = append(wrong, fmt.Sprintf("line %d: %s: %s", i+1, why, line)) }
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || line == "groups:" || line == "    rules:" || strings.HasPrefix(line, "  - name: ") {
			if at != 0 {
				bad("the rule before is not complete")
			}
			continue
		}
		if at == 2 && !strings.HasPrefix(trimmed, "for:") {
			at++
		}
		if !shapes[at].MatchString(line) {
			bad("expected " + shapes[at].String())
			continue
		}
		switch at {
		case 0:
			if seen[trimmed] {
				bad("twice")
			}
			seen[trimmed] = true
		case 1:
			if bare := inBraces.ReplaceAllString(line, ""); strings.Count(bare, "(") != strings.Count(bare, ")") || strings.ContainsAny(bare, "{}[]") || strings.Count(line, `"`)%2 != 0 {
				bad("brackets or quotes do not fit")
			}
			for _, m := range metric.FindAllString(line, -1) {
				metrics[m] = true
			}
		}
		at = (at + 1) % len(shapes)
	}
	if at != 0 || len(seen) == 0 {
		wrong = append(wrong, "the last rule is not complete")
	}
	return wrong, metrics
}

func TestRules(t *testing.T) {
	b, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	wrong, metrics := check(text)
	for _, w := range wrong {
		t.Error(w)
	}
	there := append(hubMetrics(t), posdMetrics(t)...)
	has := func(name string) bool {
		return regexp.MustCompile(`(?m)^` + name + `[ {]`).Match(there)
	}
	for name := range metrics {
		if !has(name) {
			t.Errorf("%s names %s, which neither posd nor poshub has", rules, name)
		}
	}
	// An alarm that no rule could see is a typing error.
	for _, codes := range regexp.MustCompile(`alarm=~?"([^"]+)"`).FindAllStringSubmatch(text, -1) {
		for code := range strings.SplitSeq(codes[1], "|") {
			if !bytes.Contains(there, []byte(`poshub_terminals_alarm{alarm="`+code+`"}`)) {
				t.Errorf("no terminal has alarm %q", code)
			}
		}
	}
	// Planted mistakes must be seen.
	if has("poshub_ingestion") {
		t.Error("a metric is found that is none")
	}
	for from, to := range map[string]string{"expr: max by (shard) (": "expr: max by (shard (", `{quantile="1"}`: `{quantile="1"`, "        for: 2m": "        for: 2 minutes",
		"      - alert: PoshubDown": "      - alert: PoshubDeaf", "severity: critical": "severity: high", "runbook": "runbok"} {
		if bad := strings.Replace(text, from, to, 1); bad == text {
			t.Errorf("%q is not there", from)
		} else if wrong, _ := check(bad); len(wrong) == 0 {
			t.Errorf("not seen: %q", to)
		}
	}
}

func hubMetrics(t *testing.T) []byte {
	h, err := hub.Open(hub.Options{Dir: filepath.Join(t.TempDir(), "hub"), NATSListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var b bytes.Buffer
	h.WriteMetrics(&b)
	return b.Bytes()
}

// TestDocumented: operate.md has each metric of posd, and no other.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	written, there := map[string]bool{}, map[string]bool{}
	family := ""
	for _, m := range regexp.MustCompile("`((posd_[a-z]+)?_[a-z0-9_]+)(\\{[^`]*\\})?`").FindAllSubmatch(text, -1) {
		name := string(m[1])
		if m[2] != nil {
			family = string(m[2])
		} else {
			name = family + name // as in `posd_journal_segments`, `_bytes`
		}
		written[name] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^(posd_[a-z0-9_]+)[ {]`).FindAllSubmatch(posdMetrics(t), -1) {
		name := string(m[1])
		for _, end := range []string{"_bucket", "_sum", "_count"} { // of a histogram
			if whole := strings.TrimSuffix(name, end); strings.HasSuffix(whole, "_request_seconds") {
				name = whole
			}
		}
		there[name] = true
	}
	for name := range there {
		if !written[name] {
			t.Errorf("%s is not documented", name)
		}
	}
	for name := range written {
		if !there[name] {
			t.Errorf("%s is documented, and posd does not have it", name)
		}
	}
}

// posdMetrics asks a posd that runs; its hub, payment terminal and printer are nowhere.
func posdMetrics(t *testing.T) []byte {
	dir := t.TempDir()
	bin := filepath.Join(dir, "posd")
	if out, err := exec.Command("go", "build", "-o", bin, "posd/cmd/posd").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	conf := filepath.Join(dir, "posd.toml")
	text := fmt.Sprintf("[terminal]\nstore = \"s1\"\nid = \"t1\"\ncurrency = \"EUR\"\ntime_zone = \"UTC\"\n[tax]\nA = \"19\"\n[http]\nlisten = \"127.0.0.1:0\"\n"+
		"[data]\ndir = %q\nsegment = \"64KiB\"\n[hub]\nurls = [\"nats://127.0.0.1:1\"]\n[card]\naddress = \"127.0.0.1:1\"\n[printer]\naddress = \"127.0.0.1:1\"\n", dir)
	line := fmt.Sprintf("till %x 2026-01-01T00:00:00Z\n", sha256.Sum256([]byte("secret")))
	for path, s := range map[string]string{conf: text, filepath.Join(dir, "tokens"): line} {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := journal.Create(filepath.Join(dir, "journal"), journal.CreateOptions{
		Identity: journal.Identity{Store: "s1", Terminal: "t1"}, SegmentSize: 64 << 10, Opening: register.Opening(register.Start{Branch: 1})}); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := exec.Command(bin, "--config", conf)
	c.Stderr = log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { c.Process.Kill(); c.Wait() }()
	ready := regexp.MustCompile(`msg=ready address=(\S+)`)
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		if m := ready.FindSubmatch(b); m != nil {
			return get(t, "http://"+string(m[1])+"/metrics")
		}
		if time.Now().After(end) {
			t.Fatalf("posd is not ready: %s", b)
		}
	}
}

func get(t *testing.T, url string) []byte {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s %v", url, res.Status, b, err)
	}
	return b
}
