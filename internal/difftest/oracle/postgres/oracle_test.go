package postgres_test

import (
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/internal/difftest/oracle/postgres"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// right has texts of every kind, one a line.
const right = `
SELECT 1
SELECT a, count(*) FROM t WHERE b = $1 GROUP BY a HAVING count(*) > $2 ORDER BY 1 LIMIT 3
(SELECT 1) UNION ALL (SELECT 2)
WITH a AS (SELECT 1 AS x), b (y) AS MATERIALIZED (SELECT $1::int) SELECT * FROM a, b
WITH RECURSIVE r (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < $1) SELECT sum(n) FROM r
SELECT * FROM t WHERE id = $1 FOR UPDATE
SELECT a, b FROM s.t AS x WHERE x.id = $1 ORDER BY x.a DESC LIMIT 5 FOR NO KEY UPDATE OF x SKIP LOCKED
SELECT * FROM ONLY "T" FOR SHARE NOWAIT
SELECT * FROM a JOIN b USING (id) WHERE a.x IN ($1, $2) FOR UPDATE OF a
SELECT * FROM (SELECT * FROM t FOR KEY SHARE) AS q
SELECT now(), current_timestamp, localtime(3), session_user, pg_catalog.clock_timestamp(), "Random"()
SELECT trim(both 'x' FROM a), extract(year FROM d), position('a' IN b), a AT TIME ZONE 'UTC', a LIKE 'b' ESCAPE '!', overlay(a PLACING 'x' FROM 2) FROM t
SELECT a IS DISTINCT FROM b, (d1, d2) OVERLAPS (d3, d4), substring(a FROM 2 FOR 3), a IS NFC NORMALIZED FROM t
SHOW search_path
SHOW TIME ZONE
SHOW ALL
EXPLAIN SELECT * FROM t WHERE id = $1
EXPLAIN (COSTS OFF, FORMAT JSON) SELECT 1
EXPLAIN VERBOSE UPDATE t SET a = 1
SAVEPOINT sp
ROLLBACK TO SAVEPOINT "Sp"
ROLLBACK TO sp
RELEASE SAVEPOINT sp
RELEASE sp
INSERT INTO t DEFAULT VALUES
INSERT INTO t VALUES (1, 'a', NULL, DEFAULT, $1, -1.5, +2, true, now(), B'101', E'a\'b', ($2), $$x'y$$)
INSERT INTO s.t AS x (id, "Na me") VALUES ($1, $2), ($3, DEFAULT), (nextval('s'), 'it''s') RETURNING id, x.*
INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (1)
INSERT INTO t OVERRIDING /* c */ USER VALUE SELECT 1
INSERT INTO t (a, b) SELECT x, $1 FROM u WHERE y > 0 ORDER BY z LIMIT 3
INSERT INTO t (a) (SELECT 1)
INSERT INTO t (a) TABLE u
INSERT INTO t WITH c AS (SELECT 1) SELECT * FROM c
WITH c AS (SELECT $1::int AS v) INSERT INTO t (a) SELECT v FROM c RETURNING a
INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING
INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = EXCLUDED.a
INSERT INTO t AS o (a, b) VALUES ($1, $2) ON CONFLICT (lower(a) text_pattern_ops) WHERE b > 0 DO UPDATE SET (a, b) = (EXCLUDED.a, o.b + $3), c = DEFAULT WHERE o.b < $4 RETURNING *
INSERT INTO t (a) VALUES (1) ON CONFLICT ON CONSTRAINT "t_Pkey" DO UPDATE SET a = 2
INSERT INTO t (a) SELECT a FROM u FOR UPDATE
UPDATE t SET a = 1
UPDATE t SET a = a + 1, b = $1 WHERE id = $2
UPDATE ONLY s.t AS x SET a = x.b WHERE x.id IN (SELECT id FROM u WHERE v = $1) RETURNING x.id AS i, now()
UPDATE t x SET (a, b) = ROW ($1, $2), c = DEFAULT WHERE x.d IS DISTINCT FROM $3
UPDATE t SET (a, b) = (SELECT c, $1 FROM u WHERE u.id = t.id)
UPDATE t SET a[1] = $1, b.c = 2
UPDATE t SET a = u.a FROM u JOIN v ON u.id = v.id, LATERAL (SELECT $1::int AS q) AS w WHERE t.id = u.id
WITH c AS (SELECT id FROM t WHERE a = $1 FOR UPDATE SKIP LOCKED) UPDATE t SET b = $2 FROM c WHERE t.id = c.id RETURNING t.*
UPDATE "Täble" SET "wHere" = 'x WHERE y' -- RETURNING 1
UPDATE t SET a = CASE WHEN b THEN 1 ELSE 2 END WHERE (c = 1 OR d = 2) AND NOT e /* x /* y */ */ RETURNING *
UPDATE t SET a = 1 WHERE b = ANY ($1::int[]) AND c @> '{"k": 1}' AND d ->> 'x' = $2
DELETE FROM t
DELETE FROM ONLY t WHERE a = $1;
DELETE FROM s."T" AS d WHERE d.id BETWEEN $2 AND $1 RETURNING d.id, upper(d.name)
DELETE FROM t USING u, v WHERE t.id = u.id AND u.id = v.id
DELETE FROM t AS a USING u AS b LEFT JOIN v ON true WHERE a.id = b.id RETURNING a.*, b.x
WITH RECURSIVE r AS (SELECT 1 AS n UNION SELECT n + 1 FROM r) DELETE FROM t WHERE id IN (SELECT n FROM r)
DELETE FROM t WHERE EXISTS (SELECT FROM u WHERE u.t = t.id) AND date = current_date
DELETE FROM t WHERE a = $$;DELETE$$ AND b = $tag$ $$ $tag$ AND c = U&'d\0061t'
DELETE FROM t WHERE a = 1 RETURNING WITH (OLD AS o, NEW AS n) o.a, n.b
UPDATE t SET a = 1 WHERE true RETURNING WITH (OLD AS o) o.a
WITH d AS (DELETE FROM t WHERE a = $1 RETURNING *) INSERT INTO log SELECT * FROM d
WITH u AS (UPDATE t AS x SET a = $1 WHERE id = $2 RETURNING id), i AS (INSERT INTO v (id) SELECT id FROM u RETURNING id) DELETE FROM w USING i WHERE w.id = i.id
MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE
MERGE INTO s.t AS a USING (SELECT * FROM u WHERE x = $1) AS b ON a.id = b.id AND b.k = $2 WHEN MATCHED AND b.v > a.v THEN UPDATE SET v = b.v, (w, z) = (1, $3) WHEN NOT MATCHED THEN INSERT (id, v) VALUES (b.id, b.v) WHEN MATCHED THEN DO NOTHING
MERGE INTO t USING u ON t.id = u.id WHEN NOT MATCHED THEN INSERT DEFAULT VALUES WHEN MATCHED THEN UPDATE SET a = 1
MERGE INTO t USING u ON t.id = u.id WHEN NOT MATCHED BY SOURCE AND t.a = 1 THEN DELETE WHEN NOT MATCHED BY TARGET THEN INSERT VALUES (1, 2) RETURNING merge_action(), t.*
WITH s AS (SELECT 1 AS id) MERGE INTO ONLY t AS x USING s ON x.id = s.id WHEN NOT MATCHED THEN DO NOTHING
UPDATE t SET a = 1; DELETE FROM u WHERE b = $1
INSERT INTO t VALUES ($1); SELECT now(); UPDATE "X" y SET b = 2 WHERE c = $2 RETURNING *;
`

func TestEqual(t *testing.T) {
	o := postgres.New(sqltext.Mode{})
	for text := range strings.Lines(strings.TrimSpace(right)) {
		text = strings.TrimSuffix(text, "\n")
		t.Run(text, func(t *testing.T) {
			if v, detail := o.Compare(parse(t, text, sqltext.Mode{})); v != difftest.Equal {
				t.Errorf("verdict %d: %s", v, detail)
			}
		})
	}
}

// TestBackslashStrings: where \ escapes in plain strings, the oracle must follow.
func TestBackslashStrings(t *testing.T) {
	m := sqltext.Mode{BackslashStrings: true}
	o := postgres.New(m)
	for _, text := range []string{
		`DELETE FROM t WHERE a = 'it\'s' AND b = $1 RETURNING 'WHERE'`,
		`UPDATE t SET a = '\\', b = E'\'', c = B'1', d = $$\'$$ WHERE"a'b"='x'/* ' */AND e = $1 -- '`,
		`INSERT INTO t (a, b) VALUES ('\'), (\'', $1), ('a''b', $2)`,
	} {
		if v, detail := o.Compare(parse(t, text, m)); v != difftest.Equal {
			t.Errorf("%s\nverdict %d: %s", text, v, detail)
		}
	}
	st := parse(t, `DELETE FROM t WHERE a = 'it\'s' AND b = $1`, m)
	if v, _ := postgres.New(sqltext.Mode{}).Compare(st); v != difftest.Unread {
		t.Errorf("verdict %d for another mode, want Unread", v)
	}
}

// TestUnread: what the parser does not read is no misread.
func TestUnread(t *testing.T) {
	o := postgres.New(sqltext.Mode{})
	for _, st := range []*sqltext.Statement{
		{Dialect: sqltext.Postgres, Text: "UPDATE t SET WHERE"},
		{Dialect: sqltext.MySQL, Text: "UPDATE t SET a = 1"},
	} {
		if v, detail := o.Compare(st); v != difftest.Unread || detail == "" {
			t.Errorf("%s: verdict %d, detail %q, want Unread and why", st.Text, v, detail)
		}
	}
}

func parse(t *testing.T, text string, m sqltext.Mode) *sqltext.Statement {
	t.Helper()
	st, err := sqltext.Parse(text, sqltext.Postgres, m)
	if err != nil {
		t.Fatalf("refused: %v\n%s", err, text)
	}
	return st
}
