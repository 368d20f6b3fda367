// Package lab proves the checkout: its tests play random commands on a whole terminal
// (HTTP handler, register, journal, index) and on a simple model of a till and its
// drawer that shares no code with it, with kills and restarts in between.
//
// After each step the two must say the same: what is refused and why, sums to the
// cent, baskets, the X report. Beside the model an auditor reads the journal's own
// records as anybody could who has nothing but docs/events.md, and holds them against
// the promises: receipts without a gap, Σ net + Σ tax = total, tenders, the chain of Z
// reports, the drawer, returns ≤ sold, one effect for a key, nothing acknowledged lost.
//
//	make lab-till STEPS=300000 LAB_SEED=7
//
// A run is many small shops. Each has a seed; a failure names it, and
// LAB_SEED=<seed> plays that shop again, up to what the clocks of goroutines decide: a
// step of a basket becomes durable by itself within two seconds, so that a kill may
// find it durable or not. Bugs are planted by name (build tag posdlab); each must be
// seen. With that tag a kill takes every store that was not synced with it, as a power
// cut does; without it, as SIGKILL does.
//
// What it does not cover: payment terminals, printers and head office, which have
// their own labs.
package lab
