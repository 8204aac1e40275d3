package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	base "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/undo"
)

func TestClassify(t *testing.T) {
	number := func(n uint16) error { return fmt.Errorf("wrapped: %w", &base.MySQLError{Number: n}) }
	for _, tc := range []struct {
		err  error
		want undo.ErrorClass
	}{
		{nil, undo.Other},
		{errors.New("x"), undo.Other},
		{number(1064), undo.Other},
		{number(1062), undo.Duplicate},
		{number(1205), undo.Conflict},
		{number(1213), undo.Conflict},
		{number(3572), undo.Conflict},
		{number(1020), undo.Conflict},
		{number(1146), undo.NoTable},
		{number(1142), undo.Denied},
		{number(1044), undo.Denied},
		{number(1227), undo.Denied},
		{driver.ErrBadConn, undo.Lost},
		{base.ErrInvalidConn, undo.Lost},
		{io.EOF, undo.Lost},
		{io.ErrUnexpectedEOF, undo.Lost},
		{context.Canceled, undo.Lost},
	} {
		if got := (Dialect{}).Classify(tc.err); got != tc.want {
			t.Errorf("%v: %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestBegin(t *testing.T) {
	for level, want := range map[sql.IsolationLevel]string{
		sql.LevelDefault:       "START TRANSACTION READ ONLY",
		sql.LevelReadCommitted: "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ ONLY",
		sql.LevelSerializable:  "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION READ ONLY",
	} {
		got, err := Dialect{}.Begin(driver.TxOptions{Isolation: driver.IsolationLevel(level), ReadOnly: true})
		if err != nil || got != want {
			t.Errorf("%s: %q, %v", level, got, err)
		}
	}
	if _, err := (Dialect{}).Begin(driver.TxOptions{Isolation: driver.IsolationLevel(sql.LevelLinearizable)}); err == nil {
		t.Error("linearizable was accepted")
	}
}

func TestSplitDSN(t *testing.T) {
	cfg, params, err := SplitDSN("u:p@tcp(127.0.0.1:3306)/db?gtx_lock_wait=2s&sql_mode=%27ANSI%27&gtx_x=1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"gtx_lock_wait": "2s", "gtx_x": "1"}, params); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"sql_mode": "'ANSI'"}, cfg.Params); diff != "" {
		t.Error(diff)
	}
	if _, _, err := SplitDSN("u:s3cret@tcp(x/db?a=%zz"); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}

func TestRedact(t *testing.T) {
	for dsn, want := range map[string]string{
		"u:p@tcp(h:1)/db?x=y":       "u:***@tcp(h:1)/db?x=y",
		"u:p/w@x:y@tcp(h:1)/db?a=b": "u:***@tcp(h:1)/db?a=b",
		"u@tcp(h:1)/db":             "u@tcp(h:1)/db",
		"u:p@tcp(h:1)":              "u:***@tcp(h:1)",
		"/db":                       "/db",
		"tcp(h:1)/db":               "tcp(h:1)/db",
		"u:@/db":                    "u:@/db",
	} {
		if got := Redact(dsn); got != want {
			t.Errorf("%s: %s, want %s", dsn, got, want)
		}
	}
}

func TestDriverMarkers(t *testing.T) {
	for text, want := range map[string]int{
		"? ?":            2,
		"'?' \"?\" `?`?": 1,
		`'\'?'?`:         1,
		"''?''":          1,
		"-- ?\n?":        1,
		"--? ?":          2,
		"# ?\n?":         1,
		"/* ? */ ?":      1,
		"/*/ ? */ ?":     1,
		"a - -? */ ?":    2,
		"'?":             0,
		"/* ?":           0,
		"-- ":            0,
		"`?":             0,
	} {
		if got := len(driverMarkers(text, false)); got != want {
			t.Errorf("%q: %d markers, want %d", text, got, want)
		}
	}
	if got := len(driverMarkers(`'\' ?`, true)); got != 1 {
		t.Errorf("%d markers, want 1", got)
	}
}

func TestSplitID(t *testing.T) {
	for _, want := range [][2]string{{"a", "b"}, {"a`.`b", "`"}, {".", "x``y"}, {"", ""}} {
		schema, table, err := splitID(ident(want[0]) + "." + ident(want[1]))
		if err != nil || schema != want[0] || table != want[1] {
			t.Errorf("%q: %q, %q, %v", want, schema, table, err)
		}
	}
	for _, id := range []string{"", "a.b", "`a`", "`a`.`b", "`a``b`", "`a`.`b`.`c`", "`a`x`b`"} {
		if _, _, err := splitID(id); err == nil {
			t.Errorf("%q was accepted", id)
		}
	}
}
