// Package xa is phase two of branches that wait prepared: XA of MySQL and MariaDB,
// PREPARE TRANSACTION of PostgreSQL. It is to mode XA what package undo is to mode AT.
//
// # The four roles of X/Open
//
// The application program (AP) calls gtx.Run and uses database/sql. The transaction
// manager (TM) is gtx.Run in the process that began, with the coordinator as its
// memory. A resource manager (RM) is a database, with the [Resolver] that serves it in
// every process that has it open. The communication resource manager (CRM) is NATS:
// natsbus carries requests and decisions, gtxhttp, gtxgrpc and gtxnats carry an XID to
// another AP and its branches back.
//
// # Names
//
// A branch is prepared under a [Name]: the XID, the database and the branch. On the
// MySQL family it is an X/Open XID (format, gtrid, bqual), on PostgreSQL one text.
// What has another form belongs to another program and is never touched, and neither
// is a branch of another database of the same server.
//
// # What counts as the end
//
// A branch has ended when the statement that ends it succeeded, or when the server does
// not list it any more. That it does not know the name (XAER_NOTA, SQLSTATE 42704) is
// no proof: MariaDB says so of a branch whose session is being closed (rule X3). Then
// the list is read again.
package xa
