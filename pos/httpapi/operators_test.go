package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/card"
	"posd/pos/event"
	"posd/pos/operator"
	"posd/pos/register"
)

// pins of the operators of a test's till.
var pins = map[string]string{"anna": "4711", "ben": "2718", "carla": "314159265359"}

var roles = map[string]operator.Grants{
	"cashier":    grants("sale", "training", "price.open", "discount:10", "line.void", "return:1000", "shift.open", "shift.hand", "cash.in", "cash.out:500"),
	"supervisor": grants("sale", "item.unknown", "price.change", "discount:30", "line.void", "basket.void", "sale.void:1000", "return.blind:700", "cash.out:1000", "shift.report", "operator.unlock"),
	"manager":    grants("*"),
}

func grants(list ...string) operator.Grants {
	g, err := operator.ParseGrants(list)
	if err != nil {
		panic(err)
	}
	return g
}

// withOperators gives a till its operators: anna the cashier, ben the supervisor, carla
// the manager.
func (g *rig) withOperators() *rig {
	g.t.Helper()
	k := operator.NewKey()
	var list []operator.Entry
	for _, e := range []operator.Entry{{Name: "anna", Role: "cashier"}, {Name: "ben", Role: "supervisor"}, {Name: "carla", Role: "manager"}} {
		e.Check = k.Check(e.Name, []byte(pins[e.Name]))
		list = operator.Set(list, e, time.Now())
	}
	g.write(operator.File, string(operator.Format(list)))
	g.write(operator.KeyFile, string(k.Append(nil)))
	g.set.Operators = operator.Rules{Roles: roles, Idle: time.Hour, Attempts: 3}
	return g
}

// signIn returns what a request of that operator has.
func (g *rig) signIn(name string) func(*http.Request) {
	g.t.Helper()
	a := g.do("POST", signInPath, `{"operator":"`+name+`","pin":"`+pins[name]+`"}`)
	var s struct{ Session string }
	if err := json.Unmarshal(a.body, &s); err != nil || a.StatusCode != 201 || s.Session == "" {
		g.t.Fatalf("%s signs in: %d %s", name, a.StatusCode, a.body)
	}
	return header(sessionHeader, s.Session)
}

// approval of a second operator for who has asked.
func (g *rig) approval(who func(*http.Request), by, permission, limit string) func(*http.Request) {
	g.t.Helper()
	body := `{"operator":"` + by + `","pin":"` + pins[by] + `","permission":"` + permission + `"`
	if limit != "" {
		body += `,"limit":"` + limit + `"`
	}
	a := g.do("POST", approvePath, body+"}", who)
	var s struct{ Approval string }
	if err := json.Unmarshal(a.body, &s); err != nil || a.StatusCode != 201 || s.Approval == "" {
		g.t.Fatalf("%s approves: %d %s", by, a.StatusCode, a.body)
	}
	return header(approvalHeader, s.Approval)
}

// journaled are the events of some types, oldest first, as JSON.
func (g *rig) journaled(types ...string) (list []string) {
	g.t.Helper()
	rd, err := g.j.Reader(1)
	if err != nil {
		g.t.Fatal(err)
	}
	defer rd.Close()
	for {
		rec, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			g.t.Fatal(err)
		}
		if rec.Type != event.RecordType || rec.Type == chain.TypeCopy {
			continue
		}
		h, data, err := event.Parse(rec.Payload)
		if err != nil {
			g.t.Fatal(err)
		}
		for _, kind := range types {
			if h.Type == kind {
				list = append(list, strings.TrimPrefix(kind, "operator.")+" "+string(data))
			}
		}
	}
}

// Without an operators file everything is as it was; with one nothing is done without a
// session, whose operator stands in every event.
func TestOperatorsSignIn(t *testing.T) {
	g := newRig(t).start()
	g.refuses(signInPath, `{"operator":"anna","pin":"4711"}`, "no-operators")
	g.step("/v1/checkout", strings.Replace(good, "{", `{"operator":"whoever",`, 1))
	g.stop()
	g.withOperators().start()
	g.refuses("/v1/checkout", good, "session-required")
	g.refuses("/v1/baskets", ``, "session-required")
	g.refuses("/v1/baskets", ``, "session-required", header(sessionHeader, "made up"))
	if a := g.do("GET", "/v1/shift", ""); a.slug() != "session-required" {
		t.Errorf("%s", a.body)
	}
	ben := g.signIn("ben")
	g.refuses("/v1/checkout", strings.Replace(good, "{", `{"operator":"anna",`, 1), "other-operator", ben)
	g.refuses("/v1/baskets", `{"operator":"anna"}`, "other-operator", ben)
	g.step("/v1/checkout", strings.Replace(good, "{", `{"operator":"ben",`, 1), ben)
	a := g.do("POST", "/v1/checkout", good, ben)
	if e, err := event.ParseSale(saleData(t, a.body)); err != nil || e.Operator != "ben" || e.Approved != "" {
		t.Errorf("%s %v", a.body, err)
	}
	b := g.step("/v1/baskets", ``, ben)
	if list := string(g.do("GET", "/v1/baskets", "").body); !strings.Contains(list, `"basket":"`+b.Data.Basket+`"`) || !strings.Contains(list, `"operator":"ben"`) {
		t.Errorf("%s", list)
	}
	if a := g.do("GET", mePath, "", ben); a.StatusCode != 200 || !strings.Contains(string(a.body), `"discount:30"`) {
		t.Errorf("%s", a.body)
	}
	if a := g.do("GET", operatorsPath, ""); !strings.Contains(string(a.body), `{"required":true,"operators":[{"operator":"anna","role":"cashier"}`) {
		t.Errorf("%s", a.body)
	}
	if a := g.do("POST", signOutPath, ``, ben); a.StatusCode != 200 || string(a.body) != "{\"operator\":\"ben\"}\n" {
		t.Errorf("%s", a.body)
	}
	g.refuses("/v1/baskets", ``, "session-required", ben)
	ben = g.signIn("ben")
	g.stop()
	g.start()
	g.refuses("/v1/baskets", ``, "session-required", ben) // a restart ends all sessions
	got := strings.Join(g.journaled(event.TypeSignedIn, event.TypeSignedOut), "\n")
	const in = `signed_in {"operator":"ben","role":"supervisor"}`
	if want := in + "\n" + `signed_out {"operator":"ben"}` + "\n" + in; got != want {
		t.Errorf("journaled:\n%s\nwant:\n%s", got, want)
	}
}

// Every action names its permission: what is added here without one would be for
// managers only.
func TestEveryActionNeedsAPermission(t *testing.T) {
	for i := range actions {
		if _, err := operator.ParseGrant(string(actions[i].needs)); err != nil {
			t.Errorf("%s needs no permission that operators have: %v", actions[i].path, err)
		}
	}
}

// wants expects a refusal that names a permission.
func (g *rig) lacks(path, body, permission string, change ...func(*http.Request)) {
	g.t.Helper()
	a := g.do("POST", path, body, change...)
	var p struct{ Permission string }
	if json.Unmarshal(a.body, &p); a.slug() != "permission-required" || p.Permission != permission || a.Close {
		g.t.Errorf("%s %s: %d %s, want permission-required %s", path, body, a.StatusCode, a.body, permission)
	}
}

