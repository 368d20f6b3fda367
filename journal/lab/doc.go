// Package lab puts the journal's own code through power cuts, kills, failed
// syncs and rot, and judges what each start finds.
//
// It has two parts. The Oracle knows what a journal was told and what it
// answered, and says of a start or a proof whether it has lost an acknowledged
// record, shows one that nobody wrote or that had been gone before, raises a
// false alarm after an ordinary cut, or overlooks a changed bit. The model plays
// the journal on a file system in memory, with a volatile cache in front of a
// medium, and gives it every state that a cut can leave there: each 512-byte
// sector that was not synced is old, new, garbled or unreadable; names that were
// not synced are there or not, in any order; the kernel writes back what it likes
// when it likes; a failed sync leaves pages that are called clean and are not on
// the medium. From one cut many states are drawn and judged; one of them is the
// next life's, so that cuts follow cuts.
//
// What it proves: within the model, the journal keeps its promise in each state
// that was drawn, and each of the bugs that package hook can plant breaks it and
// is seen. One seed plays one run, on any machine: go test ./journal/lab -seed=S,
// with -history=N for a single history of it and -mutant=NAME to plant a bug. A
// state is one recovery that was judged.
//
// What it does not prove: that a real kernel, file system and device behave like
// the model (journal/lab/ext4 cuts a real one off), that the journal's goroutines
// are free of races (here one goroutine does by hand what they do; the race
// detector runs over the journal's own tests) or that they wake in time, and
// nothing about states that no seed has drawn.
package lab
