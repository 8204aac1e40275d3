package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// ownSavepoint stands behind the header and before every capture. Setting it
// again moves it, so that there is one at most; one of the user's that is older
// takes it along when it is rolled back to.
const ownSavepoint = "gtx_s"

// stillOpen fails where no local transaction is open: there a savepoint ends with
// its statement. The server rolls back by itself, after a deadlock or, as it may be
// configured, a lock wait timeout; what came next would commit by itself.
const stillOpen = "SAVEPOINT gtx_c; RELEASE SAVEPOINT gtx_c"

// rolledBack tells that stillOpen has failed.
func rolledBack(err error) bool {
	var my *mysql.MySQLError
	return errors.As(err, &my) && my.Number == errNoSavepoint && strings.Contains(my.Message, "gtx_c")
}

// savepoint runs SAVEPOINT, ROLLBACK TO and RELEASE. The undo rows follow without
// more, being rows of the same database, and the header stays, being older than
// every savepoint (rule T1).
func savepoint(ctx context.Context, c driver.Conn, r *proxy.Capture) (*proxy.Captured, error) {
	if strings.HasPrefix(strings.ToLower(r.Stmt.Savepoint), "gtx_") {
		return nil, unsupported("savepoint-name", "the savepoint "+r.Stmt.Savepoint+" begins with gtx_, which is reserved", "choose another name")
	}
	if len(r.Args) != 0 {
		return nil, unsupported("arguments", "a savepoint takes no arguments", "")
	}
	p := &packet{stmt: r.Stmt}
	begin(p, r)
	user := p.next()
	p.user(r.Stmt.Span)
	res, err := p.exec(ctx, c)
	if err != nil {
		var my *mysql.MySQLError
		// It is the last statement of the packet, and no other can fail like this.
		if r.Kept = errors.As(err, &my) && my.Number == errNoSavepoint && !rolledBack(err); r.Kept {
			r.Wrote = r.Header
			return nil, err
		}
		return nil, explain(err, &packetError{branch: r.Branch})
	}
	out := &proxy.Captured{RowsAffected: res.AllRowsAffected()[user], LastInsertID: res.AllLastInsertIds()[user]}
	if r.WantRows {
		out.Rows = noRows{}
	}
	return out, nil
}

// raced tells whether a writer beside the statement can make its counts disagree.
func raced(s *sqltext.Statement) bool {
	return s.Kind != sqltext.Insert || s.Or != sqltext.OrFail || s.Upserts != nil || s.Source == sqltext.SourceQuery
}

// failed gives the error of a packet, and goes back to before the user's
// statement where the server has kept the local transaction. What it says comes
// from the user's own statement then, or would have: the capture reads the same
// rows by the same condition.
func failed(ctx context.Context, c driver.Conn, r *proxy.Capture, err error) error {
	told := explain(err, &packetError{
		branch: r.Branch, table: r.Table.ID,
		raced: raced(r.Stmt),
	})
	var my *mysql.MySQLError
	if told != err || !errors.As(err, &my) || classOf(my.Number) == undo.Lost || classOf(my.Number) == undo.Conflict { //nolint:errorlint // unchanged, not like it
		return told
	}
	e, ok := c.(driver.ExecerContext)
	if !ok {
		return told
	}
	// Where the savepoint is not there, the packet failed before it, or the server
	// has rolled back everything.
	if _, back := e.ExecContext(ctx, "ROLLBACK TO SAVEPOINT "+ownSavepoint, nil); back != nil {
		if my.Number == errSyntax && r.Begin != "" && rolled(ctx, e) { // of the user's statement it comes behind the savepoint
			return fmt.Errorf("%w (%w)", unsupported("base-driver", "the base driver's connections take one statement in a packet",
				"open them with multiStatements=true&interpolateParams=true, see driver.Wrap"), err)
		}
		return fmt.Errorf("%w (rolled back: %w)", err, back)
	}
	r.Kept, r.Wrote = true, r.Header
	if my.Number == errSyntax {
		return ofUsersText(ctx, c, r.Stmt.Text, err)
	}
	return err
}

// ofUsersText gives an error of syntax as the server words it for the user's text: it
// shows the text from the error on, and counts its lines. To prepare a text runs
// nothing of it.
func ofUsersText(ctx context.Context, c driver.Conn, text string, err error) error {
	p, ok := c.(driver.ConnPrepareContext)
	if !ok {
		return err
	}
	stmt, told := p.PrepareContext(ctx, text)
	if told == nil {
		_ = stmt.Close() // where it fails the connection is broken, which its next use tells
		return err
	}
	var my *mysql.MySQLError
	if errors.As(told, &my) && my.Number == errSyntax {
		return told
	}
	return err
}

// rolled rolls the local transaction back, if there is one: what is refused has done
// nothing.
func rolled(ctx context.Context, e driver.ExecerContext) bool {
	_, err := e.ExecContext(ctx, "ROLLBACK", nil)
	return err == nil
}
