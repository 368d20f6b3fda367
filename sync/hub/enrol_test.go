package hub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nkeys"
	"golang.org/x/time/rate"

	"posd/sync/ledger"
)

func userKey(t *testing.T) string {
	t.Helper()
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	s, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *Hub) asked(path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+h.api)
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, r)
	return w
}

// TestEnrol: what is asked wrongly uses no token up, and of many that use one at once
// one is let in.
func TestEnrol(t *testing.T) {
	h, err := Open(Options{Dir: t.TempDir(), NATSListen: "127.0.0.1:0", Auth: AuthJWT, Shards: []int{3}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	w := h.asked("/v1/enrol/tokens", `{"by":"me","why":"test","store":"s1","terminal":"t1","seconds":60}`)
	var made NewToken
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != 200 || made.Shard != 3 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	request := func(store, terminal, token, nkey string) string {
		return fmt.Sprintf(`{"token":%q,"store":%q,"terminal":%q,"nkey":%q}`, token, store, terminal, nkey)
	}
	for _, c := range []struct {
		body string
		code int
		says string
	}{
		{"", 400, "not the JSON"},
		{strings.Repeat(" ", maxEnrolBody+1), 400, "at most 4096 bytes"},
		{request("s1", "t1", made.Token, "U"), 403, "no public user key"},
		{request("s1", "t1", made.Token, made.Token), 403, "no public user key"},
		{request("s1", "t2", made.Token, userKey(t)), 403, "not the token of s1.t2"},
		{request("s1", "t1", made.Token+"x", userKey(t)), 403, "not the token of s1.t1"},
		{request("s1", "t1", "", userKey(t)), 403, "not the token of s1.t1"},
		{request("s1", "*", made.Token, userKey(t)), 400, "must be 1 to 32 of"},
		{request("all", "t1", made.Token, userKey(t)), 400, "no store may be called"},
	} {
		if w := h.asked("/v1/enrol", c.body); w.Code != c.code || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%.60q: %d %s", c.body, w.Code, w.Body)
		}
	}

	var mu sync.Mutex
	let := map[string]string{}
	var wg sync.WaitGroup
	for range 8 {
		nkey := userKey(t)
		for range 2 { // its answer may be lost
			wg.Go(func() {
				w := h.asked("/v1/enrol", request("s1", "t1", made.Token, nkey))
				mu.Lock()
				defer mu.Unlock()
				if w.Code == 200 {
					let[nkey] = w.Body.String()
				} else if w.Code != 403 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
	}
	wg.Wait()
	if len(let) != 1 {
		t.Fatalf("%d keys were let in with one token", len(let))
	}
	for _, answer := range let {
		var a EnrolAnswer
		if err := json.Unmarshal([]byte(answer), &a); err != nil || a.Shard != 3 || len(a.URLs) != 1 || len(a.OfficeKey) != 64 || a.JWT == "" {
			t.Errorf("%v: %s", err, answer)
		}
	}
	if err := h.ledger.View(t.Context(), func(tx ledger.Tx) error {
		for _, kind := range []string{kindEnrol, kindAudit, docDevice} {
			if err := tx.Docs(kind, "", func(_ string, v []byte) (bool, error) {
				if bytes.Contains(v, []byte(made.Token)) {
					t.Errorf("the token is kept in %s", kind)
				}
				return true, nil
			}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}

	h.enrolLimit = rate.NewLimiter(0, 1)
	h.asked("/v1/enrol", "")
	if w := h.asked("/v1/enrol", ""); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("without limit: %d", w.Code)
	}
}

// TestOfficeKeyLost: another office key than the one that terminals know is of no use.
func TestOfficeKeyLost(t *testing.T) {
	dir := t.TempDir()
	h, err := Open(Options{Dir: dir, NATSListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	key, err := h.office(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := h.office(t.Context()); err != nil || !again.Equal(key) {
		t.Fatal("another key", err)
	}
	beside := &Hub{opt: Options{Dir: t.TempDir()}, ledger: h.ledger}
	if _, err := beside.office(t.Context()); err == nil || !strings.Contains(err.Error(), "copy the folder from the first hub") {
		t.Errorf("a hub beside made a key of its own: %v", err)
	}
}
