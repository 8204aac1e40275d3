package main

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxnats"
)

var errOverdrawn = errors.New("the account would be overdrawn")

// north is the service that begins the transaction.
type north struct {
	coord gtx.Coordinator
	db    *sql.DB
	conn  *nats.Conn
}

// transfer moves n from anna, here, to ben, in the south, or nothing. Run may call
// the function again after a conflict, which is safe: what the south did in the
// first try has been undone.
func (s *north) transfer(ctx context.Context, n int) error {
	return gtx.Run(ctx, func(ctx context.Context) error {
		request := &nats.Msg{Subject: subjectDeposit, Header: nats.Header{"Owner": {"ben"}}, Data: []byte(strconv.Itoa(n))}
		if _, err := gtxnats.Request(ctx, s.conn, request); err != nil {
			return err
		}
		if _, err := s.db.ExecContext(ctx, "UPDATE account SET balance = balance - ? WHERE owner = ?", n, "anna"); err != nil {
			return err
		}
		var left int
		if err := s.db.QueryRowContext(ctx, "SELECT balance FROM account WHERE owner = ?", "anna").Scan(&left); err != nil {
			return err
		}
		if left < 0 {
			return errOverdrawn
		}
		return nil
	}, gtx.WithCoordinator(s.coord), gtx.WithName("transfer"))
}
