package main

import (
	"context"
	"database/sql"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/globaltx/globaltx/examples/grpc/bankpb"
	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxgrpc"
)

// north is the service that begins the transaction.
type north struct {
	coord gtx.Coordinator
	db    *sql.DB
	conn  *grpc.ClientConn
	south bankpb.BankClient
}

// newNorth gives the connection the options that send the transaction along. Use
// them for your own services only: they tell the peer the transaction's name.
func newNorth(c gtx.Coordinator, db *sql.DB, addr string) (*north, error) {
	opts := append(gtxgrpc.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials())) // loopback: use TLS
	conn, err := grpc.NewClient(addr, opts...)
	if err != nil {
		return nil, err
	}
	return &north{coord: c, db: db, conn: conn, south: bankpb.NewBankClient(conn)}, nil
}

// transfer moves n from anna, here, to ben, in the south, or nothing. Run may call
// the function again after a conflict, which is safe: what the south did in the
// first try has been undone.
func (s *north) transfer(ctx context.Context, n int64) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", token)
	return gtx.Run(ctx, func(ctx context.Context) error {
		if _, err := s.south.Deposit(ctx, &bankpb.DepositRequest{Owner: "ben", Amount: n}); err != nil {
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
