// Command peers times checkouts over HTTP at posd, and at a till back end that keeps
// its sales in SQLite: the usual one of those who write their own. Both run in one go,
// on one file system and on one core; the callers are on another core.
//
// The peer answers the same POST /v1/checkout with the same bytes. It is as good as it
// could be made: one connection with prepared statements, a WAL with synchronous=FULL,
// the items in memory, posd's own arithmetic and encoder; what differs is where a sale
// is kept. It has less to do: it checks no member twice, prices no label, keeps no
// chain and signs nothing.
//
// The numbers of one machine say little about another; the ratios say more.
package main
