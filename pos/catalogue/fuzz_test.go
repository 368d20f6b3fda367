package catalogue

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzItem: no bytes make the decoder panic, and what it accepts encodes to the same item.
func FuzzItem(f *testing.F) {
	f.Add(appendItem(nil, &Item{Description: "Bananas", Department: "fruit", Unit: "kg", Tax: "A", Price: 199}, 2))
	f.Add(appendItem(nil, &Item{Description: "Any", Tax: "B", Open: true}, 1<<40))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		it, line, err := decodeItem(b)
		if err != nil {
			return
		}
		again, line2, err := decodeItem(appendItem(nil, &it, line))
		if err != nil || again != it || line2 != line {
			t.Errorf("%+v line %d became %+v line %d %v", it, line, again, line2, err)
		}
	})
}

// FuzzCSV: what the scanner lets through can be stored and read back unchanged, and
// a file without problems is accepted as a whole.
func FuzzCSV(f *testing.F) {
	f.Add([]byte(header + "4011,Bananas,fruit,kg,1.99,A\n\"1\",\"a \"\"b\"\"\",,,,B\n"))
	f.Add([]byte("\ufeffcode,description,department,unit,price,tax,x\r\n1,a,,,0,A,\r\n"))
	f.Add([]byte(header + "1,\"a\nb\",,,1,A\n1,a,,,-1,C\n\"1"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := newScanner(bytes.NewReader(text), euro)
		if !s.header() {
			if s.err() == nil {
				t.Error("refused without a reason")
			}
			return
		}
		for {
			it, line, good, ok := s.next()
			if good {
				checkItem(t, it, line)
			} else if ok && s.err() == nil {
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
	back, at, err := decodeItem(appendItem(nil, &it, uint64(line)))
	back.Code = it.Code
	if err != nil || back != it || at != uint64(line) {
		t.Errorf("%+v became %+v %v", it, back, err)
	}
}
