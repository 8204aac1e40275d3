package inside

import (
	"slices"
	"testing"
)

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		query string
		kind  kind
		names []string
	}{
		{"SELECT 1", reads, nil},
		{"", reads, nil},
		{"(SELECT 1) UNION (SELECT 2)", reads, nil},
		{"SET NAMES utf8mb4", reads, nil},
		{" /* x */ -- y\n insert into a values ('drop table a')", writes, nil},
		{"WITH x AS (SELECT 1) SELECT * FROM x", reads, nil},
		{"WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x", writes, nil},
		{"EXPLAIN ANALYZE UPDATE a SET b = 1", writes, nil},
		{"begin", writes, nil},
		{"CREATE TABLE IF NOT EXISTS `my`.`Users` (id int REFERENCES other (id))", defines, []string{"users", "other"}},
		{`DROP TABLE IF EXISTS "a", public.b CASCADE`, defines, []string{"a", "b", "cascade"}},
		{"CREATE UNLOGGED TABLE a (b int)", defines, []string{"a"}},
		{"CREATE INDEX i ON a (b)", defines, nil},
		{"ALTER TABLE a ADD b int", defines, nil},
		{"TRUNCATE a", defines, nil},
	} {
		got := read(tt.query)
		if got.kind != tt.kind || !slices.Equal(got.names, tt.names) {
			t.Errorf("%s: kind %d, names %q; want %d, %q", tt.query, got.kind, got.names, tt.kind, tt.names)
		}
		if table := tt.names != nil; got.table != table {
			t.Errorf("%s: defines a table: %v, want %v", tt.query, got.table, table)
		}
	}
}

func TestMentions(t *testing.T) {
	w := read("INSERT INTO `s`.`Users` (id) VALUES ('posts')")
	if !w.mentions([]string{"users"}) || w.mentions([]string{"posts"}) || w.mentions([]string{"user"}) {
		t.Errorf("wrong mentions among %q", w.words)
	}
}
