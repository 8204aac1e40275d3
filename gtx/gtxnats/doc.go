// Package gtxnats carries a global transaction over request and reply of core
// NATS: a service that is asked inside gtx.Run does its work in the caller's
// transaction.
//
// The caller asks with [Request], the service subscribes with [Handler]:
//
//	err := gtx.Run(ctx, func(ctx context.Context) error {
//		_, err := gtxnats.Request(ctx, nc, &nats.Msg{Subject: "stock.reserve", Data: order})
//		return err
//	})
//
//	_, err := nc.QueueSubscribe("stock.reserve", "stock",
//		gtxnats.Handler(ctx, bus, reserve, gtxnats.Config{Trust: fromOurAccount}))
//
// # What is guaranteed
//
// The service's branches end with the caller's transaction. A request whose reply
// is lost (deadline, broken connection, a reply or a report that does not fit)
// leaves its branches unreported, and a transaction with an unreported branch is
// aborted by the coordinator (rule C1), whatever the caller makes of the error. A
// peer that replies with success and without joining is an error, because its work
// would stand outside the transaction: so is a stream of JetStream that has taken
// the request for a message to keep. Of several services that answer one request
// only the first is heard; what the others did has no report, and the transaction
// is aborted. A queue group lets one of them have the request.
//
// A message that nobody has to answer cannot take part: [Publish] refuses it, and
// [Handler] drops one that names a transaction.
//
// # What is not
//
// The package authenticates nobody. Whoever may join may also cause an abort, so
// [Config].Trust decides who is believed, and the permissions of the NATS accounts
// decide who may publish to the subject, and who to the caller's inbox: a reply is
// believed from whoever can send it. A caller must look at the error as always: a
// handler that has joined and returns an error has its branches reported, and if
// the caller goes on they are committed.
//
// # On the wire
//
//	request   Gtx-Xid: XID
//	          Gtx-Mode: xa
//	reply     Gtx-Branches: XID { SP ("+" | "-") resource "/" branch { "," distance } }
//
// as in package gtxhttp. The error of a handler is in the headers
// Nats-Service-Error-Code and Nats-Service-Error of its reply, as with the services
// of NATS (package micro).
//
// Everything here is safe for concurrent use.
package gtxnats
