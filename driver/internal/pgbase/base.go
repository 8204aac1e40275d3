// Package pgbase is the port of the dialect of PostgreSQL to a base driver: package
// pgsql has its names. It is a leaf, so that the tests of pgsql can fill it in.
package pgbase

import "database/sql/driver"

// Base is what the dialect has to know of the base driver that carries it. The
// zero value is for one like lib/pq, which prepares nothing by itself. All
// functions are safe for concurrent use.
type Base struct {
	// Routine tells in which function of the server an error was raised, "" where it
	// does not say. Nil is for errors that have lib/pq's method Get.
	Routine func(err error) string

	// Lost tells that an error without SQLSTATE means a connection that is gone, beside
	// what package net and package io give. It may be nil.
	Lost func(err error) bool

	// Passing puts in front of the arguments what makes the base driver run a text once,
	// and keep nothing of it. users tells that arguments or rows are the user's: they
	// must be coded as those of a text that is kept, or, where described is true, as
	// those of one that the user has prepared. Nil where nothing is ever kept.
	Passing func(args []driver.NamedValue, users, described bool) []driver.NamedValue

	// Keeping tells when a captured text of a connection is prepared. users tells that
	// arguments or rows are the user's. Nil is Again.
	Keeping func(users bool) Keeping

	// Keeps tells that the base driver prepares by itself what Query is given, and
	// keeps it under a name that no other text has: then that is left to it.
	Keeps bool

	// Unsent tells that err, of a statement on c that has returned no rows, came before
	// the server ran anything of the statement, and that the local transaction is as it
	// was before. It may be nil.
	Unsent func(c driver.Conn, err error) bool

	// Relocate gives err, where the server gave it, as it would have told it of text: at
	// gives for a position in what was sent that in text, 0 where there is none. Positions
	// count from 1. err itself stays as it is. Nil leaves all errors as they are.
	Relocate func(err error, text string, at func(position int) int) error

	// QueriesOne: see proxy.Passing.
	QueriesOne bool

	// Refuse gives a *gtx.UnsupportedError for arguments that are not values. It may be nil.
	Refuse func(args []driver.NamedValue) error
}

// Keeping says when a captured text is prepared on its connection.
type Keeping uint8

const (
	// Again is when the text comes for the second time.
	Again Keeping = iota
	// AtOnce is for a base driver that asks the server for a description of the user's
	// text, too.
	AtOnce
	// Never is for a program that must not have prepared statements.
	Never
)
