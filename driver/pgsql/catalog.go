package pgsql

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// Words of undo.Column.Attr, separated by blanks.
const (
	attrAlways = "always" // GENERATED ALWAYS AS IDENTITY: not settable by UPDATE
	attrXML    = "xml"    // must be cast to text by itself, the row's text drops a declaration
	attrDomain = "domain" // may refuse NULL

	attrReferred = "referred" // a foreign key refers to it
)

// version18 and later give the row before and after a change to RETURNING.
const version18 = 180000

// tableAttr is what Table.Attr tells, in this order, separated by blanks.
type tableAttr struct {
	version int      // of the server, in the form of server_version_num
	oid     string   // of the table
	named   string   // oid of the table that Table was asked about: oid, or a partition of it
	kind    string   // relkind of the latter
	next    string   // number that the next new column takes
	file    string   // where the rows are, "NULL" for a partitioned table
	index   string   // oid of the primary key's index
	root    string   // oid of the table that all partitions of it belong to, oid where there are none
	refers  []string // to the root of these tables by foreign keys of its own or of a partition
}

func readAttr(t *undo.Table) tableAttr {
	a := tableAttr{version: minVersion}
	words := strings.Fields(t.Attr)
	if len(words) < 8 {
		return a
	}
	if n, err := strconv.Atoi(words[0]); err == nil {
		a.version = n
	}
	a.oid, a.named, a.kind, a.next, a.file, a.index, a.root, a.refers = words[1], words[2], words[3], words[4], words[5], words[6], words[7], words[8:]
	return a
}

// words gives all but the version.
func (a tableAttr) words() string {
	return " " + strings.Join(append([]string{a.oid, a.named, a.kind, a.next, a.file, a.index, a.root}, a.refers...), " ")
}

// partition tells that Table was asked about a partition by its name: its columns
// may stand in another order than those of the Table.
func (a tableAttr) partition() bool { return a.named != a.oid }

// same is a condition that holds when name is still the table that was asked
// about, in the same partitioned table, with no new column, with the rows' file and the primary key that it had, and
// shows all of its rows. It asks functions that see the catalogue as it is, where a
// query would see it as of the snapshot and take longer. A column that is gone is
// seen by the images, which name it. What neither sees, such as columns that
// exchanged their names, is seen by the fingerprint before anything is undone.
func (a tableAttr) same(name sqltext.Name) string {
	if a.oid == "" {
		return "true"
	}
	text := ident(name.Table)
	if name.Schema != "" {
		text = ident(name.Schema) + "." + text
	}
	table := "pg_catalog.to_regclass(" + literal(text) + ")"
	return table + " = " + a.named + "::pg_catalog.oid AND COALESCE(pg_catalog.pg_partition_root(" + table + "), " + table + ") = " + a.root + "::pg_catalog.oid AND NOT pg_catalog.row_security_active(" + a.named + "::pg_catalog.oid)" +
		" AND pg_catalog.has_column_privilege(" + a.oid + "::pg_catalog.oid, " + a.next + "::pg_catalog.int2, 'SELECT') IS NULL" +
		" AND pg_catalog.pg_relation_filenode(" + a.oid + "::pg_catalog.oid) IS NOT DISTINCT FROM " + a.file + "::pg_catalog.oid" +
		" AND pg_catalog.pg_index_has_property(" + a.index + "::pg_catalog.oid, 'clusterable') IS NOT NULL"
}

func version(t *undo.Table) int { return readAttr(t).version }

func hasAttr(c undo.Column, word string) bool {
	return slices.Contains(strings.Fields(c.Attr), word)
}

// maxName is how much of a name the server keeps, in bytes.
const maxName = 63

// Resolve gives the Table.ID: schema and table, both always quoted. A qualified
// name needs no question, an unqualified one follows the search path. A table
// that does not exist is gtx.ErrUnsupported with code "no-table".
func (Dialect) Resolve(ctx context.Context, q undo.Query, target sqltext.Name) (string, error) {
	name := ident(target.Table)
	if target.Schema != "" {
		name = ident(target.Schema) + "." + name
		if len(target.Schema) <= maxName && len(target.Table) <= maxName {
			return name, nil
		}
	}
	rows, err := q(ctx, "SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"+
		" WHERE c.oid = pg_catalog.to_regclass("+literal(name)+")")
	if err != nil {
		return "", fmt.Errorf("resolve table %s: %w", name, err)
	}
	if len(rows) == 0 {
		return "", noTable(name)
	}
	return ident(rows[0][0]) + "." + ident(rows[0][1]), nil
}

