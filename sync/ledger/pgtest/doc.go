// Package pgtest starts real PostgreSQL servers for tests, from the programs of Debian's
// package postgresql (/usr/lib/postgresql/*/bin, the newest; else PATH).
//
// A server lives in a temporary folder and is reached by a Unix socket in it, so no port
// is taken and nothing outside this machine can connect. It syncs to disk as a real one
// does. PostgreSQL refuses to run as root: then the server runs as user postgres, or
// nobody. It ends with the test, is waited for, and is killed by the kernel if the test's
// own process dies before.
//
// [Start] gives a server to one test. [Main] and [Shared] give one to all tests of a
// package; each takes a fresh [Server.Database] of it, which costs some 50 ms. Where the
// programs are not there, tests are skipped and say what to install; in CI (environment
// variable CI=true) they fail.
package pgtest
