package pgsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

var _ undo.Guarder = Dialect{}

// InstallGuard runs in one local transaction, so that nobody sees half a guard.
func (d Dialect) InstallGuard(ctx context.Context, c *sql.Conn, id string) error {
	return inGuardTx(ctx, c, func(tx *sql.Tx) error {
		q := undo.QueryDB(tx)
		t, found, err := readTable(ctx, q, id)
		if err != nil {
			return err
		}
		state, _, err := undo.GuardState(""), "", error(nil)
		if found != "" {
			state, _, err = judgeGuard(t, found)
		}
		var refused *gtx.UnsupportedError
		switch {
		case state == undo.Guarded:
			return nil
		case errors.As(err, &refused) && refused.Code == undo.CodeGuardForeign:
			return err
		}
		if err := mayGuard(ctx, q); err != nil {
			return err
		}
		if err := dropGuard(ctx, tx, t.ID); err != nil {
			return err
		}
		ddl := []string{
			"CREATE OR REPLACE FUNCTION " + schemaName + "." + guardFunc(t.ID) + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS " +
				dollarQuoted(guardSource(t)),
			"REVOKE ALL ON FUNCTION " + schemaName + "." + guardFunc(t.ID) + "() FROM PUBLIC",
		}
		for _, g := range guardTriggers {
			ddl = append(ddl, "CREATE TRIGGER "+g.name+" "+fmt.Sprintf(g.event, t.Name)+" EXECUTE FUNCTION "+schemaName+"."+guardFunc(t.ID)+"()")
		}
		for _, text := range ddl {
			if _, err := tx.ExecContext(ctx, text); err != nil {
				return fmt.Errorf("install guard of %s: %w", t.ID, err)
			}
		}
		// What the server keeps must be recognised: else no program could write.
		_, found, err = readTable(ctx, q, t.ID)
		if err == nil {
			state, _, err = judgeGuard(t, found)
		}
		if err == nil && state != undo.Guarded {
			err = errors.New("the server gives back another definition than the one that it got")
		}
		if err != nil {
			return fmt.Errorf("install guard of %s: %w", t.ID, err)
		}
		return nil
	})
}

// RemoveGuard drops the triggers and their function.
func (d Dialect) RemoveGuard(ctx context.Context, c *sql.Conn, id string) error {
	return inGuardTx(ctx, c, func(tx *sql.Tx) error { return dropGuard(ctx, tx, id) })
}

// inGuardTx runs one installation at a time.
func inGuardTx(ctx context.Context, c *sql.Conn, fn func(tx *sql.Tx) error) error {
	tx, err := c.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return fmt.Errorf("begin installation of a guard: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit without effect
	for _, text := range []string{
		"SET LOCAL lock_timeout = '" + lockTimeout + "'", "SET LOCAL standard_conforming_strings = on",
		"SELECT pg_catalog.pg_advisory_xact_lock(" + schemaLock + ")",
	} {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("prepare installation of a guard: %w", err)
		}
	}
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit guard: %w", err)
	}
	return nil
}

// mayGuard asks for what the guard does with the rights of this user: without them
// nobody could write to the table any more.
func mayGuard(ctx context.Context, q undo.Query) error {
	rows, err := q(ctx, "SELECT pg_catalog.to_regclass('"+tableUndo+"') IS NOT NULL")
	if err != nil {
		return fmt.Errorf("look for %s: %w", tableUndo, err)
	}
	if len(rows) != 1 || !isTrue(rows[0][0]) {
		return &gtx.UnsupportedError{Code: "no-table", Reason: "the tables of globaltx are not there", Hint: "run gtx migrate"}
	}
	for _, privilege := range []string{"SELECT", "INSERT", "DELETE"} {
		rows, err := q(ctx, "SELECT pg_catalog.has_table_privilege('"+tableUndo+"', '"+privilege+"')")
		if err != nil {
			return fmt.Errorf("read privileges on %s: %w", tableUndo, err)
		}
		if len(rows) != 1 || !isTrue(rows[0][0]) {
			return &gtx.UnsupportedError{
				Code: "privilege", Reason: "the guard runs with the rights of who installs it, and this user lacks " + privilege + " on " + tableUndo,
				Hint: "install it as the owner of the tables of globaltx",
			}
		}
	}
	return nil
}

// dropGuard drops what is ours of the table with this ID, of whatever version.
func dropGuard(ctx context.Context, tx *sql.Tx, id string) error {
	rows, err := undo.QueryDB(tx)(ctx, "SELECT c.oid::pg_catalog.regclass::text, g.tgname, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname), p.prosrc"+
		" FROM pg_catalog.pg_trigger AS g JOIN pg_catalog.pg_class AS c ON c.oid = g.tgrelid JOIN pg_catalog.pg_proc AS p ON p.oid = g.tgfoid"+
		" JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace"+
		" WHERE c.oid = pg_catalog.to_regclass("+literal(id)+") AND NOT g.tgisinternal AND g.tgname IN ('"+guardRow+"', '"+guardTruncate+"')")
	if err != nil {
		return fmt.Errorf("read guard of %s: %w", id, err)
	}
	functions := map[string]bool{}
	var ddl []string
	for _, r := range rows {
		if !strings.HasPrefix(strings.TrimSpace(r[3]), guardHead) {
			return foreignGuard(id, r[1])
		}
		ddl = append(ddl, "DROP TRIGGER "+ident(r[1])+" ON "+r[0])
		functions[r[2]] = true
	}
	for f := range functions {
		ddl = append(ddl, "DROP FUNCTION "+f+"()")
	}
	for _, text := range ddl {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("remove guard of %s: %w", id, err)
		}
	}
	return nil
}

// dollarQuoted writes a text that may hold anything as a literal.
func dollarQuoted(text string) string {
	tag := "$gtx$"
	for strings.Contains(text, tag) {
		tag = tag[:len(tag)-1] + "x$"
	}
	return tag + text + tag
}
