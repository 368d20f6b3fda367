package catalogue

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"posd/pos/itemcode"
)

// FuzzItem: no bytes make the decoder panic, and what it accepts encodes to the same item.
func FuzzItem(f *testing.F) {
	banana := Item{Code: "4011", Description: "Bananas", Department: "fruit", Unit: "kg", Tax: "A", Price: 199, Decimals: 3}
	wine := Item{Code: "04006381333931", Description: "Wine", Tax: "B", Price: 1 << 40, Age: 18, Next: 5, From: itemcode.Date{Year: 2026, Month: 12, Day: 1}}
	for _, it := range []Item{banana, wine, {Code: "1", Description: "Any", Tax: "B", Open: true}} {
		key := appendKey(nil, it.Code)
		f.Add(appendItem(nil, &it, key), key)
	}
	f.Add([]byte("\x01\x00\x02\x8e\x03\x07Bananas\x05fruit\x02kg\x01A"), []byte("4011"))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, b, key []byte) {
		if len(key) == 0 || len(key) > maxCode {
			return
		}
		it, err := decodeItem(b, key)
		if err != nil {
			return
		}
		again, err := decodeItem(appendItem(nil, &it, key), key)
		if err != nil || again != it {
			t.Errorf("%+v became %+v %v", it, again, err)
		}
	})
}

// FuzzWords: whatever the text, its words are short, different, valid, and found by
// each of their beginnings; splitting a word again changes nothing.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"Müller Käse, 3,5 % Fett", "Straße STRASSE", "Crème brûlée", "Nước mắm", "ΤΥΡΊ φέτα", "сыр ёж", "日本酒 720ml", "e\u0301", strings.Repeat("ß", 40), "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var w, again words
		w.split(text)
		for i := range w.n {
			word := w.at(i)
			if len(word) < minWord || len(word) > maxWord || bytes.IndexByte(word, 0) >= 0 || bytes.ContainsAny(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ ") {
				t.Errorf("%q has the word %q", text, word)
			}
			for n := range word {
				if !w.begins(word[:n+1]) {
					t.Errorf("%q is not found", word[:n+1])
				}
			}
			if again.split(string(word)); utf8.Valid(word) && (again.n != 1 || !bytes.Equal(again.at(0), word)) {
				t.Errorf("%q of %q is not a word of its own", word, text)
			}
		}
	})
}

// FuzzCSV: what the scanner lets through can be stored and read back unchanged, and
// a file without problems is accepted as a whole.
func FuzzCSV(f *testing.F) {
	f.Add([]byte(header + "4011,Bananas,fruit,kg,1.99,A\n\"1\",\"a \"\"b\"\"\",,,,B\n"))
	f.Add([]byte("\ufeffcode,description,department,unit,price,tax,x\r\n1,a,,,0,A,\r\n"))
	f.Add([]byte(header + "1,\"a\nb\",,,1,A\n1,a,,,-1,C\n\"1"))
	f.Add([]byte("code,description,department,unit,price,tax,age,decimals,next_price,next_from,op\n4006381333931,Wine,,pc,5.99,A,18,,4.99,2026-12-01,set\n1,,,,,,,,,,delete\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		o := euro
		o.Delta = len(text)%2 == 1
		s := newScanner(bytes.NewReader(text), o)
		if !s.header() {
			if s.err() == nil {
				t.Error("refused without a reason")
			}
			return
		}
		for {
			it, line, good, ok := s.next()
			if good && !s.gone {
				checkItem(t, it, line)
			} else if ok && !good && s.err() == nil {
				t.Error("a line was dropped without a reason")
			}
			if !ok {
				break
			}
		}
		if len(s.problems) > maxProblems {
			t.Errorf("%d problems", len(s.problems))
		}
		for _, p := range s.problems {
			if p.What == "" || p.Remedy == "" || p.Line > 1+bytes.Count(text, []byte("\n")) || !utf8.ValidString(p.String()) {
				t.Errorf("bad problem %+v", p)
			}
		}
	})
}

func checkItem(t *testing.T, it Item, line int) {
	if it.Code == "" || it.Description == "" || !euro.Taxes[it.Tax] || it.Price < 0 || it.Open && it.Price != 0 || line < 2 ||
		strings.ContainsAny(it.Code+it.Description+it.Department+it.Unit, "\n\r\x00") {
		t.Errorf("let through: %+v line %d", it, line)
	}
	key := appendKey(nil, it.Code)
	back, err := decodeItem(appendItem(nil, &it, key), key)
	if err != nil || back != it {
		t.Errorf("%+v became %+v %v", it, back, err)
	}
}
