package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// Resolve finds a table of the main database and gives its name as sqlite_schema
// spells it. Temporary and attached tables are other databases, without undo
// rows of their own.
func (Dialect) Resolve(ctx context.Context, q undo.Query, target sqltext.Name) (string, error) {
	if target.Schema != "" && !strings.EqualFold(target.Schema, "main") {
		return "", &gtx.UnsupportedError{
			Code:   "attached",
			Reason: fmt.Sprintf("table %s.%s is not in the main database", target.Schema, target.Table),
			Hint:   "open that file as a database of its own",
		}
	}
	if target.Schema == "" {
		rows, err := q(ctx, "SELECT name FROM temp.sqlite_schema WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE", target.Table)
		if err != nil {
			return "", fmt.Errorf("look up table %s: %w", target.Table, err)
		}
		if len(rows) > 0 {
			return "", &gtx.UnsupportedError{Code: "temporary", Reason: "table " + target.Table + " is temporary: it is gone when its connection closes"}
		}
	}
	rows, err := q(ctx, "SELECT name FROM main.sqlite_schema WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE", target.Table)
	if err != nil {
		return "", fmt.Errorf("look up table %s: %w", target.Table, err)
	}
	if len(rows) == 0 {
		return "", fmt.Errorf("look up table: no such table in the main database: %s", target.Table)
	}
	return rows[0][0], nil
}

// Table reads the catalogue of the main database.
func (Dialect) Table(ctx context.Context, q undo.Query, id string) (*undo.Table, error) {
	rows, err := q(ctx, "SELECT s.type, s.sql, l.type, l.wr FROM main.sqlite_schema AS s JOIN pragma_table_list AS l"+
		" ON l.schema = 'main' AND l.name = s.name WHERE s.name = ?1 AND s.type IN ('table', 'view')", id)
	if err != nil {
		return nil, fmt.Errorf("read catalogue of %s: %w", id, err)
	}
	if len(rows) == 0 {
		return nil, refuse("no-table", "the main database has no table %s", id)
	}
	kind, ddl, withoutRowid := rows[0][2], rows[0][1], rows[0][3]
	switch {
	case kind != "table":
		return nil, refuse(kind, "%s is a %s table or view: its rows are kept elsewhere", id, kind)
	case strings.HasPrefix(strings.ToLower(id), "sqlite_"):
		return nil, refuse("system-table", "%s belongs to SQLite", id)
	case replacesOnConflict(ddl):
		return nil, refuse("on-conflict", "a constraint of table %s says ON CONFLICT REPLACE or IGNORE: it changes rows that are not captured", id)
	}
	t := &undo.Table{ID: id, Name: "main." + name(id)}
	if err := readColumns(ctx, q, t); err != nil {
		return nil, err
	}
	if err := readKey(ctx, q, t); err != nil {
		return nil, err
	}
	if err := refuseSideEffects(ctx, q, t); err != nil {
		return nil, err
	}
	t.Fingerprint = fingerprint(t, withoutRowid)
	return t, nil
}

func refuse(code, format string, args ...any) error {
	return &gtx.UnsupportedError{Code: code, Reason: fmt.Sprintf(format, args...)}
}

func readColumns(ctx context.Context, q undo.Query, t *undo.Table) error {
	rows, err := q(ctx, "SELECT name, type, hidden, pk FROM pragma_table_xinfo(?1, 'main') ORDER BY cid", t.ID)
	if err != nil {
		return fmt.Errorf("read columns of %s: %w", t.ID, err)
	}
	key := map[int]int{}
	for i, r := range rows {
		// hidden: 2 and 3 are generated columns, virtual and stored.
		t.Columns = append(t.Columns, undo.Column{Name: r[0], Type: r[1], Generated: r[2] != "0", Attr: "BINARY"})
		var place int
		if _, err := fmt.Sscan(r[3], &place); err != nil {
			return fmt.Errorf("read columns of %s: key place %q: %w", t.ID, r[3], err)
		}
		if place > 0 {
			key[place] = i
		}
	}
	for place := 1; place <= len(key); place++ {
		t.Key = append(t.Key, key[place])
	}
	if len(t.Key) == 0 {
		return &gtx.UnsupportedError{Code: "no-key", Reason: "table " + t.ID + " has no primary key", Hint: "declare one: the rowid alone may change in VACUUM"}
	}
	return nil
}

