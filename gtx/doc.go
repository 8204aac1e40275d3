// Package gtx runs global transactions: work on several databases, in one
// process or in many, that commits together or not at all.
//
// [Run] begins a global transaction, puts it into the context and calls a
// function. Statements that carry this context through a database/sql driver
// of this module (gtx-mysql, gtx-postgres, gtx-sqlite) become branches of the
// transaction; statements without it are untouched.
//
//	err := gtx.Run(ctx, func(ctx context.Context) error {
//		if _, err := bankA.ExecContext(ctx, "UPDATE account SET balance = balance - 10 WHERE id = 1"); err != nil {
//			return err
//		}
//		_, err := bankB.ExecContext(ctx, "UPDATE account SET balance = balance + 10 WHERE id = 7")
//		return err
//	})
//
// # Modes
//
// In mode [AT] branches commit locally at once and undo rows bring the rows back. With
// [WithMode] they wait prepared instead: [XA], two-phase commit, and [ThreePhase]. The
// function, the coordinator and the answers are the same. docs/choosing.md compares
// them.
//
// # What is guaranteed
//
// A nil error means committed: every branch keeps its effect, for ever. An
// error that is not an [UnknownError] means aborted: every effect is or will
// be undone. An [UnknownError] means that the decision was asked for and the
// answer is missing; [Outcome] tells it later.
//
// # What is not
//
// In mode AT branches commit locally before the global decision, so readers outside the
// transaction may see effects that are undone afterwards, unless they ask for
// [ReadCommitted]. Writers that bypass the driver are detected when their rows
// would be restored, not prevented, unless the table has a guard (the command
// gtx guard). Those that use it outside global transactions pass by as well,
// unless the DSN says gtx_guard=on.
//
// # Concurrency
//
// A [Tx] and everything that hangs on its context is safe for concurrent use.
// Run waits for fn only: goroutines that fn starts must be awaited by fn. A
// statement after the end fails with [ErrEnded].
//
// The package depends on the standard library only. The coordinator reaches it
// through the [Coordinator] port, a database's phase two through [Resolver].
package gtx
