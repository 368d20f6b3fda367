// Package catalogue holds the items that a terminal sells: it turns a CSV file
// into a small read-only database and answers lookups from it.
//
// It guarantees to the operator that an import is all or nothing: a file with one
// bad line replaces nothing, the errors name their lines, and a power cut leaves
// the old catalogue or the new one, never a mixture. It guarantees to posd that
// lookups go on while the file is being replaced: each runs against one version
// from begin to end, a new version is picked up within a second of use, and a
// version that cannot be opened leaves the old one in place (see Err).
//
// Memory is bounded whatever the number of items: an import commits in batches,
// lookups read pages that the kernel maps and may take back.
//
// It does not decide what may be sold: that a tax code of the catalogue is still
// configured is for the register to check. It keeps no history; sales carry the
// price and tax of their time.
package catalogue
