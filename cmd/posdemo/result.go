package main

import (
	"fmt"
	"time"

	"posd/pos/tradeday"
)

// memoryLimit is what a terminal's slice gives, in bytes. Mapped files do not
// count: the kernel takes their pages back when it needs them.
const memoryLimit = 32 << 20

// writeResult prints the table and what was measured, and returns the most
// memory that a posd had of its own, in bytes.
func (d *demo) writeResult(v *verdict) (anon int64) {
	w := d.out
	fmt.Fprintln(w)
	v.write(w, tradeday.Currency)
	fmt.Fprintln(w)
	row := func(label, format string, args ...any) {
		fmt.Fprintf(w, "  %-22s  %s\n", label, fmt.Sprintf(format, args...))
	}
	row("selling", "%.1f s, %d at once; an answer took %s at the median, %s at the 99th percentile",
		d.selling.Seconds(), d.tills, micros(d.told["p50"]), micros(d.told["p99"]))
	row("requests sent again", "%d, of which %d had been sold already", d.told["retried"], d.told["replayed"])
	row("drain", "%d records in %.2f s; the uplink had noticed the link's return after %.2f s", d.backlog, d.draining.Seconds(), d.reconnect.Seconds())
	up, down := d.link.up.Load(), d.link.down.Load()
	row("bytes on the wire", "%d up, %d down: %d a sale", up, down, (up+down)/int64(max(1, d.baskets)))
	var rss int64
	var cpu time.Duration
	for _, p := range d.posd {
		r, a := p.peaks()
		rss, anon = max(rss, r), max(anon, a)
		cpu += p.cpu()
	}
	row("posd's memory", "%.1f MiB resident at its peak, mapped journal included (VmHWM); %.1f MiB its own (RssAnon)", mib(rss), mib(anon))
	row("posd's processor time", "%.2f s for 1,000 sales, over %d starts", cpu.Seconds()*1000/float64(max(1, d.baskets)), len(d.posd))
	if v.agrees() {
		fmt.Fprintf(w, "\n  The three agree on %d sales, to the cent.\n", d.baskets)
	} else {
		fmt.Fprintf(w, "\n  THEY DO NOT AGREE.\n")
	}
	return anon
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func micros(n int) string {
	return (time.Duration(n) * time.Microsecond).Round(10 * time.Microsecond).String()
}
