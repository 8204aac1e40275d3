// Package inside runs a test suite inside global transactions that it knows nothing
// of. It stands before our driver, as a hook such as otelsql would, and hands every
// call on with the context of the current global transaction.
//
// A segment is one global transaction. It begins with the first statement of a test
// that may write, or with the first BeginTx, and ends with the test. All connections
// of the test, to whatever database, are in it. What database/sql is asked before, and
// between tests (TestMain), runs outside.
//
// DDL cannot be undone, so it runs outside, without the context. Where it touches a
// table that the segment has written, the segment ends first; a local transaction of
// the test that is still open keeps it from ending, and the same connection's DDL is
// then refused like anywhere in a global transaction.
//
// In mode commit a segment ends with Commit, and must leave no undo rows. In mode abort
// it is aborted; before its first write every row of every table was read on the base
// driver, and after the abort all must be the same, as text, column by column. So that
// the test can go on with what it wrote, DDL other than DROP TABLE commits the segment
// in mode abort too (the record then says "cut"). Counters (AUTO_INCREMENT, sequences)
// are not undone by anybody's abort and not compared.
//
// Record is what a run writes to the file that the runner names, one JSON object a
// line.
package inside
