package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

var _ proxy.Dialect = Dialect{}

// Oldest servers whose SQL Capture is written for.
const (
	minMySQL   = 8
	minMariaDB = 10
)

// Dialect speaks MySQL 8 and newer and MariaDB 10.6 and newer over
// go-sql-driver/mysql, for phase one and two. The zero value is ready; it holds
// no state and is safe for concurrent use. Connections handed to Capture must
// have been opened with MultiStatements and InterpolateParams.
type Dialect struct{}

// Name is "mysql", for both servers.
func (Dialect) Name() string { return "mysql" }

// Placeholder is a question mark.
func (Dialect) Placeholder(int) string { return "?" }

// LazyBegin is true: a packet carries several statements.
func (Dialect) LazyBegin() bool { return true }

// Commit first makes sure that there is something to commit.
func (Dialect) Commit() string { return stillOpen + "; COMMIT" }

// Begin gives at most two statements, separated by a semicolon.
func (Dialect) Begin(opts driver.TxOptions) (string, error) {
	const (
		readUncommitted = 1 // the numbers of sql.IsolationLevel
		readCommitted   = 2
		repeatableRead  = 4
		serializable    = 6
	)
	begin := "START TRANSACTION"
	if opts.ReadOnly {
		begin += " READ ONLY"
	}
	switch opts.Isolation {
	case 0:
		return begin, nil
	case readUncommitted:
		return "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; " + begin, nil
	case readCommitted:
		return "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; " + begin, nil
	case repeatableRead:
		return "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; " + begin, nil
	case serializable:
		return "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; " + begin, nil
	}
	return "", fmt.Errorf("begin mysql transaction: isolation level %d is not supported", opts.Isolation)
}

// Session gives the statements that make values restore exactly: no time zone
// between, and a mode that accepts whatever a row can hold (zero and impossible
// dates, an auto_increment of 0, the error value of ENUM). The mode is not
// strict, so a restored row must be compared with its image (IsBefore). Lock
// waits are bounded (rule P7). Guards let the connection write.
func (Dialect) Session() []string {
	return []string{
		"SET NAMES utf8mb4",
		"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE", // rules T6, A2
		"SET SESSION time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', " +
			"sql_safe_updates = 0, innodb_lock_wait_timeout = 10",
		guardAll,
	}
}

// Inspect reads the modes of the session in one round trip.
func (Dialect) Inspect(ctx context.Context, c driver.Conn) (sqltext.Dialect, sqltext.Mode, error) {
	row, err := firstRow(ctx, c, "SELECT @@version, @@sql_mode, @@character_set_client, @@character_set_connection, @@character_set_results")
	if err != nil {
		return 0, sqltext.Mode{}, fmt.Errorf("inspect session: %w", err)
	}
	d, err := flavour(row[0])
	if err != nil {
		return 0, sqltext.Mode{}, err
	}
	modes := map[string]bool{}
	for m := range strings.SplitSeq(row[1], ",") {
		modes[m] = true
	}
	switch {
	case !modes["STRICT_TRANS_TABLES"] && !modes["STRICT_ALL_TABLES"]:
		return 0, sqltext.Mode{}, &gtx.UnsupportedError{
			Code: "non-strict", Reason: "sql_mode is not strict, so the server may store another value or image than the one given",
			Hint: "add STRICT_TRANS_TABLES to sql_mode",
		}
	case modes["ORACLE"], modes["PAD_CHAR_TO_FULL_LENGTH"]:
		return 0, sqltext.Mode{}, &gtx.UnsupportedError{
			Code: "sql-mode", Reason: "sql_mode holds ORACLE or PAD_CHAR_TO_FULL_LENGTH, so texts or values read differently",
			Hint: "remove it from sql_mode",
		}
	case !utf8(row[2]) || !utf8(row[3]) || !utf8(row[4]) && row[4] != "": // NULL: results come as they are
		return 0, sqltext.Mode{}, &gtx.UnsupportedError{
			Code: "charset", Reason: fmt.Sprintf("the connection speaks %s, %s and %s", row[2], row[3], row[4]),
			Hint: "use utf8mb4",
		}
	}
	return d, sqltext.Mode{ANSIQuotes: modes["ANSI_QUOTES"], NoBackslashEscapes: modes["NO_BACKSLASH_ESCAPES"]}, nil
}

func utf8(charset string) bool { return charset == "utf8mb4" || charset == "utf8mb3" }

// flavour reads @@version, such as 9.7.4 or 10.11.19-MariaDB.
func flavour(version string) (sqltext.Dialect, error) {
	d, low := sqltext.MySQL, minMySQL
	if strings.Contains(version, "MariaDB") {
		d, low = sqltext.MariaDB, minMariaDB
	}
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	major, err := strconv.Atoi(first)
	minor, _ := strconv.Atoi(second)
	if err != nil || major < low || d == sqltext.MariaDB && major == low && minor < 6 {
		return 0, &gtx.UnsupportedError{
			Code: "server-version", Reason: "the server is version " + version, Hint: "use MySQL 8 or MariaDB 10.6, or newer",
		}
	}
	return d, nil
}

// firstRow runs a query without arguments and gives its first row as text.
func firstRow(ctx context.Context, c driver.Conn, query string) ([]string, error) {
	q, ok := c.(driver.QueryerContext)
	if !ok {
		return nil, fmt.Errorf("query through %T: not a driver.QueryerContext", c)
	}
	rows, err := q.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	dest := make([]driver.Value, len(rows.Columns()))
	err = rows.Next(dest)
	if cerr := rows.Close(); err == nil {
		err = cerr
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	out := make([]string, len(dest))
	for i, v := range dest {
		if b, ok := v.([]byte); ok {
			out[i] = string(b)
		}
	}
	return out, nil
}
