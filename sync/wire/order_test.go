package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var (
	office   = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	stranger = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
)

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func sampleOrder() Order {
	return Order{Store: "s1", Terminal: "t-1", Serial: 1795247911250, Kind: KindConfig, Body: []byte("[tax]\nA = \"7\"\n")}
}

func signed(t testing.TB, o Order, key ed25519.PrivateKey) []byte {
	t.Helper()
	b, err := o.Sign(nil, key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOrder(t *testing.T) {
	for _, o := range []Order{
		sampleOrder(),
		{Store: "s", Terminal: "t", Serial: 1, Kind: "status", Expires: 1795247911, Body: []byte{}},
		{Store: "s", Terminal: "t", Serial: 1<<64 - 1, Kind: "log-level", Body: bytes.Repeat([]byte("\n"), MaxOrderBody)},
	} {
		got, err := OpenOrder(signed(t, o, office), public(office))
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%.80q reads as %+v, %v", signed(t, o, office), got, err)
		}
	}
}

// An order that an earlier release has signed is read as it was meant.
func TestOrderGolden(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "order-v1"))
	if err != nil {
		t.Fatal(err)
	}
	if o, err := OpenOrder(b, public(office)); err != nil || !reflect.DeepEqual(o, sampleOrder()) {
		t.Errorf("%+v, %v", o, err)
	}
	if got := signed(t, sampleOrder(), office); !bytes.Equal(got, b) {
		t.Errorf("written:\n%s\ngolden:\n%s", got, b)
	}
}

// No bit of a signed order can be changed.
func TestOrderEveryBitCounts(t *testing.T) {
	good := signed(t, sampleOrder(), office)
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			o, err := OpenOrder(b, public(office))
			if err == nil && (i >= sigDigits || !strings.EqualFold(string(b[:sigDigits]), string(good[:sigDigits]))) {
				t.Fatalf("byte %d bit %d: %+v", i, bit, o)
			}
		}
	}
}

