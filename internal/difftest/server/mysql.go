package server

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// mysqlConns is how many connections prepare side by side.
const mysqlConns = 4

// MySQL is a server of the MySQL family that texts are prepared on.
type MySQL struct {
	db      *sql.DB
	conns   []*sql.Conn
	name    string
	dialect sqltext.Dialect
	mode    sqltext.Mode
}

var _ difftest.Server = (*MySQL)(nil)

// NewMySQL connects to the database, in sessions of that mode. d is MySQL or
// MariaDB and must be what the server is.
func NewMySQL(ctx context.Context, dsn string, d sqltext.Dialect, m sqltext.Mode) (*MySQL, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("read DSN: %w", err)
	}
	cfg.MultiStatements = false // one text, one statement
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("read DSN: %w", err)
	}
	s := &MySQL{db: sql.OpenDB(connector), dialect: d, mode: m}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *MySQL) connect(ctx context.Context) error {
	mode := ""
	if s.mode.ANSIQuotes {
		mode += ",ANSI_QUOTES"
	}
	if s.mode.NoBackslashEscapes {
		mode += ",NO_BACKSLASH_ESCAPES"
	}
	for range mysqlConns {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		s.conns = append(s.conns, conn)
		if _, err := conn.ExecContext(ctx, "SET SESSION sql_mode = concat(@@sql_mode, '"+mode+"')"); err != nil {
			return fmt.Errorf("set sql_mode: %w", err)
		}
	}
	var version string
	if err := s.conns[0].QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	if maria := strings.Contains(version, "MariaDB"); maria != (s.dialect == sqltext.MariaDB) {
		return fmt.Errorf("the server is %s, which is another dialect", version)
	}
	version, _, _ = strings.Cut(version, "-")
	s.name = map[bool]string{false: "mysql", true: "mariadb"}[s.dialect == sqltext.MariaDB] + " " + version
	return nil
}

// Name is Server.Name: the product and its version.
func (s *MySQL) Name() string { return s.name }

func (s *MySQL) Dialect() sqltext.Dialect { return s.dialect }

func (s *MySQL) Mode() sqltext.Mode { return s.mode }

// Valid is Server.Valid. A text with several statements is not valid here, ask
// for its parts.
func (s *MySQL) Valid(ctx context.Context, texts []string) ([]bool, error) {
	valid := make([]bool, len(texts))
	failed := make([]error, len(s.conns))
	var wg sync.WaitGroup
	for i, conn := range s.conns {
		wg.Go(func() {
			failed[i] = conn.Raw(func(dc any) error {
				preparer, ok := dc.(driver.ConnPrepareContext)
				if !ok {
					return fmt.Errorf("prepare: %T has no PrepareContext", dc)
				}
				for at := i; at < len(texts); at += len(s.conns) {
					var err error
					if valid[at], err = mysqlPrepares(ctx, preparer, texts[at]); err != nil {
						return fmt.Errorf("prepare %q: %w", texts[at], err)
					}
				}
				return nil
			})
		})
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	return valid, nil
}

// Close ends the connections. It may be called twice.
func (s *MySQL) Close() error {
	var errs []error
	for _, conn := range s.conns {
		if err := conn.Close(); err != nil && !errors.Is(err, sql.ErrConnDone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, s.db.Close())...)
}

func mysqlPrepares(ctx context.Context, preparer driver.ConnPrepareContext, text string) (bool, error) {
	stmt, err := preparer.PrepareContext(ctx, text)
	if err == nil {
		return true, stmt.Close()
	}
	var refused *mysql.MySQLError
	if !errors.As(err, &refused) {
		return false, err
	}
	return !neverValid[refused.Number], nil
}

// neverValid are the errors of the parser, and of names and forms that are wrong
// whatever the tables. MariaDB finds some of the latter while it parses, and then
// has not seen the rest of the text. Any other error was found behind the parser:
// the text itself is well formed. 1295, for a statement that cannot be prepared,
// is one of those.
var neverValid = map[uint16]bool{
	1059: true, // identifier too long
	1064: true, // syntax
	1065: true, // empty
	1066: true, // two tables of one name
	1102: true, // wrong database name
	1103: true, // wrong table name
	1109: true, // DELETE of a table that is not among the references
	1115: true, // unknown character set
	1149: true, // syntax
	1166: true, // wrong column name
	1193: true, // unknown system variable
	1221: true, // wrong usage of two clauses together
	1248: true, // derived table without alias
	1273: true, // unknown collation
	1327: true, // variable of a stored program, outside one
	1436: true, // too deep for the server's stack
	1582: true, // wrong number of arguments
	1583: true, // wrong arguments of a native function
	1584: true, // wrong arguments of a stored function
	4081: true, // unknown structured variable
}
