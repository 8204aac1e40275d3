// Package difftest holds proxy/sqltext against reference parsers and live
// servers. It is a module of its own so that the parsers never reach a user.
package difftest

import (
	"context"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Verdict is what a comparison found.
type Verdict uint8

const (
	Unread  Verdict = iota // the reference parser does not read the text, so nothing is known
	Equal                  // both say the same
	Misread                // they differ: one of them is wrong
)

// Oracle reads a statement with a reference parser and compares. It is for one
// goroutine at a time.
type Oracle interface {
	// Compare holds every field of st that the parser can tell against its tree:
	// kind, target names and aliases, which clauses are there, what each holds, and
	// the placeholders. The detail says what differs, or why it was not read.
	Compare(st *sqltext.Statement) (v Verdict, detail string)
}

// Server is a live server that tells whether it accepts a text. It is for one
// goroutine at a time.
type Server interface {
	Name() string
	Dialect() sqltext.Dialect
	Mode() sqltext.Mode
	// Valid tells of each text whether the server's parser accepts it as one
	// statement. Nothing is executed; a name that does not exist is no reason to
	// say no.
	Valid(ctx context.Context, texts []string) ([]bool, error)
	Close() error
}