func TestOrderRefuses(t *testing.T) {
	good := signed(t, sampleOrder(), office)
	again := func(from, to string) []byte { // with a right signature
		said := bytes.Replace(good[sigDigits+1:], []byte(from), []byte(to), 1)
		sig := ed25519.Sign(office, append([]byte(orderDomain), said...))
		return append(hex.AppendEncode(nil, sig), append([]byte{'\n'}, said...)...)
	}
	if _, err := OpenOrder(again("x", "x"), public(office)); err != nil {
		t.Fatalf("the base case: %v", err)
	}
	for name, c := range map[string]struct {
		b    []byte
		key  ed25519.PublicKey
		want error
	}{
		"empty":              {nil, public(office), ErrOrder},
		"only a signature":   {good[:sigDigits], public(office), ErrOrder},
		"signed by another":  {signed(t, sampleOrder(), stranger), public(office), ErrSignature},
		"another key":        {good, public(stranger), ErrSignature},
		"no key":             {good, nil, ErrSignature},
		"short key":          {good, public(office)[:31], ErrSignature},
		"cut":                {good[:len(good)-1], public(office), ErrSignature},
		"longer":             {append(bytes.Clone(good), 'x'), public(office), ErrSignature},
		"no domain":          {append(append(hex.AppendEncode(nil, ed25519.Sign(office, good[sigDigits+1:])), '\n'), good[sigDigits+1:]...), public(office), ErrSignature},
		"no body":            {again("}\n[tax]\nA = \"7\"\n", "}"), public(office), ErrOrder},
		"duplicate name":     {again(`"serial":`, `"serial":1,"serial":`), public(office), ErrOrder},
		"newer version":      {again(`"v":1`, `"v":2`), public(office), ErrOrder},
		"no serial":          {again(`"serial"`, `"cereal"`), public(office), ErrOrder},
		"serial 0":           {again(`1795247911250`, `0`), public(office), ErrOrder},
		"negative serial":    {again(`1795247911250`, `-1`), public(office), ErrOrder},
		"no terminal":        {again(`"terminal"`, `"terminus"`), public(office), ErrOrder},
		"terminal no name":   {again(`t-1`, `t.1`), public(office), ErrOrder},
		"kind no name":       {again(`"config"`, `"con fig"`), public(office), ErrOrder},
		"expiry beyond ages": {again(`"kind"`, `"expires":18446744073709551615,"kind"`), public(office), ErrOrder},
		"long header":        {again(`"kind"`, `"x":"`+strings.Repeat("x", maxHeader)+`","kind"`), public(office), ErrOrder},
		"long body":          {again("[tax]", strings.Repeat("#", MaxOrderBody)), public(office), ErrOrder},
		"endless":            {make([]byte, 1<<20), public(office), ErrOrder},
	} {
		if o, err := OpenOrder(c.b, c.key); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
	if _, err := OpenOrder(again(`"v":1`, `"v":1,"new":{"a":[1]}`), public(office)); err != nil {
		t.Errorf("an unknown member is in the way: %v", err)
	}
	for name, harm := range map[string]func(*Order){
		"store": func(o *Order) { o.Store = "a.b" }, "kind": func(o *Order) { o.Kind = "" }, "serial": func(o *Order) { o.Serial = 0 },
		"body": func(o *Order) { o.Body = make([]byte, MaxOrderBody+1) }, "expires": func(o *Order) { o.Expires = -1 },
	} {
		o := sampleOrder()
		harm(&o)
		if b, err := o.Sign(nil, office); !errors.Is(err, ErrOrder) || b != nil {
			t.Errorf("%s is signed: %v", name, err)
		}
	}
}

func TestAnswer(t *testing.T) {
	for _, a := range []Answer{
		{Store: "s1", Terminal: "t1", Serial: 5, Kind: "config", State: StateRefused, Reason: "line 3: \"x\"\n…", Config: "ab", Data: []byte{}},
		{Store: "s1", Terminal: "t1", State: StateDone, Data: bytes.Repeat([]byte{0, '\n'}, MaxAnswerData/2)},
	} {
		got, err := ParseAnswer(a.Append(nil))
		if err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("%.200q reads as state %q, %d bytes, %v", a.Append(nil), got.State, len(got.Data), err)
		}
	}
	a := Answer{Store: "s1", Terminal: "t1", Serial: 5, Kind: "status", State: StateDone}
	good := string(a.Append(nil))
	for name, bad := range map[string]string{
		"empty": "", "no line": strings.TrimSuffix(good, "\n"), "no state": strings.Replace(good, `"state"`, `"fate"`, 1),
		"store": strings.Replace(good, `s1`, `*`, 1), "twice": strings.Replace(good, `"kind"`, `"kind":"x","kind"`, 1),
		"too much": good + strings.Repeat("x", MaxAnswerData+1),
	} {
		if got, err := ParseAnswer([]byte(bad)); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	long := Answer{Store: strings.Repeat("s", 32), Terminal: strings.Repeat("t", 32), Serial: 1<<64 - 1, Kind: strings.Repeat("k", 32),
		State: StateRefused, Reason: strings.Repeat("\"", MaxReason/2) + strings.Repeat("x", MaxReason/2), Config: strings.Repeat("a", 64)}
	if _, err := ParseAnswer(long.Append(nil)); err != nil {
		t.Errorf("a long reason: %v", err)
	}
}

func TestAnswerSubject(t *testing.T) {
	s := AnswerSubject(3, "s-1", "T_2", 1<<64-1)
	shard, store, terminal, serial, err := ParseAnswerSubject(s)
	if err != nil || shard != 3 || store != "s-1" || terminal != "T_2" || serial != 1<<64-1 {
		t.Errorf("%s reads as %d %s %s %d %v", s, shard, store, terminal, serial, err)
	}
	for _, bad := range []string{"", "pos.ans.0.s.t", "pos.ans.x.s.t.1", "pos.ans.00.s.t.1", "pos.ans.0.s.t.01", "pos.ans.0.s.t.-1",
		"pos.ans.0.s.t.1.2", "pos.ans.0..t.1", "pos.up.0.s.t.1", "pos.ans.0.s.t.18446744073709551616"} {
		if _, _, _, _, err := ParseAnswerSubject(bad); !errors.Is(err, ErrOrder) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzOrder(f *testing.F) {
	o := sampleOrder()
	f.Add(signed(f, o, office)[sigDigits+1:])
	f.Add([]byte(`{"v":1,"store":"s","terminal":"t","serial":1,"kind":"x","expires":9}` + "\n"))
	f.Add(signed(f, o, office))
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := OpenOrder(b, public(office)); err == nil && !bytes.Equal(b, signed(t, sampleOrder(), office)) {
			// Only a signature's digits have two forms.
			if again := signed(t, o, office); !bytes.EqualFold(again, b) {
				t.Fatalf("forged: %+v", o)
			}
		}
		if len(b) > 64<<10 {
			return
		}
		sig := hex.AppendEncode(nil, ed25519.Sign(office, append([]byte(orderDomain), b...)))
		o, err := OpenOrder(append(append(sig, '\n'), b...), public(office))
		if err != nil {
			if !errors.Is(err, ErrOrder) {
				t.Fatal(err)
			}
			return
		}
		again, err := OpenOrder(signed(t, o, office), public(office))
		if err != nil || !reflect.DeepEqual(again, o) {
			t.Fatalf("%+v reads back as %+v, %v", o, again, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	a := Answer{Store: "s1", Terminal: "t1", Serial: 5, Kind: "config", State: StateRefused, Reason: "why", Config: "ab", Data: []byte("x")}
	f.Add(a.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAnswer(b)
		if err != nil {
			return
		}
		if again, err := ParseAnswer(a.Append(nil)); len(b)-len(a.Data) < 1500 && (err != nil || !reflect.DeepEqual(again, a)) {
			t.Fatalf("%+v reads back as %+v, %v", a, again, err)
		}
	})
}
