// Package coltype lists the column types of the supported servers with values
// that are hard to keep, and what becomes of a table that has such a column. The
// tests of integration hold every line against the servers, and docs/types.md is
// written from it. No program links it.
package coltype

import "slices"

// Server is a kind of server with types of its own.
type Server struct {
	Title string
	// Names of the servers in the tests that the list is for.
	Names []string
	Types []Type
	// Setup are statements that make what the types need.
	Setup []string
	// Inner are types of the catalogue that no statement can give a value.
	Inner []string
	// Sessions are settings of the user's sessions, all of which capture exactly.
	Sessions []Session
	// Refused are settings under which nothing is captured.
	Refused []Session
}

// Type is one column type.
type Type struct {
	// Name is the type as CREATE TABLE takes it.
	Name string
	// Options stand behind the closing bracket of CREATE TABLE.
	Options string
	// Values are expressions of SQL; NULL is always added.
	Values []string
	// Keys are two or more different values for a key, as plain literals; where
	// there are none the first of Values.
	Keys []string
	// Covers are further names of the catalogue that the line speaks for.
	Covers []string
	// Only names the servers that the line is for, if not all of the list.
	Only []string
	// Settled types have values that no setting of a session reads or writes in
	// another way: a quick run tries them under the first session only.
	Settled bool
	// NotNull types do not take NULL.
	NotNull bool
	// Lone types of PostgreSQL have no array beside them in the tests.
	Lone bool

	// What becomes of a statement on a table where the type is the type of a
	// column, of a column of the primary key, of a column with a unique key that
	// an upsert meets. Where Key is NoSuch there is no unique key either.
	Column, Key, Upsert Answer
	// Move: an UPDATE changes the column of the primary key.
	Move Answer
}

// Answer is Captured, NoSuch, or the code of the refusal.
type Answer string

const (
	Captured Answer = ""
	// NoSuch: the server has no such table.
	NoSuch Answer = "-"
)

// Session is a way in which a user's sessions can be set up.
type Session struct {
	Name string
	// Params of the DSN.
	Params map[string]string
	// Sets are statements that run first on every connection of the program.
	Sets []string
	// Code of the refusal, for Server.Refused.
	Code string
}

// On tells whether the line is for a server.
func (t Type) On(server string) bool { return t.Only == nil || slices.Contains(t.Only, server) }

// Servers gives the lists in the order of the documents.
func Servers() []Server { return []Server{postgres(), mysql(), mariaDB(), sqlite()} }

// KeyValues are the values for keys.
func (t Type) KeyValues() []string {
	if t.Keys != nil {
		return t.Keys
	}
	return t.Values
}

// UpsertAnswer is Upsert, or NoSuch where there cannot be a unique key.
func (t Type) UpsertAnswer() Answer {
	if t.Key == NoSuch || t.NotNull {
		return NoSuch
	}
	return t.Upsert
}
