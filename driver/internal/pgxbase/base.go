// Package pgxbase is what the dialect of PostgreSQL has to know of jackc/pgx behind
// database/sql.
package pgxbase

import (
	"errors"
	"sync/atomic"

	sqldriver "database/sql/driver"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/globaltx/globaltx/driver/internal/pgbase"
	"github.com/globaltx/globaltx/gtx"
)

// Mode is the default pgx.QueryExecMode of the connections of one database. It is
// safe for concurrent use. Set it before the first connection is used.
type Mode struct{ mode atomic.Int32 }

// Set learns the mode. One whose cache has no room is what it can be without.
func (m *Mode) Set(cfg *pgx.ConnConfig) {
	mode := cfg.DefaultQueryExecMode
	if mode == pgx.QueryExecModeCacheStatement && cfg.StatementCacheCapacity <= 0 ||
		mode == pgx.QueryExecModeCacheDescribe && cfg.DescriptionCacheCapacity <= 0 {
		mode = pgx.QueryExecModeDescribeExec
	}
	m.mode.Store(int32(mode))
}

func (m *Mode) get() pgx.QueryExecMode { return pgx.QueryExecMode(m.mode.Load()) }

// Base tells the dialect of PostgreSQL what pgx is like.
func (m *Mode) Base() pgbase.Base {
	return pgbase.Base{Routine: routine, Lost: lost, Passing: m.passing, Keeping: m.keeping, Keeps: true, Unsent: unsent, Relocate: relocate, QueriesOne: true, Refuse: refuse}
}

// passing chooses a mode that caches nothing. DescribeExec encodes arguments and rows
// as the modes with a cache do; Exec saves its round trip where there are none.
func (m *Mode) passing(args []sqldriver.NamedValue, users, described bool) []sqldriver.NamedValue {
	mode := m.get()
	switch {
	case users && described:
		mode = pgx.QueryExecModeDescribeExec
	case mode == pgx.QueryExecModeSimpleProtocol, mode == pgx.QueryExecModeExec:
	case users:
		mode = pgx.QueryExecModeDescribeExec
	default:
		mode = pgx.QueryExecModeExec
	}
	out := make([]sqldriver.NamedValue, 0, len(args)+1)
	out = append(out, sqldriver.NamedValue{Ordinal: 1, Value: mode})
	return append(out, args...)
}

func (m *Mode) keeping(users bool) pgbase.Keeping {
	switch mode := m.get(); {
	case mode != pgx.QueryExecModeCacheStatement && mode != pgx.QueryExecModeCacheDescribe:
		return pgbase.Never
	case users:
		return pgbase.AtOnce
	}
	return pgbase.Again
}

func routine(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Routine
	}
	return ""
}

// lost: the timeout of an attempt to connect looks like that of a context.
func lost(err error) bool {
	var connect *pgconn.ConnectError
	return errors.Is(err, pgconn.ErrConnClosed) || errors.As(err, &connect)
}

// unsent tells of errors that pgx has found by itself, such as an argument that does
// not fit: at most a description of the statement has been asked for.
func unsent(c sqldriver.Conn, err error) bool {
	var server *pgconn.PgError
	conn := Conn(c)
	return conn != nil && !errors.As(err, &server) && !conn.IsClosed() && conn.PgConn().TxStatus() == 'T'
}

func relocate(err error, _ string, at func(position int) int) error {
	return pgbase.Replace(err, func(old *pgconn.PgError) *pgconn.PgError {
		fresh := *old
		if fresh.Position > 0 {
			fresh.Position = int32(at(int(fresh.Position))) // of a text of 1 MiB at most
		}
		return &fresh
	})
}

// refuse refuses first arguments that are no values, but for the mode of execution.
func refuse(args []sqldriver.NamedValue) error {
	for _, a := range args {
		switch a.Value.(type) {
		case pgx.QueryExecMode:
		case pgx.QueryRewriter:
			return &gtx.UnsupportedError{
				Code: "rewriter", Reason: "a pgx.QueryRewriter changes the text after it was understood", Hint: "write $1, $2, ... in the text",
			}
		case pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
			return &gtx.UnsupportedError{Code: "result-formats", Reason: "formats are given for the columns of a result that has more of them", Hint: "leave them out"}
		default:
			return nil
		}
	}
	return nil
}

// Conn gives the connection of pgx, also behind wrappers that have the method Raw,
// as those of otelsql do; nil where there is none.
func Conn(c sqldriver.Conn) *pgx.Conn {
	for {
		switch v := c.(type) {
		case interface{ Conn() *pgx.Conn }:
			return v.Conn()
		case interface{ Raw() sqldriver.Conn }:
			c = v.Raw()
		default:
			return nil
		}
	}
}

var _ interface{ Conn() *pgx.Conn } = (*stdlib.Conn)(nil)
