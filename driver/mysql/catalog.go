package mysql

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// Resolve gives the ID `schema`.`table` as the catalogue spells it. The target
// must be in the session's own schema: the locks are in its gtx_undo, and a
// table with locks in two places would have none.
func (Dialect) Resolve(ctx context.Context, q undo.Query, target sqltext.Name) (string, error) {
	rows, err := q(ctx, "SELECT DATABASE(), @@lower_case_table_names, TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE"+
		" FROM (SELECT 1) AS one LEFT JOIN information_schema.TABLES"+
		" ON TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?", target.Table)
	if err != nil {
		return "", fmt.Errorf("resolve table %s: %w", target.Table, err)
	}
	if len(rows) == 0 || len(rows[0]) != 5 || rows[0][0] == "" {
		return "", unsupported("no-schema", "no database is selected", "name it in the DSN")
	}
	fold := rows[0][1] != "0"
	if s := target.Schema; s != "" && s != rows[0][0] && (!fold || !strings.EqualFold(s, rows[0][0])) {
		return "", unsupported("other-schema", fmt.Sprintf("%s.%s is not in the database %s of the connection, whose undo log would be used",
			s, target.Table, rows[0][0]), "open "+s+" as a database of its own")
	}
	for _, r := range rows {
		if r[3] == target.Table || fold && strings.EqualFold(r[3], target.Table) {
			id := ident(r[2]) + "." + ident(r[3])
			if strings.Contains(r[4], "VIEW") {
				return id, nil
			}
			return id, notTemporary(ctx, q, id)
		}
	}
	return "", unsupported("no-table", "table "+target.Table+" is not in the catalogue (a temporary table never is)", "")
}

// notTemporary refuses a name that means a temporary table on this connection: it
// hides the table of the catalogue, and phase two would look there.
func notTemporary(ctx context.Context, q undo.Query, id string) error {
	rows, err := q(ctx, "SHOW CREATE TABLE "+id)
	if err != nil {
		return fmt.Errorf("look whether %s is a temporary table: %w", id, err)
	}
	if len(rows) == 1 && len(rows[0]) > 1 && strings.HasPrefix(rows[0][1], "CREATE TEMPORARY ") {
		return unsupported("temporary-table", id+" is a temporary table on this connection, whose rows no other connection can restore", "write to it outside, or give it another name")
	}
	return nil
}

func unsupported(code, reason, hint string) error {
	return &gtx.UnsupportedError{Code: code, Reason: reason, Hint: hint}
}

// splitID reads what Resolve wrote.
func splitID(id string) (schema, table string, err error) {
	var parts []string
	for rest := id; ; {
		if rest == "" || rest[0] != '`' {
			return "", "", fmt.Errorf("read table id %q: not in the form `schema`.`table`", id)
		}
		rest = rest[1:]
		var name strings.Builder
		for {
			i := strings.IndexByte(rest, '`')
			if i < 0 {
				return "", "", fmt.Errorf("read table id %q: a name does not end", id)
			}
			name.WriteString(rest[:i])
			rest = rest[i+1:]
			if !strings.HasPrefix(rest, "`") {
				break
			}
			name.WriteByte('`')
			rest = rest[1:]
		}
		parts = append(parts, name.String())
		if rest == "" {
			break
		}
		if rest[0] != '.' {
			return "", "", fmt.Errorf("read table id %q: not in the form `schema`.`table`", id)
		}
		rest = rest[1:]
	}
	if len(parts) != 2 {
		return "", "", fmt.Errorf("read table id %q: %d parts", id, len(parts))
	}
	return parts[0], parts[1], nil
}

