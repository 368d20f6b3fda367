package catalogue

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"posd/pos"
	"posd/pos/itemcode"
)

// columns of the CSV file, all required, in any order; and those that may be there.
var (
	columns  = []string{"code", "description", "department", "unit", "price", "tax"}
	optional = []string{"age", "decimals", "next_price", "next_from"}
)

// columnOp is in a delta, and may be: "delete" takes the item of the line away.
const columnOp = "op"

const (
	// maxRecord bounds the memory that one record can take: without it an unclosed
	// quote would swallow the rest of the file.
	maxRecord = 16 << 10
	// maxProblems is how many are listed; after that the file is at fault as a whole.
	maxProblems = 20
	csvBuffer   = 64 << 10
)

// Problem is one thing that is wrong with a CSV file.
type Problem struct {
	Line   int // 0 if it is about the file
	What   string
	Remedy string
}

// String is "line N: what; remedy".
func (p Problem) String() string {
	s := p.What + "; " + p.Remedy
	if p.Line > 0 {
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	return s
}

// ImportError lists what is wrong with a CSV file. Nothing was replaced.
type ImportError struct {
	Problems []Problem // at most 20
	More     bool      // the rest of the file was not read
}

// Error lists the problems, one a line.
func (e *ImportError) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	if e.More {
		b.WriteString("\nand more: the rest of the file was not read")
	}
	return b.String()
}

var errRecordTooLong = errors.New("record too long")

// limitReader fails when the CSV reader asks for much more than one record. What
// has been read ahead for the next record fits into the buffer.
type limitReader struct {
	r    io.Reader
	read int64 // bytes handed out
	done int64 // of these, in complete records
}

func (l *limitReader) Read(p []byte) (int, error) {
	if l.read-l.done > maxRecord+csvBuffer {
		return 0, errRecordTooLong
	}
	n, err := l.r.Read(p)
	l.read += int64(n)
	return n, err
}

// scanner reads items from a CSV file and collects problems.
type scanner struct {
	csv      *csv.Reader
	limit    *limitReader
	last     int // line of the record read last
	currency pos.Currency
	taxes    map[string]bool
	delta    bool
	index    map[string]int // column → position
	ignored  []string
	problems []Problem
	more     bool
	gone     bool // the item read last is to be taken away
}

func newScanner(r io.Reader, o ImportOptions) *scanner {
	l := &limitReader{r: r}
	b := bufio.NewReaderSize(l, csvBuffer)
	skipped := 0
	if head, _ := b.Peek(3); string(head) == "\ufeff" { // as Excel writes it
		skipped, _ = b.Discard(3)
	}
	l.read -= int64(skipped)
	s := &scanner{csv: csv.NewReader(b), limit: l, currency: o.Currency, taxes: o.Taxes, delta: o.Delta}
	s.csv.ReuseRecord = true
	return s
}

// record reads the next one and notes where it stood.
func (s *scanner) record() ([]string, error) {
	r, err := s.csv.Read()
	s.limit.done = s.csv.InputOffset()
	if err == nil {
		s.last, _ = s.csv.FieldPos(0)
	}
	return r, err
}

// problem notes one; false means that there are too many to go on.
func (s *scanner) problem(line int, remedy, format string, args ...any) bool {
	if len(s.problems) == maxProblems {
		s.more = true
		return false
	}
	// The message goes to terminals and logs, whatever the file holds.
	what := strings.ToValidUTF8(fmt.Sprintf(format, args...), "\ufffd")
	s.problems = append(s.problems, Problem{Line: line, What: what, Remedy: remedy})
	return true
}

