package httpapi

import (
	"fmt"
	"net/url"
	"sync"
	"testing"

	"posd/pos/event"
	"posd/pos/register"
)

// became expects what is told of a basket that is neither open nor parked.
func (g *rig) became(at, cause, sale string) {
	g.t.Helper()
	for _, a := range []answer{g.do("GET", at, ""), g.do("POST", at+"/lines", apple)} {
		if p := a.members(); a.slug() != "basket-not-found" || a.StatusCode != 404 || p.Cause != cause || p.Sale != sale {
			g.t.Errorf("%s %s: %d %s, want %q, %q", a.Request.Method, at, a.StatusCode, a.body, cause, sale)
		}
	}
}

// paid is a basket that can be completed.
func (g *rig) paid(body string) (at string) {
	g.t.Helper()
	at = g.basketOf(body)
	g.step(at+"/tenders", `{"kind":"cash","amount":500}`)
	return at
}

// Whoever has lost the answer to the last step of a basket hears what became of it, also
// after a restart.
func TestWhatBecameOfABasket(t *testing.T) {
	g := newRig(t).start()
	sold, void, training, open := g.paid("{}"), g.basketOf("{}"), g.paid(`{"training":true}`), g.basketOf(`{"name":"stays"}`)
	sale := g.step(sold+"/complete", "").Sale.Sale
	g.step(void+"/void", "")
	trained := g.step(training+"/complete", "").Sale.Sale
	// A note with the bytes that are looked for is no end of anything.
	g.step("/v1/checkout", body(apple, `,"note":"\"basket\":\"`+open[len("/v1/baskets/"):]+`\""`))
	for range 2 {
		g.became(sold, "completed", sale)
		g.became(void, "voided", "")
		g.became(training, "completed", trained)
		if a := g.do("GET", open, ""); a.StatusCode != 200 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		for _, id := range []string{
			sale, sale[:9] + "1", sale[:9] + "0", sale[:9] + "999999", sale[:9] + "18446744073709551615", sale[:9] + "18446744073709551616", sale[:9], sale[:9] + "01",
			"00000000-5", "x", `x","version":"`, "-", "\x00", sale + `","receipt":"T1-1-1`,
		} {
			g.became("/v1/baskets/"+url.PathEscape(id), "", "")
		}
		g.stop()
		g.start()
	}
}

// noise are so many records that are of no basket.
func (g *rig) noise(n int) {
	g.t.Helper()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range (n + i) / 16 {
				_, err := g.r.Do(g.t.Context(), register.Call{}, func(t *register.Turn) (register.Appender, error) {
					return register.Made(t.State.MoveCash(event.Cash{Type: event.TypeDrawerOpened, Operator: "7", Reason: "noise"}, false))
				})
				if err != nil {
					g.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// How far back that goes is what the documents say: a basket that ended soon after it was
// opened, however long ago, and one that was open for long, if it ended lately.
func TestHowLongItIsKnownWhatBecame(t *testing.T) {
	g := newRig(t).start()
	g.step("/v1/shift/open", `{}`)
	short, long := g.paid("{}"), g.paid("{}")
	soon := g.step(short+"/complete", "").Sale.Sale
	g.noise(becameMost + 10)
	late := g.step(long+"/complete", "").Sale.Sale
	g.noise(becameMost / 2)
	g.became(short, "completed", soon)
	g.became(long, "completed", late)
	g.noise(becameMost)
	g.became(short, "completed", soon)
	g.became(long, "", "")
}

// An answer that the basket is gone is never ahead of what is durable: it says at once
// what became of it, while that is on its way to the disk.
func TestWhatBecameWhileItIsWritten(t *testing.T) {
	g := newRig(t).start()
	for n := range 30 {
		at := g.paid("{}")
		done := make(chan answer)
		go func() {
			a, err := g.try("POST", at+"/complete", "{}", key(fmt.Sprint("complete ", n)))
			if err != nil {
				t.Error(err)
			}
			done <- a
		}()
		for {
			a, err := g.try("GET", at, "")
			if err != nil {
				t.Fatal(err)
			}
			if a.StatusCode == 200 || a.slug() == "index-behind" { // whose disk takes so long
				continue
			}
			if p := a.members(); p.Cause != "completed" || p.Sale == "" {
				t.Errorf("%s", a.body)
			}
			break
		}
		if a := <-done; a.StatusCode != 201 {
			t.Errorf("%s", a.body)
		}
	}
}

// A basket of which it takes longest to say that nothing is known.
func BenchmarkWhatBecame(b *testing.B) {
	g := newRig(b).start()
	g.step("/v1/shift/open", `{}`)
	at := g.paid("{}")
	g.noise(becameMost)
	g.step(at+"/complete", "")
	g.noise(2 * becameMost)
	bad := func() *problem { return refuse("basket-not-found", "") }
	for b.Loop() {
		if p := g.s.became(b.Context(), bad(), at[len("/v1/baskets/"):]); p.cause != "" {
			b.Fatal(p)
		}
	}
}
