package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRewrite(t *testing.T) {
	const src = `package a

import (
	"database/sql"
	"testing"
)

func TestA(t *testing.T) {
	db, _ := sql.Open("a", "b")
	_ = sql.OpenDB(nil)
	var sqlx x
	sqlx.Open()
	c.Raw(func(dc any) error {
		return nil
	})
	c.Raw(func(any) error { return nil })
}

func TestHelper(t testing.TB) {}
func TestMain(m *testing.M) {}
`
	out, n, ok, err := rewrite("a_test.go", []byte(src))
	if err != nil || !ok || n != 2 {
		t.Fatalf("%d openings, %v, %v", n, ok, err)
	}
	got := string(out)
	for _, want := range []string{
		`package a; import gtxhook "globaltx.test/conformance/hook"` + "\n",
		"func TestA(t *testing.T) { gtxhook.Test(t);\n",
		`db, _ := gtxhook.Open("a", "b")`, "gtxhook.OpenDB(nil)", "sqlx.Open()",
		"c.Raw(func(dc any) error { if gtxbase, gtxerr := gtxhook.Unwrap(dc); gtxerr != nil { return gtxerr } else { dc = gtxbase };\n",
		"c.Raw(func(any) error { return nil })",
		"func TestHelper(t testing.TB) {}\nfunc TestMain(m *testing.M) {}\n", "\nvar _ sql.NullBool\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if a, b := strings.Count(src, "\n"), strings.Index(got, "\nvar _"); strings.Count(got[:b], "\n") != a {
		t.Errorf("lines have moved:\n%s", got)
	}
	if _, _, ok, err := rewrite("b.go", []byte("package b\n")); ok || err != nil {
		t.Errorf("a file with nothing to change: %v, %v", ok, err)
	}
	if _, _, _, err := rewrite("c.go", []byte("no Go")); err == nil {
		t.Error("what is no Go file was rewritten")
	}
}

// TestPlace: a copy has its edits, and a change that has lost its purpose is an error.
func TestPlace(t *testing.T) {
	from := t.TempDir()
	for name, text := range map[string]string{
		"a_test.go":  "package a\n\nimport \"database/sql\"\n\nvar db, _ = sql.Open(\"a\", \"b\")\n",
		"b.go":       "package a\n\nvar x = 1\n",
		"large/f.go": "package f\n",
	} {
		file := filepath.Join(from, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	good := Module{Hook: []string{"*_test.go"}, Edits: []Edit{{"b.go", "x = 1", "x = 2"}}, Omit: []string{"large"}, Files: map[string]string{"c/c.go": "package c\n"}}
	to := t.TempDir()
	if err := new(workspace).place(good, from, to); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a_test.go": "gtxhook.Open(", "b.go": "x = 2", "c/c.go": "package c"} {
		text, err := os.ReadFile(filepath.Join(to, filepath.FromSlash(name)))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if _, err := os.Stat(filepath.Join(to, "large")); err == nil {
		t.Error("what is to be left out was copied")
	}
	for name, bad := range map[string]Module{
		"hook":    {Hook: []string{"*_test.go", "x/*.go"}},
		"opening": {Hook: []string{"b.go"}},
		"edit":    {Edits: []Edit{{"b.go", "y", "z"}}},
	} {
		if err := new(workspace).place(bad, from, t.TempDir()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func readDocument(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
