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