// relationQuery reads what a table is, and what writes rows beside the statement.
const relationQuery = `SELECT c.oid::int8, n.nspname, c.relname, c.relkind, c.relpersistence, pg_catalog.row_security_active(c.oid),
 COALESCE((SELECT x.indkey::text FROM pg_catalog.pg_index AS x
  WHERE x.indrelid = c.oid AND x.indisprimary AND x.indisvalid AND x.indimmediate), ''),
 COALESCE((SELECT min(g.tgname::text) FROM pg_catalog.pg_trigger AS g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal
  AND g.tgname NOT IN ('` + guardRow + `', '` + guardTruncate + `')), ''),
 COALESCE((SELECT min(r.rulename::text) FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = c.oid), ''),
 COALESCE((SELECT min(f.conname || ' of ' || f.conrelid::pg_catalog.regclass::text) FROM pg_catalog.pg_constraint AS f
  WHERE f.contype = 'f' AND f.confrelid = c.oid AND (f.confdeltype IN ('c', 'n', 'd') OR f.confupdtype IN ('c', 'n', 'd'))), ''),
 EXISTS (SELECT FROM pg_catalog.pg_inherits AS h WHERE h.inhparent = c.oid), pg_catalog.current_setting('server_version_num'),
 COALESCE((SELECT string_agg(DISTINCT COALESCE(pg_catalog.pg_partition_root(f.confrelid)::oid, f.confrelid)::int8::text, ' ') FROM pg_catalog.pg_constraint AS f
  WHERE f.contype = 'f' AND (f.conrelid = c.oid OR f.conrelid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(c.oid) AS p))), ''),
 ` + guardQuery + `,
 c.relispartition, c.relnatts + 1, COALESCE(pg_catalog.pg_relation_filenode(c.oid)::int8::text, 'NULL'),
 COALESCE((SELECT x.indexrelid::int8 FROM pg_catalog.pg_index AS x WHERE x.indrelid = c.oid AND x.indisprimary), 0),
 COALESCE(pg_catalog.pg_partition_root(c.oid)::oid, c.oid)::int8
 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.oid %s`

