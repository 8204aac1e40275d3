package pgsql

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// savepoint runs SAVEPOINT, ROLLBACK TO or RELEASE. The header goes in front of
// the first savepoint, in the same packet, so that no ROLLBACK TO takes it away
// (rule T1). Undo rows need nothing: they come and go with their statements.
func (d Dialect) savepoint(ctx context.Context, c driver.Conn, r *proxy.Capture) (*proxy.Captured, error) {
	text := r.Stmt.Slice(r.Stmt.Span)
	ahead := r.Header && r.Stmt.Kind == sqltext.Savepoint
	if ahead {
		head := header("_gtx_", literals(r))
		if len(r.Args) == 0 {
			text = head + ";\n" + text
		} else if err := exec(ctx, c, head, nil); err != nil {
			return nil, fmt.Errorf("write branch header: %w", err)
		}
	}
	if err := exec(ctx, c, text, r.Args); err != nil {
		r.Kept = d.users(err) // a header in this text is gone with it
		return nil, err
	}
	if r.Header && !ahead {
		return nil, fmt.Errorf("%s: the savepoint was made behind this driver's back, before the header of the branch", text)
	}
	got := &proxy.Captured{}
	_, got.LastInsertErr = driver.RowsAffected(0).LastInsertId()
	if r.WantRows {
		got.Rows = &proxy.Buffer{}
	}
	return got, nil
}

func exec(ctx context.Context, c driver.Conn, text string, args []driver.NamedValue) error {
	e, ok := c.(driver.ExecerContext)
	if !ok {
		return fmt.Errorf("execute through %T: not a driver.ExecerContext", c)
	}
	_, err := e.ExecContext(ctx, text, args)
	return err
}
