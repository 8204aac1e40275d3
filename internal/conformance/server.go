package conformance

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/go-sql-driver/mysql"
	_ "github.com/lib/pq" // the servers are prepared with it
)

// servers has the variable of each server: the DSN of a user who may do everything, as
// testservers sets it.
var servers = map[string]struct{ env, driver string }{
	"mysql":      {"GTX_TEST_MYSQL", "mysql"},
	"mariadb":    {"GTX_TEST_MARIADB", "mysql"},
	"postgres15": {"GTX_TEST_POSTGRES", "postgres"},
	"postgres18": {"GTX_TEST_POSTGRES18", "postgres"},
}

// newDatabase makes an empty database. drop removes it, and what is connected to it.
func newDatabase(ctx context.Context, server string) (d Database, drop func(context.Context) error, err error) {
	s, ok := servers[server]
	if !ok {
		return d, nil, fmt.Errorf("unknown server %q", server)
	}
	admin := os.Getenv(s.env)
	if admin == "" {
		return d, nil, fmt.Errorf("%s names no server: run this below testservers", s.env)
	}
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails, by its documentation
	d = Database{Server: server, Name: "conformance_" + hex.EncodeToString(id[:])}
	if err := d.locate(s.driver, admin); err != nil {
		return d, nil, fmt.Errorf("read %s: %w", s.env, err)
	}
	if err := execute(ctx, s.driver, admin, "CREATE DATABASE "+d.Name); err != nil {
		return d, nil, fmt.Errorf("create database: %w", err)
	}
	stmt := "DROP DATABASE " + d.Name
	if s.driver == "postgres" {
		stmt += " WITH (FORCE)"
	}
	return d, func(ctx context.Context) error { return execute(ctx, s.driver, admin, stmt) }, nil
}

// locate fills what the administrator's DSN tells.
func (d *Database) locate(driver, admin string) error {
	if driver == "mysql" {
		cfg, err := mysql.ParseDSN(admin)
		if err != nil {
			return err
		}
		cfg.DBName = d.Name
		d.DSN, d.User, d.Pass, d.Addr = cfg.FormatDSN(), cfg.User, cfg.Passwd, cfg.Addr
		return nil
	}
	u, err := url.Parse(admin)
	if err != nil || u.User == nil {
		return errors.New("not a URL with a user")
	}
	u.Path = "/" + d.Name
	d.DSN, d.User, d.Addr = u.String(), u.User.Username(), u.Host
	d.Pass, _ = u.User.Password()
	return nil
}

func execute(ctx context.Context, driver, dsn string, stmts ...string) (err error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, s := range stmts {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}
