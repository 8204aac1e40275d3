// Package gtxgrpc carries a global transaction over gRPC: a service that is
// called inside gtx.Run does its work in the caller's transaction.
//
// The caller adds [DialOptions] to its connection, the service [ServerOptions] to
// its server:
//
//	conn, err := grpc.NewClient(addr, append(gtxgrpc.DialOptions(), creds)...)
//	...
//	err = gtx.Run(ctx, func(ctx context.Context) error {
//		_, err := pb.NewStockClient(conn).Reserve(ctx, req) // in the transaction of ctx
//		return err
//	})
//
//	srv := grpc.NewServer(gtxgrpc.ServerOptions(bus, gtxgrpc.Config{Trust: fromOurNetwork})...)
//
// # What is guaranteed
//
// The service's branches end with the caller's transaction. A call whose answer
// is lost (deadline, broken connection, panic in the handler, an answer or a report
// that does not fit, an interceptor on the way back that makes an error of it)
// leaves its branches unreported, and a transaction with an unreported branch is
// aborted by the coordinator (rule C1), whatever the caller makes of the error. A
// peer that answers with success and without joining is an error, because its work
// would stand outside the transaction. A stream inside a transaction is refused
// before it begins, on both sides: it has no moment at which its branches are known
// while the caller still waits for them.
//
// # What is not
//
// The package authenticates nobody. Whoever may join may also cause an abort, so
// [Config].Trust decides who is believed. A caller must look at the error as
// always: a handler that has joined and returns an error has its branches
// reported, and if the caller goes on they are committed.
//
// # Retries and other interceptors
//
// gRPC's own retries (transparent, or of a service config) show the caller one
// attempt of several. If another attempt has reached its handler too, its branches
// are in no report and the transaction is aborted: nothing is done twice. An
// interceptor that tries again is best placed before this one: each attempt then
// makes a report of its own, and what two handlers did counts twice, as it would
// without a transaction. One that sends the same call to two servers at a time must
// stand before this one, because the attempts after it share one trailer, which gRPC
// does not guard.
//
// An interceptor that turns panics into errors may stand on either side. Before
// this one, nothing of a handler that panics is reported. After it, branches that
// were confirmed before the panic are.
//
// # On the wire
//
//	request metadata   gtx-xid: XID
//	                   gtx-mode: xa
//	trailer            gtx-branches: XID { SP ("+" | "-") resource "/" branch { "," distance } }
//	                   gtx-failed: 1
//
// as in package gtxhttp. The trailer comes with an error status, too; gtx-failed
// then says that the handler returned it. Where it is missing the handler succeeded
// and the answer was lost.
//
// Everything here is safe for concurrent use.
package gtxgrpc
