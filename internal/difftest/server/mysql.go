package server

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

const (
	// mysqlConns is how many connections prepare side by side.
	mysqlConns = 4
	// answerTime bounds one PREPARE. MySQL 9.7 has been seen to announce fewer
	// definitions than it counts, for a marker in a WITH that nobody reads; the
	// driver then waits for ever.
	answerTime = 15 * time.Second
	// mostLost is how many texts may end their connection.
	mostLost = 20
)

// MySQL is a server of the MySQL family that texts are prepared on.
type MySQL struct {
	db      *sql.DB
	conns   []*sql.Conn
	name    string
	dialect sqltext.Dialect
	mode    sqltext.Mode
	lost    atomic.Int32 // texts without an answer
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
	cfg.ReadTimeout = answerTime
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
	for range mysqlConns {
		conn, err := s.conn(ctx)
		if err != nil {
			return err
		}
		s.conns = append(s.conns, conn)
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

// conn opens a session of the mode.
func (s *MySQL) conn(ctx context.Context) (*sql.Conn, error) {
	mode := ""
	if s.mode.ANSIQuotes {
		mode += ",ANSI_QUOTES"
	}
	if s.mode.NoBackslashEscapes {
		mode += ",NO_BACKSLASH_ESCAPES"
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if _, err := conn.ExecContext(ctx, "SET SESSION sql_mode = concat(@@sql_mode, '"+mode+"')"); err != nil {
		return nil, errors.Join(fmt.Errorf("set sql_mode: %w", err), conn.Close())
	}
	return conn, nil
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
	for i := range s.conns {
		wg.Go(func() { failed[i] = s.prepareEach(ctx, i, texts, valid) })
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	return valid, nil
}

// prepareEach prepares every text of connection i. A text that gets no answer is
// not valid, and costs the connection.
func (s *MySQL) prepareEach(ctx context.Context, i int, texts []string, valid []bool) error {
	for at := i; at < len(texts); at += len(s.conns) {
		var cause error
		err := s.conns[i].Raw(func(dc any) error {
			preparer, ok := dc.(driver.ConnPrepareContext)
			if !ok {
				return fmt.Errorf("prepare: %T has no PrepareContext", dc)
			}
			for ; at < len(texts); at += len(s.conns) {
				if valid[at], cause = mysqlPrepares(ctx, preparer, texts[at]); cause != nil {
					return driver.ErrBadConn
				}
			}
			return nil
		})
		if err == nil {
			return nil
		}
		if cause == nil || ctx.Err() != nil || s.lost.Add(1) > mostLost {
			return fmt.Errorf("prepare %q: %w", texts[min(at, len(texts)-1)], errors.Join(err, cause))
		}
		_ = s.conns[i].Close() // it is lost
		if s.conns[i], err = s.conn(ctx); err != nil {
			return err
		}
	}
	return nil
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