// Table reads the catalogue, and refuses a user from whom it may hide something.
func (Dialect) Table(ctx context.Context, q undo.Query, id string) (*undo.Table, error) {
	t, guards, err := readTable(ctx, q, id)
	if err != nil {
		return nil, err
	}
	if guards {
		schema, name, err := splitID(id)
		if err != nil {
			return nil, err
		}
		if err := guarded(ctx, q, t, schema, name); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// readTable also tells whether the table has triggers by the names of a guard,
// which it does not judge.
func readTable(ctx context.Context, q undo.Query, id string) (t *undo.Table, guards bool, err error) {
	schema, name, err := splitID(id)
	if err != nil {
		return nil, false, err
	}
	if guards, err = protectable(ctx, q, schema, name); err != nil {
		return nil, false, err
	}
	t = &undo.Table{ID: id, Name: id}
	if t.Columns, err = columns(ctx, q, schema, name); err != nil {
		return nil, false, err
	}
	if t.Key, err = primaryKey(ctx, q, schema, name, t.Columns); err != nil {
		return nil, false, err
	}
	t.Fingerprint = fingerprint(t)
	if t.Attr, err = uniqueKeys(ctx, q, schema, name, t.Columns); err != nil {
		return nil, false, err
	}
	return t, guards, nil
}

// protectable refuses tables whose rows change in ways that no capture sees, and
// tells whether there are triggers by the names of a guard.
func protectable(ctx context.Context, q undo.Query, schema, name string) (guards bool, err error) {
	if err := mustSee(ctx, q, schema, name); err != nil {
		return false, err
	}
	const cascades = "'CASCADE','SET NULL','SET DEFAULT'"
	rows, err := q(ctx, `SELECT TABLE_TYPE, ENGINE,
	(SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = ? AND EVENT_OBJECT_TABLE = ? AND LEFT(TRIGGER_NAME, 10) <> '`+guardPrefix+`'),
	(SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE UNIQUE_CONSTRAINT_SCHEMA = ?
		AND REFERENCED_TABLE_NAME = ? AND (UPDATE_RULE IN (`+cascades+`) OR DELETE_RULE IN (`+cascades+`))),
	(SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = ? AND EVENT_OBJECT_TABLE = ? AND LEFT(TRIGGER_NAME, 10) = '`+guardPrefix+`')
	FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?`,
		schema, name, schema, name, schema, name, schema, name)
	if err != nil {
		return false, fmt.Errorf("read catalogue of %s.%s: %w", schema, name, err)
	}
	if len(rows) != 1 {
		return false, unsupported("no-table", fmt.Sprintf("table %s.%s is not in the catalogue", schema, name), "")
	}
	switch r := rows[0]; {
	case strings.Contains(r[0], "VIEW"):
		return false, unsupported("view", name+" is a view", "write to its table")
	case r[0] != "BASE TABLE":
		return false, unsupported("table-type", name+" is a "+strings.ToLower(r[0])+", whose rows are kept otherwise than in a base table", "use a base table without it")
	case r[1] != "InnoDB":
		return false, unsupported("engine", fmt.Sprintf("table %s has the engine %s, which cannot roll back", name, r[1]), "ALTER TABLE ... ENGINE=InnoDB")
	case r[2] != "0":
		return false, unsupported("trigger", "table "+name+" has a trigger, which can write what is not captured", "move its work into the program")
	case r[3] != "0":
		return false, unsupported("cascade", "a foreign key refers to "+name+" with CASCADE or SET NULL, which writes rows that are not captured",
			"use RESTRICT and write those rows from the program")
	}
	return rows[0][4] != "0", nil
}

func columns(ctx context.Context, q undo.Query, schema, name string) ([]undo.Column, error) {
	rows, err := q(ctx, `SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, EXTRA, GENERATION_EXPRESSION
	FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION`, schema, name)
	if err != nil {
		return nil, fmt.Errorf("read columns of %s.%s: %w", schema, name, err)
	}
	cols := make([]undo.Column, 0, len(rows))
	for _, r := range rows {
		extra := strings.ToUpper(r[4])
		c := undo.Column{
			Name: r[0], Type: r[1],
			Generated: r[5] != "",
			Auto:      strings.Contains(extra, "AUTO_INCREMENT"),
			Attr:      attr{charset: r[2], collation: r[3], invisible: strings.Contains(extra, "INVISIBLE")}.String(),
		}
		if kindOf(&c) == kUnknown {
			return nil, unsupported("column-type", fmt.Sprintf("column %s of %s has the type %s, whose values are not known to restore exactly",
				c.Name, name, c.Type), "")
		}
		cols = append(cols, c)
	}
	return cols, nil
}

func primaryKey(ctx context.Context, q undo.Query, schema, name string, cols []undo.Column) ([]int, error) {
	rows, err := q(ctx, `SELECT COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
	WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX`, schema, name)
	if err != nil {
		return nil, fmt.Errorf("read primary key of %s.%s: %w", schema, name, err)
	}
	if len(rows) == 0 {
		return nil, unsupported("no-key", "table "+name+" has no primary key, so its rows cannot be told apart", "add one")
	}
	key := make([]int, 0, len(rows))
	for _, r := range rows {
		at := -1
		for i := range cols {
			if cols[i].Name == r[0] {
				at = i
			}
		}
		switch {
		case at < 0:
			return nil, unsupported("key-type", "the primary key of "+name+" is not made of columns", "")
		case r[1] != "":
			return nil, unsupported("key-prefix", fmt.Sprintf("the primary key of %s holds only the beginning of %s", name, r[0]), "")
		case cols[at].Generated, !keyTypes[baseType(&cols[at])]:
			return nil, unsupported("key-type", fmt.Sprintf("column %s (%s) cannot be the key of a protected row", r[0], cols[at].Type),
				"use a primary key of integers, strings, decimals or dates")
		}
		key = append(key, at)
	}
	return key, nil
}

// fingerprint covers everything on which reading an image depends, and where the key
// of a new row comes from, on which it depends that the image is the right row's.
func fingerprint(t *undo.Table) string {
	h := sha256.New()
	for _, c := range t.Columns {
		fmt.Fprintf(h, "%q %q %q %t %t\n", c.Name, c.Type, c.Attr, c.Generated, c.Auto)
	}
	for _, k := range t.Key {
		fmt.Fprintln(h, strconv.Itoa(k))
	}
	return hex.EncodeToString(h.Sum(nil))
}
