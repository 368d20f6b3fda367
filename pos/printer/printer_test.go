package printer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"posd/packaging/lab/freeport"
	"posd/pos/printer/sim"
	"posd/pos/receipt"
	"posd/pos/receipt/paper"
)

func profile(t *testing.T) receipt.Profile {
	t.Helper()
	p, err := receipt.ProfileOf("epson", 42, "cp858")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rig is a printer that runs.
type rig struct {
	*Printer
	t    *testing.T
	stop func() // and wait
}

func start(t *testing.T, o Options) *rig {
	t.Helper()
	o.Profile = profile(t)
	if o.Idle == 0 {
		o.Idle = time.Hour
	}
	p := New(o)
	p.breaker.first = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(ctx)
	}()
	r := &rig{p, t, func() { cancel(); <-ended }}
	t.Cleanup(r.stop)
	return r
}

// paperOf is a document of a few lines, with a drawer.
func paperOf(name string) *receipt.Document {
	d := &receipt.Document{}
	d.Add(receipt.Drawer, 0)
	d.Add(receipt.Text, receipt.Bold, "Receipt "+name)
	for i := range 20 {
		d.Add(receipt.Row, 0, fmt.Sprint("Item ", i), "1.00")
	}
	d.Code(receipt.QR, "posd1:"+name)
	d.Add(receipt.Cut, 0)
	return d
}

func job(name string) Job {
	return Job{Name: name, Drawer: true, Make: func() (*receipt.Document, error) { return paperOf(name), nil }}
}

func (r *rig) print(j Job) {
	r.t.Helper()
	if err := r.Print(j); err != nil {
		r.t.Fatal(err)
	}
}

// eventually waits for what must come.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came: ", what)
		}
	}
}

// outcome waits for the end of a job.
func (r *rig) outcome(name string) Outcome {
	r.t.Helper()
	var o Outcome
	eventually(r.t, "the end of "+name, func() bool {
		o, _ = r.Outcome(name)
		return o.State != Waiting && o.State != Printing
	})
	return o
}

func (r *rig) want(name string, s State) Outcome {
	r.t.Helper()
	o := r.outcome(name)
	if o.State != s {
		r.t.Fatalf("%s is %s (%s), want %s", name, o.State, o.Why, s)
	}
	return o
}

func (r *rig) wantCondition(c Condition) {
	r.t.Helper()
	eventually(r.t, string(c), func() bool { return r.Status().Condition == c })
}

// drawerOnPaper says that what was carried out opened the drawer.
func drawerOnPaper(t *testing.T, s *sim.Printer) bool {
	t.Helper()
	items, err := paper.Read(s.OnPaper())
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(items, func(i paper.Item) bool { return i.Kind == paper.Drawer })
}

// printed is what the simulator has on paper, as names of receipts.
func printed(t *testing.T, s *sim.Printer) []string {
	t.Helper()
	items, err := paper.Read(s.OnPaper())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range items {
		if name, ok := strings.CutPrefix(i.Data, "Receipt "); ok && i.Kind == paper.Line && i.Bold {
			names = append(names, name)
		}
	}
	return names
}

// quick are limits for a printer that never comes back.
var quick = Options{Answer: 300 * time.Millisecond, Stall: 300 * time.Millisecond, Patience: 600 * time.Millisecond, Settle: 300 * time.Millisecond}

func TestPrints(t *testing.T) {
	for name, begin := range map[string]func(*sim.Printer, *testing.T){
		"TCP":      func(s *sim.Printer, t *testing.T) { s.Listen(t, "127.0.0.1:0") },
		"terminal": func(s *sim.Printer, t *testing.T) { s.Terminal(t) },
	} {
		t.Run(name, func(t *testing.T) {
			s := sim.New()
			begin(s, t)
			var ends []Outcome
			r := start(t, Options{Address: s.Address, Done: func(o Outcome) { ends = append(ends, o) }})
			r.print(job("a"))
			r.print(job("b"))
			r.want("a", Printed)
			r.want("b", Printed)
			r.wantCondition(Ready)
			want := append(paperOf("a").ESCPOS(profile(t)), paperOf("b").ESCPOS(profile(t))...)
			if got := s.OnPaper(); !bytes.Equal(got, want) {
				t.Errorf("on paper\n%q\nwant\n%q", got, want)
			}
			r.stop()
			if len(ends) != 2 || ends[0].Name != "a" || ends[1].State != Printed {
				t.Errorf("Done was told %v", ends)
			}
		})
	}
}