// Wrong PINs count over restarts, lock, and are in the journal; PINs are nowhere.
func TestPINsOverHTTP(t *testing.T) {
	var log bytes.Buffer
	g := newRig(t).withOperators()
	g.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g.start()
	attempt := func(name, pin string) answer {
		return g.do("POST", signInPath, `{"operator":"`+name+`","pin":"`+pin+`"}`)
	}
	for _, body := range []string{`{"operator":"anna","pin":"815"}`, `{"operator":"nobody","pin":"4711"}`, `{"operator":"4711","pin":"4711"}`} {
		if a := g.do("POST", signInPath, body); a.slug() != "pin-wrong" || a.StatusCode != 401 {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	for _, body := range []string{``, `{}`, `{"operator":"anna"}`, `{"operator":"anna","pin":""}`, `{"operator":"anna","pin":4711}`, `{"operator":"anna","pin":"4711","x":1}`,
		`{"operator":"anna","pin":"4711","permission":"sale"}`, `{"operator":"anna","pin":"` + strings.Repeat("1", 33) + `"}`, `[]`, `{"operator":"anna","pin":"4711"`} {
		if a := g.do("POST", signInPath, body); a.StatusCode < 400 || a.StatusCode > 422 || bytes.Contains(a.body, []byte("4711")) {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
	anna := g.signIn("anna") // which forgets the one before
	if a := attempt("carla", "314159265350"); a.slug() != "pin-wrong" {
		t.Errorf("%s", a.body)
	}
	if a := g.do("POST", approvePath, `{"operator":"carla","pin":"314159265351","permission":"sale.void"}`, anna); a.slug() != "pin-wrong" {
		t.Errorf("approving: %s", a.body)
	}
	g.stop()
	g.start()
	if a := attempt("carla", "314159265352"); a.slug() != "operator-locked" || a.StatusCode != 429 || a.Header.Get("Retry-After") != "30" {
		t.Errorf("%s %v", a.body, a.Header)
	}
	if a := attempt("carla", pins["carla"]); a.slug() != "operator-locked" {
		t.Errorf("the right one: %s", a.body)
	}
	g.stop()
	g.start()
	if a := attempt("carla", pins["carla"]); a.slug() != "operator-locked" {
		t.Errorf("after a restart: %s", a.body)
	}
	var st struct{ Operators struct{ Locked []string } }
	if a := g.do("GET", "/v1/status", ""); json.Unmarshal(a.body, &st) != nil || strings.Join(st.Operators.Locked, " ") != "carla" {
		t.Errorf("%s", a.body)
	}
	anna, ben := g.signIn("anna"), g.signIn("ben")
	g.lacks("/v1/operators/carla/unlock", ``, "operator.unlock", anna)
	g.refuses("/v1/operators/nobody/unlock", ``, "operator-not-found", ben)
	g.step("/v1/operators/carla/unlock", `{"reason":"was here"}`, ben, key("unlock"))
	carla := g.signIn("carla")
	for _, pin := range []string{"1", "2", "3"} {
		attempt("carla", pin)
	}
	g.step("/v1/operators/carla/unlock", `{"reason":"was here"}`, ben, key("unlock")) // an old answer opens nothing
	if a := attempt("carla", pins["carla"]); a.slug() != "operator-locked" {
		t.Errorf("after an old unlock: %s", a.body)
	}
	g.write("tokens", "till-1 "+hexSum(secret)+" t\nposctl "+hexSum("root")+" t\n")
	g.s.ReloadTokens()
	g.step("/v1/operators/carla/unlock", ``, header("Authorization", "Bearer root"))
	g.refuses("/v1/shift/open", ``, "session-required", header("Authorization", "Bearer root"))
	if a := g.do("GET", mePath, "", carla); a.StatusCode != 200 { // a lock ends no session
		t.Errorf("%s", a.body)
	}
	got := strings.Join(g.journaled(event.OperatorTypes[:]...), "\n")
	g.stop()
	const want = `refused {"operator":"anna","failures":1}
signed_in {"operator":"anna","role":"cashier"}
refused {"operator":"carla","failures":1}
refused {"operator":"carla","failures":2}
locked {"operator":"carla","failures":3}
signed_in {"operator":"anna","role":"cashier"}
signed_in {"operator":"ben","role":"supervisor"}
unlocked {"operator":"carla","reason":"was here","approved":"ben"}
signed_in {"operator":"carla","role":"manager"}
refused {"operator":"carla","failures":1}
refused {"operator":"carla","failures":2}
locked {"operator":"carla","failures":3}
unlocked {"operator":"carla","approved":"posctl"}`
	if got != want {
		t.Errorf("journaled:\n%s\nwant:\n%s", got, want)
	}
	g.noPINs(log.Bytes(), pins["carla"], "314159265350", "314159265351", "nobody")
}

// noPINs searches the journal's files and a log for PINs, and for what a Header.Hash
// would be of the bodies that held them.
func (g *rig) noPINs(log []byte, secrets ...string) {
	t := g.t
	t.Helper()
	everything := log
	files, err := filepath.Glob(filepath.Join(g.dir, "journal", "*"))
	for _, f := range files {
		b, e := os.ReadFile(f)
		err = errors.Join(err, e)
		everything = append(everything, b...)
	}
	if err != nil || len(everything) < 64<<10 || !bytes.Contains(everything, []byte("was here")) {
		t.Fatal(err, len(everything))
	}
	for _, pin := range secrets {
		for _, body := range []string{`{"operator":"carla","pin":"` + pin + `"}`, `{"operator":"carla","pin":"` + pin + `","permission":"sale.void"}`} {
			sum := sha256.Sum256([]byte(signInPath + "\n\n" + body))
			if bytes.Contains(everything, []byte(pin)) || bytes.Contains(everything, []byte(hexSum(body))) || bytes.Contains(everything, []byte(hex.EncodeToString(sum[:]))) {
				t.Errorf("%s, or a hash of it, is in the journal or in the log", pin)
			}
		}
	}
}

// What each role may do, and what it is told to be missing.
func TestPermissions(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna, ben, carla := g.signIn("anna"), g.signIn("ben"), g.signIn("carla")
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	g.step(at+"/lines", `{"item":"100","quantity":5}`, anna)
	g.lacks(at+"/lines", apple, "item.unknown", anna)
	g.lacks(at+"/lines", `{"item":"100","price":1}`, "price.change", anna)
	g.lacks(at+"/lines", `{"item":"100","amount":1}`, "price.change", anna)
	g.lacks(at+"/lines", `{"item":"100","tax":"A"}`, "price.change", anna) // milk at the rate of cars
	g.lacks(at+"/lines", `{"item":"100","unit":"kg"}`, "price.change", anna)
	g.step(at+"/lines", `{"item":"100","price":129,"tax":"B"}`, anna) // which it has anyway
	g.step(at+"/lines", `{"item":"200","price":2000}`, anna)
	g.lacks(at+"/lines", `{"item":"200","price":2000}`, "price.open", ben)
	g.lacks(at+"/lines/1", `{"price":100}`, "price.change", anna)
	g.step(at+"/lines/1", `{"quantity":6}`, anna)
	g.lacks(at+"/void", ``, "basket.void", anna)
	g.lacks("/v1/baskets", `{"prices":"exclusive"}`, "price.change", anna)
	g.step("/v1/baskets", `{"prices":"inclusive"}`, anna)
	g.lacks("/v1/baskets", `{"training":true}`, "training", ben)
	g.lacks("/v1/cash/in", `{"amount":1}`, "cash.in", ben)
	g.lacks("/v1/cash/open", ``, "drawer.open", anna)
	if st := g.r.Status(); st.Open {
		t.Error("a call that was refused has opened a shift")
	}
	g.step("/v1/shift/open", `{"float":10000}`, anna)
	g.lacks("/v1/cash/out", `{"amount":501}`, "cash.out", anna)
	g.step("/v1/cash/out", `{"amount":500}`, anna)
	g.lacks("/v1/shift/close", ``, "shift.close", anna)
	g.refuses("/v1/shift/hand", `{"to":"nobody"}`, "operator-not-found", anna)
	g.step("/v1/shift/hand", `{"to":"carla"}`, anna, g.approval(anna, "carla", "shift.hand", ""))
	for who, status := range map[string]int{"anna": 403, "ben": 200, "carla": 200} {
		session := map[string]func(*http.Request){"anna": anna, "ben": ben, "carla": carla}[who]
		if a := g.do("GET", "/v1/shift", "", session); a.StatusCode != status {
			t.Errorf("%s: X report: %s", who, a.body)
		}
		a := g.do("GET", "/v1/status", "", session)
		if shows := bytes.Contains(a.body, []byte(`"totals"`)); shows != (status == 200) {
			t.Errorf("%s: totals in the status: %v", who, shows)
		}
	}
	// In training nothing is real.
	tr := "/v1/baskets/" + g.step("/v1/baskets", `{"training":true}`, anna).Data.Basket
	g.step(tr+"/lines", apple, anna)
	g.step(tr+"/lines/1", `{"price":1,"discounts":[{"percent":"99"}]}`, anna)
	g.lacks(tr+"/lines", apple, "training", ben)
	g.step(tr+"/void", ``, anna)
	// The same in one call.
	g.lacks("/v1/checkout", good, "item.unknown", anna)
	g.lacks("/v1/checkout", `{"lines":[{"item":"100","price":1},`+apple+`],"tenders":[{"kind":"cash","amount":1000}]}`, "price.change item.unknown", anna)
	g.lacks("/v1/checkout", `{"prices":"exclusive","lines":[{"item":"100"}],"tenders":[{"kind":"cash","amount":1000}]}`, "price.change", anna)
	g.step("/v1/checkout", `{"lines":[{"item":"100"},{"item":"200","price":2000}],"tenders":[{"kind":"cash","amount":2129}]}`, anna)
	g.step("/v1/checkout", good, ben)
	g.step("/v1/checkout", good, carla)
	g.step("/v1/shift/close", ``, carla)
}

// A discount's limit holds however it is given.
func TestDiscountLimits(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna := g.signIn("anna")
	open := func(qty int) string {
		at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
		g.step(at+"/lines", fmt.Sprintf(`{"item":"100","quantity":%d}`, qty), anna)
		return at
	}
	at := open(10) // 12.90
	for _, off := range []string{`{"percent":"10"}`, `{"amount":129}`, `{"percent":"5"},{"percent":"5"}`, `{"percent":"5"},{"amount":64}`} {
		g.step(at, `{"discounts":[`+off+`]}`, anna)
		g.step(at, `{"discounts":[]}`, anna)
		g.step(at+"/lines/1", `{"discounts":[`+off+`]}`, anna)
		g.step(at+"/lines/1", `{"discounts":[]}`, anna)
		g.step("/v1/checkout", `{"lines":[{"item":"100","quantity":10,"discounts":[`+off+`]}],"tenders":[{"kind":"cash","amount":1300}]}`, anna)
		g.step("/v1/checkout", `{"lines":[{"item":"100","quantity":10}],"discounts":[`+off+`],"tenders":[{"kind":"cash","amount":1300}]}`, anna)
	}
	for _, off := range []string{`{"percent":"10.0001"}`, `{"percent":"11"}`, `{"amount":130}`, `{"percent":"5"},{"percent":"6"}`, `{"amount":60},{"amount":70}`} {
		g.lacks(at, `{"discounts":[`+off+`]}`, "discount", anna)
		g.lacks(at+"/lines/1", `{"discounts":[`+off+`]}`, "discount", anna)
		g.lacks(at+"/lines", `{"item":"100","quantity":10,"discounts":[`+off+`]}`, "discount", anna)
		g.lacks("/v1/checkout", `{"lines":[{"item":"100","quantity":10,"discounts":[`+off+`]}],"tenders":[{"kind":"cash","amount":1300}]}`, "discount", anna)
		g.lacks("/v1/checkout", `{"lines":[{"item":"100","quantity":10}],"discounts":[`+off+`],"tenders":[{"kind":"cash","amount":1300}]}`, "discount", anna)
	}
	// First the discount, then less to take it off.
	g.step(at, `{"discounts":[{"amount":129}]}`, anna)
	g.lacks(at+"/lines/1", `{"quantity":9}`, "discount", anna)
	g.step(at+"/lines/1", `{"quantity":11}`, anna)
	g.step(at+"/lines", `{"item":"100"}`, anna)
	g.step(at+"/lines/2/void", ``, anna)
	g.step(at, `{"discounts":[{"percent":"10"}]}`, anna)
	g.step(at+"/lines/1", `{"quantity":1}`, anna) // ten percent stay ten percent
	at = open(10)
	g.step(at+"/lines/1", `{"discounts":[{"amount":129}]}`, anna)
	g.lacks(at+"/lines/1", `{"quantity":5}`, "discount", anna)
	g.step(at+"/lines/1", `{"note":"x"}`, anna)
	at = open(5)
	g.step(at+"/lines", `{"item":"100","quantity":5}`, anna)
	g.step(at, `{"discounts":[{"amount":129}]}`, anna)
	g.lacks(at+"/lines/2/void", ``, "discount", anna)
	g.step(at+"/lines", `{"item":"4011"}`, anna)
	g.step(at+"/lines/3/void", ``, anna)
}

// Who may not open the drawer does not open it by a sale of nothing, nor by cash beside what
// was paid by another kind.
func TestNoDrawerByASaleOfNothing(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna := g.signIn("anna")
	g.lacks("/v1/cash/open", `{"reason":"x"}`, "drawer.open", anna)
	const nothing, milk, cash = `{"lines":[{"item":"200","price":0}],"tenders":[`, `{"lines":[{"item":"100"}],"tenders":[{"kind":"account","amount":129,"reference":"K-1"}`, `{"kind":"cash","amount":100}]}`
	g.refuses("/v1/checkout", nothing+cash, "tender-invalid", anna)
	g.step("/v1/checkout", nothing+`]}`, anna)
	g.refuses("/v1/checkout", milk+","+cash, "tender-invalid", anna)
	g.step("/v1/checkout", milk+"]}", anna)
}

// Two discounts are not twice the limit: what comes off a line in all counts, whichever is
// given first. The cents that shares are rounded by do not.
func TestDiscountsTogether(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna, ben := g.signIn("anna"), g.signIn("ben")
	const ten, five, some, pens = `{"discounts":[{"percent":"10"}]}`, `{"discounts":[{"percent":"5"}]}`, `{"discounts":[{"amount":50}]}`, `{"item":"100","quantity":10}`
	open := func(line string) string {
		at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
		g.step(at+"/lines", line, anna)
		return at
	}
	at := open(pens)
	g.step(at+"/lines/1", ten, anna)
	g.lacks(at, five, "discount", anna)
	g.step(at+"/lines/1", five, anna)
	g.step(at, five, anna) // 9.75
	g.lacks(at+"/lines/1", ten, "discount", anna)
	g.lacks(at+"/lines", `{"item":"100","discounts":[{"percent":"10"}]}`, "discount", anna)
	g.step(at+"/lines", `{"item":"100","discounts":[{"percent":"5"}]}`, anna)
	at = open(pens)
	g.step(at+"/lines", pens, anna)
	g.step(at, `{"discounts":[{"amount":90}]}`, anna) // 3.5 %
	g.step(at+"/lines/1", five, anna)
	g.lacks(at+"/lines/2/void", ``, "discount", anna) // 7 % and 5 %
	at = open(pens)
	g.step(at+"/lines/1", `{"discounts":[{"percent":"20"}]}`, ben)
	g.step(at+"/lines", pens, anna)
	g.step(at+"/lines/2", ten, anna)
	g.lacks(at, some, "discount", anna) // more off what the other one has lowered
	sale := func(line, rest string) string {
		return `{"lines":[` + line + `],` + rest + `"tenders":[{"kind":"cash","amount":100000}]}`
	}
	g.lacks("/v1/checkout", sale(`{"item":"100","quantity":100,"discounts":[{"percent":"10"}]}`, `"discounts":[{"percent":"10"}],`), "discount", anna)
	g.step("/v1/checkout", sale(`{"item":"100","quantity":100,"discounts":[{"percent":"5"}]}`, `"discounts":[{"percent":"5"}],`), anna)
	bean := `{"item":"4011","quantity":"0.020"}` // 4 cents: of ten of them four cost a quarter less
	at = open(bean)
	for range 9 {
		g.step(at+"/lines", bean, anna)
	}
	g.step(at, ten, anna)
}

// A percentage weighs what it says, whatever it takes off when it is given: goods can come
// under it later.
func TestPercentagesOfNothing(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna := g.signIn("anna")
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	const all, ten = `{"discounts":[{"percent":"100"}]}`, `{"discounts":[{"percent":"10"}]}`
	g.lacks(at, all, "discount", anna)
	g.step(at, ten, anna)
	g.lacks(at, `{"discounts":[{"percent":"10"},{"percent":"1"}]}`, "discount", anna)
	g.step(at+"/lines", `{"item":"4011","quantity":"50"}`, anna) // under her ten percent
	g.step(at+"/lines/1", `{"quantity":"60"}`, anna)
	g.step(at, `{"discounts":[]}`, anna)
	g.step(at+"/lines", `{"item":"4011","quantity":"0.001"}`, anna)
	g.lacks(at+"/lines/2", all, "discount", anna)
	g.lacks(at+"/lines", `{"item":"4011","quantity":"0.001","discounts":[{"percent":"49"}]}`, "discount", anna)
	g.lacks(at+"/lines", `{"item":"200","price":1,"discounts":[{"percent":"49"}]}`, "discount", anna)
	g.lacks("/v1/checkout", `{"lines":[{"item":"100"},{"item":"200","price":1,"discounts":[{"percent":"49"}]}],"tenders":[{"kind":"cash","amount":1000}]}`, "discount", anna)
	g.step(at+"/lines/2", ten, anna)
	g.lacks(at, `{"discounts":[{"percent":"5"}]}`, "discount", anna) // 14.5 % of a line that costs nothing yet
	due := g.step(at+"/lines/2", `{"quantity":"50"}`, anna).Data.Due
	g.step(at+"/tenders", fmt.Sprintf(`{"kind":"cash","amount":%d}`, due), anna)
	g.step(at+"/complete", ``, anna)
}

// What a second operator allowed is for what was on the screen: more of it is asked for
// again. Who may do it alone is not asked.
func TestApprovalsAreForSoMany(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna, ben, carla := g.signIn("anna"), g.signIn("ben"), g.signIn("carla")
	open := func(lines ...string) string {
		at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
		for _, l := range lines {
			g.step(at+"/lines", l, anna)
		}
		return at
	}
	const half, milk, many = `{"discounts":[{"percent":"50","reason":"leaks"}]}`, `{"item":"100","quantity":2}`, `{"quantity":400}`
	at := open(milk)
	g.step(at+"/lines/1", half, anna, g.approval(anna, "carla", "discount", "50"))
	g.lacks(at+"/lines/1", many, "discount", anna)
	g.lacks(at+"/lines/1", many, "discount", ben) // up to 30
	s := g.step(at+"/lines/1", `{"quantity":1}`, anna)
	if s.Data.Line.Approved != "carla" { // fewer of what she allowed
		t.Errorf("fewer: %+v", s.Data.Line)
	}
	s = g.step(at+"/lines/1", many, anna, g.approval(anna, "carla", "discount", "50"))
	if s.Data.Line.Approved != "carla" {
		t.Errorf("approved again: %+v", s.Data.Line)
	}
	g.step(at+"/lines/1", `{"quantity":500}`, carla)

	at = open(milk)
	g.step(at, half, anna, g.approval(anna, "carla", "discount", "50"))
	g.lacks(at+"/lines", milk, "discount", anna)
	g.lacks(at+"/lines/1", many, "discount", anna)
	g.step(at+"/lines", milk, carla)
	g.step(at+"/lines/1", `{"quantity":1}`, anna)
	g.step(at+"/lines/2/void", ``, anna)

	at = open(milk, milk)
	g.step(at+"/lines/1", `{"price":1}`, anna, g.approval(anna, "ben", "price.change", ""))
	g.lacks(at+"/lines/1", many, "price.change", anna)
	g.step(at+"/lines/2", many, anna) // of which nobody has changed anything
	g.step(at+"/lines/1", many, ben)
	g.step(at+"/lines", apple, anna, g.approval(anna, "ben", "item.unknown", ""))
	g.lacks(at+"/lines/3", many, "item.unknown", anna)
	g.step(at+"/lines/3", many, ben)

	// A discount of an amount is less of more.
	at = open(milk)
	g.step(at+"/lines/1", `{"discounts":[{"amount":129}]}`, anna, g.approval(anna, "carla", "discount", "50"))
	g.step(at+"/lines/1", many, anna)
	// What is dearer costs less by the same percentage.
	at = open(`{"item":"4011"}`)
	g.step(at+"/lines/1", half, ben, g.approval(ben, "carla", "discount", "50"))
	g.lacks(at+"/lines/1", `{"price":100000}`, "discount", ben)
	g.step(at+"/lines/1", `{"price":100}`, ben)
}

// Who allowed a price is not named at another one that somebody else has set.
func TestApprovalStaysWithWhatItAllowed(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna, ben := g.signIn("anna"), g.signIn("ben")
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	g.step(at+"/lines", `{"item":"100","quantity":3}`, anna)
	allowed := func(body string) {
		t.Helper()
		g.step(at+"/lines/1", body, anna, g.approval(anna, "carla", "price.change", ""))
	}
	for body, want := range map[string]string{
		`{"note":"dented"}`: "carla", `{"quantity":2}`: "carla", `{"discounts":[]}`: "carla",
		`{"price":1}`: "", `{"quantity":4}`: "", `{"discounts":[{"percent":"30"}]}`: "",
	} {
		g.step(at+"/lines/1", `{"quantity":3,"discounts":[]}`, ben)
		allowed(`{"price":120}`)
		if s := g.step(at+"/lines/1", body, ben); s.Data.Line.Approved != want {
			t.Errorf("%s: approved by %q, want %q", body, s.Data.Line.Approved, want)
		}
	}
}

// What comes back, and what is taken back, up to the role's amounts.
func TestReturnLimits(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna, ben := g.signIn("anna"), g.signIn("ben")
	sold := g.step("/v1/checkout", `{"lines":[{"item":"100","quantity":20}],"tenders":[{"kind":"cash","amount":2580}]}`, anna)
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	back := func(n int) string {
		return fmt.Sprintf(`{"quantity":%d,"reason":"sour","return":{"receipt":%q,"line":1}}`, n, sold.Sale.Receipt)
	}
	g.step(at+"/lines", back(4), anna)
	g.step(at+"/lines", back(3), anna) // 9.03
	g.lacks(at+"/lines", back(1), "return", anna)
	const chair = `{"description":"Chair","tax":"A","price":400,"reason":"wobbles","return":{}}`
	g.lacks(at+"/lines", chair, "return.blind", anna)
	blind := "/v1/baskets/" + g.step("/v1/baskets", ``, ben).Data.Basket
	g.step(blind+"/lines", chair, ben)
	g.lacks(blind+"/lines", chair, "return.blind", ben) // 8.00
	sold = g.step("/v1/checkout", `{"lines":[{"item":"100","quantity":20}],"tenders":[{"kind":"cash","amount":2580}]}`, anna)
	g.lacks("/v1/sales/"+sold.Sale.Sale+"/void", ``, "sale.void", anna)
	g.lacks("/v1/sales/"+sold.Sale.Sale+"/void", ``, "sale.void", ben) // 25.80
	small := g.step("/v1/checkout", `{"lines":[{"item":"100"}],"tenders":[{"kind":"cash","amount":129}]}`, anna)
	v := g.step("/v1/sales/"+small.Sale.Sale+"/void", `{"reason":"wrong"}`, ben)
	if v.Sale.Total != -129 {
		t.Errorf("%+v", v)
	}
}

// With prices without tax, what is paid out counts all the same.
func TestReturnLimitsCountTax(t *testing.T) {
	g := newRig(t).withOperators()
	g.set.Prices = pos.Exclusive
	g.start()
	anna := g.signIn("anna")
	sold := g.step("/v1/checkout", `{"lines":[{"description":"x","tax":"A","price":1000},{"description":"y","tax":"A","price":700}],"tenders":[{"kind":"cash","amount":5000}]}`, g.signIn("carla"))
	back := func(n int) string {
		return fmt.Sprintf(`{"reason":"sour","return":{"receipt":%q,"line":%d}}`, sold.Sale.Receipt, n)
	}
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	g.lacks(at+"/lines", back(1), "return", anna) // 11.90
	g.step(at+"/lines", back(2), anna)            // 8.33
	at = "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	g.lacks(at+"/lines", `{"description":"z","tax":"A","price":1,"reason":"r","return":{}}`, "return.blind", anna)
}

// A second operator allows one call, which names both.
func TestApprovalsOverHTTP(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna, ben := g.signIn("anna"), g.signIn("ben")
	sell := func() string {
		return g.step("/v1/checkout", `{"lines":[{"item":"100"}],"tenders":[{"kind":"cash","amount":129}]}`, anna).Sale.Sale
	}
	one, two := "/v1/sales/"+sell()+"/void", "/v1/sales/"+sell()+"/void"
	ok := g.approval(anna, "ben", "sale.void", "")
	a := g.do("POST", one, `{"reason":"r"}`, anna, ok, key("one"))
	if e, err := event.ParseSale(saleData(t, a.body)); err != nil || e.Operator != "anna" || e.Approved != "ben" {
		t.Fatalf("%s %v", a.body, err)
	}
	if again := g.do("POST", one, `{"reason":"r"}`, anna, ok, key("one")); again.StatusCode != 200 || !bytes.Equal(again.body, a.body) {
		t.Errorf("repeated: %d %s", again.StatusCode, again.body)
	}
	if again := g.do("POST", one, `{"reason":"r"}`, anna, key("one")); again.StatusCode != 200 {
		t.Errorf("repeated without the approval: %d %s", again.StatusCode, again.body)
	}
	g.lacks(two, ``, "sale.void", anna, ok)
	// For another operator, for another permission, beyond its limit, of one who may not.
	ok = g.approval(anna, "carla", "sale.void", "128")
	g.lacks("/v1/cash/open", ``, "drawer.open", ben, g.approval(anna, "carla", "drawer.open", ""))
	g.lacks(two, ``, "sale.void", anna, header(approvalHeader, "made up"))
	g.lacks(two, ``, "sale.void", anna, ok)
	g.lacks(two, ``, "sale.void", anna, g.approval(anna, "carla", "return.blind", ""))
	for _, body := range []string{`{"operator":"ben","pin":"2718","permission":"drawer.open"}`, `{"operator":"ben","pin":"2718","permission":"sale.void","limit":"1001"}`,
		`{"operator":"anna","pin":"4711","permission":"sale.void"}`, `{"operator":"ben","pin":"2718","permission":"sale.void drawer.open"}`} {
		if a := g.do("POST", approvePath, body, anna); a.slug() != "permission-required" {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	for _, body := range []string{`{"operator":"carla","pin":"` + pins["carla"] + `","permission":"*"}`, `{"operator":"ben","pin":"2718","permission":"everything"}`,
		`{"operator":"ben","pin":"2718"}`, `{"operator":"ben","pin":"2718","permission":"  "}`, `{"operator":"carla","pin":"` + pins["carla"] + `","permission":"sale.void cash.out","limit":"5"}`,
		`{"operator":"carla","pin":"` + pins["carla"] + `","permission":"sale sale sale sale sale sale sale sale sale"}`} {
		if a := g.do("POST", approvePath, body, anna); a.slug() != "value-invalid" {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	if a := g.do("POST", approvePath, `{"operator":"ben","pin":"2718","permission":"sale.void"}`); a.slug() != "session-required" {
		t.Errorf("%s", a.body)
	}
	// A call that is refused for another reason gives it back.
	ok = g.approval(anna, "ben", "sale.void", "")
	g.refuses(one, ``, "already-voided", anna, ok)
	g.step(two, ``, anna, ok)
	// Several at once, in one call and in a step; the line names who allowed it.
	ok = g.approval(anna, "ben", "item.unknown discount", "")
	a = g.do("POST", "/v1/checkout", `{"lines":[`+apple+`],"discounts":[{"percent":"30"}],"tenders":[{"kind":"cash","amount":500}]}`, anna, ok)
	if e, err := event.ParseSale(saleData(t, a.body)); err != nil || e.Approved != "ben" || e.Total != 350 {
		t.Errorf("%s %v", a.body, err)
	}
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	g.step(at+"/lines", `{"item":"100"}`, anna, g.approval(anna, "ben", "sale.void", "")) // not needed: not used, not named
	g.step(at+"/lines/1", `{"price":99}`, anna, g.approval(anna, "ben", "price.change", ""))
	g.step(at+"/tenders", `{"kind":"cash","amount":99}`, anna)
	a = g.do("POST", at+"/complete", ``, anna)
	if e, err := event.ParseSale(saleData(t, a.body)); err != nil || e.Approved != "" || e.Lines[0].Approved != "ben" {
		t.Errorf("%s %v", a.body, err)
	}
	if got := g.journaled(event.TypeOperatorApproved); len(got) != 8 || got[0] != `approved {"operator":"ben","role":"supervisor","for":"anna","permission":"sale.void:1000"}` {
		t.Errorf("%d: %s", len(got), strings.Join(got, "\n"))
	}
	if got := g.journaled(event.TypeLineAdded); !strings.Contains(got[0], `"operator":"anna"`) || strings.Contains(got[0], "ben") {
		t.Errorf("%s", got)
	}
}

// A session ends with posd; what was asked with it is answered to whoever signs in next.
func TestRepeatedBySomebodyElse(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna := g.signIn("anna")
	const body = `{"operator":"anna","lines":[{"item":"100"}],"tenders":[{"kind":"cash","amount":129}]}`
	first := g.do("POST", "/v1/checkout", body, anna, key("k"))
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	line := g.do("POST", at+"/lines", `{"operator":"anna","item":"100"}`, anna, key("line"))
	g.stop()
	g.start()
	if a := g.do("POST", "/v1/checkout", body, anna, key("k")); a.slug() != "session-required" {
		t.Errorf("%s", a.body)
	}
	ben := g.signIn("ben")
	if a := g.do("POST", "/v1/checkout", body, ben, key("k")); a.StatusCode != 200 || !bytes.Equal(a.body, first.body) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := g.do("POST", at+"/lines", `{"operator":"anna","item":"100"}`, ben, key("line")); a.StatusCode != 200 || !bytes.Equal(a.body, line.body) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if st := g.r.Status(); st.Receipt != 1 {
		t.Errorf("%d sales", st.Receipt)
	}
}

// Files that are broken close the till, and say so; they never open it.
func TestOperatorsBroken(t *testing.T) {
	g := newRig(t).withOperators()
	if err := os.Remove(filepath.Join(g.dir, operator.KeyFile)); err != nil {
		t.Fatal(err)
	}
	g.start()
	g.refuses("/v1/checkout", good, "session-required")
	g.refuses(signInPath, `{"operator":"anna","pin":"4711"}`, "pin-wrong")
	if a := g.do("GET", "/readyz", ""); a.slug() != "not-ready" || !bytes.Contains(a.body, []byte("posctl operator pin")) {
		t.Errorf("%s", a.body)
	}
	if a := g.do("GET", "/v1/status", ""); !bytes.Contains(a.body, []byte("degraded")) || !bytes.Contains(a.body, []byte("key of the PINs")) {
		t.Errorf("%s", a.body)
	}
}

// A till that is started without the operators that it had works on as one that has none,
// and says so.
func TestOperatorsGone(t *testing.T) {
	g := newRig(t).withOperators().start()
	g.signIn("anna")
	g.stop()
	at := filepath.Join(g.dir, operator.File)
	if err := os.Rename(at, at+".away"); err != nil {
		t.Fatal(err)
	}
	g.start()
	g.step("/v1/checkout", good)
	if h := g.health().Health; h.Status != "degraded" || !strings.Contains(strings.Join(h.Reasons, "\n"), "operators: the operators file is gone, pin.key is not") {
		t.Errorf("%+v", h)
	}
	if a := g.do("GET", "/readyz", ""); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	g.stop()
	if err := os.Remove(filepath.Join(g.dir, operator.KeyFile)); err != nil { // on purpose
		t.Fatal(err)
	}
	g.start()
	if h := g.health().Health; strings.Contains(strings.Join(h.Reasons, "\n"), "operators") {
		t.Errorf("%+v", h)
	}
}

// The document lists each permission, with what its limit counts.
func TestPermissionsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/integrate.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "| permission | for | limit |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	told := map[string]string{}
	for row := range strings.Lines(table) {
		cells := strings.Split(row, " | ")
		for i, word := range strings.Split(cells[0], "`") {
			if i%2 == 1 {
				told[word] = strings.TrimSpace(strings.Trim(cells[2], "|\n "))
			}
		}
	}
	known := grants("*").Each()
	for _, g := range known {
		limit, ok := told[string(g.Permission)]
		_, err := operator.ParseGrant(string(g.Permission) + ":5")
		if !ok || (limit != "") != (err == nil) {
			t.Errorf("docs/integrate.md, %s: listed %v, limit %q; a limit is %v", g.Permission, ok, limit, err)
		}
	}
	if len(told) != len(known) {
		t.Errorf("%d permissions are listed, there are %d", len(told), len(known))
	}
}

// Where the till asks a payment terminal, what somebody types in its place asks for more;
// and a quantity that is lowered is a line that is voided.
func TestSlipsAndFewer(t *testing.T) {
	g := newRig(t).withOperators()
	g.set.Operators.Roles = map[string]operator.Grants{"cashier": grants("sale"), "manager": grants("*"), "supervisor": grants("sale", "line.void", "card.resolve")}
	g.start()
	anna, ben := g.signIn("anna"), g.signIn("ben")
	const slip = `{"kind":"card","amount":129,"reference":"slip 1"}`
	milk := func() string {
		at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
		g.step(at+"/lines", `{"item":"100"}`, anna)
		return at
	}
	g.step(milk()+"/tenders", slip, anna)
	g.step("/v1/checkout", `{"lines":[{"item":"100"}],"tenders":[`+slip+`]}`, anna)
	g.s.o.Card = card.New(card.Options{Register: g.r, Driver: card.TCP{Address: "127.0.0.1:1"}})
	at := milk()
	g.lacks(at+"/tenders", slip, "card.resolve", anna)
	g.lacks("/v1/checkout", `{"lines":[{"item":"100"}],"tenders":[`+slip+`]}`, "card.resolve", anna)
	g.step(at+"/lines/1", `{"quantity":2}`, anna)
	g.lacks(at+"/lines/1", `{"quantity":1}`, "line.void", anna)
	g.step(at+"/lines/1", `{"quantity":1}`, ben)
	g.step(at+"/tenders", slip, ben)
	sold := g.step("/v1/checkout", `{"lines":[{"item":"100"}],"tenders":[`+slip+`]}`, ben)
	back := `{"reason":"r","tenders":[{"kind":"card","amount":-129,"reference":"slip 2"}]}`
	g.set.Operators.Roles["supervisor"] = grants("sale.void")
	g.lacks("/v1/sales/"+sold.Sale.Sale+"/void", back, "sale.void card.resolve", anna)
	g.lacks("/v1/sales/"+sold.Sale.Sale+"/void", back, "card.resolve", ben)
	g.step("/v1/sales/"+sold.Sale.Sale+"/void", back, g.signIn("carla"))
}

// An approval is for one call, also where the call's key is forgotten meanwhile.
func TestApprovalIsForOneCall(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna := g.signIn("anna")
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, anna).Data.Basket
	g.step(at+"/lines", `{"item":"100","quantity":10}`, anna)
	ok := g.approval(anna, "carla", "discount", "")
	half := `{"discounts":[{"percent":"50"}]}`
	g.step(at, half, anna, ok, key("again"))
	for i := range 9 {
		g.step(at, fmt.Sprintf(`{"note":"%d"}`, i), anna)
	}
	g.lacks(at, `{"discounts":[{"percent":"60"}]}`, "discount", anna, ok, key("again"))
	g.lacks(at, half, "discount", anna, ok, key("again"))
	// Another body under the key of a call that was refused is another call.
	ok = g.approval(anna, "carla", "discount", "")
	g.refuses(at, half, "version-conflict", anna, ok, key("refused"), header("If-Match", `"1-1"`))
	g.step(at, `{"discounts":[{"percent":"60"}]}`, anna, ok, key("refused"))
}

// An approval comes back where its call came to nothing: a mistyped sale, no room. Where it
// may have come to something it does not.
func TestApprovalComesBackWhereNothingHappened(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna := g.signIn("anna")
	sold := g.step("/v1/checkout", `{"lines":[{"item":"100"}],"tenders":[{"kind":"cash","amount":129}]}`, anna)
	ok := g.approval(anna, "carla", "sale.void", "")
	g.refuses("/v1/sales/ffffffff-1/void", `{"reason":"r"}`, "sale-not-found", anna, ok)
	if v := g.step("/v1/sales/"+sold.Sale.Sale+"/void", `{"reason":"r"}`, anna, ok); v.Sale.Total != -sold.Sale.Total {
		t.Errorf("%+v", v)
	}
	for err, back := range map[error]bool{
		register.ErrNoSale: true, register.ErrBusy: true, register.ErrIndex: true, register.ErrStopping: true, journal.ErrNoSpace: true, journal.ErrReadOnly: true,
		card.ErrBusy: true, card.ErrDown: true,
		journal.ErrFailed: false, context.DeadlineExceeded: false, register.ErrUnreadable: false,
	} {
		r := httptest.NewRequest("POST", "/", nil)
		anna(r)
		g.approval(anna, "carla", "sale.void", "")(r)
		claims := func(call string) *caller {
			c, bad := g.s.caller(r, "till-1", call, true)
			if bad != nil {
				t.Fatal(bad)
			}
			c.permit([]want{{operator.SaleVoid, 0}})
			return &c
		}
		claims("first").release(g.s.problemOf(fmt.Errorf("step: %w", err)))
		if claims("second").by == "carla" != back {
			t.Errorf("%v: given back %v", err, !back)
		}
	}
}

// Who may not make exports gets one with one approval, and may fetch it.
func TestExportApproval(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna := g.signIn("anna")
	g.step("/v1/checkout", `{"lines":[{"item":"100"}],"tenders":[{"kind":"cash","amount":129}]}`, anna)
	day := `{"date":"` + g.r.Status().BusinessDate + `"}`
	g.lacks(exportsPath, day, "export", anna)
	ok := g.approval(anna, "carla", "export", "")
	var e struct{ Export, ID string }
	a := g.do("POST", exportsPath, day, anna, ok, key("x"))
	at := a.Header.Get("Location")
	if json.Unmarshal(a.body, &e); a.StatusCode != 202 || at == "" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if a := g.do("POST", exportsPath, day, anna, ok, key("x")); a.StatusCode != 200 {
		t.Errorf("repeated: %d %s", a.StatusCode, a.body)
	}
	g.lacks(exportsPath, day, "export", anna, ok, key("y"))
	if a := g.do("GET", at, "", anna); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := g.do("GET", at+dataEnd, "", anna); a.StatusCode == 403 || a.StatusCode == 401 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := g.do("GET", at, ""); a.slug() != "session-required" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := g.do("GET", exportsPath, "", anna); a.slug() != "permission-required" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// What tells the totals asks for the permission, each time.
func TestReadingAsks(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna, ben := g.signIn("anna"), g.signIn("ben")
	for _, path := range []string{"/v1/events", "/v1/shift"} {
		if a := g.do("HEAD", path, ""); a.StatusCode != 401 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
		if a := g.do("HEAD", path, "", anna); a.StatusCode != 403 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
		if a := g.do("HEAD", path, "", ben); a.StatusCode != 200 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
		ok := g.approval(anna, "ben", "shift.report", "")
		if a := g.do("HEAD", path, "", anna, ok); a.StatusCode != 200 {
			t.Errorf("%s approved: %d", path, a.StatusCode)
		}
		if a := g.do("HEAD", path, "", anna, ok); a.StatusCode != 403 {
			t.Errorf("%s approved once: %d", path, a.StatusCode)
		}
	}
}

// Unlocking under the eyes of a second operator names both; one whose answer was lost
// opens when it is repeated.
func TestUnlocking(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna := g.signIn("anna")
	lock := func() {
		for range 3 {
			g.s.desk.Try(t.Context(), g.s.operatorRules(), "till-1", "ben", []byte("1"), func(operator.Outcome) error { return nil })
		}
	}
	in := func() string {
		return g.do("POST", signInPath, `{"operator":"ben","pin":"2718"}`).slug()
	}
	lock()
	if got := in(); got != "operator-locked" {
		t.Error(got)
	}
	ok := g.approval(anna, "carla", "operator.unlock", "")
	g.step("/v1/operators/ben/unlock", `{"reason":"r"}`, anna, ok, key("u"))
	lock() // as if posd had not got so far
	g.step("/v1/operators/ben/unlock", `{"reason":"r"}`, anna, key("u"))
	if got := in(); got != "" {
		t.Error(got)
	}
	if got := g.journaled(event.TypeOperatorUnlocked); len(got) != 1 || got[0] != `unlocked {"operator":"ben","reason":"r","approved":"carla","for":"anna"}` {
		t.Errorf("%s", got)
	}
}

func TestRouteNames(t *testing.T) {
	for path, name := range map[string]string{"/v1/operators": "operators", signInPath: "sign", "/v1/events": "events", "/v1/exports": "exports", "/v1/exports/1": "export",
		"/v1/sales/1/paper": "paper", "/v1/printer": "printer", "/v1/status": "status", "/v1/baskets": "baskets", "/v1/shift": "shift", "/v1/reports/1": "report", "/nothing": "static"} {
		if got := routeNames[routeOf(path)]; got != name {
			t.Errorf("%s is %s", path, got)
		}
	}
	for at, name := range routeNames {
		if name == "" {
			t.Errorf("route %d has no name", at)
		}
	}
}

// Head office may change what roles are allowed: it holds from the next call on.
func TestPushedRoles(t *testing.T) {
	g := newRig(t).withOperators().start()
	anna := g.signIn("anna")
	g.lacks("/v1/checkout", good, "item.unknown", anna)
	set := *g.r.Settings()
	set.Operators.Roles = map[string]operator.Grants{"cashier": grants("sale", "item.unknown")}
	if err := g.r.Note(t.Context(), &event.ConfigApplied{Serial: 1, Config: "c"}, &set); err != nil {
		t.Fatal(err)
	}
	g.step("/v1/checkout", good, anna)
	g.lacks("/v1/shift/open", ``, "shift.open", anna)
	g.lacks("/v1/shift/open", ``, "shift.open", g.signIn("carla")) // whose role is gone
}

// With no room left nothing can be sold, but who has the right PIN is let in: what is
// open can be finished. What could not be recorded counts nevertheless.
func TestSignInOnAFullDisk(t *testing.T) {
	g := newRig(t).withOperators()
	g.open.SegmentSize, g.open.MaxBytes = 64<<10, 256<<10
	var log bytes.Buffer
	g.log = slog.New(slog.NewTextHandler(&log, nil))
	g.start()
	carla := g.signIn("carla")
	at := "/v1/baskets/" + g.step("/v1/baskets", ``, carla).Data.Basket
	g.step(at+"/lines", apple, carla)
	g.step(at+"/tenders", `{"kind":"cash","amount":500}`, carla)
	full := false
	for range 5000 {
		if a := g.do("POST", "/v1/checkout", good, carla); a.slug() == "no-space" {
			full = true
			break
		}
	}
	if !full {
		t.Fatal("the disk does not get full")
	}
	anna := g.signIn("anna")
	if !strings.Contains(log.String(), "no room to record what became of a sign-in") {
		t.Errorf("it was recorded: %s", log.String())
	}
	if a := g.do("POST", at+"/complete", ``, anna); a.StatusCode != 201 || !bytes.Contains(a.body, []byte(`"operator":"anna"`)) {
		t.Errorf("%s", a.body)
	}
	for _, pin := range []string{"1", "2"} {
		if a := g.do("POST", signInPath, `{"operator":"ben","pin":"`+pin+`"}`); a.slug() != "pin-wrong" {
			t.Errorf("%s", a.body)
		}
	}
	if a := g.do("POST", signInPath, `{"operator":"ben","pin":"3"}`); a.slug() != "operator-locked" {
		t.Errorf("%s", a.body)
	}
}

// FuzzAttempt: whatever comes as a PIN, no answer repeats it.
func FuzzAttempt(f *testing.F) {
	f.Add([]byte(`{"operator":"anna","pin":"4711"}`), true)
	f.Add([]byte(`{"operator":"carla","pin":"314159265359","permission":"sale.void","limit":"5"}`), true)
	f.Add([]byte(`{"pin":"\u0034711","pin":1`), false)
	f.Fuzz(func(t *testing.T, body []byte, approval bool) {
		var d decoder
		var a attempt
		bad := d.decodeAttempt(body, &a, approval)
		if bad == nil && (a.operator == "" || len(a.pin) == 0 || len(a.pin) > maxShort || len(a.operator) > maxShort || approval != (a.permission != "")) {
			t.Fatalf("%q is taken as %+v", body, a)
		}
		if bad != nil && len(a.pin) >= operator.LeastPIN && strings.Contains(bad.detail, string(a.pin)) && !strings.Contains("this text has to have 1 to 32 bytes", string(a.pin)) && bytes.Count(body, a.pin) == 1 {
			t.Fatalf("%q: %s", body, bad.detail)
		}
		if bad == nil {
			asksFor(&a)
		}
	})
}

// Who has the shift hands it over, or who might close it; and who takes it over signs, with
// a session or with an approval.
func TestShiftIsHandedBySignatures(t *testing.T) {
	g := newRig(t).withOperators()
	g.set.Operators.Roles = map[string]operator.Grants{"cashier": grants("sale", "shift.hand"), "supervisor": grants("line.void", "shift.open", "shift.hand"), "manager": grants("*")}
	g.start()
	anna, ben, carla := g.signIn("anna"), g.signIn("ben"), g.signIn("carla")
	owner := func(want string) {
		t.Helper()
		if st := g.r.Status(); st.Operator != want {
			t.Fatalf("%s has the shift, want %s", st.Operator, want)
		}
	}
	to := func(name string) string { return `{"to":"` + name + `"}` }
	g.step("/v1/shift/open", `{"float":10000}`, ben)

	// Not the one who has it: only with the permission to close it.
	g.lacks("/v1/shift/hand", to("carla"), "shift.hand shift.close", anna)
	g.lacks("/v1/shift/hand", to("carla"), "shift.hand shift.close", anna, g.approval(anna, "carla", "shift.hand", ""))
	g.lacks("/v1/shift/hand", to("anna"), "shift.close", anna)
	owner("ben")
	g.step("/v1/shift/hand", to("anna"), anna, g.approval(anna, "carla", "shift.close", ""))
	owner("anna")

	// The one who has it: another signs for it.
	g.lacks("/v1/shift/hand", to("ben"), "shift.hand", anna)
	g.lacks("/v1/shift/hand", to("ben"), "shift.hand", anna, g.approval(anna, "carla", "shift.hand", ""))
	g.lacks("/v1/shift/hand", to("ben"), "shift.hand", anna, g.approval(anna, "ben", "line.void", ""))
	owner("anna")
	g.step("/v1/shift/hand", to("ben"), anna, g.approval(anna, "ben", "shift.hand", ""))
	owner("ben")

	// A manager takes it over alone, and gives it to nobody who does not know.
	g.step("/v1/shift/hand", to("carla"), carla)
	owner("carla")
	g.lacks("/v1/shift/hand", to("anna"), "shift.hand shift.close", ben, g.approval(ben, "carla", "shift.hand shift.close", ""))
	g.step("/v1/shift/hand", to("anna"), carla, g.approval(carla, "anna", "shift.hand", ""))
	owner("anna")
	list := g.journaled("shift.handed")
	for i, want := range []string{`"from":"ben","to":"anna","operator":"anna","approved":"carla"`, `"from":"anna","to":"ben","operator":"anna","approved":"ben"`,
		`"from":"ben","to":"carla","operator":"carla"}`, `"from":"carla","to":"anna","operator":"carla","approved":"anna"`} {
		if len(list) != 4 || !strings.Contains(list[i], want) {
			t.Errorf("%q, want %s", list, want)
		}
	}
}
