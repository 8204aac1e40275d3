package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

var _ undo.Guarder = Dialect{}

const (
	errBinlogCreate = 1419
	errNoTrigger    = 1360

	// guardWait bounds the wait for those who use the table, in seconds.
	guardWait = "10"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// InstallGuard creates the triggers one by one: the servers know no local
// transaction of DDL. Each of them alone is harmless.
func (d Dialect) InstallGuard(ctx context.Context, c *sql.Conn, id string) error {
	return inGuardSession(ctx, c, func() error {
		q := undo.QueryDB(c)
		schema, name, err := splitID(id)
		if err != nil {
			return err
		}
		t, _, err := readTable(ctx, q, id)
		if err != nil {
			return err
		}
		found, err := guardTriggers(ctx, q, schema, name)
		if err != nil {
			return err
		}
		state, _, err := judgeGuard(t, found[name])
		var refused *gtx.UnsupportedError
		switch {
		case state == undo.Guarded:
			return nil
		case errors.As(err, &refused) && refused.Code == undo.CodeGuardForeign:
			return err
		case state == undo.GuardStale:
			if err := dropGuard(ctx, c, schema, found[name]); err != nil {
				return err
			}
			found[name] = nil
		}
		if err := d.mayGuard(ctx, q); err != nil {
			return err
		}
		server, err := q(ctx, "SELECT @@version")
		if err != nil {
			return fmt.Errorf("read version: %w", err)
		}
		for _, e := range guardEvents {
			trigger := guardName(t.ID, e.letter)
			if slices.ContainsFunc(found[name], func(g guardTrigger) bool { return g.name == trigger }) {
				continue
			}
			text := "CREATE TRIGGER " + ident(schema) + "." + ident(trigger) + " AFTER " + e.event + " ON " + t.Name + " FOR EACH ROW " +
				guardBody(t, e.event, strings.Contains(server[0][0], "MariaDB"))
			if _, err := c.ExecContext(ctx, text); err != nil {
				return explainCreate(t.ID, err)
			}
		}
		// What the server keeps must be recognised: else no program could write.
		if found, err = guardTriggers(ctx, q, schema, name); err == nil {
			state, _, err = judgeGuard(t, found[name])
		}
		if err == nil && state != undo.Guarded {
			err = errors.New("this user does not see the triggers that it has created")
		}
		if err != nil {
			return errors.Join(fmt.Errorf("install guard of %s: %w", t.ID, err), dropGuard(ctx, c, schema, found[name]))
		}
		return nil
	})
}

func explainCreate(id string, err error) error {
	var my *mysql.MySQLError
	if errors.As(err, &my) && my.Number == errBinlogCreate {
		return fmt.Errorf("install guard of %s: the server has a binary log and lets only administrators create triggers: do it as one, or set log_bin_trust_function_creators: %w", id, err)
	}
	return fmt.Errorf("install guard of %s: %w", id, err)
}

// RemoveGuard drops the triggers.
func (d Dialect) RemoveGuard(ctx context.Context, c *sql.Conn, id string) error {
	return inGuardSession(ctx, c, func() error {
		schema, name, err := splitID(id)
		if err != nil {
			return err
		}
		found, err := guardTriggers(ctx, undo.QueryDB(c), schema, name)
		if err != nil {
			return err
		}
		return dropGuard(ctx, c, schema, found[name])
	})
}

// inGuardSession runs one installation at a time in a session whose modes are kept
// with the triggers, and gives the modes back.
func inGuardSession(ctx context.Context, c *sql.Conn, fn func() error) (err error) {
	const lock = "CONCAT('gtx_guard_',LEFT(SHA2(DATABASE(),256),40))"
	q := undo.QueryDB(c)
	was, err := q(ctx, "SELECT @@sql_mode, @@lock_wait_timeout")
	if err != nil {
		return fmt.Errorf("read modes of session: %w", err)
	}
	defer func() {
		back := context.WithoutCancel(ctx)
		_, rerr := c.ExecContext(back, "SET SESSION sql_mode="+quoted(was[0][0])+", lock_wait_timeout="+was[0][1])
		_, uerr := q(back, "SELECT RELEASE_LOCK("+lock+")")
		err = errors.Join(err, rerr, uerr)
	}()
	for _, text := range []string{"SET NAMES " + guardCharset, "SET SESSION sql_mode='" + guardMode + "', lock_wait_timeout=" + guardWait} {
		if _, err := c.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("set modes of session: %w", err)
		}
	}
	got, err := q(ctx, "SELECT GET_LOCK("+lock+","+guardWait+")")
	if err != nil {
		return fmt.Errorf("wait for other installations: %w", err)
	}
	if got[0][0] != "1" {
		return errors.New("wait for other installations: another one is running")
	}
	return fn()
}

// mayGuard asks for what the guard does with the rights of this user: without them
// nobody could write to the table any more.
func (d Dialect) mayGuard(ctx context.Context, q undo.Query) error {
	var columns []string
	for _, t := range undo.OwnTables(d) {
		if t.Name == "gtx_undo" {
			columns = t.Columns
		}
	}
	for _, privilege := range []string{"SELECT", "INSERT", "DELETE"} {
		may, err := d.may(ctx, q, dryRun(privilege, "gtx_undo", columns))
		if err != nil {
			if d.Classify(err) == undo.NoTable {
				return unsupported("no-table", "the tables of globaltx are not there", "run gtx migrate")
			}
			return fmt.Errorf("ask for privilege %s on gtx_undo: %w", privilege, err)
		}
		if !may {
			return unsupported("privilege", "the guard runs with the rights of who installs it, and this user lacks "+privilege+" on gtx_undo",
				"install it as a user who may write the tables of globaltx")
		}
	}
	return nil
}

// dropGuard drops triggers that are ours.
func dropGuard(ctx context.Context, c *sql.Conn, schema string, found []guardTrigger) error {
	for _, g := range found {
		if !strings.HasPrefix(g.body, guardHead) {
			return unsupported(undo.CodeGuardForeign, "the trigger "+g.name+" is not one of globaltx", "drop it by hand")
		}
	}
	for _, g := range found {
		_, err := c.ExecContext(ctx, "DROP TRIGGER "+ident(schema)+"."+ident(g.name))
		var my *mysql.MySQLError
		if err != nil && !(errors.As(err, &my) && my.Number == errNoTrigger) {
			return fmt.Errorf("remove trigger %s: %w", g.name, err)
		}
	}
	return nil
}
