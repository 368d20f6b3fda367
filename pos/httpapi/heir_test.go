package httpapi

import (
	"fmt"
	"path/filepath"
	"testing"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/register"
)

// succeed has another journal continue this one, as after a restored backup.
func (g *rig) succeed() {
	g.t.Helper()
	g.stop()
	g.stop = nil
	dir := filepath.Join(g.dir, "journal")
	var state register.Successor
	each := func(f func(chain.ID, chain.Record, chain.Head) error) journal.Report {
		end, err := journal.Verify(g.t.Context(), dir, journal.VerifyOptions{})
		if err == nil {
			_, err = journal.Salvage(g.t.Context(), dir, journal.SalvageOptions{From: 1, Each: f})
		}
		if err != nil {
			g.t.Fatal(err)
		}
		return end
	}
	end := each(func(_ chain.ID, r chain.Record, _ chain.Head) error {
		state.Add(r)
		return nil
	})
	_, _, err := journal.Succeed(dir, journal.CreateOptions{
		Identity: end.Identity, PublicKey: end.Key, SegmentSize: 64 << 10, Opening: state.Opening(),
		Parent: &chain.Parent{Journal: end.Journal.String(), Seq: end.Last, Head: end.Head.String(), Reason: "restore"},
		Copies: func(add func(chain.ID, chain.Record, chain.Head) error) error {
			each(add)
			return nil
		},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.start()
}

// A journal that continues another does not know all that came back: of sales before it,
// goods come back with the permission of those of which nothing is known.
func TestReturnOfASaleBeforeTheJournal(t *testing.T) {
	g := returnsRig(t, 1)
	anna := g.signIn("anna") // who may take 5.00 back blind
	before := g.sold(400, paid("cash 51600"), anna)
	voided := g.step("/v1/checkout", `{"lines":[{"item":"100","quantity":4}],"tenders":[`+paid("cash 516")+`]}`, anna).Sale
	small := g.step("/v1/checkout", `{"lines":[{"item":"100","quantity":3}],"tenders":[`+paid("cash 387")+`]}`, anna).Sale
	g.succeed()
	anna = g.signIn("anna")
	ben, carla := g.signIn("ben"), g.signIn("carla")
	line := `{"quantity":%d,"return":{"receipt":%q,"line":1}}`
	at := g.basketBack(before, 3, anna) // 3.87
	g.lacks(at+"/lines", fmt.Sprintf(line, 1, before), "return.blind", anna)
	g.lacks(at+"/lines", `{"item":"100","price":129,"return":{"receipt":"t9-1-1"},"reason":"sour"}`, "return.blind", anna) // with it
	g.lacks(at+"/lines", fmt.Sprintf(line, 1, before), "return.blind", ben)                                                // who has return alone
	g.step(at+"/lines", fmt.Sprintf(line, 1, before), anna, g.approval(anna, "carla", "return.blind", ""))
	g.step(at+"/tenders", paid("cash -516"), anna)
	g.step(at+"/complete", `{}`, anna)

	g.lacks("/v1/sales/"+voided.Sale+"/void", ``, "return.blind", anna)
	g.step("/v1/sales/"+voided.Sale+"/void", ``, carla)
	g.step("/v1/sales/"+small.Sale+"/void", ``, anna)

	// Of its own sales it knows all.
	g.basketBack(g.sold(400, paid("cash 51600"), anna), 400, anna)
	own := g.step("/v1/checkout", `{"lines":[{"item":"100","quantity":4}],"tenders":[`+paid("cash 516")+`]}`, anna).Sale
	g.step("/v1/sales/"+own.Sale+"/void", ``, anna)
}
