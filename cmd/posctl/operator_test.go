package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"posd/pos/operator"
)

// staffOf writes what posctl operator writes. PINs are given by name.
func staffOf(t *testing.T, data string, roles, pins map[string]string) {
	t.Helper()
	k := operator.NewKey()
	var list []operator.Entry
	for name, role := range roles {
		list = operator.Set(list, operator.Entry{Name: name, Role: role, Check: k.Check(name, []byte(pins[name]))}, time.Now())
	}
	writeFile(t, filepath.Join(data, operator.KeyFile), string(k.Append(nil)))
	writeFile(t, filepath.Join(data, operator.File), string(operator.Format(list)))
}

// post asks the running posd for something and returns the answer's status, its body,
// and its problem, if it is one.
func (s *site) post(path, body string, header ...string) (status int, text, problem string) {
	s.t.Helper()
	c := http.Client{Transport: &http.Transport{DialContext: dialUnix(filepath.Join(filepath.Dir(s.conf), "sock")), DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(s.t.Context(), "POST", "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	var p struct{ Type string }
	if err == nil && json.Unmarshal(b, &p) == nil {
		problem = strings.TrimPrefix(p.Type, "urn:posd:problem:")
	}
	return resp.StatusCode, string(b), problem
}

func (s *site) kill() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.ended
	s.cmd.Wait()
	s.cmd = nil
}

// Whoever kills posd, or cuts its power, after each guess gets no guess more for it: a
// wrong PIN is durable before it is answered. posctl lets the operator in again.
func TestGuessesUnderKills(t *testing.T) {
	s := newSite(t, 1, "[operators]\nattempts = 4\n")
	pins := map[string]string{"anna": "4711", "carla": "271828"}
	staffOf(t, s.data, map[string]string{"anna": "cashier", "carla": "manager"}, pins)
	s.start()
	in := func(name, pin string) (session, problem string) {
		status, text, problem := s.post("/v1/operators/sign-in", fmt.Sprintf(`{"operator":%q,"pin":%q}`, name, pin))
		var a struct{ Session string }
		if status == http.StatusCreated {
			json.Unmarshal([]byte(text), &a)
		}
		return a.Session, problem
	}
	wrong := 0
	for i := range 8 {
		if _, problem := in("carla", fmt.Sprint("99", i)); problem == "pin-wrong" {
			wrong++
		} else if problem != "operator-locked" {
			t.Fatal(problem)
		}
		s.kill()
		s.start()
	}
	if wrong != 3 {
		t.Errorf("%d guesses were answered, want 3 and then the lock", wrong)
	}
	if _, problem := in("carla", pins["carla"]); problem != "operator-locked" {
		t.Errorf("the right PIN: %s", problem)
	}
	if _, out, _ := posctl(t, "status", "-config", s.conf); !strings.Contains(out, "locked: carla (posctl operator unlock)") {
		t.Errorf("%s", out)
	}
	anna, problem := in("anna", pins["anna"])
	if anna == "" {
		t.Fatal(problem)
	}
	if _, _, problem := s.post("/v1/checkout", saleBody, "Idempotency-Key", "k", "Posd-Session", anna); problem != "permission-required" {
		t.Errorf("a cashier sells what is not in the catalogue: %s", problem)
	}
	if code, _, errs := posctl(t, "operator", "unlock", "nobody", "-config", s.conf); code != exitFailed || !strings.Contains(errs, "operator-not-found") {
		t.Errorf("%d %s", code, errs)
	}
	code, out, errs := posctl(t, "operator", "unlock", "carla", "-reason", `she was "here"`, "-config", s.conf)
	if code != 0 || !strings.Contains(out, "carla can sign in again") {
		t.Fatalf("%d %s %s", code, out, errs)
	}
	carla, problem := in("carla", pins["carla"])
	if carla == "" {
		t.Fatal(problem)
	}
	if status, text, _ := s.post("/v1/checkout", saleBody, "Idempotency-Key", "k", "Posd-Session", carla); status != http.StatusCreated || !strings.Contains(text, `"operator":"carla"`) {
		t.Errorf("%d %s", status, text)
	}
	// A change of the file holds within a second, without a restart.
	if code, _, errs := posctl(t, "operator", "role", "anna", "manager", "-config", s.conf); code != 0 {
		t.Fatal(errs)
	}
	status := 0
	for end := time.Now().Add(time.Minute); status != http.StatusCreated && time.Now().Before(end); {
		status, _, _ = s.post("/v1/checkout", saleBody, "Idempotency-Key", "l", "Posd-Session", anna)
	}
	if status != http.StatusCreated {
		t.Error("another role does not hold")
	}
	code, out, errs = posctl(t, "tail", "-n", "50", "-config", s.conf)
	for _, want := range []string{`"type":"operator.locked"`, `"failures":4`, `"type":"operator.unlocked"`, `she was \"here\"`, `"approved":"posctl"`, `"front":"posctl"`} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s is missing: %s %s", want, out, errs)
		}
	}
}

const saleBody = `{"lines":[{"description":"x","tax":"A","price":100}],"tenders":[{"kind":"cash","amount":100}]}`

// What support gets holds nothing that PINs are checked with.
func TestBundleHoldsNoPINs(t *testing.T) {
	s := newSite(t, 1, "")
	staffOf(t, s.data, map[string]string{"anna": "cashier"}, map[string]string{"anna": "4711"})
	s.start()
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"bundle", "-config", s.conf, "-"}, &out, &errs); code != 0 {
		t.Fatal(code, errs.String())
	}
	words := []string{strings.TrimSpace(readFile(t, filepath.Join(s.data, operator.KeyFile))), strings.Fields(strings.SplitAfter(readFile(t, filepath.Join(s.data, operator.File)), "\n")[1])[2]}
	files := unpack(t, out.Bytes())
	if !strings.Contains(files["files.txt"], operator.KeyFile) || len(words[0]) != 64 || len(words[1]) != 64 {
		t.Errorf("%s\n%s", words, files["files.txt"])
	}
	if found := leaks(files, words); len(found) > 0 {
		t.Error(found)
	}
}
