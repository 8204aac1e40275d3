package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// errHeldInTable: some row of the table is held; whether it is one that the
// statement writes, capture finds out.
var errHeldInTable = errors.New("a row of the table is held")

// light runs a guarded statement of its own as the user wrote it, and looks for
// undo rows of its tables before COMMIT (rule W6). There are none most of the
// time: then none of its rows is held, for it has locked them, and whoever had
// them before has committed his undo rows with them, where this look sees them.
// Not done: nothing has happened, and capture must look row by row.
//
// The look must see what has committed until the locks were taken: on PostgreSQL
// at READ COMMITTED, on SQLite under its one write lock. MySQL is left out: what
// opens its read view depends on the statement.
func (b *branch) light(ctx context.Context, text string, args []driver.NamedValue, rows bool, r *Capture) (out *Captured, done bool, err error) {
	name := b.c.res.Dialect.Name()
	if name != "postgres" && name != "sqlite" {
		return nil, false, nil
	}
	if err := b.begin(ctx); err != nil {
		return nil, true, b.undone(err)
	}
	out, err = b.c.runBase(ctx, &part{text: text, args: args}, rows)
	switch {
	case errors.Is(err, driver.ErrSkip), b.c.res.Dialect.Classify(err) == undo.Conflict:
		b.abandon(err)
		b.renew()
		return nil, false, nil
	case err != nil:
		return nil, true, b.undone(err)
	}
	if rows {
		set, err := DrainRows(out.Rows)
		if err != nil {
			return nil, true, b.undone(err)
		}
		out.Rows = set
	}
	if name == "postgres" {
		err = b.commitUnheld(ctx, r)
	} else if err = b.unheld(ctx, r); err == nil {
		err = b.exec(ctx, "COMMIT")
	}
	switch {
	case errors.Is(err, errHeldInTable):
		b.abandon(err)
		b.renew()
		return nil, false, nil
	case errors.Is(err, driver.ErrBadConn): // not wrapped: database/sql would run it again
		return nil, true, b.undone(fmt.Errorf("commit local transaction: it is not known whether it happened: %v", err)) //nolint:errorlint // see above
	case err != nil:
		return nil, true, b.undone(err)
	}
	b.end()
	return out, true, nil
}

// heldIn gives a query for a holder in each table that r writes.
func (b *branch) heldIn(r *Capture) []string {
	var out []string
	for _, list := range [][]*undo.Table{r.Tables, r.Members} {
		for _, t := range list {
			if t != nil {
				out = append(out, b.c.res.Dialect.HeldIn(t.ID, gtx.XID{}, nil))
			}
		}
	}
	return out
}

func (b *branch) unheld(ctx context.Context, r *Capture) error {
	for _, text := range b.heldIn(r) {
		lines, err := b.c.query(ctx, text)
		if err != nil {
			return fmt.Errorf("look for undo rows: %w", err)
		}
		if len(lines) > 0 {
			return errHeldInTable
		}
	}
	return nil
}

// commitUnheld looks and commits in one packet: a division by zero keeps the
// server from going on to COMMIT.
func (b *branch) commitUnheld(ctx context.Context, r *Capture) error {
	err := b.exec(ctx, "SELECT 1 / CASE WHEN pg_catalog.current_setting('transaction_isolation') <> 'read committed' OR EXISTS ("+
		strings.Join(b.heldIn(r), ") OR EXISTS (")+")"+renamed(r)+" THEN 0 ELSE 1 END; COMMIT")
	var state interface{ SQLState() string }
	if errors.As(err, &state) && state.SQLState() == "22012" {
		return errHeldInTable
	}
	return err
}

// renamed is the condition that a name in r does not mean the table that was looked
// up for it: names are remembered, while search_path and the tables along it
// change. Capture looks, too.
func renamed(r *Capture) string {
	var out strings.Builder
	add := func(name sqltext.Name, t *undo.Table) {
		quoted := doubled(name.Table, `"`)
		if name.Schema != "" {
			quoted = doubled(name.Schema, `"`) + "." + quoted
		}
		out.WriteString(" OR pg_catalog.to_regclass(" + doubled(quoted, "'") + ") IS DISTINCT FROM pg_catalog.to_regclass(" + doubled(t.ID, "'") + ")")
	}
	for i, t := range r.Tables {
		add(r.Stmt.Targets[i].Name, t)
	}
	for i, t := range r.Members {
		if t != nil {
			add(r.Stmt.CTEs[i].Write.Target().Name, t)
		}
	}
	return out.String()
}

// doubled puts text in quotes, for PostgreSQL.
func doubled(text, quote string) string {
	return quote + strings.ReplaceAll(text, quote, quote+quote) + quote
}
