// Command modes makes the same transfer between a PostgreSQL and a MySQL database in
// each mode, and shows what others see before the decision.
//
//	go run ./examples/modes postgres://app:pw@127.0.0.1/stock 'app:pw@tcp(127.0.0.1:3306)/orders'
//
// The coordinator is embedded. PostgreSQL needs max_prepared_transactions above 0, MySQL
// the privilege XA_RECOVER_ADMIN, MariaDB PROCESS: gtx doctor tells.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/globaltx/globaltx/driver"
	_ "github.com/globaltx/globaltx/driver/mysql"
	_ "github.com/globaltx/globaltx/driver/postgres"
	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: modes POSTGRES-DSN MYSQL-DSN")
	}
	stage.Main("modes", func(ctx context.Context, dir string, out io.Writer) error {
		return run(ctx, dir, out, os.Args[1], os.Args[2])
	})
}

func run(ctx context.Context, dir string, out io.Writer, postgres, mysql string) (err error) {
	bus, err := natsbus.Embedded(ctx, filepath.Join(dir, "coordinator"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bus.Close()) }()
	north, err := sql.Open("gtx-postgres", postgres)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, north.Close()) }()
	south, err := sql.Open("gtx-mysql", mysql)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, south.Close()) }()
	for _, db := range []*sql.DB{north, south} {
		for _, text := range []string{
			"DROP TABLE IF EXISTS modes_account",
			"CREATE TABLE modes_account (id bigint PRIMARY KEY, balance bigint NOT NULL)",
			"INSERT INTO modes_account VALUES (1, 100)",
		} {
			if _, err := db.ExecContext(ctx, text); err != nil {
				return err
			}
		}
	}

	for _, opts := range [][]gtx.Option{
		{gtx.WithMode(gtx.AT)},
		{gtx.WithMode(gtx.XA)},
		// Both are asked for their votes before anything is locked.
		{gtx.WithMode(gtx.ThreePhase), gtx.WithResources(driver.Participant(north), driver.Participant(south))},
	} {
		err := bus.Run(ctx, func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			if err := add(ctx, north, -10); err != nil {
				return err
			}
			if err := add(ctx, south, 10); err != nil {
				return err
			}
			seen, err := balance(gtx.Detach(ctx), north) // as anybody else
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(out, "%s: before the decision others see %d", tx.Mode(), seen)
			return err
		}, opts...)
		if err != nil {
			return err
		}
		a, err := balance(ctx, north)
		if err != nil {
			return err
		}
		b, err := balance(ctx, south)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, ", after it %d and %d\n", a, b); err != nil {
			return err
		}
	}
	return nil
}

// add does its work in one local transaction: in mode XA a statement without one is a
// branch by itself, and branches do not see each other.
func add(ctx context.Context, db *sql.DB, n int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var now int
	if err := tx.QueryRowContext(ctx, "SELECT balance FROM modes_account WHERE id = 1 FOR UPDATE").Scan(&now); err != nil {
		return err
	}
	if now+n < 0 {
		return stage.ErrOverdrawn
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE modes_account SET balance = balance + %d WHERE id = 1", n)); err != nil {
		return err
	}
	return tx.Commit() // XA, 3PC: this is the vote
}

func balance(ctx context.Context, db *sql.DB) (n int, err error) {
	err = db.QueryRowContext(ctx, "SELECT balance FROM modes_account WHERE id = 1").Scan(&n)
	return n, err
}
