package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"posd/pos"
)

const (
	unstableString  = unstable.String
	unstableInteger = unstable.Integer
	unstableFloat   = unstable.Float
	unstableArray   = unstable.Array
)

// decoder turns the text of one file into a Config and a list of problems.
type decoder struct {
	file     string
	zone     func(string) (*time.Location, error)
	config   *Config
	problems []Problem // refuse always
	warnings []Problem // refuse in strict mode only

	text   []byte
	line   int            // of the key that is being read; 0 while defaults are set
	seen   map[string]int // key → line
	tables map[string]int // table → line

	pushed bool // the text is head office's, over a configuration that is whole
	taxes  bool // its tax table has begun
}

// decode reads text and checks all that can be checked without looking at other
// files. It is pure but for zone.
func decode(file string, text []byte, zone func(string) (*time.Location, error)) *decoder {
	d := &decoder{file: file, zone: zone, config: &Config{}, seen: map[string]int{}, tables: map[string]int{}}
	d.defaults()
	d.text = text
	if d.walk(text) {
		d.checkMissing()
		d.checkTogether()
	}
	d.noteSources(FromFile)
	if d.config.Hub.Stream == "" {
		d.config.Hub.Stream = fmt.Sprintf("POS_UP_%d", d.config.Hub.Shard)
	}
	return d
}

// defaults sets every default through the same code that reads the file. The
// table is checked by a test; a default that does not parse is a problem here.
func (d *decoder) defaults() {
	var b []byte
	for i := range keys {
		if keys[i].def != "" {
			b = append(b, keys[i].name...)
			b = append(b, " = "...)
			b = append(b, keys[i].def...)
			b = append(b, '\n')
		}
	}
	d.text = b
	d.walk(b)
	clear(d.seen)
}

func (d *decoder) problem(key, what, remedy string) {
	d.problems = append(d.problems, Problem{File: d.file, Line: d.line, Key: key, What: what, Remedy: remedy})
}

func (d *decoder) warn(key, what, remedy string) {
	d.warnings = append(d.warnings, Problem{File: d.file, Line: d.line, Key: key, What: what, Remedy: remedy})
}

// walk reads all expressions and reports whether the text is TOML to its end.
func (d *decoder) walk(text []byte) bool {
	// The parser hands out sub-slices and finds offsets by capacity.
	text = text[:len(text):len(text)]
	var p unstable.Parser
	p.Reset(text)
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			table = d.path(nil, e.Key())
			d.openTable(dotted(table))
		case unstable.ArrayTable:
			table = d.path(nil, e.Key())
			d.problem(dotted(table), "a list of tables is not used here", "write the table once, in single brackets")
		case unstable.KeyValue:
			d.keyValue(table, e)
		}
	}
	d.line = 0
	err := p.Error()
	if err == nil {
		return true
	}
	what := err.Error()
	var pe *unstable.ParserError
	if errors.As(err, &pe) {
		d.setLine(cap(text) - cap(pe.Highlight))
	}
	d.problem("", "not valid TOML: "+what, "check quotes, brackets and the line before")
	return false
}

// setLine notes the line of an offset, for the problems that follow.
func (d *decoder) setLine(offset int) {
	offset = min(max(offset, 0), len(d.text))
	d.line = 1 + bytes.Count(d.text[:offset], []byte{'\n'})
}

// path appends the parts of a dotted key to base, in a slice of its own.
func (d *decoder) path(base []string, it unstable.Iterator) []string {
	path := slices.Clone(base)
	for first := true; it.Next(); first = false {
		n := it.Node()
		if first {
			d.setLine(int(n.Raw.Offset))
		}
		path = append(path, string(n.Data))
	}
	return path
}

func (d *decoder) openTable(name string) {
	if line, ok := d.tables[name]; ok {
		d.problem(name, fmt.Sprintf("the table is already on line %d", line), "put all its keys into one table")
		return
	}
	d.tables[name] = d.line
	for i := range keys {
		if t, _, _ := strings.Cut(keys[i].name, "."); t == name {
			return
		}
	}
	d.warn(name, "unknown table", suggest(name))
}

// dotted is the name of a path. A part that is no bare key is quoted, so that
// the one key "a.b" is never taken for a and b, nor a line feed for a new line.
func dotted(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = p
		if !validName(p, maxFile) {
			parts[i] = strconv.Quote(p)
		}
	}
	return strings.Join(parts, ".")
}

// keyValue handles one pair; an inline table is the same as its keys written out.
func (d *decoder) keyValue(table []string, e *unstable.Node) {
	path := d.path(table, e.Key())
	v := e.Value()
	if v.Kind == unstable.InlineTable && len(path) == 1 && !isKey(path[0]) {
		d.openTable(path[0])
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				d.keyValue(path, it.Node())
			}
		}
		return
	}
	name := dotted(path)
	if line, ok := d.seen[name]; ok {
		d.problem(name, fmt.Sprintf("is already set on line %d", line), "remove one of the two")
		return
	}
	d.seen[name] = d.line
	d.set(path, name, v)
}

func isKey(name string) bool { return findKey(name) != nil }

