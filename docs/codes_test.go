package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// sources are the folders whose code refuses statements, with the word that the
// table has for them.
var sources = []struct{ word, dir string }{
	{"", "../proxy"}, // for any of them
	{"PostgreSQL", "../driver/pgsql"},
	{"pgx", "../driver/internal/pgxbase"},
	{"MySQL", "../driver/mysql"},
	{"SQLite", "../driver/sqlite"},
	{"", "../undo"},
	{"", "../gtx"},
	{"", "../driver"},
}

var (
	quoted  = regexp.MustCompile("`([a-z-]+)`")
	oneCode = regexp.MustCompile("^[a-z-]+$")
)

// TestCodes holds that every code of a refusal that stands in the code of the
// drivers and of proxy is in the tables of statements.md for that server, and that
// these tables name no other.
func TestCodes(t *testing.T) {
	page := read(t, "statements.md")
	_, table, ok := strings.Cut(page, "\n## Refused for the table or the session\n")
	if !ok {
		t.Fatal("statements.md has lost its table of codes")
	}
	shown := map[string]string{} // code to servers
	line := regexp.MustCompile(`(?m)^\| (.*?) \| (.*?) \|`)
	for _, m := range line.FindAllStringSubmatch(table, -1) {
		for _, code := range quoted.FindAllStringSubmatch(m[1], -1) {
			shown[code[1]] += m[2] + " "
		}
	}
	given := map[string]bool{"virtual": true, "shadow": true} // of SQLite's catalogue, not of our code
	for _, s := range sources {
		for code, at := range codesIn(t, s.dir) {
			given[code] = true
			if servers := shown[code]; servers == "" || !strings.Contains(servers, s.word) && !strings.Contains(servers, "all") {
				t.Errorf("%s: the table of statements.md has not the code %q for %s", at, code, s.word)
			}
		}
	}
	for code := range shown {
		if !given[code] {
			t.Errorf("statements.md has the code %q, which nobody gives", code)
		}
	}
}

// codesIn collects the texts that stand as the Code of an UnsupportedError, as the
// argument code of a function, or as a constant Code..., and where they do.
func codesIn(t *testing.T, dir string) map[string]token.Position {
	t.Helper()
	names, err := filepath.Glob(dir + "/*.go")
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(names), err)
	}
	files := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	takesCode := map[string]bool{} // functions whose first argument is called code
	walk := func(visit func(ast.Node) bool) {
		for _, f := range parsed {
			ast.Inspect(f, visit)
		}
	}
	first := func(f *ast.FuncType) bool {
		return len(f.Params.List) > 0 && len(f.Params.List[0].Names) > 0 && f.Params.List[0].Names[0].Name == "code"
	}
	walk(func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			takesCode[n.Name.Name] = takesCode[n.Name.Name] || first(n.Type)
		case *ast.AssignStmt:
			if f, ok := n.Rhs[0].(*ast.FuncLit); ok && first(f.Type) {
				if id, ok := n.Lhs[0].(*ast.Ident); ok {
					takesCode[id.Name] = true
				}
			}
		}
		return true
	})
	found := map[string]token.Position{}
	add := func(e ast.Expr) {
		l, ok := e.(*ast.BasicLit)
		if !ok || l.Kind != token.STRING {
			return
		}
		if code, err := strconv.Unquote(l.Value); err == nil && oneCode.MatchString(code) {
			found[code] = files.Position(l.Pos())
		}
	}
	walk(func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if id, ok := n.Key.(*ast.Ident); ok && id.Name == "Code" {
				add(n.Value)
			}
		case *ast.ValueSpec:
			for i, id := range n.Names {
				if strings.HasPrefix(id.Name, "Code") && i < len(n.Values) {
					add(n.Values[i])
				}
			}
		case *ast.CallExpr:
			called := ""
			switch f := n.Fun.(type) {
			case *ast.Ident:
				called = f.Name
			case *ast.SelectorExpr:
				called = f.Sel.Name
			}
			if takesCode[called] && len(n.Args) > 0 {
				add(n.Args[0])
			}
		}
		return true
	})
	return found
}
