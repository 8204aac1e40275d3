package mysql

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sqlc-dev/marino/ast"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// facts compares what may stand at any depth: placeholders, functions, locks.
func (c *comparison) facts(tree ast.StmtNode, before int) error {
	var params []int
	var locking, into bool
	var err error
	visit := func(text string, at int) func(any) {
		return func(node any) {
			switch x := node.(type) {
			case *ast.ParamMarkerExprBase:
				params = append(params, x.Offset+at)
			case *ast.SelectStmt:
				locking = locking || locksOf(x) != nil
				into = into || x.SelectIntoOpt != nil
			default:
				err = cmp.Or(err, c.call(text, node))
			}
		}
	}
	walk(tree, visit(c.text, 0))
	if c.returning != nil {
		walk(c.returning, visit(inList.before+c.st.Slice(c.st.Returning), c.st.Returning.Start-len(inList.before)))
	}
	switch {
	case err != nil:
		return err
	case into:
		return errors.New("the parser reads SELECT INTO")
	case locking != c.st.Locking:
		return fmt.Errorf("locking %v, the parser says %v", c.st.Locking, locking)
	}
	return c.params(params, before)
}

// params compares the placeholders with the offsets of the parser's.
func (c *comparison) params(offsets []int, before int) error {
	slices.Sort(offsets)
	if len(offsets) != len(c.st.Placeholders) {
		return fmt.Errorf("%d placeholders, the parser reads %d", len(c.st.Placeholders), len(offsets))
	}
	for i, p := range c.st.Placeholders {
		if p.Span != (sqltext.Span{Start: offsets[i], End: offsets[i] + 1}) || p.Ordinal != before+i+1 || p.Name != "" {
			return fmt.Errorf("placeholder %+v, the parser reads the %d. at %d", p, before+i+1, offsets[i])
		}
	}
	return nil
}

// operators are functions of the parser that no name calls.
var operators = map[string]bool{
	ast.JSONExtract: true, ast.JSONUnquote: true, ast.JSONMemberOf: true, // -> ->> MEMBER OF
	"date_add": true, "date_sub": true, // + INTERVAL
	"soundex":                        true, // SOUNDS LIKE
	ast.Concat:                       true, // ||
	strings.ToLower(ast.DateLiteral): true, strings.ToLower(ast.TimeLiteral): true,
	strings.ToLower(ast.TimestampLiteral): true,
}

// call wants a node that calls something to be listed.
func (c *comparison) call(text string, node any) error {
	var name string
	var at int
	switch x := node.(type) {
	case *ast.FuncCallExpr:
		name, at = x.FnName.L, x.OriginTextPosition()
		if x.Schema.O != "" {
			return c.listedName(name)
		}
	case *ast.AggregateFuncExpr:
		name, at = strings.ToLower(x.F), x.OriginTextPosition()
	case *ast.WindowFuncExpr:
		name, at = strings.ToLower(x.Name), x.OriginTextPosition()
	case *ast.FuncCastExpr:
		if x.FunctionType == ast.CastBinaryOperator {
			return nil
		}
		name, at = "cast", x.OriginTextPosition()
	case *ast.JSONValueExpr:
		name, at = "json_value", x.OriginTextPosition()
	case *ast.JSONSumCrc32Expr:
		name, at = "json_sum_crc32", x.OriginTextPosition()
	case *ast.JSONTableExpr:
		return c.listedName("json_table")
	case *ast.MatchAgainst:
		return c.listedName("match")
	case *ast.VariableExpr:
		return c.variable(text[x.OriginTextPosition():])
	default:
		return nil
	}
	word := strings.ToLower(calledAt(text[at:]))
	switch {
	case name == "tidb_current_tso":
		return fmt.Errorf("%w: a function that the servers do not have", errUnread)
	case operators[name] && word != name:
		return nil
	case at == 0 || word == "":
		return c.listedName(name)
	default: // the tree may know a function by another name than the text
		return c.listedName(word)
	}
}

func (c *comparison) listedName(name string) error {
	if !slices.Contains(c.st.Functions, name) {
		return fmt.Errorf("function %s is not listed", name)
	}
	return nil
}

// calledAt gives the name that a text begins with, if a bracket is behind it.
func calledAt(text string) string {
	end := strings.IndexFunc(text, func(r rune) bool { return !nameRune(r) })
	if end <= 0 || !strings.HasPrefix(skipSpace(text[end:]), "(") {
		return ""
	}
	return text[:end]
}

// skipSpace gives a text without the space and comments that it begins with.
func skipSpace(text string) string {
	for {
		text = strings.TrimLeft(text, " \t\r\n\v\f")
		switch {
		case strings.HasPrefix(text, "/*"):
			_, text, _ = strings.Cut(text[2:], "*/")
		case strings.HasPrefix(text, "--"), strings.HasPrefix(text, "#"):
			_, text, _ = strings.Cut(text, "\n")
		default:
			return text
		}
	}
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '$' || r >= 0x80
}

// variable wants the user or system variable that the text begins with to be
// listed, as it is written there.
func (c *comparison) variable(text string) error {
	low := strings.ToLower(text)
	for _, f := range c.st.Functions {
		if rest, ok := strings.CutPrefix(low, f); ok && f[0] == '@' && len(f) > 1 {
			if rest == "" || strings.ContainsRune("`'\"", rune(f[len(f)-1])) || !nameRune(rune(rest[0])) && rest[0] != '.' {
				return nil
			}
		}
	}
	return fmt.Errorf("variable at %.20q is not listed", text)
}
