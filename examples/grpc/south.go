package main

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/globaltx/globaltx/examples/grpc/bankpb"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxgrpc"
)

// token stands for whatever tells your services from strangers: a client
// certificate is better.
const token = "Bearer of-our-own"

// south is the service that is asked. It knows nothing of global transactions: the
// context of a call carries one, if the caller has one.
type south struct {
	bankpb.UnimplementedBankServer
	db *sql.DB
}

func (s *south) Deposit(ctx context.Context, req *bankpb.DepositRequest) (*bankpb.DepositResponse, error) {
	resp := &bankpb.DepositResponse{}
	if _, err := s.db.ExecContext(ctx, "UPDATE accounts SET balance = balance + ? WHERE id = ?", req.GetAmount(), req.GetOwner()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := s.db.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = ?", req.GetOwner()).Scan(&resp.Balance); err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	return resp, nil
}

// serveSouth starts the service on the loopback interface; stop waits for its end.
//
// Without Trust nobody may bring a transaction along: whoever joins one can also
// cause its abort, and holds rows of this database until it ends.
func serveSouth(c gtx.Coordinator, db *sql.DB) (addr string, stop func(), err error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := grpc.NewServer(gtxgrpc.ServerOptions(c, gtxgrpc.Config{Trust: func(ctx context.Context, _ string) bool {
		sent := metadata.ValueFromIncomingContext(ctx, "authorization")
		return len(sent) == 1 && subtle.ConstantTimeCompare([]byte(sent[0]), []byte(token)) == 1
	}})...)
	bankpb.RegisterBankServer(srv, &south{db: db})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(lis) // until stop; a broken listener shows at the callers
	}()
	return lis.Addr().String(), func() { srv.GracefulStop(); <-ended }, nil
}
