package server

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// SQLite is an empty database in memory that texts are prepared on.
type SQLite struct {
	db   *sql.DB
	conn *sql.Conn
	mode sqltext.Mode
}

var _ difftest.Server = (*SQLite)(nil)

// NewSQLite opens the database. Its Mode is what the build was compiled with.
func NewSQLite(ctx context.Context) (*SQLite, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, fmt.Errorf("open SQLite: %w", err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to SQLite: %w", err), db.Close())
	}
	s := &SQLite{db: db, conn: conn}
	row := conn.QueryRowContext(ctx, "SELECT count(*) FROM pragma_compile_options WHERE compile_options = 'ENABLE_UPDATE_DELETE_LIMIT'")
	if err := row.Scan(&s.mode.UpdateDeleteLimit); err != nil {
		return nil, errors.Join(fmt.Errorf("read compile options: %w", err), s.Close())
	}
	return s, nil
}

func (s *SQLite) Name() string { return "sqlite" }

func (s *SQLite) Dialect() sqltext.Dialect { return sqltext.SQLite }

func (s *SQLite) Mode() sqltext.Mode { return s.mode }

// Valid is Server.Valid.
func (s *SQLite) Valid(ctx context.Context, texts []string) (valid []bool, err error) {
	valid = make([]bool, len(texts))
	err = s.conn.Raw(func(dc any) error {
		preparer, ok := dc.(driver.ConnPrepareContext)
		if !ok {
			return fmt.Errorf("prepare on SQLite: %T has no PrepareContext", dc)
		}
		for i, text := range texts {
			if valid[i], err = prepares(ctx, preparer, text); err != nil {
				return err
			}
		}
		return nil
	})
	return valid, err
}

func prepares(ctx context.Context, c driver.ConnPrepareContext, text string) (bool, error) {
	if strings.ContainsRune(text, 0) || behindSemicolon(text) {
		return false, nil // SQLite stops there and never sees the rest
	}
	stmt, err := c.PrepareContext(ctx, text)
	if err == nil {
		return true, stmt.Close()
	}
	if e := (*sqlite.Error)(nil); !errors.As(err, &e) {
		return false, fmt.Errorf("prepare on SQLite: %w", err)
	}
	return !isSyntax(err.Error()), nil
}

// isSyntax tells the messages of SQLite's tokenizer and parser from those about
// names, which come once a statement is read to its end.
func isSyntax(message string) bool {
	return strings.Contains(message, ": syntax error") || strings.Contains(message, "unrecognized token: ") ||
		strings.Contains(message, "incomplete input") || strings.Contains(message, "parser stack overflow") ||
		strings.Contains(message, "Recursion limit")
}

// behindSemicolon tells whether anything but space, comments and semicolons
// stands behind the first semicolon.
func behindSemicolon(text string) bool {
	seen := false
	for i := 0; i < len(text); {
		end := i + 1
		switch c := text[i]; {
		case c == '\'' || c == '"' || c == '`':
			end = until(text, i+1, string(c))
		case c == '[':
			end = until(text, i+1, "]")
		case strings.HasPrefix(text[i:], "--"):
			i = until(text, i, "\n")
			continue
		case strings.HasPrefix(text[i:], "/*"):
			i = until(text, i+2, "*/")
			continue
		case c == ';':
			seen, i = true, end
			continue
		case strings.IndexByte(" \t\n\f\r\v", c) >= 0:
			i = end
			continue
		}
		if seen {
			return true
		}
		i = end
	}
	return false
}

// until gives the offset behind the next end at or after i.
func until(text string, i int, end string) int {
	if n := strings.Index(text[i:], end); n >= 0 {
		return i + n + len(end)
	}
	return len(text)
}

// Close is Server.Close.
func (s *SQLite) Close() error {
	return errors.Join(s.conn.Close(), s.db.Close())
}
