package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/undo"
)

var _ undo.Doctor = Dialect{}

// longLockWait, in seconds, is how long a global transaction lives by default: a
// statement that waits longer for a row has waited in vain.
const longLockWait = 30

// Numbers that are no answer about privileges.
const (
	errNoDefault  = 1364 // EXPLAIN INSERT on MariaDB, after they have been checked
	errOption     = 1290 // read_only is on: has its own finding
	errReadOnlyTx = 1792 // the same for the session
	errReadOnly   = 1836 // the same for InnoDB
)

// Diagnose reads variables of the session and asks the server, without running
// anything, whether the tables of this module can be made and written: EXPLAIN and
// PREPARE check the privileges of the statement that they do not run.
func (d Dialect) Diagnose(ctx context.Context, q undo.Query) ([]undo.Finding, error) {
	vars, err := variables(ctx, q)
	if err != nil {
		return nil, err
	}
	version, since := "MySQL "+vars["version"], strconv.Itoa(minMySQL)
	if strings.Contains(vars["version"], "MariaDB") {
		version, since = vars["version"], strconv.Itoa(minMariaDB)+".6"
	}
	out := []undo.Finding{{Name: "server", Level: undo.Info, Value: version, Reason: "supported from " + since}}
	for _, name := range []string{"sql_mode", "character_set_connection", "transaction_isolation"} {
		out = append(out, undo.Finding{Name: name, Level: undo.Info, Value: vars[name]})
	}
	out = append(out, readOnly(vars), lockWait(vars["innodb_lock_wait_timeout"]), undo.Finding{
		Name: "max_allowed_packet", Level: undo.Info, Value: vars["max_allowed_packet"] + " bytes",
		Reason: "a row whose image is wider cannot be captured",
	})
	prepare, err := prepareFinding(ctx, q)
	if err != nil {
		return nil, err
	}
	out = append(out, prepare)
	schema, err := q(ctx, "SELECT DATABASE()")
	if err != nil {
		return nil, fmt.Errorf("read current database: %w", err)
	}
	if len(schema) != 1 || schema[0][0] == "" {
		return append(out, undo.Finding{Name: "database", Level: undo.Fail, Reason: "no database is selected", Hint: "name it in the DSN"}), nil
	}
	if out, err = d.visible(ctx, q, out, schema[0][0]); err != nil {
		return nil, err
	}
	own, err := d.own(ctx, q)
	if err != nil {
		return nil, err
	}
	return append(out, own.Judge(d)...), nil
}

// variables reads those that exist on either server. An older name stands for a
// newer one.
func variables(ctx context.Context, q undo.Query) (map[string]string, error) {
	rows, err := q(ctx, "SHOW VARIABLES WHERE Variable_name IN ('version', 'sql_mode', 'character_set_connection', 'transaction_isolation', 'tx_isolation',"+
		" 'max_allowed_packet', 'innodb_lock_wait_timeout', 'read_only', 'super_read_only', 'innodb_read_only', 'transaction_read_only', 'tx_read_only')")
	if err != nil {
		return nil, fmt.Errorf("read variables: %w", err)
	}
	vars := map[string]string{}
	for _, r := range rows {
		vars[r[0]] = r[1]
	}
	for older, newer := range map[string]string{"tx_isolation": "transaction_isolation", "tx_read_only": "transaction_read_only"} {
		if _, ok := vars[newer]; !ok {
			vars[newer] = vars[older]
		}
	}
	return vars, nil
}

// readOnly is about rule A2: phase two runs on the primary only.
func readOnly(vars map[string]string) undo.Finding {
	f := undo.Finding{Name: "read_only", Level: undo.Info, Value: "OFF"}
	for _, name := range []string{"read_only", "super_read_only", "innodb_read_only", "transaction_read_only"} {
		if vars[name] == "ON" {
			f.Level, f.Value = undo.Fail, "ON"
			f.Reason, f.Hint = name+" is on: a replica, or a session that may not write", "connect to the primary"
		}
	}
	return f
}

