package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// listener reads a stream of events as a browser does.
type listener struct {
	t    testing.TB
	r    *bufio.Reader
	last string // id
	stop func()
}

type sent struct{ id, kind, data string }

func (g *rig) listen(query, last string) *listener {
	g.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", g.url("/v1/events"+query), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { stop(); res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		b, _ := io.ReadAll(res.Body)
		g.t.Fatalf("%d %s", res.StatusCode, b)
	}
	l := &listener{t: g.t, r: bufio.NewReader(res.Body), stop: stop}
	if _, ok := l.block(); ok { // the first has no event
		g.t.Fatal("an event at once")
	}
	return l
}

// block reads up to an empty line. ok: it is an event.
func (l *listener) block() (s sent, ok bool) {
	l.t.Helper()
	for {
		line, err := l.r.ReadString('\n')
		if err != nil {
			l.t.Fatal("the stream ended: ", err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			s.id, l.last = value, value
		case "event":
			s.kind = value
		case "data":
			s.data = value
		case "":
			if line == "\n" {
				return s, s.data != ""
			}
		}
	}
}

func (l *listener) next() sent {
	l.t.Helper()
	for {
		if s, ok := l.block(); ok {
			return s
		}
	}
}

func (l *listener) want(kinds ...string) (s sent) {
	l.t.Helper()
	for _, kind := range kinds {
		if s = l.next(); s.kind != kind {
			l.t.Fatalf("%+v, want %s", s, kind)
		}
	}
	return s
}

// A client hears what is durable, as the journal has it, and goes on where it was.
func TestEventStream(t *testing.T) {
	g := newRig(t).start()
	l := g.listen("?types=shift.opened,sale.completed", "")
	id := g.sell(cashSale)
	l.want("shift.opened")
	s := l.want("sale.completed")
	var e struct{ Data struct{ Sale string } }
	if err := json.Unmarshal([]byte(s.data), &e); err != nil || e.Data.Sale != id {
		t.Errorf("%+v, %v", s, err)
	}
	floor, _ := g.j.Floor()
	if s.id != fmt.Sprintf("%s-%d", g.j.ID(), floor) {
		t.Errorf("id %s", s.id)
	}
	l.stop()
	second, third := g.sell(cashSale), g.sell(cashSale)
	g.stop() // nor does a restart lose anything
	g.start()
	l = g.listen("?types=sale.*,basket.opened", l.last)
	for _, id := range []string{second, third} {
		if s := l.want("sale.completed"); !strings.Contains(s.data, id) {
			t.Errorf("%+v", s)
		}
	}
	g.step("/v1/cash/open", `{}`)
	g.step("/v1/baskets", `{}`)
	l.want("basket.opened")
	if all := g.listen("?after=start", ""); all.next().kind != "terminal.started" {
		t.Error("not from the start")
	}
}

func TestEventStreamRefusals(t *testing.T) {
	g := newRig(t).start()
	g.sell(cashSale)
	other := strings.Repeat("0", 32)
	for query, slug := range map[string]string{
		"?x=1": "query-invalid", "?types=": "query-invalid", "?types=a&types=b": "query-invalid", "?after=7": "query-invalid", "?after=" + other: "query-invalid",
		"?types=" + strings.Repeat("a,", 40) + "a": "query-invalid", "?after=" + other + "-1": "events-gone", "?after=" + g.j.ID().String() + "-99": "events-gone",
	} {
		if a := g.do("GET", "/v1/events"+query, ""); a.slug() != slug {
			t.Errorf("%s: %s", query, a.body)
		}
	}
	if a := g.do("GET", "/v1/events", "", header("Authorization", "")); a.slug() != "unauthorized" {
		t.Errorf("%s", a.body)
	}
	if a := g.do("HEAD", "/v1/events", ""); a.StatusCode != 200 {
		t.Errorf("%d", a.StatusCode)
	}
	var open []*listener
	for range mostStreams {
		open = append(open, g.listen("?types=sale.completed", ""))
	}
	if a := g.do("GET", "/v1/events", ""); a.slug() != "too-many-streams" || a.Header.Get("Retry-After") == "" {
		t.Errorf("%s", a.body)
	}
	g.sell(cashSale) // a sale beside them
	for _, l := range open {
		l.want("sale.completed")
		l.stop()
	}
	for end := time.Now().Add(time.Minute); len(g.s.streams) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("streams of clients that are gone stay")
		}
	}
}

