package integration

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"
)

// TestEveryTypeIsListed asks the servers which types they have: none may be
// missing in the list that TestTypes goes through.
func TestEveryTypeIsListed(t *testing.T) {
	for _, s := range servers() {
		if s.name == "sqlite" {
			continue // which takes any word for a type, and has affinities
		}
		t.Run(s.name, func(t *testing.T) {
			b := newTypeBench(t, s)
			if baseOf(s) == "postgres" {
				b.postgresListed(t)
			} else {
				b.mysqlListed(t)
			}
		})
	}
}

// postgresListed reads pg_type: base, domain, enum, range and multirange types of
// the server and of the extensions, without arrays.
func (b *typeBench) postgresListed(t *testing.T) {
	t.Helper()
	listed := map[string]bool{}
	for _, typ := range b.list.Types {
		if !typ.On(b.s.name) {
			continue
		}
		for _, name := range append([]string{typ.Name}, typ.Covers...) {
			listed[name] = true
		}
	}
	there := texts(t, b.plain, `SELECT CASE WHEN nspname = 'app' THEN 'app.' ELSE '' END || typname
 FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
 WHERE typtype IN ('b', 'd', 'e', 'r', 'm') AND NOT (typcategory = 'A' AND typelem <> 0 AND typname LIKE '\_%') AND nspname NOT IN ('information_schema', 'pg_toast')`)
	// The list may use the names of the standard.
	standard := map[string]string{}
	for _, pair := range texts(t, b.plain, "SELECT typname || '=' || format_type(oid, NULL) FROM pg_type") {
		short, long, _ := strings.Cut(pair, "=")
		standard[short] = long
	}
	for _, name := range there {
		switch long := standard[strings.TrimPrefix(name, "app.")]; {
		case listed[name], listed[long], listed[strings.TrimPrefix(name, "app.")]:
		case slices.Contains(b.list.Inner, name):
			if _, err := b.plain.ExecContext(t.Context(), "SELECT ''::"+name); err == nil {
				t.Errorf("%s is said to take no value, and does", name)
			}
		case strings.HasPrefix(name, "app."): // the multirange of a range in Setup
			if !strings.HasSuffix(name, "multirange") {
				t.Errorf("no line for %s", name)
			}
		default:
			t.Errorf("no line for %s (%s)", name, long)
		}
	}
	if len(there) < 60 {
		t.Errorf("only %d types in the catalogue", len(there))
	}
}

// mysqlListed tries every keyword of the server, and every type of a plugin, as
// the type of a column.
func (b *typeBench) mysqlListed(t *testing.T) {
	t.Helper()
	const dataType = "SELECT DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()"
	listed := map[string]bool{}
	for _, typ := range texts(t, b.plain, "SELECT DISTINCT DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME REGEXP '^g[0-9]+$' AND COLUMN_NAME = 'c'") {
		listed[typ] = true
	}
	words := append(texts(t, b.plain, "SELECT LOWER(WORD) FROM information_schema.KEYWORDS"),
		texts(t, b.plain, "SELECT PLUGIN_NAME FROM information_schema.PLUGINS WHERE PLUGIN_TYPE = 'DATA TYPE'")...)
	conn, err := b.plain.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	found := map[string]bool{}
	for _, word := range words {
		for _, rest := range []string{"", "(9)", "('a')"} {
			if _, err := conn.ExecContext(context.Background(), "CREATE TABLE word (word "+word+rest+")"); err != nil {
				continue
			}
			for _, typ := range texts(t, b.plain, dataType+" AND TABLE_NAME = 'word'") {
				found[typ] = true
				if !listed[typ] {
					t.Errorf("no line for %s, which %s%s is", typ, word, rest)
				}
			}
			if _, err := conn.ExecContext(context.Background(), "DROP TABLE word"); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if len(found) < 30 {
		t.Errorf("only %d types found among the keywords: %v", len(found), found)
	}
	sets := map[string]bool{}
	for _, set := range texts(t, b.plain, "SELECT DISTINCT CHARACTER_SET_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND CHARACTER_SET_NAME IS NOT NULL") {
		sets[set] = true
	}
	for _, set := range texts(t, b.plain, "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME <> 'binary'") {
		if !sets[set] {
			t.Errorf("no line for the character set %s", set)
		}
	}
}

// texts gives the first column of a query.
func texts(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
