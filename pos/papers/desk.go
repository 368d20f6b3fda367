package papers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"posd/journal"
	"posd/pos/config"
	"posd/pos/printer"
	"posd/pos/receipt"
	"posd/pos/register"
)

// Options of a desk. Journal and Register are required.
type Options struct {
	Journal  *journal.Journal
	Register *register.Register
	Terminal config.Terminal
	Printer  config.Printer // without an address there is none
	Log      *slog.Logger
}

// Desk makes papers and owns the printer. Its methods may be called by any goroutine.
type Desk struct {
	o       Options
	profile receipt.Profile
	printer *printer.Printer // nil: there is none
	from    uint64           // first record that may print by itself
	said    time.Time        // when the log was told of a paper that was refused
	unsaid  int              // papers that were refused since

	mu   sync.Mutex
	lost []string // sales whose receipt surely never reached the paper, the newest last
	ends map[printer.State]uint64
	turn chan struct{} // closed when a paper has ended
}

const (
	mostLost = 64
	grace    = 2 * time.Second // at the end, for the paper that is coming out
	again    = time.Second     // after the journal could not be read
)

// ErrNoPrinter: the configuration names none.
var ErrNoPrinter = errors.New("there is no printer")

// New returns a desk that prints once Run is called, and then what was journaled since
// New.
func New(o Options) (*Desk, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &Desk{o: o, ends: map[printer.State]uint64{}, turn: make(chan struct{})}
	floor, _ := o.Journal.Floor()
	d.from = floor + 1
	if planted("printed-again") {
		d.from = o.Journal.Oldest()
	}
	c := &o.Printer
	var err error
	if d.profile, err = receipt.ProfileOf(c.Profile, c.Columns, c.Charset); err != nil {
		return nil, fmt.Errorf("printer: %w", err)
	}
	if c.Address != "" {
		d.printer = printer.New(printer.Options{Address: c.Address, Profile: d.profile, Silent: !c.Status, Log: o.Log, Done: d.done})
	}
	return d, nil
}

// Run prints until ctx ends; a paper that is coming out then is waited for a moment.
func (d *Desk) Run(ctx context.Context) error {
	if d.printer == nil {
		<-ctx.Done()
		return nil
	}
	printing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var owner sync.WaitGroup
	owner.Go(func() { d.printer.Run(printing) })
	d.follow(ctx)
	for end := time.Now().Add(grace); d.printer.Busy() && time.Now().Before(end); {
		time.Sleep(grace / 100)
	}
	stop()
	owner.Wait()
	return nil
}

// HasPrinter says that one is configured.
func (d *Desk) HasPrinter() bool { return d.printer != nil }

// Refuses says why nothing can be printed now: ErrNoPrinter, or as printer.Printer.Print.
func (d *Desk) Refuses() error {
	if d.printer == nil {
		return ErrNoPrinter
	}
	return d.printer.Refuses()
}

// Print has the printer print what make makes. Errors: as Refuses.
func (d *Desk) Print(name string, make func() (*receipt.Document, error)) error {
	if d.printer == nil {
		return ErrNoPrinter
	}
	return d.queue(printer.Job{Name: name, Make: make})
}

// queue hands the printer a job. A first receipt that it does not take is lost.
func (d *Desk) queue(j printer.Job) error {
	err := d.printer.Print(j)
	if err != nil && isFirst(j.Name) {
		d.Lose(j.Name)
	}
	return err
}

// Status of the printer, and false if there is none.
func (d *Desk) Status() (printer.Status, bool) {
	if d.printer == nil {
		return printer.Status{}, false
	}
	return d.printer.Status(), true
}

// Recent are the printer's last papers, the newest first.
func (d *Desk) Recent() []printer.Outcome {
	if d.printer == nil {
		return nil
	}
	return d.printer.Recent()
}

// Ended counts the papers that have ended in a state.
func (d *Desk) Ended(s printer.State) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ends[s]
}

// Outcome is how far the newest paper of a name is, if that is known.
func (d *Desk) Outcome(name string) (printer.Outcome, bool) {
	if d.printer == nil {
		return printer.Outcome{}, false
	}
	o, known := d.printer.Outcome(name)
	if known {
		return o, true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.lost, name) {
		return o, false
	}
	return printer.Outcome{Name: name, State: printer.NotPrinted, Why: "the printer did not take it"}, true
}

// Await returns when the newest paper of a name has ended, or ctx has.
func (d *Desk) Await(ctx context.Context, name string) {
	for {
		d.mu.Lock()
		turn := d.turn
		d.mu.Unlock()
		if o, known := d.Outcome(name); !known || o.Ended() {
			return
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return
		}
	}
}

// Profile is the printer's, with another number of columns if that is not 0.
func (d *Desk) Profile(columns int) (receipt.Profile, error) {
	c := &d.o.Printer
	if columns == 0 {
		columns = c.Columns
	}
	return receipt.ProfileOf(c.Profile, columns, c.Charset)
}

// Lost says whether the first receipt of a sale surely never reached the paper. It says
// so once: whoever asks is about to give it out.
func (d *Desk) Lost(sale string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.lost, sale)
	if i >= 0 {
		d.lost = slices.Delete(d.lost, i, i+1)
	}
	return i >= 0
}

// Lose takes note of such a receipt, also of one that was not given out after Lost.
func (d *Desk) Lose(sale string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.lost) == mostLost {
		d.lost = slices.Delete(d.lost, 0, 1)
	}
	d.lost = append(d.lost, sale)
}

// done is told by the printer of each end.
func (d *Desk) done(o printer.Outcome) {
	d.mu.Lock()
	d.ends[o.State]++
	d.mu.Unlock()
	if !o.OnPaper() && isFirst(o.Name) {
		d.Lose(o.Name)
	}
	d.mu.Lock()
	close(d.turn)
	d.turn = make(chan struct{})
	d.mu.Unlock()
}

// CopyName is the name of copy n of a sale's receipt. That of the receipt itself is the
// sale's id alone.
func CopyName(sale string, n int) string { return sale + "/copy/" + strconv.Itoa(n) }

// ReportName is the name of a Z report's paper.
func ReportName(z uint64) string { return "report/" + strconv.FormatUint(z, 10) }

// SlipName is the name of a slip of cash.
func SlipName(id string) string { return "slip/" + id }

// isFirst says that a paper is a sale's first receipt.
func isFirst(name string) bool { return !strings.Contains(name, "/") }
