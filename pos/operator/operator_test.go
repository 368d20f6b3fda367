package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var rules = Rules{Idle: 10 * time.Minute, Attempts: 3, Roles: map[string]Grants{"cashier": {{Sale, NoLimit}}, "manager": {{all, NoLimit}}}}

// folder makes a data folder with anna (4711) and ben (2718).
func folder(t testing.TB) (string, Key) {
	t.Helper()
	dir, k := t.TempDir(), NewKey()
	write(t, dir, k, Entry{Name: "anna", Role: "cashier", Check: k.Check("anna", []byte("4711"))}, Entry{Name: "ben", Role: "manager", Check: k.Check("ben", []byte("2718"))})
	return dir, k
}

func write(t testing.TB, dir string, k Key, list ...Entry) {
	t.Helper()
	for i := range list {
		list[i].Changed = "2026-11-21T10:15:30Z"
	}
	put(t, dir, File, Format(list))
	put(t, dir, KeyFile, k.Append(nil))
}

// put replaces a file as posctl does.
func put(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	tmp := filepath.Join(dir, "new")
	if err := errors.Join(os.WriteFile(tmp, b, 0o600), os.Rename(tmp, filepath.Join(dir, name))); err != nil {
		t.Fatal(err)
	}
}

// guess tries a PIN and tells what came of it and what was noted.
func guess(d *Desk, name, pin string) (string, error) {
	noted := "nothing"
	_, err := d.Try(context.Background(), &rules, "till-1", name, []byte(pin), func(o Outcome) error {
		switch {
		case o.Locked:
			noted = fmt.Sprint(o.Entry.Name, " locked ", o.Wrong)
		case o.Wrong > 0:
			noted = fmt.Sprint(o.Entry.Name, " wrong ", o.Wrong)
		default:
			noted = o.Entry.Name + " right"
		}
		return nil
	})
	return noted, err
}

// Wrong PINs are counted and noted, lock for longer and longer, and a right one behind
// them begins anew. While it is locked not even the right PIN is looked at.
func TestLock(t *testing.T) {
	dir, _ := folder(t)
	synctest.Test(t, func(t *testing.T) {
		d := NewDesk(OpenBook(dir, nil), nil, nil)
		expect := func(name, pin, noted string, is error) {
			t.Helper()
			if got, err := guess(d, name, pin); got != noted || !errors.Is(err, is) {
				t.Errorf("%s %s: %s, %v; want %s, %v", name, pin, got, err, noted, is)
			}
		}
		locked := func(name string, want time.Duration) {
			t.Helper()
			var l *LockedError
			if got, err := guess(d, name, "4711"); got != "nothing" || !errors.As(err, &l) || l.For != want {
				t.Errorf("%s, %v; want locked for %s", got, err, want)
			}
		}
		expect("anna", "4711", "anna right", nil)
		expect("anna", "0815", "anna wrong 1", ErrWrong)
		expect("anna", "", "anna wrong 2", ErrWrong)
		expect("anna", "4711", "anna right", nil)
		expect("anna", "0815", "anna wrong 1", ErrWrong)
		expect("anna", "2718", "anna wrong 2", ErrWrong) // ben's
		if got, err := guess(d, "anna", "4712"); got != "anna locked 3" || !errors.As(err, new(*LockedError)) {
			t.Errorf("%s, %v", got, err)
		}
		locked("anna", firstLock)
		expect("ben", "2718", "ben right", nil) // nobody else is
		for i, length := range []time.Duration{firstLock, 2 * firstLock, 4 * firstLock, 8 * firstLock, 16 * firstLock, mostLock, mostLock, mostLock} {
			time.Sleep(length - time.Nanosecond)
			locked("anna", time.Nanosecond)
			time.Sleep(time.Nanosecond)
			if d.Locked(&rules, "anna") != 0 {
				t.Errorf("lock %d lasts longer than %s", i, length)
			}
			if got, _ := guess(d, "anna", "4712"); got != fmt.Sprint("anna locked ", 4+i) {
				t.Errorf("lock %d: %s", i, got)
			}
		}
		d.Forget("anna")
		expect("anna", "4711", "anna right", nil)
		expect("nobody", "4711", "nothing", ErrWrong)
	})
}

