// Package event is the schema of what a terminal records: Go types and their
// JSON bytes, shared by the terminal and the hub.
//
// An event is one JSON object, written straight into the journal by the Append
// methods, without reflection:
//
//	{"v":1,"type":"sale.completed","time":"2026-11-21T09:30:00.123Z","clock":"synced",
//	 "key":"…","hash":"…","front":"till-1","trace":"00-…-…-01","data":{…}}
//
// v is the version of the envelope and of the type's data. "data" is always the
// last member, so that its bytes can be served as they stand in the journal.
// Absent strings are left out. A reader keeps and passes on types and versions
// that it does not know.
package event
