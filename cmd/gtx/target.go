package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/mysql"
	"github.com/globaltx/globaltx/driver/pgsql"
	"github.com/globaltx/globaltx/driver/pgx"
	"github.com/globaltx/globaltx/driver/postgres"
	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/internal/bank"
	"github.com/globaltx/globaltx/undo"
)

const targetHelp = `A DSN begins with the kind of the database:
  mysql:USER:PASSWORD@tcp(HOST:3306)/DATABASE     as in go-sql-driver/mysql
  mariadb:USER:PASSWORD@tcp(HOST:3306)/DATABASE   the same
  postgres://USER:PASSWORD@HOST/DATABASE          as in lib/pq
  pgx:postgres://USER:PASSWORD@HOST/DATABASE      as in jackc/pgx, and through it
  sqlite:PATH                                     a file, made if it is missing
`

// target is a database named on the command line.
type target struct {
	text    string // what parseTarget has read
	driver  string // the base driver; "gtx-" before it is ours
	dsn     string // with gtx_ parameters
	plain   string // without
	show    string // without password
	base    driver.Opener
	dialect undo.Dialect
}

// parseTarget reads the form of targetHelp. Its errors show no password.
func parseTarget(text string) (target, error) {
	kind, rest, _ := strings.Cut(text, ":")
	switch kind {
	case "mysql", "mariadb":
		cfg, _, err := mysql.SplitDSN(rest)
		if err != nil {
			return target{}, err
		}
		return target{
			text: text, driver: "mysql", dsn: rest, plain: cfg.FormatDSN(), show: kind + ":" + mysql.Redact(rest),
			base: mysql.Open, dialect: mysql.Dialect{},
		}, nil
	case "postgres", "postgresql":
		plain, _, err := pgsql.SplitDSN(text)
		if err != nil {
			return target{}, err
		}
		return target{
			text: text, driver: "postgres", dsn: text, plain: plain, show: pgsql.Redact(text),
			base: postgres.Open, dialect: pgsql.Dialect{},
		}, nil
	case "pgx":
		plain, _, err := pgsql.SplitDSN(rest)
		if err != nil {
			return target{}, err
		}
		base, err := pgx.Open(rest) // connects to nothing
		if err != nil {
			return target{}, err
		}
		return target{
			text: text, driver: "pgx", dsn: rest, plain: plain, show: "pgx:" + pgsql.Redact(rest),
			base: pgx.Open, dialect: base.Dialect,
		}, nil
	case "sqlite":
		if rest == "" {
			return target{}, errors.New("sqlite: the path is missing")
		}
		plain, _, err := sqlite.SplitDSN(rest)
		if err != nil {
			return target{}, err
		}
		return target{
			text: text, driver: "sqlite", dsn: rest, plain: plain, show: text,
			base: sqlite.Open, dialect: sqlite.Dialect{},
		}, nil
	}
	return target{}, errors.New("the DSN does not begin with mysql:, mariadb:, postgres://, pgx: or sqlite:")
}

// fileTarget is a SQLite file with a write-ahead log, synchronous as by default.
func fileTarget(path string) (target, error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "_pragma=journal_mode(WAL)"}
	t, err := parseTarget("sqlite:" + u.String())
	t.show = "sqlite:" + path
	return t, err
}

// open opens the database for global transactions, or with the base driver, so
// that nothing is resolved behind the caller's back.
func (t target) open(global bool, conns int) (bank.Side, error) {
	name, dsn := t.driver, t.plain
	if global {
		name, dsn = "gtx-"+t.driver, t.dsn
	}
	db, err := sql.Open(name, dsn)
	if err != nil {
		return bank.Side{}, fmt.Errorf("open %s: %w", t.show, err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return bank.Side{DB: db, Dialect: t.dialect}, nil
}