// columnQuery reads the columns. The walk goes down through domains, arrays,
// composites and ranges: nest is set once a value lies inside another.
const columnQuery = `WITH RECURSIVE walk (attnum, typ, nest) AS (
 SELECT a.attnum, a.atttypid, false FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = %[1]s AND a.attnum > 0 AND NOT a.attisdropped
 UNION
 SELECT w.attnum, d.typ, w.nest OR d.nest FROM walk AS w JOIN pg_catalog.pg_type AS t ON t.oid = w.typ CROSS JOIN LATERAL (
  SELECT t.typbasetype AS typ, false AS nest WHERE t.typtype = 'd'
  UNION ALL SELECT t.typelem, true WHERE t.typcategory = 'A' AND t.typelem <> 0
  UNION ALL SELECT a.atttypid, true FROM pg_catalog.pg_attribute AS a
   WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL SELECT r.rngsubtype, true FROM pg_catalog.pg_range AS r WHERE r.rngtypid = t.oid OR r.rngmultitypid = t.oid) AS d)
SELECT a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), s.nspname, t.typname, a.atttypmod, a.attcollation::int8,
 a.attgenerated, a.attidentity, t.typtype,
 COALESCE(pg_catalog.pg_get_expr(e.adbin, e.adrelid) LIKE 'nextval(%%', false),
 COALESCE((SELECT min(y.typname::text) FROM walk AS w JOIN pg_catalog.pg_type AS y ON y.oid = w.typ WHERE w.attnum = a.attnum AND y.typsend = 0), ''),
 EXISTS (SELECT FROM walk AS w WHERE w.attnum = a.attnum AND w.typ = 'pg_catalog.xml'::pg_catalog.regtype AND NOT w.nest),
 EXISTS (SELECT FROM walk AS w WHERE w.attnum = a.attnum AND w.typ = 'pg_catalog.xml'::pg_catalog.regtype AND w.nest),
 NOT EXISTS (SELECT FROM walk AS w JOIN pg_catalog.pg_type AS y ON y.oid = w.typ WHERE w.attnum = a.attnum AND y.typtype = 'b'
  AND NOT (y.typcategory = 'A' AND y.typelem <> 0) AND NOT EXISTS (SELECT FROM pg_catalog.pg_opclass AS o
   JOIN pg_catalog.pg_am AS m ON m.oid = o.opcmethod AND m.amname = 'hash' WHERE o.opcdefault AND (o.opcintype = y.oid OR EXISTS (
   SELECT FROM pg_catalog.pg_cast AS k WHERE k.castsource = y.oid AND k.casttarget = o.opcintype AND k.castmethod = 'b' AND k.castcontext = 'i')))),
 EXISTS (SELECT FROM pg_catalog.pg_constraint AS f WHERE f.contype = 'f' AND f.confrelid = a.attrelid AND a.attnum = ANY (f.confkey))
FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid JOIN pg_catalog.pg_namespace AS s ON s.oid = t.typnamespace
 LEFT JOIN pg_catalog.pg_attrdef AS e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
WHERE a.attrelid = %[1]s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

// Table reads the catalogue, with two questions. It refuses, as
// *gtx.UnsupportedError, every table whose rows could change without a captured
// statement or could not be restored exactly. Codes: no-table, no-key, view,
// foreign-table, inherited, temporary, unlogged, relation,
// row-security, trigger, rule, cascade, column-type, key-type, guard-stale,
// guard-foreign.
func (Dialect) Table(ctx context.Context, q undo.Query, id string) (*undo.Table, error) {
	t, guard, err := readTable(ctx, q, id)
	if err == nil {
		err = guarded(t, guard)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// readTable also gives what guardQuery found, and does not judge it.
func readTable(ctx context.Context, q undo.Query, id string) (t *undo.Table, guard string, err error) {
	rows, err := q(ctx, fmt.Sprintf(relationQuery, "= pg_catalog.to_regclass("+literal(id)+")"))
	if err != nil {
		return nil, "", fmt.Errorf("read table %s: %w", id, err)
	}
	if len(rows) == 0 {
		return nil, "", noTable(id)
	}
	rel := rows[0]
	oid := rel[0]
	name := ident(rel[1]) + "." + ident(rel[2])
	if err := refuseRelation(name, rel); err != nil {
		return nil, "", err
	}
	if rel[3] == "p" || isTrue(rel[14]) {
		lock, above, err := lockTable(ctx, q, oid)
		if err == nil && lock != oid {
			if t, guard, err = readTable(ctx, q, above); err == nil {
				attr := readAttr(t)
				attr.named, attr.kind = oid, rel[3]
				t.Attr = rel[11] + attr.words()
			}
			return t, guard, err
		}
		if err == nil {
			err = checkPartitions(ctx, q, oid)
		}
		if err != nil {
			return nil, "", err
		}
	}
	cols, err := q(ctx, fmt.Sprintf(columnQuery, oid))
	if err != nil {
		return nil, "", fmt.Errorf("read columns of %s: %w", name, err)
	}
	t = &undo.Table{ID: name, Name: name}
	attr := tableAttr{oid: oid, named: oid, kind: rel[3], next: rel[15], file: rel[16], index: rel[17], root: rel[18], refers: strings.Fields(rel[12])}
	byNumber := make(map[string]int, len(cols))
	finger := sha256.New()
	for i, c := range cols {
		col, err := readColumn(name, c)
		if err != nil {
			return nil, "", err
		}
		byNumber[c[0]] = i
		t.Columns = append(t.Columns, col)
		fmt.Fprintf(finger, "%s %q %q %q %s %s %q %q\n", c[0], c[1], c[3], c[4], c[5], c[6], c[7], c[8])
	}
	for _, n := range strings.Fields(rel[6]) {
		i, ok := byNumber[n]
		if !ok {
			return nil, "", fmt.Errorf("read key of %s: no column %s", name, n)
		}
		if !isTrue(cols[i][14]) || t.Columns[i].Generated {
			return nil, "", &gtx.UnsupportedError{
				Code: "key-type", Reason: fmt.Sprintf("column %q in the primary key of %s is of type %s", cols[i][1], name, cols[i][2]),
				Hint: "use a key of a type that can be hashed, and that is not generated from other columns",
			}
		}
		t.Key = append(t.Key, i)
	}
	fmt.Fprintf(finger, "key %s\n", rel[6])
	t.Attr = rel[11] + attr.words()
	t.Fingerprint = hex.EncodeToString(finger.Sum(nil)[:16])
	return t, rel[13], nil
}

// refuseRelation judges a row of relationQuery.
func refuseRelation(name string, rel []string) error {
	refuse := func(code, reason, hint string) error {
		return &gtx.UnsupportedError{Code: code, Reason: name + " " + reason, Hint: hint}
	}
	switch kind := rel[3]; kind {
	case "r", "p":
	case "v":
		return refuse("view", "is a view", "write to its tables")
	case "m":
		return refuse("view", "is a materialized view", "write to its tables")
	case "f":
		return refuse("foreign-table", "is a foreign table", "connect to its server")
	default:
		return refuse("relation", "is a relation of kind "+strconv.Quote(kind), "")
	}
	switch {
	case rel[4] == "t":
		return refuse("temporary", "is a temporary table: no other session could restore it", "")
	case rel[4] == "u":
		return refuse("unlogged", "is unlogged: a crash of the server empties it", "ALTER TABLE ... SET LOGGED")
	case isTrue(rel[5]):
		return refuse("row-security", "has row-level security that applies to this user: rows may be hidden from capture and restore", "use the table's owner or a role with BYPASSRLS")
	case rel[7] != "":
		return refuse("trigger", "has the trigger "+rel[7]+", whose writes are not captured", "")
	case rel[8] != "":
		return refuse("rule", "has the rule "+rel[8]+", whose writes are not captured", "")
	case rel[9] != "":
		return refuse("cascade", "is referenced by the foreign key "+rel[9]+" with CASCADE, SET NULL or SET DEFAULT, whose writes are not captured", "delete the referencing rows by statements")
	case isTrue(rel[10]) && rel[3] != "p":
		return refuse("inherited", "has tables that inherit from it, whose rows may have the same keys", "use a partitioned table, or write to the tables below")
	case rel[6] == "":
		return noKey(name)
	}
	return nil
}

// readColumn judges a row of columnQuery.
func readColumn(table string, c []string) (undo.Column, error) {
	refuse := func(reason string) (undo.Column, error) {
		return undo.Column{}, &gtx.UnsupportedError{Code: "column-type", Reason: fmt.Sprintf("column %q of %s %s", c[1], table, reason)}
	}
	if c[11] != "" {
		return refuse("has the type " + c[11] + ", which has no binary form to compare by")
	}
	if isTrue(c[13]) {
		return refuse("keeps xml inside an array or a composite, whose text is not exact")
	}
	var attr []string
	if c[8] == "a" {
		attr = append(attr, attrAlways)
	}
	if isTrue(c[12]) {
		attr = append(attr, attrXML)
	}
	if c[9] == "d" {
		attr = append(attr, attrDomain)
	}
	if isTrue(c[15]) {
		attr = append(attr, attrReferred)
	}
	return undo.Column{
		Name: c[1], Type: c[2], Generated: c[7] != "", Auto: c[8] != "" || isTrue(c[10]), Attr: strings.Join(attr, " "),
	}, nil
}

// isTrue reads a boolean, however the caller's Query turns it into text.
func isTrue(s string) bool { return s == "t" || s == "true" }

func noTable(name string) error {
	return &gtx.UnsupportedError{Code: "no-table", Reason: "table " + name + " does not exist"}
}

func noKey(name string) error {
	return &gtx.UnsupportedError{
		Code: "no-key", Reason: name + " has no primary key that is checked at once",
		Hint: "ALTER TABLE ... ADD PRIMARY KEY",
	}
}
