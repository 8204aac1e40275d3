// Package natsbus is the transaction coordinator of globaltx over NATS: the
// client that applications use, the coordinator service, its decision log on a
// JetStream stream, and a server embedded in the process.
//
//	bus, err := natsbus.Embedded(ctx, "/var/lib/app/gtx")
//	if err != nil {
//		return err
//	}
//	defer bus.Close()
//	err = bus.Run(ctx, func(ctx context.Context) error { … })
//
// # Three ways to get a Bus
//
// [Embedded] needs no server: it runs one in the process, with its log in a
// directory that one process at a time may use. With [Listen] other processes
// of the machine join by [Connect]. [Connect] alone talks to a coordinator that
// [Serve], or `gtx coordinator`, runs elsewhere.
//
// # Nodes
//
// [Serve] runs one node of the coordinator; run two or three, on different
// machines. One leads. The others follow its log and take over within seconds
// when they hear nothing of it, or at once when it hands over, which is what
// [Service.Stop] does. Transactions that were being worked on survive a
// hand-over; they are aborted when a leader dies. Committed ones survive
// everything that the log survives. Two nodes that both believe to lead do no
// harm: the log takes the appends of the later one only.
//
// # Guarantees
//
// A commit is answered when its record is in the stream and the server has
// synced it to the disk: an embedded server always runs with SyncAlways. A
// server of one's own must say `sync_interval: always` in its jetstream block,
// which a node asks every server about before it serves (see
// [ServiceConfig].System). It checks their version, the settings of the stream
// and every hash of the log as well, and refuses otherwise.
//
// Committed transactions are pushed to their databases until every one has
// acknowledged.
//
// # Concurrency
//
// A [Bus] and a [Service] are safe for concurrent use. After Close every call of
// a Bus returns [ErrClosed].
package natsbus
