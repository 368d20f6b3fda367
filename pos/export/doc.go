// Package export makes files of what a terminal has recorded: all events of a business
// day or of a shift as JSON lines, or its sales as a table (CSV).
//
// It guarantees to the till: an export costs no sale. One is made at a time, in turns of
// a millisecond of processor time for which it waits as other background work does; what
// it writes goes to the disk in small pieces and out of the page cache again; its files
// are bounded in number, in size and by the space that has to stay free, and all of them
// go when the journal finds no room. It holds no segment of the journal between two turns.
//
// And to who asks: a file holds what was durable when it was asked for, complete or not at
// all. Exports are not kept: a start of posd removes them, and so do newer ones. The
// journal, and head office, have it all.
//
// What can go wrong: records of the day were freed (Job.Truncated: head office has them),
// or cannot be read, or the disk is full: then the job has failed and says why.
//
// Columns of the tables, and what stands in them: docs/integrate.md.
package export
