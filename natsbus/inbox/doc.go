// Package inbox lets each message of JetStream take effect in a database exactly once,
// however often it arrives. The effect and a row that names the message commit together;
// a message whose row stands there is acknowledged and nothing else.
//
//	in, err := inbox.Open(ctx, db, inbox.Config{Name: "billing", JetStream: js})
//	err = in.Consume(ctx, inbox.Source{Stream: "ORDERS"}, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
//		_, err := tx.ExecContext(ctx, "INSERT INTO invoice (id, body) VALUES (?, ?)", m.ID, m.Body)
//		return err
//	})
//
// A message that fails is tried again, after 100 ms at first and at most 30 s, and after
// Config.MaxTries it is put aside, with its error, where it can be looked at and replayed
// (Dead, Replay). Nothing is dropped.
//
// What is exactly once is what the function does with tx, and, where Config.Global is set,
// whatever databases of this module it changes with ctx. What else it does (a mail, a call
// of another service) may happen again.
//
// The sender may be package natsbus/outbox, or any publisher to JetStream. What names a
// message is told at Message.ID.
package inbox
