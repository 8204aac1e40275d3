package pgsql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/globaltx/globaltx/undo"
)

func TestSplitDSN(t *testing.T) {
	tests := []struct {
		dsn, base string
		params    map[string]string
	}{
		{"", "", map[string]string{}},
		{"host=a user='b c' password=p\\ q", `host=a user='b c' password=p\ q`, map[string]string{}},
		{"host=a gtx_scan=5s  user=b", "host=a user=b", map[string]string{"gtx_scan": "5s"}},
		{`gtx_a='it\'s' gtx_b = 1 gtx_c=`, "", map[string]string{"gtx_a": "it's", "gtx_b": "1", "gtx_c": ""}},
		{"password='gtx_x=1' host=h", "password='gtx_x=1' host=h", map[string]string{}},
		{"postgres://u:p%40@h:1/d?sslmode=disable&gtx_a=1%202&x=%zz", "postgres://u:p%40@h:1/d?sslmode=disable&x=%zz", map[string]string{"gtx_a": "1 2"}},
		{"postgresql://h/d?gtx%5Fa=1", "postgresql://h/d", map[string]string{"gtx_a": "1"}},
		{"postgres:///d", "postgres:///d", map[string]string{}},
	}
	for _, tt := range tests {
		base, params, err := SplitDSN(tt.dsn)
		if err != nil {
			t.Errorf("%q: %v", tt.dsn, err)
		}
		if base != tt.base {
			t.Errorf("%q: base %q, want %q", tt.dsn, base, tt.base)
		}
		if diff := cmp.Diff(tt.params, params); diff != "" {
			t.Errorf("%q: %s", tt.dsn, diff)
		}
	}
}

func TestSplitDSNRefuses(t *testing.T) {
	for _, dsn := range []string{
		"host", "password='hunter2", `password=hunter2\`, "gtx_a=1 gtx_a=2 password=hunter2", "postgres://u:hunter2@h/?gtx_a=%zz",
		"postgres://h/?gtx_a=1&gtx_a=1", "postgres://u:hunter2%@h/d",
	} {
		if _, _, err := SplitDSN(dsn); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v", dsn, err)
		}
	}
}

func TestRedact(t *testing.T) {
	tests := map[string]string{
		"host=h password=hunter2 user=u":                "host=h password=xxxxx user=u",
		`password = 'hunter2 \' x' sslpassword=hunter2`: "password = xxxxx sslpassword=xxxxx",
		"postgres://u:hunter2@h:1/d?sslmode=disable":    "postgres://u:xxxxx@h:1/d?sslmode=disable",
		"postgres://u@h/d?password=hunter2&x=1":         "postgres://u@h/d?password=xxxxx&x=1",
		"postgres://u@h/d?pass%77ord=hunter2":           "postgres://u@h/d?pass%77ord=xxxxx",
		"postgres://h/d":                                "postgres://h/d",
		"postgres://u:hunter2%@h/d":                     "(unreadable DSN)",
		"postgres://u:12/hunter2@h/d":                   "(unreadable DSN)",
		"postgres://u:12?hunter2@h/d":                   "(unreadable DSN)",
		"postgres://u:12#hunter2@h/d":                   "(unreadable DSN)",
		"password='hunter2":                             "(unreadable DSN)",
	}
	for dsn, want := range tests {
		if got := Redact(dsn); got != want {
			t.Errorf("%q: got %q, want %q", dsn, got, want)
		}
	}
}

// Whatever comes in, a password in its place does not come out, and what SplitDSN
// leaves has no parameter of ours.
func FuzzDSN(f *testing.F) {
	for _, seed := range []string{"host=h gtx_a='x' password=p", "postgres://u:p@h/d?gtx_a=1&b=2", `a='\'' gtx_=`, "postgres://?%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		base, _, err := SplitDSN(dsn)
		if err == nil {
			again, params, err := SplitDSN(base)
			if err != nil || len(params) > 0 || again != base && strings.HasPrefix(base, "postgres") {
				t.Errorf("%q splits into %q, and that into %q, %v, %v", dsn, base, again, params, err)
			}
		}
		Redact(dsn)
	})
}

func TestClassify(t *testing.T) {
	state := func(code string) error { return fmt.Errorf("wrapped: %w", &pq.Error{Code: pqerror.Code(code)}) }
	for _, tt := range []struct {
		err  error
		want undo.ErrorClass
	}{
		{nil, undo.Other},
		{state("23505"), undo.Duplicate},
		{state("23503"), undo.Blocked},
		{state("40001"), undo.Conflict},
		{state("40P01"), undo.Conflict},
		{state("55P03"), undo.Conflict},
		{state("42P01"), undo.NoTable},
		{state("42501"), undo.Denied},
		{state("57P01"), undo.Lost},
		{state("08006"), undo.Lost},
		{state("57014"), undo.Other},
		{driver.ErrBadConn, undo.Lost},
		{io.ErrUnexpectedEOF, undo.Lost},
		{fmt.Errorf("read: %w", &net.OpError{Op: "read", Err: errors.New("x")}), undo.Lost},
		{context.DeadlineExceeded, undo.Other},
		{errors.New("x"), undo.Other},
	} {
		if got := (Dialect{}).Classify(tt.err); got != tt.want {
			t.Errorf("%v: got %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestClosed(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "a = 1": true, "f(a)[1]": true, "f(a))": false, "(a": false, "(]": false, "a; b": false, "'a": false, "'a'')": false, "'a''b'": true,
		`'a\'`: true, `E'a\'`: false, `e'a\' )'`: true, `"a""b)"`: true, `"a`: false, "$$)$$": true, "$a$)$$": false, "$a$)$a$": true, "$1)": false, "$1$2": true,
		"a$$)": false, "a -- )": true, "a -- )\n)": false, "/* ) */": true, "/* /* ) */": false, "/* /* */ ) */": true, "a\x00": false, "ae'x\\'": true,
	} {
		if got := closed(text); got != want {
			t.Errorf("%q: got %t", text, got)
		}
	}
}

// What a stuck transaction shows is the server's message, of either base driver.
func TestRefusal(t *testing.T) {
	for _, err := range []error{
		&pgconn.PgError{Severity: "ERROR", Code: "23505", Message: "key of t_pkey is taken", Detail: "values"},
		fmt.Errorf("restore: %w", &pgconn.PgError{Severity: "ERROR", Code: "23505", Message: "key of t_pkey is taken"}),
	} {
		if got := (Dialect{}).Refusal(err); got != "key of t_pkey is taken" {
			t.Errorf("got %q", got)
		}
	}
	if got := (Dialect{}).Refusal(&pq.Error{Code: "23505", Message: "key of t_pkey is taken"}); got != "key of t_pkey is taken (23505)" {
		t.Errorf("lib/pq: got %q", got)
	}
}
