package soak

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	_ "github.com/globaltx/globaltx/driver/mysql"
	_ "github.com/globaltx/globaltx/driver/pgx"
	_ "github.com/globaltx/globaltx/driver/postgres"
	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/internal/testserver/testdb"
)

// database names one database as a process reaches it.
type database struct {
	Driver string // the base driver
	DSN    string
}

// open opens it for this module.
func (d database) open(conns int) (*sql.DB, error) {
	sep := "?"
	if strings.Contains(d.DSN, "?") {
		sep = "&"
	}
	db, err := sql.Open("gtx-"+d.Driver, d.DSN+sep+"gtx_scan_interval=1s")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// plain opens it with the base driver.
func (d database) plain() (*sql.DB, error) {
	db, err := sql.Open(d.Driver, d.DSN)
	if err == nil {
		db.SetMaxOpenConns(4)
		db.SetMaxIdleConns(0) // a session that was killed meanwhile is nobody's trouble
	}
	return db, err
}

func (d database) family() string {
	if d.Driver == "pgx" {
		return "postgres"
	}
	return d.Driver
}

// isolation of the local transactions of senders: at REPEATABLE READ PostgreSQL refuses
// the second of two that take a number of one key.
func (d database) isolation() *sql.TxOptions {
	if d.Driver == "sqlite" {
		return nil
	}
	return &sql.TxOptions{Isolation: sql.LevelReadCommitted}
}

// createSender makes the tables of the sending side: the last number of each key, and the
// row that stands for the business of a message.
func (d database) createSender(ctx context.Context, db *sql.DB, keys int) error {
	number := map[string]string{"sqlite": "INTEGER"}[d.Driver]
	if number == "" {
		number = "BIGINT"
	}
	rows := make([]string, keys)
	for k := range rows {
		rows[k] = fmt.Sprintf("(%d, 0)", k)
	}
	return run(ctx, db,
		"CREATE TABLE soak_key (k "+number+" PRIMARY KEY, seq "+number+" NOT NULL)",
		"CREATE TABLE soak_sent (id "+number+" PRIMARY KEY, k "+number+" NOT NULL, seq "+number+" NOT NULL)",
		"INSERT INTO soak_key (k, seq) VALUES "+strings.Join(rows, ", "))
}

// createReceiver makes the table of effects. n grows in the order of handling, for one key
// at least. Nothing keeps an id from standing there twice.
func (d database) createReceiver(ctx context.Context, db *sql.DB) error {
	n := map[string]string{
		"mysql": "BIGINT AUTO_INCREMENT PRIMARY KEY", "postgres": "BIGSERIAL PRIMARY KEY", "sqlite": "INTEGER PRIMARY KEY",
	}[d.family()]
	return run(ctx, db, "CREATE TABLE soak_effect (n "+n+", id BIGINT NOT NULL, k BIGINT NOT NULL, seq BIGINT NOT NULL)")
}

// forgiving makes sure that a server keeps what it has committed when its process dies.
func (d database) forgiving(ctx context.Context, db *sql.DB) error {
	query, good := "SELECT @@innodb_flush_log_at_trx_commit", "1 2"
	switch d.family() {
	case "postgres":
		query, good = "SHOW synchronous_commit", "on"
	case "sqlite":
		query, good = "PRAGMA journal_mode", "wal"
	}
	var have string
	if err := db.QueryRowContext(ctx, query).Scan(&have); err != nil {
		return fmt.Errorf("ask for durability: %w", err)
	}
	if !strings.Contains(good, have) {
		return fmt.Errorf("%s says %q, want one of %q: a killed process would lose what it has committed", query, have, good)
	}
	return nil
}

func run(ctx context.Context, db *sql.DB, texts ...string) error {
	for _, text := range texts {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("%.60s: %w", text, err)
		}
	}
	return nil
}

func number(ctx context.Context, db *sql.DB, query string) (n int64, err error) {
	err = db.QueryRowContext(ctx, query).Scan(&n)
	return n, err
}

// read gives rows of three numbers.
func read(ctx context.Context, db *sql.DB, query string) (list []message, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m message
		if err := rows.Scan(&m.id, &m.key, &m.seq); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, rows.Err()
}

// remains tells what must be gone in the end.
func remains(ctx context.Context, from, to *sql.DB) (left []string, err error) {
	count := func(db *sql.DB, table string) {
		n, cerr := number(ctx, db, "SELECT count(*) FROM "+table)
		if cerr != nil && !testdb.NoTable(cerr) {
			err = errors.Join(err, fmt.Errorf("count %s: %w", table, cerr))
		}
		if n > 0 {
			left = append(left, fmt.Sprintf("%d rows in %s", n, table))
		}
	}
	count(from, "gtx_outbox")
	count(from, "gtx_outbox_dead")
	count(to, "gtx_inbox_dead")
	// The inbox leaves a count to age where it does not know of it any more: a server that
	// was killed has forgotten how often it has delivered a message. No message waits then.
	count(to, "gtx_inbox_try t WHERE NOT EXISTS (SELECT 1 FROM gtx_inbox i WHERE i.consumer = t.consumer AND i.id = t.id AND i.state = 1)")
	for _, db := range []*sql.DB{from, to} {
		n, cerr := testdb.Leftovers(ctx, db)
		err = errors.Join(err, cerr)
		if n > 0 {
			left = append(left, fmt.Sprintf("%d undo rows, headers and prepared branches", n))
		}
	}
	return left, err
}