func TestSilentPrinterIsBelieved(t *testing.T) {
	path, came := fifo(t)
	r := start(t, Options{Address: path, Silent: true})
	r.print(job("a"))
	if o := r.want("a", Sent); !o.OnPaper() {
		t.Error("what was sent may be on paper")
	}
	if got := came(); !bytes.Equal(got, paperOf("a").ESCPOS(profile(t))) {
		t.Errorf("sent %q", got)
	}
}

// A printer that cannot tell how it is and was away is not called unreachable for longer
// than until it took a paper.
func TestSilentPrinterComesBack(t *testing.T) {
	address := freeport.For(t)
	r := start(t, Options{Address: address, Silent: true, Idle: time.Hour})
	r.wantCondition(Unreachable)
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	r.print(job("a-1"))
	r.want("a-1", Sent)
	r.wantCondition(Unasked)
}

func TestNoPaperBefore(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*sim.Printer)
		want Condition
	}{
		"paper": {func(s *sim.Printer) { s.Paper = 0 }, PaperOut},
		"cover": {func(s *sim.Printer) { s.Cover = true }, CoverOpen},
	} {
		t.Run(name, func(t *testing.T) {
			s := sim.New()
			s.Listen(t, "127.0.0.1:0")
			c.set(s)
			r := start(t, Options{Address: s.Address, Idle: 20 * time.Millisecond})
			j := job("a")
			j.Within = 100 * time.Millisecond
			r.print(j)
			if o := r.want("a", NotPrinted); o.OnPaper() || !strings.Contains(o.Why, string(c.want)) {
				t.Errorf("%+v", o)
			}
			r.wantCondition(c.want)
			s.Change(func(s *sim.Printer) { s.Paper, s.Cover = -1, false })
			r.wantCondition(Ready)
			r.print(job("b"))
			r.want("b", Printed)
			if got := printed(t, s); len(got) != 1 || got[0] != "b" {
				t.Errorf("on paper: %v", got)
			}
		})
	}
}

func TestPaperEndsWithin(t *testing.T) {
	s := sim.New()
	s.Listen(t, "127.0.0.1:0")
	s.Paper = 300
	r := start(t, Options{Address: s.Address})
	r.print(job("a"))
	r.wantCondition(PaperOut)
	if o, _ := r.Outcome("a"); o.State != Printing {
		t.Errorf("it is %s", o.State)
	}
	s.Change(func(s *sim.Printer) { s.Paper = 5000 })
	r.want("a", Printed)
	if got := s.OnPaper(); !bytes.Equal(got, paperOf("a").ESCPOS(profile(t))) {
		t.Errorf("on paper: %q", got)
	}
}

func TestNobodyBringsPaper(t *testing.T) {
	s := sim.New()
	s.Listen(t, "127.0.0.1:0")
	s.Paper = 300
	o := quick
	o.Address = s.Address
	r := start(t, o)
	r.print(job("a"))
	if o := r.want("a", Unknown); !o.OnPaper() || !strings.Contains(o.Why, string(PaperOut)) {
		t.Errorf("%+v", o)
	}
	if c := r.Status().Condition; c != PaperOut {
		t.Errorf("the printer is %s", c)
	}
}

