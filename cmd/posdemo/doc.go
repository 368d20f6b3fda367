// Posdemo shows that posd loses no sale, with nothing but real processes: it is
// what `make demo` runs.
//
//	posdemo run -posd BIN -posctl BIN -poshub BIN [flags]
//	posdemo front -url URL -token-file FILE -out FILE [flags]
//
// Run sets up a terminal in a work folder, starts poshub, a TCP link that it can
// cut, posd behind that link, and a front end (posdemo front) which plays a day of
// trade through posd's HTTP interface. While the front end sells, the link goes
// away, posd is killed with SIGKILL and started again; then the link returns and
// the backlog drains.
//
// What it guarantees: it ends with exit code 0 only if three sources that were
// written independently agree on every sale, to the cent: the front end's own
// file of what was acknowledged to it, the terminal's journal (posctl dump), and
// head office's ledger (poshub's HTTP interface). It stops all processes that it
// started, on every way out, and touches no others.
//
// A kill of the process is not a power cut: the page cache survives it. The
// journal's own tests cut the power.
package main
