package testserver

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/lib/pq"
)

// adminTimeout bounds making and dropping a database.
const adminTimeout = 30 * time.Second

func fresh(t testing.TB, k kind, admin string) Database {
	t.Helper()
	name := databaseName(t.Name())
	dsn, err := create(k, admin, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		drop := dropMySQL
		if k.dialect == "postgres" {
			drop = func(admin, name string) error { return dropPostgres(admin, dsn, name) }
		}
		if err := drop(admin, name); err != nil {
			t.Errorf("drop database %s on %s: %v", name, k.title, err)
		}
	})
	return Database{Server: k.name, Dialect: k.dialect, DSN: dsn}
}

// create makes a database and gives its DSN.
func create(k kind, admin, name string) (string, error) {
	dsn, err := withDatabase(k.dialect, admin, name)
	if err != nil {
		return "", fmt.Errorf("read the DSN of %s (%s): %w", k.title, k.env, err)
	}
	if err := withConn(k.dialect, admin, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, "CREATE DATABASE "+name)
		return err
	}); err != nil {
		return "", fmt.Errorf("create database on %s: %w", k.title, err)
	}
	return dsn, nil
}

// databaseName is unique, tells the test, and needs no quotes in any dialect.
func databaseName(test string) string {
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails, by its documentation
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(test))
	return "gtx_" + safe[:min(len(safe), 40)] + "_" + hex.EncodeToString(id[:])
}

// withDatabase puts the database into an admin DSN.
func withDatabase(dialect, admin, database string) (string, error) {
	if dialect == "mysql" {
		cfg, err := mysql.ParseDSN(admin)
		if err != nil {
			return "", err
		}
		cfg.DBName = database
		return cfg.FormatDSN(), nil
	}
	u, err := url.Parse(admin)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", errors.New("not a postgres:// URL")
	}
	u.Path = "/" + database
	return u.String(), nil
}

// withConn runs fn on one new connection of the base driver, which has the
// dialect's name.
func withConn(dialect, dsn string, fn func(context.Context, *sql.Conn) error) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	db, err := sql.Open(dialect, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return fn(ctx, c)
}

// dropMySQL cuts the database's connections first: an open transaction would
// make DROP wait for its metadata lock.
func dropMySQL(admin, name string) error {
	return withConn("mysql", admin, func(ctx context.Context, c *sql.Conn) error {
		const unconvertible = 3854 // a statement of somebody else, at this moment, holds bytes that are no text
		var ids []string
		var err error
		for range 100 {
			ids, err = strs(ctx, c, "SELECT id FROM information_schema.processlist WHERE db = '"+name+"'")
			var odd *mysql.MySQLError
			if !errors.As(err, &odd) || odd.Number != unconvertible {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("list connections: %w", err)
		}
		for _, id := range ids {
			var gone *mysql.MySQLError
			if _, err := c.ExecContext(ctx, "KILL "+id); err != nil && (!errors.As(err, &gone) || gone.Number != 1094) {
				return fmt.Errorf("cut connection %s: %w", id, err)
			}
		}
		if _, err := c.ExecContext(ctx, "SET SESSION lock_wait_timeout = 10"); err != nil {
			return err
		}
		_, err = c.ExecContext(ctx, "DROP DATABASE "+name)
		return err
	})
}

// dropPostgres rolls prepared transactions back first: FORCE does not end them.
func dropPostgres(admin, dsn, name string) error {
	if err := withConn("postgres", dsn, func(ctx context.Context, c *sql.Conn) error {
		gids, err := strs(ctx, c, "SELECT quote_literal(gid) FROM pg_prepared_xacts WHERE database = current_database()")
		for _, gid := range gids {
			if _, e := c.ExecContext(ctx, "ROLLBACK PREPARED "+gid); e != nil {
				err = errors.Join(err, fmt.Errorf("roll back prepared transaction %s: %w", gid, e))
			}
		}
		return err
	}); err != nil {
		return err
	}
	return withConn("postgres", admin, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		return err
	})
}

// strs reads the first column of a query.
func strs(ctx context.Context, c *sql.Conn, query string) (out []string, err error) {
	rows, err := c.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}
