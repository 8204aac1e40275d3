// Package flow has several services do their share of one piece of work, each in its own
// database and in its own time: all of them succeed, or what some have done is taken back by
// compensations.
//
//	a, err := flow.Open(ctx, db, flow.Config{Name: "shop", Outbox: box, JetStream: js})
//	...
//	id, err := a.Start(ctx, tx, flow.Start{Kind: "order", To: []string{"stock", "billing"}, Body: body})
//	err = tx.Commit()
//
// and in the other services, here stock:
//
//	b, err := flow.Open(ctx, db, flow.Config{Name: "stock", Outbox: box, JetStream: js})
//	err = b.Handle("order", flow.Step{Do: reserve, Undo: release})
//	err = b.Run(ctx)
//
// Nobody waits for anybody, and no lock is held between services: others see what a step
// has done before the flow has ended, and what an Undo takes back was there for a while.
// Where that must not be, a global transaction is right (gtx.Run).
//
// # What is guaranteed
//
// Start commits with the sender's local transaction, or with its global one, and vanishes
// with it. Then every service of Start.To ends in one of four ways, of which its row in
// gtx_flow_step tells:
//
//	done      Do has committed
//	failed    Do has failed for good (inbox.Permanent, or Config.MaxTries); nothing of it stays
//	barred    Do never runs, because the flow had failed before it could
//	undone    Do has committed, and then Undo has, once
//
// A flow ends done when all are done. It fails as soon as one has failed, or when
// Start.Timeout is over before all are done: then those that are done are undone, and the
// others barred, whatever order messages arrive in. It ends undone when none is done any
// more. There is no third end, but there may be a wait: an Undo that fails is tried again for
// ever, and shown as stuck (Stats, gtx ls, gtx show).
//
// Do and Undo run in a local transaction that holds the row of the step: each of them
// commits once. They may run more often, and are rolled back then. Undo comes only after a Do
// that has committed.
//
// # Messages
//
// All go through the outbox and the inbox of the two databases, on the stream GTX_FLOW
// with subject gtx.flow.NAME, NAME being the service that it is for. A service that fails
// tells the others itself. The sender asks again, ever more seldom, whoever it has not heard
// of, so that a message that was lost, or a stream that was, costs time only.
//
//	Gtx-Flow-Id      32 hexadecimal digits
//	Gtx-Flow-Kind    Start.Kind
//	Gtx-Flow-Op      do, undo or report
//	Gtx-Flow-Sender  the service that has called Start
//	Gtx-Flow-From    the service that sends this message
//	Gtx-Flow-To      Start.To, with commas between
//	Gtx-Flow-Began   microseconds since 1970
//	Gtx-Flow-State   of a report: done, failed, barred or undone
//	Gtx-Flow-Error   of a report: why
//
// do and undo carry the body and the headers of Start, a report none.
package flow
