package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"posd/pos"
	"posd/pos/operator"
)

// maxFile bounds the memory that a configuration may take. A full one is 4 KiB.
const maxFile = 64 << 10

// Config is the effective configuration of one terminal. Sizes are bytes.
type Config struct {
	Terminal Terminal
	Taxes    []pos.Tax // ordered by code
	Items    Items
	Receipt  Receipt
	Printer  Printer
	Card     Card
	HTTP     HTTP
	Data     Data
	Hub      Hub
	Limits   Limits
	Log      Log

	Operators operator.Rules

	sources map[string]Source // of the keys that somebody has set; never changed
}

// Terminal says which till this is and how it counts money and days.
type Terminal struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Store, ID string // both match ^[A-Za-z0-9_-]{1,32}$
	Operator  string // of a sale whose request names none
	Currency  pos.Currency
	Prices    pos.PriceMode
	Rounding  pos.Rounding
	TimeZone  *time.Location
	DayStart  time.Duration // after local midnight; before it, a sale belongs to the day before

	CashRounding int // smallest coin, in minor units; 0: cash is not rounded
}

// Items is how codes of items are read.
type Items struct {
	Patterns []string      // of variable-measure codes, in the order in which they are tried
	Repeat   time.Duration // within which the same scan is a scanner's repeat; 0: none is
}

// Receipt is what all receipts have in common.
type Receipt struct {
	Header, Footer []string
	TaxNumber      string
	Language       string
	DecimalComma   bool
	Barcode        bool
	Print          string // which papers are printed unasked: none, sales or all
}

// Printer is the receipt printer; without an Address there is none.
type Printer struct {
	Address string // a device's path, or host:port
	Profile string
	Columns int
	Charset string
	Status  bool // it answers questions
	Drawer  bool // a drawer is connected to it
}

// Card is the payment terminal that posd speaks to; without an Address there is none, and
// the cashier types the slip's reference. Amounts are minor units.
type Card struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Address                   string // host:port
	Terminal                  string // name that it has to have, or empty
	CAFile, CertFile, KeyFile string // paths, or empty: TLS
	Timeout                   time.Duration

	OfflineSale, OfflineTerminal, OfflineDay int
}

// HTTP is the interface for front ends. At least one of Listen and Socket is set.
type HTTP struct {
	Listen      string // host:port, or empty
	AllowRemote bool
	Socket      string // absolute path of a unix socket, or empty
	Origins     []string
	Static      string   // absolute path of a folder, or empty
	SocketUsers []string // who need no token on Socket
	MaxBody     int64
	Rate        int // sales a second; 0: by the CPU quota
}

// Data says where the journal is and how much of it is kept.
type Data struct {
	Dir       string
	MaxBytes  int64
	Retention time.Duration
	Segment   int64 // a power of two, 64 KiB to 64 MiB
}

// Files in the data folder that the enrolment makes. The credentials are written last:
// where they are, the terminal is enrolled.
const (
	EnrolledCreds = "hub.creds"
	EnrolledCA    = "hub.ca"      // PEM, if head office gave one
	EnrolledAs    = "office.json" // addresses, shard, head office's key
	EnrollSeed    = "enroll.nk"   // key of a terminal that is being enrolled
)

// Hub is head office. With no URLs, and without enrolment, the terminal works alone.
type Hub struct {
	URLs        []string
	Credentials string   // path, or empty
	TokenFile   string   // path, or empty
	CAFile      string   // path, or empty
	Fallback    []string // of other regions
	CertFile    string   // path, or empty; with KeyFile
	KeyFile     string   // path, or empty
	Shard       int
	Stream      string // never empty
	OfficeKey   string // 64 hexadecimal digits, or empty
	EnrollURL   string // http or https, or empty
	EnrollToken string // path, or empty
}

// Limits is what posd may use and what it expects to be given.
type Limits struct {
	Memory       int64 // of the Go heap; a smaller slice lowers it
	ExpectCPU    int   // quota in percent of one core; 0 expects nothing
	ExpectMemory int64 // memory.max; 0 expects nothing
}

// Log says what is logged and how.
type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File   string
	Line   int // 0 if no line is to blame
	Key    string
	What   string
	Remedy string
}

// String is "file:line: key: what; remedy".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key)
		b.WriteString(": ")
	}
	b.WriteString(p.What)
	if p.Remedy != "" {
		b.WriteString("; ")
		b.WriteString(p.Remedy)
	}
	return b.String()
}

// Warning is a problem that does not keep posd from starting.
type Warning = Problem

// Error is returned by Load for a file that could be read and must not be used.
// It holds every problem, in the order of lines.
type Error struct{ Problems []Problem }

// Error lists the problems, one a line.
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// Load reads the file at path. Strict also refuses unknown keys, unsafe
// permissions and a missing data folder; otherwise those are warnings. The error
// is an *Error, or wraps the reason why the file could not be read.
func Load(path string, strict bool) (*Config, []Warning, error) {
	text, mode, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	d := decode(path, text, time.LoadLocation)
	d.checkFiles(mode)
	if strict {
		d.problems = append(d.problems, d.warnings...)
		d.warnings = nil
	}
	if len(d.problems) > 0 {
		sortByLine(d.problems)
		return nil, d.warnings, &Error{Problems: d.problems}
	}
	sortByLine(d.warnings)
	return d.config, d.warnings, nil
}

func readFile(path string) ([]byte, os.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read configuration: %w; name the file with --config FILE (posd --reference prints a commented one)", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read configuration: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, 0, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxFile {
		return nil, 0, &Error{Problems: []Problem{{File: path,
			What:   fmt.Sprintf("larger than %d bytes", maxFile),
			Remedy: "this cannot be a posd configuration; check the path"}}}
	}
	return text, st.Mode(), nil
}

// Hash is the hex SHA-256 of the effective configuration: of what posd does, not
// of how the file is written. Comments, order and "720h" for "30d" do not change it.
func (c *Config) Hash() string {
	h := sha256.New()
	for i := range keys {
		fmt.Fprintf(h, "%s=%s\n", keys[i].name, keys[i].get(c))
	}
	return hex.EncodeToString(h.Sum(nil))
}