// A restart gives no guess back and shortens no lock.
func TestLockAfterStart(t *testing.T) {
	dir, _ := folder(t)
	synctest.Test(t, func(t *testing.T) {
		d := NewDesk(OpenBook(dir, nil), map[string]int{"anna": 4, "ben": 2}, nil)
		if left := d.Locked(&rules, "anna"); left != 2*firstLock {
			t.Errorf("anna is locked for %s", left)
		}
		if got, _ := guess(d, "ben", "0000"); got != "ben locked 3" {
			t.Errorf("%s", got)
		}
		time.Sleep(2 * firstLock)
		if got, err := guess(d, "anna", "4711"); got != "anna right" || err != nil {
			t.Errorf("%s, %v", got, err)
		}
	})
}

// One PIN tried with everybody has a measure of its own at each front end. Names that
// there are not count nothing, and lock nobody out; unlocking ends it.
func TestSpraying(t *testing.T) {
	dir, k := folder(t)
	var many []Entry
	for i := range 100 {
		many = append(many, Entry{Name: fmt.Sprint("op", i), Role: "cashier", Check: k.Check(fmt.Sprint("op", i), []byte("4711"))})
	}
	write(t, dir, k, many...)
	synctest.Test(t, func(t *testing.T) {
		d := NewDesk(OpenBook(dir, nil), nil, nil)
		for i := range 1000 {
			if _, err := guess(d, fmt.Sprint("nobody", i), "4711"); !errors.Is(err, ErrWrong) {
				t.Fatalf("made-up name %d: %v", i, err)
			}
		}
		looked := 0
		for i := range 200 {
			if _, err := guess(d, fmt.Sprint("op", i), "9999"); errors.Is(err, ErrWrong) {
				looked++
			}
		}
		var l *LockedError
		if _, err := guess(d, "op7", "4711"); looked != wrongAtOnce || !errors.As(err, &l) || l.Operator != "" || l.Seconds() != int(wrongEvery/time.Second) {
			t.Errorf("%d guesses, then %v", looked, err)
		}
		if _, err := d.Try(context.Background(), &rules, "till-2", "op50", []byte("4711"), func(Outcome) error { return nil }); err != nil {
			t.Errorf("at another front end: %v", err)
		}
		time.Sleep(wrongEvery)
		if got, err := guess(d, "op7", "4711"); err != nil {
			t.Errorf("%s, %v", got, err)
		}
		if _, err := guess(d, "op60", "9999"); !errors.Is(err, ErrWrong) {
			t.Errorf("%v", err)
		}
		d.Unlock("op60")
		if got, err := guess(d, "op61", "4711"); err != nil {
			t.Errorf("unlocked: %s, %v", got, err)
		}
	})
}

// Guesses that come at once are looked at one by one: no more of them than the lock lets,
// however long it takes to note each.
func TestGuessesAtOnce(t *testing.T) {
	dir, _ := folder(t)
	synctest.Test(t, func(t *testing.T) {
		d := NewDesk(OpenBook(dir, nil), nil, nil)
		results := make(chan error)
		noting := 0
		for range 50 {
			go func() {
				_, err := d.Try(context.Background(), &rules, "till-1", "anna", []byte("0815"), func(Outcome) error {
					if noting++; noting > 1 {
						t.Error("two guesses at a time")
					}
					time.Sleep(time.Millisecond)
					noting--
					return nil
				})
				results <- err
			}()
		}
		wrong := 0
		for range 50 {
			if err := <-results; errors.Is(err, ErrWrong) {
				wrong++
			}
		}
		if wrong != rules.Attempts-1 {
			t.Errorf("%d guesses were answered as wrong, want %d and then the lock", wrong, rules.Attempts-1)
		}
	})
}

