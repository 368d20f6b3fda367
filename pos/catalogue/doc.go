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
// A GTIN is found by any of its forms (see itemcode), and an item by the beginnings
// of words of its description, without case and accents. A delta changes single items.
// Head office imports for its terminals, and sends them the file in chunks that a signed
// manifest names (see Manifest and Assemble); that ends in the same atomic swap.
//
// Memory is bounded whatever the number of items: an import sorts through a file and
// commits in batches, lookups read pages that the kernel maps and may take back, and
// what is kept in front of them (some thousand items, some hundred unknown codes) has
// a limit in bytes.
//
// It does not decide what may be sold: which tax codes its items have it tells (Taxes),
// whether they are still configured is for others to check. It keeps no history; sales carry the
// price and tax of their time. A file that an older release has imported can be looked
// up by code until the next import; a release before this one reads none of this one's.
package catalogue