func findKey(name string) *key {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

// set stores one value, or says why not.
func (d *decoder) set(path []string, name string, n *unstable.Node) {
	isTax := len(path) == 2 && path[0] == "tax"
	k := findKey(name)
	if !isTax && (k == nil || len(path) != 2) {
		d.warn(name, "unknown key", suggest(name))
		return
	}
	if !d.mayPush(name, k, isTax) {
		return
	}
	v, bad := readValue(n)
	if bad == nil {
		if isTax {
			bad = setTax(d.config, path[1], v)
		} else {
			bad = k.set(d, d.config, v)
		}
	}
	if bad != nil {
		d.problem(name, bad.what, bad.remedy)
	}
}

// readValue copies a value out of the parser's memory.
func readValue(n *unstable.Node) (value, *fault) {
	v := value{kind: n.Kind, text: string(n.Data)}
	if n.Kind != unstable.Array {
		return v, nil
	}
	for it := n.Children(); it.Next(); {
		c := it.Node()
		if c.Kind != unstable.String {
			return v, &fault{fmt.Sprintf("the list holds %s, expected strings", kindName(c.Kind)), `write it as ["one", "two"]`}
		}
		v.list = append(v.list, string(c.Data))
	}
	return v, nil
}

// checkMissing reports every required key that the file does not set.
func (d *decoder) checkMissing() {
	for i := range keys {
		k := &keys[i]
		if k.def != "" || k.name == taxKeys {
			continue
		}
		if _, ok := d.seen[k.name]; !ok {
			table, last, _ := strings.Cut(k.name, ".")
			d.problem(k.name, "is missing", fmt.Sprintf("write %s = %s under [%s]", last, k.example, table))
		}
	}
	for name := range d.seen {
		if strings.HasPrefix(name, "tax.") {
			return
		}
	}
	d.problem("tax", "no tax code is defined", `write at least one under [tax], such as A = "19" (or "0" where sales are not taxed)`)
}

// checkTogether checks what one value means for another.
func (d *decoder) checkTogether() {
	c := d.config
	at := func(key string) { d.line = d.seen[key] }
	defer func() { d.line = 0 }()
	if at("http.listen"); c.HTTP.Listen != "" && !isLoopback(c.HTTP.Listen) && !c.HTTP.AllowRemote {
		d.problem("http.listen", fmt.Sprintf("%q can be reached from other machines, and HTTP would show them the front ends' tokens", c.HTTP.Listen),
			`listen on "127.0.0.1:8080" behind a TLS proxy, or accept the risk with http.allow_remote = true`)
	}
	if at("http.listen"); c.HTTP.Listen == "" && c.HTTP.Socket == "" {
		d.problem("http.listen", "no front end could connect: http.listen and http.socket are both empty", "set one of them")
	}
	if at("terminal.cash_rounding"); c.Terminal.CashRounding > largestCoin(c.Terminal.Currency) {
		d.problem("terminal.cash_rounding", "no smallest coin of "+c.Terminal.Currency.Code+" is so large: most that is paid in cash would be rounded to nothing",
			"give it in minor units of the currency, such as 5 for five cents")
	}
	if at("data.segment"); c.Data.Segment&(c.Data.Segment-1) != 0 {
		d.problem("data.segment", formatSize(c.Data.Segment)+" is not a power of two", `write 64KiB, 1MiB, 4MiB or the like`)
	}
	if at("data.max_bytes"); c.Data.MaxBytes < 4*c.Data.Segment {
		d.problem("data.max_bytes", fmt.Sprintf("%s is less than four files of %s", formatSize(c.Data.MaxBytes), formatSize(c.Data.Segment)),
			"give more, or make data.segment smaller")
	}
	if at("hub.token_file"); c.Hub.TokenFile != "" && c.Hub.Credentials != "" {
		d.problem("hub.token_file", "hub.credentials is set too", "give one of the two")
	}
	if at("hub.enroll_token_file"); c.Hub.EnrollToken != "" && c.Hub.EnrollURL == "" {
		d.problem("hub.enroll_token_file", "there is no hub.enroll_url to use the token at", "give both, or none")
	}
	if at("hub.cert_file"); (c.Hub.CertFile == "") != (c.Hub.KeyFile == "") {
		d.problem("hub.cert_file", "hub.cert_file and hub.key_file go together", "give both, or none")
	}
	if at("card.cert_file"); (c.Card.CertFile == "") != (c.Card.KeyFile == "") || c.Card.CertFile != "" && c.Card.CAFile == "" {
		d.problem("card.cert_file", "card.cert_file and card.key_file go together, and with card.ca_file", "give all three, or card.ca_file alone")
	}
	if at("limits.memory"); c.Limits.ExpectMemory != 0 && c.Limits.Memory >= c.Limits.ExpectMemory {
		d.problem("limits.memory", "leaves nothing of limits.expect_memory for stacks, maps and the program itself",
			"give at most two thirds of it")
	}
}

// smallCoins are currencies whose smallest coin is worth no more than one whole unit. Of
// others it may be, and of those with few or no decimals often is: 5 HUF, 100 IDR.
const smallCoins = "AED AUD BGN BHD BRL CAD CHF CNY CZK DKK EUR GBP HKD ILS JOD KWD MXN MYR NOK NZD OMR PEN PLN QAR RON SAR SEK SGD THB TND USD ZAR"

// largestCoin is what can be the smallest coin of a currency, in minor units.
func largestCoin(c pos.Currency) int {
	if c.Code == "" || !strings.Contains(smallCoins, c.Code) { // none: head office checks for a terminal that it does not know
		return mostCoin
	}
	unit := 1
	for range c.Exponent {
		unit *= 10
	}
	return unit
}

// sortByLine keeps the order of those with one line. There are few; one that is written
// here is smaller than the library's for one more type.
func sortByLine(p []Problem) {
	behind := func(a, b int) bool { return b != 0 && (a == 0 || a > b) } // those without a line come last
	for i := range p {
		for j := i; j > 0 && behind(p[j-1].Line, p[j].Line); j-- {
			p[j-1], p[j] = p[j], p[j-1]
		}
	}
}
