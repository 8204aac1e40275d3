package mutate

import (
	"iter"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Sweep puts every keyword of a dialect into every template of it.
func Sweep(d sqltext.Dialect) iter.Seq[string] {
	all := templates(d)
	return func(yield func(string) bool) {
		for _, w := range Keywords(d) {
			for _, t := range all {
				if !yield(strings.ReplaceAll(t, "%", w)) {
					return
				}
			}
		}
	}
}

// templates are statements with a place for a word, written %.
func templates(d sqltext.Dialect) []string {
	switch d {
	case sqltext.Postgres:
		return slices.Concat(templatesAnywhere, templatesReturning, templatesPostgres)
	case sqltext.SQLite:
		return slices.Concat(templatesAnywhere, templatesReturning, templatesSQLite)
	case sqltext.MariaDB:
		return slices.Concat(templatesAnywhere, templatesMySQL, templatesMariaDB)
	}
	return slices.Concat(templatesAnywhere, templatesMySQL)
}

var (
	templatesAnywhere = []string{
		// As a table, a schema, an alias.
		"UPDATE % SET a = 1 WHERE id = 2",
		"UPDATE s.% SET a = 1 WHERE id = 2",
		"UPDATE %.t SET a = 1 WHERE id = 2",
		"UPDATE t % SET a = 1 WHERE id = 2",
		"UPDATE t AS % SET a = 1 WHERE id = 2",
		"DELETE FROM % WHERE id = 2",
		"DELETE FROM t % WHERE id = 2",
		"DELETE FROM t AS % WHERE id = 2",
		"DELETE FROM t %",
		"DELETE % FROM t WHERE id = 2",
		"UPDATE % t SET a = 1 WHERE id = 2",
		"INSERT INTO % VALUES (1)",
		"INSERT INTO % (a) VALUES (1)",
		"INSERT INTO t % VALUES (1)",
		"INSERT INTO t AS % (a) VALUES (1)",
		"INSERT % INTO t (a) VALUES (1)",
		"INSERT % t (a) VALUES (1)",
		// As a column.
		"UPDATE t SET % = 1 WHERE id = 2",
		"UPDATE t SET a = 1, % = 2",
		"UPDATE t SET a = % WHERE id = 2",
		"UPDATE t SET a = x.% WHERE id = 2",
		"UPDATE t SET a = 1 WHERE % = 2",
		"DELETE FROM t WHERE % IS NULL",
		"DELETE FROM t WHERE t.% = 1",
		"INSERT INTO t (a, %) VALUES (1, 2)",
		"INSERT INTO t (%) SELECT 1",
		"INSERT INTO t (a) VALUES (%)",
		// As a call.
		"UPDATE t SET a = %(1) WHERE id = 2",
		"DELETE FROM t WHERE a = %()",
		// Between and behind clauses.
		"UPDATE t SET a = 1 % WHERE id = 2",
		"UPDATE t SET a = b % c WHERE id = 2",
		"UPDATE t SET a = 1 WHERE id = 2 %",
		"UPDATE t SET a = 1 %",
		"UPDATE t SET a = 1 WHERE % id = 2",
		"UPDATE t SET % a = 1 WHERE id = 2",
		"DELETE FROM t WHERE id = 2 % (1)",
		"DELETE FROM t WHERE id = 2 % 1",
		"DELETE FROM t WHERE id = 2 % a = 1",
		"INSERT INTO t (a) VALUES (1) %",
		"INSERT INTO t (a) % (1)",
		"INSERT INTO t (a) SELECT b FROM s %",
		"INSERT INTO t (a) SELECT b % FROM s WHERE c = 1",
		"UPDATE t SET a = 1WHERE % = 2",
		// Queries and whole statements.
		"SELECT a % FROM t",
		"SELECT a FROM t % WHERE a = 1",
		"SELECT % FROM t WHERE a = 1",
		"SELECT a FROM t WHERE a = 1 %",
		"SELECT a FROM % WHERE a = 1",
		"WITH % AS (SELECT 1) DELETE FROM t WHERE a = 1",
		"WITH q AS (SELECT % FROM t) UPDATE t SET a = 1 WHERE id IN (SELECT 1 FROM q)",
		"% t SET a = 1",
		"% INTO t VALUES (1)",
		"% FROM t WHERE a = 1",
		"% a",
		"%",
		"SAVEPOINT %",
		"ROLLBACK TO %",
		"RELEASE SAVEPOINT %",
	}
	templatesReturning = []string{
		"UPDATE t SET a = 1 WHERE id = 2 RETURNING %",
		"UPDATE t SET a = 1 RETURNING a %",
		"UPDATE t SET a = 1 RETURNING a AS %",
		"UPDATE t SET a = 1 FROM % WHERE t.id = 2",
		"UPDATE t SET a = 1 FROM s % WHERE t.id = s.id",
		"DELETE FROM t WHERE a = 1 % RETURNING a",
		"INSERT INTO t (a) VALUES (1) ON CONFLICT (%) DO NOTHING",
		"INSERT INTO t (a) VALUES (1) ON CONFLICT DO UPDATE SET % = 1",
		"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = % WHERE c = 1",
		"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) WHERE % = 1 DO NOTHING",
		"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) % NOTHING",
		"INSERT INTO t % DEFAULT VALUES",
		"INSERT INTO t SELECT a FROM s % ON CONFLICT DO NOTHING",
		"INSERT INTO t (a) VALUES (1) % RETURNING a",
	}
	templatesPostgres = []string{
		"DELETE FROM t USING % WHERE t.id = 1",
		"DELETE FROM t USING s % WHERE t.id = s.id",
		"UPDATE ONLY % SET a = 1",
		"DELETE FROM t WHERE a OPERATOR(pg_catalog.=) %",
		"UPDATE t SET a = b::% WHERE id = 1",
		"UPDATE t SET (a, %) = (1, 2) WHERE id = 1",
		"MERGE INTO t % USING s ON t.id = s.id WHEN MATCHED THEN DELETE",
		"MERGE INTO t USING s % ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (1)",
		"MERGE INTO t USING s ON t.id = % WHEN MATCHED AND % THEN UPDATE SET % = 1",
		"SELECT a FROM t FOR % OF t",
		"SELECT a FROM t WHERE a = 1 FOR UPDATE %",
		"WITH q AS (DELETE FROM t RETURNING %) SELECT 1",
		"EXPLAIN (%) DELETE FROM t",
		"EXPLAIN % DELETE FROM t",
		"SHOW %",
		"INSERT INTO t (a) OVERRIDING % VALUE VALUES (1)",
	}
	templatesSQLite = []string{
		"UPDATE OR % t SET a = 1",
		"INSERT OR % INTO t VALUES (1)",
		"UPDATE t INDEXED BY % SET a = 1 WHERE id = 2",
		"UPDATE t % INDEXED SET a = 1 WHERE id = 2",
		"DELETE FROM t INDEXED BY % WHERE id = 1",
		"REPLACE INTO t (%) VALUES (1)",
		"UPDATE t SET (a, %) = (1, 2) WHERE id = 1",
		"DELETE FROM t WHERE a % NULL",
		"DELETE FROM t WHERE a COLLATE %",
		"DELETE FROM t WHERE a = :%",
		"EXPLAIN % DELETE FROM t",
		"DELETE FROM t WHERE a IN %",
		"UPDATE t SET a = 1 FROM s % JOIN u WHERE t.id = s.id",
	}
	templatesMySQL = []string{
		"UPDATE t SET a = 1 WHERE id = 2 ORDER BY %",
		"UPDATE t SET a = 1 WHERE id = 2 ORDER BY a % LIMIT 1",
		"UPDATE t SET a = 1 LIMIT %",
		"UPDATE t % JOIN s ON t.id = s.id SET t.a = 1",
		"UPDATE t, % SET t.a = 1",
		"UPDATE t JOIN s % ON t.id = s.id SET t.a = 1 WHERE s.b = 1",
		"UPDATE t % INDEX (a) SET a = 1",
		"UPDATE t PARTITION (%) SET a = 1",
		"DELETE % FROM % WHERE id = 1",
		"DELETE t FROM t JOIN % ON t.id = 1 WHERE t.a = 1",
		"DELETE FROM t USING t, % WHERE t.id = 1",
		"DELETE FROM t WHERE id = 1 ORDER BY a % LIMIT 1",
		"INSERT INTO t SET % = 1",
		"INSERT INTO t SET a = 1 % b = 2",
		"INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE % = 1",
		"INSERT INTO t VALUES (1) AS % ON DUPLICATE KEY UPDATE a = 1",
		"INSERT INTO t SELECT a FROM s % ON DUPLICATE KEY UPDATE a = 1",
		"INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(%)",
		"REPLACE % t VALUES (1)",
		"SELECT a FROM t WHERE a = 1 FOR %",
		"SELECT a FROM t FOR UPDATE %",
		"SELECT a FROM t LOCK IN % MODE",
		"SHOW %",
		"EXPLAIN % DELETE FROM t",
		"UPDATE t SET a = 0.5% id = 2",
		"UPDATE t SET a = INTERVAL 1 % + b WHERE id = 2",
	}
	templatesMariaDB = []string{
		"DELETE FROM t WHERE a = 1 RETURNING %",
		"DELETE FROM t WHERE a = 1 % RETURNING a",
		"INSERT INTO t (a) VALUES (1) RETURNING %",
		"INSERT INTO t (a) SELECT b FROM s % RETURNING a",
		"SELECT a FROM t FOR UPDATE WAIT %",
		"DELETE % FROM t FOR PORTION OF p FROM 1 TO 2",
	}
)