func lockWait(seconds string) undo.Finding {
	f := undo.Finding{Name: "innodb_lock_wait_timeout", Level: undo.Info, Value: seconds + " s"}
	if n, err := strconv.Atoi(seconds); err == nil && n >= longLockWait {
		f.Level = undo.Warn
		f.Reason = fmt.Sprintf("a global transaction is aborted after %d s by default, so a longer wait is in vain", longLockWait)
		f.Hint = "add innodb_lock_wait_timeout=5 to the DSN"
	}
	return f
}

// visible fails where the catalogue hides triggers from this user: what is not
// seen is not refused, so no table is known to be protected.
func (Dialect) visible(ctx context.Context, q undo.Query, out []undo.Finding, schema string) ([]undo.Finding, error) {
	sees, err := seesAll(ctx, q, schema)
	if err != nil || sees {
		return out, err
	}
	return append(out, undo.Finding{
		Name: "triggers", Level: undo.Fail, Value: "hidden",
		Reason: "this user lacks TRIGGER on the database, so triggers and foreign keys can be hidden from it: the driver refuses all tables",
		Hint:   "GRANT TRIGGER ON " + ident(schema) + ".* TO the user",
	}), nil
}

// own looks at the tables of this module.
func (d Dialect) own(ctx context.Context, q undo.Query) (undo.OwnState, error) {
	s := undo.OwnState{Columns: map[string][]string{}, Lacks: map[string][]string{}}
	rows, err := q(ctx, `SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS
	WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'gtx\_%' ORDER BY ORDINAL_POSITION`)
	if err != nil {
		return s, fmt.Errorf("read columns of the tables of globaltx: %w", err)
	}
	for _, r := range rows {
		s.Columns[r[0]] = append(s.Columns[r[0]], r[1])
	}
	for _, ddl := range d.Schema() {
		may, err := d.may(ctx, q, "PREPARE gtx_doctor FROM "+quoted(ddl))
		if err != nil {
			return s, fmt.Errorf("ask for the privilege to create tables: %w", err)
		}
		if !may {
			s.Create = "this user may not create them"
		}
	}
	for _, t := range undo.OwnTables(d) {
		have := s.Columns[t.Name]
		if len(have) == 0 {
			continue
		}
		empty := false
		if t.Name == "gtx_resource" {
			found, err := q(ctx, "SELECT 1 FROM gtx_resource LIMIT 1")
			if err != nil && d.Classify(err) != undo.Denied {
				return s, fmt.Errorf("read gtx_resource: %w", err)
			}
			empty = err == nil && len(found) == 0
		}
		for _, privilege := range undo.Needs(t.Name, empty) {
			may, err := d.may(ctx, q, dryRun(privilege, ident(t.Name), have))
			if err != nil {
				return s, fmt.Errorf("ask for privilege %s on %s: %w", privilege, t.Name, err)
			}
			if !may {
				s.Lacks[t.Name] = append(s.Lacks[t.Name], privilege)
			}
		}
	}
	return s, nil
}

// quoted is a string literal in any sql_mode: it holds no backslash.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// dryRun is a statement that needs a privilege on columns, and does not run.
func dryRun(privilege, table string, columns []string) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = ident(c)
	}
	switch privilege {
	case "SELECT":
		return "EXPLAIN SELECT " + strings.Join(names, ", ") + " FROM " + table + " WHERE FALSE"
	case "INSERT":
		return "EXPLAIN INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") SELECT NULL" +
			strings.Repeat(", NULL", len(names)-1) + " FROM DUAL WHERE FALSE"
	case "UPDATE":
		return "EXPLAIN UPDATE " + table + " SET " + strings.Join(names, " = NULL, ") + " = NULL WHERE FALSE"
	}
	return "EXPLAIN DELETE FROM " + table + " WHERE FALSE"
}

// may asks the server whether it would run a statement, as far as privileges go.
func (d Dialect) may(ctx context.Context, q undo.Query, text string) (bool, error) {
	_, err := q(ctx, text)
	var my *mysql.MySQLError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &my) && slices.Contains([]uint16{errNoDefault, errOption, errReadOnlyTx, errReadOnly}, my.Number):
		return true, nil
	case d.Classify(err) == undo.Denied:
		return false, nil
	}
	return false, err
}
