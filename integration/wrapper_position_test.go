package integration

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

// placed is a statement in which PostgreSQL finds an error, and tells where.
type placed struct {
	name, text string
	args       []any
	only       string // entry or server where it runs, "" for everywhere
}

// placedErrors have characters of several bytes in front of the error.
var placedErrors = []placed{
	{name: "column of SET", text: "UPDATE thing SET s = 'äöü€', missing = 1 WHERE id = 1"},
	{name: "value of SET", text: "/* größer → 漢字 */ UPDATE thing SET s = 'äöü€', n = missing + 1 WHERE id = 1"},
	{name: "several lines", text: "-- größer\nUPDATE thing\n\tSET s = 'ä',\n\t\tn = missing\n\tWHERE id = 1"},
	{name: "type of a value", text: "UPDATE thing SET n = 'ä' || s WHERE id = 1"},
	{name: "text of a value", text: "UPDATE thing SET s = 'é', n = 'x1'::bigint WHERE id = 1"},
	{name: "function", text: "UPDATE thing SET s = 'é', n = unheard_of(n, 'é') WHERE id = 1"},
	{name: "condition", text: "UPDATE thing SET s = '漢字' WHERE id = 1 AND missing = 2"},
	{name: "condition by argument", text: "UPDATE thing SET n = $1, s = 'ä' WHERE missing = $2", args: []any{1, 2}},
	{name: "table in a condition", text: "DELETE FROM thing WHERE s = 'ü' AND id IN (SELECT id FROM missing)"},
	{name: "table hidden by its alias", text: "UPDATE thing AS t SET s = 'ß' WHERE thing.id = 1"},
	{name: "alias of many bytes", text: "UPDATE thing AS größe SET n = größe.missing WHERE größe.id = 1"},
	{name: "column of FROM", text: "UPDATE thing AS t SET s = 'ß', n = p.missing FROM parent AS p WHERE p.id = t.parent"},
	{name: "condition of FROM", text: "UPDATE thing AS t SET n = p.id FROM parent AS p WHERE /* ü */ p.missing = t.parent"},
	{name: "subquery of FROM", text: "UPDATE thing SET s = 'ß' FROM (SELECT missing FROM parent) AS p WHERE thing.id = 1"},
	{name: "ambiguous column", text: "UPDATE thing SET s = 'ß' FROM parent WHERE id = 1"},
	{name: "key", text: "UPDATE thing SET s = 'ß', id = missing WHERE id = 1"},
	{name: "USING", text: "DELETE FROM thing USING parent AS p WHERE 'ß' <> '' AND p.missing = thing.parent"},
	{name: "list of columns", text: "INSERT INTO thing (id, n, /* ß */ missing) VALUES (7, 1, 'ä')"},
	{name: "VALUES", text: "INSERT INTO thing (id, n, s) VALUES (7, 1, 'ä'), (8, missing, 'ö')"},
	{name: "too many VALUES", text: "INSERT INTO thing VALUES (7, 1, 'ä', 1, 'ö')"},
	{name: "VALUES by argument", text: "INSERT INTO thing (id, s, n) VALUES ($1, 'ä', missing + $2)", args: []any{7, 1}},
	{name: "query", text: "INSERT INTO thing (id, s, n) SELECT id + 10, 'ä', missing FROM parent"},
	{name: "RETURNING of INSERT", text: "INSERT INTO thing (id, n, s) VALUES (7, 1, 'ä') RETURNING id, missing"},
	{name: "RETURNING of UPDATE", text: "UPDATE thing SET s = 'ä' WHERE id = 1 RETURNING  /* ä */ id, missing"},
	{name: "RETURNING of DELETE", text: "DELETE FROM thing WHERE s = 'ä' RETURNING id, missing"},
	{name: "RETURNING WITH", text: "UPDATE thing SET s = 'ä' WHERE id = 1 RETURNING WITH (OLD AS alt) alt.id, 'ä', alt.missing", only: "postgres18"},
	{name: "arbiter", text: "INSERT INTO thing (id, n, s) VALUES (1, 1, 'ä') ON CONFLICT (missing) DO NOTHING"},
	{name: "SET of an upsert", text: "INSERT INTO thing (id, n, s) VALUES (1, 1, 'ä') ON CONFLICT (id) DO UPDATE SET n = excluded.missing"},
	{name: "condition of an upsert", text: "INSERT INTO thing (id, n, s) VALUES (1, 1, 'ä') ON CONFLICT (id) DO UPDATE SET n = 1 WHERE thing.missing = 1"},
	{name: "key of an upsert", text: "INSERT INTO thing (s, id, n) VALUES ('ä', missing, 1) ON CONFLICT (id) DO UPDATE SET n = 1"},
	{name: "query of an upsert", text: "INSERT INTO thing (s, id, n) SELECT 'ä', missing, 1 FROM parent ON CONFLICT (id) DO UPDATE SET n = 1"},
	{name: "WITH that reads", text: "WITH a AS (SELECT 'ä', missing FROM parent) UPDATE thing SET n = 3 WHERE id IN (SELECT 1 FROM a)"},
	{name: "WITH RECURSIVE", text: "WITH RECURSIVE /* ä */ a (n) AS (SELECT 1 UNION ALL SELECT missing FROM a) UPDATE thing SET n = 3 WHERE id IN (SELECT n FROM a)"},
	{name: "behind WITH", text: "WITH ä AS (SELECT id FROM parent) UPDATE thing SET n = ä.missing FROM ä WHERE ä.id = thing.id"},
	{name: "WITH that writes", text: "WITH ä AS (UPDATE parent SET missing = 1 RETURNING id) DELETE FROM thing WHERE id IN (SELECT id FROM ä)"},
	{name: "condition of WITH that writes", text: "WITH ä AS (DELETE FROM parent WHERE missing = 1 RETURNING id) SELECT id FROM ä"},
	{name: "RETURNING of WITH", text: "WITH ä AS (DELETE FROM parent WHERE id = 9 RETURNING missing) SELECT * FROM ä"},
	{name: "query behind WITH that writes", text: "WITH ä AS (DELETE FROM parent WHERE id = 9 RETURNING id) SELECT missing FROM ä"},
	{name: "reading member beside one that writes", text: "WITH ä AS (SELECT missing FROM parent), b AS (DELETE FROM parent WHERE id = 9 RETURNING id) SELECT id FROM b"},
	{name: "MERGE", text: "MERGE INTO thing AS t USING parent AS p ON t.id = p.id AND 'ä' <> '' WHEN MATCHED THEN UPDATE SET n = p.missing", only: "postgres18"},
	{name: "syntax of a value", text: "UPDATE thing SET s = 'ä', n = (1 + ) WHERE id = 1"},
	{name: "syntax at the end of SET", text: "UPDATE thing SET s = 'ä', n = CASE WHEN true THEN 1 where id = 1"},
	{name: "syntax at the end of SET in front of FROM", text: "UPDATE thing SET s = 'ä', n = 1 BETWEEN 2 From parent AS p WHERE p.id = thing.id"},
	{name: "syntax of VALUES", text: "INSERT INTO thing (id, s, n) VALUES (7, 'ä', 1 1)"},
	{name: "locking SELECT", text: "SELECT 'ä', missing FROM thing WHERE id = 1 FOR UPDATE"},
	{name: "condition of a locking SELECT", text: "SELECT id FROM thing WHERE s = 'ä' AND missing = 1 FOR UPDATE"},
	{name: "order of a locking SELECT", text: "SELECT id FROM thing WHERE s = 'ä' ORDER BY missing FOR UPDATE"},
	{name: "second of several", text: "UPDATE thing SET s = 'ä' WHERE id = 1; UPDATE thing SET s = 'ä', n = missing", only: "DB.Exec"},
	{name: "read among several", text: "UPDATE thing SET s = 'ä' WHERE id = 1; SELECT 'ä', missing FROM thing", only: "DB.Exec"},
}