// header reads the first record and finds the columns.
func (s *scanner) header() bool {
	head, err := s.record()
	if err != nil {
		s.readError(err)
		if errors.Is(err, io.EOF) {
			s.problem(0, "export the items again; the first line must be "+strings.Join(columns, ","), "the file is empty")
		}
		return false
	}
	head = slices.Clone(head)
	if bad := head[0]; strings.HasPrefix(bad, "\xff\xfe") || strings.HasPrefix(bad, "\xfe\xff") {
		return s.problem(1, "save it as UTF-8", "the file is UTF-16") && false
	}
	s.index = map[string]int{}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := s.index[name]; twice {
			s.problem(1, "remove one of the two", "column %s is there twice", clip(name))
		}
		s.index[name] = i
		if !slices.Contains(columns, name) && !slices.Contains(optional, name) && !(s.delta && name == columnOp) {
			s.ignored = append(s.ignored, strings.ToValidUTF8(clip(name), "\ufffd"))
		}
	}
	for _, name := range columns {
		if _, ok := s.index[name]; ok {
			continue
		}
		remedy := "the first line must name the columns " + strings.Join(columns, ",")
		if len(head) == 1 && strings.ContainsAny(head[0], ";\t") {
			remedy = "separate the fields with commas; " + remedy
		}
		s.problem(1, remedy, "column %s is missing", name)
	}
	return len(s.problems) == 0
}

// next reads one item. ok is false at the end of the file or when there is no
// point in going on; good is false when the line had a problem. Of an item that is
// taken away only the code is read.
func (s *scanner) next() (it Item, line int, good, ok bool) {
	s.gone = false
	record, err := s.record()
	if err != nil {
		return it, 0, false, s.readError(err)
	}
	line = s.last
	before := len(s.problems)
	it.Code = s.field(record, line, "code", maxCode)
	if it.Code == "" {
		s.problem(line, "give each item a code", "the code is empty")
	}
	if s.delta {
		switch op := strings.ToLower(s.optional(record, line, columnOp)); op {
		case "", "set":
		case "delete":
			s.gone = true
		default:
			s.problem(line, `write set or delete, or leave it empty for set`, "op %q of item %s", clip(op), clip(it.Code))
		}
	}
	if !s.gone {
		s.rest(record, line, &it, before)
	}
	return it, line, len(s.problems) == before && !s.more, !s.more
}

// rest reads all but the code.
func (s *scanner) rest(record []string, line int, it *Item, before int) {
	it.Description = s.field(record, line, "description", maxDescription)
	it.Department = s.field(record, line, "department", maxDepartment)
	it.Unit = s.field(record, line, "unit", maxUnit)
	it.Tax = s.field(record, line, "tax", maxTax)
	if it.Description == "" {
		s.problem(line, "give the text for the receipt", "the description of %s is empty", clip(it.Code))
	}
	if it.Tax == "" {
		s.problem(line, "give each item a tax code", "the tax code of %s is empty", clip(it.Code))
	}
	if len(s.problems) == before && s.taxes != nil && !s.taxes[it.Tax] {
		s.problem(line, "use one of the configured codes, or add it under [tax] in posd.toml", "tax code %q of item %s is unknown", it.Tax, clip(it.Code))
	}
	if text := strings.TrimSpace(record[s.index["price"]]); text == "" {
		it.Open = true
	} else {
		it.Price = s.price(it, line, "price", text)
	}
	it.Decimals = usualDecimals(it.Unit)
	s.small(record, line, it, "age", maxAge, &it.Age)
	s.small(record, line, it, "decimals", maxDecimals, &it.Decimals)
	s.nextPrice(record, line, it)
}

// usualDecimals are those of a quantity of which the file does not say how many it may have.
func usualDecimals(unit string) uint8 {
	if unit == "" || unit == "pc" {
		return 0
	}
	return maxDecimals
}

// field reads a text of at most so many bytes.
func (s *scanner) field(record []string, line int, name string, most int) string {
	v := strings.TrimSpace(record[s.index[name]])
	switch {
	case !utf8.ValidString(v):
		s.problem(line, "save the file as UTF-8", "%s is not valid UTF-8: %q", name, clip(v))
	case strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }):
		s.problem(line, "remove tabs, line feeds and the like", "%s holds a control character: %q", name, clip(v))
	case len(v) > most:
		s.problem(line, "shorten it", "%s has %d bytes, at most %d fit: %q", name, len(v), most, clip(v))
	}
	return v
}

