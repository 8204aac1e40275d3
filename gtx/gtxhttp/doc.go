// Package gtxhttp carries a global transaction over net/http: a service that
// is called inside gtx.Run does its work in the caller's transaction.
//
// The caller gives its http.Client a [NewTransport]; the service wraps its
// handlers in [Handler]:
//
//	client := &http.Client{Transport: gtxhttp.NewTransport(nil)}
//	err := gtx.Run(ctx, func(ctx context.Context) error {
//		req, err := http.NewRequestWithContext(ctx, "POST", stockURL, body)
//		if err != nil {
//			return err
//		}
//		resp, err := client.Do(req) // runs in the transaction of ctx
//		...
//	})
//
//	http.Handle("/stock", gtxhttp.Handler(bus, stock, gtxhttp.Config{Trust: fromOurNetwork}))
//
// # What is guaranteed
//
// The service's branches end with the caller's transaction. A call whose answer
// is lost (timeout, broken connection, panic in the handler, a response that
// does not fit) leaves its branches unreported, and a transaction with an
// unreported branch is aborted by the coordinator (rule C1), whatever the caller
// makes of the error. An answer is lost, too, when reading its body fails before the
// transaction ends; closing the body early loses nothing. A peer that answers with
// success and without joining is an error, because its work would stand outside the
// transaction.
//
// # What is not
//
// The package authenticates nobody. Whoever may join may also cause an abort, so
// [Config].Trust decides who is believed. A caller must check the status code as
// always: 500 from a service that has joined does not abort anything by itself.
//
// # On the wire
//
//	request   Gtx-Xid: XID
//	          Gtx-Mode: xa
//	response  Gtx-Branches: XID { SP ("+" | "-") resource "/" branch { "," distance } }
//
// Gtx-Mode stands there only if the caller's context is of mode XA, and gives the
// service's context that mode: without it branches are of mode AT, and 3PC is in the
// XID. XID is the text form of gtx.XID; + marks confirmed branches and - dead ones. Of
// the branches at one resource, in ascending order, the first stands as a positive
// decimal number and each other as its distance from the one before. The XID
// stands in the response so that an answer from a cache is not taken for one of
// this transaction. The branches are known when the handler has returned, so the
// handler's response is held in memory until then (Config.MaxBody).
//
// Everything here is safe for concurrent use.
package gtxhttp