// What the journal has freed is named, and not left out in silence.
func TestEventStreamFreed(t *testing.T) {
	g := newRig(t)
	g.open.SegmentSize, g.open.Retention = 64<<10, time.Nanosecond
	g.start()
	first := g.listen("?after=start", "")
	first.next()
	from := first.last
	first.stop()
	for g.j.Oldest() < 3 {
		g.sell(cashSale)
		floor, _ := g.j.Floor()
		g.j.Settle(floor)
		if floor > 5000 {
			t.Fatal("nothing is freed")
		}
	}
	if a := g.do("GET", "/v1/events", "", header("Last-Event-ID", from)); a.slug() != "events-gone" || a.StatusCode != 410 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// The end of posd ends a stream, and is not held up by it.
func TestEventStreamEnds(t *testing.T) {
	g := newRig(t).start()
	l := g.listen("", "")
	g.stop()
	if _, err := io.Copy(io.Discard, l.r); err != nil {
		t.Error(err)
	}
}

// A stream lives longer than a request may take to be read, beats, and ends when its token
// is taken back.
func TestEventStreamLasts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a request may")
	}
	g := newRig(t).start()
	g.s.times.beat = time.Second
	l := g.listen("?types=shift.opened,sale.completed", "")
	for end := time.Now().Add(readTime + 2*time.Second); time.Now().Before(end); {
		if s, ok := l.block(); ok {
			t.Fatal("from nowhere: ", s)
		}
	}
	g.sell(cashSale)
	l.want("shift.opened", "sale.completed")
	g.write("tokens", "")
	g.s.ReloadTokens()
	if _, err := io.Copy(io.Discard, l.r); err != nil {
		t.Error(err)
	}
}

// A token that was taken back hears nothing more, however much there is to tell. The beat
// is so long that it cannot be what ends the stream.
func TestEventStreamEndsWithItsToken(t *testing.T) {
	g := newRig(t)
	other := header("Authorization", "Bearer other")
	g.write("tokens", "till-1 "+hexSum(secret)+" t\ntill-2 "+hexSum("other")+" t\n")
	g.start()
	g.s.times.beat = time.Hour
	l := g.listen("?types=sale.completed", "")
	first := g.sell(cashSale, other)
	if s := l.next(); !strings.Contains(s.data, first) {
		t.Fatal(s.data)
	}
	g.write("tokens", "till-2 "+hexSum("other")+" t\n")
	g.s.ReloadTokens()
	g.sell(cashSale, other)
	for {
		switch line, err := l.r.ReadString('\n'); {
		case err == io.EOF:
			return
		case err != nil || line == "event: sale.completed\n":
			t.Fatalf("%v, %q", err, line)
		}
	}
}

// A client that takes nothing is cut, and keeps nobody from selling.
func TestEventStreamOfASlowClient(t *testing.T) {
	g := newRig(t).start()
	g.s.times.write = 200 * time.Millisecond
	c, err := net.Dial("tcp", g.s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", secret)
	for end := time.Now().Add(time.Minute); len(g.s.streams) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no stream")
		}
	}
	line := strings.Repeat(`{"description":"`+strings.Repeat("x", 200)+`","tax":"A","amount":1},`, 200)
	body := `{"lines":[` + strings.TrimSuffix(line, ",") + `],"tenders":[{"kind":"cash","amount":1000}]}`
	for n := 0; len(g.s.streams) > 0; n++ {
		if n > 2000 {
			t.Fatal("it is not cut")
		}
		g.sell(body)
	}
}