// What cannot be noted lets nobody in, and a wrong PIN counts all the same.
func TestNotNoted(t *testing.T) {
	dir, _ := folder(t)
	d := NewDesk(OpenBook(dir, nil), nil, nil)
	broken := errors.New("disk")
	for _, pin := range []string{"4711", "1", "2", "3"} {
		if _, err := d.Try(context.Background(), &rules, "till-1", "anna", []byte(pin), func(Outcome) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("%s: %v", pin, err)
		}
	}
	if d.Locked(&rules, "anna") == 0 {
		t.Error("wrong PINs that were not noted did not count")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d.gate <- struct{}{}
	if _, err := d.Try(ctx, &rules, "till-1", "ben", []byte("2718"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestSessions(t *testing.T) {
	dir, _ := folder(t)
	synctest.Test(t, func(t *testing.T) {
		b := OpenBook(dir, nil)
		d := NewDesk(b, nil, nil)
		anna, _ := b.Find("anna")
		s, _ := d.Open("till-1", anna)
		who := func(front, token string, renew bool) error {
			_, _, err := d.Who(&rules, front, token, renew)
			return err
		}
		if err := errors.Join(who("till-1", s, false), who("till-1", s, true)); err != nil {
			t.Error(err)
		}
		for _, bad := range []error{who("till-2", s, true), who("till-1", "", true), who("till-1", s+"x", true)} {
			if !errors.Is(bad, ErrSession) {
				t.Errorf("%v", bad)
			}
		}
		time.Sleep(rules.Idle - time.Second)
		if e, left, err := d.Who(&rules, "till-1", s, false); err != nil || left != time.Second || e.Role != "cashier" {
			t.Errorf("%+v %s %v", e, left, err)
		}
		if err := who("till-1", s, true); err != nil {
			t.Error(err)
		}
		time.Sleep(rules.Idle - time.Second)
		if err := who("till-1", s, false); err != nil { // looking renews nothing
			t.Error(err)
		}
		time.Sleep(time.Second)
		if err := who("till-1", s, true); !errors.Is(err, ErrSession) {
			t.Errorf("after idling: %v", err)
		}
		if ended := d.Sweep(&rules); len(ended) != 1 || ended[0] != "anna" || d.Sessions() != 0 {
			t.Errorf("%v", ended)
		}
		s, _ = d.Open("till-1", anna)
		if name, err := d.Close("till-1", s); err != nil || name != "anna" {
			t.Errorf("%s %v", name, err)
		}
		if _, err := d.Close("till-1", s); !errors.Is(err, ErrSession) {
			t.Errorf("%v", err)
		}

	})
}

// Another role holds at once, another PIN ends the session, so does the operator's end;
// and there are not too many: the one that has idled the longest goes.
func TestSessionsEnd(t *testing.T) {
	dir, k := folder(t)
	synctest.Test(t, func(t *testing.T) {
		b := OpenBook(dir, nil)
		d := NewDesk(b, nil, nil)
		anna, _ := b.Find("anna")
		who := func(front, token string, renew bool) error {
			_, _, err := d.Who(&rules, front, token, renew)
			return err
		}
		s, _ := d.Open("till-1", anna)
		anna.Role = "manager"
		write(t, dir, k, anna)
		time.Sleep(lookEvery)
		if e, _, err := d.Who(&rules, "till-1", s, false); err != nil || e.Role != "manager" {
			t.Errorf("%+v %v", e, err)
		}
		anna.Check = k.Check("anna", []byte("5813"))
		write(t, dir, k, anna)
		time.Sleep(lookEvery)
		if err := who("till-1", s, false); !errors.Is(err, ErrSession) {
			t.Errorf("another PIN: %v", err)
		}
		s, _ = d.Open("till-1", anna)
		write(t, dir, k)
		time.Sleep(lookEvery)
		if err := who("till-1", s, false); !errors.Is(err, ErrSession) {
			t.Errorf("no operator: %v", err)
		}

		d = NewDesk(b, nil, nil)
		write(t, dir, k, anna)
		time.Sleep(lookEvery)
		first, _ := d.Open("f", anna)
		time.Sleep(time.Second)
		var last, ended string
		for range mostSessions {
			if ended != "" {
				t.Error("a session ended too early")
			}
			last, ended = d.Open("f", anna)
			time.Sleep(time.Millisecond)
		}
		if ended != "anna" || d.Sessions() != mostSessions || who("f", first, false) == nil || who("f", last, false) != nil {
			t.Errorf("%q ended, %d sessions", ended, d.Sessions())
		}
	})
}

// An approval is for one call, of one operator at one front end, for a minute.
func TestApprovals(t *testing.T) {
	dir, _ := folder(t)
	synctest.Test(t, func(t *testing.T) {
		b := OpenBook(dir, nil)
		d := NewDesk(b, nil, nil)
		ben, _ := b.Find("ben")
		g := Grants{{SaleVoid, 500}}
		a := d.Approve("till-1", ben, "anna", g)
		claim := func(front, operator, token, key string) error {
			_, _, err := d.Claim(front, operator, token, key)
			return err
		}
		for _, bad := range []error{claim("till-2", "anna", a, "k1"), claim("till-1", "ben", a, "k1"), claim("till-1", "anna", "x", "k1")} {
			if !errors.Is(bad, ErrApproval) {
				t.Errorf("%v", bad)
			}
		}
		by, got, err := d.Claim("till-1", "anna", a, "k1")
		if err != nil || by != "ben" || !got.Allow(SaleVoid, 500) || got.Allow(SaleVoid, 501) {
			t.Errorf("%s %v %v", by, got, err)
		}
		if claim("till-1", "anna", a, "k2") == nil {
			t.Error("it was used twice")
		}
		if err := claim("till-1", "anna", a, "k1"); err != nil {
			t.Errorf("the same call again: %v", err)
		}
		d.Release(a, "k2")
		if claim("till-1", "anna", a, "k2") == nil {
			t.Error("released by another call")
		}
		d.Release(a, "k1")
		if err := claim("till-1", "anna", a, "k2"); err != nil {
			t.Errorf("released: %v", err)
		}
		time.Sleep(ApprovalTime)
		if claim("till-1", "anna", a, "k2") == nil {
			t.Error("it is too old")
		}
		b1 := d.Approve("till-1", ben, "anna", g)
		if err := claim("till-1", "anna", b1, "k"); err != nil {
			t.Error(err)
		}
		d.Spend(b1)
		if claim("till-1", "anna", b1, "k") == nil {
			t.Error("it was spent")
		}
		gone := d.Approve("till-1", Entry{Name: "ben", Role: "manager"}, "anna", g) // with another PIN
		moved := d.Approve("till-1", Entry{Name: "ben", Role: "owner", Check: ben.Check}, "anna", g)
		if claim("till-1", "anna", gone, "k") == nil || claim("till-1", "anna", moved, "k") == nil {
			t.Error("of somebody who has another PIN or role by now")
		}
		time.Sleep(ApprovalTime)
		d.Sweep(&rules)
		if len(d.approvals) != 0 {
			t.Error("an old one is kept")
		}
		for range 2 * mostApprovals {
			d.Approve("till-1", ben, "anna", g)
		}
		if len(d.approvals) != mostApprovals {
			t.Errorf("%d approvals are kept", len(d.approvals))
		}
	})
}

// The files may change, be damaged or go at any time.
func TestBook(t *testing.T) {
	dir, k := folder(t)
	b := OpenBook(t.TempDir(), nil)
	if b.On() || b.Closed() != nil {
		t.Error("operators without a file")
	}
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		b := OpenBook(dir, logger(&log))
		right := func(name, pin string, want bool) {
			t.Helper()
			if _, _, right := b.check(name, []byte(pin)); right != want {
				t.Errorf("%s %s is %v", name, pin, right)
			}
		}
		right("anna", "4711", true)
		right("anna", "4712", false)
		right("anna", "2718", false)
		right("ann", "a4711", false) // the name and the PIN are not one text
		right("", "", false)
		if !b.On() || b.Closed() != nil {
			t.Error(b.Closed())
		}
		// Broken lines are left out, good ones hold; and it is said once.
		good, err := os.ReadFile(filepath.Join(dir, File))
		if err != nil {
			t.Fatal(err)
		}
		put(t, dir, File, append([]byte("garbage\nanna\n"), good...))
		right("anna", "4711", true)
		if _, err := b.All(); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%v", err)
		}
		// Another terminal's key is of no use, nor is none.
		put(t, dir, KeyFile, []byte(strings.Repeat("00", 32)))
		right("anna", "4711", false)
		put(t, dir, KeyFile, []byte("what"))
		right("anna", "4711", false)
		if b.Closed() == nil {
			t.Error("nobody can sign in, and nobody says so")
		}
		if err := os.Remove(filepath.Join(dir, KeyFile)); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			right("anna", "4711", false)
		}
		none := new(Key) // whom a key of zeros would let in
		put(t, dir, File, Format([]Entry{{Name: "anna", Role: "cashier", Check: none.Check("anna", []byte("4711")), Changed: "t"}}))
		right("anna", "4711", false)
		put(t, dir, File, good)
		put(t, dir, KeyFile, k.Append(nil))
		if n := strings.Count(log.String(), "key of the PINs"); n > 4 {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
		right("anna", "4711", true)
		put(t, dir, File, nil)
		right("anna", "4711", false)
		if !b.On() || b.Closed() == nil {
			t.Error("an empty file is no file")
		}
		put(t, dir, File, good)
		right("anna", "4711", true)
		if err := os.Remove(filepath.Join(dir, File)); err != nil {
			t.Fatal(err)
		}
		right("anna", "4711", false)
		if b.On() || !strings.Contains(log.String(), "there is no operators file any more") {
			t.Errorf("%s", log.String())
		}
		if _, err := b.All(); err == nil || b.Closed() != nil {
			t.Errorf("without a file, with the key: %v, closed %v", err, b.Closed())
		}
		if err := os.Remove(filepath.Join(dir, KeyFile)); err != nil {
			t.Fatal(err)
		}
		right("anna", "4711", false)
		if _, err := b.All(); err != nil || b.On() {
			t.Errorf("without both: %v", err)
		}
	})
	for _, pin := range []string{"4711", "2718", "4712"} {
		if strings.Contains(log.String(), pin) {
			t.Errorf("%s is in the log", pin)
		}
	}
}

func TestFormat(t *testing.T) {
	dir, k := folder(t)
	list, err := readFile(filepath.Join(dir, File))
	if err != nil || len(list) != 2 || list[1].Name != "ben" {
		t.Fatal(list, err)
	}
	list = Set(list, Entry{Name: "anna", Role: "manager", Check: k.Check("anna", []byte("5813"))}, time.Unix(1795253400, 0))
	again, err := Parse(bytes.NewReader(Format(list)))
	if err != nil || len(again) != 2 || again[0] != list[0] || again[0].Changed != "2026-11-21T09:30:00Z" {
		t.Errorf("%+v %v", again, err)
	}
	hash := strings.Repeat("ab", 32)
	for _, bad := range []string{"anna cashier " + hash, "anna cashier " + hash[1:] + " t", "anna cashier x" + hash[1:] + " t", "an\x1fna cashier " + hash + " t",
		"änna cashier " + hash + " t", "anna cash,ier " + hash + " t", "anna cashier " + hash + " t u", strings.Repeat("a", 33) + " c " + hash + " t"} {
		if list, err := Parse(strings.NewReader(bad)); !errors.Is(err, ErrLine) || len(list) != 0 {
			t.Errorf("%q: %v %v", bad, list, err)
		}
	}
	var many strings.Builder
	for i := range mostOperators + 5 {
		fmt.Fprintf(&many, "op%d cashier %s t\nop%d manager %s t\n", i, hash, i, hash)
	}
	if list, err := Parse(strings.NewReader(many.String())); err == nil || len(list) != mostOperators || list[7].Role != "cashier" {
		t.Errorf("%d operators, %v", len(list), err)
	}
}

func TestPINs(t *testing.T) {
	for pin, want := range map[string]error{
		"4711": nil, "123456789013": nil, "0000": ErrEasy, "1234": ErrEasy, "987654": ErrEasy, "7890": ErrEasy, "1111111": ErrEasy, "2109": ErrEasy,
		"": ErrPIN, "123": ErrPIN, "1234567890123": ErrPIN, "47 1": ErrPIN, "٤٧١١": ErrPIN, "1212": nil,
	} {
		if err := CheckPIN([]byte(pin)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", pin, err, want)
		}
	}
	k, l := NewKey(), NewKey()
	first := k.Check("a", []byte("4711"))
	if k == l || k.Check("a", []byte("4711")) == l.Check("a", []byte("4711")) || k.Check("a", []byte("4711")) == k.Check("b", []byte("4711")) ||
		first != k.Check("a", []byte("4711")) || k.Check("a4", []byte("711")) == first {
		t.Error("a check is made of key, operator and PIN")
	}
	if again, err := ParseKey(k.Append(nil)); err != nil || again != k {
		t.Error(err)
	}
	for _, bad := range []string{"", "\n", strings.Repeat("0", 63), strings.Repeat("0", 65), strings.Repeat("g", 64), strings.Repeat("0", 64) + "\n\n"} {
		if _, err := ParseKey([]byte(bad)); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestGrants(t *testing.T) {
	for in, want := range map[string]string{"sale": "sale", "discount:10": "discount:10", "discount:7.5": "discount:7.5", "discount": "discount", "cash.out:0": "cash.out:0", "*": "*"} {
		if g, err := ParseGrant(in); err != nil || g.String() != want {
			t.Errorf("%s: %s %v", in, g, err)
		}
	}
	for _, bad := range []string{"", "sell", "sale:1", "discount:", "discount:101", "discount:-1", "discount:1e1", "cash.out:-1", "cash.out:1.5", "cash.out:9999999999999999999",
		"cash.out:1000000000000001", "*:5", "sale ", ":"} {
		if g, err := ParseGrant(bad); !errors.Is(err, ErrGrant) {
			t.Errorf("%q: %v %v", bad, g, err)
		}
	}
	g, err := ParseGrants([]string{"discount:10", "sale", "discount:20", "cash.out:500"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		p    Permission
		n    int64
		want bool
	}{
		{Sale, 0, true}, {Sale, 1 << 60, true}, {SaleVoid, 0, false}, {Discount, 200000, true}, {Discount, 200001, false}, {CashOut, 500, true}, {CashOut, 501, false}, {all, 0, false},
	} {
		if g.Allow(c.p, c.n) != c.want {
			t.Errorf("%s %d", c.p, c.n)
		}
	}
	if all := (Grants{{all, NoLimit}}); !all.Allow(SaleVoid, 1<<60) || !all.Allow("of.a.later.release", 0) || len(all.Each()) != len(permissions) {
		t.Error("* is not all")
	}
	if g.Each().String() != "sale discount:20 cash.out:500" {
		t.Errorf("%v", g.Each())
	}
}

// Whatever stands in the files: no panic, and what is read is written the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte("anna cashier "+strings.Repeat("ab", 32)+" t\n"), "discount:10")
	f.Add([]byte("# x\n\n a b c d\n"), "*")
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		list, _ := Parse(bytes.NewReader(b))
		again, err := Parse(bytes.NewReader(Format(list)))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(list) {
			t.Fatalf("%v\n%v\n%v", list, again, err)
		}
		if g, err := ParseGrant(text); err == nil {
			if h, err := ParseGrant(g.String()); err != nil || h != g {
				t.Fatalf("%q: %v, %v %v", text, g, h, err)
			}
		}
		if k, err := ParseKey(b); err == nil {
			if l, err := ParseKey(k.Append(nil)); err != nil || l != k {
				t.Fatal(k, l, err)
			}
		}
	})
}

func logger(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// A disk that cannot say for a moment whether there are operators does not close a till
// that has none, nor open one that has; at the start it lets nobody in.
func TestFolderCannotBeRead(t *testing.T) {
	spoil := func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir, nil, 0o600); err != nil { // what is in it: ENOTDIR
			t.Fatal(err)
		}
	}
	for _, had := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if had {
			if err := os.WriteFile(filepath.Join(dir, File), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b := OpenBook(dir, nil)
		if b.look(true).on != had {
			t.Fatalf("operators: %v, want %v", !had, had)
		}
		spoil(t, dir)
		if p := b.look(true); p.on != had || p.err == nil {
			t.Errorf("had %v: on %v, %v", had, p.on, p.err)
		}
		if p := OpenBook(dir, nil).look(true); !p.on || p.err == nil {
			t.Errorf("at the start: on %v, %v", p.on, p.err)
		}
	}
}
