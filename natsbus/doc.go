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
// join by [Connect] and [Bus.URL]. [Connect] alone talks to a coordinator that
// [Serve] runs elsewhere.
//
// # Guarantees
//
// A commit is answered when its record is in the stream and the server has
// synced it to the disk: an embedded server always runs with SyncAlways. A
// server of one's own must say `sync_interval: always` in its jetstream block;
// a coordinator cannot see that over the connection. What it can see (server
// version, the settings of the stream, every hash of the log) it checks before
// it serves, and refuses otherwise.
//
// A process that dies takes undecided transactions with it: they are aborted
// when the log is opened again. Committed ones are pushed to their databases
// until every one has acknowledged.
//
// # Concurrency
//
// A [Bus] is safe for concurrent use. After Close every call returns [ErrClosed].
package natsbus
