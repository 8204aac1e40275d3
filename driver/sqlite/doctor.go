package sqlite

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/undo"
)

var _ undo.Doctor = Dialect{}

// OpenExisting is Open for looking only: the file must exist, parameters that
// would change it (the journal mode, say) are left out, and so is every write
// through the connection.
func OpenExisting(dsn string) (driver.Base, error) {
	b, err := Open(dsn)
	if err != nil || b.Refuse != nil {
		return b, err
	}
	path, query := cut(b.Connector.(connector).dsn)
	if !strings.HasPrefix(path, "file:") {
		path = "file:" + (&url.URL{Path: path}).EscapedPath()
	}
	keep, mode := []string{}, "mode=rw"
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case name == "mode":
			if value == "ro" {
				mode = pair
			}
		case harmless(name, value):
			keep = append(keep, pair)
		}
	}
	b.Connector = connector{path + "?" + strings.Join(append(keep, mode, "_pragma=query_only(1)"), "&")}
	return b, nil
}

// harmless parameters change nothing in the file. Those of SQLite itself (vfs,
// cache, ...) do not begin with an underscore.
func harmless(name, value string) bool {
	switch name {
	case "_busy_timeout", "_timeout", "_foreign_keys", "_fk":
		return true
	case "_pragma":
		value, err := url.QueryUnescape(value)
		if err != nil {
			return false
		}
		pragma, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(value)), "(")
		pragma, _, _ = strings.Cut(pragma, "=")
		return slices.Contains([]string{"busy_timeout", "foreign_keys", "recursive_triggers", "trusted_schema"}, strings.TrimSpace(pragma))
	}
	return !strings.HasPrefix(name, "_")
}

// Diagnose reads the connection's pragmas, and holds the write lock for a moment.
func (d Dialect) Diagnose(ctx context.Context, q undo.Query) ([]undo.Finding, error) {
	rows, err := q(ctx, "SELECT sqlite_version(), (SELECT journal_mode FROM pragma_journal_mode), (SELECT timeout FROM pragma_busy_timeout),"+
		" (SELECT foreign_keys FROM pragma_foreign_keys), (SELECT encoding FROM pragma_encoding)")
	if err != nil {
		return nil, fmt.Errorf("read pragmas: %w", err)
	}
	r := rows[0]
	out := []undo.Finding{
		{Name: "server", Level: undo.Info, Value: "SQLite " + r[0], Reason: "in this program"},
		{Name: "journal_mode", Level: undo.Info, Value: r[1]},
		{Name: "busy_timeout", Level: undo.Info, Value: r[2] + " ms"},
		{Name: "foreign_keys", Level: undo.Info, Value: r[3], Reason: "cascades count only when they are on"},
		{Name: "encoding", Level: undo.Info, Value: r[4]},
	}
	if r[2] == "0" {
		out[2].Level, out[2].Reason, out[2].Hint = undo.Warn, "every overlap of two writers is an error at once", "leave _busy_timeout out of the DSN: the driver sets 5000"
	}
	writes, err := d.writable(ctx, q)
	if err != nil {
		return nil, err
	}
	own, err := ownTables(ctx, q)
	if err != nil {
		return nil, err
	}
	if !writes {
		own.Create = "the file cannot be written"
		out = append(out, undo.Finding{Name: "read_only", Level: undo.Fail, Value: "on", Reason: "the file cannot be written by this user or with this DSN"})
	}
	return append(out, own.Judge(d)...), nil
}

// writable begins to write, the number that stands in the header already, and
// rolls back: a lock alone is granted for a read-only file, too, and the directory
// must take a journal. Who waits in vain for the lock could have written.
func (d Dialect) writable(ctx context.Context, q undo.Query) (ok bool, err error) {
	rows, err := q(ctx, "SELECT user_version FROM pragma_user_version")
	if err != nil {
		return false, fmt.Errorf("read header: %w", err)
	}
	if _, err := q(ctx, "PRAGMA query_only = 0"); err != nil {
		return false, fmt.Errorf("prepare to write: %w", err)
	}
	defer func() {
		if _, back := q(ctx, "PRAGMA query_only = 1"); err == nil && back != nil {
			err = fmt.Errorf("go back to reading: %w", back)
		}
	}()
	_, err = q(ctx, "BEGIN IMMEDIATE")
	if err == nil {
		_, err = q(ctx, "PRAGMA main.user_version = "+rows[0][0])
		if _, back := q(ctx, "ROLLBACK"); back != nil {
			return false, fmt.Errorf("roll back: %w", errors.Join(back, err))
		}
	}
	var e *sqlite.Error
	switch {
	case err == nil:
		return true, nil
	case !errors.As(err, &e):
	case e.Code()&0xff == lib.SQLITE_BUSY:
		return true, nil
	case d.Classify(err) == undo.Denied, e.Code()&0xff == lib.SQLITE_CANTOPEN:
		return false, nil
	}
	return false, fmt.Errorf("begin to write: %w", err)
}

// ownTables looks at the tables of this module.
func ownTables(ctx context.Context, q undo.Query) (undo.OwnState, error) {
	s := undo.OwnState{Columns: map[string][]string{}}
	rows, err := q(ctx, "SELECT m.name, x.name FROM main.sqlite_schema AS m, pragma_table_xinfo(m.name, 'main') AS x"+
		" WHERE m.type = 'table' AND m.name LIKE 'gtx\\_%' ESCAPE '\\' ORDER BY m.name, x.cid")
	if err != nil {
		return s, fmt.Errorf("read columns of the tables of globaltx: %w", err)
	}
	for _, r := range rows {
		s.Columns[r[0]] = append(s.Columns[r[0]], r[1])
	}
	return s, nil
}

// Relations lists the tables and views of the main database. Rows are counted
// where ANALYZE has left their number.
func (d Dialect) Relations(ctx context.Context, q undo.Query) ([]undo.Relation, error) {
	rows, err := q(ctx, "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	counts, err := counts(ctx, q)
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, t := range undo.OwnTables(d) {
		own[t.Name] = true
	}
	var out []undo.Relation
	for _, r := range rows {
		if own[r[0]] {
			continue
		}
		count, ok := counts[r[0]]
		if !ok {
			count = undo.Unknown
		}
		out = append(out, undo.Relation{
			ID: r[0], Name: undo.ShowName(r[0]), Kind: r[1], Rows: r[1] != "view",
			Count: count, Width: undo.Unknown, Widest: undo.Unknown,
		})
	}
	return out, nil
}

// counts reads what ANALYZE has left: the first number of stat.
func counts(ctx context.Context, q undo.Query) (map[string]int64, error) {
	out := map[string]int64{}
	there, err := q(ctx, "SELECT 1 FROM main.sqlite_schema WHERE name = 'sqlite_stat1'")
	if err != nil {
		return nil, fmt.Errorf("look for statistics: %w", err)
	}
	if len(there) == 0 {
		return out, nil
	}
	rows, err := q(ctx, "SELECT tbl, stat FROM main.sqlite_stat1")
	if err != nil {
		return nil, fmt.Errorf("read statistics: %w", err)
	}
	for _, r := range rows {
		first, _, _ := strings.Cut(r[1], " ")
		if n, err := strconv.ParseInt(first, 10, 64); err == nil {
			out[r[0]] = max(out[r[0]], n)
		}
	}
	return out, nil
}

// Examine has nothing to add: a file knows no privileges on tables, and a value
// that SQLite keeps fits into an image.
func (Dialect) Examine(context.Context, undo.Query, *undo.Table, undo.Relation) ([]undo.Finding, error) {
	return nil, nil
}
