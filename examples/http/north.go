package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxhttp"
)

// north is the service that begins the transaction.
type north struct {
	coord  gtx.Coordinator
	db     *sql.DB
	client *http.Client
	south  string // URL of the other service
}

// newNorth gives the client a transport that sends the transaction along. Use such
// a client for your own services only: it tells the peer the transaction's name.
func newNorth(c gtx.Coordinator, db *sql.DB, south string) *north {
	client := &http.Client{Transport: gtxhttp.NewTransport(&http.Transport{})}
	return &north{coord: c, db: db, client: client, south: south}
}

// transfer moves n from anna, here, to ben, in the south, or nothing. Run may call
// the function again after a conflict, which is safe: what the south did in the
// first try has been undone.
func (s *north) transfer(ctx context.Context, n int64) error {
	return gtx.Run(ctx, func(ctx context.Context) error {
		if err := s.deposit(ctx, "ben", n); err != nil {
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

// deposit asks the south. An error status does not abort by itself, so it must
// become an error, as without a transaction.
func (s *north) deposit(ctx context.Context, owner string, n int64) error {
	form := url.Values{"owner": {owner}, "amount": {strconv.FormatInt(n, 10)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.south, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", token)
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("deposit in the south: %s", resp.Status)
	}
	return nil
}
