package main

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxnats"
)

// north is the service that begins the transaction.
type north struct {
	coord gtx.Coordinator
	db    *sql.DB
	conn  *nats.Conn
}

// transfer moves n from anna, here, to ben, in the south, or nothing. Run may call
// the function again after a conflict, which is safe: what the south did in the
// first try has been undone.
func (s *north) transfer(ctx context.Context, n int64) error {
	return gtx.Run(ctx, func(ctx context.Context) error {
		request := &nats.Msg{Subject: subjectDeposit, Header: nats.Header{"Owner": {"ben"}}, Data: []byte(strconv.FormatInt(n, 10))}
		if _, err := gtxnats.Request(ctx, s.conn, request); err != nil {
			return err
		}
		if _, err := s.db.ExecContext(ctx, "UPDATE accounts SET balance = balance - ? WHERE id = ?", n, "anna"); err != nil {
			return err
		}
		var left int64
		if err := s.db.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = ?", "anna").Scan(&left); err != nil {
			return err
		}
		if left < 0 {
			return stage.ErrOverdrawn
		}
		return nil
	}, gtx.WithCoordinator(s.coord), gtx.WithName("transfer"))
}
