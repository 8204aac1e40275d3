package main

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxnats"
)

const subjectDeposit = "south.deposit"

// subscribeSouth starts the service that is asked. The function that serves knows
// nothing of global transactions: its context carries one, if the caller has one.
// The queue group lets one of several instances have a request.
func subscribeSouth(ctx context.Context, nc *nats.Conn, c gtx.Coordinator, db *sql.DB) error {
	deposit := func(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
		amount, err := strconv.Atoi(string(msg.Data))
		if err != nil {
			return nil, &gtxnats.Error{Code: "400", Description: err.Error()}
		}
		owner := msg.Header.Get("Owner")
		if _, err := db.ExecContext(ctx, "UPDATE accounts SET balance = balance + ? WHERE id = ?", amount, owner); err != nil {
			return nil, err
		}
		var balance int
		if err := db.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = ?", owner).Scan(&balance); err != nil {
			return nil, &gtxnats.Error{Code: "404", Description: err.Error()}
		}
		return &nats.Msg{Data: strconv.AppendInt(nil, int64(balance), 10)}, nil
	}
	// The server lets nobody but the northern bank publish to this subject (see
	// serveNATS), so whoever does is trusted. Without Trust nobody may bring a
	// transaction along: whoever joins one can also cause its abort, and holds rows
	// of this database until it ends.
	trust := func(msg *nats.Msg) bool { return msg.Subject == subjectDeposit }
	_, err := nc.QueueSubscribe(subjectDeposit, "south", gtxnats.Handler(ctx, c, deposit, gtxnats.Config{Trust: trust}))
	if err != nil {
		return err
	}
	return nc.Flush() // the server knows of the subscription
}
