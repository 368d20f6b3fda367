// Posd is the daemon inside a retail terminal: it takes sales over HTTP on
// loopback, makes each durable before it answers, and ships them to head office.
//
// It runs in the foreground, logs to standard error, tells systemd when it is
// ready, and ends with an exit code that says what kind of help it needs
// (posd --help lists them). It never creates a journal: posctl init does, once.
//
// Order of the start: configuration, limits of the slice, journal, index,
// command loop, HTTP, uplink, ready. The end takes the same steps back, within
// five seconds; if it does not get them, nothing is lost, since nothing is
// answered before it is durable.
package main
