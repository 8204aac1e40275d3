package server_test

import (
	"testing"

	"github.com/globaltx/globaltx/internal/difftest/server"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

func newMySQL(t *testing.T, d sqltext.Dialect, m sqltext.Mode) *server.MySQL {
	t.Helper()
	dsn := testserver.MySQL
	if d == sqltext.MariaDB {
		dsn = testserver.MariaDB
	}
	s, err := server.NewMySQL(t.Context(), dsn(t), d, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestMySQLValid(t *testing.T) {
	table := []struct {
		text          string
		mysql, maria  bool // valid in the default mode
		ansi, noSlash bool // valid on MySQL in that mode
	}{
		{"UPDATE t SET a = 1 WHERE id = ?", true, true, true, true},
		{"UPDATE t SET a = 1 WHERE id = ?;", true, true, true, true},
		{"SELECT nosuch(1) FROM nosuch", true, true, true, true},
		{"SELECT missing", true, true, true, true},
		{"SAVEPOINT a", true, true, true, true},
		{"EXPLAIN UPDATE t SET a = 1", true, true, true, true},
		{"INSERT INTO t (a) VALUES (1) AS new ON DUPLICATE KEY UPDATE a = new.a", true, false, true, true},
		{"INSERT INTO t (a) VALUES (1) RETURNING a", false, true, false, false},
		{"DELETE FROM t WHERE a = 1 RETURNING a", false, true, false, false},
		{`UPDATE "t" SET a = 1`, false, false, true, false},
		{`SELECT 'a\'`, false, false, false, true},
		{`SELECT 'a\'b'`, true, true, true, false},
		{"UPDATE t SET", false, false, false, false},
		{"UPDATE t a = 1", false, false, false, false},
		{"SELECT 1; SELECT 2", false, false, false, false},
		{"SELECT ALL DISTINCT 1", false, false, false, false},
		{"UPDATE t JOIN s t garbage SET t.a = 1", false, false, false, false}, // MariaDB says 1066
		{"DELETE c FROM t garbage garbage", false, false, false, false},       // and 1109
		{"DELETE FROM t LIMIT a garbage", false, false, false, false},         // and 1327
		{"", false, false, false, false},
		{"SELECT 'open", false, false, false, false},
	}
	texts := make([]string, len(table))
	for i, row := range table {
		texts[i] = row.text
	}
	for _, session := range []struct {
		name string
		d    sqltext.Dialect
		m    sqltext.Mode
		want func(row int) bool
	}{
		{"mysql", sqltext.MySQL, sqltext.Mode{}, func(i int) bool { return table[i].mysql }},
		{"mariadb", sqltext.MariaDB, sqltext.Mode{}, func(i int) bool { return table[i].maria }},
		{"ansi", sqltext.MySQL, sqltext.Mode{ANSIQuotes: true}, func(i int) bool { return table[i].ansi }},
		{"noslash", sqltext.MySQL, sqltext.Mode{NoBackslashEscapes: true}, func(i int) bool { return table[i].noSlash }},
	} {
		t.Run(session.name, func(t *testing.T) {
			got, err := newMySQL(t, session.d, session.m).Valid(t.Context(), texts)
			if err != nil {
				t.Fatal(err)
			}
			for i, text := range texts {
				if want := session.want(i); got[i] != want {
					t.Errorf("%q: valid is %v, want %v", text, got[i], want)
				}
			}
		})
	}
}

func TestMySQLIsNotMariaDB(t *testing.T) {
	s, err := server.NewMySQL(t.Context(), testserver.MariaDB(t), sqltext.MySQL, sqltext.Mode{})
	if err == nil {
		t.Fatalf("MariaDB is taken for %s; %v", s.Name(), s.Close())
	}
}
