// Package httpapi is what a till front end talks to: HTTP on loopback and on a
// unix socket.
//
// It guarantees to a front end:
//   - 201 and 200 mean that the sale is durable. Any other answer to a checkout
//     may be followed by the same request with the same Idempotency-Key, which
//     takes effect once: the body must then be the same bytes, since their
//     SHA-256 decides whether it is the same request.
//   - A sale is answered with the bytes that stand in the journal, the first time
//     and for ever.
//   - Every refusal is an RFC 9457 problem whose type is stable
//     (urn:posd:problem:…, docs/problems.md) and whose detail says what to do.
//   - A read sees every sale that was answered before the read began.
//
// And to the terminal: only holders of a token reach /v1 (the tokens file is read
// again when it changes), and users of the unix socket that the configuration lets in
// without one; where operators sign in (package operator), nothing is changed without a
// session, and nothing that its role does not allow; a web page of another origin, or one that has bound its
// own name to 127.0.0.1, reaches nothing; bodies, headers, lines, connections and
// their times are bounded, so that no client can take the memory that a sale needs.
//
// What it does not do: no TLS. It is meant for loopback; who may use a token is the
// front end's business.
package httpapi