// The link breaks in the middle, or the answer is lost after the last byte: nobody
// knows, so nothing is printed again by itself.
func TestLinkBreaks(t *testing.T) {
	for name, set := range map[string]func(*sim.Printer){
		"in the middle":        func(s *sim.Printer) { s.DropAt = 250 },
		"at the first byte":    func(s *sim.Printer) { s.DropAt = 1 },
		"with the answer":      func(s *sim.Printer) { s.NoAnswer = true },
		"and stays up, mutely": func(s *sim.Printer) { s.DropAt = 0; s.Clone = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := sim.New()
			s.Listen(t, "127.0.0.1:0")
			set(s)
			if s.Clone { // it hangs once it has the job
				go func() {
					for len(s.OnPaper()) == 0 {
						time.Sleep(time.Millisecond)
					}
					s.Change(func(s *sim.Printer) { s.Hang = true })
				}()
			}
			o := quick
			o.Address, o.Settle = s.Address, time.Minute
			r := start(t, o)
			r.print(job("a"))
			if o := r.want("a", Unknown); !o.OnPaper() || o.Why == "" {
				t.Errorf("%+v", o)
			}
			s.Change(func(s *sim.Printer) { s.Hang, s.Clone, s.Done = false, false, nil })
			r.print(job("b"))
			r.want("b", Printed)
			if got := printed(t, s); len(got) != 1 || got[0] != "b" {
				t.Errorf("on paper: %v", got)
			}
		})
	}
}

// A printer that takes a link and says nothing gets nothing.
func TestHangs(t *testing.T) {
	s := sim.New()
	s.Listen(t, "127.0.0.1:0")
	s.Hang = true
	o := quick
	o.Address = s.Address
	r := start(t, o)
	j := job("a")
	j.Within = time.Second
	r.print(j)
	if o := r.want("a", NotPrinted); o.OnPaper() {
		t.Errorf("%+v", o)
	}
	r.wantCondition(Unreachable)
	if got := s.OnPaper(); len(got) != 0 {
		t.Errorf("on paper: %q", got)
	}
}

func TestCloneWithoutConfirmation(t *testing.T) {
	s := sim.New()
	s.Listen(t, "127.0.0.1:0")
	s.Clone = true
	o := quick
	o.Address, o.Patience = s.Address, time.Minute
	r := start(t, o)
	r.print(job("a"))
	r.want("a", Sent)
	r.print(job("b"))
	r.want("b", Sent)
	if got := printed(t, s); len(got) != 2 {
		t.Errorf("on paper: %v", got)
	}
}

func TestBreakerOpensAndCloses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0") // an address where nobody listens, later
	if err != nil {
		t.Fatal(err)
	}
	dead := taken.Addr().String()
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	r := start(t, Options{Address: dead})
	j := job("a")
	if err := r.Print(j); err == nil {
		if o := r.want("a", NotPrinted); o.OnPaper() {
			t.Errorf("%+v", o)
		}
	}
	eventually(t, "an open circuit", func() bool { return errors.Is(r.Print(job("b")), ErrDown) })
	r.wantCondition(Unreachable)
	back := sim.New()
	back.Listen(t, dead)
	eventually(t, "a closed circuit", func() bool { return r.Print(job("c")) == nil })
	r.want("c", Printed)
	if got := printed(t, back); len(got) != 1 || got[0] != "c" {
		t.Errorf("on paper: %v", got)
	}
}

// Print does not wait for a printer that is busy, and the queue has an end.
func TestQueueIsBounded(t *testing.T) {
	s := sim.New()
	s.Listen(t, "127.0.0.1:0")
	s.Paper = 300
	r := start(t, Options{Address: s.Address})
	r.print(job("first"))
	r.wantCondition(PaperOut)
	for i := range mostWaiting {
		r.print(job(fmt.Sprint(i)))
	}
	if err := r.Print(job("more")); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	if _, known := r.Outcome("more"); known {
		t.Error("what was refused has an outcome")
	}
	if n := r.Status().Waiting; n != mostWaiting {
		t.Errorf("%d are waiting", n)
	}
	s.Change(func(s *sim.Printer) { s.Paper = -1 })
	r.want(fmt.Sprint(mostWaiting-1), Printed)
	if got := printed(t, s); len(got) != mostWaiting+1 {
		t.Errorf("on paper: %v", got)
	}
}

