// Package outbox publishes messages to NATS JetStream from the local transactions that
// they belong to: a message is published when its local transaction has committed, and
// never when it was rolled back.
//
//	box, err := outbox.Open(ctx, db, outbox.Config{Conn: nc})
//	...
//	tx, err := db.BeginTx(ctx, nil)
//	_, err = tx.ExecContext(ctx, "INSERT INTO orders (id, sku) VALUES (?, ?)", id, sku)
//	_, err = box.Publish(ctx, tx, outbox.Message{Subject: "orders.placed", Key: customer, Body: body})
//	err = tx.Commit()
//
// [Outbox.Publish] is one INSERT into the table gtx_outbox of the same database, whatever it
// is: MySQL, MariaDB, PostgreSQL or SQLite. Relays read the table, publish, and delete
// exactly the rows that a stream has acknowledged. Any number of processes may relay one
// database.
//
// # What is guaranteed
//
// A message that was published in a local transaction that has committed reaches its
// stream, as long as there is one and some process relays: at least once, and once only
// for as long as the stream's duplicate window (2 min by default) knows its id. Package
// inbox makes it once for ever. Messages of one Key arrive in order (see
// [Outbox.Publish]).
//
// Inside [github.com/globaltx/globaltx/gtx.Run] a message is published when the global
// transaction has committed, and never when it has aborted. In mode AT the row is
// there before the decision, together with its undo row, and the relay passes over it;
// later messages of its key wait behind it, others do not. In mode XA the row is part of
// the prepared branch, and nobody sees it.
//
// A message that no stream will ever take, because it is too large, is put aside in the
// table gtx_outbox_dead with the error ([Outbox.Dead], [Outbox.Replay], gtx outbox), and told
// to [Config].DeadSubject. Everything else,
// a stream that is full or missing too, is tried again, per subject from 100 ms to 30 s
// apart, logged, and seen in [Outbox.Stats].
//
// # What is not
//
// The order of a key is that of the database server's clock. When that is set back while
// messages wait, or another server with another clock takes over, the order of those that
// wait may change. A relay that stands still for longer than the duplicate window, between
// two messages of one key, may repeat the latter when it goes on.
//
// # On the wire
//
// Subject and body are the sender's. Headers: Nats-Msg-Id is the message id, 32
// hexadecimal digits; Gtx-Key the key, if there is one; Gtx-Source the identity of the
// database; traceparent and tracestate what [Config].Inject has set; and the sender's own.
// A reader that knows nothing of this module needs none of them.
package outbox