// optional reads a column that need not be there.
func (s *scanner) optional(record []string, line int, name string) string {
	if _, ok := s.index[name]; !ok {
		return ""
	}
	return s.field(record, line, name, maxCode)
}

// small reads a number from 0 to most; an empty field leaves to as it is.
func (s *scanner) small(record []string, line int, it *Item, name string, most uint8, to *uint8) {
	text := s.optional(record, line, name)
	if text == "" {
		return
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n > uint64(most) {
		s.problem(line, fmt.Sprintf("give 0 to %d, or leave it empty", most), "%s %q of item %s", name, clip(text), clip(it.Code))
		return
	}
	*to = uint8(n)
}

// nextPrice reads the price that comes, and when.
func (s *scanner) nextPrice(record []string, line int, it *Item) {
	price, from := s.optional(record, line, "next_price"), s.optional(record, line, "next_from")
	if price == "" && from == "" {
		return
	}
	day, err := time.Parse(time.DateOnly, from)
	switch {
	case price == "" || from == "":
		s.problem(line, "give both, or none", "item %s has one of next_price and next_from", clip(it.Code))
		return
	case it.Open:
		s.problem(line, "remove next_price, or give a price", "item %s has an open price and a next one", clip(it.Code))
		return
	case err != nil || day.Year() < 1:
		s.problem(line, "write a day such as 2026-11-21", "next_from %q of item %s", clip(from), clip(it.Code))
		return
	}
	it.From = itemcode.Date{Year: int16(day.Year()), Month: uint8(day.Month()), Day: uint8(day.Day())}
	it.Next = s.price(it, line, "next_price", price)
}

func (s *scanner) price(it *Item, line int, name, text string) pos.Money {
	price, err := pos.ParseMoney(text, s.currency)
	switch {
	case err != nil && strings.Contains(text, ","):
		s.problem(line, `write a decimal point and no thousands separator, such as "1.99"`, "%s %q of item %s", name, clip(text), clip(it.Code))
	case err != nil:
		s.problem(line, fmt.Sprintf("write %s with at most %d decimals and nothing else, or leave it empty for an open price",
			s.currency.Code, s.currency.Exponent), "%s %q of item %s: %v", name, clip(text), clip(it.Code), err)
	case price < 0:
		s.problem(line, "give a price of 0 or more", "%s %q of item %s is negative", name, clip(text), clip(it.Code))
	}
	return price
}

// readError notes why a record could not be read, and reports whether to go on.
func (s *scanner) readError(err error) bool {
	var pe *csv.ParseError
	switch {
	case errors.Is(err, io.EOF):
		return false
	case errors.Is(err, errRecordTooLong):
		s.problem(s.last+1, "look for a quote that is not closed", "a record that begins here or just below is longer than %d bytes", maxRecord)
		return false
	case errors.As(err, &pe) && errors.Is(err, csv.ErrFieldCount):
		return s.problem(pe.StartLine, fmt.Sprintf("give %d fields, and quote those that hold a comma", s.csv.FieldsPerRecord), "wrong number of fields")
	case errors.As(err, &pe):
		s.problem(pe.StartLine, `put quotes around the whole field and double those inside: "1"" pipe"`, "%v", pe.Err)
		return false // where the next record begins is anybody's guess
	}
	s.problem(0, "check the file and try again", "reading failed: %v", err)
	return false
}

// err is the list of problems, or nil.
func (s *scanner) err() error {
	if len(s.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(s.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &ImportError{Problems: s.problems, More: s.more}
}

func clip(s string) string {
	if len(s) <= 40 {
		return s
	}
	n := 40
	for n > 36 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