// Nothing comes late: not a receipt after its time, not a drawer after five seconds.
func TestLate(t *testing.T) {
	s := sim.New()
	s.Listen(t, "127.0.0.1:0")
	o := Options{Address: s.Address, Profile: profile(t), Idle: time.Hour}
	p := New(o)
	before := func(name string, ago, within time.Duration) {
		j := job(name)
		j.Within = within
		p.keep(Outcome{Name: name, State: Waiting})
		p.waiting = append(p.waiting, &entry{Job: j, at: time.Now().Add(-ago)})
	}
	before("old", time.Hour, time.Minute)
	before("held up", 2*lateDrawer, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(ctx)
	}()
	r := &rig{p, t, nil}
	r.want("held up", Printed)
	r.want("old", NotPrinted)
	cancel()
	<-ended
	if got := printed(t, s); len(got) != 1 || got[0] != "held up" {
		t.Errorf("on paper: %v", got)
	}
	if drawerOnPaper(t, s) {
		t.Error("the drawer opened late")
	}
}

// Without paper the drawer opens for the change, once, and the receipt comes without
// opening it again. One that is late stays shut.
func TestDrawerWithoutPaper(t *testing.T) {
	s := sim.New()
	s.Listen(t, "127.0.0.1:0")
	s.Paper = 0
	r := start(t, Options{Address: s.Address})
	r.print(job("sale"))
	eventually(t, "a pulse", func() (open bool) {
		s.Change(func(s *sim.Printer) { open = s.Pulses == 1 })
		return open
	})
	r.wantCondition(PaperOut)
	s.Change(func(s *sim.Printer) { s.Paper = -1 })
	r.want("sale", Printed)
	s.Change(func(s *sim.Printer) { s.Cover = true })
	r.print(Job{Name: "drawer"})
	r.want("drawer", Sent)
	if drawerOnPaper(t, s) {
		t.Error("the drawer opened again with the paper")
	}
	if got := printed(t, s); len(got) != 1 || s.Pulses != 2 {
		t.Errorf("on paper: %v, %d pulses", got, s.Pulses)
	}
	r.stop()
	p := New(Options{Address: s.Address, Profile: profile(t), Idle: time.Hour})
	p.keep(Outcome{Name: "late", State: Waiting})
	p.waiting = append(p.waiting, &entry{Job: Job{Name: "late", Drawer: true, Within: 2*lateDrawer + time.Second}, at: time.Now().Add(-2 * lateDrawer)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(ctx)
	}()
	(&rig{p, t, nil}).want("late", NotPrinted)
	cancel()
	<-ended
	if s.Pulses != 2 {
		t.Error("the drawer opened late")
	}
}

// While a receipt waits for paper, or paper ran out in it, the drawers of the sales behind
// it open, each once; a receipt that opens none opens none.
func TestDrawersBehind(t *testing.T) {
	for name, lines := range map[string]int{"before": 0, "in the middle": 5} {
		t.Run(name, func(t *testing.T) {
			s := sim.New()
			s.Listen(t, "127.0.0.1:0")
			s.Paper = lines
			r := start(t, Options{Address: s.Address})
			pulses := func() (n int) {
				s.Change(func(s *sim.Printer) { n = s.Pulses })
				return n
			}
			card := job("card")
			card.Drawer = false
			card.Make = func() (*receipt.Document, error) {
				d := paperOf("card")
				d.Blocks = d.Blocks[1:]
				return d, nil
			}
			r.print(card)
			r.wantCondition(PaperOut)
			for i := range 3 {
				if n := pulses(); n != i {
					t.Fatalf("%d pulses for %d sales in cash", n, i)
				}
				j := Job{Name: fmt.Sprint("sale", i)} // the second one has no paper
				if i != 1 {
					j = job(j.Name)
				}
				r.print(j)
				eventually(t, "the drawer of "+j.Name, func() bool { return pulses() > i })
			}
			// One that only opens the drawer takes no paper's place.
			for i := range 2 * mostWaiting {
				j := Job{Name: fmt.Sprint("drawer", i)}
				r.print(j)
				r.want(j.Name, Sent)
			}
			time.Sleep(time.Second) // two more looks at the paper
			if n := pulses(); n != 3+2*mostWaiting {
				t.Errorf("%d pulses for %d sales in cash", n, 3+2*mostWaiting)
			}
			s.Change(func(s *sim.Printer) { s.Paper = -1 })
			r.want("card", Printed)
			r.want("sale0", Printed)
			r.want("sale1", Sent)
			r.want("sale2", Printed)
			if n := pulses(); n != 3+2*mostWaiting {
				t.Errorf("%d pulses in the end", n)
			}
			if drawerOnPaper(t, s) {
				t.Error("the drawer opened again with the paper")
			}
		})
	}
}

func TestStop(t *testing.T) {
	s := sim.New()
	s.Listen(t, "127.0.0.1:0")
	s.Paper = 300
	r := start(t, Options{Address: s.Address})
	r.print(job("begun"))
	r.print(job("waiting"))
	r.wantCondition(PaperOut)
	r.stop()
	if o := r.want("begun", Unknown); o.Why != stopped {
		t.Errorf("%+v", o)
	}
	if o := r.want("waiting", NotPrinted); o.Why != stopped {
		t.Errorf("%+v", o)
	}
	if err := r.Print(job("after")); !errors.Is(err, ErrDown) {
		t.Errorf("after the end: %v", err)
	}
}

func TestDocumentThatCannotBeMade(t *testing.T) {
	s := sim.New()
	s.Listen(t, "127.0.0.1:0")
	r := start(t, Options{Address: s.Address})
	r.print(Job{Name: "a", Make: func() (*receipt.Document, error) { return nil, errors.New("no such sale") }})
	if o := r.want("a", NotPrinted); o.Why != "no such sale" {
		t.Errorf("%+v", o)
	}
}

// A driver that is not loaded leaves no device: a file of that name is none.
func TestFileIsNoPrinter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lp0")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, Options{Address: path, Silent: true})
	r.wantCondition(Unreachable)
	if why := r.Status().Why; !strings.Contains(why, "not a device") {
		t.Error(why)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 0 {
		t.Errorf("the file was written: %v", err)
	}
}

// A device that is not there, or that the sandbox hides, says what to look at.
func TestNoDevice(t *testing.T) {
	r := start(t, Options{Address: filepath.Join(t.TempDir(), "lp0")})
	r.wantCondition(Unreachable)
	if why := r.Status().Why; !strings.Contains(why, "plugged in") || !strings.Contains(why, "PrivateDevices") {
		t.Error(why)
	}
}

// Whatever a printer answers, nothing is taken for more than it is.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte{0x12, 0x12, 0})
	f.Add([]byte{0x1a, 0x16, 0x12, 0x0c})
	f.Add([]byte{0x10, 0, 0, 0, 0x13, 0x11})
	f.Fuzz(func(t *testing.T, said []byte) {
		l := &link{asked: 1}
		rounds := 0
		for _, b := range said {
			if isStatus(b) && isConfirm(b) {
				t.Fatalf("%02x is two things", b)
			}
			if isStatus(b) {
				if l.asked == 0 {
					l.asked = questions[l.next]
				}
				l.answer(b)
			}
			if c, _, fresh := l.heard(); fresh {
				rounds++
				if c == Ready && (l.said[1]&0x08 != 0 || l.said[4]&0x60 != 0) {
					t.Fatalf("% x is not ready", l.said)
				}
			}
			if l.next >= len(questions) {
				t.Fatalf("question %d", l.next)
			}
		}
		if rounds > len(said)/2 {
			t.Fatalf("%d rounds from %d answers", rounds, len(said))
		}
	})
}
