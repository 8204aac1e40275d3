// Package compare measures the outbox and the inbox of this module beside others: one
// written by hand, and Watermill's (SQL outbox, forwarder, JetStream). All of them do the
// same work on the same servers in one run, in turns, and every turn is checked to have
// delivered what it was given.
//
// `make compare` runs all of it and prints what docs/performance.md shows. The tests of
// this package run a share, and hold what the table of promises there says.
package compare
