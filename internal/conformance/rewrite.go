package conformance

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// copied is the module in a workspace that has packages hook, shim and inside.
const copied = "globaltx.test/conformance"

// hookName is the name of package hook in a rewritten file.
const hookName = "gtxhook"

// change replaces the bytes from pos to end.
type change struct {
	pos, end int
	text     string
}

// rewrite gives the text of a Go file with its openings replaced, with a call of
// hook.Unwrap at the beginning of every function literal that Raw gets, and, in a test
// file, one of hook.Test at the beginning of every test. Lines keep their numbers. n counts
// the openings; ok is false if nothing was to be changed.
func rewrite(name string, src []byte) (out []byte, n int, ok bool, err error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, 0, false, fmt.Errorf("parse %s: %w", name, err)
	}
	at := func(p token.Pos) int { return fset.Position(p).Offset }
	var changes []change
	pkg := importName(f, "database/sql")
	if pkg != "" && pkg != "_" && pkg != "." {
		ast.Inspect(f, func(node ast.Node) bool {
			s, isSel := node.(*ast.SelectorExpr)
			if !isSel {
				return true
			}
			if x, isIdent := s.X.(*ast.Ident); isIdent && x.Name == pkg && (s.Sel.Name == "Open" || s.Sel.Name == "OpenDB") {
				changes = append(changes, change{at(x.Pos()), at(x.End()), hookName})
				n++
			}
			return true
		})
	}
	if strings.HasSuffix(name, "_test.go") {
		for _, d := range f.Decls {
			if fn, isFunc := d.(*ast.FuncDecl); isFunc {
				if t := testParam(f, fn); t != "" {
					p := at(fn.Body.Lbrace) + 1
					changes = append(changes, change{p, p, " " + hookName + ".Test(" + t + ");"})
				}
			}
		}
		changes = append(changes, parallels(f, at)...)
	}
	ast.Inspect(f, func(node ast.Node) bool {
		if body, param := rawFunc(node); body != nil {
			p := at(body.Lbrace) + 1
			changes = append(changes, change{p, p, fmt.Sprintf(
				" if gtxbase, gtxerr := %s.Unwrap(%s); gtxerr != nil { return gtxerr } else { %[2]s = gtxbase };", hookName, param)})
		}
		return true
	})
	if len(changes) == 0 {
		return src, 0, false, nil
	}
	p := at(f.Name.End())
	changes = append(changes, change{p, p, fmt.Sprintf("; import %s %q", hookName, copied+"/hook")})
	if n > 0 {
		// The openings may have been all that the file needed the package for.
		changes = append(changes, change{len(src), len(src), "\nvar _ " + pkg + ".NullBool\n"})
	}
	return apply(src, changes), n, true, nil
}

// parallels turns each t.Parallel() into hook.Parallel(t).
func parallels(f *ast.File, at func(token.Pos) int) (changes []change) {
	ast.Inspect(f, func(node ast.Node) bool {
		stmt, isStmt := node.(*ast.ExprStmt)
		if !isStmt {
			return true
		}
		call, isCall := stmt.X.(*ast.CallExpr)
		if !isCall || len(call.Args) > 0 {
			return true
		}
		if s, isSel := call.Fun.(*ast.SelectorExpr); isSel && s.Sel.Name == "Parallel" {
			if t, isIdent := s.X.(*ast.Ident); isIdent {
				changes = append(changes, change{at(call.Pos()), at(call.End()), hookName + ".Parallel(" + t.Name + ")"})
			}
		}
		return true
	})
	return changes
}

// importName is what the file calls a package, empty if it does not import it.
func importName(f *ast.File, path string) string {
	for _, i := range f.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err != nil || p != path {
			continue
		}
		if i.Name != nil {
			return i.Name.Name
		}
		return path[strings.LastIndexByte(path, '/')+1:]
	}
	return ""
}

// testParam is the name of the parameter of a test function, empty if the function is
// none or cannot name it.
func testParam(f *ast.File, fn *ast.FuncDecl) string {
	if fn.Recv != nil || fn.Body == nil || !strings.HasPrefix(fn.Name.Name, "Test") {
		return ""
	}
	params := fn.Type.Params.List
	if len(params) != 1 || len(params[0].Names) != 1 || params[0].Names[0].Name == "_" {
		return ""
	}
	star, ok := params[0].Type.(*ast.StarExpr)
	if !ok {
		return ""
	}
	s, ok := star.X.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "T" {
		return ""
	}
	if x, ok := s.X.(*ast.Ident); !ok || x.Name != importName(f, "testing") {
		return ""
	}
	return params[0].Names[0].Name
}

// rawFunc gives the body of a function that is written as the argument of Raw, and the
// name of its parameter.
func rawFunc(node ast.Node) (body *ast.BlockStmt, param string) {
	call, ok := node.(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return nil, ""
	}
	if s, ok := call.Fun.(*ast.SelectorExpr); !ok || s.Sel.Name != "Raw" {
		return nil, ""
	}
	fn, ok := call.Args[0].(*ast.FuncLit)
	if !ok || len(fn.Type.Params.List) != 1 || len(fn.Type.Params.List[0].Names) != 1 {
		return nil, ""
	}
	if param = fn.Type.Params.List[0].Names[0].Name; param == "_" {
		return nil, ""
	}
	return fn.Body, param
}

// apply makes changes, which do not overlap.
func apply(src []byte, changes []change) []byte {
	slices.SortStableFunc(changes, func(a, b change) int { return a.pos - b.pos })
	var out bytes.Buffer
	last := 0
	for _, c := range changes {
		out.Write(src[last:c.pos])
		out.WriteString(c.text)
		last = c.end
	}
	out.Write(src[last:])
	return out.Bytes()
}
