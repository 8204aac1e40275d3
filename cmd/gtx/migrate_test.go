package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	var first string
	for range 2 {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"migrate", "sqlite:" + path}, stdio{nil, &out, &errs}); code != exitOK {
			t.Fatalf("exit %d: %s", code, errs.String())
		}
		if first == "" {
			first = out.String()
		}
		if out.String() != first || !strings.Contains(first, "is ready, resource ") {
			t.Errorf("got %q, first %q", out.String(), first)
		}
	}
	for _, dsn := range []string{"sqlite:x", "mysql:u@tcp(127.0.0.1:1)/x", "postgres://u@127.0.0.1:1/x", "pgx:host=127.0.0.1 port=1"} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"migrate", "--print", dsn}, stdio{nil, &out, &errs}); code != exitOK || !strings.Contains(out.String(), "gtx_undo") {
			t.Errorf("%s: exit %d, %s%s", dsn, code, out.String(), errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"migrate"}, stdio{nil, &out, &errs}); code != exitUsage {
		t.Errorf("without a DSN: exit %d", code)
	}
}

// TestMigrateWith makes the tables of all parts, twice, on every kind of database.
func TestMigrateWith(t *testing.T) {
	for name, dsn := range messKinds() {
		t.Run(name, func(t *testing.T) {
			text := dsn(t)
			for range 2 {
				var out, errs bytes.Buffer
				if code := run(t.Context(), []string{"migrate", "--with", "tcc,outbox, inbox", text}, stdio{nil, &out, &errs}); code != exitOK {
					t.Fatalf("exit %d: %s", code, errs.String())
				}
			}
			target, err := parseTarget(text)
			if err != nil {
				t.Fatal(err)
			}
			side, err := target.open(false, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer side.DB.Close()
			for _, table := range []string{"gtx_undo", "gtx_tcc", "gtx_outbox", "gtx_outbox_slot", "gtx_outbox_dead", "gtx_inbox", "gtx_inbox_try", "gtx_inbox_dead"} {
				var n int
				if err := side.DB.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil || n != 0 {
					t.Errorf("%s: %d rows, %v", table, n, err)
				}
			}
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"migrate", "--print", "--with", "tcc", text}, stdio{nil, &out, &errs}); code != exitOK || !strings.Contains(out.String(), "gtx_tcc") || strings.Contains(out.String(), "gtx_outbox") {
				t.Errorf("exit %d, %s%s", code, out.String(), errs.String())
			}
			if code := run(t.Context(), []string{"migrate", "--with", "saga", text}, stdio{nil, &out, &errs}); code != exitUsage || !strings.Contains(errs.String(), `"saga"`) {
				t.Errorf("exit %d, %s", code, errs.String())
			}
		})
	}
}
