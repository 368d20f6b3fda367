// Package printer gets documents of pos/receipt onto paper: through a device file
// (/dev/usb/lp0, a serial line) or TCP (port 9100), and says what became of each.
//
// It guarantees to the till:
//   - [Printer.Print] never waits. A printer that is off, hangs or is out of paper
//     costs a sale nothing; a full queue and a printer that is known to be down are
//     refused at once, with what to do.
//   - It never prints twice by itself. A job of which not one byte was sent is
//     NotPrinted; one that the printer has confirmed is Printed; when bytes were sent
//     and the printer did not confirm, it is Unknown, which only a person can
//     resolve by looking. [Outcome.OnPaper] says whether a further print has to
//     be marked as a copy.
//   - Nothing comes late. A job that could not begin in time (30 seconds, or as it
//     says) is dropped as NotPrinted, and a drawer is not opened when the receipt
//     was held up by more than five seconds: nobody may stand at it any more. A printer
//     that has no paper opens it at once, where it can, for the jobs behind as well.
//
// The printer is asked before (DLE EOT 1, 2, 4: online, cover, paper) so that a
// receipt is not begun without paper, and after (GS r 1, which a printer answers when
// it has done what came before). When paper runs out in the middle, the printer goes
// on once there is more; the job waits for that up to five minutes, and
// [Printer.Status] says so meanwhile. A printer that cannot answer (Options.Silent) is
// written to and believed: its jobs end as Sent, as do those of one that tells its
// status but does not know GS r. An answer to GS r that says that the paper is at its
// end confirms nothing. Answers have no names: at a device file, the first one after a job
// that was not confirmed counts for that job, not for the next one.
//
// Who runs what: one goroutine, in [Printer.Run], owns the printer. It opens the
// printer for each job and closes it behind, so that several tills can share one,
// and asks an idle printer for its status now and then. After three failures in a row
// jobs are refused at once (circuit breaker) until the printer answers again, which
// is tried after 2 seconds, then ever more rarely, at least once a minute.
//
// What it does not do: it sets no serial speed (stty or udev does) and knows no
// queue that outlives a restart of posd: what was not printed then is asked for
// again as a copy. A printer that takes bytes and throws them away when its link breaks
// is why Unknown exists.
package printer
