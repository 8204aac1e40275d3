package server_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/difftest/server"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

func TestPostgresValid(t *testing.T) {
	texts := map[string]bool{
		"SELECT 1":                               true,
		"DELETE FROM no_such_table WHERE a = $1": true,
		"UPDATE pg_class SET no_such_column = now() RETURNING x":    true,
		"INSERT INTO no_such.table_ VALUES ($1), ($2)":              true,
		"SELECT no_such_function($1, 2)":                            true,
		"SELECT 'a' + 1":                                            true,
		"SAVEPOINT a":                                               true,
		"MERGE INTO a USING b ON true WHEN MATCHED THEN DO NOTHING": true,
		"DELETE FROM t;":                                            true,
		"DELETE FROM t WHERE":                                       false,
		"DELETE t FROM t":                                           false,
		"SELECT 'a":                                                 false,
		`SELECT 1 AS ""`:                                            false,
		`SELECT E'\xff'`:                                            false,
		`SELECT U&'\zzzz'`:                                          false,
		"SELECT \xff":                                               false,
		"SELECT 1; SELECT 2":                                        false,
		"SELECT 1 LIMIT 1, 2":                                       false,
		"SELECT " + strings.Repeat("(", 20000) + "1" + strings.Repeat(")", 20000): false,
	}
	checkPostgres(t, testserver.Postgres15(t), sqltext.Mode{}, texts)
	texts["DELETE FROM t RETURNING WITH (OLD AS o) o.a"] = true
	texts["DELETE FROM t RETURNING WITH (PAST AS o) o.a"] = false
	checkPostgres(t, testserver.Postgres18(t), sqltext.Mode{}, texts)
}

// TestPostgresMode: standard_conforming_strings decides where a string ends.
func TestPostgresMode(t *testing.T) {
	dsn := testserver.Postgres18(t)
	checkPostgres(t, dsn, sqltext.Mode{}, map[string]bool{`SELECT 'a\'`: true, `SELECT 'a\' b'`: false})
	checkPostgres(t, dsn, sqltext.Mode{BackslashStrings: true}, map[string]bool{`SELECT 'a\'`: false, `SELECT 'a\\'`: true})
}

// TestPostgresBatches: the answers come in the order of the texts, over more than
// one batch and with large texts, which fill the buffers of both sides.
func TestPostgresBatches(t *testing.T) {
	s := openPostgres(t, testserver.Postgres18(t), sqltext.Mode{})
	long := strings.Repeat("x", 20_000)
	var texts []string
	var want []bool
	for i := range 1234 {
		ok := i%3 != 0
		text := "DELETE FROM t WHERE a = '" + long + "'"
		if !ok {
			text += " WHERE"
		}
		texts, want = append(texts, text), append(want, ok)
	}
	got, err := s.Valid(t.Context(), texts)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("answers in another order, or error %v", err)
	}
	if got, err := s.Valid(t.Context(), nil); len(got) != 0 || err != nil {
		t.Errorf("no text: %v, %v", got, err)
	}
}

// TestPostgresLost: a lost connection is an error, not an answer.
func TestPostgresLost(t *testing.T) {
	s := openPostgres(t, testserver.Postgres15(t), sqltext.Mode{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Valid(t.Context(), []string{"SELECT 1"}); err == nil {
		t.Errorf("answer %v from a closed connection", got)
	}
}

func BenchmarkPostgresValid(b *testing.B) {
	s := openPostgres(b, testserver.Postgres18(b), sqltext.Mode{})
	texts := make([]string, b.N)
	for i := range texts {
		texts[i] = "UPDATE t AS x SET a = $1, b = b + 1 WHERE x.id = $2 AND c IN (1, 2, 3) RETURNING *"
		if i%2 == 0 {
			texts[i] += " WHERE"
		}
	}
	b.ResetTimer()
	if _, err := s.Valid(b.Context(), texts); err != nil {
		b.Fatal(err)
	}
}

func openPostgres(t testing.TB, dsn string, m sqltext.Mode) *server.Postgres {
	t.Helper()
	s, err := server.NewPostgres(t.Context(), "postgres", dsn, m)
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

func checkPostgres(t *testing.T, dsn string, m sqltext.Mode, want map[string]bool) {
	t.Helper()
	s := openPostgres(t, dsn, m)
	if s.Name() != "postgres" || s.Dialect() != sqltext.Postgres || s.Mode() != m {
		t.Errorf("it calls itself %s, dialect %d, mode %+v", s.Name(), s.Dialect(), s.Mode())
	}
	var texts []string
	for text := range want {
		texts = append(texts, text)
	}
	got, err := s.Valid(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range texts {
		if got[i] != want[text] {
			t.Errorf("%.60s: valid %v, want %v", text, got[i], want[text])
		}
	}
}