// readKey learns the collations of the key's index. A rowid table whose key has
// no index of its own has the rowid as key.
func readKey(ctx context.Context, q undo.Query, t *undo.Table) error {
	rows, err := q(ctx, "SELECT x.cid, x.coll FROM pragma_index_list(?1, 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x"+
		" WHERE l.origin = 'pk' AND x.key = 1 ORDER BY x.seqno", t.ID)
	if err != nil {
		return fmt.Errorf("read primary key of %s: %w", t.ID, err)
	}
	if len(rows) == 0 {
		t.Columns[t.Key[0]].Auto = true
		return nil
	}
	for _, r := range rows {
		var cid int
		if _, err := fmt.Sscan(r[0], &cid); err != nil {
			return fmt.Errorf("read primary key of %s: column %q: %w", t.ID, r[0], err)
		}
		if !slices.Contains(t.Key, cid) {
			return fmt.Errorf("read primary key of %s: index column %d is not in the key", t.ID, cid)
		}
		coll := strings.ToUpper(r[1])
		if coll != "BINARY" && coll != "NOCASE" && coll != "RTRIM" {
			return refuse("collation", "key column %s of table %s has collation %s, which only its program knows", t.Columns[cid].Name, t.ID, r[1])
		}
		t.Columns[cid].Attr = coll
	}
	return nil
}

// refuseSideEffects refuses what changes other rows than the statement's own.
func refuseSideEffects(ctx context.Context, q undo.Query, t *undo.Table) error {
	rows, err := q(ctx, "SELECT name FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE"+
		" UNION ALL SELECT name FROM temp.sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE", t.ID)
	if err != nil {
		return fmt.Errorf("read triggers of %s: %w", t.ID, err)
	}
	if len(rows) > 0 {
		return refuse("trigger", "table %s has the trigger %s: what it writes is not captured", t.ID, rows[0][0])
	}
	rows, err = q(ctx, "SELECT m.name FROM pragma_foreign_keys AS p, main.sqlite_schema AS m, pragma_foreign_key_list(m.name, 'main') AS f"+
		" WHERE p.foreign_keys = 1 AND m.type = 'table' AND f.\"table\" = ?1 COLLATE NOCASE"+
		" AND (f.on_delete NOT IN ('NO ACTION', 'RESTRICT') OR f.on_update NOT IN ('NO ACTION', 'RESTRICT'))", t.ID)
	if err != nil {
		return fmt.Errorf("read foreign keys to %s: %w", t.ID, err)
	}
	if len(rows) > 0 {
		return refuse("cascade", "a foreign key of table %s cascades from table %s: the rows it changes are not captured", rows[0][0], t.ID)
	}
	return nil
}

// fingerprint digests everything that an image depends on.
func fingerprint(t *undo.Table, withoutRowid string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %s %v\n", t.ID, withoutRowid, t.Key)
	for _, c := range t.Columns {
		fmt.Fprintf(h, "%q %q %t %t %s\n", c.Name, c.Type, c.Generated, c.Auto, c.Attr)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// replacesOnConflict finds ON CONFLICT REPLACE or IGNORE in the text of CREATE
// TABLE, outside strings, quoted names and comments.
func replacesOnConflict(ddl string) bool {
	w := words(ddl)
	for i := 2; i < len(w); i++ {
		if w[i-2] == "on" && w[i-1] == "conflict" && (w[i] == "replace" || w[i] == "ignore") {
			return true
		}
	}
	return false
}

// words gives the bare words of a text in lower case.
func words(text string) []string {
	var out []string
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '-' && strings.HasPrefix(text[i:], "--"):
			i = skipPast(text, i, "\n")
		case c == '/' && strings.HasPrefix(text[i:], "/*"):
			i = skipPast(text, i+2, "*/")
		case c == '\'' || c == '"' || c == '`':
			i = skipPast(text, i+1, string(c))
		case c == '[':
			i = skipPast(text, i, "]")
		case wordByte(c):
			start := i
			for i < len(text) && wordByte(text[i]) {
				i++
			}
			out = append(out, strings.ToLower(text[start:i]))
		default:
			i++
		}
	}
	return out
}

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

func skipPast(text string, from int, end string) int {
	if i := strings.Index(text[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(text)
}
