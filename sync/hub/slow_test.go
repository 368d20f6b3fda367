package hub

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// begin sends the head of a request, and the first of its two halves of a body.
func begin(t *testing.T, srv *httptest.Server, path, token string, halves [2]string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		path, token, len(halves[0]+halves[1]), halves[0]); err != nil {
		t.Fatal(err)
	}
	return c
}

func answerOf(t *testing.T, c net.Conn) (code int, body string) {
	t.Helper()
	w, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.StatusCode, string(b)
}

// TestSlowBodies: who has no token cannot hold a connection with a body that does not
// come; who has one may be slow, and an answer may take as long as it needs.
func TestSlowBodies(t *testing.T) {
	h, err := Open(Options{Dir: t.TempDir(), NATSListen: "127.0.0.1:0", Auth: AuthJWT})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	const short = 50 * time.Millisecond
	h.bodies = bodyTimes{short, time.Hour}
	srv := httptest.NewServer(h.Handler())
	t.Cleanup(srv.Close) // after the connections' end
	halves := [2]string{`{"by":"me","why":"test","store":"s1",`, `"terminal":"t1","seconds":60}`}

	c := begin(t, srv, "/v1/enrol", "", halves)
	if code, body := answerOf(t, c); code != 400 || !strings.Contains(body, "not read to its end") {
		t.Errorf("a body that does not come: %d %s", code, body)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection of a body that did not come: %v", err)
	}
	c = begin(t, srv, "/v1/enrol/tokens", "wrong", halves)
	if code, body := answerOf(t, c); code != 401 {
		t.Errorf("a wrong token: %d %s", code, body)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("the connection of one with a wrong token: %v", err)
	}

	c = begin(t, srv, "/v1/enrol/tokens", h.api, halves)
	time.Sleep(4 * short)
	if _, err := io.WriteString(c, halves[1]); err != nil {
		t.Fatal(err)
	}
	if code, body := answerOf(t, c); code != 200 {
		t.Errorf("slow, with the token: %d %s", code, body)
	}

	long := httptest.NewServer(h.bodies.timely(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
			http.Error(w, "the request has ended", http.StatusInternalServerError)
		case <-time.After(4 * short):
		}
	})))
	defer long.Close()
	for _, body := range []string{"", "some"} {
		w, err := http.Post(long.URL, "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		w.Body.Close()
		if w.StatusCode != 200 {
			t.Errorf("body %q: a long answer: %s", body, w.Status)
		}
	}
}
