package hub

import (
	"strings"
	"testing"

	"posd/pos/event"
	"posd/sync/ledger"
	"posd/sync/wire"
)

// TestSettle: a receipt number that somebody has seen to is no alarm any more, until one
// more sale has it.
func TestSettle(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		r := newRig(t, noBug)
		r.o.LedgerURL = url
		r.start()
		k := newTill(t, "t1", keyA, nil)
		sell := func(number string) {
			k.add(event.RecordType, sale(number, int(k.last())))
			r.settle(r.publish(wire.UpSubject(0, "s1", "t1", k.id), bytesOf(t, k.parcel(1, k.last()))))
		}
		settle := func(number string) (s Settled, code int) {
			code = r.call("POST", "/v1/collisions/settle", `{"store":"s1","terminal":"t1","receipt":"`+number+`","by":"ada","why":"both are right"}`, &s)
			return s, code
		}
		for _, n := range []string{"t1-1-1", "t1-1-1", "t1-1-2", "t1-1-2", "t1-1-3"} {
			sell(n)
		}
		lines := func(path string) int { return strings.Count(r.get(path, r.h.api).Body.String(), "\n") }
		check := func(open, rows, all int) {
			t.Helper()
			if n := r.h.collisionCount(); n != uint64(open) || lines("/v1/collisions?open=true") != rows || lines("/v1/collisions") != all {
				t.Errorf("%d numbers are open with %d sales, want %d with %d; %d in all, want %d", n, lines("/v1/collisions?open=true"), open, rows, lines("/v1/collisions"), all)
			}
		}
		check(2, 4, 4)
		one, code := settle("t1-1-1")
		if two, _ := settle("t1-1-1"); code != 200 || one != two || one.By != "ada" {
			t.Errorf("%d %+v, then %+v", code, one, two)
		}
		check(1, 2, 4)
		for number, want := range map[string]int{"t1-1-3": 404, "t1-1-9": 404, "": 404} {
			if _, code := settle(number); code != want {
				t.Errorf("%q: %d", number, code)
			}
		}
		if n := lines("/v1/audit"); n != 1 {
			t.Errorf("%d entries in the audit trail", n)
		}
		sell("t1-1-1")
		check(2, 5, 5)
		if err := r.all(k.events(map[ledger.Name]string{}), k.names()); err != nil {
			t.Error(err)
		}
	})
}
