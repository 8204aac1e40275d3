// Package postgres holds statements of Postgres against the tree of an
// independent port of the server's grammar.
//
// A clause is compared by content: its span is parsed again inside a small
// statement of its own, and the tree found there must be the sub-tree that the
// parser made of the whole text, positions left aside. So a span that begins or
// ends at the wrong byte is seen even where the clause still exists.
package postgres
