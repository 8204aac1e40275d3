// Package tcc runs actions in three parts inside global transactions: Try does or reserves
// what can be taken back, Confirm makes it final when the transaction commits, Cancel takes
// it back when it aborts. It is for work that is not rows, and for work that should not keep
// rows locked until the decision. Branches of this mode mix with those of AT and XA in one
// gtx.Run.
//
//	type reserveSeat struct{}
//
//	func (reserveSeat) Try(ctx context.Context, tx tcc.Tx, s Seat) error {
//		_, err := tx.ExecContext(ctx, "UPDATE seat SET held = held + 1 WHERE train = ?", s.Train)
//		return err
//	}
//	func (reserveSeat) Confirm(ctx context.Context, tx tcc.Tx, s Seat) error { … }
//	func (reserveSeat) Cancel(ctx context.Context, tx tcc.Tx, s Seat) error { … }
//
//	res, err := tcc.Open(ctx, db, tcc.Config{})
//	reserve, err := tcc.Register(res, "reserve-seat", reserveSeat{})
//	err = gtx.Run(ctx, func(ctx context.Context) error {
//		return reserve.Try(ctx, Seat{Train: 7})
//	})
//
// # What is guaranteed
//
// A Try that has returned nil and whose local transaction has committed is followed by
// Confirm or by Cancel, whichever the transaction's decision says, and never by both. With a
// database each takes effect exactly once: the guard row that stands for the action is
// written by the local transaction of Try and deleted by that of Confirm or Cancel. Cancel
// is never called for a Try that did not commit, and a Try cannot commit and stay after the
// abort. Any process that registers the action may run Confirm or Cancel, also after the
// one that ran Try has died. What fails is tried again, for ever.
//
// # What is not
//
// Effects outside the database that tx belongs to are not rolled back with it: an action
// that has some is called with [Call] as a key for them, possibly more than once. Between Try
// and Confirm everybody sees what Try has committed. Branches of one transaction are not
// ordered.
package tcc
