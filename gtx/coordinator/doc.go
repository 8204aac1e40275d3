// Package coordinator is the transaction coordinator (TC) as a pure state
// machine: events in, actions out. It has no goroutine, clock, disk or network;
// the time is a value that comes with every event. natsbus drives it over NATS
// and JetStream, tests drive it with virtual time.
//
// # Life
//
// [New] makes a machine that knows nothing. [Machine.Load] takes every message
// of the decision log in order; a standby goes on loading what others append.
// [Machine.Campaign] asks for the append of the next epoch, and only when that
// append has landed the machine answers (rules L1, L2). A candidate whose number
// goes to another emits [Yield] and loads again. A leader that learns of another
// epoch, of a hole in the log or of a message it cannot trust emits [StepDown] and
// answers nothing any more; the owner may then start again with a new machine.
// [Handover] is the orderly end: the next leader adopts what is active (rule O2).
//
// The log gets shorter by itself: a leader appends again what is unfinished,
// then says what may go by [Purge] (rule G3).
//
// # Guarantees
//
// A [Reply] with Committed or Aborted is final. Committed is told only when the
// record is in the log (rule C2), Aborted only for what can never get a record
// (rules B3, L4, L7, and H5 for what is three-phase). Everything else is an error or Pending. One append is
// outstanding at a time and carries every decision that arrived during the one
// before (rule L5).
//
// A [Machine] is not safe for concurrent use: one goroutine owns it.
package coordinator