// TestPositionsInErrors: PostgreSQL tells at which character of the text it has found
// an error, and that is the user's text, whatever was sent.
func TestPositionsInErrors(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		if s.family() != "gtx-postgres" {
			return // the others tell no position
		}
		dsn := s.dsn(t)
		for _, encoding := range []string{"UTF8", "SQL_ASCII"} {
			t.Run(encoding, func(t *testing.T) { positions(t, s, encoded(t, outsider(t, s, dsn), dsn, encoding)) })
		}
	})
}

// encoded makes another database, whose characters are those of an encoding.
func encoded(t *testing.T, db *sql.DB, dsn, encoding string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := u.Path[1:] + "_" + encoding
	mustExec(t, db, "CREATE DATABASE \""+name+"\" TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING '"+encoding+"'")
	t.Cleanup(func() { mustExec(t, db, "DROP DATABASE \""+name+"\" WITH (FORCE)") })
	u.Path = "/" + name
	return u.String()
}

func positions(t *testing.T, s server, dsn string) {
	bus := embedded(t)
	db, bare := open(t, s, dsn), outsider(t, s, dsn)
	for _, text := range []string{
		"CREATE TABLE parent (id bigint PRIMARY KEY)",
		"CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(5), parent bigint)",
		"INSERT INTO parent VALUES (1)",
		"INSERT INTO thing VALUES (1, 1, 'a', 1), (2, 2, 'b', NULL)",
	} {
		mustExec(t, db, text)
	}
	ways := slices.DeleteFunc(entries(), func(e entry) bool { return e.name != "DB.Exec" && e.name != "DB.Query" && e.name != "Tx.Prepare" })
	for _, c := range placedErrors {
		t.Run(c.name, func(t *testing.T) {
			if c.only == "postgres18" && s.name != c.only {
				return // syntax of that one
			}
			for _, e := range ways {
				if c.only != "" && c.only != s.name && c.only != e.name {
					continue
				}
				want := e.exec(context.Background(), bare, c.text, c.args...)
				if fields := errorFields(want); fields["Position"] == "" || fields["Position"] == "0" {
					t.Fatalf("%s: the bare driver tells no position: %v", e.name, want)
				}
				for _, again := range []string{"", " again"} { // the second time a driver may prepare it
					var got error
					err := gtx.Run(t.Context(), func(ctx context.Context) error {
						got = e.exec(ctx, db, c.text, c.args...)
						return errors.Join(got, errUndo)
					}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
					if !errors.Is(err, errUndo) {
						t.Fatal(err)
					}
					if diff := cmp.Diff(errorFields(want), errorFields(got)); diff != "" {
						t.Errorf("%s%s (-bare +ours):\n%s%v", e.name, again, diff, got)
					}
				}
			}
		})
	}
}
